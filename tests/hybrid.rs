//! What is different if a worker process has several threads: what ends the process costs the tasks of all of them.

#[path = "common/action/mod.rs"]
mod action;
mod common;
#[path = "common/pools.rs"]
mod pools;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use action::{Act, Action, Report};
use anyhow::{Result, bail, ensure};
use libtest_mimic::Arguments;
use parbench::{Cause, Scenario};
use pools::{HYBRID, answers, answers_except, failed, pool_trial, run, run_all};

const DEADLINE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    parbench::bench::enter([Scenario::of::<Act>()]);
    let trials = vec![
        pool_trial("an exit costs the tasks of its process and no other", exits),
        pool_trial("a task beyond its deadline costs those of its process", late),
        pool_trial("processes are replaced after so many tasks", replaced),
        pool_trial("processes without shared memory have one thread each", refused),
    ];
    let mut arguments = Arguments::from_args();
    // They look for children and descriptors of this process: one at a time.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Which process runs each of the tasks is not known before: at most one more may be lost with the one that exits.
fn exits() -> Result<()> {
    let mut pool = HYBRID.start(&HYBRID.options(2))?;
    for _ in 0..20 {
        let failed = failed(run(&mut *pool, answers_except(400, [(200, Action::Exit(3))]))?);
        let died = |cause: &Cause| matches!(cause, Cause::Died { status } if status == "exit status: 3");
        let sound = failed.contains_key(&200) && failed.len() <= 2 && failed.values().all(died);
        ensure!(sound, "{failed:?}");
        run_all(&mut *pool, answers(8))?;
    }
    Ok(())
}

/// The one that is late is told from the one that only ran beside it.
fn late() -> Result<()> {
    // The other thread's task ends with the process, long before its own deadline.
    let beside = Action::Steps(vec![Action::BusyLoop(DEADLINE / 4), Action::Hang]);
    let mut pool = HYBRID.start(&HYBRID.options(1).deadline(DEADLINE))?;
    let failed = failed(run(&mut *pool, vec![Action::Hang, Action::Answer(1), beside])?);
    let late = |task| matches!(failed.get(&task), Some(Cause::TimedOut { .. }));
    let beside = |task| match failed.get(&task) {
        Some(Cause::Died { status }) => {
            status.starts_with("killed for another task of its process: its task took longer than")
        }
        _ => false,
    };
    ensure!(failed.len() == 2 && late(0) && (beside(2) || late(2)), "{failed:?}");
    run_all(&mut *pool, answers(8)).map(drop)
}

/// Both threads have had their tasks before their process is replaced.
fn replaced() -> Result<()> {
    let mut pool = HYBRID.start(&HYBRID.options(1).max_tasks_per_worker(5))?;
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        for report in run_all(&mut *pool, vec![Action::ReportPlace; 20])? {
            let Report::Place { process, .. } = report else { bail!("{report:?}") };
            seen.insert(process);
        }
    }
    // 60 tasks, at most 10 for each process.
    ensure!(seen.len() >= 6, "only {} processes ran them", seen.len());
    Ok(())
}

fn refused() -> Result<()> {
    let Err(error) = HYBRID.start(&HYBRID.options(2).without_shared_memory()) else { bail!("it started") };
    ensure!(format!("{error:#}").ends_with("use `processes`"), "{error:#}");
    Ok(())
}
