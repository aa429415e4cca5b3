//! Rounds: what each variant needed in each of them, and the interval that holds the median of a ratio.

use std::collections::{BTreeMap, BTreeSet};

use parbench::measure::Record;

use super::Interval;
use crate::drive::variant_name;
use crate::run_file::Scenario;

/// The fewest rounds that a verdict is made of.
pub(crate) const FEWEST_ROUNDS: usize = 6;
/// How sure an interval has to be of the median.
const COVERAGE: f64 = 0.96;

/// A launch and a round: what is compared is of the same.
pub(crate) type RoundKey = (u32, u32);

/// The logarithms of the times of a batch, ns, one for each round: the mean over its passes and replicas.
pub(crate) type Values = BTreeMap<RoundKey, f64>;

/// The values of all variants of a scenario, by their names.
pub(super) fn values(scenario: &Scenario) -> BTreeMap<String, Values> {
    grouped(scenario, |record| variant_name(record, scenario.weak))
}

/// The values of each replica of a variant.
pub(super) fn replicas(scenario: &Scenario, name: &str) -> Vec<Values> {
    let of_variant = |record: &Record| variant_name(record, scenario.weak) == name;
    grouped(scenario, |record| if of_variant(record) { Some(record.replica) } else { None })
        .into_iter()
        .filter_map(|(replica, values)| replica.map(|_| values))
        .collect()
}

fn grouped<K: Ord>(scenario: &Scenario, key: impl Fn(&Record) -> K) -> BTreeMap<K, Values> {
    let mut sums: BTreeMap<K, BTreeMap<RoundKey, (f64, u32)>> = BTreeMap::new();
    for record in &scenario.records {
        // A time of nothing has no logarithm.
        let Some(time) = record.batch_ns().filter(|time| *time > 0.0) else { continue };
        let rounds = sums.entry(key(record)).or_default();
        let (sum, count) = rounds.entry((record.launch, record.round)).or_default();
        *sum += time.ln();
        *count += 1;
    }
    let mean = |(round, (sum, count)): (RoundKey, (f64, u32))| (round, sum / f64::from(count));
    sums.into_iter().map(|(key, rounds)| (key, rounds.into_iter().map(mean).collect())).collect()
}

/// Whether a round is one that variants are judged by, and not the scan that chose them.
pub(super) fn is_judging(scenario: &Scenario) -> impl Fn(&RoundKey) -> bool + use<> {
    let launches: BTreeSet<_> = scenario.records.iter().map(|record| record.launch).collect();
    let by_launch = launches.iter().any(|launch| *launch > 0);
    move |(launch, round)| if by_launch { *launch > 0 } else { *round > 0 }
}

/// The logarithms of the ratio of two variants, round by round, with the launch of each.
pub(crate) fn log_ratios(
    over: &Values,
    under: &Values,
    wanted: impl Fn(&RoundKey) -> bool,
) -> Vec<(u32, f64)> {
    let both = over.iter().filter(|(round, _)| wanted(round));
    both.filter_map(|(round, value)| Some((round.0, value - under.get(round)?))).collect()
}

/// The interval of the median of some logarithms, as ratios: between two of them, such that it holds the median in at least
/// 96 of 100 cases. Of fewer than six it is the whole range, which promises less.
pub(crate) fn interval(logs: impl IntoIterator<Item = f64>) -> Option<Interval> {
    let mut logs: Vec<_> = logs.into_iter().collect();
    logs.sort_by(f64::total_cmp);
    let (first, last) = (logs.first()?, logs.last()?);
    let middle = f64::midpoint(logs[(logs.len() - 1) / 2], logs[logs.len() / 2]);
    let (low, high) = match outermost(logs.len()) {
        Some(left_out) => (logs[left_out], logs[logs.len() - 1 - left_out]),
        None => (*first, *last),
    };
    Some(Interval { median: middle.exp(), low: low.exp(), high: high.exp() })
}

/// How many of the smallest and of the largest values lie outside of the interval; `None` if even all values are not enough.
/// A value lies below the median half of the time, so their number is binomial.
fn outermost(count: usize) -> Option<usize> {
    let mut probability = 0.5_f64.powi(i32::try_from(count).ok()?);
    let (mut below, mut left_out) = (0.0, None);
    for outside in 0..count {
        below += probability;
        if 1.0 - 2.0 * below < COVERAGE {
            break;
        }
        left_out = Some(outside);
        probability *= (count - outside) as f64 / (outside + 1) as f64;
    }
    left_out
}

/// The median of some numbers.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some(f64::midpoint(values[last / 2], values[values.len() / 2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_nine_and_twelve_rounds_leave_out_none_one_and_two_at_each_end() {
        assert_eq!([5, 6, 8, 9, 11, 12].map(outermost), [None, Some(0), Some(0), Some(1), Some(1), Some(2)]);
        let logs = |count: u32| (0..count).map(move |value| f64::from(value) - f64::from(count - 1) / 2.0);
        let nine = interval(logs(9)).unwrap();
        assert_eq!((nine.median, nine.low.ln().round(), nine.high.ln().round()), (1.0, -3.0, 3.0));
        let two = interval(logs(2)).unwrap();
        assert_eq!((two.median, two.low, two.high), (1.0, (-0.5_f64).exp(), 0.5_f64.exp()));
        assert_eq!(interval([]), None);
    }

    #[test]
    fn a_round_is_the_mean_of_its_passes_and_replicas_and_failed_batches_do_not_count() {
        let record = |round, pass, replica, wall_ns, batches| {
            let mut record = Record::default();
            record.executor = "threads".into();
            (record.round, record.pass, record.replica) = (round, pass, replica);
            (record.wall_ns, record.batches) = (wall_ns, batches);
            record
        };
        let mut failed = record(1, 1, 1, 1_000_000, 1);
        failed.error = Some("it failed".into());
        let records = vec![record(1, 0, 0, 200, 2), record(1, 1, 0, 400, 1), failed, record(2, 0, 0, 50, 1)];
        let scenario = Scenario { records, ..Scenario::default() };
        let values = &values(&scenario)["threads/1"];
        assert_eq!(values.len(), 2);
        assert!(
            (values[&(0, 1)] - 200.0_f64.ln()).abs() < 1e-9 && (values[&(0, 2)] - 50.0_f64.ln()).abs() < 1e-9
        );
        assert_eq!(replicas(&scenario, "threads/1").len(), 1);
    }
}
