//! The loop of one batch: gives tasks, takes answers, and deals with workers that end or take too long.

use std::time::Duration;

use super::copiers::{Copiers, Load};
use super::event::{Answer, Event, Gone, Wreck};
use super::queue::Queue;
use super::{MOST_STILLBORN, MOST_TURNS, Processes, Ready, wait};
use crate::executors::Entry;
use crate::job::{Cause, Job};
use crate::message::Packet;
use crate::span::{TaskSpan, now};

pub(super) struct Dispatch<'a> {
    pool: &'a mut Processes,
    job: &'a dyn Job,
    began: u64,
    queue: Queue,
    /// Inputs that are packed and too large to be sent to a worker that is busy.
    large: Vec<(usize, Packet)>,
    entries: Vec<Entry>,
}

impl<'a> Dispatch<'a> {
    pub(super) fn new(pool: &'a mut Processes, job: &'a dyn Job, began: u64) -> Self {
        let queue = Queue::new(job.tasks(), pool.means.retries);
        let entries = Vec::with_capacity(job.tasks());
        Dispatch { pool, job, began, queue, large: Vec::new(), entries }
    }

    /// Runs until every task has an entry, or nobody is left who could run one.
    pub(super) fn run(mut self) -> Vec<Entry> {
        loop {
            for index in 0..self.pool.places.len() {
                self.give(index);
            }
            if self.is_over() {
                return self.entries;
            }
            let members = self.pool.places.iter().filter_map(|seat| seat.member.as_ref());
            let alarm = members.filter_map(|member| member.alarm(self.deadline())).min();
            let Ok(readiness) = wait(&self.pool.places, self.pool.copiers.as_ref(), alarm) else {
                return self.entries;
            };
            for (index, ready) in readiness.places.into_iter().enumerate() {
                if let Err(gone) = self.attend(index, ready) {
                    self.bury(index, &gone);
                }
            }
            if readiness.copied {
                self.deliver();
            }
        }
    }

    fn deadline(&self) -> Option<Duration> {
        self.pool.means.deadline
    }

    fn is_over(&self) -> bool {
        let places = &self.pool.places;
        let busy = places.iter().any(|seat| {
            seat.loading.is_some() || seat.member.as_ref().is_some_and(|member| !member.is_idle())
        });
        !busy && (self.left() == 0 || places.iter().all(|seat| seat.member.is_none()))
    }

    /// How many tasks no worker has.
    fn left(&self) -> usize {
        self.queue.len() + self.large.len()
    }

    /// Sends a worker as many tasks as it has room for.
    fn give(&mut self, index: usize) {
        let (workers, left) = (self.pool.places.len(), self.left());
        let most = self.pool.means.in_flight.unwrap_or(usize::MAX);
        let life = self.pool.means.life.unwrap_or(MOST_TURNS);
        let seat = &mut self.pool.places[index];
        let Some(member) = &mut seat.member else {
            // Another one takes the place of a worker that ended, as long as there is something to do.
            return if left > 0 {
                self.replace(index)
            };
        };
        if member.turns() >= life && member.is_idle() && left > 0 {
            self.pool.retire(index);
            self.replace(index);
            return;
        }
        // Nobody hoards: towards the end each takes no more than its share ahead.
        let share = left.div_ceil(workers);
        let room = if seat.loading.is_some() { 0 } else { member.room(share, most) };
        let room = room.min((life - member.turns()) as usize);
        if room > 0
            && member.is_idle()
            && let Some((task, input)) = self.large.pop()
        {
            self.send(index, task, input);
            return self.flush(index);
        }
        // No more of them are kept than there are workers.
        let room = if self.large.len() < workers { room } else { 0 };
        for _ in 0..room {
            let Some(task) = self.queue.pop() else { break };
            match self.job.pack(task) {
                Ok(input) => {
                    if !self.send(index, task, input) {
                        break;
                    }
                }
                Err(cause) => self.entries.push((task, Err(cause))),
            }
        }
        self.flush(index);
    }

    fn flush(&mut self, index: usize) {
        if let Some(member) = &mut self.pool.places[index].member {
            member.flush();
        }
    }

    /// Sends a task, by way of the copiers if its arrays have to be copied; tells whether more may follow.
    fn send(&mut self, index: usize, task: usize, input: Packet) -> bool {
        let seat = &mut self.pool.places[index];
        let Some(member) = &mut seat.member else { return false };
        if !member.fits(&input) {
            // For whoever is idle first.
            self.large.push((task, input));
            return false;
        }
        if !member.shares() || !input.is_worth_sharing() {
            member.call(task, input);
            return true;
        }
        let copiers = &mut self.pool.copiers;
        if copiers.is_none() && self.pool.means.workers > 1 {
            *copiers = Copiers::start(self.pool.means.workers).ok();
        }
        match copiers {
            Some(copiers) => {
                seat.loading = Some(task);
                copiers.copy(Load { place: index, task, input });
            }
            None => member.call(task, input.into_shared()),
        }
        false
    }

    /// Sends the inputs that have been copied.
    fn deliver(&mut self) {
        for Load { place, task, input } in self.pool.copiers.iter_mut().flat_map(Copiers::copied) {
            let seat = &mut self.pool.places[place];
            seat.loading = None;
            match &mut seat.member {
                Some(member) if member.takes() => {
                    member.call(task, input);
                    member.flush();
                }
                // It ended meanwhile: whoever is next gets it.
                _ => self.queue.give_back(vec![task]),
            }
        }
    }

    /// Takes what a worker said, and what it should not have ahead any more.
    fn attend(&mut self, index: usize, Ready { said, ended }: Ready) -> Result<(), Gone> {
        let seat = &mut self.pool.places[index];
        let Some(member) = &mut seat.member else { return Ok(()) };
        member.rouse();
        while let Some(event) = if said || ended { member.receive(ended)? } else { None } {
            match event {
                Event::Opened => seat.stillborn = 0,
                Event::Refused(cause) => return Err(Gone::Mad(cause.to_string())),
                Event::Used(_) => {}
                Event::Answer(task, answer) => {
                    let answer = answer.and_then(|Answer { stamps, output }| {
                        self.job.accept(task, output)?;
                        Ok(TaskSpan::far(task, index, self.began, stamps, now()))
                    });
                    self.entries.push((task, answer));
                }
            }
        }
        member.is_late(self.pool.means.deadline)?;
        self.queue.give_back(member.take_back());
        Ok(())
    }

    /// Deals with the tasks of a worker that is gone.
    fn bury(&mut self, index: usize, gone: &Gone) {
        let seat = &mut self.pool.places[index];
        let Some(member) = seat.member.take() else { return };
        if !member.has_open(self.job.workload()) {
            seat.stillborn += 1;
        }
        let Wreck { begun, rest, status, .. } = member.bury(gone);
        let next = rest.first().copied().filter(|_| begun.is_empty());
        self.queue.give_back(rest);
        let mut failed = Vec::new();
        for task in begun {
            failed.extend(match gone {
                Gone::TimedOut(deadline) => {
                    Some((task, Cause::TimedOut { deadline_ms: deadline.as_millis() as u64 }))
                }
                _ => self.queue.died(task, Cause::Died { status: status.clone() }),
            });
        }
        failed.extend(next.and_then(|task| self.queue.unbegun(task, &status)));
        self.entries.extend(failed.into_iter().map(|(task, cause)| (task, Err(cause))));
    }

    /// Starts a worker for an empty place. Without one the others do the rest; `prepare` says why at the next batch.
    fn replace(&mut self, index: usize) {
        let workload = self.job.workload();
        while self.pool.places[index].stillborn < MOST_STILLBORN {
            match self.pool.hire(index).and_then(|member| member.open(workload)) {
                Ok(()) => return,
                Err(_) => {
                    self.pool.places[index].member = None;
                    self.pool.places[index].stillborn += 1;
                }
            }
        }
    }
}
