//! A process can be killed in the middle of a task; a thread cannot be ended from outside at all.
//!
//! `cargo run --release --example pitfall_kill`. Article 001 says so of Python. It is true of Rust, too, for the same
//! reason. A process owns its memory, so the system can take all of it away. A thread shares its memory: killed in the
//! middle of a task, it would leave locks held and data half written. So Rust has no way to kill a thread, and if a
//! system has one, it is unsafe. A thread ends when its function returns. (A killed process can also leave shared
//! data half written, such as a file.)

#[path = "pitfalls/mod.rs"]
mod pitfalls;

use std::hint::{black_box, spin_loop};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio, exit};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use std::{io, panic, thread};

use anyhow::{Context, Result, ensure};
use pitfalls::{Pitfall, elapsed_ns};
use serde_json::json;

/// How many processes are killed. The number is odd, so that one of the times is the median.
const KILLS: usize = 21;
/// The numbers that a task adds.
const NUMBERS: u64 = 1_000_000;
/// The same for a task that never ends, so that it is always killed in the middle.
const ENDLESS: u64 = u64::MAX;
/// How long a child runs, at most, if it is not killed.
const MAX_LIFETIME: Duration = Duration::from_secs(60);

const REFUSED: &str = "\
fn main() {
    let thread = std::thread::spawn(|| loop {});
    thread.kill(); // error[E0599]: no method named `kill` found
}
";
const ACCEPTED: &str = "\
use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

fn main() {
    let thread = std::thread::spawn(|| while !STOP.load(Ordering::Relaxed) {});
    STOP.store(true, Ordering::Relaxed);
    thread.join().unwrap();
}
";

/// The count of the thread that cannot be killed.
static COUNTED: AtomicU64 = AtomicU64::new(0);

fn main() -> Result<ExitCode> {
    if let Some(numbers) = std::env::args().nth(1) {
        return task(numbers.parse()?);
    }
    let began = Instant::now();

    // Processes: each reports that it has begun, and is killed. It is gone when the system returns its exit status.
    let (mut kill_ns, mut ended_by_kill) = (Vec::new(), 0);
    for _ in 0..KILLS {
        let (mut child, _answer) = start(ENDLESS)?;
        let begin = Instant::now();
        child.kill()?;
        ended_by_kill += usize::from(child.wait()?.signal() == Some(9));
        kill_ns.push(elapsed_ns(begin));
    }
    kill_ns.sort_unstable();
    let (median, max) = (kill_ns[KILLS / 2], kill_ns[KILLS - 1]);
    // The parent goes on: it gives the task to another process.
    let (mut child, mut answer) = start(NUMBERS)?;
    let mut line = String::new();
    answer.read_line(&mut line)?;
    child.wait()?;
    let answer: u64 = line.trim().parse()?;

    // A thread that checks no flag. Nothing that the standard library lets other threads do keeps it from counting.
    let handle = thread::spawn(|| {
        loop {
            COUNTED.fetch_add(1, SeqCst);
        }
    });
    let mut survived = u64::from(is_counting());
    handle.thread().unpark();
    survived += u64::from(is_counting());
    // This unwinds like a panic, but prints no message.
    ensure!(
        thread::spawn(|| panic::resume_unwind(Box::new("a panic"))).join().is_err(),
        "the thread did not panic"
    );
    survived += u64::from(is_counting() && !handle.is_finished());
    drop(handle);
    survived += u64::from(is_counting());
    let tried = ["nothing", "unpark", "a panic in another thread", "its handle dropped"];

    // The cure: the thread checks a flag, at points of its choice, where it leaves everything in order.
    let (stop, begun) = (AtomicBool::new(false), Barrier::new(2));
    let flag_ns = thread::scope(|scope| {
        let cooperative = scope.spawn(|| {
            begun.wait();
            while !stop.load(SeqCst) {
                spin_loop();
            }
        });
        begun.wait();
        let begin = Instant::now();
        stop.store(true, SeqCst);
        cooperative.join().is_ok().then(|| elapsed_ns(begin))
    });

    let pitfall = Pitfall {
        pitfall: "kill",
        outcome: "process_killed_thread_not",
        cured: flag_ns.is_some() && answer == NUMBERS * (NUMBERS + 1) / 2,
        cure: "a flag that the thread looks at, or a process in its place",
        threads: 1,
        processes: 1,
    };
    let us = |ns: u64| ns / 1_000;
    let lines = [
        format!("{ended_by_kill} of {KILLS} processes were killed in the middle of their task."),
        format!("A killed process was gone after {} us (median), {} us at most.", us(median), us(max)),
        format!("The parent went on: the next process ended with the sum {answer}."),
        format!(
            "No call in std ends another thread: one has counted to {} and goes on.",
            COUNTED.load(SeqCst)
        ),
        "Cured: a thread that checks a flag ended. The other ends only with its process.".to_string(),
    ];
    let numbers = json!({
        "killed": KILLS, "ended_by_kill": ended_by_kill, "kill_median_ns": median, "kill_max_ns": max,
        "answer": answer, "tried": tried, "survived": survived, "flag_ns": flag_ns,
        "refused": "E0599", "refused_code": REFUSED, "accepted_code": ACCEPTED,
    });
    // The thread still counts. The system ends it with the process, when `main` returns.
    pitfall.report(began, ended_by_kill == KILLS && survived == tried.len() as u64, lines, numbers)
}

/// The child: reports that it has begun, adds numbers, and prints their sum.
fn task(numbers: u64) -> Result<ExitCode> {
    let began = Instant::now();
    // The child exits if its parent dies: the parent never writes to this pipe, and however it dies, the system closes
    // its end.
    thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        exit(1)
    });
    writeln!(io::stdout(), "begun")?;
    let mut sum = 0_u64;
    for number in 1..=numbers {
        sum = black_box(sum.wrapping_add(number));
        ensure!(number % 1_000_000 > 0 || began.elapsed() < MAX_LIFETIME, "this task was not killed");
    }
    writeln!(io::stdout(), "{sum}")?;
    Ok(ExitCode::SUCCESS)
}

/// Starts a task in a process, and returns when the task has begun.
fn start(numbers: u64) -> Result<(Child, BufReader<ChildStdout>)> {
    let mut this = Command::new(std::env::current_exe()?);
    let mut child = this.arg(numbers.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdout = BufReader::new(child.stdout.take().context("the child has no stdout")?);
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    ensure!(line == "begun\n", "the child printed `{line}` instead of `begun`");
    Ok((child, stdout))
}

/// Whether the thread is still counting. Waits until its count has grown, for at most 10 s.
fn is_counting() -> bool {
    let (before, begin) = (COUNTED.load(SeqCst), Instant::now());
    while COUNTED.load(SeqCst) == before && begin.elapsed() < Duration::from_secs(10) {
        thread::yield_now();
    }
    COUNTED.load(SeqCst) > before
}
