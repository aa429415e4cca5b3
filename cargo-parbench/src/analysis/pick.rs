//! The pick: the cheapest of what is within 5 % of the fastest, once it is clear what is faster.

use super::{Measured, Pick, Row, Verdict};
use crate::run_file::Way;

/// What is no more than this slower than the fastest is as fast.
const AS_FAST: f64 = 1.05;
/// CPU times that differ by no more than this are equal.
const AS_CHEAP: f64 = 1.03;

/// What to use; `None` if it is open whether threads or processes are faster, and the difference matters.
///
/// Of what is as fast as the fastest the cheapest is picked: fewest CPU seconds, then fewest workers, then the order of the
/// list, in which serial is the first.
pub(super) fn pick(row: &Row) -> Option<Pick> {
    let judged: Vec<_> = [row.serial, row.threads, row.processes].into_iter().flatten().collect();
    let time = |index: usize| relative_time(row, index);
    let fastest = judged.iter().copied().min_by(|a, b| time(*a).total_cmp(&time(*b)))?;
    let as_fast: Vec<_> =
        judged.into_iter().filter(|index| time(*index) <= time(fastest) * AS_FAST).collect();
    let cost = |index: usize| row.variants[index].cpu_ns;
    let least = as_fast.iter().filter_map(|index| cost(*index)).min_by(f64::total_cmp);
    let is_cheap = |index: &usize| match (cost(*index), least) {
        (Some(cost), Some(least)) => cost <= least * AS_CHEAP,
        _ => true,
    };
    let cheap = as_fast.iter().copied().filter(is_cheap);
    let variant = cheap.min_by_key(|index| row.variants[*index].workers)?;
    let way = |index: usize| row.variants[index].way;
    let is_parallel = way(variant) != Some(Way::Serial);
    match row.isolation.verdict {
        // Which of the two is faster is not known, so neither is picked.
        Verdict::Open | Verdict::None if is_parallel && row.threads.is_some() && row.processes.is_some() => {
            return None;
        }
        _ => {}
    }
    let tried = row.variants.iter().filter(|other| other.executor == row.variants[variant].executor);
    let most = tried.map(|other| other.workers).max().unwrap_or(1);
    // Of all that were tried: what picks the cheaper one costs in time.
    let measured = (0..row.variants.len()).filter(|index| row.variants[*index].way.is_some());
    let fastest = measured.min_by(|a, b| time(*a).total_cmp(&time(*b))).unwrap_or(fastest);
    let extra = match (cost(fastest), cost(variant)) {
        (Some(more), Some(less)) if less > 0.0 => Some(more / less - 1.0),
        _ => None,
    };
    Some(Pick {
        variant,
        either: is_parallel && row.isolation.verdict == Verdict::Tie,
        at_least: is_parallel && row.variants[variant].workers == most && most > 1,
        fastest,
        gain: (time(variant) / time(fastest) - 1.0).max(0.0),
        cost: extra,
    })
}

/// A variant's time in units of serial's for the same tasks: with weak scaling those with more workers have more to do.
fn relative_time(row: &Row, index: usize) -> f64 {
    let Measured { speed_up, time_ns, .. } = &row.variants[index];
    match speed_up {
        Some(speed_up) => 1.0 / speed_up.median,
        None => row.serial.map_or(*time_ns, |serial| time_ns / row.variants[serial].time_ns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{Comparison, Interval};

    fn row(threads: (f64, f64, usize), processes: (f64, f64, usize), verdict: Verdict) -> Row {
        let measured = |executor: &str, way, (speed_up, cpu, workers): (f64, f64, usize)| Measured {
            name: format!("{executor}/{workers}"),
            executor: executor.into(),
            way: Some(way),
            workers,
            time_ns: 1e6 / speed_up,
            cpu_ns: Some(cpu),
            speed_up: Some(Interval { median: speed_up, low: speed_up, high: speed_up }),
            ..Measured::default()
        };
        Row {
            variants: vec![
                measured("serial", Way::Serial, (1.0, 100.0, 1)),
                measured("threads", Way::Threads, threads),
                measured("processes", Way::Processes, processes),
            ],
            serial: Some(0),
            threads: Some(1),
            processes: Some(2),
            isolation: Comparison { verdict, ..Comparison::default() },
            ..Row::default()
        }
    }

    fn picked(row: &Row) -> Option<String> {
        pick(row).map(|pick| row.variants[pick.variant].name.clone())
    }

    #[test]
    fn the_faster_is_picked_if_it_is_clear_and_none_if_it_is_open() {
        let clear = row((2.0, 100.0, 2), (1.5, 100.0, 2), Verdict::Second);
        assert_eq!(picked(&clear).as_deref(), Some("threads/2"));
        assert_eq!(picked(&row((2.0, 100.0, 2), (1.5, 100.0, 2), Verdict::Open)), None);
    }

    #[test]
    fn of_what_is_as_fast_the_cheapest_is_picked() {
        let tie = row((2.0, 110.0, 4), (1.96, 100.0, 2), Verdict::Tie);
        let pick = pick(&tie).unwrap();
        assert_eq!((tie.variants[pick.variant].name.as_str(), pick.either), ("processes/2", true));
        assert!((pick.gain - 0.0204).abs() < 1e-3 && (pick.cost.unwrap() - 0.1).abs() < 1e-9);
        // As cheap within 3 %: fewer workers, then the order of the list.
        assert_eq!(
            picked(&row((2.0, 101.0, 2), (2.0, 100.0, 4), Verdict::Tie)).as_deref(),
            Some("threads/2")
        );
        assert_eq!(
            picked(&row((2.0, 101.0, 2), (2.0, 100.0, 2), Verdict::Tie)).as_deref(),
            Some("threads/2")
        );
    }

    #[test]
    fn serial_is_picked_where_nothing_is_gained_whatever_is_open() {
        let slow = row((1.02, 100.0, 2), (0.5, 100.0, 2), Verdict::Open);
        assert_eq!(picked(&slow).as_deref(), Some("serial/1"));
    }
}
