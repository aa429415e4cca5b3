//! A bench program's main and its modes: Criterion, or one of those that parbench starts it in itself.
//!
//! | first arguments | does |
//! |---|---|
//! | (none of these) | Criterion: a group for each scenario |
//! | `parbench worker` | serves a pool as a worker process |
//! | `parbench forkserver` | forks worker processes |
//! | `parbench fixture NAME` | is a fixture's own process |
//! | `parbench copy SCENARIO SIZE` | is one of the independent serial copies of a ceiling |
//! | `parbench list` | its scenarios, as JSON lines |
//! | `parbench rounds [SCENARIO…]` | measures interleaved rounds, records as JSON lines |

use std::env;
use std::process;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use criterion::{BenchmarkId, Criterion, PlottingBackend, SamplingMode};
use serde::{Deserialize, Serialize};

use crate::executors;
use crate::fixtures;
use crate::forkserver;
use crate::options::{Options, Variant};
use crate::program::{self, Role};
use crate::rounds;
use crate::rounds::copies;
use crate::runner::Runner;
use crate::scenario::{Jobs, Scenario};
use crate::wire::VERSION;
use crate::worker;

/// The main of a bench program: does what its arguments say, with Criterion unless they say otherwise.
///
/// `PARBENCH_SIZE` (smoke, default, article) chooses the size, `PARBENCH_WORKERS` (such as `1,2,4`) the worker
/// counts. Bad input and failing tasks end the program with one sentence and exit status 2.
pub fn main(scenarios: &'static [Scenario]) {
    enter(scenarios);
    exit_on_error(Options::from_env().map(|options| with_criterion(scenarios, &options)));
}

/// Does what `parbench …` arguments say and ends the program then; returns if there are none.
///
/// For a main that goes on otherwise, such as a test program's. It must come first: a worker process is this
/// very program, started again.
pub fn enter(scenarios: &'static [Scenario]) {
    let Some((mode, arguments)) = program::mode() else { return program::play(Role::Main) };
    match &mode[..] {
        "worker" => worker::main(scenarios),
        "forkserver" => forkserver::main(scenarios),
        "fixture" => fixtures::main(&arguments),
        _ => program::play(Role::Main),
    }
    let run = || {
        let mut results = program::take_stdout()?;
        match &mode[..] {
            "list" => list(scenarios, &mut results),
            "copy" => copies::main(scenarios, &arguments, &mut results),
            "rounds" => rounds::main(scenarios, arguments, &mut results),
            _ => bail!("there is no mode `{mode}`; there are list, rounds, fixture, copy and worker"),
        }
    };
    exit_on_error(run());
    process::exit(0);
}

fn exit_on_error(result: Result<()>) {
    if let Err(error) = result {
        eprintln!("error: {error:#}");
        process::exit(2);
    }
}

/// The first line of `parbench list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// parbench's version and that of its frames.
    pub parbench: String,
    /// The names of all executors.
    pub executors: Vec<String>,
}

/// Every other line of `parbench list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// The scenario's name.
    pub name: String,
    /// Its worker counts.
    pub workers: Vec<usize>,
    /// Whether the rayon executor is left out.
    pub nested: bool,
}

fn list(scenarios: &[Scenario], results: &mut impl std::io::Write) -> Result<()> {
    let executors = executors::ALL.iter().map(|kind| kind.name.into()).collect();
    writeln!(results, "{}", serde_json::to_string(&Listing { parbench: VERSION.into(), executors })?)?;
    for Scenario { name, workers, nested, .. } in scenarios {
        let listed = Listed { name: name.to_string(), workers: workers.to_vec(), nested: *nested };
        writeln!(results, "{}", serde_json::to_string(&listed)?)?;
    }
    Ok(())
}

/// So that the default suite, about 270 benchmarks, takes less than 12 minutes on two cores.
const WARM_UP: Duration = Duration::from_millis(150);
const MEASUREMENT: Duration = Duration::from_millis(800);
/// Criterion's fewest; a sample is a batch of 50 to 300 ms, or a few.
const SAMPLES: usize = 10;
/// Plots draw every resample: with the usual 100,000 they cost 7 s a benchmark, so 0.5 s.
const RESAMPLES: usize = 5_000;

fn with_criterion(scenarios: &'static [Scenario], options: &Options) {
    let criterion = Criterion::default().sample_size(SAMPLES).nresamples(RESAMPLES);
    let criterion = criterion.warm_up_time(WARM_UP).measurement_time(MEASUREMENT);
    // The same pictures on every machine, whether it has gnuplot or not.
    let criterion = criterion.plotting_backend(PlottingBackend::Plotters);
    let mut criterion = criterion.configure_from_args();
    // Plain `cargo bench`: all of it runs, with our times.
    let plain = env::args().skip(1).all(|argument| argument == "--bench");
    for scenario in scenarios {
        let mut group = criterion.benchmark_group(scenario.name);
        // As many batches in every sample: the growing samples of the other mode take half as long again.
        group.sampling_mode(SamplingMode::Flat);
        // Made by the first benchmark that runs: `--list` and a filter must not start a server.
        let mut jobs = None;
        for variant in options.variants(scenario) {
            let mut warm = None;
            if plain {
                // Ten long batches may not fit, and Criterion would warn of it: it wants to know beforehand.
                let batch = warm_up(scenario, options, variant, &mut jobs, &mut warm);
                let batch = exit_unless_ok(batch, &mut jobs, &mut warm);
                group.measurement_time(MEASUREMENT.max(batch.mul_f64(1.15 * SAMPLES as f64)));
            }
            // With the number as parameter and no throughput, Criterion draws time against workers.
            group.bench_function(BenchmarkId::new(variant.kind.name, variant.load), |bencher| {
                // Criterion calls this for every sample, and plans from the time inside `iter_custom`.
                let ready = warm_up(scenario, options, variant, &mut jobs, &mut warm);
                exit_unless_ok(ready, &mut jobs, &mut warm);
                bencher.iter_custom(|batches| {
                    let result = warm.as_mut().map_or(Ok(Duration::ZERO), |warm| run(warm, batches));
                    exit_unless_ok(result, &mut jobs, &mut warm)
                });
            });
            let checked = warm.as_ref().map_or(Ok(()), |warm| warm.job.check());
            exit_unless_ok(checked, &mut jobs, &mut warm);
        }
        group.finish();
    }
    criterion.final_summary();
}

fn run(runner: &mut Runner, batches: u64) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for _ in 0..batches {
        let outcome = runner.run()?;
        outcome.spans()?;
        sum += outcome.wall;
    }
    Ok(sum)
}

/// Makes the group's inputs and starts the variant, whichever is missing; the first batch is checked. Returns
/// how long a warm batch takes, or zero where nothing was to be done.
fn warm_up(
    scenario: &'static Scenario,
    options: &Options,
    variant: Variant,
    jobs: &mut Option<Jobs>,
    warm: &mut Option<Runner>,
) -> Result<Duration> {
    if warm.is_some() {
        return Ok(Duration::ZERO);
    }
    if jobs.is_none() {
        *jobs = Some(scenario.prepare(options.size)?);
    }
    let jobs = jobs.as_ref().context("they were made just now")?;
    let warm = warm.insert(Runner::start(scenario, variant, jobs)?);
    let batch = run(warm, 1)?;
    warm.job.check()?;
    Ok(batch)
}

/// Criterion's closures cannot return an error: ends workers and fixtures, then the program.
fn exit_unless_ok<T>(result: Result<T>, jobs: &mut Option<Jobs>, warm: &mut Option<Runner>) -> T {
    result.unwrap_or_else(|error| {
        *warm = None;
        *jobs = None;
        // Criterion has left its cursor behind "Collecting …".
        eprintln!("\nerror: {error:#}");
        process::exit(2)
    })
}
