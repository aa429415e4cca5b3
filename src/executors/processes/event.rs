//! What a pool learns of a worker: that it is ready, what a task gave, and how it ended.

use std::fmt;
use std::time::Duration;

use crate::data::packet::Packet;
use crate::job::Cause;
use crate::span::Stamps;
use crate::usage::Usage;

/// Why a worker can no longer be used.
#[derive(Debug)]
pub(super) enum WorkerError {
    /// It has ended, or is about to.
    Exited,
    /// It runs, and does not keep to the protocol.
    Protocol(String),
    /// It lives, and nothing can be sent to it.
    Send(String),
    /// It did not do something in time.
    Timeout(&'static str, Duration),
    /// A task ran beyond its deadline.
    TaskTimeout(Duration),
}

/// What a worker said.
#[derive(Debug)]
pub(super) enum Event {
    /// The scenario is open.
    Opened,
    /// The worker cannot be set up, or cannot open the scenario.
    Refused(Cause),
    /// What the task of this number gave.
    Answer(usize, Result<Answer, Cause>),
    Used(Usage),
}

/// A task's packed output, and its stamps.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) stamps: Stamps,
    pub(super) output: Packet,
}

/// How a worker ended, and the tasks that it leaves unanswered.
#[derive(Debug)]
pub(super) struct Reaped {
    /// The tasks that it had begun: one, or none.
    pub(super) begun: Vec<usize>,
    /// The tasks that it had not begun.
    pub(super) unbegun: Vec<usize>,
    /// How it ended, or why it was killed.
    pub(super) status: String,
    /// Whether it was killed, but not by its pool.
    pub(super) killed_from_outside: bool,
}

impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkerError::Exited => f.write_str("it ended"),
            WorkerError::Protocol(what) | WorkerError::Send(what) => f.write_str(what),
            WorkerError::TaskTimeout(timeout) => {
                write!(f, "its task took longer than {} s", timeout.as_secs_f64())
            }
            WorkerError::Timeout(what, timeout) => {
                write!(f, "within {} s it did not {what}", timeout.as_secs_f64())
            }
        }
    }
}
