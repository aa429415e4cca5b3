//! A comparison of two programs, in the terminal and as a comment on a pull request.

use std::fmt::Write;

use crate::gate::comparison::{Comparison, Row, Side, Signal};
use crate::gate::judge::Word;
use crate::gate::summary::{time, title, trust};
use crate::report::format::{percent, signed_percent};

/// What marks the comment, so that the next one takes its place.
const MARK: &str = "<!-- parbench -->";
/// What a comment may have, with room for what is around it.
const MAX_BYTES: usize = 60_000;

/// For the terminal.
pub(crate) fn text(comparison: &Comparison) -> String {
    let mut text = format!("parbench: {}\n", title(comparison));
    let _ = writeln!(text, "base {}  {}", comparison.base.title(), comparison.base.subject);
    let _ = writeln!(text, "head {}  {}", comparison.head.title(), comparison.head.subject);
    let shown = |row: &&Row| row.word != Word::NoClearChange || !row.differences.is_empty();
    let rows: Vec<_> = comparison.rows.iter().filter(shown).collect();
    if !rows.is_empty() {
        text.push('\n');
    }
    for row in rows {
        let _ = writeln!(text, "{:<16} {}", row.word.text(), row.title());
        let _ = writeln!(text, "{:<16} {}", "", what(row));
    }
    text.push('\n');
    for line in remarks(comparison) {
        let _ = writeln!(text, "{line}");
    }
    let _ = writeln!(text, "Repeat with: {}", again(comparison));
    text
}

/// The comment: what is slower, and everything else folded.
pub(crate) fn markdown(comparison: &Comparison) -> String {
    let mut text = format!("{MARK}\n### parbench: {}\n\n", title(comparison));
    let _ = writeln!(text, "{} → {}\n", comparison.base.title(), comparison.head.title());
    let slower: Vec<_> = comparison.of(Word::Slower).chain(comparison.broken()).collect();
    if !slower.is_empty() {
        text += "| row | base | head | change | blocks | what |\n|---|--:|--:|--:|--:|---|\n";
        slower.iter().for_each(|row| line(&mut text, row));
        text.push('\n');
    }
    let _ = writeln!(text, "{}\n", trust(comparison));
    let others: Vec<_> =
        comparison.rows.iter().filter(|row| !slower.iter().any(|slow| slow.title() == row.title())).collect();
    if !others.is_empty() {
        let _ = writeln!(text, "<details><summary>Other rows: {}</summary>\n", others.len());
        text += "| row | base | head | change | blocks | what |\n|---|--:|--:|--:|--:|---|\n";
        for (at, row) in others.iter().enumerate() {
            // A table that is cut off in the middle of a row is none.
            if text.len() > MAX_BYTES - 4_000 {
                let _ = writeln!(text, "\n{} more rows are in the comparison's file.", others.len() - at);
                break;
            }
            line(&mut text, row);
        }
        text += "\n</details>\n\n";
    }
    text += "<details><summary>How, and how to repeat it</summary>\n\n";
    remarks(comparison).iter().skip(1).for_each(|remark| _ = writeln!(text, "{}\n", cell(remark)));
    let _ = writeln!(text, "```sh\n{}\n```\n\n</details>", again(comparison));
    text
}

fn line(text: &mut String, row: &Row) {
    let change = row.ratio().map_or("-".into(), |ratio| {
        format!(
            "{} [{}..{}]",
            signed_percent(ratio.median - 1.0),
            signed_percent(ratio.low - 1.0),
            signed_percent(ratio.high - 1.0)
        )
    });
    let (slower, blocks) = row.slower_in();
    let _ = writeln!(
        text,
        "| `{}` | {} | {} | {change} | {slower} of {blocks} | {} |",
        row.title(),
        time(row, Side::Base),
        time(row, Side::Head),
        cell(&format!("{}: {}", row.word.text(), what(row))),
    );
}

/// As it may stand in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ").replace('<', "&lt;")
}

/// What is to be said of a row.
fn what(row: &Row) -> String {
    let mut parts = row.changes.clone();
    if let Some((side, error)) = &row.error {
        parts.push(format!("{}: {error}", if *side == Side::Head { "head" } else { "base" }));
    }
    if parts.is_empty() {
        let signal = if row.signal == Signal::Cpu { "CPU time" } else { "wall time" };
        parts.push(match row.ratio() {
            Some(ratio) => format!(
                "{signal} {} [{}..{}]",
                signed_percent(ratio.median - 1.0),
                signed_percent(ratio.low - 1.0),
                signed_percent(ratio.high - 1.0)
            ),
            None => "nothing measured".into(),
        });
    }
    parts.extend(row.differences.iter().cloned());
    parts.join("; ")
}

/// What is to be known besides; the first is about the machine.
fn remarks(comparison: &Comparison) -> Vec<String> {
    let mut remarks = vec![trust(comparison)];
    let list = |names: &[String]| names.join(", ");
    for (what, names) in [
        ("Only in base: ", &comparison.gone),
        ("Only in head: ", &comparison.new),
        ("Left out by the budget: ", &comparison.left_out),
    ] {
        if !names.is_empty() {
            remarks.push(format!("{what}{}.", list(names)));
        }
    }
    remarks.extend(comparison.notes.iter().map(|note| format!("Note: {note}.")));
    if comparison.layouts > 0 {
        remarks.push(format!(
            "What changed in the first seven blocks was measured in seven more, linked in {0} orders of sections, and what had \
             changed there as well in a last seven, linked in {0} others.",
            comparison.layouts
        ));
    }
    let bound = |signal| comparison.rows.iter().find(|row| row.signal == signal).and_then(|row| row.bound);
    for (signal, what) in [(Signal::Cpu, "CPU time"), (Signal::Wall, "wall time")] {
        if let Some(bound) = bound(signal) {
            remarks.push(format!(
                "By {what}: slower is more than {} in all three stages; no clear change rules out {}.",
                percent(bound.threshold),
                percent(bound.promise)
            ));
        }
    }
    remarks
}

/// The command that measures the same again.
fn again(comparison: &Comparison) -> String {
    format!("cargo parbench compare --base {} --head {}", comparison.base.commit, comparison.head.commit)
}
