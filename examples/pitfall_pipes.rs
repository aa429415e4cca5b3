//! A deadlock between processes: a parent and its child each wait for the other to empty a full pipe.
//!
//! `cargo run --release --example pitfall_pipes`. The processes share no variable and take no lock, which is why
//! programs with several processes are said to be easy to get right. But a pipe has a limited capacity (64 KiB on
//! Linux), and a write to a full pipe blocks. The parent writes everything before it reads anything; the child answers
//! at once.

#[path = "pitfalls/mod.rs"]
mod pitfalls;

use std::io::{self, Read, Write};
use std::process::{ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pitfalls::{Pitfall, awake};
use serde_json::json;

/// Bytes to send: many more than both pipes and the child hold.
const BYTES: usize = 1 << 20;
/// Bytes per read or write.
const CHUNK: usize = 4 << 10;
/// How many looks in a row at which the watchdog sees no byte move count as a deadlock. The watchdog needs a CPU as a
/// writer does, so this is not a time limit.
const IDLE_LIMIT: u64 = 30;

/// The number of bytes that the parent has written and read.
#[derive(Default)]
struct Moved {
    written: AtomicUsize,
    read: AtomicUsize,
}

fn main() -> Result<ExitCode> {
    if std::env::args().nth(1).as_deref() == Some("echo") {
        return Ok(echo());
    }
    let began = Instant::now();
    let (full, idle_looks) = converse(|stdin, stdout, moved| {
        write_all(stdin, moved)?;
        read_all(stdout, moved)
    })?;
    // The cure: one thread writes while another reads. `poll` on both pipes would also work.
    let (cured, _) = converse(|stdin, stdout, moved| {
        thread::scope(|scope| {
            scope.spawn(|| write_all(stdin, moved));
            read_all(stdout, moved)
        })
    })?;

    let (written, read) = (full.written.into_inner(), full.read.into_inner());
    let (cured_written, cured_read) = (cured.written.into_inner(), cured.read.into_inner());
    let pitfall = Pitfall {
        pitfall: "pipes",
        outcome: "full_pipes",
        cured: cured_read == BYTES,
        cure: "a thread that reads while another one writes",
        threads: 1,
        processes: 2,
    };
    let lines = [
        format!("A parent writes {BYTES} bytes to a child, which sends each byte back."),
        format!("The parent writes everything before it reads. It wrote {written} bytes and read {read}."),
        "Both pipes are full, and each process waits for the other, without any lock.".to_string(),
        format!("A watchdog looked {idle_looks} times, saw no byte move, and killed the child."),
        format!("Cured: if one thread writes while another reads, {cured_read} bytes come back."),
    ];
    let numbers = json!({
        "bytes": BYTES, "written": written, "read": read, "looks": idle_looks,
        "cured_written": cured_written, "cured_read": cured_read,
    });
    let deadlocked = idle_looks >= IDLE_LIMIT && written < BYTES && read == 0;
    pitfall.report(began, deadlocked, lines, numbers)
}

/// The child. It exits if its parent dies: once the other end of a pipe is closed, a read returns 0 and a write fails.
fn echo() -> ExitCode {
    let (mut stdin, mut stdout) = (io::stdin(), io::stdout());
    let mut chunk = [0; CHUNK];
    while let Ok(length @ 1..) = stdin.read(&mut chunk)
        && stdout.write_all(&chunk[..length]).and_then(|()| stdout.flush()).is_ok()
    {}
    ExitCode::SUCCESS
}

/// Starts a child and runs `talk` with it on another thread. The calling thread is the watchdog: it returns how many
/// times in a row it saw no byte move, or 0 if `talk` succeeded.
fn converse(talk: impl Fn(ChildStdin, ChildStdout, &Moved) -> io::Result<()> + Sync) -> Result<(Moved, u64)> {
    let mut echo = Command::new(std::env::current_exe()?);
    let mut child = echo.arg("echo").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (stdin, stdout) = child.stdin.take().zip(child.stdout.take()).context("the child has no pipes")?;
    let moved = Moved::default();
    let look = || (moved.written.load(SeqCst), moved.read.load(SeqCst));
    let idle_looks = thread::scope(|scope| {
        let talking = scope.spawn(|| talk(stdin, stdout, &moved));
        let (mut before, mut idle_looks) = (look(), 0);
        while !talking.is_finished() {
            thread::sleep(Duration::from_millis(10));
            idle_looks = if look() == before { idle_looks + 1 } else { 0 };
            before = look();
            // Only this thread is awake.
            if idle_looks >= IDLE_LIMIT
                && awake(child.id(), "").is_none_or(|awake| awake == 0)
                && awake(std::process::id(), "").is_none_or(|awake| awake == 1)
            {
                // This closes the child's ends of the pipes, so a thread that waits for a pipe goes on, with an error.
                child.kill()?;
                break;
            }
        }
        if talking.join().expect("no thread panics").is_ok() { Ok(0) } else { io::Result::Ok(idle_looks) }
    })?;
    child.wait()?;
    Ok((moved, idle_looks))
}

fn write_all(mut stdin: ChildStdin, moved: &Moved) -> io::Result<()> {
    while moved.written.load(SeqCst) < BYTES {
        moved.written.fetch_add(stdin.write(&[7; CHUNK])?, SeqCst);
    }
    Ok(())
}

fn read_all(mut stdout: ChildStdout, moved: &Moved) -> io::Result<()> {
    let mut chunk = [0; CHUNK];
    loop {
        match stdout.read(&mut chunk)? {
            0 => return Ok(()),
            length => moved.read.fetch_add(length, SeqCst),
        };
    }
}
