//! Nine short tasks to one long, in a random order: what a queue does to the short ones.
//!
//! No article's experiment, but what most programs do: tasks of 0.1 ms beside tasks of 20 ms. An executor that
//! sends tasks ahead, to hide the way to a worker, must not leave short ones waiting behind a long one.

use std::hint::black_box;

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

    fn run(_: &mut (), &steps: &u64) -> Result<u64> {
        // Without the black box the compiler knows the sum without a loop.
        Ok((0..steps).fold(0, |sum, step| black_box(sum + step)))
    }

    fn check(tasks: &[u64], sums: &[u64]) -> Result<()> {
        for (steps, sum) in tasks.iter().zip(sums) {
            let exact = steps * (steps - 1) / 2;
            ensure!(*sum == exact, "the numbers below {steps} add up to {exact}, not {sum}");
        }
        Ok(())
    }
}
