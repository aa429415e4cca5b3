//! Numbered tasks with their types erased: all that an executor sees of a workload.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, TryLockError};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::message::Packet;
use crate::segment;
use crate::span::{Stamps, now};
use crate::workload::{Inputs, Scaling, Workload};

/// A batch of numbered tasks. `Batch` is the only implementation, and the only place that erases types.
pub trait Job: Send + Sync {
    /// The scenario's name: what a worker process is told.
    fn workload(&self) -> &'static str;
    /// How many tasks there are; they are numbered from 0.
    fn tasks(&self) -> usize;
    /// Makes the state of a worker in this process, once; to be called before the clock starts.
    fn open(&self, worker: usize) -> Result<(), Cause>;
    /// Drops the answers of the batch before, so that this costs no time inside the next one and no old
    /// answer passes for a new one.
    fn clear(&self);
    /// Runs a task here and keeps its answer.
    fn run(&self, worker: usize, task: usize) -> Result<Stamps, Cause>;
    /// Packs a task's input for elsewhere.
    fn pack(&self, task: usize) -> Result<Packet, Cause>;
    /// Keeps the answer that came from elsewhere.
    fn accept(&self, task: usize, output: Packet) -> Result<(), Cause>;
    /// A task's answer, packed, to compare it with that of another job; [`Job::check`] takes it away.
    fn answer(&self, task: usize) -> Result<Packet>;
    /// Takes all answers and checks them, outside any clock.
    fn check(&self) -> Result<()>;
}

/// Why a task has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// Its function returned an error.
    Error {
        /// The error and its context, in one line.
        message: String,
    },
    /// Its function panicked; the worker lives on.
    Panicked {
        /// What the panic said, and where.
        message: String,
    },
    /// Its worker process ended while it ran.
    Died {
        /// The exit status or signal, as the system names it.
        status: String,
    },
    /// It ran longer than the pool's deadline, and was ended with its worker.
    TimedOut {
        /// The deadline, ms.
        deadline_ms: u64,
    },
    /// It was not tried.
    Refused {
        /// What stood in the way.
        why: String,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Error { message } => write!(f, "{message}"),
            Cause::Panicked { message } => write!(f, "it panicked: {message}"),
            Cause::Died { status } => write!(f, "its worker process ended while it ran ({status})"),
            Cause::TimedOut { deadline_ms } => {
                write!(
                    f,
                    "it ran longer than its deadline of {deadline_ms} ms; its worker process was killed"
                )
            }
            Cause::Refused { why } => write!(f, "it was not run: {why}"),
        }
    }
}

impl Cause {
    pub(crate) fn error(error: &anyhow::Error) -> Cause {
        Cause::Error { message: format!("{error:#}") }
    }
}

/// What a worker process does with the tasks it is sent.
pub(crate) trait Server {
    /// Makes the worker's state.
    fn open(&mut self) -> Result<(), Cause>;
    /// Runs one task.
    fn call(&mut self, input: Packet) -> Result<(Stamps, Packet), Cause>;
}

/// A worker's place: its state, if it has been made. The one function that calls `W::run` is here.
pub(crate) struct Seat<W: Workload> {
    worker: Option<W::Worker>,
}

impl<W: Workload> Default for Seat<W> {
    fn default() -> Self {
        Seat { worker: None }
    }
}

impl<W: Workload> Seat<W> {
    fn make(&mut self) -> Result<&mut W::Worker, Cause> {
        if self.worker.is_none() {
            let made = quietly(W::Worker::default);
            let refuse =
                |message| Cause::Refused { why: format!("its worker's state cannot be made: {message}") };
            self.worker = Some(made.map_err(refuse)?);
        }
        Ok(self.worker.as_mut().expect("it was made just now"))
    }

    fn perform(&mut self, input: &W::Input) -> Result<(Stamps, W::Output), Cause> {
        let worker = self.make()?;
        let started = now();
        // An error's own words are the workload's code too.
        let result = quietly(|| W::run(worker, input).map_err(|error| Cause::error(&error)));
        let stopped = now();
        match result {
            Ok(output) => Ok((Stamps { started, stopped }, output?)),
            Err(message) => {
                // It may have left the state half changed: the next task gets a new one. Dropping the old one
                // may panic again.
                let state = self.worker.take();
                let _ = quietly(move || drop(state));
                Err(Cause::Panicked { message })
            }
        }
    }
}

impl<W: Workload> Server for Seat<W> {
    fn open(&mut self) -> Result<(), Cause> {
        self.make().map(drop)
    }

    fn call(&mut self, input: Packet) -> Result<(Stamps, Packet), Cause> {
        let input = carefully(|| input.unpack())?;
        let (stamps, output) = self.perform(&input)?;
        Ok((stamps, carefully(|| Packet::pack(&output))?))
    }
}

/// The tasks of one workload for one variant: shared inputs, a seat for each worker here, and the answers.
pub(crate) struct Batch<W: Workload> {
    inputs: Arc<Inputs<W::Input>>,
    /// The tasks where they are not the inputs.
    split: Option<Vec<W::Input>>,
    seats: Vec<Mutex<Seat<W>>>,
    outputs: Vec<Mutex<Option<W::Output>>>,
    /// Dropped after all of them.
    _trim: Trim,
}

/// Gives up the shared memory that a variant's arrays have left: it is of no use to the next.
struct Trim;

impl Drop for Trim {
    fn drop(&mut self) {
        segment::trim();
    }
}

impl<W: Workload> Batch<W> {
    pub(crate) fn new(inputs: Arc<Inputs<W::Input>>, workers: usize) -> Self {
        let split = W::SPLIT.map(|split| split(&inputs.tasks, workers)).filter(|tasks| !tasks.is_empty());
        let tasks = match W::SCALING {
            Scaling::Strong => split.as_ref().unwrap_or(&inputs.tasks).len(),
            Scaling::Weak => workers,
        };
        let outputs = (0..tasks).map(|_| Mutex::new(None)).collect();
        let seats = (0..workers).map(|_| Mutex::default()).collect();
        Batch { inputs, split, seats, outputs, _trim: Trim }
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

impl<W: Workload> Job for Batch<W> {
    fn workload(&self) -> &'static str {
        W::NAME
    }

    fn tasks(&self) -> usize {
        self.outputs.len()
    }

    fn open(&self, worker: usize) -> Result<(), Cause> {
        self.seats[worker].lock().unwrap_or_else(PoisonError::into_inner).make().map(drop)
    }

    fn clear(&self) {
        (0..self.tasks()).for_each(|task| *self.output(task) = None);
    }

    fn run(&self, worker: usize, task: usize) -> Result<Stamps, Cause> {
        let mut seat = match self.seats[worker].try_lock() {
            Ok(seat) => seat,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Waiting would be for ever: the task that holds the seat waits further up on this very stack.
            Err(TryLockError::WouldBlock) => {
                let why = "its worker is still busy with a task that waits on a thread pool of its own; \
                           set `NESTED` in the workload";
                return Err(Cause::Refused { why: why.into() });
            }
        };
        let (stamps, output) = seat.perform(self.input(task))?;
        *self.output(task) = Some(output);
        Ok(stamps)
    }

    fn pack(&self, task: usize) -> Result<Packet, Cause> {
        carefully(|| Packet::pack(self.input(task)))
    }

    fn accept(&self, task: usize, output: Packet) -> Result<(), Cause> {
        let output = carefully(|| output.unpack())?;
        *self.output(task) = Some(output);
        Ok(())
    }

    fn answer(&self, task: usize) -> Result<Packet> {
        let output = self.output(task);
        Packet::pack(output.as_ref().with_context(|| format!("{}: task {task} has no answer", W::NAME))?)
    }

    fn check(&self) -> Result<()> {
        let outputs: Vec<_> = (0..self.tasks()).filter_map(|task| self.output(task).take()).collect();
        let (answers, tasks) = (outputs.len(), self.tasks());
        ensure!(answers == tasks, "{}: only {answers} of {tasks} tasks have an answer", W::NAME);
        // With weak scaling there may be more or fewer tasks than inputs.
        outputs.chunks(self.inputs().len()).try_for_each(|outputs| {
            W::check(&self.inputs()[..outputs.len()], outputs)
                .with_context(|| format!("{}: a wrong answer", W::NAME))
        })
    }
}

thread_local! {
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs code of the workload and turns a panic into what it said and where.
///
/// The panic hook stays silent for it: printing a backtrace would cost 50 ms inside the task's span, and
/// the failure says the same.
pub(crate) fn quietly<R>(code: impl FnOnce() -> R) -> Result<R, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let outer = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if IN_TASK.get() {
                PLACE.set(info.location().map(ToString::to_string));
            } else {
                outer(info);
            }
        }));
    });
    let nested = IN_TASK.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(code));
    IN_TASK.set(nested);
    result.map_err(|payload| {
        let place = PLACE.take().map(|place| format!(" at {place}")).unwrap_or_default();
        format!("{}{place}", words(&*payload))
    })
}

/// Packs or unpacks: an input's or output's own code, which may go wrong in every way.
fn carefully<R>(code: impl FnOnce() -> Result<R>) -> Result<R, Cause> {
    let result = quietly(|| code().map_err(|error| Cause::error(&error)));
    result.unwrap_or_else(|message| Err(Cause::Panicked { message }))
}

/// What a panic's payload says.
fn words(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
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
            let batch = Batch::<Runs>::new(Arc::clone(&inputs), workers);
            assert_eq!(batch.tasks(), expected.len());
            (0..batch.tasks()).for_each(|task| _ = batch.run(0, task).unwrap());
            let sums: Vec<u32> =
                (0..batch.tasks()).map(|task| batch.answer(task).unwrap().unpack().unwrap()).collect();
            assert_eq!(sums, expected);
            batch.check().unwrap();
        }
        assert_eq!(Batch::<Runs>::new(inputs, 0).tasks(), 1, "none were made, so the input is the task");
    }
}
