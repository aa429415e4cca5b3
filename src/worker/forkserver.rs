//! The far side of the fork server: this program once more, with one thread and nothing done yet, which forks workers
//! on request.
//!
//! A forked worker skips the loader and the start of the program. It is made with `CLONE_PARENT`, so that it is the
//! pool's own child: the pool waits for it as for any other. The server ends with the program that started it, when its
//! socket is closed.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::process;

use anyhow::{Context, Result};

use crate::data::packet::Packet;
use crate::job::Cause;
use crate::program::limits::set_process_name;
use crate::program::{self, Role};
use crate::scenario::Scenario;
use crate::wire::socket::Socket;
use crate::wire::{self, Frame, FrameKind};

/// The main of `parbench forkserver`: forks until the socket is closed.
pub(crate) fn main(scenarios: &'static [Scenario]) -> ! {
    program::set_role(Role::Helper);
    match serve(scenarios) {
        Ok(()) => process::exit(0),
        Err(error) => {
            program::say(&format!("parbench fork server {}: {error:#}", process::id()));
            process::exit(2)
        }
    }
}

fn serve(scenarios: &'static [Scenario]) -> Result<()> {
    let socket = super::take_socket().context("stdin is not the socket of a program that wants workers")?;
    let mut requests = Socket::new(socket);
    set_process_name("forkserver");
    loop {
        match requests.read(&mut [0]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        }
        // If it got lost, the pool sees the socket of the worker close.
        let Some(socket) = requests.descriptor() else { continue };
        let mut socket = UnixStream::from(socket);
        let frame = match fork() {
            Ok(None) => {
                drop(requests);
                set_process_name("worker");
                super::run(socket, scenarios)
            }
            Ok(Some(process)) => Frame { id: process, ..Frame::new(FrameKind::Forked, Packet::default()) },
            Err(error) => {
                let why = format!("the fork server cannot fork: {error}");
                Frame::new(FrameKind::Failed, Packet::pack(&Cause::Refused { why })?)
            }
        };
        // It fails if the pool is gone, or the worker has ended already.
        let _ = wire::write(&mut socket, &frame);
    }
}

/// Forks a sibling and returns its process id; `None` in the new process.
#[cfg(target_os = "linux")]
fn fork() -> io::Result<Option<u32>> {
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: this process has one thread, so the copy has all locks free and may do whatever it likes; without
    // CLONE_VM and with no stack given, both go on from here, each in its own memory.
    let process = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match process {
        0 => Ok(None),
        1.. => Ok(Some(process as u32)),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(target_os = "linux"))]
fn fork() -> io::Result<Option<u32>> {
    Err(io::Error::new(
        ErrorKind::Unsupported,
        "this system cannot fork a child of another process; use `processes`",
    ))
}
