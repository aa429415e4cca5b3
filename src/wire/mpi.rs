//! Frames between the ranks of an MPI job: the head of a frame is a message, and each of its arrays another one, from its memory
//! into that of the new array, by whatever transport the library has for the two.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::env;
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mpi::Threading;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;

use super::{Frame, RankHello, WireError, read, write};
use crate::program::RANK_VARIABLES;

/// A message has at most this many bytes: the library counts them in 32 bits.
const MAX_MESSAGE: usize = 1 << 30;
/// How long who waits gives way to others before it sleeps.
const YIELD: Duration = Duration::from_micros(30);
/// The longest sleep of who waits for a message.
const MAX_SLEEP: Duration = Duration::from_micros(100);

/// This process's rank, as its launcher tells; `None` if no launcher of MPI has started it.
pub(crate) fn rank() -> Option<usize> {
    RANK_VARIABLES.iter().find_map(|name| env::var(name).ok()?.parse().ok())
}

/// An MPI job, seen by one of its ranks. Dropping it on rank 0 ends the others.
pub(crate) struct World {
    peers: SimpleCommunicator,
    /// What each other rank has said first, once it has been heard.
    hellos: RefCell<BTreeMap<usize, RankHello>>,
    /// Whether rank 0 has said that nothing more follows.
    ended: Cell<bool>,
    /// Dropping it waits for all ranks.
    universe: ManuallyDrop<Universe>,
}

thread_local! {
    /// Of the thread that has asked for it first: the library is used by one. It lives until the program ends, since an MPI
    /// job that has ended cannot begin again.
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Runs `code` with the job that this process is a rank of.
///
/// # Errors
/// If no launcher of MPI has started this process, or another thread has the job.
pub(crate) fn with_world<R>(code: impl FnOnce(&World) -> Result<R>) -> Result<R> {
    WORLD.with_borrow_mut(|world| {
        if world.is_none() {
            *world = Some(World::join()?);
        }
        code(world.as_ref().expect("it has been joined"))
    })
}

impl World {
    fn join() -> Result<World> {
        ensure!(rank().is_some(), "this program was not started as a job of MPI: mpirun -n 3 PROGRAM …");
        let (universe, _) = mpi::initialize_with_threading(Threading::Serialized)
            .context("another thread of this program is a rank of the job")?;
        let universe = ManuallyDrop::new(universe);
        Ok(World { peers: universe.world(), hellos: RefCell::default(), ended: Cell::new(false), universe })
    }

    /// What a rank has said first.
    ///
    /// # Errors
    /// If it says something else.
    pub(crate) fn hello(&self, rank: usize) -> Result<RankHello> {
        if let Some(hello) = self.hellos.borrow().get(&rank) {
            return Ok(hello.clone());
        }
        let hello: RankHello = self.receive(rank)?.packet.unpack()?;
        self.hellos.borrow_mut().insert(rank, hello.clone());
        Ok(hello)
    }

    /// How many ranks the job has.
    pub(crate) fn ranks(&self) -> usize {
        usize::try_from(self.peers.size()).unwrap_or(1)
    }

    /// Sends a frame. It may return only when the other rank receives it, if the frame is large.
    pub(crate) fn send(&self, rank: usize, frame: &Frame) -> io::Result<()> {
        write(&mut Outbox { world: self, rank }, frame)
    }

    /// Receives the next frame of a rank, and waits for it.
    ///
    /// # Errors
    /// If the rank has ended the connection, or what came is not a frame.
    pub(crate) fn receive(&self, rank: usize) -> Result<Frame, WireError> {
        read(&mut Inbox { world: self, rank, rest: Vec::new(), used: 0 })
    }

    /// Waits until a rank has sent something, for so long at most, and returns which.
    pub(crate) fn wait(&self, until: Option<Instant>) -> Option<usize> {
        let probe = || self.peers.any_process().immediate_probe();
        let status = wait_for(probe, until)?;
        usize::try_from(status.source_rank()).ok()
    }

    /// Ends the job at once, with all its ranks: this one's state is unknown to the others.
    pub(crate) fn abort(&self) -> ! {
        self.peers.abort(2)
    }

    /// Notes that rank 0 has ended.
    pub(crate) fn note_end(&self) {
        self.ended.set(true);
    }

    /// Tells a rank that nothing more follows.
    fn end(&self, rank: usize) {
        self.peers.process_at_rank(rank as i32).send(&[0_u8; 0][..]);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let is_first = self.peers.rank() == 0;
        if is_first {
            (1..self.ranks()).for_each(|rank| self.end(rank));
        }
        if is_first || self.ended.get() {
            // SAFETY: it is not used again. A rank whose task ends it does not wait for the others, which would wait for it: its
            // launcher sees that, and ends the job.
            unsafe { ManuallyDrop::drop(&mut self.universe) };
        }
    }
}

/// Asks again and again: gives way to others at first, since an answer is mostly near, and sleeps then, since there may be more
/// ranks than CPUs.
fn wait_for<T>(mut ask: impl FnMut() -> Option<T>, until: Option<Instant>) -> Option<T> {
    let began = Instant::now();
    let mut sleep = Duration::from_micros(5);
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if began.elapsed() < YIELD {
            thread::yield_now();
            continue;
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return None;
        }
        thread::sleep(sleep);
        sleep = (sleep * 2).min(MAX_SLEEP);
    }
}

/// Each piece that is written is a message.
struct Outbox<'a> {
    world: &'a World,
    rank: usize,
}

impl Write for Outbox<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(MAX_MESSAGE)];
        self.world.peers.process_at_rank(self.rank as i32).send(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Messages as a stream: one that fits is received where it is wanted, without a copy.
struct Inbox<'a> {
    world: &'a World,
    rank: usize,
    rest: Vec<u8>,
    used: usize,
}

impl Read for Inbox<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.used < self.rest.len() {
            let read = (&self.rest[self.used..]).read(into)?;
            self.used += read;
            return Ok(read);
        }
        let sender = self.world.peers.process_at_rank(self.rank as i32);
        let Some(status) = wait_for(|| sender.immediate_probe(), None) else { return Ok(0) };
        let bytes = usize::try_from(status.count(u8::equivalent_datatype())).unwrap_or(0);
        if bytes <= into.len() {
            sender.receive_into(&mut into[..bytes]);
            return Ok(bytes);
        }
        (self.rest, self.used) = (vec![0; bytes], 0);
        sender.receive_into(&mut self.rest[..]);
        self.read(into)
    }
}
