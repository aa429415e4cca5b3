//! Numbers in bulk: a read-only array that travels beside a message as plain bytes, never through serde.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use memmap2::MmapMut;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::segment::{self, Lease, Mapping, Segment};

/// What an [`Array`] can hold: plain numbers, and structs of them that implement [`bytemuck::Pod`].
pub trait Element: bytemuck::Pod + Send + Sync {}
impl<T: bytemuck::Pod + Send + Sync> Element for T {}

/// A read-only array of numbers whose clones share one memory.
///
/// In an input or output it travels out of band: packing copies nothing, and a worker in the same process reads
/// the very same memory. On the way to another process an array made by [`Array::shared`] stays where it is; the
/// bytes of any other are copied, once. A `Vec<f64>` in the same place would be encoded element by element: use
/// an `Array` for anything large.
///
/// ```
/// let doubled: parbench::Array<f64> = [1.0, 2.0].iter().map(|x| x * 2.0).collect::<Vec<_>>().into();
/// assert_eq!(&doubled[..], [2.0, 4.0]);
/// ```
pub struct Array<T> {
    store: Arc<Store>,
    element: PhantomData<T>,
}

impl<T: Element> From<Vec<T>> for Array<T> {
    /// Takes the vector as it is: no copy.
    fn from(numbers: Vec<T>) -> Self {
        Array { store: Arc::new(Store::Owned(Box::new(numbers))), element: PhantomData }
    }
}

impl<T: Element> Array<T> {
    /// An array in memory that worker processes read where it is: it crosses to them without a copy, whether in
    /// an input or, made in a worker, in an output.
    ///
    /// `fill` gets `length` elements to write; what is in them before is of no meaning. Where nothing can be
    /// shared (other systems than Linux, some sandboxes) it is an ordinary array, and is copied. It costs a
    /// descriptor and whole pages: use it for what is large, and `From<Vec>` for the rest.
    ///
    /// ```
    /// # fn main() -> anyhow::Result<()> {
    /// let squares = parbench::Array::shared(1_000, |numbers| {
    ///     numbers.iter_mut().enumerate().for_each(|(i, number)| *number = (i * i) as f64);
    /// })?;
    /// assert_eq!(squares[999], 998_001.0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where this process has too many of them, or there is no memory or no descriptor left.
    pub fn shared(length: usize, fill: impl FnOnce(&mut [T])) -> Result<Array<T>> {
        let bytes = length.checked_mul(size_of::<T>());
        let bytes = bytes.with_context(|| format!("{length} elements are more than memory can hold"))?;
        let mut store = if segment::supported() && bytes > 0 {
            Store::Shared(Lease::take(bytes)?, bytes)
        } else {
            Store::zeroed(bytes)?
        };
        fill(bytemuck::cast_slice_mut(store.bytes_mut()));
        Ok(Array { store: Arc::new(store), element: PhantomData })
    }

    /// A copy of some numbers in memory that worker processes read where it is: see [`Array::shared`].
    ///
    /// # Errors
    /// As there.
    pub fn share(numbers: &[T]) -> Result<Array<T>> {
        Array::shared(numbers.len(), |shared| shared.copy_from_slice(numbers))
    }
}

/// How many bytes of shared memory this process keeps for its next [`Array::shared`] when arrays are dropped;
/// 4 GiB if it says nothing. What is kept need not be found and cleared by the system again; with 0 every array
/// comes in fresh pages.
pub fn keep_unused(bytes: u64) {
    segment::keep_unused(bytes);
}

/// How many segments of shared memory this process has: in use, and kept for reuse.
pub fn segments() -> (usize, usize) {
    segment::count()
}

impl<T: Element> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(self.store.bytes())
    }
}

impl<T> Clone for Array<T> {
    fn clone(&self) -> Self {
        Array { store: Arc::clone(&self.store), element: PhantomData }
    }
}

impl<T: Element + PartialEq> PartialEq for Array<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.store, &other.store) || self[..] == other[..]
    }
}

impl<T: Element> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array({} elements of {} bytes)", self.len(), size_of::<T>())
    }
}

/// Where an array's bytes live.
pub(crate) enum Store {
    /// Memory that somebody handed over.
    Owned(Box<dyn Bytes>),
    /// A short array that arrived: 16-byte aligned, of which the first so many bytes count.
    Short(Vec<u128>, usize),
    /// A long array that arrived: page aligned.
    Long(MmapMut),
    /// So many bytes of shared memory of this process.
    Shared(Lease, usize),
    /// Shared memory of another process.
    Borrowed(Loan),
    /// An array that did not get here, and why.
    Missing(String),
}

/// An array in a segment of another process, which is told when it is dropped.
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

/// Where a loan goes when it is dropped.
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

/// A vector of any element seen as bytes.
pub(crate) trait Bytes: Send + Sync {
    fn bytes(&self) -> &[u8];
}

impl<T: Element> Bytes for Vec<T> {
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }
}

/// Above this an array that arrives gets pages of its own: a mapping that the system refuses is an error,
/// where a `Vec` would abort the program.
const LONG_BYTES: usize = 256 << 10;

/// From here on a private array crosses to another process through shared memory, not through the socket, which
/// moves 64 KiB at a time and copies twice.
const COPY_BYTES: usize = 128 << 10;

impl Store {
    /// Zeroed memory for an array of `length` bytes that is about to arrive.
    pub(crate) fn zeroed(length: usize) -> Result<Store> {
        if length <= LONG_BYTES {
            return Ok(Store::Short(vec![0; length.div_ceil(size_of::<u128>())], length));
        }
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

    /// The segment of this process that it is in.
    pub(crate) fn segment(&self) -> Option<&Segment> {
        match self {
            Store::Shared(lease, _) => Some(lease.segment()),
            _ => None,
        }
    }

    /// The same array in shared memory of this process, where it is worth it and there is some.
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

    /// The memory of an array that is arriving or being made; empty for any other.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Store::Owned(_) | Store::Borrowed(_) | Store::Missing(_) => &mut [],
            Store::Short(words, length) => &mut bytemuck::cast_slice_mut(words)[..*length],
            Store::Long(map) => map,
            Store::Shared(lease, length) => &mut lease.bytes_mut()[..*length],
        }
    }
}

thread_local! {
    /// The arrays met while a message is packed on this thread; `None` when nothing is being packed.
    static PACKING: RefCell<Option<Vec<Arc<Store>>>> = const { RefCell::new(None) };
    /// The arrays that came with the message being unpacked on this thread.
    static UNPACKING: RefCell<Option<Vec<Arc<Store>>>> = const { RefCell::new(None) };
    /// How many of them have been used.
    static USED: Cell<usize> = const { Cell::new(0) };
}

/// Runs `encode` and returns the arrays that it met.
pub(crate) fn collect<R>(encode: impl FnOnce() -> R) -> (R, Vec<Arc<Store>>) {
    let outer = PACKING.replace(Some(Vec::new()));
    let result = encode();
    (result, PACKING.replace(outer).unwrap_or_default())
}

/// Runs `decode` with `arrays` at hand, and says how many times it used one.
pub(crate) fn supply<R>(arrays: Vec<Arc<Store>>, decode: impl FnOnce() -> R) -> (R, usize) {
    // One of another format, long ago, is not the reason.
    REFUSAL.set(None);
    let outer = (UNPACKING.replace(Some(arrays)), USED.replace(0));
    let result = decode();
    UNPACKING.replace(outer.0);
    (result, USED.replace(outer.1))
}

thread_local! {
    /// Why the last array on this thread was refused.
    static REFUSAL: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps the reason: the encoding reports that something was wrong, and not what.
fn refuse<E: de::Error>(reason: String) -> E {
    REFUSAL.set(Some(reason.clone()));
    E::custom(reason)
}

/// Why an array in the message that could not be unpacked was refused, if that was it.
pub(crate) fn refusal() -> Option<String> {
    REFUSAL.take()
}

const OUTSIDE: &str =
    "an Array travels only as part of a task's input or output; copy it into a Vec for any other format";

impl<T: Element> Serialize for Array<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = PACKING.with_borrow_mut(|packing| {
            let arrays = packing.as_mut()?;
            arrays.push(Arc::clone(&self.store));
            Some(arrays.len() as u32 - 1)
        });
        serializer.serialize_u32(place.ok_or_else(|| ser::Error::custom(OUTSIDE))?)
    }
}

impl<'de, T: Element> Deserialize<'de> for Array<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let place = u32::deserialize(deserializer)? as usize;
        let store = UNPACKING.with_borrow(|arrays| match arrays {
            None => Err(refuse(OUTSIDE.into())),
            Some(arrays) => {
                let missing = || refuse(format!("array {place} did not come with its message"));
                arrays.get(place).cloned().ok_or_else(missing)
            }
        })?;
        if let Store::Missing(why) = &*store {
            return Err(refuse(why.clone()));
        }
        USED.set(USED.get() + 1);
        fits::<T>(store.bytes()).map_err(|error| refuse(error.to_string()))?;
        Ok(Array { store, element: PhantomData })
    }
}

/// Whether `bytes` can be read as a slice of `T`; they are aligned to 16 bytes at least when they arrive.
fn fits<T: Element>(bytes: &[u8]) -> Result<()> {
    ensure!(
        bytemuck::try_cast_slice::<u8, T>(bytes).is_ok(),
        "an array of {} bytes does not hold elements of {} bytes",
        bytes.len(),
        size_of::<T>()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Packet;

    #[test]
    fn an_array_keeps_its_memory_when_packed() {
        let array = Array::from(vec![1.5, 2.5]);
        let packet = Packet::pack(&array).unwrap();
        let back: Array<f64> = packet.unpack().unwrap();
        assert_eq!(back, array);
        assert_eq!(back.as_ptr(), array.as_ptr(), "packing and unpacking must not copy");
    }

    #[test]
    fn an_array_of_another_element_is_refused() {
        let packet = Packet::pack(&Array::from(vec![1u8, 2, 3])).unwrap();
        let error = packet.unpack::<Array<f64>>().unwrap_err();
        assert!(format!("{error:#}").contains("3 bytes"), "{error:#}");
    }

    #[test]
    fn an_array_in_any_other_format_is_refused_with_advice() {
        let error = serde_json::to_string(&Array::from(vec![1u8])).unwrap_err();
        assert!(error.to_string().contains("copy it into a Vec"), "{error}");
    }

    #[test]
    fn memory_for_an_arriving_array_has_its_length_and_is_zeroed() {
        for length in [0, 1, 17, LONG_BYTES, LONG_BYTES + 1] {
            let mut store = Store::zeroed(length).unwrap();
            assert_eq!(store.bytes_mut().len(), length);
            assert!(store.bytes().iter().all(|&byte| byte == 0));
        }
    }
}
