//! One worker process as its pool sees it: started, opened, sent tasks, listened to, and reaped.

mod patience;
mod start;

use std::cell::RefCell;
use std::io::ErrorKind;
use std::mem;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::EXIT_TIMEOUT;
use super::child::{ChildProcess, Exit};
use super::event::{Answer, Event, Reaped, WorkerError};
use super::flight::Flight;
use crate::data::packet::Packet;
use crate::span::now;
use crate::wire::{Frame, FrameKind, Hello, Link, VERSION, WireError};
use crate::workload;

/// How long a worker that has closed its socket may take to end: all others wait meanwhile.
const CLOSED_TIMEOUT: Duration = Duration::from_millis(100);

/// A worker process, or one of the threads of one that has several: each thread has a connection of its own.
pub(super) struct WorkerHandle {
    /// The process, which the handles of its threads have in common.
    child: Rc<RefCell<ChildProcess>>,
    /// What tells its end.
    descriptor: Option<Rc<OwnedFd>>,
    /// Whether its process id is known.
    has_pid: bool,
    link: Link,
    /// Whether the pool does without process descriptors.
    without_descriptor: bool,
    /// Whether it has said hello.
    greeted: bool,
    opening: Option<&'static str>,
    opened: Option<&'static str>,
    flight: Flight,
    /// When the pool began to wait for anything but a task's answer, ns.
    waiting_since: u64,
    /// Whether it was asked what it has used, and has not answered.
    usage_requested: bool,
    /// Whether sending has failed: it has ended or will, and only its last answers can still be read.
    send_failed: bool,
    /// Why nothing can be sent to it although it lives.
    send_error: Option<String>,
    /// Whether it has ever had a scenario open.
    served: bool,
}

impl WorkerHandle {
    /// Asks the worker to make its state for a scenario, unless it has; it answers when it is ready.
    pub(super) fn open(&mut self, scenario: &'static str) -> Result<()> {
        let same = self.opened == Some(scenario);
        // Arrays that have been dropped are reported before the clock starts: the worker may need their memory.
        if self.opening.is_some() || same && !self.link.has_released() {
            return Ok(());
        }
        if !same {
            self.flight.forget_pace();
        }
        self.opened = None;
        self.opening = Some(scenario);
        if self.greeted {
            self.waiting_since = now();
        }
        self.link.queue(&Frame::new(
            FrameKind::Open,
            Packet::pack(&(scenario.to_string(), workload::size().to_string()))?,
        ));
        self.flush();
        Ok(())
    }

    /// A forked worker is not sent anything long before its process id is known: the fork server tells it on the same
    /// socket, and a long answer of the worker would not be written in one piece.
    pub(super) fn has_open(&self, scenario: &str) -> bool {
        self.opened == Some(scenario) && self.has_pid
    }

    /// Whether it has had a scenario open: then it is not its start that ends it.
    pub(super) fn has_served(&self) -> bool {
        self.served
    }

    /// Kills it: it does something that nobody waits for any more.
    pub(super) fn abandon(mut self) {
        self.await_pid();
        self.child.borrow_mut().kill();
    }

    /// Whether the process has ended; called between two batches.
    pub(super) fn has_ended(&mut self) -> bool {
        self.send_failed || self.has_pid && self.child.borrow_mut().try_wait().is_some()
    }

    /// Asks what the worker has used so far.
    pub(super) fn request_usage(&mut self) {
        self.usage_requested = true;
        self.link.queue(&Frame::new(FrameKind::Measure, Packet::default()));
        self.flush();
    }

    /// How many tasks it has been sent.
    pub(super) fn turns(&self) -> u32 {
        self.flight.turns()
    }

    /// How many more tasks to send it; see [`Flight::room`].
    pub(super) fn room(&self, share: usize, max: usize) -> usize {
        // Nothing is added while earlier frames wait to be sent.
        let takes = self.takes() && (self.is_idle() || !self.link.has_outgoing());
        if takes { self.flight.room(share, max) } else { 0 }
    }

    /// Whether every task that was sent has been answered.
    pub(super) fn is_idle(&self) -> bool {
        self.flight.is_empty()
    }

    /// Whether an input may be sent behind those that it has.
    pub(super) fn fits(&self, input: &Packet) -> bool {
        self.flight.fits(input.moved_bytes(self.shares()))
    }

    /// Whether it can be sent a task.
    pub(super) fn takes(&self) -> bool {
        self.opened.is_some() && self.has_pid && !self.send_failed
    }

    /// Whether private arrays reach it through shared memory.
    pub(super) fn shares(&self) -> bool {
        self.link.shares()
    }

    /// Queues a task behind those that it was sent; [`WorkerHandle::flush`] sends it.
    pub(super) fn queue_task(&mut self, task: usize, input: Packet) {
        let turn = self.flight.push(task, input.moved_bytes(self.shares()));
        self.link.queue(&Frame { id: turn, ..Frame::new(FrameKind::Call, input) });
    }

    /// Sends what the socket takes now.
    pub(super) fn flush(&mut self) {
        if self.send_failed {
            return;
        }
        let error = match self.link.flush() {
            Ok(true) => return self.flight.arrived(),
            Ok(false) => return,
            Err(error) => error,
        };
        self.send_failed = true;
        self.waiting_since = now();
        if !is_hang_up(error.kind()) {
            self.send_error = Some(cannot_send(&error));
        }
        // If it still runs, this is its end of file.
        let _ = self.link.stream().shutdown(Shutdown::Write);
    }

    /// Whether the process has ended, where no descriptor tells.
    pub(super) fn has_ended_silently(&mut self) -> bool {
        self.descriptor.is_none() && self.has_pid && self.child.borrow_mut().try_wait().is_some()
    }

    /// Whether something waits to be sent to it.
    pub(super) fn has_outgoing(&self) -> bool {
        self.link.has_outgoing() && !self.send_failed
    }

    /// The descriptor to poll for the process's end.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.descriptor.as_ref().map(AsFd::as_fd)
    }

    /// Notes that polling found something to read.
    pub(super) fn mark_readable(&mut self) {
        self.link.mark_readable();
    }

    /// The next event; `None` if there is none yet.
    ///
    /// A worker that has ended may have left answers: they all come before the error.
    pub(super) fn receive(&mut self, has_ended: bool) -> Result<Option<Event>, WorkerError> {
        loop {
            let frame = match self.link.next() {
                Ok(Some(frame)) => frame,
                // A child of the worker may hold the socket open.
                Ok(None) if has_ended => return Err(WorkerError::Exited),
                Ok(None) => return Ok(None),
                Err(WireError::Closed) => return Err(WorkerError::Exited),
                Err(WireError::Broken(error)) if is_hang_up(error.kind()) => return Err(WorkerError::Exited),
                Err(error) => return Err(WorkerError::Protocol(error.to_string())),
            };
            if let Some(event) = self.handle(frame)? {
                return Ok(Some(event));
            }
        }
    }

    fn handle(&mut self, Frame { kind, id, stamps, packet }: Frame) -> Result<Option<Event>, WorkerError> {
        let protocol_error = |what: String| Err(WorkerError::Protocol(what));
        let malformed = |error: anyhow::Error| WorkerError::Protocol(format!("{error:#}"));
        match kind {
            FrameKind::Forked if !self.has_pid => {
                self.child.borrow_mut().set_pid(id, self.without_descriptor);
                self.know_child();
                // It may have been quicker than the server.
                return Ok(self.opened.map(|_| Event::Opened));
            }
            FrameKind::Hello if !self.greeted => {
                let Hello { version } = packet.unpack().map_err(malformed)?;
                if version != VERSION {
                    let what = "a worker process speaks version";
                    return protocol_error(format!(
                        "{what} {version}, this program {VERSION}: was it rebuilt while it runs?"
                    ));
                }
                self.greeted = true;
                self.waiting_since = now();
            }
            FrameKind::Ready if self.greeted && self.opening.is_some() => {
                self.opened = self.opening.take();
                self.served = true;
                return Ok(self.has_pid.then_some(Event::Opened));
            }
            FrameKind::Failed if self.opening.is_some() => {
                return Ok(Some(Event::Refused(packet.unpack().map_err(malformed)?)));
            }
            FrameKind::Used if mem::take(&mut self.usage_requested) => {
                return Ok(Some(Event::Used(packet.unpack().map_err(malformed)?)));
            }
            FrameKind::Done | FrameKind::Failed => {
                let answer = match kind {
                    FrameKind::Done => Ok(Answer { stamps, output: packet }),
                    _ => Err(packet.unpack().map_err(malformed)?),
                };
                let Some(task) = self.flight.answered(id, answer.is_ok().then_some(stamps)) else {
                    return protocol_error(format!("it answered turn {id}, which was not due"));
                };
                return Ok(Some(Event::Answer(task, answer)));
            }
            _ => return protocol_error(format!("it sent {kind:?} where that makes no sense")),
        }
        Ok(None)
    }

    /// Takes back the tasks that were sent ahead, if the worker is stuck.
    pub(super) fn take_back(&mut self) -> Vec<usize> {
        self.flight.take_back()
    }

    /// Reaps a worker that can no longer be used; it is killed first if it still runs.
    pub(super) fn reap(mut self, error: &WorkerError) -> Reaped {
        self.await_pid();
        let mut child = self.child.borrow_mut();
        let mut killed_from_outside = false;
        let status = match error {
            _ if !self.has_pid => "the fork server ended before it told of its worker".into(),
            // A process that ends closes its socket last but for its own end; one that still runs has closed it itself.
            WorkerError::Exited => {
                let exit = child.wait(CLOSED_TIMEOUT);
                killed_from_outside = exit.is_kill() && !child.was_killed();
                match child.why_killed() {
                    Some(why) => format!("killed for another task of its process: {why}"),
                    None if exit.is_kill() && child.was_killed() => "it closed its socket; killed".into(),
                    None => exit.to_string(),
                }
            }
            WorkerError::Protocol(_)
            | WorkerError::Send(_)
            | WorkerError::Timeout(..)
            | WorkerError::TaskTimeout(_) => {
                child.kill_for(&error.to_string());
                child.wait(EXIT_TIMEOUT);
                format!("{error}; killed")
            }
        };
        drop(child);
        let (begun, unbegun) = self.flight.drain();
        Reaped { begun, unbegun, status, killed_from_outside }
    }

    /// Tells the worker to end. Dropping the handle waits until it has.
    pub(super) fn shut_down(&mut self) {
        self.await_pid();
        if self.is_idle() {
            let _ = self.link.stream().shutdown(Shutdown::Both);
        } else {
            // Its answers are of no use any more.
            self.child.borrow_mut().kill();
        }
    }

    /// Waits for its end until a deadline, and kills it then.
    pub(super) fn wait_until(&mut self, deadline: Instant) {
        let _: Exit = self.child.borrow_mut().wait(deadline.saturating_duration_since(Instant::now()));
    }

    /// Waits until the fork server has told its process id: without that it could not be reaped.
    fn await_pid(&mut self) {
        if !self.has_pid && self.link.stream().set_nonblocking(false).is_ok() {
            self.link.set_lazy(false);
            let _ = self.link.stream().set_read_timeout(Some(EXIT_TIMEOUT));
            // Nothing is read once it is known: nothing more may come.
            while !self.has_pid {
                let Ok(Some(frame)) = self.link.next() else { break };
                let _ = self.handle(frame);
            }
        }
    }

    /// Whether a worker that was told to end has done so.
    pub(super) fn has_exited(&mut self) -> bool {
        self.child.borrow_mut().try_wait().is_some()
    }
}

/// Why nothing can be sent to a worker that lives, and what would help.
fn cannot_send(error: &std::io::Error) -> String {
    let help = match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::TOOMANYREFS | rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => {
            ": its message has more shared arrays than the limit of open files allows; raise it (ulimit -n), or put them \
             into one array"
        }
        _ => "",
    };
    format!("its message cannot be sent ({error}){help}")
}

/// Whether reading or sending gave this because the process has ended.
fn is_hang_up(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
}

impl AsFd for WorkerHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.shut_down();
        let _: Exit = self.child.borrow_mut().wait(EXIT_TIMEOUT);
    }
}
