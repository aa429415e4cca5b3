//! The same 80 MB in, doubled, 80 MB out as `array_transfer`, in memory that processes share.
//!
//! Article 004 concludes that processes are slow "when running functions on large input arrays", because each has
//! to get a copy. It need not: here the array lies in shared memory from the start, a worker process reads it
//! there, writes the doubled one into shared memory of its own, and the caller reads that where it is. On threads
//! the very same arrays are used.

use anyhow::{Context, Result, ensure};
use ndarray::{ArrayView2, ArrayViewMut2, Zip};
use serde::{Deserialize, Serialize};

use super::array_transfer::{COLUMNS, check_doubled};
use crate::array::Array;
use crate::workload::{Inputs, Size, Workload};

pub(super) struct ArrayTransferShared;

#[derive(Serialize, Deserialize)]
pub(super) struct Matrix {
    rows: usize,
    /// Row by row.
    numbers: Array<f64>,
}

impl Workload for ArrayTransferShared {
    const NAME: &'static str = "array_transfer_shared";
    const WORKERS: &'static [usize] = &[1, 2, 3, 4];
    type Input = Matrix;
    type Output = Array<f64>;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Matrix>> {
        let rows = size.pick(100, 10_000, 10_000);
        let numbers = Array::shared(rows * COLUMNS, |numbers| {
            numbers.iter_mut().enumerate().for_each(|(i, number)| *number = i as f64);
        })?;
        let matrix = || Matrix { rows, numbers: numbers.clone() };
        Ok(Inputs::new((0..size.pick(4, 4, 16)).map(|_| matrix()).collect()))
    }

    fn run(_: &mut (), Matrix { rows, numbers }: &Matrix) -> Result<Array<f64>> {
        let shape = (*rows, COLUMNS);
        let x = ArrayView2::from_shape(shape, numbers).context("not a matrix")?;
        Array::shared(numbers.len(), |doubled| {
            let doubled = ArrayViewMut2::from_shape(shape, doubled).expect("it is as long as x");
            Zip::from(doubled).and(x).for_each(|doubled, x| *doubled = x * 2.0);
        })
    }

    fn check(inputs: &[Matrix], outputs: &[Array<f64>]) -> Result<()> {
        for (task, (x, doubled)) in inputs.iter().zip(outputs).enumerate() {
            check_doubled(&x.numbers, doubled).with_context(|| format!("task {task}"))?;
        }
        ensure!(inputs.len() == outputs.len(), "{} arrays came back", outputs.len());
        Ok(())
    }
}
