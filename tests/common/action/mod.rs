//! What a task of the tests can be told to do, what it reports, and the workload that does it.

#![allow(dead_code, unused_imports, reason = "each program uses its part")]

mod marks;
mod payload;
mod slow;

use std::fs::{self, OpenOptions};
use std::hint;
use std::io::{self, Write};
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use parbench::executors::{ExecutorKind, PoolOptions};
use parbench::{Array, Inputs, Size, Workload};
use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};
use serde::{Deserialize, Serialize};

pub(crate) use self::marks::Marks;
pub(crate) use self::payload::Payload;
pub(crate) use self::slow::Slow;

/// What a task does. A path is that of a file which tasks of a batch write to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Action {
    Nothing,
    Answer(u64),
    Fail,
    Panic,
    Exit(i32),
    Abort,
    /// Does not end within any test.
    Hang,
    /// Stops its own process, as Ctrl-Z does.
    Stop,
    OverflowStack,
    /// Fills this many bytes of private memory.
    Allocate(u64),
    /// Keeps its worker busy for this long.
    BusyLoop(Duration),
    /// Prints a line to stdout and to stderr.
    Print(String),
    /// Reports an environment variable.
    ReadVariable(String),
    /// Reports the CPUs that it may run on.
    ReportCpus,
    /// Reports its process and its thread.
    ReportPlace,
    /// Writes its process id to a file.
    WriteProcessId(String),
    /// Appends a mark to a file.
    AppendMark(String, u64),
    /// Waits until a file has this many marks.
    AwaitMarks(String, u64),
    /// Aborts as long as a file has fewer marks than that, of which it appends one each time.
    AbortUntilMarks(String, u64),
    /// Sends copies of payloads back.
    SendBack(Vec<Payload<u8>>),
    /// Sends each number back doubled.
    Double(Payload<f64>),
    /// Sends another number back for each, which nobody can guess.
    Mix(Payload<u64>),
    /// Makes a shared array, and tries to take its memory away and to change it.
    TamperWithSharedArray,
    /// Leaves its process no descriptor that it could open.
    UseUpDescriptors,
    /// Prints, reads from stdin, and leaves a child behind that would keep an inherited socket open.
    Misbehave,
    /// Leaves a child behind, and writes its process id to a file.
    LeaveChild(String),
    /// Leaves a copy of its process behind, which keeps the socket open, and exits.
    ForkAndExit(i32),
    /// Reports its working directory.
    ReportDirectory,
    /// Hangs as long as a file has fewer marks than that, of which it appends one each time.
    HangUntilMarks(String, u64),
    /// Closes its worker's connection, and does not end.
    CloseSocket,
    /// Leaves a thread behind that ends its worker after this long.
    ExitLater(Duration),
    /// Takes a while to be packed, and so does its report to be unpacked.
    Slow(Slow),
    /// Tries to start worker processes of its own.
    StartWorkers,
    /// Cannot be packed.
    RefusePacking(Unpackable),
    /// Does one after the other; the last one reports.
    Steps(Vec<Action>),
}

/// What a task reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Report {
    Nothing,
    Number(u64),
    Text(String),
    Place { process: u32, thread: String },
    SentBack(Vec<Payload<u8>>),
    Slow(Slow),
    Doubled(Payload<f64>),
    Mixed(Payload<u64>),
}

/// Breaks the promise of a workload's types, which is that they can be packed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Unpackable;

impl Serialize for Unpackable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it is never packed"))
    }
}

/// The workload whose tasks do what they are told. A test gives it tasks through [`parbench::Pool`] or
/// [`parbench::TypedJob`].
pub(crate) struct Act;

impl Workload for Act {
    const NAME: &'static str = "act";
    type Input = Action;
    type Output = Report;
    type Worker = ();

    fn prepare(_: Size) -> Result<Inputs<Action>> {
        Ok(Inputs::new(vec![Action::Nothing]))
    }

    fn run(_: &mut (), action: &Action) -> Result<Report> {
        action.perform()
    }

    fn check(actions: &[Action], reports: &[Report]) -> Result<()> {
        check(actions, reports)
    }
}

/// Checks that every action has a report that fits it.
pub(crate) fn check(actions: &[Action], reports: &[Report]) -> Result<()> {
    ensure!(actions.len() == reports.len(), "{} reports of {} tasks", reports.len(), actions.len());
    for (task, (action, report)) in actions.iter().zip(reports).enumerate() {
        ensure!(action.has_report(report), "task {task}, {action:?}, reports {report:?}");
    }
    Ok(())
}

impl Action {
    pub(crate) fn perform(&self) -> Result<Report> {
        match self {
            Action::Nothing => {}
            Action::Answer(number) => return Ok(Report::Number(*number)),
            Action::Fail => return Err(anyhow!("for this reason").context("it was told to fail")),
            Action::Panic => panic!("it was told to panic"),
            Action::Exit(status) => process::exit(*status),
            Action::Abort => process::abort(),
            Action::Hang => {
                // Not for ever: a worker that outlived its test would never go away.
                thread::sleep(Duration::from_secs(60));
                bail!("nobody ended it for a minute");
            }
            Action::Stop => kill_process(getpid(), Signal::STOP)?,
            Action::OverflowStack => return Ok(Report::Number(overflow_stack(1))),
            Action::Allocate(bytes) => {
                let memory = hint::black_box(vec![1u8; *bytes as usize]);
                return Ok(Report::Number(memory.len() as u64));
            }
            Action::BusyLoop(time) => {
                let began = Instant::now();
                while began.elapsed() < *time {
                    hint::spin_loop();
                }
            }
            Action::Print(line) => {
                println!("{line}");
                eprintln!("{line}");
            }
            Action::ReadVariable(name) => return Ok(Report::Text(std::env::var(name).unwrap_or_default())),
            Action::ReportCpus => return Ok(Report::Text(cpus()?)),
            Action::ReportPlace => return Ok(Report::here()),
            Action::WriteProcessId(path) => fs::write(path, process::id().to_string())?,
            Action::AppendMark(path, mark) => marks::append(path, *mark)?,
            Action::AwaitMarks(path, count) => await_marks(path, *count)?,
            Action::AbortUntilMarks(path, count) => {
                if marks::count(path) < *count {
                    marks::append(path, 0)?;
                    process::abort();
                }
            }
            Action::SendBack(payloads) => {
                return Ok(Report::SentBack(payloads.iter().map(Payload::copy).collect::<Result<_>>()?));
            }
            Action::Double(numbers) => return Ok(Report::Doubled(numbers.map(double)?)),
            Action::Mix(numbers) => return Ok(Report::Mixed(numbers.map(mix)?)),
            Action::TamperWithSharedArray => {
                return Ok(Report::SentBack(vec![Payload::Shared(tamper_with_shared_array()?)]));
            }
            Action::UseUpDescriptors => use_up_descriptors()?,
            Action::Misbehave => misbehave()?,
            Action::LeaveChild(path) => leave_child(path)?,
            Action::ForkAndExit(status) => fork_and_exit(*status),
            Action::ReportDirectory => {
                return Ok(Report::Text(std::env::current_dir()?.display().to_string()));
            }
            Action::HangUntilMarks(path, count) => {
                if marks::count(path) < *count {
                    marks::append(path, 0)?;
                    return Action::Hang.perform();
                }
            }
            Action::CloseSocket => {
                shut_sockets()?;
                return Action::Hang.perform();
            }
            Action::ExitLater(time) => {
                let time = *time;
                thread::spawn(move || {
                    thread::sleep(time);
                    process::exit(5);
                });
            }
            Action::Slow(slow) => return Ok(Report::Slow(slow.clone())),
            Action::StartWorkers => {
                let started = ExecutorKind::find("processes")?.start(&PoolOptions::new(1));
                return Err(started.err().context("it could start workers")?);
            }
            Action::RefusePacking(_) => bail!("it was packed"),
            Action::Steps(steps) => {
                return steps.iter().try_fold(Report::Nothing, |_, step| step.perform());
            }
        }
        Ok(Report::Nothing)
    }

    /// Whether a report fits this action and, if it carries anything, no other.
    pub(crate) fn has_report(&self, report: &Report) -> bool {
        match (self, report) {
            (Action::Answer(number), Report::Number(answer)) => number == answer,
            (Action::Allocate(bytes), Report::Number(filled)) => bytes == filled,
            (Action::ReadVariable(_) | Action::ReportCpus | Action::ReportDirectory, Report::Text(_)) => true,
            (Action::ReportPlace, Report::Place { .. }) => true,
            (Action::SendBack(sent), Report::SentBack(back)) => sent == back,
            (Action::Slow(sent), Report::Slow(back)) => sent == back,
            // They may be large, and this must not take longer than the tasks.
            (Action::Double(numbers), Report::Doubled(doubled)) => {
                doubled.is_mapped_from(numbers, double, 100)
            }
            (Action::Mix(numbers), Report::Mixed(mixed)) => mixed.is_mapped_from(numbers, mix, usize::MAX),
            (Action::TamperWithSharedArray, Report::SentBack(_)) => true,
            (Action::Steps(steps), report) => steps.last().unwrap_or(&Action::Nothing).has_report(report),
            (
                Action::Answer(_)
                | Action::Allocate(_)
                | Action::ReadVariable(_)
                | Action::ReportCpus
                | Action::ReportDirectory
                | Action::ReportPlace
                | Action::SendBack(_)
                | Action::Slow(_)
                | Action::Double(_)
                | Action::Mix(_)
                | Action::TamperWithSharedArray,
                _,
            ) => false,
            (_, report) => *report == Report::Nothing,
        }
    }

    /// The mark that it appends, if it is one that tells it from other tasks.
    pub(crate) fn mark(&self) -> Option<u64> {
        match self {
            Action::AppendMark(_, mark) => Some(*mark),
            Action::Steps(steps) => steps.iter().find_map(Action::mark),
            _ => None,
        }
    }
}

impl Report {
    /// The process that it came from, if that was asked for.
    pub(crate) fn process(&self) -> Result<u32> {
        match self {
            Report::Place { process, .. } => Ok(*process),
            report => bail!("it reports {report:?}"),
        }
    }

    /// The process and the thread that this runs in.
    pub(crate) fn here() -> Report {
        Report::Place { process: process::id(), thread: format!("{:?}", thread::current().id()) }
    }
}

fn double(number: f64) -> f64 {
    number * 2.0
}

/// Mixes the bits of a number until it looks random (splitmix64).
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

fn overflow_stack(depth: u64) -> u64 {
    let frame = hint::black_box([depth; 1_000]);
    if depth == u64::MAX { 0 } else { frame[7] + overflow_stack(depth + 1) + frame[999] }
}

#[cfg(target_os = "linux")]
fn cpus() -> Result<String> {
    let set = rustix::thread::sched_getaffinity(None)?;
    let cpus: Vec<_> = (0..1024).filter(|cpu| set.is_set(*cpu)).map(|cpu| cpu.to_string()).collect();
    Ok(cpus.join(","))
}

#[cfg(not(target_os = "linux"))]
fn cpus() -> Result<String> {
    bail!("this system does not say")
}

fn await_marks(path: &str, count: u64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while marks::count(path) < count {
        ensure!(Instant::now() < deadline, "only {} of {count} marks came", marks::count(path));
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Tries to resize and to write a shared array through every descriptor that leads to one.
fn tamper_with_shared_array() -> Result<Array<u8>> {
    let array = Array::shared(100_000, |bytes| bytes.fill(7))?;
    let mut tried = 0;
    for entry in fs::read_dir("/proc/self/fd")?.flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        if target.to_string_lossy().starts_with("/memfd:parbench") {
            let file = OpenOptions::new().write(true).open(entry.path()).context("it cannot be opened")?;
            for length in [0, 1 << 20] {
                ensure!(file.set_len(length).is_err(), "its length could be changed to {length}");
            }
            ensure!((&file).write(b"changed").is_err(), "it could be written to");
            tried += 1;
        }
    }
    ensure!(tried > 0, "no shared array was found");
    Ok(array)
}

fn use_up_descriptors() -> Result<()> {
    let open = fs::read_dir("/proc/self/fd")?.count() as u64 - 1;
    setrlimit(Resource::Nofile, Rlimit { current: Some(open), ..getrlimit(Resource::Nofile) })?;
    // There may be gaps among the numbers.
    while let Ok(gap) = fs::File::open("/dev/null") {
        std::mem::forget(gap);
    }
    Ok(())
}

/// In one piece: whoever waits for the file never finds it empty.
fn leave_child(path: &str) -> Result<()> {
    let mut sleep = Command::new("sleep");
    let child = sleep.arg("60").stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let beside = format!("{path}.{}", child.id());
    fs::write(&beside, child.id().to_string())?;
    Ok(fs::rename(beside, path)?)
}

fn shut_sockets() -> Result<()> {
    for entry in fs::read_dir("/proc/self/fd")?.flatten() {
        let is_socket =
            fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
        if let (true, Ok(descriptor)) = (is_socket, entry.file_name().to_string_lossy().parse()) {
            // SAFETY: nothing is read or written through a pointer. It stays open, so that nothing else gets its number.
            unsafe { libc::shutdown(descriptor, libc::SHUT_RDWR) };
        }
    }
    Ok(())
}

fn fork_and_exit(status: i32) -> ! {
    // SAFETY: the copy does nothing but sleep and end.
    unsafe {
        if libc::fork() == 0 {
            libc::sleep(60);
            libc::_exit(0);
        }
    }
    process::exit(status)
}

fn misbehave() -> Result<()> {
    print!("this must not reach the socket");
    io::stdout().flush()?;
    let mut line = String::new();
    ensure!(io::stdin().read_line(&mut line)? == 0, "stdin gave {line:?}");
    Command::new("sleep").arg("5").stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    Ok(())
}
