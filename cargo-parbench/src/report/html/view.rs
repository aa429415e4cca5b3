//! What the page's template is filled with: words and numbers, ready to be shown.

use askama::Template;
use parbench::TaskSpan;

use super::{scaling, shares, timeline::Panel};
use crate::analysis::{Analysis, Comparison, Facts, Interval, Judgement, Measured, Outcome, Row, Verdict};
use crate::drive::variant_name;
use crate::report::claims::{counted, word};
use crate::report::format::{bytes, duration, percent, ratio};
use crate::report::markdown::how;
use crate::report::terminal::{last_gain, pick_words};
use crate::run_file::{RunFile, Scenario, Way};

/// A speed-up of this much fills a bar.
const FULL_BAR: f64 = 4.0;
const BAR_WIDTH: f64 = 112.0;

/// The families of the articles' scenarios.
const ABOUT: [(&str, &str); 7] = [
    ("network", "waiting on a network"),
    ("files", "reading and writing files"),
    ("compute", "computing with next to no data"),
    ("matrix", "kernels on matrices"),
    ("transfer", "moving large data"),
    ("overhead", "the price of the executors"),
    ("isolation", "what threads share and processes do not"),
];

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

#[derive(Template)]
#[template(path = "report.html")]
pub(super) struct Page {
    style: &'static str,
    machine: String,
    answer: String,
    trust: String,
    others: Vec<String>,
    families: Vec<Family>,
    rules: Vec<String>,
    scenarios: Vec<Detail>,
    columns: [&'static str; COLUMNS.len()],
    has_claims: bool,
    counted: String,
    claims: Vec<Group>,
    how: Vec<(&'static str, String)>,
    other_runs: Vec<Other>,
}

struct Family {
    name: String,
    about: &'static str,
    rows: Vec<Line>,
}

struct Line {
    name: String,
    serial: String,
    bars: [Bar; 2],
    pick: String,
    pick_class: &'static str,
    others: Vec<String>,
    why: String,
    outcomes: Vec<Pill>,
}

struct Bar {
    class: &'static str,
    width: f64,
    more: bool,
    text: String,
}

#[derive(Clone, PartialEq)]
struct Pill {
    class: &'static str,
    word: &'static str,
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
    table: Vec<Cells>,
}

struct Cells {
    name: String,
    cells: Vec<String>,
}

struct Group {
    title: String,
    open: bool,
    claims: Vec<Claim>,
}

struct Claim {
    outcome: Pill,
    claim: String,
    articles: String,
    theirs: String,
    ours: String,
    why: String,
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
        let mut families: Vec<Family> = Vec::new();
        for row in &analysis.scenarios {
            if families.last().is_none_or(|family| family.name != row.family) {
                let about = ABOUT.iter().find(|(name, _)| *name == row.family).map_or("", |(_, about)| about);
                families.push(Family { name: row.family.clone(), about, rows: Vec::new() });
            }
            let line = line(row, analysis, others);
            if let Some(family) = families.last_mut() {
                family.rows.push(line);
            }
        }
        let cpus = run.programs.first().map_or(1, |program| {
            program.header.machine.cpus_allowed.min(program.header.machine.physical_cores).max(1)
        });
        let details = run.scenarios.iter().zip(&analysis.scenarios);
        Page {
            style: include_str!("../../../templates/style.css"),
            machine: how(run),
            answer: analysis.answer.clone(),
            trust: analysis.trust.clone(),
            others: others.iter().map(|(run, _)| label(run)).collect(),
            families,
            rules: analysis.rules.clone(),
            scenarios: details.map(|(scenario, row)| detail(scenario, row, cpus, link(&row.name))).collect(),
            columns: COLUMNS,
            has_claims: !analysis.claims.is_empty(),
            counted: counted(&analysis.claims),
            claims: groups(&analysis.claims),
            how: measured_how(run, analysis),
            other_runs: others.iter().map(other).collect(),
        }
    }
}

/// The machine and the build of a run in a few words.
fn label(run: &RunFile) -> String {
    let cpus = run.programs.first().map_or(0, |program| program.header.machine.cpus_allowed);
    format!("{cpus} CPUs, {}", run.build.revision.as_deref().unwrap_or("unknown revision"))
}

fn other((run, analysis): &(RunFile, Analysis)) -> Other {
    Other { title: how(run), answer: analysis.answer.clone(), trust: analysis.trust.clone() }
}

fn line(row: &Row, analysis: &Analysis, others: &[(RunFile, Analysis)]) -> Line {
    let of = |index: Option<usize>| index.map(|index| &row.variants[index]);
    let (way, pick) = pick_words(row);
    let pick_class = match (way, &row.pick) {
        (_, None) => "open",
        (Some(Way::Threads), _) => "threads",
        (Some(Way::Processes), _) => "processes",
        _ => "serial",
    };
    let beside = others.iter().map(|(_, analysis)| {
        let row = analysis.scenarios.iter().find(|other| other.name == row.name);
        row.map_or("-".into(), |row| {
            let variant = row.pick.as_ref().map(|pick| &row.variants[pick.variant]);
            format!("{} {}", pick_words(row).1, gain(variant))
        })
    });
    let why = row.error.as_ref().map(|_| "no verdict: a batch failed".to_string());
    let why = why.or_else(|| {
        row.reasons
            .iter()
            .find(|reason| reason.cause != "unclear")
            .map(|reason| format!("{}: {}", reason.way, reason.sentence))
    });
    let about = analysis.claims.iter().filter(|claim| claim.scenarios.contains(&row.name));
    let mut outcomes: Vec<_> =
        about.map(|claim| pill(claim.outcome)).filter(|pill| pill.word != "not measured").collect();
    outcomes.sort_by_key(|pill| pill.word);
    outcomes.dedup();
    Line {
        name: row.name.clone(),
        serial: of(row.serial).map_or("-".into(), |serial| duration(serial.time_ns)),
        bars: [bar(of(row.threads), "threads"), bar(of(row.processes), "processes")],
        pick: pick.replace('/', " / "),
        pick_class,
        others: beside.collect(),
        why: why.unwrap_or_default(),
        outcomes,
    }
}

fn bar(measured: Option<&Measured>, class: &'static str) -> Bar {
    let speed_up = measured.and_then(|measured| measured.speed_up).map_or(0.0, |speed_up| speed_up.median);
    let width = (speed_up / FULL_BAR).min(1.0) * BAR_WIDTH;
    Bar { class, width: (width * 10.0).round() / 10.0, more: speed_up > FULL_BAR, text: gain(measured) }
}

fn gain(measured: Option<&Measured>) -> String {
    measured.and_then(|measured| measured.speed_up).map_or("-".into(), |speed_up| ratio(speed_up.median))
}

fn detail(scenario: &Scenario, row: &Row, cpus: usize, criterion: Option<String>) -> Detail {
    let shown = [(row.serial, "serial"), (row.threads, "threads"), (row.processes, "processes")];
    let panels: Vec<_> = shown
        .into_iter()
        .filter_map(|(index, class)| {
            let title = row.variants[index?].name.clone();
            Some(Panel { spans: spans(scenario, &title)?, title, class })
        })
        .collect();
    // Where serial takes many times as long, the others are still to be seen.
    let longest = panels.iter().map(Panel::total).max().unwrap_or(1);
    Detail {
        name: row.name.clone(),
        family: row.family.clone(),
        error: row.error.clone().unwrap_or_default(),
        panels: panels.iter().map(|panel| panel.draw(longest)).collect(),
        scaling: scaling::draw(row, cpus),
        shares: shares::draw(row),
        criterion: criterion.unwrap_or_default(),
        reasons: row.reasons.clone(),
        isolation: comparison(&row.isolation, ["processes are faster", "threads are faster"]),
        parallel: comparison(&row.parallel, ["it is faster", "serial is faster"]),
        last_gain: last_gain(row).map(|text| text + ".").unwrap_or_default(),
        table: row.variants.iter().zip(&row.facts).map(|(measured, facts)| cells(measured, facts)).collect(),
    }
}

/// The spans of the batch of a variant that were kept.
fn spans<'a>(scenario: &'a Scenario, name: &str) -> Option<&'a [TaskSpan]> {
    let mut of_variant = scenario.records.iter().filter(|record| variant_name(record, scenario.weak) == name);
    of_variant.find_map(|record| record.spans.as_deref())
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

fn pill(outcome: Outcome) -> Pill {
    let class = match outcome {
        Outcome::Holds => "holds",
        Outcome::Refuted => "refuted",
        Outcome::Unclear => "unclear",
        Outcome::Reported => "reported",
        Outcome::NotMeasured => "notmeasured",
    };
    Pill { class, word: word(outcome) }
}

/// What the GIL made true first, then the rest by article.
fn groups(claims: &[Judgement]) -> Vec<Group> {
    let group = |title: &str, open, wanted: &dyn Fn(&Judgement) -> bool| {
        let claims: Vec<_> = claims.iter().filter(|claim| wanted(claim)).map(claim).collect();
        Group { title: format!("{title} ({})", claims.len()), open, claims }
    };
    let mut groups = vec![group("What Python's global lock made true", true, &|claim| claim.gil)];
    let mut articles: Vec<&String> = claims.iter().filter_map(|claim| claim.articles.first()).collect();
    articles.sort();
    articles.dedup();
    for article in articles {
        groups.push(group(&format!("Article {article}"), false, &|claim| {
            !claim.gil && claim.articles.first() == Some(article)
        }));
    }
    groups.retain(|group| !group.claims.is_empty());
    groups
}

fn claim(judgement: &Judgement) -> Claim {
    Claim {
        outcome: pill(judgement.outcome),
        claim: judgement.claim.clone(),
        articles: judgement.articles.join(", "),
        theirs: judgement.article.clone().unwrap_or_default(),
        ours: judgement.ours.clone().unwrap_or_default(),
        why: judgement.why.clone(),
    }
}

fn measured_how(run: &RunFile, analysis: &Analysis) -> Vec<(&'static str, String)> {
    let header = run.programs.first().map(|program| &program.header);
    let known = |value: Option<String>| value.unwrap_or_else(|| "unknown".into());
    let machine = header.map(|header| &header.machine);
    let kind = if run.options.quick { "quick, differences of 20 %" } else { "full" };
    vec![
        (
            "kind",
            format!(
                "{kind}; {} launches of {} rounds, size {}",
                run.options.launches, run.options.rounds, run.options.size
            ),
        ),
        ("processor", known(machine.and_then(|machine| machine.cpu.clone()))),
        (
            "CPUs",
            machine.map_or("unknown".into(), |machine| {
                let quota = machine.cpu_quota.map_or("none".into(), |quota| format!("{quota:.2} CPUs"));
                format!(
                    "{} allowed, {} physical cores, quota {quota}",
                    machine.cpus_allowed, machine.physical_cores
                )
            }),
        ),
        (
            "memory",
            known(machine.and_then(|machine| machine.memory_bytes).map(|memory| bytes(memory as f64))),
        ),
        ("system", known(machine.and_then(|machine| machine.system.clone()))),
        (
            "allocator",
            header
                .and_then(|header| header.allocator.clone())
                .unwrap_or_else(|| "the system's own policy".into()),
        ),
        ("compiler", known(run.build.rustc.clone())),
        ("profile", run.build.profile.clone()),
        (
            "revision",
            known(run.build.revision.clone())
                + if run.build.dirty == Some(true) { ", with changes" } else { "" },
        ),
        (
            "load",
            format!(
                "{} before, {} after",
                known(run.load_before.map(|load| format!("{load:.2}"))),
                known(run.load_after.map(|load| format!("{load:.2}")))
            ),
        ),
        (
            "control",
            analysis.control.map_or("none".into(), |[middle, largest]| {
                format!("{} in the median, {} at most", percent(middle), percent(largest))
            }),
        ),
        ("seed", run.options.seed.to_string()),
        ("run", run.id.clone()),
    ]
}
