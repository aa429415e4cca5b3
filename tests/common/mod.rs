//! What the test programs share: trials with errors as sentences, bounded waiting, and a look into /proc.

#![allow(dead_code, reason = "each test program uses its part")]

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use libtest_mimic::Trial;

/// A trial that fails with its error's sentence.
pub(crate) fn trial(name: impl Into<String>, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name.into(), || test().map_err(|error| format!("{error:#}").into()))
}

/// Waits until `is_so`, and fails after 20 seconds: only something that will never be so takes that long.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        if Instant::now() > deadline {
            bail!("waited for 20 s until {what}");
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// The state letter of a process and its parent; `None` if there is no such process.
fn stat(process: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before it is in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether a process has ended. One that waits to be reaped has: where the first process of a container reaps
/// nobody, it stays like that.
pub(crate) fn has_ended(process: u32) -> bool {
    stat(process).is_none_or(|(state, _)| state == 'Z')
}

/// The children of a process.
pub(crate) fn children(parent: u32) -> Result<Vec<u32>> {
    let processes =
        fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(processes.filter(|process| stat(*process).is_some_and(|(_, owner)| owner == parent)).collect())
}
