//! Frames on the socket between a pool and a worker process: a fixed header, a small payload, and arrays, either
//! as they lie in memory or as the place where they lie in shared memory.
//!
//! ```text
//! header (32 bytes), 16 bytes for each array, payload (postcard), the bytes of each array that lies nowhere
//!
//! | magic | length | kind | 0  | arrays | id  | started | stopped |      | length | segment, or 0 |
//! | u32   | u32    | u8   | u8 | u16    | u32 | u64     | u64     |      | u64    | u64           |
//! ```
//! All numbers are little-endian: both ends are the same program on the same machine, so this only makes
//! dumps readable.

mod code;
mod link;
mod source;

use std::fmt;
use std::io;

pub(crate) use self::code::Decoder;
pub use self::code::{HEADER_BYTES, read, write};
pub(crate) use self::link::Link;
use crate::message::Packet;
use crate::span::Stamps;

/// What a frame says. The numbers are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
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
    /// Pool to worker: say what you have used so far, and begin a new peak of memory.
    Measure = 7,
    /// Worker to pool: a [`crate::Usage`].
    Used = 8,
    /// Pool to worker, first of all: how it is to work; may bring the descriptor of its ledger.
    Setup = 9,
    /// Fork server to pool, for a worker: it was born as process `id`.
    Born = 10,
    /// Either way: here is the descriptor of a segment; its number and length.
    Segment = 11,
    /// Either way: these arrays in your segments are not read any more; a number for each time.
    Release = 12,
    /// Either way: these segments of mine are no more.
    Forget = 13,
    /// Either way: the descriptor of this segment of yours did not get through.
    Lost = 14,
}

impl Kind {
    const ALL: [Kind; 14] = [
        Kind::Hello,
        Kind::Open,
        Kind::Ready,
        Kind::Call,
        Kind::Done,
        Kind::Failed,
        Kind::Measure,
        Kind::Used,
        Kind::Setup,
        Kind::Born,
        Kind::Segment,
        Kind::Release,
        Kind::Forget,
        Kind::Lost,
    ];
}

/// The first frame of a worker: what it must agree on with the pool.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hello {
    /// parbench's version and that of the frames.
    pub version: String,
}

/// The version that both ends must have.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "/2");

/// One message on the wire.
#[derive(Debug, PartialEq)]
pub struct Frame {
    /// What it says.
    pub kind: Kind,
    /// The turn, where it is about a task.
    pub id: u32,
    /// When the task started and stopped, in a [`Kind::Done`].
    pub stamps: Stamps,
    /// What it carries.
    pub packet: Packet,
}

impl Frame {
    /// A frame about no task.
    pub fn new(kind: Kind, packet: Packet) -> Frame {
        Frame { kind, id: 0, stamps: Stamps::default(), packet }
    }
}

/// Why no frame could be read.
#[derive(Debug)]
pub enum WireError {
    /// The other end closed the connection between two frames, as it does when it ends.
    Closed,
    /// The connection broke, or the frame was cut short.
    Broken(io::Error),
    /// What came is no frame of this version.
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
