//! The sample of rows that one tree is fitted to, sorted by each feature.

use anyhow::{Context, Result, ensure};
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

/// Maximum number of rows in a sample: a rank fits in an i16, and the square of the number of rows in an i32.
const MAX_ROWS: usize = i16::MAX as usize;

/// A row of the sample: its class, and how many times it was drawn.
#[derive(Clone, Copy)]
pub(super) struct Member {
    pub(super) class: u8,
    pub(super) times: u8,
}

/// The rows that a tree is fitted to. Each feature is sorted once; after that, only ranks are compared, which are small
/// integers and all different. A worker reuses one sample for all its trees: fresh pages for each would take a tenth
/// of the time.
#[derive(Default)]
pub(in crate::scenarios) struct Sample {
    pub(super) members: Vec<Member>,
    /// For each feature, the rank of each member.
    ranks: Vec<u16>,
    /// For each feature, the members by rank.
    sorted: Vec<Member>,
    /// For each feature, the values by rank.
    values: Vec<f32>,
}

/// Draws `fitted` times from as many rows, with replacement: how many times each row was drawn.
pub(super) fn draw_times(fitted: usize, random: &mut Xoshiro256PlusPlus) -> Vec<u8> {
    let mut times = vec![0; fitted];
    (0..fitted).for_each(|_| times[random.random_range(0..fitted)] += 1);
    times
}

/// One feature of a sample.
pub(super) struct Feature<'a> {
    pub(super) ranks: &'a [u16],
    pub(super) sorted: &'a [Member],
    pub(super) values: &'a [f32],
}

impl Sample {
    /// Draws `fitted` times from the first `fitted` rows, with replacement. The table's columns are the features and
    /// the class, each of `rows` rows.
    pub(super) fn draw(
        &mut self,
        table: &[f32],
        rows: usize,
        fitted: usize,
        random: &mut Xoshiro256PlusPlus,
    ) -> Result<()> {
        ensure!(fitted <= MAX_ROWS, "cannot fit {fitted} rows: the maximum is {MAX_ROWS}");
        let times = draw_times(fitted, random);
        let drawn: Vec<usize> = (0..fitted).filter(|&row| times[row] > 0).collect();
        let mut columns: Vec<_> = table.chunks_exact(rows).collect();
        let classes = columns.pop().context("the table has no columns")?;
        let member = |&row: &usize| Member { class: classes[row] as u8, times: times[row] };
        let members: Vec<_> = drawn.iter().map(member).collect();
        self.ranks.resize(columns.len() * members.len(), 0);
        self.sorted.clear();
        self.values.clear();
        for (column, ranks) in columns.into_iter().zip(self.ranks.chunks_exact_mut(members.len())) {
            let column: Vec<f32> = drawn.iter().map(|&row| column[row]).collect();
            let indices = sort(&column);
            (0..).zip(&indices).for_each(|(rank, &index)| ranks[usize::from(index)] = rank);
            self.sorted.extend(indices.iter().map(|&index| members[usize::from(index)]));
            self.values.extend(indices.iter().map(|&index| column[usize::from(index)]));
        }
        self.members = members;
        Ok(())
    }

    pub(super) fn features(&self) -> usize {
        self.ranks.len() / self.members.len()
    }

    pub(super) fn feature(&self, feature: u8) -> Feature<'_> {
        let count = self.members.len();
        let column = usize::from(feature) * count..(usize::from(feature) + 1) * count;
        let (ranks, sorted) = (&self.ranks[column.clone()], &self.sorted[column.clone()]);
        Feature { ranks, sorted, values: &self.values[column] }
    }
}

/// Returns the indices of the values in ascending order.
fn sort(values: &[f32]) -> Vec<u16> {
    let low = values.iter().fold(f32::INFINITY, |low, &value| if value < low { value } else { low });
    let high = values.iter().fold(f32::NEG_INFINITY, |high, &value| if value > high { value } else { high });
    // First roughly: a radix sort, a byte at a time, by which of 65,536 equal steps a value is on.
    let scale = f32::from(u16::MAX) / (high - low);
    let step = |value: f32| (((value - low) * scale) as i32 as u32) << 16;
    let mut from: Vec<u32> = (0..).zip(values).map(|(index, &value)| step(value) | index).collect();
    let mut into = vec![0; from.len()];
    let mut counts = [[0u32; 256]; 2];
    for entry in &from {
        counts[0][(entry >> 16) as usize & 255] += 1;
        counts[1][(entry >> 24) as usize] += 1;
    }
    for (shift, counts) in [16, 24].into_iter().zip(&mut counts) {
        let mut sum = 0;
        counts.iter_mut().for_each(|count| sum += std::mem::replace(count, sum));
        for &entry in &from {
            let index = &mut counts[(entry >> shift) as usize & 255];
            into[*index as usize] = entry;
            *index += 1;
        }
        std::mem::swap(&mut from, &mut into);
    }
    // Then exactly: few values are on the same step, so insertion is fast.
    let mut indices: Vec<u16> = from.into_iter().map(|entry| entry as u16).collect();
    for end in 1..indices.len() {
        let mut at = end;
        while at > 0 && values[usize::from(indices[at - 1])] > values[usize::from(indices[at])] {
            indices.swap(at - 1, at);
            at -= 1;
        }
    }
    indices
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn values_of_every_distribution_are_sorted_exactly() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut even = || -> Vec<f32> { (0..5_000).map(|_| random.random_range(-2.0..3.0)).collect() };
        let clumps = even().into_iter().map(|value| value.powi(31)).collect();
        let few = even().into_iter().map(f32::round).collect();
        for values in [even(), clumps, few, vec![0.5; 40], vec![-1.0], vec![f32::MIN_POSITIVE, 0.0, -0.0]] {
            let mut expected = values.clone();
            expected.sort_unstable_by(f32::total_cmp);
            let mut indices = sort(&values);
            assert!(indices.iter().zip(expected).all(|(&index, value)| values[usize::from(index)] == value));
            indices.sort_unstable();
            assert!(indices.into_iter().eq(0..values.len() as u16), "not each index once");
        }
    }

    #[test]
    fn a_sample_counts_each_drawn_row_and_sorts_them_by_each_feature() {
        // The second feature falls as the first rises; rows 100 to 149 are held out.
        let rising = |row: usize| row as f32;
        let table: Vec<f32> = [rising, |row| -(row as f32), |row| (row % 3) as f32]
            .into_iter()
            .flat_map(|column| (0..150).map(column))
            .collect();
        let mut sample = Sample::default();
        sample.draw(&table, 150, 100, &mut Xoshiro256PlusPlus::seed_from_u64(2)).unwrap();
        assert_eq!(sample.features(), 2);
        assert_eq!(sample.members.iter().map(|member| u32::from(member.times)).sum::<u32>(), 100);
        let [up, down] = [0, 1].map(|feature| sample.feature(feature));
        assert!(up.values.is_sorted() && down.values.is_sorted() && up.values.iter().all(|&row| row < 100.0));
        for (member, (&up_rank, &down_rank)) in up.ranks.iter().zip(down.ranks).enumerate() {
            assert_eq!(usize::from(up_rank + down_rank), sample.members.len() - 1);
            let row = up.values[usize::from(up_rank)];
            assert_eq!(sample.members[member].class, row as u8 % 3);
            assert_eq!(up.sorted[usize::from(up_rank)].class, row as u8 % 3);
        }
    }
}
