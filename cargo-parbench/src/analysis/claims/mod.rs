//! The articles' claims, judged by what a run has measured.

mod quantity;

use parbench::measure::Machine;
use serde::Deserialize;

use self::quantity::{Kind, Quantity, Value};
use super::{Interval, Judgement, Outcome};
use crate::report::format::{bytes, duration, ratio};
use crate::run_file::RunFile;

/// The claims, and what has to be measured to judge them.
const CLAIMS: &str = include_str!("../../../claims.toml");

#[derive(Debug, Deserialize)]
struct Claims {
    claim: Vec<Claim>,
}

/// One claim; see the head of the file for the fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    id: String,
    articles: Vec<String>,
    scenarios: Vec<String>,
    claim: String,
    article: Option<String>,
    quantity: Option<String>,
    min: Option<f64>,
    max: Option<f64>,
    cores: Option<usize>,
    #[serde(default)]
    gil: bool,
    test: Option<String>,
    #[serde(default)]
    refuted: bool,
}

/// Judges all claims; none if the run has none of their scenarios.
pub(crate) fn judge(run: &RunFile) -> Vec<Judgement> {
    let claims: Claims = toml::from_str(CLAIMS).expect("a test reads the same file");
    let is_measured = |name: &String| run.scenarios.iter().any(|scenario| scenario.name == *name);
    if !claims.claim.iter().flat_map(|claim| &claim.scenarios).any(is_measured) {
        return Vec::new();
    }
    let machine = run.programs.first().map(|program| program.header.machine.clone()).unwrap_or_default();
    claims.claim.iter().map(|claim| claim.judge(run, &machine)).collect()
}

impl Claim {
    fn judge(&self, run: &RunFile, machine: &Machine) -> Judgement {
        let (outcome, ours, why) = self.outcome(run, machine);
        Judgement {
            id: self.id.clone(),
            articles: self.articles.clone(),
            claim: self.claim.clone(),
            scenarios: self.scenarios.clone(),
            article: self.article.clone(),
            ours,
            outcome,
            python: None,
            why,
            gil: self.gil,
        }
    }

    /// Whether it holds, our figure, and why.
    fn outcome(&self, run: &RunFile, machine: &Machine) -> (Outcome, Option<String>, String) {
        let unknown = |why: String| (Outcome::NotMeasured, None, why);
        if let Some(test) = &self.test {
            let outcome = if self.refuted { Outcome::Refuted } else { Outcome::Holds };
            return (outcome, None, format!("shown by a test ({test})"));
        }
        let (Some(name), Some(quantity)) = (self.scenarios.first(), &self.quantity) else {
            return unknown("nothing can be measured".into());
        };
        let cpus = machine.cpus_allowed.min(machine.physical_cores).max(1);
        if let Some(cores) = self.cores.filter(|cores| *cores > cpus) {
            return unknown(format!("needs {cores} cores; this machine has {cpus}"));
        }
        let Some(scenario) = run.scenarios.iter().find(|scenario| scenario.name == *name) else {
            return unknown(format!("{name} was not measured"));
        };
        let quantity = match Quantity::parse(quantity) {
            Ok(quantity) => quantity,
            Err(error) => return unknown(format!("{error:#}")),
        };
        let Some(Value { interval, kind, used }) = quantity.value(scenario, cpus) else {
            return unknown(format!("{name} has no such variant in this run"));
        };
        let ours = format!(
            "{} [{}..{}]",
            shown(interval.median, kind),
            shown(interval.low, kind),
            shown(interval.high, kind)
        );
        let ours = if interval.low == interval.high { shown(interval.median, kind) } else { ours };
        let of = format!("{name}, {used}");
        if self.min.is_none() && self.max.is_none() {
            return (Outcome::Reported, Some(ours), format!("a number of each machine ({of})"));
        }
        let bounds = self.bounds(kind);
        let (outcome, why) = match self.place(interval) {
            Place::Inside => (Outcome::Holds, format!("{of}: {bounds}")),
            Place::Outside => (Outcome::Refuted, format!("{of}: it would have to be {bounds}")),
            Place::Both => (Outcome::Unclear, format!("{of}: the interval is partly {bounds}")),
        };
        (outcome, Some(ours), why)
    }

    fn place(&self, Interval { low, high, .. }: Interval) -> Place {
        let (min, max) = (self.min.unwrap_or(f64::MIN), self.max.unwrap_or(f64::MAX));
        match () {
            () if low >= min && high <= max => Place::Inside,
            () if high < min || low > max => Place::Outside,
            () => Place::Both,
        }
    }

    /// The range in which it holds, in words.
    fn bounds(&self, kind: Kind) -> String {
        match (self.min, self.max) {
            (Some(min), Some(max)) => format!("{} to {}", shown(min, kind), shown(max, kind)),
            (Some(min), None) => format!("{} or more", shown(min, kind)),
            (None, Some(max)) => format!("{} or less", shown(max, kind)),
            (None, None) => String::new(),
        }
    }
}

enum Place {
    Inside,
    Outside,
    Both,
}

fn shown(value: f64, kind: Kind) -> String {
    match kind {
        Kind::Ratio => ratio(value),
        Kind::Time => duration(value),
        Kind::Bytes => bytes(value),
        Kind::Count => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::path::Path;

    use parbench::Shape;
    use parbench::measure::Record;

    use super::*;
    use crate::run_file::{Program, Scenario};

    fn claims() -> Vec<Claim> {
        toml::from_str::<Claims>(CLAIMS).unwrap().claim
    }

    #[test]
    fn every_claim_is_one_that_can_be_judged() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let scenarios = fs::read_to_string(root.join("README.md")).unwrap();
        let mut ids = HashSet::new();
        for claim in claims() {
            assert!(ids.insert(claim.id.clone()), "{} is there twice", claim.id);
            assert!(
                !claim.articles.is_empty() && claim.articles.iter().all(|name| name.len() == 3),
                "{}",
                claim.id
            );
            for name in &claim.scenarios {
                assert!(scenarios.contains(&format!("| `{name}` |")), "{}: {name}", claim.id);
            }
            match (&claim.test, &claim.quantity) {
                (Some(test), None) => {
                    let (file, name) = test.split_once(": ").unwrap();
                    let text = fs::read_to_string(root.join(file)).unwrap();
                    assert!(text.contains(name), "{}: {test}", claim.id);
                }
                (None, Some(quantity)) => drop(Quantity::parse(quantity).unwrap()),
                _ => panic!("{} needs a quantity or a test", claim.id),
            }
        }
    }

    /// A run of `cpu_loop` in seven rounds, with this time on two threads; serially it takes 100.
    fn run(threads: impl Fn(u32) -> u64) -> RunFile {
        let record = |executor: &str, workers: usize, round, wall_ns| {
            let mut record = Record::default();
            record.executor = executor.into();
            record.shape = Shape::from(workers);
            (record.round, record.wall_ns, record.batches, record.tasks) = (round, wall_ns, 1, 10);
            record
        };
        let rounds = (0..7)
            .flat_map(|round| [record("serial", 1, round, 100), record("threads", 2, round, threads(round))]);
        let scenario = Scenario { name: "cpu_loop".into(), records: rounds.collect(), ..Scenario::default() };
        let mut program = Program::default();
        (program.header.machine.cpus_allowed, program.header.machine.physical_cores) = (2, 2);
        RunFile { programs: vec![program], scenarios: vec![scenario], ..RunFile::default() }
    }

    fn outcome(run: &RunFile, id: &str) -> (Outcome, Option<String>, String) {
        let judged = judge(run).into_iter().find(|judged| judged.id == id).unwrap();
        (judged.outcome, judged.ours, judged.why)
    }

    #[test]
    fn a_claim_holds_is_refuted_is_unclear_or_cannot_be_told() {
        // F17: two threads of one program cannot run at the same time.
        assert_eq!(outcome(&run(|_| 98), "F17").0, Outcome::Holds);
        let (refuted, ours, why) = outcome(&run(|_| 50), "F17");
        assert_eq!((refuted, ours.as_deref()), (Outcome::Refuted, Some("2.00x")));
        assert_eq!(why, "cpu_loop, serial/1 over threads/2: it would have to be 1.10x or less");
        assert_eq!(outcome(&run(|round| 60 + 10 * u64::from(round)), "F17").0, Outcome::Unclear);
        assert_eq!(outcome(&run(|_| 50), "F09").2, "needs 4 cores; this machine has 2");
        assert_eq!(outcome(&run(|_| 50), "F23").2, "cpu_loop has no such variant in this run");
        assert_eq!(outcome(&run(|_| 50), "F01").2, "url_download was not measured");
        assert_eq!(outcome(&run(|_| 50), "F07").0, Outcome::Reported);
        // Of four threads, the two that were measured tell.
        assert_eq!(outcome(&run(|_| 50), "F08").0, Outcome::Refuted);
        assert!(judge(&RunFile::default()).is_empty());
    }
}
