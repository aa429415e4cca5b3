//! Every scenario on every executor gives the serial answers; new ones of both are tested by existing.

#[path = "common/action/mod.rs"]
mod action;
mod common;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use action::{Act, Action, Report};
use anyhow::{Result, bail, ensure};
use common::trial;
use libtest_mimic::Arguments;
use parbench::executors::{ALL, ExecutorKind, Isolation, PoolOptions, Suitability};
use parbench::scenarios::FAMILIES;
use parbench::{Job, Packet, Scenario, Shape, Size, TypedJob, Workload};

fn main() -> ExitCode {
    // This program is the worker of all of them.
    let mut scenarios: Vec<Scenario> = FAMILIES.iter().flat_map(|(_, list)| *list).copied().collect();
    scenarios.push(Scenario::of::<Act>());
    parbench::bench::enter(&scenarios);
    let mut trials = Vec::new();
    for &scenario in scenarios.iter().filter(|scenario| scenario.name != Act::NAME) {
        let can_run =
            |kind: &ExecutorKind| !matches!((kind.suits)(&scenario.properties), Suitability::Unsuited(_));
        for kind in ALL.iter().filter(|kind| can_run(kind)) {
            let mut add = |options: PoolOptions, what: &str| {
                let name = format!("{} on {}/{}{what}", scenario.name, kind.name, options.shape());
                trials.push(trial(name, move || agree(&scenario, kind, &options)));
            };
            shapes(kind).into_iter().for_each(|shape| add(PoolOptions::new(shape), ""));
            if kind.name == "processes" {
                add(PoolOptions::new(2).without_shared_memory(), " (without shared memory)");
            }
        }
    }
    trials.push(trial("workers are processes, threads or this thread", places));
    trials.push(trial("every name is there once", move || {
        let names: BTreeSet<_> = scenarios.iter().map(|scenario| scenario.name).collect();
        ensure!(names.len() == scenarios.len(), "two scenarios share a name");
        Ok(())
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Those of up to three workers that it can have, or of two threads each.
fn shapes(kind: &ExecutorKind) -> Vec<Shape> {
    let all = [Shape::from(1), Shape::from(2), Shape::from(3), Shape::new(1, 2), Shape::new(2, 2)];
    all.into_iter().filter(|shape| kind.shapes.contain(*shape)).collect()
}

/// One after the other: each starts workers of its own on what may be one core.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn agree(scenario: &Scenario, kind: &ExecutorKind, options: &PoolOptions) -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let prepared = scenario.prepare(Size::Smoke)?;
    let workers = options.shape().parallelism();
    // With weak scaling as many tasks as the others have.
    let serial = answers(ExecutorKind::find("serial")?, &PoolOptions::new(1), &prepared.job(workers))?;
    let theirs = answers(kind, options, &prepared.job(workers))?;
    ensure!(!serial.is_empty() && serial == theirs, "the answers differ from the serial ones");
    Ok(())
}

/// The answers of a second batch: the first finds nothing warm, the second nothing fresh.
fn answers(kind: &ExecutorKind, options: &PoolOptions, job: &Arc<dyn Job>) -> Result<Vec<Packet>> {
    let mut executor = kind.start(options)?;
    executor.execute(job)?.spans()?;
    job.check()?;
    let outcome = executor.execute(job)?;
    let (spans, ended) = (outcome.spans()?, outcome.began + outcome.wall.as_nanos() as u64);
    ensure!(spans.len() == job.tasks(), "{} spans of {} tasks", spans.len(), job.tasks());
    for (task, span) in spans.iter().enumerate() {
        let order = [outcome.began, span.started, span.stopped, span.received, ended];
        let sound = span.task as usize == task && usize::from(span.worker) < options.shape().parallelism();
        ensure!(
            sound && span.sent == outcome.began && order.is_sorted(),
            "task {task}: {span:?} in {outcome:?}"
        );
    }
    let answers = (0..job.tasks()).map(|task| job.answer(task)).collect();
    job.check()?;
    answers
}

/// Which process and thread ran a task: what executors are about.
fn places() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // Long enough that no worker can take all tasks before the others are awake.
    let action = Action::Steps(vec![Action::BusyLoop(Duration::from_millis(3)), Action::ReportPlace]);
    let place = |packet: Packet| match packet.unpack()? {
        Report::Place { process, thread } => Ok((process, thread)),
        report => bail!("it reports {report:?}"),
    };
    let properties = Scenario::of::<Act>().properties;
    let can_run = |kind: &&&ExecutorKind| !matches!((kind.suits)(&properties), Suitability::Unsuited(_));
    for kind in ALL.iter().filter(can_run) {
        let shape = shapes(kind).pop().unwrap_or_default();
        let workers = shape.parallelism();
        let job: Arc<dyn Job> = Arc::new(TypedJob::<Act>::new(vec![action.clone(); 30], workers));
        let packets = answers(kind, &PoolOptions::new(shape), &job)?;
        let places = packets.into_iter().map(place).collect::<Result<BTreeSet<_>>>()?;
        let processes: BTreeSet<_> = places.iter().map(|(process, _)| *process).collect();
        let here = (std::process::id(), format!("{:?}", std::thread::current().id()));
        let elsewhere = places.len() >= workers && !places.contains(&here);
        let sound = match kind.isolation {
            Isolation::Caller => places == BTreeSet::from([here.clone()]),
            Isolation::Thread => elsewhere && processes == BTreeSet::from([here.0]),
            Isolation::Process => {
                elsewhere && processes.len() == shape.workers && !processes.contains(&here.0)
            }
            _ => false,
        };
        ensure!(
            sound,
            "{}: the tasks of {workers} workers ran in {places:?}, the caller is {here:?}",
            kind.name
        );
    }
    Ok(())
}
