//! What goes wrong in a worker process or a program: one clear failure, no hang, nothing left.

#[path = "common/action/mod.rs"]
mod action;
mod common;
#[path = "common/pools.rs"]
mod pools;

use std::fs;
use std::path::Path;
use std::process::{self, Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use action::{Act, Action, Payload, Report};
use anyhow::{Context, Result, bail, ensure};
use common::{await_end, children, eventually, has_ended, interrupt};
use libtest_mimic::Arguments;
use parbench::executors::Output;
use parbench::{Job, Scenario, TypedJob};
use pools::{
    FLAVORS, HYBRID, PoolFlavor, answers, answers_except, failed, fails_twice, no_child_is_left, pool_trial,
    run, run_all,
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
        add("an exit costs its task and no other", exits);
        add("an exit among many short tasks costs its task and no other", exits_among_many);
        add("an abort costs its task and no other", aborts);
        add("a pool whose workers all exit works on", all_exit);
        add("a worker killed during a task costs that task", killed);
        add("a task that forks and exits costs itself only", forks_and_exits);
        add("what a task started ends with its worker, whatever ends it", leaves_children);
    }
    for flavor in FLAVORS.iter().chain([&HYBRID]) {
        let mut add = |what, test: fn(&PoolFlavor) -> Result<()>| {
            trials.push(pool_trial(format!("{what} ({})", flavor.name), move || test(flavor)));
        };
        add("large messages between small ones are no deadlock", large_among_small);
        add("a worker killed between two batches costs nothing", killed_while_idle);
        add("a task may print, read stdin and leave children", misbehaves);
        add("a task cannot start workers", starts_workers);
        add("an input that cannot be packed is the failure of its task", refuses_packing);
        add("a batch of which no input can be packed ends", refuses_all_packing);
        add("a pool that is dropped as soon as it is started leaves nothing", dropped_at_once);
        add("a killed program leaves nothing that a task started", |flavor| {
            owner_ends(flavor, WITH_CHILD, "-KILL")
        });
        add("time in which the program was stopped does not count", stopped_and_continued);
        add("dropping a pool leaves no process", dropped);
        add("a killed program leaves no busy worker", |flavor| owner_ends(flavor, BUSY, "-KILL"));
        add("a killed program leaves no idle worker", |flavor| owner_ends(flavor, IDLE, "-KILL"));
        add("an interrupted program leaves no busy worker", |flavor| owner_ends(flavor, BUSY, interrupt()));
        add("an interrupted program leaves no idle worker", |flavor| owner_ends(flavor, IDLE, interrupt()));
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
        let job: Arc<dyn Job> = Arc::new(TypedJob::<Act>::new(actions.clone(), 2 * workers));
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
    let job: Arc<dyn Job> = Arc::new(TypedJob::<Act>::new(answers(4), 4));
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
    let expected = ["act, task 1: its input cannot be packed: it is never packed (in the type "];
    fails_twice(&mut *flavor.start(&flavor.options(2))?, &actions, &expected)
}

/// On fewer workers than tasks: none of them has ever anything to send.
fn refuses_all_packing(flavor: &PoolFlavor) -> Result<()> {
    for workers in [1, 2] {
        let actions = vec![Action::RefusePacking(action::Unpackable); 7];
        let expected = ["its input cannot be packed: it is never packed"; 7];
        fails_twice(&mut *flavor.start(&flavor.options(workers))?, &actions, &expected)?;
    }
    Ok(())
}

fn forks_and_exits(flavor: &PoolFlavor) -> Result<()> {
    let actions = answers_except(4, [(1, Action::ForkAndExit(3))]);
    let expected = ["act, task 1: its worker process ended while it ran (exit status: 3)"];
    fails_twice(&mut *flavor.start(&flavor.options(2))?, &actions, &expected)
}

/// A child that a task left behind lives as long as its worker.
fn leaves_children(flavor: &PoolFlavor) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("process");
    let leave = || Action::LeaveChild(file.display().to_string());
    let ends: [(&str, Option<Action>); 4] = [
        ("the drop of the pool", None),
        ("a deadline", Some(Action::Hang)),
        ("an exit", Some(Action::Exit(3))),
        ("an abort", Some(Action::Abort)),
    ];
    for (end, last) in ends {
        let deadline = Duration::from_millis(300);
        let mut pool = flavor.start(&flavor.options(1).deadline(deadline).output(Output::Discard))?;
        let steps = [Some(leave()), last].into_iter().flatten().collect();
        run(&mut *pool, vec![Action::Steps(steps)])?;
        let child = read_process_id(&file)?;
        ensure!(end != "the drop of the pool" || !has_ended(child), "it ended before its worker");
        drop(pool);
        eventually(&format!("a child ends with its worker by {end}"), || has_ended(child))?;
    }
    Ok(())
}

/// The fork server may not have told yet which process it has made.
fn dropped_at_once(flavor: &PoolFlavor) -> Result<()> {
    for _ in 0..20 {
        drop(flavor.start(&flavor.options(3))?);
        ensure!(children(process::id())?.is_empty(), "{:?}", children(process::id()));
    }
    Ok(())
}

/// Stops a program and its workers for longer than a task may take: no task is late for that.
fn stopped_and_continued(flavor: &PoolFlavor) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("ready");
    let mut owner = start_owner(flavor, LATE, &file)?;
    let result = (|| {
        let ready = || children(owner.id()).is_ok_and(|workers| workers.len() == 2) && file.exists();
        eventually("its tasks run", ready)?;
        let processes = [children(owner.id())?, vec![owner.id()]].concat();
        // Workers first: one that goes on while its pool is stopped is in time.
        processes.iter().try_for_each(|process| kill("-STOP", *process))?;
        std::thread::sleep(2 * DEADLINE);
        processes.iter().try_for_each(|process| kill("-CONT", *process))?;
        eventually("it ends", || owner.try_wait().is_ok_and(|status| status.is_some()))
    })();
    if result.is_err() {
        owner.kill()?;
    }
    let status = owner.wait()?;
    result?;
    ensure!(status.success(), "a task was late ({status})");
    Ok(())
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
/// The same, and a task has left a child behind.
const WITH_CHILD: &str = "with a child";
/// Tasks run that take half of their deadline, and the program ends with them.
const LATE: &str = "late";
const DEADLINE: Duration = Duration::from_secs(2);

/// The main of the program that is ended while it has a pool. It makes a file once the pool is in its state.
fn hold_a_pool(flavor: &str, state: &str, file: &str) -> Result<()> {
    let mut flavors = FLAVORS.iter().chain([&HYBRID]);
    let flavor = flavors.find(|known| known.name == flavor).context("there is no such flavor")?;
    let busy = || await_kill(Path::new(file));
    let actions = match state {
        BUSY => vec![busy(), busy()],
        BUSY_LATER => answers_except(6, [(4, busy()), (5, busy())]),
        IDLE => answers(4),
        WITH_CHILD => vec![Action::LeaveChild(child_file(file)); 2],
        LATE => {
            let write = || Action::WriteProcessId(file.into());
            vec![Action::Steps(vec![write(), Action::BusyLoop(DEADLINE / 2)]); 2]
        }
        _ => bail!("there is no such state"),
    };
    let options = flavor.options(2);
    let options = if state == LATE { options.deadline(DEADLINE) } else { options };
    let mut pool = flavor.start(&options)?;
    let failed = failed(run(&mut *pool, actions)?);
    ensure!(failed.is_empty(), "{failed:?}");
    if state == LATE {
        return Ok(());
    }
    fs::write(file, "")?;
    std::io::stdin().read_line(&mut String::new())?;
    drop(pool);
    Ok(())
}

/// The file that the tasks of [`WITH_CHILD`] write to.
fn child_file(file: &str) -> String {
    format!("{file}-child")
}

fn start_owner(flavor: &PoolFlavor, state: &str, file: &Path) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([HOLD, flavor.name, state]).arg(file).stdin(Stdio::piped()).stderr(Stdio::null());
    Ok(command.spawn()?)
}

/// Ends a program by a signal while its pool is busy, or idle.
fn owner_ends(flavor: &PoolFlavor, state: &str, signal: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("ready");
    let mut owner = start_owner(flavor, state, &file)?;
    let mut workers = Vec::new();
    let ready = eventually("it has two workers", || {
        workers = children(owner.id()).unwrap_or_default();
        workers.len() == 2 && file.exists()
    });
    if state == WITH_CHILD && ready.is_ok() {
        workers.push(read_process_id(Path::new(&child_file(&file.display().to_string())))?);
    }
    let ended = ready.and_then(|()| kill(signal, owner.id()));
    if ended.is_err() {
        owner.kill()?;
    }
    await_end(&mut owner)?;
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
