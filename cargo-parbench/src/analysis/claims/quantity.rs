//! What a claim is about: a value of a variant, or a ratio of two, as `time:serial / threads@2`.

use anyhow::{Context, Result, bail};

use crate::analysis::rounds::{FEWEST_ROUNDS, interval, log_ratios, values};
use crate::analysis::{Facts, Interval};
use crate::drive::variant_name;
use crate::run_file::Scenario;

/// Fewer than six rounds make no interval: theirs is widened by a tenth on either side.
const FEW_ROUNDS: f64 = 1.1;

/// A quantity of a claim.
#[derive(Debug)]
pub(super) struct Quantity {
    over: Side,
    under: Option<Side>,
}

/// One side of a ratio.
#[derive(Debug)]
enum Side {
    One(Term),
    Smallest(Term, Term),
    Largest(Term, Term),
}

/// A measure of a variant.
#[derive(Clone, Debug)]
struct Term {
    measure: Measure,
    executor: String,
    workers: Workers,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Measure {
    Time,
    Task,
    Cpu,
    Cores,
    Overlap,
    Moved,
    Switches,
    Memory,
}

#[derive(Clone, Copy, Debug)]
enum Workers {
    Count(usize),
    /// So many for each CPU.
    PerCpu(usize),
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Ratio,
    Time,
    Bytes,
    Count,
}

/// A quantity's value in a run.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) interval: Interval,
    pub(super) kind: Kind,
    /// The variants that it was taken of.
    pub(super) used: String,
}

impl Quantity {
    pub(super) fn parse(text: &str) -> Result<Quantity> {
        // Not that inside of `min(…)`, which has none.
        let (over, under) = match text.split_once(" / ") {
            Some((over, under)) => (over, Some(under)),
            None => (text, None),
        };
        Ok(Quantity { over: Side::parse(over)?, under: under.map(Side::parse).transpose()? })
    }

    /// Its value; `None` if the run has no such variant.
    pub(super) fn value(&self, scenario: &Scenario, cpus: usize) -> Option<Value> {
        let Some(under) = &self.under else {
            let Side::One(term) = &self.over else { return None };
            let (name, value) = (term.variant(scenario, cpus, None)?, term.fact(scenario, cpus)?);
            let interval = Interval { median: value, low: value, high: value };
            return Some(Value { interval, kind: term.measure.kind(), used: name });
        };
        // With weak scaling serial has the tasks of the variant that it is held against.
        let (over, under) = (self.over.pick(scenario, cpus, under)?, under.pick(scenario, cpus, &self.over)?);
        let (above, below) =
            (over.variant(scenario, cpus, Some(&under))?, under.variant(scenario, cpus, Some(&over))?);
        // Where the larger count was not measured, both sides may be the same variant: it says nothing.
        if above == below && over.measure == under.measure {
            return None;
        }
        let used = format!("{above} over {below}");
        if over.measure == Measure::Time {
            let values = values(scenario);
            let logs = log_ratios(values.get(&above)?, values.get(&below)?, |_| true);
            let few = logs.len() < FEWEST_ROUNDS;
            let mut interval = interval(logs.into_iter().map(|(_, log)| log))?;
            if few {
                (interval.low, interval.high) = (interval.low / FEW_ROUNDS, interval.high * FEW_ROUNDS);
            }
            return Some(Value { interval, kind: Kind::Ratio, used });
        }
        let ratio = over.fact(scenario, cpus)? / under.fact(scenario, cpus)?;
        let interval = Interval { median: ratio, low: ratio, high: ratio };
        ratio.is_finite().then_some(Value { interval, kind: Kind::Ratio, used })
    }
}

impl Side {
    fn parse(text: &str) -> Result<Side> {
        let pair = |inner: &str| {
            let inner = inner.strip_suffix(')').with_context(|| format!("`{text}` is not closed"))?;
            let (one, other) = inner.split_once(", ").with_context(|| format!("`{text}` has one term"))?;
            Ok::<_, anyhow::Error>((Term::parse(one)?, Term::parse(other)?))
        };
        if let Some(inner) = text.strip_prefix("min(") {
            return pair(inner).map(|(one, other)| Side::Smallest(one, other));
        }
        if let Some(inner) = text.strip_prefix("max(") {
            return pair(inner).map(|(one, other)| Side::Largest(one, other));
        }
        Term::parse(text).map(Side::One)
    }

    fn first(&self) -> &Term {
        match self {
            Side::One(term) | Side::Smallest(term, _) | Side::Largest(term, _) => term,
        }
    }

    /// The term that counts.
    fn pick(&self, scenario: &Scenario, cpus: usize, beside: &Side) -> Option<Term> {
        let (Side::Smallest(one, other) | Side::Largest(one, other)) = self else {
            return Some(self.first().clone());
        };
        let time = |term: &Term| {
            let name = term.variant(scenario, cpus, Some(beside.first()))?;
            Facts::of(scenario, &name, |_| true).map(|facts| facts.wall)
        };
        let is_first = match self {
            Side::Smallest(..) => time(one)? <= time(other)?,
            _ => time(one)? >= time(other)?,
        };
        Some(if is_first { one.clone() } else { other.clone() })
    }
}

impl Term {
    fn parse(text: &str) -> Result<Term> {
        let (measure, variant) = text.split_once(':').unwrap_or(("time", text));
        let measure = match measure {
            "time" => Measure::Time,
            "task" => Measure::Task,
            "cpu" => Measure::Cpu,
            "cores" => Measure::Cores,
            "overlap" => Measure::Overlap,
            "moved" => Measure::Moved,
            "switches" => Measure::Switches,
            "memory" => Measure::Memory,
            _ => bail!("there is no measure `{measure}`"),
        };
        let (executor, workers) = variant.split_once('@').unwrap_or((variant, "1"));
        let workers = match workers {
            "C" => Workers::PerCpu(1),
            "2C" => Workers::PerCpu(2),
            count => Workers::Count(count.parse().with_context(|| format!("`{text}`"))?),
        };
        Ok(Term { measure, executor: executor.into(), workers })
    }

    /// The variant that was measured for it: of the count that it wants, or else of the largest below, or of the smallest above.
    fn variant(&self, scenario: &Scenario, cpus: usize, beside: Option<&Term>) -> Option<String> {
        let wanted = match self.workers {
            Workers::Count(count) => count,
            Workers::PerCpu(per_cpu) => per_cpu * cpus,
        };
        let of_executor = || scenario.records.iter().filter(|record| record.executor == self.executor);
        if self.executor == "serial" {
            let other = beside.filter(|other| other.executor != "serial");
            let tasks = other.and_then(|other| {
                let name = other.variant(scenario, cpus, None)?;
                scenario
                    .records
                    .iter()
                    .find(|record| variant_name(record, scenario.weak) == name)
                    .map(|record| record.tasks)
            });
            let same = of_executor()
                .find(|record| !scenario.weak || tasks.is_none_or(|tasks| record.tasks == tasks));
            return same.map(|record| variant_name(record, scenario.weak));
        }
        let count = |record: &&parbench::measure::Record| record.shape.parallelism();
        let below =
            of_executor().filter(|record| count(record) <= wanted && (wanted < 2 || count(record) > 1));
        let nearest = below
            .max_by_key(count)
            .or_else(|| of_executor().filter(|record| count(record) > wanted).min_by_key(count));
        nearest.map(|record| variant_name(record, scenario.weak))
    }

    /// The measure's value in a run.
    fn fact(&self, scenario: &Scenario, cpus: usize) -> Option<f64> {
        let name = self.variant(scenario, cpus, None)?;
        let facts = Facts::of(scenario, &name, |_| true)?;
        let of_variant = |record: &&parbench::measure::Record| variant_name(record, scenario.weak) == name;
        let workers = scenario.records.iter().find(of_variant)?.shape.parallelism() as f64;
        match self.measure {
            Measure::Time => Some(facts.wall),
            Measure::Task => facts.task,
            Measure::Cpu => facts.cpu(),
            Measure::Cores => facts.cores(),
            Measure::Overlap => facts.lanes.map(|lanes| lanes.work * workers),
            Measure::Moved => facts.moved_bytes,
            Measure::Switches => facts.switches,
            Measure::Memory => facts.peak_bytes,
        }
    }
}

impl Measure {
    fn kind(self) -> Kind {
        match self {
            Measure::Time | Measure::Task | Measure::Cpu => Kind::Time,
            Measure::Moved | Measure::Memory => Kind::Bytes,
            Measure::Cores | Measure::Overlap | Measure::Switches => Kind::Count,
        }
    }
}
