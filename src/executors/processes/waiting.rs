//! How a pool waits: for its workers, its copiers, and the next time at which something has to happen.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Slot;
use super::copiers::Copiers;
use crate::span::now;

/// What polling a pool found.
pub(super) struct Polled {
    pub(super) slots: Vec<Readiness>,
    /// Whether an input was copied.
    pub(super) copied: bool,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Readiness {
    /// The worker's socket can be read, or takes more.
    pub(super) readable: bool,
    /// The worker's process has ended.
    pub(super) ended: bool,
}

/// How long a wait lasts at most where something has to happen in time, or nothing tells that a process has ended.
const SLICE_NS: u64 = 250_000_000;
/// A wait that lasts this much longer than it should shows that this program did not run.
const STALL_NS: u64 = 100_000_000;

/// Waits until a worker or a copier has something to say, until a time at which something has to happen, ns, or until one at
/// which nobody minds a delay; perhaps a little less.
///
/// If this program itself was stopped meanwhile, the workers have that much more time for all that they have to do.
pub(super) fn wait(
    slots: &mut [Slot],
    copiers: Option<&Copiers>,
    until: Option<u64>,
    or_until: Option<u64>,
) -> Result<Polled> {
    let slice = now() + SLICE_NS;
    let mut workers = slots.iter().filter_map(|slot| slot.worker.as_ref());
    let is_silent = workers.any(|worker| worker.descriptor().is_none());
    let until = until.or(is_silent.then_some(slice)).map(|until| until.min(slice));
    let until = [until, or_until].into_iter().flatten().min();
    let mut polled = poll_all(slots, copiers, until)?;
    let stalled_ns = until.map_or(0, |until| now().saturating_sub(until));
    for (slot, readiness) in slots.iter_mut().zip(&mut polled.slots) {
        let Some(worker) = &mut slot.worker else { continue };
        if stalled_ns >= STALL_NS {
            worker.postpone(stalled_ns);
        }
        readiness.ended |= is_silent && worker.has_ended_silently();
    }
    Ok(polled)
}

fn poll_all(slots: &[Slot], copiers: Option<&Copiers>, until: Option<u64>) -> Result<Polled> {
    let mut polled = Vec::with_capacity(2 * slots.len() + 1);
    for worker in slots.iter().filter_map(|slot| slot.worker.as_ref()) {
        let writable = if worker.has_outgoing() { PollFlags::OUT } else { PollFlags::empty() };
        polled.push(PollFd::new(worker, PollFlags::IN | writable));
        polled.extend(
            worker.descriptor().map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN)),
        );
    }
    polled.extend(copiers.map(|copiers| PollFd::new(copiers, PollFlags::IN)));
    let result = poll(&mut polled, until.map(timespec_until).as_ref());
    if !matches!(result, Ok(_) | Err(rustix::io::Errno::INTR)) {
        result.context("cannot wait for the worker processes")?;
    }
    let mut events = polled.iter().map(|polled| !polled.revents().is_empty());
    let mut next = || events.next().unwrap_or(false);
    let readiness = |slot: &Slot| {
        let Some(worker) = &slot.worker else { return Readiness::default() };
        Readiness { readable: next(), ended: worker.descriptor().is_some() && next() }
    };
    let slots = slots.iter().map(readiness).collect();
    Ok(Polled { slots, copied: copiers.is_some() && next() })
}

/// The time from now until then, for `poll`.
pub(super) fn timespec_until(until: u64) -> Timespec {
    let left = Duration::from_nanos(until.saturating_sub(now()));
    Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
}
