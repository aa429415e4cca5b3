//! A read-only array of numbers, which crosses to another process as plain bytes beside its message, never through serde.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::arena::{self, Lease};
use super::segment;
use super::store::{Element, Store};

/// A read-only array of numbers whose clones share one memory.
///
/// An array in an input or output is not encoded with its message: packing copies nothing, and a worker in the same
/// process reads the same memory. On the way to another process, an array made by [`Array::shared`] stays where it is; the
/// bytes of any other array are copied once. A `Vec<f64>` would be encoded element by element: use an `Array` for large
/// data.
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
    /// Takes the vector without copying it.
    fn from(numbers: Vec<T>) -> Self {
        const { assert!(size_of::<T>() > 0, "an Array needs elements that have bytes") };
        Array { store: Arc::new(Store::Owned(Box::new(numbers))), element: PhantomData }
    }
}

impl<T: Element> Array<T> {
    /// Makes an array in shared memory. It crosses to another process without a copy, both in an input and, made in a
    /// worker, in an output.
    ///
    /// `fill` gets `length` elements to write; their values before that are arbitrary. If memory cannot be shared (on
    /// systems other than Linux, in some sandboxes), the array is an ordinary one and is copied. A shared array takes a
    /// descriptor and whole pages: use it for large data, and `From<Vec>` for the rest.
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
    /// If this process has too many shared arrays, or there is no memory or no descriptor left.
    pub fn shared(length: usize, fill: impl FnOnce(&mut [T])) -> Result<Array<T>> {
        let bytes = length.checked_mul(size_of::<T>());
        let bytes = bytes.with_context(|| format!("{length} elements are more than memory can hold"))?;
        // Memory by the page, unless a vector will do or no page is aligned well enough.
        let mut store = if bytes == 0 || align_of::<T>() > PAGE_BYTES {
            let mut numbers = Vec::new();
            numbers.try_reserve_exact(length).with_context(|| format!("no memory for {bytes} bytes"))?;
            numbers.resize(length, T::zeroed());
            fill(&mut numbers);
            return Ok(numbers.into());
        } else if segment::supported() {
            match Lease::take(bytes) {
                Ok(lease) => Store::Shared(lease, bytes),
                // Memory that is not shared has no such limit.
                Err(error) if segment::is_too_large(&error) => Store::pages(bytes)?,
                Err(error) => return Err(error),
            }
        } else {
            Store::pages(bytes)?
        };
        fill(bytemuck::cast_slice_mut(store.bytes_mut()));
        Ok(Array { store: Arc::new(store), element: PhantomData })
    }

    /// Copies numbers to a shared array: see [`Array::shared`].
    ///
    /// # Errors
    /// As [`Array::shared`].
    pub fn share(numbers: &[T]) -> Result<Array<T>> {
        Array::shared(numbers.len(), |shared| shared.copy_from_slice(numbers))
    }
}

/// Sets how many bytes of shared memory this process keeps for its next [`Array::shared`] when arrays are dropped; 4 GiB
/// by default. The system need not allocate and clear memory again that is kept. With 0, every array is made of fresh
/// pages.
pub fn keep_unused(bytes: u64) {
    arena::keep_unused(bytes);
}

/// The number of shared memory segments of this process: in use, and kept for reuse. A service that runs for weeks sees here
/// whether it holds on to arrays that it no longer needs.
pub fn segments() -> (usize, usize) {
    arena::count()
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

thread_local! {
    /// The arrays of the message that is being packed on this thread; `None` if none is.
    static PACKING: RefCell<Option<Vec<Arc<Store>>>> = const { RefCell::new(None) };
    /// The arrays that came with the message that is being unpacked on this thread.
    static UNPACKING: RefCell<Option<Vec<Arc<Store>>>> = const { RefCell::new(None) };
    /// How many times one of them was used.
    static USED: Cell<usize> = const { Cell::new(0) };
}

/// Puts back what a message outside of the current one has collected, also when the code of a message panics.
struct Restore<F: FnMut()>(F);

impl<F: FnMut()> Drop for Restore<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Runs `encode`, and also returns the arrays that it serialised.
pub(crate) fn collect<R>(encode: impl FnOnce() -> R) -> (R, Vec<Arc<Store>>) {
    let mut outer = PACKING.replace(Some(Vec::new()));
    let mut arrays = Vec::new();
    let restore = Restore(|| arrays = PACKING.replace(outer.take()).unwrap_or_default());
    let result = encode();
    drop(restore);
    (result, arrays)
}

/// Runs `decode` with the arrays that its message came with, and also returns how many times it used one.
pub(crate) fn supply<R>(arrays: Vec<Arc<Store>>, decode: impl FnOnce() -> R) -> (R, usize) {
    // A refusal in another format, long ago, is not the reason.
    REFUSAL.set(None);
    let (mut outer, outer_used) = (UNPACKING.replace(Some(arrays)), USED.replace(0));
    let mut used = 0;
    let restore = Restore(|| {
        UNPACKING.replace(outer.take());
        used = USED.replace(outer_used);
    });
    let result = decode();
    drop(restore);
    (result, used)
}

thread_local! {
    /// Why the last array on this thread was refused.
    static REFUSAL: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Stores the reason: postcard reports only that something was wrong.
fn refuse<E: de::Error>(reason: String) -> E {
    REFUSAL.set(Some(reason.clone()));
    E::custom(reason)
}

/// Why an array was refused, if that is the reason why the last message could not be unpacked.
pub(crate) fn refusal() -> Option<String> {
    REFUSAL.take()
}

/// What memory by the page is aligned to at least.
const PAGE_BYTES: usize = 4096;

const OUTSIDE: &str =
    "an Array can only be part of a task's input or output; copy it into a Vec for any other format";

impl<T: Element> Serialize for Array<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let index = PACKING.with_borrow_mut(|packing| {
            let arrays = packing.as_mut()?;
            arrays.push(Arc::clone(&self.store));
            Some(arrays.len() as u32 - 1)
        });
        serializer.serialize_u32(index.ok_or_else(|| ser::Error::custom(OUTSIDE))?)
    }
}

impl<'de, T: Element> Deserialize<'de> for Array<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let index = u32::deserialize(deserializer)? as usize;
        let store = UNPACKING.with_borrow(|arrays| match arrays {
            None => Err(refuse(OUTSIDE.into())),
            Some(arrays) => {
                let missing = || refuse(format!("array {index} did not come with its message"));
                arrays.get(index).cloned().ok_or_else(missing)
            }
        })?;
        if let Store::Missing(why) = &*store {
            return Err(refuse(why.clone()));
        }
        USED.set(USED.get() + 1);
        of_bytes(store).map_err(|error| refuse(error.to_string()))
    }
}

/// The array that arrived in a store. A short one is aligned to 16 bytes: elements that need more are copied.
fn of_bytes<T: Element>(store: Arc<Store>) -> Result<Array<T>> {
    let bytes = store.bytes();
    ensure!(
        size_of::<T>() > 0 && bytes.len().is_multiple_of(size_of::<T>()),
        "an array of {} bytes does not hold elements of {} bytes",
        bytes.len(),
        size_of::<T>()
    );
    if bytemuck::try_cast_slice::<u8, T>(bytes).is_err() {
        let mut elements = vec![T::zeroed(); bytes.len() / size_of::<T>()];
        bytemuck::cast_slice_mut(&mut elements).copy_from_slice(bytes);
        return Ok(elements.into());
    }
    Ok(Array { store, element: PhantomData })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::packet::Packet;

    #[test]
    fn an_array_keeps_its_memory_when_packed() {
        let array = Array::from(vec![1.5, 2.5]);
        let packet = Packet::pack(&array).unwrap();
        let back: Array<f64> = packet.unpack().unwrap();
        assert_eq!(back, array);
        assert_eq!(back.as_ptr(), array.as_ptr(), "packing and unpacking must not copy");
    }

    /// As SIMD registers are aligned, and more.
    macro_rules! aligned {
        ($name:ident, $align:literal) => {
            #[derive(Clone, Copy, Debug, PartialEq)]
            #[repr(C, align($align))]
            struct $name([u8; $align]);
            // SAFETY: all bit patterns are valid, and there is no padding.
            unsafe impl bytemuck::Zeroable for $name {}
            // SAFETY: as above.
            unsafe impl bytemuck::Pod for $name {}
        };
    }
    aligned!(Aligned32, 32);
    aligned!(Aligned64, 64);
    aligned!(Aligned8192, 8192);

    /// The array as it arrives in another process: in memory that knows nothing of its elements.
    fn arrived<T: Element>(array: &Array<T>) -> Array<T> {
        let mut packet = Packet::pack(array).unwrap();
        for store in &mut packet.arrays {
            let mut copy = Store::zeroed(store.bytes().len()).unwrap();
            copy.bytes_mut().copy_from_slice(store.bytes());
            *store = Arc::new(copy);
        }
        packet.unpack().unwrap()
    }

    fn arrives<T: Element + PartialEq + fmt::Debug>(element: T) {
        // Several of each, since memory may be aligned by chance; empty, short, and by the page.
        for length in [0, 1, 3, 3, 3, 400 << 10 >> size_of::<T>().ilog2()] {
            let numbers = vec![element; length];
            let made = Array::shared(length, |shared| shared.fill(element)).unwrap();
            for array in [Array::from(numbers.clone()), made] {
                assert_eq!(array[..], numbers);
                assert_eq!(arrived(&array)[..], numbers);
            }
        }
    }

    #[test]
    fn elements_of_every_alignment_arrive() {
        arrives(7u8);
        arrives(Aligned32([7; 32]));
        arrives(Aligned64([7; 64]));
        arrives(Aligned8192([7; 8192]));
    }

    #[test]
    fn a_panic_while_packing_or_unpacking_leaves_no_message_open() {
        let array = Array::from(vec![1u8]);
        let life = Arc::downgrade(&array.store);
        let packet = Packet::pack(&array).unwrap();
        let panics = || -> () { panic!("in its Serialize") };
        let caught = |code: &mut dyn FnMut()| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(code)).expect_err("it panics");
        };
        caught(&mut || drop(collect(panics)));
        caught(&mut || _ = supply(packet.arrays.clone(), panics));
        // Outside of any message it is refused again, and its memory is not kept.
        assert!(postcard::to_stdvec(&array).is_err());
        drop((packet, array));
        assert!(life.upgrade().is_none());
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
}
