//! Writes a huge text, which is passed in, to a file.
//!
//! Article 000's `io_heavy(text)`: 1.37 s serially; four threads were fastest, and four processes came close. All its
//! calls overwrite the same `output.txt`; here each task has its own file, so that the file can be compared with the
//! text.

use std::fs::{self, File};
use std::io::Write;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::data::array::Array;
use crate::fixtures::folder::Folder;
use crate::fixtures::text::text;
use crate::workload::{Inputs, Size, Workload};

/// Twelve texts, as in the article's notebook.
const TASKS: usize = 12;

pub(super) struct TextWrite;

#[derive(Serialize, Deserialize)]
pub(super) struct Page {
    path: String,
    text: Array<u8>,
}

impl Workload for TextWrite {
    const NAME: &'static str = "text_write";
    type Input = Page;
    /// The number of bytes written.
    type Output = u64;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Page>> {
        let folder = Folder::new()?;
        // Shared, since every task needs it: each worker process receives it once.
        let text = Array::share(&text(0, size.pick(100_000, 4_000_000, 50_000_000)))?;
        let page = |task| {
            let path = folder.path().join(format!("{task}.txt"));
            Page { path: path.display().to_string(), text: text.clone() }
        };
        Ok(Inputs::new((0..TASKS).map(page).collect()).keep(folder))
    }

    fn run(_: &mut (), Page { path, text }: &Page) -> Result<u64> {
        let write = || File::create(path)?.write_all(text);
        write().with_context(|| format!("cannot write {path}"))?;
        Ok(text.len() as u64)
    }

    /// Compares each file with its text, then removes it. A file that the system has not written to the disk by then is
    /// never written, and so does not slow down the next measurement.
    fn check(pages: &[Page], written: &[u64]) -> Result<()> {
        for (page, written) in pages.iter().zip(written) {
            let path = &page.path;
            let found = fs::read(path).with_context(|| format!("cannot read {path} back"))?;
            fs::remove_file(path).with_context(|| format!("cannot remove {path}"))?;
            ensure!(*written == page.text.len() as u64, "the task for {path} returned {written} bytes");
            ensure!(found == page.text[..], "{path} does not contain the text");
        }
        Ok(())
    }
}
