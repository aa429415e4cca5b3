//! The ceiling: independent serial copies of a whole batch, each in a process of its own, at the same time.
//!
//! Two virtual CPUs may be one core, and two busy cores share caches and a power budget. What k copies that
//! have nothing to do with each other reach is what k workers can reach at best, here and now.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::executors::{Kind, Means};
use crate::program;
use crate::scenario::Scenario;
use crate::workload::Size;

/// How long a copy may take to end after its stdin is closed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The copies, each warm and waiting for the word.
pub(super) struct Copies(Vec<Copy>);

struct Copy {
    child: Child,
    /// Closing it ends the copy.
    words: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Copies {
    pub(super) fn start(scenario: &str, size: Size, copies: usize) -> Result<Copies> {
        program::ensure_reentrant()?;
        let mut started = Copies(Vec::new());
        for _ in 0..copies {
            let mut command = program::reenter("copy")?;
            command.args([scenario, &size.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().context("cannot start a serial copy")?;
            let (words, answers) = (child.stdin.take(), child.stdout.take().context("it has no stdout")?);
            started.0.push(Copy { child, words, answers: BufReader::new(answers) });
        }
        Ok(started)
    }

    /// One batch in each copy at the same time: the tasks of all, and the time from the first beginning to
    /// the last end.
    pub(super) fn run(&mut self) -> Result<(usize, Duration)> {
        for copy in &mut self.0 {
            let words = copy.words.as_mut().context("a serial copy has ended")?;
            words.write_all(b"go\n").context("a serial copy has ended")?;
        }
        let (mut tasks, mut first, mut last) = (0, u64::MAX, 0);
        for copy in &mut self.0 {
            let mut line = String::new();
            copy.answers.read_line(&mut line)?;
            let numbers: Result<Vec<u64>, _> = line.split_whitespace().map(str::parse).collect();
            let Ok([done, began, ended]) = numbers.as_deref() else {
                bail!("a serial copy failed: see what it said on stderr")
            };
            tasks += *done as usize;
            first = first.min(*began);
            last = last.max(*ended);
        }
        Ok((tasks, Duration::from_nanos(last.saturating_sub(first))))
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        // All are told before the first is waited for.
        self.0.iter_mut().for_each(|copy| copy.words = None);
        for copy in &mut self.0 {
            let _ = program::reap(&mut copy.child, PATIENCE);
        }
    }
}

/// `parbench copy SCENARIO SIZE`: a batch for every line on stdin, answered with the number of tasks, when the
/// batch began and when it ended.
pub(crate) fn main(
    scenarios: &'static [Scenario],
    arguments: &[String],
    results: &mut impl Write,
) -> Result<()> {
    let [name, size] = arguments else { bail!("say which scenario, and its size") };
    let jobs = Scenario::find(scenarios, name)?.prepare(size.parse()?)?;
    let job = jobs(1);
    let mut serial = Kind::find("serial")?.start(&Means::workers(1))?;
    // A batch may take long: whoever measures may be gone before it is done.
    program::end_with(rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?)?;
    for line in std::io::stdin().lines() {
        line?;
        let outcome = serial.execute(&job)?;
        let tasks = outcome.spans()?.len();
        job.check()?;
        let ended = outcome.began + outcome.wall.as_nanos() as u64;
        writeln!(results, "{tasks} {} {ended}", outcome.began)?;
    }
    Ok(())
}
