//! The table after Criterion's lines: what was measured, at a glance.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::executors::Isolation;
use crate::measure::variant::Variant;

/// Batches of a variant at least: with fewer, Criterion has only tried it.
const BATCHES: usize = 5;

/// The times of all batches that were measured.
#[derive(Default)]
pub(super) struct Summary {
    scenarios: Vec<Rows>,
}

/// What was measured of a scenario.
struct Rows {
    name: &'static str,
    weak: bool,
    variants: Vec<(Variant, Vec<Duration>)>,
}

impl Summary {
    /// The variants that are measured from here on are of this scenario.
    pub(super) fn begin(&mut self, name: &'static str, weak: bool) {
        self.scenarios.push(Rows { name, weak, variants: Vec::new() });
    }

    /// Adds batches of a variant of the last scenario.
    pub(super) fn add(&mut self, variant: Variant, batches: &[Duration]) {
        let Some(rows) = self.scenarios.last_mut() else { return };
        match rows.variants.last_mut() {
            Some((last, times)) if *last == variant => times.extend(batches),
            _ => rows.variants.push((variant, batches.to_vec())),
        }
    }

    /// The table: for each scenario serial's time, and the best speed-up of every executor with its workers; empty if
    /// nothing was measured.
    pub(super) fn table(&self) -> String {
        let rows: Vec<_> = self.scenarios.iter().filter_map(Rows::cells).collect();
        let mut executors: Vec<&str> = Vec::new();
        for name in rows.iter().flat_map(|row| &row.order) {
            if !executors.contains(name) {
                executors.push(name);
            }
        }
        if rows.is_empty() {
            return String::new();
        }
        let name = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max("scenario".len());
        let mut text = format!("\n{:name$}  {:>8}", "scenario", "serial");
        executors.iter().for_each(|executor| text += &format!("  {executor:>12}"));
        for row in &rows {
            text += &format!("\n{:name$}  {:>8}", row.name, time(row.serial));
            for executor in &executors {
                let cell = row.best.get(executor).map_or(String::new(), |(speed_up, workers)| {
                    format!("{}x ({workers})", significant(*speed_up))
                });
                text += &format!("  {cell:>12}");
            }
        }
        text + "\n\nHow many times as fast as serial, with the best number of workers in brackets. Measured one after the\n\
                other: the machine may have changed meanwhile. `cargo parbench run` compares fairly.\n"
    }
}

/// A line of the table.
struct Cells {
    name: &'static str,
    serial: Duration,
    /// The executors in the order in which they were measured.
    order: Vec<&'static str>,
    /// The best speed-up of each, and its workers.
    best: BTreeMap<&'static str, (f64, String)>,
}

impl Rows {
    /// `None` if serial was not measured: then there is nothing to compare with.
    fn cells(&self) -> Option<Cells> {
        let measured = || {
            self.variants
                .iter()
                .filter(|(_, times)| times.len() >= BATCHES)
                .map(|(variant, times)| (variant, median(times)))
        };
        let is_serial = |variant: &Variant| variant.kind.isolation == Isolation::Caller;
        let serial_of = |load| measured().find(|(variant, _)| is_serial(variant) && variant.load == load);
        let (_, serial) = measured().find(|(variant, _)| is_serial(variant))?;
        let (mut order, mut best) = (Vec::new(), BTreeMap::<_, (f64, String)>::new());
        for (variant, time) in measured().filter(|(variant, _)| !is_serial(variant)) {
            // With weak scaling, serial has as much to do as the others.
            let base = if self.weak { serial_of(variant.load).map(|(_, time)| time) } else { Some(serial) };
            let Some(base) = base else { continue };
            let speed_up = base.as_secs_f64() / time.as_secs_f64().max(1e-9);
            let name = variant.kind.name;
            if !order.contains(&name) {
                order.push(name);
            }
            if best.get(name).is_none_or(|(other, _)| speed_up > *other) {
                best.insert(name, (speed_up, variant.shape.to_string()));
            }
        }
        Some(Cells { name: self.name, serial, order, best })
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Three significant digits, as far as they are before the point or right behind it.
fn significant(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else if value >= 0.1 {
        2
    } else {
        3
    };
    format!("{value:.digits$}")
}

fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (value, unit) = match seconds {
        1.0.. => (seconds, "s"),
        1e-3.. => (seconds * 1e3, "ms"),
        _ => (seconds * 1e6, "us"),
    };
    format!("{} {unit}", significant(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executors::ALL;
    use crate::shape::Shape;

    fn add(summary: &mut Summary, name: &str, workers: usize, load: usize, ms: u64) {
        let mut variant = Variant::parse(ALL, &format!("{name}/{workers}"), None).unwrap();
        variant.load = Shape::from(load);
        summary.add(variant, &[Duration::from_millis(ms); BATCHES]);
    }

    #[test]
    fn the_best_worker_count_of_each_executor_stands_in_the_table() {
        let mut summary = Summary::default();
        summary.begin("strong", false);
        add(&mut summary, "serial", 1, 1, 100);
        add(&mut summary, "threads", 1, 1, 101);
        add(&mut summary, "threads", 2, 2, 50);
        add(&mut summary, "processes", 2, 2, 80);
        summary.begin("weak", true);
        add(&mut summary, "serial", 1, 1, 10);
        add(&mut summary, "serial", 1, 4, 40);
        add(&mut summary, "rayon", 4, 4, 20);
        // Only tried.
        summary.begin("tried", false);
        summary.add(Variant::parse(ALL, "serial/1", None).unwrap(), &[Duration::from_millis(1)]);
        let table = summary.table();
        let lines: Vec<_> = table.lines().skip(1).take(3).collect();
        assert_eq!(
            lines,
            [
                "scenario    serial       threads     processes         rayon",
                "strong      100 ms     2.00x (2)     1.25x (2)              ",
                "weak       10.0 ms                                 2.00x (4)"
            ]
        );
        assert!(!table.contains("tried"), "{table}");
    }

    #[test]
    fn nothing_is_said_of_what_was_not_measured() {
        assert_eq!(Summary::default().table(), "");
    }
}
