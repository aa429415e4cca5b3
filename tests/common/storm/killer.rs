//! Who kills workers, when, and what the pool was doing then.

use std::fmt;
use std::os::fd::OwnedFd;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::batches::Random;
use super::resources::{children, stat};

/// What a pool is doing, as its user knows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    Starting,
    Opening,
    Running,
    Idle,
    Ending,
}

const PHASES: [&str; 5] = [
    "as a pool was started",
    "before the clock: workers start and open",
    "in a batch",
    "between two batches",
    "as a pool was dropped",
];

/// What the pools' user and the killer know of each other.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    phase: AtomicUsize,
    kills: AtomicU64,
    over: AtomicBool,
}

impl Progress {
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as usize, Ordering::Relaxed);
    }

    pub(crate) fn kills(&self) -> u64 {
        self.kills.load(Ordering::Relaxed)
    }

    /// Whether the last worker has been killed.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Ends the storm early.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }
}

/// Kills of one phase, by what the worker looked like.
#[derive(Clone, Copy, Debug, Default)]
struct PhaseKills {
    kills: u64,
    /// It was on a CPU, or waited for one.
    runnable: u64,
    /// It had one thread: it was about to start or, forked, had not run two tasks yet.
    new: u64,
}

/// The kills of each phase.
#[derive(Debug, Default)]
pub(crate) struct Kills([PhaseKills; 5]);

impl fmt::Display for Kills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:40} {:>8} {:>12} {:>12}", "killed", "workers", "runnable", "new")?;
        for (what, PhaseKills { kills, runnable, new }) in PHASES.iter().zip(self.0) {
            write!(f, "\n{what:40} {kills:8} {runnable:12} {new:12}")?;
        }
        Ok(())
    }
}

/// The longest pauses, us, and how many kills have the same.
const PAUSES: [u64; 4] = [300, 2_000, 5_000, 12_000];
const KILLS_WITH_SAME_PAUSE: u64 = 50;

/// Kills this many workers of this process, at random times.
pub(crate) fn kill_workers(
    progress: &Progress,
    kills: u64,
    server: u32,
    mut random: Random,
) -> Result<Kills> {
    let mut statistics = Kills::default();
    let mut killed = Vec::new();
    let mut longest = PAUSES[0];
    while progress.kills() < kills && !progress.is_over() {
        thread::sleep(Duration::from_micros(random.below(longest)));
        let mut workers = children();
        workers.retain(|worker| *worker != server);
        if workers.is_empty() {
            continue;
        }
        if let Some(process) = kill(random.one_of(&workers), progress, &mut statistics) {
            killed.push(process);
            if progress.kills.fetch_add(1, Ordering::Relaxed).is_multiple_of(KILLS_WITH_SAME_PAUSE) {
                longest = random.one_of(&PAUSES);
                await_ends(&mut killed)?;
            }
        }
    }
    await_ends(&mut killed)?;
    progress.end();
    Ok(statistics)
}

/// Kills a worker if it is ours and lives.
fn kill(worker: u32, progress: &Progress, statistics: &mut Kills) -> Option<OwnedFd> {
    let pid = i32::try_from(worker).ok().and_then(Pid::from_raw)?;
    // From here on it is this very process that is looked at and killed, whoever gets its number later.
    let descriptor = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let stat = stat(worker).filter(|stat| stat.parent == process::id() && !"ZX".contains(stat.state))?;
    let phase = progress.phase.load(Ordering::Relaxed);
    pidfd_send_signal(&descriptor, Signal::KILL).ok()?;
    let of_phase = &mut statistics.0[phase];
    of_phase.kills += 1;
    of_phase.runnable += u64::from(stat.state == 'R');
    of_phase.new += u64::from(stat.threads == 1);
    Some(descriptor)
}

fn await_ends(killed: &mut Vec<OwnedFd>) -> Result<()> {
    for process in killed.drain(..) {
        let timeout = Timespec { tv_sec: 20, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout))?;
        ensure!(ended == 1, "a process that was killed has not ended within 20 s");
    }
    Ok(())
}
