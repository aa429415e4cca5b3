//! The driver's side of a cell: starts its process, sends commands, and waits for the replies no longer than it must.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{CellHeader, Command, Reply, VERSION, launcher};
use crate::measure::runner::Observation;
use crate::program::lifetime;
use crate::shape::Shape;
use crate::workload::Size;

/// How long a cell may take to end after its pipe is closed, before it is killed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);

/// A program with parbench's main.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Program {
    /// This program.
    This,
    /// Another bench program.
    At(PathBuf),
}

/// Which cell to start.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CellSpec {
    /// The program that has the scenario.
    pub program: Program,
    /// The scenario's name.
    pub scenario: String,
    /// The executor's name.
    pub executor: String,
    /// Its workers.
    pub shape: Shape,
    /// With weak scaling: as many tasks, if they are not as many as workers.
    pub tasks: Option<usize>,
    /// Without weak scaling: only so many tasks, the first ones, if there are more.
    pub first: Option<usize>,
    /// How large the inputs are.
    pub size: Size,
    /// Variables that it has besides this program's environment.
    pub environment: Vec<(String, String)>,
    /// A command that runs the program with its arguments, such as `valgrind`; empty for none.
    pub launcher: Vec<String>,
    /// How long it may take to get ready, and to run an observation, before it is killed.
    pub timeout: Duration,
}

impl CellSpec {
    /// A cell of a variant, at `default` size, with five minutes for each step.
    pub fn new(program: Program, scenario: &str, executor: &str, shape: impl Into<Shape>) -> CellSpec {
        CellSpec {
            program,
            scenario: scenario.into(),
            executor: executor.into(),
            shape: shape.into(),
            tasks: None,
            first: None,
            environment: Vec::new(),
            launcher: Vec::new(),
            size: Size::Default,
            timeout: Duration::from_secs(300),
        }
    }
}

impl fmt::Display for CellSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}/{}", self.scenario, self.executor, self.shape)
    }
}

/// A cell that has been started. Dropping it ends its process and waits for that.
#[derive(Debug)]
pub struct Cell {
    spec: CellSpec,
    child: Child,
    /// Closing it ends the cell.
    commands: Option<ChildStdin>,
    replies: ChildStdout,
    /// What has been read of the next reply.
    partial: Vec<u8>,
}

impl Cell {
    /// One observation of a new process: what a regression gate wants, since each process samples another layout of heap and
    /// addresses. It takes 0.3 to 1.1 s.
    ///
    /// # Errors
    /// If the cell cannot be made, or a batch fails.
    pub fn observe_once(spec: CellSpec, batches: u32) -> Result<Observation> {
        let mut cell = Cell::start(spec)?;
        cell.wait_until_ready()?;
        cell.run(batches, None, false)
    }

    /// Starts a cell, without waiting until it is ready.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn start(spec: CellSpec) -> Result<Cell> {
        let mut command = launcher::command(&spec)?;
        command.args([&spec.scenario, &format!("{}/{}", spec.executor, spec.shape)]);
        command.args(["--size", &spec.size.to_string()]);
        if let Some(tasks) = spec.tasks {
            command.args(["--tasks", &tasks.to_string()]);
        }
        if let Some(first) = spec.first {
            command.args(["--first", &first.to_string()]);
        }
        command.envs(spec.environment.iter().map(|(name, value)| (name, value)));
        // Ctrl-C reaches the whole foreground group: outside it, the cell ends after its driver, in order.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| {
            format!("cannot start a process for {spec} ({})", command.get_program().display())
        })?;
        let commands = child.stdin.take();
        let replies = child.stdout.take().context("it has no stdout")?;
        Ok(Cell { spec, child, commands, replies, partial: Vec::new() })
    }

    /// Waits until the cell is ready.
    ///
    /// # Errors
    /// If it could not be made, is of another version, or takes too long.
    pub fn wait_until_ready(&mut self) -> Result<CellHeader> {
        let Reply::Ready(header) = self.reply()? else { bail!("{}: it answered out of turn", self.spec) };
        ensure!(
            header.version == VERSION,
            "{}: the program has version {} of parbench, not {VERSION}",
            self.spec,
            header.version
        );
        Ok(header)
    }

    /// Runs batches one after the other and waits for what they gave. The first begins at a time, if one is given.
    ///
    /// # Errors
    /// If a batch fails or takes too long. The cell has ended then.
    pub fn run(&mut self, batches: u32, begin_ns: Option<u64>, spans: bool) -> Result<Observation> {
        self.begin(batches, begin_ns, spans)?;
        self.finish()
    }

    /// Tells the cell to run batches, without waiting for them; see [`Cell::run`].
    ///
    /// # Errors
    /// If the cell has ended.
    pub fn begin(&mut self, batches: u32, begin_ns: Option<u64>, spans: bool) -> Result<()> {
        let line = serde_json::to_string(&Command { batches, begin_ns, spans })? + "\n";
        let commands = self.commands.as_mut().context("it is closed with the cell only")?;
        commands
            .write_all(line.as_bytes())
            .with_context(|| format!("the process for {} has ended", self.spec))
    }

    /// Waits for what the batches gave; see [`Cell::run`].
    ///
    /// # Errors
    /// If a batch fails or takes too long. The cell has ended then.
    pub fn finish(&mut self) -> Result<Observation> {
        let Reply::Observed(observation) = self.reply()? else {
            bail!("{}: it answered out of turn", self.spec)
        };
        Ok(*observation)
    }

    fn reply(&mut self) -> Result<Reply> {
        let line = self.line()?;
        match serde_json::from_slice(&line).with_context(|| format!("{}: not a reply", self.spec))? {
            Reply::Failed(why) => bail!("{}: {why}", self.spec),
            reply => Ok(reply),
        }
    }

    /// The next line, without its end.
    fn line(&mut self) -> Result<Vec<u8>> {
        let deadline = Instant::now() + self.spec.timeout;
        let mut searched = 0;
        loop {
            if let Some(end) = self.partial[searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.partial.split_off(searched + end + 1);
                let mut line = std::mem::replace(&mut self.partial, rest);
                line.pop();
                return Ok(line);
            }
            searched = self.partial.len();
            let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()))?;
            match poll(&mut [PollFd::from_borrowed_fd(self.replies.as_fd(), PollFlags::IN)], Some(&left)) {
                Ok(0) => {
                    let _ = self.child.kill();
                    bail!("{}: no answer within {} s; killed", self.spec, self.spec.timeout.as_secs());
                }
                Err(rustix::io::Errno::INTR) => continue,
                result => drop(result?),
            }
            let mut buffer = [0; 64 << 10];
            match self.replies.read(&mut buffer) {
                Ok(0) => {
                    let status = lifetime::wait_or_kill(&mut self.child, EXIT_TIMEOUT)?;
                    bail!("{}: its process ended ({status})", self.spec);
                }
                Ok(read) => self.partial.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        self.commands = None;
        let _ = lifetime::wait_or_kill(&mut self.child, EXIT_TIMEOUT);
    }
}
