//! Frames on the socket between a pool and a worker process: a fixed header, a small payload, and arrays as
//! they lie in memory.
//!
//! ```text
//! header (32 bytes), a u64 length for each array, payload (postcard), the bytes of each array
//!
//! | magic | length | kind | 0  | arrays | id  | started | stopped |
//! | u32   | u32    | u8   | u8 | u16    | u32 | u64     | u64     |
//! ```
//! All numbers are little-endian: both ends are the same program on the same machine, so this only makes
//! dumps readable.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use crate::array::Store;
use crate::message::{MOST_ARRAY_BYTES, MOST_PAYLOAD_BYTES, Packet};
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
    /// Pool to worker: run task `id`.
    Call = 4,
    /// Worker to pool: task `id` is done; stamps and output.
    Done = 5,
    /// Worker to pool: task `id`, or opening, failed; the cause.
    Failed = 6,
    /// Pool to worker: say what you have used so far, and begin a new peak of memory.
    Measure = 7,
    /// Worker to pool: a [`crate::Usage`].
    Used = 8,
}

impl Kind {
    const ALL: [Kind; 8] = [
        Kind::Hello,
        Kind::Open,
        Kind::Ready,
        Kind::Call,
        Kind::Done,
        Kind::Failed,
        Kind::Measure,
        Kind::Used,
    ];
}

/// The first frame of a worker: what it must agree on with the pool.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hello {
    /// parbench's version and that of the frames.
    pub version: String,
}

/// The version that both ends must have.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "/1");

/// One message on the wire.
#[derive(Debug, PartialEq)]
pub struct Frame {
    /// What it says.
    pub kind: Kind,
    /// The task's number, where it is about one.
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

/// What to buffer of a connection: enough for many small frames in one read; arrays are read past it.
pub(crate) const BUFFER_BYTES: usize = 16 << 10;
/// The bytes of a header.
pub const HEADER_BYTES: usize = 32;
/// Up to here a frame is small: most are.
const SMALL_BYTES: usize = 256;
const MAGIC: u32 = u32::from_le_bytes(*b"pbf1");

/// Writes a frame. Arrays go from where they lie: nothing is copied before the kernel does.
///
/// # Errors
/// Where the connection breaks.
pub fn write(to: &mut impl Write, frame: &Frame) -> io::Result<()> {
    let Packet { bytes, arrays } = &frame.packet;
    let lengths: Vec<u64> = arrays.iter().map(|array| array.bytes().len() as u64).collect();
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC.to_le_bytes());
    header[4..8].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
    header[8] = frame.kind as u8;
    header[10..12].copy_from_slice(&(arrays.len() as u16).to_le_bytes());
    header[12..16].copy_from_slice(&frame.id.to_le_bytes());
    header[16..24].copy_from_slice(&frame.stamps.started.to_le_bytes());
    header[24..].copy_from_slice(&frame.stamps.stopped.to_le_bytes());

    // A small frame in one piece: gathering it in the kernel would cost more than the copy.
    let mut piece = [0; SMALL_BYTES];
    if arrays.is_empty() && HEADER_BYTES + bytes.len() <= SMALL_BYTES {
        let whole = &mut piece[..HEADER_BYTES + bytes.len()];
        whole[..HEADER_BYTES].copy_from_slice(&header);
        whole[HEADER_BYTES..].copy_from_slice(bytes);
        return to.write_all(whole);
    }

    let head: Vec<u8> = header.into_iter().chain(lengths.into_iter().flat_map(u64::to_le_bytes)).collect();
    let mut slices = vec![IoSlice::new(&head), IoSlice::new(bytes)];
    slices.extend(arrays.iter().map(|array| IoSlice::new(array.bytes())));
    let mut slices = &mut slices[..];
    // Drops leading empty slices: a write of nothing must not look like a closed connection.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match to.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads a frame. Memory is taken for what the header promises, up to the caps, and for nothing else.
///
/// # Errors
/// Where the connection ends or breaks, or what came is no frame.
pub fn read(from: &mut impl Read) -> Result<Frame, WireError> {
    let mut header = [0; HEADER_BYTES];
    read_header(from, &mut header)?;
    let malformed = |what: String| Err(WireError::Malformed(what));
    let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    if u32_at(0) != MAGIC {
        return malformed(format!("it begins with {:02x?}", &header[..4]));
    }
    let length = u32_at(4) as usize;
    if length > MOST_PAYLOAD_BYTES {
        return malformed(format!("it promises {length} bytes, more than {MOST_PAYLOAD_BYTES}"));
    }
    let Some(&kind) = Kind::ALL.iter().find(|kind| **kind as u8 == header[8]) else {
        return malformed(format!("there is no kind {}", header[8]));
    };
    let arrays = usize::from(u16::from_le_bytes([header[10], header[11]]));

    let lengths = read_bytes(from, arrays * 8)?;
    let lengths: Vec<u64> = lengths
        .chunks_exact(8)
        .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
        .collect();
    let total = lengths.iter().fold(0u64, |sum, &length| sum.saturating_add(length));
    if total > MOST_ARRAY_BYTES {
        return malformed(format!("it promises arrays of {total} bytes, more than {MOST_ARRAY_BYTES}"));
    }
    let bytes = read_bytes(from, length)?;
    let arrays = lengths.iter().map(|&length| read_array(from, length as usize)).collect::<Result<_, _>>()?;
    let stamps = Stamps { started: u64_at(16), stopped: u64_at(24) };
    Ok(Frame { kind, id: u32_at(12), stamps, packet: Packet { bytes, arrays } })
}

/// The header alone tells an end between two frames from one inside a frame.
fn read_header(from: &mut impl Read, header: &mut [u8]) -> Result<(), WireError> {
    let mut filled = 0;
    while filled < header.len() {
        match from.read(&mut header[filled..]) {
            Ok(0) if filled == 0 => return Err(WireError::Closed),
            Ok(0) => return Err(WireError::Broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A worker that dies with our frames unread resets the connection instead of closing it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(WireError::Closed),
            Err(error) => return Err(WireError::Broken(error)),
        }
    }
    Ok(())
}

/// Up to here memory is taken without asking whether there is any.
const KNOWN_GOOD_BYTES: usize = 64 << 10;

fn read_bytes(from: &mut impl Read, length: usize) -> Result<Vec<u8>, WireError> {
    if length <= KNOWN_GOOD_BYTES {
        let mut bytes = vec![0; length];
        return from.read_exact(&mut bytes).map(|()| bytes).map_err(WireError::Broken);
    }
    let mut bytes = Vec::new();
    // `read_to_end` fills the reserved memory without zeroing it first.
    bytes.try_reserve_exact(length).map_err(|error| WireError::Broken(io::Error::other(error)))?;
    from.take(length as u64).read_to_end(&mut bytes).map_err(WireError::Broken)?;
    if bytes.len() < length {
        return Err(WireError::Broken(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}

fn read_array(from: &mut impl Read, length: usize) -> Result<Arc<Store>, WireError> {
    let broken = |error: anyhow::Error| WireError::Broken(io::Error::other(error));
    let mut store = Store::zeroed(length).map_err(broken)?;
    from.read_exact(store.bytes_mut()).map_err(WireError::Broken)?;
    Ok(Arc::new(store))
}
