//! A loop that only adds: pure CPU work without data.
//!
//! Article 000's `cpu_heavy(n)`, `count += i` for `i` below n = 10^7, ten times: 4.2 s serially, 6.5 s on four
//! threads, 1.9 s in four processes. It found that threads make CPU work slower. The cause is Python's lock; whether
//! Rust's threads do better is the first question here.

use std::hint::black_box;

use anyhow::{Result, ensure};

use crate::workload::{Inputs, Size, Workload};

/// Ten calls, as in the article's notebook.
const TASKS: usize = 10;

pub(super) struct CpuLoop;

impl Workload for CpuLoop {
    const NAME: &'static str = "cpu_loop";
    type Input = u64;
    type Output = u64;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<u64>> {
        Ok(Inputs::new(vec![size.pick(100_000, 10_000_000, 10_000_000); TASKS]))
    }

    fn run(_: &mut (), &n: &u64) -> Result<u64> {
        let mut count = 0;
        for i in 0..n {
            // Without the black box, the compiler computes the sum without a loop.
            count = black_box(count + i);
        }
        Ok(count)
    }

    fn check(inputs: &[u64], counts: &[u64]) -> Result<()> {
        for (n, count) in inputs.iter().zip(counts) {
            let sum = n * (n - 1) / 2;
            ensure!(*count == sum, "the numbers below {n} add up to {sum}, not {count}");
        }
        Ok(())
    }
}
