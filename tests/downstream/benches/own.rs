//! Workloads of every kind that a crate of one's own may have, on an executor of one's own besides parbench's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, ensure};
use parbench::executors::{
    self, Executor, ExecutorKind, Isolation, Outcome, PoolOptions, Shapes, make_states, run_task, suits_all, time_batch,
};
use parbench::{Array, Inputs, Job, Scenario, SetUp, Shared, SharedState, Size, Workload};

#[global_allocator]
static ALLOCATOR: parbench::CountingAllocator = parbench::CountingAllocator;

/// Large data: each task adds up its part of an array that nothing copies.
struct Sums;

impl Workload for Sums {
    const NAME: &'static str = "sums";
    type Input = (Array<f64>, usize);
    type Output = f64;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Self::Input>> {
        let numbers: Vec<_> = (0..8 * size.pick(1_000, 100_000, 1_000_000)).map(f64::from).collect();
        let array = Array::share(&numbers)?;
        Ok(Inputs::new((0..8).map(|part| (array.clone(), part)).collect()))
    }

    fn run(_: &mut (), (array, part): &Self::Input) -> Result<f64> {
        let length = array.len() / 8;
        Ok(array[part * length..(part + 1) * length].iter().sum())
    }

    fn check(inputs: &[Self::Input], sums: &[f64]) -> Result<()> {
        for ((array, part), sum) in inputs.iter().zip(sums) {
            let length = (array.len() / 8) as f64;
            let first = *part as f64 * length;
            ensure!(*sum == length * first + length * (length - 1.0) / 2.0, "part {part} adds up to {sum}");
        }
        Ok(())
    }
}

/// State that all tasks of a process read: a table of remainders.
struct Table(Vec<u32>);

impl SharedState for Table {
    fn make(size: Size) -> Result<Table> {
        Ok(Table((0..size.pick(1_000, 100_000, 1_000_000)).map(|n: u32| n.wrapping_mul(2_654_435_761) % 97).collect()))
    }
}

struct Lookups;

impl Workload for Lookups {
    const NAME: &'static str = "lookups";
    type Input = u32;
    type Output = u64;
    type Worker = Shared<Table>;

    fn prepare(_: Size) -> Result<Inputs<u32>> {
        Ok(Inputs::new((1..=8).collect()))
    }

    fn run(table: &mut Shared<Table>, step: &u32) -> Result<u64> {
        Ok(table.0.iter().step_by(*step as usize).map(|remainder| u64::from(*remainder)).sum())
    }

    fn check(_: &[u32], sums: &[u64]) -> Result<()> {
        ensure!(sums.windows(2).all(|pair| pair[1] < pair[0]), "longer steps must see less: {sums:?}");
        Ok(())
    }
}

/// A task that consumes its input, which is copied for it before the clock starts.
struct Sorts;

impl Workload for Sorts {
    const NAME: &'static str = "sorts";
    const SET_UP: Option<SetUp<Vec<u64>>> = Some(Vec::clone);
    type Input = Vec<u64>;
    type Output = [u64; 3];
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Vec<u64>>> {
        let length = size.pick(1_001, 100_001, 1_000_001);
        Ok(Inputs::new((0..8).map(|task| (0..length).map(|n| n * 7_919 % length + task).collect()).collect()))
    }

    fn run(_: &mut (), numbers: &Vec<u64>) -> Result<[u64; 3]> {
        Sorts::consume(&mut (), numbers.clone())
    }

    fn consume(_: &mut (), mut numbers: Vec<u64>) -> Result<[u64; 3]> {
        numbers.sort_unstable();
        Ok([numbers[0], numbers[numbers.len() / 2], numbers[numbers.len() - 1]])
    }

    fn check(inputs: &[Vec<u64>], sorted: &[[u64; 3]]) -> Result<()> {
        for ((task, numbers), [first, middle, last]) in (0..).zip(inputs).zip(sorted) {
            let length = numbers.len() as u64;
            let expected = (task, task + length / 2, task + length - 1);
            ensure!((*first, *middle, *last) == expected, "task {task} has {first}, {middle}, {last}");
        }
        Ok(())
    }
}

/// A new scope of threads for each batch, each taking the next task.
static SCOPED: ExecutorKind = ExecutorKind {
    name: "scoped",
    about: "new threads for each batch",
    isolation: Isolation::Thread,
    shapes: Shapes::Workers,
    suits: suits_all,
    start: |options| Ok(Box::new(Scoped { workers: workers(options) })),
};

fn workers(options: &PoolOptions) -> usize {
    options.shape().parallelism()
}

struct Scoped {
    workers: usize,
}

impl Executor for Scoped {
    fn prepare(&mut self, job: &Arc<dyn Job>) -> Result<()> {
        make_states(&**job, self.workers)
    }

    fn execute(&mut self, job: &Arc<dyn Job>) -> Result<Outcome> {
        self.prepare(job)?;
        let next = AtomicUsize::new(0);
        let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|task| *task < job.tasks());
        Ok(time_batch(&**job, |began| {
            let work = |worker| std::iter::from_fn(take).map(|task| run_task(&**job, worker, task, began)).collect();
            thread::scope(|scope| {
                let threads: Vec<_> =
                    (0..self.workers).map(|worker| scope.spawn(move || -> Vec<_> { work(worker) })).collect();
                threads.into_iter().flat_map(|thread| thread.join().expect("panics of tasks are caught")).collect()
            })
        }))
    }
}

fn main() {
    let lines = || vec!["a=1;b=22;c=333".repeat(1_000); 8];
    let mut scenarios = vec![
        Scenario::of::<Sums>(),
        Scenario::of::<Lookups>(),
        Scenario::of::<Sorts>(),
        // Plain functions, and one of them for each of two sizes.
        Scenario::new("fields", lines, |text| text.split(';').count()).bytes(14_000),
    ];
    let numbers = |length| (0..8).map(|task| (0..length).map(|n| n * 31 % (task + 7)).collect()).collect();
    scenarios.extend(Scenario::sweep("largest", [1_000, 10_000], numbers, |numbers: &Vec<u64>| numbers.iter().copied().max()));
    parbench::bench::main_with(scenarios, executors::ALL.iter().copied().chain([&SCOPED]));
}
