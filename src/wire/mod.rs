//! Frames on the socket between a pool and a worker process: a fixed header, a small payload, and arrays, either as
//! their bytes or as the number of the shared segment that they are in.
//!
//! ```text
//! header (32 bytes), 16 bytes for each array, payload (postcard), the bytes of each array that is in no segment
//!
//! | magic | length | kind | 0  | arrays | id  | started | stopped |      | length | segment, or 0 |
//! | u32   | u32    | u8   | u8 | u16    | u32 | u64     | u64     |      | u64    | u64           |
//! ```
//! All numbers are little-endian: both ends are the same program on the same machine, so this only makes dumps readable.

mod codec;
pub(crate) mod ledger;
mod link;
#[cfg(feature = "mpi")]
pub(crate) mod mpi;
mod outgoing;
mod setup;
pub(crate) mod socket;
mod source;

use std::fmt;
use std::io;

pub(crate) use self::codec::Decoder;
pub use self::codec::{HEADER_BYTES, read, write};
pub(crate) use self::link::Link;
#[cfg(feature = "mpi")]
pub(crate) use self::setup::RankHello;
pub(crate) use self::setup::Setup;
pub use self::setup::{Hello, Output, VERSION};
use crate::data::packet::Packet;
use crate::span::Stamps;

/// What a frame is about. The discriminants are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Worker to pool, first of all: a [`Hello`].
    Hello = 1,
    /// Pool to worker: the name of the scenario to open.
    Open = 2,
    /// Worker to pool: it is open.
    Ready = 3,
    /// Pool to worker: run a task; `id` is the turn, counted from 1 for each worker.
    Call = 4,
    /// Worker to pool: the task of turn `id` is done; stamps and output.
    Done = 5,
    /// Worker to pool: the task of turn `id`, or opening, failed; the cause.
    Failed = 6,
    /// Pool to worker: say what you have used so far, and start a new peak of memory.
    Measure = 7,
    /// Worker to pool: a [`crate::Usage`].
    Used = 8,
    /// Pool to worker, first of all: a `Setup`, which may bring the descriptor of the worker's ledger.
    Setup = 9,
    /// Fork server to pool, for a worker: it was forked as process `id`.
    Forked = 10,
    /// Both ways: the descriptor of a segment, its number and its length.
    Segment = 11,
    /// Both ways: arrays in your segments that are not read any more: a segment number for each time that one was lent.
    Release = 12,
    /// Both ways: segments of mine that are gone.
    Forget = 13,
    /// Both ways: a segment of yours whose descriptor was lost.
    Lost = 14,
    /// Pool to worker: the descriptor of a further connection, which a further thread of the process is to serve.
    Thread = 15,
}

impl FrameKind {
    const ALL: [FrameKind; 15] = [
        FrameKind::Hello,
        FrameKind::Open,
        FrameKind::Ready,
        FrameKind::Call,
        FrameKind::Done,
        FrameKind::Failed,
        FrameKind::Measure,
        FrameKind::Used,
        FrameKind::Setup,
        FrameKind::Forked,
        FrameKind::Segment,
        FrameKind::Release,
        FrameKind::Forget,
        FrameKind::Lost,
        FrameKind::Thread,
    ];
}

/// One message on the wire.
#[derive(Debug, PartialEq)]
pub struct Frame {
    /// What it is about.
    pub kind: FrameKind,
    /// The turn, if it is about a task.
    pub id: u32,
    /// When the task started and stopped, in a [`FrameKind::Done`].
    pub stamps: Stamps,
    /// Its payload and arrays.
    pub packet: Packet,
}

impl Frame {
    /// A frame that is not about a task.
    pub fn new(kind: FrameKind, packet: Packet) -> Frame {
        Frame { kind, id: 0, stamps: Stamps::default(), packet }
    }
}

/// Why a frame could not be read.
#[derive(Debug)]
pub enum WireError {
    /// The other end closed the connection between two frames, as it does when it ends.
    Closed,
    /// The connection broke, or the frame was cut short.
    Broken(io::Error),
    /// What came is not a frame of this version.
    Malformed(String),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Closed => f.write_str("the other end closed the connection"),
            WireError::Broken(error) => write!(f, "the connection broke: {error}"),
            WireError::Malformed(what) => write!(f, "a malformed frame: {what}"),
        }
    }
}

impl std::error::Error for WireError {}
