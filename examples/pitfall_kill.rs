//! A process can be killed in the middle of a task; a thread cannot be ended from outside at all.
//!
//! `cargo run --release --example pitfall_kill`. What article 001 says of Python's holds for Rust's, and for the same
//! reason. A process owns its memory, so the system can take all of it away. A thread shares its memory: killed in the
//! middle, it would leave locks held and data half written, so Rust has no means to do that, and where a system has
//! one it is unsafe. A thread ends when its function returns. (What a process shares, such as a file, it leaves half
//! written, too.)

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
use pitfalls::{Pitfall, nanoseconds};
use serde_json::json;

/// How many processes are killed. An odd number has a median.
const KILLS: usize = 21;
const NUMBERS: u64 = 1_000_000;
/// A task that is in its middle whenever it is killed.
const ENDLESS: u64 = u64::MAX;
/// A child that nobody kills ends itself.
const LIFE: Duration = Duration::from_secs(60);

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

/// What the thread has counted that nobody can end.
static COUNTED: AtomicU64 = AtomicU64::new(0);

fn main() -> Result<ExitCode> {
    if let Some(numbers) = std::env::args().nth(1) {
        return task(numbers.parse()?);
    }
    let began = Instant::now();

    // Processes: each says that it has begun, is killed, and is gone when the system says how it ended.
    let (mut kill_ns, mut ended_by_kill) = (Vec::new(), 0);
    for _ in 0..KILLS {
        let (mut child, _answer) = start(ENDLESS)?;
        let begin = Instant::now();
        child.kill()?;
        ended_by_kill += usize::from(child.wait()?.signal() == Some(9));
        kill_ns.push(nanoseconds(begin));
    }
    kill_ns.sort_unstable();
    let (median, max) = (kill_ns[KILLS / 2], kill_ns[KILLS - 1]);
    // The parent goes on: it gives the task to another one.
    let (mut child, mut answer) = start(NUMBERS)?;
    let mut line = String::new();
    answer.read_line(&mut line)?;
    child.wait()?;
    let answer: u64 = line.trim().parse()?;

    // A thread that asks nobody: all that the standard library lets others do, and it counts on after each.
    let handle = thread::spawn(|| {
        loop {
            COUNTED.fetch_add(1, SeqCst);
        }
    });
    let mut survived = u64::from(counts_on());
    handle.thread().unpark();
    survived += u64::from(counts_on());
    // As a panic does, without its message.
    ensure!(thread::spawn(|| panic::resume_unwind(Box::new("a panic"))).join().is_err(), "it panicked");
    survived += u64::from(counts_on() && !handle.is_finished());
    drop(handle);
    survived += u64::from(counts_on());
    let tried = ["nothing", "unpark", "a panic in another thread", "its handle dropped"];

    // The cure: it looks at a flag, at places that it chooses, where it leaves everything in order.
    let (stop, begun) = (AtomicBool::new(false), Barrier::new(2));
    let flag_ns = thread::scope(|scope| {
        let polite = scope.spawn(|| {
            begun.wait();
            while !stop.load(SeqCst) {
                spin_loop();
            }
        });
        begun.wait();
        let begin = Instant::now();
        stop.store(true, SeqCst);
        polite.join().is_ok().then(|| nanoseconds(begin))
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
        format!("Until it was gone, one took {} us (median), {} us at most.", us(median), us(max)),
        format!("Their parent went on: the next one finished its task, {answer}."),
        format!(
            "No call in std ends another thread: one has counted to {}, and goes on.",
            COUNTED.load(SeqCst)
        ),
        "Cured: one that looks at a flag ended. The other ends only with its process.".to_string(),
    ];
    let numbers = json!({
        "killed": KILLS, "ended_by_kill": ended_by_kill, "kill_median_ns": median, "kill_max_ns": max,
        "answer": answer, "tried": tried, "survived": survived, "flag_ns": flag_ns,
        "refused": "E0599", "refused_code": REFUSED, "accepted_code": ACCEPTED,
    });
    // The thread still counts. That it does not any more when this returns is the work of the system.
    pitfall.tell(began, ended_by_kill == KILLS && survived == tried.len() as u64, lines, numbers)
}

/// The child: says that it has begun, adds numbers, and says their sum.
fn task(numbers: u64) -> Result<ExitCode> {
    let began = Instant::now();
    // A leash: the parent never writes to this pipe, and however it dies, the system closes its end.
    thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        exit(1)
    });
    writeln!(io::stdout(), "begun")?;
    let mut sum = 0_u64;
    for number in 1..=numbers {
        sum = black_box(sum.wrapping_add(number));
        ensure!(number % 1_000_000 > 0 || began.elapsed() < LIFE, "nobody ended this task");
    }
    writeln!(io::stdout(), "{sum}")?;
    Ok(ExitCode::SUCCESS)
}

/// Starts a task in a process, and returns when it has begun.
fn start(numbers: u64) -> Result<(Child, BufReader<ChildStdout>)> {
    let mut this = Command::new(std::env::current_exe()?);
    let mut child = this.arg(numbers.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut said = BufReader::new(child.stdout.take().context("it has a stdout")?);
    let mut line = String::new();
    said.read_line(&mut line)?;
    ensure!(line == "begun\n", "a child said `{line}` in place of `begun`");
    Ok((child, said))
}

/// Whether the thread is at work: waits until it has counted one more, 10 s at most.
fn counts_on() -> bool {
    let (before, begin) = (COUNTED.load(SeqCst), Instant::now());
    while COUNTED.load(SeqCst) == before && begin.elapsed() < Duration::from_secs(10) {
        thread::yield_now();
    }
    COUNTED.load(SeqCst) > before
}
