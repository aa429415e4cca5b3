//! A fast wrong answer is refused: every scenario's check is given answers that are garbled, cut to nothing, swapped and
//! repeated, and must notice each.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Trial};
use parbench::executors::{ExecutorKind, PoolOptions};
use parbench::scenarios::FAMILIES;
use parbench::{Array, Executor, Job, Packet, Scenario, Size};

fn main() -> ExitCode {
    let scenarios: Vec<_> = FAMILIES.iter().flat_map(|(_, list)| *list).collect();
    parbench::bench::enter(scenarios.iter().copied());
    let trial = |scenario: &'static Scenario| {
        let test = move || refuses(scenario).map_err(|error| format!("{error:#}").into());
        Trial::test(format!("{} refuses wrong answers", scenario.name), test)
    };
    libtest_mimic::run(&Arguments::from_args(), scenarios.into_iter().map(trial).collect()).exit_code()
}

/// One after the other: each has a server, or computes for a while.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The right answers of a job, and a way to replace them.
struct Answered {
    serial: Box<dyn Executor>,
    job: Arc<dyn Job>,
    right: Vec<Packet>,
}

fn refuses(scenario: &Scenario) -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let prepared = scenario.prepare(Size::Smoke)?;
    // With two workers: scenarios that make a task for each have two.
    let job = prepared.job(2);
    let serial = ExecutorKind::find("serial")?.start(&PoolOptions::new(1))?;
    let mut answered = Answered { serial, job, right: Vec::new() };
    answered.run()?;
    let tasks = answered.job.tasks();
    answered.right = (0..tasks).map(|task| answered.job.answer(task)).collect::<Result<_>>()?;
    answered.job.check().context("the right answers")?;
    answered.expect_refusal("nothing", |_| Ok(()), false)?;

    let mut probed = vec![0, tasks / 2, tasks - 1];
    probed.dedup();
    for task in probed {
        let right = answered.right[task].clone();
        for (kind, change) in [("garbled", garble as fn(u8) -> u8), ("empty", |_| 0)] {
            let wrong = answered.changed(task, change)?;
            // `worker_start` and `empty_task` answer task 0 with 0, which is empty.
            if let Some(wrong) = wrong.filter(|wrong| *wrong != right) {
                let replace = |job: &dyn Job| accept(job, task, wrong.clone());
                answered.expect_refusal(&format!("task {task}: {kind}"), replace, true)?;
            }
        }
        // With the first other answer: some tasks of `csv_load` load the same file.
        let other = (0..tasks).find(|&other| answered.right[other] != right);
        let other = other.context("all tasks have the same answer: none can be told from another")?;
        let theirs = answered.right[other].clone();
        let repeat = |job: &dyn Job| accept(job, task, theirs.clone());
        answered.expect_refusal(&format!("task {task}: repeats task {other}"), repeat, true)?;
        let swap = |job: &dyn Job| {
            accept(job, task, theirs.clone())?;
            accept(job, other, right.clone())
        };
        answered.expect_refusal(&format!("tasks {task} and {other}: swapped"), swap, true)?;
    }
    Ok(())
}

fn accept(job: &dyn Job, task: usize, answer: Packet) -> Result<()> {
    job.accept(task, answer).map_err(|cause| anyhow::anyhow!("{cause}"))
}

fn garble(byte: u8) -> u8 {
    byte ^ 0x2b
}

impl Answered {
    fn run(&mut self) -> Result<()> {
        self.serial.execute(&self.job)?.spans().map(drop)
    }

    /// Runs the tasks anew, so that files and the like are there, replaces answers, and checks.
    fn expect_refusal(
        &mut self,
        what: &str,
        replace: impl Fn(&dyn Job) -> Result<()>,
        refused: bool,
    ) -> Result<()> {
        self.run()?;
        replace(&*self.job).with_context(|| what.to_string())?;
        let checked = self.job.check();
        ensure!(checked.is_err() == refused, "{what}: {checked:?}");
        Ok(())
    }

    /// A task's answer with all its bytes changed, but for those that say how long something is: changing them makes
    /// something else than an answer. `None` if nothing can be changed.
    fn changed(&mut self, task: usize, change: fn(u8) -> u8) -> Result<Option<Packet>> {
        let right = self.right[task].clone();
        if let Ok(array) = right.clone().unpack::<Array<f64>>() {
            let numbers: Vec<f64> =
                array.iter().map(|number| if change(1) == 0 { 0.0 } else { number + 1.0 }).collect();
            return Ok(Some(Packet::pack(&Array::from(numbers))?));
        }
        let mut bytes = right.encoded().to_vec();
        for at in 0..bytes.len() {
            let before = bytes[at];
            bytes[at] = change(before);
            if self.job.accept(task, Packet::from_encoded(bytes.clone())).is_err() {
                bytes[at] = before;
            }
        }
        let wrong = Packet::from_encoded(bytes);
        Ok((wrong != right).then_some(wrong))
    }
}
