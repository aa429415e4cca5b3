//! A message that takes its time: to be packed, and to be unpacked.

use std::thread;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Takes this many ms to be packed, and this many to be unpacked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Slow {
    #[serde(serialize_with = "pack")]
    pub(crate) pack: u64,
    #[serde(deserialize_with = "unpack")]
    pub(crate) unpack: u64,
}

fn pack<S: Serializer>(ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    thread::sleep(Duration::from_millis(*ms));
    ms.serialize(serializer)
}

fn unpack<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let ms = u64::deserialize(deserializer)?;
    thread::sleep(Duration::from_millis(ms));
    Ok(ms)
}
