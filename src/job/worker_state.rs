//! A worker's state and the one function that calls [`Workload::run`], for a batch and for a worker process alike.

use super::{Cause, catch_cause};
use crate::data::packet::Packet;
use crate::panic::catch_panic;
use crate::span::{Stamps, now};
use crate::workload::Workload;

/// The state of a worker with its type erased: all that a worker process knows of a workload.
pub(crate) trait ErasedWorker {
    /// Makes the state, if it is missing.
    fn make_state(&mut self) -> Result<(), Cause>;
    /// Runs one task.
    fn run_packed(&mut self, input: Packet) -> Result<(Stamps, Packet), Cause>;
}

/// The state of one worker, once it has been made.
pub(crate) struct WorkerState<W: Workload> {
    state: Option<W::Worker>,
}

impl<W: Workload> Default for WorkerState<W> {
    fn default() -> Self {
        WorkerState { state: None }
    }
}

impl<W: Workload> WorkerState<W> {
    pub(super) fn get_or_make(&mut self) -> Result<&mut W::Worker, Cause> {
        if self.state.is_none() {
            let refused =
                |message| Cause::Refused { why: format!("its worker's state cannot be made: {message}") };
            self.state = Some(catch_panic(W::Worker::default).map_err(refused)?);
        }
        Ok(self.state.as_mut().expect("it was made just now"))
    }

    pub(super) fn run(&mut self, input: &W::Input) -> Result<(Stamps, W::Output), Cause> {
        let state = self.get_or_make()?;
        let started = now();
        // Formatting the error also runs the workload's code.
        let result = catch_panic(|| W::run(state, input).map_err(|error| Cause::error(&error)));
        let stopped = now();
        match result {
            Ok(output) => Ok((Stamps { started, stopped }, output?)),
            Err(message) => {
                // The panic may have left the state half changed: the next task gets a new one. Dropping the old
                // one may panic again.
                let state = self.state.take();
                let _ = catch_panic(move || drop(state));
                Err(Cause::Panicked { message })
            }
        }
    }
}

impl<W: Workload> ErasedWorker for WorkerState<W> {
    fn make_state(&mut self) -> Result<(), Cause> {
        self.get_or_make().map(drop)
    }

    fn run_packed(&mut self, input: Packet) -> Result<(Stamps, Packet), Cause> {
        let input = catch_cause(|| input.unpack())?;
        let (stamps, output) = self.run(&input)?;
        Ok((stamps, catch_cause(|| Packet::pack(&output))?))
    }
}
