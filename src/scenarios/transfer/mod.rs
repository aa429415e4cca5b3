//! The family `transfer`: moving large data into and out of a task.

mod array_local;
mod array_transfer;
mod array_transfer_shared;

use crate::scenario::Scenario;

/// Moving large data into and out of a task.
pub static TRANSFER: &[Scenario] = &[
    Scenario::of::<array_transfer::ArrayTransfer>(),
    Scenario::of::<array_transfer_shared::ArrayTransferShared>(),
    Scenario::of::<array_local::ArrayLocal>(),
];
