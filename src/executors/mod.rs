//! Ways to run a batch of tasks: the trait, the list of executors, and the outcome of a batch.

#[cfg(feature = "async")]
mod asynchronous;
#[cfg(feature = "mpi")]
mod mpi;
mod options;
mod processes;
mod rayon;
mod serial;
mod threads;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

pub use self::options::{Output, PoolOptions};
use crate::job::{Cause, Job};
use crate::shape::{MAX_PARALLELISM, Shape};
use crate::span::{TaskSpan, now};
use crate::usage::Usage;
use crate::workload::Properties;

/// Every executor, in the order of reports. A new one is a file with a `KIND`, its `mod` line and a row here.
pub static ALL: &[&ExecutorKind] = &[
    &serial::KIND,
    &threads::KIND,
    &rayon::KIND,
    &processes::KIND,
    &processes::FORKSERVER,
    &processes::HYBRID,
    #[cfg(feature = "async")]
    &asynchronous::KIND,
    #[cfg(feature = "async")]
    &asynchronous::SEVERAL_THREADS,
    #[cfg(feature = "async")]
    &asynchronous::BLOCKING,
    #[cfg(feature = "mpi")]
    &mpi::KIND,
];

/// An executor in a list: what can be said of it before it is started.
#[derive(Debug)]
pub struct ExecutorKind {
    /// Its name in Criterion ids, records and on the command line.
    pub name: &'static str,
    /// What it is, in half a sentence.
    pub about: &'static str,
    /// Where its tasks run.
    pub isolation: Isolation,
    /// How many workers it can have.
    pub shapes: Shapes,
    /// Whether it is measured with a workload of such properties.
    pub suits: fn(&Properties) -> Suitability,
    /// Starts it, with options that have been checked.
    pub start: fn(&PoolOptions) -> Result<Box<dyn Executor>>,
}

/// What separates an executor's tasks from their caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Isolation {
    /// Nothing: tasks run on the calling thread.
    Caller,
    /// They run on other threads of this process.
    Thread,
    /// They run in other processes.
    Process,
}

/// The shapes that an executor can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shapes {
    /// One worker.
    Single,
    /// Workers of one thread each, up to [`MAX_PARALLELISM`].
    Workers,
    /// Workers of two or more threads each, up to as many threads in all.
    Threaded,
}

impl Shapes {
    /// Whether a shape is one of them.
    pub fn contain(self, shape: Shape) -> bool {
        let Shape { workers, threads_per_worker: threads } = shape;
        match self {
            Shapes::Single => (workers, threads) == (1, 1),
            Shapes::Workers => threads == 1 && (1..=MAX_PARALLELISM).contains(&workers),
            Shapes::Threaded => threads > 1 && (1..=MAX_PARALLELISM).contains(&shape.parallelism()),
        }
    }
}

impl fmt::Display for Shapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shapes::Single => f.write_str("one worker"),
            Shapes::Workers => write!(f, "1 to {MAX_PARALLELISM} workers of one thread each"),
            Shapes::Threaded => write!(f, "workers of 2 or more threads each, such as 2x2"),
        }
    }
}

/// Whether an executor is measured with a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Suitability {
    /// It is.
    Suited,
    /// Only if it is asked for by name.
    OnRequest,
    /// It is not, for this reason.
    Unsuited(&'static str),
}

/// For executors that suit every workload.
pub fn suits_all(_: &Properties) -> Suitability {
    Suitability::Suited
}

/// Two kinds of one list are the same if their names are.
impl PartialEq for ExecutorKind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl ExecutorKind {
    /// Starts the executor. Dropping it stops its workers.
    ///
    /// # Errors
    /// If the number of workers is out of range, an option is invalid, or a worker does not start.
    pub fn start(&self, options: &PoolOptions) -> Result<Box<dyn Executor>> {
        let shape = options.shape;
        ensure!(self.shapes.contain(shape), "{} can have {}, not {shape}", self.name, self.shapes);
        options.check()?;
        (self.start)(options).with_context(|| format!("cannot start {}/{shape}", self.name))
    }

    /// Finds one of [`ALL`] by its name.
    ///
    /// # Errors
    /// If there is none of that name: the sentence lists the names that there are.
    pub fn find(name: &str) -> Result<&'static ExecutorKind> {
        ExecutorKind::find_in(ALL, name)
    }

    /// Finds an executor in a list by its name.
    ///
    /// # Errors
    /// As [`ExecutorKind::find`].
    pub fn find_in(list: &[&'static ExecutorKind], name: &str) -> Result<&'static ExecutorKind> {
        let names = || list.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
        let kind = list.iter().find(|kind| kind.name == name);
        kind.copied().with_context(|| format!("there is no executor `{name}`; there are {}", names()))
    }
}

/// A way to run a batch of tasks. Its workers are kept warm between batches.
pub trait Executor {
    /// Makes everything ready for a batch of a job: workers are started, their state is made, and what the batch before has
    /// left is dropped. [`Executor::execute`] does this too; whoever measures calls it before, so that the workers have
    /// gone to sleep again when the clock starts.
    ///
    /// # Errors
    /// If the job was made for fewer workers than the executor has, a worker does not start, or its state cannot be made.
    fn prepare(&mut self, job: &Arc<dyn Job>) -> Result<()>;

    /// Runs every task of a job once and waits for the last.
    ///
    /// A task that fails is an entry in the outcome; the executor can be used again.
    ///
    /// # Errors
    /// As [`Executor::prepare`].
    fn execute(&mut self, job: &Arc<dyn Job>) -> Result<Outcome>;

    /// What the workers in other processes have used so far, those that have ended included. Their peak of memory is that
    /// since the last call. Reading it wakes them.
    fn worker_usage(&mut self) -> Usage {
        Usage::ZERO
    }

    /// The host of each worker, if they may be on several; empty if all are on this one.
    fn hosts(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What one batch gave.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// When the batch began, ns of [`now`].
    pub began: u64,
    /// The time from then until the caller could read the last answer.
    pub wall: Duration,
    /// One entry for each task, in their order.
    pub tasks: Vec<Result<TaskSpan, Failure>>,
}

impl Outcome {
    /// The spans of all tasks.
    ///
    /// # Errors
    /// If a task failed: the first failure, and how many there are.
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
#[non_exhaustive]
pub struct Failure {
    /// The scenario's name.
    pub scenario: &'static str,
    /// The task's number.
    pub task: usize,
    /// Why.
    pub cause: Cause,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, task {}: {}", self.scenario, self.task, self.cause)
    }
}

impl std::error::Error for Failure {}

/// The number of a task, and its span or why it has none.
pub type Entry = (usize, Result<TaskSpan, Cause>);

/// Times a batch: drops the answers of the one before, reads the clock, runs, and puts the entries in order.
///
/// `run` gets the time at which the batch began and returns the entries in any order. A task without an entry becomes a
/// failure. Every executor whose workers are in this process is this with [`make_states`] before it and [`run_task`] for each
/// task.
pub fn time_batch(job: &dyn Job, run: impl FnOnce(u64) -> Vec<Entry>) -> Outcome {
    job.clear();
    let began = now();
    let entries = if job.tasks() == 0 { Vec::new() } else { run(began) };
    let wall = Duration::from_nanos(now() - began);

    let mut tasks: Vec<_> = (0..job.tasks()).map(|_| None).collect();
    for (task, entry) in entries {
        if tasks[task].replace(entry).is_some() {
            let why = "it was answered twice: this is a bug of parbench".into();
            tasks[task] = Some(Err(Cause::Refused { why }));
        }
    }
    let lost = || Err(Cause::Refused { why: "no worker was left".into() });
    let fail = |task| move |cause| Failure { scenario: job.scenario(), task, cause };
    let tasks =
        tasks.into_iter().enumerate().map(|(task, entry)| entry.unwrap_or_else(lost).map_err(fail(task)));
    Outcome { began, wall, tasks: tasks.collect() }
}

/// Checks that a job has a state for each worker.
fn ensure_enough_states(job: &dyn Job, workers: usize) -> Result<()> {
    ensure!(
        workers <= job.workers(),
        "{}: the job was made for {} workers and cannot run on {workers}",
        job.scenario(),
        job.workers()
    );
    Ok(())
}

/// Runs a task on a worker of this process, from 0; `began` is when the batch did.
pub fn run_task(job: &dyn Job, worker: usize, task: usize, began: u64) -> Entry {
    (task, job.run(worker, task).map(|stamps| TaskSpan::here(task, worker, began, stamps)))
}

/// Makes the state of every worker in this process and drops old answers, before the clock starts.
///
/// # Errors
/// If the job was made for fewer workers, or a state cannot be made.
pub fn make_states(job: &dyn Job, workers: usize) -> Result<()> {
    ensure_enough_states(job, workers)?;
    job.clear();
    (0..workers).try_for_each(|worker| {
        job.make_state(worker).map_err(|cause| anyhow!("{}, worker {worker}: {cause}", job.scenario()))
    })?;
    job.set_up().map_err(|cause| anyhow!("{}: its tasks cannot be set up: {cause}", job.scenario()))
}
