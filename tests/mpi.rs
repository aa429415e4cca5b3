//! The ranks of an MPI job: on one host, on two hosts that are network namespaces, and when one of them is lost. Each trial starts
//! jobs of this very program.

#[path = "common/action/mod.rs"]
mod action;
mod common;
#[path = "common/namespaces.rs"]
mod namespaces;
#[path = "common/pools.rs"]
mod pools;

use std::fs::File;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use action::{Act, Action};
use anyhow::{Context, Result, bail, ensure};
use common::{await_end_for, trial};
use libtest_mimic::Arguments;
use namespaces::Namespaces;
use parbench::executors::{ExecutorKind, PoolOptions};
use parbench::measure::Record;
use parbench::scenarios::FAMILIES;
use parbench::{Job, Scenario, Size, TypedJob, Workload};
use pools::{answers_except, fails_twice};

/// The first argument of a job's program.
const RUN: &str = "run as rank 0";

fn main() -> ExitCode {
    let mut scenarios: Vec<Scenario> = FAMILIES.iter().flat_map(|(_, list)| *list).copied().collect();
    scenarios.push(Scenario::of::<Act>());
    // Ranks other than the first stay in it.
    parbench::bench::enter(&scenarios);
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, run, what] = &arguments[..]
        && run == RUN
    {
        let ran = match &what[..] {
            "agree" => agree(&scenarios),
            "fail" => fail(),
            _ => exit(),
        };
        return match ran {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::from(2)
            }
        };
    }
    let mut trials = vec![trial("a program that no launcher has started is refused", without_launcher)];
    let mut add = |name: &str, test: fn() -> Result<()>| trials.push(trial(name, test));
    match Command::new("mpirun").arg("--version").output() {
        Err(error) => println!("not tested: no job can be started (mpirun: {error})"),
        Ok(_) => {
            add("every scenario gives the serial answers on two ranks", || {
                succeeds(job(&mut mpirun(), "agree"))
            });
            add("a panic and an error are the failures of their tasks alone", || {
                succeeds(job(&mut mpirun(), "fail"))
            });
            add("a rank that ends is the end of its job", lost);
            add("a job that runs no task ends", || {
                let mut command = mpirun();
                command.arg(std::env::current_exe()?).arg("--list");
                succeeds(run(&mut command))
            });
            add("rounds start a job for each variant, and records have hosts", rounds);
            add("a rank that is lost costs its variant and no other", lost_in_rounds);
            match Namespaces::new() {
                Err(error) => println!("not tested: two hosts ({error:#})"),
                Ok(_) => add("two hosts, over TCP", two_hosts),
            }
        }
    }
    let mut arguments = Arguments::from_args();
    // Each has more ranks than there may be CPUs.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Two ranks that run tasks, and one that hands them out.
fn mpirun() -> Command {
    let mut command = Command::new("mpirun");
    command.args(["-n", "3", "--oversubscribe"]);
    as_root(&mut command);
    command
}

/// Open MPI starts nothing as root, unless it is told twice.
fn as_root(command: &mut Command) {
    command.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
    command.env("OMPI_MCA_btl_base_warn_component_unused", "0");
}

/// Runs a job of this program to its end: its status, and what it has said.
fn job(command: &mut Command, what: &str) -> Result<(ExitStatus, String)> {
    let program = std::env::current_exe()?;
    command.arg(program).args([RUN, what]);
    run(command)
}

fn run(command: &mut Command) -> Result<(ExitStatus, String)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("said");
    let (out, err) = (File::create(&path)?, File::options().append(true).open(&path)?);
    let mut child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn()?;
    // All scenarios, on a machine with fewer CPUs than ranks.
    let ended = await_end_for(&mut child, Duration::from_secs(180));
    let said = std::fs::read_to_string(path)?;
    Ok((ended.with_context(|| said.clone())?, said))
}

fn succeeds(ran: Result<(ExitStatus, String)>) -> Result<()> {
    let (status, said) = ran?;
    ensure!(status.success(), "{status}: {said}");
    Ok(())
}

fn start() -> Result<Box<dyn parbench::Executor>> {
    ExecutorKind::find("mpi")?.start(&PoolOptions::new(2))
}

/// As rank 0: all scenarios, one after the other, in one job.
fn agree(scenarios: &[Scenario]) -> Result<()> {
    let serial = ExecutorKind::find("serial")?;
    for scenario in scenarios.iter().filter(|scenario| scenario.name != Act::NAME) {
        let prepared = scenario.prepare(Size::Smoke)?;
        let answers = |executor: &mut dyn parbench::Executor| -> Result<Vec<_>> {
            let job: Arc<dyn Job> = prepared.job(2);
            executor.execute(&job)?.spans()?;
            job.check()?;
            executor.execute(&job)?.spans()?;
            let answers = (0..job.tasks()).map(|task| job.answer(task)).collect();
            job.check()?;
            answers
        };
        let theirs = answers(&mut *start()?).with_context(|| scenario.name)?;
        let ours = answers(&mut *serial.start(&PoolOptions::new(1))?)?;
        ensure!(ours == theirs, "{}: the answers differ from the serial ones", scenario.name);
    }
    Ok(())
}

/// As rank 0.
fn fail() -> Result<()> {
    let actions = answers_except(40, [(1, Action::Panic), (20, Action::Fail)]);
    let expected = ["act, task 1: it panicked: it was told to panic", "act, task 20: it was told to fail"];
    fails_twice(&mut *start()?, &actions, &expected)
}

/// As rank 0: a task ends its rank, and this one with it.
fn exit() -> Result<()> {
    let job: Arc<dyn Job> = Arc::new(TypedJob::<Act>::new(vec![Action::Exit(3), Action::Answer(1)], 2));
    start()?.execute(&job)?;
    bail!("the job goes on without a rank")
}

fn without_launcher() -> Result<()> {
    let error = start().err().context("it started")?;
    ensure!(format!("{error:#}").contains("`mpirun -n 3 PROGRAM …`"), "{error:#}");
    Ok(())
}

fn lost() -> Result<()> {
    let (status, said) = job(&mut mpirun(), "exit")?;
    ensure!(!status.success() && !said.contains("goes on"), "{status}: {said}");
    Ok(())
}

fn of_rounds(
    arguments: &[&str],
    prepare: impl FnOnce(&mut Command),
) -> Result<(ExitStatus, Vec<Record>, String)> {
    of_rounds_by(Command::new(std::env::current_exe()?), arguments, prepare)
}

fn of_rounds_by(
    mut command: Command,
    arguments: &[&str],
    prepare: impl FnOnce(&mut Command),
) -> Result<(ExitStatus, Vec<Record>, String)> {
    command.args(["parbench", "rounds", "--rounds", "1", "--launches", "1"]).args(arguments);
    as_root(&mut command);
    prepare(&mut command);
    let (status, said) = run(&mut command)?;
    let records = said.lines().filter(|line| line.starts_with('{') && line.contains("\"executor\""));
    let records = records.map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok((status, records, said))
}

fn rounds() -> Result<()> {
    let arguments =
        ["prime_sum", "array_transfer", "--executors", "serial,mpi", "--workers", "1,2", "--size", "smoke"];
    let (status, records, said) = of_rounds(&arguments, |_| {})?;
    ensure!(status.success(), "{status}: {said}");
    let of_mpi = |workers| {
        records.iter().filter(move |record| record.executor == "mpi" && record.shape.workers == workers)
    };
    for workers in [1, 2] {
        ensure!(of_mpi(workers).count() >= 4, "{said}");
        ensure!(
            of_mpi(workers).all(|record| record.hosts.len() == workers && record.error.is_none()),
            "{said}"
        );
    }
    Ok(())
}

/// Its launcher cannot start one: the others are measured, and the end is a failure.
fn lost_in_rounds() -> Result<()> {
    let arguments = ["prime_sum", "--executors", "serial,mpi", "--workers", "2", "--size", "smoke"];
    let (status, records, said) = of_rounds(&arguments, |command| {
        command.env("PARBENCH_MPIRUN", "mpirun -n {ranks} --mca no_such_component");
    })?;
    ensure!(status.code() == Some(2), "{status}: {said}");
    ensure!(records.iter().any(|record| record.executor == "serial" && record.error.is_none()), "{said}");
    ensure!(records.iter().any(|record| record.executor == "mpi" && record.error.is_some()), "{said}");
    Ok(())
}

fn two_hosts() -> Result<()> {
    let hosts = Namespaces::new()?;
    let arguments = [
        "prime_sum",
        "array_transfer",
        "url_download",
        "--executors",
        "serial,mpi",
        "--workers",
        "2",
        "--size",
        "smoke",
    ];
    let mut program = hosts.first();
    program.arg(std::env::current_exe()?);
    let (status, records, said) = of_rounds_by(program, &arguments, |command| {
        command.env("PARBENCH_MPIRUN", hosts.launcher());
        // All of it on the first host, which the fixtures' address is of.
        command.env("PARBENCH_LISTEN", namespaces::ADDRESSES[0]);
    })?;
    ensure!(status.success(), "{status}: {said}");
    let of_mpi: Vec<_> = records.iter().filter(|record| record.executor == "mpi").collect();
    ensure!(of_mpi.len() >= 6, "{said}");
    for record in of_mpi {
        let mut names = record.hosts.clone();
        names.sort_unstable();
        ensure!(names == hosts.names(), "{:?} of {}", record.hosts, record.scenario);
    }
    Ok(())
}
