//! Interleaved measuring: every variant once in random order and once in its reverse, so that their ratio in a round is
//! fair on a machine whose speed drifts, and each variant's ratio with itself is the control.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Arg, ArgAction, Command, value_parser};

use super::ceiling::Ceiling;
use super::record::{Record, percentile};
use super::runner::Runner;
use super::variant::{Selection, Variant, find_executors, parse_shapes};
use crate::executors::ExecutorKind;
use crate::random::shuffle;
use crate::scenario::{Prepared, Scenario};
use crate::shape::Shape;
use crate::workload::Size;

/// The main of `parbench rounds`: measures, checks every batch, and writes records as JSON lines.
pub(crate) fn main(
    scenarios: &'static [Scenario],
    executors: &[&'static ExecutorKind],
    arguments: Vec<String>,
    results: &mut impl Write,
) -> Result<()> {
    let arguments = match command().try_get_matches_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help is a result for a person who asked for it; an error is not.
            if error.use_stderr() {
                error.print()?;
            } else {
                write!(results, "{}", error.render())?;
            }
            std::process::exit(error.exit_code());
        }
    };
    let mut selection = Selection::from_env(executors)?;
    if let Some(size) = arguments.get_one::<Size>("size") {
        selection.size = *size;
    }
    if let Some(shapes) = arguments.get_one::<Vec<Shape>>("workers") {
        selection.shapes = Some(shapes.clone());
    }
    if let Some(names) = arguments.get_one::<String>("executors") {
        selection.executors = find_executors(executors, names)?;
        selection.named = true;
    }
    selection.check()?;
    let names = arguments.get_many::<String>("scenarios").unwrap_or_default();
    let named = names.map(|name| Scenario::find(scenarios, name)).collect::<Result<Vec<_>>>()?;
    let named = if named.is_empty() { scenarios.iter().collect() } else { named };
    let mut plan = Plan {
        selection,
        rounds: *arguments.get_one("rounds").expect("it has a default"),
        seed: *arguments.get_one("seed").expect("it has a default"),
        ceiling: arguments.get_flag("ceiling"),
        spans: arguments.get_flag("spans"),
    };
    named.into_iter().try_for_each(|scenario| plan.measure(scenario, results))
}

fn command() -> Command {
    Command::new("parbench rounds")
        .no_binary_name(true)
        .about("Measures interleaved rounds; a JSON line for each variant, round and pass")
        .args([
            Arg::new("scenarios").num_args(0..).value_name("SCENARIO").help("All, if none is named"),
            Arg::new("rounds")
                .long("rounds")
                .value_parser(value_parser!(u32).range(1..))
                .default_value("12")
                .help("Rounds; in each every variant runs twice"),
            Arg::new("size").long("size").value_parser(str::parse::<Size>).help("smoke, default or article"),
            Arg::new("workers")
                .long("workers")
                .value_parser(parse_shapes)
                .help("Worker counts, such as 1,2,4"),
            Arg::new("executors").long("executors").help("Such as serial,threads"),
            Arg::new("seed")
                .long("seed")
                .value_parser(value_parser!(u64))
                .default_value("1")
                .help("Of the order"),
            Arg::new("ceiling").long("ceiling").action(ArgAction::SetTrue).help(
                "Also measures independent serial copies, as many as workers: what they can reach at best",
            ),
            Arg::new("spans")
                .long("spans")
                .action(ArgAction::SetTrue)
                .help("Adds every task's span to round 0"),
        ])
}

/// What to measure of each scenario.
struct Plan {
    selection: Selection,
    rounds: u32,
    seed: u64,
    ceiling: bool,
    spans: bool,
}

impl Plan {
    fn measure(&mut self, scenario: &'static Scenario, results: &mut impl Write) -> Result<()> {
        let variants = self.selection.variants(scenario);
        ensure!(!variants.is_empty(), "none of the named executors can run `{}`", scenario.name);
        let prepared = scenario.prepare(self.selection.size)?;
        let mut contestants = variants
            .iter()
            .map(|variant| Contestant::start(scenario, *variant, &prepared))
            .collect::<Result<Vec<_>>>()?;
        if self.ceiling {
            let mut shapes: Vec<_> = variants.iter().map(|variant| variant.shape).collect();
            shapes.sort_unstable();
            shapes.dedup();
            for copies in shapes {
                contestants.push(Contestant::ceiling(scenario, self.selection.size, copies)?);
            }
        }
        // A first batch finds every page, connection and cache line; it is checked and not recorded.
        for contestant in &mut contestants {
            contestant.run()?;
        }
        for round in 0..self.rounds {
            let mut order: Vec<_> = (0..contestants.len()).collect();
            shuffle(&mut order, &mut self.seed);
            let passes = [order.clone(), order.into_iter().rev().collect()];
            for (pass, order) in passes.iter().enumerate() {
                for (position, &index) in order.iter().enumerate() {
                    let contestant = &mut contestants[index];
                    let mut record = contestant.run()?;
                    record.scenario = scenario.name.into();
                    record.size = self.selection.size.to_string();
                    (record.round, record.pass, record.position) = (round, pass as u32, position as u32);
                    if !(self.spans && round == 0) {
                        record.spans = None;
                    }
                    // In one piece, so that a run that is killed leaves whole lines.
                    let line = serde_json::to_string(&record)? + "\n";
                    results.write_all(line.as_bytes()).context("cannot write a record")?;
                }
            }
        }
        Ok(())
    }
}

/// A variant or a ceiling, started and warm.
struct Contestant {
    name: &'static str,
    shape: Shape,
    start: Duration,
    what: What,
}

enum What {
    Executor(Box<Runner>),
    Ceiling(Ceiling),
}

impl Contestant {
    fn start(scenario: &Scenario, variant: Variant, prepared: &Prepared) -> Result<Contestant> {
        let begin = Instant::now();
        let runner = Runner::start(scenario, variant, prepared)?;
        let Variant { kind, shape, .. } = variant;
        Ok(Contestant {
            name: kind.name,
            shape,
            start: begin.elapsed(),
            what: What::Executor(Box::new(runner)),
        })
    }

    fn ceiling(scenario: &Scenario, size: Size, shape: Shape) -> Result<Contestant> {
        let begin = Instant::now();
        let what = What::Ceiling(Ceiling::start(scenario.name, size, shape.parallelism())?);
        Ok(Contestant { name: "ceiling", shape, start: begin.elapsed(), what })
    }

    /// Runs a batch and checks its answers, which also drops them and settles what they left behind.
    fn run(&mut self) -> Result<Record> {
        let what = || format!("{}/{}", self.name, self.shape);
        let mut record = Record {
            executor: self.name.into(),
            shape: self.shape,
            start_ns: self.start.as_nanos() as u64,
            ..Record::default()
        };
        match &mut self.what {
            What::Ceiling(ceiling) => {
                let (tasks, wall) = ceiling.run().with_context(what)?;
                (record.tasks, record.wall_ns) = (tasks, wall.as_nanos() as u64);
            }
            What::Executor(runner) => {
                let before = runner.usage();
                let outcome = runner.run().with_context(what)?;
                record.usage = Some(runner.usage() - before);
                let spans = outcome.spans().with_context(what)?;
                runner.job.check().with_context(what)?;
                (record.tasks, record.wall_ns) = (spans.len(), outcome.wall.as_nanos() as u64);
                let run = |percent| percentile(percent, spans.iter().map(|span| span.run_ns()));
                let wait = |percent| percentile(percent, spans.iter().map(|span| span.wait_ns()));
                (record.task_p50_ns, record.task_p99_ns) = (run(50), run(99));
                (record.wait_p50_ns, record.wait_p99_ns) = (wait(50), wait(99));
                record.spans = Some(spans);
            }
        }
        Ok(record)
    }
}
