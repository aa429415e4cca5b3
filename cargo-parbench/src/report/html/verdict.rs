//! The first table: a line for each scenario, short enough that all stand on one screen.

use super::claims::{Pill, pill_of};
use crate::analysis::{Analysis, Measured, Row};
use crate::report::format::{duration, ratio};
use crate::report::terminal::pick_words;
use crate::run_file::{RunFile, Way};

/// A speed-up of this much fills a bar.
const FULL_BAR: f64 = 4.0;
const BAR_WIDTH: f64 = 112.0;
/// A reason of more characters is shown up to its first part; the whole stands with its scenario.
const LONG_REASON: usize = 58;

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

pub(super) struct Family {
    pub(super) name: String,
    pub(super) about: &'static str,
    pub(super) rows: Vec<Line>,
}

pub(super) struct Line {
    pub(super) name: String,
    pub(super) serial: String,
    pub(super) bars: [Bar; 2],
    /// That of the first run, and of the others.
    pub(super) pick: Picked,
    pub(super) others: Vec<Picked>,
    pub(super) why: String,
    pub(super) outcome: Option<Pill>,
}

pub(super) struct Picked {
    pub(super) class: &'static str,
    pub(super) words: String,
    pub(super) gain: String,
}

pub(super) struct Bar {
    pub(super) class: &'static str,
    pub(super) width: f64,
    pub(super) more: bool,
    pub(super) text: String,
}

/// The lines by family, in the order of the run.
pub(super) fn families(analysis: &Analysis, others: &[(RunFile, Analysis)]) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for row in &analysis.scenarios {
        let line = line(row, analysis, others);
        match families.last_mut() {
            Some(family) if family.name == row.family => family.rows.push(line),
            _ => {
                let about = ABOUT.iter().find(|(name, _)| *name == row.family).map_or("", |(_, about)| about);
                families.push(Family { name: row.family.clone(), about, rows: vec![line] });
            }
        }
    }
    families
}

/// The machine and the build of each run in a few words; where those are the same, when it began.
pub(super) fn labels(first: &RunFile, others: &[(RunFile, Analysis)]) -> Vec<String> {
    let words = |run: &RunFile| {
        let cpus = run.programs.first().map_or(0, |program| program.header.machine.cpus_allowed);
        format!("{cpus} CPUs, {}", run.build.revision.as_deref().unwrap_or("unknown revision"))
    };
    let runs: Vec<_> = std::iter::once(first).chain(others.iter().map(|(run, _)| run)).collect();
    let same = |run: &RunFile| runs.iter().filter(|other| words(other) == words(run)).count() > 1;
    runs[1..].iter().map(|run| if same(run) { run.id.clone() } else { words(run) }).collect()
}

fn line(row: &Row, analysis: &Analysis, others: &[(RunFile, Analysis)]) -> Line {
    let of = |index: Option<usize>| index.map(|index| &row.variants[index]);
    let beside = others.iter().map(|(_, analysis)| {
        let row = analysis.scenarios.iter().find(|other| other.name == row.name);
        row.map_or(Picked { class: "open", words: "not measured".into(), gain: "-".into() }, picked)
    });
    let why = match &row.error {
        Some(_) => "no verdict: a batch failed".into(),
        None => row
            .reasons
            .iter()
            .find(|reason| reason.cause != "unclear")
            .map(|reason| format!("{}: {}", reason.way, short(&reason.sentence)))
            .unwrap_or_default(),
    };
    Line {
        name: row.name.clone(),
        serial: of(row.serial).map_or("-".into(), |serial| duration(serial.time_ns)),
        bars: [bar(of(row.threads), "threads"), bar(of(row.processes), "processes")],
        pick: picked(row),
        others: beside.collect(),
        why,
        outcome: pill_of(&row.name, analysis),
    }
}

fn picked(row: &Row) -> Picked {
    let (way, words) = pick_words(row);
    let class = match (way, &row.pick) {
        (_, None) => "open",
        (Some(Way::Threads), _) => "threads",
        (Some(Way::Processes), _) => "processes",
        _ => "serial",
    };
    let variant = row.pick.as_ref().map(|pick| &row.variants[pick.variant]);
    Picked { class, words: words.replace('/', " / "), gain: gain(variant) }
}

/// A sentence that fits a line of the table: whole, or up to the last comma, colon, semicolon or bracket that leaves it short.
fn short(sentence: &str) -> &str {
    if sentence.chars().count() <= LONG_REASON {
        return sentence;
    }
    let ends = [": ", "; ", " (", ", "].into_iter().flat_map(|end| sentence.match_indices(end));
    let mut ends: Vec<_> = ends.map(|(end, _)| end).collect();
    ends.sort_unstable();
    let fits = |end: &&usize| sentence[..**end].chars().count() <= LONG_REASON;
    ends.iter().rev().find(fits).map_or(sentence, |end| &sentence[..*end])
}

fn bar(measured: Option<&Measured>, class: &'static str) -> Bar {
    let speed_up = measured.and_then(|measured| measured.speed_up).map_or(0.0, |speed_up| speed_up.median);
    let width = (speed_up / FULL_BAR).min(1.0) * BAR_WIDTH;
    Bar { class, width: (width * 10.0).round() / 10.0, more: speed_up > FULL_BAR, text: gain(measured) }
}

fn gain(measured: Option<&Measured>) -> String {
    measured.and_then(|measured| measured.speed_up).map_or("-".into(), |speed_up| ratio(speed_up.median))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_reason_is_shortened_and_only_between_its_parts() {
        assert_eq!(short("a task takes 7 ns: bundle tasks"), "a task takes 7 ns: bundle tasks");
        let long = "x".repeat(LONG_REASON);
        assert_eq!(short(&format!("a lock: {long}")), "a lock");
        assert_eq!(short(&format!("4.0 MB are moved (a lot); {long}")), "4.0 MB are moved (a lot)");
        assert_eq!(short(&format!("{long}.")), format!("{long}."));
    }
}
