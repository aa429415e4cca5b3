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

    /// Gives every copy a word, and returns what each answers.
    fn all(&mut self, word: &str) -> Result<Vec<[u64; 3]>> {
        for copy in &mut self.0 {
            let words = copy.words.as_mut().context("a serial copy has ended")?;
            words.write_all(format!("{word}\n").as_bytes()).context("a serial copy has ended")?;
        }
        let answer = |copy: &mut Copy| {
            let mut line = String::new();
            copy.answers.read_line(&mut line)?;
            let numbers: Vec<u64> = line.split_whitespace().map_while(|number| number.parse().ok()).collect();
            numbers.try_into().ok().context("a serial copy failed: see what it said on stderr")
        };
        self.0.iter_mut().map(answer).collect()
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

/// `parbench copy SCENARIO SIZE`: for every `run` on stdin a batch, for every `check` a check of its answers;
/// both are answered with the number of tasks, when the batch began and when it ended.
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
    let (mut tasks, mut began, mut ended) = (0, 0, 0);
    for word in std::io::stdin().lines() {
        match &word?[..] {
            "run" => {
                let outcome = serial.execute(&job)?;
                (tasks, began) = (outcome.spans()?.len(), outcome.began);
                ended = began + outcome.wall.as_nanos() as u64;
            }
            "check" => job.check()?,
            word => bail!("`{word}` is neither run nor check"),
        }
        writeln!(results, "{tasks} {began} {ended}")?;
    }
    Ok(())
}
