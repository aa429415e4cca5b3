//! A deadlock: two threads, each waiting for the lock that the other holds.
//!
//! `cargo run --release --example pitfall_deadlock`. One thread moves money from account 0 to account 1, the other from
//! account 1 to account 0. Each locks the account it takes from, then the account it gives to. Threads never leave a
//! deadlock by themselves, and they cannot be killed, so they run in a child process, which its parent watches and
//! kills.

#[path = "pitfalls/mod.rs"]
mod pitfalls;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio, exit};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pitfalls::Pitfall;
use serde_json::json;

/// Transfers per thread.
const TRANSFERS: u64 = 50;
/// The time between two pulses. A pulse reports the child's progress.
const PULSE: Duration = Duration::from_millis(10);
/// How many pulses in a row without progress count as a deadlock. A slow machine delays the pulses as it delays the
/// transfers, so this is not a time limit.
const IDLE_LIMIT: u64 = 30;
/// A child without a watchdog exits after this many pulses.
const MAX_PULSES: u64 = 6_000;
/// How many times the child is run, at most, to get a deadlock. Each thread spends 1 ms between its two locks, and the
/// other thread takes its first lock in that time. If it does not in any of 50 transfers, the child is run again.
const MAX_TRIES: u64 = 10;

fn main() -> Result<ExitCode> {
    match std::env::args().nth(1).as_deref() {
        Some("opposite") => move_money(|thread| [thread, 1 - thread]),
        // The cure: both threads lock account 0 first. The thread that holds it can get the other lock.
        Some("ordered") => move_money(|_| [0, 1]),
        _ => compare(),
    }
}

/// The child: two threads move money, and the main thread reports to the parent how many transfers they have made.
fn move_money(order: fn(usize) -> [usize; 2]) -> Result<ExitCode> {
    let accounts = [Mutex::new(1_000_i64), Mutex::new(1_000_i64)];
    let done = AtomicU64::new(0);
    let transfers = |thread: usize| {
        for _ in 0..TRANSFERS {
            let [first, second] = order(thread);
            let mut first_account = accounts[first].lock().expect("no thread panics");
            thread::sleep(Duration::from_millis(1));
            let mut second_account = accounts[second].lock().expect("no thread panics");
            let sign = if first == thread { 1 } else { -1 };
            *first_account -= sign;
            *second_account += sign;
            done.fetch_add(1, SeqCst);
        }
    };
    thread::scope(|scope| {
        for thread in 0..2 {
            let name = format!("mover {thread}");
            thread::Builder::new().name(name).spawn_scoped(scope, move || transfers(thread))?;
        }
        for _ in 0..MAX_PULSES {
            let now = done.load(SeqCst);
            // This fails once the parent has died, however it died. Then the child exits, too.
            writeln!(std::io::stdout(), "{now}").unwrap_or_else(|_| exit(1));
            if now == 2 * TRANSFERS {
                return Ok(ExitCode::SUCCESS);
            }
            thread::sleep(PULSE);
        }
        exit(1)
    })
}

/// The progress of a child, as its watchdog saw it.
struct Progress {
    /// Transfers made.
    done: u64,
    /// The latest pulses in a row without progress.
    idle_pulses: u64,
    /// The movers that were awake during the deadlock, if the system tells.
    awake: Option<usize>,
}

/// The watchdog: starts a child and waits until it has ended, or kills it when it is deadlocked.
fn watch(order: &str) -> Result<Progress> {
    let mut child = Command::new(std::env::current_exe()?).arg(order).stdout(Stdio::piped()).spawn()?;
    let pulses = BufReader::new(child.stdout.take().context("the child has no stdout")?).lines();
    let mut progress = Progress { done: 0, idle_pulses: 0, awake: None };
    for pulse in pulses {
        let now = pulse?.parse()?;
        progress.idle_pulses = if now == progress.done { progress.idle_pulses + 1 } else { 0 };
        progress.done = now;
        if progress.idle_pulses >= IDLE_LIMIT {
            progress.awake = pitfalls::awake(child.id(), "mover");
            if progress.awake.is_none_or(|awake| awake == 0) {
                child.kill()?;
                break;
            }
        }
    }
    child.wait()?;
    Ok(progress)
}

/// The parent: runs the child with opposite orders of locks, then with one order.
fn compare() -> Result<ExitCode> {
    let began = Instant::now();
    let mut tries = 1;
    let mut opposite = watch("opposite")?;
    while opposite.idle_pulses < IDLE_LIMIT && tries < MAX_TRIES {
        opposite = watch("opposite")?;
        tries += 1;
    }
    let ordered = watch("ordered")?;

    let transfers = 2 * TRANSFERS;
    let Progress { done, idle_pulses, awake } = opposite;
    let pitfall = Pitfall {
        pitfall: "deadlock",
        outcome: "deadlock",
        cured: ordered.done == transfers,
        cure: "one order of locks for everybody",
        threads: 2,
        processes: 1,
    };
    let lines = [
        format!("Two threads make {transfers} transfers between two accounts, and lock both for each."),
        format!("In opposite orders, they stopped after {done}: each waits for the other's lock."),
        format!("They run in a child process, which reported no progress {idle_pulses} times in a row."),
        "Its parent killed it: the threads cannot go on, and cannot be killed one by one.".to_string(),
        format!("Cured: with the same order for both, they made {} of {transfers}.", ordered.done),
    ];
    let numbers = json!({
        "transfers": transfers, "done": done, "pulses": idle_pulses, "awake": awake, "tries": tries,
        "cured_done": ordered.done,
    });
    pitfall.report(began, idle_pulses >= IDLE_LIMIT, lines, numbers)
}
