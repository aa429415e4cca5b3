//! A cell: one variant of one scenario, warm, in a process of its own, told when to run batches. All comparisons are made of
//! cells in some order.
//!
//! ```text
//! driver (client.rs)                               cell (server.rs): parbench cell SCENARIO VARIANT --size SIZE
//!   start ────────────────────────────────────────> prepare, start the executor, warm up
//!          <──────────────────── Reply::Ready(..) ── digests of inputs and answers, time of a batch
//!   run   ── Command { batches, begin_ns, .. } ────> each batch: settle, clock, check
//!          <─────────────────── Reply::Observed(..) ─
//!   drop  ── closes the pipe ──────────────────────> stops workers and fixtures, ends
//! ```
//! Commands and replies are lines of JSON. A cell is in a process group of its own: Ctrl-C reaches the driver alone, and the
//! cells end with it.

mod client;
mod launcher;
mod server;

use serde::{Deserialize, Serialize};

pub use self::client::{Cell, CellSpec, Program};
pub(crate) use self::server::main;
use super::runner::Observation;

/// The version of what a driver and a bench program say to each other: parbench's, and that of cells, lists and records. It rises
/// when one of these changes in a way that the other side must know: a gate cannot compare revisions of two versions.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "/3");

/// What a cell says of itself when it is ready.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CellHeader {
    /// See [`VERSION`]; a driver refuses others.
    pub version: String,
    /// A digest of the inputs: cells that are compared must have the same.
    pub inputs: u64,
    /// A digest of each answer of the last batch of the warm-up, by task.
    pub answers: Vec<u64>,
    /// Whether answers may differ from run to run, such as those of real servers.
    pub answers_may_differ: bool,
    /// The tasks of a batch.
    pub tasks: usize,
    /// How long the calls took that started the executor, ns.
    pub start_ns: u64,
    /// The time from the beginning of that start until all workers were ready, ns.
    pub ready_ns: u64,
    /// The time of the last batch of the warm-up, ns.
    pub batch_ns: u64,
    /// The allocator policy of the cell and its workers.
    pub allocator: Option<String>,
    /// The host of each worker, if they may be on several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

/// What a driver asks of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Command {
    /// How many batches to run, one after the other.
    batches: u32,
    /// When the first is to begin, ns of the clock that all processes share.
    begin_ns: Option<u64>,
    /// Whether the spans of the first batch are wanted.
    spans: bool,
}

/// What a cell answers.
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Ready(CellHeader),
    Observed(Box<Observation>),
    /// A batch failed, or the cell could not be made: why. The cell ends.
    Failed(String),
}
