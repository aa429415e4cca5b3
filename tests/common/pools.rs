//! Runs actions on pools of worker processes of every flavor, and checks that nothing is left of a pool.

#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::process;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;
use parbench::data::{keep_unused, segments};
use parbench::executors::{ExecutorKind, PoolOptions};
use parbench::{Cause, Executor, Failure, Job, Shape, TaskSpan, TypedJob, Workload};

use crate::action::{Act, Action, Report, check};
use crate::common::{children, eventually, trial};

/// How a pool's workers are made, and whether memory is shared with them.
pub(crate) struct PoolFlavor {
    pub(crate) name: &'static str,
    pub(crate) executor: &'static str,
    pub(crate) shares_memory: bool,
}

pub(crate) static FLAVORS: &[PoolFlavor] = &[
    PoolFlavor { name: "processes", executor: "processes", shares_memory: true },
    PoolFlavor { name: "forkserver", executor: "forkserver", shares_memory: true },
    PoolFlavor { name: "processes without shared memory", executor: "processes", shares_memory: false },
];

/// Two threads in each process: what ends one costs the other its task, too.
pub(crate) static HYBRID: PoolFlavor = PoolFlavor { name: "hybrid", executor: "hybrid", shares_memory: true };

impl PoolFlavor {
    /// Those of a pool with so many worker processes.
    pub(crate) fn options(&self, workers: usize) -> PoolOptions {
        if self.executor == HYBRID.executor {
            return PoolOptions::new(Shape::new(workers, 2));
        }
        sharing_options(self.shares_memory, workers)
    }

    pub(crate) fn start(&self, options: &PoolOptions) -> Result<Box<dyn Executor>> {
        ExecutorKind::find(self.executor)?.start(options)
    }

    /// Runs actions on a pool of its own.
    pub(crate) fn run(
        &self,
        options: &PoolOptions,
        actions: Vec<Action>,
    ) -> Result<Vec<Result<Report, Failure>>> {
        run(&mut *self.start(options)?, actions)
    }
}

/// The options of a pool that shares memory with its workers, or does not.
pub(crate) fn sharing_options(shares_memory: bool, workers: usize) -> PoolOptions {
    let options = PoolOptions::new(workers);
    if shares_memory { options } else { options.without_shared_memory() }
}

/// The most workers of a pool that [`run`] is given.
const MAX_WORKERS: usize = 4;

/// Runs a task for each action. Each has either a report or a failure, and in its own place.
pub(crate) fn run(executor: &mut dyn Executor, actions: Vec<Action>) -> Result<Vec<Result<Report, Failure>>> {
    let typed = Arc::new(TypedJob::<Act>::new(actions, MAX_WORKERS));
    let job: Arc<dyn Job> = typed.clone();
    let outcome = executor.execute(&job)?;
    ensure!(outcome.tasks.len() == job.tasks(), "{} entries of {} tasks", outcome.tasks.len(), job.tasks());
    let entries = outcome.tasks.into_iter().zip(typed.take_outputs()).enumerate();
    let entries = entries.map(|(task, (entry, report))| match (entry, report) {
        (Ok(TaskSpan { task: number, .. }), Some(report)) if number as usize == task => Ok(Ok(report)),
        (Err(failure), None) if (failure.scenario, failure.task) == (Act::NAME, task) => Ok(Err(failure)),
        (entry, report) => bail!("the entry of task {task} is {entry:?}, and its report {report:?}"),
    });
    entries.collect()
}

/// Runs actions none of which may fail, and checks their reports.
pub(crate) fn run_all(executor: &mut dyn Executor, actions: Vec<Action>) -> Result<Vec<Report>> {
    let reports = run(executor, actions.clone())?.into_iter().collect::<Result<Vec<_>, _>>()?;
    check(&actions, &reports)?;
    Ok(reports)
}

/// The tasks that failed, and why.
pub(crate) fn failed(reports: Vec<Result<Report, Failure>>) -> BTreeMap<usize, Cause> {
    reports.into_iter().filter_map(Result::err).map(|failure| (failure.task, failure.cause)).collect()
}

/// Actions that answer their own number.
pub(crate) fn answers(tasks: u64) -> Vec<Action> {
    (0..tasks).map(Action::Answer).collect()
}

/// Answers their own number, but for some that do something else.
pub(crate) fn answers_except<const N: usize>(tasks: u64, others: [(usize, Action); N]) -> Vec<Action> {
    let mut actions = answers(tasks);
    for (task, action) in others {
        actions[task] = action;
    }
    actions
}

/// Runs actions twice on the same executor, then some that do not fail: the failures must be the expected ones each
/// time, every other task must have its report, and the executor must work on.
pub(crate) fn fails_twice(executor: &mut dyn Executor, actions: &[Action], expected: &[&str]) -> Result<()> {
    for _ in 0..2 {
        let mut failures = Vec::new();
        for (action, report) in actions.iter().zip(run(executor, actions.to_vec())?) {
            match report {
                Ok(report) => ensure!(action.has_report(&report), "{action:?} reports {report:?}"),
                Err(failure) => failures.push(failure.to_string()),
            }
        }
        let fit = failures.iter().zip(expected).all(|(failure, expected)| failure.contains(expected));
        ensure!(failures.len() == expected.len() && fit, "{failures:#?}, not {expected:#?}");
    }
    run_all(executor, answers(4)).map(drop)
}

/// A trial after which this process must have no child, no more descriptors than before and no shared memory in use.
pub(crate) fn pool_trial(
    name: impl Into<String>,
    test: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    trial(name, || {
        // The fork server stays once it is started, so it belongs to what was there before.
        run_all(&mut *ExecutorKind::find("forkserver")?.start(&PoolOptions::new(1))?, answers(1))?;
        keep_unused(4 << 30);
        let before = fs::read_dir("/proc/self/fd")?.count();
        test()?;
        no_child_is_left()?;
        // Unused memory is kept: it goes now.
        keep_unused(0);
        keep_unused(4 << 30);
        let after = fs::read_dir("/proc/self/fd")?.count();
        ensure!(after <= before, "{after} descriptors are open, {before} were");
        let (used, _) = segments();
        ensure!(used == 0, "{used} segments are in use");
        Ok(())
    })
}

/// Waits until this process has no child.
pub(crate) fn no_child_is_left() -> Result<()> {
    eventually("no child is left", || children(process::id()).is_ok_and(|children| children.is_empty()))
}
