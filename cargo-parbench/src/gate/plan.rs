//! Which rows a gate measures: three variants of each scenario that both sides have, by what, and with how many tasks and
//! batches. Both programs are tried once for that.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parbench::Size;
use parbench::bench::Listed;
use parbench::measure::cell::CellHeader;

use super::comparison::{Part, Row, Side, Signal};
use super::judge::{BLOCKS, Bound};
use super::observe::{Subject, batches, cost, first_tasks, parts};
use crate::programs::Program;

/// Workers of the variants that have more than one: what every machine has that can run anything at once.
const WORKERS: usize = 2;
/// Of each row's serial, one thread and one process variant.
const VARIANTS: [(&str, usize); 3] = [("serial", 1), ("threads", WORKERS), ("processes", WORKERS)];
/// A program that computes, or waits for a CPU, for less than this part of its time is judged by wall time.
const COMPUTES: f64 = 0.9;
/// One row of so many has null arms.
const NULL_EVERY: usize = 9;

/// What a person wants.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Only these scenarios; all if there are none.
    pub(crate) only: Vec<String>,
    /// Only these rows, such as the suspects of an earlier comparison: `prime_sum on threads/2`.
    pub(crate) rows: Option<Vec<String>>,
    pub(crate) size: Size,
    pub(crate) threshold: f64,
    pub(crate) budget: Option<Duration>,
    pub(crate) injection: Option<String>,
}

/// A row to be measured.
pub(crate) struct Planned {
    pub(crate) row: Row,
    pub(crate) subject: Subject,
    /// How long it took to try it, and a part of it, ns.
    tried: Duration,
    part_ns: u64,
    /// Whether base is measured against itself as well.
    pub(crate) has_null: bool,
}

#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) rows: Vec<Planned>,
    /// Rows that cannot be measured, with their errors.
    pub(crate) failed: Vec<Row>,
    pub(crate) left_out: Vec<String>,
    pub(crate) gone: Vec<String>,
    pub(crate) new: Vec<String>,
}

impl Plan {
    /// Tries every row in both programs. `changed` are the files that differ between them.
    pub(crate) fn make(
        [base, head]: [&[Program]; 2],
        changed: &[PathBuf],
        wanted: &Wanted,
        mut interrupted: impl FnMut() -> bool,
    ) -> Plan {
        let mut plan = Plan::default();
        let [of_base, of_head] = [scenarios(base, &wanted.only), scenarios(head, &wanted.only)];
        let names = |of: &[(&Program, &Listed)], others: &[(&Program, &Listed)]| {
            let is_missing = |name: &str| !others.iter().any(|(_, other)| other.name == name);
            let missing = of.iter().map(|(_, listed)| listed.name.clone()).filter(|name| is_missing(name));
            missing.collect::<Vec<_>>()
        };
        plan.gone = names(&of_base, &of_head);
        plan.new = names(&of_head, &of_base);
        for (base, listed) in of_base {
            let Some((head, other)) = of_head.iter().find(|(_, other)| other.name == listed.name) else {
                continue;
            };
            if interrupted() {
                return plan;
            }
            let mut differences = Vec::new();
            if listed.workload != other.workload || is_changed(&listed.workload, &base.bench, changed) {
                differences.push("the workload's own code differs".to_string());
            }
            let pair = Pair { base, head, listed, wanted, differences };
            pair.rows(&mut plan);
        }
        for (number, planned) in plan.rows.iter_mut().enumerate() {
            planned.has_null = number % NULL_EVERY == NULL_EVERY / 2;
        }
        plan.keep_within(wanted.budget);
        plan
    }

    /// How long the first stage takes.
    pub(crate) fn first_stage(&self) -> Duration {
        self.rows.iter().map(Planned::of_stage).sum()
    }

    /// Leaves out the dearest rows until the first stage takes two thirds of a budget; the rest is for those after it.
    fn keep_within(&mut self, budget: Option<Duration>) {
        let Some(budget) = budget else { return };
        while self.rows.len() > 1 && self.first_stage() * 3 > budget * 2 {
            let dearest = (0..self.rows.len()).max_by_key(|&at| self.rows[at].of_stage());
            let left_out = self.rows.remove(dearest.expect("there is more than one"));
            self.left_out.push(left_out.row.title());
        }
        self.left_out.sort();
    }
}

impl Planned {
    /// How long a stage takes of it.
    pub(crate) fn of_stage(&self) -> Duration {
        cost(self.tried, self.part_ns, self.parts(), if self.has_null { 4 } else { 2 }) * BLOCKS
    }

    /// In how many parts a block observes each side.
    pub(crate) fn parts(&self) -> usize {
        parts(self.row.signal, self.part_ns)
    }
}

/// A scenario in both programs.
struct Pair<'a> {
    base: &'a Program,
    head: &'a Program,
    listed: &'a Listed,
    wanted: &'a Wanted,
    differences: Vec<String>,
}

impl Pair<'_> {
    fn rows(&self, plan: &mut Plan) {
        let mut first = None;
        let mut signal = if self.listed.waits { Signal::Wall } else { Signal::Cpu };
        for (executor, workers) in VARIANTS {
            if !self.base.ways.contains_key(executor) || !self.head.ways.contains_key(executor) {
                continue;
            }
            let mut subject = Subject {
                scenario: self.listed.name.clone(),
                executor,
                workers,
                first,
                size: self.wanted.size,
                is_pinned: executor == "serial" && !self.listed.nested && signal == Signal::Cpu,
                injection: self.wanted.injection.clone(),
            };
            if executor == "serial" {
                // Fewer tasks of the same inputs: what a task does stays what it is.
                let tried = subject.try_once(&self.base.executable, Side::Base);
                if let Ok((header, part)) = &tried {
                    if !self.listed.weak {
                        first = first_tasks(header.tasks, header.batch_ns, WORKERS);
                    }
                    if part.busy().is_some_and(|share| share < COMPUTES) {
                        signal = Signal::Wall;
                    }
                }
                subject.first = first;
                subject.is_pinned &= signal == Signal::Cpu;
            }
            let mut row = Row {
                scenario: self.listed.name.clone(),
                bench: self.base.bench.clone(),
                variant: subject.variant(),
                signal,
                bound: Some(match signal {
                    Signal::Cpu => Bound::cpu(self.wanted.threshold),
                    Signal::Wall => Bound::WALL,
                }),
                differences: self.differences.clone(),
                ..Row::default()
            };
            if self.wanted.rows.as_ref().is_some_and(|rows| !rows.contains(&row.title())) {
                continue;
            }
            match self.try_both(&mut subject) {
                Ok((sides, tried)) => {
                    let [(base, part), (head, _)] = &sides;
                    row.tasks = base.tasks;
                    row.batches = batches(base.batch_ns);
                    if base.inputs != head.inputs {
                        row.differences.push("its inputs differ".into());
                    }
                    if base.answers != head.answers && !base.answers_may_differ {
                        row.differences.push("its answers differ".into());
                    }
                    // In fewer tasks there may be one whose check needs all.
                    if subject.first.is_none() {
                        first = None;
                    }
                    let part_ns = part.wall_ns * u64::from(row.batches);
                    plan.rows.push(Planned { row, subject, tried, part_ns, has_null: false });
                }
                Err((side, error)) => {
                    row.error = Some((side, error));
                    plan.failed.push(row);
                }
            }
        }
    }

    /// Tries a row in both programs; with all tasks, where fewer do not pass its check.
    #[allow(clippy::type_complexity, reason = "a pair of pairs")]
    fn try_both(&self, subject: &mut Subject) -> Result<([(CellHeader, Part); 2], Duration), (Side, String)> {
        let one = |subject: &Subject, program: &Path, side| {
            let began = Instant::now();
            let tried = subject.try_once(program, side);
            tried.map(|tried| (tried, began.elapsed())).map_err(|error| (side, format!("{error:#}")))
        };
        let base = one(subject, &self.base.executable, Side::Base).or_else(|error| {
            subject.first.take().ok_or(error)?;
            one(subject, &self.base.executable, Side::Base)
        });
        let (base, cost) = base?;
        let (head, _) = one(subject, &self.head.executable, Side::Head)?;
        Ok(([base, head], cost))
    }
}

/// The scenarios of programs, or those of some names.
fn scenarios<'a>(programs: &'a [Program], only: &[String]) -> Vec<(&'a Program, &'a Listed)> {
    let all =
        programs.iter().flat_map(|program| program.scenarios.iter().map(move |listed| (program, listed)));
    all.filter(|(_, listed)| only.is_empty() || only.contains(&listed.name)).collect()
}

/// Whether one of the files that differ has a workload of this type, such as
/// `parbench::scenarios::compute::prime_sum::PrimeSum`.
fn is_changed(workload: &str, bench: &str, changed: &[PathBuf]) -> bool {
    let path = workload.split('<').next().unwrap_or_default();
    let mut segments: Vec<_> = path.split("::").collect();
    segments.pop();
    let Some((package, modules)) = segments.split_first() else { return false };
    // A workload in the bench program itself: its crate is named like the bench target.
    let folder = if *package == bench.replace('-', "_") { format!("benches/{bench}") } else { "src".into() };
    let module = std::iter::once(&folder[..]).chain(modules.iter().copied()).collect::<Vec<_>>().join("/");
    changed.iter().any(|file| {
        let file = file.to_string_lossy();
        let file = file.strip_suffix(".rs").unwrap_or(&file);
        let file = file
            .strip_suffix("/mod")
            .or(file.strip_suffix("/lib"))
            .or(file.strip_suffix("/main"))
            .unwrap_or(file);
        let is_at = |at: usize| at == 0 || file.as_bytes()[at - 1] == b'/';
        let is_below = |at: usize| module != "src" && file[at + module.len()..].starts_with('/');
        file.match_indices(&module)
            .any(|(at, _)| is_at(at) && (at + module.len() == file.len() || is_below(at)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_has_changed_if_a_file_of_its_module_has() {
        let changed = |workload: &str, bench: &str, file: &str| is_changed(workload, bench, &[file.into()]);
        let primes = "parbench::scenarios::compute::prime_sum::PrimeSum";
        assert!(changed(primes, "compute", "src/scenarios/compute/prime_sum.rs"));
        assert!(changed(primes, "compute", "crates/parbench/src/scenarios/compute/prime_sum/mod.rs"));
        assert!(changed(primes, "compute", "src/scenarios/compute/prime_sum/sieve.rs"));
        assert!(!changed(primes, "compute", "src/scenarios/compute/prime_sum_more.rs"));
        assert!(!changed(primes, "compute", "src/scenarios/compute/mod.rs"));
        assert!(!changed(primes, "compute", "src/executors/serial.rs"));
        assert!(changed("words::Words", "words", "benches/words.rs"));
        assert!(changed("my_words::deep::Words<'_>", "my-words", "benches/my-words/deep.rs"));
        assert!(!changed("words::Words", "words", "benches/other.rs"));
        assert!(changed("mine::Words", "words", "src/lib.rs"));
        assert!(!changed("mine::Words", "words", "src/other.rs"));
    }
}
