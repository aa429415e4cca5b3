//! The family `isolation`: what threads of one process share by force, and processes do not.

mod file_map;
mod gil_loop;
mod memory_churn;

use crate::scenario::Scenario;

/// Where the answer is not "threads": a lock of the whole process, and one address space.
pub static ISOLATION: &[Scenario] = &[
    Scenario::of::<gil_loop::GilLoop>(),
    Scenario::of::<memory_churn::MemoryChurn>(),
    Scenario::of::<file_map::FileMap>(),
    Scenario::of::<file_map::FileRead>(),
];
