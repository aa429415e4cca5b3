//! Chooses, from the first launch, which variants are judged on the others: choosing and judging on the same rounds would
//! favour the winner.

use std::collections::BTreeMap;

use parbench::Shape;

use super::{records_of, variant_name};
use crate::run_file::{Scenario, Way};

/// A variant that is no more than this slower than the fastest of its way is as good, if it has fewer workers.
pub(super) const AS_GOOD: f64 = 1.05;
/// The same for a quick run, which has observed each once.
pub(super) const QUICK_AS_GOOD: f64 = 1.15;

/// What is measured further.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Choice {
    /// Serial, with the tasks of each judged variant.
    pub(super) serial: Vec<String>,
    pub(super) threads: Option<String>,
    pub(super) processes: Option<String>,
    /// The shapes of the two.
    pub(super) shapes: Vec<Shape>,
}

/// Chooses the variants that are judged.
pub(super) fn choose(scenario: &Scenario, ways: &BTreeMap<String, Way>, as_good: f64) -> Choice {
    let mut seen: Vec<(String, Way, Shape, f64)> = Vec::new();
    for record in &scenario.records {
        let name = variant_name(record, scenario.weak);
        let Some(&way) = ways.get(&record.executor) else { continue };
        if seen.iter().any(|(other, ..)| *other == name) {
            continue;
        }
        let Some(time) = median(records_of(scenario, &name).filter_map(|record| {
            // With weak scaling more workers have more to do.
            let share = if scenario.weak { record.tasks as f64 } else { 1.0 };
            Some(record.batch_ns()? / share)
        })) else {
            continue;
        };
        seen.push((name, way, record.shape, time));
    }
    let best = |wanted: Way| {
        let of_way = || seen.iter().filter(move |(_, way, ..)| *way == wanted);
        let fastest = of_way().map(|(.., time)| *time).min_by(f64::total_cmp)?;
        let all_as_good = of_way().filter(|(.., time)| *time <= fastest * as_good);
        all_as_good.min_by(|a, b| a.2.parallelism().cmp(&b.2.parallelism()).then(a.3.total_cmp(&b.3)))
    };
    let judged = [best(Way::Threads), best(Way::Processes)];
    let mut serial: Vec<_> = match scenario.weak {
        false => {
            seen.iter().filter(|(_, way, ..)| *way == Way::Serial).map(|(name, ..)| name.clone()).collect()
        }
        true => {
            judged.iter().flatten().map(|(.., shape, _)| format!("serial/{}", shape.parallelism())).collect()
        }
    };
    serial.dedup();
    let [threads, processes] = judged.map(|best| best.map(|(name, ..)| name.clone()));
    let shapes = judged.iter().flatten().map(|(_, _, shape, _)| *shape).collect();
    Choice { serial, threads, processes, shapes }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use parbench::measure::Record;

    use super::*;

    fn scenario(weak: bool, times: &[(&str, usize, usize, u64)]) -> Scenario {
        let record = |&(executor, workers, tasks, wall_ns): &(&str, usize, usize, u64)| {
            let mut record = Record::default();
            record.executor = executor.into();
            (record.shape, record.tasks) = (Shape::from(workers), tasks);
            (record.batches, record.wall_ns) = (1, wall_ns);
            record
        };
        Scenario { weak, records: times.iter().map(record).collect(), ..Scenario::default() }
    }

    fn ways() -> BTreeMap<String, Way> {
        let ways = [
            ("serial", Way::Serial),
            ("threads", Way::Threads),
            ("rayon", Way::Threads),
            ("processes", Way::Processes),
        ];
        ways.map(|(name, way)| (name.to_string(), way)).into()
    }

    #[test]
    fn the_fewest_workers_of_those_as_good_as_the_fastest_are_judged() {
        let times = [
            ("serial", 1, 4, 100),
            ("threads", 2, 4, 51),
            ("threads", 4, 4, 50),
            ("rayon", 2, 4, 60),
            ("processes", 2, 4, 80),
            ("processes", 4, 4, 60),
        ];
        let choice = choose(&scenario(false, &times), &ways(), AS_GOOD);
        assert_eq!(choice.serial, ["serial/1"]);
        assert_eq!(
            (choice.threads.as_deref(), choice.processes.as_deref()),
            (Some("threads/2"), Some("processes/4"))
        );
        assert_eq!(choice.shapes, [Shape::from(2), Shape::from(4)]);
    }

    #[test]
    fn with_weak_scaling_the_time_of_a_task_decides_and_serial_has_the_same_tasks() {
        let times = [
            ("serial", 1, 1, 10),
            ("serial", 1, 4, 40),
            ("threads", 1, 1, 10),
            ("threads", 4, 4, 20),
            ("processes", 1, 1, 11),
            ("processes", 4, 4, 80),
        ];
        let choice = choose(&scenario(true, &times), &ways(), AS_GOOD);
        assert_eq!(
            (choice.threads.as_deref(), choice.processes.as_deref()),
            (Some("threads/4"), Some("processes/1"))
        );
        assert_eq!(choice.serial, ["serial/4", "serial/1"]);
    }

    #[test]
    fn a_way_without_a_measured_variant_is_not_judged() {
        let choice =
            choose(&scenario(false, &[("serial", 1, 4, 100), ("threads", 2, 4, 50)]), &ways(), AS_GOOD);
        assert_eq!((choice.processes, choice.shapes.len()), (None, 1));
    }
}
