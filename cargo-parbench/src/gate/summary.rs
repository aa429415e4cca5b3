//! What the observations of rows say: the words of each, and of all together. Pure functions of a comparison.

use super::comparison::{Block, Comparison, Part, Row, Side, Signal};
use super::judge::{self, BLOCKS, Bound, Word, is_suspect, is_to_be_confirmed, rules_out};
use crate::analysis::Interval;
use crate::analysis::rounds::{interval, median};
use crate::report::format::{duration, percent, signed_percent};

/// Below this many CPUs in use there is no parallelism to be lost.
const PARALLEL: f64 = 1.2;
/// Fewer rows, or fewer null arms, are too few to say that all moved together.
const FEW: usize = 6;
/// New calls of the allocator for each task that are one: executors make a few of their own, now more and now fewer.
const CALLS_A_TASK: f64 = 0.75;

const STAGES: [u8; 3] = [1, 2, 3];

pub(crate) const RUNNER_CHANGED: &str = "the runner changed, not the code: more than a third of the rows moved together, and \
                                         base beside itself moved as well";

/// A value of a part; `None` if the system does not tell.
type Value<'a> = &'a dyn Fn(&Part) -> Option<f64>;

impl Block {
    fn parts(&self, side: Side) -> &[Part] {
        let of_side = self.observations.iter().find(|observed| observed.side == side);
        of_side.map_or(&[], |observed| &observed.parts)
    }

    /// The median of the logarithms of a value on one side over base, part by part: what disturbs both at a time is in neither.
    fn log(&self, over: Side, value: Value) -> Option<f64> {
        let pairs = self.parts(over).iter().zip(self.parts(Side::Base));
        median(pairs.filter_map(|(over, base)| Some((value(over)? / value(base)?).ln())))
    }
}

impl Row {
    /// The logarithms of a value on one side over base, block by block, of a stage.
    fn logs(&self, stage: u8, over: Side, value: Value) -> Vec<f64> {
        let of_stage = self.blocks.iter().filter(|block| block.stage == stage);
        of_stage.filter_map(|block| block.log(over, value)).collect()
    }

    /// The values of a side in all stages.
    fn values(&self, side: Side, value: Value) -> Vec<f64> {
        self.blocks.iter().flat_map(|block| block.parts(side)).filter_map(value).collect()
    }

    /// The median of a value on a side.
    pub(crate) fn median(&self, side: Side, value: Value) -> Option<f64> {
        median(self.values(side, value))
    }

    /// The logarithms of head over base in the blocks of each stage.
    pub(crate) fn blocks_of_stages(&self) -> [Vec<f64>; 3] {
        STAGES.map(|stage| self.logs(stage, Side::Head, &|part| part.value(self.signal)))
    }

    /// Head over base, with its interval, in all stages.
    pub(crate) fn ratio(&self) -> Option<Interval> {
        interval(self.blocks_of_stages().concat())
    }

    /// In how many of its blocks head was slower.
    pub(crate) fn slower_in(&self) -> (usize, usize) {
        let logs = self.blocks_of_stages().concat();
        (logs.iter().filter(|log| **log > 0.0).count(), logs.len())
    }

    /// How far base beside itself was off in each null arm, block by block, as logarithms.
    fn null_blocks(&self) -> impl Iterator<Item = Vec<f64>> {
        let of = |side| self.logs(1, side, &|part| part.value(self.signal));
        [Side::Copy, Side::Relinked].into_iter().map(of).filter(|logs| !logs.is_empty())
    }

    /// The medians of its null arms, as logarithms.
    pub(crate) fn nulls(&self) -> Vec<f64> {
        self.null_blocks().filter_map(median).collect()
    }

    /// How much of the time its threads waited for a CPU.
    pub(crate) fn waiting(&self) -> Option<f64> {
        self.median(Side::Base, &|part| Some(part.queue_ns? as f64 / part.wall_ns.max(1) as f64))
    }

    fn bound(&self) -> Bound {
        self.bound.unwrap_or(Bound::WALL)
    }

    /// Logarithms of the parallelism that head has lost, where base has any. Waiting tasks have none to lose.
    fn lost_parallelism(&self, stage: u8) -> Vec<f64> {
        let is_parallel = self.signal == Signal::Cpu
            && self.median(Side::Base, &Part::parallelism).is_some_and(|parallelism| parallelism > PARALLEL);
        if !is_parallel {
            return Vec::new();
        }
        self.logs(stage, Side::Head, &Part::parallelism).iter().map(|log| -log).collect()
    }
}

/// Whether the first stage has seen a change, of time or of parallelism.
pub(crate) fn may_have_changed(row: &Row) -> bool {
    let [first, ..] = row.blocks_of_stages();
    let lost = row.lost_parallelism(1);
    is_suspect(&first, row.bound())
        || (median(lost.iter().copied()) > Some(0.0) && is_suspect(&lost, Bound::WALL))
}

/// Whether a row needs the second stage: it may have changed, or is too noisy to say that it has not.
pub(crate) fn needs_second(row: &Row) -> bool {
    let [first, ..] = row.blocks_of_stages();
    row.error.is_none() && (may_have_changed(row) || !rules_out(&first, row.bound()))
}

/// Whether the second stage has seen the change as well, which a third one is to confirm.
pub(crate) fn needs_third(row: &Row) -> bool {
    let [first, second, _] = row.blocks_of_stages();
    let [lost_first, lost_second] = [1, 2].map(|stage| row.lost_parallelism(stage));
    row.error.is_none()
        && (is_to_be_confirmed(&first, &second, row.bound())
            || is_to_be_confirmed(&lost_first, &lost_second, Bound::WALL))
}

/// Whether more than a third of the rows moved in the same direction, and so did base beside itself. Where base stays what it
/// is, what all rows have in common has changed, and that is code. An arm that is only noisy has not moved: rows and arms are
/// asked the same question.
pub(crate) fn runner_changed(rows: &[Row]) -> bool {
    let measured: Vec<_> = rows.iter().filter(|row| row.error.is_none()).collect();
    let moved = |logs: &[f64], bound, sign: f64| {
        is_suspect(logs, bound) && median(logs.iter().copied()).is_some_and(|log| sign * log > 0.0)
    };
    let arms: Vec<_> =
        measured.iter().flat_map(|row| row.null_blocks().map(|logs| (logs, row.bound()))).collect();
    measured.len() >= FEW
        && arms.len() >= FEW
        && [1.0, -1.0].into_iter().any(|sign| {
            let of_rows = measured.iter().filter(|row| {
                let [first, ..] = row.blocks_of_stages();
                moved(&first, row.bound(), sign)
            });
            let of_arms = arms.iter().filter(|(logs, bound)| moved(logs, *bound, sign));
            of_rows.count() * 3 > measured.len() && of_arms.count() * 3 > arms.len()
        })
}

/// Judges a row.
pub(crate) fn judge(row: &mut Row) {
    row.changes.clear();
    if row.error.is_some() {
        row.word = Word::NotJudged;
        return;
    }
    let of_stages = |logs: &[Vec<f64>; 3], bound| judge::judge(logs.each_ref().map(Vec::as_slice), bound);
    let mut word = of_stages(&row.blocks_of_stages(), row.bound());
    let mut changes = Vec::new();
    if let (Word::Slower | Word::Faster, Some(ratio)) = (word, row.ratio()) {
        let what = if row.signal == Signal::Cpu { "CPU time" } else { "wall time" };
        changes.push(format!(
            "{what} {} [{}..{}]",
            signed_percent(ratio.median - 1.0),
            signed_percent(ratio.low - 1.0),
            signed_percent(ratio.high - 1.0)
        ));
    }
    if of_stages(&STAGES.map(|stage| row.lost_parallelism(stage)), Bound::WALL) == Word::Slower {
        let of = |side| row.median(side, &Part::parallelism).unwrap_or(0.0);
        changes.push(format!("parallelism {:.2} -> {:.2}", of(Side::Base), of(Side::Head)));
        word = Word::Slower;
    }
    for (what, least, value) in [
        ("allocations", CALLS_A_TASK, &(|part: &Part| Some(part.allocations? as f64)) as Value),
        ("allocated bytes", 0.0, &|part: &Part| Some(part.allocated_bytes? as f64)),
    ] {
        if let Some((base, head)) = more(row, what == "allocations", least, value) {
            changes.push(format!("{what} of a batch {base:.0} -> {head:.0}"));
            word = Word::Slower;
        }
    }
    (row.word, row.changes) = (word, changes);
}

/// Base's and head's medians of a count, if every count of head is above every one of base, and the medians differ by so many
/// for each task or, of bytes, by more than the threshold.
fn more(row: &Row, is_calls: bool, least: f64, value: Value) -> Option<(f64, f64)> {
    let [base, head] = [Side::Base, Side::Head].map(|side| row.values(side, value));
    if base.len() < BLOCKS as usize || head.len() < BLOCKS as usize {
        return None;
    }
    let most = base.iter().copied().fold(0.0, f64::max);
    let fewest = head.iter().copied().fold(f64::INFINITY, f64::min);
    let (base, head) = (median(base)?, median(head)?);
    let is_more = match is_calls {
        true => head - base >= least * row.tasks as f64,
        false => head > base * (1.0 + row.bound().threshold),
    };
    (fewest > most && is_more).then_some((base, head))
}

/// What `compare` ends with: 0 nothing slower or nothing judged, 1 slower, 2 not measured, 3 too noisy to judge, if that is to
/// be told apart.
pub(crate) fn status(comparison: &Comparison, strict: bool) -> u8 {
    if comparison.of(Word::Slower).next().is_some() {
        return 1;
    }
    if comparison.broken().next().is_some() {
        return 2;
    }
    let is_noisy = comparison.not_judged.is_some() || comparison.of(Word::NotJudged).next().is_some();
    if strict && is_noisy { 3 } else { 0 }
}

/// The title: the verdict in a few words.
pub(crate) fn title(comparison: &Comparison) -> String {
    let count = |word| comparison.of(word).count();
    let rows = |count: usize| if count == 1 { "1 row".to_string() } else { format!("{count} rows") };
    let broken = comparison.broken().count();
    let noisy = count(Word::NotJudged);
    let mut parts = Vec::new();
    if let Some(why) = &comparison.not_judged {
        return format!("not judged: {why}");
    }
    if count(Word::Slower) > 0 {
        parts.push(format!("slower in {}", rows(count(Word::Slower))));
    }
    if broken > 0 {
        parts.push(format!("not measured in {}", rows(broken)));
    }
    if count(Word::Faster) > 0 {
        parts.push(format!("faster in {}", rows(count(Word::Faster))));
    }
    if noisy > 0 {
        parts.push(format!("{} not judged", rows(noisy)));
    }
    if parts.is_empty() || (count(Word::Slower) == 0 && broken == 0) {
        parts.insert(0, format!("no clear change in {}", rows(count(Word::NoClearChange))));
    }
    parts.join(", ")
}

/// What is told of the machine: the null arms, and how busy it was.
pub(crate) fn trust(comparison: &Comparison) -> String {
    let nulls: Vec<_> = comparison.rows.iter().flat_map(Row::nulls).map(f64::abs).collect();
    let largest = nulls.iter().copied().fold(0.0, f64::max);
    let waiting = median(comparison.rows.iter().filter_map(Row::waiting));
    let mut text = match median(nulls.iter().copied()) {
        Some(middle) => format!(
            "Base beside itself, in {} arms: {} in the median, {} at most.",
            nulls.len(),
            percent(middle.exp_m1()),
            percent(largest.exp_m1())
        ),
        None => "No null arms.".into(),
    };
    if let Some(waiting) = waiting.filter(|waiting| *waiting > 0.1) {
        text += &format!(
            " The machine was busy: {:.0} % of the time went by waiting for a CPU.",
            100.0 * waiting
        );
    }
    text
}

/// A time or `-`.
pub(crate) fn time(row: &Row, side: Side) -> String {
    row.median(side, &|part| part.value(row.signal)).map_or("-".into(), duration)
}

#[cfg(test)]
mod tests;
