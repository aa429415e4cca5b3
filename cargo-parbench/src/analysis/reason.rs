//! Why a way gains less than it could, or loses against the other: one cause for each, from rules over what the records hold.
//!
//! The rules are tried in the order of [`RULES`], the outer causes first; the first one that holds names the cause. Each
//! reads only fields of the records, has its threshold beside it, and none guesses: `unclear` is an answer. METHODOLOGY shows
//! what they say of workloads whose cause is known.

use super::Reason;
use super::costs::handing_over;
use super::facts::Facts;
use crate::report::format::{bytes, duration};
use crate::run_file::Way;

/// Below this share of its ideal a speed-up needs a reason.
pub(super) const ENOUGH: f64 = 0.8;

/// A variant that needs a reason, and what it is held against.
pub(super) struct Case<'a> {
    pub(super) way: Way,
    pub(super) workers: usize,
    pub(super) tasks: usize,
    /// The tasks of serial, which may be one where the others have one for each worker.
    pub(super) serial_tasks: usize,
    pub(super) speed_up: f64,
    /// What as many workers could reach.
    pub(super) ideal: f64,
    /// CPUs that the program may use.
    pub(super) cpus: usize,
    pub(super) cold: bool,
    pub(super) waits: bool,
    pub(super) facts: &'a Facts,
    pub(super) serial: &'a Facts,
    /// The speed-up of the other way.
    pub(super) other: Option<f64>,
    /// The speed-up of as many independent copies.
    pub(super) ceiling: Option<f64>,
}

type Rule = fn(&Case) -> Option<String>;

/// The causes and their rules.
const RULES: &[(&str, Rule)] = &[
    ("quota", quota),
    ("start", start),
    ("task price", task_price),
    ("nested", nested),
    ("packing", packing),
    ("moving", moving),
    ("busy machine", busy_machine),
    ("repeated work", repeated_work),
    ("oversubscription", oversubscription),
    ("address space", address_space),
    ("lock", lock),
    ("imbalance", imbalance),
    ("memory management", memory_management),
    ("machine", machine),
];

/// The reason of a case; `None` if it only has more workers than CPUs, and they do what as many CPUs can.
pub(super) fn explain(case: &Case) -> Option<Reason> {
    if case.workers > case.cpus && !case.waits && case.speed_up >= ENOUGH * case.ideal {
        let sentence = oversubscription(case)?;
        return Some(Reason { way: name(case.way), cause: "oversubscription", sentence });
    }
    let named = RULES
        .iter()
        .find_map(|(cause, rule)| Some(Reason { way: name(case.way), cause, sentence: rule(case)? }));
    Some(named.unwrap_or_else(|| Reason {
        way: name(case.way),
        cause: "unclear",
        sentence: format!(
            "{} of {} are reached, and no rule explains it",
            times(case.speed_up),
            times(case.ideal)
        ),
    }))
}

/// A way's name, for people.
pub(super) fn name(way: Way) -> String {
    match way {
        Way::Serial => "serial",
        Way::Threads => "threads",
        Way::Processes => "processes",
    }
    .into()
}

fn times(ratio: f64) -> String {
    format!("{ratio:.2}x")
}

fn percent(share: f64) -> String {
    format!("{:.0}\u{a0}%", share * 100.0)
}

/// `throttled_ns`: the control group's quota kept the program from running for 5 % of the time or more.
fn quota(case: &Case) -> Option<String> {
    // The system adds up what each CPU was kept from.
    let share = case.facts.throttled? / (case.facts.wall * case.workers.min(case.cpus) as f64);
    (share > 0.05).then(|| format!("its CPU quota kept it from running for {} of the time", percent(share)))
}

/// `others_busy_ns`, `steal_ns`, `run_queue_wait_ns`: other guests of the host took 10 % of the CPUs; or other programs used 20 %,
/// or 8 % while threads that could run waited for a CPU for 15 % of the time.
fn busy_machine(case: &Case) -> Option<String> {
    let all = case.facts.wall * case.cpus as f64;
    let steal = case.facts.steal.unwrap_or(0.0) / all;
    if steal > 0.1 {
        return Some(format!("a busy host: it took {} of the CPUs for others", percent(steal)));
    }
    let queue = case.facts.queue.unwrap_or(0.0) / (case.facts.wall * case.workers as f64);
    let others = case.facts.others? / all;
    // The system counts in ticks of 10 ms.
    let is_told = case.facts.wall > 5e6;
    (is_told && (others > 0.2 || others > 0.08 && queue > 0.15))
        .then(|| format!("a busy machine: other programs used {} of its CPUs", percent(others)))
}

/// A cold scenario: the workers are started inside the clock.
fn start(case: &Case) -> Option<String> {
    let each = case.facts.wall / case.workers as f64;
    case.cold.then(|| format!("starting workers is inside the clock: {} for each", duration(each)))
}

/// `user_ns`, `system_ns`: the serial run keeps more than 1.3 cores busy.
fn nested(case: &Case) -> Option<String> {
    let cores = case.serial.cores()?;
    // The time of very short batches is mostly that of measuring them.
    (cores > 1.3 && case.serial.wall > 1e6)
        .then(|| format!("a task uses {cores:.1} cores by itself: more workers only share them"))
}

/// `task_p50_ns`, `tasks`: where every worker has a share of the work, the shares together take 1.15 times as long as the whole.
fn repeated_work(case: &Case) -> Option<String> {
    let shares = case.facts.task? * case.tasks as f64 / case.serial.wall;
    (case.tasks != case.serial_tasks && shares > 1.15).then(|| {
        format!("each worker repeats a part of the work, such as a log-in: together they take {shares:.1} times as long as one")
    })
}

/// `task_p50_ns`: more workers than CPUs, and tasks take at least 1.3 times as long as serially.
fn oversubscription(case: &Case) -> Option<String> {
    let stretch = case.facts.task? / case.serial.task?;
    (case.workers > case.cpus && !case.waits && stretch > 1.3).then(|| {
        format!("{} workers share {} CPUs: a task takes {stretch:.1} times as long", case.workers, case.cpus)
    })
}

/// `wall_ns`: a task that takes less than 20 us costs a fifth of its share of the work or more besides.
fn task_price(case: &Case) -> Option<String> {
    let tasks = case.tasks as f64;
    let task = case.serial.wall / tasks;
    let price = handing_over(case.facts, case.serial, case.tasks, case.ideal);
    let is_small = case.facts.moved_bytes.unwrap_or(0.0) / tasks < 65_536.0;
    (task < 20e3 && price > 0.2 * task / case.ideal && is_small && case.tasks >= 10).then(|| {
        format!("a task takes {} and handing it over {}: bundle tasks", duration(task), duration(price))
    })
}

/// `packing_ns`, `moved_bytes`: packing takes a tenth of the workers' time and more than 1.2 ns for each byte that moved.
fn packing(case: &Case) -> Option<String> {
    let (packing, moved) = (case.facts.packing?, case.facts.moved_bytes?);
    let is_slow = moved > 0.0 && packing / moved > 1.2;
    (is_slow && moved / case.tasks as f64 > 4_096.0 && packing / case.facts.wall > 0.1).then(|| {
        format!(
            "packing takes {} in a batch of {}, for {} a task: a `Vec` goes through serde element by element, an `Array` does not",
            duration(packing),
            duration(case.facts.wall),
            bytes(moved / case.tasks as f64)
        )
    })
}

/// `moved_bytes`, `packing_ns` and the spans: 64 KiB a task or more are moved, and packing or the gaps between tasks take a
/// tenth of the time.
fn moving(case: &Case) -> Option<String> {
    let moved = case.facts.moved_bytes? / case.tasks as f64;
    let packing = case.facts.packing.unwrap_or(0.0) / case.facts.wall;
    let gaps = case.facts.lanes.map_or(0.0, |lanes| lanes.gaps);
    (moved >= 65_536.0 && (packing > 0.1 || gaps > 0.1)).then(|| {
        format!("{} are moved for each task; share the array, or make it where it is used", bytes(moved))
    })
}

/// `system_ns`: threads spend a fifth of their CPU time or more in the kernel, and processes, which do the same there, are a
/// quarter faster.
fn address_space(case: &Case) -> Option<String> {
    let faster = case.other.filter(|_| case.way == Way::Threads)?;
    let share = case.facts.system? / case.facts.cpu()?;
    (share > 0.2 && faster > 1.25 * case.speed_up).then(|| {
        format!(
            "one address space: {} of the CPU time is the kernel's, which changes the memory map of one program at a time",
            percent(share)
        )
    })
}

/// `task_p50_ns`, the spans, CPU time and `voluntary_switches`: tasks take 1.4 times as long as serially or more while a
/// quarter of the CPUs is idle, they wait, and serially they do not.
fn lock(case: &Case) -> Option<String> {
    let median = case.facts.task? / case.serial.task?;
    // Who holds a lock that is not fair takes it again: half of the tasks are quick, and the others wait.
    let same = case.tasks == case.serial_tasks;
    let mean = case.facts.lanes.filter(|_| same).map_or(0.0, |lanes| lanes.tasks / case.serial.wall);
    let stretch = median.max(mean);
    let (cores, usable) = (case.facts.cores()?, case.workers.min(case.cpus) as f64);
    let switches = case.facts.switches? / case.tasks as f64;
    let serial_runs = case.serial.cores()? > 0.9;
    (serial_runs && stretch > 1.4 && cores < 0.75 * usable && switches > 0.2).then(|| {
        format!(
            "tasks wait for each other, as for a lock: each takes {stretch:.1} times as long, and {cores:.1} of {usable:.0} CPUs are used"
        )
    })
}

/// The spans: workers without a task at the end lose 12 % of the time or more.
fn imbalance(case: &Case) -> Option<String> {
    let lanes = case.facts.lanes?;
    (lanes.tail > 0.12).then(|| {
        let what = if lanes.longest > 0.5 * lanes.total { "unequal tasks" } else { "too few tasks" };
        format!(
            "{what}: workers stand idle for {} of the time behind their last one (the longest takes {} of {})",
            percent(lanes.tail),
            duration(lanes.longest),
            duration(lanes.total)
        )
    })
}

/// `system_ns` and page faults: a quarter of the CPU time is the kernel's, with a page fault for each 20 us of it or more.
fn memory_management(case: &Case) -> Option<String> {
    let (system, faults) = (case.facts.system?, case.facts.faults?);
    let share = system / case.facts.cpu()?;
    (share > 0.25 && faults > system / 20e3).then(|| {
        format!(
            "memory is made and given back all the time: {faults:.0} page faults a batch, {} of the CPU time",
            percent(share)
        )
    })
}

/// Ceiling records: as many independent copies gain no more than 15 % over this.
fn machine(case: &Case) -> Option<String> {
    let ceiling = case.ceiling?;
    (case.speed_up > 0.85 * ceiling && ceiling < 0.9 * case.ideal).then(|| {
        let copies = case.workers;
        format!("{copies} independent copies reach no more ({}): cores or memory are shared", times(ceiling))
    })
}

#[cfg(test)]
mod tests {
    use super::super::facts::Lanes;
    use super::*;

    /// A batch of ten tasks of 10 ms on two workers with nothing wrong: serially 100 ms, now `wall` ms.
    fn facts(wall: f64) -> Facts {
        Facts {
            wall: wall * 1e6,
            user: Some(100e6),
            system: Some(0.0),
            queue: Some(0.0),
            switches: Some(20.0),
            faults: Some(0.0),
            moved_bytes: Some(0.0),
            packing: Some(0.0),
            throttled: Some(0.0),
            others: Some(0.0),
            steal: Some(0.0),
            task: Some(10e6),
            ..Facts::default()
        }
    }

    fn named(change: impl FnOnce(&mut Case, &mut Facts, &mut Facts)) -> &'static str {
        let (mut here, mut serial) = (facts(80.0), facts(100.0));
        let placeholder = Facts::default();
        let mut case = Case {
            way: Way::Threads,
            workers: 2,
            tasks: 10,
            serial_tasks: 10,
            speed_up: 1.25,
            ideal: 2.0,
            cpus: 2,
            cold: false,
            waits: false,
            facts: &placeholder,
            serial: &placeholder,
            other: Some(1.9),
            ceiling: Some(1.98),
        };
        change(&mut case, &mut here, &mut serial);
        let Case {
            way,
            workers,
            tasks,
            serial_tasks,
            speed_up,
            ideal,
            cpus,
            cold,
            waits,
            other,
            ceiling,
            ..
        } = case;
        let (facts, serial) = (&here, &serial);
        let case = Case {
            way,
            workers,
            tasks,
            serial_tasks,
            speed_up,
            ideal,
            cpus,
            cold,
            waits,
            facts,
            serial,
            other,
            ceiling,
        };
        explain(&case).map_or("none", |reason| reason.cause)
    }

    #[test]
    fn each_cause_is_named_by_what_the_records_hold_of_it() {
        assert_eq!(named(|_, _, _| {}), "unclear");
        assert_eq!(named(|_, here, _| here.throttled = Some(20e6)), "quota");
        assert_eq!(named(|_, here, _| here.others = Some(60e6)), "busy machine");
        assert_eq!(named(|_, here, _| here.steal = Some(40e6)), "busy machine");
        assert_eq!(named(|case, _, _| case.cold = true), "start");
        assert_eq!(named(|_, _, serial| serial.user = Some(190e6)), "nested");
        assert_eq!(named(|case, here, _| (case.serial_tasks, here.task) = (1, Some(20e6))), "repeated work");
        assert_eq!(named(|case, here, _| (case.workers, here.task) = (8, Some(40e6))), "oversubscription");
        assert_eq!(named(|case, _, _| (case.tasks, case.serial_tasks) = (100_000, 100_000)), "task price");
        let moved = |packing: f64| {
            move |_: &mut Case, here: &mut Facts, _: &mut Facts| {
                (here.moved_bytes, here.packing) = (Some(10e6), Some(packing));
            }
        };
        assert_eq!(named(moved(9e6)), "moving");
        assert_eq!(named(moved(40e6)), "packing");
        assert_eq!(named(|_, here, _| here.system = Some(50e6)), "address space");
        assert_eq!(named(|_, here, _| (here.task, here.user) = (Some(16e6), Some(80e6))), "lock");
        let lanes = Lanes { tail: 0.3, longest: 60e6, total: 80e6, ..Lanes::default() };
        assert_eq!(named(|_, here, _| here.lanes = Some(lanes)), "imbalance");
        let kernel = |case: &mut Case, here: &mut Facts, _: &mut Facts| {
            (case.other, here.system, here.faults) = (None, Some(50e6), Some(10_000.0));
        };
        assert_eq!(named(kernel), "memory management");
        assert_eq!(named(|case, _, _| case.ceiling = Some(1.3)), "machine");
    }

    #[test]
    fn more_workers_than_cpus_that_do_what_the_cpus_can_are_only_that() {
        assert_eq!(
            named(|case, here, _| (case.workers, case.speed_up, here.task) = (4, 1.95, Some(20e6))),
            "oversubscription"
        );
        assert_eq!(named(|case, _, _| (case.workers, case.speed_up) = (4, 1.95)), "none");
    }
}
