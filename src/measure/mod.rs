//! Measuring: variants, the batches that they run, and the records of what those gave.

pub(crate) mod ceiling;
pub(crate) mod criterion;
mod record;
pub(crate) mod rounds;
mod runner;
pub(crate) mod variant;

pub use self::record::{Record, percentile};
