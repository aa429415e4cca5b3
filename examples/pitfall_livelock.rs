//! A livelock: two threads give way to each other, run all the time and make no progress.
//!
//! `cargo run --release --example pitfall_livelock`. Each thread needs two locks. It takes its own and tries the
//! other's; if that is taken, it politely releases its own and starts again. Two people who meet in a corridor do the
//! same if both step to the same side. Unlike in a deadlock, neither thread waits: a livelock costs CPU time, and looks
//! like work.

#[path = "pitfalls/mod.rs"]
mod pitfalls;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Instant;

use anyhow::Result;
use parbench::Usage;
use pitfalls::Pitfall;
use serde_json::json;

/// Attempts per thread. A livelock would go on, a demonstration must not.
const ATTEMPTS: u64 = 200;

/// CPU time and successful attempts at each quarter of the attempts.
#[derive(Default)]
struct Progress {
    cpu_ns: Vec<u64>,
    done: Vec<u64>,
}

fn main() -> Result<ExitCode> {
    let began = Instant::now();
    let polite = meet(|| true);
    // The cure: a thread that gave way waits for a random time before it tries again. Here it tosses a coin before
    // each attempt. Waiting for the *same* time would not help.
    let random = meet(|| RandomState::new().build_hasher().finish() & 1 == 0);

    let (done, cured_done) = (polite.done[3], random.done[3]);
    let cpu_grew = polite.cpu_ns.is_sorted_by(|before, after| before < after);
    let pitfall = Pitfall {
        pitfall: "livelock",
        outcome: "livelock",
        cured: cured_done > 0,
        cure: "random back-off",
        threads: 2,
        processes: 1,
    };
    let ms = |ns: u64| ns as f64 / 1e6;
    let lines = [
        format!("Two threads in step need the same two locks and give way: {ATTEMPTS} attempts each."),
        format!(
            "Successful after 1/4, 2/4, 3/4 and all of the attempts: {}.",
            list(&polite.done, u64::to_string)
        ),
        format!("CPU time by then: {} ms.", list(&polite.cpu_ns, |ns| format!("{:.1}", ms(*ns)))),
        "They worked all the time without progress; neither ever waited for a lock.".to_string(),
        format!("Cured: with pauses of random length, a thread got both locks {cured_done} times."),
    ];
    let numbers = json!({
        "attempts": ATTEMPTS, "done": done, "cured_done": cured_done,
        "cpu_ns": polite.cpu_ns, "done_by_then": polite.done,
    });
    pitfall.report(began, done == 0 && cpu_grew, lines, numbers)
}

/// Runs two threads with the same number of attempts each. `tries_now` decides whether a thread makes an attempt or
/// skips it.
///
/// Two equal threads that fail at the same time and start again at the same time stay in step, as long as nothing
/// disturbs them. The barrier keeps them in step on a busy machine, too, both with and without the cure. Otherwise
/// another program might help, and not the random pause.
fn meet(tries_now: fn() -> bool) -> Progress {
    let locks = [Mutex::new(()), Mutex::new(())];
    let barrier = Barrier::new(2);
    let done = AtomicU64::new(0);
    let cpu_before = cpu_ns();
    let run = |me: usize| {
        let mut progress = Progress::default();
        for attempt in 1..=ATTEMPTS {
            prepare();
            let own = tries_now().then(|| locks[me].lock().expect("no thread panics"));
            barrier.wait();
            if own.is_some() && locks[1 - me].try_lock().is_ok() {
                done.fetch_add(1, SeqCst);
            }
            barrier.wait();
            drop(own); // It gives way.
            if attempt % (ATTEMPTS / 4) == 0 {
                progress.cpu_ns.push(cpu_ns() - cpu_before);
                progress.done.push(done.load(SeqCst));
            }
        }
        progress
    };
    thread::scope(|scope| {
        scope.spawn(|| run(1));
        run(0)
    })
}

/// The work before an attempt, about 20 us. It is wasted if the attempt fails.
fn prepare() {
    std::hint::black_box((0..30_000_u64).fold(0, |sum, number| std::hint::black_box(sum ^ number)));
}

/// The CPU time of this process so far.
fn cpu_ns() -> u64 {
    Usage::now().cpu_ns().unwrap_or(0)
}

fn list<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    items.iter().map(show).collect::<Vec<_>>().join(", ")
}
