//! The far side of a worker process: says hello, opens a scenario by name, runs the tasks that it is sent, and ends when
//! its pool does.

pub(crate) mod forkserver;
#[cfg(feature = "mpi")]
pub(crate) mod mpi;

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process;
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use crate::data::packet::Packet;
use crate::data::segment;
use crate::job::{Cause, ErasedWorker};
use crate::program::lifetime::{self, die_with_parent, exit_with_owner};
use crate::program::limits::{limit_memory, pin_to_cpus, stack_bytes};
use crate::program::{self, Role};
use crate::scenario::Scenario;
use crate::span::{Stamps, now};
use crate::usage::Usage;
use crate::wire::ledger::Ledger;
use crate::wire::{Frame, FrameKind, Hello, Link, Output, Setup, VERSION, WireError};
use crate::workload;

/// Serves until the pool closes the socket, then ends the process.
pub(crate) fn main(scenarios: &'static [Scenario]) -> ! {
    program::set_role(Role::Helper);
    match take_socket() {
        Ok(socket) => run(socket, scenarios),
        Err(error) => fail(&error.context("stdin is not the socket of a pool; workers are started by one")),
    }
}

/// Serves in a process that has its socket already, and one thread.
pub(crate) fn run(socket: UnixStream, scenarios: &'static [Scenario]) -> ! {
    lifetime::own_group();
    let served = serve(socket, scenarios, Part::Process);
    lifetime::end_group();
    end(served)
}

/// Ends the process.
fn end(served: Result<()>) -> ! {
    match served {
        Ok(()) => process::exit(0),
        // The pool has gone while a task ran: there is nobody to tell.
        Err(error)
            if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe) =>
        {
            process::exit(0)
        }
        Err(error) => fail(&error),
    }
}

/// What serves a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The process with its first thread, which is told how the process is to work.
    Process,
    /// A further thread of it.
    Thread,
}

/// Starts a thread that serves a further connection. It ends with its connection, and the process with what it does wrong.
fn serve_beside(link: &mut Link, scenarios: &'static [Scenario]) -> Result<()> {
    let socket = link.descriptor().context("the descriptor of a thread's connection was lost")?;
    let serve = move || {
        if let Err(error) = serve(UnixStream::from(socket), scenarios, Part::Thread) {
            lifetime::end_group();
            end(Err(error));
        }
    };
    let thread = thread::Builder::new().name("worker".into()).stack_size(stack_bytes()).spawn(serve);
    thread.context("cannot start a thread").map(drop)
}

fn fail(error: &anyhow::Error) -> ! {
    program::say(&format!("parbench worker {}: {error:#}", process::id()));
    process::exit(2)
}

fn serve(socket: UnixStream, scenarios: &'static [Scenario], part: Part) -> Result<()> {
    let pool = socket.try_clone().context("cannot duplicate the socket to the pool")?;
    let mut link = Link::new(socket, false);
    let hello = Hello { version: VERSION.into() };
    send(&mut link, &Frame::new(FrameKind::Hello, Packet::pack(&hello)?))?;
    let Some(setup) = receive(&mut link)? else { return Ok(()) };
    ensure!(setup.kind == FrameKind::Setup, "the pool sent {:?} before it said how to work", setup.kind);
    let setup: Setup = setup.packet.unpack()?;
    let forked = setup.forked;
    let ledger = match set_up(setup, &mut link) {
        Ok(ledger) => ledger,
        Err(error) => {
            let cause = Cause::Refused { why: format!("{error:#}") };
            return send(&mut link, &failed(0, &cause)?);
        }
    };
    // One thread of the process watches for its end.
    let mut pool_socket = Some(pool).filter(|_| part == Part::Process);
    // Starting a thread takes half as long as all the rest: a forked worker that runs a single task does without one.
    if !forked {
        watch_pool(&mut pool_socket)?;
    }

    // For the pool, which asks now and then.
    let (mut moved_bytes, mut packing_ns) = (0, 0);
    let mut opened: Opened = None;
    loop {
        let unwatched = pool_socket.is_some();
        let next = receive(&mut link);
        if unwatched {
            // An idle worker sees the end of its pool by itself, and ends what its task has started.
            die_with_parent(true)?;
        }
        let Some(Frame { kind, id, packet, .. }) = next? else { return Ok(()) };
        let reply = match kind {
            FrameKind::Open => {
                open(scenarios, packet, &mut opened).map(|()| Frame::new(FrameKind::Ready, Packet::default()))
            }
            FrameKind::Thread => {
                serve_beside(&mut link, scenarios)?;
                continue;
            }
            // The task was taken back: another worker has it.
            FrameKind::Call if ledger.as_ref().is_some_and(|ledger| !ledger.begin(id)) => {
                drop(packet);
                continue;
            }
            FrameKind::Call => {
                let arrived = now();
                if id > 1 {
                    watch_pool(&mut pool_socket)?;
                }
                call(&mut opened, packet).map(|(stamps, output)| {
                    moved_bytes += output.moved_bytes(true) as u64;
                    // Private arrays leave through shared memory: one copy here, and none in the pool.
                    let packet = if link.shares() { output.into_shared() } else { output };
                    packing_ns += now() - stamps.stopped + (stamps.started - arrived);
                    Frame { kind: FrameKind::Done, id, stamps, packet }
                })
            }
            FrameKind::Measure => {
                let (moved_bytes, packing_ns) = (Some(moved_bytes), Some(packing_ns));
                // All else is the process's, and its first thread tells it.
                let of_process = if part == Part::Process { Usage::take() } else { Usage::ZERO };
                let used = Usage { moved_bytes, packing_ns, ..of_process };
                Ok(Frame::new(FrameKind::Used, Packet::pack(&used)?))
            }
            _ => bail!("the pool sent {kind:?}, which a worker does not understand"),
        };
        let reply = reply.or_else(|cause| failed(id, &cause))?;
        send(&mut link, &reply)?;
        if unwatched {
            die_with_parent(false)?;
        }
    }
}

/// Makes this process end with its pool from now on, unless that has been done.
fn watch_pool(pool_socket: &mut Option<UnixStream>) -> Result<()> {
    pool_socket.take().map_or(Ok(()), |pool| exit_with_owner(pool.into()))
}

fn send(link: &mut Link, frame: &Frame) -> Result<()> {
    link.queue(frame);
    link.flush().context("cannot answer the pool")?;
    Ok(())
}

/// The next frame; `None` at the end.
fn receive(link: &mut Link) -> Result<Option<Frame>> {
    match link.next() {
        Ok(frame) => Ok(frame),
        Err(WireError::Closed) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn failed(id: u32, cause: &Cause) -> Result<Frame> {
    Ok(Frame { kind: FrameKind::Failed, id, stamps: Stamps::default(), packet: Packet::pack(cause)? })
}

/// Sets this process up as its pool asks, before it has a second thread.
fn set_up(setup: Setup, link: &mut Link) -> Result<Option<Ledger>> {
    let Setup { shares, cpus, memory_limit, output, environment, directory, forked } = setup;
    if forked {
        // The server's are those of the time when it was started.
        for (name, _) in env::vars_os() {
            // SAFETY: this process has one thread.
            unsafe { env::remove_var(name) };
        }
    }
    if let Some(directory) = directory {
        env::set_current_dir(&directory)
            .with_context(|| format!("cannot change to the directory {}", directory.display()))?;
    }
    for (name, value) in environment {
        // SAFETY: this process has one thread.
        unsafe { env::set_var(name, value) };
    }
    match output {
        Output::Stderr => {}
        Output::Discard => print_to(&File::options().write(true).open("/dev/null")?)?,
        Output::Append(path) => {
            let file = OpenOptions::new().append(true).create(true).open(&path);
            print_to(&file.with_context(|| format!("cannot append its output to {}", path.display()))?)?;
        }
    }
    if !cpus.is_empty() {
        pin_to_cpus(&cpus).with_context(|| format!("cannot pin a worker to CPU {cpus:?}"))?;
    }
    if let Some(bytes) = memory_limit {
        limit_memory(bytes).with_context(|| format!("cannot limit a worker to {bytes} bytes"))?;
    }
    link.set_shares(shares);
    if !shares {
        segment::disable();
        return Ok(None);
    }
    segment::assume_supported();
    let descriptor = link.descriptor().context("the descriptor of its ledger was lost")?;
    Ledger::open(descriptor).map(Some).context("its ledger cannot be mapped")
}

fn print_to(file: &File) -> Result<()> {
    rustix::stdio::dup2_stdout(file)?;
    rustix::stdio::dup2_stderr(file)?;
    Ok(())
}

/// The name of the open scenario, and the worker that runs its tasks.
type Opened = Option<(String, Box<dyn ErasedWorker>)>;

fn call(opened: &mut Opened, input: Packet) -> Result<(Stamps, Packet), Cause> {
    let refuse = || Cause::Refused { why: "no scenario is open in its worker".into() };
    opened.as_mut().ok_or_else(refuse)?.1.run_packed(input)
}

/// Opens a scenario, unless it is open.
fn open(scenarios: &[Scenario], packet: Packet, opened: &mut Opened) -> Result<(), Cause> {
    let refuse = |error: anyhow::Error| Cause::Refused { why: format!("{error:#}") };
    let (name, size): (String, String) = packet.unpack().map_err(refuse)?;
    workload::set_size(size.parse().map_err(refuse)?);
    if opened.as_ref().is_some_and(|(open, _)| *open == name) {
        return Ok(());
    }
    // The old state is dropped first: two HTTP clients or file locks at a time may be one too many.
    *opened = None;
    let mut worker = Scenario::find(scenarios, &name).map_err(refuse)?.worker();
    worker.make_state()?;
    *opened = Some((name, worker));
    Ok(())
}

/// Takes the socket from stdin, replaces stdin by /dev/null and stdout by stderr.
///
/// The child processes of a task then inherit neither the socket, whose end would go unnoticed, nor a descriptor that
/// results are written to.
pub(crate) fn take_socket() -> Result<UnixStream> {
    let socket = OwnedFd::from(program::take_stdin()?);
    rustix::net::getpeername(&socket)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(UnixStream::from(socket))
}
