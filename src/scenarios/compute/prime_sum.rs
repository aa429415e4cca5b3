//! The sum of all primes below a million, in chunks.
//!
//! Article 002's CPU-bound example: several threads were slower than one, and processes scaled up to the 16 logical
//! cores of its machine. The article maps over single numbers. Here a task is a chunk of numbers, since the cost of a
//! task is measured separately (`empty_task`).

use std::sync::OnceLock;

use anyhow::{Result, ensure};

use crate::workload::{Inputs, Size, Workload};

/// 64 chunks: four for each of the article's 16 workers, since later chunks take longer than early ones.
const CHUNKS: u32 = 64;
/// The article's limit.
const LIMIT: usize = 1_000_000;

pub(super) struct PrimeSum;

impl Workload for PrimeSum {
    const NAME: &'static str = "prime_sum";
    const WORKERS: &'static [usize] = &[1, 2, 4, 8, 16];
    /// The first number of the chunk, and the number after the last.
    type Input = (u32, u32);
    type Output = u64;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<(u32, u32)>> {
        let limit: u32 = size.pick(10_000, 1_000_000, 1_000_000);
        let start = |chunk: u32| (u64::from(limit) * u64::from(chunk) / u64::from(CHUNKS)) as u32;
        Ok(Inputs::new((0..CHUNKS).map(|chunk| (start(chunk), start(chunk + 1))).collect()))
    }

    fn run(_: &mut (), &(first, end): &(u32, u32)) -> Result<u64> {
        Ok((first..end).filter(|&n| is_prime(n)).map(u64::from).sum())
    }

    fn check(chunks: &[(u32, u32)], sums: &[u64]) -> Result<()> {
        static SIEVE: OnceLock<Vec<bool>> = OnceLock::new();
        let prime = SIEVE.get_or_init(|| sieve(LIMIT));
        for (&(first, end), &sum) in chunks.iter().zip(sums) {
            let expected: u64 = (first..end).filter(|&n| prime[n as usize]).map(u64::from).sum();
            ensure!(
                sum == expected,
                "the primes from {first} to below {end} add up to {expected}, not {sum}"
            );
        }
        Ok(())
    }
}

/// The sieve of Eratosthenes, which has nothing in common with trial division: whether each number is prime.
fn sieve(limit: usize) -> Vec<bool> {
    let mut prime = vec![true; limit];
    prime[..2].fill(false);
    for n in 2..limit {
        if prime[n] {
            (n * n..limit).step_by(n).for_each(|multiple| prime[multiple] = false);
        }
    }
    prime
}

/// Trial division by 2, 3 and all 6k ± 1 up to the square root.
fn is_prime(n: u32) -> bool {
    if n < 4 {
        return n >= 2;
    }
    if n.is_multiple_of(2) || n.is_multiple_of(3) {
        return false;
    }
    let mut divisor = 5;
    while divisor * divisor <= n {
        if n.is_multiple_of(divisor) || n.is_multiple_of(divisor + 2) {
            return false;
        }
        divisor += 6;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trial_division_and_known_sums_agree_with_the_sieve() {
        let prime = sieve(LIMIT);
        let sum = |limit: usize| (0..limit).filter(|&n| prime[n]).map(|n| n as u64).sum::<u64>();
        assert_eq!(sum(10_000), 5_736_396);
        assert_eq!(sum(LIMIT), 37_550_402_023);
        assert!((0..20_000).all(|n| is_prime(n) == prime[n as usize]));
    }

    #[test]
    fn the_chunks_cover_every_number_once() {
        let inputs = PrimeSum::prepare(Size::Article).unwrap().tasks;
        assert_eq!((inputs[0].0, inputs[inputs.len() - 1].1), (0, 1_000_000));
        assert!(inputs.windows(2).all(|pair| pair[0].1 == pair[1].0));
    }
}
