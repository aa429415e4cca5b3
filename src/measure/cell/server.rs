//! The cell's own process: prepares, warms up, and answers commands until its driver closes the pipe.

use std::io::{BufRead, BufReader, Write};

use anyhow::{Context, Result, ensure};
use clap::{Arg, ArgMatches, Command as Arguments, value_parser};

use super::{CellHeader, Command, Reply, VERSION};
use crate::executors::ExecutorKind;
use crate::measure::rounds::parse_or_help;
use crate::measure::runner::Runner;
use crate::measure::variant::Variant;
use crate::program::lifetime::exit_with_owner;
use crate::program::limits::raise_descriptor_limit;
use crate::program::{self, allocator};
use crate::scenario::Scenario;
use crate::workload::Size;

/// The main of `parbench cell SCENARIO VARIANT [--tasks N] [--first N] [--size SIZE]`.
pub(crate) fn main(
    scenarios: &'static [Scenario],
    executors: &[&'static ExecutorKind],
    arguments: Vec<String>,
    results: &mut impl Write,
) -> Result<()> {
    let Some(arguments) = parse_or_help(command(), arguments, results)? else { return Ok(()) };
    // Before `prepare`: what a task or a fixture inherits must not be the commands.
    let commands = program::take_stdin()?;
    // A batch may take long: the driver may end before it.
    exit_with_owner(commands.try_clone()?.into())?;
    raise_descriptor_limit();
    let mut say = |reply: &Reply| {
        let line = serde_json::to_string(reply)? + "\n";
        results.write_all(line.as_bytes()).context("the driver of this cell has gone")
    };
    let result = serve(scenarios, executors, &arguments, BufReader::new(commands), &mut say);
    result.or_else(|error| say(&Reply::Failed(format!("{error:#}"))))
}

fn serve(
    scenarios: &'static [Scenario],
    executors: &[&'static ExecutorKind],
    arguments: &ArgMatches,
    commands: impl BufRead,
    say: &mut impl FnMut(&Reply) -> Result<()>,
) -> Result<()> {
    let (scenario, variant, size) = parse(scenarios, executors, arguments)?;
    let prepared = scenario.prepare(size)?;
    let first = arguments.get_one("first").copied();
    let mut runner = Runner::start(scenario, variant, first, &prepared)?;
    let mut answers = Vec::new();
    let (ready_ns, batch_ns) = runner.warm_up(|job| {
        answers = (0..job.tasks()).map(|task| Ok(job.answer(task)?.digest())).collect::<Result<_>>()?;
        job.check()
    })?;
    say(&Reply::Ready(CellHeader {
        version: VERSION.into(),
        inputs: prepared.digest()?,
        answers,
        answers_may_differ: prepared.answers_may_differ(),
        tasks: runner.job.tasks(),
        start_ns: runner.start_ns,
        ready_ns,
        batch_ns,
        allocator: allocator::policy().map(Into::into),
        hosts: runner.hosts(),
    }))?;
    for line in commands.lines() {
        let Command { batches, begin_ns, spans } = serde_json::from_str(&line?).context("not a command")?;
        say(&Reply::Observed(Box::new(runner.observe(batches, begin_ns, spans)?)))?;
    }
    Ok(())
}

fn command() -> Arguments {
    Arguments::new("parbench cell").no_binary_name(true).args([
        Arg::new("scenario").required(true).value_name("SCENARIO"),
        Arg::new("variant").required(true).value_name("VARIANT").help("Such as threads/4"),
        Arg::new("tasks").long("tasks").value_parser(value_parser!(usize)).help("With weak scaling"),
        Arg::new("first").long("first").value_parser(value_parser!(usize)).help("Only the first tasks"),
        Arg::new("size").long("size").value_parser(str::parse::<Size>).default_value("default"),
    ])
}

fn parse(
    scenarios: &'static [Scenario],
    executors: &[&'static ExecutorKind],
    arguments: &ArgMatches,
) -> Result<(&'static Scenario, Variant, Size)> {
    let text = |name| arguments.get_one::<String>(name).expect("it is required");
    let scenario = Scenario::find(scenarios, text("scenario"))?;
    let variant = Variant::parse(executors, text("variant"), arguments.get_one("tasks").copied())?;
    ensure!(
        variant.kind.shapes.contain(variant.shape),
        "{} can have {}, not {}",
        variant.kind.name,
        variant.kind.shapes,
        variant.shape
    );
    Ok((scenario, variant, *arguments.get_one("size").expect("it has a default")))
}
