//! Threads that take tasks from one channel: the usual thread pool.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};

use super::{
    Entry, Executor, ExecutorKind, Isolation, Outcome, Shapes, make_states, run_task, suits_all, time_batch,
};
use crate::job::Job;
use crate::program::limits::stack_bytes;

pub(super) const KIND: ExecutorKind = ExecutorKind {
    name: "threads",
    about: "threads fed by a channel",
    isolation: Isolation::Thread,
    shapes: Shapes::Workers,
    suits: suits_all,
    start: |options| Ok(Box::new(Threads::start(options.shape.parallelism())?)),
};

struct Threads {
    queue: Option<Sender<QueuedTask>>,
    workers: Vec<JoinHandle<()>>,
}

/// A task that waits for a thread.
struct QueuedTask {
    batch: Arc<BatchState>,
    task: usize,
}

/// A batch in progress.
struct BatchState {
    job: Arc<dyn Job>,
    began: u64,
    entries: Mutex<Vec<Entry>>,
    unfinished: AtomicUsize,
    /// Only the last task wakes the caller: a wake-up for each task would be part of the time of every tiny one.
    finished: Sender<()>,
}

impl Threads {
    fn start(workers: usize) -> Result<Threads> {
        let (queue, receiver) = unbounded::<QueuedTask>();
        // If the fifth thread does not start, dropping this joins the first four.
        let mut pool = Threads { queue: Some(queue), workers: Vec::new() };
        for worker in 0..workers {
            let receiver = receiver.clone();
            let thread = thread::Builder::new().name(format!("worker {worker}")).stack_size(stack_bytes());
            let started = thread.spawn(move || work(worker, &receiver));
            pool.workers.push(started.with_context(|| format!("cannot start thread {worker} of {workers}"))?);
        }
        Ok(pool)
    }
}

fn work(worker: usize, queue: &Receiver<QueuedTask>) {
    for QueuedTask { batch, task } in queue {
        let entry = run_task(&*batch.job, worker, task, batch.began);
        batch.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        if batch.unfinished.fetch_sub(1, Ordering::AcqRel) == 1 {
            // The caller waits for this message, so it is still there.
            let _ = batch.finished.send(());
        }
    }
}

impl Executor for Threads {
    fn prepare(&mut self, job: &Arc<dyn Job>) -> Result<()> {
        make_states(&**job, self.workers.len())
    }

    fn execute(&mut self, job: &Arc<dyn Job>) -> Result<Outcome> {
        self.prepare(job)?;
        let (finished, receiver) = bounded(1);
        let queue = self.queue.as_ref().expect("it is dropped with the pool only");
        Ok(time_batch(&**job, |began| {
            let batch = Arc::new(BatchState {
                job: Arc::clone(job),
                began,
                entries: Mutex::new(Vec::with_capacity(job.tasks())),
                unfinished: AtomicUsize::new(job.tasks()),
                finished,
            });
            for task in 0..job.tasks() {
                queue
                    .send(QueuedTask { batch: Arc::clone(&batch), task })
                    .expect("the threads live as long as the pool");
            }
            receiver.recv().expect("`batch` holds the sender");
            std::mem::take(&mut *batch.entries.lock().unwrap_or_else(PoisonError::into_inner))
        }))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.queue = None;
        for worker in self.workers.drain(..) {
            // It cannot have panicked: panics of tasks are caught.
            let _ = worker.join();
        }
    }
}
