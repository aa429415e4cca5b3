//! The programs of both sides as files: as they were built, linked again with their sections in other orders, and in the slots
//! from which they are run.
//!
//! The same code in another order of sections took up to 2.3 % more CPU time: caches and branch predictors see addresses.
//! So what a suspect is judged by is measured in several orders of base and of head.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::comparison::Side;
use crate::programs::Program;

/// Slots: base, head, and two null arms.
const SLOTS: u32 = 4;

/// Links a bench program of a side again with its sections in the order of a seed; returns where it is until the next one.
pub(crate) type Link<'a> = dyn FnMut(Side, &str, u32) -> Result<PathBuf> + 'a;

/// The files of both sides, and those made of them.
#[derive(Default)]
pub(crate) struct Programs {
    folder: PathBuf,
    /// By side, bench program and order; order 0 is the linker's own.
    files: BTreeMap<(Side, String, u32), PathBuf>,
}

impl Programs {
    /// An empty store in a folder, which is made anew.
    pub(crate) fn new(folder: PathBuf) -> Result<Programs> {
        let _ = fs::remove_dir_all(&folder);
        for slot in 0..SLOTS {
            let slot = folder.join("slots").join(slot.to_string());
            fs::create_dir_all(&slot).with_context(|| format!("cannot make {}", slot.display()))?;
        }
        Ok(Programs { folder, files: BTreeMap::new() })
    }

    /// Keeps the programs of a side, which are found in the store from now on.
    pub(crate) fn keep(&mut self, side: Side, programs: &mut [Program]) -> Result<()> {
        for program in programs {
            program.executable = self.add(side, &program.bench, 0, &program.executable)?;
        }
        Ok(())
    }

    /// Copies a file into the store.
    fn add(&mut self, side: Side, bench: &str, layout: u32, from: &Path) -> Result<PathBuf> {
        let name = format!("{bench}-{side:?}-{layout}").to_lowercase();
        let path = self.folder.join(name);
        copy(from, &path)?;
        self.files.insert((side, bench.into(), layout), path.clone());
        Ok(path)
    }

    /// Puts another file in the place of a side's program.
    pub(crate) fn replace(&mut self, side: Side, bench: &str, from: &Path) -> Result<()> {
        self.add(side, bench, 0, from).map(drop)
    }

    /// Links a program of a side in this order, unless it has been.
    pub(crate) fn link(&mut self, side: Side, bench: &str, layout: u32, link: &mut Link) -> Result<()> {
        if self.files.contains_key(&(side, bench.into(), layout)) {
            return Ok(());
        }
        let linked = link(side, bench, layout)?;
        self.add(side, bench, layout, &linked).map(drop)
    }

    /// The orders among these in which a program of a side is to be had.
    pub(crate) fn layouts(&self, side: Side, bench: &str, among: RangeInclusive<u32>) -> Vec<u32> {
        let has = |layout: &u32| self.files.contains_key(&(side, bench.into(), *layout));
        among.filter(has).collect()
    }

    /// Copies a program into a slot and returns the path there: each block gets memory of its own for it, and sides trade
    /// places from block to block.
    pub(crate) fn place(&self, side: Side, bench: &str, layout: u32, block: u32) -> Result<PathBuf> {
        let (file_side, index) = match side {
            Side::Base => (Side::Base, 0),
            Side::Head => (Side::Head, 1),
            Side::Copy => (Side::Base, 2),
            Side::Relinked => (Side::Base, 3),
        };
        let file = self.files.get(&(file_side, bench.into(), layout)).context("it was built")?;
        let slot: u32 = index ^ (block % SLOTS);
        let path = self.folder.join("slots").join(slot.to_string()).join(bench);
        copy(file, &path)?;
        Ok(path)
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        if self.files.is_empty() {
            return;
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Copies a program; what was there is another file, which may still be mapped.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let _ = fs::remove_file(to);
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
        .map(drop)
}
