//! Speed-up against the number of workers, with the ideal, and what independent copies reach.

use std::fmt::Write;

use super::coordinate;
use crate::analysis::{Measured, Row};
use crate::report::format::ratio;

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 165.0;
const LEFT: f64 = 30.0;
const BOTTOM: f64 = 20.0;
/// Series stand this far beside each other: their intervals would cover each other.
const BESIDE: f64 = 7.0;

/// The executors that are drawn: name, colour, shape.
const SERIES: [(&str, &str, &str); 9] = [
    ("threads", "threads", "circle"),
    ("rayon", "threads", "ring"),
    ("async", "threads", "diamond"),
    ("async_threads", "threads", "hollow diamond"),
    ("spawn_blocking", "threads", "ring"),
    ("processes", "processes", "square"),
    ("forkserver", "processes", "frame"),
    ("hybrid", "processes", "diamond"),
    ("ceiling", "ceiling", "cross"),
];

/// Draws a row's variants; empty if there is no speed-up to draw.
pub(super) fn draw(row: &Row, cpus: usize) -> String {
    let drawn = |variant: &&Measured| variant.speed_up.is_some() && variant.executor != "serial";
    let mut counts: Vec<_> = row.variants.iter().filter(drawn).map(|variant| variant.workers).collect();
    if counts.is_empty() {
        return String::new();
    }
    // The ideal begins there, also where one worker was not measured.
    counts.push(1);
    counts.sort_unstable();
    counts.dedup();
    let most = row.variants.iter().filter_map(|variant| variant.speed_up).map(|speed_up| speed_up.high);
    let top = most.fold(1.2, f64::max) * 1.15;
    // Counts are doublings, mostly: the same distance from one to the next.
    let place = |workers: usize| counts.iter().position(|count| *count == workers).unwrap_or(0) as f64 + 0.5;
    let x = |workers: usize| LEFT + place(workers) * (WIDTH - LEFT) / counts.len() as f64;
    let y = |speed_up: f64| (HEIGHT - BOTTOM) * (1.0 - (speed_up / top).min(1.0)) + 4.0;
    let mut svg = String::new();
    if let Some(first) = counts.iter().find(|count| **count > cpus) {
        let left = x(*first) - (WIDTH - LEFT) / counts.len() as f64 / 2.0;
        let _ = write!(
            svg,
            "<rect x=\"{}\" y=\"4\" width=\"{}\" height=\"{}\" fill=\"var(--panel)\"/><text x=\"{}\" y=\"{}\" text-anchor=\"end\">more workers than CPUs</text>",
            coordinate(left),
            coordinate(WIDTH - left),
            coordinate(HEIGHT - BOTTOM),
            coordinate(WIDTH),
            coordinate(HEIGHT - BOTTOM)
        );
    }
    let whole = (1..=top.floor() as usize)
        .filter(|tick| top < 6.0 || (tick.is_power_of_two() && *tick as f64 * 12.0 > top));
    for tick in whole {
        let at = coordinate(y(tick as f64));
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {at}H{WIDTH}\" stroke=\"var(--line)\"/><text x=\"26\" y=\"{at}\" dy=\"4\" text-anchor=\"end\">{tick}x</text>"
        );
    }
    let _ = write!(
        svg,
        "<path d=\"M{}\" fill=\"none\" stroke=\"var(--soft)\" stroke-dasharray=\"3 3\"/>",
        ideal(&counts, top, x, y)
    );
    for count in &counts {
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{count}</text>",
            coordinate(x(*count)),
            coordinate(HEIGHT - BOTTOM + 18.0)
        );
    }
    let shown: Vec<_> = SERIES
        .into_iter()
        .filter(|(executor, ..)| {
            row.variants.iter().filter(drawn).any(|variant| variant.executor == *executor)
        })
        .collect();
    let (mut legend, mut numbers) = (String::new(), Vec::new());
    for (index, (executor, colour, shape)) in shown.iter().enumerate() {
        let word = if *executor == "ceiling" { "independent copies (measured ceiling)" } else { executor };
        let _ = write!(
            legend,
            "<span class=\"key\"><span class=\"{colour}\">{}</span> {word}</span> · ",
            symbol(shape)
        );
        let aside = (index as f64 - (shown.len() - 1) as f64 / 2.0) * BESIDE;
        for variant in row.variants.iter().filter(|variant| variant.executor == *executor) {
            let Some(speed_up) = variant.speed_up else { continue };
            numbers.push(format!("{} {}", variant.name, ratio(speed_up.median)));
            let heights = [speed_up.median, speed_up.low, speed_up.high].map(y);
            svg += &mark(shape, colour, x(variant.workers) + aside, heights);
        }
    }
    format!(
        "<figure><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\"><title>Speed-up of {name} against workers</title>\
         <desc>{numbers}.</desc>{svg}</svg><figcaption class=\"soft\">Speed-up by workers: {legend}dashed: ideal</figcaption></figure>",
        name = super::escaped(&row.name),
        numbers = super::escaped(&numbers.join(", ")),
    )
}

/// The line of as many times as workers, up to where it leaves the figure.
fn ideal(counts: &[usize], top: f64, x: impl Fn(usize) -> f64, y: impl Fn(f64) -> f64) -> String {
    let mut points = Vec::new();
    for (index, &count) in counts.iter().enumerate() {
        if count as f64 <= top {
            points.push(format!("{} {}", coordinate(x(count)), coordinate(y(count as f64))));
            continue;
        }
        if let Some(&before) = index.checked_sub(1).and_then(|index| counts.get(index)) {
            let part = (top - before as f64) / (count - before) as f64;
            let left = x(before) + part * (x(count) - x(before));
            points.push(format!("{} {}", coordinate(left), coordinate(y(top))));
        }
        break;
    }
    points.join("L")
}

/// A shape as a letter, for the legend.
pub(super) fn symbol(shape: &str) -> &'static str {
    match shape {
        "circle" => "●",
        "ring" => "○",
        "square" => "■",
        "frame" => "□",
        "diamond" => "◆",
        "hollow diamond" => "◇",
        _ => "×",
    }
}

/// A point and its interval.
pub(super) fn mark(shape: &str, colour: &str, x: f64, [y, low, high]: [f64; 3]) -> String {
    let (x, y) = (coordinate(x), coordinate(y));
    let line =
        format!("<path d=\"M{x} {}V{}\" stroke=\"var(--{colour})\"/>", coordinate(low), coordinate(high));
    let point = match shape {
        "circle" => format!("<circle cx=\"{x}\" cy=\"{y}\" r=\"4\" fill=\"var(--{colour})\"/>"),
        "ring" => format!(
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"3.5\" fill=\"var(--paper)\" stroke=\"var(--{colour})\"/>"
        ),
        "square" | "frame" | "diamond" | "hollow diamond" => {
            let is_full = matches!(shape, "square" | "diamond");
            let fill = if is_full { format!("var(--{colour})") } else { "var(--paper)".into() };
            let path = if shape.ends_with("diamond") { "m-5 0l5-5l5 5l-5 5z" } else { "m-4-4h8v8h-8z" };
            format!("<path d=\"M{x} {y}{path}\" fill=\"{fill}\" stroke=\"var(--{colour})\"/>")
        }
        _ => format!("<path d=\"M{x} {y}m-4-4l8 8m0-8l-8 8\" stroke=\"var(--{colour})\"/>"),
    };
    line + &point
}
