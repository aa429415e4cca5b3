//! The rule of the gate, in one place: which ratios of two programs, block by block, are a change. Pure functions.
//!
//! It was fixed before the runs that prove it. Its `simulation` shows the error rates; METHODOLOGY.md has the table.

use serde::{Deserialize, Serialize};

use crate::analysis::Interval;
use crate::analysis::rounds::{interval, median};

/// The blocks of a stage: with fewer, there would be no interval of their median.
pub(crate) const BLOCKS: u32 = 7;

/// From which ratio on a change is one, as a ratio minus 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bound {
    /// What is not above this is no change. 0.02: 2 %.
    pub(crate) threshold: f64,
    /// What is almost always found, and ruled out where a row is said not to have changed.
    pub(crate) promise: f64,
}

impl Bound {
    /// CPU time, whose noise is a per cent or two: by default 2 %, and 5 % are found.
    pub(crate) fn cpu(threshold: f64) -> Bound {
        Bound { threshold, promise: 2.5 * threshold }
    }

    /// Wall time and parallelism, which other programs disturb.
    pub(crate) const WALL: Bound = Bound { threshold: 0.1, promise: 0.2 };

    /// The first stage asks for three quarters of it.
    fn suspicious(self) -> f64 {
        (0.75 * self.threshold).ln_1p()
    }
}

/// What a row's ratios say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    Slower,
    Faster,
    NoClearChange,
    /// Too noisy to rule out what is promised to be found.
    #[default]
    NotJudged,
}

impl Word {
    /// For a person.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Word::Slower => "slower",
            Word::Faster => "faster",
            Word::NoClearChange => "no clear change",
            Word::NotJudged => "not judged",
        }
    }
}

/// After the first stage: whether a row is to be looked at again, because it may have changed or because it is too noisy.
pub(crate) fn is_suspect(first: &[f64], bound: Bound) -> bool {
    let changed = |sign: f64| {
        let signed: Vec<_> = first.iter().map(|log| sign * log).collect();
        median(signed.iter().copied()).is_some_and(|median| median > bound.suspicious())
            && wilcoxon(&signed) < 0.05
    };
    changed(1.0) || changed(-1.0)
}

/// Whether the blocks rule out a change as large as the promise, in either direction.
pub(crate) fn rules_out(logs: &[f64], bound: Bound) -> bool {
    let largest = bound.promise.ln_1p();
    interval(logs.iter().copied())
        .is_some_and(|Interval { low, high, .. }| low.ln() > -largest && high.ln() < largest)
}

/// After the second stage, whose blocks have other orders of sections: whether it has seen the change of a suspect as well.
/// Then there is a third, with further orders.
pub(crate) fn is_to_be_confirmed(first: &[f64], second: &[f64], bound: Bound) -> bool {
    is_suspect(first, bound) && agreed(&[first, second], &[first, second].concat(), bound).is_some()
}

/// The verdict, from the logarithms of head over base in the blocks of each stage: empty for a row that was no suspect, or whose
/// change the second stage has not seen.
pub(crate) fn judge([first, second, third]: [&[f64]; 3], bound: Bound) -> Word {
    let all = [first, second, third].concat();
    if is_to_be_confirmed(first, second, bound) {
        // Not the first one: it has chosen the row, and has one order of sections on each side.
        let fresh = [second, third].concat();
        if let Some(word) = agreed(&[&all, second, third], &fresh, bound) {
            return word;
        }
    }
    if first.len() >= BLOCKS as usize && rules_out(&all, bound) {
        Word::NoClearChange
    } else {
        Word::NotJudged
    }
}

/// The verdict on a row whose blocks of a stage, from 0, are made up once the stage before asks for them.
pub(crate) fn judge_made_up(mut stage: impl FnMut(usize) -> Vec<f64>, bound: Bound) -> Word {
    let first = stage(0);
    let second = if is_suspect(&first, bound) { stage(1) } else { Vec::new() };
    let third = if is_to_be_confirmed(&first, &second, bound) { stage(2) } else { Vec::new() };
    judge([&first, &second, &third], bound)
}

/// In which direction all stages have moved beyond the threshold, if the evidence is certain of at least half of it.
fn agreed(stages: &[&[f64]], evidence: &[f64], bound: Bound) -> Option<Word> {
    let moved = |(sign, _): &(f64, Word)| {
        let signed = |logs: &[f64]| logs.iter().map(|log| sign * log).collect::<Vec<_>>();
        let is_above = |logs: &&[f64]| {
            logs.len() >= BLOCKS as usize
                && median(signed(logs)).is_some_and(|log| log > bound.threshold.ln_1p())
        };
        let half = (bound.threshold / 2.0).ln_1p();
        let beyond: Vec<_> = signed(evidence).iter().map(|log| log - half).collect();
        // The test supposes that noise is as often up as down; where it is not, the interval says so.
        let is_certain = interval(signed(evidence)).is_some_and(|all| all.low > 1.0);
        stages.iter().all(is_above) && wilcoxon(&beyond) < 0.01 && is_certain
    };
    [(1.0, Word::Slower), (-1.0, Word::Faster)].into_iter().find(moved).map(|(_, word)| word)
}

/// Wilcoxon's signed-rank test, exact and one-sided: how likely at least as large a sum of the ranks of the positive values
/// is, if each value were as likely negative. Equal sizes share their mean rank.
///
/// Wilcoxon, *Individual comparisons by ranking methods*, Biometrics Bulletin 1 (1945).
pub(crate) fn wilcoxon(values: &[f64]) -> f64 {
    let mut values: Vec<_> = values.iter().copied().filter(|value| *value != 0.0).collect();
    values.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    // Twice the ranks: halves come from ties.
    let mut ranks = Vec::with_capacity(values.len());
    for group in values.chunk_by(|a, b| a.abs().to_bits() == b.abs().to_bits()) {
        let first = ranks.len();
        ranks.extend(group.iter().map(|_| 2 * first + 1 + group.len()));
    }
    let observed: usize =
        values.iter().zip(&ranks).filter(|(value, _)| **value > 0.0).map(|(_, rank)| rank).sum();
    // How many of all combinations of signs give each sum.
    let mut counts = vec![1.0];
    for rank in &ranks {
        let mut next = vec![0.0; counts.len() + rank];
        for (sum, count) in counts.iter().enumerate() {
            next[sum] += count;
            next[sum + rank] += count;
        }
        counts = next;
    }
    counts[observed..].iter().sum::<f64>() / 2_f64.powi(ranks.len() as i32)
}

/// The exact upper bound (95 %) of a rate of which `seen` were seen in `tries`: Clopper and Pearson, Biometrika 26 (1934).
pub(crate) fn upper_bound(seen: u32, tries: u32) -> f64 {
    if seen >= tries {
        return 1.0;
    }
    // The rate at which so few are seen in one of 20 cases.
    let at_most = |rate: f64| {
        let mut probability = (1.0 - rate).powi(tries as i32);
        let mut sum = probability;
        for k in 0..seen {
            probability *= f64::from(tries - k) / f64::from(k + 1) * rate / (1.0 - rate);
            sum += probability;
        }
        sum
    };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if at_most(middle) > 0.05 { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod simulation;

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of critical values for one side: the largest sum of the *smaller* ranks that is significant.
    /// Wilcoxon and Wilcox, *Some rapid approximate statistical procedures* (1964).
    #[test]
    fn wilcoxons_test_agrees_with_the_published_table() {
        for (count, at_five, at_one) in
            [(7, 3, Some(0)), (8, 5, Some(1)), (10, 10, Some(5)), (14, 25, Some(15)), (5, 0, None)]
        {
            // The values whose negative ranks add up to `sum`.
            let of_sum = |mut sum: i32| {
                let mut values: Vec<_> = (1..=count).map(f64::from).collect();
                for rank in (1..=count).rev().filter(|rank| *rank > 0) {
                    if rank <= sum {
                        sum -= rank;
                        values[rank as usize - 1] *= -1.0;
                    }
                }
                values
            };
            assert!(wilcoxon(&of_sum(at_five)) <= 0.05 && wilcoxon(&of_sum(at_five + 1)) > 0.05, "{count}");
            if let Some(at_one) = at_one {
                assert!(wilcoxon(&of_sum(at_one)) <= 0.01 && wilcoxon(&of_sum(at_one + 1)) > 0.01, "{count}");
            }
        }
        assert_eq!(wilcoxon(&[1.0; 7]), 1.0 / 128.0);
        assert_eq!(wilcoxon(&[]), 1.0);
        // Two of one size share a rank: of four combinations only both positive is as large.
        assert_eq!(wilcoxon(&[1.0, 1.0, 0.0]), 0.25);
        assert_eq!(wilcoxon(&[1.0, -1.0]), 0.75);
    }

    #[test]
    fn a_bound_of_a_rate_is_the_published_one() {
        for (seen, tries, expected) in [(0, 60, 0.0487), (0, 20, 0.139), (0, 1_320, 0.002_27), (1, 20, 0.216)]
        {
            let bound = upper_bound(seen, tries);
            assert!((bound - expected).abs() < 0.001, "{seen} of {tries}: {bound}");
        }
        assert_eq!(upper_bound(3, 3), 1.0);
    }

    const CPU: Bound = Bound { threshold: 0.02, promise: 0.05 };

    #[test]
    fn a_change_needs_all_stages_and_no_change_needs_calm() {
        let by = |percent: f64| vec![(percent / 100.0).ln_1p(); 7];
        let judged = |stages: [&[f64]; 3]| judge(stages, CPU);
        assert_eq!(judged([&by(5.0), &by(5.0), &by(5.0)]), Word::Slower);
        assert_eq!(judged([&by(-5.0), &by(-5.0), &by(-5.0)]), Word::Faster);
        assert_eq!(judged([&by(4.0), &by(0.0), &[]]), Word::NoClearChange);
        assert_eq!(judged([&by(10.0), &by(0.0), &[]]), Word::NotJudged);
        assert_eq!(judged([&by(0.5), &[], &[]]), Word::NoClearChange);
        // A change that only the first stage has seen is none yet, and not ruled out either; nor is one of two stages.
        assert_eq!(judged([&by(10.0), &[], &[]]), Word::NotJudged);
        assert_eq!(judged([&by(10.0), &by(10.0), &[]]), Word::NotJudged);
        assert_eq!(judged([&by(10.0), &by(10.0), &by(1.0)]), Word::NotJudged);
        assert!(is_to_be_confirmed(&by(10.0), &by(10.0), CPU));
        assert!(!is_to_be_confirmed(&by(10.0), &by(1.0), CPU) && !is_to_be_confirmed(&by(10.0), &[], CPU));
        // With three of fourteen blocks on the other side, the interval holds no change.
        let skewed = [-0.013, -0.012, -0.011, 0.09, 0.1, 0.11, 0.12];
        assert!(!is_to_be_confirmed(&by(8.0), &skewed, CPU));
        let noisy: Vec<_> = (-3..=3).map(|step| f64::from(step) * 0.03).collect();
        assert_eq!(judged([&noisy, &[], &[]]), Word::NotJudged);
        assert_eq!(judge([&noisy, &[], &[]], Bound::WALL), Word::NoClearChange);
        assert_eq!(judged([&by(0.0)[..6], &[], &[]]), Word::NotJudged);
    }

    /// Blocks that were measured of one program, linked in two orders: a loop in it takes a third longer in some.
    #[test]
    fn an_order_of_sections_that_is_slow_is_no_change() {
        let first = [0.18179, 0.20908, 0.36198, 0.22376, 0.19819, 0.07021, 0.3546];
        let second = [0.17039, 0.01371, 0.02461, 0.3773, 0.35851, 0.00263, 0.25982];
        assert!(is_to_be_confirmed(&first, &second, CPU));
        // Those of another gate of the same, in further orders.
        let third = [-0.38133, -0.27654, -0.28088, 0.26385, 0.3336, -0.00257, 0.29278];
        assert_eq!(judge([&first, &second, &third], CPU), Word::NotJudged);
    }
}
