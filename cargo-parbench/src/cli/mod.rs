//! A file for each command.

pub(crate) mod claims;
pub(crate) mod compare;
pub(crate) mod doctor;
pub(crate) mod list;
pub(crate) mod new;
pub(crate) mod report;
pub(crate) mod run;
mod self_test;
mod trend;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// Prints a result. A reader that has gone, as in `| head -1`, has seen enough.
fn print(text: &str) -> Result<()> {
    let written = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the result"),
    }
}

/// Writes a file beside its place and renames it: what was there stays until the whole is written.
fn write_beside(path: &Path, text: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    if let Some(folder) = path.parent() {
        // If it cannot be made, the file cannot be written either.
        let _ = fs::create_dir_all(folder);
    }
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Where Criterion's page of a scenario is, as seen from parbench's folder, if there is one.
fn criterion_pages(folder: &Path) -> impl Fn(&str) -> Option<String> {
    let criterion = folder.parent().unwrap_or(folder).join("criterion");
    move |name| {
        let page = criterion.join(name).join("report").join("index.html");
        page.is_file().then(|| format!("../criterion/{name}/report/index.html"))
    }
}
