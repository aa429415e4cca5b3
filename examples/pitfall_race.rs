//! A race condition: two threads change one variable, and updates are lost.
//!
//! `cargo run --release --example pitfall_race`. Adding 1 takes three steps: read, add, write. If both threads
//! read before either writes, both write the same sum, and one update is lost.

#[path = "pitfalls/mod.rs"]
mod pitfalls;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Instant;

use anyhow::Result;
use pitfalls::Pitfall;
use serde_json::json;

/// Updates per thread.
const UPDATES: u64 = 50;
/// Updates per thread if the timing is left to chance: more, so that some are lost. If none is lost, the threads are
/// run again. That happens if one thread ends before the other wakes up, and often if both take turns on one CPU.
const CHANCE_UPDATES: u64 = 500_000;
const MAX_CHANCE_UPDATES: u64 = 10 * 2 * CHANCE_UPDATES;

/// A plain variable that two threads change. Most languages allow this program, Rust does not.
const REFUSED: &str = "\
fn main() {
    let mut counter = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| counter += 1);
        scope.spawn(|| counter += 1); // error[E0499]: cannot borrow `counter` as mutable more than once
    });
    println!(\"{counter}\");
}
";

/// The same program with a mutex. The compiler accepts it.
const ACCEPTED: &str = "\
fn main() {
    let counter = std::sync::Mutex::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| *counter.lock().unwrap() += 1);
        scope.spawn(|| *counter.lock().unwrap() += 1);
    });
    println!(\"{counter:?}\");
}
";

fn main() -> Result<ExitCode> {
    let began = Instant::now();

    // Safe Rust rules out data races, but not race conditions: each read and each write is atomic, but the two
    // together are not. That both threads read before either writes is a matter of nanoseconds. The barrier makes
    // it certain, and does not change what the threads read and write.
    let counter = AtomicU64::new(0);
    let barrier = Barrier::new(2);
    on_two_threads(UPDATES, || {
        let read = counter.load(Relaxed);
        barrier.wait();
        counter.store(read + 1, Relaxed);
        barrier.wait();
    });
    let (updates, counted) = (2 * UPDATES, counter.into_inner());
    let lost = updates - counted;

    // The same without a barrier. On one CPU, an update is lost only if the system happens to switch threads between
    // the read and the write: rare enough to pass every test.
    let (mut chance_updates, mut chance_lost) = (0, 0);
    while chance_lost == 0 && chance_updates < MAX_CHANCE_UPDATES {
        let counter = AtomicU64::new(0);
        on_two_threads(CHANCE_UPDATES, || counter.store(counter.load(Relaxed) + 1, Relaxed));
        chance_updates += 2 * CHANCE_UPDATES;
        chance_lost = 2 * CHANCE_UPDATES - counter.into_inner();
    }

    // The first cure: a thread holds the lock from its read to its write. The other thread is given every chance to
    // come in between, but cannot. (With the barrier, this would be a deadlock.)
    let counter = Mutex::new(0);
    on_two_threads(UPDATES, || {
        let mut counter = counter.lock().expect("no holder panics");
        let read = *counter;
        thread::yield_now();
        *counter = read + 1;
    });
    let mutex_counted = counter.into_inner()?;

    // The second cure: one atomic operation that reads, adds and writes.
    let counter = AtomicU64::new(0);
    on_two_threads(UPDATES, || _ = counter.fetch_add(1, Relaxed));
    let fetch_add_counted = counter.into_inner();

    let pitfall = Pitfall {
        pitfall: "race",
        outcome: "lost_updates",
        cured: mutex_counted == updates && fetch_add_counted == updates,
        cure: "a mutex, or fetch_add",
        threads: 2,
        processes: 1,
    };
    let lines = [
        format!("Two threads add 1 to a counter, {UPDATES} times each: that should make {updates}."),
        format!("Each time both read, then both write. The counter says {counted}: {lost} were lost."),
        format!("Left to chance, {chance_lost} of {chance_updates} updates were lost in this run."),
        format!("Cured: {mutex_counted} of {updates} with a mutex, {fetch_add_counted} with fetch_add."),
        "With a plain integer, the compiler refuses the program: error[E0499].".to_string(),
    ];
    let numbers = json!({
        "updates": updates, "counted": counted, "lost": lost,
        "mutex_counted": mutex_counted, "fetch_add_counted": fetch_add_counted,
        "chance_updates": chance_updates, "chance_lost": chance_lost,
        "refused": "E0499", "refused_code": REFUSED, "accepted_code": ACCEPTED,
    });
    pitfall.report(began, lost > 0, lines, numbers)
}

/// Runs `update` several times on each of two threads, which start together.
fn on_two_threads(times: u64, update: impl Fn() + Sync) {
    let start = Barrier::new(2);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                start.wait();
                (0..times).for_each(|_| update());
            });
        }
    });
}
