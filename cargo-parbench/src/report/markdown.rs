//! A run as Markdown: everything that the tables of the page hold, for an issue or a comment, and for programs that read it.

use std::fmt::Write;

use super::claims::{python, word};
use super::format::{duration, percent, ratio};
use super::terminal::{last_gain, pick_words};
use crate::analysis::{Analysis, Interval, Measured, Row};
use crate::run_file::{Pitfall, RunFile};

/// One run, or several side by side.
pub(crate) fn markdown(runs: &[(RunFile, Analysis)]) -> String {
    let mut text = String::from("# Serially, on threads or in processes?\n");
    if runs.len() > 1 {
        text += &side_by_side(runs);
    }
    for (run, analysis) in runs {
        text += &one(run, analysis);
    }
    text.replace('\u{a0}', " ")
}

fn one(run: &RunFile, analysis: &Analysis) -> String {
    let mut text = format!("\n**{}**\n\n{}\n\n", escaped(&analysis.answer), escaped(&analysis.trust));
    text += &table(analysis);
    if !analysis.rules.is_empty() {
        text.push('\n');
        analysis.rules.iter().for_each(|rule| text += &format!("- {}\n", escaped(rule)));
    }
    for row in &analysis.scenarios {
        row.remarks.iter().for_each(|remark| text += &format!("\n`{}`: {}.\n", row.name, escaped(remark)));
    }
    text += "\n<details><summary>All variants</summary>\n\n";
    text += "| scenario | variant | time | speed-up | CPU time | cores | faults a task | rounds |\n|---|---|--:|--:|--:|--:|--:|--:|\n";
    for row in &analysis.scenarios {
        for (measured, facts) in row.variants.iter().zip(&row.facts) {
            let known = |value: Option<f64>, show: fn(f64) -> String| value.map_or("-".into(), show);
            let faults = facts.faults.map(|faults| faults / measured.tasks.max(1) as f64);
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                row.name,
                measured.name,
                duration(measured.time_ns),
                measured.speed_up.map_or("-".into(), interval),
                known(measured.cpu_ns, duration),
                known(facts.cores(), |cores| format!("{cores:.2}")),
                known(faults, |faults| format!("{faults:.0}")),
                measured.rounds
            );
        }
    }
    text += "\n</details>\n\n<details><summary>Verdicts</summary>\n\n";
    text += "| scenario | processes over threads | verdict | the better over serial | verdict | control |\n|---|--:|---|--:|---|--:|\n";
    for row in &analysis.scenarios {
        text += &verdicts(row);
    }
    text += "\n</details>\n";
    if !analysis.claims.is_empty() {
        text += &claims(analysis);
    }
    if !run.pitfalls.is_empty() {
        text += &pitfalls(&run.pitfalls);
    }
    text += &format!("\n{}\n", escaped(&how(run)));
    text
}

/// A line for each, without its program.
fn pitfalls(pitfalls: &[Pitfall]) -> String {
    let mut text = String::from("\n<details><summary>Pitfalls</summary>\n\n");
    for pitfall in pitfalls {
        let field = |name: &str| pitfall.record.as_ref().and_then(|record| record[name].as_str());
        let outcome = field("outcome").unwrap_or("no outcome").replace('_', " ");
        let cure = field("cure").map_or(String::new(), |cure| format!("; cure: {cure}"));
        let line = format!("{} ({}){cure}", outcome, pitfall.status);
        let _ = writeln!(text, "- `{}`: {}", pitfall.name, escaped(&line));
    }
    text + "\n</details>\n"
}

/// The first table of a run: README has the one of the recorded run.
pub(crate) fn table(analysis: &Analysis) -> String {
    let mut text = String::from(
        "| scenario | serial | threads | | processes | | pick | why not more |\n|---|--:|--:|--:|--:|--:|---|---|\n",
    );
    for row in &analysis.scenarios {
        let of = |index: Option<usize>| index.map(|index| &row.variants[index]);
        let cells = |measured: Option<&Measured>| match measured {
            Some(measured) => format!("{} | {}", duration(measured.time_ns), gain(measured)),
            None => "- | -".into(),
        };
        let serial = of(row.serial).map_or("-".into(), |serial| duration(serial.time_ns));
        let why: Vec<_> = row
            .reasons
            .iter()
            .filter(|reason| reason.cause != "unclear")
            .map(|reason| format!("{}: {}", reason.way, reason.sentence))
            .collect();
        let why: Vec<_> = why.into_iter().chain(last_gain(row)).collect();
        let why = row.error.clone().unwrap_or_else(|| why.join("; "));
        let (threads, processes) = (cells(of(row.threads)), cells(of(row.processes)));
        let pick = pick_words(row).1;
        let _ = writeln!(
            text,
            "| `{}` | {serial} | {threads} | {processes} | {pick} | {} |",
            row.name,
            escaped(&why)
        );
    }
    text.replace('\u{a0}', " ")
}

fn verdicts(row: &Row) -> String {
    let of = |comparison: &crate::analysis::Comparison| {
        let ratio = comparison.ratio.map_or("-".into(), interval);
        let note = comparison.note.as_ref().map_or(String::new(), |note| format!(" ({note})"));
        format!("{ratio} | {}{}", comparison.verdict.word(), escaped(&note))
    };
    let control = row.control.map_or("-".into(), percent);
    format!("| {} | {} | {} | {control} |\n", row.name, of(&row.isolation), of(&row.parallel))
}

fn claims(analysis: &Analysis) -> String {
    let mut text = String::from("\n<details><summary>The articles' claims</summary>\n\n");
    let has_python = analysis.python.is_some();
    if let Some(python) = &analysis.python {
        text += &format!("{}\n\n", escaped(python));
    }
    text += if has_python {
        "| | claim | articles | article then | Python here | Rust here | |\n|---|---|---|---|---|---|---|\n"
    } else {
        "| | claim | articles | theirs | ours | |\n|---|---|---|---|---|---|\n"
    };
    for claim in &analysis.claims {
        let outcome = word(claim.outcome);
        let articles = claim.articles.join(", ");
        let mut cells = vec![&claim.claim, articles.as_str(), claim.article.as_deref().unwrap_or("")];
        let python = python(claim).unwrap_or_default();
        if has_python {
            cells.push(&python);
        }
        cells.extend([claim.ours.as_deref().unwrap_or(""), &claim.why]);
        let cells: Vec<_> = cells.into_iter().map(escaped).collect();
        let _ = writeln!(text, "| {outcome} | {} |", cells.join(" | "));
    }
    text + "\n</details>\n"
}

/// How it was measured, in a line.
pub(crate) fn how(run: &RunFile) -> String {
    let header = run.programs.first().map(|program| &program.header);
    let machine = header.map(|header| &header.machine);
    let known = |value: Option<&String>| value.cloned().unwrap_or_else(|| "unknown".into());
    format!(
        "{} CPUs ({}), {}, {}, revision {}{}; size {}, {} of {} rounds; run {}.",
        machine.map_or(0, |machine| machine.cpus_allowed),
        known(machine.and_then(|machine| machine.cpu.as_ref())),
        known(machine.and_then(|machine| machine.system.as_ref())),
        known(run.build.rustc.as_ref()),
        known(run.build.revision.as_ref()),
        if run.build.dirty == Some(true) { " with changes" } else { "" },
        run.options.size,
        if run.options.launches == 1 {
            "one launch".into()
        } else {
            format!("{} launches", run.options.launches)
        },
        run.options.rounds,
        run.id
    )
}

/// A column of picks for each run: machines, or builds.
fn side_by_side(runs: &[(RunFile, Analysis)]) -> String {
    let mut text = String::from("\n| scenario |");
    for (number, (run, _)) in (1..).zip(runs) {
        let cpus = run.programs.first().map_or(0, |program| program.header.machine.cpus_allowed);
        let _ =
            write!(text, " {number}: {cpus} CPUs, {} |", run.build.revision.as_deref().unwrap_or("unknown"));
    }
    text += "\n|---|";
    runs.iter().for_each(|_| text += "---|");
    text.push('\n');
    let mut names: Vec<&str> = Vec::new();
    for row in runs.iter().flat_map(|(_, analysis)| &analysis.scenarios) {
        if !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
    }
    for name in names {
        let _ = write!(text, "| {name} |");
        for (_, analysis) in runs {
            let row = analysis.scenarios.iter().find(|row| row.name == name);
            let _ = write!(text, " {} |", row.map_or("-".into(), picked));
        }
        text.push('\n');
    }
    text
}

/// The pick and its speed-up.
fn picked(row: &Row) -> String {
    let variant = row.pick.as_ref().map(|pick| &row.variants[pick.variant]);
    let gain = variant.map_or(String::new(), |variant| format!(" {}", gain(variant)));
    format!("{}{gain}", pick_words(row).1)
}

fn gain(measured: &Measured) -> String {
    measured.speed_up.map_or("-".into(), |speed_up| ratio(speed_up.median))
}

fn interval(interval: Interval) -> String {
    format!("{} [{}..{}]", ratio(interval.median), ratio(interval.low), ratio(interval.high))
}

/// Text that ends no cell and starts no mark-up.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace(['\n', '\r'], " ")
}
