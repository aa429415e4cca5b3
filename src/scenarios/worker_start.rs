//! Workers started, an empty task on each, workers ended: the only scenario that starts cold.
//!
//! Articles 000, 001 and 002 warn that a process takes longer to start than a thread, and start one for each task;
//! this is what that costs. There are as many tasks as workers.

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

    /// Gives its number back, so that a lost, doubled or swapped answer is found.
    fn run(_: &mut (), &number: &u32) -> Result<u32> {
        Ok(number)
    }

    fn check(numbers: &[u32], answers: &[u32]) -> Result<()> {
        ensure!(numbers == answers, "an answer is not that of its own task");
        Ok(())
    }
}
