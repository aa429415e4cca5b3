//! Threads that take tasks from one channel, kept warm between batches: the usual thread pool.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};

use super::{Entry, Executor, Kind, Outcome, Place, measure, open};
use crate::job::Job;
use crate::span::TaskSpan;

pub(super) const KIND: Kind = Kind {
    name: "threads",
    about: "threads fed by a channel",
    place: Place::Threads,
    single: false,
    nests: true,
    cold: false,
    start: |means| Ok(Box::new(Threads::start(means.workers)?)),
};

struct Threads {
    errands: Option<Sender<Errand>>,
    workers: Vec<JoinHandle<()>>,
}

/// One task of a batch on its way to a thread.
struct Errand {
    batch: Arc<Running>,
    task: usize,
}

/// A batch in progress.
struct Running {
    job: Arc<dyn Job>,
    began: u64,
    entries: Mutex<Vec<Entry>>,
    left: AtomicUsize,
    /// The last task wakes the caller, and no other: a wake-up for each would be part of every tiny task.
    finished: Sender<()>,
}

impl Threads {
    fn start(workers: usize) -> Result<Threads> {
        let (errands, queue) = unbounded::<Errand>();
        // Owned from the first thread on: if the fifth does not start, dropping this ends the four.
        let mut pool = Threads { errands: Some(errands), workers: Vec::new() };
        for worker in 0..workers {
            let queue = queue.clone();
            let thread = thread::Builder::new().name(format!("worker {worker}"));
            let started = thread.spawn(move || work(worker, &queue));
            pool.workers.push(started.with_context(|| format!("cannot start thread {worker} of {workers}"))?);
        }
        Ok(pool)
    }
}

fn work(worker: usize, queue: &Receiver<Errand>) {
    for Errand { batch, task } in queue {
        let result = batch.job.run(worker, task);
        let entry = (task, result.map(|stamps| TaskSpan::here(task, worker, batch.began, stamps)));
        batch.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        if batch.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            // The caller waits for this one message, and cannot have gone.
            let _ = batch.finished.send(());
        }
    }
}

impl Executor for Threads {
    fn execute(&mut self, job: &Arc<dyn Job>) -> Result<Outcome> {
        open(&**job, self.workers.len())?;
        let (finished, last) = bounded(1);
        let errands = self.errands.as_ref().expect("they are dropped with the pool only");
        Ok(measure(&**job, |began| {
            let batch = Arc::new(Running {
                job: Arc::clone(job),
                began,
                entries: Mutex::new(Vec::with_capacity(job.tasks())),
                left: AtomicUsize::new(job.tasks()),
                finished,
            });
            for task in 0..job.tasks() {
                errands
                    .send(Errand { batch: Arc::clone(&batch), task })
                    .expect("the threads live as long as we do");
            }
            last.recv().expect("the batch in our hands holds the sender");
            std::mem::take(&mut *batch.entries.lock().unwrap_or_else(PoisonError::into_inner))
        }))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.errands = None;
        for worker in self.workers.drain(..) {
            // It cannot have panicked: panics of tasks are caught.
            let _ = worker.join();
        }
    }
}
