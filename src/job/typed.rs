//! The only [`Job`]: the inputs of one workload, the state of each worker in this process, and the answers.

use std::any::type_name;
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::task::Poll;

use anyhow::{Context, Result, ensure};

use super::{Cause, Job, TaskFuture, WorkerState, catch_cause};
use crate::data::arena;
use crate::data::packet::{Message, Packet};
use crate::data::probe::{self, Problem};
use crate::panic::catch_panic;
use crate::span::{Stamps, now};
use crate::workload::{Inputs, Scaling, Workload};

/// A job whose types are known: inputs go in, outputs come out.
///
/// [`crate::Pool`] is the short way. This is for whoever wants the spans too, or runs the same tasks on several
/// executors:
///
/// ```
/// # use std::sync::Arc;
/// # use parbench::{Inputs, Size, Workload};
/// # struct Squares;
/// # impl Workload for Squares {
/// #     const NAME: &'static str = "squares"; type Input = u64; type Output = u64; type Worker = ();
/// #     fn prepare(_: Size) -> anyhow::Result<Inputs<u64>> { Ok(Inputs::new(vec![1, 2])) }
/// #     fn run(_: &mut (), n: &u64) -> anyhow::Result<u64> { Ok(n * n) }
/// #     fn check(_: &[u64], _: &[u64]) -> anyhow::Result<()> { Ok(()) }
/// # }
/// use parbench::executors::{ExecutorKind, PoolOptions};
/// use parbench::{Job, TypedJob};
///
/// let typed = Arc::new(TypedJob::<Squares>::new(vec![3, 4], 2));
/// let job: Arc<dyn Job> = typed.clone();
/// let mut threads = ExecutorKind::find("threads")?.start(&PoolOptions::new(2))?;
/// assert_eq!(threads.execute(&job)?.spans()?.len(), 2);
/// assert_eq!(typed.take_outputs(), [Some(9), Some(16)]);
/// # Ok::<(), anyhow::Error>(())
/// ```
pub struct TypedJob<W: Workload> {
    /// The scenario's name: the workload's, unless it has been given another.
    name: &'static str,
    inputs: Arc<Inputs<W::Input>>,
    /// The tasks, if they are not the inputs.
    split: Option<Vec<W::Input>>,
    /// Inputs of their own for tasks that consume them, made before the clock starts.
    set_up: Vec<Mutex<Option<W::Input>>>,
    states: Vec<Mutex<WorkerState<W>>>,
    outputs: Vec<Mutex<Option<W::Output>>>,
    /// Inputs that cannot be sent to another process, once they have been checked; an error if no input should be.
    unsendable: OnceLock<Result<HashMap<usize, Cause>, Cause>>,
    /// Told of each answer once it is there.
    watcher: Option<Watcher<W>>,
    /// Dropped after all of them.
    _trim: TrimArena,
}

/// Gives up the shared memory that a variant's arrays have left: it is of no use to the next variant.
struct TrimArena;

impl Drop for TrimArena {
    fn drop(&mut self) {
        arena::trim();
    }
}

/// Told of a task's number and its answer.
type Watcher<W> = Box<dyn Fn(usize, &<W as Workload>::Output) + Send + Sync>;

impl<W: Workload> TypedJob<W> {
    /// A task for each input, for an executor whose parallelism is at most `workers`.
    pub fn new(inputs: Vec<W::Input>, workers: usize) -> Self {
        let tasks = inputs.len();
        TypedJob::with_tasks(W::NAME, Arc::new(Inputs::new(inputs)), None, tasks, workers)
    }

    /// The tasks that the workload makes of prepared inputs for this number of workers: as many as inputs, unless it scales
    /// weakly or splits them; no more than `first`, if it is given, of a workload that does not scale weakly.
    pub(crate) fn scaled(
        name: &'static str,
        inputs: Arc<Inputs<W::Input>>,
        workers: usize,
        first: Option<usize>,
    ) -> Self {
        let split = W::SPLIT.map(|split| split(&inputs.tasks, workers)).filter(|tasks| !tasks.is_empty());
        let tasks = match W::SCALING {
            Scaling::Strong => {
                let all = split.as_ref().unwrap_or(&inputs.tasks).len();
                first.map_or(all, |first| first.clamp(1, all))
            }
            Scaling::Weak => workers,
        };
        TypedJob::with_tasks(name, inputs, split, tasks, workers)
    }

    fn with_tasks(
        name: &'static str,
        inputs: Arc<Inputs<W::Input>>,
        split: Option<Vec<W::Input>>,
        tasks: usize,
        workers: usize,
    ) -> Self {
        let outputs = (0..tasks).map(|_| Mutex::new(None)).collect();
        let states = (0..workers).map(|_| Mutex::default()).collect();
        let set_up = (0..tasks).filter(|_| W::SET_UP.is_some()).map(|_| Mutex::new(None)).collect();
        TypedJob {
            name,
            inputs,
            split,
            set_up,
            states,
            outputs,
            unsendable: OnceLock::new(),
            watcher: None,
            _trim: TrimArena,
        }
    }

    /// The same, with a function that is told of each answer once it is there: by the worker that has it on serial, threads and
    /// rayon, and by the caller's thread where workers are processes. It must be quick: it runs inside the batch.
    #[must_use]
    pub fn watched(self, watcher: impl Fn(usize, &W::Output) + Send + Sync + 'static) -> Self {
        TypedJob { watcher: Some(Box::new(watcher)), ..self }
    }

    fn keep(&self, task: usize, output: W::Output) -> Result<(), Cause> {
        if let Some(watcher) = &self.watcher {
            let panicked = |message| Cause::Panicked { message };
            catch_panic(|| watcher(task, &output)).map_err(panicked)?;
        }
        *self.output(task) = Some(output);
        Ok(())
    }

    /// Takes the outputs of the last batch: `None` for a task that failed.
    pub fn take_outputs(&self) -> Vec<Option<W::Output>> {
        (0..self.tasks()).map(|task| self.output(task).take()).collect()
    }

    fn inputs(&self) -> &[W::Input] {
        self.split.as_ref().unwrap_or(&self.inputs.tasks)
    }

    fn input(&self, task: usize) -> &W::Input {
        let inputs = self.inputs();
        &inputs[task % inputs.len()]
    }

    fn output(&self, task: usize) -> MutexGuard<'_, Option<W::Output>> {
        // No code of the workload runs under this lock, so a poisoned one is as good as any.
        self.outputs[task].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The inputs that cannot be sent, each with its cause.
///
/// # Errors
/// If one of them would arrive as something else: nothing of its type may be sent then.
fn check_all<M: Message>(inputs: &[M]) -> Result<HashMap<usize, Cause>, Cause> {
    let mut unsendable = HashMap::new();
    for (number, input) in inputs.iter().enumerate() {
        let message = match catch_panic(|| probe::check(input)) {
            Ok(Ok(_)) => continue,
            Ok(Err(Problem::Shape(what))) => {
                return Err(Cause::Refused { why: format!("its input {number} {what}") });
            }
            Ok(Err(Problem::Words(words))) => Cause::Error { message: format!("its input {words}") },
            Err(message) => Cause::Panicked { message },
        };
        unsendable.insert(number, message);
    }
    Ok(unsendable)
}

impl<W: Workload> Job for TypedJob<W> {
    fn scenario(&self) -> &'static str {
        self.name
    }

    fn tasks(&self) -> usize {
        self.outputs.len()
    }

    fn workers(&self) -> usize {
        self.states.len()
    }

    fn make_state(&self, worker: usize) -> Result<(), Cause> {
        self.states[worker].lock().unwrap_or_else(PoisonError::into_inner).get_or_make().map(drop)
    }

    fn clear(&self) {
        (0..self.tasks()).for_each(|task| *self.output(task) = None);
    }

    fn set_up(&self) -> Result<(), Cause> {
        let Some(set_up) = W::SET_UP else { return Ok(()) };
        for (task, slot) in self.set_up.iter().enumerate() {
            let made =
                catch_panic(|| set_up(self.input(task))).map_err(|message| Cause::Panicked { message })?;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
        }
        Ok(())
    }

    fn run(&self, worker: usize, task: usize) -> Result<Stamps, Cause> {
        let mut state = match self.states[worker].try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Waiting would never end: the task that holds the state waits further up on this very stack.
            Err(TryLockError::WouldBlock) => {
                let why = "its worker is still busy with a task that waits on a thread pool of its own; \
                           set `NESTED` in the workload";
                return Err(Cause::Refused { why: why.into() });
            }
        };
        let own =
            self.set_up.get(task).and_then(|own| own.lock().unwrap_or_else(PoisonError::into_inner).take());
        let (stamps, output) = match own {
            Some(own) => state.run_own(own)?,
            None => state.run(self.input(task))?,
        };
        self.keep(task, output)?;
        Ok(stamps)
    }

    fn future(&self, task: usize) -> Option<TaskFuture<'_>> {
        let start = W::FUTURE?;
        // It is made, and entered, when it is first polled.
        let (mut future, mut started) = (None, 0);
        Some(Box::pin(poll_fn(move |context| {
            if future.is_none() {
                started = now();
            }
            let polled = catch_panic(|| {
                let future = future.get_or_insert_with(|| start(self.input(task)));
                future.as_mut().poll(context).map(|output| output.map_err(|error| Cause::error(&error)))
            });
            let output = match polled {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(output)) => output,
                Err(message) => Err(Cause::Panicked { message }),
            };
            let stamps = Stamps { started, stopped: now() };
            Poll::Ready(output.and_then(|output| self.keep(task, output).map(|()| stamps)))
        })))
    }

    fn check_inputs(&self) -> Result<(), Cause> {
        self.unsendable.get_or_init(|| check_all(self.inputs())).as_ref().map(drop).map_err(Cause::clone)
    }

    fn pack(&self, task: usize) -> Result<Packet, Cause> {
        let unsendable = self.unsendable.get().and_then(|checked| checked.as_ref().ok());
        if let Some(cause) = unsendable.and_then(|all| all.get(&(task % self.inputs().len()))) {
            return Err(cause.clone());
        }
        catch_cause(|| Packet::pack(self.input(task)))
    }

    fn accept(&self, task: usize, output: Packet) -> Result<(), Cause> {
        let context = || format!("its output cannot be unpacked (in the type {})", type_name::<W::Output>());
        let output = catch_cause(|| output.unpack().with_context(context))?;
        self.keep(task, output)
    }

    fn answer(&self, task: usize) -> Result<Packet> {
        let output = self.output(task);
        Packet::pack(output.as_ref().with_context(|| format!("{}: task {task} has no answer", self.name))?)
    }

    fn check(&self) -> Result<()> {
        let outputs: Vec<_> = self.take_outputs().into_iter().flatten().collect();
        let (answers, tasks) = (outputs.len(), self.tasks());
        ensure!(answers == tasks, "{}: only {answers} of {tasks} tasks have an answer", self.name);
        // With weak scaling there may be more or fewer tasks than inputs.
        outputs.chunks(self.inputs().len().max(1)).try_for_each(|outputs| {
            W::check_as(self.name, &self.inputs()[..outputs.len()], outputs)
                .with_context(|| format!("{}: a wrong answer", self.name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Size, Split};

    /// Adds runs of numbers; with no workers there are no runs.
    struct Runs;

    impl Workload for Runs {
        const NAME: &'static str = "runs";
        const SPLIT: Option<Split<Vec<u32>>> = Some(|all, workers| {
            if workers == 0 {
                Vec::new()
            } else {
                all[0].chunks(10_usize.div_ceil(workers)).map(Vec::from).collect()
            }
        });
        type Input = Vec<u32>;
        type Output = u32;
        type Worker = ();

        fn prepare(_: Size) -> Result<Inputs<Vec<u32>>> {
            Ok(Inputs::new(vec![(1..=10).collect()]))
        }

        fn run(_: &mut (), run: &Vec<u32>) -> Result<u32> {
            Ok(run.iter().sum())
        }

        fn check(runs: &[Vec<u32>], sums: &[u32]) -> Result<()> {
            ensure!(runs.iter().map(|run| run.iter().sum::<u32>()).eq(sums.iter().copied()), "{sums:?}");
            Ok(())
        }
    }

    #[test]
    fn a_split_makes_the_same_work_into_other_tasks() {
        let inputs = Arc::new(Runs::prepare(Size::Smoke).unwrap());
        for (workers, expected) in [(1, vec![55]), (2, vec![15, 40]), (4, vec![6, 15, 24, 10])] {
            let job = TypedJob::<Runs>::scaled("runs", Arc::clone(&inputs), workers, None);
            assert_eq!(job.tasks(), expected.len());
            (0..job.tasks()).for_each(|task| _ = job.run(0, task).unwrap());
            let sums: Vec<u32> =
                (0..job.tasks()).map(|task| job.answer(task).unwrap().unpack().unwrap()).collect();
            assert_eq!(sums, expected);
            job.check().unwrap();
        }
        assert_eq!(
            TypedJob::<Runs>::scaled("runs", Arc::clone(&inputs), 0, None).tasks(),
            1,
            "none were made, so the input is the task"
        );
        for (first, expected) in [(0, 1), (3, 3), (9, 4)] {
            let job = TypedJob::<Runs>::scaled("runs", Arc::clone(&inputs), 4, Some(first));
            assert_eq!(job.tasks(), expected);
            (0..expected).for_each(|task| _ = job.run(0, task).unwrap());
            job.check().unwrap();
        }
    }
}
