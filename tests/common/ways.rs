//! The ways in which a pool of processes works, and trials after which nothing is left of one.

#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::process;
use std::sync::Arc;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use parbench::executors::{Kind, Means};
use parbench::{Cause, Executor, Job, Size};

use crate::common::{Way, children, eventually, trial};
use crate::duties::{DUTIES, Duty, Report, TASKS};

impl Way {
    /// Runs tasks on a pool of its own.
    pub(crate) fn run(&self, means: &Means, tasks: Vec<Duty>) -> Result<Vec<Result<Report, Cause>>> {
        run(&mut *self.start(means)?, tasks)
    }
}

/// Runs tasks: the report of each, or why it has none.
pub(crate) fn run(pool: &mut dyn Executor, tasks: Vec<Duty>) -> Result<Vec<Result<Report, Cause>>> {
    let job = job(tasks)?;
    let outcome = pool.execute(&job)?;
    ensure!(outcome.tasks.len() == job.tasks(), "{} entries", outcome.tasks.len());
    let report = |(task, entry): (usize, Result<_, parbench::Failure>)| match entry {
        Ok(_) => Ok(Ok(job.answer(task)?.unpack()?)),
        Err(failure) => {
            ensure!(failure.task == task && job.answer(task).is_err(), "{failure} in place of task {task}");
            Ok(Err(failure.cause))
        }
    };
    outcome.tasks.into_iter().enumerate().map(report).collect()
}

fn job(tasks: Vec<Duty>) -> Result<Arc<dyn Job>> {
    TASKS.set(tasks);
    Ok(DUTIES[0].prepare(Size::Smoke)?(4))
}

/// A trial after which this process must have no child and no more descriptors than before.
pub(crate) fn pool(name: impl Into<String>, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    trial(name, || {
        // The fork server stays.
        run(&mut *Kind::find("forkserver")?.start(&Means::workers(1))?, vec![Duty::Nothing])?;
        parbench::array::keep_unused(4 << 30);
        let before = fs::read_dir("/proc/self/fd")?.count();
        test()?;
        eventually("no child is left", || children(process::id()).is_ok_and(|left| left.is_empty()))?;
        // Unused memory is kept: it goes now.
        parbench::array::keep_unused(0);
        parbench::array::keep_unused(4 << 30);
        let after = fs::read_dir("/proc/self/fd")?.count();
        ensure!(after <= before, "{after} descriptors are open, {before} were");
        let (used, _) = parbench::array::segments();
        ensure!(used == 0, "{used} segments are in use");
        Ok(())
    })
}

/// All tasks but some must have a report; returns the causes of those.
pub(crate) fn failed(reports: Vec<Result<Report, Cause>>) -> BTreeMap<usize, Cause> {
    reports.into_iter().enumerate().filter_map(|(task, report)| Some((task, report.err()?))).collect()
}

/// A file for signs, removed at the end.
pub(crate) struct Signs(tempfile::TempDir);

impl Signs {
    pub(crate) fn new() -> Result<Signs> {
        Ok(Signs(tempfile::tempdir()?))
    }

    pub(crate) fn path(&self) -> String {
        self.0.path().join("signs").display().to_string()
    }
}
