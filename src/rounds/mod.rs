//! Interleaved measuring: every variant once in random order and once in its reverse, so that their ratio in
//! a round is fair on a machine whose speed drifts, and each variant's ratio with itself is the control.

pub(crate) mod copies;

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Arg, ArgAction, Command, value_parser};

use self::copies::Copies;
use crate::fixtures::text::splitmix;
use crate::options::{Options, Variant, parse_executors, parse_workers};
use crate::record::{Record, percentile};
use crate::runner::Runner;
use crate::scenario::{Jobs, Scenario};
use crate::workload::Size;

/// `parbench rounds`: measures, checks every batch, and writes records as JSON lines.
pub(crate) fn main(
    scenarios: &'static [Scenario],
    arguments: Vec<String>,
    results: &mut impl Write,
) -> Result<()> {
    let arguments = match command().try_get_matches_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help is a result for who asked for it; a mistake is none.
            if error.use_stderr() {
                error.print()?;
            } else {
                write!(results, "{}", error.render())?;
            }
            std::process::exit(error.exit_code());
        }
    };
    let mut options = Options::from_env()?;
    if let Some(size) = arguments.get_one::<Size>("size") {
        options.size = *size;
    }
    if let Some(workers) = arguments.get_one::<Vec<usize>>("workers") {
        options.workers = Some(workers.clone());
    }
    if let Some(executors) = arguments.get_one("executors") {
        options.executors = Vec::clone(executors);
        options.named = true;
    }
    let names = arguments.get_many::<String>("scenarios").unwrap_or_default();
    let named = names.map(|name| Scenario::find(scenarios, name)).collect::<Result<Vec<_>>>()?;
    let named = if named.is_empty() { scenarios.iter().collect() } else { named };
    let mut plan = Plan {
        options,
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
        .about("Measures interleaved rounds; a JSON line for each variant, round and repeat")
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
                .value_parser(parse_workers)
                .help("Worker counts, such as 1,2,4"),
            Arg::new("executors")
                .long("executors")
                .value_parser(parse_executors)
                .help("Such as serial,threads"),
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
    options: Options,
    rounds: u32,
    seed: u64,
    ceiling: bool,
    spans: bool,
}

impl Plan {
    fn measure(&mut self, scenario: &'static Scenario, results: &mut impl Write) -> Result<()> {
        let variants = self.options.variants(scenario);
        ensure!(!variants.is_empty(), "none of the named executors can run `{}`", scenario.name);
        let jobs = scenario.prepare(self.options.size)?;
        let mut contestants = variants
            .iter()
            .map(|variant| Running::start(scenario, *variant, &jobs))
            .collect::<Result<Vec<_>>>()?;
        if self.ceiling {
            let mut counts: Vec<_> = variants.iter().map(|variant| variant.workers).collect();
            counts.sort_unstable();
            counts.dedup();
            for copies in counts {
                contestants.push(Running::copies(scenario, self.options.size, copies)?);
            }
        }
        // A first batch finds every page, connection and cache line; it is checked and not recorded.
        for contestant in &mut contestants {
            contestant.run()?;
        }
        for round in 0..self.rounds {
            let order = self.shuffle(contestants.len());
            let passes = [order.clone(), order.into_iter().rev().collect()];
            for (repeat, pass) in passes.iter().enumerate() {
                for (place, &index) in pass.iter().enumerate() {
                    let contestant = &mut contestants[index];
                    let mut record = contestant.run()?;
                    record.scenario = scenario.name.into();
                    record.size = self.options.size.to_string();
                    (record.round, record.repeat, record.place) = (round, repeat as u32, place as u32);
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

    /// A random order (Fisher and Yates).
    fn shuffle(&mut self, length: usize) -> Vec<usize> {
        let mut order: Vec<_> = (0..length).collect();
        for last in (1..length).rev() {
            order.swap(last, (splitmix(&mut self.seed) % (last as u64 + 1)) as usize);
        }
        order
    }
}

/// A variant or a ceiling, started and warm.
struct Running {
    name: &'static str,
    workers: usize,
    start: Duration,
    what: What,
}

enum What {
    Executor(Runner),
    Copies(Copies),
}

impl Running {
    fn start(scenario: &Scenario, variant: Variant, jobs: &Jobs) -> Result<Running> {
        let begin = Instant::now();
        let runner = Runner::start(scenario, variant, jobs)?;
        let Variant { kind, workers, .. } = variant;
        Ok(Running { name: kind.name, workers, start: begin.elapsed(), what: What::Executor(runner) })
    }

    fn copies(scenario: &Scenario, size: Size, copies: usize) -> Result<Running> {
        let begin = Instant::now();
        let what = What::Copies(Copies::start(scenario.name, size, copies)?);
        Ok(Running { name: "ceiling", workers: copies, start: begin.elapsed(), what })
    }

    /// Runs a batch and checks its answers, which also drops them and settles what they left behind.
    fn run(&mut self) -> Result<Record> {
        let what = || format!("{}/{}", self.name, self.workers);
        let mut record = Record {
            executor: self.name.into(),
            workers: self.workers,
            start_ns: self.start.as_nanos() as u64,
            ..Record::default()
        };
        match &mut self.what {
            What::Copies(copies) => {
                let (tasks, wall) = copies.run().with_context(what)?;
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
