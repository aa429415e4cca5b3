//! A mailbox on a server: its address, the way in, and what goes wrong there in words without secrets.

use std::env;
use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use imap::{Client, Error};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_platform_verifier::BuilderVerifierExt;
use serde::{Deserialize, Serialize};

use crate::fixtures::imap::{Account, Imap, PASSWORD};
use crate::job::quietly;

/// The user's own mailbox, and its password.
pub(super) const MAILBOX: &str = "PARBENCH_IMAP";
pub(super) const SECRET: &str = "PARBENCH_IMAP_PASSWORD";
/// Longer than any fixture takes, short enough to hear of a dead host.
const TIMEOUT: Duration = Duration::from_secs(30);
const PORT: u16 = 993;
/// Of what a server says, so that a sentence stays one.
const MOST_WORDS: usize = 200;

/// Where a mailbox is; its password is not here, since this travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    host: String,
    port: u16,
    user: String,
    mailbox: String,
    /// The fixture's certificate; `None` for a real mailbox, of which nothing may be changed.
    certificate: Option<PathBuf>,
}

/// TLS as a worker keeps it.
#[derive(Default)]
pub(in crate::scenarios) struct Trust(Option<(Option<PathBuf>, Arc<ClientConfig>)>);

/// A mailbox that is open.
pub(super) struct Session<'a> {
    place: &'a Place,
    imap: imap::Session<StreamOwned<ClientConnection, TcpStream>>,
}

impl Place {
    /// The fixture's mailbox of that user.
    pub(super) fn fixture(server: &Imap, account: &Account) -> Place {
        Place {
            host: "127.0.0.1".into(),
            port: server.port(),
            user: account.to_string(),
            mailbox: "INBOX".into(),
            certificate: Some(server.certificate().to_path_buf()),
        }
    }

    /// A mailbox such as `imaps://me@example.org/INBOX`.
    pub(super) fn parse(url: &str) -> Result<Place> {
        // Not the URL itself: where it is none, nobody knows which part of it is a password.
        let help = || format!("{MAILBOX}: write it like imaps://USER@HOST/MAILBOX");
        let url = Url::parse(url).with_context(help)?;
        let scheme = url.scheme();
        ensure!(scheme == "imaps", "{}; `{scheme}` is not imaps", help());
        ensure!(url.password().is_none(), "{}; the password belongs into {SECRET}", help());
        ensure!(url.query().is_none() && url.fragment().is_none(), "{}, with no `?` or `#`", help());
        let decode = |part: &str| percent_decode_str(part).decode_utf8().map(String::from).with_context(help);
        let (user, mailbox) = (decode(url.username())?, decode(url.path().trim_start_matches('/'))?);
        ensure!(!user.is_empty(), "{}; it has no user", help());
        // A command is a line, and so is an error.
        let plain = !user.contains(char::is_control) && !mailbox.contains(char::is_control);
        ensure!(plain, "{}, with no line break or other control character", help());
        let host = url.host_str().filter(|host| !host.is_empty());
        Ok(Place {
            host: host
                .with_context(|| format!("{}; it has no host", help()))?
                .trim_matches(['[', ']'])
                .into(),
            port: url.port().unwrap_or(PORT),
            user,
            mailbox: if mailbox.is_empty() { "INBOX".into() } else { mailbox },
            certificate: None,
        })
    }

    fn password(&self) -> Result<String> {
        if self.certificate.is_some() {
            return Ok(PASSWORD.into());
        }
        let password = env::var_os(SECRET).filter(|password| !password.is_empty());
        let password = password.with_context(|| {
            format!("set {SECRET} to the password of {} at {}", self.user, self.address())
        })?;
        let password = password.into_string().map_err(|_| anyhow!("{SECRET} is not UTF-8"))?;
        ensure!(!password.contains(['\r', '\n']), "{SECRET} has a line break in it");
        Ok(password)
    }

    fn address(&self) -> String {
        // Of an IPv6 address only brackets say where it ends.
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Connects, logs in and opens the mailbox: a real one for reading only.
    pub(super) fn open(&self, trust: &mut Trust) -> Result<Session<'_>> {
        let password = self.password()?;
        let mut client = Client::new(self.connect(trust.config(self)?)?);
        let greeting = self.ask("it did not greet", || client.read_greeting())?;
        if !greeting.starts_with(b"* OK") {
            let words = String::from_utf8_lossy(&greeting);
            let words = self.quote(words.trim_start_matches("* "));
            bail!("{}: it does not let anybody in ({words})", self.address());
        }
        let log_in = || client.login(&self.user, &password).map_err(|(error, _)| error);
        let session = self.ask(&format!("it did not log {} in", self.user), log_in);
        let mut session = session.map_err(|error| anyhow!("{error}; is the password in {SECRET} right?"))?;
        let open = if self.certificate.is_some() { "SELECT" } else { "EXAMINE" };
        // Not the library's `select` and `examine`: they fail at more than is wrong, such as a warning.
        let open = format!("{open} \"{}\"", escape(&utf7(&self.mailbox)));
        let what = format!("it did not open the mailbox `{}`", self.mailbox);
        self.ask(&what, || session.run_command_and_check_ok(open))?;
        Ok(Session { place: self, imap: session })
    }

    fn connect(&self, config: Arc<ClientConfig>) -> Result<StreamOwned<ClientConnection, TcpStream>> {
        let address = self.address();
        let connect = || {
            let mut last = None;
            for address in (self.host.as_str(), self.port).to_socket_addrs()? {
                match TcpStream::connect_timeout(&address, TIMEOUT / 3) {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = Some(error),
                }
            }
            Err(last.unwrap_or_else(|| ErrorKind::NotFound.into()))
        };
        let mut stream = connect().with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let name = ServerName::try_from(self.host.clone())
            .with_context(|| format!("`{}` is no name of a host", self.host))?;
        let mut connection = ClientConnection::new(config, name)?;
        while connection.is_handshaking() {
            let progress = connection.complete_io(&mut stream);
            progress.map_err(|error| anyhow!("{address}: no TLS connection ({})", words(&error)))?;
        }
        Ok(StreamOwned::new(connection, stream))
    }

    /// Has the library ask the server; `what` says what failed, in words without the library's own, which may hold
    /// whole mails.
    fn ask<T>(&self, what: &str, question: impl FnOnce() -> imap::error::Result<T>) -> Result<T> {
        // The library's parser panics at some answers, such as a date that is NIL.
        let error = match quietly(question) {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        let why = match error {
            Some(Error::Io(error)) => words(&error),
            Some(Error::No(no)) => self.quote(&no.information),
            Some(Error::Bad(bad)) => self.quote(&bad.information),
            Some(Error::ConnectionLost) => "the connection broke off".into(),
            // `Error::Bye` as well: the library says so of every line that it cannot read.
            _ => "its answer makes no sense".into(),
        };
        bail!("{}: {what} ({why})", self.address())
    }

    /// A server's words: not if it repeats the password, and no more than fits into a sentence at a terminal.
    fn quote(&self, words: &str) -> String {
        if !self.password().is_ok_and(|password| may_tell(words, &password)) {
            return "in words with the password among them".into();
        }
        let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
        words.trim().chars().take(MOST_WORDS).map(plain).collect()
    }
}

/// The system's words, but for what happens to every server some day.
fn words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("no answer within {} s", TIMEOUT.as_secs()),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            "the connection broke off".into()
        }
        _ => error.to_string(),
    }
}

/// Whether a server's words may be shown: not if the password is among them, as it is or with its quotes escaped.
fn may_tell(words: &str, password: &str) -> bool {
    !words.contains(password) && !words.contains(&escape(password))
}

/// As it stands between quotes in a command.
fn escape(words: &str) -> String {
    words.replace('\\', r"\\").replace('"', "\\\"")
}

/// A mailbox's name as a command has it (modified UTF-7: RFC 3501, 5.1.3); the library leaves that to us.
fn utf7(name: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";
    let is_plain = |letter: char| matches!(letter, ' '..='~');
    let (mut encoded, mut rest) = (String::new(), name);
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|letter| is_plain(letter) != is_plain(first)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        rest = after;
        if is_plain(first) {
            encoded += &run.replace('&', "&-");
            continue;
        }
        let bits = run.encode_utf16().flat_map(|unit| (0..16).rev().map(move |bit| unit >> bit & 1));
        let digit = |bits: &[u16]| {
            let number = bits.iter().fold(0, |number, bit| number << 1 | bit) << (6 - bits.len());
            char::from(DIGITS[usize::from(number)])
        };
        encoded.push('&');
        encoded.extend(bits.collect::<Vec<_>>().chunks(6).map(digit));
        encoded.push('-');
    }
    encoded
}

impl Trust {
    /// The fixture's certificate and no other, or those that the system trusts.
    fn config(&mut self, place: &Place) -> Result<Arc<ClientConfig>> {
        if let Some((certificate, config)) = &self.0
            && *certificate == place.certificate
        {
            return Ok(Arc::clone(config));
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?;
        let mut config = match &place.certificate {
            Some(file) => {
                let mut roots = RootCertStore::empty();
                let certificate = CertificateDer::from_pem_file(file);
                roots.add(certificate.with_context(|| format!("no certificate in {}", file.display()))?)?;
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            None => {
                let builder = builder.with_platform_verifier();
                builder.context("this system has no certificates to trust")?.with_no_client_auth()
            }
        };
        // Every log-in shakes hands anew, as the article's does; a ticket of the batch before would spare it half.
        config.resumption = Resumption::disabled();
        let config = Arc::new(config);
        self.0 = Some((place.certificate.clone(), Arc::clone(&config)));
        Ok(config)
    }
}

impl Session<'_> {
    /// The numbers of all mails, in order.
    pub(super) fn search_all(&mut self) -> Result<Vec<u32>> {
        let found = self.place.ask("it did not search", || self.imap.search("ALL"))?;
        let mut numbers: Vec<_> = found.into_iter().collect();
        numbers.sort_unstable();
        if numbers.is_empty() {
            let Place { mailbox, .. } = self.place;
            bail!("{}: the mailbox `{mailbox}` is empty; choose one with mails", self.place.address());
        }
        Ok(numbers)
    }

    /// A mail as the server has it: `fetch(i, '(RFC822)')`, or, of a real mailbox, what does not mark it as read.
    pub(super) fn fetch(&mut self, number: u32) -> Result<Vec<u8>> {
        let items = if self.place.certificate.is_some() { "(RFC822)" } else { "(BODY.PEEK[])" };
        let what = format!("it did not send mail {number}");
        let mails = self.place.ask(&what, || self.imap.fetch(number.to_string(), items))?;
        // A server may send flags of any mail at any time, of this one too.
        let mail = mails.iter().filter(|mail| mail.message == number).find_map(imap::types::Fetch::body);
        let gone = || format!("{}: there is no mail {number} any more", self.place.address());
        mail.map(<[u8]>::to_vec).with_context(gone)
    }

    /// `client.close()`; the connection ends with it.
    pub(super) fn close(mut self) -> Result<()> {
        self.place.ask("it did not close the mailbox", || self.imap.close())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_a_url_with_a_user() {
        let parse = |url| {
            let place = Place::parse(url).unwrap();
            (place.host, place.port, place.user, place.mailbox)
        };
        let place =
            |host: &str, port, user: &str, mailbox: &str| (host.into(), port, user.into(), mailbox.into());
        assert_eq!(parse("imaps://me@h.example/Sent%20mail"), place("h.example", 993, "me", "Sent mail"));
        assert_eq!(parse("imaps://me@h.example"), place("h.example", 993, "me", "INBOX"));
        assert_eq!(
            parse("imaps://me@mail.example@h.example:10993/"),
            place("h.example", 10_993, "me@mail.example", "INBOX")
        );
        assert_eq!(parse("imaps://a+b=c@[::1]:7/a/b"), place("::1", 7, "a+b=c", "a/b"));
        assert_eq!(Place::parse("imaps://me@[::1]/").unwrap().address(), "[::1]:993");
    }

    #[test]
    fn what_is_no_mailbox_is_refused_without_its_secrets() {
        for (url, reason) in [
            ("", "like imaps://USER@HOST/MAILBOX"),
            ("me:tiger@h.example", "like imaps://USER@HOST/MAILBOX"),
            ("imap://me:tiger@h.example/", "`imap` is not imaps"),
            ("imaps://me:tiger@h.example/INBOX", "belongs into PARBENCH_IMAP_PASSWORD"),
            ("imaps://me@h.example/INBOX?password=tiger", "with no `?` or `#`"),
            ("imaps://h.example/INBOX", "it has no user"),
            ("imaps:///INBOX", "it has no"),
            ("imaps://me@h.example:tiger/", "like imaps://USER@HOST/MAILBOX"),
            ("imaps://me%0D%0Ax@h.example/", "with no line break"),
            ("imaps://me@h.example/IN%1BBOX", "with no line break"),
        ] {
            let error = format!("{:#}", Place::parse(url).unwrap_err());
            assert!(error.contains(reason), "{url}: {error}");
            assert!(!error.contains("tiger"), "{url}: {error}");
        }
    }

    #[test]
    fn a_mailbox_is_named_as_servers_name_it() {
        // The last is RFC 3501's own.
        for (name, encoded) in [
            ("Sent mail", "Sent mail"),
            ("R&D", "R&-D"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("é&🎉", "&AOk-&-&2DzfiQ-"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
        ] {
            assert_eq!(utf7(name), encoded);
        }
    }

    #[test]
    fn words_with_the_password_in_them_are_not_shown() {
        assert!(may_tell("wrong password", r#"ti"ger"#));
        assert!(!may_tell(r#"BAD in LOGIN me ti"ger"#, r#"ti"ger"#));
        assert!(!may_tell(r#"BAD in LOGIN me "ti\"ger""#, r#"ti"ger"#));
    }
}
