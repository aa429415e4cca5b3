//! Starvation: a thread waits for a lock and does not get it, while other threads get it again and again.
//!
//! `cargo run --release --example pitfall_starvation`. Three workers compete for one lock. If the lock serves the last
//! to arrive first, the first to arrive starves. Some locks do so, because a thread that has just run has warm caches.

#[path = "pitfalls/mod.rs"]
mod pitfalls;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Barrier, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use anyhow::Result;
use pitfalls::Pitfall;
use serde_json::json;

const WORKERS: usize = 3;
/// How many times the lock is taken, by all workers together.
const ACQUISITIONS: u64 = 300;
/// The same if the timing is left to chance: enough for about 30 ms, since a thread may wake up a millisecond after the
/// others, and three threads on two CPUs take turns of several milliseconds. With fewer, a late thread would look
/// starved.
const CHANCE_ACQUISITIONS: u64 = 3_000_000;

/// The worker that holds the lock, and those that wait for it, in the order of arrival.
#[derive(Default)]
struct Queue {
    holder: Option<usize>,
    waiting: VecDeque<usize>,
}

/// A lock that is handed from one worker to the next. `next` removes the next holder from the waiting workers.
struct QueueLock {
    queue: Mutex<Queue>,
    changed: Condvar,
    next: fn(&mut VecDeque<usize>) -> Option<usize>,
}

impl QueueLock {
    fn lock(&self, worker: usize) {
        let mut queue = self.queue.lock().expect("no worker panics");
        if queue.holder.is_none() {
            queue.holder = Some(worker);
            return;
        }
        queue.waiting.push_back(worker);
        self.changed.notify_all();
        drop(self.changed.wait_while(queue, |queue| queue.holder != Some(worker)));
    }

    fn unlock(&self) {
        let mut queue = self.queue.lock().expect("no worker panics");
        queue.holder = (self.next)(&mut queue.waiting);
        self.changed.notify_all();
    }

    /// Blocks until all other workers wait for the lock.
    fn wait_for_others(&self) {
        let queue = self.queue.lock().expect("no worker panics");
        drop(self.changed.wait_while(queue, |queue| queue.waiting.len() < WORKERS - 1));
    }
}

fn main() -> Result<ExitCode> {
    let began = Instant::now();
    // The two locks differ only in this argument.
    let unfair = compete(VecDeque::pop_back);
    let fair = compete(VecDeque::pop_front);
    let std_mutex = compete_for_std_mutex();

    let even_share = ACQUISITIONS / WORKERS as u64;
    let (least, fair_least) = (least(unfair), least(fair));
    let pitfall = Pitfall {
        pitfall: "starvation",
        outcome: "starved",
        // A tenth less is allowed, for workers that are served before the others have arrived.
        cured: fair_least * 10 >= even_share * 9,
        cure: "a lock that serves in the order of arrival",
        threads: WORKERS,
        processes: 1,
    };
    let percent = std_mutex.map(|times| format!("{} %", times * 100 / CHANCE_ACQUISITIONS)).join(", ");
    let lines = [
        format!("Three threads keep competing for one lock, which is taken {ACQUISITIONS} times."),
        format!("If the last to arrive is served first, they get it {} times.", times(unfair)),
        format!("One of them got it {least} times instead of its share of {even_share}: it starved."),
        format!("Cured: if the first to arrive is served first, they get it {} times.", times(fair)),
        format!("std's Mutex guarantees no order: left to chance, {percent} in this run."),
    ];
    let numbers =
        json!({ "acquisitions": ACQUISITIONS, "unfair": unfair, "fair": fair, "std_mutex": std_mutex });
    pitfall.report(began, least * 10 < even_share, lines, numbers)
}

/// Returns how many times each worker gets the lock.
///
/// The holder keeps the lock until all other workers wait for it, so that the lock has to choose the next holder. That
/// is what happens to a lock that is the bottleneck of a program. The same is done to the fair lock.
fn compete(next: fn(&mut VecDeque<usize>) -> Option<usize>) -> [u64; WORKERS] {
    let lock = QueueLock { queue: Mutex::default(), changed: Condvar::new(), next };
    let left = AtomicU64::new(ACQUISITIONS);
    on_threads(|worker| {
        let mut mine = 0;
        loop {
            lock.lock(worker);
            let more = left.load(Relaxed) > 0;
            if more {
                lock.wait_for_others();
                left.fetch_sub(1, Relaxed);
                mine += 1;
            }
            lock.unlock();
            if !more {
                return mine;
            }
        }
    })
}

/// The same with the standard library's lock, with the timing left to chance.
fn compete_for_std_mutex() -> [u64; WORKERS] {
    let left = Mutex::new(CHANCE_ACQUISITIONS);
    let start = Barrier::new(WORKERS);
    on_threads(|_| {
        start.wait();
        let mut mine = 0;
        loop {
            let mut left = left.lock().expect("no worker panics");
            if *left == 0 {
                return mine;
            }
            *left -= 1;
            mine += 1;
        }
    })
}

/// Runs `work` for each worker, on a thread of its own, and returns the results.
fn on_threads(work: impl Fn(usize) -> u64 + Sync) -> [u64; WORKERS] {
    let work = &work;
    thread::scope(|scope| {
        let workers: [_; WORKERS] = std::array::from_fn(|worker| scope.spawn(move || work(worker)));
        workers.map(|worker| worker.join().expect("no worker panics"))
    })
}

fn least(shares: [u64; WORKERS]) -> u64 {
    shares.into_iter().min().unwrap_or(0)
}

fn times(shares: [u64; WORKERS]) -> String {
    shares.map(|share| share.to_string()).join(", ")
}
