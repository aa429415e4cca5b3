//! The record: what one observation of a cell gave. Reports and comparisons read records and nothing else.

use std::collections::HashSet;
use std::io::BufRead;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use crate::shape::Shape;
use crate::span::TaskSpan;
use crate::usage::Usage;

/// The format of a file of records; a reader refuses others.
pub const FORMAT: &str = "parbench.records/1";

/// The first line of each launch: what its records have in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RunHeader {
    /// [`FORMAT`].
    pub format: String,
    /// The launch, from 0: a set of cells that were started together.
    pub launch: u32,
    /// The seed of all orders in it.
    pub seed: u64,
    /// `smoke`, `default` or `article`.
    pub size: String,
    /// The version of parbench and that of its frames.
    pub version: String,
    /// The measured program's own hash: another build has another one.
    pub program: String,
    /// The allocator policy of all processes; `None` if it is the system's own.
    pub allocator: Option<String>,
    /// The machine.
    pub machine: Machine,
}

/// What one observation of a cell gave: a batch, or several short ones. A line of JSON; times are integer nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Record {
    /// The launch that it was made in.
    pub launch: u32,
    /// The scenario's name.
    pub scenario: String,
    /// The executor's name, or `ceiling`: independent serial cells, told the same time to begin.
    pub executor: String,
    /// Its workers, such as `4`; for a ceiling the number of cells.
    pub shape: Shape,
    /// The tasks of a batch; for a ceiling those of all cells.
    pub tasks: usize,
    /// 0, or 1 for the second cell of a variant that is judged.
    pub replica: u32,
    /// The round, from 0: what is compared is of the same round.
    pub round: u32,
    /// 0 in the round's random order, 1 in its reverse.
    pub pass: u32,
    /// How many observations came before this one in the pass.
    pub position: u32,
    /// How many batches ran, one after the other; all values below are of all of them together.
    pub batches: u32,
    /// Why there is no time, if a batch failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The time from the beginning of each batch to its last answer.
    pub wall_ns: u64,
    /// How long the calls took that started the executor.
    pub start_ns: u64,
    /// The time from the beginning of that start until all workers were ready.
    pub ready_ns: u64,
    /// What the program and its workers used.
    pub usage: Usage,
    /// CPU time that the rest of the machine used meanwhile, without the fixtures. The system counts the whole in ticks of 10
    /// ms: rounding can make it negative, and averages out over a run.
    pub others_busy_ns: Option<i64>,
    /// Time that the host of a virtual machine took from its CPUs meanwhile.
    pub steal_ns: Option<u64>,
    /// Time that the control group's quota kept the program from running meanwhile.
    pub throttled_ns: Option<u64>,
    /// Median time of a task; `None` for a ceiling, as are the next three.
    pub task_p50_ns: Option<u64>,
    /// Its 99th percentile.
    pub task_p99_ns: Option<u64>,
    /// Median time from the beginning of the batch to the start of a task.
    pub wait_p50_ns: Option<u64>,
    /// Its 99th percentile.
    pub wait_p99_ns: Option<u64>,
    /// The host of each worker, if they may be on several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The spans of all tasks of the first batch, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spans: Option<Vec<TaskSpan>>,
}

/// What tells a record from all others of a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the fields of `Record`")]
pub struct Key {
    pub launch: u32,
    pub scenario: String,
    pub executor: String,
    pub shape: Shape,
    pub tasks: usize,
    pub replica: u32,
    pub round: u32,
    pub pass: u32,
}

impl Record {
    /// Its key.
    pub fn key(&self) -> Key {
        let Record { launch, shape, tasks, replica, round, pass, .. } = *self;
        let (scenario, executor) = (self.scenario.clone(), self.executor.clone());
        Key { launch, scenario, executor, shape, tasks, replica, round, pass }
    }

    /// The time of one batch, ns; `None` if a batch failed.
    pub fn batch_ns(&self) -> Option<f64> {
        (self.error.is_none() && self.batches > 0).then(|| self.wall_ns as f64 / f64::from(self.batches))
    }

    /// Page faults for each task; `None` if the system does not tell.
    pub fn faults_per_task(&self) -> Option<f64> {
        let tasks = self.tasks as f64 * f64::from(self.batches);
        Some((self.usage.minor_faults? + self.usage.major_faults?) as f64 / tasks)
    }
}

/// Reads what `parbench rounds` printed: the headers of the launches, and all records.
///
/// # Errors
/// If a line is neither, the format is another one, or two records have the same key: they would be compared as one.
pub fn read_records(lines: impl BufRead) -> Result<(Vec<RunHeader>, Vec<Record>)> {
    let (mut headers, mut records, mut keys) = (Vec::new(), Vec::new(), HashSet::new());
    for (number, line) in (1..).zip(lines.lines()) {
        let line = line?;
        let context = || format!("line {number} is not a record");
        let value: serde_json::Value = serde_json::from_str(&line).with_context(context)?;
        if value.get("format").is_some() {
            let header: RunHeader = serde_json::from_value(value).with_context(context)?;
            ensure!(header.format == FORMAT, "line {number} is of format {}, not {FORMAT}", header.format);
            headers.push(header);
            continue;
        }
        ensure!(!headers.is_empty(), "line {number} comes before a header of format {FORMAT}");
        let record: Record = serde_json::from_value(value).with_context(context)?;
        let key = record.key();
        ensure!(!keys.contains(&key), "line {number} has the key of a record before it: {key:?}");
        keys.insert(key);
        records.push(record);
    }
    Ok((headers, records))
}

/// The smallest of `values` that is not below `percent` percent of them (nearest rank).
///
/// ```
/// # use parbench::measure::percentile;
/// assert_eq!(percentile(50, [4, 1, 3, 2]), Some(2));
/// assert_eq!(percentile(99, 1..=1_000), Some(990));
/// assert_eq!(percentile(50, []), None);
/// ```
pub fn percentile(percent: usize, values: impl IntoIterator<Item = u64>) -> Option<u64> {
    let mut values: Vec<_> = values.into_iter().collect();
    let rank = (values.len() * percent).div_ceil(100).max(1);
    (rank <= values.len()).then(|| *values.select_nth_unstable(rank - 1).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(executor: &str, tasks: usize) -> Record {
        Record { scenario: "s".into(), executor: executor.into(), tasks, batches: 1, ..Record::default() }
    }

    fn read(lines: &[String]) -> Result<(Vec<RunHeader>, Vec<Record>)> {
        read_records(lines.join("\n").as_bytes())
    }

    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn a_file_of_records_is_read_and_two_of_one_key_are_refused() {
        let header = json(&RunHeader { format: FORMAT.into(), ..RunHeader::default() });
        // Serial with four tasks is not serial with one.
        let lines = [header.clone(), json(&record("serial", 1)), json(&record("serial", 4))];
        let (headers, records) = read(&lines).unwrap();
        assert_eq!((headers.len(), records), (1, vec![record("serial", 1), record("serial", 4)]));

        let error = read(&[&lines[..], &[json(&record("serial", 1))]].concat()).unwrap_err().to_string();
        assert!(error.starts_with("line 4 has the key of a record before it"), "{error}");
        for (lines, reason) in [
            (vec![json(&record("serial", 1))], "line 1 comes before a header"),
            (vec![header.replace("/1", "/9")], "line 1 is of format parbench.records/9"),
            (vec![header, "{".into()], "line 2 is not a record"),
        ] {
            let error = format!("{:#}", read(&lines).unwrap_err());
            assert!(error.starts_with(reason), "{error}");
        }
    }

    #[test]
    fn a_field_that_an_older_file_lacks_has_its_default() {
        let header = json(&RunHeader { format: FORMAT.into(), ..RunHeader::default() });
        let (_, records) = read(&[header, r#"{"scenario":"s","wall_ns":7,"batches":2}"#.into()]).unwrap();
        assert_eq!((records[0].batch_ns(), records[0].usage.minor_faults), (Some(3.5), None));
    }
}
