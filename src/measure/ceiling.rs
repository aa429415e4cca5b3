//! The ceiling: independent serial copies of a whole batch, each in a process of its own, at the same time.
//!
//! Two virtual CPUs may be one core, and two busy cores share caches and a power budget. What k independent copies reach
//! is the best that k workers can reach on this machine at this time.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::executors::{ExecutorKind, PoolOptions};
use crate::program::{self, lifetime};
use crate::scenario::Scenario;
use crate::workload::Size;

/// How long a copy may take to end after its stdin is closed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Serial copies of a scenario, each warm and waiting for a command.
pub(super) struct Ceiling(Vec<SerialCopy>);

struct SerialCopy {
    child: Child,
    /// Closing it ends the copy.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Ceiling {
    pub(super) fn start(scenario: &str, size: Size, copies: usize) -> Result<Ceiling> {
        program::ensure_reexecutable()?;
        let mut started = Ceiling(Vec::new());
        for _ in 0..copies {
            let mut command = program::reexecute("copy")?;
            command.args([scenario, &size.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().context("cannot start a serial copy")?;
            let (commands, answers) = (child.stdin.take(), child.stdout.take().context("it has no stdout")?);
            started.0.push(SerialCopy { child, commands, answers: BufReader::new(answers) });
        }
        Ok(started)
    }

    /// One batch in each copy at the same time: the tasks of all, and the time from the first beginning to
    /// the last end.
    pub(super) fn run(&mut self) -> Result<(usize, Duration)> {
        let (mut tasks, mut first, mut last) = (0, u64::MAX, 0);
        for [done, began, ended] in self.all("run")? {
            tasks += done as usize;
            first = first.min(began);
            last = last.max(ended);
        }
        // Only now: a copy that checks would slow down those that still run.
        self.all("check")?;
        Ok((tasks, Duration::from_nanos(last.saturating_sub(first))))
    }

    /// Sends every copy a command, and returns what each answers.
    fn all(&mut self, command: &str) -> Result<Vec<[u64; 3]>> {
        for copy in &mut self.0 {
            let commands = copy.commands.as_mut().context("a serial copy has ended")?;
            commands.write_all(format!("{command}\n").as_bytes()).context("a serial copy has ended")?;
        }
        let answer = |copy: &mut SerialCopy| {
            let mut line = String::new();
            copy.answers.read_line(&mut line)?;
            let numbers: Vec<u64> = line.split_whitespace().map_while(|number| number.parse().ok()).collect();
            numbers.try_into().ok().context("a serial copy failed: see what it said on stderr")
        };
        self.0.iter_mut().map(answer).collect()
    }
}

impl Drop for Ceiling {
    fn drop(&mut self) {
        // All are told before the first is waited for.
        self.0.iter_mut().for_each(|copy| copy.commands = None);
        for copy in &mut self.0 {
            let _ = lifetime::wait_or_kill(&mut copy.child, EXIT_TIMEOUT);
        }
    }
}

/// The main of `parbench copy SCENARIO SIZE`: for every `run` on stdin a batch, for every `check` a check of its answers.
/// Both are answered with the number of tasks, and when the batch began and ended.
pub(crate) fn main(
    scenarios: &'static [Scenario],
    arguments: &[String],
    results: &mut impl Write,
) -> Result<()> {
    let [name, size] = arguments else { bail!("name a scenario and its size") };
    let job = Scenario::find(scenarios, name)?.prepare(size.parse()?)?.job(1);
    let mut serial = ExecutorKind::find("serial")?.start(&PoolOptions::new(1))?;
    // A batch may take long: the program that measures may end before it.
    lifetime::exit_with_owner(rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?)?;
    let (mut tasks, mut began, mut ended) = (0, 0, 0);
    for command in std::io::stdin().lines() {
        match &command?[..] {
            "run" => {
                let outcome = serial.execute(&job)?;
                (tasks, began) = (outcome.spans()?.len(), outcome.began);
                ended = began + outcome.wall.as_nanos() as u64;
            }
            "check" => job.check()?,
            command => bail!("`{command}` is neither run nor check"),
        }
        writeln!(results, "{tasks} {began} {ended}")?;
    }
    Ok(())
}
