//! Measuring: variants in cells, cells in rounds, and the records of what those gave.

pub mod cell;
pub(crate) mod criterion;
mod launch;
mod machine;
mod record;
pub(crate) mod rounds;
mod runner;
pub(crate) mod variant;

pub use self::machine::Machine;
pub use self::record::{FORMAT, Key, Record, RunHeader, percentile, read_records};
pub use self::runner::Observation;
