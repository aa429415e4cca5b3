//! The price of a worker that is started, runs one empty task, is ended and is waited for.
//!
//! `cargo run --release --example start_up` measures a thread, a worker forked by the fork server, and a worker that is
//! this program executed again. For comparison, it also measures what the system takes without any code of parbench:
//! for a plain thread, and for this program executed again and exiting at once. All are interleaved.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, ensure};
use parbench::executors::{ExecutorKind, PoolOptions};
use parbench::measure::percentile;
use parbench::{Inputs, Scenario, Size, Workload};

const ROUNDS: usize = 200;
/// The argument with which this program exits at once.
const EXIT: &str = "exit";

struct Nothing;

impl Workload for Nothing {
    const NAME: &'static str = "nothing";
    type Input = ();
    type Output = ();
    type Worker = ();

    fn prepare(_: Size) -> Result<Inputs<()>> {
        Ok(Inputs::new(vec![()]))
    }

    fn run(_: &mut (), _: &()) -> Result<()> {
        Ok(())
    }

    fn check(_: &[()], _: &[()]) -> Result<()> {
        Ok(())
    }
}

static NOTHING: &[Scenario] = &[Scenario::of::<Nothing>()];

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some(EXIT) {
        return Ok(());
    }
    parbench::bench::enter(NOTHING);
    let mut walls = [const { Vec::new() }; 5];
    for _ in 0..ROUNDS {
        for (wall, run) in walls.iter_mut().zip([bare_thread, bare_spawn, threads, forkserver, processes]) {
            let begin = Instant::now();
            run()?;
            wall.push(begin.elapsed().as_nanos() as u64);
        }
    }
    println!("us for one worker from start to end: median, 10th to 90th percentile of {ROUNDS} rounds");
    let names = [
        "a thread, started and joined",
        "this program, exiting at once",
        "threads: start, task, end",
        "forkserver: start, task, end",
        "processes: start, task, end",
    ];
    for (name, wall) in names.into_iter().zip(&walls) {
        let us = |percent| percentile(percent, wall.iter().copied()).unwrap_or(0) as f64 / 1e3;
        println!("  {name:30} {:8.0}   {:8.0} to {:8.0}", us(50), us(10), us(90));
    }
    Ok(())
}

fn bare_thread() -> Result<()> {
    let answer = std::thread::spawn(|| 1 + 1).join().expect("the thread does not panic");
    ensure!(answer == 2, "a wrong answer");
    Ok(())
}

fn bare_spawn() -> Result<()> {
    ensure!(Command::new(std::env::current_exe()?).arg(EXIT).status()?.success(), "the program failed");
    Ok(())
}

fn threads() -> Result<()> {
    run_one_task("threads")
}

fn forkserver() -> Result<()> {
    run_one_task("forkserver")
}

fn processes() -> Result<()> {
    run_one_task("processes")
}

/// Starts one worker, runs one task, and ends the worker.
fn run_one_task(executor: &str) -> Result<()> {
    let mut executor = ExecutorKind::find(executor)?.start(&PoolOptions::new(1))?;
    executor.execute(&NOTHING[0].prepare(Size::Smoke)?.job(1))?.spans()?;
    Ok(())
}
