//! The record: what one variant gave in one round. Reports and comparisons read records and nothing else.

use serde::{Deserialize, Serialize};

use crate::shape::Shape;
use crate::span::TaskSpan;
use crate::usage::Usage;

/// What one variant gave in one round; a line of JSON. Times are integer nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Record {
    /// The scenario's name.
    pub scenario: String,
    /// The executor's name, or `ceiling`: independent serial copies of the whole batch, one for each worker.
    pub executor: String,
    /// Its workers, such as `4`.
    pub shape: Shape,
    /// `smoke`, `default` or `article`.
    pub size: String,
    /// The round, from 0: what is compared stands in the same round.
    pub round: u32,
    /// 0 in the round's random order, 1 in its reverse: the two are the variant's control.
    pub pass: u32,
    /// How many variants ran before this one in the pass.
    pub position: u32,
    /// The number of tasks; for a ceiling those of all copies.
    pub tasks: usize,
    /// The time from the beginning of the batch to its last answer.
    pub wall_ns: u64,
    /// How long the executor took to start, once, outside that time.
    pub start_ns: u64,
    /// What the program and its workers used; `None` for a ceiling.
    pub usage: Option<Usage>,
    /// Median time of a task; `None` for a ceiling, as are the next three.
    pub task_p50_ns: Option<u64>,
    /// Its 99th percentile.
    pub task_p99_ns: Option<u64>,
    /// Median time from the beginning of the batch to the start of a task.
    pub wait_p50_ns: Option<u64>,
    /// Its 99th percentile.
    pub wait_p99_ns: Option<u64>,
    /// The spans of all tasks, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spans: Option<Vec<TaskSpan>>,
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
