//! Scenarios that differ in a number only, such as `sort/1000` and `sort/100000`: the speed-up against that number.

use std::fmt::Write;

use super::scaling::{mark, symbol};
use super::{coordinate, escaped};
use crate::analysis::{Analysis, Row};
use crate::report::format::ratio;

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 36.0;
const BOTTOM: f64 = 22.0;
/// The two ways stand this far beside each other: their intervals would cover each other.
const BESIDE: f64 = 9.0;

/// A figure for each name that several scenarios have, in their order.
pub(super) fn draw(analysis: &Analysis) -> Vec<String> {
    let mut sweeps: Vec<(&str, Vec<(u64, &Row)>)> = Vec::new();
    for row in &analysis.scenarios {
        let Some((name, parameter)) = row.name.rsplit_once('/') else { continue };
        let Ok(parameter) = parameter.parse() else { continue };
        match sweeps.iter_mut().find(|(other, _)| *other == name) {
            Some((_, rows)) => rows.push((parameter, row)),
            None => sweeps.push((name, vec![(parameter, row)])),
        }
    }
    sweeps.retain(|(_, rows)| rows.len() > 1);
    sweeps.iter_mut().for_each(|(_, rows)| rows.sort_by_key(|(parameter, _)| *parameter));
    sweeps.iter().map(|(name, rows)| figure(name, rows)).collect()
}

fn figure(name: &str, rows: &[(u64, &Row)]) -> String {
    let speed_up = |row: &Row, judged: Option<usize>| row.variants[judged?].speed_up;
    let highest = rows.iter().flat_map(|(_, row)| [row.threads, row.processes].map(|way| speed_up(row, way)));
    let top = highest.flatten().map(|speed_up| speed_up.high).fold(1.2, f64::max) * 1.15;
    let step = (WIDTH - LEFT) / rows.len() as f64;
    let y = |speed_up: f64| (HEIGHT - BOTTOM) * (1.0 - (speed_up / top).min(1.0)) + 4.0;
    let (mut svg, mut numbers) = (String::new(), Vec::new());
    for tick in 1..=top.floor() as usize {
        // Where there are many, only doublings.
        if top >= 6.0 && !tick.is_power_of_two() {
            continue;
        }
        let at = coordinate(y(tick as f64));
        // Above this line, more workers pay.
        let colour = if tick == 1 { "soft" } else { "line" };
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {at}H{WIDTH}\" stroke=\"var(--{colour})\"/><text x=\"30\" y=\"{at}\" dy=\"4\" text-anchor=\"end\">{tick}x</text>"
        );
    }
    for (index, (parameter, row)) in rows.iter().enumerate() {
        let x = LEFT + (index as f64 + 0.5) * step;
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{parameter}</text>",
            coordinate(x),
            coordinate(HEIGHT - BOTTOM + 18.0)
        );
        for (way, colour, shape, aside) in
            [(row.threads, "threads", "circle", -BESIDE), (row.processes, "processes", "square", BESIDE)]
        {
            let (Some(judged), Some(speed_up)) = (way, speed_up(row, way)) else { continue };
            numbers.push(format!("{parameter}: {} {}", row.variants[judged].name, ratio(speed_up.median)));
            svg += &mark(shape, colour, x + aside, [speed_up.median, speed_up.low, speed_up.high].map(y));
        }
    }
    format!(
        "<figure><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\"><title>Speed-up of {name} against its parameter</title>\
         <desc>{numbers}.</desc>{svg}</svg><figcaption class=\"soft\"><b>{name}</b>: speed-up over serial by parameter: \
         <span class=\"key\"><span class=\"threads\">{}</span> threads</span> · <span class=\"key\"><span \
         class=\"processes\">{}</span> processes</span>, each with the workers that were judged</figcaption></figure>",
        symbol("circle"),
        symbol("square"),
        name = escaped(name),
        numbers = escaped(&numbers.join(", ")),
    )
}
