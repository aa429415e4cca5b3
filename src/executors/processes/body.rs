//! A worker process as the system sees it: started, killed, and waited for, so that none is left.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::{forkserver, program};

/// How workers are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// The program is executed again.
    Spawn,
    /// A server that was executed before forks.
    Fork,
}

/// A process of ours. It is ours to wait for, so its number is nobody else's until we have.
#[derive(Debug)]
pub(super) struct Body {
    /// `None` as long as a fork server has not said it.
    pid: Option<Pid>,
    /// Readable when the process has ended; `None` where the system has no such thing.
    descriptor: Option<OwnedFd>,
    ended: bool,
    /// Whether we have killed it.
    killed: bool,
}

impl Body {
    /// Starts a process with `socket`, and does not wait for it.
    pub(super) fn start(
        method: Method,
        socket: OwnedFd,
        environment: &[(String, String)],
        bare: bool,
    ) -> Result<Body> {
        let mut body = Body { pid: None, descriptor: None, ended: false, killed: false };
        match method {
            Method::Fork => forkserver::request(socket)?,
            Method::Spawn => {
                let mut command = program::reenter("worker")?;
                // Its end travels as stdin, which needs no `unsafe` hook between fork and exec.
                command.stdin(Stdio::from(socket)).envs(environment.iter().cloned());
                let child = command.spawn().context("cannot start a worker process")?;
                body.born(child.id(), bare);
            }
        }
        Ok(body)
    }

    /// Notes which process it is.
    pub(super) fn born(&mut self, process: u32, bare: bool) {
        self.pid = i32::try_from(process).ok().and_then(Pid::from_raw);
        if !bare {
            self.descriptor = self.pid.and_then(descriptor_of);
        }
    }

    /// Whether it is known which process it is.
    pub(super) fn is_born(&self) -> bool {
        self.pid.is_some()
    }

    /// What to poll for its end.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.descriptor.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn kill(&mut self) {
        if let (Some(pid), false) = (self.pid, self.ended) {
            // It may have ended a moment ago; nobody else can have its number before we have waited for it.
            let _ = kill_process(pid, Signal::KILL);
            self.killed = true;
        }
    }

    /// Whether it was us who killed it.
    pub(super) fn is_killed(&self) -> bool {
        self.killed
    }

    /// Whether it has ended, and how. Afterwards its number may be another's.
    pub(super) fn try_wait(&mut self) -> Option<End> {
        // One that was waited for is gone, and so is one that nobody has named.
        let Some(pid) = self.pid.filter(|_| !self.ended) else { return Some(End::Unknown) };
        let end = match waitpid(Some(pid), WaitOptions::NOHANG) {
            Ok(None) => return None,
            Ok(Some((_, status))) => End::Status(ExitStatus::from_raw(status.as_raw())),
            Err(rustix::io::Errno::INTR) => return None,
            // Somebody else has waited for it, or the program lets the system do so.
            Err(_) => End::Unknown,
        };
        self.ended = true;
        Some(end)
    }

    /// Waits for its end, and kills it when that takes too long.
    pub(super) fn wait(&mut self, patience: Duration) -> End {
        let mut deadline = Instant::now() + patience;
        let mut pause = Duration::from_micros(50);
        loop {
            if let Some(end) = self.try_wait() {
                return end;
            }
            let now = Instant::now();
            if now >= deadline {
                self.kill();
                // Only a process that the system cannot interrupt takes longer than this to be killed.
                deadline = now + Duration::from_secs(60);
            }
            match &self.descriptor {
                Some(descriptor) => {
                    let left = deadline - now.min(deadline);
                    let timeout =
                        Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
                    let _ = poll(&mut [PollFd::new(descriptor, PollFlags::IN)], Some(&timeout));
                }
                None => {
                    thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(10));
                }
            }
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Status(ExitStatus),
    Unknown,
}

impl End {
    /// Whether it was SIGKILL: nothing that the process did by itself.
    pub(super) fn is_kill(self) -> bool {
        matches!(self, End::Status(status) if status.signal() == Some(Signal::KILL.as_raw()))
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Status(status) => write!(f, "{status}"),
            End::Unknown => f.write_str("nobody knows how"),
        }
    }
}

#[cfg(target_os = "linux")]
fn descriptor_of(pid: Pid) -> Option<OwnedFd> {
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn descriptor_of(_: Pid) -> Option<OwnedFd> {
    None
}
