//! One task after the other on the calling thread: what every speed-up is measured against.

use std::sync::Arc;

use anyhow::Result;

use super::{Executor, Kind, Outcome, Place, measure, open};
use crate::job::Job;
use crate::span::TaskSpan;

pub(super) const KIND: Kind = Kind {
    name: "serial",
    about: "one task after the other on the calling thread",
    place: Place::Here,
    single: true,
    nests: true,
    cold: false,
    start: |_| Ok(Box::new(Serial)),
};

struct Serial;

impl Executor for Serial {
    fn execute(&mut self, job: &Arc<dyn Job>) -> Result<Outcome> {
        open(&**job, 1)?;
        let one = |began, task| (task, job.run(0, task).map(|stamps| TaskSpan::here(task, 0, began, stamps)));
        Ok(measure(&**job, |began| (0..job.tasks()).map(|task| one(began, task)).collect()))
    }
}
