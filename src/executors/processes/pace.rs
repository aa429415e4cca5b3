//! How many tasks a worker may have at once: one if tasks are long, more if they are short.

use std::time::Duration;

use crate::span::Stamps;

/// How much work a worker should have ahead: about twice the time that it takes to wake a process on an idle CPU (125 us
/// on a virtual machine), so that the worker never waits for its next task.
const AHEAD: Duration = Duration::from_micros(300);

/// From this length on a wake-up takes below 3 % of the time, and a task that waits behind another one while a worker
/// stands idle costs more.
const LONG: Duration = Duration::from_millis(5);

/// The most tasks at once.
const MAX_TASKS: usize = 128;

/// The least time that tasks which were sent ahead wait behind one that takes much longer than those before it.
const STUCK_AFTER: Duration = Duration::from_millis(1);

/// How long the last tasks of one worker took.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The moving mean of the time of a task, ns; `None` before the first.
    mean_ns: Option<u64>,
}

impl Pace {
    pub(super) fn took(&mut self, stamps: Stamps) {
        let took = stamps.stopped.saturating_sub(stamps.started);
        self.mean_ns = Some(self.mean_ns.map_or(took, |mean| mean - mean / 4 + took / 4));
    }

    /// How long a task may run before those behind it are taken back, ns.
    pub(super) fn stuck_after_ns(&self) -> u64 {
        (STUCK_AFTER.as_nanos() as u64).max(self.mean_ns.unwrap_or(0).saturating_mul(4))
    }

    /// How many tasks a worker may have, the one that it runs included. `share` is its share of those that no worker has.
    pub(super) fn window(&self, share: usize) -> usize {
        let Some(mean) = self.mean_ns.map(|ns| Duration::from_nanos(ns.max(100))) else { return 1 };
        if mean >= LONG {
            return 1;
        }
        let ahead = AHEAD.as_nanos().div_ceil(mean.as_nanos()) as usize;
        1 + ahead.min(share).min(MAX_TASKS - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(task: Duration) -> Pace {
        let mut pace = Pace::default();
        pace.took(Stamps { started: 1_000, stopped: 1_000 + task.as_nanos() as u64 });
        pace
    }

    #[test]
    fn nothing_is_sent_ahead_before_a_task_was_seen_or_when_tasks_are_long() {
        assert_eq!(Pace::default().window(100), 1);
        assert_eq!(pace(Duration::from_millis(20)).window(100), 1);
    }

    #[test]
    fn short_tasks_are_sent_ahead_up_to_a_share_and_a_cap() {
        assert_eq!(pace(Duration::from_micros(600)).window(100), 2);
        assert_eq!(pace(Duration::from_micros(100)).window(100), 4);
        assert_eq!(pace(Duration::from_micros(100)).window(1), 2);
        assert_eq!(pace(Duration::ZERO).window(1_000), MAX_TASKS);
    }

    #[test]
    fn the_mean_follows_the_tasks() {
        let mut pace = pace(Duration::from_millis(20));
        (0..20).for_each(|_| pace.took(Stamps { started: 0, stopped: 100_000 }));
        assert!(pace.window(100) > 1);
    }
}
