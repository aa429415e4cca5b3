//! The row that a workload becomes in a list: its types erased into a few function pointers.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::job::{Batch, Job, Seat, Server};
use crate::workload::{Scaling, Size, Workload};

/// Makes a job over prepared inputs for one variant with so many workers; with weak scaling as many tasks.
pub type Jobs = Box<dyn Fn(usize) -> Arc<dyn Job>>;

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
/// // A list is a `static`: `main(&[Scenario::of::<Mine>()])` would borrow from a temporary.
/// static MINE: &[Scenario] = &[Scenario::of::<Mine>()];
///
/// fn main() {
///     parbench::bench::main(MINE);
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// See [`Workload::NAME`].
    pub name: &'static str,
    /// See [`Workload::WORKERS`].
    pub workers: &'static [usize],
    /// See [`Workload::NESTED`].
    pub nested: bool,
    /// See [`Workload::SCALING`].
    pub scaling: Scaling,
    /// See [`Workload::COLD`].
    pub cold: bool,
    prepare: fn(Size) -> Result<Jobs>,
    pub(crate) serve: fn() -> Box<dyn Server>,
}

impl Scenario {
    /// The row of a workload.
    pub const fn of<W: Workload>() -> Scenario {
        Scenario {
            name: W::NAME,
            workers: W::WORKERS,
            nested: W::NESTED,
            scaling: W::SCALING,
            cold: W::COLD,
            prepare: prepare::<W>,
            serve: || Box::new(Seat::<W>::default()),
        }
    }

    /// Makes the inputs, once for all variants, and starts the fixtures that they need.
    ///
    /// # Errors
    /// Where the workload's `prepare` fails, or makes no task.
    pub fn prepare(&self, size: Size) -> Result<Jobs> {
        (self.prepare)(size).with_context(|| format!("cannot prepare `{}`", self.name))
    }

    /// The scenario of that name in a list.
    ///
    /// # Errors
    /// Where there is none: the sentence names those that there are.
    pub fn find<'a>(scenarios: &'a [Scenario], name: &str) -> Result<&'a Scenario> {
        scenarios.iter().find(|scenario| scenario.name == name).with_context(|| {
            let names: Vec<_> = scenarios.iter().map(|scenario| scenario.name).collect();
            format!("there is no scenario `{name}` in this program; it has {}", names.join(", "))
        })
    }
}

fn prepare<W: Workload>(size: Size) -> Result<Jobs> {
    let inputs = Arc::new(W::prepare(size)?);
    ensure!(!inputs.tasks.is_empty(), "its `prepare` made no input, so there is no task to run");
    Ok(Box::new(move |workers| Arc::new(Batch::<W>::new(Arc::clone(&inputs), workers))))
}
