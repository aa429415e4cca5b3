//! A rayon pool of its own of the given size: work-stealing threads.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{
    Executor, ExecutorKind, Isolation, Outcome, Shapes, Suitability, make_states, run_task, time_batch,
};
use crate::job::Job;
use crate::program::limits::stack_bytes;

pub(super) const KIND: ExecutorKind = ExecutorKind {
    name: "rayon",
    about: "work-stealing threads, a pool of its own",
    isolation: Isolation::Thread,
    shapes: Shapes::Workers,
    suits: |workload| {
        if workload.nested {
            // Three tasks of 50 ms each showed spans of 0 to 100 ms.
            Suitability::Unsuited(
                "a worker that waits for an inner pool steals the next task, so that both spans are wrong",
            )
        } else {
            Suitability::Suited
        }
    },
    start: |options| {
        let name = |worker| format!("rayon {worker}");
        let threads = options.shape.parallelism();
        let builder =
            ThreadPoolBuilder::new().num_threads(threads).thread_name(name).stack_size(stack_bytes());
        // Without its cause, which its own words hold already.
        let pool = builder.build().map_err(|error| anyhow!("cannot start {threads} threads: {error}"))?;
        Ok(Box::new(Rayon { pool }))
    },
};

struct Rayon {
    pool: ThreadPool,
}

impl Executor for Rayon {
    fn prepare(&mut self, job: &Arc<dyn Job>) -> Result<()> {
        make_states(&**job, self.pool.current_num_threads())
    }

    fn execute(&mut self, job: &Arc<dyn Job>) -> Result<Outcome> {
        self.prepare(job)?;
        let one = |began, task| {
            let worker = rayon::current_thread_index().expect("the pool runs this on its own threads");
            run_task(&**job, worker, task, began)
        };
        Ok(time_batch(&**job, |began| {
            // A task is the smallest unit: rayon must not bundle several of them.
            let tasks = (0..job.tasks()).into_par_iter().with_max_len(1);
            self.pool.install(|| tasks.map(|task| one(began, task)).collect())
        }))
    }
}
