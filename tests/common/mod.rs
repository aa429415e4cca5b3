//! What the test programs share: trials with errors as sentences, bounded waiting, and a look into /proc.

#![allow(dead_code, reason = "each test program uses its part")]

use std::fs;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use libtest_mimic::Trial;

/// A trial that fails with its error's sentence.
pub(crate) fn trial(name: impl Into<String>, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name.into(), || test().map_err(|error| format!("{error:#}").into()))
}

/// Waits until `is_so`, and fails after 20 seconds: only something that will never be so takes that long.
pub(crate) fn eventually(what: &str, is_so: impl FnMut() -> bool) -> Result<()> {
    within(PATIENCE, what, is_so)
}

const PATIENCE: Duration = Duration::from_secs(20);

fn within(patience: Duration, what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + patience;
    while !is_so() {
        if Instant::now() > deadline {
            bail!("waited for {} s until {what}", patience.as_secs());
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Waits for the end of a child. One that does not end is killed, and an error.
pub(crate) fn await_end(child: &mut Child) -> Result<ExitStatus> {
    await_end_for(child, PATIENCE)
}

/// The same for one that has much to do.
pub(crate) fn await_end_for(child: &mut Child, patience: Duration) -> Result<ExitStatus> {
    let ended = within(patience, "a process ends", || !matches!(child.try_wait(), Ok(None)));
    if ended.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    ended.map(|()| status)
}

/// What Ctrl-C sends. If a shell has started the tests in the background, they ignore it, and what they start does, too: then the
/// signal that means the same.
pub(crate) fn interrupt() -> &'static str {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    if ignored & (1 << 1) == 0 { "-INT" } else { "-TERM" }
}

/// A process as the system lists it.
struct Stat {
    name: String,
    state: char,
    parent: u32,
}

/// `None` if there is no such process.
fn stat(process: u32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name is in parentheses and may hold anything.
    let (name, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let (state, parent) = (fields.next()?.chars().next()?, fields.next()?.parse().ok()?);
    Some(Stat { name: name.split_once('(')?.1.into(), state, parent })
}

/// Whether a process has ended. One that waits to be reaped has: where the first process of a container reaps
/// nobody, it stays like that.
pub(crate) fn has_ended(process: u32) -> bool {
    stat(process).is_none_or(|stat| stat.state == 'Z')
}

/// Whether a process has been stopped by a signal.
pub(crate) fn is_stopped(process: u32) -> bool {
    stat(process).is_some_and(|stat| stat.state == 'T')
}

/// The children of a process, but for its fork server, which stays as long as its program.
pub(crate) fn children(parent: u32) -> Result<Vec<u32>> {
    let processes =
        fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |stat: Stat| stat.parent == parent && stat.name != "forkserver";
    Ok(processes.filter(|process| stat(*process).is_some_and(is_child)).collect())
}
