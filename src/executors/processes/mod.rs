//! A pool of worker processes, told the scenario by name over a socket.
//!
//! One batch's story:
//! 1. before the clock, a missing worker is started ([`body`]), says hello, and opens the scenario ([`member`]);
//! 2. one loop ([`dispatch`]) gives each worker the next task from the [`queue`], and a few more ahead ([`flight`])
//!    if tasks are short ([`pace`]); [`copiers`] copy large private arrays into shared memory ([`crate::segment`]);
//! 3. the worker ([`crate::worker`]) notes in the ledger ([`crate::ledger`]) that it has begun the task, runs it
//!    between two stamps, and answers over the socket ([`crate::wire`]);
//! 4. the loop unpacks the answer into the job and looks for the next deadline.
//!
//! A worker that ends costs the task that it had begun. What was sent ahead goes back to the queue, and a new
//! worker takes its place.

mod body;
mod copiers;
mod dispatch;
mod event;
mod flight;
mod member;
mod pace;
mod queue;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::body::Method;
use self::copiers::Copiers;
use self::dispatch::Dispatch;
use self::event::{Event, Gone, Wreck};
use self::member::Member;
use super::{Executor, Kind, Means, Outcome, Place, measure};
use crate::job::Job;
use crate::program;
use crate::span::now;
use crate::usage::Usage;

pub(super) const KIND: Kind = Kind {
    name: "processes",
    about: "worker processes: this program executed again, behind a Unix socket",
    place: Place::Processes,
    single: false,
    nests: true,
    cold: false,
    start: |means| Ok(Box::new(Processes::start(Method::Spawn, means)?)),
};

pub(super) const FORKSERVER: Kind = Kind {
    name: "forkserver",
    about: "the same, forked from a server that was executed before: quicker to start",
    cold: true,
    start: |means| Ok(Box::new(Processes::start(Method::Fork, means)?)),
    ..KIND
};

/// How many workers in a row may end in one place before they are ready: something is wrong that another one will
/// not mend.
const MOST_STILLBORN: u32 = 10;

/// How many tasks a worker runs before it is replaced, if nothing else is said: its turns have numbers of 32 bits.
const MOST_TURNS: u32 = u32::MAX - 1;

/// How long a worker may take to end after its socket is closed, before it is killed.
const END: Duration = Duration::from_secs(2);
/// How long a worker may take to say what it has used.
const USED: Duration = Duration::from_secs(10);

struct Processes {
    method: Method,
    means: Means,
    places: Vec<Seat>,
    /// Started when the first large private array is to be sent by a pool of two or more: one worker's arrays are
    /// copied by the caller.
    copiers: Option<Copiers>,
    /// Workers that have been told to end, and are to be waited for.
    leaving: Vec<Member>,
}

/// A worker's place in the pool.
#[derive(Default)]
struct Seat {
    /// `None` where a worker is missing and could not be replaced.
    member: Option<Member>,
    /// How many workers in a row have ended here before they were ready.
    stillborn: u32,
    /// The task whose input is being copied for it.
    loading: Option<usize>,
}

impl Processes {
    fn start(method: Method, means: &Means) -> Result<Processes> {
        program::ensure_reentrant()?;
        ensure!(
            method == Method::Spawn || !means.bare,
            "a fork server needs descriptors to be passed, which `bare` does without: use `processes`"
        );
        let places = (0..means.workers).map(|_| Seat::default()).collect();
        let mut pool = Processes { method, means: means.clone(), places, copiers: None, leaving: Vec::new() };
        (0..means.workers).try_for_each(|index| pool.hire(index).map(drop))?;
        Ok(pool)
    }

    /// Puts a new worker into a place.
    fn hire(&mut self, index: usize) -> Result<&mut Member> {
        let member = Member::start(self.method, &self.means, index)?;
        Ok(self.places[index].member.insert(member))
    }

    /// Takes a worker out of its place and has it end by itself.
    fn retire(&mut self, index: usize) {
        if let Some(mut member) = self.places[index].member.take() {
            member.hang_up();
            self.leaving.push(member);
        }
        self.leaving.retain_mut(|member| !member.has_left());
    }

    /// Puts a worker into every place and has each open the scenario.
    fn prepare(&mut self, workload: &'static str) -> Result<()> {
        for index in 0..self.places.len() {
            let seat = &mut self.places[index];
            seat.stillborn = 0;
            // One that was killed between two batches shows only now. One that still has tasks had them from a batch
            // that was left in the middle, by a panic: its answers would be taken for others.
            if seat.member.as_mut().is_some_and(|member| member.has_ended() || !member.is_idle()) {
                seat.member = None;
            }
            if seat.loading.take().is_some() {
                self.copiers = None;
            }
            let seat = &mut self.places[index];
            let life = self.means.life.unwrap_or(MOST_TURNS);
            if seat.member.as_ref().is_some_and(|member| member.turns() >= life) {
                self.retire(index);
            }
            match &mut self.places[index].member {
                Some(member) => member.open(workload)?,
                None => self.hire(index)?.open(workload)?,
            }
        }
        loop {
            let ready = |seat: &Seat| seat.member.as_ref().is_some_and(|member| member.has_open(workload));
            if self.places.iter().all(ready) {
                return Ok(());
            }
            let alarm =
                self.places.iter().flat_map(|seat| &seat.member).filter_map(|member| member.alarm(None));
            let readiness = wait(&self.places, None, alarm.min())?;
            for (index, Ready { said, ended }) in readiness.places.into_iter().enumerate() {
                let Some(member) = &mut self.places[index].member else { continue };
                member.flush();
                let welcomed = match welcome(member, said || ended, ended, workload) {
                    Ok(Err(error)) => {
                        self.places[index].member = None;
                        Err(error)
                    }
                    Ok(welcomed) => welcomed,
                    Err(gone) => self.mourn(index, &gone).and_then(|()| self.hire(index)?.open(workload)),
                };
                welcomed.with_context(|| format!("a worker process cannot open `{workload}`"))?;
            }
        }
    }

    /// Buries a worker that was to be started; one that was killed from outside may be replaced.
    fn mourn(&mut self, index: usize, gone: &Gone) -> Result<()> {
        let seat = &mut self.places[index];
        seat.stillborn += 1;
        let Some(Wreck { status, murdered, .. }) = seat.member.take().map(|member| member.bury(gone)) else {
            return Ok(());
        };
        match gone {
            Gone::Ended if murdered && seat.stillborn < MOST_STILLBORN => Ok(()),
            Gone::Ended => bail!("it ended ({status}) before it was ready"),
            _ => bail!("{status}"),
        }
    }
}

/// Hears what a worker says until it has the scenario open.
fn welcome(member: &mut Member, said: bool, ended: bool, workload: &'static str) -> Result<Result<()>, Gone> {
    member.rouse();
    while let Some(event) = if said { member.receive(ended)? } else { None } {
        if let Event::Refused(cause) = event {
            return Ok(Err(anyhow!("{cause}")));
        }
        // It may have had another scenario to open first.
        if let Err(error) = member.open(workload) {
            return Ok(Err(error));
        }
    }
    member.is_late(None).map(Ok)
}

impl Executor for Processes {
    fn execute(&mut self, job: &Arc<dyn Job>) -> Result<Outcome> {
        ensure!(u32::try_from(job.tasks()).is_ok(), "{} tasks are too many for one batch", job.tasks());
        // Workers learn of the memory that this sets free before the clock starts.
        job.clear();
        self.prepare(job.workload())?;
        Ok(measure(&**job, |began| Dispatch::new(self, &**job, began).run()))
    }

    fn usage(&mut self) -> Usage {
        let mut sum = Usage::take();
        let until = now() + USED.as_nanos() as u64;
        for member in self.places.iter_mut().flat_map(|seat| &mut seat.member) {
            member.measure();
        }
        for index in 0..self.places.len() {
            let Some(member) = &mut self.places[index].member else { continue };
            let used = loop {
                member.rouse();
                match member.receive(false) {
                    Ok(Some(Event::Used(used))) => break Some(used),
                    Ok(Some(_)) => {}
                    Ok(None) if now() < until => {
                        let _ = poll(&mut [PollFd::new(&*member, PollFlags::IN)], Some(&timeout(until)));
                    }
                    // The next batch finds out what became of it.
                    Ok(None) | Err(_) => break None,
                }
            };
            match used {
                Some(used) => sum = sum + used,
                None => self.places[index].member = None,
            }
        }
        sum
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // All are told before the first is waited for, and all have the same time.
        let mut members: Vec<_> = self.places.drain(..).filter_map(|seat| seat.member).collect();
        members.iter_mut().for_each(Member::hang_up);
        members.append(&mut self.leaving);
        let deadline = Instant::now() + END;
        members.iter_mut().for_each(|member| member.end_by(deadline));
    }
}

/// What is ready to be looked at.
struct Readiness {
    places: Vec<Ready>,
    copied: bool,
}

#[derive(Clone, Copy, Default)]
struct Ready {
    /// Its socket has something to read, or takes more.
    said: bool,
    /// Its process has ended.
    ended: bool,
}

/// Waits until a worker or a copier has something to say, or for `until`.
fn wait(places: &[Seat], copiers: Option<&Copiers>, until: Option<u64>) -> Result<Readiness> {
    let mut polled = Vec::with_capacity(2 * places.len() + 1);
    for member in places.iter().filter_map(|seat| seat.member.as_ref()) {
        let full = if member.is_full() { PollFlags::OUT } else { PollFlags::empty() };
        polled.push(PollFd::new(member, PollFlags::IN | full));
        polled.extend(
            member.descriptor().map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN)),
        );
    }
    polled.extend(copiers.map(|copiers| PollFd::new(copiers, PollFlags::IN)));
    let result = poll(&mut polled, until.map(timeout).as_ref());
    if !matches!(result, Ok(_) | Err(rustix::io::Errno::INTR)) {
        result.context("cannot wait for the worker processes")?;
    }
    let mut events = polled.iter().map(|polled| !polled.revents().is_empty());
    let mut next = || events.next().unwrap_or(false);
    let ready = |seat: &Seat| {
        let Some(member) = &seat.member else { return Ready::default() };
        Ready { said: next(), ended: member.descriptor().is_some() && next() }
    };
    let places = places.iter().map(ready).collect();
    Ok(Readiness { places, copied: copiers.is_some() && next() })
}

/// From now until then.
fn timeout(until: u64) -> Timespec {
    let left = Duration::from_nanos(until.saturating_sub(now()));
    Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
}
