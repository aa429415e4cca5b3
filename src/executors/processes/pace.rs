//! How many tasks a worker may have at once: one if they are long, more if they are short.

use std::time::Duration;

use crate::span::Stamps;

/// What a worker should always have ahead of it: about twice the time that waking the other side takes when
/// its CPU is idle (125 us on a virtual machine), so that it never waits for its next task.
const COVER: Duration = Duration::from_micros(300);

/// From here on a wake-up is no longer worth hiding (below 3 %), and a task that waits behind another one
/// while a worker stands idle costs more.
const LONG: Duration = Duration::from_millis(5);

/// Most tasks at once, and most bytes sent ahead. Together they stay below what a socket buffers, so that
/// sending ahead never blocks: both sides writing and nobody reading would be a deadlock.
const MOST_TASKS: usize = 64;
const MOST_BYTES: usize = 32 << 10;

/// What the last tasks of one worker took, and what it has been sent.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Moving mean of the time of a task, ns; none before the first.
    mean_ns: Option<u64>,
    /// Bytes of the largest input since the worker was last idle.
    bytes: usize,
}

impl Pace {
    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes = self.bytes.max(bytes);
    }

    pub(super) fn idle(&mut self) {
        self.bytes = 0;
    }

    pub(super) fn took(&mut self, stamps: Stamps) {
        let took = stamps.stopped.saturating_sub(stamps.started);
        self.mean_ns = Some(self.mean_ns.map_or(took, |mean| mean - mean / 4 + took / 4));
    }

    /// How many tasks a worker may have, the one it runs included, when `share` more are its share.
    pub(super) fn window(&self, share: usize) -> usize {
        let Some(mean) = self.mean_ns.map(|ns| Duration::from_nanos(ns.max(100))) else { return 1 };
        if mean >= LONG {
            return 1;
        }
        let ahead = COVER.as_nanos().div_ceil(mean.as_nanos()) as usize;
        let fits = MOST_BYTES / self.bytes.max(1);
        1 + ahead.min(share).min(fits).min(MOST_TASKS - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(task: Duration, bytes: usize) -> Pace {
        let mut pace = Pace::default();
        pace.took(Stamps { started: 1_000, stopped: 1_000 + task.as_nanos() as u64 });
        pace.sent(bytes);
        pace
    }

    #[test]
    fn nothing_is_sent_ahead_before_a_task_was_seen_or_when_tasks_are_long() {
        assert_eq!(Pace::default().window(100), 1);
        assert_eq!(pace(Duration::from_millis(20), 8).window(100), 1);
    }

    #[test]
    fn short_tasks_are_sent_ahead_up_to_a_share_a_cap_and_what_a_socket_buffers() {
        assert_eq!(pace(Duration::from_micros(600), 8).window(100), 2);
        assert_eq!(pace(Duration::from_micros(100), 8).window(100), 4);
        assert_eq!(pace(Duration::from_micros(100), 8).window(1), 2);
        assert_eq!(pace(Duration::ZERO, 8).window(1_000), MOST_TASKS);
        assert_eq!(pace(Duration::from_micros(1), 16 << 10).window(1_000), 3);
        assert_eq!(pace(Duration::from_micros(1), 1 << 20).window(1_000), 1);
    }

    #[test]
    fn the_mean_follows_the_tasks_and_an_idle_worker_forgets_large_inputs() {
        let mut pace = pace(Duration::from_millis(20), 1 << 20);
        for _ in 0..20 {
            pace.took(Stamps { started: 0, stopped: 100_000 });
        }
        assert_eq!(pace.window(100), 1);
        pace.idle();
        assert!(pace.window(100) > 1);
    }
}
