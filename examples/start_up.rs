//! The price of a worker: started, one empty task answered, ended and waited for.
//!
//! `cargo run --release --example start_up` measures a thread, a worker from the fork server and one that is this
//! program executed again, interleaved, beside what the system takes for the same without any of our code: this
//! program executed again that exits at once.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, ensure};
use parbench::executors::{Kind, Means};
use parbench::record::percentile;
use parbench::{Inputs, Scenario, Size, Workload};

const ROUNDS: usize = 200;
/// The argument of a program that exits at once.
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
    println!("us for one worker from start to end: median, 10th to 90th percentile of {ROUNDS}");
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
    let answer = std::thread::spawn(|| 1 + 1).join().expect("it does not panic");
    ensure!(answer == 2, "it cannot add");
    Ok(())
}

fn bare_spawn() -> Result<()> {
    ensure!(Command::new(std::env::current_exe()?).arg(EXIT).status()?.success(), "it failed");
    Ok(())
}

fn threads() -> Result<()> {
    start("threads")
}

fn forkserver() -> Result<()> {
    start("forkserver")
}

fn processes() -> Result<()> {
    start("processes")
}

fn start(executor: &str) -> Result<()> {
    let mut executor = Kind::find(executor)?.start(&Means::workers(1))?;
    executor.execute(&NOTHING[0].prepare(Size::Smoke)?(1))?.spans()?;
    Ok(())
}
