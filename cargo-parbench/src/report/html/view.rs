//! What the page's template is filled with: words and numbers, ready to be shown.

use askama::Template;
use parbench::measure::Record;

use super::claims::{Group, groups};
use super::how::measured_how;
use super::pitfalls::{Shown, shown as shown_pitfall};
use super::verdict::{Family, families, labels};
use super::{costs, scaling, shares, sweeps, timeline::Panel};
use crate::analysis::{Analysis, Comparison, Facts, Interval, Measured, Row, Verdict};
use crate::drive::variant_name;
use crate::report::claims::counted;
use crate::report::format::{bytes, duration, ratio};
use crate::report::markdown::how;
use crate::report::terminal::last_gain;
use crate::run_file::{RunFile, Scenario};

const COLUMNS: [&str; 13] = [
    "time",
    "speed-up",
    "CPU time",
    "cores",
    "median task",
    "ready after",
    "waiting for a CPU",
    "switches",
    "faults a task",
    "moved",
    "packing",
    "peak memory",
    "rounds",
];

/// The order in which a table has them; others follow.
const EXECUTORS: [&str; 10] = [
    "serial",
    "threads",
    "rayon",
    "async",
    "async_threads",
    "spawn_blocking",
    "processes",
    "forkserver",
    "hybrid",
    "ceiling",
];

#[derive(Template)]
#[template(path = "report.html")]
pub(super) struct Page {
    style: &'static str,
    script: &'static str,
    machine: String,
    answer: String,
    trust: String,
    others: Vec<String>,
    families: Vec<Family>,
    /// Columns of the first table.
    width: usize,
    rules: Vec<String>,
    sweeps: Vec<String>,
    scenarios: Vec<Detail>,
    costs: Option<costs::Section>,
    columns: [&'static str; COLUMNS.len()],
    has_claims: bool,
    counted: String,
    /// What Python says of the claims; without it, its column is not shown.
    python: Option<String>,
    claims: Vec<Group>,
    pitfalls: Vec<Shown>,
    how: Vec<(&'static str, String)>,
    other_runs: Vec<Other>,
}

struct Detail {
    name: String,
    family: String,
    error: String,
    panels: Vec<String>,
    scaling: String,
    shares: String,
    /// Where Criterion's page of it is; empty if there is none.
    criterion: String,
    reasons: Vec<crate::analysis::Reason>,
    isolation: String,
    parallel: String,
    last_gain: String,
    remarks: Vec<String>,
    /// One for each run, the first without a title.
    tables: Vec<Table>,
}

struct Table {
    title: String,
    lines: Vec<Cells>,
}

struct Cells {
    name: String,
    cells: Vec<String>,
}

struct Other {
    title: String,
    answer: String,
    trust: String,
}

impl Page {
    pub(super) fn new(
        (run, analysis): &(RunFile, Analysis),
        others: &[(RunFile, Analysis)],
        link: &dyn Fn(&str) -> Option<String>,
    ) -> Page {
        let cpus = run.programs.first().map_or(1, |program| {
            program.header.machine.cpus_allowed.min(program.header.machine.physical_cores).max(1)
        });
        let names = labels(run, others);
        let others_named: Vec<_> =
            names.iter().map(String::as_str).zip(others.iter().map(|(_, analysis)| analysis)).collect();
        let details = run.scenarios.iter().zip(&analysis.scenarios);
        Page {
            style: include_str!("../../../templates/style.css"),
            script: include_str!("../../../templates/table.js"),
            machine: how(run),
            answer: analysis.answer.clone(),
            trust: analysis.trust.clone(),
            others: names.clone(),
            families: families(analysis, others),
            width: 8 + 2 * others.len() + usize::from(!analysis.claims.is_empty()),
            rules: analysis.rules.clone(),
            sweeps: sweeps::draw(analysis),
            scenarios: details
                .map(|(scenario, row)| Detail {
                    criterion: link(&row.name).unwrap_or_default(),
                    ..detail(scenario, row, cpus, &others_named)
                })
                .collect(),
            costs: costs::section(&analysis.costs, place),
            columns: COLUMNS,
            has_claims: !analysis.claims.is_empty(),
            python: analysis.python.clone(),
            counted: counted(&analysis.claims),
            claims: groups(&analysis.claims),
            pitfalls: run.pitfalls.iter().map(shown_pitfall).collect(),
            how: measured_how(run, analysis),
            other_runs: others.iter().map(other).collect(),
        }
    }
}

fn other((run, analysis): &(RunFile, Analysis)) -> Other {
    Other { title: how(run), answer: analysis.answer.clone(), trust: analysis.trust.clone() }
}

fn detail(scenario: &Scenario, row: &Row, cpus: usize, others: &[(&str, &Analysis)]) -> Detail {
    let shown = [(row.serial, "serial"), (row.threads, "threads"), (row.processes, "processes")];
    let panels: Vec<_> = shown
        .into_iter()
        .filter_map(|(index, class)| {
            let measured = &row.variants[index?];
            let record = with_spans(scenario, &measured.name)?;
            let hosts = &record.hosts[..];
            let about = about(class, measured, row.facts.get(index?), scenario.cold) + &on(hosts);
            Some(Panel { spans: record.spans.as_deref()?, class, about, cold: scenario.cold, hosts })
        })
        .collect();
    let of_others = others.iter().filter_map(|(name, analysis)| {
        let row = analysis.scenarios.iter().find(|other| other.name == row.name)?;
        Some(table(format!(", {name}"), row))
    });
    let tables = std::iter::once(table(String::new(), row)).chain(of_others).collect();
    // Where serial takes many times as long, the others are still to be seen.
    let longest = panels.iter().map(Panel::total).max().unwrap_or(1);
    Detail {
        name: row.name.clone(),
        family: row.family.clone(),
        error: row.error.clone().unwrap_or_default(),
        panels: panels.iter().map(|panel| panel.draw(longest)).collect(),
        scaling: scaling::draw(row, cpus),
        shares: shares::draw(row),
        criterion: String::new(),
        reasons: row.reasons.clone(),
        isolation: comparison(&row.isolation, ["processes are faster", "threads are faster"]),
        parallel: comparison(&row.parallel, ["it is faster", "serial is faster"]),
        last_gain: last_gain(row).map(|text| text + ".").unwrap_or_default(),
        remarks: row.remarks.clone(),
        tables,
    }
}

/// What a panel shows, beside the way: the executor, if it is not the way's own, workers, tasks, how long one takes, and after
/// how long the workers were ready where that is outside the clock.
fn about(class: &str, measured: &Measured, facts: Option<&Facts>, cold: bool) -> String {
    let executor =
        if measured.executor == class { String::new() } else { format!("{}, ", measured.executor) };
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let workers = match class {
        "serial" => String::new(),
        _ => format!("{}, ", counted(measured.workers, "worker")),
    };
    let median = facts.and_then(|facts| facts.task);
    let median = median.map_or(String::new(), |median| format!(" of {}", duration(median)));
    let ready = facts.map(|facts| facts.ready).filter(|ready| class != "serial" && !cold && *ready > 0.0);
    let ready = ready.map_or(String::new(), |ready| format!(", ready in {}", duration(ready)));
    format!("{executor}{workers}{}{median}{ready}", counted(measured.tasks, "task"))
}

fn table(title: String, row: &Row) -> Table {
    let mut variants: Vec<_> = row.variants.iter().zip(&row.facts).collect();
    // The records are in the random order of a round.
    variants.sort_by_key(|(measured, _)| (place(&measured.executor), measured.workers, measured.tasks));
    Table { title, lines: variants.into_iter().map(|(measured, facts)| cells(measured, facts)).collect() }
}

/// Where an executor stands in a table.
fn place(executor: &str) -> usize {
    EXECUTORS.iter().position(|name| *name == executor).unwrap_or(EXECUTORS.len())
}

/// The spans of the batch of a variant that were kept.
/// The record of a variant that has spans.
fn with_spans<'a>(scenario: &'a Scenario, name: &str) -> Option<&'a Record> {
    let mut of_variant = scenario.records.iter().filter(|record| variant_name(record, scenario.weak) == name);
    of_variant.find(|record| record.spans.is_some())
}

/// Which hosts the workers are on, if that was noted.
fn on(hosts: &[String]) -> String {
    let mut names = hosts.to_vec();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { String::new() } else { format!(", on {}", names.join(", ")) }
}

fn comparison(comparison: &Comparison, words: [&str; 2]) -> String {
    let Some(interval) = comparison.ratio else { return "not measured".into() };
    let word = match comparison.verdict {
        Verdict::First => format!("clear, {}", words[0]),
        Verdict::Second => format!("clear, {}", words[1]),
        verdict => verdict.word().into(),
    };
    let note = comparison.note.as_ref().map_or(String::new(), |note| format!(" ({note})"));
    format!("{} {word}{note}", shown(interval))
}

fn shown(interval: Interval) -> String {
    format!("{} [{}..{}]", ratio(interval.median), ratio(interval.low), ratio(interval.high))
}

fn cells(measured: &Measured, facts: &Facts) -> Cells {
    let known = |value: Option<f64>, show: fn(f64) -> String| value.map_or("-".into(), show);
    let tasks = measured.tasks.max(1) as f64;
    Cells {
        name: measured.name.clone(),
        cells: vec![
            duration(measured.time_ns),
            measured.speed_up.map_or("-".into(), shown),
            known(measured.cpu_ns, duration),
            known(facts.cores(), |cores| format!("{cores:.2}")),
            known(facts.task, duration),
            duration(facts.ready),
            known(facts.queue, duration),
            known(facts.switches, |switches| format!("{switches:.0}")),
            known(facts.faults.map(|faults| faults / tasks), |faults| format!("{faults:.0}")),
            known(facts.moved_bytes, bytes),
            known(facts.packing, duration),
            known(facts.peak_bytes, bytes),
            measured.rounds.to_string(),
        ],
    }
}
