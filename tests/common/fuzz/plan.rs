//! A plan: a pool's options, and what the tasks of its batches do. As JSON it can be kept and replayed.

use std::time::Duration;

use parbench::executors::PoolOptions;
use serde::{Deserialize, Serialize};

use crate::action::mix;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) executor: String,
    pub(crate) workers: usize,
    pub(crate) shares_memory: bool,
    pub(crate) prefetch: Option<usize>,
    pub(crate) retries: u32,
    pub(crate) max_tasks: Option<u32>,
    /// A deadline for each task, ms.
    pub(crate) deadline: Option<u64>,
    pub(crate) batches: Vec<Batch>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub(crate) workload: Kind,
    /// Whether the usage of the workers is read before it.
    pub(crate) usage: bool,
    pub(crate) tasks: Vec<Step>,
}

/// The workloads of a pool: they differ in the states of their workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Plain,
    /// Its state cannot be made.
    NoState,
    /// Its state panics when it is dropped.
    Sticky,
}

/// What a task does; sizes in bytes, times in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    Answer,
    Busy(u64),
    Encoded(usize),
    Private(usize),
    Shared(usize),
    Slow(u64, u64),
    LeaveChild,
    Fail,
    Panic,
    Unpackable,
    Exit,
    Abort,
    CloseSocket,
    ForkAndExit,
    Hang,
    ExitLater(u64),
}

impl Step {
    /// Whether it ends its worker, so that it may be run again.
    pub(crate) fn ends_worker(self) -> bool {
        matches!(self, Step::Exit | Step::Abort | Step::CloseSocket | Step::ForkAndExit | Step::Hang)
    }
}

impl Plan {
    pub(crate) fn random(seed: u64) -> Plan {
        let random = &mut Random(seed);
        let executor = random.one_of(&["processes", "forkserver"]);
        let deadline = random.once_in(3).then_some(1_500);
        let mut plan = Plan {
            executor: executor.into(),
            workers: 1 + random.below(4) as usize,
            // The fork server cannot do without.
            shares_memory: executor == "forkserver" || !random.once_in(4),
            prefetch: random.once_in(3).then(|| random.below(4) as usize),
            retries: random.one_of(&[0, 0, 1, 2]),
            max_tasks: random.once_in(5).then(|| 1 + random.below(9) as u32),
            deadline,
            batches: Vec::new(),
        };
        let batches = 1 + random.below(4);
        plan.batches = (0..batches).map(|_| Batch::random(random, deadline.is_some())).collect();
        plan
    }

    pub(crate) fn options(&self) -> PoolOptions {
        let mut options = PoolOptions::new(self.workers).retries(self.retries);
        if let Some(tasks) = self.max_tasks {
            options = options.max_tasks_per_worker(tasks);
        }
        if let Some(tasks) = self.prefetch {
            options = options.prefetch(tasks);
        }
        if let Some(ms) = self.deadline {
            options = options.deadline(Duration::from_millis(ms));
        }
        if self.shares_memory { options } else { options.without_shared_memory() }
    }
}

impl Batch {
    fn random(random: &mut Random, may_hang: bool) -> Batch {
        let workload =
            random.one_of(&[Kind::Plain, Kind::Plain, Kind::Plain, Kind::Plain, Kind::NoState, Kind::Sticky]);
        let tasks = random.one_of(&[0, 1, 3, 8, 20, 60]) + random.below(5);
        // In most batches little goes wrong.
        let trouble = random.one_of(&[2, 5, 20, 100]);
        let mut hangs = 0;
        let step = |_| {
            let step = if random.once_in(trouble) { Step::trouble(random) } else { Step::peace(random) };
            hangs += u32::from(step == Step::Hang);
            // Each one costs a deadline.
            if step == Step::Hang && (!may_hang || hangs > 1) { Step::Exit } else { step }
        };
        let tasks = (0..tasks).map(step).collect();
        Batch { workload, usage: random.once_in(3), tasks }
    }
}

/// Bytes of arrays: none, those that cross in a message, and more than that.
const LENGTHS: [usize; 5] = [0, 100, 100_000, 140_000, 3_000_000];

impl Step {
    fn peace(random: &mut Random) -> Step {
        match random.below(12) {
            0 => Step::Busy(random.below(4)),
            1 => Step::Encoded(random.one_of(&LENGTHS)),
            2 => Step::Private(random.one_of(&LENGTHS)),
            3 => Step::Shared(random.one_of(&LENGTHS)),
            4 => Step::Slow(random.below(3), random.below(3)),
            _ => Step::Answer,
        }
    }

    fn trouble(random: &mut Random) -> Step {
        random.one_of(&[
            Step::Fail,
            Step::Panic,
            Step::Unpackable,
            Step::Exit,
            Step::Abort,
            Step::CloseSocket,
            Step::ForkAndExit,
            Step::Hang,
            Step::LeaveChild,
            Step::ExitLater(2),
            Step::Slow(20, 20),
        ])
    }
}

/// Numbers that look random (splitmix64), the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0) % end
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}
