//! `cpu_loop` under one lock of the whole process, as CPython runs it: the articles' own picture, in Rust.
//!
//! Articles 000, 001 and 004 find that threads do not make CPU work faster, and processes do. That is CPython's global
//! interpreter lock: one thread runs at a time. A thread that waits for the lock asks for it after 5 ms
//! (`sys.setswitchinterval`); the holder lets it go at its next check, and waits until another thread has taken it, so that
//! it cannot take it again at once (since CPython 3.2). Each process has a lock of its own. Libraries with one lock for the
//! whole process behave in the same way, without the hand-over: HDF5, netCDF.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;

use crate::scenarios::compute::{check_count, count_from};
use crate::workload::{Inputs, Size, Workload};

/// Fewer than the article's ten, and longer: at least 50 ms each, for ten hand-overs.
const TASKS: u64 = 4;
/// How long a thread waits for the lock before it asks for it.
const SWITCH_INTERVAL: Duration = Duration::from_millis(5);
/// How many additions are made between two checks whether another thread asks for the lock: about 10 us, as often as an
/// interpreter checks.
const CHECK_INTERVAL: u64 = 10_000;

pub(super) struct GilLoop;

impl Workload for GilLoop {
    const NAME: &'static str = "gil_loop";
    type Input = u64;
    type Output = f64;
    type Worker = ();

    /// The tasks differ by one number each, so that swapped answers are noticed.
    fn prepare(size: Size) -> Result<Inputs<u64>> {
        let n = size.pick(100_000, 48_000_000, 60_000_000);
        Ok(Inputs::new((n..n + TASKS).collect()))
    }

    fn run(_: &mut (), &n: &u64) -> Result<f64> {
        GIL.take();
        let (mut count, mut first) = (0.0, 0);
        while first < n {
            let end = n.min(first + CHECK_INTERVAL);
            count = count_from(count, first..end);
            first = end;
            GIL.hand_over_if_asked();
        }
        GIL.release();
        Ok(count)
    }

    fn check(inputs: &[u64], counts: &[f64]) -> Result<()> {
        inputs.iter().zip(counts).try_for_each(|(n, count)| check_count(*n, *count))
    }
}

/// The lock of this process.
static GIL: Gil = Gil {
    state: Mutex::new(State { held: false, taken: 0 }),
    released: Condvar::new(),
    switched: Condvar::new(),
    asked: AtomicBool::new(false),
};

/// A lock that is handed over on request.
struct Gil {
    state: Mutex<State>,
    /// Notified when the lock has been let go.
    released: Condvar,
    /// Notified when another thread has taken it.
    switched: Condvar,
    /// Whether a thread asks for it.
    asked: AtomicBool,
}

struct State {
    held: bool,
    /// How many times it has been taken.
    taken: u64,
}

impl Gil {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) {
        let mut state = self.state();
        while state.held {
            let taken = state.taken;
            let wait = self.released.wait_timeout(state, SWITCH_INTERVAL);
            let (again, timeout) = wait.unwrap_or_else(PoisonError::into_inner);
            state = again;
            // If another thread has taken it meanwhile, that one has its own interval.
            if timeout.timed_out() && state.held && state.taken == taken {
                self.asked.store(true, Ordering::Relaxed);
            }
        }
        state.held = true;
        state.taken += 1;
        self.asked.store(false, Ordering::Relaxed);
        self.switched.notify_one();
    }

    fn release(&self) {
        self.state().held = false;
        self.released.notify_one();
    }

    /// For the holder: lets another thread take the lock, waits until it has, and takes it back in turn.
    fn hand_over_if_asked(&self) {
        if !self.asked.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state();
        state.held = false;
        let taken = state.taken;
        self.released.notify_one();
        // The thread that asked waits for the lock, so it takes it.
        while state.taken == taken {
            state = self.switched.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        self.take();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::thread;

    use super::*;

    #[test]
    fn one_thread_runs_at_a_time_and_every_answer_is_right() {
        let n = 3_000_000;
        thread::scope(|scope| {
            for task in 0..3 {
                scope.spawn(move || {
                    check_count(n + task, GilLoop::run(&mut (), &(n + task)).unwrap()).unwrap()
                });
            }
        });
    }

    #[test]
    fn the_lock_is_held_by_one_thread_and_handed_over_on_request() {
        let gil = Gil {
            state: Mutex::new(State { held: false, taken: 0 }),
            released: Condvar::new(),
            switched: Condvar::new(),
            asked: AtomicBool::new(false),
        };
        let (holders, turns) = (AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    gil.take();
                    // Until each has had the lock: the other one can only get it on request.
                    turns.fetch_add(1, Ordering::SeqCst);
                    while turns.load(Ordering::SeqCst) < 2 {
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two threads hold the lock");
                        holders.fetch_sub(1, Ordering::SeqCst);
                        gil.hand_over_if_asked();
                    }
                    gil.release();
                });
            }
        });
        assert!(gil.state().taken >= 2 && !gil.state().held);
    }
}
