//! What goes wrong in a task, a worker or a program: one clear failure, no hang, nothing left.

mod common;
#[path = "common/deeds.rs"]
mod deeds;

use std::fs;
use std::process::{self, Command, ExitCode, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use common::{WAYS, Way, children, eventually, has_ended, trial};
use deeds::{SCENARIOS, victim};
use libtest_mimic::{Arguments, Trial};
use parbench::executors::{ALL, Kind, Means};
use parbench::{Executor, Job, Outcome, Scenario, Size};

fn main() -> ExitCode {
    parbench::bench::enter(SCENARIOS);
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, mode, way, workload] = &arguments[..]
        && mode == HOLD
    {
        return if hold_a_pool(way, workload).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let mut trials = Vec::new();
    for kind in ALL {
        let mut add = |what, test: fn(&Kind) -> Result<()>| {
            trials.push(fault(format!("{what} on {}", kind.name), move || test(kind)));
        };
        add("a panic is the failure of its task alone", panics);
        add("an error is the failure of its task alone", errs);
        add("state that cannot be made is an error before the batch", picky);
        add("a panic costs the worker its state", moody);
    }
    for way in WAYS {
        let mut add = |what, test: fn(&Way) -> Result<()>| {
            trials.push(fault(format!("{what} ({})", way.name), move || test(way)));
        };
        add("large messages between small ones are no deadlock", bulky);
        add("an exit costs its task and no other", exits);
        add("an exit among many short tasks costs its task and no other", exit_among_many);
        add("an abort costs its task and no other", aborts);
        add("a pool whose workers all exit works on", all_exit);
        add("a worker killed during a task costs that task", killed);
        add("a worker killed between two batches costs nothing", killed_while_idle);
        add("a task may print, read stdin and leave children", misbehaves);
        add("a task cannot start workers", fork_bombs);
        add("an input that cannot be packed is the failure of its task", unpacked);
        add("dropping a pool leaves no process", dropped);
        add("a killed program leaves no busy worker", |way| owner_ends(way, "busy", "-KILL"));
        add("a killed program leaves no idle worker", |way| owner_ends(way, "fine", "-KILL"));
        add("an interrupted program leaves no busy worker", |way| owner_ends(way, "busy", "-INT"));
        add("an interrupted program leaves no idle worker", |way| owner_ends(way, "fine", "-INT"));
        add("a killed program leaves no worker that is busy with a later task", |way| {
            owner_ends(way, "busy_later", "-KILL")
        });
    }
    trials.push(fault("a worker without a pool is refused", refused));
    let mut arguments = Arguments::from_args();
    // They look for children of this process: one at a time.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Makes this program hold a pool with a workload.
const HOLD: &str = "hold a pool";

/// A trial after which this process must have no child.
fn fault(name: impl Into<String>, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    trial(name, || {
        test()?;
        gone()
    })
}

fn job(workload: &str, workers: usize) -> Result<Arc<dyn Job>> {
    Ok(Scenario::find(SCENARIOS, workload)?.prepare(Size::Smoke)?(workers))
}

fn start(kind: &Kind) -> Result<Box<dyn Executor>> {
    kind.start(&Means::workers(if kind.single { 1 } else { 2 }))
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

fn bulky(way: &Way) -> Result<()> {
    for workers in [1, 2] {
        let mut pool = way.start(&way.means(workers))?;
        let job = job("bulky", workers)?;
        for _ in 0..3 {
            pool.execute(&job)?.spans()?;
            job.check()?;
        }
    }
    Ok(())
}

fn exits(way: &Way) -> Result<()> {
    let expected = ["exits, task 2: its worker process ended while it ran (exit status: 3)"];
    twice(&mut *way.start(&way.means(2))?, "exits", &expected)
}

/// With dozens of tasks on the way, each answered at once: what the worker answered before it ended counts.
fn exit_among_many(way: &Way) -> Result<()> {
    for workers in [1, 2] {
        let mut pool = way.start(&way.means(workers))?;
        for _ in 0..5 {
            let job = job("many", workers)?;
            let outcome = pool.execute(&job)?;
            let failures = failures(&job, &outcome)?;
            let expected = "many, task 1000: its worker process ended while it ran (exit status: 3)";
            ensure!(failures == [expected], "{failures:#?}");
        }
    }
    Ok(())
}

fn aborts(way: &Way) -> Result<()> {
    let expected =
        ["aborts, task 1: its worker process ended while it ran (signal: 6 (SIGABRT)", "aborts, task 3:"];
    twice(&mut *way.start(&way.means(2))?, "aborts", &expected)
}

fn all_exit(way: &Way) -> Result<()> {
    let expected = ["(exit status: 0)", "(exit status: 1)", "(exit status: 2)", "(exit status: 3)"];
    twice(&mut *way.start(&way.means(2))?, "all_exit", &expected)
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

fn killed(way: &Way) -> Result<()> {
    let mut pool = way.start(&way.means(2))?;
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

fn killed_while_idle(way: &Way) -> Result<()> {
    let mut pool = way.start(&way.means(2))?;
    let fine = job("fine", 2)?;
    pool.execute(&fine)?.spans()?;
    let before = children(process::id())?;
    ensure!(before.len() == 2, "{before:?}");
    before.iter().try_for_each(|worker| kill("-KILL", *worker))?;
    eventually("both are dead", || before.iter().all(|worker| has_ended(*worker)))?;

    pool.execute(&fine)?.spans()?;
    fine.check()?;
    let after = children(process::id())?;
    ensure!(after.len() == 2 && after.iter().all(|worker| !before.contains(worker)), "{before:?} {after:?}");
    Ok(())
}

fn misbehaves(way: &Way) -> Result<()> {
    let job = job("misbehaves", 2)?;
    let mut pool = way.start(&way.means(2))?;
    pool.execute(&job)?.spans()?;
    drop(pool);
    gone()
}

fn fork_bombs(way: &Way) -> Result<()> {
    let expected = ["a task in a worker process cannot start processes of its own"; 2];
    twice(&mut *way.start(&way.means(2))?, "fork_bombs", &expected)
}

fn unpacked(way: &Way) -> Result<()> {
    twice(&mut *way.start(&way.means(2))?, "unpacked", &["unpacked, task 1: cannot pack a message: "])
}

/// Waits until this process has no child.
fn gone() -> Result<()> {
    eventually("no child is left", || children(process::id()).is_ok_and(|children| children.is_empty()))
}

fn dropped(way: &Way) -> Result<()> {
    let mut pool = way.start(&way.means(2))?;
    pool.execute(&job("fine", 2)?)?.spans()?;
    ensure!(children(process::id())?.len() == 2, "{:?}", children(process::id()));
    drop(pool);
    ensure!(children(process::id())?.is_empty(), "{:?}", children(process::id()));
    Ok(())
}

/// The main of a program that is ended while it has a pool: one that runs a task for a minute, or an idle one
/// that waits for a line.
fn hold_a_pool(way: &str, workload: &str) -> Result<()> {
    let way = WAYS.iter().find(|known| known.name == way).context("no such way")?;
    let mut pool = way.start(&way.means(2))?;
    pool.execute(&job(workload, 2)?)?.spans()?;
    // Says that it is idle as the other says that it is busy.
    fs::write(victim(), "")?;
    std::io::stdin().read_line(&mut String::new())?;
    drop(pool);
    Ok(())
}

/// Ends a program by a signal while its pool is busy, or idle.
fn owner_ends(way: &Way, workload: &str, signal: &str) -> Result<()> {
    let mut owner = Command::new(std::env::current_exe()?)
        .args([HOLD, way.name, workload])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let sign = victim().replace(&process::id().to_string(), &owner.id().to_string());
    let mut workers = Vec::new();
    let ready = eventually("it has two workers", || {
        workers = children(owner.id()).unwrap_or_default();
        workers.len() == 2 && fs::exists(&sign).unwrap_or(false)
    });
    let ended = ready.and_then(|()| kill(signal, owner.id()));
    if ended.is_err() {
        owner.kill()?;
    }
    owner.wait()?;
    let _ = fs::remove_file(&sign);
    ended?;
    eventually("no worker outlives it", || workers.iter().all(|worker| has_ended(*worker)))
}

fn refused() -> Result<()> {
    let output =
        Command::new(std::env::current_exe()?).args(["parbench", "worker"]).stdin(Stdio::null()).output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2) && error.contains("is not the socket of a pool"), "{error}");
    Ok(())
}
