//! Nine short tasks for each long one, in random order: how long do short tasks wait in a queue?
//!
//! None of the articles has this experiment, but most programs have such a mix: here, tasks of 0.1 ms and of 20 ms. An
//! executor that sends tasks ahead, to hide the latency to a worker, must not leave short tasks waiting behind a long
//! one.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::random::shuffle;
use crate::workload::{Inputs, Size, Workload};

/// Number of steps of a short task: about 0.1 ms.
const SHORT: u64 = 50_000;
/// Number of steps of a long task: about 20 ms.
const LONG: u64 = 200 * SHORT;
/// One task in this many is long.
const LONG_INTERVAL: usize = 10;
/// The seed of the random order.
const SEED: u64 = 17;

pub(super) struct MixedTasks;

impl Workload for MixedTasks {
    const NAME: &'static str = "mixed_tasks";
    /// The task's number, and its steps.
    type Input = (u64, u64);
    type Output = u64;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<(u64, u64)>> {
        let tasks = size.pick(40, 60, 2_000);
        let steps = |task| if task % LONG_INTERVAL == 0 { LONG } else { SHORT };
        let mut tasks: Vec<_> = (0..tasks).map(|task| steps(task) / size.pick(10, 1, 1)).collect();
        shuffle(&mut tasks, &mut { SEED });
        Ok(Inputs::new((0..).zip(tasks).collect()))
    }

    /// Uses only registers: on some machines, the time to load a value that was just stored varies by a factor of
    /// seven.
    fn run(_: &mut (), &(task, steps): &(u64, u64)) -> Result<u64> {
        // With its number, so that swapped answers are noticed.
        Ok(walk(steps) ^ task)
    }

    /// Walks again, once for each of the two lengths.
    fn check(tasks: &[(u64, u64)], ends: &[u64]) -> Result<()> {
        let mut exact = BTreeMap::new();
        for (&(task, steps), &end) in tasks.iter().zip(ends) {
            let (exact, end) = (*exact.entry(steps).or_insert_with(|| walk(steps)), end ^ task);
            ensure!(end == exact, "task {task}: {steps} steps lead to {exact:#x}, not to {end:#x}");
        }
        Ok(())
    }
}

/// Takes `steps` steps. Each depends on the one before, so no compiler can combine two.
fn walk(steps: u64) -> u64 {
    (0..steps).fold(0x2545_f491_4f6c_dd1d, |state, _| step(state))
}

/// A step of a 64-bit xorshift generator (Marsaglia 2003).
fn step(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ state << 17
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_ends_where_it_should_and_never_stands_still() {
        // Marsaglia's own seed, and the number that follows it.
        assert_eq!(step(88_172_645_463_325_252), 8_748_534_153_485_358_512);
        let ends: Vec<_> = (0..100).map(walk).collect();
        assert!(ends.windows(2).all(|two| two[0] != two[1]));
    }
}
