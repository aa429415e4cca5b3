//! Ways to run a batch of tasks: the trait, the list of them, and what a run gives.

mod processes;
mod rayon;
mod serial;
mod threads;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::job::{Cause, Job};
pub use crate::means::{Means, Output};
use crate::span::{TaskSpan, now};
use crate::usage::Usage;

/// Every executor, in the order of reports. One more is a file with a `KIND`, its `mod` line and a row here.
pub static ALL: &[&Kind] =
    &[&serial::KIND, &threads::KIND, &rayon::KIND, &processes::KIND, &processes::FORKSERVER];

/// Most workers that an executor is asked for: more is taken for a slip of the hand.
pub const MOST_WORKERS: usize = 1024;

/// An executor in a list.
#[derive(Debug)]
pub struct Kind {
    /// Its name in Criterion ids, records and on the command line.
    pub name: &'static str,
    /// What it is, in half a sentence.
    pub about: &'static str,
    /// Where its tasks run.
    pub place: Place,
    /// It has one worker and no more.
    pub single: bool,
    /// It can run workloads that are [`crate::Workload::NESTED`].
    pub nests: bool,
    /// Warm it is as another executor: it is measured where starting is the subject ([`crate::Workload::COLD`]),
    /// or where it is asked for by name.
    pub cold: bool,
    start: fn(&Means) -> Result<Box<dyn Executor>>,
}

/// Where an executor's tasks run, seen from its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the calling thread.
    Here,
    /// On other threads of this process.
    Threads,
    /// In other processes.
    Processes,
}

impl Kind {
    /// Starts the executor; dropping it ends its workers.
    ///
    /// # Errors
    /// Where the number of workers is none that this executor can have, or a worker does not start.
    pub fn start(&self, means: &Means) -> Result<Box<dyn Executor>> {
        let workers = means.workers;
        let most = if self.single { 1 } else { MOST_WORKERS };
        ensure!((1..=most).contains(&workers), "{} can have 1 to {most} workers, not {workers}", self.name);
        means.check()?;
        (self.start)(means).with_context(|| format!("cannot start {}/{workers}", self.name))
    }

    /// The executor of that name.
    ///
    /// # Errors
    /// Where there is none: the sentence names those that there are.
    pub fn find(name: &str) -> Result<&'static Kind> {
        let names = || ALL.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
        let kind = ALL.iter().find(|kind| kind.name == name);
        kind.copied().with_context(|| format!("there is no executor `{name}`; there are {}", names()))
    }
}

/// A way to run a batch of tasks, with its workers started and kept warm between batches.
pub trait Executor {
    /// Runs every task of a job once and waits for the last.
    ///
    /// A task that fails is an entry in the outcome; the executor works on.
    ///
    /// # Errors
    /// Where the batch could not begin: a worker that does not start, or whose state cannot be made.
    fn execute(&mut self, job: &Arc<dyn Job>) -> Result<Outcome>;

    /// What this program and the workers have used so far; their peak of memory is that since the last call.
    ///
    /// The difference of two calls is what the batches between them cost. It is no part of the outcome: asking
    /// takes 0.1 ms, and leaves caches colder than they were.
    fn usage(&mut self) -> Usage {
        Usage::take()
    }
}

/// What one batch gave.
#[derive(Debug)]
pub struct Outcome {
    /// When the batch began, ns of [`now`].
    pub began: u64,
    /// From then until the last answer was at hand.
    pub wall: Duration,
    /// One entry for each task, in their order, always.
    pub tasks: Vec<Result<TaskSpan, Failure>>,
}

impl Outcome {
    /// The spans, where every task has one.
    ///
    /// # Errors
    /// The first failure, and how many more there are.
    pub fn spans(&self) -> Result<Vec<TaskSpan>> {
        let failures: Vec<_> = self.tasks.iter().filter_map(|task| task.as_ref().err()).collect();
        match failures[..] {
            [] => Ok(self.tasks.iter().flatten().copied().collect()),
            [only] => bail!("{only}"),
            [first, ..] => bail!("{first} ({} of {} tasks failed)", failures.len(), self.tasks.len()),
        }
    }
}

/// A task without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The scenario's name.
    pub workload: &'static str,
    /// The task's number.
    pub task: usize,
    /// Why.
    pub cause: Cause,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, task {}: {}", self.workload, self.task, self.cause)
    }
}

impl std::error::Error for Failure {}

/// What became of one task: its number, and its span or why it has none.
type Entry = (usize, Result<TaskSpan, Cause>);

/// The frame of every batch: what must happen before and after the clock, and the clock.
///
/// `run` gets the time the batch began and returns the entries in any order; a task that it left out becomes
/// a failure.
fn measure(job: &dyn Job, run: impl FnOnce(u64) -> Vec<Entry>) -> Outcome {
    job.clear();
    let began = now();
    let entries = run(began);
    let wall = Duration::from_nanos(now() - began);

    let mut tasks: Vec<_> = (0..job.tasks()).map(|_| None).collect();
    for (task, entry) in entries {
        tasks[task] = Some(entry);
    }
    let lost = || Err(Cause::Refused { why: "no worker was left".into() });
    let fail = |task| move |cause| Failure { workload: job.workload(), task, cause };
    let tasks =
        tasks.into_iter().enumerate().map(|(task, entry)| entry.unwrap_or_else(lost).map_err(fail(task)));
    Outcome { began, wall, tasks: tasks.collect() }
}

/// Makes the state of every worker in this process, before the clock.
fn open(job: &dyn Job, workers: usize) -> Result<()> {
    (0..workers).try_for_each(|worker| {
        job.open(worker).map_err(|cause| anyhow::anyhow!("{}, worker {worker}: {cause}", job.workload()))
    })
}
