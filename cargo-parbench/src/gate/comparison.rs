//! What a comparison of two programs has measured, and what that says: `parbench.comparison/1`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use parbench::measure::Machine;
use serde::{Deserialize, Serialize};

use super::judge::{Bound, Word};
use super::revision::Revision;

/// The format; a reader refuses others. A later version of the same format only adds fields.
pub(crate) const FORMAT: &str = "parbench.comparison/1";

/// The observations of two programs, and the judgement.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Comparison {
    /// [`FORMAT`].
    pub(crate) format: String,
    /// When it began, as its name, and seconds since 1970 when it began and ended.
    pub(crate) id: String,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) base: Revision,
    pub(crate) head: Revision,
    pub(crate) machine: Machine,
    pub(crate) load_before: Option<f64>,
    /// Of the orders.
    pub(crate) seed: u64,
    /// What is added to every task of head, on purpose.
    pub(crate) injection: Option<String>,
    /// In how many orders the sections of each suspect's program were linked.
    pub(crate) layouts: u32,
    pub(crate) rows: Vec<Row>,
    /// Rows that the budget left out, and scenarios that only one side has.
    pub(crate) left_out: Vec<String>,
    pub(crate) gone: Vec<String>,
    pub(crate) new: Vec<String>,
    /// Why nothing was judged, if that has one reason for all rows.
    pub(crate) not_judged: Option<String>,
    /// What is to be known besides.
    pub(crate) notes: Vec<String>,
}

/// One variant of one scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Row {
    pub(crate) scenario: String,
    /// The bench program that has it.
    pub(crate) bench: String,
    /// Such as `threads/2`.
    pub(crate) variant: String,
    pub(crate) signal: Signal,
    pub(crate) bound: Option<Bound>,
    pub(crate) tasks: usize,
    /// Batches of an observation.
    pub(crate) batches: u32,
    /// What differs between the sides besides their time: code of the workload, inputs, answers.
    pub(crate) differences: Vec<String>,
    /// Why it could not be measured, and on which side.
    pub(crate) error: Option<(Side, String)>,
    /// The blocks of all stages.
    pub(crate) blocks: Vec<Block>,
    /// The verdict, once all is measured.
    pub(crate) word: Word,
    /// What has changed, in words.
    pub(crate) changes: Vec<String>,
    /// What a batch of base and of head executes, if it was counted.
    pub(crate) instructions: Option<[u64; 2]>,
}

impl Row {
    /// `prime_sum on threads/2`.
    pub(crate) fn title(&self) -> String {
        format!("{} on {}", self.scenario, self.variant)
    }
}

/// What a row is judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Signal {
    /// CPU time of the program and its workers.
    #[default]
    Cpu,
    /// Wall time, where tasks wait.
    Wall,
}

/// A new process for each side, in turns.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Block {
    /// 1 to 3.
    pub(crate) stage: u8,
    pub(crate) observations: Vec<Observed>,
}

/// Whose program was observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    #[default]
    Base,
    Head,
    /// A copy of base: what differs from base for no reason.
    Copy,
    /// Base with its sections in another order.
    Relinked,
}

/// What a process gave.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Observed {
    pub(crate) side: Side,
    /// Which order of the sections; 0 as the linker made it.
    pub(crate) layout: u32,
    /// The first of one side is next to the first of another in time, and so on.
    pub(crate) parts: Vec<Part>,
}

/// Some batches, one after the other: what one of them took.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Part {
    pub(crate) wall_ns: u64,
    pub(crate) cpu_ns: Option<u64>,
    /// Waiting for a CPU.
    pub(crate) queue_ns: Option<u64>,
    pub(crate) allocations: Option<u64>,
    pub(crate) allocated_bytes: Option<u64>,
}

impl Part {
    pub(crate) fn value(&self, signal: Signal) -> Option<f64> {
        let value = match signal {
            Signal::Cpu => self.cpu_ns?,
            Signal::Wall => self.wall_ns,
        };
        (value > 0).then_some(value as f64)
    }

    /// For which part of its time a serial program computed or waited for a CPU; where nobody tells of waiting, for which it
    /// computed.
    pub(crate) fn busy(&self) -> Option<f64> {
        Some((self.cpu_ns? + self.queue_ns.unwrap_or(0)) as f64 / self.wall_ns.max(1) as f64)
    }

    /// How many CPUs it used or would have used: waiting for one counts, so that a busy machine does not look like work that is
    /// done one after the other.
    pub(crate) fn parallelism(&self) -> Option<f64> {
        Some((self.cpu_ns? + self.queue_ns?) as f64 / self.wall_ns.max(1) as f64)
    }
}

impl Comparison {
    /// Reads a comparison.
    ///
    /// # Errors
    /// If it cannot be read, is cut or is not JSON, or is of another format.
    pub(crate) fn read(path: &Path) -> Result<Comparison> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let comparison: Comparison = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a whole comparison", path.display()))?;
        let format = if comparison.format.is_empty() { "no known format" } else { &comparison.format };
        ensure!(format == FORMAT, "{} is of {format}, and this version reads {FORMAT}", path.display());
        Ok(comparison)
    }

    /// The rows of a verdict.
    pub(crate) fn of(&self, word: Word) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.error.is_none() && row.word == word)
    }

    /// Rows whose head could not be measured: what is broken must not pass.
    pub(crate) fn broken(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| matches!(row.error, Some((Side::Head, _))))
    }
}
