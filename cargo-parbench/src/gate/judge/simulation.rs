//! The error rates of the rule, on simulated blocks. METHODOLOGY has the table;
//! `cargo test --release -p cargo-parbench gate::judge::simulation -- --ignored --nocapture` prints it.

use super::{BLOCKS, Bound, Word, judge_made_up};
use crate::analysis::verdict::simulation::Random;
use crate::gate::{HEAD_AHEAD, LAYOUTS};

const CPU: Bound = Bound { threshold: 0.02, promise: 0.05 };

/// How the time of a program depends on the order of its sections.
#[derive(Clone, Copy)]
enum Layout {
    /// By how much two programs differ by chance: a standard deviation.
    Normal(f64),
    /// One order in three is slower by so much.
    Jump(f64),
}

impl Layout {
    /// What an order adds.
    fn draw(self, random: &mut Random) -> f64 {
        match self {
            Layout::Normal(deviation) => random.normal(deviation / std::f64::consts::SQRT_2),
            Layout::Jump(by) => {
                if random.uniform() * 3.0 < 1.0 {
                    by
                } else {
                    0.0
                }
            }
        }
    }
}

/// One row of a gate, with the standard deviation of a block.
fn row(random: &mut Random, noise: f64, layout: Layout, change: f64) -> (bool, Word) {
    let change = change.ln_1p();
    let blocks = |random: &mut Random, base: &[f64], head: &[f64]| -> Vec<f64> {
        let order = |side: &[f64], turn: usize| side[turn % side.len()];
        let pair = |block| order(head, block + HEAD_AHEAD) - order(base, block);
        (0..BLOCKS as usize).map(|block| change + pair(block) + random.normal(noise)).collect()
    };
    let mut is_suspect = false;
    let stage = |number| {
        is_suspect |= number > 0;
        // The first stage has one order of each program.
        let orders = if number == 0 { 1 } else { LAYOUTS };
        let [base, head] = [0, 1].map(|_| (0..orders).map(|_| layout.draw(random)).collect::<Vec<_>>());
        blocks(random, &base, &head)
    };
    let word = judge_made_up(stage, CPU);
    (is_suspect, word)
}

/// Of so many rows, which part were suspects, and which part were called slower or faster, and unchanged.
fn rates(runs: u32, noise: f64, layout: Layout, change: f64) -> [f64; 3] {
    let mut random = Random(7);
    let mut seen = [0; 3];
    for _ in 0..runs {
        let (suspect, word) = row(&mut random, noise, layout, change);
        seen[0] += u32::from(suspect);
        seen[1] += u32::from(matches!(word, Word::Slower | Word::Faster));
        seen[2] += u32::from(word == Word::NoClearChange);
    }
    seen.map(|seen| f64::from(seen) / f64::from(runs))
}

#[test]
fn false_alarms_are_rare_and_five_per_cent_are_found() {
    const LAYOUT: Layout = Layout::Normal(0.008);
    for noise in [0.006, 0.013, 0.026] {
        let [_, alarms, _] = rates(20_000, noise, LAYOUT, 0.0);
        assert!(alarms <= 0.001, "noise {noise}: {alarms}");
        let [_, found, unchanged] = rates(2_000, noise, LAYOUT, 0.05);
        assert!(found >= 0.9 && unchanged <= 0.01, "noise {noise}: {found} {unchanged}");
        let [_, found, unchanged] = rates(2_000, noise, LAYOUT, 0.1);
        assert!(found >= 0.99 && unchanged == 0.0, "noise {noise}: {found} {unchanged}");
    }
    let [_, alarms, _] = rates(20_000, 0.013, Layout::Jump(0.3), 0.0);
    assert!(alarms <= 0.001, "{alarms}");
}

#[test]
#[ignore = "prints the table of METHODOLOGY"]
fn table() {
    let normal = |deviation: f64| (format!("{:.1} %", 100.0 * deviation), Layout::Normal(deviation));
    let jump = ("one in three +30 %".to_string(), Layout::Jump(0.3));
    for (name, layout) in [normal(0.0), normal(0.008), normal(0.015), jump] {
        for noise in [0.006, 0.013, 0.026] {
            let [suspects, alarms, _] = rates(100_000, noise, layout, 0.0);
            let found = [0.03, 0.05, 0.1].map(|change| rates(10_000, noise, layout, change)[1]);
            println!(
                "| {name} | {:.1} % | {:.1} % | {:.3} % | {:.1} % | {:.1} % | {:.1} % |",
                100.0 * noise,
                100.0 * suspects,
                100.0 * alarms,
                100.0 * found[0],
                100.0 * found[1],
                100.0 * found[2]
            );
        }
    }
}
