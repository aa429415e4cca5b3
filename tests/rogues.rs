//! Workers that do not keep to the rules of the wire: each costs what it was at, and a sentence says what was wrong.

#[path = "common/action/mod.rs"]
mod action;
mod common;
#[path = "common/pools.rs"]
mod pools;

use std::collections::BTreeSet;
use std::env;
use std::fs::File;
use std::io::{IoSlice, Write, stdin};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

use action::{Act, Action, Payload, Report};
use anyhow::{Context, Result, ensure};
use common::children;
use libtest_mimic::Arguments;
use parbench::data::packet::MAX_ARRAY_BYTES;
use parbench::executors::{ExecutorKind, PoolOptions};
use parbench::span::{Stamps, now};
use parbench::wire::{Frame, FrameKind, HEADER_BYTES, Hello, VERSION, read, write};
use parbench::{Executor, Message, Packet, Scenario};
use pools::{failed, pool_trial, run, run_all, sharing_options};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tempfile::TempDir;

/// Makes a worker process a rogue: its name in `Rogue::open` or `Rogue::answer`.
const ROGUE: &str = "ROGUE";
/// A file that the first to start makes; only that one is a rogue.
const FIRST: &str = "ROGUE_FIRST";
/// The same; that one is none.
const LATER: &str = "ROGUE_LATER";

/// What a batch on a pool must come to, the pool sharing memory or not, with a sentence that says why.
type Test = fn(&mut dyn Executor, bool, &str) -> Result<()>;

/// Each rogue, what a batch comes to with nobody else at work, and what is said of it.
static ROGUES: &[(&str, Test, &str)] = &[
    ("of another version", is_refused, "a worker process speaks version 0.0.0/0, this program "),
    ("that speaks HTTP", is_refused, "a malformed frame: it begins with [48, 54, 54, 50]; killed"),
    ("that sends an unknown kind", is_refused, "a malformed frame: there is no kind 200; killed"),
    ("that promises 4 GiB", is_refused, "a malformed frame: it promises 4294967295 bytes, more than "),
    ("that says hello twice", is_refused, "it sent Hello where that makes no sense; killed"),
    ("that answers before it is asked", is_refused, "it answered turn 1, which was not due; killed"),
    ("that ends in its hello", is_refused, "it ended (exit status: 7) before it was ready"),
    ("that is ready twice", is_refused, "it sent Ready where that makes no sense; killed"),
    ("that ends in its answer", all_lost, "exit status: 7"),
    ("that answers another turn", all_lost, "it answered turn 77, which was not due; killed"),
    ("whose array lies nowhere", all_lost, "a malformed frame: segment 77 never came; killed"),
    ("whose array is too large", all_lost, "a malformed frame: it promises arrays of 68719476737 bytes, "),
    ("whose array is too long", all_lost, "a malformed frame: an array of 4097 bytes in a segment of 4096"),
    ("whose answer is no output", all_fail, "cannot unpack a message of 1 bytes: "),
    ("whose segment has no descriptor", all_fail, "no descriptor was left for a shared array"),
    ("whose segment is not sealed", all_fail, "a segment came that is not sealed"),
    ("whose segment is too short", all_fail, "a segment of 4096 bytes came in place of one of 8192"),
];

fn main() -> ExitCode {
    let is_worker = env::args().skip(1).eq(["parbench", "worker"]);
    if let (true, Ok(rogue)) = (is_worker, env::var(ROGUE))
        && is_due()
    {
        return Rogue::play(&rogue).map_or(ExitCode::from(3), |()| ExitCode::SUCCESS);
    }
    parbench::bench::enter([Scenario::of::<Act>()]);
    let mut trials = Vec::new();
    for &(rogue, test, sentence) in ROGUES {
        let everywhere = move || everywhere(rogue, |pool, shares| test(pool, shares, sentence));
        trials.push(pool_trial(format!("a worker {rogue}"), everywhere));
    }
    let mut add = |what, test: fn() -> Result<()>| trials.push(pool_trial(what, test));
    add("a worker that never says hello", no_hello);
    add("a worker that falls silent in its answer", silent);
    add("a worker that answers twice", twice);
    add("a worker that answers a turn again", again);
    add("a worker that lives on when its pool is dropped", lives_on);
    add("one of two workers is never ready", one_never_ready);
    add("one of two workers breaks the rules in a task", one_lost);
    add("workers whose successors are never ready", successors);
    let mut arguments = Arguments::from_args();
    // They look for children and descriptors of this process: one at a time.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Whether this process is to be a rogue.
fn is_due() -> bool {
    let made = |name| env::var_os(name).map(|path| File::create_new(path).is_ok());
    made(FIRST).unwrap_or(true) && !made(LATER).unwrap_or(false)
}

/// A worker process, as far as it keeps to the rules.
struct Rogue {
    pool: UnixStream,
}

impl Rogue {
    fn play(rogue: &str) -> Result<()> {
        let mut worker = Rogue { pool: UnixStream::from(stdin().as_fd().try_clone_to_owned()?) };
        if !worker.open(rogue)? {
            linger();
        }
        // Until the pool closes the socket.
        while let Ok(turn) = worker.hear(FrameKind::Call) {
            worker.answer(rogue, turn)?;
        }
        if rogue == "that lives on" {
            linger();
        }
        Ok(())
    }

    fn say(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.pool.write_all(bytes)?)
    }

    /// Ends with half of what it says.
    fn leave(&mut self, bytes: &[u8]) -> Result<()> {
        self.say(&bytes[..bytes.len() / 2])?;
        process::exit(7)
    }

    /// Lends a segment of this many bytes, it says, and uses it.
    fn lend(&mut self, capacity: u64, memory: impl AsFd, bytes: &[u8]) -> Result<()> {
        let descriptors = [memory.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        ensure!(control.push(SendAncillaryMessage::ScmRights(&descriptors)), "there is no room");
        let segment = segment(capacity)?;
        rustix::net::sendmsg(&self.pool, &[IoSlice::new(&segment)], &mut control, SendFlags::empty())?;
        self.say(bytes)
    }

    /// Closes the socket, and lives on.
    fn close(&mut self) -> Result<()> {
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        self.pool = UnixStream::pair()?.0;
        linger()
    }

    /// Waits for a frame, and says which turn it is about.
    fn hear(&mut self, kind: FrameKind) -> Result<u32> {
        loop {
            let frame = read(&mut self.pool)?;
            if frame.kind == kind {
                return Ok(frame.id);
            }
            // Before another batch it may be asked whether it is open.
            if frame.kind == FrameKind::Open {
                self.say(&bytes(FrameKind::Ready, 0, &())?)?;
            }
        }
    }

    /// Tells whether it gets ready.
    fn open(&mut self, rogue: &str) -> Result<bool> {
        let version = if rogue == "of another version" { "0.0.0/0" } else { VERSION };
        let hello = bytes(FrameKind::Hello, 0, &Hello { version: version.into() })?;
        let ready = bytes(FrameKind::Ready, 0, &())?;
        match rogue {
            "that never says hello" => {}
            "of another version" => self.say(&hello)?,
            "that speaks HTTP" => self.say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")?,
            "that sends an unknown kind" => self.say(&patched(hello, 8, &[200]))?,
            "that promises 4 GiB" => self.say(&patched(hello, 4, &u32::MAX.to_le_bytes()))?,
            "that says hello twice" => self.say(&hello.repeat(2))?,
            "that answers before it is asked" => self.say(&[hello, done(1)?].concat())?,
            "that ends in its hello" => self.leave(&hello)?,
            _ => {
                self.say(&hello)?;
                self.hear(FrameKind::Open)?;
                let twice = rogue == "that is ready twice";
                self.say(&ready.repeat(if twice { 2 } else { 1 }))?;
                return Ok(!twice);
            }
        }
        Ok(false)
    }

    fn answer(&mut self, rogue: &str, turn: u32) -> Result<()> {
        let borrowed = carrying(turn, 8, 77)?;
        match rogue {
            "that ends in its answer" => self.leave(&done(turn)?),
            "that falls silent" => self.say(&done(turn)?[..HEADER_BYTES + 1]),
            "that closes its socket" => self.close(),
            "that answers another turn" => self.say(&done(77)?),
            "that answers twice" => self.say(&done(turn)?.repeat(2)),
            "that answers a turn again" => self.say(&done(1)?),
            "whose array lies nowhere" => self.say(&borrowed),
            "whose array is too large" => self.say(&carrying(turn, MAX_ARRAY_BYTES + 1, 0)?),
            "whose array is too long" => self.lend(4_096, memory(true)?, &carrying(turn, 4_097, 77)?),
            "whose answer is no output" => self.say(&bytes(FrameKind::Done, turn, &128u8)?),
            "whose segment has no descriptor" => self.say(&[segment(4_096)?, borrowed].concat()),
            "whose segment is not sealed" => self.lend(4_096, memory(false)?, &borrowed),
            "whose segment is too short" => self.lend(8_192, memory(true)?, &borrowed),
            _ => self.say(&done(turn)?),
        }
    }
}

/// Lives on for longer than any test waits: should this program be killed, it is not there for good.
fn linger() -> ! {
    thread::sleep(Duration::from_secs(60));
    process::exit(0)
}

fn bytes<M: Message>(kind: FrameKind, id: u32, message: &M) -> Result<Vec<u8>> {
    let stamps = Stamps { started: now(), stopped: now() };
    let mut bytes = Vec::new();
    write(&mut bytes, &Frame { kind, id, stamps, packet: Packet::pack(message)? })?;
    Ok(bytes)
}

fn patched(mut bytes: Vec<u8>, at: usize, patch: &[u8]) -> Vec<u8> {
    bytes[at..at + patch.len()].copy_from_slice(patch);
    bytes
}

/// The right answer.
fn done(turn: u32) -> Result<Vec<u8>> {
    bytes(FrameKind::Done, turn, &Report::here())
}

/// An answer with an array of this many bytes in a segment.
fn carrying(turn: u32, length: u64, segment: u64) -> Result<Vec<u8>> {
    let report = Report::SentBack(vec![Payload::private(vec![7; 8])]);
    let mut bytes = bytes(FrameKind::Done, turn, &report)?;
    bytes.truncate(bytes.len() - 8);
    let bytes = patched(bytes, HEADER_BYTES, &length.to_le_bytes());
    Ok(patched(bytes, HEADER_BYTES + 8, &segment.to_le_bytes()))
}

/// What it says of a segment before an array lies in it.
fn segment(capacity: u64) -> Result<Vec<u8>> {
    bytes(FrameKind::Segment, 0, &(77u64, capacity))
}

/// A page without a name, whose length its maker can change, or not.
#[cfg(target_os = "linux")]
fn memory(sealed: bool) -> Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
    let file = memfd_create("rogue", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, 4_096)?;
    if sealed {
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE)?;
    }
    Ok(file)
}

#[cfg(not(target_os = "linux"))]
fn memory(_: bool) -> Result<OwnedFd> {
    anyhow::bail!("this system has none")
}

fn options(rogue: &str, shares: bool, workers: usize) -> PoolOptions {
    sharing_options(shares, workers).env(ROGUE, rogue)
}

fn start(options: &PoolOptions) -> Result<Box<dyn Executor>> {
    ExecutorKind::find("processes")?.start(options)
}

/// Runs four tasks; says what became of each that failed.
fn failures(pool: &mut dyn Executor) -> Result<Vec<(usize, String)>> {
    let failed = failed(run(pool, vec![Action::ReportPlace; 4])?);
    Ok(failed.into_iter().map(|(task, cause)| (task, cause.to_string())).collect())
}

fn all_run(pool: &mut dyn Executor) -> Result<Vec<Report>> {
    run_all(pool, vec![Action::ReportPlace; 4])
}

/// Drops a pool: no worker is left then, and others work.
fn end(pool: Box<dyn Executor>) -> Result<()> {
    drop(pool);
    ensure!(children(process::id())?.is_empty(), "{:?} are left", children(process::id()));
    all_run(&mut *start(&PoolOptions::new(2))?).map(drop)
}

/// Runs a test with one worker and with two, that share memory and that do not.
fn everywhere(rogue: &str, test: impl Fn(&mut dyn Executor, bool) -> Result<()>) -> Result<()> {
    for (shares, workers) in [(true, 1), (true, 2), (false, 1), (false, 2)] {
        let mut pool = start(&options(rogue, shares, workers))?;
        // The second batch is no worse off.
        for _ in 0..2 {
            test(&mut *pool, shares)
                .with_context(|| format!("{workers} workers, shares memory: {shares}"))?;
        }
        end(pool)?;
    }
    Ok(())
}

/// The batch does not begin.
fn is_refused(pool: &mut dyn Executor, _: bool, sentence: &str) -> Result<()> {
    let error = format!("{:#}", failures(pool).err().context("it ran")?);
    let expected = format!("a worker process cannot open `act`: {sentence}");
    ensure!(error.starts_with(&expected), "{error}, not {expected}");
    Ok(())
}

/// Each task fails, and says why.
fn all_fail(pool: &mut dyn Executor, _: bool, sentence: &str) -> Result<()> {
    let failures = failures(pool)?;
    let fitting = failures.iter().filter(|(_, failure)| failure.contains(sentence)).count();
    ensure!(fitting == 4, "{failures:#?}, not {sentence}");
    Ok(())
}

/// Each task fails with its worker. A pool that shares nothing takes for begun what it sent; another knows better.
fn all_lost(pool: &mut dyn Executor, shares: bool, sentence: &str) -> Result<()> {
    let on_the_way = "5 workers ended while its input was on the way (the last: ";
    let cause = if shares { on_the_way } else { "its worker process ended while it ran (" };
    all_fail(pool, shares, &format!("{cause}{sentence}"))
}

fn no_hello() -> Result<()> {
    let mut pool = start(&options("that never says hello", true, 2))?;
    is_refused(&mut *pool, true, "within 10 s it did not say hello: ")?;
    end(pool)
}

fn silent() -> Result<()> {
    for (shares, sentence) in [(false, "its deadline of 50 ms"), (true, "its task took longer than 0.05 s")] {
        let mut pool = start(&options("that falls silent", shares, 2).deadline(Duration::from_millis(50)))?;
        all_fail(&mut *pool, shares, sentence)?;
        end(pool)?;
    }
    Ok(())
}

/// The first answer counts, and its worker is not used again.
fn twice() -> Result<()> {
    everywhere("that answers twice", |pool, _| {
        let reports = all_run(pool)?;
        let workers = reports.iter().map(Report::process).collect::<Result<BTreeSet<_>>>()?;
        ensure!(workers.len() == 4, "{reports:?}");
        Ok(())
    })
}

fn again() -> Result<()> {
    let mut pool = start(&options("that answers a turn again", false, 1))?;
    let failures = failures(&mut *pool)?;
    let why = "its worker process ended while it ran (it answered turn 1, which was not due; killed)";
    ensure!(failures == [(1, why.into()), (3, why.into())], "{failures:#?}");
    end(pool)
}

fn lives_on() -> Result<()> {
    let mut pool = start(&options("that lives on", true, 2))?;
    all_run(&mut *pool)?;
    end(pool)
}

/// A pool of which the first worker is a rogue, or all but that one, and the folder of the file they agree by.
fn some(rogue: &str, which: &str, options: PoolOptions) -> Result<(Box<dyn Executor>, TempDir)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("first").display().to_string();
    Ok((start(&options.env(ROGUE, rogue).env(which, file))?, folder))
}

fn one_never_ready() -> Result<()> {
    let (mut pool, _folder) = some("that sends an unknown kind", FIRST, PoolOptions::new(2))?;
    is_refused(&mut *pool, true, "a malformed frame: there is no kind 200; killed")?;
    all_run(&mut *pool)?;
    end(pool)
}

/// Costs the task that it had begun, if that is not tried again.
fn one_lost() -> Result<()> {
    for rogue in ["that answers another turn", "that closes its socket"] {
        for (shares, retries, lost) in [(true, 0, 0), (false, 0, 1), (false, 1, 0)] {
            let (mut pool, _folder) = some(rogue, FIRST, sharing_options(shares, 2).retries(retries))?;
            let failures = failures(&mut *pool)?;
            ensure!(failures.len() == lost, "{failures:?}, {retries} retries, shares memory: {shares}");
            all_run(&mut *pool)?;
            end(pool)?;
        }
    }
    Ok(())
}

fn successors() -> Result<()> {
    let options = PoolOptions::new(1).max_tasks_per_worker(1);
    let (mut pool, _folder) = some("that sends an unknown kind", LATER, options)?;
    let failures = failures(&mut *pool)?;
    let lost = |task| (task, "it was not run: no worker was left".to_string());
    ensure!(failures == [1, 2, 3].map(lost), "{failures:?}");
    is_refused(&mut *pool, true, "a malformed frame: there is no kind 200; killed")?;
    end(pool)
}
