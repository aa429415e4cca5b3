//! How the cost grows: with the number of tasks, with the size of what they carry, and with the number of workers.
//!
//! `cargo run --release --example growth` prints three tables, medians of several batches. Every batch but the first
//! of its kind is measured; answers are checked outside the clock.

#[path = "../tests/common/action/mod.rs"]
mod action;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use action::{Act, Action, Payload};
use anyhow::{Context, Result};
use parbench::executors::{Executor, ExecutorKind, PoolOptions, Shapes};
use parbench::measure::percentile;
use parbench::{Array, Job, Scenario, TypedJob};

/// How long a cell of a table is measured, unless its batches are longer.
const CELL: Duration = Duration::from_millis(400);
/// Fewest and most batches of a cell.
const BATCHES: (usize, usize) = (3, 201);

const EXECUTORS: [&str; 3] = ["serial", "threads", "processes"];

fn main() -> Result<()> {
    parbench::bench::enter([Scenario::of::<Act>()]);
    tasks()?;
    payloads()?;
    workers()
}

fn job(actions: Vec<Action>, workers: usize) -> Arc<dyn Job> {
    Arc::new(TypedJob::<Act>::new(actions, workers))
}

fn start(executor: &str, workers: usize) -> Result<Box<dyn Executor>> {
    let kind = ExecutorKind::find(executor)?;
    kind.start(&PoolOptions::new(if kind.shapes == Shapes::Single { 1 } else { workers }))
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
        let job = job(vec![Action::Nothing; tasks], 2);
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
    println!("\none task that doubles an array of this many bytes, 1 worker: ms");
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
        let number = |index: usize| index as f64;
        let length = bytes / size_of::<f64>();
        let payloads: [&dyn Fn() -> Result<Payload<f64>>; 2] =
            [&|| Ok(Payload::private((0..length).map(number).collect())), &|| {
                Ok(Payload::Shared(Array::shared(length, |numbers| {
                    numbers.iter_mut().enumerate().for_each(|(index, element)| *element = number(index));
                })?))
            }];
        for payload in payloads {
            let job = job(vec![Action::Double(payload()?)], 1);
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
/// How often this many workers are started and ended.
const STARTS: usize = 7;

fn workers() -> Result<()> {
    println!(
        "\n{TASKS} empty tasks on this many workers: us a task; how long the workers take to start until all are"
    );
    println!("ready, and to end: ms");
    println!("{:>7} {:^21} {:^23} {:^23} {:^23}", "", "us a task", "threads", "forkserver", "processes");
    println!(
        "workers {:>10} {:>10} {2:>11} {3:>11} {2:>11} {3:>11} {2:>11} {3:>11}",
        "threads", "processes", "start", "end"
    );
    for workers in (0..=6).map(|power| 1 << power) {
        print!("{workers:7}");
        let many = job(vec![Action::Nothing; TASKS], workers);
        for executor in ["threads", "processes"] {
            let wall = measure(&mut *start(executor, workers)?, &many)?;
            print!(" {:10.3}", wall as f64 / 1e3 / TASKS as f64);
        }
        let one = job(vec![Action::Nothing], workers);
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
