//! A worker process as the system sees it: started, killed and waited for, so that none is left.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

use super::forkserver;
use crate::program;
use crate::usage::{Usage, add_reaped, schedstat_wait_ns};

/// How workers are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartMethod {
    /// This program is executed again.
    Spawn,
    /// The fork server forks.
    Fork,
}

/// A child of this process. The system gives its process id to no other process until it has been waited for.
#[derive(Debug, Default)]
pub(super) struct ChildProcess {
    /// `None` until the fork server has told it.
    pid: Option<Pid>,
    /// Readable once the process has ended; `None` if the system has no process descriptors.
    descriptor: Option<Rc<OwnedFd>>,
    /// How it ended, once it has been waited for.
    exit: Option<Exit>,
    /// Whether this process has killed it.
    killed: bool,
    /// Why it was killed, for the tasks of its other threads.
    why_killed: Option<String>,
}

impl ChildProcess {
    /// Starts a process that gets `socket`, without waiting until it runs.
    pub(super) fn start(
        method: StartMethod,
        socket: OwnedFd,
        environment: &[(OsString, OsString)],
        without_descriptor: bool,
    ) -> Result<ChildProcess> {
        let mut child = ChildProcess::default();
        match method {
            StartMethod::Fork => forkserver::request(socket)?,
            StartMethod::Spawn => {
                let mut command = program::reexecute("worker")?;
                // The socket crosses as stdin, which needs no `unsafe` hook between fork and exec.
                command.stdin(Stdio::from(socket)).envs(environment.iter().cloned());
                // What a task starts and leaves behind is in the group, and ends with the worker.
                command.process_group(0);
                let spawned = command.spawn().context("cannot start a worker process")?;
                child.set_pid(spawned.id(), without_descriptor);
            }
        }
        Ok(child)
    }

    pub(super) fn set_pid(&mut self, pid: u32, without_descriptor: bool) {
        self.pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        if !without_descriptor {
            self.descriptor = self.pid.and_then(descriptor_of).map(Rc::new);
        }
    }

    pub(super) fn has_pid(&self) -> bool {
        self.pid.is_some()
    }

    /// Its process id, and whether it has been stopped, for a person.
    pub(super) fn describe(&self) -> String {
        let Some(pid) = self.pid else { return "a worker process".into() };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name before it may have any characters.
        let is_stopped = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']));
        format!(
            "worker process {pid}{}",
            if is_stopped { ", which is stopped (kill -CONT lets it go on)," } else { "" }
        )
    }

    /// The descriptor to poll for its end.
    pub(super) fn descriptor(&self) -> Option<Rc<OwnedFd>> {
        self.descriptor.clone()
    }

    pub(super) fn kill(&mut self) {
        if let (Some(pid), None) = (self.pid, self.exit) {
            // It may have ended a moment ago, but its id belongs to no other process before it has been waited for. A
            // forked worker may not have made its group yet.
            let _ = kill_process(pid, Signal::KILL);
            let _ = kill_process_group(pid, Signal::KILL);
            self.killed = true;
        }
    }

    /// Kills it for what one of its threads has done or left undone.
    pub(super) fn kill_for(&mut self, why: &str) {
        self.kill();
        self.why_killed.get_or_insert_with(|| why.into());
    }

    /// Whether this process has killed it.
    pub(super) fn was_killed(&self) -> bool {
        self.killed
    }

    /// For what, if it was for a thread of it.
    pub(super) fn why_killed(&self) -> Option<&str> {
        self.why_killed.as_deref()
    }

    /// Reaps it if it has ended, with what its tasks have left running, and returns how. Afterwards its id may be
    /// another's.
    pub(super) fn try_wait(&mut self) -> Option<Exit> {
        if self.exit.is_some() {
            return self.exit;
        }
        // One whose id the fork server never told is gone.
        let Some(pid) = self.pid else { return Some(Exit::Unknown) };
        let exit = match reap(pid) {
            Ok(None) => return None,
            Ok(Some((status, used))) => {
                add_reaped(used);
                Exit::Status(status)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => return None,
            // Other code of this program has waited for it, or has told the system to reap all children.
            Err(_) => Exit::Unknown,
        };
        self.exit = Some(exit);
        Some(exit)
    }

    /// Waits for its end, and kills it after `timeout`.
    pub(super) fn wait(&mut self, timeout: Duration) -> Exit {
        let mut deadline = Instant::now() + timeout;
        let mut pause = Duration::from_micros(50);
        loop {
            if let Some(exit) = self.try_wait() {
                return exit;
            }
            let now = Instant::now();
            if now >= deadline {
                self.kill();
                // Only a process that the system cannot interrupt takes longer than this to die.
                deadline = now + Duration::from_secs(60);
            }
            match &self.descriptor {
                Some(descriptor) => {
                    let left = deadline - now.min(deadline);
                    let timeout =
                        Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
                    let _ = poll(&mut [PollFd::new(&**descriptor, PollFlags::IN)], Some(&timeout));
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
pub(super) enum Exit {
    Status(ExitStatus),
    Unknown,
}

impl Exit {
    /// Whether it was SIGKILL, which no process sends itself by accident.
    pub(super) fn is_kill(self) -> bool {
        matches!(self, Exit::Status(status) if status.signal() == Some(Signal::KILL.as_raw()))
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Status(status) => write!(f, "{status}"),
            Exit::Unknown => f.write_str("exit status unknown"),
        }
    }
}

/// Reaps a child if it has ended: how it ended, and what it had used.
fn reap(pid: Pid) -> io::Result<Option<(ExitStatus, Usage)>> {
    // Its id is also that of its group, and stays theirs until it is reaped.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    if let Ok(None) = waitid(WaitId::Pid(pid), look) {
        return Ok(None);
    }
    let _ = kill_process_group(pid, Signal::KILL);
    // The file is there until the child is reaped. It covers the first thread, which runs the tasks.
    let wait = schedstat_wait_ns(Path::new(&format!("/proc/{}/schedstat", pid.as_raw_nonzero())));
    let (mut status, mut used) = (0, MaybeUninit::<libc::rusage>::zeroed());
    let pid = pid.as_raw_nonzero().get();
    // SAFETY: the kernel writes one status and one `rusage` to the pointers; zeroes are valid if it does not.
    let (reaped, used) =
        unsafe { (libc::wait4(pid, &mut status, libc::WNOHANG, used.as_mut_ptr()), used.assume_init()) };
    match reaped {
        0 => Ok(None),
        1.. => {
            let transfer = Usage {
                peak_bytes: Some(0),
                moved_bytes: Some(0),
                packing_ns: Some(0),
                ..Usage::from_rusage(&used)
            };
            Ok(Some((ExitStatus::from_raw(status), Usage { run_queue_wait_ns: wait, ..transfer })))
        }
        _ => Err(io::Error::last_os_error()),
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
