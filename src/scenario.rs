//! The row that a workload becomes in a list: its types erased into a few function pointers, for the program that measures
//! it and for its worker processes.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::data::packet::Packet;
use crate::job::{ErasedWorker, Job, TypedJob, WorkerState};
use crate::workload::{Properties, Size, Workload};

/// A workload with its types erased: one row in a list.
///
/// ```no_run
/// # use parbench::{Inputs, Scenario, Size, Workload};
/// # struct Mine;
/// # impl Workload for Mine {
/// #     const NAME: &'static str = "mine"; type Input = (); type Output = (); type Worker = ();
/// #     fn prepare(_: Size) -> anyhow::Result<Inputs<()>> { Ok(Inputs::new(vec![()])) }
/// #     fn run(_: &mut (), _: &()) -> anyhow::Result<()> { Ok(()) }
/// #     fn check(_: &[()], _: &[()]) -> anyhow::Result<()> { Ok(()) }
/// # }
/// fn main() {
///     parbench::bench::main([Scenario::of::<Mine>()]);
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Scenario {
    /// See [`Workload::NAME`].
    pub name: &'static str,
    /// See [`Workload::WORKERS`].
    pub workers: &'static [usize],
    /// What decides which executors run it, and on how many tasks.
    pub properties: Properties,
    prepare: fn(Size) -> Result<Prepared>,
    make_worker: fn() -> Box<dyn ErasedWorker>,
}

impl Scenario {
    /// The row of a workload.
    pub const fn of<W: Workload>() -> Scenario {
        Scenario {
            name: W::NAME,
            workers: W::WORKERS,
            properties: Properties { scaling: W::SCALING, nested: W::NESTED, cold: W::COLD, waits: W::WAITS },
            prepare: prepare::<W>,
            make_worker: || Box::new(WorkerState::<W>::default()),
        }
    }

    /// Makes the inputs, once for all variants, and starts the fixtures that they need.
    ///
    /// # Errors
    /// If the workload's `prepare` fails, or makes no input.
    pub fn prepare(&self, size: Size) -> Result<Prepared> {
        (self.prepare)(size).with_context(|| format!("cannot prepare `{}`", self.name))
    }

    /// A worker of this scenario, its state not made yet: what a worker process runs tasks with.
    pub(crate) fn worker(&self) -> Box<dyn ErasedWorker> {
        (self.make_worker)()
    }

    /// Finds a scenario in a list by its name.
    ///
    /// # Errors
    /// If there is none of that name: the sentence lists the names that there are.
    pub fn find<'a>(scenarios: &'a [Scenario], name: &str) -> Result<&'a Scenario> {
        scenarios.iter().find(|scenario| scenario.name == name).with_context(|| {
            let names: Vec<_> = scenarios.iter().map(|scenario| scenario.name).collect();
            format!("there is no scenario `{name}` in this program; it has {}", names.join(", "))
        })
    }
}

/// A scenario's inputs and the fixtures that they need, of which jobs are made.
pub struct Prepared {
    make_job: Box<dyn Fn(usize) -> Arc<dyn Job>>,
    digest: Box<dyn Fn() -> Result<u64>>,
    answers_may_differ: bool,
}

impl Prepared {
    /// A job over the inputs for an executor whose parallelism is at most `workers`; with [`crate::Scaling::Weak`] it has as
    /// many tasks as workers.
    pub fn job(&self, workers: usize) -> Arc<dyn Job> {
        (self.make_job)(workers)
    }

    /// A digest of the inputs, to see whether two processes have prepared the same; see [`Workload::input_digest`].
    ///
    /// # Errors
    /// If an input cannot be packed.
    pub fn digest(&self) -> Result<u64> {
        (self.digest)()
    }

    /// See [`crate::Inputs::answers_may_differ`].
    pub fn answers_may_differ(&self) -> bool {
        self.answers_may_differ
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prepared")
    }
}

fn prepare<W: Workload>(size: Size) -> Result<Prepared> {
    let inputs = Arc::new(W::prepare(size)?);
    ensure!(!inputs.tasks.is_empty(), "its `prepare` made no input, so there is no task to run");
    let answers_may_differ = inputs.answers_may_differ;
    let digested = Arc::clone(&inputs);
    let digest = move || {
        let digests = digested.tasks.iter().map(W::input_digest).collect::<Result<Vec<_>>>()?;
        Ok(Packet::pack(&digests)?.digest())
    };
    let make_job =
        move |workers| Arc::new(TypedJob::<W>::scaled(Arc::clone(&inputs), workers)) as Arc<dyn Job>;
    Ok(Prepared { make_job: Box::new(make_job), digest: Box::new(digest), answers_may_differ })
}
