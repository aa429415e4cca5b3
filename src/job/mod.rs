//! Numbered tasks with their types erased: all that an executor sees of a workload. Its calls block until a task is done.

pub(crate) mod injection;
mod typed;
mod worker_state;

use std::fmt;
use std::pin::Pin;

use anyhow::Result;
use serde::{Deserialize, Serialize};

pub use self::typed::TypedJob;
pub(crate) use self::worker_state::{ErasedWorker, WorkerState};
use crate::data::packet::Packet;
use crate::panic::catch_panic;
use crate::span::Stamps;

/// A task that can wait for others without a thread: its stamps, or why it has no answer.
pub type TaskFuture<'a> = Pin<Box<dyn Future<Output = Result<Stamps, Cause>> + Send + 'a>>;

/// The tasks of one scenario for one executor, numbered from 0. [`TypedJob`] is the only implementation.
pub trait Job: Send + Sync {
    /// The scenario's name: what a worker process is told.
    fn scenario(&self) -> &'static str;
    /// The number of tasks.
    fn tasks(&self) -> usize;
    /// The largest parallelism of an executor that can run it.
    fn workers(&self) -> usize;
    /// Makes the state of a worker in this process, once; called before the clock starts.
    ///
    /// # Errors
    /// The cause, if the state cannot be made.
    fn make_state(&self, worker: usize) -> Result<(), Cause>;
    /// Drops the answers of the batch before, so that dropping them costs no time inside the next batch and no old
    /// answer passes for a new one.
    fn clear(&self);
    /// Makes what tasks that run here consume, if they do; called before the clock starts.
    ///
    /// # Errors
    /// If it cannot be made.
    fn set_up(&self) -> Result<(), Cause> {
        Ok(())
    }
    /// Runs a task here and keeps its answer.
    ///
    /// # Errors
    /// Why the task has no answer.
    fn run(&self, worker: usize, task: usize) -> Result<Stamps, Cause>;
    /// A task as a future, which keeps its answer when it ends; `None` if the workload's tasks are none.
    fn future(&self, task: usize) -> Option<TaskFuture<'_>> {
        let _ = task;
        None
    }
    /// Checks, once and before the clock starts, that inputs arrive in another process as what they are.
    ///
    /// # Errors
    /// The type that does not, and why. An input that cannot be packed at all is the failure of its task only.
    fn check_inputs(&self) -> Result<(), Cause> {
        Ok(())
    }
    /// Packs a task's input for a worker elsewhere.
    ///
    /// # Errors
    /// The cause, if the input cannot be packed.
    fn pack(&self, task: usize) -> Result<Packet, Cause>;
    /// Keeps an answer that came from elsewhere.
    ///
    /// # Errors
    /// The cause, if the answer cannot be unpacked.
    fn accept(&self, task: usize, output: Packet) -> Result<(), Cause>;
    /// A task's answer, packed, to compare it with that of another job. [`Job::check`] takes the answers away.
    ///
    /// # Errors
    /// If the task has no answer, or it cannot be packed.
    fn answer(&self, task: usize) -> Result<Packet>;
    /// Takes all answers and checks them, outside any clock.
    ///
    /// # Errors
    /// If an answer is missing or wrong.
    fn check(&self) -> Result<()>;
}

/// Why a task has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// Its function returned an error, or its input or output could not be packed or unpacked.
    Error {
        /// The error and its context, in one line.
        message: String,
    },
    /// Its function panicked. The worker goes on.
    Panicked {
        /// The panic's message and location.
        message: String,
    },
    /// Its worker process ended while it ran.
    Died {
        /// The exit status or signal, as the system names it.
        status: String,
    },
    /// Its worker process took longer than the pool's deadline, and was killed.
    TimedOut {
        /// The deadline, ms.
        deadline_ms: u64,
    },
    /// It was not run.
    Refused {
        /// What prevented it.
        why: String,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Error { message } => write!(f, "{message}"),
            Cause::Panicked { message } => write!(f, "it panicked: {message}"),
            Cause::Died { status } => write!(f, "its worker process ended while it ran ({status})"),
            Cause::TimedOut { deadline_ms } => {
                write!(
                    f,
                    "it ran longer than its deadline of {deadline_ms} ms; its worker process was killed"
                )
            }
            Cause::Refused { why } => write!(f, "it was not run: {why}"),
        }
    }
}

impl Cause {
    pub(crate) fn error(error: &anyhow::Error) -> Cause {
        Cause::Error { message: format!("{error:#}") }
    }
}

/// Runs `code`, such as a message's own `Serialize`; an error or a panic becomes a task's [`Cause`].
fn catch_cause<R>(code: impl FnOnce() -> Result<R>) -> Result<R, Cause> {
    // Formatting an error also runs the workload's code.
    let result = catch_panic(|| code().map_err(|error| Cause::error(&error)));
    result.unwrap_or_else(|message| Err(Cause::Panicked { message }))
}
