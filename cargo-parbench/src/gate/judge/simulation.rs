//! The error rates of the rule, on simulated blocks. METHODOLOGY has the table;
//! `cargo test --release -p cargo-parbench gate::judge::simulation -- --ignored --nocapture` prints it.

use super::{BLOCKS, Bound, Word, is_suspect, judge};
use crate::analysis::verdict::simulation::Random;
use crate::gate::LAYOUTS;

const CPU: Bound = Bound { threshold: 0.02, promise: 0.05 };

/// One row of a gate: the noise of a block and how far the layouts of two programs differ by chance, as standard deviations.
fn row(random: &mut Random, noise: f64, layout: f64, change: f64) -> (bool, Word) {
    let change = change.ln_1p();
    // The first stage has one layout of each program.
    let fixed = random.normal(layout);
    let first: Vec<_> = (0..BLOCKS).map(|_| change + fixed + random.normal(noise)).collect();
    if !is_suspect(&first, CPU) {
        return (false, judge(&first, &[], CPU));
    }
    let of_one = layout / std::f64::consts::SQRT_2;
    let mut layouts = || (0..LAYOUTS).map(|_| random.normal(of_one)).collect::<Vec<_>>();
    let sides = [layouts(), layouts()];
    let mut drawn = |side: usize| sides[side][(random.uniform() * f64::from(LAYOUTS)) as usize];
    let pairs: Vec<_> = (0..BLOCKS).map(|_| drawn(1) - drawn(0)).collect();
    let second: Vec<_> = pairs.iter().map(|pair| change + pair + random.normal(noise)).collect();
    (true, judge(&first, &second, CPU))
}

/// Of so many rows, which part were suspects, and which part were called slower or faster, and unchanged.
fn rates(runs: u32, noise: f64, layout: f64, change: f64) -> [f64; 3] {
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
    for noise in [0.006, 0.013, 0.026] {
        let [_, alarms, _] = rates(20_000, noise, 0.008, 0.0);
        assert!(alarms <= 0.001, "noise {noise}: {alarms}");
        let [_, found, unchanged] = rates(2_000, noise, 0.008, 0.05);
        assert!(found >= 0.9 && unchanged <= 0.01, "noise {noise}: {found} {unchanged}");
        let [_, found, unchanged] = rates(2_000, noise, 0.008, 0.1);
        assert!(found >= 0.99 && unchanged == 0.0, "noise {noise}: {found} {unchanged}");
    }
}

#[test]
#[ignore = "prints the table of METHODOLOGY"]
fn table() {
    for layout in [0.0, 0.008, 0.015] {
        for noise in [0.006, 0.013, 0.026] {
            let [suspects, alarms, _] = rates(100_000, noise, layout, 0.0);
            let found = [0.03, 0.05, 0.1].map(|change| rates(10_000, noise, layout, change)[1]);
            println!(
                "| {:.1} % | {:.1} % | {:.1} % | {:.3} % | {:.1} % | {:.1} % | {:.1} % |",
                100.0 * layout,
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
