//! The error rates of the verdict, on simulated rounds: how often it calls equal variants different, and how often it finds a
//! difference. METHODOLOGY has the table; `cargo test --release -p cargo-parbench simulation -- --ignored --nocapture` prints it.

use std::collections::BTreeMap;

use super::super::rounds::{Values, log_ratios};
use super::{Bounds, control, judge};
use crate::analysis::Verdict;

/// Numbers that look random (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normally distributed (Box and Muller).
    pub(crate) fn normal(&mut self, deviation: f64) -> f64 {
        let (one, other) = (1.0 - self.uniform(), self.uniform());
        deviation * (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos()
    }
}

/// What is simulated: the noise of an observation, the offset of a launch and of a cell in it, as standard deviations.
#[derive(Clone, Copy)]
struct Setting {
    noise: f64,
    offset: f64,
    launches: u32,
    rounds: u32,
    /// How much longer the second variant takes.
    difference: f64,
}

/// The replicas of one variant, and the mean of their logarithms.
fn variant(random: &mut Random, setting: Setting, mean: f64) -> (Vec<Values>, Values) {
    let mut replicas = vec![Values::new(), Values::new()];
    for launch in 0..setting.launches {
        // What processes are given by chance belongs to the cell; a launch may share some of it.
        let shared = random.normal(setting.offset);
        for replica in &mut replicas {
            let own = random.normal(setting.offset);
            for round in 0..setting.rounds {
                // The mean of two passes.
                let noise = (random.normal(setting.noise) + random.normal(setting.noise)) / 2.0;
                replica.insert((launch + 1, round), mean + shared + own + noise);
            }
        }
    }
    let both = replicas[0].iter().map(|(round, value)| (*round, f64::midpoint(*value, replicas[1][round])));
    let mean = both.collect();
    (replicas, mean)
}

/// Judges two variants. That they were chosen because they were fast in the scan has no part in it: the scan is a launch of
/// its own, whose chance is not that of the rounds that judge.
fn judged(random: &mut Random, setting: Setting) -> Verdict {
    let (replicas, values) = variant(random, setting, 0.0);
    let (other_replicas, others) = variant(random, setting, (1.0 + setting.difference).ln());
    let all = |_: &(u32, u32)| true;
    let control =
        [control(&replicas, all), control(&other_replicas, all)].into_iter().flatten().fold(0.0, f64::max);
    judge(&log_ratios(&values, &others, all), Some(control), Bounds::FULL).verdict
}

fn rates(setting: Setting, trials: u32) -> (f64, f64, f64) {
    let mut random = Random(u64::from(setting.rounds) << 32 | (setting.noise * 1e4) as u64);
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..trials {
        *counts.entry(judged(&mut random, setting).word()).or_default() += 1;
    }
    let rate = |word| f64::from(counts.get(word).copied().unwrap_or(0)) / f64::from(trials);
    (rate("clear"), rate("tie"), rate("open"))
}

const NOISES: [f64; 3] = [0.02, 0.04, 0.08];

#[test]
fn equal_variants_are_called_different_in_less_than_one_of_a_hundred_runs() {
    for noise in NOISES {
        let setting = Setting { noise, offset: noise / 2.0, launches: 3, rounds: 3, difference: 0.0 };
        let (clear, ..) = rates(setting, 4_000);
        assert!(clear <= 0.01, "{noise}: {clear}");
    }
}

#[test]
#[ignore = "prints a table"]
fn error_rates() {
    println!("| noise | offset of a launch | launches x rounds | difference | clear | tie | open |");
    println!("|--:|--:|---|--:|--:|--:|--:|");
    for noise in NOISES {
        for offset in [0.0, noise / 2.0, noise] {
            for (launches, rounds) in [(3, 3), (3, 4)] {
                for difference in [0.0, 0.1, 0.2] {
                    let (clear, tie, open) =
                        rates(Setting { noise, offset, launches, rounds, difference }, 20_000);
                    println!(
                        "| {:.0} % | {:.0} % | {launches} x {rounds} | {:.0} % | {:.2} % | {:.1} % | {:.1} % |",
                        noise * 100.0,
                        offset * 100.0,
                        difference * 100.0,
                        clear * 100.0,
                        tie * 100.0,
                        open * 100.0
                    );
                }
            }
        }
    }
}
