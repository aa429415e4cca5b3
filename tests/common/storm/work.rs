//! What the pools work at in a storm: tasks of several kinds, whose answers nobody can guess.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::hint;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use parbench::{Array, Inputs, Scenario, Size, Workload};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

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

fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// A task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    Tiny(u64),
    /// Signs a file, so that it can be told how often it ran, and keeps its worker busy for a millisecond.
    Long(u64, String),
    /// A private array there and another one back.
    Private(Array<u64>),
    /// The same in shared memory.
    Shared(Array<u64>),
}

/// What it gives.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Number(u64),
    Private(Array<u64>),
    Shared(Array<u64>),
}

const LONG: Duration = Duration::from_millis(1);

/// Elements of arrays: those that cross in a message, just about not, as 1 MB, and as more than that.
const LENGTHS: [usize; 5] = [100, 16_000, 17_000, 131_072, 131_072];
const MOST: usize = 400_000;

impl Work {
    pub(crate) fn private(random: &mut Random, length: usize) -> Work {
        let first = random.next();
        Work::Private((0..length as u64).map(|i| first.wrapping_add(i)).collect::<Vec<_>>().into())
    }

    pub(crate) fn shared(random: &mut Random, length: usize) -> Result<Work> {
        let first = random.next();
        Ok(Work::Shared(Array::shared(length, |numbers| {
            (0..).zip(numbers).for_each(|(i, number)| *number = first.wrapping_add(i));
        })?))
    }

    fn perform(&self) -> Result<Answer> {
        Ok(match self {
            Work::Tiny(number) => Answer::Number(mix(*number)),
            Work::Long(number, signs) => {
                // In one piece, whoever else signs.
                OpenOptions::new().append(true).open(signs)?.write_all(&number.to_ne_bytes())?;
                let began = Instant::now();
                while began.elapsed() < LONG {
                    hint::spin_loop();
                }
                Answer::Number(mix(!number))
            }
            Work::Private(numbers) => {
                Answer::Private(numbers.iter().map(|number| mix(*number)).collect::<Vec<_>>().into())
            }
            Work::Shared(numbers) => Answer::Shared(Array::shared(numbers.len(), |answers| {
                answers.iter_mut().zip(&numbers[..]).for_each(|(answer, number)| *answer = mix(*number));
            })?),
        })
    }

    /// Whether it is this task's answer and no other's.
    pub(crate) fn is_answered_by(&self, answer: &Answer) -> bool {
        let fit = |numbers: &[u64], answers: &[u64]| {
            numbers.len() == answers.len()
                && numbers.iter().zip(answers).all(|(number, answer)| mix(*number) == *answer)
        };
        match (self, answer) {
            (Work::Tiny(number), Answer::Number(answer)) => mix(*number) == *answer,
            (Work::Long(number, _), Answer::Number(answer)) => mix(!number) == *answer,
            (Work::Private(numbers), Answer::Private(answers)) => fit(numbers, answers),
            (Work::Shared(numbers), Answer::Shared(answers)) => fit(numbers, answers),
            _ => false,
        }
    }
}

/// A file that long tasks sign.
pub(crate) struct Signs(NamedTempFile);

impl Signs {
    pub(crate) fn new() -> Result<Signs> {
        Ok(Signs(NamedTempFile::new()?))
    }

    /// How often each has run since the last call.
    pub(crate) fn take(&self) -> Result<HashMap<u64, u32>> {
        let mut runs = HashMap::new();
        for number in fs::read(self.0.path())?.chunks(8) {
            *runs.entry(u64::from_ne_bytes(number.try_into()?)).or_insert(0) += 1;
        }
        self.0.as_file().set_len(0)?;
        Ok(runs)
    }
}

/// The kinds of batches.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Tiny,
    Long,
    Private,
    Shared,
    Mixed,
}

pub(crate) const KINDS: [Kind; 5] = [Kind::Tiny, Kind::Long, Kind::Private, Kind::Shared, Kind::Mixed];

impl Kind {
    /// The tasks of a batch; `most` for as many and as large ones as there ever are.
    pub(crate) fn tasks(self, random: &mut Random, most: bool, signs: &Signs) -> Result<Vec<Work>> {
        let path = signs.0.path().to_string_lossy();
        let (end, kinds): (u64, &[Kind]) = match self {
            Kind::Tiny => (2_000, &[Kind::Tiny]),
            Kind::Long => (16, &[Kind::Long]),
            Kind::Private => (12, &[Kind::Private]),
            Kind::Shared => (12, &[Kind::Shared]),
            Kind::Mixed => (40, &[Kind::Tiny, Kind::Tiny, Kind::Long, Kind::Private, Kind::Shared]),
        };
        let tasks = if most { end } else { 1 + random.below(end) };
        let task = |_| {
            let length = match most || random.once_in(16) {
                true => MOST,
                false => random.one_of(&LENGTHS),
            };
            Ok(match random.one_of(kinds) {
                Kind::Tiny | Kind::Mixed => Work::Tiny(random.next()),
                Kind::Long => Work::Long(random.next(), path.to_string()),
                Kind::Private => Work::private(random, length),
                Kind::Shared => Work::shared(random, length)?,
            })
        };
        (0..tasks).map(task).collect()
    }
}

thread_local! {
    /// The tasks of the next batch: this process prepares, workers run.
    pub(crate) static NEXT: RefCell<Vec<Work>> = const { RefCell::new(Vec::new()) };
}

/// Twice the same, for workers to change between: one has its state at once, the other after a while.
struct Weather<const LATE: bool>;

struct State<const LATE: bool>;

impl<const LATE: bool> Default for State<LATE> {
    fn default() -> Self {
        if LATE {
            thread::sleep(Duration::from_millis(1));
        }
        State
    }
}

impl<const LATE: bool> Workload for Weather<LATE> {
    const NAME: &'static str = if LATE { "late" } else { "early" };
    type Input = Work;
    type Output = Answer;
    type Worker = State<LATE>;

    fn prepare(_: Size) -> Result<Inputs<Work>> {
        Ok(Inputs::new(NEXT.take()))
    }

    fn run(_: &mut State<LATE>, work: &Work) -> Result<Answer> {
        work.perform()
    }

    fn check(works: &[Work], answers: &[Answer]) -> Result<()> {
        ensure!(works.len() == answers.len(), "{} answers to {} tasks", answers.len(), works.len());
        let right = works.iter().zip(answers).all(|(work, answer)| work.is_answered_by(answer));
        ensure!(right, "a wrong answer");
        Ok(())
    }
}

pub(crate) static SCENARIOS: &[Scenario] =
    &[Scenario::of::<Weather<false>>(), Scenario::of::<Weather<true>>()];
