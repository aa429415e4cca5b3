//! What waits to be sent on a connection: encoded frames, arrays as they lie in memory, and descriptors.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::socket::Socket;
use crate::data::store::Store;

/// What waits to be sent.
#[derive(Default)]
pub(super) struct Outgoing {
    pieces: VecDeque<Piece>,
    /// How much of the first piece has been sent.
    sent: usize,
    /// An empty buffer for the next frames.
    spare: Vec<u8>,
}

enum Piece {
    /// Any number of frames, of which the last may have arrays that follow.
    Bytes(Vec<u8>),
    Array(Arc<Store>),
    /// A frame, and a descriptor that is sent with its first byte.
    WithDescriptor(Vec<u8>, Descriptor),
}

pub(super) enum Descriptor {
    Own(OwnedFd),
    /// That of the segment which an array is in.
    OfSegment(Arc<Store>),
}

impl Descriptor {
    fn borrow(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Descriptor::Own(descriptor) => Some(descriptor.as_fd()),
            Descriptor::OfSegment(array) => array.segment().map(AsFd::as_fd),
        }
    }
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn push_array(&mut self, array: Arc<Store>) {
        self.pieces.push_back(Piece::Array(array));
    }

    pub(super) fn push_with_descriptor(&mut self, frame: Vec<u8>, descriptor: Descriptor) {
        self.pieces.push_back(Piece::WithDescriptor(frame, descriptor));
    }

    /// The buffer that the next frame is appended to.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        if !matches!(self.pieces.back(), Some(Piece::Bytes(_))) {
            self.pieces.push_back(Piece::Bytes(mem::take(&mut self.spare)));
        }
        match self.pieces.back_mut() {
            Some(Piece::Bytes(bytes)) => bytes,
            _ => unreachable!("it was put there just now"),
        }
    }

    /// Sends until the socket would block; returns whether everything was sent.
    pub(super) fn flush(&mut self, socket: &Socket) -> io::Result<bool> {
        while let Some(piece) = self.pieces.front() {
            let (bytes, descriptor) = match piece {
                Piece::Bytes(bytes) => (&bytes[..], None),
                Piece::Array(array) => (array.bytes(), None),
                Piece::WithDescriptor(bytes, descriptor) => (&bytes[..], descriptor.borrow()),
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
