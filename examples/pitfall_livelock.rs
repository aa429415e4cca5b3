//! A livelock: two threads that give way to each other, run all the time and get nowhere.
//!
//! `cargo run --release --example pitfall_livelock`. Each needs two locks. Each takes its own and tries the other's;
//! if that is taken, it politely gives its own back and begins again. As when two people meet in a corridor and step
//! aside, both to the same side. Unlike in a deadlock nobody waits: it costs CPU time, and looks like work.

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

/// Attempts of each thread: a livelock would go on, a demonstration must not.
const ATTEMPTS: u64 = 200;

/// What there was at each quarter of the attempts.
#[derive(Default)]
struct Course {
    cpu_ns: Vec<u64>,
    done: Vec<u64>,
}

fn main() -> Result<ExitCode> {
    let began = Instant::now();
    let polite = meet(|| true);
    // The cure: a thread that gave way waits for a random time before it tries again; here by a coin that it
    // tosses before each attempt. Waiting for the *same* time would cure nothing.
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
        format!("Done after 1/4, 2/4, 3/4 and all of the attempts: {}.", list(&polite.done, u64::to_string)),
        format!("CPU time by then: {} ms.", list(&polite.cpu_ns, |ns| format!("{:.1}", ms(*ns)))),
        "They worked on and on and got nowhere; neither ever waited for a lock.".to_string(),
        format!("Cured: with pauses of random length, one got both locks {cured_done} times."),
    ];
    let numbers = json!({
        "attempts": ATTEMPTS, "done": done, "cured_done": cured_done,
        "cpu_ns": polite.cpu_ns, "done_by_then": polite.done,
    });
    pitfall.tell(began, done == 0 && cpu_grew, lines, numbers)
}

/// Two threads with as many attempts each. `tries_now` says whether one makes this attempt or sits it out.
///
/// Two equal threads that fail at the same time and begin again at the same time stay in step, as long as nothing
/// disturbs them. The barriers keep them in step on a busy machine too, in the cure as well as without: only then is
/// it certain that it is the random pause that helps, and not some other program.
fn meet(tries_now: fn() -> bool) -> Course {
    let locks = [Mutex::new(()), Mutex::new(())];
    let in_step = Barrier::new(2);
    let done = AtomicU64::new(0);
    let cpu_before = cpu_ns();
    let walk = |me: usize| {
        let mut course = Course::default();
        for attempt in 1..=ATTEMPTS {
            prepare();
            let own = tries_now().then(|| locks[me].lock().expect("no thread panics"));
            in_step.wait();
            if own.is_some() && locks[1 - me].try_lock().is_ok() {
                done.fetch_add(1, SeqCst);
            }
            in_step.wait();
            drop(own); // After you!
            if attempt % (ATTEMPTS / 4) == 0 {
                course.cpu_ns.push(cpu_ns() - cpu_before);
                course.done.push(done.load(SeqCst));
            }
        }
        course
    };
    thread::scope(|scope| {
        scope.spawn(|| walk(1));
        walk(0)
    })
}

/// What has to be done before an attempt, in vain each time: some 20 us of work.
fn prepare() {
    std::hint::black_box((0..30_000_u64).fold(0, |sum, number| std::hint::black_box(sum ^ number)));
}

/// CPU time of this process so far.
fn cpu_ns() -> u64 {
    let usage = Usage::now();
    usage.user_ns + usage.system_ns
}

fn list<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    items.iter().map(show).collect::<Vec<_>>().join(", ")
}
