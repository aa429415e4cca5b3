//! One scenario, judged: its variants' times and speed-ups, the verdicts, the pick and the reasons.

use std::collections::BTreeMap;

use parbench::measure::{Machine, Record};

use super::reason::{self, Case, ENOUGH};
use super::rounds::{RoundKey, Values, interval, is_judging, log_ratios, median, replicas, values};
use super::verdict::{Bounds, control, control_of_orders, judge as verdict};
use super::{Comparison, Facts, Interval, Measured, Reason, Row, Verdict, pick};
use crate::drive::variant_name;
use crate::run_file::{RunFile, Scenario, Way};

/// Two sides of a comparison whose page faults for each task differ by more time than this share of a task, at about a
/// quarter of a microsecond each, were given memory in different ways: the comparison is of that too.
const FAULTS_SHARE: f64 = 0.1;
const FAULT_NS: f64 = 250.0;

pub(super) fn judge(run: &RunFile, scenario: &Scenario) -> Row {
    let values = values(scenario);
    let judging = is_judging(scenario);
    let ways =
        run.programs.iter().find(|program| program.family == scenario.family).map(|program| &program.ways);
    let mut row = Row {
        name: scenario.name.clone(),
        family: scenario.family.clone(),
        error: scenario.error.clone(),
        ..Row::default()
    };
    for record in &scenario.records {
        let name = variant_name(record, scenario.weak);
        if row.variants.iter().any(|known| known.name == name) {
            continue;
        }
        let Some(own) = values.get(&name) else { continue };
        let Some(facts) = Facts::of(scenario, &name, &judging) else { continue };
        let way = ways.and_then(|ways| ways.get(&record.executor)).copied();
        row.variants.push(measure(scenario, record, name, way, own, &values, &facts));
        row.facts.push(facts);
    }
    let find =
        |name: &Option<String>| row.variants.iter().position(|known| Some(&known.name) == name.as_ref());
    let (threads, processes) = (find(&scenario.judged.threads), find(&scenario.judged.processes));
    (row.threads, row.processes) = (threads, processes);
    let faster = [threads, processes].into_iter().flatten();
    let faster = faster.min_by(|a, b| row.variants[*a].time_ns.total_cmp(&row.variants[*b].time_ns));
    row.serial = serial_of(&row, faster);
    let bounds = if run.options.quick { Bounds::QUICK } else { Bounds::FULL };
    let name = |index: usize| &row.variants[index].name;
    let control_of = |index: usize| match run.options.quick {
        true => control_of_orders(&values[name(index)], &judging),
        false => control(&replicas(scenario, name(index)), &judging),
    };
    let judged = [threads, processes];
    row.control = judged.into_iter().flatten().filter_map(control_of).max_by(f64::total_cmp);
    let compare = |first: Option<usize>, second: Option<usize>| {
        let (Some(first), Some(second)) = (first, second) else { return Comparison::default() };
        let logs = log_ratios(&values[name(first)], &values[name(second)], &judging);
        let comparison = verdict(&logs, row.control, bounds);
        open_if_faults_differ(comparison, &row, first, second)
    };
    let (isolation, parallel) = (compare(processes, threads), compare(faster, row.serial));
    (row.isolation, row.parallel) = (isolation, parallel);
    if row.error.is_none() {
        row.pick = pick::pick(&row);
        row.reasons = reasons(run, scenario, &row);
    }
    row
}

/// A variant's times, and its speed-up over serial with the same tasks.
fn measure(
    scenario: &Scenario,
    record: &Record,
    name: String,
    way: Option<Way>,
    own: &Values,
    values: &BTreeMap<String, Values>,
    facts: &Facts,
) -> Measured {
    let judging = is_judging(scenario);
    // Only what is judged was measured in those rounds.
    let is_judged = own.keys().any(&judging);
    let wanted = |round: &RoundKey| judging(round) == is_judged;
    let of_rounds = || own.iter().filter(|(round, _)| wanted(round)).map(|(_, value)| *value);
    let is_ceiling = record.executor == "ceiling";
    let serial = if scenario.weak && !is_ceiling { record.tasks } else { 1 };
    let serial = values.get(&format!("serial/{serial}"));
    let logs = serial.map(|serial| log_ratios(serial, own, wanted)).unwrap_or_default();
    // Each copy of a ceiling has all the tasks of one.
    let copies = if is_ceiling { record.shape.parallelism() as f64 } else { 1.0 };
    let scaled = |speed_up: Interval| Interval {
        median: speed_up.median * copies,
        low: speed_up.low * copies,
        high: speed_up.high * copies,
    };
    Measured {
        name,
        executor: record.executor.clone(),
        way,
        workers: record.shape.parallelism(),
        tasks: record.tasks,
        time_ns: median(of_rounds()).map_or(0.0, f64::exp),
        cpu_ns: facts.cpu(),
        speed_up: interval(logs.into_iter().map(|(_, log)| log)).map(scaled),
        rounds: of_rounds().count(),
    }
}

/// Serial, with the tasks of the fastest variant where they grow with the workers.
fn serial_of(row: &Row, faster: Option<usize>) -> Option<usize> {
    let is_serial = |variant: &&Measured| variant.way == Some(Way::Serial);
    let tasks = faster.map(|index| row.variants[index].tasks);
    let same = row.variants.iter().position(|variant| is_serial(&variant) && Some(variant.tasks) == tasks);
    same.or_else(|| row.variants.iter().position(|variant| is_serial(&variant)))
}

fn open_if_faults_differ(comparison: Comparison, row: &Row, first: usize, second: usize) -> Comparison {
    let per_task = |index: usize| Some(row.facts[index].faults? / row.variants[index].tasks as f64);
    // Moving data makes faults: then they are the subject.
    let moves = |index: usize| row.facts[index].moved_bytes.unwrap_or(0.0) > 65_536.0;
    let system = |index: usize| row.facts[index].system.unwrap_or(0.0) / row.variants[index].time_ns;
    let (Some(one), Some(other)) = (per_task(first), per_task(second)) else { return comparison };
    let task = row.variants[first].time_ns / row.variants[first].tasks as f64;
    let differs = (one - other).abs() * FAULT_NS > FAULTS_SHARE * task;
    let is_clear = matches!(comparison.verdict, Verdict::First | Verdict::Second);
    // If both are busy in the kernel, the faults are the workload's own.
    let is_own = system(first).min(system(second)) > 0.1;
    if is_clear && differs && !moves(first) && !moves(second) && !is_own {
        let note = format!(
            "{one:.0} page faults a task against {other:.0}: they were given memory in different ways"
        );
        return Comparison { verdict: Verdict::Open, note: Some(note), ..comparison };
    }
    comparison
}

/// The CPUs that workers can use. With a quota there are more than it lets this program use: that is then the reason.
pub(super) fn usable_cpus(machine: &Machine) -> usize {
    match machine.cpu_quota {
        Some(_) => machine.physical_cores,
        None => machine.cpus_allowed.min(machine.physical_cores),
    }
}

/// Why each way gains less than it could, or clearly loses against the other.
fn reasons(run: &RunFile, scenario: &Scenario, row: &Row) -> Vec<Reason> {
    let machine =
        run.programs.iter().find(|program| program.family == scenario.family).map(|p| &p.header.machine);
    let cpus = machine.map_or(1, usable_cpus).max(1);
    let serial_of_tasks = |tasks: usize| {
        let is_fit = |variant: &Measured| {
            variant.way == Some(Way::Serial) && (!scenario.weak || variant.tasks == tasks)
        };
        row.variants.iter().position(is_fit)
    };
    let ceiling = |workers: usize| {
        let copies =
            row.variants.iter().filter(|variant| variant.executor == "ceiling" && variant.workers == workers);
        copies.max_by_key(|variant| variant.workers)?.speed_up.map(|speed_up| speed_up.median)
    };
    let speed_up = |index: Option<usize>| row.variants[index?].speed_up.map(|speed_up| speed_up.median);
    let ways = [
        (Way::Threads, row.threads, row.processes, Verdict::First),
        (Way::Processes, row.processes, row.threads, Verdict::Second),
    ];
    let mut reasons: Vec<Reason> = Vec::new();
    for (way, judged, other, lost) in ways {
        let Some(index) = judged.map(|judged| with_a_worker_a_cpu(row, judged, cpus, scenario.waits)) else {
            continue;
        };
        let Some(gained) = speed_up(Some(index)) else { continue };
        let measured = &row.variants[index];
        let Some(serial) = serial_of_tasks(measured.tasks) else { continue };
        let usable = if scenario.waits { usize::MAX } else { cpus };
        let ideal = measured.workers.min(measured.tasks).max(1);
        let is_short = gained < ENOUGH * ideal as f64;
        if !is_short && row.isolation.verdict != lost {
            continue;
        }
        let reason = reason::explain(&Case {
            way,
            workers: measured.workers,
            tasks: measured.tasks,
            serial_tasks: row.variants[serial].tasks,
            speed_up: gained,
            ideal: ideal.min(usable) as f64,
            cpus,
            cold: scenario.cold,
            waits: scenario.waits,
            facts: &row.facts[index],
            serial: &row.facts[serial],
            other: speed_up(other),
            ceiling: ceiling(measured.workers),
        });
        match (reason, reasons.first_mut()) {
            (None, _) => {}
            (Some(reason), Some(first)) if first.cause == reason.cause => first.way = "both".into(),
            (Some(reason), _) => reasons.push(reason),
        }
    }
    reasons
}

/// The variant whose time has to be explained: that of the same executor with a worker for each CPU. If one worker was judged,
/// because more gain nothing, it shows why; of more workers than CPUs there is nothing to say but that.
fn with_a_worker_a_cpu(row: &Row, judged: usize, cpus: usize, waits: bool) -> usize {
    let Measured { executor, workers, .. } = &row.variants[judged];
    let most = if waits { cpus.max(*workers) } else { cpus };
    let others = (0..row.variants.len()).filter(|index| {
        let other = &row.variants[*index];
        other.executor == *executor && other.workers <= most && other.speed_up.is_some()
    });
    others.max_by_key(|index| row.variants[*index].workers).unwrap_or(judged)
}
