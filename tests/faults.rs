//! What goes wrong in a worker process or a program: one clear failure, no hang, nothing left.

#[path = "common/action/mod.rs"]
mod action;
mod common;
#[path = "common/pools.rs"]
mod pools;

use std::fs;
use std::path::Path;
use std::process::{self, Command, ExitCode, Stdio};
use std::sync::Arc;

use action::{Act, Action, Payload, Report};
use anyhow::{Context, Result, bail, ensure};
use common::{children, eventually, has_ended};
use libtest_mimic::Arguments;
use parbench::{Job, Scenario, TypedJob};
use pools::{
    FLAVORS, PoolFlavor, answers, answers_except, failed, fails_twice, no_child_is_left, pool_trial, run,
    run_all,
};

fn main() -> ExitCode {
    #[expect(
        clippy::needless_borrows_for_generic_args,
        reason = "a borrowed array is as good a list as any"
    )]
    parbench::bench::enter(&[Scenario::of::<Act>()]);
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, mode, flavor, state, file] = &arguments[..]
        && mode == HOLD
    {
        return match hold_a_pool(flavor, state, file) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let mut trials = Vec::new();
    for flavor in FLAVORS {
        let mut add = |what, test: fn(&PoolFlavor) -> Result<()>| {
            trials.push(pool_trial(format!("{what} ({})", flavor.name), move || test(flavor)));
        };
        add("large messages between small ones are no deadlock", large_among_small);
        add("an exit costs its task and no other", exits);
        add("an exit among many short tasks costs its task and no other", exits_among_many);
        add("an abort costs its task and no other", aborts);
        add("a pool whose workers all exit works on", all_exit);
        add("a worker killed during a task costs that task", killed);
        add("a worker killed between two batches costs nothing", killed_while_idle);
        add("a task may print, read stdin and leave children", misbehaves);
        add("a task cannot start workers", starts_workers);
        add("an input that cannot be packed is the failure of its task", refuses_packing);
        add("dropping a pool leaves no process", dropped);
        add("a killed program leaves no busy worker", |flavor| owner_ends(flavor, BUSY, "-KILL"));
        add("a killed program leaves no idle worker", |flavor| owner_ends(flavor, IDLE, "-KILL"));
        add("an interrupted program leaves no busy worker", |flavor| owner_ends(flavor, BUSY, "-INT"));
        add("an interrupted program leaves no idle worker", |flavor| owner_ends(flavor, IDLE, "-INT"));
        add("a killed program leaves no worker that is busy with a later task", |flavor| {
            owner_ends(flavor, BUSY_LATER, "-KILL")
        });
    }
    trials.push(pool_trial("a worker without a pool is refused", refused));
    let mut arguments = Arguments::from_args();
    // They look for children and descriptors of this process: one at a time.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Quick tasks whose inputs and outputs are now tiny, now more than a socket buffers, in the message itself and in an
/// array: if both sides wrote at once, both would wait for ever.
fn large_among_small(flavor: &PoolFlavor) -> Result<()> {
    let lengths = (0..60).map(|task| if task % 7 == 3 { 1_000_000 } else { task });
    let payloads = |length| vec![Payload::encoded(vec![1; length]), Payload::private(vec![2; length])];
    let actions: Vec<_> = lengths.map(|length| Action::SendBack(payloads(length))).collect();
    for workers in [1, 2] {
        let mut pool = flavor.start(&flavor.options(workers))?;
        let job: Arc<dyn Job> = Arc::new(TypedJob::<Act>::new(actions.clone(), workers));
        for _ in 0..3 {
            pool.execute(&job)?.spans()?;
            job.check()?;
        }
    }
    Ok(())
}

fn exits(flavor: &PoolFlavor) -> Result<()> {
    let expected = ["act, task 2: its worker process ended while it ran (exit status: 3)"];
    let actions = answers_except(6, [(2, Action::Exit(3))]);
    fails_twice(&mut *flavor.start(&flavor.options(2))?, &actions, &expected)
}

/// With dozens of tasks on the way, each answered at once: what the worker answered before it ended counts.
fn exits_among_many(flavor: &PoolFlavor) -> Result<()> {
    let actions = answers_except(2_000, [(1_000, Action::Exit(3))]);
    for workers in [1, 2] {
        let mut pool = flavor.start(&flavor.options(workers))?;
        for _ in 0..5 {
            let mut failures = Vec::new();
            for (task, report) in run(&mut *pool, actions.clone())?.into_iter().enumerate() {
                match report {
                    Ok(report) => ensure!(report == Report::Number(task as u64), "task {task}: {report:?}"),
                    Err(failure) => failures.push(failure.to_string()),
                }
            }
            let expected = "act, task 1000: its worker process ended while it ran (exit status: 3)";
            ensure!(failures == [expected], "{failures:#?}");
        }
    }
    Ok(())
}

fn aborts(flavor: &PoolFlavor) -> Result<()> {
    let actions = answers_except(6, [(1, Action::Abort), (3, Action::Abort)]);
    let expected =
        ["act, task 1: its worker process ended while it ran (signal: 6 (SIGABRT)", "act, task 3:"];
    fails_twice(&mut *flavor.start(&flavor.options(2))?, &actions, &expected)
}

fn all_exit(flavor: &PoolFlavor) -> Result<()> {
    let expected = ["(exit status: 0)", "(exit status: 1)", "(exit status: 2)", "(exit status: 3)"];
    let actions: Vec<_> = (0..4).map(Action::Exit).collect();
    fails_twice(&mut *flavor.start(&flavor.options(2))?, &actions, &expected)
}

/// Writes its process id to a file and waits to be killed.
fn await_kill(file: &Path) -> Action {
    Action::Steps(vec![Action::WriteProcessId(file.display().to_string()), Action::Hang])
}

/// The process id in a file, once a task has written it; the file is removed.
fn read_process_id(file: &Path) -> Result<u32> {
    let mut process = None;
    eventually("a task writes its process id", || {
        process = fs::read_to_string(file).ok().and_then(|id| id.parse().ok());
        process.is_some()
    })?;
    fs::remove_file(file)?;
    process.context("there is none")
}

fn kill(signal: &str, process: u32) -> Result<()> {
    let killed = Command::new("kill").args([signal, &process.to_string()]).status()?;
    ensure!(killed.success(), "cannot kill {process}");
    Ok(())
}

fn killed(flavor: &PoolFlavor) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("process");
    let mut pool = flavor.start(&flavor.options(2))?;
    for _ in 0..2 {
        let actions = answers_except(6, [(1, await_kill(&file))]);
        let reports = std::thread::scope(|scope| {
            let killer = scope.spawn(|| kill("-KILL", read_process_id(&file)?));
            let reports = run(&mut *pool, actions.clone());
            killer.join().expect("the killer does not panic")?;
            reports
        })?;
        let failures: Vec<_> =
            reports.into_iter().filter_map(Result::err).map(|failure| failure.to_string()).collect();
        let expected = "act, task 1: its worker process ended while it ran (signal: 9 (SIGKILL))";
        ensure!(failures == [expected], "{failures:#?}");
    }
    run_all(&mut *pool, answers(4)).map(drop)
}

fn killed_while_idle(flavor: &PoolFlavor) -> Result<()> {
    let mut pool = flavor.start(&flavor.options(2))?;
    let job: Arc<dyn Job> = Arc::new(TypedJob::<Act>::new(answers(4), 2));
    pool.execute(&job)?.spans()?;
    let before = children(process::id())?;
    ensure!(before.len() == 2, "{before:?}");
    before.iter().try_for_each(|worker| kill("-KILL", *worker))?;
    eventually("both are dead", || before.iter().all(|worker| has_ended(*worker)))?;

    pool.execute(&job)?.spans()?;
    job.check()?;
    let after = children(process::id())?;
    ensure!(after.len() == 2 && after.iter().all(|worker| !before.contains(worker)), "{before:?} {after:?}");
    Ok(())
}

fn misbehaves(flavor: &PoolFlavor) -> Result<()> {
    let actions = vec![Action::Misbehave, Action::Misbehave, Action::Answer(2)];
    let mut pool = flavor.start(&flavor.options(2))?;
    run_all(&mut *pool, actions)?;
    drop(pool);
    no_child_is_left()
}

fn starts_workers(flavor: &PoolFlavor) -> Result<()> {
    let expected = ["a task in a worker process cannot start processes of its own"; 2];
    let actions = [Action::StartWorkers, Action::StartWorkers];
    fails_twice(&mut *flavor.start(&flavor.options(2))?, &actions, &expected)
}

fn refuses_packing(flavor: &PoolFlavor) -> Result<()> {
    let actions = answers_except(3, [(1, Action::RefusePacking(action::Unpackable))]);
    let expected = ["act, task 1: cannot pack a message: "];
    fails_twice(&mut *flavor.start(&flavor.options(2))?, &actions, &expected)
}

fn dropped(flavor: &PoolFlavor) -> Result<()> {
    let mut pool = flavor.start(&flavor.options(2))?;
    run_all(&mut *pool, answers(4))?;
    ensure!(children(process::id())?.len() == 2, "{:?}", children(process::id()));
    drop(pool);
    ensure!(children(process::id())?.is_empty(), "{:?}", children(process::id()));
    Ok(())
}

/// Makes this program hold a pool, of a flavor and in a state, until it is ended.
const HOLD: &str = "hold a pool";
/// Both workers run tasks that do not end.
const BUSY: &str = "busy";
/// They do, after tasks that do.
const BUSY_LATER: &str = "busy later";
/// A batch is done, and none is run.
const IDLE: &str = "idle";

/// The main of the program that is ended while it has a pool. It makes a file once the pool is in its state.
fn hold_a_pool(flavor: &str, state: &str, file: &str) -> Result<()> {
    let flavor = FLAVORS.iter().find(|known| known.name == flavor).context("there is no such flavor")?;
    let busy = || await_kill(Path::new(file));
    let actions = match state {
        BUSY => vec![busy(), busy()],
        BUSY_LATER => answers_except(6, [(4, busy()), (5, busy())]),
        IDLE => answers(4),
        _ => bail!("there is no such state"),
    };
    let mut pool = flavor.start(&flavor.options(2))?;
    let failed = failed(run(&mut *pool, actions)?);
    ensure!(failed.is_empty(), "{failed:?}");
    fs::write(file, "")?;
    std::io::stdin().read_line(&mut String::new())?;
    drop(pool);
    Ok(())
}

/// Ends a program by a signal while its pool is busy, or idle.
fn owner_ends(flavor: &PoolFlavor, state: &str, signal: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("ready");
    let mut owner = Command::new(std::env::current_exe()?)
        .args([HOLD, flavor.name, state])
        .arg(&file)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut workers = Vec::new();
    let ready = eventually("it has two workers", || {
        workers = children(owner.id()).unwrap_or_default();
        workers.len() == 2 && file.exists()
    });
    let ended = ready.and_then(|()| kill(signal, owner.id()));
    if ended.is_err() {
        owner.kill()?;
    }
    owner.wait()?;
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
