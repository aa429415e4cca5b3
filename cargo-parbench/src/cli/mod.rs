//! A file for each command.

pub(crate) mod doctor;
pub(crate) mod list;
pub(crate) mod run;

use std::io::{self, Write};

use anyhow::{Context, Result};

/// Prints a result. A reader that has gone, as in `| head -1`, has seen enough.
fn print(text: &str) -> Result<()> {
    let written = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the result"),
    }
}
