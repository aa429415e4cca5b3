//! Gates made of blocks that other gates have measured: how often the rule is wrong with the noise of this machine, in more
//! gates than anybody has time to measure. They share their blocks, and so they are no proof; what is printed says so.

use std::collections::BTreeMap;

use super::Ran;
use crate::gate::judge::{BLOCKS, Bound, Word, judge_made_up};

/// Gates of each change.
const GATES: u32 = 1_000;
/// What is added to the ratio of each block, as a ratio minus 1.
const CHANGES: [f64; 4] = [0.0, 0.03, 0.05, 0.1];
/// With the blocks of fewer gates, a row's noise is hardly known.
const FEW: usize = 3;

/// The blocks of a row in several gates of identical programs, as logarithms of head over base: of the first stage, and of those
/// after it.
#[derive(Default)]
struct Pool {
    bound: Option<Bound>,
    stages: [Vec<f64>; 2],
    gates: usize,
}

impl Pool {
    /// The verdict of a gate whose blocks are drawn from these, with a change added to each.
    fn judged(&self, bound: Bound, change: f64, random: &mut fastrand::Rng) -> Word {
        let mut draw = |from: &[f64]| -> Vec<f64> {
            (0..BLOCKS).filter_map(|_| Some(random.choice(from)? + change.ln_1p())).collect()
        };
        // A row that was never a suspect has no blocks of a second stage.
        let later = if self.stages[1].is_empty() { &self.stages[0] } else { &self.stages[1] };
        judge_made_up(|stage| draw(if stage == 0 { &self.stages[0] } else { later }), bound)
    }
}

/// What resampled gates find, in lines; nothing if there are too few blocks to draw from.
pub(super) fn table(gates: &[&Ran]) -> String {
    let mut pools = BTreeMap::<&str, Pool>::new();
    for row in gates.iter().flat_map(|gate| &gate.rows).filter(|row| row.error.is_none()) {
        let pool = pools.entry(&row.row).or_default();
        // Waiting is injected otherwise.
        pool.bound = row.bound.filter(|bound| *bound != Bound::WALL);
        pool.gates += usize::from(row.blocks.first().is_some_and(|first| !first.is_empty()));
        for (stage, blocks) in row.blocks.iter().enumerate() {
            pool.stages[stage.min(1)].extend(blocks);
        }
    }
    pools.retain(|_, pool| pool.bound.is_some() && pool.gates >= FEW);
    if pools.is_empty() {
        return String::new();
    }
    let mut random = fastrand::Rng::with_seed(1);
    let mut text = format!("  resampled, {GATES} gates of {} rows of CPU time each:", pools.len());
    for change in CHANGES {
        let (mut slower, mut unchanged, mut red) = (0_u32, 0_u32, 0_u32);
        for _ in 0..GATES {
            let before = slower;
            for pool in pools.values() {
                let word = pool.judged(pool.bound.expect("others were left out"), change, &mut random);
                slower += u32::from(word == Word::Slower);
                unchanged += u32::from(word == Word::NoClearChange);
            }
            red += u32::from(slower > before);
        }
        let rate = |count: u32| 100.0 * f64::from(count) / f64::from(GATES) / pools.len() as f64;
        text += &match change {
            0.0 => format!(" false alarms in {:.3} % of rows and in {red} gates", rate(slower)),
            _ => format!(
                "; +{:.0} % found in {:.1} %, no clear change {:.2} %",
                100.0 * change,
                rate(slower),
                rate(unchanged)
            ),
        };
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::super::RanRow;
    use super::*;

    fn ran(logs: &[f64]) -> Ran {
        let row = |blocks: &[f64]| RanRow {
            row: "prime_sum on serial/1".into(),
            bound: Some(Bound::cpu(0.02)),
            blocks: vec![blocks.to_vec()],
            ..RanRow::default()
        };
        Ran { rows: vec![row(logs)], ..Ran::default() }
    }

    #[test]
    fn calm_blocks_raise_no_alarm_and_show_what_is_added() {
        let gate = ran(&[-0.004, 0.003, 0.0, 0.001, -0.002, 0.002, 0.004]);
        let text = table(&[&gate, &gate, &gate]);
        assert!(text.contains("false alarms in 0.000 % of rows and in 0 gates"), "{text}");
        assert!(text.contains("+5 % found in 100.0 %, no clear change 0.00 %"), "{text}");
    }

    #[test]
    fn blocks_that_are_off_are_alarms() {
        let text = table(&[&ran(&[0.06; 7]), &ran(&[0.06; 7]), &ran(&[0.06; 7])]);
        assert!(text.contains("false alarms in 100.000 % of rows and in 1000 gates"), "{text}");
    }

    #[test]
    fn few_gates_and_waiting_rows_are_not_resampled() {
        let gate = ran(&[0.0; 7]);
        assert_eq!(table(&[&gate, &gate]), "");
        let mut waiting = ran(&[0.0; 7]);
        waiting.rows[0].bound = Some(Bound::WALL);
        assert_eq!(table(&[&waiting, &waiting, &waiting]), "");
    }
}
