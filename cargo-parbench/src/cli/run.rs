//! `cargo parbench run`: measures all scenarios in rounds, saves them as it goes, and says which way is the best.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use parbench::bench::Listed;

use super::{criterion_pages, print, write_beside};
use crate::analysis::Analysis;
use crate::drive::{drive, quick_rounds};
use crate::pitfalls;
use crate::programs::{Cargo, Program};
use crate::provenance::{self, utc};
use crate::report::page;
use crate::run_file::{self, Options, RunFile, Scenario};

#[derive(Args)]
pub(crate) struct Run {
    #[command(flatten)]
    cargo: Cargo,
    /// Only these scenarios
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// Only these executors, such as serial,threads
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    executors: Vec<String>,
    /// These worker counts in place of each scenario's own, such as 1,2,4
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    workers: Vec<String>,
    /// smoke, default or article
    #[arg(long, default_value = "default")]
    size: String,
    /// A first answer in a minute or two: it tells differences of 20 % and more
    #[arg(long)]
    quick: bool,
    /// Rounds of each launch after the first, which chooses what is judged
    #[arg(long, default_value_t = 4, conflicts_with = "quick", value_parser = clap::value_parser!(u32).range(2..))]
    rounds: u32,
    /// Launches after the first
    #[arg(long, default_value_t = 3, conflicts_with = "quick", value_parser = clap::value_parser!(u32).range(2..))]
    launches: u32,
    /// Of the orders of the rounds
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the run file is written [default: the folder parbench/runs where cargo builds]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Goes on with the last run, or with that of --output: what it holds is not measured again
    #[arg(long)]
    resume: bool,
    /// Then runs the package's examples whose names begin with `pitfall_`, each for a minute at most, and keeps what they say
    #[arg(long)]
    pitfalls: bool,
}

/// What a scenario takes at the sizes of the articles' ones, s: for the estimate, until the first has been measured.
const FULL_SECONDS: f64 = 20.0;
const QUICK_SECONDS: f64 = 4.0;

impl Run {
    pub(crate) fn run(&self) -> Result<()> {
        // Before anything is built: if there are none, it is of no use to wait for the rest.
        let pitfalls = if self.pitfalls { self.cargo.examples(pitfalls::PREFIX)? } else { Vec::new() };
        let programs = self.cargo.programs()?;
        let selected = select(&programs, &self.scenarios)?;
        let pitfalls = if self.pitfalls { self.cargo.build_examples(&pitfalls)? } else { Vec::new() };
        let folder = self.cargo.target_directory()?.join("parbench");
        let mut run = self.begin(&folder, selected.len())?;
        let path =
            self.output.clone().unwrap_or_else(|| folder.join("runs").join(format!("{}.json", run.id)));
        let links = self.output.is_none();
        // Before anything is measured: a folder that cannot be written to is found now.
        save(&mut run, &path, links.then_some(&*folder))?;

        let waiting: Vec<_> = selected
            .iter()
            .filter(|(_, listed)| !run.scenarios.iter().any(|measured| measured.name == listed.name))
            .collect();
        let mut progress = Progress::new(waiting.len(), self.quick);
        for (program, listed) in waiting {
            progress.begin(&listed.name);
            let driven = match drive(program, listed, &run.options) {
                Ok(driven) => driven,
                // What is wrong with one scenario is not wrong with the next.
                Err(error) => {
                    eprintln!("error: {}: {error:#}", listed.name);
                    run.scenarios.push(Scenario {
                        name: listed.name.clone(),
                        family: program.bench.clone(),
                        error: Some(format!("{error:#}")),
                        ..Scenario::default()
                    });
                    progress.end();
                    continue;
                }
            };
            if !run.programs.iter().any(|known| known.family == program.bench) {
                run.programs.push(run_file::Program {
                    family: program.bench.clone(),
                    header: driven.header.clone(),
                    ways: program.ways.clone(),
                });
            }
            ensure_same_program(&run, &program.bench, &driven.header.program)?;
            run.scenarios.push(driven.scenario);
            // In the order of the programs' lists, also after a resumed run.
            let place = |name: &str| selected.iter().position(|(_, listed)| listed.name == name);
            run.scenarios.sort_by_key(|scenario| place(&scenario.name));
            save(&mut run, &path, links.then_some(&*folder))?;
            progress.end();
        }
        run.load_after = provenance::load();
        for (name, executable) in pitfalls {
            if !run.pitfalls.iter().any(|known| known.name == name) {
                eprintln!("        {name}");
                run.pitfalls.push(pitfalls::run(&name, &executable, pitfalls::PATIENCE));
            }
        }
        save(&mut run, &path, links.then_some(&*folder))?;
        self.show(&run, &path, &folder)
    }

    /// A new run of so many scenarios, or the one to go on with.
    fn begin(&self, folder: &Path, scenarios: usize) -> Result<RunFile> {
        let options = Options {
            quick: self.quick,
            size: self.size.clone(),
            seed: self.seed,
            launches: if self.quick { 1 } else { self.launches },
            rounds: if self.quick { quick_rounds(scenarios) } else { self.rounds },
            executors: self.executors.clone(),
            workers: self.workers.clone(),
            scenarios: self.scenarios.clone(),
        };
        if self.resume {
            let path = self.output.clone().unwrap_or_else(|| folder.join("latest.json"));
            let run = RunFile::read(&path)?;
            ensure!(
                run.options == options,
                "{} was made with other options, so it cannot be resumed with these: {}",
                path.display(),
                difference(&run.options, &options)
            );
            return Ok(run);
        }
        let began = provenance::now();
        Ok(RunFile {
            format: run_file::FORMAT.into(),
            id: utc(began).replace(':', "-"),
            began,
            options,
            build: provenance::build(&self.cargo),
            load_before: provenance::load(),
            ..RunFile::default()
        })
    }

    fn show(&self, run: &RunFile, path: &Path, folder: &Path) -> Result<()> {
        let analysis = Analysis::of(run);
        let text = crate::report::terminal(run, &analysis, crate::report::Style::of_stdout());
        print(&text)?;
        // A page that cannot be written costs no run.
        let shown = page(&[(run.clone(), analysis)], &criterion_pages(folder)).and_then(|page| {
            let file = folder.join("report.html");
            write_beside(&file, page.as_bytes()).map(|()| file)
        });
        match shown {
            Ok(file) => eprintln!("Report  {}", file.display()),
            Err(error) => eprintln!("note: there is no page: {error:#}"),
        }
        eprintln!("Data    {}", path.display());
        let failed: Vec<_> = run.scenarios.iter().filter(|scenario| scenario.error.is_some()).collect();
        if !failed.is_empty() {
            let names: Vec<_> = failed.iter().map(|scenario| scenario.name.as_str()).collect();
            bail!("there is no verdict on {}: see above", names.join(", "));
        }
        Ok(())
    }
}

/// The scenarios of these names, or all, with their programs.
fn select<'a>(programs: &'a [Program], names: &[String]) -> Result<Vec<(&'a Program, &'a Listed)>> {
    let all: Vec<_> = programs
        .iter()
        .flat_map(|program| program.scenarios.iter().map(move |listed| (program, listed)))
        .collect();
    ensure!(!all.is_empty(), "no bench program here has parbench's main; the README shows one in 20 lines");
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|(_, listed)| listed.name == **name)) {
        let known: Vec<_> = all.iter().map(|(_, listed)| listed.name.as_str()).collect();
        bail!("there is no scenario `{unknown}`; there are {}", known.join(", "));
    }
    let wanted = |listed: &Listed| names.is_empty() || names.contains(&listed.name);
    Ok(all.into_iter().filter(|(_, listed)| wanted(listed)).collect())
}

/// A resumed run is one build's.
fn ensure_same_program(run: &RunFile, family: &str, program: &str) -> Result<()> {
    let known = run.programs.iter().find(|known| known.family == family).context("it was added just now")?;
    ensure!(
        known.header.program == program,
        "the bench program `{family}` is another one than the run began with: start a new run"
    );
    Ok(())
}

/// The options that differ, for a person.
fn difference(was: &Options, is: &Options) -> String {
    let [was, is] = [was, is].map(|options| serde_json::to_value(options).unwrap_or_default());
    let fields = was.as_object().into_iter().flatten().filter(|(name, value)| is[name.as_str()] != **value);
    let words: Vec<_> =
        fields.map(|(name, value)| format!("{name} was {value} and is {}", is[name.as_str()])).collect();
    words.join(", ")
}

/// Saves the run, and a copy as the latest one.
fn save(run: &mut RunFile, path: &Path, folder: Option<&Path>) -> Result<()> {
    run.saved = provenance::now();
    run.write(path)?;
    folder.map_or(Ok(()), |folder| run.write(&folder.join("latest.json")))
}

/// What people see meanwhile, on stderr: a line for each scenario.
struct Progress {
    all: usize,
    done: usize,
    seconds: f64,
    began: Instant,
}

impl Progress {
    fn new(all: usize, quick: bool) -> Progress {
        let seconds = if quick { QUICK_SECONDS } else { FULL_SECONDS };
        if all > 0 {
            let plural = if all == 1 { "" } else { "s" };
            eprintln!("Measuring {all} scenario{plural}: about {} in all", duration(seconds * all as f64));
        }
        Progress { all, done: 0, seconds, began: Instant::now() }
    }

    fn begin(&mut self, name: &str) {
        let left =
            if self.done == 0 { self.seconds } else { self.began.elapsed().as_secs_f64() / self.done as f64 };
        let left = duration(left * (self.all - self.done) as f64);
        eprintln!("{:>3}/{} {name}, about {left} left", self.done + 1, self.all);
    }

    fn end(&mut self) {
        self.done += 1;
    }
}

fn duration(seconds: f64) -> String {
    if seconds < 90.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}
