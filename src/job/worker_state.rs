//! A worker's state and the one function that calls [`Workload::run`], for a batch and for a worker process alike.

use std::any::type_name;

use anyhow::Context;

use super::{Cause, catch_cause, injection};
use crate::data::packet::{Message, Packet};
use crate::data::probe::{self, Variety};
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
    /// How its outputs may differ; `None` before the first that was sent to another process.
    variety: Option<Variety>,
}

impl<W: Workload> Default for WorkerState<W> {
    fn default() -> Self {
        WorkerState { state: None, variety: None }
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

    /// Runs a task on an input that stays.
    pub(super) fn run(&mut self, input: &W::Input) -> Result<(Stamps, W::Output), Cause> {
        self.call(|state| W::run(state, input))
    }

    /// Runs a task on an input of its own.
    pub(super) fn run_own(&mut self, input: W::Input) -> Result<(Stamps, W::Output), Cause> {
        self.call(|state| W::consume(state, input))
    }

    fn call(
        &mut self,
        task: impl FnOnce(&mut W::Worker) -> anyhow::Result<W::Output>,
    ) -> Result<(Stamps, W::Output), Cause> {
        let state = self.get_or_make()?;
        let started = now();
        let injected = injection::begin();
        // Formatting the error also runs the workload's code.
        let result = catch_panic(|| task(state).map_err(|error| Cause::error(&error)));
        injected.end(started);
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

fn check_output<M: Message>(output: &M) -> Result<Variety, Cause> {
    let checked = catch_panic(|| probe::check(output)).map_err(|message| Cause::Panicked { message })?;
    checked.map_err(|problem| Cause::Error { message: format!("its output {problem}") })
}

impl<W: Workload> ErasedWorker for WorkerState<W> {
    fn make_state(&mut self) -> Result<(), Cause> {
        self.get_or_make().map(drop)
    }

    fn run_packed(&mut self, input: Packet) -> Result<(Stamps, Packet), Cause> {
        let input = catch_cause(|| {
            input.unpack().with_context(|| {
                format!("its input cannot be unpacked (in the type {})", type_name::<W::Input>())
            })
        })?;
        let (stamps, output) = if W::SET_UP.is_some() { self.run_own(input)? } else { self.run(&input)? };
        // One that may have another shape than those before it is checked as they were.
        if self.variety != Some(Variety::One) {
            self.variety = Some(check_output(&output)?);
        }
        // If it cannot be packed after all, the check has the words of its type.
        let packet =
            catch_cause(|| Packet::pack(&output)).or_else(|cause| check_output(&output).and(Err(cause)))?;
        Ok((stamps, packet))
    }
}
