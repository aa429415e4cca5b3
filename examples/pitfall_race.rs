//! A race condition: two threads change one variable, and updates are lost.
//!
//! `cargo run --release --example pitfall_race`. To add 1 is to read, to add, and to write. If both threads read
//! before either writes, both write the same sum, and one update is gone.

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

/// Updates of each thread.
const UPDATES: u64 = 50;
/// The same where nothing is arranged: more, since chance has to do it, and again if none is lost. That is so if one
/// thread has ended before the other wakes, and mostly if the system has both take turns on one CPU.
const CHANCE_UPDATES: u64 = 500_000;
const MOST_CHANCE_UPDATES: u64 = 10 * 2 * CHANCE_UPDATES;

/// What most languages let you write, and Rust does not: a plain variable, changed by two threads.
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

/// The same with a mutex, which the compiler accepts.
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

    // Without a data race, which safe Rust rules out, there still is a race condition: each read and each write is
    // atomic, the two together are not. The barrier makes certain what is otherwise a matter of nanoseconds, that
    // both read before either writes; it changes nothing in what the threads read and write.
    let counter = AtomicU64::new(0);
    let both = Barrier::new(2);
    on_two_threads(UPDATES, || {
        let read = counter.load(Relaxed);
        both.wait();
        counter.store(read + 1, Relaxed);
        both.wait();
    });
    let (updates, counted) = (2 * UPDATES, counter.into_inner());
    let lost = updates - counted;

    // The same with nothing between read and write. On one CPU it goes wrong only if the system happens to change
    // threads just there: rare enough to pass every test.
    let (mut chance_updates, mut chance_lost) = (0, 0);
    while chance_lost == 0 && chance_updates < MOST_CHANCE_UPDATES {
        let counter = AtomicU64::new(0);
        on_two_threads(CHANCE_UPDATES, || counter.store(counter.load(Relaxed) + 1, Relaxed));
        chance_updates += 2 * CHANCE_UPDATES;
        chance_lost = 2 * CHANCE_UPDATES - counter.into_inner();
    }

    // The first cure: whoever reads has the lock until it has written. The other thread is given every chance to
    // come in between, and cannot. (With the barrier in there, this would be a deadlock.)
    let counter = Mutex::new(0);
    on_two_threads(UPDATES, || {
        let mut counter = counter.lock().expect("no holder panics");
        let read = *counter;
        thread::yield_now();
        *counter = read + 1;
    });
    let mutex_counted = counter.into_inner()?;

    // The second: one instruction that reads, adds and writes.
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
    pitfall.tell(began, lost > 0, lines, numbers)
}

/// Makes an update some times on each of two threads, which begin together.
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
