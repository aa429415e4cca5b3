//! Where the speed-up of article 001's e-mails may have gone: into logging in, once for each worker.
//!
//! `cargo run --release --example mail_log_in` downloads 100 mails serially and with ten workers, from the fixture
//! with 30 ms a command, and from one that logs in as slowly as the article's server. A serial task is
//! `log-in + 100 mails`, each of ten parallel ones `log-in + 10 mails`: two spans, and with them both prices, if a
//! mail costs as much with ten workers as with one. It does here; of the article's server, whose two times are taken
//! apart in the same way, nobody knows. (On Linux: other systems cannot be told to trust the fixture.)

use std::collections::BTreeMap;
use std::env;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use parbench::fixtures::imap::{Account, Imap, PASSWORD};
use parbench::record::{Record, percentile};
use parbench::scenarios::NETWORK;

const WORKERS: usize = 10;
/// What the article prints, s.
const SERIAL: f64 = 35.653_004_884_719_85;
const THREADS: f64 = 9.841_094_255_447_388;

fn main() -> Result<()> {
    parbench::bench::enter(NETWORK);
    println!("100 mails by one worker and by ten at once, ms; from these two: the price of a");
    println!("mail, that of logging in and out, and its share of the time with ten workers.");
    println!("{:35} serial    ten faster   mail log-in share", "");
    show("article 001, threads", SERIAL * 1e3, THREADS * 1e3);
    let server = Imap::start()?;
    let ms = |ms| Duration::from_micros((ms * 1e3) as u64);
    // The article's: a mail 287 ms and 6.97 s for logging in (twice: first to search for the ids). Here a tenth.
    let (mail, log_in) = prices(SERIAL * 1e2, THREADS * 1e2);
    let settings = [
        ("30 ms a command", Account { delay: ms(30.0), ..Account::default() }),
        // Three of a log-in's commands wait as long as a mail's.
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
    println!("Each worker logs in for itself. Were that free, ten would be 10 times as fast.");
    Ok(())
}

/// Both prices, from the time of a task with 100 mails and that of one with 10.
fn prices(serial: f64, parallel: f64) -> (f64, f64) {
    let mail = (serial - parallel) / 90.0;
    (mail, parallel - 10.0 * mail)
}

fn show(name: &str, serial: f64, parallel: f64) {
    let (mail, log_in) = prices(serial, parallel);
    let (faster, share) = (serial / parallel, 100.0 * log_in / parallel);
    println!("{name:35} {serial:6.0} {parallel:6.0} {faster:5.1}x {mail:6.1} {log_in:6.0} {share:3.0} %");
}

/// The median span of a task by executor, ms: this program as the bench program, with the fixture as if it were the
/// user's own mailbox, since that is how its delays are chosen.
fn measure(server: &Imap, account: &Account) -> Result<BTreeMap<String, f64>> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["parbench", "rounds", "mail_download", "--rounds", "2", "--workers", &WORKERS.to_string()]);
    command.args(["--executors", "serial,threads,processes"]);
    command.env("PARBENCH_IMAP", format!("imaps://{account}@localhost:{}/INBOX", server.port()));
    command.env("PARBENCH_IMAP_PASSWORD", PASSWORD).env("SSL_CERT_FILE", server.certificate());
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the rounds failed");
    let mut spans = BTreeMap::<String, Vec<u64>>::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let record: Record = serde_json::from_str(line)?;
        spans.entry(record.executor).or_default().push(record.task_p50_ns.context("it has no spans")?);
    }
    let median = |spans: Vec<u64>| percentile(50, spans).unwrap_or(0) as f64 / 1e6;
    Ok(spans.into_iter().map(|(executor, spans)| (executor, median(spans))).collect())
}
