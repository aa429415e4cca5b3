//! What starting workers, handing over tasks and moving data cost: a table, and from which tasks on threads and processes gain.

use std::fmt::Write;

use super::coordinate;
use crate::analysis::{Cost, Costs, Price};
use crate::report::format::{bytes, duration, ratio};
use crate::run_file::Way;

const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 34.0;
const RIGHT: f64 = 16.0;
const BOTTOM: f64 = 22.0;
/// The axis of the tasks: from 1 us on, six times ten times as long.
const SHORTEST: f64 = 1e3;
const DECADES: u32 = 6;
/// Points of a line for each of them.
const POINTS: u32 = 8;

type Column = (&'static str, fn(&Cost) -> Option<String>);

/// Those without any value are left out.
const COLUMNS: [Column; 6] = [
    ("a worker is ready after (all scenarios)", |cost| cost.ready.map(duration)),
    ("started and stopped, each (worker_start)", |cost| cost.start.map(|price| duration(price.each))),
    ("memory of each, beyond a thread's", |cost| cost.memory.map(bytes)),
    ("handing over a task (empty_task)", |cost| cost.task.map(|price| duration(price.each))),
    ("private arrays in and out (array_transfer)", |cost| cost.private.map(rate)),
    ("shared ones (array_transfer_shared)", |cost| cost.shared.map(rate)),
];

/// The section, ready to be shown.
pub(super) struct Section {
    pub(super) columns: Vec<&'static str>,
    pub(super) lines: Vec<(String, Vec<String>)>,
    pub(super) figure: String,
    /// Whether rates are among the columns: they have to be explained.
    pub(super) moves: bool,
}

/// The section; `None` if the run tells nothing of it. `place` is that of an executor in a table.
pub(super) fn section(costs: &Costs, place: impl Fn(&str) -> usize) -> Option<Section> {
    let columns: Vec<_> = COLUMNS
        .into_iter()
        .filter(|(_, value)| costs.executors.iter().any(|cost| value(cost).is_some()))
        .collect();
    let mut executors: Vec<_> = costs.executors.iter().collect();
    executors.sort_by_key(|cost| place(&cost.executor));
    let line = |cost: &&Cost| {
        let values: Vec<_> = columns.iter().map(|(_, value)| value(cost)).collect();
        let is_known = values.iter().any(Option::is_some);
        let cells = values.into_iter().map(|value| value.unwrap_or_else(|| "-".into())).collect();
        is_known.then(|| (cost.executor.clone(), cells))
    };
    let lines: Vec<_> = executors.iter().filter_map(line).collect();
    (!lines.is_empty()).then(|| Section {
        columns: columns.into_iter().map(|(title, _)| title).collect(),
        lines,
        figure: figure(costs).unwrap_or_default(),
        moves: costs.executors.iter().any(|cost| cost.private.is_some()),
    })
}

fn rate(bytes_a_second: f64) -> String {
    bytes(bytes_a_second) + "/s"
}

/// A line of the figure.
struct Line {
    words: String,
    class: &'static str,
    is_started: bool,
    price: Price,
}

/// What is left of the speed-up, by the time of a task; `None` unless both ways' prices of a task are known.
fn figure(costs: &Costs) -> Option<String> {
    let of = |way, is_started: bool| {
        let price: fn(&Cost) -> Option<Price> = if is_started { |cost| cost.start } else { |cost| cost.task };
        let (cost, price) = costs.cheapest(way, price)?;
        let class = if way == Way::Threads { "threads" } else { "processes" };
        let executor = if cost.executor == class { String::new() } else { format!(" ({})", cost.executor) };
        let when = if is_started { "started for each task" } else { "ready" };
        Some(Line { words: format!("{class}{executor}, {when}"), class, is_started, price })
    };
    let mut lines = vec![of(Way::Threads, false)?, of(Way::Processes, false)?];
    if let (Some(threads), Some(processes)) = (of(Way::Threads, true), of(Way::Processes, true)) {
        lines.extend([threads, processes]);
    }
    let most = lines.iter().map(|line| line.price.workers).max()?;
    let top = most as f64 * 1.08;
    let x = |task: f64| LEFT + (task / SHORTEST).log10() / f64::from(DECADES) * (WIDTH - LEFT - RIGHT);
    let y = |speed_up: f64| 4.0 + (HEIGHT - BOTTOM - 4.0) * (1.0 - speed_up / top);
    let (mut svg, mut legend, mut words) = (String::new(), String::new(), Vec::new());
    for decade in 0..=DECADES {
        let task = SHORTEST * 10_f64.powi(decade as i32);
        let (at, bottom) = (coordinate(x(task)), coordinate(HEIGHT - BOTTOM));
        let _ = write!(
            svg,
            "<path d=\"M{at} 4V{bottom}\" stroke=\"var(--line)\"/><text x=\"{at}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 6.0,
            short(task)
        );
    }
    for tick in (1..=most).filter(|tick| most < 6 || tick.is_power_of_two()) {
        let at = coordinate(y(tick as f64));
        let (stroke, dash) = if tick == 1 { ("ink", " stroke-dasharray=\"1 3\"") } else { ("line", "") };
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {at}H{}\" stroke=\"var(--{stroke})\"{dash}/><text x=\"28\" y=\"{at}\" dy=\"4\" text-anchor=\"end\">{tick}x</text>",
            WIDTH - RIGHT
        );
    }
    for line in &lines {
        let points = (0..=DECADES * POINTS).map(|point| {
            let task = SHORTEST * 10_f64.powf(f64::from(point) / f64::from(POINTS));
            format!("{} {}", coordinate(x(task)), coordinate(y(line.price.speed_up(task))))
        });
        let dash = if line.is_started { " stroke-dasharray=\"6 4\"" } else { "" };
        let colour = format!("var(--{})", line.class);
        let _ = write!(
            svg,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>",
            points.collect::<Vec<_>>().join("L")
        );
        let fill = if line.is_started { "var(--paper)" } else { &colour };
        let even = line.price.breaks_even();
        if let Some(even) = even.filter(|even| *even >= SHORTEST) {
            svg += &mark(line.class, &colour, fill, x(even), y(1.0));
        }
        let symbol = match (line.class, line.is_started) {
            ("threads", false) => "●",
            ("threads", true) => "○",
            (_, false) => "■",
            (_, true) => "□",
        };
        let even = even.map_or("never as fast as serial".into(), |even| {
            format!("as fast as serial at {}", duration(even))
        });
        let text = format!(
            "{}: {even}, {} at {}",
            line.words,
            ratio(line.price.workers as f64 / 1.05),
            duration(line.price.pays_from())
        );
        let _ =
            write!(legend, "<br><span class=\"{}\">{symbol}</span> {}", line.class, super::escaped(&text));
        words.push(text);
    }
    Some(format!(
        "<figure class=\"costs\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\"><title>Speed-up over serial by the time of a task</title>\
         <desc>{}.</desc>{svg}</svg><figcaption class=\"soft\">Speed-up over serial by the time of a task, with {most} workers. The lines are computed \
         from the measured prices, as n·t / (t + n·price) for n workers and tasks of t; only the prices were measured. Marks: as fast as serial.{legend}</figcaption></figure>",
        super::escaped(&words.join("; "))
    ))
}

/// A time on the axis.
fn short(ns: f64) -> String {
    duration(ns).replace(".00", "").replace(".0", "")
}

/// Where a line crosses serial.
fn mark(class: &str, colour: &str, fill: &str, x: f64, y: f64) -> String {
    let (x, y) = (coordinate(x), coordinate(y));
    match class {
        "threads" => format!(
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"5\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        ),
        _ => format!(
            "<path d=\"M{x} {y}m-5-5h10v10h-10z\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        ),
    }
}
