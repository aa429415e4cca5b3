//! Does nothing: the cost of a task.
//!
//! Articles 001 and 002 warn of the overhead of processes, but give no numbers. This scenario measures it.

use anyhow::{Result, ensure};

use crate::workload::{Inputs, Size, Workload};

pub(super) struct EmptyTask;

impl Workload for EmptyTask {
    const NAME: &'static str = "empty_task";
    type Input = u32;
    type Output = u32;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<u32>> {
        Ok(Inputs::new((0..size.pick(100, 2_000, 1_000_000)).collect()))
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
