//! Two run files, one after the other: a trend, and never a gate.

use std::path::Path;

use anyhow::{Result, ensure};

use super::print;
use crate::analysis::{Analysis, Measured, Row};
use crate::report::format::{duration, signed_percent};
use crate::run_file::RunFile;

/// Prints how the judged variants of two runs differ.
///
/// # Errors
/// If one of the files cannot be read.
pub(super) fn run(base: &Path, head: &Path) -> Result<u8> {
    for path in [base, head] {
        ensure!(
            path.extension().is_some_and(|end| end == "json"),
            "`{}` is no run file, and the other is one: compare two run files or two revisions",
            path.display()
        );
    }
    let [base, head] = [RunFile::read(base)?, RunFile::read(head)?];
    print(&trend(&base, &head))?;
    Ok(0)
}

fn trend(base: &RunFile, head: &RunFile) -> String {
    let mut text = format!(
        "parbench: a trend, not a gate: {}\n\n{:<24}{:<14}{:>10}{:>10}{:>9}\n",
        why(base, head),
        "scenario",
        "variant",
        "base",
        "head",
        "change"
    );
    let [of_base, of_head] = [Analysis::of(base), Analysis::of(head)];
    let mut count = 0;
    for row in &of_head.scenarios {
        let Some(before) = of_base.scenarios.iter().find(|other| other.name == row.name) else { continue };
        for after in judged(row) {
            let Some(before) = before.variants.iter().find(|other| is_same(other, after)) else { continue };
            count += 1;
            text += &format!(
                "{:<24}{:<14}{:>10}{:>10}{:>9}\n",
                row.name,
                after.name,
                duration(before.time_ns),
                duration(after.time_ns),
                signed_percent(after.time_ns / before.time_ns - 1.0)
            );
        }
    }
    if count == 0 {
        return "parbench: nothing to compare: no variant was judged in both runs\n".into();
    }
    text + "\nA gate measures both in turns: `cargo parbench compare --base REV --head REV`.\n"
}

/// The variants that were judged.
fn judged(row: &Row) -> impl Iterator<Item = &Measured> {
    [row.serial, row.threads, row.processes].into_iter().flatten().map(|at| &row.variants[at])
}

fn is_same(one: &Measured, other: &Measured) -> bool {
    one.name == other.name && one.tasks == other.tasks && one.time_ns > 0.0
}

/// Why two runs cannot be a gate.
fn why(base: &RunFile, head: &RunFile) -> &'static str {
    let machine = |run: &RunFile| run.programs.first().map(|program| program.header.machine.clone());
    let kind = |run: &RunFile| {
        machine(run).map(|machine| (machine.cpu, machine.cpus_allowed, machine.memory_bytes, machine.system))
    };
    if kind(base) != kind(head) {
        "the machine differs"
    } else if base.options.size != head.options.size {
        "the sizes differ"
    } else {
        "one was measured after the other"
    }
}

#[cfg(test)]
mod tests {
    use parbench::Shape;
    use parbench::measure::Record;

    use super::*;
    use crate::run_file::{Judged, Program, Scenario, Way};

    fn run(ns: u64) -> RunFile {
        let mut record = Record::default();
        (record.executor, record.shape) = ("threads".into(), Shape::from(2));
        (record.tasks, record.batches, record.wall_ns) = (4, 1, ns);
        let scenario = Scenario {
            name: "words".into(),
            judged: Judged { threads: Some("threads/2".into()), processes: None },
            records: vec![record],
            ..Scenario::default()
        };
        let ways = [("threads".to_string(), Way::Threads)].into();
        RunFile {
            programs: vec![Program { ways, ..Program::default() }],
            scenarios: vec![scenario],
            ..RunFile::default()
        }
    }

    #[test]
    fn two_runs_are_a_trend() {
        let text = trend(&run(1_000_000), &run(1_100_000));
        assert!(text.contains("a trend, not a gate: one was measured after the other"), "{text}");
        assert!(text.contains("words") && text.contains("+10\u{a0}%"), "{text}");
        let mut other = run(1);
        other.programs[0].header.machine.cpus_allowed += 1;
        assert!(trend(&run(1), &other).contains("the machine differs"));
        assert!(trend(&run(1), &RunFile::default()).contains("nothing to compare"));
    }
}
