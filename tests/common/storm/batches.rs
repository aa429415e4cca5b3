//! The batches of a storm: tasks of several kinds whose answers nobody can guess, and how the pools are set up.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use parbench::executors::PoolOptions;
use parbench::{Array, Inputs, Job, Scenario, Size, TypedJob, Workload};

use crate::action::{Act, Action, Marks, Payload, Report, check, mix};

/// A small generator of numbers that look random (splitmix64), the same for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of several.
    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Whether something happens that does so once in `times` times.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// How a pool is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) executor: &'static str,
    pub(super) workers: usize,
    pub(super) retries: u32,
    pub(super) shares_memory: bool,
    pub(super) max_tasks_per_worker: Option<u32>,
}

impl Settings {
    /// Four workers and no options.
    pub(super) fn simple(executor: &'static str) -> Settings {
        Settings { executor, workers: 4, retries: 0, shares_memory: true, max_tasks_per_worker: None }
    }

    pub(super) fn random(random: &mut Random) -> Settings {
        let executor = random.one_of(&["processes", "forkserver"]);
        Settings {
            executor,
            retries: random.one_of(&[0, 2]),
            // The fork server cannot do without.
            shares_memory: executor == "forkserver" || !random.once_in(5),
            max_tasks_per_worker: random.once_in(8).then_some(7),
            workers: 1 + random.below(4) as usize,
        }
    }

    pub(super) fn options(&self) -> PoolOptions {
        let mut options = PoolOptions::new(self.workers).retries(self.retries);
        if let Some(tasks) = self.max_tasks_per_worker {
            options = options.max_tasks_per_worker(tasks);
        }
        if self.shares_memory { options } else { options.without_shared_memory() }
    }
}

/// The kinds of batches.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Tiny,
    Long,
    Private,
    Shared,
    Mixed,
}

pub(super) const KINDS: [Kind; 5] = [Kind::Tiny, Kind::Long, Kind::Private, Kind::Shared, Kind::Mixed];

/// Elements of arrays: those that cross in a message, just about not, as 1 MB, and as more than that.
const LENGTHS: [usize; 5] = [100, 16_000, 17_000, 131_072, 131_072];
const MAX_LENGTH: usize = 400_000;

impl Kind {
    /// The tasks of a batch; `most` for as many and as large ones as there ever are.
    pub(super) fn actions(self, random: &mut Random, most: bool, marks: &Marks) -> Result<Vec<Action>> {
        let (end, kinds): (u64, &[Kind]) = match self {
            Kind::Tiny => (2_000, &[Kind::Tiny]),
            Kind::Long => (16, &[Kind::Long]),
            Kind::Private => (12, &[Kind::Private]),
            Kind::Shared => (12, &[Kind::Shared]),
            Kind::Mixed => (40, &[Kind::Tiny, Kind::Tiny, Kind::Long, Kind::Private, Kind::Shared]),
        };
        let tasks = if most { end } else { 1 + random.below(end) };
        let action = |_| {
            let length = if most || random.once_in(16) { MAX_LENGTH } else { random.one_of(&LENGTHS) };
            Ok(match random.one_of(kinds) {
                Kind::Tiny | Kind::Mixed => mix_one(random.next()),
                Kind::Long => long(random.next(), marks),
                Kind::Private => Action::Mix(Payload::private(row(random, length).collect())),
                Kind::Shared => {
                    let row = row(random, length);
                    Action::Mix(Payload::Shared(Array::shared(length, |numbers| {
                        numbers.iter_mut().zip(row).for_each(|(number, value)| *number = value);
                    })?))
                }
            })
        };
        (0..tasks).map(action).collect()
    }
}

fn mix_one(number: u64) -> Action {
    Action::Mix(Payload::encoded(vec![number]))
}

/// Leaves a mark, so that it can be told how often it ran, and keeps its worker busy for a millisecond.
fn long(number: u64, marks: &Marks) -> Action {
    Action::Steps(vec![
        Action::AppendMark(marks.path(), number),
        Action::BusyLoop(Duration::from_millis(1)),
        mix_one(!number),
    ])
}

/// So many numbers from a random one on.
fn row(random: &mut Random, length: usize) -> impl Iterator<Item = u64> + use<> {
    let first = random.next();
    (0..length as u64).map(move |i| first.wrapping_add(i))
}

/// A job over these actions: for one of two workloads, so that workers have to change between them.
pub(super) fn job(actions: Vec<Action>, workers: usize, random: &mut Random) -> Arc<dyn Job> {
    match random.one_of(&[false, false, false, true]) {
        false => Arc::new(TypedJob::<Act>::new(actions, workers)),
        true => Arc::new(TypedJob::<ActLate>::new(actions, workers)),
    }
}

/// The same as [`Act`], but its worker's state takes a while to make.
struct ActLate;

struct LateState;

impl Default for LateState {
    fn default() -> Self {
        thread::sleep(Duration::from_millis(1));
        LateState
    }
}

impl Workload for ActLate {
    const NAME: &'static str = "act_late";
    type Input = Action;
    type Output = Report;
    type Worker = LateState;

    fn prepare(_: Size) -> Result<Inputs<Action>> {
        Ok(Inputs::new(vec![Action::Nothing]))
    }

    fn run(_: &mut LateState, action: &Action) -> Result<Report> {
        action.perform()
    }

    fn check(actions: &[Action], reports: &[Report]) -> Result<()> {
        check(actions, reports)
    }
}

pub(crate) static SCENARIOS: &[Scenario] = &[Scenario::of::<Act>(), Scenario::of::<ActLate>()];
