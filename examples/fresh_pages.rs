//! What the reuse of memory is worth: 16 tasks each double an array of 80 MB, on two threads and in two processes.
//!
//! `cargo run --release --example fresh_pages` measures this with shared arrays in reused memory, with shared arrays in
//! fresh pages, which the system has to find and clear each time, and with private arrays. All are interleaved: every
//! round runs them in a random order and then in the reverse order. Each runs twice in a row, and the second run is
//! measured.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use parbench::data::keep_unused;
use parbench::executors::{Executor, ExecutorKind, PoolOptions};
use parbench::measure::percentile;
use parbench::{Array, Inputs, Job, Scenario, Size, Workload};

const WORKERS: usize = 2;
const TASKS: usize = 16;
/// Numbers per task: 80 MB.
const LENGTH: usize = 10_000_000;
const ROUNDS: usize = 12;
/// How many bytes a process keeps for its next arrays by default.
const DEFAULT_KEPT: u64 = 4 << 30;

/// The same array for every task.
fn shared_inputs() -> Result<Inputs<Array<f64>>> {
    let fill = |array: &mut [f64]| array.iter_mut().enumerate().for_each(|(index, x)| *x = index as f64);
    Ok(Inputs::new(vec![Array::shared(LENGTH, fill)?; TASKS]))
}

fn double_shared(x: &Array<f64>) -> Result<Array<f64>> {
    Array::shared(x.len(), |doubled| {
        doubled.iter_mut().zip(&x[..]).for_each(|(doubled, x)| *doubled = x * 2.0)
    })
}

/// Checks a sample of every answer.
fn check(answers: &[Array<f64>]) -> Result<()> {
    ensure!(answers.len() == TASKS, "{} answers", answers.len());
    for (task, doubled) in answers.iter().enumerate() {
        let right = |index: usize| doubled[index] == index as f64 * 2.0;
        ensure!(doubled.len() == LENGTH, "task {task}: {} numbers", doubled.len());
        ensure!((0..LENGTH).rev().step_by(9_973).all(right), "task {task}: a wrong answer");
    }
    Ok(())
}

/// Shared arrays in reused memory.
struct Reused;

impl Workload for Reused {
    const NAME: &'static str = "reused";
    type Input = Array<f64>;
    type Output = Array<f64>;
    type Worker = ();

    fn prepare(_: Size) -> Result<Inputs<Array<f64>>> {
        shared_inputs()
    }

    fn run(_: &mut (), x: &Array<f64>) -> Result<Array<f64>> {
        double_shared(x)
    }

    fn check(_: &[Array<f64>], answers: &[Array<f64>]) -> Result<()> {
        check(answers)
    }
}

/// A worker that keeps no memory for its next array.
struct WithoutReuse;

impl Default for WithoutReuse {
    fn default() -> Self {
        keep_unused(0);
        WithoutReuse
    }
}

/// Shared arrays in fresh pages.
struct Fresh;

impl Workload for Fresh {
    const NAME: &'static str = "fresh";
    type Input = Array<f64>;
    type Output = Array<f64>;
    type Worker = WithoutReuse;

    fn prepare(_: Size) -> Result<Inputs<Array<f64>>> {
        shared_inputs()
    }

    fn run(_: &mut WithoutReuse, x: &Array<f64>) -> Result<Array<f64>> {
        double_shared(x)
    }

    fn check(_: &[Array<f64>], answers: &[Array<f64>]) -> Result<()> {
        check(answers)
    }
}

/// Private arrays.
struct Private;

impl Workload for Private {
    const NAME: &'static str = "private";
    type Input = Array<f64>;
    type Output = Array<f64>;
    type Worker = ();

    fn prepare(_: Size) -> Result<Inputs<Array<f64>>> {
        let array: Array<f64> = (0..LENGTH).map(|index| index as f64).collect::<Vec<_>>().into();
        Ok(Inputs::new(vec![array; TASKS]))
    }

    fn run(_: &mut (), x: &Array<f64>) -> Result<Array<f64>> {
        Ok(x.iter().map(|x| x * 2.0).collect::<Vec<_>>().into())
    }

    fn check(_: &[Array<f64>], answers: &[Array<f64>]) -> Result<()> {
        check(answers)
    }
}

static SCENARIOS: &[Scenario] =
    &[Scenario::of::<Reused>(), Scenario::of::<Fresh>(), Scenario::of::<Private>()];
const LABELS: [&str; 3] = ["shared, reused memory", "shared, fresh pages", "private"];
const EXECUTORS: [&str; 2] = ["threads", "processes"];

/// A scenario on an executor.
struct Variant {
    /// The index in [`SCENARIOS`].
    scenario: usize,
    executor: Box<dyn Executor>,
    job: Arc<dyn Job>,
    /// The times of the two batches of each round, one in the random order and one in its reverse, in ns.
    walls: Vec<u64>,
}

impl Variant {
    /// Runs two batches and returns the time of the second, in ns. It reuses the memory that the first batch has left,
    /// if that memory is kept.
    fn run(&mut self) -> Result<u64> {
        // This is the limit of this process. Worker processes set their own.
        keep_unused(if SCENARIOS[self.scenario].name == Fresh::NAME { 0 } else { DEFAULT_KEPT });
        self.batch()?;
        self.batch()
    }

    fn batch(&mut self) -> Result<u64> {
        let outcome = self.executor.execute(&self.job)?;
        outcome.spans()?;
        self.job.check()?;
        Ok(outcome.wall.as_nanos() as u64)
    }
}

fn main() -> Result<()> {
    parbench::bench::enter(SCENARIOS);
    let mut variants = Vec::new();
    for (index, scenario) in SCENARIOS.iter().enumerate() {
        let prepared = scenario.prepare(Size::Default)?;
        for executor in EXECUTORS {
            let executor = ExecutorKind::find(executor)?.start(&PoolOptions::new(WORKERS))?;
            variants.push(Variant {
                scenario: index,
                executor,
                job: prepared.job(WORKERS),
                walls: Vec::new(),
            });
        }
    }
    for variant in &mut variants {
        variant.run()?;
    }
    let mut random = 1;
    for _ in 0..ROUNDS {
        let order = shuffle(variants.len(), &mut random);
        for &index in order.iter().chain(order.iter().rev()) {
            let wall = variants[index].run()?;
            variants[index].walls.push(wall);
        }
    }
    println!(
        "ms for {TASKS} x 80 MB on {WORKERS} workers: medians; processes/threads in each of {ROUNDS} rounds"
    );
    println!("{:28} {:>9} {:>9}   median, 10th to 90th percentile", "", "threads", "processes");
    for (scenario, label) in LABELS.iter().enumerate() {
        let ours: Vec<_> = variants
            .iter()
            .filter(|variant| variant.scenario == scenario)
            .map(|variant| &variant.walls)
            .collect();
        let [threads, processes] = ours[..] else { unreachable!("there are two executors") };
        let ms = |walls: &[u64]| Ok::<_, anyhow::Error>(rank(50, walls.iter().copied())? as f64 / 1e6);
        // The sums of the two batches of each round. The ratios are in thousandths, since `rank` takes whole numbers.
        let pairs = threads.chunks(2).zip(processes.chunks(2));
        let sum = |walls: &[u64]| walls.iter().sum::<u64>();
        let ratios: Vec<_> =
            pairs.map(|(threads, processes)| 1_000 * sum(processes) / sum(threads)).collect();
        let ratio = |percent| Ok::<_, anyhow::Error>(rank(percent, ratios.iter().copied())? as f64 / 1e3);
        println!(
            "{label:28} {:9.2} {:9.2}   {:.2}, {:.2} to {:.2}",
            ms(threads)?,
            ms(processes)?,
            ratio(50)?,
            ratio(10)?,
            ratio(90)?
        );
    }
    Ok(())
}

fn rank(percent: usize, values: impl Iterator<Item = u64>) -> Result<u64> {
    percentile(percent, values).context("nothing was measured")
}

/// Returns a random order (Fisher–Yates, splitmix64), the same in every run.
fn shuffle(length: usize, state: &mut u64) -> Vec<usize> {
    let mut order: Vec<_> = (0..length).collect();
    for last in (1..length).rev() {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        order.swap(last, ((mixed ^ mixed >> 31) % (last as u64 + 1)) as usize);
    }
    order
}
