//! One end of the connection between a pool and a worker: frames both ways, and the arrays in shared memory that
//! the two have lent each other.
//!
//! A segment's descriptor crosses once. From then on an array in it is its number. The lender keeps the array
//! until it has been told as often as it lent it that nobody reads it any more; the borrower keeps the mapping
//! until it is told that the segment is no more.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};

use anyhow::Result;

use super::{Decoder, Frame, Kind, WireError, code};
use crate::array::{Loan, Released, Store};
use crate::message::Packet;
use crate::segment::{self, Mapping};
use crate::socket::Socket;

pub(crate) struct Link {
    socket: Socket,
    decoder: Decoder,
    outgoing: Outgoing,
    /// Whether arrays in shared memory cross as their number.
    shares: bool,
    ours: Ours,
    theirs: Theirs,
}

/// Most frames about shared memory in a row.
const MOST_NOTES: usize = 1 << 18;

/// What we have lent.
#[derive(Default)]
struct Ours {
    /// Segments whose descriptor the other side has got, while there are such segments.
    known: HashMap<u64, Weak<()>>,
    /// The value of [`segment::given_up`] when `known` was last looked through.
    given_up: u64,
    /// Arrays that the other side may be reading, and how often they were lent.
    lent: HashMap<u64, (Arc<Store>, usize)>,
}

/// What we have borrowed.
#[derive(Default)]
struct Theirs {
    mappings: HashMap<u64, Arc<Mapping>>,
    /// Segments whose descriptor got lost on the way, and why.
    lost: HashMap<u64, String>,
    /// The numbers of arrays that have been dropped since we last said so.
    released: Arc<Released>,
}

impl Link {
    pub(crate) fn new(stream: UnixStream, shares: bool) -> Link {
        Link {
            socket: Socket::new(stream),
            decoder: Decoder::default(),
            outgoing: Outgoing::default(),
            shares,
            ours: Ours::default(),
            theirs: Theirs::default(),
        }
    }

    /// See [`Socket::set_lazy`].
    pub(crate) fn set_lazy(&mut self, lazy: bool) {
        self.socket.set_lazy(lazy);
    }

    /// See [`Socket::rouse`].
    pub(crate) fn rouse(&mut self) {
        self.socket.rouse();
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

    /// A descriptor that came with the last frame.
    pub(crate) fn descriptor(&mut self) -> Option<OwnedFd> {
        self.socket.descriptor()
    }

    /// Puts a frame behind those that wait to be sent.
    pub(crate) fn queue(&mut self, frame: &Frame) {
        self.tell_released();
        let Link { shares, ours, outgoing, .. } = self;
        let lends = |array: &Arc<Store>| *shares && array.segment().is_some();
        let arrays = &frame.packet.arrays;
        for array in arrays.iter().filter(|array| lends(array)) {
            ours.lend(array, outgoing);
        }
        let place = |array: &Arc<Store>| if lends(array) { array.segment().map_or(0, |s| s.id()) } else { 0 };
        code::encode(frame, place, outgoing.bytes());
        for array in arrays.iter().filter(|array| !lends(array)) {
            outgoing.pieces.push_back(Piece::Array(Arc::clone(array)));
        }
    }

    /// The same with a descriptor.
    pub(crate) fn queue_with(&mut self, frame: &Frame, descriptor: OwnedFd) {
        let mut bytes = Vec::new();
        code::encode(frame, |_| 0, &mut bytes);
        self.outgoing.pieces.push_back(Piece::Passing(bytes, Descriptor::Own(descriptor)));
    }

    /// Whether the other side has not been told yet of everything that we have let go.
    pub(crate) fn has_released(&self) -> bool {
        !self.theirs.released.is_empty()
    }

    fn tell_released(&mut self) {
        let released = self.theirs.released.take();
        if !released.is_empty() {
            note(Kind::Release, &released, &mut self.outgoing);
        }
        let given_up = segment::given_up();
        if given_up != self.ours.given_up {
            self.ours.given_up = given_up;
            let gone: Vec<_> = self.ours.known.extract_if(|_, life| life.strong_count() == 0).collect();
            let gone: Vec<_> = gone.into_iter().map(|(id, _)| id).collect();
            if !gone.is_empty() {
                note(Kind::Forget, &gone, &mut self.outgoing);
            }
        }
    }

    /// Sends what waits, until the connection would have to be waited for; tells whether everything is sent.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        self.outgoing.flush(&self.socket)
    }

    /// Whether something waits to be sent.
    pub(crate) fn is_full(&self) -> bool {
        !self.outgoing.pieces.is_empty()
    }

    /// The next frame that is not about shared memory, or `None` where the connection would have to be waited
    /// for.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, WireError> {
        // A message has 65,535 arrays at most: more than that with no message is a flood, behind which no deadline
        // would be seen.
        for _ in 0..MOST_NOTES {
            let Link { socket, decoder, theirs, .. } = self;
            let Some(frame) = decoder.next(socket, |id, length| theirs.borrow(id, length))? else {
                return Ok(None);
            };
            let malformed = |error: anyhow::Error| WireError::Malformed(format!("{error:#}"));
            match frame.kind {
                Kind::Segment => {
                    let (id, capacity) = frame.packet.unpack().map_err(malformed)?;
                    if let Err(error) = theirs.map(id, capacity, socket.descriptor()) {
                        theirs.lost.insert(id, format!("{error:#}"));
                        note(Kind::Lost, &[id], &mut self.outgoing);
                    }
                }
                Kind::Release => {
                    let ids: Vec<u64> = frame.packet.unpack().map_err(malformed)?;
                    ids.iter().for_each(|id| self.ours.take_back(*id));
                }
                Kind::Forget => {
                    let ids: Vec<u64> = frame.packet.unpack().map_err(malformed)?;
                    ids.iter().for_each(|id| drop(theirs.mappings.remove(id)));
                }
                Kind::Lost => {
                    let ids: Vec<u64> = frame.packet.unpack().map_err(malformed)?;
                    ids.iter().for_each(|id| drop(self.ours.known.remove(id)));
                }
                _ => return Ok(Some(frame)),
            }
        }
        Err(WireError::Malformed(format!("{MOST_NOTES} notes about arrays and no message")))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A frame with a list of segments.
fn note(kind: Kind, ids: &[u64], outgoing: &mut Outgoing) {
    let packet = Packet::pack(&ids.to_vec()).expect("a list of numbers can be packed");
    code::encode(&Frame::new(kind, packet), |_| 0, outgoing.bytes());
}

impl Ours {
    /// Notes that an array crosses, and sends its segment's descriptor if it is the first in it.
    fn lend(&mut self, array: &Arc<Store>, outgoing: &mut Outgoing) {
        let Some(segment) = array.segment() else { return };
        let id = segment.id();
        if let Entry::Vacant(unknown) = self.known.entry(id) {
            unknown.insert(segment.life());
            let packet = Packet::pack(&(id, segment.capacity() as u64)).expect("two numbers can be packed");
            let mut bytes = Vec::new();
            code::encode(&Frame::new(Kind::Segment, packet), |_| 0, &mut bytes);
            outgoing.pieces.push_back(Piece::Passing(bytes, Descriptor::Of(Arc::clone(array))));
        }
        self.lent.entry(id).or_insert_with(|| (Arc::clone(array), 0)).1 += 1;
    }

    fn take_back(&mut self, id: u64) {
        if let Some((_, times)) = self.lent.get_mut(&id) {
            *times -= 1;
            if *times == 0 {
                self.lent.remove(&id);
            }
        }
    }
}

impl Theirs {
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

    /// An array of `length` bytes in their segment.
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

/// What waits to be sent.
#[derive(Default)]
struct Outgoing {
    pieces: VecDeque<Piece>,
    /// How much of the first piece has been sent.
    sent: usize,
    /// An empty buffer for the next frames.
    spare: Vec<u8>,
}

enum Piece {
    /// Any number of frames, or the beginning of one whose arrays follow.
    Bytes(Vec<u8>),
    Array(Arc<Store>),
    /// A frame, and a descriptor that goes with its first byte.
    Passing(Vec<u8>, Descriptor),
}

enum Descriptor {
    Own(OwnedFd),
    /// That of the array's segment.
    Of(Arc<Store>),
}

impl Descriptor {
    fn borrow(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Descriptor::Own(descriptor) => Some(descriptor.as_fd()),
            Descriptor::Of(array) => array.segment().map(AsFd::as_fd),
        }
    }
}

impl Outgoing {
    /// Where the next frame is to be appended.
    fn bytes(&mut self) -> &mut Vec<u8> {
        if !matches!(self.pieces.back(), Some(Piece::Bytes(_))) {
            self.pieces.push_back(Piece::Bytes(mem::take(&mut self.spare)));
        }
        match self.pieces.back_mut() {
            Some(Piece::Bytes(bytes)) => bytes,
            _ => unreachable!("it was put there just now"),
        }
    }

    fn flush(&mut self, socket: &Socket) -> io::Result<bool> {
        while let Some(piece) = self.pieces.front() {
            let (bytes, descriptor) = match piece {
                Piece::Bytes(bytes) => (&bytes[..], None),
                Piece::Array(array) => (array.bytes(), None),
                Piece::Passing(bytes, descriptor) => (&bytes[..], descriptor.borrow()),
            };
            if self.sent < bytes.len() {
                let descriptor = descriptor.filter(|_| self.sent == 0);
                match socket.send(&bytes[self.sent..], descriptor) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(sent) => self.sent += sent,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
                continue;
            }
            self.sent = 0;
            if let Some(Piece::Bytes(mut bytes)) = self.pieces.pop_front() {
                bytes.clear();
                self.spare = bytes;
            }
        }
        Ok(true)
    }
}
