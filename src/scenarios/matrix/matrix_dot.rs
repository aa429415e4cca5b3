//! Multiplies two matrices: with a single-threaded kernel, and with a kernel that uses all cores itself.
//!
//! Article 000's `np.dot(a, b)`, ten times: 2.8 s serially, 3.4 s on two threads, 3.3 s in two processes, "no benefit
//! adding threads or processes". The article's explanation is that numpy evades Python's lock; in fact, numpy's own
//! threads already used all cores. `matrix_dot` uses one thread for each task, `matrix_dot_inner` all cores.
//!
//! The article does not print the size; with 3,000 rows, ten products take about that long on a few cores. Its matrices
//! are global variables, made before the clock starts, and a forked process inherits them. Here, too, they are made
//! before the clock starts and are the same for all tasks, but they are inputs: a process receives them.

use anyhow::{Result, ensure};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::data::array::Array;
use crate::workload::{Inputs, Size, Workload};

/// Ten calls, as in the article's notebook.
const TASKS: usize = 10;

/// Largest relative difference between an element of (AB)v and of A(Bv) that is accepted as rounding. All numbers are
/// positive, so nothing cancels: the relative error of a sum of n terms is less than n · 10^-16.
const TOLERANCE: f64 = 1e-11;

/// The single-threaded kernel.
pub(super) struct MatrixDot;

/// The kernel that uses all cores.
pub(super) struct MatrixDotInner;

/// Two matrices, column by column, and the number of the vector that their product is multiplied by.
#[derive(Serialize, Deserialize)]
pub(super) struct Factors {
    probe: usize,
    rows: usize,
    a: Array<f64>,
    b: Array<f64>,
}

impl Workload for MatrixDot {
    const NAME: &'static str = "matrix_dot";
    type Input = Factors;
    /// The product times the task's vector. The product itself is not returned, as in the article.
    type Output = Array<f64>;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Factors>> {
        factors(size)
    }

    fn run(_: &mut (), factors: &Factors) -> Result<Array<f64>> {
        Ok(dot(factors, Par::Seq))
    }

    fn check(factors: &[Factors], probes: &[Array<f64>]) -> Result<()> {
        check(factors, probes)
    }
}

impl Workload for MatrixDotInner {
    const NAME: &'static str = "matrix_dot_inner";
    const NESTED: bool = true;
    type Input = Factors;
    type Output = Array<f64>;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Factors>> {
        factors(size)
    }

    fn run(_: &mut (), factors: &Factors) -> Result<Array<f64>> {
        Ok(dot(factors, Par::rayon(0)))
    }

    fn check(factors: &[Factors], probes: &[Array<f64>]) -> Result<()> {
        check(factors, probes)
    }
}

/// Makes the inputs: numbers from 0 to 1, as from `np.random.rand`.
fn factors(size: Size) -> Result<Inputs<Factors>> {
    let rows = size.pick(60, 512, 3_000);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(0);
    // Shared, since every task needs both: each worker process receives them once.
    let mut matrix = || Array::share(&(0..rows * rows).map(|_| random.random()).collect::<Vec<f64>>());
    let (a, b) = (matrix()?, matrix()?);
    let factors = |probe| Factors { probe, rows, a: a.clone(), b: b.clone() };
    Ok(Inputs::new((0..TASKS).map(factors).collect()))
}

fn dot(Factors { probe, rows, a, b }: &Factors, par: Par) -> Array<f64> {
    let product = multiply(a, b, *rows, par);
    // The vector differs between tasks, so that swapped answers are noticed.
    multiply(&product, &vector(*probe, *rows), *rows, Par::Seq).into()
}

/// Returns numbers from 1 to 2, rising from a first row that differs between probes.
fn vector(probe: usize, rows: usize) -> Vec<f64> {
    (0..rows).map(|row| 1.0 + ((row + rows * probe / TASKS) % rows) as f64 / rows as f64).collect()
}

/// Multiplies the square matrix `a` by the columns of `b`.
fn multiply(a: &[f64], b: &[f64], rows: usize, par: Par) -> Vec<f64> {
    let columns = b.len() / rows;
    // The system provides zeroed memory, whereas the kernel's own `Mat::zeros` would write every zero.
    let mut product = vec![0.0; rows * columns];
    let into = MatMut::from_column_major_slice_mut(&mut product, rows, columns);
    let (a, b) =
        (MatRef::from_column_major_slice(a, rows, rows), MatRef::from_column_major_slice(b, rows, columns));
    matmul(into, Accum::Replace, a, b, 1.0, par);
    product
}

fn check(factors: &[Factors], probes: &[Array<f64>]) -> Result<()> {
    for (Factors { probe, rows, a, b }, answer) in factors.iter().zip(probes) {
        // Two matrix-vector products instead of one of matrices: a thousandth of the work, in another order of sums.
        let expected = multiply(a, &multiply(b, &vector(*probe, *rows), *rows, Par::Seq), *rows, Par::Seq);
        ensure!(answer.len() == *rows, "task {probe}: (AB)v has {} elements, not {rows}", answer.len());
        // Not `difference > TOLERANCE`, which would accept NaN.
        let near = |(found, expected): (&f64, &f64)| (found - expected).abs() <= TOLERANCE * expected;
        let wrong = answer.iter().zip(&expected).position(|pair| !near(pair));
        ensure!(
            wrong.is_none(),
            "task {probe}: element {} of (AB)v differs from that of A(Bv)",
            wrong.unwrap_or_default()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_product_is_correct_on_one_thread_and_on_many() {
        for par in [Par::Seq, Par::rayon(2)] {
            // Columns: (1 2; 3 4) times (5 6; 7 8).
            assert_eq!(
                multiply(&[1.0, 3.0, 2.0, 4.0], &[5.0, 7.0, 6.0, 8.0], 2, par),
                [19.0, 43.0, 22.0, 50.0]
            );
        }
    }

    #[test]
    fn a_wrong_swapped_or_missing_element_is_refused() {
        let factors = factors(Size::Smoke).unwrap().tasks;
        let right: Vec<Array<f64>> = factors.iter().map(|factors| dot(factors, Par::Seq)).collect();
        check(&factors, &right).unwrap();
        for (at, element) in [(0, f64::NAN), (59, right[3][59] * (1.0 + 1e-9)), (30, 0.0)] {
            let mut wrong = right.clone();
            let mut elements = right[3].to_vec();
            elements[at] = element;
            wrong[3] = elements.into();
            assert!(check(&factors, &wrong).unwrap_err().to_string().starts_with("task 3: element"));
        }
        let mut swapped = right.clone();
        swapped.swap(3, 4);
        assert!(check(&factors, &swapped).is_err());
        let short: Vec<Array<f64>> = right.iter().map(|answer| answer[..59].to_vec().into()).collect();
        assert!(check(&factors, &short).is_err());
    }
}
