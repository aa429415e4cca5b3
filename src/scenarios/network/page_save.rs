//! Fetches a few pages, one after the other, and saves each to a file.
//!
//! Article 001's IO-bound function: `requests.get(url)` and `output.write(response.text)`, `number` times. The article
//! runs it once on each of 1, 2, 4 and 8 threads or processes, so there is one task for each worker here. It found that
//! "threading ends up outperforming multiprocessing consistently"; the seconds are only in the picture of a chart. All
//! its calls overwrite one `example.com.txt`; here each task has its own file, which holds the last page in the end, as
//! in the article. A page is as long as example.com's was.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::futures;
use super::url_download::Browser;
use crate::data::packet::Packet;
use crate::fixtures::folder::Folder;
use crate::fixtures::http::{Http, Page};
use crate::workload::{Inputs, Scaling, Size, StartFuture, Workload};

/// The maximum number of workers: each needs its own file.
const TASKS: u64 = 1_024;
const PAGE_BYTES: usize = 1_256;

pub(super) struct PageSave;

#[derive(Serialize, Deserialize)]
pub(super) struct Pages {
    urls: Vec<String>,
    file: PathBuf,
    /// The digests of the pages, all different.
    expected: Vec<Digest>,
}

impl Pages {
    /// Writes a page to the file. A short write is not worth a thread of tokio's: it ends in the page cache.
    fn save(&self, text: &str) -> Result<Digest> {
        fs::write(&self.file, text).with_context(|| format!("cannot write {}", self.file.display()))?;
        Ok(Digest::of(text.as_bytes()))
    }
}

impl Workload for PageSave {
    const NAME: &'static str = "page_save";
    const WORKERS: &'static [usize] = &[1, 2, 4, 8];
    const WAITS: bool = true;
    const SCALING: Scaling = Scaling::Weak;
    const FUTURE: Option<StartFuture<Pages, Vec<Digest>>> = Some(|pages| {
        Box::pin(async {
            let mut digests = Vec::new();
            for url in &pages.urls {
                let text = futures::text(url).await?;
                digests.push(pages.save(&text)?);
            }
            Ok(digests)
        })
    });
    type Input = Pages;
    type Output = Vec<Digest>;
    type Worker = Browser;

    fn prepare(size: Size) -> Result<Inputs<Pages>> {
        let (server, folder) = (Http::start()?, Folder::new()?);
        let number = size.pick(2, 3, 20);
        let delay = Duration::from_millis(size.pick(1, 10, 50));
        let input = |task| {
            let seeds = task * number..(task + 1) * number;
            let pages = seeds.map(|seed| Page { seed, bytes: PAGE_BYTES, delay, fault: None });
            let (urls, expected) = pages.map(|page| (server.url(&page), Digest::of(&page.body()))).collect();
            Pages { urls, file: folder.path().join(format!("{task}.txt")), expected }
        };
        Ok(Inputs::new((0..TASKS).map(input).collect()).keep((server, folder)))
    }

    /// The server and the folder are others each time.
    fn input_digest(pages: &Pages) -> Result<u64> {
        Ok(Packet::pack(&pages.expected)?.digest())
    }

    fn run(browser: &mut Browser, pages: &Pages) -> Result<Vec<Digest>> {
        pages.urls.iter().map(|url| pages.save(&browser.text(url)?)).collect()
    }

    /// Also reads the file back and removes it.
    fn check(inputs: &[Pages], pages: &[Vec<Digest>]) -> Result<()> {
        for (Pages { urls, file, expected }, pages) in inputs.iter().zip(pages) {
            let path = file.display();
            let found = fs::read(file).with_context(|| format!("cannot read {path} back"))?;
            fs::remove_file(file).with_context(|| format!("cannot remove {path}"))?;
            ensure!(
                pages.len() == urls.len(),
                "only {} of {} pages were saved to {path}",
                pages.len(),
                urls.len()
            );
            for (url, (page, expected)) in urls.iter().zip(pages.iter().zip(expected)) {
                ensure!(page == expected, "{url} returned {page:?}, not {expected:?}");
            }
            ensure!(Some(&Digest::of(&found)) == expected.last(), "{path} does not contain the last page");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_and_a_wrong_page_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let digests =
            |texts: &[&str]| texts.iter().map(|text| Digest::of(text.as_bytes())).collect::<Vec<_>>();
        let input = Pages {
            urls: vec!["http://h/1".into(), "http://h/2".into()],
            file: folder.path().join("0.txt"),
            expected: digests(&["one", "two"]),
        };
        let check = |file: &str, pages: &[&str]| {
            fs::write(&input.file, file).unwrap();
            PageSave::check(std::slice::from_ref(&input), &[digests(pages)])
        };
        check("two", &["one", "two"]).unwrap();
        for (file, pages, reason) in [
            ("two", &["two"][..], "1 of 2 pages"),
            ("two", &["two", "two"], "http://h/1 returned"),
            ("one", &["one", "two"], "does not contain the last page"),
        ] {
            let error = check(file, pages).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let error = PageSave::check(&[input], &[vec![]]).unwrap_err().to_string();
        assert!(error.contains("cannot read") && error.contains("0.txt back"), "{error}");
    }
}
