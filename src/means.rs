//! What an executor is given: how many workers, and what a pool of processes is to do when things go wrong.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// What an executor is given. All but `workers` is about worker processes; other executors pay no heed to it.
///
/// ```
/// # use std::time::Duration;
/// # use parbench::executors::Means;
/// let means = Means { deadline: Some(Duration::from_secs(5)), retries: 1, ..Means::workers(4) };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Means {
    /// How many workers.
    pub workers: usize,
    /// Most tasks that a worker is sent at once, the one it runs included; `None` for as many as keep it busy.
    pub in_flight: Option<usize>,
    /// How long a task may run before its worker is killed and replaced; its failure is
    /// [`crate::Cause::TimedOut`]. None by default.
    pub deadline: Option<Duration>,
    /// How often a task whose worker died is run again, if it may run twice; 0 by default.
    pub retries: u32,
    /// After how many tasks a worker is replaced by a new one, against leaks; never by default.
    pub life: Option<u32>,
    /// Most bytes of private memory for each worker (`RLIMIT_DATA`): one that wants more aborts.
    pub memory: Option<u64>,
    /// CPUs for the workers, one each and round again; none for wherever the system puts them. Linux only.
    pub cpus: Vec<usize>,
    /// Environment variables of the workers, besides this program's own.
    pub environment: Vec<(String, String)>,
    /// What becomes of what a worker prints.
    pub output: Output,
    /// How many threads a kernel with a pool of its own may use in a worker: what `RAYON_NUM_THREADS`,
    /// `OMP_NUM_THREADS` and their like are set to there. 1 by default, since the workers share the cores; `None`
    /// for workloads that are about such kernels.
    pub inner_threads: Option<usize>,
    /// Does without shared memory, process descriptors and the passing of descriptors, as on a system that has
    /// none: arrays are copied, and a worker is sent one task at a time.
    pub bare: bool,
}

/// What becomes of what a worker prints, on stdout and stderr alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// It goes to this program's stderr.
    #[default]
    Stderr,
    /// It is discarded.
    Discard,
    /// It is appended to a file.
    Append(PathBuf),
}

impl Means {
    /// So many workers, and otherwise what suits.
    pub fn workers(workers: usize) -> Means {
        Means {
            workers,
            in_flight: None,
            deadline: None,
            retries: 0,
            life: None,
            memory: None,
            cpus: Vec::new(),
            environment: Vec::new(),
            output: Output::default(),
            inner_threads: Some(1),
            bare: false,
        }
    }

    /// Refuses what cannot be meant.
    pub(crate) fn check(&self) -> Result<()> {
        let Means { in_flight, deadline, life, inner_threads, environment, .. } = self;
        ensure!(*in_flight != Some(0), "`in_flight: 0` would send no task at all; 1 is the least");
        ensure!(*deadline != Some(Duration::ZERO), "a deadline of 0 s would fail every task");
        ensure!(*life != Some(0), "`life: 0` would let no worker run a task; 1 is the least");
        ensure!(
            *inner_threads != Some(0),
            "`inner_threads: 0` lets a kernel run on no thread; 1 is the least"
        );
        for (name, value) in environment {
            let sound = !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
            ensure!(
                sound,
                "`{name}` cannot be an environment variable's name, or its value holds a zero byte"
            );
        }
        Ok(())
    }

    /// All variables that a worker gets.
    pub(crate) fn worker_environment(&self) -> Vec<(String, String)> {
        let inner = |threads: usize| INNER_THREADS.map(|name| (name.to_string(), threads.to_string()));
        let inner = self.inner_threads.map(inner).into_iter().flatten();
        // Who names one of them, means it.
        inner.chain(self.environment.iter().cloned()).collect()
    }
}

/// What the usual kernels read at their start.
const INNER_THREADS: [&str; 5] = [
    "RAYON_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
];
