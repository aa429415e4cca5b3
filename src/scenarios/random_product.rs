//! The product of thousands of random numbers: one large number that grows with every step.
//!
//! Article 001's `reduce(lambda x, y: x*y, random.sample(range(1000000), number))` with `number` of 50,000, once
//! in each of 1, 2, 4 and 8 threads or processes. Its chart has no figures: one process took longer than one
//! thread, many processes far less than as many threads, less clearly so with eight on its four cores. As there,
//! the numbers are drawn inside the task, differ from each other, and are multiplied one after another: a tree
//! of products would be faster and another experiment. The product is thrown away there; here it is reduced to
//! its length and a remainder, which cost a thousandth of it.
//!
//! One thing differs: `range(1000000)` begins with 0, which one in twenty samples contains, and from there on the
//! product is 0 and multiplying costs nothing. Here the numbers begin with 1.

use anyhow::{Result, ensure};
use num_bigint::BigUint;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::index;
use serde::{Deserialize, Serialize};

use crate::workload::{Inputs, Scaling, Size, Workload};

/// As many as the article's most workers.
const TASKS: u64 = 8;
/// The numbers are below this.
const LIMIT: usize = 1_000_000;
/// 2^61 − 1, a prime: no factor is a multiple of it, so no right product leaves 0.
const MODULUS: u64 = (1 << 61) - 1;

pub(super) struct RandomProduct;

/// Which numbers, and how many of them.
#[derive(Serialize, Deserialize)]
pub(super) struct Sample {
    seed: u64,
    numbers: usize,
}

/// What is left of a product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Digest {
    bits: u64,
    /// What it leaves when divided by `MODULUS`.
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
        let numbers = size.pick(500, 20_000, 50_000);
        Ok(Inputs::new((0..TASKS).map(|seed| Sample { seed, numbers }).collect()))
    }

    fn run(_: &mut (), sample: &Sample) -> Result<Digest> {
        let mut product = BigUint::from(1u32);
        for number in draw(sample) {
            product *= number;
        }
        let remainder = (&product % MODULUS).try_into().expect("it is less than the modulus");
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
                "product {seed} leaves {remainder}, not as {digest:?} says"
            );
            // A million added logarithms are off by far less than a half.
            let bits = digest.bits as f64 - 0.5;
            ensure!(
                (bits - logarithm).abs() < 1.0,
                "product {seed} has {logarithm} bits, not as {digest:?} says"
            );
        }
        Ok(())
    }
}

/// Different numbers from 1 up to, and without, `LIMIT`.
fn draw(&Sample { seed, numbers }: &Sample) -> impl Iterator<Item = u32> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    index::sample(&mut random, LIMIT - 1, numbers).into_iter().map(|index| index as u32 + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_numbers_are_different_and_below_a_million_and_none_is_zero() {
        let numbers: BTreeSet<_> = draw(&Sample { seed: 1, numbers: 50_000 }).collect();
        assert_eq!(numbers.len(), 50_000);
        assert!(numbers.first() > Some(&0) && numbers.last() < Some(&1_000_000));
    }

    #[test]
    fn a_product_that_is_not_that_of_its_numbers_is_refused() {
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
