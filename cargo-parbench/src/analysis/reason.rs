//! Why a way gains less than it could, or loses against the other: one cause for each, from rules over what the records hold.
//!
//! The rules are tried in the order of [`RULES`], the outer causes first; the first one that holds names the cause. Each
//! reads only fields of the records, has its threshold beside it, and none guesses: `unclear` is an answer. METHODOLOGY shows
//! what they say of workloads whose cause is known.

use super::Reason;
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
    /// The speed-up of independent copies, as many or the most that were measured.
    pub(super) ceiling: Option<f64>,
}

type Rule = fn(&Case) -> Option<String>;

/// The causes and their rules.
const RULES: &[(&str, Rule)] = &[
    ("quota", quota),
    ("start", start),
    ("task price", task_price),
    ("nested", nested),
    ("busy machine", busy_machine),
    ("repeated work", repeated_work),
    ("oversubscription", oversubscription),
    ("packing", packing),
    ("moving", moving),
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
    let share = case.facts.throttled? / case.facts.wall;
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
    let (task, each) = (case.serial.wall / tasks, case.facts.wall / tasks);
    let price = each - task / case.ideal;
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
            "packing takes {} of {} for {} a task: a `Vec` goes through serde element by element, an `Array` does not",
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

/// `task_p50_ns`, the spans, CPU time and `voluntary_switches`: tasks take 1.3 times as long as serially or more while CPUs are
/// idle, they wait, and serially they do not.
fn lock(case: &Case) -> Option<String> {
    let median = case.facts.task? / case.serial.task?;
    // Who holds a lock that is not fair takes it again: half of the tasks are quick, and the others wait.
    let same = case.tasks == case.serial_tasks;
    let mean = case.facts.lanes.filter(|_| same).map_or(0.0, |lanes| lanes.tasks / case.serial.wall);
    let stretch = median.max(mean);
    let (cores, usable) = (case.facts.cores()?, case.workers.min(case.cpus) as f64);
    let switches = case.facts.switches? / case.tasks as f64;
    let serial_runs = case.serial.cores()? > 0.9;
    (serial_runs && stretch > 1.3 && cores < 0.8 * usable && switches > 0.2).then(|| {
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
