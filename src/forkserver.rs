//! The fork server: this program once more, with one thread and nothing done yet, which forks workers on request.
//!
//! A forked worker skips the loader and the start of the program. It is made with `CLONE_PARENT`, so that it is
//! the pool's own child: the pool waits for it as for any other. One server serves all pools of a program; it
//! ends with it, when its socket is closed.

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{self, Child, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::job::Cause;
use crate::message::Packet;
use crate::program::{self, Role};
use crate::scenario::Scenario;
use crate::socket::Socket;
use crate::wire::{self, Frame, Kind};
use crate::worker;

/// The server as its program sees it.
struct Server {
    child: Child,
    requests: Socket,
}

static SERVER: Mutex<Option<Server>> = Mutex::new(None);

/// Has a worker made that gets `socket`; it is born, or refused, in a frame on that socket.
pub(crate) fn request(socket: OwnedFd) -> Result<()> {
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..2 {
        let running = match &mut *server {
            Some(running) => running,
            none => none.insert(start_for_good()?),
        };
        match running.requests.send(b"w", Some(socket.as_fd())) {
            Ok(_) => return Ok(()),
            // It was killed: the next one may do better.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                if let Some(mut dead) = server.take() {
                    let _ = dead.child.wait();
                }
            }
            Err(error) => return Err(error).context("cannot reach the fork server"),
        }
    }
    bail!("the fork server ends as soon as it is started")
}

/// Starts the server from a thread that stays as long as the program: it counts as the parent of the server and of
/// all that it forks, and they end with their parent.
fn start_for_good() -> Result<Server> {
    let (tell, told) = mpsc::channel();
    let stay = move || {
        let _ = tell.send(start());
        loop {
            thread::park();
        }
    };
    thread::Builder::new().name("fork server".into()).spawn(stay).context("cannot start a thread")?;
    told.recv().context("the thread that starts the fork server ended")?
}

fn start() -> Result<Server> {
    let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair for the fork server")?;
    let mut command = program::reenter("forkserver")?;
    command.stdin(Stdio::from(OwnedFd::from(theirs)));
    let child = command.spawn().with_context(|| format!("cannot start the fork server ({command:?})"))?;
    Ok(Server { child, requests: Socket::new(ours) })
}

/// `parbench forkserver`: forks until the socket is closed.
pub(crate) fn main(scenarios: &'static [Scenario]) -> ! {
    program::play(Role::Helper);
    match serve(scenarios) {
        Ok(()) => process::exit(0),
        Err(error) => {
            eprintln!("parbench fork server {}: {error:#}", process::id());
            process::exit(2)
        }
    }
}

fn serve(scenarios: &'static [Scenario]) -> Result<()> {
    let socket = worker::take_socket().context("stdin is not the socket of a program that wants workers")?;
    let mut requests = Socket::new(socket);
    program::call_itself("forkserver");
    loop {
        match requests.read(&mut [0]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        }
        // Without one the pool sees the end of the worker that was never born.
        let Some(socket) = requests.descriptor() else { continue };
        let mut socket = UnixStream::from(socket);
        let frame = match fork() {
            Ok(None) => {
                drop(requests);
                program::call_itself("worker");
                worker::run(socket, scenarios)
            }
            Ok(Some(process)) => Frame { id: process, ..Frame::new(Kind::Born, Packet::default()) },
            Err(error) => {
                let why = format!("the fork server cannot fork: {error}");
                Frame::new(Kind::Failed, Packet::pack(&Cause::Refused { why })?)
            }
        };
        // Nobody listens where the pool is gone, or the worker's end came first.
        let _ = wire::write(&mut socket, &frame);
    }
}

/// Forks a sibling; `None` in the new process.
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
    Err(io::Error::new(ErrorKind::Unsupported, "this system cannot fork for somebody else; use `processes`"))
}
