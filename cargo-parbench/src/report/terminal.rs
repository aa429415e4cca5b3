//! The table for a terminal: a line for each scenario, at most 80 columns.

use std::io::IsTerminal;

use super::format::{duration, percent, ratio};
use crate::analysis::{Analysis, Measured, Row, Verdict};
use crate::run_file::{RunFile, Way};

/// How a terminal shows a pick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) colour: bool,
    /// Narrower than this, times give way to ratios.
    pub(crate) columns: usize,
}

impl Style {
    /// Of stdout: colours on a terminal, unless `NO_COLOR` is set.
    pub(crate) fn of_stdout() -> Style {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let columns =
            rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_col));
        let columns = if columns > 0 { columns } else { 80 };
        Style { colour: std::io::stdout().is_terminal() && !plain, columns }
    }

    fn paint(self, way: Option<Way>, text: &str) -> String {
        let code = match way {
            Some(Way::Threads) => "34",
            Some(Way::Processes) => "33",
            _ => "1",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }
}

/// The verdict of a run as text.
pub(crate) fn terminal(run: &RunFile, analysis: &Analysis, style: Style) -> String {
    let mut lines = vec![headline(run, analysis)];
    let wide = style.columns >= 80;
    let name = analysis.scenarios.iter().map(|row| row.name.len()).max().unwrap_or(0).max(8);
    lines.push(match wide {
        true => format!(
            "{:name$} {:>8} {:>8} {:>7} {:>8} {:>7}  pick",
            "", "serial", "threads", "", "process", ""
        ),
        false => format!("{:name$} {:>7} {:>7}  pick", "", "threads", "process"),
    });
    for row in &analysis.scenarios {
        lines.push(line(row, name, wide, style));
    }
    lines.push(String::new());
    for text in [("Answer", &analysis.answer), ("Trust", &analysis.trust)] {
        lines.push(wrapped(text.0, text.1, 8, style.columns));
    }
    for rule in &analysis.rules {
        lines.push(wrapped("Rule", rule, 8, style.columns));
    }
    for row in &analysis.scenarios {
        for remark in &row.remarks {
            lines.push(wrapped("Note", &format!("{}: {remark}", row.name), 8, style.columns));
        }
    }
    // Some terminals show a space that does not break as something else.
    (lines.join("\n") + "\n").replace('\u{a0}', " ")
}

fn headline(run: &RunFile, analysis: &Analysis) -> String {
    let machine = run.programs.first().map(|program| &program.header.machine);
    let cpus = machine.map_or(0, |machine| machine.cpus_allowed);
    let rounds = run.options.rounds * run.options.launches;
    format!(
        "parbench: {} scenario{} on {cpus} CPU{}, {rounds} rounds in {} launch{}, size {}",
        analysis.scenarios.len(),
        if analysis.scenarios.len() == 1 { "" } else { "s" },
        if cpus == 1 { "" } else { "s" },
        run.options.launches,
        if run.options.launches == 1 { "" } else { "es" },
        run.options.size
    )
}

fn line(row: &Row, name: usize, wide: bool, style: Style) -> String {
    if row.error.is_some() {
        return format!("{:name$} no verdict: a batch failed", row.name);
    }
    let of = |index: Option<usize>| index.map(|index| &row.variants[index]);
    let time =
        |measured: Option<&Measured>| measured.map_or("-".into(), |measured| duration(measured.time_ns));
    let gain = |measured: Option<&Measured>| {
        measured.and_then(|measured| measured.speed_up).map_or("-".into(), |speed_up| ratio(speed_up.median))
    };
    let (threads, processes) = (of(row.threads), of(row.processes));
    let numbers = match wide {
        true => format!(
            "{:>8} {:>8} {:>7} {:>8} {:>7}",
            time(of(row.serial)),
            time(threads),
            gain(threads),
            time(processes),
            gain(processes)
        ),
        false => format!("{:>7} {:>7}", gain(threads), gain(processes)),
    };
    format!("{:name$} {numbers}  {}", row.name, pick(row, style))
}

/// The pick in a word or two, with the number of workers.
fn pick(row: &Row, style: Style) -> String {
    let (way, text) = pick_words(row);
    style.paint(way, &text)
}

/// The pick's way, and its words without colour.
pub(crate) fn pick_words(row: &Row) -> (Option<Way>, String) {
    let Some(pick) = &row.pick else {
        let word = if row.isolation.verdict == Verdict::None { "no verdict" } else { "open" };
        return (None, word.into());
    };
    let variant = &row.variants[pick.variant];
    let at_least = if pick.at_least { "+" } else { "" };
    match variant.way {
        Some(Way::Serial) | None => (variant.way, "serial".into()),
        _ if pick.either => (None, format!("either/{}{at_least}", variant.workers)),
        Some(_) => (variant.way, format!("{}{at_least}", variant.name)),
    }
}

/// What the last few per cent would cost, if something is a little faster than the pick.
pub(crate) fn last_gain(row: &Row) -> Option<String> {
    let pick = row.pick.as_ref()?;
    let fastest = &row.variants[pick.fastest];
    // Below this, it is noise.
    (pick.fastest != pick.variant && pick.gain >= 0.01).then(|| {
        let cost = pick.cost.map_or(String::new(), |cost| match cost >= 0.0 {
            true => format!(", for {} more CPU time", percent(cost)),
            false => format!(", for {} less CPU time", percent(-cost)),
        });
        format!("{} is {} faster{cost}", fastest.name, percent(pick.gain))
    })
}

/// A sentence behind a word, wrapped with an indent.
pub(super) fn wrapped(word: &str, text: &str, indent: usize, columns: usize) -> String {
    let mut lines = vec![format!("{word:indent$}")];
    let mut length = indent;
    for part in text.split(' ') {
        let width = part.chars().count();
        if length + width + 1 > columns && length > indent {
            lines.push(" ".repeat(indent));
            length = indent;
        }
        let line = lines.last_mut().expect("there is one");
        if length > indent {
            line.push(' ');
            length += 1;
        }
        line.push_str(part);
        length += width;
    }
    lines.join("\n")
}
