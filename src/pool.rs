//! Workers for one workload: typed inputs go in, typed outputs come out, on any executor.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use anyhow::Result;

use crate::executors::{Executor, ExecutorKind, Failure, PoolOptions};
use crate::job::{Job, TypedJob};
use crate::workload::Workload;

/// An executor whose workers run the tasks of one workload.
///
/// On `processes` and `forkserver`, the workload must be in the list of this program's [`crate::bench::main`] or
/// [`crate::bench::enter`]: a worker process finds it there by its name.
///
/// ```
/// # use parbench::{Inputs, Size, Workload};
/// # struct Squares;
/// # impl Workload for Squares {
/// #     const NAME: &'static str = "squares"; type Input = u64; type Output = u64; type Worker = ();
/// #     fn prepare(_: Size) -> anyhow::Result<Inputs<u64>> { Ok(Inputs::new(vec![1, 2])) }
/// #     fn run(_: &mut (), n: &u64) -> anyhow::Result<u64> { Ok(n * n) }
/// #     fn check(_: &[u64], _: &[u64]) -> anyhow::Result<()> { Ok(()) }
/// # }
/// use parbench::Pool;
/// use parbench::executors::PoolOptions;
///
/// let mut pool = Pool::<Squares>::start("threads", &PoolOptions::new(2))?;
/// let squares: Vec<u64> = pool.run(vec![3, 4, 5])?.into_iter().collect::<Result<_, _>>()?;
/// assert_eq!(squares, [9, 16, 25]);
/// # Ok::<(), anyhow::Error>(())
/// ```
pub struct Pool<W> {
    executor: Box<dyn Executor>,
    workers: usize,
    workload: PhantomData<fn() -> W>,
}

impl<W: Workload> Pool<W> {
    /// Starts the executor of that name. Dropping the pool stops its workers.
    ///
    /// # Errors
    /// If there is no such executor, an option is invalid, or a worker does not start.
    pub fn start(executor: &str, options: &PoolOptions) -> Result<Pool<W>> {
        let executor = ExecutorKind::find(executor)?.start(options)?;
        Ok(Pool { executor, workers: options.shape().parallelism(), workload: PhantomData })
    }

    /// Runs a task for each input and waits for the last; returns an entry for each input, in their order.
    ///
    /// A task that fails is a [`Failure`], and the pool can be used again.
    ///
    /// # Errors
    /// If the tasks cannot begin: a worker does not start, or its state cannot be made.
    pub fn run(&mut self, inputs: Vec<W::Input>) -> Result<Vec<Result<W::Output, Failure>>> {
        self.run_job(TypedJob::new(inputs, self.workers))
    }

    /// The same, and `watcher` is told of each answer, with the number of its input, once it is there: see
    /// [`TypedJob::watched`].
    ///
    /// # Errors
    /// As [`Pool::run`].
    pub fn run_watched(
        &mut self,
        inputs: Vec<W::Input>,
        watcher: impl Fn(usize, &W::Output) + Send + Sync + 'static,
    ) -> Result<Vec<Result<W::Output, Failure>>> {
        self.run_job(TypedJob::new(inputs, self.workers).watched(watcher))
    }

    fn run_job(&mut self, typed: TypedJob<W>) -> Result<Vec<Result<W::Output, Failure>>> {
        let typed = Arc::new(typed);
        let job: Arc<dyn Job> = typed.clone();
        let outcome = self.executor.execute(&job)?;
        let outputs = typed.take_outputs().into_iter();
        let entry = |(span, output): (Result<_, Failure>, Option<_>)| {
            span.map(|_| output.expect("a task with a span has an output"))
        };
        Ok(outcome.tasks.into_iter().zip(outputs).map(entry).collect())
    }
}

impl<W: Workload> fmt::Debug for Pool<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} workers for `{}`)", self.workers, W::NAME)
    }
}
