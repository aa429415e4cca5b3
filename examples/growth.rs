//! How the cost grows: with the number of tasks, with the size of what they carry, and with the number of workers.
//!
//! `cargo run --release --example growth` prints three tables, medians of several batches. Every batch but the first
//! of its kind is measured; answers are checked outside the clock.

use std::cell::RefCell;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use parbench::executors::{Executor, Kind, Means};
use parbench::record::percentile;
use parbench::{Array, Inputs, Job, Scenario, Size, Workload};
use serde::{Deserialize, Serialize};

/// How long a cell of a table is measured, unless its batches are longer.
const CELL: Duration = Duration::from_millis(400);
/// Fewest and most batches of a cell.
const BATCHES: (usize, usize) = (3, 201);

/// An array, doubled; the same that is sent is made of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Load {
    Nothing,
    Private(Array<f64>),
    Shared(Array<f64>),
}

struct Double;

thread_local! {
    /// The inputs of the next job.
    static NEXT: RefCell<Vec<Load>> = const { RefCell::new(Vec::new()) };
}

impl Workload for Double {
    const NAME: &'static str = "double";
    type Input = Load;
    type Output = Load;
    type Worker = ();

    fn prepare(_: Size) -> Result<Inputs<Load>> {
        Ok(Inputs::new(NEXT.take()))
    }

    fn run(_: &mut (), load: &Load) -> Result<Load> {
        Ok(match load {
            Load::Nothing => Load::Nothing,
            Load::Private(numbers) => {
                Load::Private(numbers.iter().map(|number| number * 2.0).collect::<Vec<_>>().into())
            }
            Load::Shared(numbers) => Load::Shared(Array::shared(numbers.len(), |doubled| {
                doubled.iter_mut().zip(&numbers[..]).for_each(|(doubled, number)| *doubled = number * 2.0);
            })?),
        })
    }

    fn check(loads: &[Load], answers: &[Load]) -> Result<()> {
        ensure!(loads.len() == answers.len(), "{} answers to {} tasks", answers.len(), loads.len());
        let right = |(load, answer): (&Load, &Load)| match (load, answer) {
            (Load::Nothing, Load::Nothing) => true,
            (Load::Private(numbers), Load::Private(doubled))
            | (Load::Shared(numbers), Load::Shared(doubled)) => {
                // A few probes.
                let step = numbers.len() / 100 + 1;
                let places = (0..numbers.len()).rev().step_by(step);
                numbers.len() == doubled.len()
                    && places.into_iter().all(|place| doubled[place] == numbers[place] * 2.0)
            }
            _ => false,
        };
        ensure!(loads.iter().zip(answers).all(right), "a wrong answer");
        Ok(())
    }
}

static DOUBLE: &[Scenario] = &[Scenario::of::<Double>()];

const EXECUTORS: [&str; 3] = ["serial", "threads", "processes"];

fn main() -> Result<()> {
    parbench::bench::enter(DOUBLE);
    tasks()?;
    payloads()?;
    workers()
}

fn job(loads: Vec<Load>, workers: usize) -> Result<Arc<dyn Job>> {
    NEXT.set(loads);
    Ok(DOUBLE[0].prepare(Size::Smoke)?(workers))
}

fn start(executor: &str, workers: usize) -> Result<Box<dyn Executor>> {
    let kind = Kind::find(executor)?;
    kind.start(&Means::workers(if kind.single { 1 } else { workers }))
}

/// The median time of a batch, ns.
fn measure(executor: &mut dyn Executor, job: &Arc<dyn Job>) -> Result<u64> {
    let mut walls = Vec::new();
    let mut sum = Duration::ZERO;
    // The first one finds pages, caches and branches.
    for batch in 0..=BATCHES.1 {
        let outcome = executor.execute(job)?;
        outcome.spans()?;
        job.check()?;
        if batch > 0 {
            walls.push(outcome.wall.as_nanos() as u64);
            sum += outcome.wall;
            if walls.len() >= BATCHES.0 && sum > CELL {
                break;
            }
        }
    }
    median(walls)
}

fn median(values: Vec<u64>) -> Result<u64> {
    percentile(50, values).context("nothing was measured")
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn tasks() -> Result<()> {
    println!(
        "empty tasks, 2 workers: us a task; ms a batch\n    tasks {:>21} {:>21} {:>21}",
        "serial", "threads", "processes"
    );
    for tasks in (0..=6).map(|power| 10usize.pow(power)) {
        let job = job(vec![Load::Nothing; tasks], 2)?;
        print!("{tasks:9}");
        for executor in EXECUTORS {
            let wall = measure(&mut *start(executor, 2)?, &job)?;
            print!(" {:9.3}; {:10.4}", wall as f64 / 1e3 / tasks as f64, ms(wall));
        }
        println!();
    }
    Ok(())
}

fn payloads() -> Result<()> {
    println!("\none task that doubles an array of so many bytes, 1 worker: ms");
    println!("{:>9} {:^32} {:^32}", "", "private, From<Vec>", "shared, Array::shared");
    println!("    bytes {0:>10} {1:>10} {2:>10} {0:>10} {1:>10} {2:>10}", "serial", "threads", "processes");
    for bytes in (0..=8).map(|power| 8 * 10usize.pow(power)) {
        print!("{bytes:9}");
        // In and out, and both once more on the way.
        let (needed, free) = (5 * bytes as u64, free_bytes().unwrap_or(u64::MAX));
        if needed > free {
            println!(
                " left out: it takes {} MB of memory, of which {} MB are free",
                needed >> 20,
                free >> 20
            );
            continue;
        }
        let number = |place: usize| place as f64;
        let length = bytes / size_of::<f64>();
        let loads: [&dyn Fn() -> Result<Load>; 2] =
            [&|| Ok(Load::Private((0..length).map(number).collect::<Vec<_>>().into())), &|| {
                Ok(Load::Shared(Array::shared(length, |numbers| {
                    numbers.iter_mut().enumerate().for_each(|(place, element)| *element = number(place));
                })?))
            }];
        for load in loads {
            let job = job(vec![load()?], 1)?;
            for executor in EXECUTORS {
                print!(" {:10.4}", ms(measure(&mut *start(executor, 1)?, &job)?));
            }
        }
        println!();
    }
    Ok(())
}

/// What is left of the memory; `None` where the system does not say.
fn free_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

const TASKS: usize = 2_000;
/// How often so many workers are started and ended.
const STARTS: usize = 7;

fn workers() -> Result<()> {
    println!(
        "\n{TASKS} empty tasks on so many workers: us a task; how long the workers take to start until all are"
    );
    println!("ready, and to end: ms");
    println!("{:>7} {:^21} {:^23} {:^23} {:^23}", "", "us a task", "threads", "forkserver", "processes");
    println!(
        "workers {:>10} {:>10} {2:>11} {3:>11} {2:>11} {3:>11} {2:>11} {3:>11}",
        "threads", "processes", "start", "end"
    );
    for workers in (0..=6).map(|power| 1 << power) {
        print!("{workers:7}");
        let many = job(vec![Load::Nothing; TASKS], workers)?;
        for executor in ["threads", "processes"] {
            let wall = measure(&mut *start(executor, workers)?, &many)?;
            print!(" {:10.3}", wall as f64 / 1e3 / TASKS as f64);
        }
        let one = job(vec![Load::Nothing], workers)?;
        for executor in ["threads", "forkserver", "processes"] {
            // The fork server itself is started once for all.
            drop(start(executor, 1)?);
            let (mut starts, mut ends) = (Vec::new(), Vec::new());
            for _ in 0..STARTS {
                let began = Instant::now();
                let mut pool = start(executor, workers)?;
                // Its clock starts when all workers are ready.
                let outcome = pool.execute(&one)?;
                starts.push((began.elapsed() - outcome.wall).as_nanos() as u64);
                outcome.spans()?;
                let began = Instant::now();
                drop(pool);
                ends.push(began.elapsed().as_nanos() as u64);
            }
            print!(" {:11.3} {:11.3}", ms(median(starts)?), ms(median(ends)?));
        }
        println!();
    }
    Ok(())
}
