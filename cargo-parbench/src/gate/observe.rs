//! One observation of a gate: a new process, which warms up and measures at least 10 ms, six times.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use parbench::measure::Observation;
use parbench::measure::cell::{Cell, CellHeader, CellSpec, Program};

use super::comparison::{Observed, Side, Signal};
use crate::analysis::rounds::median;

/// How long a part of an observation measures at least.
const PART_NS: u64 = 10_000_000;
/// Its parts. What disturbs a program for some time only adds to its CPU time, so the smallest is the value: where the median
/// of three varied by 17 % from process to process on a shared machine, the smallest of six varied by 0.7 %.
const PARTS: usize = 6;
/// Of wall time the median counts, and what waits is hardly disturbed.
const WALL_PARTS: usize = 3;
/// Batches of a part at most: settling between batches takes longer than the shortest.
const MAX_BATCHES: u64 = 50;
/// Longer than any batch that fits into a gate.
const TIMEOUT: Duration = Duration::from_secs(120);

/// What is observed, in whichever program.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) scenario: String,
    pub(crate) executor: &'static str,
    pub(crate) workers: usize,
    /// Only the first tasks.
    pub(crate) first: Option<usize>,
    pub(crate) size: parbench::Size,
    /// Variables of head's processes alone.
    pub(crate) injection: Option<String>,
}

impl Subject {
    pub(crate) fn variant(&self) -> String {
        format!("{}/{}", self.executor, self.workers)
    }

    fn start(&self, program: &Path, side: Side) -> Result<(CellHeader, Cell)> {
        let program = Program::At(program.into());
        let mut spec = CellSpec::new(program, &self.scenario, self.executor, self.workers);
        (spec.first, spec.size, spec.timeout) = (self.first, self.size, TIMEOUT);
        // In both: what counting costs, both pay.
        spec.environment.push(("PARBENCH_COUNT_ALLOCATIONS".into(), "1".into()));
        if let Some(injection) = self.injection.as_ref().filter(|_| side == Side::Head) {
            spec.environment.push(("PARBENCH_INJECT".into(), injection.clone()));
        }
        let mut cell = Cell::start(spec)?;
        Ok((cell.wait_until_ready()?, cell))
    }

    /// The header of a cell, and one observation: what the number of batches is taken from.
    pub(crate) fn try_once(
        &self,
        program: &Path,
        side: Side,
        signal: Signal,
    ) -> Result<(CellHeader, Observed)> {
        let (header, mut cell) = self.start(program, side)?;
        let batches = batches(header.batch_ns);
        let parts = (0..parts(signal)).map(|_| cell.run(batches, None, false)).collect::<Result<Vec<_>>>()?;
        Ok((header, observed(side, 0, &parts)))
    }

    /// Observes a program in a new process.
    pub(crate) fn observe(
        &self,
        program: &Path,
        side: Side,
        layout: u32,
        batches: u32,
        signal: Signal,
    ) -> Result<Observed> {
        let (_, mut cell) = self.start(program, side)?;
        let parts = (0..parts(signal)).map(|_| cell.run(batches, None, false)).collect::<Result<Vec<_>>>()?;
        Ok(observed(side, layout, &parts))
    }
}

fn parts(signal: Signal) -> usize {
    if signal == Signal::Cpu { PARTS } else { WALL_PARTS }
}

/// How many batches take as long as a part of an observation.
pub(crate) fn batches(batch_ns: u64) -> u32 {
    PART_NS.div_ceil(batch_ns.max(1)).clamp(1, MAX_BATCHES) as u32
}

/// So many tasks take as long, of a batch of all: an even number for the workers.
pub(crate) fn first_tasks(tasks: usize, batch_ns: u64, workers: usize) -> Option<usize> {
    let wanted = (tasks as u64 * PART_NS).div_ceil(batch_ns.max(1)) as usize;
    let even = wanted.div_ceil(workers).max(1) * workers;
    (even < tasks).then_some(even)
}

fn observed(side: Side, layout: u32, parts: &[Observation]) -> Observed {
    let of_batch = |value: &dyn Fn(&Observation) -> Option<u64>| {
        let one = |part: &Observation| Some(value(part)? as f64 / f64::from(part.batches.max(1)));
        parts.iter().map(one).collect::<Option<Vec<_>>>()
    };
    let middle = |value: &dyn Fn(&Observation) -> Option<u64>| median(of_batch(value)?);
    let whole = |value: Option<f64>| value.map(|value| value.round() as u64);
    let smallest =
        of_batch(&|part| part.usage.cpu_ns()).and_then(|all| all.into_iter().min_by(f64::total_cmp));
    let parallelism = |part: &Observation| {
        let busy = part.usage.cpu_ns()? + part.usage.run_queue_wait_ns?;
        Some(busy as f64 / part.wall_ns.max(1) as f64)
    };
    Observed {
        side,
        layout,
        cpu_ns: whole(smallest),
        wall_ns: whole(middle(&|part| Some(part.wall_ns))).unwrap_or(0),
        queue_ns: whole(middle(&|part| part.usage.run_queue_wait_ns)),
        parallelism: median(parts.iter().filter_map(parallelism)),
        peak_bytes: parts.iter().filter_map(|part| part.usage.peak_bytes).max(),
        allocations: whole(middle(&|part| part.usage.allocations)),
        allocated_bytes: whole(middle(&|part| part.usage.allocated_bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_batches_are_repeated_and_long_ones_cut() {
        assert_eq!([0, 1_000, 10_000_000, 30_000_000].map(batches), [50, 50, 1, 1]);
        assert_eq!(batches(4_000_000), 3);
        // 10 ms a task.
        assert_eq!(first_tasks(25, 250_000_000, 2), Some(2));
        assert_eq!(first_tasks(10, 36_000_000, 2), Some(4));
        assert_eq!(first_tasks(4, 132_000_000, 2), Some(2));
        assert_eq!(first_tasks(2_000, 166_000, 2), None);
        assert_eq!(first_tasks(1, 100_000_000, 2), None);
    }
}
