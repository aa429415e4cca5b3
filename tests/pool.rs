//! What a pool of processes is told to do: deadlines, retries, lives, limits, places and output.

mod common;
#[path = "common/duties.rs"]
mod duties;
#[path = "common/ways.rs"]
mod ways;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use common::{WAYS, Way, children};
use duties::{DUTIES, Duty, signs};
use libtest_mimic::Arguments;
use parbench::executors::{Kind, Means, Output};
use parbench::span::Stamps;
use parbench::{Cause, Job, Packet};
use ways::{Signs, failed, pool, run};

fn main() -> ExitCode {
    parbench::bench::enter(DUTIES);
    let mut trials = Vec::new();
    for way in WAYS {
        let mut add = |what, test: fn(&Way) -> Result<()>| {
            trials.push(pool(format!("{what} ({})", way.name), move || test(way)));
        };
        add("a task beyond its deadline is killed and the pool goes on", deadline);
        add("a stopped worker is killed at the deadline", stopped);
        add("a stack overflow costs its task and no other", overflows);
        add("a task whose worker died is tried again, as often as said", retries);
        add("a worker lives for so many tasks", life);
        add("a worker has so much memory", memory);
        add("a worker gets an environment, and one inner thread", environment);
        add("output goes where it is told to", output);
        add("workers stay on their CPUs", cpus);
        add("short tasks do not stay behind a long one", stuck);
        add("a pool that is dropped during work leaves nothing", dropped_during_work);
    }
    trials.push(pool("options that cannot be meant are refused", refused));
    let mut arguments = Arguments::from_args();
    // They look for children and descriptors of this process: one at a time.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

const SOON: Duration = Duration::from_millis(300);

fn deadline(way: &Way) -> Result<()> {
    let means = Means { deadline: Some(SOON), retries: 3, ..way.means(2) };
    let mut pool = way.start(&means)?;
    for _ in 0..2 {
        let mut tasks = vec![Duty::Nothing; 300];
        tasks[150] = Duty::Hang;
        let failed = failed(run(&mut *pool, tasks)?);
        let expected = BTreeMap::from([(150, Cause::TimedOut { deadline_ms: 300 })]);
        ensure!(failed == expected, "{failed:?}");
    }
    Ok(())
}

fn stopped(way: &Way) -> Result<()> {
    let means = Means { deadline: Some(SOON), ..way.means(2) };
    let failed = failed(way.run(&means, vec![Duty::Nothing, Duty::Stop, Duty::Nothing, Duty::Nothing])?);
    ensure!(failed == BTreeMap::from([(1, Cause::TimedOut { deadline_ms: 300 })]), "{failed:?}");
    Ok(())
}

fn overflows(way: &Way) -> Result<()> {
    // What the system says about it is of no use here.
    let means = Means { output: Output::Discard, ..way.means(2) };
    let failed = failed(way.run(&means, vec![Duty::Nothing, Duty::Overflow, Duty::Nothing])?);
    let aborted = matches!(&failed[&1], Cause::Died { status } if status.contains("SIGABRT") || status.contains("SIGSEGV"));
    ensure!(failed.len() == 1 && aborted, "{failed:?}");
    Ok(())
}

fn retries(way: &Way) -> Result<()> {
    for (deaths, retries) in [(1, 1), (2, 2), (3, 2), (1, 0)] {
        let file = Signs::new()?;
        let means = Means { retries, output: Output::Discard, ..way.means(2) };
        let tasks = vec![Duty::Nothing, Duty::Abort(file.path(), deaths), Duty::Nothing];
        let failed = failed(way.run(&means, tasks)?);
        ensure!(failed.len() == usize::from(deaths > u64::from(retries)), "{deaths} deaths: {failed:?}");
        ensure!(signs(&file.path()) == deaths.min(u64::from(retries) + 1), "{} tries", signs(&file.path()));
    }
    Ok(())
}

fn life(way: &Way) -> Result<()> {
    let means = Means { life: Some(2), ..way.means(1) };
    let mut pool = way.start(&means)?;
    let mut lives = BTreeMap::new();
    for _ in 0..3 {
        for report in run(&mut *pool, vec![Duty::Nothing; 3])? {
            *lives.entry(report.ok().context("it failed")?.process).or_insert(0) += 1;
        }
    }
    let mut lives: Vec<_> = lives.into_values().collect();
    lives.sort_unstable();
    ensure!(lives == [1, 2, 2, 2, 2], "{lives:?} tasks for each worker");
    Ok(())
}

fn memory(way: &Way) -> Result<()> {
    let means = Means { memory: Some(256 << 20), output: Output::Discard, ..way.means(1) };
    let tasks = vec![Duty::Fill(1 << 20), Duty::Fill(1 << 30), Duty::Fill(1 << 20)];
    let failed = failed(way.run(&means, tasks.clone())?);
    let aborted = matches!(failed.get(&1), Some(Cause::Died { status }) if status.contains("SIGABRT"));
    ensure!(failed.len() == 1 && aborted, "{failed:?}");
    Ok(())
}

fn environment(way: &Way) -> Result<()> {
    let variable = |name: &str| Duty::Variable(name.into());
    let means = Means { environment: vec![("PARBENCH_TEST".into(), "là".into())], ..way.means(1) };
    let tasks = vec![variable("PARBENCH_TEST"), variable("RAYON_NUM_THREADS"), variable("OMP_NUM_THREADS")];
    let words: Vec<_> = way.run(&means, tasks)?.into_iter().flatten().map(|report| report.words).collect();
    ensure!(words == ["là", "1", "1"], "{words:?}");
    let means = Means { inner_threads: Some(3), ..way.means(1) };
    let words: Vec<_> = way.run(&means, vec![variable("RAYON_NUM_THREADS")])?.into_iter().flatten().collect();
    ensure!(words[0].words == "3", "{words:?}");
    Ok(())
}

fn output(way: &Way) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("output");
    for output in [Output::Discard, Output::Append(path.clone())] {
        // One worker: several write between each other's pieces.
        let means = Means { output, ..way.means(1) };
        let failed = failed(way.run(&means, vec![Duty::Print("a word".into()); 3])?);
        ensure!(failed.is_empty(), "{failed:?}");
    }
    let text = fs::read_to_string(&path)?;
    ensure!(text == "a word\n".repeat(6), "{text:?}");
    let means = Means { output: Output::Append(folder.path().into()), ..way.means(1) };
    let error = format!("{:#}", way.run(&means, vec![Duty::Nothing]).err().context("it ran")?);
    ensure!(error.contains("cannot append its output to /"), "{error}");
    Ok(())
}

#[cfg(target_os = "linux")]
fn cpus(way: &Way) -> Result<()> {
    let means = Means { cpus: vec![0], ..way.means(2) };
    for report in way.run(&means, vec![Duty::Cpus; 4])? {
        let report = report.ok().context("it failed")?;
        ensure!(report.words == "0", "it may run on {}", report.words);
    }
    for (cpu, reason) in [(1_023, "CPU [1023]"), (99_999, "there is no CPU 99999")] {
        let means = Means { cpus: vec![cpu], ..way.means(1) };
        let error = format!("{:#}", way.run(&means, vec![Duty::Nothing]).err().context("it ran")?);
        ensure!(error.contains(reason), "{error}");
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn cpus(_: &Way) -> Result<()> {
    Ok(())
}

/// A task that waits for all others can only end if none of them was left behind it.
fn stuck(way: &Way) -> Result<()> {
    let mut pool = way.start(&way.means(2))?;
    for long in [0, 1, 500, 998] {
        let file = Signs::new()?;
        let mut tasks = vec![Duty::Sign(file.path()); 1_000];
        tasks[long] = Duty::Await(file.path(), 999);
        let failed = failed(run(&mut *pool, tasks)?);
        ensure!(failed.is_empty(), "{failed:?}");
        ensure!(signs(&file.path()) == 999, "a task ran twice");
    }
    Ok(())
}

/// A job that takes no answer.
struct Ungrateful;

impl Job for Ungrateful {
    fn workload(&self) -> &'static str {
        DUTIES[0].name
    }
    fn tasks(&self) -> usize {
        2
    }
    fn open(&self, _: usize) -> Result<(), Cause> {
        Ok(())
    }
    fn clear(&self) {}
    fn run(&self, _: usize, _: usize) -> Result<Stamps, Cause> {
        Err(Cause::Refused { why: "not here".into() })
    }
    fn pack(&self, task: usize) -> Result<Packet, Cause> {
        let duty = if task == 0 { Duty::Nothing } else { Duty::Hang };
        Packet::pack(&duty).map_err(|error| Cause::Error { message: format!("{error:#}") })
    }
    fn accept(&self, _: usize, _: Packet) -> Result<(), Cause> {
        // Without a word: the panic hook would print a backtrace.
        resume_unwind(Box::new("no, thank you"))
    }
    fn answer(&self, _: usize) -> Result<Packet> {
        bail!("there is none")
    }
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

fn dropped_during_work(way: &Way) -> Result<()> {
    let mut pool = way.start(&way.means(2))?;
    let job: Arc<dyn Job> = Arc::new(Ungrateful);
    let result = catch_unwind(AssertUnwindSafe(|| pool.execute(&job).map(drop)));
    ensure!(result.is_err(), "it did not panic");
    // What the batch has left behind is none of the next one's business.
    let failed = failed(run(&mut *pool, vec![Duty::Nothing; 4])?);
    ensure!(failed.is_empty(), "{failed:?}");
    let result = catch_unwind(AssertUnwindSafe(|| pool.execute(&job).map(drop)));
    ensure!(result.is_err(), "it did not panic");
    drop(pool);
    ensure!(children(process::id())?.is_empty(), "{:?}", children(process::id()));
    Ok(())
}

fn refused() -> Result<()> {
    let refused = |executor: &str, means: Means, reason: &str| {
        let error = format!("{:#}", Kind::find(executor)?.start(&means).err().context("it started")?);
        ensure!(error.contains(reason), "{error}");
        Ok(())
    };
    let means = || Means::workers(1);
    refused("processes", Means::workers(0), "can have 1 to 1024 workers, not 0")?;
    refused("threads", Means::workers(1_025), "can have 1 to 1024 workers, not 1025")?;
    refused("processes", Means { in_flight: Some(0), ..means() }, "1 is the least")?;
    refused("processes", Means { life: Some(0), ..means() }, "1 is the least")?;
    refused("processes", Means { inner_threads: Some(0), ..means() }, "1 is the least")?;
    refused("processes", Means { deadline: Some(Duration::ZERO), ..means() }, "would fail every task")?;
    for (name, value) in [("", "x"), ("A=B", "x"), ("A", "x\0y")] {
        let environment = vec![(name.into(), value.into())];
        refused("processes", Means { environment, ..means() }, "cannot be an environment variable's name")?;
    }
    refused("forkserver", Means { bare: true, ..means() }, "use `processes`")
}
