//! The far side of a process: says hello, opens a scenario by name, runs the tasks it is sent, and ends when
//! its pool does.

use std::env;
use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::job::{Cause, Server};
use crate::ledger::Ledger;
use crate::means::Output;
use crate::message::Packet;
use crate::program::{self, Role};
use crate::scenario::Scenario;
use crate::segment;
use crate::span::Stamps;
use crate::usage::Usage;
use crate::wire::{Frame, Hello, Kind, Link, VERSION, WireError};

/// How a worker is to work: the first frame it gets.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// Whether the descriptor of a [`Ledger`] comes along; if not, nothing is shared.
    pub(crate) shares: bool,
    /// CPUs to run on, if not on all.
    pub(crate) cpus: Vec<usize>,
    /// Most bytes of private memory.
    pub(crate) memory: Option<u64>,
    pub(crate) output: Output,
    /// What could not be given to it when it was started.
    pub(crate) environment: Vec<(String, String)>,
    /// Whether a fork server made it.
    pub(crate) forked: bool,
}

/// Serves until the pool closes the socket, then ends the process.
pub(crate) fn main(scenarios: &'static [Scenario]) -> ! {
    program::play(Role::Helper);
    match take_socket() {
        Ok(socket) => run(socket, scenarios),
        Err(error) => fail(&error.context("stdin is not the socket of a pool; workers are started by one")),
    }
}

/// The same in a process that has its socket, and one thread.
pub(crate) fn run(socket: UnixStream, scenarios: &'static [Scenario]) -> ! {
    match serve(socket, scenarios) {
        Ok(()) => process::exit(0),
        // The pool has gone in the middle of it: there is nobody to tell.
        Err(error)
            if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe) =>
        {
            process::exit(0)
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ! {
    eprintln!("parbench worker {}: {error:#}", process::id());
    process::exit(2)
}

fn serve(socket: UnixStream, scenarios: &'static [Scenario]) -> Result<()> {
    let pool = socket.try_clone()?;
    let mut link = Link::new(socket, false);
    let hello = Hello { version: VERSION.into() };
    send(&mut link, &Frame::new(Kind::Hello, Packet::pack(&hello)?))?;
    let Some(setup) = receive(&mut link)? else { return Ok(()) };
    ensure!(setup.kind == Kind::Setup, "the pool sent {:?} before it said how to work", setup.kind);
    let setup: Setup = setup.packet.unpack()?;
    let forked = setup.forked;
    let ledger = match set_up(setup, &mut link) {
        Ok(ledger) => ledger,
        Err(error) => {
            let cause = Cause::Refused { why: format!("{error:#}") };
            return send(&mut link, &failed(0, &cause)?);
        }
    };
    let mut unwatched = Some(pool);
    match forked {
        // Starting a thread takes half as long as all the rest: a worker that runs a single task does without.
        true => program::die_with_parent()?,
        false => watch(&mut unwatched)?,
    }

    let mut opened: Opened = None;
    while let Some(Frame { kind, id, packet, .. }) = receive(&mut link)? {
        let reply = match kind {
            Kind::Open => {
                open(scenarios, packet, &mut opened).map(|()| Frame::new(Kind::Ready, Packet::default()))
            }
            // Taken back: another worker has it.
            Kind::Call if ledger.as_ref().is_some_and(|ledger| !ledger.begin(id)) => {
                drop(packet);
                continue;
            }
            Kind::Call => {
                if id > 1 {
                    watch(&mut unwatched)?;
                }
                if id == 2 {
                    keep_freed_memory();
                }
                call(&mut opened, packet).map(|(stamps, output)| {
                    // Private arrays leave through shared memory: one copy here, and none there.
                    let packet = if link.shares() { output.into_shared() } else { output };
                    Frame { kind: Kind::Done, id, stamps, packet }
                })
            }
            Kind::Measure => Ok(Frame::new(Kind::Used, Packet::pack(&Usage::take())?)),
            _ => bail!("the pool sent {kind:?}, which no worker understands"),
        };
        let reply = reply.or_else(|cause| failed(id, &cause))?;
        send(&mut link, &reply)?;
    }
    Ok(())
}

/// Has the allocator keep what tasks free, as it does in a program that has lived for a while.
///
/// glibc gives memory back to the system from 128 KiB on, until it has once been given back a larger block: then it
/// takes such blocks for usual. A caller has had some, a new worker has not, and would find and clear the pages of
/// its 300 KB of columns again for every task (4,000 page faults and a tenth of the time of a batch of `csv_load`).
fn keep_freed_memory() {
    drop(black_box(Vec::<u8>::with_capacity(16 << 20)));
}

/// Ends this process with its pool from now on, if it is not seen to yet.
fn watch(unwatched: &mut Option<UnixStream>) -> Result<()> {
    unwatched.take().map_or(Ok(()), |pool| program::end_with(pool.into()))
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
    Ok(Frame { kind: Kind::Failed, id, stamps: Stamps::default(), packet: Packet::pack(cause)? })
}

/// Makes this process what the pool wants it to be, before it has a second thread.
fn set_up(setup: Setup, link: &mut Link) -> Result<Option<Ledger>> {
    let Setup { shares, cpus, memory, output, environment, .. } = setup;
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
        program::keep_on(&cpus).with_context(|| format!("cannot keep a worker on CPU {cpus:?}"))?;
    }
    if let Some(bytes) = memory {
        program::limit_memory(bytes).with_context(|| format!("cannot limit a worker to {bytes} bytes"))?;
    }
    link.set_shares(shares);
    if !shares {
        segment::forgo();
        return Ok(None);
    }
    segment::trust();
    let descriptor = link.descriptor().context("the descriptor of its ledger got lost")?;
    Ledger::open(descriptor).map(Some).context("its ledger cannot be mapped")
}

fn print_to(file: &File) -> Result<()> {
    rustix::stdio::dup2_stdout(file)?;
    rustix::stdio::dup2_stderr(file)?;
    Ok(())
}

/// The scenario that is open, and what it does with tasks.
type Opened = Option<(String, Box<dyn Server>)>;

fn call(opened: &mut Opened, input: Packet) -> Result<(Stamps, Packet), Cause> {
    let refuse = || Cause::Refused { why: "no scenario is open in its worker".into() };
    opened.as_mut().ok_or_else(refuse)?.1.call(input)
}

/// Opens a scenario, if it is not open.
fn open(scenarios: &[Scenario], packet: Packet, opened: &mut Opened) -> Result<(), Cause> {
    let refuse = |error: anyhow::Error| Cause::Refused { why: format!("{error:#}") };
    let name: String = packet.unpack().map_err(refuse)?;
    if opened.as_ref().is_some_and(|(open, _)| *open == name) {
        return Ok(());
    }
    // The old state goes first: two HTTP clients or file locks at once may be one too many.
    *opened = None;
    let mut server = (Scenario::find(scenarios, &name).map_err(refuse)?.serve)();
    server.open()?;
    *opened = Some((name, server));
    Ok(())
}

/// Takes the socket from stdin and puts /dev/null in its place; output goes where errors go.
///
/// A task's own child processes then inherit neither the socket, whose end would go unnoticed, nor the
/// descriptor of a result.
pub(crate) fn take_socket() -> Result<UnixStream> {
    let socket: OwnedFd = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?;
    rustix::net::getpeername(&socket)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(UnixStream::from(socket))
}
