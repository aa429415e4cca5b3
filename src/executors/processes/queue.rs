//! The tasks of a batch that no worker has.

use std::ops::Range;

use crate::job::Cause;

/// How often a task is given to workers that end before they have begun it.
const MOST_SENDINGS: usize = 5;

pub(super) struct Queue {
    fresh: Range<usize>,
    /// Sent ahead and taken back, or to be tried again.
    returned: Vec<usize>,
    /// First in line when a worker ended that had begun nothing, once for each time.
    unbegun: Vec<usize>,
    /// Begun by a worker that died, once for each time.
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

    /// Tasks to be given to whoever is next.
    pub(super) fn give_back(&mut self, tasks: Vec<usize>) {
        // The last in is the first out.
        self.returned.extend(tasks.into_iter().rev());
    }

    /// A worker ended with this task begun: it is tried again, or fails with the cause.
    pub(super) fn died(&mut self, task: usize, cause: Cause) -> Option<(usize, Cause)> {
        self.died.push(task);
        if times(&self.died, task) > self.retries as usize {
            return Some((task, cause));
        }
        self.returned.push(task);
        None
    }

    /// A worker ended with nothing begun and this task the next in line: again and again is no accident, but a
    /// worker that ends whenever it gets this input.
    pub(super) fn unbegun(&mut self, task: usize, status: &str) -> Option<(usize, Cause)> {
        self.unbegun.push(task);
        if times(&self.unbegun, task) < MOST_SENDINGS {
            return None;
        }
        self.returned.retain(|returned| *returned != task);
        let why =
            format!("{MOST_SENDINGS} workers ended while its input was on the way (the last: {status})");
        Some((task, Cause::Refused { why }))
    }
}

fn times(tasks: &[usize], task: usize) -> usize {
    tasks.iter().filter(|other| **other == task).count()
}
