//! What crosses to another process: packets of encoded bytes, arrays of numbers, and the memory that processes share.

pub(crate) mod arena;
pub(crate) mod array;
pub mod packet;
pub(crate) mod probe;
pub(crate) mod segment;
pub(crate) mod store;

pub use self::array::{Array, keep_unused, segments};
pub use self::store::Element;
