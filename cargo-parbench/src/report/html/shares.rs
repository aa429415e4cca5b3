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
        let mut x = LEFT;
        for (share, opacity) in [(lanes.work, ".9"), (lanes.gaps, ".4"), (lanes.tail, ".12")] {
            let width = share * (WIDTH - LEFT);
            let _ = write!(
                bars,
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"12\" fill=\"var(--{class})\" fill-opacity=\"{opacity}\" \
                 stroke=\"var(--{class})\" stroke-width=\".7\"/>",
                coordinate(x),
                coordinate(y + 1.0),
                coordinate(width.max(0.0))
            );
            x += width;
        }
        words.push(format!(
            "{name}: {} in tasks, {} between them, {} behind the last",
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
        "<figure><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\"><title>Where the workers' time went</title><desc>{}.</desc>{bars}\
         <text x=\"{LEFT}\" y=\"{}\">in tasks, between them, behind the last</text></svg></figure>",
        words.join("; "),
        coordinate(y + 10.0)
    )
}
