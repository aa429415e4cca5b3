//! A huge text, passed in, written to a file.
//!
//! Article 000's `io_heavy(text)`: serially 1.37 s; four threads won, four processes came close. All its calls
//! write the same `output.txt`, over each other; here each task has a file of its own, so that what arrived
//! on the disk can be compared with what was sent.

use std::fs::{self, File};
use std::io::Write;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::array::Array;
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
    /// Bytes written.
    type Output = u64;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Page>> {
        let folder = Folder::new()?;
        // Every task needs it: it crosses to a worker process once.
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

    /// Compares each file with its text and removes it: pages that were never written to the disk then never
    /// will be, in the clock of whoever comes next.
    fn check(pages: &[Page], written: &[u64]) -> Result<()> {
        for (page, written) in pages.iter().zip(written) {
            let path = &page.path;
            let found = fs::read(path).with_context(|| format!("cannot read {path} back"))?;
            fs::remove_file(path).with_context(|| format!("cannot remove {path}"))?;
            ensure!(*written == page.text.len() as u64, "a task wrote {written} bytes to {path}");
            ensure!(found == page.text[..], "{path} does not hold the text");
        }
        Ok(())
    }
}
