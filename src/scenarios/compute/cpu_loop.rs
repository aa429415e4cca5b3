//! A loop that only adds: pure CPU work without data.
//!
//! Article 000's `cpu_heavy(n)`, `count += i` for `i` below n = 10^7, ten times: 4.2 s serially, 6.5 s on four
//! threads, 1.9 s in four processes. It found that threads make CPU work slower. The cause is Python's lock; whether
//! Rust's threads do better is the first question here.
//!
//! The sum is a floating-point number: no compiler may add those in another order, so each addition waits for the one
//! before. A sum of integers would be computed without a loop, or hidden from the compiler in memory, where it measures
//! how soon a CPU can load what it has just stored: 2.4 ns on one machine, 0.3 ns on another.

use std::ops::Range;

use anyhow::{Result, ensure};

use crate::workload::{Inputs, Size, Workload};

/// Ten calls, as in the article's notebook.
const TASKS: u64 = 10;

pub(super) struct CpuLoop;

impl Workload for CpuLoop {
    const NAME: &'static str = "cpu_loop";
    type Input = u64;
    type Output = f64;
    type Worker = ();

    /// The tasks differ by one number each, so that swapped answers are noticed.
    fn prepare(size: Size) -> Result<Inputs<u64>> {
        let n = size.pick(100_000, 10_000_000, 10_000_000);
        Ok(Inputs::new((n..n + TASKS).collect()))
    }

    fn run(_: &mut (), &n: &u64) -> Result<f64> {
        Ok(count_from(0.0, 0..n))
    }

    fn check(inputs: &[u64], counts: &[f64]) -> Result<()> {
        inputs.iter().zip(counts).try_for_each(|(n, count)| check_count(*n, *count))
    }
}

/// Adds numbers to a count, one by one.
pub(in crate::scenarios) fn count_from(count: f64, numbers: Range<u64>) -> f64 {
    numbers.fold(count, |count, i| count + i as f64)
}

/// Checks the sum of the numbers below `n`, which is exact as long as it has at most 53 bits.
pub(in crate::scenarios) fn check_count(n: u64, count: f64) -> Result<()> {
    let sum = n * (n - 1) / 2;
    ensure!(count == sum as f64, "the numbers below {n} add up to {sum}, not {count}");
    Ok(())
}
