//! Nine short tasks to one long, in a random order: what a queue does to the short ones.
//!
//! No article's experiment, but what most programs do: tasks of 0.1 ms beside tasks of 20 ms. An executor that
//! sends tasks ahead, to hide the way to a worker, must not leave short ones waiting behind a long one.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::fixtures::text::splitmix;
use crate::workload::{Inputs, Size, Workload};

/// Steps of a short task: about 0.1 ms.
const SHORT: u64 = 50_000;
/// Steps of a long one: about 20 ms.
const LONG: u64 = 200 * SHORT;
/// One task in so many is long.
const LONG_IN: usize = 10;
/// Of the order.
const SEED: u64 = 17;

pub(super) struct MixedTasks;

impl Workload for MixedTasks {
    const NAME: &'static str = "mixed_tasks";
    type Input = u64;
    type Output = u64;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<u64>> {
        let tasks = size.pick(40, 200, 2_000);
        let steps = |task| if task % LONG_IN == 0 { LONG } else { SHORT };
        let mut tasks: Vec<_> = (0..tasks).map(|task| steps(task) / size.pick(10, 1, 1)).collect();
        let mut seed = SEED;
        for last in (1..tasks.len()).rev() {
            tasks.swap(last, (splitmix(&mut seed) % (last as u64 + 1)) as usize);
        }
        Ok(Inputs::new(tasks))
    }

    /// In registers only: how long a store takes to be loaded again varies by a factor of seven here.
    fn run(_: &mut (), &steps: &u64) -> Result<u64> {
        Ok(walk(steps))
    }

    /// There are two lengths of walks: both are taken once more.
    fn check(tasks: &[u64], ends: &[u64]) -> Result<()> {
        let mut exact = BTreeMap::new();
        for (&steps, &end) in tasks.iter().zip(ends) {
            let exact = *exact.entry(steps).or_insert_with(|| walk(steps));
            ensure!(end == exact, "{steps} steps lead to {exact:#x}, not to {end:#x}");
        }
        Ok(())
    }
}

/// So many steps: each needs the one before, and no compiler takes two at once.
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
    fn a_walk_goes_where_it_is_known_to_and_never_stands_still() {
        // Marsaglia's own seed, and the number that follows it.
        assert_eq!(step(88_172_645_463_325_252), 8_748_534_153_485_358_512);
        let ends: Vec<_> = (0..100).map(walk).collect();
        assert!(ends.windows(2).all(|two| two[0] != two[1]));
    }
}
