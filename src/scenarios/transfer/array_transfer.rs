//! Takes an 80 MB array in, doubles its numbers, and hands 80 MB out.
//!
//! Article 004's `transfer_data(x)`, `return x * 2` for a numpy array of 10,000 x 1,000 numbers: threads took 0.36 s, a
//! loop 0.51 s, processes over 14 times as long. Here, too, both arrays are in private memory, so processes have to
//! copy them: into the worker and back. As in the article, the array is made before the clock starts, and all tasks
//! have the same one.

use anyhow::{Context, Result, ensure};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::data::array::Array;
use crate::workload::{Inputs, Size, Workload};

const COLUMNS: usize = 1_000;

pub(super) struct ArrayTransfer;

#[derive(Serialize, Deserialize)]
pub(super) struct Matrix {
    rows: usize,
    /// Row by row; the same for all tasks.
    pub(super) numbers: Array<f64>,
    /// What the numbers are multiplied by: each task has its own, so that swapped answers are noticed.
    pub(super) factor: f64,
}

impl Matrix {
    /// Returns the number of rows and of columns.
    pub(super) fn shape(&self) -> (usize, usize) {
        (self.rows, COLUMNS)
    }
}

/// Returns the same matrix for every task, with a factor of its own: 2 for the first, as in the article. `make` makes the
/// numbers, given their count.
pub(super) fn matrices(size: Size, make: impl FnOnce(usize) -> Result<Array<f64>>) -> Result<Inputs<Matrix>> {
    let rows = size.pick(100, 10_000, 10_000);
    let numbers = make(rows * COLUMNS)?;
    let matrix = |task| Matrix { rows, numbers: numbers.clone(), factor: f64::from(task + 2) };
    Ok(Inputs::new((0..size.pick(4, 4, 16)).map(matrix).collect()))
}

impl Workload for ArrayTransfer {
    const NAME: &'static str = "array_transfer";
    const WORKERS: &'static [usize] = &[1, 2, 3, 4];
    type Input = Matrix;
    type Output = Array<f64>;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Matrix>> {
        matrices(size, |length| Ok((0..length).map(|i| i as f64).collect::<Vec<_>>().into()))
    }

    fn run(_: &mut (), matrix: &Matrix) -> Result<Array<f64>> {
        let x = ArrayView2::from_shape(matrix.shape(), &matrix.numbers);
        let x = x.context("the numbers do not make a matrix")?;
        let (product, offset) = (&x * matrix.factor).into_raw_vec_and_offset();
        ensure!(offset.unwrap_or(0) == 0, "the new array does not begin at the start of its memory");
        Ok(product.into())
    }

    fn check(inputs: &[Matrix], outputs: &[Array<f64>]) -> Result<()> {
        check_products(inputs, outputs)
    }
}

pub(super) fn check_products(inputs: &[Matrix], outputs: &[Array<f64>]) -> Result<()> {
    ensure!(inputs.len() == outputs.len(), "{} arrays were returned, not {}", outputs.len(), inputs.len());
    for (task, (Matrix { numbers: x, factor, .. }, product)) in inputs.iter().zip(outputs).enumerate() {
        ensure!(x.len() == product.len(), "task {task} returned {} numbers, not {}", product.len(), x.len());
        let wrong = x.iter().zip(&product[..]).position(|(x, product)| *product != x * factor);
        ensure!(
            wrong.is_none(),
            "task {task}: number {} is not {factor} times as large",
            wrong.unwrap_or_default()
        );
    }
    Ok(())
}
