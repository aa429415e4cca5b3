//! The first frame each way: which version a worker has, and how its pool wants it to work.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The version that both ends must have: parbench's and that of the frames.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "/4");

/// The first frame of a worker: what it must agree on with the pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// See [`VERSION`].
    pub version: String,
}

/// The first frame of a rank of an MPI job.
#[cfg(feature = "mpi")]
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RankHello {
    /// See [`VERSION`].
    pub(crate) version: String,
    /// The name of its host.
    pub(crate) host: String,
    /// What the host's kernel has named this start of it: ranks of one have one clock. Empty if unknown.
    pub(crate) boot: String,
}

#[cfg(feature = "mpi")]
impl RankHello {
    /// That of this process.
    pub(crate) fn here() -> RankHello {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        RankHello { version: VERSION.into(), host, boot }
    }
}

/// The first frame of a pool: how the worker is to work.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// Whether memory is shared; the descriptor of a [`super::ledger::Ledger`] comes along then.
    pub(crate) shares: bool,
    /// The CPUs to run on; empty for all.
    pub(crate) cpus: Vec<usize>,
    /// The most bytes of private memory.
    pub(crate) memory_limit: Option<u64>,
    pub(crate) output: Output,
    /// The variables that it was not started with; of a forked worker all that there are.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// The working directory of a forked worker: that of the fork server may be another one.
    pub(crate) directory: Option<OsString>,
    /// Whether a fork server made it.
    pub(crate) forked: bool,
}

/// What becomes of what a worker process prints, on stdout and stderr alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Output {
    /// It goes to this program's stderr.
    #[default]
    Stderr,
    /// It is discarded.
    Discard,
    /// It is appended to a file.
    Append(PathBuf),
}
