//! A rank of an MPI job other than the first: opens scenarios and runs tasks as a worker process does, until rank 0 ends.

use std::process;

use anyhow::{Result, bail};

use super::{Opened, call, fail, failed, open};
use crate::data::packet::Packet;
use crate::program::lifetime::die_with_parent;
use crate::program::{self, Role};
use crate::scenario::Scenario;
use crate::span::{Stamps, now};
use crate::usage::Usage;
use crate::wire::mpi::{World, rank, with_world};
use crate::wire::{Frame, FrameKind, RankHello, WireError};

/// Joins the job that this process is a rank of, if it is one. A rank other than the first then serves that, and ends.
pub(crate) fn enter(scenarios: &'static [Scenario]) {
    let Some(rank) = rank() else { return };
    if rank == 0 {
        // Whatever it does then, the others wait for it to join, and to end.
        return with_world(|_| Ok(())).unwrap_or_else(|error| fail(&error));
    }
    program::set_role(Role::Helper);
    // The daemon that has started it: what is left of a job that was killed ends, too.
    let served = die_with_parent(true).and_then(|()| with_world(|world| serve(world, scenarios)));
    match served {
        Ok(()) => process::exit(0),
        Err(error) => fail(&error.context(format!("rank {rank}"))),
    }
}

fn serve(world: &World, scenarios: &'static [Scenario]) -> Result<()> {
    world.send(0, &Frame::new(FrameKind::Hello, Packet::pack(&RankHello::here())?))?;
    let (mut moved_bytes, mut packing_ns) = (0, 0);
    let mut opened: Opened = None;
    loop {
        let Frame { kind, id, packet, .. } = match world.receive(0) {
            Ok(frame) => frame,
            Err(WireError::Closed) => {
                world.note_end();
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let arrived = now();
        let reply = match kind {
            FrameKind::Open => open(scenarios, packet, &mut opened).map(|()| Frame {
                // From these, rank 0 learns how far the clock of another host is ahead.
                stamps: Stamps { started: arrived, stopped: now() },
                ..Frame::new(FrameKind::Ready, Packet::default())
            }),
            FrameKind::Call => call(&mut opened, packet).map(|(stamps, packet)| {
                moved_bytes += packet.moved_bytes(false) as u64;
                packing_ns += now() - stamps.stopped + (stamps.started - arrived);
                Frame { kind: FrameKind::Done, id, stamps, packet }
            }),
            FrameKind::Measure => {
                let (moved_bytes, packing_ns) = (Some(moved_bytes), Some(packing_ns));
                let used = Usage { moved_bytes, packing_ns, ..Usage::take() };
                Ok(Frame::new(FrameKind::Used, Packet::pack(&used)?))
            }
            _ => bail!("rank 0 sent {kind:?}, which a rank does not understand"),
        };
        world.send(0, &reply.or_else(|cause| failed(id, &cause))?)?;
    }
}
