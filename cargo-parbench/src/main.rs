//! `cargo parbench`: parses the command line, runs a command, and turns an error into a sentence and status 2.

mod analysis;
mod cli;
mod drive;
mod gate;
mod pitfalls;
mod programs;
mod provenance;
mod python;
mod report;
mod run_file;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Serially, on threads or in processes? Answers from this machine.
#[derive(Parser)]
#[command(name = "cargo parbench", bin_name = "cargo parbench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What a run says of the articles' claims
    Claims(cli::claims::Claims),
    /// What got slower between two revisions: a gate for pull requests
    Compare(Box<cli::compare::Compare>),
    /// What on this machine will spoil a run, and what to do about it
    Doctor(cli::doctor::Doctor),
    /// The scenarios of this package's bench programs
    List(cli::list::List),
    /// A workload of your own, from a template
    New(cli::new::New),
    /// Shows a run: on a page, in the terminal, as Markdown, CSV or a trace
    Report(cli::report::Report),
    /// Measures in interleaved rounds, and says which way is the best for each scenario
    Run(cli::run::Run),
}

fn main() -> ExitCode {
    // Cargo passes its own name for us on: `cargo parbench list` arrives as `cargo-parbench parbench list`.
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|first| first == "parbench") {
        arguments.remove(1);
    }
    let result = match Arguments::parse_from(arguments).command {
        Command::Claims(claims) => claims.run(),
        Command::Compare(compare) => return finish(compare.run()),
        Command::Doctor(doctor) => doctor.run(),
        Command::List(list) => list.run(),
        Command::New(new) => new.run(),
        Command::Report(report) => report.run(),
        Command::Run(run) => run.run(),
    };
    finish(result.map(|()| 0))
}

/// The exit status of a command; an error is a sentence and status 2.
fn finish(result: anyhow::Result<u8>) -> ExitCode {
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
