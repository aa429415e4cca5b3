//! What a pool of worker processes is told to do: deadlines, retries, limits, CPUs, environment and output.

#[path = "common/action/mod.rs"]
mod action;
mod common;
#[path = "common/pools.rs"]
mod pools;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use action::{Act, Action, Marks, Report};
use anyhow::{Context, Result, bail, ensure};
use common::children;
use libtest_mimic::Arguments;
use parbench::executors::{ExecutorKind, Output, PoolOptions};
use parbench::span::Stamps;
use parbench::{Cause, Inputs, Job, Packet, Pool, Scenario, Size, TypedJob, Workload};
use pools::{FLAVORS, PoolFlavor, answers, answers_except, failed, pool_trial, run, run_all};

fn main() -> ExitCode {
    parbench::bench::enter(vec![
        Scenario::of::<Act>(),
        Scenario::of::<WithState<NoState>>(),
        Scenario::of::<WithState<BadDrop>>(),
    ]);
    let mut trials = Vec::new();
    for flavor in FLAVORS {
        let mut add = |what, test: fn(&PoolFlavor) -> Result<()>| {
            trials.push(pool_trial(format!("{what} ({})", flavor.name), move || test(flavor)));
        };
        add("a task beyond its deadline is killed and the pool goes on", deadline);
        add("a stopped worker is killed at the deadline", stopped);
        add("a stack overflow costs its task and no other", overflows);
        add("a task whose worker died is tried again, as often as said", retries);
        add("a worker is replaced after this many tasks", max_tasks);
        add("a worker has so much memory", memory);
        add("a worker gets an environment, and one inner thread", environment);
        add("output goes where it is told to", output);
        add("workers stay on their CPUs", cpus);
        add("short tasks do not stay behind a long one", stuck);
        add("any number of tasks may be sent ahead", prefetch);
        add("a pool that is dropped during work leaves nothing", dropped_during_work);
        add("a task beyond its deadline is tried again, as often as said", retries_late);
        add("a workload whose state cannot be made costs the next one nothing", no_state);
        add("a state that panics when it is dropped costs the next workload nothing", bad_drop);
        add("a worker has the environment and directory of when it was started", surroundings);
    }
    trials.push(pool_trial("options that cannot be meant are refused", refused));
    let mut arguments = Arguments::from_args();
    // They look for children and descriptors of this process: one at a time.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

const SOON: Duration = Duration::from_millis(300);

fn deadline(flavor: &PoolFlavor) -> Result<()> {
    let options = flavor.options(2).deadline(SOON).retries(3);
    let mut pool = flavor.start(&options)?;
    for _ in 0..2 {
        let failed = failed(run(&mut *pool, answers_except(300, [(150, Action::Hang)]))?);
        let expected = BTreeMap::from([(150, Cause::TimedOut { deadline_ms: 300 })]);
        ensure!(failed == expected, "{failed:?}");
    }
    Ok(())
}

fn stopped(flavor: &PoolFlavor) -> Result<()> {
    let options = flavor.options(2).deadline(SOON);
    let failed = failed(flavor.run(&options, answers_except(4, [(1, Action::Stop)]))?);
    ensure!(failed == BTreeMap::from([(1, Cause::TimedOut { deadline_ms: 300 })]), "{failed:?}");
    Ok(())
}

fn overflows(flavor: &PoolFlavor) -> Result<()> {
    // What the system says about it is of no use here.
    let options = flavor.options(2).output(Output::Discard);
    let failed = failed(flavor.run(&options, answers_except(3, [(1, Action::OverflowStack)]))?);
    let Some(Cause::Died { status }) = failed.get(&1) else { bail!("{failed:?}") };
    let aborted = status.contains("SIGABRT") || status.contains("SIGSEGV");
    ensure!(failed.len() == 1 && aborted, "{failed:?}");
    Ok(())
}

fn retries(flavor: &PoolFlavor) -> Result<()> {
    for (deaths, retries) in [(1, 1), (2, 2), (3, 2), (1, 0)] {
        let marks = Marks::new()?;
        let options = flavor.options(2).retries(retries).output(Output::Discard);
        let actions = answers_except(3, [(1, Action::AbortUntilMarks(marks.path(), deaths))]);
        let failed = failed(flavor.run(&options, actions)?);
        ensure!(failed.len() == usize::from(deaths > u64::from(retries)), "{deaths} deaths: {failed:?}");
        ensure!(marks.count() == deaths.min(u64::from(retries) + 1), "{} tries", marks.count());
    }
    Ok(())
}

fn max_tasks(flavor: &PoolFlavor) -> Result<()> {
    let mut pool = Pool::<Act>::start(flavor.executor, &flavor.options(1).max_tasks_per_worker(2))?;
    let mut tasks = BTreeMap::new();
    for _ in 0..3 {
        for report in pool.run(vec![Action::ReportPlace; 3])? {
            *tasks.entry(report?.process()?).or_insert(0) += 1;
        }
    }
    let mut tasks: Vec<_> = tasks.into_values().collect();
    tasks.sort_unstable();
    ensure!(tasks == [1, 2, 2, 2, 2], "{tasks:?} tasks for each worker");
    Ok(())
}

fn memory(flavor: &PoolFlavor) -> Result<()> {
    let options = flavor.options(1).memory_limit(256 << 20).output(Output::Discard);
    let actions = [1 << 20, 1 << 30, 1 << 20].map(Action::Allocate);
    let failed = failed(flavor.run(&options, actions.to_vec())?);
    let aborted = matches!(failed.get(&1), Some(Cause::Died { status }) if status.contains("SIGABRT"));
    ensure!(failed.len() == 1 && aborted, "{failed:?}");
    Ok(())
}

fn environment(flavor: &PoolFlavor) -> Result<()> {
    let read = |options: &PoolOptions, names: &[&str]| {
        let actions = names.iter().map(|name| Action::ReadVariable((*name).into())).collect();
        run_all(&mut *flavor.start(options)?, actions)
    };
    let text = |value: &str| Report::Text(value.into());
    let options = flavor.options(1).env("PARBENCH_TEST", "là");
    let values = read(&options, &["PARBENCH_TEST", "RAYON_NUM_THREADS", "OMP_NUM_THREADS"])?;
    ensure!(values == ["là", "1", "1"].map(text), "{values:?}");
    let values = read(&flavor.options(1).inner_threads(3), &["RAYON_NUM_THREADS"])?;
    ensure!(values == [text("3")], "{values:?}");
    Ok(())
}

fn output(flavor: &PoolFlavor) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("output");
    for output in [Output::Discard, Output::Append(path.clone())] {
        // One worker: several write between each other's pieces.
        let options = flavor.options(1).output(output);
        run_all(&mut *flavor.start(&options)?, vec![Action::Print("a word".into()); 3])?;
    }
    let text = fs::read_to_string(&path)?;
    ensure!(text == "a word\n".repeat(6), "{text:?}");
    let options = flavor.options(1).output(Output::Append(folder.path().into()));
    let error = format!("{:#}", flavor.run(&options, answers(1)).err().context("it ran")?);
    ensure!(error.contains("cannot append its output to /"), "{error}");
    Ok(())
}

#[cfg(target_os = "linux")]
fn cpus(flavor: &PoolFlavor) -> Result<()> {
    let mut pool = flavor.start(&flavor.options(2).cpus([0]))?;
    let reports = run_all(&mut *pool, vec![Action::ReportCpus; 4])?;
    ensure!(reports == vec![Report::Text("0".into()); 4], "they may run on {reports:?}");
    for (cpu, reason) in [(1_023, "CPU [1023]"), (99_999, "there is no CPU 99999")] {
        let options = flavor.options(1).cpus([cpu]);
        let error = format!("{:#}", flavor.run(&options, answers(1)).err().context("it ran")?);
        ensure!(error.contains(reason), "{error}");
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn cpus(_: &PoolFlavor) -> Result<()> {
    Ok(())
}

/// A task that waits for all others can only end if none of them was left behind it.
fn stuck(flavor: &PoolFlavor) -> Result<()> {
    let mut pool = flavor.start(&flavor.options(2))?;
    for long in [0, 1, 500, 998] {
        let marks = Marks::new()?;
        let mut actions: Vec<_> = (0..1_000).map(|mark| Action::AppendMark(marks.path(), mark)).collect();
        actions[long] = Action::AwaitMarks(marks.path(), 999);
        run_all(&mut *pool, actions)?;
        let times = marks.take()?;
        ensure!(times.len() == 999 && times.values().all(|times| *times == 1), "a task ran twice: {times:?}");
    }
    Ok(())
}

/// No number is too small or too large.
fn prefetch(flavor: &PoolFlavor) -> Result<()> {
    for tasks in [0, 1, usize::MAX] {
        let mut pool = flavor.start(&flavor.options(2).prefetch(tasks))?;
        run_all(&mut *pool, answers(1_000))?;
    }
    Ok(())
}

fn retries_late(flavor: &PoolFlavor) -> Result<()> {
    for (hangs, retries) in [(1, 1), (2, 1), (1, 0)] {
        let marks = Marks::new()?;
        let options = flavor.options(2).retries(retries).deadline(SOON);
        let actions = answers_except(3, [(1, Action::HangUntilMarks(marks.path(), hangs))]);
        let failed = failed(flavor.run(&options, actions)?);
        let late = BTreeMap::from([(1, Cause::TimedOut { deadline_ms: 300 })]);
        let expected = if hangs > u64::from(retries) { late } else { BTreeMap::new() };
        ensure!(failed == expected, "{hangs} hangs, {retries} retries: {failed:?}");
    }
    Ok(())
}

/// A worker's state that cannot be made.
struct NoState;

impl Default for NoState {
    fn default() -> Self {
        panic!("there is no such state")
    }
}

/// A worker's state that cannot be dropped.
#[derive(Default)]
struct BadDrop;

impl Drop for BadDrop {
    fn drop(&mut self) {
        panic!("it cannot be dropped")
    }
}

/// Does nothing, with a state.
struct WithState<S>(S);

impl<S: Default + Send + 'static> Workload for WithState<S> {
    const NAME: &'static str =
        if size_of::<S>() == 0 && std::mem::needs_drop::<S>() { "bad drop" } else { "no state" };
    type Input = ();
    type Output = ();
    type Worker = S;

    fn prepare(_: Size) -> Result<Inputs<()>> {
        Ok(Inputs::new(vec![()]))
    }

    fn run(_: &mut S, (): &()) -> Result<()> {
        Ok(())
    }

    fn check(_: &[()], _: &[()]) -> Result<()> {
        Ok(())
    }
}

fn no_state(flavor: &PoolFlavor) -> Result<()> {
    let options = flavor.options(3).output(Output::Discard);
    let mut pool = flavor.start(&options)?;
    let job: Arc<dyn Job> = Arc::new(TypedJob::<WithState<NoState>>::new(vec![(); 4], 3));
    for _ in 0..3 {
        let error = format!("{:#}", pool.execute(&job).err().context("it ran")?);
        ensure!(error.contains("its worker's state cannot be made: there is no such state"), "{error}");
        let _ = pool.worker_usage();
        run_all(&mut *pool, answers(6))?;
    }
    Ok(())
}

fn bad_drop(flavor: &PoolFlavor) -> Result<()> {
    let options = flavor.options(2).output(Output::Discard);
    let mut pool = flavor.start(&options)?;
    let job: Arc<dyn Job> = Arc::new(TypedJob::<WithState<BadDrop>>::new(vec![(); 4], 2));
    for _ in 0..3 {
        pool.execute(&job)?.spans()?;
        run_all(&mut *pool, answers(6))?;
    }
    Ok(())
}

/// The fork server was started long before.
fn surroundings(flavor: &PoolFlavor) -> Result<()> {
    let outer = std::env::current_dir()?;
    let folder = tempfile::tempdir()?;
    let inner = folder.path().canonicalize()?;
    for (value, directory) in [("first", &inner), ("second", &outer)] {
        // SAFETY: the tests of this program run one at a time, and its other threads read no variables.
        unsafe { std::env::set_var("PARBENCH_TEST_SURROUNDINGS", value) };
        std::env::set_current_dir(directory)?;
        let actions =
            vec![Action::ReadVariable("PARBENCH_TEST_SURROUNDINGS".into()), Action::ReportDirectory];
        let reports = flavor.start(&flavor.options(1)).and_then(|mut pool| run_all(&mut *pool, actions));
        std::env::set_current_dir(&outer)?;
        let expected = [value.to_string(), directory.display().to_string()].map(Report::Text);
        ensure!(reports? == expected, "not {expected:?}");
    }
    Ok(())
}

/// A job whose answers cannot be accepted.
struct RejectsAnswers;

impl Job for RejectsAnswers {
    fn scenario(&self) -> &'static str {
        Act::NAME
    }
    fn tasks(&self) -> usize {
        2
    }
    fn workers(&self) -> usize {
        2
    }
    fn make_state(&self, _: usize) -> Result<(), Cause> {
        Ok(())
    }
    fn clear(&self) {}
    fn run(&self, _: usize, _: usize) -> Result<Stamps, Cause> {
        Err(Cause::Refused { why: "not here".into() })
    }
    fn pack(&self, task: usize) -> Result<Packet, Cause> {
        let action = if task == 0 { Action::Nothing } else { Action::Hang };
        Packet::pack(&action).map_err(|error| Cause::Error { message: format!("{error:#}") })
    }
    fn accept(&self, _: usize, _: Packet) -> Result<(), Cause> {
        // Not `panic!`, for which the panic hook would print a backtrace.
        resume_unwind(Box::new("rejected"))
    }
    fn answer(&self, _: usize) -> Result<Packet> {
        bail!("there is none")
    }
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

fn dropped_during_work(flavor: &PoolFlavor) -> Result<()> {
    let mut pool = flavor.start(&flavor.options(2))?;
    let job: Arc<dyn Job> = Arc::new(RejectsAnswers);
    let result = catch_unwind(AssertUnwindSafe(|| pool.execute(&job).map(drop)));
    ensure!(result.is_err(), "it did not panic");
    // What the batch has left behind is none of the next one's business.
    run_all(&mut *pool, answers(4))?;
    let result = catch_unwind(AssertUnwindSafe(|| pool.execute(&job).map(drop)));
    ensure!(result.is_err(), "it did not panic");
    drop(pool);
    ensure!(children(process::id())?.is_empty(), "{:?}", children(process::id()));
    Ok(())
}

fn refused() -> Result<()> {
    let refused = |executor: &str, options: PoolOptions, reason: &str| {
        let error =
            format!("{:#}", ExecutorKind::find(executor)?.start(&options).err().context("it started")?);
        ensure!(error.contains(reason), "{error}");
        Ok(())
    };
    let options = || PoolOptions::new(1);
    refused("processes", PoolOptions::new(0), "can have 1 to 1024 workers of one thread each, not 0")?;
    refused("threads", PoolOptions::new(1_025), "can have 1 to 1024 workers of one thread each, not 1025")?;
    refused("serial", PoolOptions::new(2), "serial can have one worker, not 2")?;
    refused("processes", options().max_tasks_per_worker(0), "the minimum is 1")?;
    refused("processes", options().inner_threads(0), "the minimum is 1")?;
    refused("processes", options().deadline(Duration::ZERO), "would fail every task")?;
    for (name, value) in [("", "x"), ("A=B", "x"), ("A", "x\0y")] {
        let reason = "cannot be the name of an environment variable";
        refused("processes", options().env(name, value), reason)?;
    }
    refused("forkserver", options().without_shared_memory(), "use `processes`")
}
