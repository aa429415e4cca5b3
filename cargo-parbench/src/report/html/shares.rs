//! Where the time of the workers went: in tasks, between them, and behind the last one.

use std::fmt::Write;

use super::coordinate;
use crate::analysis::Row;
use crate::report::format::percent;

const WIDTH: f64 = 300.0;
/// Room at the left for the variant's name.
const LEFT: f64 = 96.0;

/// A bar for each judged variant; empty if no spans were kept.
pub(super) fn draw(row: &Row) -> String {
    let (mut bars, mut words) = (String::new(), Vec::new());
    let mut y = 0.0;
    for (index, class) in [(row.threads, "threads"), (row.processes, "processes")] {
        let Some((index, lanes)) = index.and_then(|index| Some((index, row.facts[index].lanes?))) else {
            continue;
        };
        let name = super::escaped(&row.variants[index].name);
        let _ = write!(bars, "<text x=\"0\" y=\"{}\">{name}</text>", coordinate(y + 11.0));
        let _ = write!(bars, "<g fill=\"var(--{class})\" stroke=\"var(--{class})\">");
        let mut x = LEFT;
        for (share, opacity) in [(lanes.work, ".9"), (lanes.gaps, ".4"), (lanes.tail, ".1")] {
            let width = share.max(0.0) * (WIDTH - LEFT);
            let (left, wide) = (coordinate(x), coordinate(width));
            let _ = write!(
                bars,
                "<path d=\"M{left} {}h{wide}v12h-{wide}z\" fill-opacity=\"{opacity}\"/>",
                y + 1.0
            );
            x += width;
        }
        bars += "</g>";
        words.push(format!(
            "{name} {}, {}, {}",
            percent(lanes.work),
            percent(lanes.gaps),
            percent(lanes.tail)
        ));
        y += 18.0;
    }
    if words.is_empty() {
        return String::new();
    }
    let height = coordinate(y + 14.0);
    format!(
        "<figure><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\"><title>Where the workers' time went</title><desc>In tasks, between them, behind the last: {}.</desc>{bars}\
         <text x=\"0\" y=\"{}\">Workers' time: in tasks, between, behind the last</text></svg></figure>",
        words.join("; "),
        coordinate(y + 10.0)
    )
}
