//! The options of an executor: how many workers, and what a pool of worker processes does when something goes wrong.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::shape::Shape;
pub use crate::wire::Output;

/// The options of an executor. All but the shape are about worker processes; other executors ignore them.
///
/// ```
/// # use std::time::Duration;
/// # use parbench::executors::PoolOptions;
/// let options = PoolOptions::new(4).deadline(Duration::from_secs(5)).retries(1);
/// assert_eq!(options.shape().workers, 4);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    pub(crate) shape: Shape,
    pub(crate) prefetch: Option<usize>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) retries: u32,
    pub(crate) max_tasks_per_worker: Option<u32>,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) cpus: Vec<usize>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) output: Output,
    pub(crate) inner_threads: Option<usize>,
    pub(crate) without_shared_memory: bool,
}

impl PoolOptions {
    /// The defaults for a number of workers, or another [`Shape`].
    pub fn new(shape: impl Into<Shape>) -> PoolOptions {
        PoolOptions {
            shape: shape.into(),
            prefetch: None,
            deadline: None,
            retries: 0,
            max_tasks_per_worker: None,
            memory_limit: None,
            cpus: Vec::new(),
            environment: Vec::new(),
            output: Output::default(),
            inner_threads: Some(1),
            without_shared_memory: false,
        }
    }

    /// How many workers, and how many threads each.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The most tasks that a worker is sent ahead of the one that it runs. Without it, as many as keep the worker busy.
    pub fn prefetch(mut self, tasks: usize) -> Self {
        self.prefetch = Some(tasks);
        self
    }

    /// How long a worker may take for a task: from when its input has been sent, or from the end of the task before it, until
    /// its answer arrives. A worker that takes longer is killed
    /// and replaced, and its task is run again if there are [`PoolOptions::retries`] left, or fails with
    /// [`crate::Cause::TimedOut`]. Time in which this program was stopped does not count. There is no deadline by default.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// How many times a task is run again after its worker has died or was killed at the deadline, for tasks that may run
    /// twice; 0 by default.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Replaces a worker by a new one after this number of tasks, against leaks; one of several threads after as many of each.
    /// Workers are never replaced by default.
    pub fn max_tasks_per_worker(mut self, tasks: u32) -> Self {
        self.max_tasks_per_worker = Some(tasks);
        self
    }

    /// The most bytes of private memory of each worker (`RLIMIT_DATA`): one that allocates more aborts.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Pins each worker to one of these CPUs, in turn, or to as many as it has threads. Without it the system schedules them on any CPU. Linux only.
    pub fn cpus(mut self, cpus: impl Into<Vec<usize>>) -> Self {
        self.cpus = cpus.into();
        self
    }

    /// Adds an environment variable of the workers to those of this program.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// What becomes of what a worker prints.
    pub fn output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }

    /// How many threads a kernel with a thread pool of its own may use in a worker: the value of `RAYON_NUM_THREADS`,
    /// `OMP_NUM_THREADS` and similar variables there. 1 by default, since the workers share the CPUs; `None` for
    /// workloads whose subject is such kernels.
    pub fn inner_threads(mut self, threads: impl Into<Option<usize>>) -> Self {
        self.inner_threads = threads.into();
        self
    }

    /// Uses no shared memory, no process descriptors and no passing of descriptors, as on a system without them: arrays
    /// are copied, and nothing is sent ahead to a worker.
    pub fn without_shared_memory(mut self) -> Self {
        self.without_shared_memory = true;
        self
    }

    /// Checks everything but the shape, which depends on the executor.
    pub(crate) fn check(&self) -> Result<()> {
        let PoolOptions { deadline, max_tasks_per_worker, inner_threads, environment, .. } = self;
        ensure!(*deadline != Some(Duration::ZERO), "a deadline of 0 s would fail every task");
        ensure!(
            *max_tasks_per_worker != Some(0),
            "with `max_tasks_per_worker(0)` no worker could run a task; the minimum is 1"
        );
        ensure!(
            *inner_threads != Some(0),
            "with `inner_threads(0)` a kernel could not run; the minimum is 1"
        );
        for (name, value) in environment {
            let valid = !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
            ensure!(
                valid,
                "`{name}` cannot be the name of an environment variable, or its value contains a zero byte"
            );
        }
        Ok(())
    }

    /// All variables that a worker gets.
    pub(crate) fn worker_environment(&self) -> Vec<(String, String)> {
        let inner = |threads: usize| INNER_THREADS.map(|name| (name.to_string(), threads.to_string()));
        let inner = self.inner_threads.map(inner).into_iter().flatten();
        // A variable that was set explicitly comes last, and wins.
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
