//! An 80 MB array made inside the task, of which only the sum comes back: the article's way out.
//!
//! Article 004's advice where processes would have to copy much data: let each make its own. Compare with
//! `array_transfer`, which moves the same 80 MB in and out.

use anyhow::{Result, ensure};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::workload::{Inputs, Size, Workload};

const COLUMNS: usize = 1_000;

pub(super) struct ArrayLocal;

/// Which array.
#[derive(Serialize, Deserialize)]
pub(super) struct Order {
    rows: usize,
    first: usize,
}

impl Workload for ArrayLocal {
    const NAME: &'static str = "array_local";
    const WORKERS: &'static [usize] = &[1, 2, 3, 4];
    type Input = Order;
    type Output = f64;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Order>> {
        let rows = size.pick(100, 10_000, 10_000);
        Ok(Inputs::new((0..size.pick(4, 4, 16)).map(|first| Order { rows, first }).collect()))
    }

    fn run(_: &mut (), &Order { rows, first }: &Order) -> Result<f64> {
        let x =
            Array2::from_shape_fn((rows, COLUMNS), |(row, column)| (first + row * COLUMNS + column) as f64);
        let doubled = &x * 2.0;
        Ok(doubled.sum())
    }

    fn check(orders: &[Order], sums: &[f64]) -> Result<()> {
        for (&Order { rows, first }, &sum) in orders.iter().zip(sums) {
            let n = (rows * COLUMNS) as f64;
            let exact = n * (2.0 * first as f64 + n - 1.0);
            // The sum of 10^7 numbers is rounded as often, each time by 10^-16 of it at most.
            let wrong = (sum - exact).abs() > 1e-9 * exact;
            ensure!(!wrong, "the doubled numbers from {first} on add up to {exact}, not {sum}");
        }
        Ok(())
    }
}
