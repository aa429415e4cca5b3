//! Every scenario on every executor gives the serial answers; new ones of both are tested by existing.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use libtest_mimic::{Arguments, Trial};
use parbench::executors::{ALL, Kind, Means, Place};
use parbench::scenarios::FAMILIES;
use parbench::{Inputs, Job, Packet, Scenario, Size, Workload};

/// Which process and thread ran a task: what executors are about.
struct Whereabouts;

impl Workload for Whereabouts {
    const NAME: &'static str = "whereabouts";
    type Input = u32;
    type Output = (u32, String);
    type Worker = ();

    fn prepare(_: Size) -> Result<Inputs<u32>> {
        Ok(Inputs::new((0..30).collect()))
    }

    fn run(_: &mut (), n: &u32) -> Result<(u32, String)> {
        // Long enough that no worker can take all tasks before the others are awake.
        let mut sum = *n;
        (0..3_000_000).for_each(|i| sum = std::hint::black_box(sum.wrapping_add(i)));
        Ok((std::process::id(), format!("{:?}", std::thread::current().id())))
    }

    fn check(_: &[u32], _: &[(u32, String)]) -> Result<()> {
        Ok(())
    }
}

static OWN: &[Scenario] = &[Scenario::of::<Whereabouts>()];

/// The scenarios of all families and our own, in one list: this program is the worker of all of them.
fn all() -> &'static [Scenario] {
    let lists = FAMILIES.iter().map(|(_, list)| *list).chain([OWN]);
    Box::leak(lists.flatten().copied().collect())
}

fn main() -> ExitCode {
    let scenarios = all();
    parbench::bench::enter(scenarios);
    let mut trials = Vec::new();
    for scenario in scenarios {
        for kind in ALL.iter().filter(|kind| kind.nests || !scenario.nested) {
            let mut add = |means: Means| {
                let bare = if means.bare { " (bare)" } else { "" };
                let name = format!("{} on {}/{}{bare}", scenario.name, kind.name, means.workers);
                let compare =
                    move || agree(scenario, kind, &means).map_err(|error| format!("{error:#}").into());
                if scenario.name != Whereabouts::NAME {
                    trials.push(Trial::test(name, compare));
                }
            };
            (1..=if kind.single { 1 } else { 3 }).for_each(|workers| add(Means::workers(workers)));
            if kind.name == "processes" {
                add(Means { bare: true, ..Means::workers(2) });
            }
        }
    }
    trials.push(Trial::test("workers are processes, threads or this thread", || {
        whereabouts().map_err(|error| format!("{error:#}").into())
    }));
    trials.push(Trial::test("every name is there once", move || {
        let names: BTreeSet<_> = scenarios.iter().map(|scenario| scenario.name).collect();
        if names.len() == scenarios.len() { Ok(()) } else { Err("two scenarios share a name".into()) }
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// One after the other: each starts workers of its own on what may be one core.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn agree(scenario: &Scenario, kind: &Kind, means: &Means) -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let jobs = scenario.prepare(Size::Smoke)?;
    // With weak scaling as many tasks as the others have.
    let serial = answers(Kind::find("serial")?, &Means::workers(1), &jobs(means.workers))?;
    let theirs = answers(kind, means, &jobs(means.workers))?;
    ensure!(!serial.is_empty() && serial == theirs, "the answers differ from the serial ones");
    Ok(())
}

/// The answers of a second batch: the first finds nothing warm, the second nothing fresh.
fn answers(kind: &Kind, means: &Means, job: &Arc<dyn Job>) -> Result<Vec<Packet>> {
    let mut executor = kind.start(means)?;
    executor.execute(job)?.spans()?;
    job.check()?;
    let outcome = executor.execute(job)?;
    let (spans, ended) = (outcome.spans()?, outcome.began + outcome.wall.as_nanos() as u64);
    ensure!(spans.len() == job.tasks(), "{} spans of {} tasks", spans.len(), job.tasks());
    for (task, span) in spans.iter().enumerate() {
        let order = [outcome.began, span.started, span.stopped, span.received, ended];
        let sound = span.task as usize == task && usize::from(span.worker) < means.workers;
        ensure!(
            sound && span.sent == outcome.began && order.is_sorted(),
            "task {task}: {span:?} in {outcome:?}"
        );
    }
    let answers = (0..job.tasks()).map(|task| job.answer(task)).collect();
    job.check()?;
    answers
}

fn whereabouts() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for kind in ALL {
        let workers = if kind.single { 1 } else { 3 };
        let jobs = OWN[0].prepare(Size::Smoke)?;
        let packets = answers(kind, &Means::workers(workers), &jobs(workers))?;
        let places = packets.into_iter().map(Packet::unpack).collect::<Result<BTreeSet<(u32, String)>>>()?;
        let processes: BTreeSet<_> = places.iter().map(|(process, _)| *process).collect();
        let here = (std::process::id(), format!("{:?}", std::thread::current().id()));
        let elsewhere = places.len() >= workers && !places.contains(&here);
        let sound = match kind.place {
            Place::Here => places == BTreeSet::from([here.clone()]),
            Place::Threads => elsewhere && processes == BTreeSet::from([here.0]),
            Place::Processes => elsewhere && processes.len() == workers && !processes.contains(&here.0),
        };
        ensure!(
            sound,
            "{}: the tasks of {workers} workers ran in {places:?}, the caller is {here:?}",
            kind.name
        );
    }
    Ok(())
}
