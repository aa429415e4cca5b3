//! The far side of a process: says hello, opens a scenario by name, runs the tasks it is sent, and ends when
//! its pool does.

use std::fs::File;
use std::io::BufReader;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process;

use anyhow::{Context, Result};

use crate::job::{Cause, Server};
use crate::message::Packet;
use crate::program::{self, Role};
use crate::scenario::Scenario;
use crate::span::Stamps;
use crate::usage::Usage;
use crate::wire::{self, BUFFER_BYTES, Frame, Hello, Kind, VERSION, WireError};

/// Serves until the pool closes the socket, then ends the process.
pub(crate) fn main(scenarios: &'static [Scenario]) -> ! {
    program::play(Role::Helper);
    match serve(scenarios) {
        Ok(()) => process::exit(0),
        Err(error) => {
            eprintln!("parbench worker {}: {error:#}", process::id());
            process::exit(2)
        }
    }
}

fn serve(scenarios: &'static [Scenario]) -> Result<()> {
    let mut socket =
        take_socket().context("stdin is not the socket of a pool; workers are started by one")?;
    program::end_with(socket.try_clone()?.into())?;
    let hello = Hello { version: VERSION.into() };
    let hello = Frame::new(Kind::Hello, Packet::pack(&hello)?);
    wire::write(&mut socket, &hello)?;

    let mut from_pool = BufReader::with_capacity(BUFFER_BYTES, socket.try_clone()?);
    let mut server: Option<Box<dyn Server>> = None;
    loop {
        let Frame { kind, id, packet, .. } = match wire::read(&mut from_pool) {
            Ok(frame) => frame,
            Err(WireError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let reply = match kind {
            Kind::Open => {
                // The old state goes first: two HTTP clients or file locks at once may be one too many.
                server = None;
                open(scenarios, packet).map(|opened| {
                    server = Some(opened);
                    Frame::new(Kind::Ready, Packet::default())
                })
            }
            Kind::Call => match &mut server {
                Some(server) => {
                    server.call(packet).map(|(stamps, packet)| Frame { kind: Kind::Done, id, stamps, packet })
                }
                None => Err(Cause::Refused { why: "no scenario is open in its worker".into() }),
            },
            Kind::Measure => Ok(Frame::new(Kind::Used, Packet::pack(&Usage::take())?)),
            _ => anyhow::bail!("the pool sent {kind:?}, which no worker understands"),
        };
        let reply = reply.or_else(|cause| failed(id, &cause))?;
        wire::write(&mut socket, &reply)?;
    }
}

fn failed(id: u32, cause: &Cause) -> Result<Frame> {
    Ok(Frame { kind: Kind::Failed, id, stamps: Stamps::default(), packet: Packet::pack(cause)? })
}

fn open(scenarios: &[Scenario], packet: Packet) -> Result<Box<dyn Server>, Cause> {
    let find = || Ok::<_, anyhow::Error>(Scenario::find(scenarios, &packet.unpack::<String>()?)?.serve);
    let mut server = find().map_err(|error| Cause::Refused { why: format!("{error:#}") })?();
    server.open()?;
    Ok(server)
}

/// Takes the socket from stdin and puts /dev/null in its place; output goes where errors go.
///
/// A task's own child processes then inherit neither the socket, whose end would go unnoticed, nor the
/// descriptor of a result.
fn take_socket() -> Result<UnixStream> {
    let socket: OwnedFd = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?;
    rustix::net::getpeername(&socket)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(UnixStream::from(socket))
}
