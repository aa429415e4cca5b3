//! parbench answers, with numbers from the machine it runs on: *for this kind of work, should I run it serially, on
//! threads, or in processes, and with how many workers?*
//!
//! A [`Workload`] is a task's function, its inputs and the check of its answers. It becomes a [`Scenario`], a row in a
//! list. A bench program measures every scenario of its list on every executor ([`executors::ALL`]), with Criterion
//! ([`bench::main`]) or in interleaved rounds. The executor is the only thing that differs between two variants of a
//! scenario: an executor knows no scenario, and a scenario no executor.
//!
//! ```text
//! workload (typed) -> scenario (a row) -> job (erased) -> an executor runs it -> spans -> record
//! ```
//!
//! The modules, from the bottom up. None imports from above, and a scenario only from `workload`, `data`, `fixtures`,
//! `random`, `panic` and `span`; `tests/tidy.rs` checks both:
//!
//! | module | has |
//! |---|---|
//! | `panic`, `program`, `random`, `shape`, `span`, `usage` | what all others need; `program` starts this program again as its own helper |
//! | `data` | packets, arrays, shared memory: what crosses to another process |
//! | `wire` | frames, sockets and the ledger: what stands between a pool and a worker process |
//! | `workload`, `job`, `scenario` | what is measured, and how its types are erased |
//! | `executors` | the near side: runs a job's tasks, in `processes` through a pool of worker processes |
//! | `worker` | the far side: a worker process, and the fork server that makes them |
//! | `fixtures` | servers, folders and generated data |
//! | `pool` | typed inputs in, typed outputs out |
//! | `measure` | variants, batches and records |
//! | `scenarios` | the articles' experiments |
//! | `bench` | a bench program's main and its modes |
//!
//! The README has the two commands to begin with and an own workload; METHODOLOGY.md says what is in the clock and what
//! is not.

// Results leave through one place in each program: a stray line would mix with them.
#![warn(clippy::print_stdout)]

#[cfg(not(unix))]
compile_error!("parbench needs a Unix system: its worker processes talk over Unix sockets");

pub mod bench;
pub mod data;
pub mod executors;
pub mod fixtures;
pub mod measure;
#[cfg(feature = "scenarios")]
pub mod scenarios;
pub mod span;
/// For tests that speak it as a worker would; not part of the public interface.
#[doc(hidden)]
pub mod wire;

mod job;
mod panic;
mod pool;
mod program;
mod random;
mod scenario;
mod shape;
mod usage;
mod worker;
mod workload;

pub use data::Array;
pub use data::packet::{Message, Packet};
pub use executors::{Executor, Failure, Outcome};
pub use job::{Cause, Job, TaskFuture, TypedJob};
pub use pool::Pool;
pub use scenario::{Amount, Prepared, Scenario};
pub use shape::{MAX_PARALLELISM, Shape};
pub use span::TaskSpan;
pub use usage::Usage;
pub use usage::allocations::CountingAllocator;
pub use workload::{
    Inputs, Properties, Scaling, SetUp, Shared, SharedState, Size, Split, StartFuture, Workload,
};

/// The Rust examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
