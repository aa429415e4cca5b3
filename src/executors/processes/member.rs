//! One worker process as its pool sees it: started, greeted, fed, heard, and buried.

use std::io::ErrorKind;
use std::mem;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::END;
use super::body::{Body, End, Method};
use super::event::{Answer, Event, Gone, Wreck};
use super::flight::Flight;
use crate::executors::Means;
use crate::ledger::Ledger;
use crate::message::Packet;
use crate::segment;
use crate::span::now;
use crate::wire::{Frame, Hello, Kind, Link, VERSION, WireError};
use crate::worker::Setup;

/// How long a new worker may take to say hello. It takes about 1 ms; only a machine in deep trouble, or a
/// program that does something else first, reaches this.
const HELLO: Duration = Duration::from_secs(10);
/// How long a worker may take to make its state.
const OPEN: Duration = Duration::from_secs(60);
/// What a task's deadline is about.
const ANSWER: &str = "answer";

/// A worker process.
pub(super) struct Member {
    body: Body,
    link: Link,
    bare: bool,
    greeted: bool,
    opening: Option<&'static str>,
    opened: Option<&'static str>,
    flight: Flight,
    /// When what we wait for began, ns; for tasks the flight knows.
    since: u64,
    /// Whether it was asked what it has used, and has not answered.
    measuring: bool,
    /// Whether it can be sent anything: if not, it has ended or will, and only its last answers are to be read.
    deaf: bool,
}

impl Member {
    /// Starts the process, and does not wait for it.
    pub(super) fn start(method: Method, means: &Means, index: usize) -> Result<Member> {
        let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair for a worker process")?;
        ours.set_nonblocking(true)?;
        let shares = !means.bare && segment::supported();
        let (ledger, descriptor) = match shares {
            true => Ledger::make().map(|(ledger, descriptor)| (Some(ledger), Some(descriptor)))?,
            false => (None, None),
        };
        let mut environment = means.worker_environment();
        let body = Body::start(method, OwnedFd::from(theirs), &environment, means.bare)?;
        if method == Method::Spawn {
            environment.clear();
        }
        let cpus = means.cpus.get(index % means.cpus.len().max(1)).map(|cpu| vec![*cpu]).unwrap_or_default();
        let setup = Setup {
            shares,
            cpus,
            memory: means.memory,
            output: means.output.clone(),
            environment,
            forked: method == Method::Fork,
        };
        let setup = Frame::new(Kind::Setup, Packet::pack(&setup)?);
        let mut link = Link::new(ours, shares);
        link.set_lazy(true);
        match descriptor {
            Some(descriptor) => link.queue_with(&setup, descriptor),
            None => link.queue(&setup),
        }
        let mut member = Member {
            body,
            link,
            bare: means.bare,
            greeted: false,
            opening: None,
            opened: None,
            flight: Flight::new(ledger),
            since: now(),
            measuring: false,
            deaf: false,
        };
        member.flush();
        Ok(member)
    }

    /// Has the worker make its state for a scenario, if it has not yet; it then says that it is open.
    pub(super) fn open(&mut self, workload: &'static str) -> Result<()> {
        let same = self.opened == Some(workload);
        // Where we have let arrays go, it is told before the clock starts: it may need the memory.
        if self.opening.is_some() || same && !self.link.has_released() {
            return Ok(());
        }
        if !same {
            self.flight.forget_pace();
        }
        self.opened = None;
        self.opening = Some(workload);
        if self.greeted {
            self.since = now();
        }
        self.link.queue(&Frame::new(Kind::Open, Packet::pack(&workload.to_string())?));
        self.flush();
        Ok(())
    }

    pub(super) fn has_open(&self, workload: &str) -> bool {
        self.opened == Some(workload)
    }

    /// Whether the process has ended, between two batches.
    pub(super) fn has_ended(&mut self) -> bool {
        self.deaf || self.body.is_born() && self.body.try_wait().is_some()
    }

    /// Asks what the worker has used so far.
    pub(super) fn measure(&mut self) {
        self.measuring = true;
        self.link.queue(&Frame::new(Kind::Measure, Packet::default()));
        self.flush();
    }

    /// How many tasks it has been sent.
    pub(super) fn turns(&self) -> u32 {
        self.flight.turns()
    }

    /// How many more tasks to send it, when `share` more are its share and it may have `most` at once.
    pub(super) fn room(&self, share: usize, most: usize) -> usize {
        // What still waits to be sent is enough.
        let takes = self.takes() && (self.is_idle() || !self.link.is_full());
        if takes { self.flight.room(share, most) } else { 0 }
    }

    /// Whether every task that was sent has been answered.
    pub(super) fn is_idle(&self) -> bool {
        self.flight.is_empty()
    }

    /// Whether an input may be sent behind those that it has.
    pub(super) fn fits(&self, input: &Packet) -> bool {
        self.flight.fits(input.moved_bytes(self.shares()))
    }

    /// Whether it can be sent a task whose input was copied for it.
    pub(super) fn takes(&self) -> bool {
        self.opened.is_some() && !self.deaf
    }

    /// Whether private arrays reach it through shared memory.
    pub(super) fn shares(&self) -> bool {
        self.link.shares()
    }

    /// Puts a task behind those that it was sent; [`Member::flush`] sends it.
    pub(super) fn call(&mut self, task: usize, input: Packet) {
        let turn = self.flight.push(task, input.moved_bytes(self.shares()));
        self.link.queue(&Frame { id: turn, ..Frame::new(Kind::Call, input) });
    }

    /// Sends what it can take now.
    pub(super) fn flush(&mut self) {
        if !self.deaf && self.link.flush().is_err() {
            self.deaf = true;
            self.since = now();
            // Should it live in spite of that, this is its end of file.
            let _ = self.link.stream().shutdown(Shutdown::Write);
        }
    }

    /// Whether something waits to be sent to it.
    pub(super) fn is_full(&self) -> bool {
        self.link.is_full() && !self.deaf
    }

    /// What to poll for the process's end.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.body.descriptor()
    }

    /// Notes that polling found something to read.
    pub(super) fn rouse(&mut self) {
        self.link.rouse();
    }

    /// The next thing that the worker said; `None` if it has not yet.
    ///
    /// One that ended may have left answers: this gives them all before it says that it is gone.
    pub(super) fn receive(&mut self, has_ended: bool) -> Result<Option<Event>, Gone> {
        loop {
            let frame = match self.link.next() {
                Ok(Some(frame)) => frame,
                // A child that it left behind may hold the socket open.
                Ok(None) if has_ended => return Err(Gone::Ended),
                Ok(None) => return Ok(None),
                Err(WireError::Closed) => return Err(Gone::Ended),
                Err(WireError::Broken(error)) if is_hang_up(error.kind()) => return Err(Gone::Ended),
                Err(error) => return Err(Gone::Mad(error.to_string())),
            };
            if let Some(event) = self.hear(frame)? {
                return Ok(Some(event));
            }
        }
    }

    fn hear(&mut self, Frame { kind, id, stamps, packet }: Frame) -> Result<Option<Event>, Gone> {
        let mad = |what: String| Err(Gone::Mad(what));
        let malformed = |error: anyhow::Error| Gone::Mad(format!("{error:#}"));
        match kind {
            Kind::Born if !self.body.is_born() => self.body.born(id, self.bare),
            Kind::Hello if !self.greeted => {
                let Hello { version } = packet.unpack().map_err(malformed)?;
                if version != VERSION {
                    let what = "a worker process speaks version";
                    return mad(format!(
                        "{what} {version}, this program {VERSION}: was it rebuilt while it runs?"
                    ));
                }
                self.greeted = true;
                self.since = now();
            }
            Kind::Ready if self.greeted && self.opening.is_some() => {
                self.opened = self.opening.take();
                return Ok(Some(Event::Opened));
            }
            Kind::Failed if self.opening.is_some() => {
                return Ok(Some(Event::Refused(packet.unpack().map_err(malformed)?)));
            }
            Kind::Used if mem::take(&mut self.measuring) => {
                return Ok(Some(Event::Used(packet.unpack().map_err(malformed)?)));
            }
            Kind::Done | Kind::Failed => {
                let answer = match kind {
                    Kind::Done => Ok(Answer { stamps, output: packet }),
                    _ => Err(packet.unpack().map_err(malformed)?),
                };
                let Some(task) = self.flight.answered(id, answer.is_ok().then_some(stamps)) else {
                    return mad(format!("it answered turn {id}, which was not due"));
                };
                return Ok(Some(Event::Answer(task, answer)));
            }
            _ => return mad(format!("it sent {kind:?} where that makes no sense")),
        }
        Ok(None)
    }

    /// Takes back what was sent ahead if the worker is stuck.
    pub(super) fn take_back(&mut self) -> Vec<usize> {
        self.flight.take_back()
    }

    /// When something has to be done about it, ns: a task's deadline, or ours.
    pub(super) fn alarm(&self, deadline: Option<Duration>) -> Option<u64> {
        let late = self.patience(deadline).map(|(_, since, patience)| since + patience.as_nanos() as u64);
        [self.flight.stuck_at(), late].into_iter().flatten().min()
    }

    /// What we wait for, since when (ns), and how long we do.
    fn patience(&self, deadline: Option<Duration>) -> Option<(&'static str, u64, Duration)> {
        if self.deaf {
            return Some(("end", self.since, END));
        }
        if !self.greeted {
            let what = "say hello: does this program's main do anything before it calls parbench?";
            return Some((what, self.since, HELLO));
        }
        if self.opening.is_some() {
            return Some(("make its state", self.since, OPEN));
        }
        Some((ANSWER, self.flight.began()?, deadline?))
    }

    /// Whether it has let us wait for longer than we do.
    pub(super) fn is_late(&self, deadline: Option<Duration>) -> Result<(), Gone> {
        match self.patience(deadline) {
            Some((what, since, patience)) if now() >= since + patience.as_nanos() as u64 => {
                Err(if what == ANSWER { Gone::TimedOut(patience) } else { Gone::Late(what, patience) })
            }
            _ => Ok(()),
        }
    }

    /// Ends a worker that is gone.
    pub(super) fn bury(mut self, gone: &Gone) -> Wreck {
        self.identify();
        let mut murdered = false;
        let status = match gone {
            // The end of file comes with the end of the process, or somebody closed what is not his.
            Gone::Ended => {
                let end = self.body.wait(Duration::from_millis(500));
                murdered = end.is_kill() && !self.body.is_killed();
                if self.body.is_killed() { "it closed its socket; killed".into() } else { end.to_string() }
            }
            Gone::Mad(_) | Gone::Late(..) | Gone::TimedOut(_) => {
                self.body.kill();
                self.body.wait(END);
                format!("{gone}; killed")
            }
        };
        let (begun, rest) = self.flight.wreck();
        Wreck { begun, rest, status, murdered }
    }

    /// Tells the worker that there is nothing more to do. Dropping it then waits for its end.
    pub(super) fn hang_up(&mut self) {
        self.identify();
        if self.is_idle() {
            let _ = self.link.stream().shutdown(Shutdown::Both);
        } else {
            // Nobody wants its answers.
            self.body.kill();
        }
    }

    /// Waits for its end, and kills it after that.
    pub(super) fn end_by(&mut self, deadline: Instant) {
        let _: End = self.body.wait(deadline.saturating_duration_since(Instant::now()));
    }

    /// Waits until the fork server has said which process it is: without that it could not be waited for.
    fn identify(&mut self) {
        if !self.body.is_born() && self.link.stream().set_nonblocking(false).is_ok() {
            self.link.set_lazy(false);
            let _ = self.link.stream().set_read_timeout(Some(END));
            while let (false, Ok(Some(frame))) = (self.body.is_born(), self.link.next()) {
                let _ = self.hear(frame);
            }
        }
    }

    /// Whether a worker that was told to end has done so.
    pub(super) fn has_left(&mut self) -> bool {
        self.body.try_wait().is_some()
    }
}

/// What reading from a process that has ended gives.
fn is_hang_up(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
}

impl AsFd for Member {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.hang_up();
        let _: End = self.body.wait(END);
    }
}
