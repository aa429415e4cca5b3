//! What holds on every executor: a failure stays with its task, answers are in order, and what cannot run is an error.

#[path = "common/action/mod.rs"]
mod action;
mod common;
#[path = "common/pools.rs"]
mod pools;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use action::{Act, Action, Report};
use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Arguments;
use parbench::executors::{ALL, ExecutorKind, PoolOptions, Shapes, Suitability};
use parbench::{Cause, Executor, Inputs, Job, Pool, Scenario, Shape, Size, TypedJob, Workload};
use pools::{answers, answers_except, fails_twice, pool_trial, run_all};

fn main() -> ExitCode {
    parbench::bench::enter([
        Scenario::of::<Act>(),
        Scenario::of::<WithoutState>(),
        Scenario::of::<CountsTasks>(),
    ]);
    let mut trials = Vec::new();
    // A workload whose tasks are no futures: tests/futures.rs has one whose are.
    let properties = Scenario::of::<Act>().properties;
    let can_run = |kind: &&&ExecutorKind| !matches!((kind.suits)(&properties), Suitability::Unsuited(_));
    for kind in ALL.iter().filter(can_run) {
        let mut add = |what, test: fn(&ExecutorKind) -> Result<()>| {
            trials.push(pool_trial(format!("{what} on {}", kind.name), move || test(kind)));
        };
        add("a panic is the failure of its task alone", panics);
        add("an error is the failure of its task alone", fails);
        add("state that cannot be made is an error before the batch", without_state);
        if kind.shapes.contain(Shape::from(1)) {
            add("a panic costs the worker its state", panic_drops_state);
        }
        add("no inputs have no outputs", no_inputs);
        add("outputs and a failure are in the order of the inputs", in_order);
        if kind.shapes != Shapes::Single {
            add("a job for fewer workers is an error before the batch", too_few_states);
        }
    }
    let mut arguments = Arguments::from_args();
    // They look for children and descriptors of this process: one at a time.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Two workers, or two threads, if it can have this many.
fn options(kind: &ExecutorKind) -> PoolOptions {
    let two = [Shape::from(2), Shape::new(1, 2)].into_iter().find(|shape| kind.shapes.contain(*shape));
    PoolOptions::new(two.unwrap_or_default())
}

fn start(kind: &ExecutorKind) -> Result<Box<dyn Executor>> {
    kind.start(&options(kind))
}

fn panics(kind: &ExecutorKind) -> Result<()> {
    let actions = answers_except(6, [(1, Action::Panic), (4, Action::Panic)]);
    let expected = [
        "act, task 1: it panicked: it was told to panic at tests/common/action/mod.rs",
        "act, task 4: it panicked: ",
    ];
    fails_twice(&mut *start(kind)?, &actions, &expected)
}

fn fails(kind: &ExecutorKind) -> Result<()> {
    let actions = answers_except(6, [(1, Action::Fail), (5, Action::Fail)]);
    let expected = [
        "act, task 1: it was told to fail: for this reason",
        "act, task 5: it was told to fail: for this reason",
    ];
    fails_twice(&mut *start(kind)?, &actions, &expected)
}

/// Its state cannot be made.
struct WithoutState;

struct PanickingState;

impl Default for PanickingState {
    fn default() -> Self {
        panic!("it cannot be made")
    }
}

impl Workload for WithoutState {
    const NAME: &'static str = "without_state";
    type Input = Action;
    type Output = Report;
    type Worker = PanickingState;

    fn prepare(_: Size) -> Result<Inputs<Action>> {
        Ok(Inputs::new(answers(1)))
    }

    fn run(_: &mut PanickingState, action: &Action) -> Result<Report> {
        action.perform()
    }

    fn check(actions: &[Action], reports: &[Report]) -> Result<()> {
        action::check(actions, reports)
    }
}

fn without_state(kind: &ExecutorKind) -> Result<()> {
    let job: Arc<dyn Job> = Arc::new(TypedJob::<WithoutState>::new(answers(1), 2));
    let error = format!("{:#}", start(kind)?.execute(&job).err().context("it ran")?);
    let panic = "it cannot be made at tests/executors.rs";
    ensure!(error.contains("without_state") && error.contains(panic), "{error}");
    Ok(())
}

/// Counts the tasks that its state has seen.
struct CountsTasks;

impl Workload for CountsTasks {
    const NAME: &'static str = "counts_tasks";
    type Input = Action;
    type Output = Report;
    type Worker = u64;

    fn prepare(_: Size) -> Result<Inputs<Action>> {
        Ok(Inputs::new(answers(1)))
    }

    fn run(count: &mut u64, action: &Action) -> Result<Report> {
        *count += 1;
        action.perform()?;
        Ok(Report::Number(*count))
    }

    fn check(_: &[Action], _: &[Report]) -> Result<()> {
        Ok(())
    }
}

fn panic_drops_state(kind: &ExecutorKind) -> Result<()> {
    let typed = Arc::new(TypedJob::<CountsTasks>::new(answers_except(6, [(2, Action::Panic)]), 1));
    let job: Arc<dyn Job> = typed.clone();
    let outcome = kind.start(&PoolOptions::new(1))?.execute(&job)?;
    ensure!(outcome.tasks.iter().filter(|entry| entry.is_err()).count() == 1, "{outcome:?}");
    let mut spans: Vec<_> = outcome.tasks.iter().flatten().collect();
    spans.sort_unstable_by_key(|span| span.started);
    let reports = typed.take_outputs();
    let count = |task: u32| match reports[task as usize] {
        Some(Report::Number(count)) => Ok(count),
        ref other => bail!("task {task} reports {other:?}"),
    };
    let counts = spans.iter().map(|span| count(span.task)).collect::<Result<Vec<_>>>()?;
    // Rayon chooses its own order; a state that outlived the panic would have counted six tasks by the end.
    let sound = if kind.name == "rayon" { counts.iter().max() < Some(&6) } else { counts == [1, 2, 1, 2, 3] };
    ensure!(sound, "{counts:?}");
    Ok(())
}

fn no_inputs(kind: &ExecutorKind) -> Result<()> {
    let mut pool = Pool::<Act>::start(kind.name, &options(kind))?;
    for _ in 0..2 {
        let reports = pool.run(Vec::new())?;
        ensure!(reports.is_empty(), "{reports:?}");
        ensure!(pool.run(answers(1))? == [Ok(Report::Number(0))], "it does not work on");
    }
    Ok(())
}

fn in_order(kind: &ExecutorKind) -> Result<()> {
    let mut pool = Pool::<Act>::start(kind.name, &options(kind))?;
    // With two workers, the first task is not the first to end.
    let late = Action::Steps(vec![Action::BusyLoop(Duration::from_millis(20)), Action::Answer(0)]);
    let actions = answers_except(50, [(0, late), (20, Action::Fail)]);
    for _ in 0..2 {
        let reports = pool.run(actions.clone())?;
        ensure!(reports.len() == 50, "{} reports", reports.len());
        for (task, report) in reports.into_iter().enumerate() {
            match report {
                Err(failure) => {
                    let cause = Cause::Error { message: "it was told to fail: for this reason".into() };
                    let sound = (failure.scenario, failure.task, &failure.cause) == ("act", 20, &cause);
                    ensure!(task == 20 && sound, "task {task}: {failure:?}");
                }
                Ok(report) => {
                    ensure!(task != 20 && report == Report::Number(task as u64), "task {task}: {report:?}")
                }
            }
        }
    }
    Ok(())
}

fn too_few_states(kind: &ExecutorKind) -> Result<()> {
    let mut executor = start(kind)?;
    let job: Arc<dyn Job> = Arc::new(TypedJob::<Act>::new(answers(4), 1));
    for _ in 0..2 {
        let error = format!("{:#}", executor.execute(&job).err().context("it ran")?);
        ensure!(error.contains("act: the job was made for 1 workers and cannot run on 2"), "{error}");
    }
    // The executor can be used again, and the job on another one.
    run_all(&mut *executor, answers(4))?;
    ExecutorKind::find("serial")?.start(&PoolOptions::new(1))?.execute(&job)?.spans()?;
    job.check()
}
