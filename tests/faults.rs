//! What goes wrong in a task, a worker or a program: one clear failure, no hang, nothing left.

mod common;
#[path = "common/deeds.rs"]
mod deeds;

use std::fs;
use std::process::{self, Command, ExitCode, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use common::{children, eventually, trial};
use deeds::{SCENARIOS, victim};
use libtest_mimic::Arguments;
use parbench::executors::{ALL, Kind, Means};
use parbench::{Executor, Job, Outcome, Scenario, Size};

fn main() -> ExitCode {
    parbench::bench::enter(SCENARIOS);
    if std::env::args().nth(1).as_deref() == Some("hold a busy pool") {
        return hold_a_busy_pool();
    }
    let mut trials = Vec::new();
    for kind in ALL {
        let name = |what| format!("{what} on {}", kind.name);
        trials.push(trial(name("a panic is the failure of its task alone"), move || panics(kind)));
        trials.push(trial(name("an error is the failure of its task alone"), move || errs(kind)));
        trials
            .push(trial(name("state that cannot be made is an error before the batch"), move || picky(kind)));
        trials.push(trial(name("a panic costs the worker its state"), move || moody(kind)));
    }
    trials.extend([
        trial("large messages between small ones are no deadlock", bulky),
        trial("an exit costs its task and no other", exits),
        trial("an abort costs its task and no other", aborts),
        trial("a pool whose workers all exit works on", all_exit),
        trial("a worker killed during a task costs that task", killed),
        trial("a worker killed between two batches costs nothing", killed_while_idle),
        trial("a task may print, read stdin and leave children", misbehaves),
        trial("a task cannot start workers", fork_bombs),
        trial("an input that cannot be packed is the failure of its task", unpacked),
        trial("dropping a pool leaves no process", dropped),
        trial("a killed program leaves no busy worker", orphans),
        trial("an interrupted program leaves no worker", interrupted),
        trial("a worker without a pool is refused", refused),
    ]);
    let mut arguments = Arguments::from_args();
    // They look for children of this process: one at a time.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn job(workload: &str, workers: usize) -> Result<Arc<dyn Job>> {
    Ok(Scenario::find(SCENARIOS, workload)?.prepare(Size::Smoke)?(workers))
}

fn start(kind: &Kind) -> Result<Box<dyn Executor>> {
    kind.start(&Means::workers(if kind.single { 1 } else { 2 }))
}

fn processes() -> Result<Box<dyn Executor>> {
    start(Kind::find("processes")?)
}

/// The failures of an outcome as sentences; every other task must have its answer.
fn failures(job: &Arc<dyn Job>, outcome: &Outcome) -> Result<Vec<String>> {
    ensure!(outcome.tasks.len() == job.tasks(), "{} entries of {} tasks", outcome.tasks.len(), job.tasks());
    let mut failures = Vec::new();
    for (task, entry) in outcome.tasks.iter().enumerate() {
        match entry {
            Ok(span) => {
                ensure!(span.task as usize == task, "{span:?} in place of task {task}");
                job.answer(task)?;
            }
            Err(failure) => {
                ensure!(failure.task == task, "{failure} in place of task {task}");
                ensure!(job.answer(task).is_err(), "task {task} failed and has an answer");
                failures.push(failure.to_string());
            }
        }
    }
    Ok(failures)
}

/// Runs a workload twice on the same executor, then one without faults: the failures must be the same, and
/// the executor must work on.
fn twice(executor: &mut dyn Executor, workload: &str, expected: &[&str]) -> Result<()> {
    for _ in 0..2 {
        let job = job(workload, 2)?;
        let outcome = executor.execute(&job)?;
        let failures = failures(&job, &outcome)?;
        let fits = failures.iter().zip(expected).all(|(failure, expected)| failure.contains(expected));
        ensure!(failures.len() == expected.len() && fits, "{failures:#?}, not {expected:#?}");
    }
    let fine = job("fine", 2)?;
    executor.execute(&fine)?.spans()?;
    fine.check()
}

fn panics(kind: &Kind) -> Result<()> {
    let expected =
        ["panics, task 1: it panicked: a task lost its nerve at tests/common/deeds.rs", "panics, task 4:"];
    twice(&mut *start(kind)?, "panics", &expected)
}

fn errs(kind: &Kind) -> Result<()> {
    let expected = ["errs, task 1: throwing dice: no such luck", "errs, task 5: throwing dice: no such luck"];
    twice(&mut *start(kind)?, "errs", &expected)
}

fn picky(kind: &Kind) -> Result<()> {
    let error = start(kind)?.execute(&job("picky", 2)?).err().context("it ran")?;
    let error = format!("{error:#}");
    ensure!(error.contains("picky") && error.contains("not before noon at tests/common/deeds.rs"), "{error}");
    Ok(())
}

fn moody(kind: &Kind) -> Result<()> {
    let job = job("moody", 1)?;
    let outcome = kind.start(&Means::workers(1))?.execute(&job)?;
    ensure!(failures(&job, &outcome)?.len() == 1, "{outcome:?}");
    let mut done: Vec<_> = outcome.tasks.iter().flatten().collect();
    done.sort_unstable_by_key(|span| span.started);
    let counts = done.iter().map(|span| job.answer(span.task as usize)?.unpack::<u32>());
    let counts = counts.collect::<Result<Vec<_>>>()?;
    // Rayon chooses its own order; a state that outlived the panic would have counted six tasks by the end.
    let sound = if kind.name == "rayon" { counts.iter().max() < Some(&6) } else { counts == [1, 2, 1, 2, 3] };
    ensure!(sound, "{counts:?}");
    Ok(())
}

fn bulky() -> Result<()> {
    for workers in [1, 2] {
        let mut pool = Kind::find("processes")?.start(&Means::workers(workers))?;
        let job = job("bulky", workers)?;
        for _ in 0..3 {
            pool.execute(&job)?.spans()?;
            job.check()?;
        }
    }
    Ok(())
}

fn exits() -> Result<()> {
    let expected = ["exits, task 2: its worker process ended while it ran (exit status: 3)"];
    twice(&mut *processes()?, "exits", &expected)
}

fn aborts() -> Result<()> {
    let expected =
        ["aborts, task 1: its worker process ended while it ran (signal: 6 (SIGABRT)", "aborts, task 3:"];
    twice(&mut *processes()?, "aborts", &expected)
}

fn all_exit() -> Result<()> {
    let expected = ["(exit status: 0)", "(exit status: 1)", "(exit status: 2)", "(exit status: 3)"];
    twice(&mut *processes()?, "all_exit", &expected)
}

/// The process id that a task wrote before it waits for its death.
fn await_victim() -> Result<u32> {
    let mut victim_id = None;
    eventually("the victim says who it is", || {
        victim_id = fs::read_to_string(victim()).ok().and_then(|id| id.parse().ok());
        victim_id.is_some()
    })?;
    fs::remove_file(victim())?;
    victim_id.context("no victim")
}

fn kill(signal: &str, process: u32) -> Result<()> {
    let killed = Command::new("kill").args([signal, &process.to_string()]).status()?;
    ensure!(killed.success(), "cannot kill {process}");
    Ok(())
}

fn killed() -> Result<()> {
    let mut pool = processes()?;
    for _ in 0..2 {
        let job = job("waits", 2)?;
        let killer = std::thread::spawn(|| kill("-KILL", await_victim()?));
        let outcome = pool.execute(&job)?;
        killer.join().expect("the killer does not panic")?;
        let failures = failures(&job, &outcome)?;
        let expected = "waits, task 1: its worker process ended while it ran (signal: 9 (SIGKILL))";
        ensure!(failures == [expected], "{failures:#?}");
    }
    pool.execute(&job("fine", 2)?)?.spans()?;
    Ok(())
}

fn killed_while_idle() -> Result<()> {
    let mut pool = processes()?;
    let fine = job("fine", 2)?;
    pool.execute(&fine)?.spans()?;
    let before = children(process::id())?;
    ensure!(before.len() == 2, "{before:?}");
    before.iter().try_for_each(|worker| kill("-KILL", *worker))?;
    eventually("both are dead", || {
        before.iter().all(|worker| common::state(*worker).is_none_or(|s| s == 'Z'))
    })?;
    pool.execute(&fine)?.spans()?;
    fine.check()?;
    let after = children(process::id())?;
    ensure!(after.len() == 2 && after.iter().all(|worker| !before.contains(worker)), "{before:?} {after:?}");
    Ok(())
}

fn misbehaves() -> Result<()> {
    let job = job("misbehaves", 2)?;
    let mut pool = processes()?;
    pool.execute(&job)?.spans()?;
    drop(pool);
    gone()
}

fn fork_bombs() -> Result<()> {
    let expected = ["a task in a worker process cannot start processes of its own"; 2];
    twice(&mut *processes()?, "fork_bombs", &expected)
}

fn unpacked() -> Result<()> {
    twice(&mut *processes()?, "unpacked", &["unpacked, task 1: cannot pack a message: "])
}

/// Waits until this process has no child.
fn gone() -> Result<()> {
    eventually("no child is left", || children(process::id()).is_ok_and(|children| children.is_empty()))
}

fn dropped() -> Result<()> {
    let mut pool = processes()?;
    pool.execute(&job("fine", 2)?)?.spans()?;
    ensure!(children(process::id())?.len() == 2, "{:?}", children(process::id()));
    drop(pool);
    ensure!(children(process::id())?.is_empty(), "{:?}", children(process::id()));
    Ok(())
}

/// The main of a program that is killed while its workers run a task for a minute.
fn hold_a_busy_pool() -> ExitCode {
    let held = || processes()?.execute(&job("busy", 2)?);
    println!("{held:?}", held = held().map(|outcome| outcome.tasks));
    ExitCode::FAILURE
}

fn with_a_busy_pool(end: impl FnOnce(u32) -> Result<()>) -> Result<()> {
    let mut holder = Command::new(std::env::current_exe()?).arg("hold a busy pool").spawn()?;
    let mut workers = Vec::new();
    let busy = eventually("it has two busy workers", || {
        workers = children(holder.id()).unwrap_or_default();
        workers.len() == 2 && fs::exists(victim_of(holder.id())).unwrap_or(false)
    });
    let ended = busy.and_then(|()| end(holder.id()));
    holder.kill()?;
    holder.wait()?;
    let _ = fs::remove_file(victim_of(holder.id()));
    ended?;
    eventually("no worker outlives it", || workers.iter().all(|worker| common::state(*worker).is_none()))
}

fn victim_of(owner: u32) -> String {
    victim().replace(&process::id().to_string(), &owner.to_string())
}

fn orphans() -> Result<()> {
    with_a_busy_pool(|holder| kill("-KILL", holder))
}

fn interrupted() -> Result<()> {
    with_a_busy_pool(|holder| kill("-INT", holder))
}

fn refused() -> Result<()> {
    let output =
        Command::new(std::env::current_exe()?).args(["parbench", "worker"]).stdin(Stdio::null()).output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2) && error.contains("is not the socket of a pool"), "{error}");
    Ok(())
}
