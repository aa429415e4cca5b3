//! A variant that runs batches: warm, with its workers kept between them, or cold, where starting is the subject.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use crate::executors::{Executor, Means, Outcome};
use crate::job::Job;
use crate::options::Variant;
use crate::scenario::{Jobs, Scenario};
use crate::span::now;
use crate::usage::Usage;

pub(crate) struct Runner {
    pub(crate) variant: Variant,
    pub(crate) job: Arc<dyn Job>,
    means: Means,
    /// `None` for a cold one.
    executor: Option<Box<dyn Executor>>,
}

impl Runner {
    /// Starts the executor, unless each batch does.
    pub(crate) fn start(scenario: &Scenario, variant: Variant, jobs: &Jobs) -> Result<Runner> {
        let mut means = Means::workers(variant.workers);
        if scenario.nested {
            means.inner_threads = None;
        }
        let executor = if scenario.cold { None } else { Some(variant.kind.start(&means)?) };
        Ok(Runner { variant, job: jobs(variant.load), means, executor })
    }

    /// Runs a batch.
    pub(crate) fn run(&mut self) -> Result<Outcome> {
        if let Some(executor) = &mut self.executor {
            return executor.execute(&self.job);
        }
        let began = now();
        let mut executor = self.variant.kind.start(&self.means)?;
        let mut outcome = executor.execute(&self.job)?;
        drop(executor);
        outcome.began = began;
        outcome.wall = Duration::from_nanos(now() - began);
        outcome.tasks.iter_mut().flatten().for_each(|span| span.sent = began);
        Ok(outcome)
    }

    /// What this program and the workers have used so far; cold ones have ended with what they used.
    pub(crate) fn usage(&mut self) -> Usage {
        self.executor.as_mut().map_or_else(Usage::take, |executor| executor.usage())
    }
}
