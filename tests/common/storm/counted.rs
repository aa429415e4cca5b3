//! A job that counts what a pool does with its tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use anyhow::Result;
use parbench::span::Stamps;
use parbench::{Cause, Job, Packet};

use super::killer::{Phase, Progress};

/// A job that counts what the pool does with its tasks, and notices when its clock starts.
pub(super) struct CountedJob {
    job: Arc<dyn Job>,
    progress: Arc<Progress>,
    clears: AtomicUsize,
    packed: Vec<AtomicU32>,
    accepted: Vec<AtomicU32>,
}

impl CountedJob {
    pub(super) fn new(job: Arc<dyn Job>, progress: Arc<Progress>) -> CountedJob {
        let none = || (0..job.tasks()).map(|_| AtomicU32::new(0)).collect();
        let (packed, accepted) = (none(), none());
        CountedJob { job, progress, clears: AtomicUsize::new(0), packed, accepted }
    }

    /// How often a task was packed to be sent, and how often it was answered.
    pub(super) fn counts(&self, task: usize) -> (u32, u32) {
        let count = |counts: &[AtomicU32]| counts[task].load(Ordering::Relaxed);
        (count(&self.packed), count(&self.accepted))
    }
}

impl Job for CountedJob {
    fn scenario(&self) -> &'static str {
        self.job.scenario()
    }
    fn tasks(&self) -> usize {
        self.job.tasks()
    }
    fn workers(&self) -> usize {
        self.job.workers()
    }
    fn make_state(&self, worker: usize) -> Result<(), Cause> {
        self.job.make_state(worker)
    }
    fn clear(&self) {
        self.job.clear();
        // Once before workers are made ready, and once just before the clock.
        if self.clears.fetch_add(1, Ordering::Relaxed) == 1 {
            self.progress.enter(Phase::Running);
        }
    }
    fn run(&self, worker: usize, task: usize) -> Result<Stamps, Cause> {
        self.job.run(worker, task)
    }
    fn pack(&self, task: usize) -> Result<Packet, Cause> {
        self.packed[task].fetch_add(1, Ordering::Relaxed);
        self.job.pack(task)
    }
    fn accept(&self, task: usize, output: Packet) -> Result<(), Cause> {
        self.accepted[task].fetch_add(1, Ordering::Relaxed);
        self.job.accept(task, output)
    }
    fn answer(&self, task: usize) -> Result<Packet> {
        self.job.answer(task)
    }
    fn check(&self) -> Result<()> {
        self.job.check()
    }
}
