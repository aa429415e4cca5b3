//! A decision tree, grown by exact splits (CART).

use std::ops::Range;

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

use super::sample::{Feature, Member, Sample};
use super::{CLASSES, largest};

/// Number of features that a node tries: the square root of `FEATURES`.
const MAX_FEATURES: usize = 7;
/// Values that differ by no more than this are equal, as in scikit-learn.
const FEATURE_THRESHOLD: f32 = 1e-7;
/// Length of an array of counts by class: a power of two, so that an index is masked instead of checked.
const CLASS_SLOTS: usize = CLASSES.next_power_of_two();
/// Up to this many members are sorted by counting, for each, how many are smaller; more, by setting bits.
const FEW: usize = 64;

/// A decision tree.
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
}

/// A node of a tree: where a prediction continues, or its result.
pub(super) enum Node {
    Leaf {
        class: u8,
    },
    /// `above` is the node for values above the threshold; the node for all others follows directly.
    Split {
        feature: u8,
        threshold: f64,
        above: u32,
    },
}

impl Tree {
    /// Grows a tree until every leaf is pure, as scikit-learn does by default.
    pub(super) fn fit(sample: &Sample, random: Xoshiro256PlusPlus) -> Tree {
        let mut builder = TreeBuilder::new(sample, random);
        builder.grow(0..sample.members.len());
        Tree { nodes: builder.nodes }
    }

    /// Predicts the class of a row, given by its features.
    pub(super) fn predict(&self, value: impl Fn(usize) -> f32) -> u8 {
        let mut at = 0;
        loop {
            match self.nodes[at] {
                Node::Leaf { class } => return class,
                Node::Split { feature, threshold, above } => {
                    let is_above = f64::from(value(usize::from(feature))) > threshold;
                    at = if is_above { above as usize } else { at + 1 };
                }
            }
        }
    }
}

/// The best split found so far.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Split {
    /// For each side, the sum of its squared class counts divided by its total, added up. Higher is purer.
    purity: f64,
    feature: u8,
    /// The last rank on the lower side, and the first on the upper side.
    ranks: [u16; 2],
}

/// A tree that is being grown.
struct TreeBuilder<'a> {
    sample: &'a Sample,
    random: Xoshiro256PlusPlus,
    /// The features, in the order in which they were last drawn.
    drawn: Vec<u8>,
    /// Indices of members in the sample; those of a node are contiguous.
    members: Vec<u16>,
    /// Scratch space for the ranks of a node's members, or for the members.
    scratch: Vec<u16>,
    /// One bit for each rank; all zero between uses.
    bits: Vec<u64>,
    /// For each split of a node's sorted members, the number of rows on the left side.
    totals: Vec<i32>,
    /// For each split, the sum of the squared class counts of the left side, and of the right side.
    squares: [Vec<i32>; 2],
    purities: Vec<f64>,
    nodes: Vec<Node>,
}

impl TreeBuilder<'_> {
    fn new(sample: &Sample, random: Xoshiro256PlusPlus) -> TreeBuilder<'_> {
        let count = sample.members.len();
        let zeros = || vec![0; count];
        TreeBuilder {
            sample,
            random,
            drawn: (0..sample.features() as u8).collect(),
            members: (0..count as u16).collect(),
            scratch: vec![0; count],
            bits: vec![0; count.div_ceil(64)],
            totals: zeros(),
            squares: [zeros(), zeros()],
            purities: vec![0.0; count],
            nodes: Vec::new(),
        }
    }

    /// Adds the node of these members, and all nodes below it.
    fn grow(&mut self, range: Range<usize>) {
        let mut counts = [0; CLASS_SLOTS];
        for &member in &self.members[range.clone()] {
            let Member { class, times } = self.sample.members[usize::from(member)];
            counts[usize::from(class) % CLASS_SLOTS] += i32::from(times);
        }
        let Some(split) = self.split(&counts, range.clone()) else {
            return self.nodes.push(Node::Leaf { class: largest(&counts) });
        };
        let middle = range.start + self.partition(&split, range.clone());
        let values = self.sample.feature(split.feature).values;
        let [low, high] = split.ranks.map(|rank| f64::from(values[usize::from(rank)]));
        let at = self.nodes.len();
        self.nodes.push(Node::Split { feature: split.feature, threshold: low / 2.0 + high / 2.0, above: 0 });
        self.grow(range.start..middle);
        let next = self.nodes.len() as u32;
        if let Node::Split { above, .. } = &mut self.nodes[at] {
            *above = next;
        }
        self.grow(middle..range.end);
    }

    /// Returns the best split of these members, or `None` if they all have the same class or the same features.
    fn split(&mut self, counts: &[i32; CLASS_SLOTS], range: Range<usize>) -> Option<Split> {
        let total: i32 = counts.iter().sum();
        if counts.contains(&total) {
            return None;
        }
        let mut best = None;
        for tried in 0..self.drawn.len() {
            // As in scikit-learn, a feature that is equal in all members also counts as one of the seven. More features
            // are drawn only if all seven are like this.
            if tried >= MAX_FEATURES && best.is_some() {
                break;
            }
            let drawn = self.random.random_range(tried..self.drawn.len());
            self.drawn.swap(tried, drawn);
            self.try_feature(self.drawn[tried], counts, range.clone(), &mut best);
            // Both sides are pure: no other feature can be better.
            if best.is_some_and(|best| best.purity == f64::from(total)) {
                break;
            }
        }
        best
    }

    /// Tries all splits by one feature, and updates the best split.
    fn try_feature(
        &mut self,
        feature: u8,
        counts: &[i32; CLASS_SLOTS],
        range: Range<usize>,
        best: &mut Option<Split>,
    ) {
        let Feature { ranks, sorted, values } = self.sample.feature(feature);
        let count = range.len();
        let scratch = &mut self.scratch[..count];
        for (rank, &member) in scratch.iter_mut().zip(&self.members[range]) {
            *rank = ranks[usize::from(member)];
        }
        if count <= FEW {
            sort_few(scratch)
        } else {
            sort_many(scratch, &mut self.bits)
        }

        let (totals, purities) = (&mut self.totals[..count], &mut self.purities[..count - 1]);
        let [left, right] = self.squares.each_mut().map(|squares| &mut squares[..count]);
        let mut counted = [0; CLASS_SLOTS];
        let (mut total, mut left_now) = (0, 0);
        let mut right_now: i32 = counts.iter().map(|count| count * count).sum();
        for at in 0..count {
            let Member { class, times } = sorted[usize::from(scratch[at])];
            let (class, times) = (usize::from(class) % CLASS_SLOTS, i32::from(times));
            let more = times * (2 * counted[class] + times);
            counted[class] += times;
            total += times;
            left_now += more;
            right_now += more - 2 * times * counts[class];
            (totals[at], left[at], right[at]) = (total, left_now, right_now);
        }
        for (at, purity) in purities.iter_mut().enumerate() {
            let (here, there) = (f64::from(totals[at]), f64::from(total - totals[at]));
            // A single division, of exact numbers.
            *purity = (f64::from(left[at]) * there + f64::from(right[at]) * here) / (here * there);
        }
        loop {
            let purity = max(purities);
            if purity <= best.map_or(0.0, |best| best.purity) {
                return;
            }
            let at = purities.iter().position(|&other| other == purity).expect("the maximum is among them");
            let ranks = [scratch[at], scratch[at + 1]];
            let [low, high] = ranks.map(|rank| values[usize::from(rank)]);
            if high > low + FEATURE_THRESHOLD {
                *best = Some(Split { purity, feature, ranks });
                return;
            }
            // A split cannot separate equal values: try the next best.
            purities[at] = 0.0;
        }
    }

    /// Moves the members on the lower side of a split before the others; returns how many there are.
    fn partition(&mut self, split: &Split, range: Range<usize>) -> usize {
        let ranks = self.sample.feature(split.feature).ranks;
        let members = &mut self.members[range];
        let (mut below, mut above) = (0, 0);
        for at in 0..members.len() {
            let member = members[at];
            // Written to both sides, without a branch: no processor can predict on which side a member is.
            (members[below], self.scratch[above]) = (member, member);
            let is_below = usize::from(ranks[usize::from(member)] <= split.ranks[0]);
            below += is_below;
            above += 1 - is_below;
        }
        members[below..].copy_from_slice(&self.scratch[..above]);
        below
    }
}

/// Sorts distinct numbers without a branch that depends on them.
fn sort_few(numbers: &mut [u16]) {
    let mut few = [i16::MAX; FEW];
    few.iter_mut().zip(&*numbers).for_each(|(few, &number)| *few = number as i16);
    let padded = &few[..numbers.len().next_multiple_of(8)];
    for &number in &few[..numbers.len()] {
        let smaller: i16 = padded.iter().map(|&other| i16::from(other < number)).sum();
        numbers[smaller as usize] = number as u16;
    }
}

/// Sorts distinct numbers by setting a bit for each. Clears the bits again.
fn sort_many(numbers: &mut [u16], bits: &mut [u64]) {
    for &number in &*numbers {
        bits[usize::from(number / 64)] |= 1 << (number % 64);
    }
    let mut numbers = numbers.iter_mut();
    for (word, bits) in (0..).zip(bits) {
        let mut left = std::mem::take(bits);
        while left != 0 {
            if let Some(number) = numbers.next() {
                *number = word * 64 + left.trailing_zeros() as u16;
            }
            left &= left - 1;
        }
    }
}

/// Returns the largest number. Uses four lanes, since each step of a simple fold would wait for the one before.
fn max(numbers: &[f64]) -> f64 {
    let larger = |a: f64, b: f64| if a > b { a } else { b };
    let (fours, rest) = numbers.as_chunks::<4>();
    let mut lanes = [0.0; 4];
    for four in fours {
        lanes = std::array::from_fn(|lane| larger(four[lane], lanes[lane]));
    }
    lanes.iter().chain(rest).fold(0.0, |a, &b| larger(b, a))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// Returns a sample of `rows` rows whose features have `values` different values each.
    fn sample(rows: usize, features: usize, values: u32, seed: u64) -> (Sample, Xoshiro256PlusPlus) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut table: Vec<f32> =
            (0..rows * features).map(|_| random.random_range(0..values) as f32 - 3.0).collect();
        table.extend((0..rows).map(|_| random.random_range(0..CLASSES) as f32));
        let mut sample = Sample::default();
        sample.draw(&table, rows, rows, &mut random).unwrap();
        (sample, random)
    }

    /// Returns the purity of the best split, by counting anew for every threshold of every feature.
    fn best_purity(sample: &Sample, members: &[u16]) -> f64 {
        let mut best = 0.0;
        for feature in 0..sample.features() as u8 {
            let Feature { ranks, values, .. } = sample.feature(feature);
            let value = |member: u16| values[usize::from(ranks[usize::from(member)])];
            for threshold in members.iter().map(|&member| value(member)) {
                let mut sides = [[0.0f64; CLASSES]; 2];
                for &member in members {
                    let Member { class, times } = sample.members[usize::from(member)];
                    sides[usize::from(value(member) > threshold)][usize::from(class)] += f64::from(times);
                }
                let purity = |side: &[f64; CLASSES]| {
                    side.iter().map(|count| count * count).sum::<f64>() / side.iter().sum::<f64>()
                };
                if sides.iter().all(|side| side.iter().sum::<f64>() > 0.0) {
                    best = f64::max(best, sides.iter().map(purity).sum());
                }
            }
        }
        best
    }

    #[test]
    fn a_split_is_as_good_as_the_best_of_all() {
        for (rows, values) in [(8, 3), (30, 5), (90, 1_000), (300, 7), (300, 1_000_000)] {
            for seed in 0..10 {
                // With no more features than a node tries, the result does not depend on chance.
                let (sample, random) = sample(rows, MAX_FEATURES, values, seed);
                let mut builder = TreeBuilder::new(&sample, random);
                let all = builder.members.len();
                for range in [0..all, all / 3..all] {
                    let members = builder.members[range.clone()].to_vec();
                    let mut counts = [0; CLASS_SLOTS];
                    for &member in &members {
                        let Member { class, times } = sample.members[usize::from(member)];
                        counts[usize::from(class)] += i32::from(times);
                    }
                    let split = builder.split(&counts, range).map_or(0.0, |split| split.purity);
                    let best = if counts.contains(&counts.iter().sum()) {
                        0.0
                    } else {
                        best_purity(&sample, &members)
                    };
                    assert!((split - best).abs() < 1e-9, "{rows} rows, {values} values: {split}, not {best}");
                }
            }
        }
    }

    #[test]
    fn a_tree_predicts_every_row_that_it_was_fitted_to() {
        let (sample, random) = sample(2_000, 10, u32::MAX, 5);
        let tree = Tree::fit(&sample, random);
        for (member, Member { class, .. }) in sample.members.iter().enumerate() {
            let value = |feature| {
                let Feature { ranks, values, .. } = sample.feature(feature as u8);
                values[usize::from(ranks[member])]
            };
            assert_eq!(tree.predict(value), *class);
        }
        let leaves = tree.nodes.iter().filter(|node| matches!(node, Node::Leaf { .. })).count();
        assert_eq!(tree.nodes.len(), 2 * leaves - 1);
    }

    #[test]
    fn one_informative_feature_is_found_among_many() {
        let rows = 200;
        let mut table = vec![1.5; rows * 40];
        table.extend((0..rows).map(|row| row as f32));
        table.extend((0..rows).map(|row| (row / 100) as f32));
        let mut random = Xoshiro256PlusPlus::seed_from_u64(6);
        let mut sample = Sample::default();
        sample.draw(&table, rows, rows, &mut random).unwrap();
        let tree = Tree::fit(&sample, random);
        assert_eq!(tree.nodes.len(), 3);
        let Node::Split { feature: 40, threshold, above: 2 } = tree.nodes[0] else { panic!("another split") };
        assert!((90.0..110.0).contains(&threshold), "{threshold}");
    }

    #[test]
    fn ranks_are_sorted_by_counting_and_by_bits() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut bits = vec![0; 512];
        for count in [1, 2, 7, 8, 9, FEW, FEW + 1, 5_000] {
            let numbers = rand::seq::index::sample(&mut random, i16::MAX as usize, count);
            let mut few: Vec<u16> = numbers.into_iter().map(|number| number as u16).collect();
            let (mut many, mut expected) = (few.clone(), few.clone());
            expected.sort_unstable();
            sort_many(&mut many, &mut bits);
            assert!(many == expected && bits.iter().all(|&word| word == 0), "{count} by bits");
            if count <= FEW {
                sort_few(&mut few);
                assert_eq!(few, expected);
            }
        }
    }
}
