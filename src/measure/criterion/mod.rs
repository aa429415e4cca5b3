//! Criterion mode: a group for each scenario, a benchmark for each variant.

mod home;
mod index;
mod summary;

use std::env;
use std::io::{self, Write};
use std::process;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use criterion::{BenchmarkId, Criterion, PlottingBackend, SamplingMode};

use self::summary::Summary;
use super::runner::Runner;
use super::variant::{Selection, Variant};
use crate::program;
use crate::scenario::{Prepared, Scenario};
use crate::workload::Scaling;

/// So that the default suite takes about 8 minutes on two cores.
const WARM_UP: Duration = Duration::from_millis(100);
const MEASUREMENT: Duration = Duration::from_millis(400);
/// The fewest that Criterion allows; a sample is a batch of 50 to 300 ms, or several shorter ones.
const SAMPLES: usize = 10;
/// Plots draw every resample: they take 7 s for each benchmark with the usual 100,000.
const RESAMPLES: usize = 2_000;

/// Measures all variants of the scenarios, as the program's arguments tell Criterion.
///
/// # Errors
/// If Criterion could not keep what it measures.
pub(crate) fn main(scenarios: &'static [Scenario], selection: &Selection) -> Result<()> {
    program::end_with_stdout();
    let names = |wanted: &[&str]| env::args().any(|argument| wanted.contains(&&argument[..]));
    let measures = names(&["--bench"]) && !names(&["--test", "--list", "--help", "-h", "--version", "-V"]);
    if measures {
        home::ensure_writable()?;
    }
    let criterion = Criterion::default().sample_size(SAMPLES).nresamples(RESAMPLES);
    let criterion = criterion.warm_up_time(WARM_UP).measurement_time(MEASUREMENT);
    // The same pictures on every machine, whether it has gnuplot or not.
    let criterion = criterion.plotting_backend(PlottingBackend::Plotters);
    let mut criterion = criterion.configure_from_args();
    // Plain `cargo bench`: all of it runs, with our times.
    let plain = env::args().skip(1).all(|argument| argument == "--bench");
    let (ran, summary) = groups(&mut criterion, scenarios, selection, plain);
    criterion.final_summary();
    if measures {
        home::straighten_index();
    }
    if !ran && !names(&["--list"]) {
        let arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
        eprintln!("note: no benchmark of this program fits `{}`; `--list` names them", arguments.join(" "));
    }
    // A reader that has gone has seen enough.
    let _ = io::stdout().write_all(summary.table().as_bytes());
    Ok(())
}

/// A group for each scenario; returns whether a benchmark ran, and what they gave. With our own times if it is `plain`.
fn groups(
    criterion: &mut Criterion,
    scenarios: &'static [Scenario],
    selection: &Selection,
    plain: bool,
) -> (bool, Summary) {
    let mut ran = false;
    let mut summary = Summary::default();
    for scenario in scenarios {
        summary.begin(scenario.name, scenario.properties.scaling == Scaling::Weak);
        let mut group = criterion.benchmark_group(scenario.name);
        // The same number of batches in every sample: the growing samples of the other mode take half as long again.
        group.sampling_mode(SamplingMode::Flat);
        // Made by the first benchmark that runs: `--list` and a filter must not start a server.
        let mut prepared = None;
        for variant in selection.variants(scenario) {
            let mut warm = None;
            if plain {
                // Two batches a sample at least: of a plan with one each, Criterion warns.
                let batch = warm_up(scenario, selection, variant, &mut prepared, &mut warm);
                let batch = exit_unless_ok(batch, &mut prepared, &mut warm);
                group.measurement_time(MEASUREMENT.max(batch.mul_f64(1.1 * SAMPLES as f64)));
            }
            // With the number as parameter and no throughput, Criterion draws time against workers.
            group.bench_function(BenchmarkId::new(variant.kind.name, variant.load), |bencher| {
                ran = true;
                // Criterion calls this for every sample, and plans from the time inside `iter_custom`.
                let ready = warm_up(scenario, selection, variant, &mut prepared, &mut warm);
                exit_unless_ok(ready, &mut prepared, &mut warm);
                bencher.iter_custom(|batches| {
                    let result = warm.as_mut().map_or(Ok(Vec::new()), |warm| run(warm, batches));
                    let times = exit_unless_ok(result, &mut prepared, &mut warm);
                    summary.add(variant, &times);
                    times.iter().sum()
                });
            });
        }
        group.finish();
    }
    (ran, summary)
}

/// Adds the groups to a program that has others of its own, with the times that it has set.
pub(crate) fn add_groups(criterion: &mut Criterion, scenarios: &'static [Scenario], selection: &Selection) {
    groups(criterion, scenarios, selection, false);
}

/// Runs batches, each checked outside the clock, and returns their times.
fn run(runner: &mut Runner, batches: u64) -> Result<Vec<Duration>> {
    let batch = |_| {
        let outcome = runner.run()?;
        outcome.spans()?;
        runner.job.check()?;
        Ok(outcome.wall)
    };
    (0..batches).map(batch).collect()
}

/// Makes the group's inputs, starts the variant and runs a batch, unless that has been done. Returns how long a batch
/// takes with its check, which Criterion counts when it plans, or zero if nothing was to be done.
fn warm_up(
    scenario: &'static Scenario,
    selection: &Selection,
    variant: Variant,
    prepared: &mut Option<Prepared>,
    warm: &mut Option<Runner>,
) -> Result<Duration> {
    if warm.is_some() {
        return Ok(Duration::ZERO);
    }
    if prepared.is_none() {
        *prepared = Some(scenario.prepare(selection.size)?);
    }
    let prepared = prepared.as_ref().context("it was made just now")?;
    let warm = warm.insert(Runner::start(scenario, variant, None, prepared)?);
    let began = Instant::now();
    run(warm, 1)?;
    Ok(began.elapsed())
}

/// Criterion's closures cannot return an error: stops workers and fixtures, then the program.
fn exit_unless_ok<T>(result: Result<T>, prepared: &mut Option<Prepared>, warm: &mut Option<Runner>) -> T {
    result.unwrap_or_else(|error| {
        *warm = None;
        *prepared = None;
        // Criterion has left its cursor behind "Collecting …".
        eprintln!("\nerror: {error:#}");
        process::exit(2)
    })
}
