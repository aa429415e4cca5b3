//! A deadlock: two threads, each of which waits for the lock that the other holds.
//!
//! `cargo run --release --example pitfall_deadlock`. One thread moves money from account 0 to account 1, the other
//! back. Each locks the account it takes from, then the one it gives to. No thread ever leaves that by itself, and
//! none can be killed, so they run in a child process, which its parent watches and ends.

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

/// Transfers of each thread.
const TRANSFERS: u64 = 50;
/// How often the child says how far it is, and how often in a row without progress is a stand-still. A machine that
/// is slow delays the pulses as it delays the transfers, so this is no limit in time.
const PULSE: Duration = Duration::from_millis(10);
const STILL: u64 = 30;
/// A child without a watchdog ends itself after these pulses.
const LIFE: u64 = 6_000;
/// What each thread does between its two locks takes 1 ms. The other thread takes its first lock in that time; if
/// ever it does not in 50 transfers, the child is started again, so often.
const TRIES: u64 = 10;

fn main() -> Result<ExitCode> {
    match std::env::args().nth(1).as_deref() {
        Some("opposite") => move_money(|thread| [thread, 1 - thread]),
        // The cure: everybody locks account 0 first. Whoever has it can get the other one.
        Some("ordered") => move_money(|_| [0, 1]),
        _ => watch_both(),
    }
}

/// The child: two threads move money, and this one tells the parent how many transfers there were.
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
        for _ in 0..LIFE {
            let now = done.load(SeqCst);
            // Nobody reads this any more once the parent has died, however it died: then this ends too.
            writeln!(std::io::stdout(), "{now}").unwrap_or_else(|_| exit(1));
            if now == 2 * TRANSFERS {
                return Ok(ExitCode::SUCCESS);
            }
            thread::sleep(PULSE);
        }
        exit(1)
    })
}

/// How far a child got, and whether it then stood still.
struct Watched {
    done: u64,
    still: u64,
    awake: Option<usize>,
}

/// The watchdog: starts a child and listens until it has done its work, or does no more and is ended.
fn watch(order: &str) -> Result<Watched> {
    let mut child = Command::new(std::env::current_exe()?).arg(order).stdout(Stdio::piped()).spawn()?;
    let pulses = BufReader::new(child.stdout.take().context("it has a stdout")?).lines();
    let mut watched = Watched { done: 0, still: 0, awake: None };
    for pulse in pulses {
        let now = pulse?.parse()?;
        watched.still = if now == watched.done { watched.still + 1 } else { 0 };
        watched.done = now;
        if watched.still >= STILL {
            watched.awake = pitfalls::awake(child.id(), "mover");
            if watched.awake.is_none_or(|awake| awake == 0) {
                child.kill()?;
                break;
            }
        }
    }
    child.wait()?;
    Ok(watched)
}

fn watch_both() -> Result<ExitCode> {
    let began = Instant::now();
    let mut tries = 1;
    let mut opposite = watch("opposite")?;
    while opposite.still < STILL && tries < TRIES {
        opposite = watch("opposite")?;
        tries += 1;
    }
    let ordered = watch("ordered")?;

    let transfers = 2 * TRANSFERS;
    let Watched { done, still, awake } = opposite;
    let pitfall = Pitfall {
        pitfall: "deadlock",
        outcome: "deadlock",
        cured: ordered.done == transfers,
        cure: "one order of locks for everybody",
        threads: 2,
        processes: 1,
    };
    let lines = [
        format!("Two threads make {transfers} transfers between two accounts, locking one, then both."),
        format!("In opposite orders they stood still after {done}: each waits for the other's lock."),
        format!("They are in a child process, which said {still} times in a row: no progress."),
        "So its parent killed it: the threads cannot go on, nor be ended one by one.".to_string(),
        format!("Cured: with one order of locks for both, {} of {transfers} were made.", ordered.done),
    ];
    let numbers = json!({
        "transfers": transfers, "done": done, "pulses": still, "awake": awake, "tries": tries,
        "cured_done": ordered.done,
    });
    pitfall.tell(began, still >= STILL, lines, numbers)
}
