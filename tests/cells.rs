//! Cells and the rounds made of them: what goes wrong in one is said, costs no other, and leaves nothing behind.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{self, Command, ExitCode, Output, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{await_end, children, eventually, has_ended, interrupt, trial};
use libtest_mimic::{Arguments, Trial};
use parbench::measure::cell::{Cell, CellSpec, Program};
use parbench::measure::{Record, RunHeader, read_records};
use parbench::{Inputs, Scaling, Scenario, Size, Workload};

/// What a scenario of these tests does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Its inputs depend on the process that prepares them.
    Inputs,
    /// Its answers depend on the process that computes them.
    Answers,
    /// The same, and its workload says so.
    RealSource,
    /// Its tasks fail in a worker process from the third batch on.
    Fails,
    /// Its tasks hang there from then on.
    Hangs,
    /// It cannot be prepared.
    Prepare,
    /// Reads what is on its stdin.
    ReadsStdin,
    /// Its inputs take [`LARGE_BYTES`].
    Large,
}

/// Much more than a cell takes by itself, so that the system's free memory shows how many there are.
const LARGE_BYTES: usize = 48 << 20;

/// A scenario for each fault. With const generics, since a worker process finds it by its type.
struct Faulty<const FAULT: u8, const WEAK: bool>;

const FAULTS: [(Fault, &str); 9] = [
    (Fault::None, "sound"),
    (Fault::Inputs, "other_inputs"),
    (Fault::Answers, "other_answers"),
    (Fault::RealSource, "real_source"),
    (Fault::Fails, "fails_late"),
    (Fault::Hangs, "hangs_late"),
    (Fault::Prepare, "unprepared"),
    (Fault::ReadsStdin, "reads_stdin"),
    (Fault::Large, "large"),
];

impl<const FAULT: u8, const WEAK: bool> Workload for Faulty<FAULT, WEAK> {
    const NAME: &'static str = if WEAK { "weak" } else { FAULTS[FAULT as usize].1 };
    const WORKERS: &'static [usize] = &[1, 2];
    const SCALING: Scaling = if WEAK { Scaling::Weak } else { Scaling::Strong };
    type Input = u64;
    type Output = u64;
    /// How many tasks this worker has run.
    type Worker = u64;

    fn prepare(_: Size) -> Result<Inputs<u64>> {
        let fault = FAULTS[FAULT as usize].0;
        ensure!(fault != Fault::Prepare, "there is nothing to prepare it from");
        let first = if fault == Fault::Inputs { u64::from(process::id()) } else { 1 };
        let inputs = Inputs::new((first..first + 4).collect());
        Ok(match fault {
            Fault::RealSource => inputs.answers_may_differ(),
            Fault::Large => inputs.keep(vec![1u8; LARGE_BYTES]),
            _ => inputs,
        })
    }

    fn run(count: &mut u64, &number: &u64) -> Result<u64> {
        *count += 1;
        match FAULTS[FAULT as usize].0 {
            Fault::Answers | Fault::RealSource => return Ok(u64::from(process::id()) + number),
            Fault::Fails if is_worker() && *count > 12 => anyhow::bail!("it was told to fail"),
            Fault::Hangs if is_worker() && *count > 12 => thread::sleep(Duration::from_secs(60)),
            Fault::ReadsStdin => {
                let mut line = String::new();
                std::io::stdin().read_line(&mut line)?;
                ensure!(line.is_empty(), "stdin gave {line:?}");
            }
            _ => {}
        }
        Ok(number)
    }

    fn check(_: &[u64], _: &[u64]) -> Result<()> {
        Ok(())
    }
}

fn is_worker() -> bool {
    std::env::args().nth(2).is_some_and(|mode| mode == "worker")
}

fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::of::<Faulty<0, false>>(),
        Scenario::of::<Faulty<1, false>>(),
        Scenario::of::<Faulty<2, false>>(),
        Scenario::of::<Faulty<3, false>>(),
        Scenario::of::<Faulty<4, false>>(),
        Scenario::of::<Faulty<5, false>>(),
        Scenario::of::<Faulty<6, false>>(),
        Scenario::of::<Faulty<7, false>>(),
        Scenario::of::<Faulty<8, false>>(),
        Scenario::of::<Faulty<0, true>>(),
    ]
}

type Test = fn() -> Result<()>;

fn main() -> ExitCode {
    parbench::bench::enter(scenarios());
    let tests: [(&str, Test); 13] = [
        ("rounds of sound cells have a record for each observation", sound),
        ("with weak scaling serial has a record for each number of tasks", weak),
        ("cells whose inputs differ are refused", other_inputs),
        ("cells whose answers differ are refused by task", other_answers),
        ("answers of real sources may differ", real_source),
        ("cells that do not fit into memory are measured in groups", groups),
        ("a failed batch is a record, and the rest goes on", fails),
        ("a hanging batch is killed, and the rest goes on", hangs),
        ("a cell that cannot be prepared is a record", unprepared),
        ("a task in a cell has no stdin", reads_stdin),
        ("a driver that is killed leaves no cell and no worker", killed),
        ("a list from a pipe is refused before anything is measured", pipe),
        ("a cell of another program is started by its path", by_path),
    ];
    let trials: Vec<Trial> = tests.into_iter().map(|(name, test)| trial(name, test)).collect();
    let mut arguments = Arguments::from_args();
    // Some look at the processes of others.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn command(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["parbench", "rounds"]).args(arguments);
    command.args(["--executors", "serial,threads,processes", "--workers", "2"]);
    command.stdin(Stdio::null());
    Ok(command)
}

/// Runs rounds, and reads what they printed.
fn rounds(arguments: &[&str]) -> Result<(Output, Vec<RunHeader>, Vec<Record>)> {
    let output = command(arguments)?.output()?;
    let (headers, records) = read_records(&output.stdout[..])
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((output, headers, records))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn sound() -> Result<()> {
    let arguments =
        ["sound", "--rounds", "4", "--launches", "2", "--ceiling", "--judged", "threads/2,processes/2"];
    let (output, headers, records) = rounds(&arguments)?;
    ensure!(output.status.success(), "{}", stderr(&output));
    ensure!(
        headers.len() == 2 && headers[1].launch == 1 && headers[0].machine.cpus_allowed > 0,
        "{headers:?}"
    );
    // Serial, two replicas of threads and processes, ceilings of one and two; four rounds of two passes.
    ensure!(records.len() == (1 + 2 + 2 + 2) * 4 * 2, "{} records", records.len());
    for record in &records {
        ensure!(record.error.is_none() && record.wall_ns > 0 && record.batches > 1, "{record:?}");
        let cells = if record.executor == "ceiling" { record.shape.workers } else { 1 };
        ensure!(record.tasks == 4 * cells && record.launch == record.round / 2, "{record:?}");
        ensure!(!cfg!(target_os = "linux") || record.usage.cpu_ns().is_some(), "{record:?}");
        let moved = record.usage.moved_bytes;
        ensure!((record.executor == "processes") == (moved > Some(0)), "{record:?}");
    }
    Ok(())
}

fn weak() -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["parbench", "rounds", "weak", "--rounds", "1", "--launches", "1", "--judged", "none"]);
    let output = command.args(["--executors", "serial,threads", "--workers", "1,2"]).output()?;
    let (_, records) = read_records(&output.stdout[..])?;
    let mut serial: Vec<_> =
        records.iter().filter(|record| record.executor == "serial").map(|record| record.tasks).collect();
    serial.sort_unstable();
    ensure!(serial == [1, 1, 2, 2], "{serial:?}");
    Ok(())
}

fn groups() -> Result<()> {
    // Memory that other programs give back meanwhile hides what the cells take: then all of them seem to fit.
    let mut measured = in_groups()?;
    for _ in 0..9 {
        if measured.1.len() > 1 {
            break;
        }
        measured = in_groups()?;
    }
    let (records, groups) = measured;
    ensure!(groups.len() > 1, "one group: {groups:?}");
    for group in groups.values() {
        for name in ["serial/1 0", "threads/2 0", "threads/2 1"] {
            ensure!(group.contains(name), "{name} is missing in {groups:?}");
        }
    }
    // Each of the others once: in one group, two rounds of two passes.
    for name in ["threads/1 0", "threads/4 0", "rayon/1 0", "rayon/2 0", "rayon/4 0"] {
        let count = groups.values().filter(|group| group.contains(name)).count();
        ensure!(count == 1, "{name} is in {count} groups: {groups:?}");
    }
    ensure!(records == (groups.len() * 3 + 5) * 2 * 2, "{records} records");

    let none = ["large", "--rounds", "1", "--launches", "1", "--memory", "1"];
    let error = refused_memory(&none)?;
    ensure!(error == "error: large: there is not enough memory for one more variant\n", "{error}");
    Ok(())
}

/// What is said where no variant but the judged ones fits.
/// How many records there are where six and a half cells fit into memory, and the variants of each group.
fn in_groups() -> Result<(usize, BTreeMap<u32, BTreeSet<String>>)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["parbench", "rounds", "large", "--rounds", "2", "--launches", "1"]);
    command.args(["--executors", "serial,threads,rayon", "--workers", "1,2,4"]);
    // Serial and two replicas of what is judged are in each group, and one or two of the five others.
    command.args(["--judged", "threads/2", "--memory", &((13 * LARGE_BYTES / 2) >> 20).to_string()]);
    let output = command.output()?;
    ensure!(output.status.success(), "{}", stderr(&output));
    let (_, records) = read_records(&output.stdout[..])?;
    let mut groups = BTreeMap::<u32, BTreeSet<String>>::new();
    for record in &records {
        // A group has two rounds of its own.
        let name = format!("{}/{} {}", record.executor, record.shape, record.replica);
        groups.entry(record.round / 2).or_default().insert(name);
    }
    Ok((records.len(), groups))
}

fn refused_memory(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["parbench", "rounds"]).args(arguments);
    command.args(["--executors", "serial,threads", "--workers", "1,2", "--judged", "threads/2"]);
    let output = command.output()?;
    ensure!(output.status.code() == Some(2), "{}", output.status);
    Ok(stderr(&output))
}

/// Runs a scenario that is wrong as a whole beside a sound one: status 2, one sentence, and the other is measured.
fn refused(scenario: &str, sentence: &str) -> Result<Vec<Record>> {
    let (output, _, records) =
        rounds(&[scenario, "sound", "--rounds", "1", "--launches", "1", "--timeout", "2"])?;
    let error = stderr(&output);
    ensure!(output.status.code() == Some(2) && !error.contains("panicked"), "{}: {error}", output.status);
    ensure!(error.contains(sentence), "{error}");
    // One error is one sentence; after several, what they mean.
    let errors = error.matches("error: ").count();
    let last = format!("error: there is no comparison of {scenario}: see above\n");
    ensure!(errors == 1 || error.ends_with(&last), "{error}");
    ensure!(records.iter().any(|record| record.scenario == "sound"), "the rest did not go on");
    Ok(records.into_iter().filter(|record| record.scenario == scenario).collect())
}

fn other_inputs() -> Result<()> {
    let records = refused(
        "other_inputs",
        "error: other_inputs: `prepare` must make the same inputs each time; those of ",
    )?;
    ensure!(records.is_empty(), "{records:?}");
    Ok(())
}

fn other_answers() -> Result<()> {
    let records = refused("other_answers", " answer task 0 differently\n")?;
    ensure!(records.is_empty(), "{records:?}");
    Ok(())
}

fn real_source() -> Result<()> {
    let (output, _, records) = rounds(&["real_source", "--rounds", "1", "--launches", "1"])?;
    let notes = stderr(&output);
    ensure!(output.status.success() && !records.is_empty(), "{notes}");
    ensure!(notes.matches("note: ").count() == 1 && notes.contains("answer task 0 differently"), "{notes}");
    Ok(())
}

/// The failed variant has one record with its cause, the others all of theirs.
fn one_error(scenario: &str, sentence: &str) -> Result<()> {
    let records = refused(scenario, sentence)?;
    let (failed, fine): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.error.is_some());
    ensure!(failed.iter().all(|record| record.executor == "processes"), "{failed:?}");
    ensure!(!failed.is_empty() && failed.len() <= 2, "{failed:?}");
    ensure!(
        failed.iter().all(|record| record.error.as_ref().is_some_and(|error| error.contains(sentence))),
        "{failed:?}"
    );
    // Serial, and two replicas of threads.
    ensure!(fine.iter().filter(|record| record.executor != "processes").count() == 3 * 2, "{fine:?}");
    Ok(())
}

fn fails() -> Result<()> {
    one_error("fails_late", "it was told to fail")
}

fn hangs() -> Result<()> {
    one_error("hangs_late", "hangs_late on processes/2: no answer within 2 s; killed")
}

fn unprepared() -> Result<()> {
    let records = refused("unprepared", "cannot prepare `unprepared`: there is nothing to prepare it from")?;
    ensure!(!records.is_empty() && records.iter().all(|record| record.error.is_some()), "{records:?}");
    Ok(())
}

fn reads_stdin() -> Result<()> {
    let (output, _, records) = rounds(&["reads_stdin", "--rounds", "1", "--launches", "1"])?;
    ensure!(output.status.success() && records.len() == (1 + 2 + 2) * 2, "{}", stderr(&output));
    Ok(())
}

/// The processes below one, down to the last.
fn descendants(process: u32) -> Vec<u32> {
    let own = children(process).unwrap_or_default();
    own.iter().copied().chain(own.iter().flat_map(|child| descendants(*child))).collect()
}

fn killed() -> Result<()> {
    for signal in ["-KILL", interrupt()] {
        let mut command = command(&["sound", "--rounds", "100000", "--launches", "1"])?;
        let mut driver = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut left = Vec::new();
        // Serial, two replicas of threads and processes, and two workers for each of the latter.
        let ready = eventually("all cells and workers run", || {
            left = descendants(driver.id());
            left.len() == 5 + 2 * 2
        });
        let killed = Command::new("kill").args([signal, &driver.id().to_string()]).status()?.success();
        let ended = await_end(&mut driver);
        ready?;
        ended?;
        ensure!(killed, "it cannot be killed");
        eventually("all of them have ended", || left.iter().all(|process| has_ended(*process)))?;
    }
    Ok(())
}

fn pipe() -> Result<()> {
    let mut command = command(&["sound"])?;
    command
        .env("PARBENCH_URLS", "/dev/stdin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut driver = command.spawn()?;
    // It may have ended before it reads any of it.
    let _ = driver.stdin.take().context("it has no stdin")?.write_all(b"http://127.0.0.1/\n");
    let output = driver.wait_with_output()?;
    let error = stderr(&output);
    ensure!(output.status.code() == Some(2) && output.stdout.is_empty(), "{error}");
    ensure!(error.starts_with("error: PARBENCH_URLS=/dev/stdin can be read only once"), "{error}");
    Ok(())
}

fn by_path() -> Result<()> {
    let path = std::env::current_exe()?;
    let header =
        Cell::start(CellSpec::new(Program::At(path.clone()), "sound", "threads", 2))?.wait_until_ready()?;
    ensure!(header.tasks == 4 && header.answers.len() == 4 && !header.answers_may_differ, "{header:?}");
    let observed = Cell::observe_once(CellSpec::new(Program::At(path.clone()), "sound", "processes", 2), 3)?;
    ensure!(observed.batches == 3 && observed.wall_ns > 0 && observed.began < observed.ended, "{observed:?}");
    let mut unknown = Cell::start(CellSpec::new(Program::At(path), "no_such", "threads", 2))?;
    let error = format!("{:#}", unknown.wait_until_ready().err().context("it is ready")?);
    ensure!(error.starts_with("no_such on threads/2: there is no scenario `no_such`"), "{error}");
    Ok(())
}
