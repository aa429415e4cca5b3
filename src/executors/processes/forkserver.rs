//! The near side of the fork server: one for all pools of a program, started with the first of them.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::program;
use crate::wire::socket::Socket;

struct ForkServer {
    child: Child,
    requests: Socket,
}

static SERVER: Mutex<Option<ForkServer>> = Mutex::new(None);

/// Requests a worker that gets `socket`. A frame on that socket tells its process id, or why there is no worker.
pub(super) fn request(socket: OwnedFd) -> Result<()> {
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..2 {
        let running = match &mut *server {
            Some(running) => running,
            none => none.insert(start_permanently()?),
        };
        match running.requests.send(b"w", Some(socket.as_fd())) {
            Ok(_) => return Ok(()),
            // It was killed: the next one may do better.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                if let Some(mut killed) = server.take() {
                    let _ = killed.child.wait();
                }
            }
            Err(error) => return Err(error).context("cannot reach the fork server"),
        }
    }
    bail!("the fork server ends as soon as it is started")
}

/// Starts the server from a thread that lives as long as the program: it counts as the parent of the server and of all
/// that it forks, and they end with their parent.
fn start_permanently() -> Result<ForkServer> {
    let (sender, receiver) = mpsc::channel();
    let stay = move || {
        let _ = sender.send(start());
        loop {
            thread::park();
        }
    };
    thread::Builder::new().name("fork server".into()).spawn(stay).context("cannot start a thread")?;
    receiver.recv().context("the thread that starts the fork server ended")?
}

fn start() -> Result<ForkServer> {
    let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair for the fork server")?;
    let mut command = program::reexecute("forkserver")?;
    command.stdin(Stdio::from(OwnedFd::from(theirs)));
    let child = command.spawn().with_context(|| format!("cannot start the fork server ({command:?})"))?;
    Ok(ForkServer { child, requests: Socket::new(ours) })
}
