//! Makes a plan that fails smaller as long as it fails.

use anyhow::Result;

use super::plan::{Plan, Step};
use super::{Found, fails};

/// How often a smaller plan is run: what fails now and then has to fail once.
const TRIES: u32 = 3;
/// How many smaller plans are run at most.
const MAX_PLANS: u32 = 150;

pub(crate) fn shrink(mut found: Found) -> Result<Found> {
    let mut plans = 0;
    'smaller: loop {
        for plan in smaller(&found.plan) {
            plans += 1;
            if plans > MAX_PLANS {
                return Ok(found);
            }
            for _ in 0..TRIES {
                if let Some(error) = fails(&plan)? {
                    found = Found { plan, error };
                    continue 'smaller;
                }
            }
        }
        return Ok(found);
    }
}

/// Plans that have a little less, those with much less first.
fn smaller(plan: &Plan) -> Vec<Plan> {
    let mut plans = Vec::new();
    let mut add = |change: &dyn Fn(&mut Plan)| {
        let mut smaller = plan.clone();
        change(&mut smaller);
        plans.push(smaller);
    };
    for batch in 0..plan.batches.len() {
        add(&|plan| drop(plan.batches.remove(batch)));
    }
    for (at, batch) in plan.batches.iter().enumerate() {
        let mut length = batch.tasks.len() / 2;
        while length > 0 {
            for start in (0..batch.tasks.len()).step_by(length) {
                let end = batch.tasks.len().min(start + length);
                add(&|plan| drop(plan.batches[at].tasks.drain(start..end)));
            }
            length /= 2;
        }
    }
    if plan.workers > 1 {
        add(&|plan| plan.workers -= 1);
    }
    if plan.prefetch.is_some() {
        add(&|plan| plan.prefetch = None);
    }
    if plan.max_tasks.is_some() {
        add(&|plan| plan.max_tasks = None);
    }
    if plan.retries > 0 {
        add(&|plan| plan.retries -= 1);
    }
    for (at, batch) in plan.batches.iter().enumerate() {
        if batch.usage {
            add(&|plan| plan.batches[at].usage = false);
        }
        for (task, step) in batch.tasks.iter().enumerate() {
            if *step != Step::Answer {
                add(&|plan| plan.batches[at].tasks[task] = Step::Answer);
            }
        }
    }
    plans
}
