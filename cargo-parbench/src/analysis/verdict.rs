//! The rule that decides whether two variants differ. It stands here and nowhere else.
//!
//! Each round gives one ratio of the two. Their median lies, in at least 96 of 100 cases, in the interval of
//! [`interval`].
//! - *Clear*: the interval lies wholly beyond ± the larger of 3 % and the control, and so does the median of every launch.
//! - *Tie*: it lies wholly inside ± 5 %.
//! - Otherwise *open*. With fewer than six rounds there is no verdict.
//!
//! The control is how far two replicas of the same variant differ in the same rounds, for no reason but the machine: the
//! farther end of the interval of their ratio. A quick run has no replicas: its control is how far rounds in one order differ
//! from those in the reverse, and both bounds are 20 %.
//!
//! The launches have a say of their own because the rounds of one launch share what its processes were given (memory, CPUs,
//! layout): nine rounds of three launches are fewer than nine independent ones.

use super::rounds::{FEWEST_ROUNDS, Values, interval, median};
use super::{Comparison, Verdict};

/// What counts as a difference, and as none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// A clear difference is larger than this, as a ratio minus 1.
    pub(crate) clear: f64,
    /// A tie is smaller than this.
    pub(crate) tie: f64,
}

impl Bounds {
    pub(crate) const FULL: Bounds = Bounds { clear: 0.03, tie: 0.05 };
    pub(crate) const QUICK: Bounds = Bounds { clear: 0.2, tie: 0.2 };
}

/// Judges the logarithms of the rounds' ratios, each with its launch. The first is faster where they are negative.
pub(crate) fn judge(logs: &[(u32, f64)], control: Option<f64>, bounds: Bounds) -> Comparison {
    let Some(ratio) = interval(logs.iter().map(|(_, log)| *log)) else {
        return Comparison { note: Some("not measured".into()), ..Comparison::default() };
    };
    let comparison = |verdict, note: &str| {
        let note = (!note.is_empty()).then(|| note.to_string());
        Comparison { ratio: Some(ratio), verdict, note }
    };
    if logs.len() < FEWEST_ROUNDS {
        return comparison(Verdict::None, "too few rounds");
    }
    let bound = (1.0 + bounds.clear.max(control.unwrap_or(0.0))).ln();
    let of_launch = |launch| {
        median(logs.iter().filter(|(other, _)| *other == launch).map(|(_, log)| *log)).unwrap_or_default()
    };
    let launches: Vec<_> = logs.iter().map(|(launch, _)| of_launch(*launch)).collect();
    let (low, high) = (ratio.low.ln(), ratio.high.ln());
    if high < -bound && launches.iter().all(|median| *median < -bound) {
        return comparison(Verdict::First, "");
    }
    if low > bound && launches.iter().all(|median| *median > bound) {
        return comparison(Verdict::Second, "");
    }
    let tie = (1.0 + bounds.tie).ln();
    if low > -tie && high < tie {
        return comparison(Verdict::Tie, "");
    }
    let beyond = (1.0 + bounds.clear).ln();
    match () {
        () if high < -bound || low > bound => comparison(Verdict::Open, "the launches disagree"),
        () if high < -beyond || low > beyond => comparison(Verdict::Open, "replicas differ as much"),
        () => comparison(Verdict::Open, "too close to call"),
    }
}

/// How far the replicas of a variant differ, as a ratio minus 1.
pub(crate) fn control(replicas: &[Values], wanted: impl Fn(&(u32, u32)) -> bool) -> Option<f64> {
    let [first, second, ..] = replicas else { return None };
    spread(super::rounds::log_ratios(first, second, wanted).into_iter().map(|(_, log)| log))
}

/// How far the medians of the rounds in one order and of those in the reverse differ, as a ratio minus 1: the control of a
/// quick run.
pub(crate) fn control_of_orders(values: &Values, wanted: impl Fn(&(u32, u32)) -> bool) -> Option<f64> {
    let of = |order: u32| {
        let rounds = values.iter().filter(|(round, _)| wanted(round) && round.1 % 2 == order);
        median(rounds.map(|(_, value)| *value))
    };
    Some((of(0)? - of(1)?).abs().exp() - 1.0)
}

fn spread(logs: impl Iterator<Item = f64>) -> Option<f64> {
    let interval = interval(logs)?;
    Some(interval.low.ln().abs().max(interval.high.ln().abs()).exp() - 1.0)
}

#[cfg(test)]
pub(crate) mod simulation;

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(logs: &[f64], control: f64) -> Verdict {
        // Three launches.
        let logs: Vec<_> =
            logs.iter().enumerate().map(|(at, log)| ((at * 3 / logs.len()) as u32, *log)).collect();
        judge(&logs, Some(control), Bounds::FULL).verdict
    }

    #[test]
    fn clear_is_beyond_three_percent_and_the_control() {
        let slower = [0.1, 0.11, 0.09, 0.12, 0.1, 0.08];
        assert_eq!(judged(&slower, 0.01), Verdict::Second);
        assert_eq!(judged(&slower.map(|log| -log), 0.01), Verdict::First);
        assert_eq!(judged(&slower, 0.2), Verdict::Open);
        assert_eq!(judged(&slower[..5], 0.01), Verdict::None);
    }

    #[test]
    fn a_tie_is_inside_five_percent_and_all_else_is_open() {
        assert_eq!(judged(&[0.01, -0.01, 0.02, 0.0, 0.03, -0.02], 0.01), Verdict::Tie);
        assert_eq!(judged(&[0.01, -0.01, 0.2, 0.0, 0.03, -0.02], 0.01), Verdict::Open);
        // 4 % are clear: a tie needs no more words.
        assert_eq!(judged(&[0.04, 0.041, 0.042, 0.043, 0.04, 0.041], 0.01), Verdict::Second);
    }

    #[test]
    fn one_launch_that_says_otherwise_keeps_it_open() {
        // The second-lowest is left out of nine.
        let logs = [0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.01, 0.2, 0.02];
        let comparison = judge(
            &logs
                .map(|log| log)
                .iter()
                .enumerate()
                .map(|(at, log)| (at as u32 / 3, *log))
                .collect::<Vec<_>>(),
            Some(0.0),
            Bounds::FULL,
        );
        assert_eq!(comparison.verdict, Verdict::Open);
    }
}
