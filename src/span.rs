//! The clock that all processes of a run share, and the span of a task on it.

use serde::{Deserialize, Serialize};

/// Nanoseconds of `CLOCK_MONOTONIC`.
///
/// `std::time::Instant` reads the same clock but hides its value, and a span that starts in one process and is reported in
/// another needs the value.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // Not rustix's, which looks for the kernel's page of fast calls by itself: valgrind hides that.
    // SAFETY: the call writes to the pointer that it is given, and cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// When a task's function was entered and left, ns of [`now`], read by the worker that ran it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    /// Just before the task's function, after its input was unpacked.
    pub started: u64,
    /// Just after it, before its output is packed.
    pub stopped: u64,
}

/// When a task's batch began, and when the task started, stopped and was received: what the articles draw as a bar. All times are ns of [`now`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TaskSpan {
    /// The task's number, from 0.
    pub task: u32,
    /// The worker that ran it, from 0.
    pub worker: u16,
    /// When the batch began, on every executor, so that `started - sent` is the time that the task waited.
    pub sent: u64,
    /// When the task's function was entered.
    pub started: u64,
    /// When the task's function was left.
    pub stopped: u64,
    /// When the caller could read its output; the same as `stopped` for workers in the same process.
    pub received: u64,
}

impl TaskSpan {
    /// The span of a task that ran in this process.
    pub(crate) fn here(task: usize, worker: usize, sent: u64, stamps: Stamps) -> Self {
        TaskSpan::far(task, worker, sent, stamps, stamps.stopped)
    }

    /// The span of a task whose output arrived from elsewhere at `received`.
    pub(crate) fn far(task: usize, worker: usize, sent: u64, stamps: Stamps, received: u64) -> Self {
        let Stamps { started, stopped } = stamps;
        TaskSpan { task: task as u32, worker: worker as u16, sent, started, stopped, received }
    }

    /// How long the task's function ran, ns.
    pub fn run_ns(&self) -> u64 {
        self.stopped.saturating_sub(self.started)
    }

    /// How long the task waited, from the beginning of the batch until its function was entered, ns.
    pub fn wait_ns(&self) -> u64 {
        self.started.saturating_sub(self.sent)
    }
}
