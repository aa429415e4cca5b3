//! Work that is added to every task on purpose, so that a comparison of two programs can show what it finds.

use std::env;
use std::hint::{black_box, spin_loop};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use rustix::time::{ClockId, clock_gettime};

use crate::span::now;

/// The environment variable that says what is added, in a program and its workers.
const INJECT: &str = "PARBENCH_INJECT";

static INJECTION: OnceLock<Option<Injection>> = OnceLock::new();

/// Held by each task that is made to wait for all others of its process.
static LOCK: Mutex<()> = Mutex::new(());

#[derive(Clone, Copy, Debug, PartialEq)]
enum Injection {
    /// So much of the CPU time that a task's own thread has used, computed: 0.05 is 5 %. By the wall clock, a busy machine would
    /// take part of it away.
    Cpu(f64),
    /// So much of a task's time, waited.
    Wait(f64),
    /// One lock for all tasks of a process.
    Lock,
    /// One more allocation.
    Allocation,
}

impl std::str::FromStr for Injection {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (word, percent) = text.split_once(':').unwrap_or((text, ""));
        let share = percent.parse::<f64>().ok().filter(|percent| (0.0..=1000.0).contains(percent));
        match (word, percent, share.map(|percent| percent / 100.0)) {
            ("cpu", _, Some(share)) => Ok(Injection::Cpu(share)),
            ("wait", _, Some(share)) => Ok(Injection::Wait(share)),
            ("lock", "", _) => Ok(Injection::Lock),
            ("allocation", "", _) => Ok(Injection::Allocation),
            _ => bail!(
                "{INJECT} is `{text}`; what can be added to tasks is cpu:5 (per cent), wait:20, lock or allocation"
            ),
        }
    }
}

/// Reads the variable, once.
///
/// # Errors
/// If it says nothing known.
pub(crate) fn parse() -> Result<()> {
    let injection = env::var(INJECT).ok().map(|text| text.parse()).transpose()?;
    let _ = INJECTION.set(injection);
    Ok(())
}

/// What is added to a task that has begun.
pub(crate) struct Injected {
    injection: Option<Injection>,
    /// The CPU time of this thread when it began, ns.
    cpu_ns: u64,
    #[allow(dead_code, reason = "held")]
    lock: Option<MutexGuard<'static, ()>>,
}

/// Called when a task begins.
pub(crate) fn begin() -> Injected {
    let injection = INJECTION.get().copied().flatten();
    let is_locked = injection == Some(Injection::Lock);
    let lock = is_locked.then(|| LOCK.lock().unwrap_or_else(PoisonError::into_inner));
    let cpu_ns = if matches!(injection, Some(Injection::Cpu(_))) { thread_cpu_ns() } else { 0 };
    Injected { injection, cpu_ns, lock }
}

/// The CPU time of the calling thread.
fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl Injected {
    /// Called when the task that began at `started` has done its own work.
    pub(crate) fn end(self, started: u64) {
        let Some(injection) = self.injection else { return };
        let share_of = |time: u64, share: f64| (time as f64 * share) as u64;
        match injection {
            Injection::Cpu(share) => {
                let used = thread_cpu_ns();
                let until = used + share_of(used.saturating_sub(self.cpu_ns), share);
                while thread_cpu_ns() < until {
                    spin_loop();
                }
            }
            Injection::Wait(share) => thread::sleep(Duration::from_nanos(share_of(now() - started, share))),
            Injection::Lock => {}
            Injection::Allocation => drop(black_box(Box::new([0_u8; 32]))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_a_word_and_its_share() {
        assert_eq!("cpu:5".parse::<Injection>().unwrap(), Injection::Cpu(0.05));
        assert_eq!("wait:20".parse::<Injection>().unwrap(), Injection::Wait(0.2));
        assert_eq!("lock".parse::<Injection>().unwrap(), Injection::Lock);
        for wrong in ["", "cpu", "cpu:", "cpu:-1", "cpu:NaN", "lock:3", "sleep:3"] {
            let error = wrong.parse::<Injection>().unwrap_err().to_string();
            assert!(error.contains(&format!("is `{wrong}`")) && error.contains("cpu:5"), "{error}");
        }
    }
}
