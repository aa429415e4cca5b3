//! What the records hold of a variant besides its time: what it used, and where its workers' time went.

use std::collections::BTreeMap;

use parbench::TaskSpan;
use parbench::measure::Record;

use super::rounds::{RoundKey, median};
use crate::drive::variant_name;
use crate::run_file::Scenario;

/// Medians over records of what a batch used; times in ns. `None` where the system does not tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) wall: f64,
    pub(crate) user: Option<f64>,
    pub(crate) system: Option<f64>,
    /// Time in which threads that could run waited for a CPU.
    pub(crate) queue: Option<f64>,
    /// Context switches because a thread waited.
    pub(crate) switches: Option<f64>,
    pub(crate) faults: Option<f64>,
    pub(crate) moved_bytes: Option<f64>,
    pub(crate) packing: Option<f64>,
    pub(crate) throttled: Option<f64>,
    /// CPU time of other programs, and of other guests of the host.
    pub(crate) others: Option<f64>,
    pub(crate) steal: Option<f64>,
    pub(crate) peak_bytes: Option<f64>,
    /// The median task.
    pub(crate) task: Option<f64>,
    /// How long its workers took to be ready.
    pub(crate) ready: f64,
    pub(crate) lanes: Option<Lanes>,
}

impl Facts {
    /// Of a variant, in the rounds that are wanted.
    pub(crate) fn of(scenario: &Scenario, name: &str, wanted: impl Fn(&RoundKey) -> bool) -> Option<Facts> {
        let of_variant =
            |record: &&Record| record.error.is_none() && variant_name(record, scenario.weak) == name;
        let all: Vec<_> = scenario.records.iter().filter(of_variant).collect();
        let in_rounds = |record: &&&Record| wanted(&(record.launch, record.round));
        let records: Vec<_> = all.iter().filter(in_rounds).copied().collect();
        let records = if records.is_empty() { all.clone() } else { records };
        let each = |value: &dyn Fn(&Record) -> Option<f64>| {
            median(
                records.iter().filter_map(|record| Some(value(record)? / f64::from(record.batches.max(1)))),
            )
        };
        let wall = each(&|record| Some(record.wall_ns as f64))?;
        // One batch has its spans: if it was another sort of batch, they show what happens otherwise not.
        let is_usual = |lanes: &Lanes| (0.7..1.4).contains(&(lanes.total / wall));
        let lanes = all.iter().find_map(|record| Lanes::of(record.spans.as_deref()?, record.shape.workers));
        let lanes = lanes.filter(is_usual);
        let number = |value: Option<u64>| value.map(|value| value as f64);
        Some(Facts {
            wall,
            user: each(&|record| number(record.usage.user_ns)),
            system: each(&|record| number(record.usage.system_ns)),
            queue: each(&|record| number(record.usage.run_queue_wait_ns)),
            switches: each(&|record| number(record.usage.voluntary_switches)),
            faults: each(&|record| Some((record.usage.minor_faults? + record.usage.major_faults?) as f64)),
            moved_bytes: each(&|record| number(record.usage.moved_bytes)),
            packing: each(&|record| number(record.usage.packing_ns)),
            throttled: each(&|record| number(record.throttled_ns)),
            others: each(&|record| record.others_busy_ns.map(|others| others as f64)),
            steal: each(&|record| number(record.steal_ns)),
            peak_bytes: median(records.iter().filter_map(|record| number(record.usage.peak_bytes))),
            task: median(records.iter().filter_map(|record| number(record.task_p50_ns))),
            ready: median(records.iter().map(|record| record.ready_ns as f64))?,
            lanes,
        })
    }

    /// CPU time, ns.
    pub(crate) fn cpu(&self) -> Option<f64> {
        Some(self.user? + self.system?)
    }

    /// How many cores were busy on average.
    pub(crate) fn cores(&self) -> Option<f64> {
        Some(self.cpu()? / self.wall)
    }
}

/// Where the time of the workers went in the batch whose spans were kept, as shares of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Lanes {
    /// In tasks.
    pub(crate) work: f64,
    /// Before a task, and behind it until its answer was there.
    pub(crate) gaps: f64,
    /// Behind the last task of a worker.
    pub(crate) tail: f64,
    /// All tasks together, ns.
    pub(crate) tasks: f64,
    /// The longest task, ns.
    pub(crate) longest: f64,
    /// From the beginning of the batch until the last task stopped, ns.
    pub(crate) total: f64,
}

impl Lanes {
    /// `None` without spans.
    pub(crate) fn of(spans: &[TaskSpan], workers: usize) -> Option<Lanes> {
        let began = spans.iter().map(|span| span.sent).min()?;
        // Not that of the last task in the list: it may have stopped before others.
        let end = spans.iter().map(|span| span.stopped).max()?;
        let total = end.saturating_sub(began) as f64;
        let mut last: BTreeMap<u16, u64> = BTreeMap::new();
        for span in spans {
            let stopped = last.entry(span.worker).or_default();
            *stopped = span.stopped.max(*stopped);
        }
        let workers = workers.max(last.len());
        let idle = (workers - last.len()) as f64 * total;
        let tail: f64 = last.values().map(|stopped| end.saturating_sub(*stopped) as f64).sum::<f64>() + idle;
        let work: f64 = spans.iter().map(|span| span.run_ns() as f64).sum();
        let all = total * workers as f64;
        (all > 0.0).then(|| Lanes {
            work: work / all,
            tasks: work,
            tail: tail / all,
            gaps: (1.0 - (work + tail) / all).max(0.0),
            longest: spans.iter().map(|span| span.run_ns()).max().unwrap_or_default() as f64,
            total,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_ends_with_the_task_that_stops_last_and_not_with_the_last_one() {
        let span = |task, worker, started, stopped| {
            let mut span = TaskSpan::default();
            (span.task, span.worker, span.sent) = (task, worker, 1_000);
            (span.started, span.stopped, span.received) = (started, stopped, stopped);
            span
        };
        // The last task is short and stops before the first.
        let spans = [span(0, 0, 1_000, 2_000), span(1, 1, 1_100, 1_300), span(2, 1, 1_300, 1_400)];
        let lanes = Lanes::of(&spans, 2).unwrap();
        assert_eq!((lanes.total, lanes.longest), (1_000.0, 1_000.0));
        assert!((lanes.work - 0.65).abs() < 1e-9 && (lanes.tail - 0.3).abs() < 1e-9, "{lanes:?}");
        assert!((lanes.gaps - 0.05).abs() < 1e-9, "{lanes:?}");
        assert_eq!(Lanes::of(&[], 2), None);
    }
}
