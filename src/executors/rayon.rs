//! A rayon pool of its own of the given size: work-stealing threads.

use std::sync::Arc;

use anyhow::Result;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{Executor, Kind, Outcome, Place, measure, open};
use crate::job::Job;
use crate::span::TaskSpan;

pub(super) const KIND: Kind = Kind {
    name: "rayon",
    about: "work-stealing threads, a pool of its own",
    place: Place::Threads,
    single: false,
    // A worker that waits for an inner pool steals the next task: three tasks of 50 ms each showed spans of
    // 0 to 100 ms.
    nests: false,
    cold: false,
    start: |means| {
        let name = |worker| format!("rayon {worker}");
        let pool = ThreadPoolBuilder::new().num_threads(means.workers).thread_name(name).build()?;
        Ok(Box::new(Rayon { pool }))
    },
};

struct Rayon {
    pool: ThreadPool,
}

impl Executor for Rayon {
    fn execute(&mut self, job: &Arc<dyn Job>) -> Result<Outcome> {
        open(&**job, self.pool.current_num_threads())?;
        let one = |began, task| {
            let worker = rayon::current_thread_index().expect("the pool runs this on its own threads");
            (task, job.run(worker, task).map(|stamps| TaskSpan::here(task, worker, began, stamps)))
        };
        Ok(measure(&**job, |began| {
            // A task is the smallest piece: rayon may not bundle a few of them.
            let tasks = (0..job.tasks()).into_par_iter().with_max_len(1);
            self.pool.install(|| tasks.map(|task| one(began, task)).collect())
        }))
    }
}
