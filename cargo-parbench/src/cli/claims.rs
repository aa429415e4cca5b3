//! `cargo parbench claims`: what a run says of the articles' claims.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;

use super::print;
use crate::analysis::Analysis;
use crate::programs::Cargo;
use crate::python::Beside;
use crate::report;
use crate::run_file::RunFile;

#[derive(Args)]
pub(crate) struct Claims {
    #[command(flatten)]
    cargo: Cargo,
    /// The run file [default: the latest run]
    #[arg(value_name = "RUN")]
    run: Option<PathBuf>,
    #[command(flatten)]
    beside: Beside,
}

impl Claims {
    pub(crate) fn run(&self) -> Result<()> {
        let path = match &self.run {
            Some(path) => path.clone(),
            None => self.cargo.target_directory()?.join("parbench").join("latest.json"),
        };
        let python = self.beside.read()?;
        let mut analysis = Analysis::of(&RunFile::read(&path)?);
        ensure!(!analysis.claims.is_empty(), "{} has none of the articles' scenarios", path.display());
        if let Some(python) = python {
            python.judge(&mut analysis)?;
        }
        print(&report::claims(&analysis))
    }
}
