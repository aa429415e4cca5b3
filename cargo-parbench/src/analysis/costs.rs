//! What starting workers, handing over tasks and moving data cost here, and from which tasks on it pays: the one source of the
//! rules, of the reason that names a task's price, and of the page's section.

use super::rounds::median;
use super::row::usable_cpus;
use super::{Facts, Measured, Row};
use crate::run_file::{RunFile, Way};

/// What each executor costs, as far as the run tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Costs {
    pub(crate) executors: Vec<Cost>,
}

/// Of one executor, with as many workers as CPUs where that was measured; times in ns.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    pub(crate) executor: String,
    pub(crate) way: Way,
    /// Until a worker is ready, outside the clock: the median of all observations of all scenarios.
    pub(crate) ready: Option<f64>,
    /// Starting and stopping a worker, inside the clock (`worker_start`).
    pub(crate) start: Option<Price>,
    /// Handing over a task to a worker that is ready (`empty_task`).
    pub(crate) task: Option<Price>,
    /// Memory of a worker process beyond that of a thread, bytes.
    pub(crate) memory: Option<f64>,
    /// Bytes a second of arrays that processes have to move (`array_transfer`), and of arrays that they share.
    pub(crate) private: Option<f64>,
    pub(crate) shared: Option<f64>,
}

/// What each task costs besides its work: `n` tasks of `t` on `workers` take `n * (t / workers + each)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Price {
    pub(crate) each: f64,
    pub(crate) workers: usize,
}

impl Price {
    /// What tasks that take so long gain over serial.
    pub(crate) fn speed_up(&self, task: f64) -> f64 {
        let workers = self.workers as f64;
        workers * task / (task + workers * self.each)
    }

    /// The task from which on it is not slower than serial; `None` with one worker, which never is as fast.
    pub(crate) fn breaks_even(&self) -> Option<f64> {
        let workers = self.workers as f64;
        (self.workers > 1).then(|| self.each * workers / (workers - 1.0))
    }

    /// The task from which on a twentieth is lost at most: it takes twenty times as long as its price on every worker.
    pub(crate) fn pays_from(&self) -> f64 {
        20.0 * self.workers as f64 * self.each
    }
}

/// What handing over a task costs: the time of a batch for each task, less the share of the work that it should take.
pub(super) fn handing_over(facts: &Facts, serial: &Facts, tasks: usize, ideal: f64) -> f64 {
    (facts.wall - serial.wall / ideal) / tasks as f64
}

/// The memory of a worker process beyond that of a thread: the median of all rows.
pub(super) fn memory_of_a_worker(rows: &[Row]) -> Option<f64> {
    let of_row = |row: &Row| {
        let (processes, threads) = (row.processes?, row.threads?);
        let beyond = row.facts[processes].peak_bytes? - row.facts[threads].peak_bytes?;
        Some(beyond / row.variants[processes].workers as f64)
    };
    median(rows.iter().filter_map(of_row)).filter(|memory| *memory > 0.0)
}

impl Costs {
    pub(super) fn of(run: &RunFile, rows: &[Row]) -> Costs {
        let cpus = run.programs.first().map_or(1, |program| usable_cpus(&program.header.machine)).max(1);
        let row = |name: &str| rows.iter().find(|row| row.name == name && row.error.is_none());
        let (start, empty) = (row("worker_start"), row("empty_task"));
        let [private, shared] = ["array_transfer", "array_transfer_shared"].map(row);
        // Only processes move them; all others have the same arrays.
        let moved = private.and_then(|row| {
            let (measured, facts) = variant(row, "processes", cpus)?;
            Some(facts.moved_bytes? / measured.tasks as f64)
        });
        let rate = |row: Option<&Row>, executor: &str| {
            let (measured, _) = variant(row?, executor, cpus)?;
            Some(moved.filter(|moved| *moved > 0.0)? * measured.tasks as f64 / (measured.time_ns / 1e9))
        };
        let mut executors: Vec<Cost> = Vec::new();
        for (executor, way) in run.programs.iter().flat_map(|program| &program.ways) {
            if executors.iter().any(|known| known.executor == *executor) {
                continue;
            }
            let is_parallel = *way != Way::Serial;
            let price = |row: Option<&Row>, each: &dyn Fn(&Row, &Measured, &Facts, f64) -> Option<f64>| {
                let (measured, facts) = variant(row.filter(|_| is_parallel)?, executor, cpus)?;
                let workers = measured.workers.min(measured.tasks).min(cpus).max(1);
                let each = each(row?, measured, facts, workers as f64).filter(|each| *each > 0.0)?;
                Some(Price { each, workers })
            };
            let is_spawned = *way == Way::Processes && executor == "processes";
            executors.push(Cost {
                executor: executor.clone(),
                way: *way,
                ready: if is_parallel { ready(run, executor) } else { None },
                start: price(start, &|_, measured, facts, _| Some(facts.wall / measured.workers as f64)),
                task: price(empty, &|row, measured, facts, ideal| {
                    Some(handing_over(facts, &row.facts[row.serial?], measured.tasks, ideal))
                }),
                memory: memory_of_a_worker(rows).filter(|_| is_spawned),
                private: rate(private, executor),
                shared: rate(shared, executor),
            });
        }
        Costs { executors }
    }

    /// The executor of a way for which this price is the lowest.
    pub(crate) fn cheapest(&self, way: Way, price: fn(&Cost) -> Option<Price>) -> Option<(&Cost, Price)> {
        let of_way = self.executors.iter().filter(|cost| cost.way == way);
        let priced = of_way.filter_map(|cost| Some((cost, price(cost)?)));
        priced.min_by(|(_, a), (_, b)| a.each.total_cmp(&b.each))
    }
}

/// An executor's variant with a worker for each CPU; or with the most below that, or the fewest.
fn variant<'a>(row: &'a Row, executor: &str, cpus: usize) -> Option<(&'a Measured, &'a Facts)> {
    let variants = row.variants.iter().zip(&row.facts).filter(|(measured, _)| measured.executor == executor);
    variants.min_by_key(|(measured, _)| match measured.workers {
        workers if workers <= cpus => (0, cpus - workers),
        workers => (1, workers),
    })
}

/// How long each worker took to be ready. In a cold scenario nothing is started before the clock.
fn ready(run: &RunFile, executor: &str) -> Option<f64> {
    let records =
        run.scenarios.iter().filter(|scenario| !scenario.cold).flat_map(|scenario| &scenario.records);
    let own =
        records.filter(|record| record.executor == executor && record.error.is_none() && record.ready_ns > 0);
    median(own.map(|record| record.ready_ns as f64 / record.shape.parallelism() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_breaks_even_and_pays() {
        let price = Price { each: 1_000.0, workers: 4 };
        let even = price.breaks_even().unwrap();
        assert!((price.speed_up(even) - 1.0).abs() < 1e-9, "{even}");
        // A twentieth more is a twenty-first less.
        assert!((price.speed_up(price.pays_from()) / 4.0 - 20.0 / 21.0).abs() < 1e-9);
        assert_eq!(Price { each: 1_000.0, workers: 1 }.breaks_even(), None);
    }

    #[test]
    fn handing_over_is_what_a_task_takes_beyond_its_share() {
        // 10 tasks of 8 ns on 2 workers in 100 ns: 10 ns each, 4 of which are work.
        let wall = |wall| Facts { wall, ..Facts::default() };
        assert_eq!(handing_over(&wall(100.0), &wall(80.0), 10, 2.0), 6.0);
    }

    #[test]
    fn what_has_as_many_workers_as_cpus_is_compared() {
        let of = |counts: &[usize]| {
            let measured =
                |workers: &usize| Measured { executor: "x".into(), workers: *workers, ..Measured::default() };
            let variants: Vec<_> = counts.iter().map(measured).collect();
            let row = Row { facts: vec![Facts::default(); variants.len()], variants, ..Row::default() };
            variant(&row, "x", 4).map(|(measured, _)| measured.workers)
        };
        assert_eq!(
            (of(&[1, 4, 8]), of(&[1, 2, 8]), of(&[16, 8]), of(&[])),
            (Some(4), Some(2), Some(8), None)
        );
    }
}
