//! Frames to bytes and back: the decoder takes what has come so far and never more memory than the caps allow.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem;
use std::sync::Arc;

use super::{Frame, Kind, WireError};
use crate::array::Store;
use crate::message::{MOST_ARRAY_BYTES, MOST_PAYLOAD_BYTES, Packet};
use crate::span::Stamps;

/// The bytes of a header.
pub const HEADER_BYTES: usize = 32;
/// What an array takes behind it: its length and its segment.
const PLACE_BYTES: usize = 16;
/// What to buffer of a connection: enough for many small frames in one read; what is larger is read past it.
const BUFFER_BYTES: usize = 16 << 10;
const MAGIC: u32 = u32::from_le_bytes(*b"pbf1");

/// Appends a frame but for the bytes of its arrays; `segment` says where an array lies, 0 for nowhere.
pub(super) fn encode(frame: &Frame, mut segment: impl FnMut(&Arc<Store>) -> u64, to: &mut Vec<u8>) {
    let Frame { kind, id, stamps, packet: Packet { bytes, arrays } } = frame;
    to.extend_from_slice(&MAGIC.to_le_bytes());
    to.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    to.extend_from_slice(&[*kind as u8, 0]);
    to.extend_from_slice(&(arrays.len() as u16).to_le_bytes());
    to.extend_from_slice(&id.to_le_bytes());
    to.extend_from_slice(&stamps.started.to_le_bytes());
    to.extend_from_slice(&stamps.stopped.to_le_bytes());
    for array in arrays {
        to.extend_from_slice(&(array.bytes().len() as u64).to_le_bytes());
        to.extend_from_slice(&segment(array).to_le_bytes());
    }
    to.extend_from_slice(bytes);
}

/// Writes a frame whose arrays all go as bytes, from where they lie.
///
/// # Errors
/// Where the connection breaks.
pub fn write(to: &mut impl Write, frame: &Frame) -> io::Result<()> {
    let mut head = Vec::new();
    encode(frame, |_| 0, &mut head);
    let mut slices = vec![IoSlice::new(&head)];
    slices.extend(frame.packet.arrays.iter().map(|array| IoSlice::new(array.bytes())));
    let mut slices = &mut slices[..];
    // Drops leading empty slices: a write of nothing must not look like a closed connection.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match to.write_vectored(slices) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads one frame, whose arrays all come as bytes, and buffers nothing behind it.
///
/// # Errors
/// Where the connection ends or breaks, or what came is no frame.
pub fn read(from: &mut impl Read) -> Result<Frame, WireError> {
    let nowhere = |id, _| Err(WireError::Malformed(format!("there is no segment {id}")));
    let mut decoder = Decoder { buffer: vec![0; 0].into(), ..Decoder::default() };
    decoder.next(from, nowhere)?.ok_or_else(|| WireError::Broken(ErrorKind::WouldBlock.into()))
}

/// Makes frames of what a connection gives, in whatever pieces.
pub(crate) struct Decoder {
    buffer: Box<[u8]>,
    /// What of the buffer has not been used yet.
    start: usize,
    end: usize,
    partial: Partial,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder { buffer: vec![0; BUFFER_BYTES].into(), start: 0, end: 0, partial: Partial::default() }
    }
}

/// A frame of which a part has come.
#[derive(Default)]
struct Partial {
    header: [u8; HEADER_BYTES],
    header_filled: usize,
    head: Option<Head>,
    /// The places of the arrays, then the payload.
    body: Vec<u8>,
    arrays: Vec<Arc<Store>>,
    array_bytes: u64,
    /// The array that is arriving, and how much of it has.
    arriving: Option<(Store, usize)>,
}

#[derive(Clone, Copy)]
struct Head {
    kind: Kind,
    id: u32,
    stamps: Stamps,
    arrays: usize,
    payload: usize,
}

impl Head {
    fn body_bytes(&self) -> usize {
        self.arrays * PLACE_BYTES + self.payload
    }
}

impl Decoder {
    /// The next frame, or `None` where it has not come whole and the connection would have to be waited for.
    ///
    /// `segment` finds an array by the number of its segment and its length.
    ///
    /// # Errors
    /// Where the connection ends or breaks, or what came is no frame.
    pub(crate) fn next(
        &mut self,
        from: &mut impl Read,
        mut segment: impl FnMut(u64, u64) -> Result<Arc<Store>, WireError>,
    ) -> Result<Option<Frame>, WireError> {
        match self.advance(from, &mut segment) {
            Ok(frame) => Ok(Some(frame)),
            Err(WireError::Broken(error)) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            // An end between two frames is none in a frame. A worker that dies with our frames unread resets the
            // connection instead of closing it.
            Err(WireError::Broken(error)) if self.is_between() && is_end(&error) => Err(WireError::Closed),
            Err(error) => Err(error),
        }
    }

    fn is_between(&self) -> bool {
        self.partial.header_filled == 0
    }

    /// Goes on until there is a frame or an error; what came so far stays in `partial`.
    fn advance(
        &mut self,
        from: &mut impl Read,
        segment: &mut dyn FnMut(u64, u64) -> Result<Arc<Store>, WireError>,
    ) -> Result<Frame, WireError> {
        let Decoder { buffer, start, end, partial } = self;
        let mut source = Source { buffer, start, end, from };
        source.fill(&mut partial.header, &mut partial.header_filled)?;
        let head = match partial.head {
            Some(head) => head,
            None => *partial.head.insert(parse(&partial.header)?),
        };
        source.append(&mut partial.body, head.body_bytes())?;
        while partial.arrays.len() < head.arrays {
            let place = &partial.body[partial.arrays.len() * PLACE_BYTES..];
            let number = |at: usize| u64::from_le_bytes(place[at..at + 8].try_into().expect("eight bytes"));
            let (length, id) = (number(0), number(8));
            let array = if id != 0 {
                segment(id, length)?
            } else {
                if partial.array_bytes.saturating_add(length) > MOST_ARRAY_BYTES {
                    let what = format!("it promises arrays of {length} bytes, more than {MOST_ARRAY_BYTES}");
                    return Err(WireError::Malformed(what));
                }
                let (store, filled) = match &mut partial.arriving {
                    Some(arriving) => arriving,
                    none => none.insert((Store::zeroed(length as usize).map_err(broken)?, 0)),
                };
                source.fill(store.bytes_mut(), filled)?;
                Arc::new(partial.arriving.take().expect("it is arriving").0)
            };
            partial.array_bytes += length;
            partial.arrays.push(array);
        }
        let Partial { mut body, arrays, .. } = mem::take(partial);
        let bytes = if head.arrays == 0 { body } else { body.split_off(head.arrays * PLACE_BYTES) };
        let Head { kind, id, stamps, .. } = head;
        Ok(Frame { kind, id, stamps, packet: Packet { bytes, arrays } })
    }
}

fn broken(error: anyhow::Error) -> WireError {
    WireError::Broken(io::Error::other(format!("{error:#}")))
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
}

fn parse(header: &[u8; HEADER_BYTES]) -> Result<Head, WireError> {
    let malformed = |what: String| Err(WireError::Malformed(what));
    let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    if u32_at(0) != MAGIC {
        return malformed(format!("it begins with {:02x?}", &header[..4]));
    }
    let payload = u32_at(4) as usize;
    if payload > MOST_PAYLOAD_BYTES {
        return malformed(format!("it promises {payload} bytes, more than {MOST_PAYLOAD_BYTES}"));
    }
    let Some(&kind) = Kind::ALL.iter().find(|kind| **kind as u8 == header[8]) else {
        return malformed(format!("there is no kind {}", header[8]));
    };
    let arrays = usize::from(u16::from_le_bytes([header[10], header[11]]));
    let stamps = Stamps { started: u64_at(16), stopped: u64_at(24) };
    Ok(Head { kind, id: u32_at(12), stamps, arrays, payload })
}

/// What is buffered, then what the connection gives.
struct Source<'a, R> {
    buffer: &'a mut [u8],
    start: &'a mut usize,
    end: &'a mut usize,
    from: &'a mut R,
}

/// Up to here memory is taken without asking whether there is any.
const KNOWN_GOOD_BYTES: usize = 64 << 10;

impl<R: Read> Source<'_, R> {
    /// Fills `to` from `filled` on. Small reads go through the buffer.
    fn fill(&mut self, to: &mut [u8], filled: &mut usize) -> Result<(), WireError> {
        while *filled < to.len() {
            let rest = &mut to[*filled..];
            *filled += if rest.len() < self.buffer.len() || !self.buffered().is_empty() {
                self.refill()?;
                let taken = self.buffered().len().min(rest.len());
                rest[..taken].copy_from_slice(&self.buffered()[..taken]);
                *self.start += taken;
                taken
            } else {
                receive(self.from, rest)?
            };
        }
        Ok(())
    }

    /// Appends until `to` has `length` bytes, without zeroing them first.
    fn append(&mut self, to: &mut Vec<u8>, length: usize) -> Result<(), WireError> {
        if to.capacity() < length {
            if length <= KNOWN_GOOD_BYTES {
                to.reserve_exact(length);
            } else {
                to.try_reserve_exact(length).map_err(|error| WireError::Broken(io::Error::other(error)))?;
            }
        }
        while to.len() < length {
            let missing = length - to.len();
            if missing < self.buffer.len() || !self.buffered().is_empty() {
                self.refill()?;
                let taken = self.buffered().len().min(missing);
                to.extend_from_slice(&self.buffered()[..taken]);
                *self.start += taken;
            } else {
                // What came before an error stays appended.
                let read =
                    self.from.by_ref().take(missing as u64).read_to_end(to).map_err(WireError::Broken)?;
                if read < missing {
                    return Err(WireError::Broken(ErrorKind::UnexpectedEof.into()));
                }
            }
        }
        Ok(())
    }

    fn buffered(&self) -> &[u8] {
        &self.buffer[*self.start..*self.end]
    }

    /// Reads into the buffer if it is empty.
    fn refill(&mut self) -> Result<(), WireError> {
        if self.buffered().is_empty() {
            (*self.start, *self.end) = (0, 0);
            *self.end = receive(self.from, self.buffer)?;
        }
        Ok(())
    }
}

/// Reads something; an end is an error.
fn receive(from: &mut impl Read, to: &mut [u8]) -> Result<usize, WireError> {
    loop {
        match from.read(to) {
            Ok(0) => return Err(WireError::Broken(ErrorKind::UnexpectedEof.into())),
            Ok(read) => return Ok(read),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(WireError::Broken(error)),
        }
    }
}
