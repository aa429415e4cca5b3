//! How long a worker may take for each thing that it has to do.

use std::time::Duration;

use super::WorkerHandle;
use crate::executors::processes::EXIT_TIMEOUT;
use crate::executors::processes::event::WorkerError;
use crate::span::now;

/// How long a new worker may take to say hello. It takes about 1 ms: only a machine in serious trouble, or a program
/// that does something else first, reaches this.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a worker may take to make its state, or to take an input.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// What a worker has to do within a task's deadline.
const ANSWER: &str = "answer";

impl WorkerHandle {
    /// Lets nothing be late by a time, ns, in which this program did not run.
    pub(in crate::executors::processes) fn postpone(&mut self, stalled_ns: u64) {
        self.waiting_since += stalled_ns;
        self.flight.postpone(stalled_ns);
    }

    /// When the pool has to look at it next, ns, if it says nothing: at a deadline, or when tasks are to be taken back.
    /// `deadline` is that of tasks.
    pub(in crate::executors::processes) fn next_timeout(&self, deadline: Option<Duration>) -> Option<u64> {
        let late = self.waiting_for(deadline).map(|(_, since, timeout)| since + timeout.as_nanos() as u64);
        [self.flight.stuck_at(), late].into_iter().flatten().min()
    }

    /// What it is at, for a person; `None` if it has nothing to do.
    pub(in crate::executors::processes) fn occupation(&self) -> Option<String> {
        let what = match self.flight.first() {
            Some(task) => format!("has not answered task {task}"),
            None if !self.takes() => "is not ready".into(),
            None => return None,
        };
        Some(format!("{} {what}", self.child.borrow().describe()))
    }

    /// What the pool waits for, since when (ns), and for how long at most.
    fn waiting_for(&self, deadline: Option<Duration>) -> Option<(&'static str, u64, Duration)> {
        if self.send_failed {
            return Some(("end", self.waiting_since, EXIT_TIMEOUT));
        }
        if !self.greeted {
            let what = "say hello: does this program's main do anything before it calls parbench?";
            return Some((what, self.waiting_since, HELLO_TIMEOUT));
        }
        if self.opening.is_some() {
            return Some(("make its state", self.waiting_since, OPEN_TIMEOUT));
        }
        if !self.has_pid {
            return Some(("be told of by the fork server", self.waiting_since, HELLO_TIMEOUT));
        }
        let (began, deadline) = (self.flight.began()?, deadline?);
        if !self.flight.has_arrived() {
            return Some(("take its input", began, OPEN_TIMEOUT.max(deadline)));
        }
        Some((ANSWER, began, deadline))
    }

    /// Returns an error if nothing can be sent to it, or the pool has waited for too long.
    pub(in crate::executors::processes) fn check_timeout(
        &self,
        deadline: Option<Duration>,
    ) -> Result<(), WorkerError> {
        if let Some(error) = &self.send_error {
            return Err(WorkerError::Send(error.clone()));
        }
        match self.waiting_for(deadline) {
            Some((what, since, timeout)) if now() >= since + timeout.as_nanos() as u64 => Err(match what {
                ANSWER => WorkerError::TaskTimeout(timeout),
                _ => WorkerError::Timeout(what, timeout),
            }),
            _ => Ok(()),
        }
    }
}
