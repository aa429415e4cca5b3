//! A pool of worker processes: each is this program re-executed, told the scenario by name over a socket.
//!
//! One call's story:
//! 1. before the clock, a missing worker is started ([`member`]), says hello, and opens the scenario;
//! 2. for each worker a sender takes a task from the queue, packs its input and sends it ([`crate::wire`]);
//! 3. the worker ([`crate::worker`]) unpacks it, runs it between two stamps, packs the output, answers;
//! 4. the sender unpacks the answer into the job and takes the next task. For short tasks it has sent the next
//!    few ahead ([`pace`]), so that the worker does not idle for the length of a wake-up.
//!
//! A worker that ends on its own costs the task that it had begun. What was sent ahead goes back to the queue,
//! and a new worker takes its place.

mod member;
mod pace;

use std::iter;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use rayon::{ThreadPool, ThreadPoolBuilder};

use self::member::{Answer, Gone, Member};
use super::{Entry, Executor, Kind, Means, Outcome, Place, measure};
use crate::job::{Cause, Job};
use crate::program;
use crate::span::{TaskSpan, now};
use crate::usage::Usage;

pub(super) const KIND: Kind = Kind {
    name: "processes",
    about: "worker processes: this program re-executed, behind a Unix socket",
    place: Place::Processes,
    single: false,
    nests: true,
    start: |means| Ok(Box::new(Processes::start(means)?)),
};

struct Processes {
    /// `None` where a worker is missing and could not be replaced.
    members: Vec<Mutex<Option<Member>>>,
    /// A warm thread for each worker, so that as many copy large arrays. With one worker the caller does it
    /// itself: a hand-over would cost as much as the task.
    senders: Option<ThreadPool>,
    /// Most tasks that a worker is sent at once.
    in_flight: usize,
}

impl Processes {
    fn start(&Means { workers, in_flight }: &Means) -> Result<Processes> {
        program::ensure_reentrant()?;
        let senders = match workers {
            1 => None,
            _ => Some(
                ThreadPoolBuilder::new()
                    .num_threads(workers)
                    .thread_name(|n| format!("sender {n}"))
                    .build()?,
            ),
        };
        // All are started before the first hello is awaited.
        let members = iter::repeat_with(Member::spawn).take(workers).collect::<Result<Vec<_>>>()?;
        let mut pool = Processes {
            members: members.into_iter().map(|m| Mutex::new(Some(m))).collect(),
            senders,
            in_flight: in_flight.map_or(usize::MAX, |most| most.max(1)),
        };
        pool.members_mut().flatten().try_for_each(Member::greet)?;
        Ok(pool)
    }

    fn members_mut(&mut self) -> impl Iterator<Item = &mut Option<Member>> {
        self.members.iter_mut().map(|member| member.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a worker into every place and opens the scenario in each.
    fn prepare(&mut self, workload: &'static str) -> Result<()> {
        self.members_mut().try_for_each(|place| {
            // One that was killed between two batches shows only now.
            if place.as_mut().is_some_and(Member::has_ended) {
                *place = None;
            }
            match place {
                Some(member) => member.open(workload)?,
                None => *place = Some(Member::ready(workload)?),
            }
            Ok(())
        })
    }
}

impl Executor for Processes {
    fn execute(&mut self, job: &Arc<dyn Job>) -> Result<Outcome> {
        ensure!(u32::try_from(job.tasks()).is_ok(), "{} tasks are too many for one batch", job.tasks());
        self.prepare(job.workload())?;
        let queue = Mutex::new(Queue { fresh: 0..job.tasks(), returned: Vec::new(), unsent: Vec::new() });
        Ok(measure(&**job, |began| {
            let batch = Batch {
                job: &**job,
                began,
                queue: &queue,
                workers: self.members.len(),
                in_flight: self.in_flight,
            };
            match &self.senders {
                None => batch.serve(0, &mut lock(&self.members[0])),
                Some(senders) => senders
                    .broadcast(|sender| batch.serve(sender.index(), &mut lock(&self.members[sender.index()])))
                    .concat(),
            }
        }))
    }

    fn usage(&mut self) -> Usage {
        let workers = self.members_mut().filter_map(|place| place.as_mut()?.usage().ok());
        workers.fold(Usage::take(), |sum, usage| sum + usage)
    }
}

/// How often a task is sent to workers that end before they have it.
const MOST_SENDINGS: usize = 5;

/// Tasks that nobody has yet.
struct Queue {
    fresh: Range<usize>,
    /// Sent ahead to a worker that died before it began them, or never sent.
    returned: Vec<usize>,
    /// Could not be sent, once for each time: their worker ended before or while they were written.
    unsent: Vec<usize>,
}

impl Queue {
    fn len(&self) -> usize {
        self.fresh.len() + self.returned.len()
    }

    /// Returns a task that could not be sent, or says why not: again and again is no accident, but a worker that
    /// ends whenever it gets this input.
    fn unsent(&mut self, task: usize) -> Option<Entry> {
        self.unsent.push(task);
        if self.unsent.iter().filter(|unsent| **unsent == task).count() >= MOST_SENDINGS {
            let why = format!("{MOST_SENDINGS} workers ended while its input was on the way");
            return Some((task, Err(Cause::Refused { why })));
        }
        self.returned.push(task);
        None
    }

    fn pop(&mut self) -> Option<usize> {
        self.returned.pop().or_else(|| self.fresh.next())
    }
}

/// A batch as the senders see it.
#[derive(Clone, Copy)]
struct Batch<'a> {
    job: &'a dyn Job,
    began: u64,
    queue: &'a Mutex<Queue>,
    workers: usize,
    in_flight: usize,
}

impl Batch<'_> {
    /// Keeps one worker busy until the queue is empty, replacing it when it dies.
    fn serve(self, index: usize, place: &mut Option<Member>) -> Vec<Entry> {
        let mut entries = Vec::new();
        while let Some(member) = place {
            let Err(gone) = self.feed(index, member, &mut entries) else { break };
            let mut ahead = member.take_ahead();
            // Dropping it first reaps it: its status is the cause.
            let status = place.take().map(|member| member.bury(gone)).unwrap_or_default();
            if let Some(begun) = ahead.pop_front() {
                entries.push((begun, Err(Cause::Died { status })));
            }
            let mut queue = lock(self.queue);
            queue.returned.extend(ahead);
            if queue.len() == 0 {
                break;
            }
            drop(queue);
            // Without a new one the others do the rest; `prepare` says why at the next batch.
            *place = Member::ready(self.job.workload()).ok();
        }
        entries
    }

    /// Sends tasks and takes answers until nothing is left to do, or the worker is gone.
    fn feed(self, index: usize, member: &mut Member, entries: &mut Vec<Entry>) -> Result<(), Gone> {
        loop {
            while let Some(task) = self.next(member) {
                match self.job.pack(task) {
                    Ok(input) if !member.fits(&input) => {
                        // For whoever is idle first.
                        lock(self.queue).returned.push(task);
                        break;
                    }
                    Ok(input) => {
                        if !member.call(task, input) {
                            entries.extend(lock(self.queue).unsent(task));
                        }
                    }
                    Err(cause) => entries.push((task, Err(cause))),
                }
            }
            if member.is_done() {
                return Ok(());
            }
            let (task, answer) = member.answer()?;
            let answer = answer.and_then(|Answer { stamps, output }| {
                self.job.accept(task, output)?;
                Ok(TaskSpan::far(task, index, self.began, stamps, now()))
            });
            entries.push((task, answer));
        }
    }

    /// The next task for a worker whose window has room.
    fn next(self, member: &Member) -> Option<usize> {
        let mut queue = lock(self.queue);
        // Nobody hoards: towards the end each takes no more than its share ahead.
        let share = queue.len().div_ceil(self.workers);
        if member.has_room(self.in_flight, share) { queue.pop() } else { None }
    }
}

/// No code that can panic runs under these locks, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
