//! Adds up the words of files of 64 KiB: mapped into memory, and read into a buffer, which is the way out.
//!
//! Not from an article. Mapping a file changes the address space that all threads of a process share, as `memory_churn`
//! does; reading it into a buffer does not.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use crate::data::packet::Packet;
use crate::fixtures::folder::Folder;
use crate::random::splitmix;
use crate::workload::{Inputs, Size, Workload};

const TASKS: u64 = 16;
/// The files of a task; it goes through all of them several times.
const FILES: u64 = 8;
const FILE_BYTES: usize = 64 << 10;

/// Maps the files.
pub(super) struct FileMap;

/// Reads the files.
pub(super) struct FileRead;

/// The files of a task: their folder, the number that their words are made of, and how many times to add them up.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Files {
    folder: PathBuf,
    task: u64,
    times: u64,
}

impl Workload for FileMap {
    const NAME: &'static str = "file_map";
    type Input = Files;
    /// The sum of all words, modulo 2^64.
    type Output = u64;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Files>> {
        prepare(size)
    }

    fn input_digest(files: &Files) -> Result<u64> {
        files.digest()
    }

    fn run(_: &mut (), files: &Files) -> Result<u64> {
        files.add_up(|file, _| {
            // SAFETY: the files are in a temporary folder of this scenario, and nothing changes them while tasks run.
            let map = unsafe { Mmap::map(&file) }?;
            Ok(add_words(&map))
        })
    }

    fn check(inputs: &[Files], sums: &[u64]) -> Result<()> {
        check(inputs, sums)
    }
}

impl Workload for FileRead {
    const NAME: &'static str = "file_read";
    type Input = Files;
    /// The sum of all words, modulo 2^64.
    type Output = u64;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Files>> {
        prepare(size)
    }

    fn input_digest(files: &Files) -> Result<u64> {
        files.digest()
    }

    fn run(_: &mut (), files: &Files) -> Result<u64> {
        files.add_up(|mut file, buffer| {
            file.read_exact(buffer)?;
            Ok(add_words(buffer))
        })
    }

    fn check(inputs: &[Files], sums: &[u64]) -> Result<()> {
        check(inputs, sums)
    }
}

fn prepare(size: Size) -> Result<Inputs<Files>> {
    let folder = Folder::new()?;
    let times = size.pick(2, 30, 300);
    let files = |task| {
        let files = Files { folder: folder.path().into(), task, times };
        for number in 0..FILES {
            let path = files.path(number);
            let bytes: Vec<u8> = files.words(number).flat_map(u64::to_le_bytes).collect();
            fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(files)
    };
    Ok(Inputs::new((0..TASKS).map(files).collect::<Result<_>>()?).keep(folder))
}

impl Files {
    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{}-{number}.bin", self.task))
    }

    /// The words of a file.
    fn words(&self, number: u64) -> impl Iterator<Item = u64> {
        let mut state = self.task * FILES + number;
        (0..FILE_BYTES / 8).map(move |_| splitmix(&mut state))
    }

    /// Without the folder, which is another one each time.
    fn digest(&self) -> Result<u64> {
        Ok(Packet::pack(&(self.task, self.times))?.digest())
    }

    /// Adds up the words of all files, each as many times as it is to be; `add` gets a file and a buffer of its length.
    fn add_up(&self, mut add: impl FnMut(File, &mut [u8]) -> Result<u64>) -> Result<u64> {
        let mut buffer = vec![0; FILE_BYTES];
        let mut sum = 0u64;
        for number in (0..self.times).flat_map(|_| 0..FILES) {
            let path = self.path(number);
            let added = File::open(&path).map_err(Into::into).and_then(|file| add(file, &mut buffer));
            sum = sum.wrapping_add(added.with_context(|| format!("cannot add up {}", path.display()))?);
        }
        Ok(sum)
    }
}

fn add_words(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
    words.fold(0, u64::wrapping_add)
}

/// Compares each sum with that of the generated words.
fn check(inputs: &[Files], sums: &[u64]) -> Result<()> {
    for (files, &sum) in inputs.iter().zip(sums) {
        let once = (0..FILES).flat_map(|number| files.words(number)).fold(0, u64::wrapping_add);
        let expected = once.wrapping_mul(files.times);
        ensure!(sum == expected, "the words of task {} add up to {expected:#x}, not {sum:#x}", files.task);
    }
    Ok(())
}
