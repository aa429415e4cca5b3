//! Runs a package's pitfalls, the examples whose names begin with `pitfall_`, and keeps what they say.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::run_file::Pitfall;

/// How the names of such examples begin.
pub(crate) const PREFIX: &str = "pitfall_";
/// How long one may run: some stand still by design, and a watchdog of their own ends them in a second or two.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The status of one that ended well.
pub(crate) const SUCCESS: &str = "success";

/// What is kept of the output, bytes: one that prints for ever must not fill the run file.
const LONGEST_OUTPUT: u64 = 1 << 18;
/// How often it is looked whether a program has ended.
const PULSE: Duration = Duration::from_millis(5);
/// How long what has been printed may take to arrive once the program has ended.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs one, for so long at most.
pub(crate) fn run(name: &str, executable: &Path, patience: Duration) -> Pitfall {
    let (lines, status) = match watch(&mut Command::new(executable), patience) {
        Ok((lines, Some(status))) if status.success() => (lines, SUCCESS.into()),
        Ok((lines, Some(status))) => (lines, status.to_string()),
        Ok((lines, None)) => (lines, format!("killed after {} s", patience.as_secs())),
        Err(error) => (Vec::new(), format!("{error:#}")),
    };
    kept(name, lines, status)
}

/// Its lines for people, and the line of JSON behind them.
fn kept(name: &str, mut lines: Vec<String>, status: String) -> Pitfall {
    let object = |line: &String| serde_json::from_str(line).ok().filter(serde_json::Value::is_object);
    let record = lines.last().and_then(object);
    if record.is_some() {
        lines.pop();
    }
    Pitfall { name: name.into(), lines, record, status }
}

/// What a program prints, and how it ended; without a status if it had to be killed.
fn watch(command: &mut Command, patience: Duration) -> Result<(Vec<String>, Option<ExitStatus>)> {
    // A group of its own, so that nothing that it has started outlives it.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("it cannot be started")?;
    let stdout = BufReader::new(child.stdout.take().context("it has no stdout")?.take(LONGEST_OUTPUT));
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let status = ended(&mut child, patience)?;
    if status.is_none() {
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        child.wait()?;
    }
    // Until its end of the pipe is closed.
    let lines = std::iter::from_fn(|| lines.recv_timeout(DRAIN).ok()).collect();
    Ok((lines, status))
}

/// How a program ends, if it does in time.
fn ended(child: &mut Child, patience: Duration) -> Result<Option<ExitStatus>> {
    let began = Instant::now();
    loop {
        let status = child.try_wait()?;
        if status.is_some() || began.elapsed() >= patience {
            return Ok(status);
        }
        thread::sleep(PULSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, patience: Duration) -> (Vec<String>, Option<ExitStatus>) {
        watch(Command::new("/bin/sh").args(["-c", script]), patience).unwrap()
    }

    #[test]
    fn what_a_program_prints_is_kept_with_its_end() {
        let (lines, status) = shell("echo one; echo two; exit 3", PATIENCE);
        assert_eq!((lines, status.unwrap().code()), (vec!["one".into(), "two".into()], Some(3)));
        let missing = run("pitfall_none", Path::new("/no/such/program"), PATIENCE);
        assert!(missing.status.contains("it cannot be started"), "{missing:?}");
    }

    #[test]
    fn what_does_not_end_is_killed_with_all_that_it_started() {
        // Both hold the pipe: only if both are gone does the end of the output come before its bound.
        let (_, status) = shell("sleep 1000 & exec sleep 1000", Duration::ZERO);
        assert_eq!(status, None);
    }

    #[test]
    fn the_last_line_is_the_record_if_it_is_one() {
        let lines = |lines: &[&str]| lines.iter().map(|line| line.to_string()).collect::<Vec<_>>();
        let pitfall = kept("x", lines(&["a", "{\"outcome\":\"lost\"}"]), SUCCESS.into());
        assert_eq!(
            (pitfall.lines, pitfall.record.unwrap()["outcome"].as_str()),
            (lines(&["a"]), Some("lost"))
        );
        let pitfall = kept("x", lines(&["a", "7"]), SUCCESS.into());
        assert_eq!((pitfall.lines, pitfall.record), (lines(&["a", "7"]), None));
    }
}
