//! A variant that runs batches: warm, with its workers kept between them, or cold, where starting is the subject.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::machine;
use super::record::percentile;
use super::variant::Variant;
use crate::executors::{Executor, Isolation, Outcome, PoolOptions};
use crate::fixtures;
use crate::job::Job;
use crate::scenario::{Prepared, Scenario};
use crate::span::{TaskSpan, now};
use crate::usage::{self, CallerWait, Usage, start_new_peak};

/// How long workers have to go to sleep before the clock starts: making them ready wakes worker processes and not threads.
/// They need some us for it.
const SETTLE: Duration = Duration::from_micros(200);
/// How long before its time a batch stops sleeping and watches the clock: waking an idle virtual CPU takes up to 130 us.
const WATCH: Duration = Duration::from_micros(300);
/// Batches of the warm-up at most.
const MAX_WARM_UP: usize = 5;

pub(crate) struct Runner {
    pub(crate) job: Arc<dyn Job>,
    variant: Variant,
    options: PoolOptions,
    /// `None` for a cold one.
    executor: Option<Box<dyn Executor>>,
    /// When it was started, ns, and how long the calls took that did so.
    pub(crate) started: u64,
    pub(crate) start_ns: u64,
    /// What workers had used when they were last asked.
    workers_used: Usage,
}

/// What one observation of a cell gave: some batches, one after the other. The fields are those of [`super::Record`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Observation {
    /// How many batches ran.
    pub batches: u32,
    /// When the first batch began, ns of the clock that all processes share.
    pub began: u64,
    /// When the last batch ended.
    pub ended: u64,
    /// The time of all batches together, ns.
    pub wall_ns: u64,
    /// What the program and its workers used.
    pub usage: Usage,
    /// CPU time that the rest of the machine used meanwhile.
    pub others_busy_ns: Option<i64>,
    /// Time that the host took meanwhile.
    pub steal_ns: Option<u64>,
    /// Time that a quota withheld meanwhile.
    pub throttled_ns: Option<u64>,
    /// The 50th and 99th percentile of the time of a task.
    pub task_ns: [Option<u64>; 2],
    /// The 50th and 99th percentile of the time that a task waited.
    pub wait_ns: [Option<u64>; 2],
    /// The spans of the first batch, if they were asked for.
    pub spans: Option<Vec<TaskSpan>>,
}

impl Runner {
    /// Starts the executor, unless each batch does. A batch has the `first` tasks only, if that is given.
    pub(crate) fn start(
        scenario: &Scenario,
        variant: Variant,
        first: Option<usize>,
        prepared: &Prepared,
    ) -> Result<Runner> {
        let mut options = PoolOptions::new(variant.shape);
        if scenario.properties.nested {
            options = options.inner_threads(None);
        }
        let job = prepared.job_of_first(first, variant.load.parallelism());
        let started = now();
        let executor = if scenario.properties.cold { None } else { Some(variant.kind.start(&options)?) };
        let start_ns = now() - started;
        Ok(Runner { job, variant, options, executor, started, start_ns, workers_used: usage::reaped() })
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

    /// Runs whole batches until each worker has had two tasks, at most five; one if it is cold. `checked` is called after
    /// each, to check the answers. Returns the time until all workers were ready, and that of the last batch, ns.
    pub(crate) fn warm_up(&mut self, mut checked: impl FnMut(&dyn Job) -> Result<()>) -> Result<(u64, u64)> {
        let (mut ready_ns, mut batch_ns) = (0, 0);
        let mut tasks_of = vec![0; self.variant.shape.parallelism()];
        for batch in 0..MAX_WARM_UP {
            let outcome = self.run()?;
            let spans = outcome.spans()?;
            checked(&*self.job)?;
            if batch == 0 {
                ready_ns = outcome.began.saturating_sub(self.started);
            }
            batch_ns = outcome.wall.as_nanos() as u64;
            spans.iter().for_each(|span| tasks_of[usize::from(span.worker)] += 1);
            if self.executor.is_none() || tasks_of.iter().all(|tasks| *tasks >= 2) {
                break;
            }
        }
        self.workers_used = self.worker_usage();
        Ok((ready_ns, batch_ns))
    }

    /// The host of each worker, if they may be on several.
    pub(crate) fn hosts(&self) -> Vec<String> {
        self.executor.as_ref().map(|executor| executor.hosts()).unwrap_or_default()
    }

    /// What workers in other processes have used so far, those that have ended included.
    fn worker_usage(&mut self) -> Usage {
        self.executor.as_mut().map_or_else(usage::reaped, |executor| executor.worker_usage())
    }

    /// Runs batches one after the other, each checked outside the clock. The first begins at a time, if one is given.
    pub(crate) fn observe(&mut self, batches: u32, begin: Option<u64>, spans: bool) -> Result<Observation> {
        let caller = match self.variant.kind.isolation {
            Isolation::Caller => CallerWait::Counts,
            _ => CallerWait::Ignored,
        };
        let surroundings = Surroundings::now();
        let mut observation = Observation { batches, ..Observation::default() };
        let (mut own, mut peak) = (Usage::ZERO, Some(0));
        let (mut task_ns, mut wait_ns) = (Vec::new(), Vec::new());
        for batch in 0..batches {
            if let Some(executor) = &mut self.executor {
                executor.prepare(&self.job)?;
            }
            start_new_peak();
            let before = Usage::of_this_process(caller);
            thread::sleep(SETTLE);
            if let Some(begin) = begin.filter(|_| batch == 0) {
                wait_until(begin);
            }
            let outcome = self.run()?;
            let used = Usage::of_this_process(caller) - before;
            (own, peak) = (own + used, peak.zip(used.peak_bytes).map(|(a, b)| a.max(b)));
            let all = outcome.spans()?;
            self.job.check().context("in this batch")?;
            if batch == 0 {
                observation.began = outcome.began;
            }
            let wall_ns = outcome.wall.as_nanos() as u64;
            observation.ended = outcome.began + wall_ns;
            observation.wall_ns += wall_ns;
            task_ns.extend(all.iter().map(TaskSpan::run_ns));
            wait_ns.extend(all.iter().map(TaskSpan::wait_ns));
            if spans && batch == 0 {
                observation.spans = Some(all);
            }
        }
        let workers = self.worker_usage();
        let used = workers - std::mem::replace(&mut self.workers_used, workers);
        observation.usage = Usage { peak_bytes: peak, ..own } + used;
        let percentiles =
            |values: &[u64]| [50, 99].map(|percent| percentile(percent, values.iter().copied()));
        (observation.task_ns, observation.wait_ns) = (percentiles(&task_ns), percentiles(&wait_ns));
        surroundings.add_to(&mut observation, used.cpu_ns());
        Ok(observation)
    }
}

/// Sleeps until shortly before a time, and then watches the clock.
fn wait_until(time: u64) {
    let ahead = Duration::from_nanos(time.saturating_sub(now()));
    thread::sleep(ahead.saturating_sub(WATCH));
    while now() < time {
        std::hint::spin_loop();
    }
}

/// What the machine had done when an observation began.
struct Surroundings {
    cpu: Option<machine::CpuTimes>,
    own_cpu_ns: Option<u64>,
    fixtures_cpu_ns: Option<u64>,
    throttled_ns: Option<u64>,
}

impl Surroundings {
    fn now() -> Surroundings {
        Surroundings {
            cpu: machine::cpu_times(),
            own_cpu_ns: Usage::now().cpu_ns(),
            fixtures_cpu_ns: fixtures::cpu_time_ns(),
            throttled_ns: machine::throttled_ns(),
        }
    }

    /// Adds what has happened since to an observation. `workers_cpu_ns` is the CPU time of the worker processes in it.
    fn add_to(&self, observation: &mut Observation, workers_cpu_ns: Option<u64>) {
        let later = Surroundings::now();
        let since = |later: Option<u64>, earlier: Option<u64>| Some(later?.saturating_sub(earlier?));
        let busy = |cpu: Option<machine::CpuTimes>| Some(cpu?.busy_ns);
        let steal = |cpu: Option<machine::CpuTimes>| Some(cpu?.steal_ns);
        let ours = || {
            let fixtures = since(later.fixtures_cpu_ns, self.fixtures_cpu_ns)?;
            Some(since(later.own_cpu_ns, self.own_cpu_ns)? + fixtures + workers_cpu_ns?)
        };
        observation.others_busy_ns =
            since(busy(later.cpu), busy(self.cpu)).zip(ours()).map(|(all, ours)| all as i64 - ours as i64);
        observation.steal_ns = since(steal(later.cpu), steal(self.cpu));
        observation.throttled_ns = since(later.throttled_ns, self.throttled_ns);
    }
}
