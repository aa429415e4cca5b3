//! What a pool learns of a worker: that it is open, what a task gave, and how it ended.

use std::fmt;
use std::time::Duration;

use crate::job::Cause;
use crate::message::Packet;
use crate::span::Stamps;
use crate::usage::Usage;

/// Why a worker can no longer be used.
#[derive(Debug)]
pub(super) enum Gone {
    /// It has ended, or is about to.
    Ended,
    /// It lives and talks nonsense.
    Mad(String),
    /// It did not do something in time.
    Late(&'static str, Duration),
    /// A task ran beyond its deadline.
    TimedOut(Duration),
}

/// What a worker said.
#[derive(Debug)]
pub(super) enum Event {
    /// The scenario is open.
    Opened,
    /// It cannot be opened, or the worker not be set up.
    Refused(Cause),
    /// What a task gave, and when.
    Answer(usize, Result<Answer, Cause>),
    Used(Usage),
}

/// A task's output, packed, and its stamps.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) stamps: Stamps,
    pub(super) output: Packet,
}

/// What a worker that has ended leaves.
#[derive(Debug)]
pub(super) struct Wreck {
    /// The task that it had begun.
    pub(super) begun: Vec<usize>,
    /// The tasks that it had not.
    pub(super) rest: Vec<usize>,
    /// How it ended, or why it was killed.
    pub(super) status: String,
    /// Whether somebody else killed it.
    pub(super) murdered: bool,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gone::Ended => f.write_str("it ended"),
            Gone::Mad(what) => f.write_str(what),
            Gone::TimedOut(patience) => write!(f, "its task took longer than {} s", patience.as_secs_f64()),
            Gone::Late(what, patience) => write!(f, "within {} s it did not {what}", patience.as_secs_f64()),
        }
    }
}
