//! The articles' own picture: when each task of a batch started and stopped.

use std::collections::BTreeMap;
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
/// Lanes of few workers need not fill the room that many tasks have.
const THICKEST_LANE: f64 = 22.0;

/// One panel.
pub(super) struct Panel<'a> {
    /// `serial`, `threads` or `processes`: its name and its colour.
    pub(super) class: &'static str,
    /// Executor, workers and tasks.
    pub(super) about: String,
    /// Starting the workers is in the clock.
    pub(super) cold: bool,
    pub(super) spans: &'a [TaskSpan],
    /// The host of each worker, if they may be on several.
    pub(super) hosts: &'a [String],
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
        let line_of_task = |span: &TaskSpan| span.task as usize;
        let line_of_worker = |span: &TaskSpan| usize::from(span.worker);
        let by_task = self.spans.len() <= MAX_LINES;
        let lines = if by_task { self.lines(line_of_task) } else { self.lines(line_of_worker) };
        let step = (150.0 / lines as f64).clamp(1.2, 11.0);
        let room = step * lines as f64;
        let height = TOP + room + 22.0;
        let scale = (WIDTH - MARGIN) / longest.max(1) as f64;
        let (drawn, what) = if by_task {
            // The page's switch shows one of the two. Lanes have the room that lines of tasks need.
            let workers = self.lines(line_of_worker);
            let lane = (room / workers as f64).min(THICKEST_LANE);
            let lanes = self.strokes(scale, lane, &line_of_worker);
            let tasks = self.strokes(scale, step, &line_of_task);
            let drawn = format!("<g class=\"t\">{tasks}</g><g class=\"l\">{lanes}</g>");
            (drawn, "a line for each task, or a lane for each worker")
        } else {
            (self.strokes(scale, step, &line_of_worker), "a lane for each worker")
        };
        let total = self.total();
        let (whole, text) = ((total as f64 * scale).max(1.0), duration(total as f64));
        let axis = axis(longest, scale, height);
        let colour = format!("var(--{})", self.class);
        let about = escaped(&self.about);
        format!(
            "<figure><figcaption><b class=\"pick {class}\">{class}</b> <span class=\"soft\">{about}</span></figcaption>\
             <svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\"><title>Timeline, {class}</title><desc>{about}; {what}; \
             the whole takes {text}.</desc>{axis}<rect x=\"0\" y=\"3\" width=\"{whole}\" height=\"12\" fill=\"{colour}\"/>\
             <text class=\"ink\" x=\"{label}\" y=\"13\">{text}</text>\
             <g transform=\"scale(.5)\" stroke=\"{colour}\">{drawn}</g></svg></figure>",
            class = self.class,
            height = coordinate(height),
            whole = coordinate(whole),
            label = coordinate(whole + 4.0),
        )
    }

    /// How many lines there are, one below the other.
    fn lines(&self, line_of: impl Fn(&TaskSpan) -> usize) -> usize {
        self.spans.iter().map(line_of).max().map_or(1, |last| last + 1)
    }

    /// The tasks on their lines, which are `step` apart, in half pixels; before and behind each what is known of its way.
    fn strokes(&self, scale: f64, step: f64, line_of: &dyn Fn(&TaskSpan) -> usize) -> String {
        let x = |ns: u64| ns.saturating_sub(self.began()) as f64 * scale;
        let mut spans: Vec<_> = self.spans.iter().zip(self.free()).collect();
        spans.sort_by_key(|(span, _)| (line_of(span), span.started));
        let (mut bars, mut pale, mut start) = (BTreeMap::new(), Path::default(), Path::default());
        for (span, free) in spans {
            let y = TOP + step * (line_of(span) as f64 + 0.5);
            match free {
                Free::Never => {}
                Free::Starting => start.add_if_seen(x(span.sent), x(span.started), y),
                Free::Since(free) => pale.add_if_seen(x(free), x(span.started), y),
            }
            let host = self.hosts.get(usize::from(span.worker)).map_or("", String::as_str);
            bars.entry(host).or_insert_with(Path::default).add(x(span.started), x(span.stopped), y);
            pale.add_if_seen(x(span.stopped), x(span.received), y);
        }
        let thick = coordinate(2.0 * (step - 1.0).max(step * 0.7).min(step.max(11.0) - 2.0));
        let stroke = |path: Path, style: &str| match &path.0[..] {
            "" => String::new(),
            path => format!("<path d=\"{path}\" {style}/>"),
        };
        let mut strokes =
            vec![stroke(start, "stroke-dasharray=\"3 4\""), stroke(pale, "stroke-opacity=\".35\"")];
        let several = bars.len() > 1;
        for (host, bars) in bars {
            let drawn = stroke(bars, "stroke-opacity=\".8\"");
            // Under the pointer, a bar names its host.
            strokes.push(if several {
                format!("<g><title>{}</title>{drawn}</g>", escaped(host))
            } else {
                drawn
            });
        }
        format!("<g stroke-width=\"{thick}\">{}</g>", strokes.concat())
    }

    /// Since when the worker of each task had nothing else to do: from the beginning of the batch, then from its stop of the
    /// task before. What the task waited for meanwhile is its input, or its turn.
    fn free(&self) -> Vec<Free> {
        let mut order: Vec<_> = (0..self.spans.len()).collect();
        order.sort_by_key(|index| (self.spans[*index].worker, self.spans[*index].started));
        let mut free = vec![Free::Never; self.spans.len()];
        if self.class == "serial" {
            // Nothing is handed over.
            return free;
        }
        let mut before: Option<&TaskSpan> = None;
        for index in order {
            let span = &self.spans[index];
            free[index] = match before.filter(|before| before.worker == span.worker) {
                Some(before) => Free::Since(before.stopped),
                None if self.cold => Free::Starting,
                None => Free::Since(span.sent),
            };
            before = Some(span);
        }
        free
    }
}

/// What is known of the time before a task.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Free {
    /// Nothing.
    Never,
    /// Its worker was being started: the clock of a cold scenario begins before that.
    Starting,
    /// Its worker was free since then, ns.
    Since(u64),
}

/// Horizontal strokes, in half pixels: whole numbers are short. Those that touch are one.
#[derive(Default)]
struct Path(String, Option<(i64, i64, i64)>);

impl Path {
    /// Only what is as long as a third of a pixel: there is much of it.
    fn add_if_seen(&mut self, from: f64, to: f64, y: f64) {
        if to - from > 0.3 {
            self.add(from, to, y);
        }
    }

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
        // From where the last one ended: the numbers are shorter.
        let (x, line) = self.1.map_or((0, 0), |(_, end, line)| (end, line));
        let space = if y < line { "" } else { " " };
        let _ = write!(self.0, "m{}{space}{}h{}", from - x, y - line, to - from);
        self.1 = Some((from, to, y));
    }
}

/// Four ticks, all but the first with a unit.
fn axis(longest: u64, scale: f64, height: f64) -> String {
    let (mut lines, mut labels) = (String::new(), String::new());
    let (top, bottom, y) = (coordinate(TOP - 2.0), coordinate(height - 16.0), coordinate(height - 4.0));
    for tick in 0..=3 {
        let ns = longest as f64 * f64::from(tick) / 3.0;
        let x = coordinate(ns * scale);
        let _ = write!(lines, "M{x} {top}V{bottom}");
        if tick > 0 {
            let _ = write!(labels, "<text x=\"{x}\" y=\"{y}\">{}</text>", duration(ns));
        }
    }
    format!(
        "<path d=\"{lines}\" stroke=\"var(--line)\"/><text x=\"0\" y=\"{y}\">0</text><g text-anchor=\"middle\">{labels}</g>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(task: u32, worker: u16, started: u64, stopped: u64, received: u64) -> TaskSpan {
        let mut span = TaskSpan::default();
        (span.task, span.worker, span.sent) = (task, worker, 1_000);
        (span.started, span.stopped, span.received) = (started, stopped, received);
        span
    }

    #[test]
    fn before_a_task_its_worker_was_started_or_free() {
        let spans = [
            span(0, 0, 1_400, 2_000, 2_100),
            span(1, 1, 1_500, 1_600, 1_600),
            span(2, 0, 2_200, 3_000, 3_000),
        ];
        let free =
            |class, cold| Panel { class, about: String::new(), cold, spans: &spans, hosts: &[] }.free();
        let since = Free::Since;
        assert_eq!(free("processes", false), [since(1_000), since(1_000), since(2_000)]);
        assert_eq!(free("processes", true), [Free::Starting, Free::Starting, since(2_000)]);
        assert_eq!(free("serial", true), [Free::Never; 3]);

        let drawn = |cold| {
            Panel { class: "threads", about: String::new(), cold, spans: &spans, hosts: &[] }.draw(2_000)
        };
        assert!(drawn(true).contains("stroke-dasharray") && !drawn(false).contains("stroke-dasharray"));
        // Of 328 pixels of 2 us: from the beginning, from the stop, and until it was received, on the lines of tasks.
        assert!(
            drawn(false).contains("<path d=\"m0 51h131m197 0h33m-361 22h164m164 22h66\""),
            "{}",
            drawn(false)
        );
        // Each bar is in the group of its worker's host, if there are several.
        let hosts = ["near".to_string(), "far<>".to_string()];
        let drawn_on = |hosts: &[String]| {
            Panel { class: "threads", about: String::new(), cold: false, spans: &spans, hosts }.draw(2_000)
        };
        assert!(drawn_on(&hosts).contains("<g><title>far&lt;&gt;</title><path d="), "{}", drawn_on(&hosts));
        assert!(!drawn_on(&["one".to_string(), "one".to_string()]).contains("<g><title>"));
        // In lanes the last two are behind each other on the first worker's.
        assert!(drawn(false).contains("<path d=\"m0 57h131m197 0h66m-394 33h164\""), "{}", drawn(false));
    }
}
