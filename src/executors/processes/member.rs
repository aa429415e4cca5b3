//! One worker process as its pool sees it: started, greeted, fed, and buried.

use std::collections::VecDeque;
use std::io::{self, BufReader, ErrorKind, Read};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::pace::Pace;
use crate::job::Cause;
use crate::message::Packet;
use crate::program;
use crate::span::Stamps;
use crate::usage::Usage;
use crate::wire::{self, BUFFER_BYTES, Frame, Hello, Kind, VERSION, WireError};

/// How long a new worker may take to say hello. It takes about 1 ms; only a machine in deep trouble, or a
/// program that does something else first, reaches this.
const HELLO: Duration = Duration::from_secs(20);
/// How long a worker may take to make its state.
const OPEN: Duration = Duration::from_secs(60);
/// How long a worker may take to end after its socket is closed, before it is killed.
const END: Duration = Duration::from_secs(2);
/// Most bytes sent ahead to a worker that is busy. With at most 64 frames they stay below what the socket
/// buffers (208 KiB, of which a frame takes 768 bytes at least).
const MOST_BYTES_AHEAD: usize = 32 << 10;

/// A worker that can no longer be used, and what was seen of it.
#[derive(Debug)]
pub(super) struct Gone(WireError);

/// What a task gave, and when.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) stamps: Stamps,
    pub(super) output: Packet,
}

/// A worker process.
#[derive(Debug)]
pub(super) struct Member {
    child: Child,
    /// Both ways over one socket; `BufReader` so that a small frame costs one read.
    wire: BufReader<UnixStream>,
    opened: Option<&'static str>,
    /// Tasks sent and not answered, and the bytes of their inputs; the worker runs them in this order, so the
    /// first is the one it has begun.
    ahead: VecDeque<(usize, usize)>,
    pace: Pace,
    /// Bytes of the last input.
    input_bytes: usize,
    /// Whether the last task could be sent.
    listens: bool,
}

impl Member {
    /// Starts the process, and does not wait for it.
    pub(super) fn spawn() -> Result<Member> {
        let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair for a worker process")?;
        let mut command = program::reenter("worker")?;
        // Its end travels as stdin, which needs no `unsafe` hook between fork and exec.
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        let child =
            command.spawn().with_context(|| format!("cannot start a worker process ({command:?})"))?;
        let wire = BufReader::with_capacity(BUFFER_BYTES, ours);
        let (ahead, pace) = (VecDeque::new(), Pace::default());
        Ok(Member { child, wire, opened: None, ahead, pace, input_bytes: 0, listens: true })
    }

    /// Waits for the worker's hello.
    pub(super) fn greet(&mut self) -> Result<()> {
        let frame = self.expect(Kind::Hello, HELLO).context(
            "a worker process did not say hello: does this program's main do anything before it calls parbench?",
        )?;
        let hello: Hello =
            frame.packet.unpack().context("a worker process said a hello of another version")?;
        ensure!(
            hello.version == VERSION,
            "a worker process speaks version {}, this program {VERSION}: was it rebuilt while it runs?",
            hello.version
        );
        Ok(())
    }

    /// A new worker with the scenario open.
    pub(super) fn ready(workload: &'static str) -> Result<Member> {
        let mut member = Member::spawn()?;
        member.greet()?;
        member.open(workload)?;
        Ok(member)
    }

    /// Has the worker make its state for a scenario, if it has not yet.
    pub(super) fn open(&mut self, workload: &'static str) -> Result<()> {
        if self.opened == Some(workload) {
            return Ok(());
        }
        // Until it succeeds neither is open.
        self.opened = None;
        self.send(Frame::new(Kind::Open, Packet::pack(&workload.to_string())?))?;
        self.expect(Kind::Ready, OPEN)
            .with_context(|| format!("a worker process cannot open `{workload}`"))?;
        self.opened = Some(workload);
        self.pace = Pace::default();
        Ok(())
    }

    /// Whether the process has ended, between two batches.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// What the worker has used so far.
    pub(super) fn usage(&mut self) -> Result<Usage> {
        self.send(Frame::new(Kind::Measure, Packet::default()))?;
        self.expect(Kind::Used, OPEN)?.packet.unpack()
    }

    /// Whether another task may be sent, when `share` more are this worker's share and `most` may be out.
    pub(super) fn has_room(&self, most: usize, share: usize) -> bool {
        // The next input is taken to be as large as the last; `fits` knows when it is there.
        let bytes = self.bytes_ahead() + self.input_bytes;
        let room = self.ahead.len() < self.pace.window(share).min(most) && bytes <= MOST_BYTES_AHEAD;
        self.listens && (room || self.is_idle())
    }

    /// Whether an input can be sent without waiting for the worker to read it.
    ///
    /// A busy worker may be writing a large answer: if we wrote a large input meanwhile, nobody would read.
    pub(super) fn fits(&self, input: &Packet) -> bool {
        self.is_idle() || self.bytes_ahead() + input.len() <= MOST_BYTES_AHEAD
    }

    fn bytes_ahead(&self) -> usize {
        self.ahead.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Whether every task that was sent has been answered.
    fn is_idle(&self) -> bool {
        self.ahead.is_empty()
    }

    /// Whether there is nothing to wait for: no answer is due, and the worker is not known to have ended.
    pub(super) fn is_done(&self) -> bool {
        self.is_idle() && self.listens
    }

    /// Sends a task; tells whether that worked.
    ///
    /// If not, the worker has ended or will. Answers that it gave before are still to be read: only
    /// [`Member::answer`] knows when there are no more.
    pub(super) fn call(&mut self, task: usize, input: Packet) -> bool {
        self.input_bytes = input.len();
        let frame = Frame { kind: Kind::Call, id: task as u32, stamps: Stamps::default(), packet: input };
        self.listens = wire::write(self.wire.get_mut(), &frame).is_ok();
        if self.listens {
            self.ahead.push_back((task, self.input_bytes));
        } else {
            // Should it live in spite of that, this is its end of file: it must not wait for the rest of a frame
            // while we wait for its answer.
            let _ = self.wire.get_ref().shutdown(Shutdown::Write);
        }
        self.listens
    }

    /// Waits for the next answer.
    pub(super) fn answer(&mut self) -> Result<(usize, Result<Answer, Cause>), Gone> {
        let Frame { kind, id, stamps, packet } = wire::read(&mut self.wire).map_err(Gone)?;
        let malformed = |what: String| Gone(WireError::Malformed(what));
        let Some(&(task, _)) = self.ahead.front() else {
            return Err(malformed(format!("task {id} is not out")));
        };
        if task as u32 != id {
            return Err(malformed(format!("an answer to task {id} where one to task {task} was due")));
        }
        let answer = match kind {
            Kind::Done => Ok(Answer { stamps, output: packet }),
            Kind::Failed => Err(packet.unpack().map_err(|error| malformed(format!("{error:#}")))?),
            _ => return Err(malformed(format!("{kind:?} in place of an answer to task {id}"))),
        };
        self.ahead.pop_front();
        if answer.is_ok() {
            self.pace.took(stamps);
        }
        Ok((task, answer))
    }

    /// The tasks that were sent and not answered, the one it had begun first.
    pub(super) fn take_ahead(&mut self) -> VecDeque<usize> {
        self.ahead.drain(..).map(|(task, _)| task).collect()
    }

    /// Ends a worker that is gone and says how it ended.
    pub(super) fn bury(mut self, Gone(error): Gone) -> String {
        let closed =
            matches!(error, WireError::Closed) || matches!(&error, WireError::Broken(e) if is_hang_up(e));
        if !closed {
            // It lives and talks nonsense, or its connection is lost: either way nobody can use it.
            let _ = self.child.kill();
        }
        let status = match self.end() {
            Ok(status) => status.to_string(),
            Err(error) => format!("{error:#}"),
        };
        if closed { status } else { format!("{error}; killed") }
    }

    fn send(&mut self, frame: Frame) -> Result<()> {
        wire::write(self.wire.get_mut(), &frame).context("cannot send to a worker process")
    }

    /// Waits for a frame that is due at once.
    fn expect(&mut self, kind: Kind, within: Duration) -> Result<Frame> {
        self.wire.get_ref().set_read_timeout(Some(within))?;
        let frame = wire::read(&mut self.wire);
        self.wire.get_ref().set_read_timeout(None)?;
        if !matches!(&frame, Ok(frame) if frame.kind == kind || frame.kind == Kind::Failed) {
            // Whatever it says later would be taken for an answer to something else.
            let _ = self.child.kill();
        }
        match frame {
            Ok(frame) if frame.kind == kind => Ok(frame),
            Ok(Frame { kind: Kind::Failed, packet, .. }) => Err(anyhow!("{}", packet.unpack::<Cause>()?)),
            Ok(frame) => bail!("it sent {:?} in place of {kind:?}", frame.kind),
            Err(WireError::Closed) => bail!("it ended ({})", self.end()?),
            Err(WireError::Broken(error)) if error.kind() == ErrorKind::WouldBlock => {
                bail!("no answer within {} s", within.as_secs())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Closes the socket, waits for the process to end, kills it where it does not, and reaps it.
    fn end(&mut self) -> Result<ExitStatus> {
        let socket = self.wire.get_mut();
        let _ = socket.shutdown(Shutdown::Write);
        // The end of file on its side of the socket is the first sign of its end, and comes without polling.
        let _ = socket.set_read_timeout(Some(END));
        while matches!(socket.read(&mut [0; 4096]), Ok(1..)) {}
        program::reap(&mut self.child, END).context("cannot wait for a worker process")
    }
}

/// What writing to a process that has ended gives.
fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
