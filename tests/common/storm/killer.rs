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

use super::scene::{children, stat};
use super::work::Random;

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

/// What the killer and its victim know of each other.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    phase: AtomicUsize,
    kills: AtomicU64,
    over: AtomicBool,
}

impl Stage {
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as usize, Ordering::Relaxed);
    }

    pub(crate) fn kills(&self) -> u64 {
        self.kills.load(Ordering::Relaxed)
    }

    /// Whether the last victim is dead.
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
struct Hits {
    kills: u64,
    /// It was on a CPU, or waited for one.
    runnable: u64,
    /// It had one thread: it was about to start or, forked, had not run two tasks yet.
    new: u64,
}

/// Where the kills hit.
#[derive(Debug, Default)]
pub(crate) struct Hit([Hits; 5]);

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:40} {:>8} {:>12} {:>12}", "killed", "workers", "runnable", "new")?;
        for (what, Hits { kills, runnable, new }) in PHASES.iter().zip(self.0) {
            write!(f, "\n{what:40} {kills:8} {runnable:12} {new:12}")?;
        }
        Ok(())
    }
}

/// The longest pauses, us, each for a while.
const PAUSES: [u64; 4] = [300, 2_000, 5_000, 12_000];
const WHILE: u64 = 50;

/// Kills so many workers of this process, at random times.
pub(crate) fn rage(stage: &Stage, kills: u64, server: u32, mut random: Random) -> Result<Hit> {
    let mut hit = Hit::default();
    let mut victims = Vec::new();
    let mut longest = PAUSES[0];
    while stage.kills() < kills && !stage.is_over() {
        thread::sleep(Duration::from_micros(random.below(longest)));
        let mut workers = children();
        workers.retain(|worker| *worker != server);
        if workers.is_empty() {
            continue;
        }
        if let Some(victim) = kill(random.one_of(&workers), stage, &mut hit) {
            victims.push(victim);
            if stage.kills.fetch_add(1, Ordering::Relaxed).is_multiple_of(WHILE) {
                longest = random.one_of(&PAUSES);
                await_ends(&mut victims)?;
            }
        }
    }
    await_ends(&mut victims)?;
    stage.end();
    Ok(hit)
}

/// Kills a worker if it is ours and lives.
fn kill(worker: u32, stage: &Stage, hit: &mut Hit) -> Option<OwnedFd> {
    let pid = i32::try_from(worker).ok().and_then(Pid::from_raw)?;
    // From here on it is this very process that is looked at and killed, whoever gets its number later.
    let descriptor = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let stat = stat(worker).filter(|stat| stat.parent == process::id() && !"ZX".contains(stat.state))?;
    let phase = stage.phase.load(Ordering::Relaxed);
    pidfd_send_signal(&descriptor, Signal::KILL).ok()?;
    let hits = &mut hit.0[phase];
    hits.kills += 1;
    hits.runnable += u64::from(stat.state == 'R');
    hits.new += u64::from(stat.threads == 1);
    Some(descriptor)
}

fn await_ends(victims: &mut Vec<OwnedFd>) -> Result<()> {
    for victim in victims.drain(..) {
        let timeout = Timespec { tv_sec: 20, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&victim, PollFlags::IN)], Some(&timeout))?;
        ensure!(ended == 1, "a process that was killed has not ended within 20 s");
    }
    Ok(())
}
