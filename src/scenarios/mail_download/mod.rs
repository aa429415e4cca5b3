//! A hundred e-mails, fetched over IMAP one by one, each written to a file.
//!
//! Article 001's `download_emails(ids)`: log in, select, `fetch(i, '(RFC822)')` and write `{i}.eml` for each, close.
//! 100 mails take it 35.65 s, ten threads with ten mails each 9.84 s: 3.6 times as fast and not ten times, since
//! each of them logs in for itself (`examples/mail_log_in.rs` takes its numbers apart). So a task is such a call, and
//! there are as many as workers. The fixture waits before it answers each command; the article's search for the
//! ids is done beforehand. `PARBENCH_IMAP=imaps://USER@HOST/MAILBOX` downloads mails of your own.

mod client;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use self::client::{MAILBOX, Place, SECRET, Trust};
use super::url_download::Digest;
use crate::fixtures::folder::Folder;
use crate::fixtures::imap::{Account, Imap};
use crate::fixtures::mail::mail;
use crate::workload::{Inputs, Size, Split, Workload};

/// Of a real mailbox the first as many.
const MAILS: usize = 100;

pub(super) struct MailDownload;

/// The article's `ids`, and where they are from and go to.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Errand {
    place: Place,
    numbers: Vec<u32>,
    folder: PathBuf,
    /// What chose the mails, where we know them.
    seed: Option<u64>,
}

impl Workload for MailDownload {
    const NAME: &'static str = "mail_download";
    const WORKERS: &'static [usize] = &[1, 2, 4, 10];
    const SPLIT: Option<Split<Errand>> = Some(split);
    type Input = Errand;
    type Output = Vec<Digest>;
    type Worker = Trust;

    fn prepare(size: Size) -> Result<Inputs<Errand>> {
        let folder = Folder::new()?;
        let path = folder.path().to_path_buf();
        if let Some(url) = env::var_os(MAILBOX) {
            let url = url.to_str().with_context(|| format!("{MAILBOX} is not UTF-8"))?;
            let place = Place::parse(url)?;
            let mut numbers = place.open(&mut Trust::default())?.search_all()?;
            numbers.truncate(MAILS);
            return Ok(Inputs::new(vec![Errand { place, numbers, folder: path, seed: None }]).keep(folder));
        }
        // A slip in its name must not pass the fixture's numbers off as a mailbox's.
        if env::var_os(SECRET).is_some_and(|password| !password.is_empty()) {
            eprintln!("note: {SECRET} is set and {MAILBOX} is not: the fixture's mails are downloaded");
        }
        let server = Imap::start()?;
        let account = Account {
            mails: size.pick(20, MAILS as u32, MAILS as u32),
            delay: Duration::from_millis(size.pick(1, 3, 100)),
            ..Account::default()
        };
        let (place, seed) = (Place::fixture(&server, &account), Some(account.seed));
        let errand = Errand { place, numbers: (1..=account.mails).collect(), folder: path, seed };
        Ok(Inputs::new(vec![errand]).keep((server, folder)))
    }

    fn run(trust: &mut Trust, errand: &Errand) -> Result<Vec<Digest>> {
        let mut session = errand.place.open(trust)?;
        let mut save = |number| {
            let (mail, file) = (session.fetch(number)?, errand.file(number));
            fs::write(&file, &mail).with_context(|| format!("cannot write {}", file.display()))?;
            Ok(Digest::of(&mail))
        };
        let digests = errand.numbers.iter().map(|number| save(*number)).collect::<Result<Vec<_>>>()?;
        session.close()?;
        Ok(digests)
    }

    /// Also reads the files back, compares them with what was generated, and removes them.
    fn check(errands: &[Errand], mails: &[Vec<Digest>]) -> Result<()> {
        errands.iter().zip(mails).try_for_each(|(errand, mails)| errand.check(mails))
    }
}

/// As many runs of the ids as workers, the article's chunks.
fn split(errands: &[Errand], workers: usize) -> Vec<Errand> {
    let runs = |errand: &Errand| {
        let (all, runs) = (errand.numbers.len(), workers.min(errand.numbers.len()));
        let run = |run| errand.numbers[run * all / runs..(run + 1) * all / runs].to_vec();
        (0..runs).map(|at| Errand { numbers: run(at), ..errand.clone() }).collect::<Vec<_>>()
    };
    errands.iter().flat_map(runs).collect()
}

impl Errand {
    fn file(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{number}.eml"))
    }

    fn check(&self, mails: &[Digest]) -> Result<()> {
        ensure!(mails.len() == self.numbers.len(), "{} of {} mails came", mails.len(), self.numbers.len());
        for (&number, digest) in self.numbers.iter().zip(mails) {
            let file = self.file(number);
            let place = file.display();
            let found = fs::read(&file).with_context(|| format!("cannot read {place} back"))?;
            fs::remove_file(&file).with_context(|| format!("cannot remove {place}"))?;
            ensure!(Digest::of(&found) == *digest, "{place} does not hold what came");
            let expected = self.seed.map(|seed| mail(seed, number));
            ensure!(
                expected.is_none_or(|expected| found == expected),
                "{place} is not mail {number} as it was made"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errand(mails: u32) -> (Errand, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::parse("imaps://me@h.example/").unwrap();
        let path = folder.path().to_path_buf();
        (Errand { place, numbers: (1..=mails).collect(), folder: path, seed: Some(1) }, folder)
    }

    #[test]
    fn every_mail_is_in_one_run_and_no_run_is_empty() {
        for (mails, workers, runs) in [(100, 10, 10), (100, 3, 3), (100, 1, 1), (3, 10, 3)] {
            let (whole, _folder) = errand(mails);
            let split = split(std::slice::from_ref(&whole), workers);
            assert_eq!(split.len(), runs);
            let longest = split.iter().map(|errand| errand.numbers.len()).max().unwrap();
            assert_eq!(longest, (mails as usize).div_ceil(runs));
            let all: Vec<_> = split.iter().flat_map(|errand| errand.numbers.clone()).collect();
            assert_eq!(all, whole.numbers);
        }
    }

    #[test]
    fn a_mail_too_few_and_a_wrong_one_are_noticed() {
        let (errand, _folder) = errand(2);
        let check = |files: [&[u8]; 2], mails: &[&[u8]]| {
            files.iter().zip(1..).for_each(|(bytes, number)| fs::write(errand.file(number), bytes).unwrap());
            let digests = mails.iter().map(|mail| Digest::of(mail)).collect();
            MailDownload::check(std::slice::from_ref(&errand), &[digests])
        };
        let (one, two) = (&mail(1, 1)[..], &mail(1, 2)[..]);
        check([one, two], &[one, two]).unwrap();
        for (files, mails, reason) in [
            ([one, two], &[one][..], "1 of 2 mails"),
            ([one, one], &[one, two], "2.eml does not hold what came"),
            ([one, one], &[one, one], "2.eml is not mail 2 as it was made"),
        ] {
            let error = check(files, mails).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let digests = vec![Digest::of(one), Digest::of(two)];
        fs::write(errand.file(1), one).unwrap();
        let error = MailDownload::check(&[errand], &[digests]).unwrap_err().to_string();
        assert!(error.contains("cannot read") && error.contains("2.eml back"), "{error}");
    }
}
