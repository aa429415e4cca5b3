//! What measuring itself costs: `cargo run --release --example cell_cost`.
//!
//! For a task, an empty scenario in a cell against a bare loop over the same function. For an observation, the time from the
//! driver's command to its answer, without the batch that it measures: settling, usage, checks, and two lines through pipes.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use parbench::measure::cell::{Cell, CellSpec, Program};
use parbench::measure::percentile;
use parbench::{Inputs, Scenario, Size, Workload};

/// Tasks of a batch, and observations of a variant, each of one batch.
const TASKS: u32 = 10_000;
const OBSERVATIONS: usize = 201;

struct Nothing;

impl Workload for Nothing {
    const NAME: &'static str = "nothing";
    type Input = u32;
    type Output = u32;
    type Worker = ();

    fn prepare(_: Size) -> Result<Inputs<u32>> {
        Ok(Inputs::new((0..TASKS).collect()))
    }

    fn run(_: &mut (), &number: &u32) -> Result<u32> {
        Ok(number)
    }

    fn check(numbers: &[u32], answers: &[u32]) -> Result<()> {
        ensure!(numbers == answers, "the numbers are wrong");
        Ok(())
    }
}

static NOTHING: &[Scenario] = &[Scenario::of::<Nothing>()];

fn main() -> Result<()> {
    parbench::bench::enter(NOTHING);
    println!(
        "medians of {OBSERVATIONS}; ns per task in a batch of {TASKS}, us per observation besides its batch"
    );
    println!("  {:12} {:>10}", "bare loop", format!("{:.1}", bare_loop()?));
    for (executor, workers) in
        [("serial", 1), ("threads", 1), ("threads", 2), ("processes", 1), ("processes", 2)]
    {
        let mut cell = Cell::start(CellSpec::new(Program::This, Nothing::NAME, executor, workers))?;
        cell.wait_until_ready()?;
        let (mut in_clock, mut besides) = (Vec::new(), Vec::new());
        for _ in 0..OBSERVATIONS {
            let began = Instant::now();
            let observation = cell.run(1, None, false)?;
            in_clock.push(observation.wall_ns);
            besides.push((began.elapsed().as_nanos() as u64).saturating_sub(observation.wall_ns));
        }
        let task = percentile(50, in_clock).context("observed")? as f64 / f64::from(TASKS);
        let observation = percentile(50, besides).context("observed")? as f64 / 1e3;
        println!("  {:12} {task:>10.1} {observation:>10.0}", format!("{executor}/{workers}"));
    }
    Ok(())
}

/// The same function over the same inputs, answers kept, ns per task.
fn bare_loop() -> Result<f64> {
    let inputs = Nothing::prepare(Size::Default)?.tasks;
    let mut times = Vec::new();
    for _ in 0..OBSERVATIONS {
        let mut answers = Vec::with_capacity(inputs.len());
        let began = Instant::now();
        for input in &inputs {
            answers.push(black_box(Nothing::run(&mut (), black_box(input))?));
        }
        times.push(began.elapsed().as_nanos() as u64);
        Nothing::check(&inputs, &answers)?;
    }
    Ok(percentile(50, times).context("measured")? as f64 / f64::from(TASKS))
}
