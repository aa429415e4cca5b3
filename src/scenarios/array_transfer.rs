//! 80 MB into a task, doubled, 80 MB out.
//!
//! Article 004's `transfer_data(x)`, `return x * 2` for a numpy array of 10,000 x 1,000 numbers: threads took
//! 0.36 s, a loop 0.51 s, processes over 14 times as long. Here, too, both ends are private memory, so that
//! processes have to copy: into the worker and back. The array is made before the clock and the same one for
//! every task, as in the article.

use anyhow::{Context, Result, ensure};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::array::Array;
use crate::workload::{Inputs, Size, Workload};

pub(super) const COLUMNS: usize = 1_000;

pub(super) struct ArrayTransfer;

#[derive(Serialize, Deserialize)]
pub(super) struct Matrix {
    rows: usize,
    /// Row by row.
    numbers: Array<f64>,
}

impl Workload for ArrayTransfer {
    const NAME: &'static str = "array_transfer";
    const WORKERS: &'static [usize] = &[1, 2, 3, 4];
    type Input = Matrix;
    type Output = Array<f64>;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Matrix>> {
        let rows = size.pick(100, 10_000, 10_000);
        let numbers: Array<f64> = (0..rows * COLUMNS).map(|i| i as f64).collect::<Vec<_>>().into();
        let matrix = || Matrix { rows, numbers: numbers.clone() };
        Ok(Inputs::new((0..size.pick(4, 4, 16)).map(|_| matrix()).collect()))
    }

    fn run(_: &mut (), Matrix { rows, numbers }: &Matrix) -> Result<Array<f64>> {
        let x = ArrayView2::from_shape((*rows, COLUMNS), numbers).context("not a matrix")?;
        let (doubled, offset) = (&x * 2.0).into_raw_vec_and_offset();
        ensure!(offset.unwrap_or(0) == 0, "a new array does not begin at its beginning");
        Ok(doubled.into())
    }

    fn check(inputs: &[Matrix], outputs: &[Array<f64>]) -> Result<()> {
        for (task, (x, doubled)) in inputs.iter().zip(outputs).enumerate() {
            check_doubled(&x.numbers, doubled).with_context(|| format!("task {task}"))?;
        }
        Ok(())
    }
}

pub(super) fn check_doubled(x: &[f64], doubled: &[f64]) -> Result<()> {
    ensure!(x.len() == doubled.len(), "{} numbers came back, not {}", doubled.len(), x.len());
    let wrong = x.iter().zip(doubled).position(|(x, doubled)| *doubled != x * 2.0);
    ensure!(wrong.is_none(), "number {} is not doubled", wrong.unwrap_or_default());
    Ok(())
}
