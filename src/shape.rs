//! How many workers: a number, or workers of several threads each.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, bail};
use serde::{Deserialize, Serialize};

/// The most tasks that may run at once: a larger number is taken for a typing error.
pub const MAX_PARALLELISM: usize = 1024;

/// How many workers an executor has, and how many threads each of them: shown as `4`, or `2x3` for two workers of
/// three threads each.
///
/// ```
/// use parbench::Shape;
///
/// let shape: Shape = "2x3".parse()?;
/// assert_eq!((shape.workers, shape.threads_per_worker, shape.parallelism()), (2, 3, 6));
/// assert_eq!(Shape::from(4).to_string(), "4");
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub struct Shape {
    /// Threads or processes that are given tasks.
    pub workers: usize,
    /// Threads of each worker; 1 unless the executor says otherwise.
    pub threads_per_worker: usize,
}

impl Shape {
    /// Workers of several threads each.
    pub const fn new(workers: usize, threads_per_worker: usize) -> Shape {
        Shape { workers, threads_per_worker }
    }

    /// The number of tasks that can run at once.
    pub const fn parallelism(self) -> usize {
        self.workers.saturating_mul(self.threads_per_worker)
    }
}

/// One worker.
impl Default for Shape {
    fn default() -> Shape {
        Shape::from(1)
    }
}

/// Workers of one thread each.
impl From<usize> for Shape {
    fn from(workers: usize) -> Shape {
        Shape::new(workers, 1)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.threads_per_worker {
            1 => write!(f, "{}", self.workers),
            threads => write!(f, "{}x{threads}", self.workers),
        }
    }
}

impl FromStr for Shape {
    type Err = Error;

    fn from_str(text: &str) -> Result<Shape> {
        let parse = || {
            let (workers, threads) = text.split_once('x').unwrap_or((text, "1"));
            Some(Shape::new(workers.parse().ok()?, threads.parse().ok()?))
        };
        match parse() {
            Some(shape) if (1..=MAX_PARALLELISM).contains(&shape.parallelism()) => Ok(shape),
            _ => bail!(
                "`{text}` is not a number of workers from 1 to {MAX_PARALLELISM}, nor workers x threads such as 2x4"
            ),
        }
    }
}

impl TryFrom<String> for Shape {
    type Error = Error;

    fn try_from(text: String) -> Result<Shape> {
        text.parse()
    }
}

impl From<Shape> for String {
    fn from(shape: Shape) -> String {
        shape.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_read_as_it_is_shown() {
        for (text, shape) in [("1", Shape::default()), ("1024", Shape::from(1024)), ("2x3", Shape::new(2, 3))]
        {
            assert_eq!(text.parse::<Shape>().unwrap(), shape);
            assert_eq!(shape.to_string(), text);
            let json = serde_json::to_string(&shape).unwrap();
            assert_eq!(
                (&json[..], serde_json::from_str::<Shape>(&json).unwrap()),
                (&*format!("\"{text}\""), shape)
            );
        }
    }

    #[test]
    fn what_is_not_a_shape_is_refused_with_its_text() {
        for text in
            ["", "0", "-1", "two", "1025", "2x", "x2", "0x2", "2x0", "32x33", "2x2x2", "99999999999999999999"]
        {
            let error = text.parse::<Shape>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`{text}` is not a number of workers from 1 to 1024")),
                "{error}"
            );
        }
    }
}
