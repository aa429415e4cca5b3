//! Before a batch: a worker in every slot, with the scenario open, and those that end before they are ready.

use anyhow::{Context, Result, anyhow, bail};

use super::event::{Event, WorkerError};
use super::handle::WorkerHandle;
use super::waiting::{Readiness, wait};
use super::{MAX_FAILED_STARTS, Processes, Slot};

impl Processes {
    /// Starts a worker in every empty slot and has each worker open the scenario.
    pub(super) fn open(&mut self, scenario: &'static str) -> Result<()> {
        // Those that have ended are reaped, and what they held is free.
        self.retired.retain_mut(|worker| !worker.has_exited());
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            slot.failed_starts = 0;
            // A worker that was killed between two batches is noticed only now. One that still has tasks got them in a
            // batch that a panic has ended early: its answers would be taken for those of other tasks.
            let is_lost = slot.worker.as_mut().is_none_or(|worker| worker.has_ended() || !worker.is_idle());
            if slot.copying.take().is_some() {
                self.copiers = None;
            }
            if is_lost {
                self.drop_process(index);
            }
            let max_turns = self.max_turns();
            if self.slots[index].worker.as_ref().is_some_and(|worker| worker.turns() >= max_turns) {
                self.retire(index);
            }
        }
        for index in 0..self.slots.len() {
            match &mut self.slots[index].worker {
                Some(worker) => worker.open(scenario)?,
                // The slots of its other threads follow.
                None => self.start_and_open(index, scenario)?,
            }
        }
        loop {
            let ready = |slot: &Slot| slot.worker.as_ref().is_some_and(|worker| worker.has_open(scenario));
            if self.slots.iter().all(ready) {
                return Ok(());
            }
            let workers = self.slots.iter().flat_map(|slot| &slot.worker);
            let timeout = workers.filter_map(|worker| worker.next_timeout(None)).min();
            let polled = wait(&mut self.slots, None, timeout, None)?;
            for (index, Readiness { readable, ended }) in polled.slots.into_iter().enumerate() {
                let Some(worker) = &mut self.slots[index].worker else { continue };
                worker.flush();
                let opened = receive_until_open(worker, readable || ended, ended, scenario);
                let is_replaced = opened.is_err();
                let opened = match opened {
                    Ok(Err(error)) => {
                        self.abandon_all_but(scenario);
                        Err(error)
                    }
                    Ok(opened) => opened,
                    Err(error) => {
                        self.reap_unready(index, &error).and_then(|()| self.start_and_open(index, scenario))
                    }
                };
                opened.with_context(|| format!("a worker process cannot open `{scenario}`"))?;
                // What was found of the others may be about threads of the same process.
                if is_replaced {
                    break;
                }
            }
        }
    }
    /// Kills the workers that do not have the scenario open: they may be about to say that they cannot, which the next
    /// scenario would be taken to task for.
    fn abandon_all_but(&mut self, scenario: &str) {
        for slot in &mut self.slots {
            if slot.worker.as_ref().is_some_and(|worker| !worker.has_open(scenario)) {
                slot.worker.take().into_iter().for_each(WorkerHandle::abandon);
            }
        }
    }

    /// Reaps a worker that ended before it was ready. One that was killed from outside may be replaced, and one that has
    /// served before: what a task has left behind ended it, or dropping the state of another scenario.
    fn reap_unready(&mut self, index: usize, error: &WorkerError) -> Result<()> {
        let slot = &mut self.slots[index];
        slot.failed_starts += 1;
        let Some(worker) = slot.worker.take() else { return Ok(()) };
        let served = worker.has_served();
        let reaped = worker.reap(error);
        self.drop_process(index);
        let is_early = self.slots[index].failed_starts < MAX_FAILED_STARTS;
        let status = self.explain(&reaped);
        match error {
            WorkerError::Exited if (reaped.killed_from_outside || served) && is_early => Ok(()),
            WorkerError::Exited => bail!("it ended ({status}) before it was ready"),
            _ => bail!("{status}"),
        }
    }
}

/// Receives what a worker says until it has the scenario open. The outer error is about the worker, the inner one about
/// the scenario.
fn receive_until_open(
    worker: &mut WorkerHandle,
    readable: bool,
    ended: bool,
    scenario: &'static str,
) -> Result<Result<()>, WorkerError> {
    worker.mark_readable();
    while let Some(event) = if readable { worker.receive(ended)? } else { None } {
        if let Event::Refused(cause) = event {
            return Ok(Err(anyhow!("{cause}")));
        }
        // It may have had another scenario to open first.
        if let Err(error) = worker.open(scenario) {
            return Ok(Err(error));
        }
    }
    worker.check_timeout(None).map(Ok)
}
