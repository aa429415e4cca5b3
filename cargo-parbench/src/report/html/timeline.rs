//! The articles' own picture: when each task of a batch started and stopped.

use std::fmt::Write;

use parbench::TaskSpan;

use super::{coordinate, escaped};
use crate::report::format::duration;

/// Above this many tasks there is a lane for each worker in place of one for each task.
const MAX_LINES: usize = 200;
const WIDTH: f64 = 390.0;
/// Room at the right for the number of the whole.
const MARGIN: f64 = 62.0;
const TOP: f64 = 20.0;

/// One panel.
pub(super) struct Panel<'a> {
    /// `serial`, `threads` or `processes`: its name and its colour.
    pub(super) class: &'static str,
    /// Executor, workers and tasks.
    pub(super) about: String,
    pub(super) spans: &'a [TaskSpan],
}

impl Panel<'_> {
    /// From the beginning of the batch to the last stop, ns: not to the stop of the last task.
    pub(super) fn total(&self) -> u64 {
        let end = self.spans.iter().map(|span| span.stopped).max().unwrap_or(0);
        end.saturating_sub(self.began())
    }

    fn began(&self) -> u64 {
        self.spans.iter().map(|span| span.sent).min().unwrap_or(0)
    }

    /// Draws the panel on an axis that ends at `longest`, ns.
    pub(super) fn draw(&self, longest: u64) -> String {
        let by_task = self.spans.len() <= MAX_LINES;
        let line_of = |span: &TaskSpan| if by_task { span.task as usize } else { usize::from(span.worker) };
        let lines = self.spans.iter().map(line_of).max().map_or(1, |last| last + 1);
        let step = (150.0 / lines as f64).clamp(1.2, 11.0);
        let thick = (step - 1.0).max(step * 0.7).min(9.0);
        let height = TOP + step * lines as f64 + 22.0;
        let scale = (WIDTH - MARGIN) / longest.max(1) as f64;
        let x = |ns: u64| ns.saturating_sub(self.began()) as f64 * scale;
        let mut spans: Vec<_> = self.spans.to_vec();
        spans.sort_by_key(|span| (line_of(span), span.started));
        let (mut bars, mut pale) = (Path::default(), Path::default());
        for span in &spans {
            let y = TOP + step * (line_of(span) as f64 + 0.5);
            bars.add(x(span.started), x(span.stopped), y);
            if x(span.received) - x(span.stopped) > 0.3 {
                pale.add(x(span.stopped), x(span.received), y);
            }
        }
        let total = self.total();
        let (whole, text) = ((total as f64 * scale).max(1.0), duration(total as f64));
        let axis = axis(longest, scale, height);
        let colour = format!("var(--{})", self.class);
        let what = if by_task { "a line for each task" } else { "a lane for each worker" };
        let about = escaped(&self.about);
        format!(
            "<figure><figcaption><b class=\"pick {class}\">{class}</b> <span class=\"soft\">{about}</span></figcaption>\
             <svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\"><title>Timeline, {class}</title><desc>{about}; {what}; \
             the whole takes {text}.</desc>{axis}<rect x=\"0\" y=\"3\" width=\"{whole}\" height=\"12\" fill=\"{colour}\"/>\
             <text class=\"ink\" x=\"{label}\" y=\"13\">{text}</text>\
             <g transform=\"scale(.5)\"><path d=\"{pale}\" stroke=\"{colour}\" stroke-opacity=\".35\" stroke-width=\"{thick}\"/>\
             <path d=\"{bars}\" stroke=\"{colour}\" stroke-opacity=\".8\" stroke-width=\"{thick}\"/></g></svg></figure>",
            class = self.class,
            height = coordinate(height),
            whole = coordinate(whole),
            label = coordinate(whole + 4.0),
            pale = pale.0,
            bars = bars.0,
            thick = coordinate(2.0 * thick),
        )
    }
}

/// Horizontal strokes, in half pixels: whole numbers are short. Those that touch are one.
#[derive(Default)]
struct Path(String, Option<(i64, i64, i64)>);

impl Path {
    fn add(&mut self, from: f64, to: f64, y: f64) {
        let [from, to, y] = [from, to, y].map(|value| (2.0 * value).round() as i64);
        if let Some((begin, end, line)) = &mut self.1
            && *line == y
            && from <= *end
        {
            // Thousands of short tasks would fill the page.
            let longer = to.max(*end) - *begin;
            *end = to.max(*end);
            if let Some(at) = self.0.rfind('h') {
                self.0.truncate(at + 1);
                let _ = write!(self.0, "{longer}");
            }
            return;
        }
        // Even the shortest is to be seen, but for what is nothing.
        let to = to.max(from + 1);
        let _ = write!(self.0, "M{from} {y}h{}", to - from);
        self.1 = Some((from, to, y));
    }
}

/// Four ticks, the last one with the unit.
fn axis(longest: u64, scale: f64, height: f64) -> String {
    let mut text = String::new();
    for tick in 0..=3 {
        let ns = longest as f64 * f64::from(tick) / 3.0;
        let x = coordinate(ns * scale);
        let (top, bottom, y) = (coordinate(TOP - 2.0), coordinate(height - 16.0), coordinate(height - 4.0));
        let anchor = if tick == 0 { "start" } else { "middle" };
        let label = if tick == 0 { "0".into() } else { duration(ns) };
        let _ = write!(
            text,
            "<path d=\"M{x} {top}V{bottom}\" stroke=\"var(--line)\"/><text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{label}</text>"
        );
    }
    text
}
