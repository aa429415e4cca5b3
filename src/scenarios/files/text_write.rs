//! Writes a huge text, which is passed in, to a file: a private text, and one in shared memory.
//!
//! Article 000's `io_heavy(text)`: 1.37 s serially; four threads were fastest, and four processes came close. All its
//! calls overwrite the same `output.txt`; here each task has its own file, so that the file can be compared with the
//! text. In the article, each process receives a copy of the text, as in `text_write`; in `text_write_shared` it need not.

use std::fs::{self, File};
use std::io::Write;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::data::array::Array;
use crate::data::packet::Packet;
use crate::fixtures::folder::Folder;
use crate::fixtures::text::text;
use crate::workload::{Inputs, Size, Workload};

/// Twelve texts, as in the article's notebook.
const TASKS: usize = 12;

/// The text is in private memory.
pub(super) struct TextWrite;

/// The text is in shared memory.
pub(super) struct TextWriteShared;

#[derive(Serialize, Deserialize)]
pub(super) struct Page {
    path: String,
    text: Array<u8>,
    /// How much of the text to write: all but as many bytes as the task's number, so that swapped answers are noticed.
    bytes: usize,
}

impl Workload for TextWrite {
    const NAME: &'static str = "text_write";
    type Input = Page;
    /// The number of bytes written.
    type Output = u64;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Page>> {
        pages(size, |text| Ok(text.into()))
    }

    fn input_digest(page: &Page) -> Result<u64> {
        page.digest()
    }

    fn run(_: &mut (), page: &Page) -> Result<u64> {
        page.write()
    }

    fn check(pages: &[Page], written: &[u64]) -> Result<()> {
        check(pages, written)
    }
}

impl Workload for TextWriteShared {
    const NAME: &'static str = "text_write_shared";
    type Input = Page;
    /// The number of bytes written.
    type Output = u64;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Page>> {
        pages(size, |text| Array::share(&text))
    }

    fn input_digest(page: &Page) -> Result<u64> {
        page.digest()
    }

    fn run(_: &mut (), page: &Page) -> Result<u64> {
        page.write()
    }

    fn check(pages: &[Page], written: &[u64]) -> Result<()> {
        check(pages, written)
    }
}

/// Returns a page for each task; `store` stores the text that they have in common.
fn pages(size: Size, store: impl FnOnce(Vec<u8>) -> Result<Array<u8>>) -> Result<Inputs<Page>> {
    let folder = Folder::new()?;
    let text = store(text(0, size.pick(100_000, 4_000_000, 50_000_000)))?;
    let page = |task| {
        let path = folder.path().join(format!("{task}.txt"));
        Page { path: path.display().to_string(), text: text.clone(), bytes: text.len() - task }
    };
    Ok(Inputs::new((0..TASKS).map(page).collect()).keep(folder))
}

impl Page {
    fn write(&self) -> Result<u64> {
        let Page { path, text, bytes } = self;
        let write = || File::create(path)?.write_all(&text[..*bytes]);
        write().with_context(|| format!("cannot write {path}"))?;
        Ok(*bytes as u64)
    }

    /// Without the path: the folder is another one each time.
    fn digest(&self) -> Result<u64> {
        Ok(Packet::pack(&(self.text.clone(), self.bytes))?.digest())
    }
}

/// Compares each file with its text, then removes it. A file that the system has not written to the disk by then is never
/// written, and so does not slow down the next measurement.
fn check(pages: &[Page], written: &[u64]) -> Result<()> {
    for (Page { path, text, bytes }, written) in pages.iter().zip(written) {
        let found = fs::read(path).with_context(|| format!("cannot read {path} back"))?;
        fs::remove_file(path).with_context(|| format!("cannot remove {path}"))?;
        ensure!(*written == *bytes as u64, "the task for {path} returned {written} bytes");
        ensure!(found == text[..*bytes], "{path} does not contain the text");
    }
    Ok(())
}
