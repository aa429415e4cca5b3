//! Packed inputs and outputs: their encoded bytes, and the arrays in them by reference.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::array;
use super::store::Store;

/// The most encoded bytes of a message: 1 GiB. Larger data belongs in an array.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 30;
/// The most arrays of a message.
pub const MAX_ARRAYS: usize = u16::MAX as usize;
/// The most bytes of all arrays of a message: 64 GiB.
pub const MAX_ARRAY_BYTES: u64 = 1 << 36;

/// A task's input or output: any type that derives serde's two traits.
///
/// A packed message does not describe itself, so both traits must agree about its shape. A type whose variants or fields are
/// skipped, renamed or left out on one side only, or that needs `untagged`, `tag` or `flatten`, is refused before it is sent.
/// A field with plain `#[serde(skip)]` is not sent: a worker process finds its default there, which a thread does not, and
/// nothing can notice that but `check`, or the comparison of answers in rounds.
pub trait Message: Serialize + DeserializeOwned + Send + Sync + 'static {}
impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Message for T {}

/// A packed message. It shares its arrays with the message: packing copies none of them.
#[derive(Clone, Default)]
pub struct Packet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) arrays: Vec<Arc<Store>>,
}

impl Packet {
    /// Packs a message.
    ///
    /// # Errors
    /// If its `Serialize` fails, or it is larger than a frame can be.
    pub fn pack<M: Message>(message: &M) -> Result<Packet> {
        let (bytes, arrays) = array::collect(|| postcard::to_stdvec(message));
        let packet = Packet { bytes: bytes.context("cannot pack a message")?, arrays };
        let (bytes, arrays) = (packet.bytes.len(), packet.arrays.len());
        ensure!(
            bytes <= MAX_PAYLOAD_BYTES,
            "a message of {bytes} bytes is larger than {MAX_PAYLOAD_BYTES}: put large data into an Array"
        );
        ensure!(
            arrays <= MAX_ARRAYS && (packet.len() - bytes) as u64 <= MAX_ARRAY_BYTES,
            "{arrays} arrays of {} bytes in one message are more than {MAX_ARRAYS} or {MAX_ARRAY_BYTES} bytes",
            packet.len() - bytes
        );
        Ok(packet)
    }

    /// Unpacks a message of type `M`.
    ///
    /// # Errors
    /// If the packet holds no `M`, or an array is missing or has other elements.
    pub fn unpack<M: Message>(self) -> Result<M> {
        let Packet { bytes, arrays } = self;
        let unpack = || {
            let came = arrays.len();
            let (message, used) = array::supply(arrays, || postcard::take_from_bytes(&bytes));
            let (message, rest) = message
                .map_err(|error| array::refusal().map_or_else(|| anyhow!(error), |reason| anyhow!(reason)))?;
            ensure!(rest.is_empty(), "{} bytes too many", rest.len());
            ensure!(used == came, "{came} arrays came with it, of which it has {used}");
            Ok(message)
        };
        unpack().with_context(|| format!("cannot unpack a message of {} bytes", bytes.len()))
    }

    /// The same message with its large private arrays copied into shared memory.
    pub(crate) fn into_shared(mut self) -> Packet {
        for array in &mut self.arrays {
            *array = array.to_shared();
        }
        self
    }

    /// Whether [`Packet::into_shared`] would copy an array.
    pub(crate) fn is_worth_sharing(&self) -> bool {
        self.arrays.iter().any(|array| array.is_worth_sharing())
    }

    /// How many bytes must be moved to send it to another process. Arrays in shared memory need not be.
    pub(crate) fn moved_bytes(&self, shares: bool) -> usize {
        let moved = |store: &&Arc<Store>| !shares || store.segment().is_none();
        self.bytes.len() + self.arrays.iter().filter(moved).map(|store| store.bytes().len()).sum::<usize>()
    }

    /// The encoded bytes, for tests.
    #[doc(hidden)]
    pub fn encoded(&self) -> &[u8] {
        &self.bytes
    }

    /// A packet of encoded bytes and no arrays, for tests.
    #[doc(hidden)]
    pub fn from_encoded(bytes: Vec<u8>) -> Packet {
        Packet { bytes, arrays: Vec::new() }
    }

    /// A digest of all bytes, the same in every process of a program.
    pub fn digest(&self) -> u64 {
        // The standard library's hasher without a random key.
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.bytes);
        self.arrays.iter().for_each(|array| hasher.write(array.bytes()));
        hasher.finish()
    }

    /// The number of bytes: those that are encoded and those of the arrays.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.arrays.iter().map(|store| store.bytes().len()).sum::<usize>()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
            && self.arrays.len() == other.arrays.len()
            && self.arrays.iter().zip(&other.arrays).all(|(a, b)| a.bytes() == b.bytes())
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packet({} bytes, {} arrays, {} in all)", self.bytes.len(), self.arrays.len(), self.len())
    }
}
