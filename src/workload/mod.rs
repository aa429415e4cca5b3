//! What is measured: the trait a workload implements, its inputs and their size.

mod shared;

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::str::FromStr;

use anyhow::{Result, bail};

pub use self::shared::{Shared, SharedState};
pub(crate) use self::shared::{set_size, size};
use crate::data::packet::{Message, Packet};

/// A task's function, its inputs and the check of its answers. It knows nothing of executors.
///
/// ```
/// use anyhow::{Result, ensure};
/// use parbench::{Inputs, Size, Workload};
///
/// struct Squares;
///
/// impl Workload for Squares {
///     const NAME: &'static str = "squares";
///     type Input = u64;
///     type Output = u64;
///     type Worker = ();
///
///     fn prepare(_: Size) -> Result<Inputs<u64>> {
///         Ok(Inputs::new((1..=100).collect()))
///     }
///
///     fn run(_: &mut (), n: &u64) -> Result<u64> {
///         Ok(n * n)
///     }
///
///     fn check(_: &[u64], squares: &[u64]) -> Result<()> {
///         ensure!(squares.iter().sum::<u64>() == 338_350, "the squares do not add up");
///         Ok(())
///     }
/// }
/// # Squares::check(&[], &(1..=100).map(|n| Squares::run(&mut (), &n).unwrap()).collect::<Vec<_>>()).unwrap();
/// ```
pub trait Workload: 'static {
    /// The Criterion group, the heading in reports, and what a worker process is told. Unique in its list.
    const NAME: &'static str;
    /// Worker counts worth measuring, besides one, the number of physical cores and twice that number.
    const WORKERS: &'static [usize] = &[1, 2, 4];
    /// Its tasks use a thread pool of their own. The rayon executor is left out then: a rayon worker that
    /// waits for an inner pool takes up the next task meanwhile, and both spans are wrong.
    const NESTED: bool = false;
    /// Its tasks wait most of the time, such as for a network: more workers than CPUs are worth measuring.
    const WAITS: bool = false;
    /// How the number of tasks depends on the number of workers.
    const SCALING: Scaling = Scaling::Strong;
    /// Divides the inputs into other tasks for a number of workers, such as one share for each worker. `None`: every
    /// input is a task, whatever the number of workers.
    const SPLIT: Option<Split<Self::Input>> = None;
    /// Makes, before the clock starts, what a task may consume; see [`Workload::consume`].
    const SET_UP: Option<SetUp<Self::Input>> = None;
    /// The task as a future, for executors that run those; `None`, and they have no row. What its tasks have in common, such as
    /// an asynchronous client, is its own: a future has no worker's state.
    const FUTURE: Option<StartFuture<Self::Input, Self::Output>> = None;
    /// Executors are started and stopped inside the clock, for each batch: starting is the subject.
    const COLD: bool = false;

    /// The input of a task.
    type Input: Message;
    /// The output of a task: a small digest, unless moving data is the subject.
    type Output: Message;
    /// A worker's own state, made before the clock starts, such as an HTTP client; `()` for none. What all workers of a process
    /// have in common, such as an index, is a [`Shared`].
    type Worker: Default + Send;

    /// Makes the inputs, one for each task, in the same order with the same content on every call.
    ///
    /// # Errors
    /// If a fixture cannot start or an input from outside cannot be used.
    fn prepare(size: Size) -> Result<Inputs<Self::Input>>;

    /// A digest of what must be the same of an input in every process that prepares it: of all of it, unless this says
    /// otherwise, as it must if the input holds a port or a folder that each process has made for itself.
    ///
    /// # Errors
    /// If the input cannot be packed.
    fn input_digest(input: &Self::Input) -> Result<u64> {
        Ok(Packet::pack(input)?.digest())
    }

    /// One task: what is measured.
    ///
    /// # Errors
    /// What went wrong, as a sentence; it becomes the task's failure.
    fn run(worker: &mut Self::Worker, input: &Self::Input) -> Result<Self::Output>;

    /// The same with an input of its own, which it may consume, such as an array that it sorts in place: in place of
    /// [`Workload::run`] where there is a [`Workload::SET_UP`]. In this process, that has made the input before the clock
    /// started; in a worker process it has arrived, as every input does.
    ///
    /// # Errors
    /// As [`Workload::run`].
    fn consume(worker: &mut Self::Worker, input: Self::Input) -> Result<Self::Output> {
        Self::run(worker, &input)
    }

    /// Checks the answers, outside the clock. A fast wrong answer is a failure.
    ///
    /// # Errors
    /// Which answer is wrong, and how.
    fn check(inputs: &[Self::Input], outputs: &[Self::Output]) -> Result<()>;

    /// [`Workload::check`] of the scenario of that name: one workload may be several scenarios.
    ///
    /// # Errors
    /// As [`Workload::check`].
    #[doc(hidden)]
    fn check_as(scenario: &'static str, inputs: &[Self::Input], outputs: &[Self::Output]) -> Result<()> {
        let _ = scenario;
        Self::check(inputs, outputs)
    }
}

/// Divides all of the work into tasks for a number of workers. If it returns none, the inputs are the tasks.
pub type Split<I> = fn(&[I], usize) -> Vec<I>;

/// Starts a task that is a future.
pub type StartFuture<I, O> = for<'a> fn(&'a I) -> Pin<Box<dyn Future<Output = Result<O>> + Send + 'a>>;

/// Makes an input that a task may consume from one that stays.
pub type SetUp<I> = fn(&I) -> I;

/// How the number of tasks depends on the number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// Always the same tasks: how much sooner are they done?
    Strong,
    /// As many tasks as workers, for the serial executor too: how much more is done in the same time? The inputs are
    /// used from the first on and, if there are fewer inputs than workers, over again.
    Weak,
}

/// What of a workload decides which executors run it, and on how many tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Properties {
    /// See [`Workload::SCALING`].
    pub scaling: Scaling,
    /// See [`Workload::NESTED`].
    pub nested: bool,
    /// See [`Workload::COLD`].
    pub cold: bool,
    /// See [`Workload::WAITS`].
    pub waits: bool,
    /// Whether its tasks can be futures: see [`Workload::FUTURE`].
    pub has_future: bool,
    /// Whether its answers are checked; those of plain functions are only compared.
    pub has_check: bool,
}

/// A workload's inputs, one for each task, and what must stay alive while they are used.
pub struct Inputs<I> {
    /// One for each task.
    pub tasks: Vec<I>,
    kept: Vec<Box<dyn Any + Send + Sync>>,
    pub(crate) answers_may_differ: bool,
}

impl<I> Inputs<I> {
    /// Inputs that need nothing but themselves.
    pub fn new(tasks: Vec<I>) -> Self {
        Inputs { tasks, kept: Vec::new(), answers_may_differ: false }
    }

    /// Says that the same input may give another answer another time, as a page on the Internet does: a difference is then
    /// a note, not an error.
    pub fn answers_may_differ(mut self) -> Self {
        self.answers_may_differ = true;
        self
    }

    /// Keeps a server or a folder alive until the last batch over these inputs is done.
    pub fn keep(mut self, fixture: impl Any + Send + Sync) -> Self {
        self.kept.push(Box::new(fixture));
        self
    }
}

/// How large a workload's inputs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Size {
    /// For tests: the whole suite in seconds.
    Smoke,
    /// A serial pass of about 50 to 300 ms on a machine with two cores.
    Default,
    /// The article's own numbers.
    Article,
}

impl Size {
    /// Of three values, the one for this size.
    pub fn pick<T>(self, smoke: T, default: T, article: T) -> T {
        match self {
            Size::Smoke => smoke,
            Size::Default => default,
            Size::Article => article,
        }
    }
}

impl FromStr for Size {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Size> {
        match name {
            "smoke" => Ok(Size::Smoke),
            "default" => Ok(Size::Default),
            "article" => Ok(Size::Article),
            _ => bail!("`{name}` is not a size; use smoke, default or article"),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.pick("smoke", "default", "article"))
    }
}
