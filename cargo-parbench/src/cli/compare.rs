//! `cargo parbench compare`: what got slower between two revisions, or between two run files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use parbench::Size;
use parbench::measure::Machine;

use super::{print, write_beside};
use crate::gate::built::{Built, Work};
use crate::gate::comparison::{self, Comparison};
use crate::gate::judge::Word;
use crate::gate::plan::Wanted;
use crate::gate::revision::{Repository, Revision};
use crate::gate::summary;
use crate::programs::Cargo;
use crate::provenance::{self, utc};
use crate::report;

#[derive(Args)]
pub(crate) struct Compare {
    #[command(flatten)]
    pub(super) cargo: Cargo,
    /// The revision (or run file) that is compared with
    #[arg(long, value_name = "REV|FILE", required_unless_present_any = ["confirm", "self_test"])]
    base: Option<String>,
    /// The revision (or run file) that may be slower [default: HEAD]
    #[arg(long, value_name = "REV|FILE")]
    head: Option<String>,
    /// Only these scenarios
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub(super) only: Vec<String>,
    /// What CPU time may rise by, such as 2%; two and a half times as much is found
    #[arg(long, default_value = "2%", value_parser = share)]
    pub(super) threshold: f64,
    /// How long it may measure, such as 5m: rows that do not fit are left out, and named
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    budget: Option<Duration>,
    /// Whose bench files are measured: `head` puts those of head over base's, where that compiles
    #[arg(long, value_enum, default_value = "own", value_name = "WHOSE")]
    workload: Workload,
    /// Only what an earlier comparison called slower, as on another machine
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "self_test"])]
    confirm: Option<PathBuf>,
    /// Exit status 3 if a row is too noisy to be judged
    #[arg(long)]
    strict: bool,
    /// Of the orders
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// smoke, default or article
    #[arg(long, default_value = "default", value_parser = str::parse::<Size>)]
    pub(super) size: Size,
    /// Where the comparison is written [default: parbench/comparison.json where cargo builds]
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Where the comment on a pull request is written
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Measures the gate itself: identical programs, and programs with work added, over and over
    #[arg(long, conflicts_with_all = ["base", "head", "markdown"])]
    self_test: bool,
    /// Gates of each kind that a self-test is to have; it goes on from those that its file has
    #[arg(long, default_value_t = 1, value_name = "NUMBER", requires = "self_test")]
    pub(super) runs: u32,
    /// Only gates of these kinds
    #[arg(long, value_delimiter = ',', value_name = "LIST", requires = "self_test")]
    pub(super) kinds: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Workload {
    Own,
    Head,
}

/// A share such as `2%` or `0.02`.
fn share(text: &str) -> Result<f64> {
    let number = text.trim().strip_suffix('%').map_or_else(
        || text.trim().parse::<f64>(),
        |percent| percent.trim().parse::<f64>().map(|percent| percent / 100.0),
    );
    number.ok().filter(|share| (0.005..=1.0).contains(share)).with_context(|| {
        format!("`{text}` is no threshold from 0.5% to 100%; less than half a per cent is always layout")
    })
}

impl Compare {
    pub(crate) fn run(&self) -> Result<u8> {
        if self.self_test {
            return super::self_test::run(self);
        }
        let earlier = self.confirm.as_deref().map(Comparison::read).transpose()?;
        let [of_base, of_head] = earlier.as_ref().map_or([None, None], |earlier| {
            [&earlier.base, &earlier.head].map(|revision| Some(revision.commit.clone()))
        });
        let base = self.base.clone().or(of_base).context("--base names what is compared with")?;
        let head = self.head.clone().or(of_head).unwrap_or_else(|| "HEAD".into());
        if [&base, &head].iter().any(|name| Path::new(name).extension().is_some_and(|end| end == "json")) {
            return super::trend::run(Path::new(&base), Path::new(&head));
        }
        let rows =
            earlier.map(|earlier| earlier.of(Word::Slower).map(comparison::Row::title).collect::<Vec<_>>());
        if rows.as_ref().is_some_and(Vec::is_empty) {
            print("parbench: nothing to confirm: the earlier comparison found nothing slower\n")?;
            return Ok(0);
        }
        let interrupted = interruption()?;
        let work = Work::new(&self.cargo)?;
        let repository = Repository::of(&self.cargo)?;
        let [base, head] = [repository.find(&base)?, repository.find(&head)?];
        if repository.is_dirty() {
            eprintln!("note: changes that are not committed are not compared");
        }
        let Some(built) =
            Built::make(&self.cargo, self.workload == Workload::Head, &repository, &work, [&base, &head])?
        else {
            print(&format!(
                "parbench: nothing to compare: {} has no bench program of parbench\n",
                base.title()
            ))?;
            return Ok(0);
        };
        let mut comparison = new(base, head, self.seed);
        comparison.notes.clone_from(&built.notes);
        let wanted = Wanted { rows, injection: None, ..self.wanted() };
        let path = self.output.clone().unwrap_or_else(|| work.folder.join("comparison.json"));
        built.gate(&wanted, &repository, &path, &|| interrupted.load(Ordering::Relaxed), &mut comparison)?;
        print(&report::comparison::text(&comparison))?;
        if let Some(file) = &self.markdown {
            write_beside(file, report::comparison::markdown(&comparison).as_bytes())?;
        }
        eprintln!("Data    {}", path.display());
        Ok(summary::status(&comparison, self.strict))
    }

    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            only: self.only.clone(),
            rows: None,
            size: self.size,
            threshold: self.threshold,
            budget: self.budget,
            injection: None,
        }
    }
}

/// A comparison of which nothing is known yet.
pub(super) fn new(base: Revision, head: Revision, seed: u64) -> Comparison {
    let began = provenance::now();
    Comparison {
        format: comparison::FORMAT.into(),
        id: utc(began).replace(':', "-"),
        began,
        base,
        head,
        machine: Machine::this(),
        load_before: provenance::load(),
        seed,
        ..Comparison::default()
    }
}

/// Set once a person, or a system that ends its programs, has had enough: what is measured then ends in order.
pub(super) fn interruption() -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&interrupted);
    ctrlc::set_handler(move || set.store(true, Ordering::Relaxed)).context("cannot watch for Ctrl-C")?;
    Ok(interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_a_share() {
        assert_eq!(
            (share("2%").unwrap(), share("0.05").unwrap(), share(" 10 % ").unwrap()),
            (0.02, 0.05, 0.1)
        );
        for wrong in ["", "0.1%", "200%", "two", "-3%", "NaN"] {
            assert!(share(wrong).unwrap_err().to_string().contains("from 0.5% to 100%"), "{wrong}");
        }
    }
}
