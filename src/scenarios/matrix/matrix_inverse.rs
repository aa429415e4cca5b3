//! Inverts a random matrix: with a single-threaded kernel, and with a kernel that uses all cores itself.
//!
//! Article 004's `np.linalg.inv(np.random.normal(0, 1, (n, n)))` with n = 2000, 16 times: neither threads nor processes
//! gained much, "because NumPy itself uses multi-threading". The two scenarios separate these effects: `matrix_inverse`
//! uses one thread for each task, `matrix_inverse_inner` all cores.

use anyhow::{Result, ensure};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::lu::partial_pivoting::{factor, inverse};
use faer::{Mat, Par};
use ndarray::{Array1, ArrayView1, ArrayView2};
use rand::SeedableRng;
use rand::distr::Distribution;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use crate::workload::{Inputs, Size, Workload};

const TASKS: u64 = 16;
const WORKERS: &[usize] = &[1, 2, 3, 4];

/// Largest element of A(A⁻¹v) − v that is accepted as rounding. A standard normal matrix of 2,000 rows has a condition
/// number of about 10^4, and occasionally of 10^6: the residual is at most 10^-9.
const TOLERANCE: f64 = 1e-6;

/// The single-threaded kernel.
pub(super) struct MatrixInverse;

/// The kernel that uses all cores.
pub(super) struct MatrixInverseInner;

/// Describes a random matrix.
#[derive(Serialize, Deserialize)]
pub(super) struct RandomMatrix {
    seed: u64,
    rows: usize,
}

impl Workload for MatrixInverse {
    const NAME: &'static str = "matrix_inverse";
    const WORKERS: &'static [usize] = WORKERS;
    type Input = RandomMatrix;
    /// A⁻¹v for a vector v. The inverse itself is not returned, as in the article.
    type Output = Vec<f64>;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<RandomMatrix>> {
        Ok(inputs(size))
    }

    fn run(_: &mut (), matrix: &RandomMatrix) -> Result<Vec<f64>> {
        Ok(solve(matrix, Par::Seq))
    }

    fn check(inputs: &[RandomMatrix], solutions: &[Vec<f64>]) -> Result<()> {
        check(inputs, solutions)
    }
}

impl Workload for MatrixInverseInner {
    const NAME: &'static str = "matrix_inverse_inner";
    const WORKERS: &'static [usize] = WORKERS;
    const NESTED: bool = true;
    type Input = RandomMatrix;
    /// A⁻¹v for a vector v. The inverse itself is not returned, as in the article.
    type Output = Vec<f64>;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<RandomMatrix>> {
        Ok(inputs(size))
    }

    fn run(_: &mut (), matrix: &RandomMatrix) -> Result<Vec<f64>> {
        Ok(solve(matrix, Par::rayon(0)))
    }

    fn check(inputs: &[RandomMatrix], solutions: &[Vec<f64>]) -> Result<()> {
        check(inputs, solutions)
    }
}

fn inputs(size: Size) -> Inputs<RandomMatrix> {
    let (tasks, rows) = size.pick((TASKS, 60), (8, 500), (TASKS, 2_000));
    Inputs::new((0..tasks).map(|seed| RandomMatrix { seed, rows }).collect())
}

/// Makes each matrix again, and multiplies it by what the task says is A⁻¹v: outside the clock, it need not be fast.
fn check(inputs: &[RandomMatrix], solutions: &[Vec<f64>]) -> Result<()> {
    for (RandomMatrix { seed, rows }, solution) in inputs.iter().zip(solutions) {
        ensure!(solution.len() == *rows, "matrix {seed}: A⁻¹v has {} elements, not {rows}", solution.len());
        let numbers = numbers(*seed, *rows);
        let product = view(&numbers, *rows).dot(&ArrayView1::from(solution));
        let residual = largest(product - vector(*rows));
        // Not `residual > TOLERANCE`, which would accept NaN.
        ensure!(residual < TOLERANCE, "matrix {seed}: A(A⁻¹v) differs from v by {residual:e}");
    }
    Ok(())
}

/// Returns A⁻¹v: tells an inverse from anything else, and one matrix from another.
fn solve(&RandomMatrix { seed, rows }: &RandomMatrix, par: Par) -> Vec<f64> {
    let inverse = invert(&numbers(seed, rows), rows, par);
    // ndarray takes the numbers row by row, and faer column by column: faer's columns are ndarray's rows.
    let columns: Vec<f64> = inverse.col_iter().flat_map(|column| column.iter().copied()).collect();
    view(&columns, rows).dot(&vector(rows)).to_vec()
}

/// Returns the numbers of a standard normal matrix, row by row.
fn numbers(seed: u64, rows: usize) -> Vec<f64> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    StandardNormal.sample_iter(&mut random).take(rows * rows).collect()
}

fn view(numbers: &[f64], rows: usize) -> ArrayView2<'_, f64> {
    ArrayView2::from_shape((rows, rows), numbers).expect("there are rows x rows numbers")
}

/// The vector v.
fn vector(rows: usize) -> Array1<f64> {
    (0..rows).map(|row| 1.0 + row as f64 / rows as f64).collect()
}

/// Returns the largest absolute value, or NaN if there is a NaN, which `f64::max` would ignore.
fn largest(elements: impl IntoIterator<Item = f64>) -> f64 {
    elements.into_iter().map(f64::abs).max_by(f64::total_cmp).unwrap_or(0.0)
}

/// Inverts a matrix given row by row. Returns the inverse transposed: its columns are the inverse's rows.
fn invert(numbers: &[f64], rows: usize, par: Par) -> Mat<f64> {
    // `Mat` is column-major, so this is the transposed matrix; its inverse is the inverse, transposed.
    let mut lu = Mat::from_fn(rows, rows, |row, column| numbers[column * rows + row]);
    let (mut forward, mut backward) = (vec![0usize; rows], vec![0usize; rows]);
    let scratch = factor::lu_in_place_scratch::<usize, f64>(rows, rows, par, Default::default());
    let mut memory = MemBuffer::new(scratch.or(inverse::inverse_scratch::<usize, f64>(rows, par)));
    let stack = MemStack::new(&mut memory);
    let parameters = Default::default();
    let (_, order) = factor::lu_in_place(lu.as_mut(), &mut forward, &mut backward, par, stack, parameters);
    let mut inverted = Mat::zeros(rows, rows);
    // L and U share one matrix; each reads its own triangle.
    inverse::inverse(inverted.as_mut(), lu.as_ref(), lu.as_ref(), order, par, stack);
    inverted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_matrix_has_its_known_inverse_on_one_thread_and_on_many() {
        for par in [Par::Seq, Par::rayon(2)] {
            let inverse = invert(&[2.0, 1.0, 5.0, 3.0], 2, par);
            let rows: Vec<f64> = inverse.col_iter().flat_map(|column| column.iter().copied()).collect();
            let expected = [3.0, -1.0, -5.0, 2.0];
            assert!(rows.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{rows:?}");
        }
    }

    #[test]
    fn an_answer_that_is_not_a_number_or_not_of_its_matrix_is_refused() {
        let inputs = inputs(Size::Smoke).tasks;
        let right: Vec<_> = inputs.iter().map(|matrix| solve(matrix, Par::Seq)).collect();
        check(&inputs, &right).unwrap();
        for wrong in [vec![f64::NAN; 60], vec![0.0; 60], right[2].clone(), right[3][1..].to_vec()] {
            let mut solutions = right.clone();
            solutions[3] = wrong;
            assert!(format!("{:#}", check(&inputs, &solutions).unwrap_err()).contains("matrix 3"));
        }
    }
}
