//! parbench answers, with numbers from the machine it runs on: *for this kind of work, should I run it
//! serially, on threads, or in processes, and with how many workers?*
//!
//! A [`Workload`] is a task's function, its inputs and the check of its answers. It becomes a [`Scenario`], a
//! row in a list; a bench program measures every scenario of its list on every executor
//! ([`executors::ALL`]), with Criterion ([`bench::main`]) or in interleaved rounds. The executor is the only
//! thing that differs between two variants of a scenario: neither knows of the other.
//!
//! ```text
//! scenarios -> workload -> job <- executors -> span        bench program = scenarios x executors -> record
//! ```
//!
//! The README has the two commands to begin with and a workload of your own; METHODOLOGY.md says what is in
//! the clock and what is not.

// Results leave through one place in each program: a stray line would mix with them.
#![warn(clippy::print_stdout)]

#[cfg(not(unix))]
compile_error!("parbench needs a Unix system: its worker processes talk over Unix sockets");

pub mod array;
pub mod bench;
pub mod executors;
pub mod fixtures;
pub mod job;
pub mod message;
pub mod record;
pub mod scenario;
pub mod span;
pub mod usage;
pub mod wire;
pub mod workload;

mod forkserver;
mod ledger;
mod means;
mod options;
mod program;
mod rounds;
mod runner;
mod segment;
mod socket;
mod worker;

#[cfg(feature = "scenarios")]
pub mod scenarios;
#[cfg(feature = "scenarios")]
mod table;

pub use array::Array;
pub use executors::{Executor, Failure, Outcome};
pub use job::{Cause, Job};
pub use message::{Message, Packet};
pub use scenario::Scenario;
pub use span::TaskSpan;
pub use usage::Usage;
pub use workload::{Inputs, Scaling, Size, Split, Workload};
