//! The price of a task: the round trip of an empty task to one warm worker.
//!
//! `cargo run --release --example round_trip` measures it with caller and worker where the system puts them, and with
//! both on one CPU. On one CPU it is the cost of the machinery. On two CPUs most of it is the wake-up of an idle CPU,
//! whatever the mechanism.

use anyhow::{Result, ensure};
use parbench::executors::{ALL, ExecutorKind, PoolOptions};
use parbench::measure::percentile;
use parbench::{Inputs, Scenario, Size, Workload};

/// Tasks per long batch.
const TASKS: u32 = 2_000;
/// The number of long batches. There are 500 times as many batches of one task.
const BATCHES: usize = 21;

struct Echo;

impl Workload for Echo {
    const NAME: &'static str = "echo";
    type Input = u32;
    type Output = u32;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<u32>> {
        Ok(Inputs::new((0..size.pick(1, TASKS, TASKS)).collect()))
    }

    fn run(_: &mut (), &number: &u32) -> Result<u32> {
        Ok(number)
    }

    fn check(numbers: &[u32], answers: &[u32]) -> Result<()> {
        ensure!(numbers == answers, "the echo is wrong");
        Ok(())
    }
}

static ECHO: &[Scenario] = &[Scenario::of::<Echo>()];

fn main() -> Result<()> {
    parbench::bench::enter(ECHO);
    println!("us per empty task on one warm worker: median, minimum, maximum");
    println!(
        "  alone: in a batch of its own; in a row: the mean of {TASKS}, processes with one task in flight"
    );
    table("caller and worker placed by the system")?;
    if pin() {
        table("caller and worker on one CPU")?;
    }
    Ok(())
}

fn table(placement: &str) -> Result<()> {
    println!("{placement}\n             {:^29} {:^29}", "alone", "in a row");
    for kind in ALL {
        let (alone, row) =
            (measure(kind, Size::Smoke, BATCHES * 500)?, measure(kind, Size::Default, BATCHES)?);
        println!("  {:10} {alone} {row}", kind.name);
    }
    Ok(())
}

fn measure(kind: &ExecutorKind, size: Size, batches: usize) -> Result<String> {
    let mut executor = kind.start(&PoolOptions::new(1).prefetch(0))?;
    let job = ECHO[0].prepare(size)?.job(1);
    let mut walls = Vec::new();
    for _ in 0..batches {
        let outcome = executor.execute(&job)?;
        outcome.spans()?;
        walls.push(outcome.wall.as_nanos() as u64);
    }
    job.check()?;
    let us =
        |percent| percentile(percent, walls.iter().copied()).unwrap_or(0) as f64 / 1e3 / job.tasks() as f64;
    Ok(format!("{:9.2} {:9.2} {:9.2}", us(50), us(0), us(100)))
}

/// Pins this thread to CPU 0, and with it all threads and processes that it starts from now on.
#[cfg(target_os = "linux")]
fn pin() -> bool {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(0);
    rustix::thread::sched_setaffinity(None, &cpus).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn pin() -> bool {
    false
}
