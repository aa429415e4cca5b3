//! The loop of one batch: sends tasks, receives answers, and deals with the tasks of workers that ended or were killed.

use std::time::Duration;

use super::copiers::{Copiers, PendingInput};
use super::event::{Answer, Event, Reaped, WorkerError};
use super::handle::WorkerHandle;
use super::queue::Queue;
use super::waiting::{Readiness, wait};
use super::{MAX_FAILED_STARTS, Processes};
use crate::data::packet::Packet;
use crate::executors::Entry;
use crate::job::{Cause, Job};
use crate::program;
use crate::span::{TaskSpan, now};

pub(super) struct Dispatch<'a> {
    pool: &'a mut Processes,
    job: &'a dyn Job,
    began: u64,
    queue: Queue,
    /// Packed inputs that are too large to be sent to a busy worker.
    large: Vec<(usize, Packet)>,
    entries: Vec<Entry>,
    /// When a worker has last answered, ns.
    heard: u64,
    /// Whether a worker that stands still has been told of.
    told: bool,
}

/// How long nothing may be heard before a person is told why nothing happens.
const SILENCE_NS: u64 = 30_000_000_000;
/// How long inputs are packed for one worker while others may wait for theirs.
const MAX_PACKING_NS: u64 = 1_000_000;

impl<'a> Dispatch<'a> {
    pub(super) fn new(pool: &'a mut Processes, job: &'a dyn Job, began: u64) -> Self {
        let queue = Queue::new(job.tasks(), pool.options.retries);
        let entries = Vec::with_capacity(job.tasks());
        Dispatch { pool, job, began, queue, large: Vec::new(), entries, heard: began, told: false }
    }

    /// Runs until every task has an entry, or no worker is left that could run one.
    pub(super) fn run(mut self) -> Vec<Entry> {
        loop {
            let unsent = self.unsent();
            for slot in 0..self.pool.slots.len() {
                self.send_tasks(slot);
            }
            if self.is_done() {
                return self.entries;
            }
            if !self.awaits_event() {
                // Whatever left this turn without one, waiting would never end.
                if self.unsent() < unsent {
                    continue;
                }
                return self.refuse_rest("the pool has nothing to wait for: this is a bug of parbench");
            }
            let workers = self.pool.slots.iter().filter_map(|slot| slot.worker.as_ref());
            let timeout = workers.filter_map(|worker| worker.next_timeout(self.deadline())).min();
            let silence = (!self.told).then_some(self.heard + SILENCE_NS);
            let polled = match wait(&mut self.pool.slots, self.pool.copiers.as_ref(), timeout, silence) {
                Ok(polled) => polled,
                Err(error) => return self.refuse_rest(&format!("{error:#}")),
            };
            self.tell_silence();
            for (slot, readiness) in polled.slots.into_iter().enumerate() {
                if let Err(error) = self.receive(slot, readiness) {
                    self.reap(slot, &error);
                }
            }
            if polled.copied {
                self.send_copied();
            }
        }
    }

    /// Tells a person what is waited for, once, if nothing has been heard for long.
    fn tell_silence(&mut self) {
        let silence = now().saturating_sub(self.heard);
        if self.told || silence < SILENCE_NS {
            return;
        }
        let workers = self.pool.slots.iter().filter_map(|slot| slot.worker.as_ref());
        let Some(what) = workers.filter_map(WorkerHandle::occupation).next() else { return };
        let (scenario, seconds) = (self.job.scenario(), silence / 1_000_000_000);
        program::say(&format!("note: {scenario} on {}: nothing for {seconds} s; {what}", self.pool.name()));
        self.told = true;
    }

    /// Whether a worker or a copier will have something to say.
    fn awaits_event(&self) -> bool {
        self.pool.slots.iter().any(|slot| {
            let waits = |worker: &WorkerHandle| !worker.is_idle() || !worker.takes();
            slot.copying.is_some() || slot.worker.as_ref().is_some_and(waits)
        })
    }

    /// Ends the batch: the tasks that have no entry are refused with the reason.
    fn refuse_rest(mut self, why: &str) -> Vec<Entry> {
        let mut known = vec![false; self.job.tasks()];
        self.entries.iter().for_each(|(task, _)| known[*task] = true);
        let rest = (0..known.len()).filter(|task| !known[*task]);
        self.entries.extend(rest.map(|task| (task, Err(Cause::Refused { why: why.into() }))));
        self.entries
    }

    fn deadline(&self) -> Option<Duration> {
        self.pool.options.deadline
    }

    fn is_done(&self) -> bool {
        let slots = &self.pool.slots;
        let busy = slots.iter().any(|slot| {
            slot.copying.is_some() || slot.worker.as_ref().is_some_and(|worker| !worker.is_idle())
        });
        !busy && (self.unsent() == 0 || slots.iter().all(|slot| slot.worker.is_none()))
    }

    /// How many tasks no worker has.
    fn unsent(&self) -> usize {
        self.queue.len() + self.large.len()
    }

    /// Sends a worker as many tasks as it has room for.
    fn send_tasks(&mut self, index: usize) {
        let (workers, unsent) = (self.pool.slots.len(), self.unsent());
        let max = self.pool.options.prefetch.map_or(usize::MAX, |prefetch| prefetch.saturating_add(1));
        let max_turns = self.pool.max_turns();
        let slot = &mut self.pool.slots[index];
        let Some(worker) = &mut slot.worker else {
            // A worker that ended is replaced as long as there is something to do.
            return if unsent > 0 {
                self.replace(index)
            };
        };
        if worker.turns() >= max_turns {
            // It is replaced together with the other threads of its process.
            if unsent > 0 && self.pool.threads_of(index).all(|thread| thread.is_idle()) {
                self.pool.retire(index);
                return self.replace(index);
            }
            return self.flush(index);
        }
        // Towards the end of the batch, no worker takes more than its share ahead.
        let share = unsent.div_ceil(workers);
        let room = if slot.copying.is_some() { 0 } else { worker.room(share, max) };
        let room = room.min((max_turns - worker.turns()) as usize);
        if room > 0
            && worker.is_idle()
            && let Some((task, input)) = self.large.pop()
        {
            self.send(index, task, input);
            return self.flush(index);
        }
        // At most as many large inputs are kept as there are workers.
        let room = if self.large.len() < workers { room.min(self.queue.len()) } else { 0 };
        let began = if room > 0 { now() } else { 0 };
        let mut sent = 0;
        while sent < room {
            let Some(task) = self.queue.pop() else { break };
            match self.job.pack(task) {
                Ok(input) => {
                    sent += 1;
                    // What takes long to pack is not packed ahead of a worker: it may end, and others wait.
                    if !self.send(index, task, input) || now() - began > MAX_PACKING_NS {
                        break;
                    }
                }
                // It takes no room: the worker must not be left without a task while there is one.
                Err(cause) => self.entries.push((task, Err(cause))),
            }
        }
        if room > 0 {
            self.pool.transfer.packing_ns += now() - began;
        }
        self.flush(index);
    }

    fn flush(&mut self, index: usize) {
        if let Some(worker) = &mut self.pool.slots[index].worker {
            worker.flush();
        }
    }

    /// Queues a task for a worker, by way of the copiers if its arrays have to be copied; returns whether more may follow.
    fn send(&mut self, index: usize, task: usize, input: Packet) -> bool {
        let workers = self.pool.slots.len();
        let slot = &mut self.pool.slots[index];
        let Some(worker) = &mut slot.worker else { return false };
        if !worker.fits(&input) {
            // The first idle worker gets it.
            self.large.push((task, input));
            return false;
        }
        self.pool.transfer.moved_bytes += input.moved_bytes(true) as u64;
        if !worker.shares() || !input.is_worth_sharing() {
            worker.queue_task(task, input);
            return true;
        }
        let copiers = &mut self.pool.copiers;
        if copiers.is_none() && workers > 1 {
            *copiers = Copiers::start(workers).ok();
        }
        match copiers {
            Some(copiers) => {
                slot.copying = Some(task);
                copiers.copy(PendingInput { slot: index, task, input, copying_ns: 0 });
            }
            None => worker.queue_task(task, input.into_shared()),
        }
        false
    }

    /// Sends the inputs that have been copied.
    fn send_copied(&mut self) {
        for PendingInput { slot, task, input, copying_ns } in
            self.pool.copiers.iter_mut().flat_map(Copiers::copied)
        {
            self.pool.transfer.packing_ns += copying_ns;
            let slot = &mut self.pool.slots[slot];
            slot.copying = None;
            match &mut slot.worker {
                Some(worker) if worker.takes() => {
                    worker.queue_task(task, input);
                    worker.flush();
                }
                // The worker has ended meanwhile: the next one gets the task.
                _ => self.queue.give_back(vec![task]),
            }
        }
    }

    /// Receives what a worker said, and takes back tasks from a worker that is stuck.
    fn receive(&mut self, index: usize, Readiness { readable, ended }: Readiness) -> Result<(), WorkerError> {
        if readable || ended {
            self.receive_events(index, ended)?;
        }
        let deadline = self.deadline();
        let Some(worker) = &mut self.pool.slots[index].worker else { return Ok(()) };
        if let Err(late) = worker.check_timeout(deadline) {
            // Unpacking the answers of others may have taken that long: what has come meanwhile is not late.
            self.receive_events(index, ended)?;
            let Some(worker) = &mut self.pool.slots[index].worker else { return Ok(()) };
            worker.check_timeout(deadline).map_err(|_| late)?;
        }
        let Some(worker) = &mut self.pool.slots[index].worker else { return Ok(()) };
        self.queue.give_back(worker.take_back());
        Ok(())
    }

    /// Receives all that has come from a worker.
    fn receive_events(&mut self, index: usize, ended: bool) -> Result<(), WorkerError> {
        let slot = &mut self.pool.slots[index];
        let Some(worker) = &mut slot.worker else { return Ok(()) };
        worker.mark_readable();
        while let Some(event) = worker.receive(ended)? {
            match event {
                Event::Opened => slot.failed_starts = 0,
                Event::Refused(cause) => return Err(WorkerError::Protocol(cause.to_string())),
                Event::Used(_) => {}
                Event::Answer(task, answer) => {
                    let answer = answer.and_then(|Answer { stamps, output }| {
                        let arrived = now();
                        self.job.accept(task, output)?;
                        let received = now();
                        self.heard = received;
                        self.pool.transfer.packing_ns += received - arrived;
                        Ok(TaskSpan::far(task, index, self.began, stamps, received))
                    });
                    self.entries.push((task, answer));
                }
            }
        }
        Ok(())
    }

    /// Reaps a worker that can no longer be used, with all threads of its process.
    fn reap(&mut self, index: usize, error: &WorkerError) {
        self.reap_thread(index, error);
        for other in self.pool.process_of(index) {
            // What it had answered before its process ended has come.
            if let Err(error) = self.receive_events(other, true) {
                self.reap_thread(other, &error);
            }
        }
    }

    /// Reaps a worker, and fails or returns its tasks.
    fn reap_thread(&mut self, index: usize, error: &WorkerError) {
        let slot = &mut self.pool.slots[index];
        let Some(worker) = slot.worker.take() else { return };
        if !worker.has_open(self.job.scenario()) {
            slot.failed_starts += 1;
        }
        let reaped = worker.reap(error);
        let status = self.pool.explain(&reaped);
        let Reaped { begun, unbegun, .. } = reaped;
        let next = unbegun.first().copied().filter(|_| begun.is_empty());
        self.queue.give_back(unbegun);
        let mut failed = Vec::new();
        for task in begun {
            failed.extend(match error {
                WorkerError::TaskTimeout(deadline) => {
                    self.queue.died(task, Cause::TimedOut { deadline_ms: deadline.as_millis() as u64 })
                }
                _ => self.queue.died(task, Cause::Died { status: status.clone() }),
            });
        }
        failed.extend(next.and_then(|task| match error {
            // Another worker could not be sent it either.
            WorkerError::Send(message) => self.queue.unsendable(task, message),
            _ => self.queue.unbegun(task, &status),
        }));
        self.entries.extend(failed.into_iter().map(|(task, cause)| (task, Err(cause))));
    }

    /// Starts a worker for an empty slot. If that fails, the other workers do the rest; `prepare` tells why at the next
    /// batch.
    fn replace(&mut self, index: usize) {
        let scenario = self.job.scenario();
        let slots = self.pool.process_of(index);
        while self.pool.slots[slots.clone()].iter().all(|slot| slot.failed_starts < MAX_FAILED_STARTS) {
            if self.pool.start_and_open(index, scenario).is_ok() {
                return;
            }
            self.pool.drop_process(index);
            self.pool.slots[index].failed_starts += 1;
        }
    }
}
