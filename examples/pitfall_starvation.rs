//! Starvation: a thread that wants a lock does not get it, while others get it again and again.
//!
//! `cargo run --release --example pitfall_starvation`. Three workers want one lock all the time. A lock that serves
//! whoever came last, as some do because a thread that has just run has warm caches, starves whoever came first.

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
/// How often the lock is taken, by all workers together.
const ACQUISITIONS: u64 = 300;
/// The same where nothing is arranged: enough for some 30 ms, since a thread may wake a millisecond after the others,
/// and three threads on two CPUs take turns of several. With fewer, who is late would look starved.
const CHANCE_ACQUISITIONS: u64 = 3_000_000;

/// Who has the lock, and who waits for it, the first to come in front.
#[derive(Default)]
struct Queue {
    holder: Option<usize>,
    waiting: VecDeque<usize>,
}

/// A lock that is handed from one worker to the next; `next` takes that one out of those who wait.
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

    /// Returns when all other workers want the lock, too.
    fn await_the_others(&self) {
        let queue = self.queue.lock().expect("no worker panics");
        drop(self.changed.wait_while(queue, |queue| queue.waiting.len() < WORKERS - 1));
    }
}

fn main() -> Result<ExitCode> {
    let began = Instant::now();
    // The two locks differ in these words alone.
    let unfair = compete(VecDeque::pop_back);
    let fair = compete(VecDeque::pop_front);
    let std_mutex = compete_for_std_mutex();

    let even = ACQUISITIONS / WORKERS as u64;
    let (least, fair_least) = (least(unfair), least(fair));
    let pitfall = Pitfall {
        pitfall: "starvation",
        outcome: "starved",
        // A tenth off, for whoever is served while the others are not there yet.
        cured: fair_least * 10 >= even * 9,
        cure: "a lock that serves in the order of arrival",
        threads: WORKERS,
        processes: 1,
    };
    let percent = std_mutex.map(|times| format!("{} %", times * 100 / CHANCE_ACQUISITIONS)).join(", ");
    let lines = [
        format!("Three threads want one lock all the time; it is taken {ACQUISITIONS} times."),
        format!("Whoever came last is served first: they get it {} times.", times(unfair)),
        format!("So one of them got it {least} times, where {even} would be its share: it starved."),
        format!("Cured: whoever came first is served first: {} times.", times(fair)),
        format!("std's Mutex promises no order: {percent} in this run, nothing arranged."),
    ];
    let numbers =
        json!({ "acquisitions": ACQUISITIONS, "unfair": unfair, "fair": fair, "std_mutex": std_mutex });
    pitfall.tell(began, least * 10 < even, lines, numbers)
}

/// How often each worker gets the lock.
///
/// To make it certain that a lock has to choose, its holder keeps it until all others wait for it. A lock that is the
/// bottleneck of a program meets just that. The fair lock meets it, too.
fn compete(next: fn(&mut VecDeque<usize>) -> Option<usize>) -> [u64; WORKERS] {
    let lock = QueueLock { queue: Mutex::default(), changed: Condvar::new(), next };
    let left = AtomicU64::new(ACQUISITIONS);
    on_threads(|worker| {
        let mut mine = 0;
        loop {
            lock.lock(worker);
            let more = left.load(Relaxed) > 0;
            if more {
                lock.await_the_others();
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

/// The same with the standard library's lock, nothing arranged.
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

/// What each of the workers returns.
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
