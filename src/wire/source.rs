//! The bytes that a decoder reads: first the buffered ones, then those of the connection.

use std::io::{self, ErrorKind, Read};

use super::WireError;

/// The buffered bytes, then the connection.
pub(super) struct Source<'a, R> {
    pub(super) buffer: &'a mut [u8],
    pub(super) start: &'a mut usize,
    pub(super) end: &'a mut usize,
    pub(super) from: &'a mut R,
}

/// Up to this length memory is allocated without checking that there is some.
const KNOWN_GOOD_BYTES: usize = 64 << 10;

impl<R: Read> Source<'_, R> {
    /// Fills `to` from index `filled` on. Small reads go through the buffer.
    pub(super) fn fill(&mut self, to: &mut [u8], filled: &mut usize) -> Result<(), WireError> {
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
    pub(super) fn append(&mut self, to: &mut Vec<u8>, length: usize) -> Result<(), WireError> {
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
                // Bytes that came before an error stay appended.
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

/// Reads at least one byte; the end is an error.
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
