//! The family `overhead`: the cost of the executors themselves.

mod empty_task;
mod mixed_tasks;
mod worker_start;

use crate::scenario::Scenario;

/// The cost of the executors themselves.
pub static OVERHEAD: &[Scenario] = &[
    Scenario::of::<empty_task::EmptyTask>(),
    Scenario::of::<mixed_tasks::MixedTasks>(),
    Scenario::of::<worker_start::WorkerStart>(),
];
