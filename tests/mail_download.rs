//! `mail_download` from mailboxes of all sorts: the fixture's as other clients see it, Dovecot's, and such as are
//! not there.

#[path = "common/actor.rs"]
mod actor;
mod common;
#[path = "common/dovecot.rs"]
mod dovecot;

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::Duration;

use actor::{Script, actor};
use anyhow::{Context, Result, ensure};
use common::trial;
use dovecot::Dovecot;
use libtest_mimic::Arguments;
use parbench::executors::{ExecutorKind, PoolOptions};
use parbench::fixtures::http::{Http, Page};
use parbench::fixtures::imap::{Imap, PASSWORD};
use parbench::fixtures::mail::mail;
use parbench::measure::read_records;
use parbench::scenarios::NETWORK;
use parbench::{Scenario, Size};

const MAILS: u32 = 100;
/// The argument that makes this program print what arrives.
const ANSWERS: &str = "print answers";

fn main() -> ExitCode {
    parbench::bench::enter(NETWORK);
    if std::env::args().nth(1).as_deref() == Some(ANSWERS) {
        return match print_answers() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::from(2)
            }
        };
    }
    let trials = vec![
        trial("a mailbox of your own is downloaded and not changed", own),
        trial("imaplib reads what was generated from the fixture", || imaplib(&Server::fixture()?)),
        trial("curl reads what was generated from the fixture", || curl(&Server::fixture()?)),
        trial("Dovecot and the fixture give the same", second_server),
        trial("what is wrong with a mailbox is one clear sentence", wrong),
        trial("a certificate that nobody signed is one clear sentence", untrusted),
        trial("a server that is none is one clear sentence", no_server),
        trial("a server that makes no sense is one clear sentence", nonsense),
        trial("a password may have any letters", any_letters),
        trial("a server may say more than it was asked for", chatter),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A server with the generated mails.
struct Server {
    user: &'static str,
    port: u16,
    certificate: String,
    password: &'static str,
    _kept: Box<dyn std::any::Any>,
}

impl Server {
    fn fixture() -> Result<Server> {
        let imap = Imap::start()?;
        let certificate = imap.certificate().display().to_string();
        Ok(Server {
            user: "reader",
            port: imap.port(),
            certificate,
            password: PASSWORD,
            _kept: Box::new(imap),
        })
    }

    fn url(&self) -> String {
        format!("imaps://{}@localhost:{}/INBOX", self.user, self.port)
    }

    /// This program with that mailbox as the user's own.
    fn run(&self, arguments: &[&str], url: &str) -> Result<Output> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).env("PARBENCH_IMAP", url).env("PARBENCH_IMAP_PASSWORD", self.password);
        Ok(command.env("SSL_CERT_FILE", &self.certificate).stdin(Stdio::null()).output()?)
    }

    /// What each mail of a download is, as its length and hash, from whatever executor.
    fn answers(&self) -> Result<()> {
        let output = self.run(&[ANSWERS], &self.url())?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let expected: Vec<_> = (1..=MAILS).map(|number| line(digest(&mail(1, number)))).collect();
        let found = String::from_utf8(output.stdout)?;
        ensure!(found.lines().count() == 3 * expected.len(), "{found}");
        for (at, (found, expected)) in found.lines().zip(expected.iter().cycle()).enumerate() {
            ensure!(found == expected, "line {at}: {found}, not {expected}");
        }
        Ok(())
    }
}

fn digest(bytes: &[u8]) -> (u64, u64) {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    (bytes.len() as u64, hasher.finish())
}

fn line((bytes, hash): (u64, u64)) -> String {
    format!("{bytes} {hash:016x}")
}

/// Downloads serially, on threads and in processes; prints each mail's digest in order.
fn print_answers() -> Result<()> {
    let prepared = Scenario::find(NETWORK, "mail_download")?.prepare(Size::Default)?;
    for (executor, workers) in [("serial", 1), ("threads", 10), ("processes", 4)] {
        let job = prepared.job(workers);
        ensure!(job.tasks() == workers, "{} tasks for {workers} workers", job.tasks());
        ExecutorKind::find(executor)?.start(&PoolOptions::new(workers))?.execute(&job)?.spans()?;
        let answers = (0..job.tasks()).map(|task| job.answer(task)?.unpack::<Vec<(u64, u64)>>());
        let answers = answers.collect::<Result<Vec<_>>>()?;
        job.check()?;
        answers.concat().into_iter().for_each(|digest| println!("{}", line(digest)));
    }
    Ok(())
}

/// The mails that another client has written into a folder must be those that were generated.
fn compare(folder: &Path) -> Result<()> {
    for number in 1..=MAILS {
        let file = folder.join(format!("{number}.eml"));
        let found = fs::read(&file).with_context(|| format!("no {}", file.display()))?;
        ensure!(found == mail(1, number), "mail {number} is another");
    }
    ensure!(fs::read_dir(folder)?.count() == MAILS as usize, "there are more");
    Ok(())
}

/// Whether a program is there; says so where it is not.
fn is_installed(program: &str, arguments: &[&str], words: &str) -> bool {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let is = output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(words));
    if !is {
        println!("skipped: there is no {program} here that knows {words}");
    }
    is
}

fn has_imaplib() -> bool {
    is_installed("python3", &["-c", "import imaplib, ssl; print('imaplib')"], "imaplib")
}

fn own() -> Result<()> {
    let server = Server::fixture()?;
    server.answers()?;
    // Nothing is marked as read, and what a run prints has no user and no password in it.
    let rounds = [
        "parbench",
        "rounds",
        "mail_download",
        "--rounds",
        "1",
        "--executors",
        "processes",
        "--workers",
        "2",
        "--spans",
    ];
    let output = server.run(&rounds, &server.url())?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8([output.stdout, output.stderr].concat())?;
    ensure!(text.contains("mail_download") && !text.contains("sesame") && !text.contains("reader"), "{text}");
    let output = server.run(&rounds, &server.url().replace("INBOX", ""))?;
    ensure!(output.status.success(), "INBOX is not the default");
    if has_imaplib() {
        let seen =
            python(&server, "print(client.search(None, 'SEEN')[1][0].decode() or 'none')", Path::new("."))?;
        ensure!(seen.trim() == "none", "seen: {seen}");
    }
    Ok(())
}

/// Runs Python with `client`, an imaplib client whose mailbox is selected, and `folder`.
fn python(server: &Server, code: &str, folder: &Path) -> Result<String> {
    let before = "import imaplib, ssl, sys\n\
        port, certificate, user, password, folder = sys.argv[1:]\n\
        context = ssl.create_default_context(cafile=certificate)\n\
        # Newer versions want more of an authority than the certificate of a test has.\n\
        context.verify_flags &= ~getattr(ssl, 'VERIFY_X509_STRICT', 0)\n\
        client = imaplib.IMAP4_SSL('localhost', int(port), ssl_context=context, timeout=20)\n\
        client.login(user, password)\n\
        client.select(readonly=True)\n";
    let mut command = Command::new("python3");
    command.args(["-c", &format!("{before}{code}\n"), &server.port.to_string(), &server.certificate]);
    command.args([server.user, server.password]).arg(folder);
    let output = command.stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The article's own client.
fn imaplib(server: &Server) -> Result<()> {
    if !has_imaplib() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let download = "ids = client.search(None, 'ALL')[1][0].split()[:100]\n\
        for i in ids:\n    \
            data = client.fetch(i, '(RFC822)')[1]\n    \
            open(f'{folder}/{i.decode()}.eml', 'wb').write(data[0][1])\n\
        client.close()";
    python(server, download, folder.path())?;
    compare(folder.path())
}

fn curl(server: &Server) -> Result<()> {
    if !is_installed("curl", &["--version"], " imaps ") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--cacert", &server.certificate]);
    command.args(["--user", &format!("{}:{}", server.user, server.password)]);
    command.args(["--output", &format!("{}/#1.eml", folder.path().display())]);
    command.arg(format!("imaps://localhost:{}/INBOX;MAILINDEX=[1-{MAILS}]", server.port));
    let output = command.stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    compare(folder.path())
}

fn second_server() -> Result<()> {
    if !is_installed("dovecot", &["--version"], "2.3.") {
        return Ok(());
    }
    let dovecot = Dovecot::start(MAILS)?;
    let (port, certificate) = (dovecot.port, dovecot.certificate());
    let server =
        Server { user: "reader", port, certificate, password: Dovecot::PASSWORD, _kept: Box::new(dovecot) };
    imaplib(&server)?;
    curl(&server)?;
    let error = sentence(&server, &server.url().replace("INBOX", "Entwürfe"))?;
    ensure!(error.contains("the mailbox `Entwürfe` is empty"), "{error}");
    server.answers()
}

/// The one sentence and the status that a mailbox ends a run with; never with its password.
fn sentence(server: &Server, url: &str) -> Result<String> {
    let output = server.run(&["parbench", "rounds", "mail_download", "--rounds", "1"], url)?;
    let (error, printed) = (String::from_utf8(output.stderr)?, String::from_utf8(output.stdout)?);
    ensure!(output.status.code() == Some(2), "{url}: {:?}, {error}", output.status);
    let (_, records) = read_records(printed.as_bytes())?;
    ensure!(records.iter().all(|record| record.error.is_some()), "{url}: {printed}");
    let prefix = "error: mail_download on serial/1: cannot prepare `mail_download`: ";
    ensure!(error.lines().count() == 1 && error.starts_with(prefix), "{url}: {error}");
    for text in [&error, &printed] {
        ensure!(!text.contains("tiger") && !text.contains("sesame"), "{url}: {text}");
    }
    Ok(error)
}

fn wrong() -> Result<()> {
    let server = Server::fixture()?;
    let port = server.port;
    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let at = format!("localhost:{port}");
    let cases = BTreeMap::from([
        (
            format!("imaps://reader@no-such-host.invalid:{port}/"),
            format!("cannot connect to no-such-host.invalid:{port}: "),
        ),
        (
            format!("imaps://reader@localhost:{nobody}/"),
            format!("cannot connect to localhost:{nobody}: Connection refused"),
        ),
        (
            format!("imaps://nobody@{at}/"),
            format!("{at}: cannot log in as nobody ([AUTHENTICATIONFAILED] wrong user or password); is"),
        ),
        (
            format!("imaps://reader@{at}/Other"),
            format!("{at}: cannot open the mailbox `Other` (there is no such mailbox"),
        ),
        (
            format!("imaps://reader+mails=0@{at}/"),
            format!("{at}: the mailbox `INBOX` is empty; choose one with messages"),
        ),
        (
            format!("imap://reader@{at}/"),
            "PARBENCH_IMAP: write it like imaps://USER@HOST/MAILBOX; `imap` is not imaps".into(),
        ),
        (format!("imaps://reader:tiger@{at}/"), "the password belongs in PARBENCH_IMAP_PASSWORD".into()),
        (format!("imaps://{at}/INBOX"), "it has no user".into()),
    ]);
    for (url, words) in &cases {
        let error = sentence(&server, url)?;
        ensure!(error.contains(words), "{url}: {error}, not {words}");
    }
    let nameless = Server { password: "", ..server };
    let error = sentence(&nameless, &nameless.url())?;
    ensure!(error.contains("set PARBENCH_IMAP_PASSWORD to the password of reader at localhost"), "{error}");
    let mut misspelt = Command::new(std::env::current_exe()?);
    misspelt
        .args(["parbench", "rounds", "mail_download", "--rounds", "1"])
        .args(["--workers", "1", "--size", "smoke"])
        .env_remove("PARBENCH_IMAP");
    let output = misspelt.env("PARBENCH_IMAPS", "x").env("PARBENCH_IMAP_PASSWORD", "tiger").output()?;
    let error = String::from_utf8(output.stderr)?;
    ensure!(error.starts_with("note: PARBENCH_IMAP_PASSWORD is set but PARBENCH_IMAP is not"), "{error}");
    ensure!(output.status.success() && !error.contains("tiger"), "{error}");
    let wrong = Server { password: "tiger", ..nameless };
    let error = sentence(&wrong, &wrong.url())?;
    ensure!(error.contains("; is the password in PARBENCH_IMAP_PASSWORD right?"), "{error}");
    let broken = Server { password: "tiger\r\nx LOGOUT", ..wrong };
    let error = sentence(&broken, &broken.url())?;
    ensure!(error.contains("PARBENCH_IMAP_PASSWORD contains a line break"), "{error}");
    Ok(())
}

fn untrusted() -> Result<()> {
    let (server, other) = (Server::fixture()?, Server::fixture()?);
    let stranger = Server { certificate: other.certificate.clone(), ..server };
    let error = sentence(&stranger, &stranger.url())?;
    ensure!(error.contains("no TLS connection (invalid peer certificate"), "{error}");
    Ok(())
}

fn no_server() -> Result<()> {
    let server = Server::fixture()?;
    let http = Http::start()?;
    let page = Page { seed: 1, bytes: 1, delay: Duration::ZERO, fault: None };
    let url = http.url(&page);
    let port = url.trim_start_matches("http://127.0.0.1:").split('/').next().unwrap_or_default();
    let error = sentence(&server, &format!("imaps://reader@localhost:{port}/"))?;
    ensure!(error.contains(&format!("localhost:{port}: no TLS connection (")), "{error}");
    Ok(())
}

fn nonsense() -> Result<()> {
    let cases: &[(Script, &str)] = &[
        (&[("", "* BYE too many clients\r\n")], "the server refuses the connection (BYE too many clients)"),
        (&[("", "* BYE \x1b[1mtoo\rmany\r\n")], "the server refuses the connection (BYE  [1mtoo many)"),
        (&[("", "* BYE reader tiger\r\n")], "the connection (the server's message contains the password)"),
        (&[("", "")], "no TLS connection (the connection was lost)"),
        (&[("", "* PREAUTH welcome\r\n")], "the server has logged in somebody before the log-in"),
        (&[("LOGIN", "")], "cannot log in as reader (the connection was lost)\n"),
        (&[("LOGIN", "* BYE zu viele Grüße\r\n")], "cannot log in as reader (BYE zu viele Grüße)\n"),
        (
            &[("LOGIN", "TAG NO falsche Grüße\r\n")],
            "cannot log in as reader (falsche Grüße); is the password",
        ),
        (&[("LOGIN", "TAG NO reader tiger\r\n")], "as reader (the server's message contains the password)"),
        (&[("LOGIN", "TAG BYE reader tiger\r\n")], "as reader (the server's message contains the password)"),
        (&[("EXAMINE", "TAG NO reader tiger\r\n")], "`INBOX` (the server's message contains the password)"),
        (&[("EXAMINE", "other OK\r\n")], "`INBOX` (invalid response)"),
        (&[("EXAMINE", "* 1 FETCH (INTERNALDATE NIL)\r\n")], "`INBOX` (invalid response)"),
        (&[("SEARCH", "* SEARCH 99999999999\r\n")], "cannot search the mailbox (invalid response)"),
        (&[("SEARCH", "* BYE going down\r\n")], "cannot search the mailbox (BYE going down)"),
        (&[("EXAMINE", "TAG NO `台北` gibt es nicht\r\n")], "`INBOX` (`台北` gibt es nicht)"),
        (&[("EXAMINE", "TAG BAD 台北?\r\n")], "`INBOX` (台北?)"),
    ];
    for (script, words) in cases {
        let server = actor(script)?;
        let error = sentence(&server, &server.url())?;
        ensure!(error.contains(words), "{script:?}: {error}, not {words}");
        ensure!(!error.trim_end().contains(char::is_control), "{script:?}: {error:?}");
    }
    Ok(())
}

fn any_letters() -> Result<()> {
    let server = Server { password: "tiger und Bär", ..Server::fixture()? };
    let error = sentence(&server, &server.url())?;
    ensure!(
        error.contains("cannot log in as reader ([AUTHENTICATIONFAILED] wrong user or password); is"),
        "{error}"
    );
    // Of a server that knows this one.
    let server = actor(&[("AUTHENTICATE", "+ \r\n"), ("+", "TAG OK welcome\r\n")])?;
    let server = Server { password: "tiger und Bär", ..server };
    let output = server.run(&["parbench", "rounds", "mail_download", "--rounds", "1"], &server.url())?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn chatter() -> Result<()> {
    let server = actor(&[
        ("LOGIN", "* OK schöne Grüße\r\nTAG OK größer geht's nicht\r\n"),
        ("EXAMINE", "* NO nearly full\r\n* 1 FETCH (FLAGS ())\r\n* 1 EXISTS\r\nTAG OK\r\n"),
        ("FETCH", "* 2 EXISTS\r\n* 1 FETCH (FLAGS ())\r\n* 1 FETCH (BODY[] \"mail\")\r\nTAG OK\r\n"),
    ])?;
    let output = server.run(&["parbench", "rounds", "mail_download", "--rounds", "1"], &server.url())?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
