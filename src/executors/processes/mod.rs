//! A pool of worker processes, each told its scenario by name over a socket.
//!
//! The flow of one task:
//!
//! ```text
//!         the pool (this folder)           |  src/wire/  |       a worker process (src/worker/)
//!                                          |             |
//!  queue ──> job.pack ──> copiers ────┐    |             |
//!    ^       (input)      (private    │    |             |
//!    │                     arrays)    v    |    frame    |
//!    │                      handle: flight ──── Call ───────> ledger.begin ──> run_packed ──> W::run
//!    │                                │    |             |                          │
//!    └── taken back, worker ended ────┤    |    frame    |                          v
//!                                     <──────── Done ──────────────────── stamps and packed output
//!            job.accept (output) <────┘    |             |
//! ```
//!
//! The story of one batch:
//! 1. Before the clock starts, a worker is started for each empty slot ([`child`], [`opening`]), says hello, and opens the scenario
//!    ([`handle`]).
//! 2. One loop ([`dispatch`]) sends each worker the next task from the [`queue`], and several more ahead ([`flight`]) if
//!    tasks are short ([`pace`]). Private arrays of 128 KiB and more are copied into shared memory
//!    ([`crate::data::arena`]): by [`copiers`], or by the caller if there is one worker.
//! 3. The worker ([`crate::worker`]) notes in the [ledger](crate::wire::ledger) that it has begun the task, runs it
//!    between two stamps, and answers before it begins the next.
//! 4. The loop unpacks the answer into the job. [`handle`] knows when a worker has taken too long: for its task, whose
//!    deadline runs from when it was sent, or from the end of the task before it; or to start, to open, to end.
//!
//! A worker process may have several threads (`hybrid`). Each has a slot, a connection and a ledger of its own, as if it were
//! a process, and the same loop feeds them; what they have in common is the process, which starts and ends with all of them.
//!
//! A worker that ends costs the task that it had begun, and no other: the ledger tells which one that was. The tasks that
//! were sent ahead return to the queue, and a new worker is started in the slot. A worker that exceeds a deadline or
//! breaks the protocol is killed, and then handled in the same way. A worker that is *stuck*, because its task takes much
//! longer than those before it, loses the tasks that were sent ahead to other workers: the pool takes them back through
//! the ledger, without the worker's help.

mod child;
mod copiers;
mod dispatch;
mod event;
mod flight;
mod forkserver;
mod handle;
mod opening;
mod pace;
mod queue;
mod waiting;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use rustix::event::{PollFd, PollFlags, poll};

use self::child::StartMethod;
use self::copiers::Copiers;
use self::dispatch::Dispatch;
use self::event::{Event, Reaped};
use self::handle::WorkerHandle;
use self::waiting::timespec_until;
use super::{
    Executor, ExecutorKind, Isolation, Outcome, PoolOptions, Shapes, Suitability, ensure_enough_states,
    suits_all, time_batch,
};
use crate::job::Job;
use crate::program;
use crate::program::cgroup::out_of_memory_kills;
use crate::shape::Shape;
use crate::span::now;
use crate::usage::{self, Usage};

pub(super) const KIND: ExecutorKind = ExecutorKind {
    name: "processes",
    about: "worker processes: this program executed again, behind a Unix socket",
    isolation: Isolation::Process,
    shapes: Shapes::Workers,
    suits: suits_all,
    start: |options| Ok(Box::new(Processes::start(StartMethod::Spawn, options)?)),
};

pub(super) const FORKSERVER: ExecutorKind = ExecutorKind {
    name: "forkserver",
    about: "the same, forked from a server that was executed before: quicker to start",
    // Warm, it is the same as `processes`.
    suits: |workload| if workload.cold { Suitability::Suited } else { Suitability::OnRequest },
    start: |options| Ok(Box::new(Processes::start(StartMethod::Fork, options)?)),
    ..KIND
};

/// How many workers in a row may end in one slot before they are ready: a further one would end as well.
const MAX_FAILED_STARTS: u32 = 10;

/// How many tasks a worker runs before it is replaced, unless an option says less: its turns are 32-bit numbers.
const MAX_TURNS: u32 = u32::MAX - 1;

/// How long a worker may take to end after its socket is closed, before it is killed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a worker may take to say what it has used.
const USAGE_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) const HYBRID: ExecutorKind = ExecutorKind {
    name: "hybrid",
    about: "worker processes of several threads each",
    shapes: Shapes::Threaded,
    suits: |_| Suitability::OnRequest,
    start: |options| Ok(Box::new(Processes::start(StartMethod::Spawn, options)?)),
    ..KIND
};

struct Processes {
    method: StartMethod,
    options: PoolOptions,
    /// The threads of a process are neighbours; the first of them is the process's first thread.
    slots: Vec<Slot>,
    /// Started when the first large private array is to be sent by a pool of two or more workers: the arrays of a single
    /// worker are copied by the caller.
    copiers: Option<Copiers>,
    /// Workers that have been told to end and must be waited for.
    retired: Vec<WorkerHandle>,
    /// What this side has moved to workers, and the time that packing took.
    transfer: Transfer,
    /// How many processes the system has killed for want of memory, as far as known.
    memory_kills: Option<u64>,
}

/// Bytes moved to the other side, and time spent packing, unpacking and copying, ns.
#[derive(Clone, Copy, Debug, Default)]
struct Transfer {
    moved_bytes: u64,
    packing_ns: u64,
}

/// The place in the pool of a worker: of a process, or of each thread of a process that has several.
#[derive(Default)]
struct Slot {
    /// `None` if a worker is missing and could not be replaced.
    worker: Option<WorkerHandle>,
    /// How many workers in a row have ended here before they were ready.
    failed_starts: u32,
    /// The task whose input is being copied for this slot.
    copying: Option<usize>,
}

impl Processes {
    fn start(method: StartMethod, options: &PoolOptions) -> Result<Processes> {
        program::ensure_reexecutable()?;
        ensure!(
            method == StartMethod::Spawn || !options.without_shared_memory,
            "a fork server passes descriptors, which `without_shared_memory` rules out: use `processes`"
        );
        let Shape { workers, threads_per_worker: threads } = options.shape;
        ensure!(
            threads == 1 || !options.without_shared_memory,
            "a process is sent the connections of its threads, which `without_shared_memory` rules out: use `processes`"
        );
        let slots = (0..workers * threads).map(|_| Slot::default()).collect();
        let mut pool = Processes {
            method,
            options: options.clone(),
            slots,
            copiers: None,
            retired: Vec::new(),
            transfer: Transfer::default(),
            memory_kills: out_of_memory_kills(Path::new("/")),
        };
        (0..workers).try_for_each(|worker| pool.start_process(worker * threads))?;
        Ok(pool)
    }

    /// The slots of the process that has this one.
    fn process_of(&self, slot: usize) -> Range<usize> {
        let threads = self.options.shape.threads_per_worker;
        let first = slot - slot % threads;
        first..first + threads
    }

    /// The workers of the process that has this slot.
    fn threads_of(&mut self, slot: usize) -> impl Iterator<Item = &mut WorkerHandle> {
        let slots = self.process_of(slot);
        self.slots[slots].iter_mut().filter_map(|slot| slot.worker.as_mut())
    }

    /// Drops the workers of a process, which ends it.
    fn drop_process(&mut self, slot: usize) {
        let slots = self.process_of(slot);
        self.slots[slots].iter_mut().for_each(|slot| slot.worker = None);
    }

    /// What it is measured as.
    fn name(&self) -> String {
        let kind = match self.method {
            StartMethod::Spawn if self.options.shape.threads_per_worker > 1 => HYBRID,
            StartMethod::Spawn => KIND,
            StartMethod::Fork => FORKSERVER,
        };
        format!("{}/{}", kind.name, self.options.shape)
    }

    fn max_turns(&self) -> u32 {
        self.options.max_tasks_per_worker.unwrap_or(MAX_TURNS)
    }

    /// Starts the process that has a slot, with all its threads.
    fn start_process(&mut self, slot: usize) -> Result<()> {
        let slots = self.process_of(slot);
        let mut process = WorkerHandle::start(self.method, &self.options, slots.start)?;
        for thread in &mut self.slots[slots.clone()][1..] {
            thread.worker = Some(process.start_thread()?);
        }
        self.slots[slots.start].worker = Some(process);
        Ok(())
    }

    /// Starts the process that has a slot and has it open a scenario.
    fn start_and_open(&mut self, slot: usize, scenario: &'static str) -> Result<()> {
        self.start_process(slot)?;
        self.threads_of(slot).try_for_each(|thread| thread.open(scenario))
    }

    /// Takes the workers of a process out of their slots and tells them to end.
    fn retire(&mut self, slot: usize) {
        for slot in self.process_of(slot) {
            if let Some(mut worker) = self.slots[slot].worker.take() {
                worker.shut_down();
                self.retired.push(worker);
            }
        }
    }

    /// How a worker ended, with the cause of a kill if the system tells.
    fn explain(&mut self, Reaped { status, killed_from_outside, .. }: &Reaped) -> String {
        let kills = if *killed_from_outside { out_of_memory_kills(Path::new("/")) } else { None };
        if kills <= self.memory_kills {
            return status.clone();
        }
        self.memory_kills = kills;
        format!("{status}; perhaps out of memory: its control group has reached its limit")
    }
}

impl Executor for Processes {
    fn prepare(&mut self, job: &Arc<dyn Job>) -> Result<()> {
        ensure!(u32::try_from(job.tasks()).is_ok(), "{} tasks are too many for one batch", job.tasks());
        ensure_enough_states(&**job, self.slots.len())?;
        job.check_inputs().map_err(|cause| anyhow!("{}: {cause}", job.scenario()))?;
        // Workers are told of the memory that this sets free before the clock starts.
        job.clear();
        self.open(job.scenario())
    }

    fn execute(&mut self, job: &Arc<dyn Job>) -> Result<Outcome> {
        self.prepare(job)?;
        Ok(time_batch(&**job, |began| Dispatch::new(self, &**job, began).run()))
    }

    fn worker_usage(&mut self) -> Usage {
        let Transfer { moved_bytes, packing_ns } = self.transfer;
        let own = Usage { moved_bytes: Some(moved_bytes), packing_ns: Some(packing_ns), ..Usage::ZERO };
        // A worker that ends from here on is missing in this reading, and counts as reaped in the next.
        let mut sum = own + usage::reaped();
        let until = now() + USAGE_TIMEOUT.as_nanos() as u64;
        for worker in self.slots.iter_mut().flat_map(|slot| &mut slot.worker) {
            worker.request_usage();
        }
        for index in 0..self.slots.len() {
            let Some(worker) = &mut self.slots[index].worker else { continue };
            let used = loop {
                worker.mark_readable();
                match worker.receive(false) {
                    Ok(Some(Event::Used(used))) => break Some(used),
                    Ok(Some(_)) => {}
                    Ok(None) if now() < until => {
                        let _ =
                            poll(&mut [PollFd::new(&*worker, PollFlags::IN)], Some(&timespec_until(until)));
                    }
                    // It is replaced before the next batch.
                    Ok(None) | Err(_) => break None,
                }
            };
            match used {
                Some(used) => sum = sum + used,
                None => self.drop_process(index),
            }
        }
        sum
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // All are told to end before the first is waited for, and all have the same deadline.
        let mut workers: Vec<_> = self.slots.drain(..).filter_map(|slot| slot.worker).collect();
        workers.iter_mut().for_each(WorkerHandle::shut_down);
        workers.append(&mut self.retired);
        let deadline = Instant::now() + EXIT_TIMEOUT;
        workers.iter_mut().for_each(|worker| worker.wait_until(deadline));
    }
}
