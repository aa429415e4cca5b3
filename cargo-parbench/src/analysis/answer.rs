//! The answer in sentences: the way, the price of isolation, how sure, and rules for this machine.

use std::collections::BTreeMap;

use super::costs::memory_of_a_worker;
use super::rounds::median;
use super::{Analysis, Cost, Price, Row, Verdict};
use crate::report::format::{bytes, duration, percent, ratio};
use crate::run_file::{RunFile, Way};

/// Returns the ratio of processes' time over threads'.
fn isolation(row: &Row) -> Option<f64> {
    row.isolation.ratio.map(|ratio| ratio.median)
}

fn facts(row: &Row, index: Option<usize>) -> Option<(&super::Measured, &super::Facts)> {
    Some((&row.variants[index?], &row.facts[index?]))
}

/// Which way, how many workers, and what isolation costs.
pub(super) fn answer(analysis: &Analysis) -> String {
    let judged = || analysis.scenarios.iter().filter(|row| isolation(row).is_some());
    let of = |verdict| judged().filter(move |row| row.isolation.verdict == verdict);
    let (processes, threads, ties) =
        (of(Verdict::First), of(Verdict::Second).count(), of(Verdict::Tie).count());
    let lost: Vec<_> = processes.collect();
    let all = judged().count();
    if all == 0 {
        return "No scenario has both threads and processes: there is nothing to compare.".into();
    }
    let names: Vec<_> = lost.iter().map(|row| row.name.as_str()).collect();
    let open = all - lost.len() - threads - ties;
    let way = if lost.len() > threads { "Processes" } else { "Threads" };
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for row in analysis.scenarios.iter() {
        let pick = row.pick.as_ref().map(|pick| &row.variants[pick.variant]);
        if let Some(variant) = pick.filter(|variant| variant.way != Some(Way::Serial)) {
            *counts.entry(variant.workers).or_default() += 1;
        }
    }
    let most = counts
        .iter()
        .max_by_key(|(workers, rows)| (**rows, usize::MAX - **workers))
        .map(|(workers, _)| *workers);
    let workers = most.map_or(String::new(), |workers| {
        format!(", {workers} worker{}", if workers == 1 { "" } else { "s" })
    });
    let wins = if way == "Threads" { threads + ties } else { lost.len() + ties };
    let mut text = format!("{way}{workers}: they win or tie in {wins} of {all}");
    if open > 0 {
        text += &format!(", {open} {} open", if open == 1 { "is" } else { "are" });
    }
    text += ".";
    if way == "Threads" && !names.is_empty() {
        let gains = lost.iter().filter_map(|row| isolation(row).map(|ratio| 1.0 / ratio));
        let (low, high) =
            gains.fold((f64::MAX, 0.0_f64), |(low, high), gain| (low.min(gain), high.max(gain)));
        let range = if names.len() == 1 || high - low < 0.05 {
            ratio(high)
        } else {
            format!("{} to {}", ratio(low), ratio(high))
        };
        text += &format!(" Processes in {}: {range} as fast as threads.", list(&names));
    }
    if let Some(price) = price(analysis) {
        text += &format!(" {price}");
    }
    text
}

/// What isolation costs where it gains nothing.
fn price(analysis: &Analysis) -> Option<String> {
    let elsewhere = analysis.scenarios.iter().filter(|row| row.isolation.verdict != Verdict::First);
    let cost = median(elsewhere.clone().filter_map(isolation))? - 1.0;
    let mut parts = vec![if cost.abs() < 0.005 {
        "nothing in time".to_string()
    } else {
        format!("{} of time", percent(cost))
    }];
    let per_worker =
        |value: &dyn Fn(&Row) -> Option<f64>| median(analysis.scenarios.iter().filter_map(value));
    if let Some(memory) = memory_of_a_worker(&analysis.scenarios) {
        parts.push(format!("{} a worker", bytes(memory)));
    }
    if let Some(start) = per_worker(&|row| {
        let (measured, processes) = facts(row, row.processes)?;
        Some(processes.ready / measured.workers as f64)
    }) {
        parts.push(format!("{} to start each", duration(start)));
    }
    Some(format!(
        "Elsewhere isolation costs {}.",
        list(&parts.iter().map(String::as_str).collect::<Vec<_>>())
    ))
}

/// How far the numbers can be trusted.
pub(super) fn trust(run: &RunFile, analysis: &Analysis) -> String {
    let control = match analysis.control {
        Some([middle, largest]) => format!(
            "identical variants differed by {} (median), {} at most",
            percent(middle),
            percent(largest)
        ),
        None => "there are no replicas to judge the noise by".into(),
    };
    let word = match analysis.control {
        Some([middle, _]) if middle < 0.05 => "Steady",
        Some([middle, _]) if middle < 0.15 => "Noisy",
        Some(_) => "Very noisy",
        None => "Unknown noise",
    };
    let open = analysis.scenarios.iter().filter(|row| row.isolation.verdict == Verdict::Open).count();
    let close = match open {
        0 => "every row has a verdict".into(),
        1 => "one row is too close to call".to_string(),
        open => format!("{open} rows are too close to call"),
    };
    let mut text = format!("{word}: {control}; {close}.");
    if run.options.quick {
        text += " A quick run: it tells differences of 20 % and more; leave out --quick for smaller ones.";
    }
    text
}

/// Rules for this machine, each backed by rows of the run.
pub(super) fn rules(analysis: &Analysis) -> Vec<String> {
    let mut rules = Vec::new();
    let row = |name: &str| analysis.scenarios.iter().find(|row| row.name == name);
    if let Some([thread, process]) = prices(analysis, |cost| cost.start) {
        rules.push(format!(
            "Starting a worker for a task pays (5 % lost at most{}) from tasks of {} on for a thread and {} for a process (worker_start: {} and {} each).",
            with(thread),
            duration(thread.pays_from()),
            duration(process.pays_from()),
            duration(thread.each),
            duration(process.each)
        ));
    }
    if let Some([thread, process]) = prices(analysis, |cost| cost.task) {
        rules.push(format!(
            "With warm workers, a task should take {} or more on threads and {} in processes (5 % lost at most{}; empty_task: {} and {} to hand one over).",
            duration(thread.pays_from()),
            duration(process.pays_from()),
            with(thread),
            duration(thread.each),
            duration(process.each)
        ));
    }
    if let (Some(private), Some(shared)) = (row("array_transfer"), row("array_transfer_shared"))
        && let (Some(copied), Some(lent)) = (isolation(private), isolation(shared))
    {
        rules.push(format!(
            "Arrays of private memory cost processes {} the threads' time, in shared memory {} (array_transfer, array_transfer_shared).",
            ratio(copied),
            ratio(lent)
        ));
    }
    let lost = analysis.scenarios.iter().filter(|row| row.isolation.verdict == Verdict::First);
    let causes: Vec<_> = lost
        .filter_map(|row| {
            let reason =
                row.reasons.iter().find(|reason| reason.way == "threads" && reason.cause != "unclear")?;
            Some(format!("{} ({})", row.name, reason.cause))
        })
        .collect();
    if !causes.is_empty() {
        rules.push(format!(
            "Processes pay where threads get in each other's way: {}.",
            list(&causes.iter().map(String::as_str).collect::<Vec<_>>())
        ));
    }
    let most =
        analysis.scenarios.iter().filter(|row| row.pick.as_ref().is_some_and(|pick| pick.at_least)).count();
    if most > 0 {
        rules.push(format!(
            "In {most} row{} the largest number of workers that was tried is the best: try more (--workers).",
            if most == 1 { "" } else { "s" }
        ));
    }
    rules
}

/// The lowest price of threads and that of processes, if both are known.
fn prices(analysis: &Analysis, price: fn(&Cost) -> Option<Price>) -> Option<[Price; 2]> {
    let of = |way| analysis.costs.cheapest(way, price).map(|(_, price)| price);
    Some([of(Way::Threads)?, of(Way::Processes)?])
}

/// With how many workers a price was measured.
fn with(price: Price) -> String {
    format!(" with {} worker{}", price.workers, if price.workers == 1 { "" } else { "s" })
}

/// `a, b and c`.
fn list(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).into(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
