//! A few pages, one after the other, each fetched and saved to a file.
//!
//! Article 001's IO-bound function: `requests.get(url)` and `output.write(response.text)`, `number` times; its
//! chart, of which only the picture had the seconds, runs it once on each of 1, 2, 4 and 8 threads or processes:
//! "threading ends up outperforming multiprocessing consistently". So there are as many tasks as workers. All of
//! them write one `example.com.txt`, over each other; here each task has a file of its own, which as in the
//! article holds the last page in the end. A page is as long as example.com's was.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::url_download::{Browser, Digest};
use crate::fixtures::folder::Folder;
use crate::fixtures::http::{Http, Page};
use crate::workload::{Inputs, Scaling, Size, Workload};

/// As many as there can be workers: each needs a file of its own.
const TASKS: u64 = 1_024;
const PAGE_BYTES: usize = 1_256;

pub(super) struct PageSave;

#[derive(Serialize, Deserialize)]
pub(super) struct Reading {
    urls: Vec<String>,
    file: PathBuf,
    /// What must arrive: every page has another text.
    expected: Vec<Digest>,
}

impl Workload for PageSave {
    const NAME: &'static str = "page_save";
    const WORKERS: &'static [usize] = &[1, 2, 4, 8];
    const SCALING: Scaling = Scaling::Weak;
    type Input = Reading;
    type Output = Vec<Digest>;
    type Worker = Browser;

    fn prepare(size: Size) -> Result<Inputs<Reading>> {
        let (server, folder) = (Http::start()?, Folder::new()?);
        let number = size.pick(2, 5, 20);
        let delay = Duration::from_millis(size.pick(1, 10, 50));
        let reading = |task| {
            let seeds = task * number..(task + 1) * number;
            let pages = seeds.map(|seed| Page { seed, bytes: PAGE_BYTES, delay, fault: None });
            let (urls, expected) = pages.map(|page| (server.url(&page), Digest::of(&page.body()))).collect();
            Reading { urls, file: folder.path().join(format!("{task}.txt")), expected }
        };
        Ok(Inputs::new((0..TASKS).map(reading).collect()).keep((server, folder)))
    }

    fn run(browser: &mut Browser, Reading { urls, file, .. }: &Reading) -> Result<Vec<Digest>> {
        let save = |url: &String| {
            let text = browser.text(url)?;
            fs::write(file, &text).with_context(|| format!("cannot write {}", file.display()))?;
            Ok(Digest::of(text.as_bytes()))
        };
        urls.iter().map(save).collect()
    }

    /// Also reads the file back, and removes it.
    fn check(readings: &[Reading], pages: &[Vec<Digest>]) -> Result<()> {
        for (Reading { urls, file, expected }, pages) in readings.iter().zip(pages) {
            let place = file.display();
            let found = fs::read(file).with_context(|| format!("cannot read {place} back"))?;
            fs::remove_file(file).with_context(|| format!("cannot remove {place}"))?;
            ensure!(pages.len() == urls.len(), "{} of {} pages went to {place}", pages.len(), urls.len());
            for (url, (page, expected)) in urls.iter().zip(pages.iter().zip(expected)) {
                ensure!(page == expected, "{url} gave {page:?}, not {expected:?}");
            }
            ensure!(Some(&Digest::of(&found)) == expected.last(), "{place} does not hold the last page");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_too_few_and_a_wrong_one_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let digests =
            |texts: &[&str]| texts.iter().map(|text| Digest::of(text.as_bytes())).collect::<Vec<_>>();
        let reading = Reading {
            urls: vec!["http://h/1".into(), "http://h/2".into()],
            file: folder.path().join("0.txt"),
            expected: digests(&["one", "two"]),
        };
        let check = |file: &str, pages: &[&str]| {
            fs::write(&reading.file, file).unwrap();
            PageSave::check(std::slice::from_ref(&reading), &[digests(pages)])
        };
        check("two", &["one", "two"]).unwrap();
        for (file, pages, reason) in [
            ("two", &["two"][..], "1 of 2 pages"),
            ("two", &["two", "two"], "http://h/1 gave"),
            ("one", &["one", "two"], "does not hold the last page"),
        ] {
            let error = check(file, pages).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let error = PageSave::check(&[reading], &[vec![]]).unwrap_err().to_string();
        assert!(error.contains("cannot read") && error.contains("0.txt back"), "{error}");
    }
}
