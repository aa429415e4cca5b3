//! Drives a bench program: measures a scenario in launches of rounds, and chooses between them what is judged.

mod choose;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use parbench::Shape;
use parbench::bench::Listed;
use parbench::measure::{Machine, Record, RunHeader, read_records};

use self::choose::{AS_GOOD, QUICK_AS_GOOD, choose};
use crate::analysis::rounds::FEWEST_ROUNDS;
use crate::programs::Program;
use crate::run_file::{Judged, Options, Scenario};

/// The rounds of a quick run that are judged: the fewest whose interval leaves out one that was disturbed.
const QUICK_ROUNDS: u32 = 9;
/// The same where only a few scenarios are measured, which leaves time: a disturbance of a second is then not all that is seen.
const QUICK_ROUNDS_OF_FEW: u32 = 27;
/// So many scenarios are few.
const FEW: usize = 3;

/// A scenario with longer batches than this has as few rounds as can be in a quick run.
const QUICK_SLOW_NS: f64 = 120e6;

/// The rounds of a quick run of so many scenarios that are judged.
pub(crate) fn quick_rounds(scenarios: usize) -> u32 {
    if scenarios <= FEW { QUICK_ROUNDS_OF_FEW } else { QUICK_ROUNDS }
}

/// What a scenario gave, and the header of the program that measured it.
pub(crate) struct Driven {
    pub(crate) scenario: Scenario,
    pub(crate) header: RunHeader,
}

/// Measures a scenario. Batches that fail are records, and the scenario's `error` then says so.
///
/// # Errors
/// If the program cannot be started, or prints what is no record.
pub(crate) fn drive(program: &Program, listed: &Listed, options: &Options) -> Result<Driven> {
    let mut scenario = Scenario {
        name: listed.name.clone(),
        family: program.bench.clone(),
        weak: listed.weak,
        cold: listed.cold,
        nested: listed.nested,
        waits: listed.waits,
        is_compared: !listed.has_check,
        amount: listed.amount,
        ..Scenario::default()
    };
    let rounds = Rounds { program: &program.executable, scenario: &listed.name, options };
    // All variants: the scan.
    let of_few = options.quick && options.rounds > QUICK_ROUNDS;
    let scan_rounds = if options.quick { "1" } else { "2" };
    let scan_passes = if options.quick && !of_few { "1" } else { "2" };
    let scan = ["--rounds", scan_rounds, "--passes", scan_passes, "--judged", "none", "--spans"];
    let counts = if options.quick && !listed.waits { quick_counts() } else { String::new() };
    // What a person has asked for comes first.
    let counts = if options.workers.is_empty() { counts } else { options.workers.join(",") };
    let counts = if counts.is_empty() { vec![] } else { vec!["--workers", &counts] };
    let (header, mut succeeded) = rounds.run(&[&scan[..], &counts].concat(), &mut scenario)?;
    let choice = choose(&scenario, &program.ways, if options.quick { QUICK_AS_GOOD } else { AS_GOOD });
    scenario.judged = Judged { threads: choice.threads.clone(), processes: choice.processes.clone() };
    let judged: Vec<_> = [&choice.threads, &choice.processes].into_iter().flatten().cloned().collect();
    if succeeded && !judged.is_empty() {
        let variants = [choice.serial, judged.clone()].concat().join(",");
        let judged = judged.join(",");
        let passes = if options.quick { "1" } else { "2" };
        let is_slow = scenario.records.iter().filter_map(Record::batch_ns).any(|ns| ns > QUICK_SLOW_NS);
        let count = match options.quick && is_slow {
            true if of_few => QUICK_ROUNDS,
            true => FEWEST_ROUNDS as u32,
            false => options.rounds,
        };
        let count = count.to_string();
        let common = ["--variants", &variants, "--rounds", &count, "--passes", passes];
        for launch in 0..options.launches {
            // The rounds of a quick run follow the scan in the same launch: its one round, 0, is not judged.
            let (launch, first_round) = if options.quick { (0, 1) } else { (launch + 1, 0) };
            let (launch, first_round) = (launch.to_string(), first_round.to_string());
            let mut arguments = [&common[..], &counts].concat();
            arguments.extend(["--first-launch", &launch, "--first-round", &first_round]);
            let ceiling = format!("--ceiling={}", ceilings(&choice.shapes, &header));
            if options.quick {
                arguments.extend(["--judged", "none"]);
            } else {
                arguments.extend(["--judged", &judged, &ceiling]);
            }
            succeeded &= rounds.run(&arguments, &mut scenario)?.1;
        }
    }
    if !succeeded && scenario.error.is_none() {
        let failed = scenario.records.iter().find_map(|record| record.error.clone());
        scenario.error = Some(failed.unwrap_or_else(|| "it could not be measured".into()));
    }
    Ok(Driven { scenario, header })
}

/// The worker counts of a quick run: one for each CPU, and twice that.
fn quick_counts() -> String {
    let machine = Machine::this();
    let useful = machine.cpus_allowed.min(machine.physical_cores).max(1);
    format!("{useful},{}", 2 * useful)
}

/// The counts of independent copies that are measured: what the judged variants have, and a copy a CPU; no more than twice
/// that, since so many show nothing more.
fn ceilings(judged: &[Shape], header: &RunHeader) -> String {
    let useful = header.machine.cpus_allowed.min(header.machine.physical_cores).max(1);
    let mut counts: Vec<_> =
        judged.iter().map(|shape| shape.parallelism()).filter(|count| *count <= 2 * useful).collect();
    counts.push(useful);
    counts.sort_unstable();
    counts.dedup();
    counts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// `parbench rounds` of one scenario.
struct Rounds<'a> {
    program: &'a Path,
    scenario: &'a str,
    options: &'a Options,
}

impl Rounds<'_> {
    /// Runs a launch and adds its records; returns its header and whether all batches succeeded.
    fn run(&self, arguments: &[&str], scenario: &mut Scenario) -> Result<(RunHeader, bool)> {
        let Options { size, seed, executors, .. } = self.options;
        let mut command = Command::new(self.program);
        command.args(["parbench", "rounds", self.scenario, "--launches", "1"]).args(arguments);
        command.args(["--size", size, "--seed", &seed.to_string()]);
        if !executors.is_empty() {
            command.args(["--executors", &executors.join(",")]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?;
        let said = BufReader::new(child.stderr.take().context("it has no stderr")?);
        let said = thread::spawn(move || forward(said));
        let mut lines = Vec::new();
        let read = child.stdout.take().context("it has no stdout")?.read_to_end(&mut lines);
        let status = child.wait()?;
        let errors = said.join().unwrap_or_default();
        read.context("cannot read its records")?;
        ensure!(status.code().is_some(), "{} was measured by a program that ended ({status})", self.scenario);
        let (headers, records) = read_records(&lines[..])?;
        let Some(header) = headers.into_iter().next() else {
            bail!("{}", errors.first().cloned().unwrap_or_else(|| format!("no records ({status})")))
        };
        scenario.records.extend(records);
        if scenario.error.is_none() {
            scenario.error = errors.into_iter().next();
        }
        Ok((header, status.success()))
    }
}

/// Passes on what the program says to people, but for its progress; returns its errors.
fn forward(said: impl BufRead) -> Vec<String> {
    let mut errors = Vec::new();
    for line in said.lines().map_while(Result::ok) {
        if let Some(error) = line.strip_prefix("error: ") {
            errors.push(error.to_string());
        } else if !line.starts_with("note: ") {
            continue;
        }
        eprintln!("{line}");
    }
    errors
}

/// The records of a scenario that a variant gave.
fn records_of<'a>(scenario: &'a Scenario, name: &'a str) -> impl Iterator<Item = &'a Record> {
    scenario.records.iter().filter(move |record| variant_name(record, scenario.weak) == name)
}

/// A record's variant as the program names it: with weak scaling `serial/4` is serial with the tasks of four workers.
pub(crate) fn variant_name(record: &Record, weak: bool) -> String {
    if weak && record.executor != "ceiling" {
        return format!("{}/{}", record.executor, record.tasks);
    }
    format!("{}/{}", record.executor, record.shape)
}
