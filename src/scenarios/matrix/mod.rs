//! The family `matrix`: matrix kernels, single-threaded and with threads of their own.

mod matrix_dot;
mod matrix_inverse;

use crate::scenario::Scenario;

/// Matrix kernels, single-threaded and with threads of their own.
pub static MATRIX: &[Scenario] = &[
    Scenario::of::<matrix_dot::MatrixDot>(),
    Scenario::of::<matrix_dot::MatrixDotInner>(),
    Scenario::of::<matrix_inverse::MatrixInverse>(),
    Scenario::of::<matrix_inverse::MatrixInverseInner>(),
];
