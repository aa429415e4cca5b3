//! Instruction counts, where valgrind is installed. They explain a row that has changed, and judge none: code that is laid out
//! differently, or waits longer for memory, is slower with the same instructions.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::comparison::Side;
use super::observe::Subject;

/// Batches that are counted; those before them, and all else, are in both runs and cancel out.
const BATCHES: u32 = 2;
/// Sides that differ by less execute the same.
const SAME: f64 = 0.005;

/// Whether there is a valgrind.
pub(crate) fn can_be_counted() -> bool {
    let version =
        Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// The instructions of a batch.
///
/// # Errors
/// If the program does not run under valgrind, or takes too long there.
pub(crate) fn of_batch(subject: &Subject, program: &Path, side: Side) -> Result<u64> {
    // Beside it, in a folder of this comparison's own.
    let log = program.with_file_name("callgrind.log");
    let count = |batches| {
        let log_file = format!("--log-file={}", log.display());
        let launcher =
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", &log_file].map(Into::into);
        subject.run_under(launcher.to_vec(), program, side, batches)?;
        let log = fs::read_to_string(&log).context("valgrind has written no log")?;
        collected(&log).context("valgrind counted nothing")
    };
    let (once, more) = (count(1)?, count(1 + BATCHES)?);
    Ok(more.saturating_sub(once) / u64::from(BATCHES))
}

/// The number in the line `==123== Collected : 456`.
fn collected(log: &str) -> Option<u64> {
    let number = log.lines().find_map(|line| line.split_once("Collected :"))?.1;
    number.split_whitespace().next()?.parse().ok()
}

/// What two counts say of a change.
pub(crate) fn explain([base, head]: [u64; 2]) -> String {
    let change = head as f64 / base.max(1) as f64 - 1.0;
    let what = if change.abs() < SAME { ": layout or memory" } else { "" };
    format!("instructions {:+.1} %{what}", 100.0 * change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_in_the_log() {
        let log = "==7== Callgrind\n==7== \n==7== Events    : Ir\n==7== Collected : 1234567\n==7== \n";
        assert_eq!(collected(log), Some(1_234_567));
        assert_eq!(collected("==7== Callgrind\n"), None);
    }

    #[test]
    fn the_same_instructions_are_said_to_be() {
        assert_eq!(explain([1_000_000, 1_000_200]), "instructions +0.0 %: layout or memory");
        assert_eq!(explain([1_000, 900]), "instructions -10.0 %");
    }
}
