//! `cargo parbench report`: shows what runs have measured; it measures nothing itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use super::{criterion_pages, print, write_beside};
use crate::analysis::Analysis;
use crate::programs::Cargo;
use crate::python::Beside;
use crate::report::{self, Style};
use crate::run_file::RunFile;

#[derive(Args)]
pub(crate) struct Report {
    #[command(flatten)]
    cargo: Cargo,
    /// Run files; several stand side by side [default: the latest run]
    #[arg(value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// What is written
    #[arg(long, value_enum, default_value_t = Format::Html)]
    format: Format,
    #[command(flatten)]
    beside: Beside,
    /// Where it is written [default: report.html where cargo builds, in the folder parbench; all else to stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Opens what was written
    #[arg(long)]
    open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A page: one file that needs nothing else
    Html,
    /// The table for a terminal
    Text,
    /// All tables, for an issue or a comment
    Markdown,
    /// The first table of these
    Table,
    /// The run file itself
    Json,
    /// A row for each variant and round
    Csv,
    /// Every task's start and stop, for Perfetto or Speedscope
    Trace,
    /// The reasons as JSON: scenario, way, cause and sentence
    Reasons,
}

impl Report {
    pub(crate) fn run(&self) -> Result<()> {
        let paths = match &self.runs[..] {
            [] => vec![self.cargo.target_directory()?.join("parbench").join("latest.json")],
            runs => runs.to_vec(),
        };
        let runs: Vec<_> = paths.iter().map(|path| RunFile::read(path)).collect::<Result<_>>()?;
        let python = self.beside.read()?;
        let judged = runs.into_iter().map(|run| {
            let mut analysis = Analysis::of(&run);
            if let Some(python) = &python {
                python.judge(&mut analysis)?;
            }
            Ok((run, analysis))
        });
        let runs: Vec<_> = judged.collect::<Result<_>>()?;
        let one = || {
            ensure!(runs.len() == 1, "{} runs: this format shows one", runs.len());
            Ok(&runs[0])
        };
        let text = match self.format {
            Format::Text => {
                let shown =
                    runs.iter().map(|(run, analysis)| report::terminal(run, analysis, Style::of_stdout()));
                shown.collect::<Vec<_>>().join("\n")
            }
            // A page that lies elsewhere would have links to nothing.
            Format::Html if self.output.is_some() => report::page(&runs, &|_| None)?,
            Format::Html => {
                let folder = self.cargo.target_directory()?.join("parbench");
                report::page(&runs, &criterion_pages(&folder))?
            }
            Format::Markdown => report::markdown(&runs),
            Format::Table => report::table(&one()?.1),
            Format::Json => serde_json::to_string_pretty(&one()?.0)? + "\n",
            Format::Csv => report::csv(&one()?.0)?,
            Format::Trace => report::trace(&one()?.0)?,
            Format::Reasons => report::reasons(&one()?.1)?,
        };
        let page = match self.format {
            Format::Html => Some(self.cargo.target_directory()?.join("parbench").join("report.html")),
            _ => None,
        };
        match self.output.clone().or(page) {
            Some(path) => {
                write_beside(&path, text.as_bytes())?;
                eprintln!("written to {}", path.display());
                if self.open { open(&path) } else { Ok(()) }
            }
            None => print(&text),
        }
    }
}

/// Shows a file with the program that the desktop has for it.
fn open(path: &Path) -> Result<()> {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let status = Command::new(program).arg(path).stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {program} to show {}", path.display()))?;
    ensure!(status.success(), "{program} cannot show {} ({status})", path.display());
    Ok(())
}
