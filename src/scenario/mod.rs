//! The row that a workload becomes in a list: its types erased into a few function pointers, for the program that measures
//! it and for its worker processes.

mod plain;

use std::any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::data::packet::Packet;
use crate::job::{ErasedWorker, Job, TypedJob, WorkerState};
use crate::panic::catch_panic;
use crate::workload::{Inputs, Properties, Size, Workload, set_size};

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
    /// What a task works on, if that has been said: reports then give a rate.
    pub amount: Option<Amount>,
    type_name: fn() -> &'static str,
    /// The parameter of a scenario that is one of a sweep.
    parameter: Option<u64>,
    prepare: fn(&Scenario, Size) -> Result<Prepared>,
    make_worker: fn() -> Box<dyn ErasedWorker>,
}

/// What a task works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// So many bytes.
    Bytes(u64),
    /// So many elements, such as rows or numbers.
    Elements(u64),
}

impl Scenario {
    /// The row of a workload.
    pub const fn of<W: Workload>() -> Scenario {
        Scenario {
            name: W::NAME,
            workers: W::WORKERS,
            properties: Properties {
                scaling: W::SCALING,
                nested: W::NESTED,
                cold: W::COLD,
                waits: W::WAITS,
                has_future: W::FUTURE.is_some(),
                has_check: true,
            },
            amount: None,
            type_name: any::type_name::<W>,
            parameter: None,
            prepare: prepare::<W>,
            make_worker: || Box::new(WorkerState::<W>::default()),
        }
    }

    /// Makes the inputs, once for all variants, and starts the fixtures that they need.
    ///
    /// # Errors
    /// If the workload's `prepare` fails, or makes no input.
    pub fn prepare(&self, size: Size) -> Result<Prepared> {
        set_size(size);
        let prepared = catch_panic(|| (self.prepare)(self, size));
        let prepared = prepared.unwrap_or_else(|message| bail!("it panicked: {message}"));
        prepared.with_context(|| format!("cannot prepare `{}`", self.name))
    }

    /// Says how many bytes a task works on: reports give bytes a second then.
    #[must_use]
    pub const fn bytes(self, bytes: u64) -> Scenario {
        Scenario { amount: Some(Amount::Bytes(bytes)), ..self }
    }

    /// Says how many elements a task works on: reports give elements a second then.
    #[must_use]
    pub const fn elements(self, elements: u64) -> Scenario {
        Scenario { amount: Some(Amount::Elements(elements)), ..self }
    }

    /// The workload's type, as the compiler names it.
    pub(crate) fn type_name(&self) -> &'static str {
        (self.type_name)()
    }

    /// A worker of this scenario, its state not made yet: what a worker process runs tasks with.
    pub(crate) fn worker(&self) -> Box<dyn ErasedWorker> {
        (self.make_worker)()
    }

    /// Checks that each scenario of a list has a name of its own that a folder, a command line and a worker process can be
    /// told it by.
    ///
    /// # Errors
    /// The first that has not, with its type, or with both types that have the same name.
    pub(crate) fn check_names(scenarios: &[Scenario]) -> Result<()> {
        let mut seen = HashMap::new();
        for scenario in scenarios {
            let Scenario { name, type_name, .. } = scenario;
            let of = || format!("{name:?}, the name of the workload {},", type_name());
            ensure!(!name.is_empty(), "the name of the workload {} is empty: give it a `NAME`", type_name());
            ensure!(
                !name.contains(|c: char| c.is_control()) && name.trim() == *name,
                "{} has a control character in it, or a blank at its end",
                of()
            );
            ensure!(
                !name.starts_with('-'),
                "{} would be taken for an option: begin with another character",
                of()
            );
            let folder = folder_name(name);
            ensure!(!matches!(&folder[..], "." | ".."), "{} cannot be the name of a folder", of());
            if let Some(Scenario { name: other, type_name: other_type, .. }) = seen.insert(folder, scenario) {
                let what = if other == name { "the same name" } else { "names that make the same folder" };
                bail!(
                    "the workloads {} and {} have {what}, {other:?} and {name:?}: Criterion keeps 64 characters",
                    other_type(),
                    type_name()
                );
            }
        }
        Ok(())
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

/// The folder of Criterion's report on a scenario: what cannot be in the name of a file is replaced, and its end cut off. Not
/// every system tells capitals apart.
fn folder_name(name: &str) -> String {
    let safe = |c| if "?\"/\\*<>:|^".contains(c) { '_' } else { c };
    name.to_lowercase().chars().map(safe).take(64).collect()
}

/// A scenario's inputs and the fixtures that they need, of which jobs are made.
pub struct Prepared {
    make_job: Box<dyn Fn(usize, Option<usize>) -> Arc<dyn Job>>,
    digest: Box<dyn Fn() -> Result<u64>>,
    answers_may_differ: bool,
}

impl Prepared {
    /// A job over the inputs for an executor whose parallelism is at most `workers`; with [`crate::Scaling::Weak`] it has as
    /// many tasks as workers.
    pub fn job(&self, workers: usize) -> Arc<dyn Job> {
        (self.make_job)(workers, None)
    }

    /// The same over the first few inputs, unless it has as many tasks as workers.
    pub(crate) fn job_of_first(&self, tasks: Option<usize>, workers: usize) -> Arc<dyn Job> {
        (self.make_job)(workers, tasks)
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

fn prepare<W: Workload>(scenario: &Scenario, size: Size) -> Result<Prepared> {
    prepared::<W>(scenario.name, W::prepare(size)?)
}

fn prepared<W: Workload>(name: &'static str, inputs: Inputs<W::Input>) -> Result<Prepared> {
    let inputs = Arc::new(inputs);
    ensure!(!inputs.tasks.is_empty(), "its `prepare` made no input, so there is no task to run");
    let answers_may_differ = inputs.answers_may_differ;
    let digested = Arc::clone(&inputs);
    let digest = move || {
        let digests = digested.tasks.iter().map(W::input_digest).collect::<Result<Vec<_>>>()?;
        Ok(Packet::pack(&digests)?.digest())
    };
    let make_job = move |workers, first| {
        Arc::new(TypedJob::<W>::scaled(name, Arc::clone(&inputs), workers, first)) as Arc<dyn Job>
    };
    Ok(Prepared { make_job: Box::new(make_job), digest: Box::new(digest), answers_may_differ })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Inputs;

    /// A workload of one of these names.
    struct Named<const NAME: usize>;

    const NAMES: [&str; 14] = [
        "a",
        "a b/c",
        "",
        ".",
        "..",
        "line\nbreak",
        "nul\0",
        " blank",
        "-option",
        "A",
        "a b_C",
        "0123456789012345678901234567890123456789012345678901234567890123 first",
        "0123456789012345678901234567890123456789012345678901234567890123 second",
        "a",
    ];

    impl<const NAME: usize> Workload for Named<NAME> {
        const NAME: &'static str = NAMES[NAME];
        type Input = ();
        type Output = ();
        type Worker = ();
        fn prepare(_: Size) -> Result<Inputs<()>> {
            Ok(Inputs::new(vec![()]))
        }
        fn run(_: &mut (), (): &()) -> Result<()> {
            Ok(())
        }
        fn check(_: &[()], _: &[()]) -> Result<()> {
            Ok(())
        }
    }

    fn refused(scenarios: &[Scenario]) -> String {
        Scenario::check_names(scenarios).unwrap_err().to_string()
    }

    #[test]
    fn a_name_must_be_one_that_a_folder_and_a_command_line_can_have() {
        Scenario::check_names(&[Scenario::of::<Named<0>>(), Scenario::of::<Named<1>>()]).unwrap();
        assert!(refused(&[Scenario::of::<Named<2>>()]).contains("Named<2> is empty"));
        assert!(refused(&[Scenario::of::<Named<3>>()]).contains("Named<3>, cannot be the name of a folder"));
        assert!(refused(&[Scenario::of::<Named<4>>()]).contains("cannot be the name of a folder"));
        for scenario in [Scenario::of::<Named<5>>(), Scenario::of::<Named<6>>(), Scenario::of::<Named<7>>()] {
            assert!(refused(&[scenario]).contains("a control character"));
        }
        assert!(refused(&[Scenario::of::<Named<8>>()]).contains("taken for an option"));
    }

    #[test]
    fn two_workloads_of_one_name_or_one_folder_are_refused_with_both_types() {
        for pair in [
            [Scenario::of::<Named<0>>(), Scenario::of::<Named<13>>()],
            [Scenario::of::<Named<0>>(), Scenario::of::<Named<9>>()],
            [Scenario::of::<Named<1>>(), Scenario::of::<Named<10>>()],
            [Scenario::of::<Named<11>>(), Scenario::of::<Named<12>>()],
        ] {
            let error = refused(&pair);
            assert!(pair.iter().all(|scenario| error.contains((scenario.type_name)())), "{error}");
        }
    }
}
