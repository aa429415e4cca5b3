//! A block of a gate: a new process for each side, which warms up, and then short parts of all sides in turns.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use parbench::measure::Observation;
use parbench::measure::cell::{Cell, CellHeader, CellSpec, Program};

use super::comparison::{Observed, Part, Side, Signal};
use super::pin::Pinned;

/// How long a part measures at least.
const PART_NS: u64 = 10_000_000;
/// Parts of a side in a block: until they make up this time, and an even number, for each order has its reverse. Of wall time,
/// which waiting makes calm, the fewest will do.
const PARTS: std::ops::RangeInclusive<u64> = 4..=10;
const PARTS_NS: u64 = 100_000_000;
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
    /// It computes on one CPU, and so all its processes can be on the same.
    pub(crate) is_pinned: bool,
    /// Variables of head's processes alone.
    pub(crate) injection: Option<String>,
}

/// A side, its program, and the order of its sections.
pub(crate) type Contestant = (Side, PathBuf, u32);

impl Subject {
    pub(crate) fn variant(&self) -> String {
        format!("{}/{}", self.executor, self.workers)
    }

    fn start(&self, program: &Path, side: Side) -> Result<Cell> {
        Cell::start(self.spec(program, side))
    }

    fn spec(&self, program: &Path, side: Side) -> CellSpec {
        let program = Program::At(program.into());
        let mut spec = CellSpec::new(program, &self.scenario, self.executor, self.workers);
        (spec.first, spec.size, spec.timeout) = (self.first, self.size, TIMEOUT);
        // In both: what counting costs, both pay.
        spec.environment.push(("PARBENCH_COUNT_ALLOCATIONS".into(), "1".into()));
        if let Some(injection) = self.injection.as_ref().filter(|_| side == Side::Head) {
            spec.environment.push(("PARBENCH_INJECT".into(), injection.clone()));
        }
        spec
    }

    /// Runs batches, and the warm-up before them, under another command, and waits for its end.
    pub(crate) fn run_under(
        &self,
        launcher: Vec<String>,
        program: &Path,
        side: Side,
        batches: u32,
    ) -> Result<()> {
        let mut spec = self.spec(program, side);
        spec.launcher = launcher;
        let mut cell = Cell::start(spec)?;
        cell.wait_until_ready()?;
        cell.run(batches, None, false).map(drop)
    }

    /// The header of a cell, and a part: what the number of batches is taken from.
    pub(crate) fn try_once(&self, program: &Path, side: Side) -> Result<(CellHeader, Part)> {
        let mut cell = self.start(program, side)?;
        let header = cell.wait_until_ready()?;
        let observation = cell.run(batches(header.batch_ns), None, false)?;
        Ok((header, part(&observation)))
    }

    /// Observes all sides: a part of each in a random order, then a part of each in the reverse order, and so on. What disturbs
    /// the machine for longer than some parts disturbs all sides alike. `turn` is the row's block, from 0.
    ///
    /// # Errors
    /// The side that failed, and how.
    pub(crate) fn observe(
        &self,
        sides: &[Contestant],
        (batches, parts): (u32, usize),
        turn: usize,
        random: &mut fastrand::Rng,
    ) -> Result<Vec<Observed>, (Side, String)> {
        let failed = |side: Side| move |error: anyhow::Error| (side, format!("{error:#}"));
        let pinned = self.is_pinned.then(|| Pinned::to(turn));
        let mut cells = Vec::new();
        for (side, program, _) in sides {
            cells.push(self.start(program, *side).map_err(failed(*side))?);
        }
        drop(pinned);
        for ((side, ..), cell) in sides.iter().zip(&mut cells) {
            cell.wait_until_ready().map_err(failed(*side))?;
        }
        let observed =
            |(side, _, layout): &Contestant| Observed { side: *side, layout: *layout, ..Observed::default() };
        let mut observed: Vec<_> = sides.iter().map(observed).collect();
        let mut order: Vec<_> = (0..sides.len()).collect();
        for pass in 0..parts {
            if pass % 2 == 0 {
                random.shuffle(&mut order)
            } else {
                order.reverse()
            }
            for &at in &order {
                let observation = cells[at].run(batches, None, false).map_err(failed(sides[at].0))?;
                observed[at].parts.push(part(&observation));
            }
        }
        Ok(observed)
    }
}

/// How long a block of so many sides takes.
pub(crate) fn cost(tried: Duration, part_ns: u64, parts: usize, sides: u32) -> Duration {
    let part = Duration::from_nanos(part_ns);
    // Cells start together; two CPUs are the least.
    tried.saturating_sub(part) * sides.div_ceil(2) + part * parts as u32 * sides
}

/// In how many parts a block observes each side.
pub(crate) fn parts(signal: Signal, part_ns: u64) -> usize {
    let wanted = if signal == Signal::Cpu { PARTS_NS.div_ceil(part_ns.max(1)) } else { 0 };
    wanted.next_multiple_of(2).clamp(*PARTS.start(), *PARTS.end()) as usize
}

/// How many batches take as long as a part.
pub(crate) fn batches(batch_ns: u64) -> u32 {
    PART_NS.div_ceil(batch_ns.max(1)).clamp(1, MAX_BATCHES) as u32
}

/// So many tasks take as long, of a batch of all: an even number for the workers.
pub(crate) fn first_tasks(tasks: usize, batch_ns: u64, workers: usize) -> Option<usize> {
    let wanted = (tasks as u64 * PART_NS).div_ceil(batch_ns.max(1)) as usize;
    let even = wanted.div_ceil(workers).max(1) * workers;
    (even < tasks).then_some(even)
}

/// For one batch.
fn part(observation: &Observation) -> Part {
    let of_batch = |value: u64| value / u64::from(observation.batches.max(1));
    let usage = &observation.usage;
    Part {
        wall_ns: of_batch(observation.wall_ns),
        cpu_ns: usage.cpu_ns().map(of_batch),
        queue_ns: usage.run_queue_wait_ns.map(of_batch),
        allocations: usage.allocations.map(of_batch),
        allocated_bytes: usage.allocated_bytes.map(of_batch),
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

    #[test]
    fn long_parts_are_fewer() {
        let times = [0, 10_000_000, 13_000_000, 18_000_000, 35_000_000, 900_000_000];
        assert_eq!(times.map(|part_ns| parts(Signal::Cpu, part_ns)), [10, 10, 8, 6, 4, 4]);
        assert_eq!(parts(Signal::Wall, 10_000_000), 4);
    }
}
