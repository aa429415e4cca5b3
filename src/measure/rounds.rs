//! The main of `parbench rounds`: which scenarios, variants and launches to measure; prints a header for each launch and a
//! record for each observation.

use std::collections::HashSet;
use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::cell::{CellSpec, Program, VERSION};
use super::launch::{Ceilings, Launch};
use super::machine::{Machine, useful_workers};
use super::record::{FORMAT, Record, RunHeader};
use super::variant::{Selection, Variant, find_executors, parse_shapes};
use crate::executors::{ExecutorKind, Isolation};
use crate::program::allocator;
use crate::program::limits::raise_descriptor_limit;
use crate::random::seed_of;
use crate::scenario::Scenario;
use crate::shape::Shape;
use crate::workload::Size;

/// The main of `parbench rounds`.
pub(crate) fn main(
    scenarios: &'static [Scenario],
    executors: &[&'static ExecutorKind],
    arguments: Vec<String>,
    results: &mut impl Write,
) -> Result<()> {
    let Some(arguments) = parse_or_help(command(), arguments, results)? else { return Ok(()) };
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
    let mut named = if named.is_empty() { scenarios.iter().collect() } else { named };
    // Two records of one key would be refused.
    let mut seen = HashSet::new();
    named.retain(|scenario| seen.insert(scenario.name));
    for scenario in &named {
        let variants = selection.variants(scenario);
        ensure!(!variants.is_empty(), "none of the named executors can run `{}`", scenario.name);
    }
    ensure_readable_again()?;
    raise_descriptor_limit();
    Run { selection, arguments }.measure(&named, results)
}

/// Parses the arguments of a mode; prints its help and returns `None` if that was asked for.
pub(super) fn parse_or_help(
    command: Command,
    arguments: Vec<String>,
    results: &mut impl Write,
) -> Result<Option<ArgMatches>> {
    match command.try_get_matches_from(arguments) {
        Ok(arguments) => Ok(Some(arguments)),
        // Help is a result for a person who asked for it; an error is not.
        Err(error) if !error.use_stderr() => {
            write!(results, "{}", error.render()).context("cannot write the help")?;
            Ok(None)
        }
        Err(error) => {
            error.print()?;
            process::exit(error.exit_code())
        }
    }
}

fn command() -> Command {
    let number = |name: &'static str, range, default: &'static str| {
        let parser = value_parser!(u32).range(range);
        let argument = Arg::new(name).long(name).value_name("N").value_parser(parser).default_value(default);
        // A negative one is out of range, not an unknown option.
        argument.allow_negative_numbers(true)
    };
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new("parbench rounds")
        .no_binary_name(true)
        .about("Measures interleaved rounds; a JSON line for each observation")
        .args([
            Arg::new("scenarios").num_args(0..).value_name("SCENARIO").help("All, if none is named"),
            number("rounds", 1.., "12")
                .help("Rounds of all launches together"),
            number("launches", 1.., "3").help("Sets of processes that the rounds are divided into"),
            number("first-launch", 0.., "0").help("The number of the first launch, to add to another run"),
            number("first-round", 0.., "0").help("The number of the first round, to add to the same launch"),
            number("passes", 1.., "2")
                .value_parser(value_parser!(u32).range(1..=2))
                .help("Times that every variant runs in a round: with 1, every second round is in reverse order"),
            Arg::new("variants")
                .long("variants")
                .help("Only these of the executors and worker counts, such as serial/1,threads/2"),
            Arg::new("size").long("size").value_parser(str::parse::<Size>).help("smoke, default or article"),
            Arg::new("workers")
                .long("workers")
                .value_parser(parse_shapes)
                .help("Worker counts, such as 1,2,4"),
            Arg::new("executors").long("executors").help("Such as serial,threads"),
            Arg::new("judged").long("judged").value_name("VARIANTS").help(
                "Variants with a second replica, or none [default: threads and processes, a worker a CPU]",
            ),
            Arg::new("seed")
                .long("seed")
                .value_parser(value_parser!(u64))
                .default_value("1")
                .help("Of the orders"),
            Arg::new("ceiling")
                .long("ceiling")
                .value_name("COUNTS")
                .num_args(0..=1)
                .require_equals(true)
                .value_parser(parse_shapes)
                .help("Also measures independent serial cells: what as many workers can reach at best"),
            flag("spans").help("Adds every task's span to round 0"),
            Arg::new("memory").long("memory").value_name("MIB").value_parser(value_parser!(u32)).help(
                "The most memory that variants measured together may take; more are measured in groups [default: what is free]",
            ),
            number("timeout", 1.., "300")
                .value_name("SECONDS")
                .help("The longest that an observation may take"),
        ])
}

struct Run {
    selection: Selection,
    arguments: ArgMatches,
}

impl Run {
    fn number(&self, name: &str) -> u32 {
        *self.arguments.get_one(name).expect("it has a default")
    }

    fn measure(&self, scenarios: &[&'static Scenario], results: &mut impl Write) -> Result<()> {
        let (rounds, first) = (self.number("rounds"), self.number("first-launch"));
        let first_round = self.number("first-round");
        // A launch without a round would have nothing to say.
        let launches = self.number("launches").min(rounds);
        let seed: u64 = *self.arguments.get_one("seed").expect("it has a default");
        let header = RunHeader {
            format: FORMAT.into(),
            seed,
            size: self.selection.size.to_string(),
            version: VERSION.into(),
            program: program_hash()?,
            allocator: allocator::policy().map(Into::into),
            machine: Machine::this(),
            ..RunHeader::default()
        };
        let (mut failed, mut errors) = (Vec::new(), 0);
        for launch in 0..launches {
            let number = first + launch;
            // In one piece, so that a run that is killed leaves whole lines.
            let mut print = |line: String| {
                results.write_all((line + "\n").as_bytes()).context("cannot write the results")
            };
            print(serde_json::to_string(&RunHeader { launch: number, ..header.clone() })?)?;
            let share = |launch: u32| {
                first_round + (u64::from(rounds) * u64::from(launch) / u64::from(launches)) as u32
            };
            for scenario in scenarios {
                let mut spec = CellSpec::new(Program::This, scenario.name, "serial", 1);
                spec.size = self.selection.size;
                spec.timeout = Duration::from_secs(self.number("timeout").into());
                let variants = self.variants(scenario)?;
                let judged = self.judged(scenario, &variants)?;
                let launch = Launch {
                    number,
                    rounds: share(launch)..share(launch + 1),
                    seed: seed_of(seed, &format!("{} {number}", scenario.name)),
                    variants: &variants,
                    judged: &judged,
                    ceilings: self.ceilings(scenario),
                    passes: self.number("passes"),
                    spans: self.arguments.get_flag("spans") && launch == 0,
                    memory: self.arguments.get_one::<u32>("memory").map(|mib| u64::from(*mib) << 20),
                    spec: &spec,
                };
                let mut sink = |record: Record| {
                    if let Some(error) = &record.error {
                        eprintln!("error: {error}");
                        errors += 1;
                    }
                    print(serde_json::to_string(&record)?)
                };
                // For a person who waits: in a log it would be among the errors.
                if io::stderr().is_terminal() {
                    eprintln!(
                        "measuring {}, launch {} of {launches}",
                        scenario.name,
                        launch.number - first + 1
                    );
                }
                match launch.run(&mut sink) {
                    Ok(true) => continue,
                    Ok(false) => {}
                    // What is wrong with one scenario is not wrong with the next.
                    Err(error) => {
                        eprintln!("error: {error:#}");
                        errors += 1;
                    }
                }
                failed.push(scenario.name);
            }
        }
        if errors == 1 {
            // It has been said.
            process::exit(2);
        }
        failed.dedup();
        ensure!(failed.is_empty(), "there is no comparison of {}: see above", failed.join(", "));
        Ok(())
    }

    /// The variants of a scenario that are measured.
    fn variants(&self, scenario: &Scenario) -> Result<Vec<Variant>> {
        let all = self.selection.variants(scenario);
        match self.arguments.get_one::<String>("variants") {
            None => Ok(all),
            Some(list) => pick(list, &all, scenario),
        }
    }

    fn ceilings(&self, scenario: &Scenario) -> Ceilings<'_> {
        // A cold one starts its workers in the clock, a nested one fills all CPUs by itself.
        if !self.arguments.contains_id("ceiling") || scenario.properties.cold || scenario.properties.nested {
            return Ceilings::None;
        }
        self.arguments.get_one::<Vec<Shape>>("ceiling").map_or(Ceilings::All, |shapes| Ceilings::Of(shapes))
    }

    /// The variants with a second replica.
    fn judged(&self, scenario: &Scenario, variants: &[Variant]) -> Result<Vec<Variant>> {
        let Some(list) = self.arguments.get_one::<String>("judged") else {
            let useful = Shape::from(useful_workers());
            let of = |isolation| {
                let fits =
                    |variant: &&Variant| variant.kind.isolation == isolation && variant.shape == useful;
                variants.iter().find(fits).copied()
            };
            return Ok([of(Isolation::Thread), of(Isolation::Process)].into_iter().flatten().collect());
        };
        if list == "none" { Ok(Vec::new()) } else { pick(list, variants, scenario) }
    }
}

/// The variants of a list of names such as `serial/1,threads/2`.
fn pick(list: &str, variants: &[Variant], scenario: &Scenario) -> Result<Vec<Variant>> {
    let find = |name: &str| {
        let found = variants.iter().find(|variant| variant.to_string() == name).copied();
        found.with_context(|| {
            let names: Vec<_> = variants.iter().map(ToString::to_string).collect();
            format!("`{name}` is not measured in `{}`; there are {}", scenario.name, names.join(", "))
        })
    };
    let mut picked: Vec<Variant> = list.split(',').map(|name| find(name.trim())).collect::<Result<_>>()?;
    let mut seen = HashSet::new();
    picked.retain(|variant| seen.insert(variant.to_string()));
    Ok(picked)
}

/// A hash of this program's own file.
fn program_hash() -> Result<String> {
    let file = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { env::current_exe()? };
    let mut hasher = DefaultHasher::new();
    hasher.write(&fs::read(file).context("cannot read this program's own file")?);
    Ok(format!("{:016x}", hasher.finish()))
}

/// Each cell prepares for itself, so a list from a pipe would be there for the first of them only.
fn ensure_readable_again() -> Result<()> {
    for (name, value) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let path = Path::new(&value);
        let is_stream = |path: &Path| {
            let kind = fs::metadata(path).map(|file| file.file_type());
            let is_device = path.starts_with("/dev") || path.starts_with("/proc");
            is_device || kind.is_ok_and(|kind| kind.is_fifo() || kind.is_socket() || kind.is_char_device())
        };
        if name.starts_with("PARBENCH_") && path.is_absolute() && is_stream(path) {
            bail!(
                "{name}={} can be read only once, and in rounds each variant reads it in a process of its own: name a \
                 regular file, or use plain `cargo bench`",
                path.display()
            );
        }
    }
    Ok(())
}
