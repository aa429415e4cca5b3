//! Where the speed-up of article 001's e-mails may have gone: into logging in, once per worker.
//!
//! `cargo run --release --example mail_log_in` downloads 100 mails from the fixture, serially and with ten workers,
//! first with 30 ms per command, then with the delays of the article's server divided by ten. A serial task takes
//! `log-in + 100 mails`, each of ten parallel tasks `log-in + 10 mails`. These two times give both prices, if a mail
//! costs as much with ten workers as with one. That is true here. It is an assumption for the article's server, whose
//! two times are split in the same way. (Linux only: other systems cannot be told to trust the fixture.)

use std::collections::BTreeMap;
use std::env;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use parbench::fixtures::imap::{Account, Imap, PASSWORD};
use parbench::measure::{percentile, read_records};
use parbench::scenarios::NETWORK;

const WORKERS: usize = 10;
/// The times that the article prints, in s.
const SERIAL: f64 = 35.653_004_884_719_85;
const THREADS: f64 = 9.841_094_255_447_388;

fn main() -> Result<()> {
    parbench::bench::enter(NETWORK);
    println!("ms for 100 mails with one worker and with ten at once. From these two: the price");
    println!("of a mail, that of logging in and out, and the latter's share with ten workers.");
    println!("{:35} serial    ten faster   mail log-in share", "");
    show("article 001, threads", SERIAL * 1e3, THREADS * 1e3);
    let server = Imap::start()?;
    let ms = |ms| Duration::from_micros((ms * 1e3) as u64);
    // The article's server takes 287 ms per mail and 6.97 s for logging in (twice: first to search for the ids).
    // Both are divided by ten here.
    let (mail, log_in) = prices(SERIAL * 1e2, THREADS * 1e2);
    let settings = [
        ("30 ms per command", Account { delay: ms(30.0), ..Account::default() }),
        // Three commands of a log-in wait as long as the command of a mail.
        (
            "a tenth of the article's",
            Account { delay: ms(mail), log_in: ms(log_in - 3.0 * mail), ..Account::default() },
        ),
    ];
    for (setting, account) in settings {
        let tasks = measure(&server, &account)?;
        for executor in ["threads", "processes"] {
            show(&format!("{setting}, {executor}"), tasks["serial"], tasks[executor]);
        }
    }
    println!("Each worker logs in once. If that were free, ten would be 10 times as fast.");
    Ok(())
}

/// The prices of a mail and of logging in, from the times of a task with 100 mails and of a task with 10.
fn prices(serial: f64, parallel: f64) -> (f64, f64) {
    let mail = (serial - parallel) / 90.0;
    (mail, parallel - 10.0 * mail)
}

fn show(name: &str, serial: f64, parallel: f64) {
    let (mail, log_in) = prices(serial, parallel);
    let (faster, share) = (serial / parallel, 100.0 * log_in / parallel);
    println!("{name:35} {serial:6.0} {parallel:6.0} {faster:5.1}x {mail:6.1} {log_in:6.0} {share:3.0} %");
}

/// Returns the median span of a task for each executor, in ms. The program runs itself as the bench program, with the
/// fixture as if it were the user's own mailbox, since that is how its delays are chosen.
fn measure(server: &Imap, account: &Account) -> Result<BTreeMap<String, f64>> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["parbench", "rounds", "mail_download", "--rounds", "2", "--workers", &WORKERS.to_string()]);
    command.args(["--executors", "serial,threads,processes"]);
    command.env("PARBENCH_IMAP", format!("imaps://{account}@localhost:{}/INBOX", server.port()));
    command.env("PARBENCH_IMAP_PASSWORD", PASSWORD).env("SSL_CERT_FILE", server.certificate());
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the rounds failed");
    let mut spans = BTreeMap::<String, Vec<u64>>::new();
    let (_, records) = read_records(&output.stdout[..])?;
    for record in records {
        spans.entry(record.executor).or_default().push(record.task_p50_ns.context("no spans")?);
    }
    let median = |spans: Vec<u64>| percentile(50, spans).unwrap_or(0) as f64 / 1e6;
    Ok(spans.into_iter().map(|(executor, spans)| (executor, median(spans))).collect())
}
