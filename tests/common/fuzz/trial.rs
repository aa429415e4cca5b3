//! Runs a plan in this process and holds what came of it against what must: every task has its answer or its cause, none
//! was run twice without need, and nothing is left.

use std::fs;
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use parbench::data::{keep_unused, segments};
use parbench::executors::{ExecutorKind, Outcome, PoolOptions};
use parbench::{Array, Cause, Executor, Inputs, Job, Scenario, Size, TypedJob, Workload};
use tempfile::TempDir;

use super::plan::{Batch, Kind, Plan, Step};
use crate::action::{Act, Action, Marks, Payload, Report, Slow, Unpackable, check};

/// A state that cannot be made.
struct Never;

impl Default for Never {
    fn default() -> Never {
        panic!("it is never made")
    }
}

/// A state that panics when it is dropped.
#[derive(Default)]
struct Sticky;

impl Drop for Sticky {
    fn drop(&mut self) {
        panic!("it sticks")
    }
}

/// The workload of [`Act`] with another state.
macro_rules! workload {
    ($type:ident, $name:literal, $state:ty) => {
        struct $type;

        impl Workload for $type {
            const NAME: &'static str = $name;
            type Input = Action;
            type Output = Report;
            type Worker = $state;

            fn prepare(_: Size) -> Result<Inputs<Action>> {
                Ok(Inputs::new(vec![Action::Nothing]))
            }

            fn run(_: &mut $state, action: &Action) -> Result<Report> {
                action.perform()
            }

            fn check(actions: &[Action], reports: &[Report]) -> Result<()> {
                check(actions, reports)
            }
        }
    };
}

workload!(ActWithout, "act_without", Never);
workload!(ActSticky, "act_sticky", Sticky);

pub(crate) static SCENARIOS: &[Scenario] =
    &[Scenario::of::<Act>(), Scenario::of::<ActWithout>(), Scenario::of::<ActSticky>()];

pub(crate) fn run(plan: &Plan) -> Result<()> {
    // The fork server stays once it is started, so it belongs to what was there before.
    let kind = ExecutorKind::find(&plan.executor)?;
    let warm: Arc<dyn Job> = Arc::new(TypedJob::<Act>::new(vec![Action::Nothing], 1));
    kind.start(&PoolOptions::new(1))?.execute(&warm)?.spans()?;
    drop(warm);
    keep_unused(4 << 30);
    let (servers, before) = (children(), descriptors()?);
    let folder = tempfile::tempdir()?;
    let mut pool = kind.start(&plan.options())?;
    let mut is_haunted = false;
    for (number, batch) in plan.batches.iter().enumerate() {
        // A thread that a task has left behind may end its worker in any later task.
        is_haunted |= batch.tasks.iter().any(|step| matches!(step, Step::ExitLater(_)));
        if batch.usage {
            pool.worker_usage();
        }
        run_batch(&mut *pool, plan, batch, &folder, is_haunted).with_context(|| format!("batch {number}"))?;
    }
    drop(pool);
    eventually("no child is left", || children() == servers)?;
    keep_unused(0);
    let after = descriptors()?;
    ensure!(after <= before, "{after} descriptors are open, {before} were");
    let (used, _) = segments();
    ensure!(used == 0, "{used} segments are in use");
    Ok(())
}

fn run_batch(
    pool: &mut dyn Executor,
    plan: &Plan,
    batch: &Batch,
    folder: &TempDir,
    is_haunted: bool,
) -> Result<()> {
    let marks = Marks::new()?;
    let actions: Vec<_> =
        batch.tasks.iter().enumerate().map(|(task, step)| action(*step, task, &marks, folder)).collect();
    let actions = actions.into_iter().collect::<Result<Vec<_>>>()?;
    let (result, reports) = match batch.workload {
        Kind::Plain => execute::<Act>(pool, &actions),
        Kind::Sticky => execute::<ActSticky>(pool, &actions),
        Kind::NoState => execute::<ActWithout>(pool, &actions),
    };
    let outcome = match (result, batch.workload) {
        (Err(error), Kind::NoState) => {
            ensure!(format!("{error:#}").contains("it is never made"), "another error: {error:#}");
            return Ok(());
        }
        (Ok(_), Kind::NoState) => bail!("a state that cannot be made was made"),
        (result, _) => result?,
    };
    ensure!(
        outcome.tasks.len() == actions.len(),
        "{} entries of {} tasks",
        outcome.tasks.len(),
        actions.len()
    );
    let mut runs = marks.take()?;
    for (task, (entry, report)) in outcome.tasks.into_iter().zip(reports).enumerate() {
        let (step, runs) = (batch.tasks[task], runs.remove(&(task as u64)).unwrap_or(0));
        let got = format!("task {task}, {step:?}, {runs} runs: {entry:?}, {report:?}");
        let is_right = match (&entry, &report) {
            (Ok(span), Some(report)) => {
                span.task as usize == task && actions[task].has_report(report) && !has_no_answer(step)
            }
            (Err(failure), None) => {
                failure.task == task && is_expected(step, &failure.cause, plan, is_haunted)
            }
            _ => false,
        };
        ensure!(is_right, "{got}");
        let most = if step.ends_worker() || is_haunted { 1 + plan.retries } else { 1 };
        ensure!(runs <= most && (runs > 0 || entry.is_err()), "{got}");
    }
    ensure!(runs.is_empty(), "marks of no task: {runs:?}");
    Ok(())
}

fn execute<W: Workload<Input = Action, Output = Report>>(
    pool: &mut dyn Executor,
    actions: &[Action],
) -> (Result<Outcome>, Vec<Option<Report>>) {
    let typed = Arc::new(TypedJob::<W>::new(actions.to_vec(), 4));
    let job: Arc<dyn Job> = typed.clone();
    let outcome = pool.execute(&job);
    (outcome, typed.take_outputs())
}

fn action(step: Step, task: usize, marks: &Marks, folder: &TempDir) -> Result<Action> {
    let bytes = |length: usize| (0..length).map(|byte| (byte ^ task) as u8).collect::<Vec<u8>>();
    let child = folder.path().join(format!("child-{task}")).display().to_string();
    let ms = Duration::from_millis;
    let last = match step {
        Step::Answer => Action::Answer(task as u64),
        Step::Busy(time) => Action::BusyLoop(ms(time)),
        Step::Encoded(length) => Action::SendBack(vec![Payload::encoded(bytes(length))]),
        Step::Private(length) => Action::SendBack(vec![Payload::private(bytes(length))]),
        Step::Shared(length) => Action::SendBack(vec![Payload::Shared(Array::share(&bytes(length))?)]),
        Step::Slow(pack, unpack) => Action::Slow(Slow { pack, unpack }),
        Step::LeaveChild => Action::LeaveChild(child),
        Step::Fail => Action::Fail,
        Step::Panic => Action::Panic,
        Step::Unpackable => Action::RefusePacking(Unpackable),
        Step::Exit => Action::Exit(3),
        Step::Abort => Action::Abort,
        Step::CloseSocket => Action::CloseSocket,
        Step::ForkAndExit => Action::ForkAndExit(4),
        Step::Hang => Action::Hang,
        Step::ExitLater(time) => Action::ExitLater(ms(time)),
    };
    Ok(Action::Steps(vec![Action::AppendMark(marks.path(), task as u64), last]))
}

fn has_no_answer(step: Step) -> bool {
    step.ends_worker() || matches!(step, Step::Fail | Step::Panic | Step::Unpackable)
}

/// Whether a task may have failed for this cause.
fn is_expected(step: Step, cause: &Cause, plan: &Plan, is_haunted: bool) -> bool {
    match (step, cause) {
        (Step::Fail, Cause::Error { message }) => message.contains("for this reason"),
        (Step::Unpackable, Cause::Error { message }) => message.contains("it is never packed"),
        (Step::Panic, Cause::Panicked { message }) => message.contains("it was told to panic"),
        (Step::Exit, Cause::Died { status }) if status.contains("exit status: 3") => true,
        (Step::Abort, Cause::Died { status }) if status.contains("SIGABRT") => true,
        (Step::ForkAndExit, Cause::Died { status }) if status.contains("exit status: 4") => true,
        (Step::CloseSocket, Cause::Died { status }) if status.contains("closed its socket") => true,
        (Step::Hang, Cause::TimedOut { deadline_ms }) => Some(*deadline_ms) == plan.deadline,
        (_, Cause::Died { status }) => is_haunted && status.contains("exit status: 5"),
        _ => false,
    }
}

fn children() -> Vec<u32> {
    let own = process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = |process: &u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    processes.filter(|process| parent(process) == Some(own)).collect()
}

fn descriptors() -> Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        ensure!(Instant::now() < deadline, "waited for 20 s until {what}");
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
