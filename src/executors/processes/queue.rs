//! The tasks of a batch whose inputs have not been packed for a worker, or were returned by one.

use std::ops::Range;

use crate::job::Cause;

/// How many times a task is sent to workers that end before they have begun it.
const MAX_SENDS: usize = 5;

pub(super) struct Queue {
    fresh: Range<usize>,
    /// Sent ahead and taken back, or to be tried again.
    returned: Vec<usize>,
    /// The next task of a worker that ended with none begun, once for each such worker.
    unbegun: Vec<usize>,
    /// The task that a worker had begun when it ended, once for each such worker.
    died: Vec<usize>,
    retries: u32,
}

impl Queue {
    pub(super) fn new(tasks: usize, retries: u32) -> Queue {
        Queue { fresh: 0..tasks, returned: Vec::new(), unbegun: Vec::new(), died: Vec::new(), retries }
    }

    pub(super) fn len(&self) -> usize {
        self.fresh.len() + self.returned.len()
    }

    pub(super) fn pop(&mut self) -> Option<usize> {
        self.returned.pop().or_else(|| self.fresh.next())
    }

    /// Returns tasks, to be sent before all others.
    pub(super) fn give_back(&mut self, tasks: Vec<usize>) {
        // The last in is the first out.
        self.returned.extend(tasks.into_iter().rev());
    }

    /// Handles a task that a worker had begun when it ended: it is run again, or fails with the cause.
    pub(super) fn died(&mut self, task: usize, cause: Cause) -> Option<(usize, Cause)> {
        self.died.push(task);
        if count(&self.died, task) > self.retries as usize {
            return Some((task, cause));
        }
        self.returned.push(task);
        None
    }

    /// Handles a task whose input cannot be sent to any worker.
    pub(super) fn unsendable(&mut self, task: usize, why: &str) -> Option<(usize, Cause)> {
        self.returned.retain(|returned| *returned != task);
        Some((task, Cause::Refused { why: why.into() }))
    }

    /// Handles the task that a worker would have begun next when it ended: if that happens several times, the
    /// input itself is what ends them.
    pub(super) fn unbegun(&mut self, task: usize, status: &str) -> Option<(usize, Cause)> {
        self.unbegun.push(task);
        if count(&self.unbegun, task) < MAX_SENDS {
            return None;
        }
        self.returned.retain(|returned| *returned != task);
        let why = format!("{MAX_SENDS} workers ended while its input was on the way (the last: {status})");
        Some((task, Cause::Refused { why }))
    }
}

fn count(tasks: &[usize], task: usize) -> usize {
    tasks.iter().filter(|other| **other == task).count()
}
