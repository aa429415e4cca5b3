//! One task after the other on the calling thread: the base of every speed-up.

use std::sync::Arc;

use anyhow::Result;

use super::{
    Executor, ExecutorKind, Isolation, Outcome, Shapes, make_states, run_task, suits_all, time_batch,
};
use crate::job::Job;

pub(super) const KIND: ExecutorKind = ExecutorKind {
    name: "serial",
    about: "one task after the other on the calling thread",
    isolation: Isolation::Caller,
    shapes: Shapes::Single,
    suits: suits_all,
    start: |_| Ok(Box::new(Serial)),
};

struct Serial;

impl Executor for Serial {
    fn prepare(&mut self, job: &Arc<dyn Job>) -> Result<()> {
        make_states(&**job, 1)
    }

    fn execute(&mut self, job: &Arc<dyn Job>) -> Result<Outcome> {
        self.prepare(job)?;
        Ok(time_batch(&**job, |began| {
            (0..job.tasks()).map(|task| run_task(&**job, 0, task, began)).collect()
        }))
    }
}
