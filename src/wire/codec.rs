//! Frames to bytes and back. The decoder accepts them in any pieces, and never takes more memory than the limits allow.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem;
use std::sync::Arc;

use super::source::Source;
use super::{Frame, FrameKind, WireError};
use crate::data::packet::{MAX_ARRAY_BYTES, MAX_PAYLOAD_BYTES, Packet};
use crate::data::store::Store;
use crate::span::Stamps;

/// The length of a header, bytes.
pub const HEADER_BYTES: usize = 32;
/// What follows the header for each array: the array's length and its segment, bytes.
const ARRAY_HEADER_BYTES: usize = 16;
/// The size of the read buffer: many small frames in one read. Large data is read past it.
const BUFFER_BYTES: usize = 16 << 10;
const MAGIC: u32 = u32::from_le_bytes(*b"pbf1");

/// Appends a frame without the bytes of its arrays. `segment` returns the segment number of an array, 0 for none.
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

/// Writes a frame, with the bytes of all its arrays.
///
/// # Errors
/// If the connection breaks.
pub fn write(to: &mut impl Write, frame: &Frame) -> io::Result<()> {
    let mut head = Vec::new();
    encode(frame, |_| 0, &mut head);
    let mut slices = vec![IoSlice::new(&head)];
    slices.extend(frame.packet.arrays.iter().map(|array| IoSlice::new(array.bytes())));
    let mut slices = &mut slices[..];
    // Drops leading empty slices: an empty write would look like a closed connection.
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

/// Reads one frame, with the bytes of all its arrays, and nothing behind it.
///
/// # Errors
/// If the connection ends or breaks, or what came is not a frame.
pub fn read(from: &mut impl Read) -> Result<Frame, WireError> {
    let no_segment = |id, _| Err(WireError::Malformed(format!("there is no segment {id}")));
    let mut decoder = Decoder { buffer: vec![0; 0].into(), ..Decoder::default() };
    decoder.next(from, no_segment)?.ok_or_else(|| WireError::Broken(ErrorKind::WouldBlock.into()))
}

/// Decodes the frames of a connection, in whatever pieces they come.
pub(crate) struct Decoder {
    buffer: Box<[u8]>,
    /// The part of the buffer that has not been used yet.
    start: usize,
    end: usize,
    partial: Partial,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder { buffer: vec![0; BUFFER_BYTES].into(), start: 0, end: 0, partial: Partial::default() }
    }
}

/// A frame of which a part has arrived.
#[derive(Default)]
struct Partial {
    header: [u8; HEADER_BYTES],
    header_filled: usize,
    head: Option<Head>,
    /// The array headers, then the payload.
    body: Vec<u8>,
    arrays: Vec<Arc<Store>>,
    array_bytes: u64,
    /// The array that is arriving, and how many bytes of it have.
    arriving: Option<(Store, usize)>,
}

#[derive(Clone, Copy)]
struct Head {
    kind: FrameKind,
    id: u32,
    stamps: Stamps,
    arrays: usize,
    payload: usize,
}

impl Head {
    fn body_bytes(&self) -> usize {
        self.arrays * ARRAY_HEADER_BYTES + self.payload
    }
}

impl Decoder {
    /// The next frame, or `None` if it has not arrived completely and the connection would block.
    ///
    /// `segment` finds an array by the number of its segment and its length.
    ///
    /// # Errors
    /// If the connection ends or breaks, or what came is not a frame.
    pub(crate) fn next(
        &mut self,
        from: &mut impl Read,
        mut segment: impl FnMut(u64, u64) -> Result<Arc<Store>, WireError>,
    ) -> Result<Option<Frame>, WireError> {
        match self.advance(from, &mut segment) {
            Ok(frame) => Ok(Some(frame)),
            Err(WireError::Broken(error)) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            // The end came between two frames, not in one. A worker that dies with unread frames resets the connection
            // instead of closing it.
            Err(WireError::Broken(error)) if self.is_between() && is_end(&error) => Err(WireError::Closed),
            Err(error) => Err(error),
        }
    }

    fn is_between(&self) -> bool {
        self.partial.header_filled == 0
    }

    /// Reads until there is a frame or an error. What has arrived so far stays in `partial`.
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
            let header = &partial.body[partial.arrays.len() * ARRAY_HEADER_BYTES..];
            let number = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
            let (length, id) = (number(0), number(8));
            let array = if id != 0 {
                segment(id, length)?
            } else {
                if partial.array_bytes.saturating_add(length) > MAX_ARRAY_BYTES {
                    let what = format!("it promises arrays of {length} bytes, more than {MAX_ARRAY_BYTES}");
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
        let bytes = if head.arrays == 0 { body } else { body.split_off(head.arrays * ARRAY_HEADER_BYTES) };
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
    if payload > MAX_PAYLOAD_BYTES {
        return malformed(format!("it promises {payload} bytes, more than {MAX_PAYLOAD_BYTES}"));
    }
    let Some(&kind) = FrameKind::ALL.iter().find(|kind| **kind as u8 == header[8]) else {
        return malformed(format!("there is no kind {}", header[8]));
    };
    let arrays = usize::from(u16::from_le_bytes([header[10], header[11]]));
    let stamps = Stamps { started: u64_at(16), stopped: u64_at(24) };
    Ok(Head { kind, id: u32_at(12), stamps, arrays, payload })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;

    /// A connection that gives pieces of these lengths, and has nothing to give before each of them.
    struct Pieces<'a> {
        bytes: &'a [u8],
        lengths: std::iter::Cycle<std::slice::Iter<'a, usize>>,
        left: usize,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.left == 0 && !self.bytes.is_empty() {
                self.left = *self.lengths.next().expect("there are some");
                return Err(ErrorKind::WouldBlock.into());
            }
            let read = self.bytes.by_ref().take(self.left as u64).read(buffer)?;
            self.left -= read;
            Ok(read)
        }
    }

    /// Some bytes, few or more than the buffer holds.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let lengths = prop_oneof![4 => 0..100usize, 1 => 0..3 * BUFFER_BYTES];
        (lengths, any::<u8>()).prop_map(|(length, first)| (first..=u8::MAX).cycle().take(length).collect())
    }

    fn frame() -> impl Strategy<Value = Frame> {
        let parts = (select(&FrameKind::ALL[..]), any::<(u32, u64, u64)>(), bytes(), vec(bytes(), 0..4));
        parts.prop_map(|(kind, (id, started, stopped), bytes, arrays)| {
            let arrays = arrays.into_iter().map(|bytes| Arc::new(Store::Owned(Box::new(bytes)))).collect();
            Frame { kind, id, stamps: Stamps { started, stopped }, packet: Packet { bytes, arrays } }
        })
    }

    /// The frames as bytes, where each ends, and the arrays that lie in segments: every other one.
    fn encoded(frames: &[Frame]) -> (Vec<u8>, Vec<usize>, Vec<Arc<Store>>) {
        let (mut bytes, mut ends, mut lent) = (Vec::new(), vec![0], Vec::new());
        for frame in frames {
            let (mut behind, mut lends) = (Vec::new(), false);
            let segment = |array: &Arc<Store>| {
                lends = !lends;
                if lends {
                    lent.push(Arc::clone(array));
                    return lent.len() as u64;
                }
                behind.extend_from_slice(array.bytes());
                0
            };
            encode(frame, segment, &mut bytes);
            bytes.append(&mut behind);
            ends.push(bytes.len());
        }
        (bytes, ends, lent)
    }

    /// All frames that come in such pieces, and how it ended.
    fn decoded(bytes: &[u8], pieces: &[usize], lent: &[Arc<Store>]) -> (Vec<Frame>, WireError) {
        let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
        let mut from = Pieces { bytes, lengths: pieces.iter().cycle(), left: 0 };
        let borrow = |id: u64, length: u64| {
            let array = lent.get(id as usize - 1).filter(|array| array.bytes().len() as u64 == length);
            array.cloned().ok_or_else(|| WireError::Malformed("there is no such segment".into()))
        };
        loop {
            match decoder.next(&mut from, borrow) {
                Ok(frame) => frames.extend(frame),
                Err(error) => return (frames, error),
            }
        }
    }

    fn pieces() -> impl Strategy<Value = Vec<usize>> {
        vec(prop_oneof![1..40usize, 1..3 * BUFFER_BYTES], 1..20)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

        #[test]
        fn frames_in_pieces_are_the_same_frames_up_to_where_they_are_cut(
            frames in vec(frame(), 0..6), pieces in pieces(), cut in any::<Index>(),
        ) {
            let (bytes, ends, lent) = encoded(&frames);
            for cut in [bytes.len(), cut.index(bytes.len() + 1)] {
                let (back, end) = decoded(&bytes[..cut], &pieces, &lent);
                let whole = ends.partition_point(|end| *end <= cut) - 1;
                prop_assert_eq!(&back[..], &frames[..whole]);
                prop_assert_eq!(matches!(end, WireError::Closed), ends.contains(&cut), "{}", end);
            }
        }

        #[test]
        fn changed_bytes_are_never_a_panic(
            frames in vec(frame(), 1..4), pieces in pieces(), changes in vec(any::<(Index, u8)>(), 1..8),
        ) {
            let (mut bytes, _, lent) = encoded(&frames);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            prop_assert!(decoded(&bytes, &pieces, &lent).0.len() * HEADER_BYTES <= bytes.len());
        }
    }
}
