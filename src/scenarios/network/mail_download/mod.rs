//! Fetches a hundred e-mails over IMAP, one by one, and writes each to a file.
//!
//! Article 001's `download_emails(ids)`: log in, select, `fetch(i, '(RFC822)')` and write `{i}.eml` for each, close. It
//! takes 35.65 s for 100 e-mails, and 9.84 s on ten threads with ten e-mails each: 3.6 times as fast instead of ten
//! times, since each thread logs in (`examples/mail_log_in.rs` analyses these numbers).
//!
//! Here a task is one such call, and there is one for each worker. The fixture waits before it responds to a command.
//! The article's search for the ids is done beforehand. `PARBENCH_IMAP=imaps://USER@HOST/MAILBOX` downloads e-mails
//! from a real mailbox instead.

mod address;
mod client;
mod heard;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use self::address::{MAILBOX, MAILBOX_PASSWORD, MailboxAddress};
use self::client::Tls;
use super::digest::Digest;
use crate::data::packet::Packet;
use crate::fixtures::folder::Folder;
use crate::fixtures::imap::{Account, Imap};
use crate::fixtures::mail::mail;
use crate::workload::{Inputs, Size, Split, Workload};

/// Number of e-mails; from a real mailbox, the first ones.
const MAILS: usize = 100;

pub(super) struct MailDownload;

/// The article's `ids`, the mailbox that they are from, and the folder for their files.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Download {
    address: MailboxAddress,
    numbers: Vec<u32>,
    folder: PathBuf,
    /// The seed of the messages, if they are generated.
    seed: Option<u64>,
}

impl Workload for MailDownload {
    const NAME: &'static str = "mail_download";
    const WORKERS: &'static [usize] = &[1, 2, 4, 10];
    const WAITS: bool = true;
    const SPLIT: Option<Split<Download>> = Some(split);
    type Input = Download;
    type Output = Vec<Digest>;
    type Worker = Tls;

    fn prepare(size: Size) -> Result<Inputs<Download>> {
        let folder = Folder::new()?;
        let path = folder.path().to_path_buf();
        if let Some(url) = env::var_os(MAILBOX).filter(|url| !url.is_empty()) {
            let url = url.to_str().with_context(|| format!("{MAILBOX} is not UTF-8"))?;
            let address = MailboxAddress::parse(url)?;
            let mut numbers = address.open(&mut Tls::default())?.search_all()?;
            numbers.truncate(MAILS);
            return Ok(
                Inputs::new(vec![Download { address, numbers, folder: path, seed: None }]).keep(folder)
            );
        }
        // If the other variable's name is misspelt, the fixture's results must not pass for a real mailbox's.
        if env::var_os(MAILBOX_PASSWORD).is_some_and(|password| !password.is_empty()) {
            eprintln!("note: {MAILBOX_PASSWORD} is set but {MAILBOX} is not; downloading from the fixture");
        }
        let server = Imap::start()?;
        let account = Account {
            mails: size.pick(20, 30, MAILS as u32),
            delay: Duration::from_millis(size.pick(1, 3, 100)),
            ..Account::default()
        };
        let (address, seed) = (MailboxAddress::fixture(&server, &account), Some(account.seed));
        let download = Download { address, numbers: (1..=account.mails).collect(), folder: path, seed };
        Ok(Inputs::new(vec![download]).keep((server, folder)))
    }

    /// The server and the folder are others each time.
    fn input_digest(download: &Download) -> Result<u64> {
        Ok(Packet::pack(&(download.numbers.clone(), download.seed))?.digest())
    }

    fn run(tls: &mut Tls, download: &Download) -> Result<Vec<Digest>> {
        let mut session = download.address.open(tls)?;
        let mut save = |number| {
            let (mail, file) = (session.fetch(number)?, download.file(number));
            fs::write(&file, &mail).with_context(|| format!("cannot write {}", file.display()))?;
            Ok(Digest::of(&mail))
        };
        let digests = download.numbers.iter().map(|number| save(*number)).collect::<Result<Vec<_>>>()?;
        session.close()?;
        Ok(digests)
    }

    /// Also reads the files back, compares them with the generated messages, and removes them.
    fn check(downloads: &[Download], mails: &[Vec<Digest>]) -> Result<()> {
        downloads.iter().zip(mails).try_for_each(|(download, mails)| download.check(mails))
    }
}

/// Divides the ids into a contiguous chunk for each worker, as the article does.
fn split(downloads: &[Download], workers: usize) -> Vec<Download> {
    let chunks = |download: &Download| {
        let (all, chunks) = (download.numbers.len(), workers.min(download.numbers.len()));
        let chunk = |at| download.numbers[at * all / chunks..(at + 1) * all / chunks].to_vec();
        (0..chunks).map(|at| Download { numbers: chunk(at), ..download.clone() }).collect::<Vec<_>>()
    };
    downloads.iter().flat_map(chunks).collect()
}

impl Download {
    fn file(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{number}.eml"))
    }

    fn check(&self, mails: &[Digest]) -> Result<()> {
        ensure!(
            mails.len() == self.numbers.len(),
            "only {} of {} messages were downloaded",
            mails.len(),
            self.numbers.len()
        );
        for (&number, digest) in self.numbers.iter().zip(mails) {
            let file = self.file(number);
            let path = file.display();
            let found = fs::read(&file).with_context(|| format!("cannot read {path} back"))?;
            fs::remove_file(&file).with_context(|| format!("cannot remove {path}"))?;
            ensure!(Digest::of(&found) == *digest, "{path} does not contain the downloaded message");
            let expected = self.seed.map(|seed| mail(seed, number));
            ensure!(
                expected.is_none_or(|expected| found == expected),
                "{path} differs from message {number} as it was generated"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn download(mails: u32) -> (Download, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let address = MailboxAddress::parse("imaps://me@h.example/").unwrap();
        let path = folder.path().to_path_buf();
        (Download { address, numbers: (1..=mails).collect(), folder: path, seed: Some(1) }, folder)
    }

    #[test]
    fn every_mail_is_in_one_chunk_and_no_chunk_is_empty() {
        for (mails, workers, chunks) in [(100, 10, 10), (100, 3, 3), (100, 1, 1), (3, 10, 3)] {
            let (whole, _folder) = download(mails);
            let split = split(std::slice::from_ref(&whole), workers);
            assert_eq!(split.len(), chunks);
            let longest = split.iter().map(|download| download.numbers.len()).max().unwrap();
            assert_eq!(longest, (mails as usize).div_ceil(chunks));
            let all: Vec<_> = split.iter().flat_map(|download| download.numbers.clone()).collect();
            assert_eq!(all, whole.numbers);
        }
    }

    #[test]
    fn a_missing_and_a_wrong_mail_are_noticed() {
        let (download, _folder) = download(2);
        let check = |files: [&[u8]; 2], mails: &[&[u8]]| {
            files
                .iter()
                .zip(1..)
                .for_each(|(bytes, number)| fs::write(download.file(number), bytes).unwrap());
            let digests = mails.iter().map(|mail| Digest::of(mail)).collect();
            MailDownload::check(std::slice::from_ref(&download), &[digests])
        };
        let (one, two) = (&mail(1, 1)[..], &mail(1, 2)[..]);
        check([one, two], &[one, two]).unwrap();
        for (files, mails, reason) in [
            ([one, two], &[one][..], "1 of 2 messages"),
            ([one, one], &[one, two], "2.eml does not contain the downloaded message"),
            ([one, one], &[one, one], "2.eml differs from message 2 as it was generated"),
        ] {
            let error = check(files, mails).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let digests = vec![Digest::of(one), Digest::of(two)];
        fs::write(download.file(1), one).unwrap();
        let error = MailDownload::check(&[download], &[digests]).unwrap_err().to_string();
        assert!(error.contains("cannot read") && error.contains("2.eml back"), "{error}");
    }
}
