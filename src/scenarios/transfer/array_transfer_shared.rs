//! Like `array_transfer`, 80 MB in, doubled, and 80 MB out, but in memory that processes share.
//!
//! Article 004 concludes that processes are slow "when running functions on large input arrays", because each process
//! gets a copy. A copy is not necessary: here the array is in shared memory from the start. A worker process reads it
//! there and writes the doubled numbers to a new shared array, which the caller reads in place. Threads use the same
//! arrays.

use anyhow::{Context, Result};
use ndarray::{ArrayView2, ArrayViewMut2, Zip};

use super::array_transfer::{Matrix, check_products, matrices};
use crate::data::array::Array;
use crate::workload::{Inputs, Size, Workload};

pub(super) struct ArrayTransferShared;

impl Workload for ArrayTransferShared {
    const NAME: &'static str = "array_transfer_shared";
    const WORKERS: &'static [usize] = &[1, 2, 3, 4];
    type Input = Matrix;
    type Output = Array<f64>;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Matrix>> {
        matrices(size, |length| {
            Array::shared(length, |numbers| {
                numbers.iter_mut().enumerate().for_each(|(i, number)| *number = i as f64);
            })
        })
    }

    fn run(_: &mut (), matrix: &Matrix) -> Result<Array<f64>> {
        let (shape, factor) = (matrix.shape(), matrix.factor);
        let x = ArrayView2::from_shape(shape, &matrix.numbers).context("the numbers do not make a matrix")?;
        Array::shared(x.len(), |product| {
            let product = ArrayViewMut2::from_shape(shape, product).expect("it has the same length as x");
            Zip::from(product).and(x).for_each(|product, x| *product = x * factor);
        })
    }

    fn check(inputs: &[Matrix], outputs: &[Array<f64>]) -> Result<()> {
        check_products(inputs, outputs)
    }
}
