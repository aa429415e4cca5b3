//! How an input or output is packed: a few encoded bytes, and the arrays met on the way, by reference.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::array::{self, Store};

/// Most encoded bytes of a message: 1 GiB. Whatever is larger belongs into an array.
pub const MOST_PAYLOAD_BYTES: usize = 1 << 30;
/// Most arrays of a message.
pub const MOST_ARRAYS: usize = u16::MAX as usize;
/// Most bytes of all arrays of a message: 64 GiB.
pub const MOST_ARRAY_BYTES: u64 = 1 << 36;

/// What can be a task's input or output: anything that derives serde's two traits.
pub trait Message: Serialize + DeserializeOwned + Send + Sync + 'static {}
impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Message for T {}

/// A packed message. Arrays in it are shared with the message it was made from: packing copies none of them.
#[derive(Clone, Default)]
pub struct Packet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) arrays: Vec<Arc<Store>>,
}

impl Packet {
    /// Packs a message.
    ///
    /// # Errors
    /// Where its `Serialize` fails, or it is larger than a frame can be.
    pub fn pack<M: Message>(message: &M) -> Result<Packet> {
        let (bytes, arrays) = array::collect(|| postcard::to_stdvec(message));
        let packet = Packet { bytes: bytes.context("cannot pack a message")?, arrays };
        let (bytes, arrays) = (packet.bytes.len(), packet.arrays.len());
        ensure!(
            bytes <= MOST_PAYLOAD_BYTES,
            "a message of {bytes} bytes is larger than {MOST_PAYLOAD_BYTES}: put its bulk into an Array"
        );
        ensure!(
            arrays <= MOST_ARRAYS && (packet.len() - bytes) as u64 <= MOST_ARRAY_BYTES,
            "{arrays} arrays of {} bytes in one message are more than {MOST_ARRAYS} or {MOST_ARRAY_BYTES} bytes",
            packet.len() - bytes
        );
        Ok(packet)
    }

    /// Unpacks what [`Packet::pack`] made of an `M`.
    ///
    /// # Errors
    /// Where the bytes are not an `M`, or an array is missing or of another element.
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

    /// Whether [`Packet::into_shared`] would copy anything.
    pub(crate) fn is_worth_sharing(&self) -> bool {
        self.arrays.iter().any(|array| array.is_worth_sharing())
    }

    /// How many bytes have to be moved to another process, which arrays in shared memory have not.
    pub(crate) fn moved_bytes(&self, shares: bool) -> usize {
        let moved = |store: &&Arc<Store>| !shares || store.segment().is_none();
        self.bytes.len() + self.arrays.iter().filter(moved).map(|store| store.bytes().len()).sum::<usize>()
    }

    /// How many bytes a message has: the encoded ones and the arrays.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.arrays.iter().map(|store| store.bytes().len()).sum::<usize>()
    }

    /// Whether nothing at all would cross.
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
