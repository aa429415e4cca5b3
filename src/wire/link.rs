//! One end of the connection between a pool and a worker: frames both ways, and the arrays in shared memory that the
//! two have lent each other.
//!
//! A segment's descriptor crosses once. From then on an array in the segment crosses as the segment's number. The
//! lender keeps the array until the borrower has released it as many times as it was lent; the borrower keeps the
//! mapping until the lender says that the segment is gone.

use std::collections::hash_map::{Entry, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};

use anyhow::Result;

use super::outgoing::{Descriptor, Outgoing};
use super::socket::Socket;
use super::{Decoder, Frame, FrameKind, WireError, codec};
use crate::data::arena;
use crate::data::packet::Packet;
use crate::data::segment::Mapping;
use crate::data::store::{Loan, Released, Store};

pub(crate) struct Link {
    socket: Socket,
    decoder: Decoder,
    outgoing: Outgoing,
    /// Whether arrays in shared memory cross as their number.
    shares: bool,
    lent: LentSegments,
    borrowed: BorrowedSegments,
}

/// The most frames about shared memory in a row.
const MAX_NOTES: usize = 1 << 18;

/// The segments of this process whose descriptor was sent, and the arrays in them that the other side reads.
#[derive(Default)]
struct LentSegments {
    /// Segments whose descriptor was sent, as long as they exist.
    known: HashMap<u64, Weak<()>>,
    /// The value of [`arena::given_up`] when `known` was last looked through.
    given_up: u64,
    /// Arrays that the other side may be reading, and how many times each was lent.
    in_use: HashMap<u64, (Arc<Store>, usize)>,
}

/// The segments of the other process that are mapped here.
#[derive(Default)]
struct BorrowedSegments {
    mappings: HashMap<u64, Arc<Mapping>>,
    /// Segments whose descriptor got lost on the way, and why.
    lost: HashMap<u64, String>,
    /// The segment numbers of arrays that have been dropped and not been reported yet.
    released: Arc<Released>,
}

impl Link {
    pub(crate) fn new(stream: UnixStream, shares: bool) -> Link {
        Link {
            socket: Socket::new(stream),
            decoder: Decoder::default(),
            outgoing: Outgoing::default(),
            shares,
            lent: LentSegments::default(),
            borrowed: BorrowedSegments::default(),
        }
    }

    /// See [`Socket::set_lazy`].
    pub(crate) fn set_lazy(&mut self, lazy: bool) {
        self.socket.set_lazy(lazy);
    }

    /// See [`Socket::mark_readable`].
    pub(crate) fn mark_readable(&mut self) {
        self.socket.mark_readable();
    }

    pub(crate) fn stream(&self) -> &UnixStream {
        self.socket.stream()
    }

    /// Whether arrays may cross in shared memory.
    pub(crate) fn set_shares(&mut self, shares: bool) {
        self.shares = shares;
    }

    pub(crate) fn shares(&self) -> bool {
        self.shares
    }

    /// Takes the descriptor that came with the last frame.
    pub(crate) fn descriptor(&mut self) -> Option<OwnedFd> {
        self.socket.descriptor()
    }

    /// Queues a frame behind those that wait to be sent.
    pub(crate) fn queue(&mut self, frame: &Frame) {
        self.queue_released();
        let Link { shares, lent, outgoing, .. } = self;
        let lends = |array: &Arc<Store>| *shares && array.segment().is_some();
        let arrays = &frame.packet.arrays;
        for array in arrays.iter().filter(|array| lends(array)) {
            lent.lend(array, outgoing);
        }
        let segment =
            |array: &Arc<Store>| if lends(array) { array.segment().map_or(0, |s| s.id()) } else { 0 };
        codec::encode(frame, segment, outgoing.bytes());
        for array in arrays.iter().filter(|array| !lends(array)) {
            outgoing.push_array(Arc::clone(array));
        }
    }

    /// The same with a descriptor.
    pub(crate) fn queue_with(&mut self, frame: &Frame, descriptor: OwnedFd) {
        let mut bytes = Vec::new();
        codec::encode(frame, |_| 0, &mut bytes);
        self.outgoing.push_with_descriptor(bytes, Descriptor::Own(descriptor));
    }

    /// Whether arrays have been dropped that the other side has not been told of.
    pub(crate) fn has_released(&self) -> bool {
        !self.borrowed.released.is_empty()
    }

    fn queue_released(&mut self) {
        let released = self.borrowed.released.take();
        if !released.is_empty() {
            queue_note(FrameKind::Release, &released, &mut self.outgoing);
        }
        let given_up = arena::given_up();
        if given_up != self.lent.given_up {
            self.lent.given_up = given_up;
            let gone: Vec<_> = self.lent.known.extract_if(|_, life| life.strong_count() == 0).collect();
            let gone: Vec<_> = gone.into_iter().map(|(id, _)| id).collect();
            if !gone.is_empty() {
                queue_note(FrameKind::Forget, &gone, &mut self.outgoing);
            }
        }
    }

    /// Sends what waits until the connection would block; returns whether everything was sent.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        self.outgoing.flush(&self.socket)
    }

    /// Whether something waits to be sent.
    pub(crate) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The next frame that is not about shared memory, or `None` if the connection would block.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, WireError> {
        // A message has 65,535 arrays at most: more notes than that without a message are a flood, during which no
        // deadline would be seen.
        for _ in 0..MAX_NOTES {
            let Link { socket, decoder, borrowed, .. } = self;
            let Some(frame) = decoder.next(socket, |id, length| borrowed.borrow(id, length))? else {
                return Ok(None);
            };
            let malformed = |error: anyhow::Error| WireError::Malformed(format!("{error:#}"));
            match frame.kind {
                FrameKind::Segment => {
                    let (id, capacity) = frame.packet.unpack().map_err(malformed)?;
                    if let Err(error) = borrowed.map(id, capacity, socket.descriptor()) {
                        borrowed.lost.insert(id, format!("{error:#}"));
                        queue_note(FrameKind::Lost, &[id], &mut self.outgoing);
                    }
                }
                FrameKind::Release => {
                    let ids: Vec<u64> = frame.packet.unpack().map_err(malformed)?;
                    ids.iter().for_each(|id| self.lent.take_back(*id));
                }
                FrameKind::Forget => {
                    let ids: Vec<u64> = frame.packet.unpack().map_err(malformed)?;
                    ids.iter().for_each(|id| drop(borrowed.mappings.remove(id)));
                }
                FrameKind::Lost => {
                    let ids: Vec<u64> = frame.packet.unpack().map_err(malformed)?;
                    ids.iter().for_each(|id| drop(self.lent.known.remove(id)));
                }
                _ => return Ok(Some(frame)),
            }
        }
        Err(WireError::Malformed(format!("{MAX_NOTES} notes about arrays and no message")))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Queues a frame with a list of segment numbers.
fn queue_note(kind: FrameKind, ids: &[u64], outgoing: &mut Outgoing) {
    let packet = Packet::pack(&ids.to_vec()).expect("a list of numbers can be packed");
    codec::encode(&Frame::new(kind, packet), |_| 0, outgoing.bytes());
}

impl LentSegments {
    /// Notes that an array crosses, and sends the descriptor of its segment if that is not known yet.
    fn lend(&mut self, array: &Arc<Store>, outgoing: &mut Outgoing) {
        let Some(segment) = array.segment() else { return };
        let id = segment.id();
        if let Entry::Vacant(unknown) = self.known.entry(id) {
            unknown.insert(segment.life());
            let packet = Packet::pack(&(id, segment.capacity() as u64)).expect("two numbers can be packed");
            let mut bytes = Vec::new();
            codec::encode(&Frame::new(FrameKind::Segment, packet), |_| 0, &mut bytes);
            outgoing.push_with_descriptor(bytes, Descriptor::OfSegment(Arc::clone(array)));
        }
        self.in_use.entry(id).or_insert_with(|| (Arc::clone(array), 0)).1 += 1;
    }

    fn take_back(&mut self, id: u64) {
        if let Some((_, times)) = self.in_use.get_mut(&id) {
            *times -= 1;
            if *times == 0 {
                self.in_use.remove(&id);
            }
        }
    }
}

impl BorrowedSegments {
    fn map(&mut self, id: u64, capacity: u64, descriptor: Option<OwnedFd>) -> Result<()> {
        let descriptor = descriptor.ok_or_else(|| {
            anyhow::anyhow!(
                "no descriptor was left for a shared array: raise the limit of open files (ulimit -n)"
            )
        })?;
        self.mappings.insert(id, Mapping::new(descriptor, capacity)?);
        self.lost.remove(&id);
        Ok(())
    }

    /// An array of `length` bytes in a segment of the other process.
    fn borrow(&self, id: u64, length: u64) -> Result<Arc<Store>, WireError> {
        if let Some(why) = self.lost.get(&id) {
            self.released.push(id);
            return Ok(Arc::new(Store::Missing(why.clone())));
        }
        let mapping = self.mappings.get(&id);
        let mapping = mapping.ok_or_else(|| WireError::Malformed(format!("segment {id} never came")))?;
        if length > mapping.bytes().len() as u64 {
            let what = format!("an array of {length} bytes in a segment of {}", mapping.bytes().len());
            return Err(WireError::Malformed(what));
        }
        let released = Arc::clone(&self.released);
        Ok(Arc::new(Store::Borrowed(Loan::new(Arc::clone(mapping), length as usize, id, released))))
    }
}
