//! Starts workers, runs an empty task on each, and ends the workers: the only scenario with a cold start.
//!
//! Articles 000, 001 and 002 warn that a process takes longer to start than a thread, and start one for each task. This
//! scenario measures the cost. There is one task for each worker.

use anyhow::{Result, ensure};

use crate::workload::{Inputs, Scaling, Size, Workload};

pub(super) struct WorkerStart;

impl Workload for WorkerStart {
    const NAME: &'static str = "worker_start";
    const WORKERS: &'static [usize] = &[1, 2, 4, 8];
    const SCALING: Scaling = Scaling::Weak;
    const COLD: bool = true;
    type Input = u32;
    type Output = u32;
    type Worker = ();

    fn prepare(_: Size) -> Result<Inputs<u32>> {
        Ok(Inputs::new((0..64).collect()))
    }

    /// Returns its number, so that a lost, repeated or swapped answer is noticed.
    fn run(_: &mut (), &number: &u32) -> Result<u32> {
        Ok(number)
    }

    fn check(numbers: &[u32], answers: &[u32]) -> Result<()> {
        ensure!(numbers == answers, "a task did not return its own number");
        Ok(())
    }
}
