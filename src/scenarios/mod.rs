//! The articles' experiments. Each folder is a family: one bench program, and one heading in reports.
//!
//! A new scenario is one file in its family's folder, and a `mod` line and a row in the family's `mod.rs`.

mod compute;
mod files;
mod isolation;
mod matrix;
mod network;
mod overhead;
mod transfer;

pub use self::compute::COMPUTE;
pub use self::files::FILES;
pub use self::isolation::ISOLATION;
pub use self::matrix::MATRIX;
pub use self::network::NETWORK;
pub use self::overhead::OVERHEAD;
pub use self::transfer::TRANSFER;
use crate::scenario::Scenario;

/// All families: the name, which is also the name of the bench program, and the scenarios.
pub static FAMILIES: &[(&str, &[Scenario])] = &[
    ("network", NETWORK),
    ("files", FILES),
    ("compute", COMPUTE),
    ("matrix", MATRIX),
    ("transfer", TRANSFER),
    ("overhead", OVERHEAD),
    ("isolation", ISOLATION),
];
