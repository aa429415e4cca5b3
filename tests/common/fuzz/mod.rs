//! A fuzz of pools: random plans of batches, each in a process of its own with a limit of time, and what fails is shrunk
//! to a small plan that can be replayed.

mod plan;
mod shrink;
mod trial;

use std::io::{Read, Write};
use std::process::{self, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub(crate) use self::plan::Plan;
pub(crate) use self::trial::SCENARIOS;

/// The argument that makes a program run the plan that it reads from stdin.
const TRIAL: &str = "fuzz trial";
/// A trial takes well below a second; what takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(25);

/// A plan that failed, and how.
pub(crate) struct Found {
    pub(crate) plan: Plan,
    pub(crate) error: String,
}

/// In a process that is a trial: runs it and ends. Called first of all, but for the modes of a worker.
pub(crate) fn enter() {
    if std::env::args().nth(1).as_deref() != Some(TRIAL) {
        return;
    }
    let run = || {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        trial::run(&serde_json::from_str(&text).context("this is no plan")?)
    };
    match run() {
        Ok(()) => process::exit(0),
        Err(error) => {
            eprintln!("fuzz: {error:#}");
            process::exit(1)
        }
    }
}

/// Runs the plans of some seeds, and shrinks those that fail.
pub(crate) fn run(seeds: std::ops::Range<u64>, mut progress: impl FnMut(u64)) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for seed in seeds {
        let plan = Plan::random(seed);
        if let Some(error) = fails(&plan)? {
            eprintln!("seed {seed} fails ({error}); shrinking");
            found.push(shrink::shrink(Found { plan, error })?);
        }
        progress(seed);
    }
    Ok(found)
}

/// Runs a plan in a process of its own; returns what went wrong.
pub(crate) fn fails(plan: &Plan) -> Result<Option<String>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(TRIAL).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("a trial does not start")?;
    child.stdin.take().context("it has a stdin")?.write_all(serde_json::to_string(plan)?.as_bytes())?;
    // Read beside: a worker that is left holds it open.
    let mut stderr = child.stderr.take().context("it has a stderr")?;
    let (sender, said) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text);
        let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
    });
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if began.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            break None;
        }
        thread::sleep(Duration::from_millis(2));
    };
    let said = said.recv_timeout(Duration::from_secs(5)).unwrap_or_else(|_| "stderr stays open".into());
    Ok(match status {
        None => Some(format!("it hangs: {said}")),
        Some(status) if status.success() => None,
        Some(status) => {
            let last = said.lines().find(|line| line.starts_with("fuzz: ")).unwrap_or(said.trim());
            Some(format!("{status}: {last}"))
        }
    })
}

/// The main of the long fuzz, which is an example: `TRIALS [SEED]`, or a file with a plan.
#[allow(dead_code, reason = "a test has its own")]
pub(crate) fn main() -> Result<ExitCode> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let Some(file) = arguments.first().filter(|argument| argument.parse::<u64>().is_err()) {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
        let plan = serde_json::from_str(&text).with_context(|| format!("{file} is no plan"))?;
        let error = fails(&plan)?;
        println!("{}", error.as_deref().unwrap_or("it passes"));
        return Ok(if error.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let number = |index: usize, otherwise| match arguments.get(index) {
        Some(number) => number.parse().with_context(|| format!("`{number}` is not a number")),
        None => Ok(otherwise),
    };
    let (trials, seed) = (number(0, 2_000)?, number(1, 0)?);
    let began = Instant::now();
    let found = run(seed..seed + trials, |at| {
        if (at - seed) % 100 == 99 {
            println!("{} trials in {:.0} s", at - seed + 1, began.elapsed().as_secs_f64());
        }
    })?;
    for Found { plan, error } in &found {
        println!("{error}\n{}", serde_json::to_string(plan)?);
    }
    match found.len() {
        0 => Ok(ExitCode::SUCCESS),
        failed => {
            bail!("{failed} of {trials} plans fail; write one into a file and give its name to replay it")
        }
    }
}
