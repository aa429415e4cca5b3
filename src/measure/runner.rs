//! A variant that runs batches: warm, with its workers kept between them, or cold, where starting is the subject.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::variant::Variant;
use crate::executors::{Executor, Outcome, PoolOptions};
use crate::job::Job;
use crate::scenario::{Prepared, Scenario};
use crate::span::now;
use crate::usage::Usage;

pub(crate) struct Runner {
    pub(crate) variant: Variant,
    pub(crate) job: Arc<dyn Job>,
    options: PoolOptions,
    /// `None` for a cold one.
    executor: Option<Box<dyn Executor>>,
}

impl Runner {
    /// Starts the executor, unless each batch does.
    pub(crate) fn start(scenario: &Scenario, variant: Variant, prepared: &Prepared) -> Result<Runner> {
        let mut options = PoolOptions::new(variant.shape);
        if scenario.properties.nested {
            options = options.inner_threads(None);
        }
        let executor = if scenario.properties.cold { None } else { Some(variant.kind.start(&options)?) };
        Ok(Runner { variant, job: prepared.job(variant.load.parallelism()), options, executor })
    }

    /// Runs a batch.
    pub(crate) fn run(&mut self) -> Result<Outcome> {
        if let Some(executor) = &mut self.executor {
            return executor.execute(&self.job);
        }
        let began = now();
        let mut executor = self.variant.kind.start(&self.options)?;
        let mut outcome = executor.execute(&self.job)?;
        drop(executor);
        outcome.began = began;
        outcome.wall = Duration::from_nanos(now() - began);
        outcome.tasks.iter_mut().flatten().for_each(|span| span.sent = began);
        Ok(outcome)
    }

    /// What this program and the workers have used so far; what cold workers used has gone with them.
    pub(crate) fn usage(&mut self) -> Usage {
        self.executor.as_mut().map_or_else(Usage::take, |executor| executor.usage())
    }
}
