//! A bench program's main and its modes: Criterion, unless the first argument is `parbench`.
//!
//! | first arguments | does |
//! |---|---|
//! | (none of these) | Criterion: a group for each scenario |
//! | `parbench worker` | serves a pool as a worker process |
//! | `parbench forkserver` | forks worker processes |
//! | `parbench fixture NAME` | is a fixture's own process |
//! | `parbench cell SCENARIO VARIANT` | is a variant that is told when to run batches |
//! | `parbench list` | lists its scenarios, as JSON lines |
//! | `parbench rounds [SCENARIO…]` | measures interleaved rounds; prints records as JSON lines |

use std::borrow::Borrow;
use std::io::Write;
use std::process;

use ::criterion::Criterion;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::executors::{self, ExecutorKind, Isolation};
use crate::fixtures;
use crate::job::injection;
pub use crate::measure::cell::VERSION;
use crate::measure::variant::Selection;
use crate::measure::{cell, criterion, rounds};
use crate::program::{self, Role};
use crate::scenario::{Amount, Scenario};
use crate::usage::allocations;
use crate::worker;
use crate::workload::Scaling;

/// The main of a bench program: does what its arguments say, with Criterion unless they say otherwise.
///
/// The scenarios may be an array, a `Vec` or a `static` list. `PARBENCH_SIZE` (smoke, default, article) selects the size,
/// `PARBENCH_WORKERS` (such as `1,2,4`) the worker counts. Bad input and failing tasks end the program with one sentence
/// and exit status 2.
pub fn main(scenarios: impl IntoIterator<Item = impl Borrow<Scenario>>) {
    main_with(scenarios, executors::ALL.iter().copied());
}

/// The same with a list of executors other than [`executors::ALL`].
pub fn main_with(
    scenarios: impl IntoIterator<Item = impl Borrow<Scenario>>,
    executors: impl IntoIterator<Item = &'static ExecutorKind>,
) {
    let (scenarios, executors) = (list(scenarios), list(executors));
    run_mode(scenarios, executors, true);
    let selection =
        Selection::from_env(executors).and_then(|selection| selection.check().map(|()| selection));
    exit_on_error(selection.and_then(|selection| criterion::main(scenarios, &selection)));
}

/// Does what `parbench …` arguments say and ends the program then; returns if there are none.
///
/// For a main that goes on otherwise, such as a test program's, or one with Criterion groups of its own (see [`add_groups`]).
/// It must come first: a worker process is this very program, started again. A program may have a first argument `parbench` of
/// its own, as long as the second is none of parbench's modes.
pub fn enter(scenarios: impl IntoIterator<Item = impl Borrow<Scenario>>) {
    run_mode(list(scenarios), executors::ALL, false);
}

/// The same with a list of executors other than [`executors::ALL`].
pub fn enter_with(
    scenarios: impl IntoIterator<Item = impl Borrow<Scenario>>,
    executors: impl IntoIterator<Item = &'static ExecutorKind>,
) {
    run_mode(list(scenarios), list(executors), false);
}

/// Adds a Criterion group for each scenario to a program that has groups of its own.
///
/// `criterion_main!` is spelled out, with parbench's line first:
///
/// ```no_run
/// use criterion::{Criterion, criterion_group};
/// use parbench::Scenario;
///
/// const SCENARIOS: fn() -> [Scenario; 1] =
///     || [Scenario::new("words", || vec!["to be or not to be".to_string(); 8], |text| text.split(' ').count())];
///
/// fn old(criterion: &mut Criterion) {
///     criterion.bench_function("old", |bencher| bencher.iter(|| "to be".split(' ').count()));
/// }
///
/// fn new(criterion: &mut Criterion) {
///     parbench::bench::add_groups(criterion, SCENARIOS());
/// }
///
/// criterion_group!(benches, old, new);
///
/// fn main() {
///     parbench::bench::enter(SCENARIOS()); // first: worker processes stay in it
///     benches();
///     Criterion::default().configure_from_args().final_summary();
/// }
/// ```
pub fn add_groups(criterion: &mut Criterion, scenarios: impl IntoIterator<Item = impl Borrow<Scenario>>) {
    let selection =
        Selection::from_env(executors::ALL).and_then(|selection| selection.check().map(|()| selection));
    match selection {
        Ok(selection) => criterion::add_groups(criterion, list(scenarios), &selection),
        Err(error) => exit_on_error(Err(error)),
    }
}

/// A list that lives as long as the program, as all lists do that a worker process or Criterion reads.
fn list<T: Copy + 'static>(items: impl IntoIterator<Item = impl Borrow<T>>) -> &'static [T] {
    Vec::leak(items.into_iter().map(|item| *item.borrow()).collect())
}

/// Does what the mode says, if there is one. A main that is `ours` has no other arguments that begin with `parbench`.
fn run_mode(scenarios: &'static [Scenario], executors: &'static [&'static ExecutorKind], ours: bool) {
    allocations::count_if_asked();
    program::allocator::set_policy();
    program::limits::survive_file_limit();
    // In a worker too: it would run the code of another workload.
    exit_on_error(Scenario::check_names(scenarios));
    exit_on_error(injection::parse());
    // A rank of an MPI job has the arguments of rank 0, and only serves it; what a rank starts is no rank.
    #[cfg(feature = "mpi")]
    if !program::mode().is_some_and(|(mode, _)| HELPERS.contains(&&mode[..])) {
        worker::mpi::enter(scenarios);
    }
    let is_known = |mode: &str| ours || MODES.contains(&mode);
    let Some((mode, arguments)) = program::mode().filter(|(mode, _)| is_known(mode)) else {
        program::lifetime::end_on_signals_as_first_process();
        return program::set_role(Role::Main);
    };
    if matches!(&mode[..], "help" | "--help" | "-h") || asks_for_help(&mode, &arguments) {
        exit_on_error(print_help());
        process::exit(0);
    }
    match &mode[..] {
        "worker" => worker::main(scenarios),
        "forkserver" => worker::forkserver::main(scenarios),
        "fixture" => fixtures::main(&arguments),
        _ => {
            program::lifetime::end_on_signals_as_first_process();
            program::set_role(Role::Main);
        }
    }
    let run = || {
        let mut results = program::take_stdout()?;
        match &mode[..] {
            "list" => print_list(scenarios, executors, &mut results),
            "cell" => cell::main(scenarios, executors, arguments, &mut results),
            "rounds" => rounds::main(scenarios, executors, arguments, &mut results),
            "" => bail!("name a mode\n\n{HELP}"),
            _ => bail!("there is no mode `{mode}`\n\n{HELP}"),
        }
    };
    exit_on_error(run());
    process::exit(0);
}

/// The words behind `parbench` that mean one of its modes; in a program with a main of its own, others are its own business.
const MODES: [&str; 8] = ["worker", "forkserver", "fixture", "cell", "list", "rounds", "help", "--help"];

/// The modes of what a program starts for itself.
#[cfg(feature = "mpi")]
const HELPERS: [&str; 3] = ["worker", "forkserver", "fixture"];

/// What a person is told who asks for help; `rounds --help` has more.
const HELP: &str = "\
A bench program of parbench. Plain `cargo bench` measures with Criterion; behind `cargo bench --bench NAME -- parbench`:
  list                      its scenarios, as JSON lines
  rounds [SCENARIO…]        measures interleaved rounds; records as JSON lines (`rounds --help`)
  fixture http|imap|folder  runs a fixture until it is ended, and prints its address or path
What it starts by itself:
  cell SCENARIO VARIANT     a variant that is told when to run batches (`cell --help`)
  worker, forkserver        a worker process of a pool, and what forks them
PARBENCH_SIZE (smoke, default, article) selects the size, PARBENCH_WORKERS (such as 1,2,4) the worker counts.
";

/// Modes with options of their own have their own help.
fn asks_for_help(mode: &str, arguments: &[String]) -> bool {
    let has_own = matches!(mode, "rounds" | "cell");
    !has_own && arguments.iter().any(|argument| matches!(&argument[..], "--help" | "-h"))
}

fn print_help() -> Result<()> {
    program::take_stdout()?.write_all(HELP.as_bytes()).context("cannot write the help")
}

fn exit_on_error(result: Result<()>) {
    if let Err(error) = result {
        eprintln!("error: {error:#}");
        process::exit(2);
    }
}

/// The first line of `parbench list`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Listing {
    /// The version of parbench and that of its frames.
    pub parbench: String,
    /// All executors.
    pub executors: Vec<ListedExecutor>,
}

/// An executor in a [`Listing`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ListedExecutor {
    /// Its name.
    pub name: String,
    /// Where its workers are.
    pub isolation: Isolation,
}

/// Each further line of `parbench list`: a scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Listed {
    /// The scenario's name.
    pub name: String,
    /// Its worker counts.
    pub workers: Vec<usize>,
    /// Whether its tasks have a thread pool of their own.
    pub nested: bool,
    /// Whether it has as many tasks as workers.
    pub weak: bool,
    /// Whether starting the executor is in the clock.
    pub cold: bool,
    /// Whether its tasks mostly wait.
    pub waits: bool,
    /// Whether its answers are checked, and not only compared.
    pub has_check: bool,
    /// What a task works on, if that has been said.
    pub amount: Option<Amount>,
    /// The workload's type, with its modules: where its code is.
    pub workload: String,
}

fn print_list(
    scenarios: &[Scenario],
    executors: &[&'static ExecutorKind],
    results: &mut impl Write,
) -> Result<()> {
    let executor =
        |kind: &&'static ExecutorKind| ListedExecutor { name: kind.name.into(), isolation: kind.isolation };
    let executors = executors.iter().map(executor).collect();
    writeln!(results, "{}", serde_json::to_string(&Listing { parbench: VERSION.into(), executors })?)?;
    for scenario in scenarios {
        let Scenario { name, workers, properties, .. } = scenario;
        let listed = Listed {
            name: name.to_string(),
            workers: workers.to_vec(),
            nested: properties.nested,
            weak: properties.scaling == Scaling::Weak,
            cold: properties.cold,
            waits: properties.waits,
            has_check: properties.has_check,
            amount: scenario.amount,
            workload: scenario.type_name().into(),
        };
        writeln!(results, "{}", serde_json::to_string(&listed)?)?;
    }
    Ok(())
}
