//! tokio: tasks that are futures, as many in flight as it has workers, on one thread or on several; and blocking tasks on its
//! pool for those, which is what people do whose library is not asynchronous.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{
    Entry, Executor, ExecutorKind, Isolation, Outcome, PoolOptions, Shapes, Suitability,
    ensure_enough_states, make_states, run_task, time_batch,
};
use crate::job::{Cause, Job};
use crate::program::limits::stack_bytes;
use crate::span::TaskSpan;
use crate::workload::Properties;

pub(super) const KIND: ExecutorKind = ExecutorKind {
    name: "async",
    about: "futures on one thread of tokio, so many in flight",
    isolation: Isolation::Thread,
    shapes: Shapes::Workers,
    suits: futures_only,
    start: |options| Ok(Box::new(Async::start(options, Flavor::OneThread)?)),
};

pub(super) const SEVERAL_THREADS: ExecutorKind = ExecutorKind {
    name: "async_threads",
    about: "futures on a thread of tokio for each CPU, so many in flight",
    isolation: Isolation::Thread,
    shapes: Shapes::Workers,
    suits: futures_only,
    start: |options| Ok(Box::new(Async::start(options, Flavor::SeveralThreads)?)),
};

pub(super) const BLOCKING: ExecutorKind = ExecutorKind {
    name: "spawn_blocking",
    about: "blocking tasks on tokio's pool for them",
    isolation: Isolation::Thread,
    shapes: Shapes::Workers,
    // rayon's and ours say the same of tasks that only compute.
    suits: |_| Suitability::OnRequest,
    start: |options| Ok(Box::new(Async::start(options, Flavor::Blocking)?)),
};

fn futures_only(properties: &Properties) -> Suitability {
    if properties.has_future {
        return Suitability::Suited;
    }
    Suitability::Unsuited("its tasks are no futures")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flavor {
    OneThread,
    SeveralThreads,
    Blocking,
}

struct Async {
    flavor: Flavor,
    /// Tasks in flight.
    lanes: usize,
    handle: Handle,
    /// What runs it, and ends with it.
    driver: Driver,
}

enum Driver {
    /// A thread that a runtime without threads of its own lives on; told to end, and joined.
    Thread(Arc<Notify>, Option<JoinHandle<()>>),
    /// A runtime with threads of its own, which end with it.
    Runtime(#[allow(dead_code, reason = "dropped in time")] Runtime),
}

impl Async {
    fn start(options: &PoolOptions, flavor: Flavor) -> Result<Async> {
        let lanes = options.shape().parallelism();
        if flavor == Flavor::OneThread {
            let runtime =
                Builder::new_current_thread().enable_all().build().context("tokio does not start")?;
            let (handle, end) = (runtime.handle().clone(), Arc::new(Notify::new()));
            let ended = Arc::clone(&end);
            let thread = thread::Builder::new().name("tokio".into()).stack_size(stack_bytes());
            let thread = thread.spawn(move || runtime.block_on(ended.notified()));
            let thread = thread.context("cannot start a thread for tokio")?;
            return Ok(Async { flavor, lanes, handle, driver: Driver::Thread(end, Some(thread)) });
        }
        let mut builder = Builder::new_multi_thread();
        builder.enable_all().thread_stack_size(stack_bytes());
        builder.worker_threads(if flavor == Flavor::Blocking {
            1
        } else {
            thread::available_parallelism().map_or(1, |cpus| cpus.get()).min(lanes)
        });
        builder.max_blocking_threads(lanes);
        let runtime = builder.build().context("tokio does not start")?;
        Ok(Async { flavor, lanes, handle: runtime.handle().clone(), driver: Driver::Runtime(runtime) })
    }
}

impl Executor for Async {
    fn prepare(&mut self, job: &Arc<dyn Job>) -> Result<()> {
        if self.flavor == Flavor::Blocking {
            return make_states(&**job, self.lanes);
        }
        // A future has no worker's state.
        ensure_enough_states(&**job, self.lanes)?;
        job.clear();
        Ok(())
    }

    fn execute(&mut self, job: &Arc<dyn Job>) -> Result<Outcome> {
        self.prepare(job)?;
        let lanes = self.lanes.min(job.tasks());
        let is_blocking = self.flavor == Flavor::Blocking;
        Ok(time_batch(&**job, |began| {
            let (sender, receiver) = mpsc::sync_channel(1);
            let job = Arc::clone(job);
            self.handle.spawn(async move {
                let next = Arc::new(AtomicUsize::new(0));
                let mut running = JoinSet::new();
                for number in 0..lanes {
                    let lane = Lane { job: Arc::clone(&job), next: Arc::clone(&next), number, began };
                    running.spawn(
                        async move { if is_blocking { lane.block().await } else { lane.run().await } },
                    );
                }
                // A lane that has panicked has lost its entries, which are failures then.
                let entries = running.join_all().await.into_iter().flatten().collect();
                let _ = sender.send(entries);
            });
            receiver.recv().unwrap_or_default()
        }))
    }
}

impl Drop for Async {
    fn drop(&mut self) {
        if let Driver::Thread(end, thread) = &mut self.driver {
            end.notify_one();
            if let Some(thread) = thread.take() {
                let _ = thread.join();
            }
        }
    }
}

/// One of the tasks in flight, and then the next.
struct Lane {
    job: Arc<dyn Job>,
    next: Arc<AtomicUsize>,
    number: usize,
    began: u64,
}

impl Lane {
    fn take(&self) -> Option<usize> {
        Some(self.next.fetch_add(1, Ordering::Relaxed)).filter(|task| *task < self.job.tasks())
    }

    async fn run(self) -> Vec<Entry> {
        let mut entries = Vec::new();
        while let Some(task) = self.take() {
            let none = || Cause::Refused { why: "its tasks are no futures".into() };
            let stamps = match self.job.future(task) {
                Some(future) => future.await,
                None => Err(none()),
            };
            entries.push((task, stamps.map(|stamps| TaskSpan::here(task, self.number, self.began, stamps))));
        }
        entries
    }

    async fn block(self) -> Vec<Entry> {
        let mut entries = Vec::new();
        while let Some(task) = self.take() {
            let (job, number, began) = (Arc::clone(&self.job), self.number, self.began);
            // It cannot have panicked: panics of tasks are caught.
            entries.extend(tokio::task::spawn_blocking(move || run_task(&*job, number, task, began)).await);
        }
        entries
    }
}
