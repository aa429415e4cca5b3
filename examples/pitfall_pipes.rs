//! A deadlock between processes: parent and child each wait until the other empties a full pipe.
//!
//! `cargo run --release --example pitfall_pipes`. They share no variable and take no lock, which is why programs of
//! several processes are said to be easy to get right. But a pipe holds only some bytes (64 KiB on Linux), and who
//! writes to a full one waits. The parent writes everything before it reads anything; the child answers at once.

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

/// Much more than both pipes and the child hold.
const BYTES: usize = 1 << 20;
const PIECE: usize = 4 << 10;
/// So many looks of the watchdog in a row at which no byte has moved are a stand-still. Who looks needs a CPU as who
/// writes does, so this is no limit in time.
const STILL: u64 = 30;

/// How many bytes the parent has written and read.
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
    let (full, still) = converse(|stdin, stdout, moved| {
        write_all(stdin, moved)?;
        read_all(stdout, moved)
    })?;
    // The cure: a thread writes while this one reads. `poll` on both pipes would do, too.
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
        format!("A parent writes {BYTES} bytes to a child, which sends each one back."),
        format!("The parent reads only afterwards. It has written {written} bytes and read {read}."),
        "Both pipes are full, and each waits for the other: no lock, no thread needed.".to_string(),
        format!("A watchdog looked {still} times, saw no byte move, and killed the child."),
        format!("Cured: with a thread that writes while one reads, {cured_read} bytes came back."),
    ];
    let numbers = json!({
        "bytes": BYTES, "written": written, "read": read, "looks": still,
        "cured_written": cured_written, "cured_read": cured_read,
    });
    pitfall.tell(began, still >= STILL && written < BYTES && read == 0, lines, numbers)
}

/// The child. It ends by itself if its parent dies: a pipe whose other end is closed has an end, or is an error.
fn echo() -> ExitCode {
    let (mut stdin, mut stdout) = (io::stdin(), io::stdout());
    let mut piece = [0; PIECE];
    while let Ok(length @ 1..) = stdin.read(&mut piece)
        && stdout.write_all(&piece[..length]).and_then(|()| stdout.flush()).is_ok()
    {}
    ExitCode::SUCCESS
}

/// Starts a child and lets a thread talk with it, as `talk` does. The thread that calls this is the watchdog: what it
/// returns is how often in a row it saw nothing move, 0 if all went well.
fn converse(talk: impl Fn(ChildStdin, ChildStdout, &Moved) -> io::Result<()> + Sync) -> Result<(Moved, u64)> {
    let mut echo = Command::new(std::env::current_exe()?);
    let mut child = echo.arg("echo").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (stdin, stdout) = child.stdin.take().zip(child.stdout.take()).context("both are pipes")?;
    let moved = Moved::default();
    let look = || (moved.written.load(SeqCst), moved.read.load(SeqCst));
    let still = thread::scope(|scope| {
        let talking = scope.spawn(|| talk(stdin, stdout, &moved));
        let (mut before, mut still) = (look(), 0);
        while !talking.is_finished() {
            thread::sleep(Duration::from_millis(10));
            still = if look() == before { still + 1 } else { 0 };
            before = look();
            // Nobody is awake but this thread.
            if still >= STILL
                && awake(child.id(), "").is_none_or(|awake| awake == 0)
                && awake(std::process::id(), "").is_none_or(|awake| awake == 1)
            {
                // The pipes close with it, so that who waits for them goes on, with an error.
                child.kill()?;
                break;
            }
        }
        if talking.join().expect("it does not panic").is_ok() { Ok(0) } else { io::Result::Ok(still) }
    })?;
    child.wait()?;
    Ok((moved, still))
}

fn write_all(mut stdin: ChildStdin, moved: &Moved) -> io::Result<()> {
    while moved.written.load(SeqCst) < BYTES {
        moved.written.fetch_add(stdin.write(&[7; PIECE])?, SeqCst);
    }
    Ok(())
}

fn read_all(mut stdout: ChildStdout, moved: &Moved) -> io::Result<()> {
    let mut piece = [0; PIECE];
    loop {
        match stdout.read(&mut piece)? {
            0 => return Ok(()),
            length => moved.read.fetch_add(length, SeqCst),
        };
    }
}
