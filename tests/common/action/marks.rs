//! Marks that tasks leave in a file, so that a test can tell which of them ran, how often, and how far others are.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;

use anyhow::Result;
use tempfile::TempDir;

/// A mark is a number of this many bytes.
const MARK_BYTES: u64 = size_of::<u64>() as u64;

/// A file for marks, removed when this is dropped.
pub(crate) struct Marks(TempDir);

impl Marks {
    pub(crate) fn new() -> Result<Marks> {
        Ok(Marks(tempfile::tempdir()?))
    }

    pub(crate) fn path(&self) -> String {
        self.0.path().join("marks").display().to_string()
    }

    pub(crate) fn count(&self) -> u64 {
        count(&self.path())
    }

    /// How often each mark was appended since the last call.
    pub(crate) fn take(&self) -> Result<HashMap<u64, u32>> {
        let mut times = HashMap::new();
        if self.count() > 0 {
            for mark in fs::read(self.path())?.chunks(MARK_BYTES as usize) {
                *times.entry(u64::from_ne_bytes(mark.try_into()?)).or_insert(0) += 1;
            }
            File::create(self.path())?;
        }
        Ok(times)
    }
}

/// Appends a mark in one piece, whoever else appends.
pub(super) fn append(path: &str, mark: u64) -> Result<()> {
    Ok(OpenOptions::new().append(true).create(true).open(path)?.write_all(&mark.to_ne_bytes())?)
}

pub(super) fn count(path: &str) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len()) / MARK_BYTES
}
