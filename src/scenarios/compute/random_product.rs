//! The product of thousands of random numbers: one large number that grows with every step.
//!
//! Article 001's `reduce(lambda x, y: x*y, random.sample(range(1000000), number))` with `number` = 50,000, once in each
//! of 1, 2, 4 and 8 threads or processes. Its chart shows no figures: one process took longer than one thread; several
//! processes took far less time than the same number of threads, less clearly with eight on its four cores. As in the
//! article, the numbers are drawn inside the task, are all different, and are multiplied one after another; a tree of
//! products would be faster, but a different experiment. The article discards the product; here it is reduced to its
//! length and a remainder, at a thousandth of the cost of the product.
//!
//! One difference: `range(1000000)` begins with 0, which one in twenty samples contains. From there on, the product
//! is 0 and multiplying costs nothing. Here the numbers begin with 1.

use anyhow::{Result, ensure};
use num_bigint::BigUint;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::index;
use serde::{Deserialize, Serialize};

use crate::workload::{Inputs, Scaling, Size, Workload};

/// The article's largest number of workers.
const TASKS: u64 = 8;
/// All numbers are below this limit.
const LIMIT: usize = 1_000_000;
/// 2^61 − 1, a prime: no factor is a multiple of it, so no correct product has the remainder 0.
const MODULUS: u64 = (1 << 61) - 1;

pub(super) struct RandomProduct;

/// A sample of random numbers: its seed and length.
#[derive(Serialize, Deserialize)]
pub(super) struct Sample {
    seed: u64,
    numbers: usize,
}

/// A digest of a product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Digest {
    bits: u64,
    /// The product modulo `MODULUS`.
    remainder: u64,
}

impl Workload for RandomProduct {
    const NAME: &'static str = "random_product";
    const WORKERS: &'static [usize] = &[1, 2, 4, 8];
    const SCALING: Scaling = Scaling::Weak;
    type Input = Sample;
    type Output = Digest;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Sample>> {
        let numbers = size.pick(500, 14_000, 50_000);
        Ok(Inputs::new((0..TASKS).map(|seed| Sample { seed, numbers }).collect()))
    }

    fn run(_: &mut (), sample: &Sample) -> Result<Digest> {
        let mut product = BigUint::from(1u32);
        for number in draw(sample) {
            product *= number;
        }
        let remainder = (&product % MODULUS).try_into().expect("a remainder is less than the modulus");
        Ok(Digest { bits: product.bits(), remainder })
    }

    fn check(samples: &[Sample], digests: &[Digest]) -> Result<()> {
        for (sample, digest) in samples.iter().zip(digests) {
            let (mut remainder, mut logarithm) = (1, 0.0);
            for number in draw(sample) {
                remainder = (u128::from(remainder) * u128::from(number) % u128::from(MODULUS)) as u64;
                logarithm += f64::from(number).log2();
            }
            let seed = sample.seed;
            ensure!(
                digest.remainder == remainder,
                "product {seed} has the remainder {remainder}, but the task returned {digest:?}"
            );
            // The sum of a million logarithms is off by far less than a half.
            let bits = digest.bits as f64 - 0.5;
            ensure!(
                (bits - logarithm).abs() < 1.0,
                "product {seed} has {logarithm:.1} bits, but the task returned {digest:?}"
            );
        }
        Ok(())
    }
}

/// Draws different numbers from 1 to `LIMIT` − 1.
fn draw(&Sample { seed, numbers }: &Sample) -> impl Iterator<Item = u32> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    index::sample(&mut random, LIMIT - 1, numbers).into_iter().map(|index| index as u32 + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_numbers_are_different_positive_and_below_a_million() {
        let numbers: BTreeSet<_> = draw(&Sample { seed: 1, numbers: 50_000 }).collect();
        assert_eq!(numbers.len(), 50_000);
        assert!(numbers.first() > Some(&0) && numbers.last() < Some(&1_000_000));
    }

    #[test]
    fn a_wrong_product_is_refused() {
        let samples = RandomProduct::prepare(Size::Smoke).unwrap().tasks;
        let right =
            samples.iter().map(|sample| RandomProduct::run(&mut (), sample)).collect::<Result<Vec<_>>>();
        let right = right.unwrap();
        RandomProduct::check(&samples, &right).unwrap();
        let (swapped, mut longer, mut other) = ([right[1].clone(), right[0].clone()], right.clone(), right);
        longer[2].bits += 2;
        other[2].remainder += 1;
        for wrong in [&swapped[..], &longer, &other] {
            assert!(RandomProduct::check(&samples, wrong).is_err());
        }
    }
}
