//! The file that `reports/python/measure.py` writes: what the articles' tasks take in Python on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use parbench::Shape;
use parbench::measure::Record;
use serde::Deserialize;

use crate::analysis::Analysis;
use crate::run_file::{Program, RunFile, Scenario};

/// The format; a reader refuses others.
const FORMAT: &str = "parbench.python/1";
/// How many batches a record stands for: a batch of 100 ns has digits behind the point.
const BATCHES: u32 = 1_000;

/// The option of the commands that show claims.
#[derive(Args)]
pub(crate) struct Beside {
    /// Shows Python's numbers, too: a file that reports/python/measure.py has written
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
}

impl Beside {
    /// What was measured in Python, if there is a file of it.
    pub(crate) fn read(&self) -> Result<Option<Python>> {
        self.python.as_deref().map(Python::read).transpose()
    }
}

/// What was measured in Python.
#[derive(Debug, Deserialize)]
pub(crate) struct Python {
    python: String,
    #[serde(default)]
    versions: BTreeMap<String, String>,
    machine: Machine,
    scenarios: BTreeMap<String, Measured>,
}

#[derive(Debug, Deserialize)]
struct Machine {
    cpu: String,
    cpus: usize,
}

#[derive(Debug, Deserialize)]
struct Measured {
    tasks: usize,
    /// As many tasks as workers.
    #[serde(default)]
    weak: bool,
    variants: BTreeMap<String, Variant>,
}

#[derive(Debug, Deserialize)]
struct Variant {
    rounds_s: Vec<f64>,
}

impl Python {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, is cut or is not JSON, is of another format, or has times that cannot be.
    pub(crate) fn read(path: &Path) -> Result<Python> {
        let shown = path.display();
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read the Python file {shown}"))?;
        let value: serde_json::Value =
            serde_json::from_str(&text).with_context(|| format!("{shown} is not a whole Python file"))?;
        let format = value["format"].as_str().unwrap_or("no known format");
        ensure!(format == FORMAT, "{shown} is of {format}, and this version reads {FORMAT}");
        let python: Python =
            serde_json::from_value(value).with_context(|| format!("{shown} is not a Python file"))?;
        python.run().with_context(|| format!("{shown} is not a Python file"))?;
        Ok(python)
    }

    /// Adds what it says of the claims to what a run says of them.
    pub(crate) fn judge(&self, analysis: &mut Analysis) -> Result<()> {
        analysis.set_python(&self.run()?, &self.about());
        Ok(())
    }

    /// The versions and the machine, for a person: they may be others than the run's.
    fn about(&self) -> String {
        let versions = self.versions.iter().map(|(name, version)| format!("{name} {version}"));
        let all: Vec<_> = std::iter::once(format!("Python {}", self.python)).chain(versions).collect();
        format!("{}, on {} CPUs ({})", all.join(", "), self.machine.cpus, self.machine.cpu)
    }

    /// Its times as a run, so that one rule judges both.
    fn run(&self) -> Result<RunFile> {
        let mut program = Program::default();
        let machine = &mut program.header.machine;
        (machine.cpus_allowed, machine.physical_cores) = (self.machine.cpus, self.machine.cpus);
        let scenarios = self.scenarios.iter().map(|(name, measured)| {
            let records = measured.records().with_context(|| name.clone())?;
            Ok(Scenario { name: name.clone(), weak: measured.weak, records, ..Scenario::default() })
        });
        let scenarios = scenarios.collect::<Result<_>>()?;
        Ok(RunFile { programs: vec![program], scenarios, ..RunFile::default() })
    }
}

impl Measured {
    fn records(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for (name, variant) in &self.variants {
            let parts = name.split_once('/').and_then(|(executor, workers)| {
                let workers = workers.parse::<u16>().ok().filter(|workers| *workers > 0)?;
                Some((executor, usize::from(workers)))
            });
            let (executor, workers) = parts.with_context(|| format!("`{name}` is no variant"))?;
            for (round, &seconds) in (0..).zip(&variant.rounds_s) {
                ensure!(seconds > 0.0 && seconds < 1e6, "{name} has a time of {seconds} s");
                let mut record = Record::default();
                record.executor = executor.into();
                // Serial has one worker; its number is that of its tasks where tasks grow with workers.
                record.shape = Shape::from(if executor == "serial" { 1 } else { workers });
                record.tasks = if self.weak { workers } else { self.tasks };
                (record.round, record.batches) = (round, BATCHES);
                record.wall_ns = (seconds * 1e9 * f64::from(BATCHES)).round() as u64;
                records.push(record);
            }
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Outcome;

    /// A made-up file: two threads as fast as none, two processes twice as fast.
    fn python() -> Python {
        let variant = |seconds: f64| serde_json::json!({"rounds_s": vec![seconds; 7], "median_s": seconds});
        serde_json::from_value(serde_json::json!({
            "format": FORMAT, "python": "3.0", "versions": {"numpy": "1.0"}, "began": 0,
            "machine": {"cpu": "made up", "cpus": 2},
            "scenarios": {
                "cpu_loop": {"tasks": 10, "variants": {
                    "serial/1": variant(4.0), "threads/2": variant(4.0), "processes/2": variant(2.0)}},
                "worker_start": {"tasks": 64, "weak": true, "variants": {
                    "serial/1": variant(1e-7), "threads/1": variant(1e-4), "processes/1": variant(1e-2)}},
            },
        }))
        .unwrap()
    }

    /// The run that it is held against: threads are as good as processes.
    fn rust() -> RunFile {
        let mut python = python();
        let threads = python.scenarios.get_mut("cpu_loop").unwrap().variants.get_mut("threads/2").unwrap();
        threads.rounds_s = vec![2.0; 7];
        python.run().unwrap()
    }

    #[test]
    fn the_same_rule_judges_pythons_times() {
        let mut analysis = Analysis::of(&rust());
        assert!(
            analysis.python.is_none() && analysis.claims.iter().all(|judgement| judgement.python.is_none())
        );
        python().judge(&mut analysis).unwrap();
        let of = |id: &str| {
            let judgement = analysis.claims.iter().find(|judgement| judgement.id == id).unwrap();
            (judgement.outcome, judgement.python.clone())
        };
        // F17: two threads of one program cannot run at the same time.
        let (ours, theirs) = of("F17");
        assert_eq!((ours, theirs.unwrap()), (Outcome::Refuted, (Outcome::Holds, "1.00x".into())));
        // F14: a process takes at least twice as long to start as a thread.
        assert_eq!(of("F14").1, Some((Outcome::Holds, "100x".into())));
        // F07 is a time, G10 needs CPU times, F27 is a test, and F01's scenario is not in the file.
        assert_eq!(of("F07").1, Some((Outcome::Reported, "4.00 s".replace(' ', "\u{a0}"))));
        assert_eq!((of("G10").1, of("F27").1, of("F01").1), (None, None, None));
        let sentence = analysis.python.unwrap();
        assert!(sentence.starts_with("Python 3.0, numpy 1.0, on 2 CPUs (made up)"), "{sentence}");
        assert!(sentence.contains("F17"), "{sentence}");
    }

    #[test]
    fn times_that_cannot_be_are_refused() {
        for (name, seconds) in
            [("threads/2", -1.0), ("threads/2", f64::NAN), ("threads", 1.0), ("threads/0", 1.0)]
        {
            let mut python = python();
            let variants = &mut python.scenarios.get_mut("cpu_loop").unwrap().variants;
            variants.insert(name.into(), Variant { rounds_s: vec![seconds] });
            assert!(python.run().is_err(), "{name}: {seconds}");
        }
    }
}
