//! Makes an 80 MB array inside the task and returns only its sum.
//!
//! Article 004's advice if processes would have to copy much data: let each task make its own. Compare with
//! `array_transfer`, which moves the same 80 MB in and out.

use anyhow::{Result, ensure};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::workload::{Inputs, Size, Workload};

const COLUMNS: usize = 1_000;

pub(super) struct ArrayLocal;

/// Describes an array of consecutive numbers.
#[derive(Serialize, Deserialize)]
pub(super) struct Numbers {
    rows: usize,
    first: usize,
}

impl Workload for ArrayLocal {
    const NAME: &'static str = "array_local";
    const WORKERS: &'static [usize] = &[1, 2, 3, 4];
    type Input = Numbers;
    type Output = f64;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Numbers>> {
        // A quarter of the article's at `default`: making numbers takes ten times as long as moving them.
        let rows = size.pick(100, 2_500, 10_000);
        Ok(Inputs::new((0..size.pick(4, 4, 16)).map(|first| Numbers { rows, first }).collect()))
    }

    fn run(_: &mut (), &Numbers { rows, first }: &Numbers) -> Result<f64> {
        let x =
            Array2::from_shape_fn((rows, COLUMNS), |(row, column)| (first + row * COLUMNS + column) as f64);
        let doubled = &x * 2.0;
        Ok(doubled.sum())
    }

    fn check(inputs: &[Numbers], sums: &[f64]) -> Result<()> {
        for (&Numbers { rows, first }, &sum) in inputs.iter().zip(sums) {
            let n = (rows * COLUMNS) as f64;
            let exact = n * (2.0 * first as f64 + n - 1.0);
            // The sum of 10^7 numbers is rounded 10^7 times, each time by at most 10^-16 of it.
            let wrong = (sum - exact).abs() > 1e-9 * exact;
            ensure!(!wrong, "the sum of the doubled numbers from {first} is {exact}, not {sum}");
        }
        Ok(())
    }
}
