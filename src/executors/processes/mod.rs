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
//! 1. Before the clock starts, a worker is started for each empty slot ([`child`]), says hello, and opens the scenario
//!    ([`handle`]).
//! 2. One loop ([`dispatch`]) sends each worker the next task from the [`queue`], and several more ahead ([`flight`]) if
//!    tasks are short ([`pace`]). Private arrays of 128 KiB and more are copied into shared memory
//!    ([`crate::data::arena`]): by [`copiers`], or by the caller if there is one worker.
//! 3. The worker ([`crate::worker`]) notes in the [ledger](crate::wire::ledger) that it has begun the task, runs it
//!    between two stamps, and answers before it begins the next.
//! 4. The loop unpacks the answer into the job. [`handle`] knows when a worker has taken too long: for its task, whose
//!    deadline runs from when it was sent, or from the end of the task before it; or to start, to open, to end.
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
mod pace;
mod queue;
mod waiting;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::event::{PollFd, PollFlags, poll};

use self::child::StartMethod;
use self::copiers::Copiers;
use self::dispatch::Dispatch;
use self::event::{Event, Reaped, WorkerError};
use self::handle::WorkerHandle;
use self::waiting::{Readiness, timespec_until, wait};
use super::{
    Executor, ExecutorKind, Isolation, Outcome, PoolOptions, Shapes, Suitability, ensure_enough_states,
    suits_all, time_batch,
};
use crate::job::Job;
use crate::program;
use crate::program::cgroup::out_of_memory_kills;
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

struct Processes {
    method: StartMethod,
    options: PoolOptions,
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

/// A worker's place in the pool.
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
        let workers = options.shape.workers;
        let slots = (0..workers).map(|_| Slot::default()).collect();
        let mut pool = Processes {
            method,
            options: options.clone(),
            slots,
            copiers: None,
            retired: Vec::new(),
            transfer: Transfer::default(),
            memory_kills: out_of_memory_kills(Path::new("/")),
        };
        (0..workers).try_for_each(|slot| pool.start_worker(slot).map(drop))?;
        Ok(pool)
    }

    /// What it is measured as.
    fn name(&self) -> String {
        let kind = match self.method {
            StartMethod::Spawn => KIND,
            StartMethod::Fork => FORKSERVER,
        };
        format!("{}/{}", kind.name, self.options.shape)
    }

    fn max_turns(&self) -> u32 {
        self.options.max_tasks_per_worker.unwrap_or(MAX_TURNS)
    }

    /// Starts a worker in a slot.
    fn start_worker(&mut self, slot: usize) -> Result<&mut WorkerHandle> {
        let worker = WorkerHandle::start(self.method, &self.options, slot)?;
        Ok(self.slots[slot].worker.insert(worker))
    }

    /// Takes the worker out of a slot and tells it to end.
    fn retire(&mut self, slot: usize) {
        if let Some(mut worker) = self.slots[slot].worker.take() {
            worker.shut_down();
            self.retired.push(worker);
        }
    }

    /// Starts a worker in every empty slot and has each worker open the scenario.
    fn open(&mut self, scenario: &'static str) -> Result<()> {
        // Those that have ended are reaped, and what they held is free.
        self.retired.retain_mut(|worker| !worker.has_exited());
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            slot.failed_starts = 0;
            // A worker that was killed between two batches is noticed only now. One that still has tasks got them in a
            // batch that a panic has ended early: its answers would be taken for those of other tasks.
            if slot.worker.as_mut().is_some_and(|worker| worker.has_ended() || !worker.is_idle()) {
                slot.worker = None;
            }
            if slot.copying.take().is_some() {
                self.copiers = None;
            }
            let max_turns = self.max_turns();
            if self.slots[index].worker.as_ref().is_some_and(|worker| worker.turns() >= max_turns) {
                self.retire(index);
            }
            match &mut self.slots[index].worker {
                Some(worker) => worker.open(scenario)?,
                None => self.start_worker(index)?.open(scenario)?,
            }
        }
        loop {
            let ready = |slot: &Slot| slot.worker.as_ref().is_some_and(|worker| worker.has_open(scenario));
            if self.slots.iter().all(ready) {
                return Ok(());
            }
            let workers = self.slots.iter().flat_map(|slot| &slot.worker);
            let timeout = workers.filter_map(|worker| worker.next_timeout(None)).min();
            let polled = wait(&mut self.slots, None, timeout, None)?;
            for (index, Readiness { readable, ended }) in polled.slots.into_iter().enumerate() {
                let Some(worker) = &mut self.slots[index].worker else { continue };
                worker.flush();
                let opened = match receive_until_open(worker, readable || ended, ended, scenario) {
                    Ok(Err(error)) => {
                        self.abandon_all_but(scenario);
                        Err(error)
                    }
                    Ok(opened) => opened,
                    Err(error) => self
                        .reap_unready(index, &error)
                        .and_then(|()| self.start_worker(index)?.open(scenario)),
                };
                opened.with_context(|| format!("a worker process cannot open `{scenario}`"))?;
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

    /// Kills the workers that do not have the scenario open: they may be about to say that they cannot, which the next
    /// scenario would be taken to task for.
    fn abandon_all_but(&mut self, scenario: &str) {
        for slot in &mut self.slots {
            if slot.worker.as_ref().is_some_and(|worker| !worker.has_open(scenario)) {
                slot.worker.take().into_iter().for_each(WorkerHandle::abandon);
            }
        }
    }

    /// Reaps a worker that ended before it was ready. One that was killed from outside may be replaced, and one that has
    /// served before: what a task has left behind ended it, or dropping the state of another scenario.
    fn reap_unready(&mut self, slot: usize, error: &WorkerError) -> Result<()> {
        let slot = &mut self.slots[slot];
        slot.failed_starts += 1;
        let Some(worker) = slot.worker.take() else { return Ok(()) };
        let served = worker.has_served();
        let reaped = worker.reap(error);
        let is_early = slot.failed_starts < MAX_FAILED_STARTS;
        let status = self.explain(&reaped);
        match error {
            WorkerError::Exited if (reaped.killed_from_outside || served) && is_early => Ok(()),
            WorkerError::Exited => bail!("it ended ({status}) before it was ready"),
            _ => bail!("{status}"),
        }
    }
}

/// Receives what a worker says until it has the scenario open. The outer error is about the worker, the inner one about
/// the scenario.
fn receive_until_open(
    worker: &mut WorkerHandle,
    readable: bool,
    ended: bool,
    scenario: &'static str,
) -> Result<Result<()>, WorkerError> {
    worker.mark_readable();
    while let Some(event) = if readable { worker.receive(ended)? } else { None } {
        if let Event::Refused(cause) = event {
            return Ok(Err(anyhow!("{cause}")));
        }
        // It may have had another scenario to open first.
        if let Err(error) = worker.open(scenario) {
            return Ok(Err(error));
        }
    }
    worker.check_timeout(None).map(Ok)
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
        for slot in &mut self.slots {
            let Some(worker) = &mut slot.worker else { continue };
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
                None => slot.worker = None,
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
