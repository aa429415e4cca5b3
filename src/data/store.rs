//! The memory that an array's bytes are in: private, shared by this process, or shared by another one.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use memmap2::MmapMut;

use super::arena::Lease;
use super::segment::{Mapping, Segment};

/// What an [`super::Array`] can hold: plain numbers, and structs of them that implement [`bytemuck::Pod`].
pub trait Element: bytemuck::Pod + Send + Sync {}
impl<T: bytemuck::Pod + Send + Sync> Element for T {}

/// The memory of an array.
pub(crate) enum Store {
    /// A vector that was passed in.
    Owned(Box<dyn Bytes>),
    /// A short array that arrived: 16-byte aligned memory, and the length of the array in bytes.
    Short(Vec<u128>, usize),
    /// A long array that arrived: page aligned.
    Long(MmapMut),
    /// Shared memory of this process, and the length of the array in bytes.
    Shared(Lease, usize),
    /// Shared memory of another process.
    Borrowed(Loan),
    /// An array that did not arrive, and why.
    Missing(String),
}

/// An array in a segment of another process. That process is told when the loan is dropped.
pub(crate) struct Loan {
    mapping: Arc<Mapping>,
    length: usize,
    id: u64,
    released: Arc<Released>,
}

impl Loan {
    pub(crate) fn new(mapping: Arc<Mapping>, length: usize, id: u64, released: Arc<Released>) -> Loan {
        Loan { mapping, length, id, released }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.released.push(self.id);
    }
}

/// The segment numbers of loans that have been dropped.
#[derive(Default)]
pub(crate) struct Released(Mutex<Vec<u64>>);

impl Released {
    pub(crate) fn push(&self, id: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }

    pub(crate) fn take(&self) -> Vec<u64> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// A vector of any element type, read as bytes.
pub(crate) trait Bytes: Send + Sync {
    fn bytes(&self) -> &[u8];
}

impl<T: Element> Bytes for Vec<T> {
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }
}

/// An arriving array that is longer than this gets pages of its own: a mapping that the system refuses is an error, while
/// a `Vec` would abort the program.
const LONG_BYTES: usize = 256 << 10;

/// From this length on, a private array crosses to another process through shared memory and not through the socket,
/// which moves 64 KiB at a time and copies twice.
const COPY_BYTES: usize = 128 << 10;

impl Store {
    /// Zeroed memory for an array of `length` bytes that is about to arrive.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub(crate) fn zeroed(length: usize) -> Result<Store> {
        if length <= LONG_BYTES {
            return Ok(Store::Short(vec![0; length.div_ceil(size_of::<u128>())], length));
        }
        Store::pages(length)
    }

    /// The same, by the page.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub(crate) fn pages(length: usize) -> Result<Store> {
        let map = MmapMut::map_anon(length).with_context(|| format!("no memory for {length} bytes"))?;
        Ok(Store::Long(map))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Store::Owned(numbers) => numbers.bytes(),
            Store::Short(words, length) => &bytemuck::cast_slice(words)[..*length],
            Store::Long(map) => map,
            Store::Shared(lease, length) => &lease.segment().bytes()[..*length],
            Store::Borrowed(loan) => &loan.mapping.bytes()[..loan.length],
            Store::Missing(_) => &[],
        }
    }

    /// The segment of this process that the array is in.
    pub(crate) fn segment(&self) -> Option<&Segment> {
        match self {
            Store::Shared(lease, _) => Some(lease.segment()),
            _ => None,
        }
    }

    /// A copy of the array in shared memory of this process, or the array itself if a copy is not worth it or there is no
    /// shared memory left.
    pub(crate) fn to_shared(self: &Arc<Store>) -> Arc<Store> {
        if !self.is_worth_sharing() {
            return Arc::clone(self);
        }
        let bytes = self.bytes();
        let Ok(mut lease) = Lease::take(bytes.len()) else { return Arc::clone(self) };
        lease.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        Arc::new(Store::Shared(lease, bytes.len()))
    }

    /// Whether [`Store::to_shared`] would copy it.
    pub(crate) fn is_worth_sharing(&self) -> bool {
        self.bytes().len() >= COPY_BYTES && self.segment().is_none()
    }

    /// The memory of an array that is arriving or being made; empty for all others.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Store::Owned(_) | Store::Borrowed(_) | Store::Missing(_) => &mut [],
            Store::Short(words, length) => &mut bytemuck::cast_slice_mut(words)[..*length],
            Store::Long(map) => map,
            Store::Shared(lease, length) => &mut lease.bytes_mut()[..*length],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_for_an_arriving_array_has_its_length_and_is_zeroed() {
        for length in [0, 1, 17, LONG_BYTES, LONG_BYTES + 1] {
            let mut store = Store::zeroed(length).unwrap();
            assert_eq!(store.bytes_mut().len(), length);
            assert!(store.bytes().iter().all(|&byte| byte == 0));
        }
    }
}
