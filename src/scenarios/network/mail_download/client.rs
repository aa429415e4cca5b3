//! An IMAP client for one mailbox: its address, its session, and error messages without secrets.

use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use imap::{Authenticator, Client, Error};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_platform_verifier::BuilderVerifierExt;

use super::address::{MAILBOX_PASSWORD, MailboxAddress};
use super::heard::{Heard, LastStatus};
use crate::panic::catch_panic;

/// Longer than the fixture takes for any command, but short enough to report a dead host soon.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of characters of a server's message in an error, so that the error stays readable.
const MAX_QUOTE_CHARS: usize = 200;

/// A worker's TLS configuration, reused while the certificate stays the same.
#[derive(Default)]
pub(in crate::scenarios) struct Tls(Option<(Option<PathBuf>, Arc<ClientConfig>)>);

/// An open mailbox.
pub(super) struct Session<'a> {
    requests: Requests<'a>,
    imap: imap::Session<Heard<StreamOwned<ClientConnection, TcpStream>>>,
}

/// Sends requests to a mailbox's server; their errors have the server's own words.
struct Requests<'a> {
    address: &'a MailboxAddress,
    last: LastStatus,
}

impl MailboxAddress {
    /// Connects, logs in and opens the mailbox. A real mailbox is opened read-only.
    pub(super) fn open(&self, tls: &mut Tls) -> Result<Session<'_>> {
        let password = self.password()?;
        let requests = Requests { address: self, last: LastStatus::default() };
        let mut client = Client::new(Heard::new(self.connect(tls.config(self)?)?, &requests.last));
        let greeting = requests.send("cannot read the greeting", || client.read_greeting())?;
        let message = self.quote(String::from_utf8_lossy(&greeting).trim_start_matches("* "));
        let server = self.host_and_port();
        ensure!(
            !greeting.starts_with(b"* PREAUTH"),
            "{server}: the server has logged in somebody before the log-in, which is a part of the task ({message})"
        );
        if !greeting.starts_with(b"* OK") {
            let message = requests.last.get().map_or(message, |last| self.quote(&last));
            bail!("{server}: the server refuses the connection ({message})");
        }
        let session = requests.send(&format!("cannot log in as {}", self.user), || {
            // A quoted string can only carry ASCII.
            let session = if self.user.is_ascii() && password.is_ascii() {
                client.login(&self.user, &password)
            } else {
                client.authenticate("PLAIN", &Plain { user: &self.user, password: &password })
            };
            session.map_err(|(error, _)| error)
        });
        let is_refused = requests.last.get().is_some_and(|last| last.starts_with("NO"));
        let mut session = session.map_err(|error| match is_refused {
            true => anyhow!("{error}; is the password in {MAILBOX_PASSWORD} right?"),
            false => error,
        })?;
        let open = if self.certificate.is_some() { "SELECT" } else { "EXAMINE" };
        // Not the library's `select` and `examine`, which also fail for harmless responses, such as a warning.
        let open = format!("{open} \"{}\"", escape(&modified_utf7(&self.mailbox)));
        let failure = format!("cannot open the mailbox `{}`", self.mailbox);
        requests.send(&failure, || session.run_command_and_check_ok(open))?;
        Ok(Session { requests, imap: session })
    }

    fn connect(&self, config: Arc<ClientConfig>) -> Result<StreamOwned<ClientConnection, TcpStream>> {
        let server = self.host_and_port();
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
        let mut stream = connect().with_context(|| format!("cannot connect to {server}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let name = ServerName::try_from(self.host.clone())
            .with_context(|| format!("`{}` is not a host name", self.host))?;
        let mut connection = ClientConnection::new(config, name)?;
        while connection.is_handshaking() {
            let progress = connection.complete_io(&mut stream);
            progress.map_err(|error| anyhow!("{server}: no TLS connection ({})", describe(&error)))?;
        }
        Ok(StreamOwned::new(connection, stream))
    }

    /// Returns a server's message for an error: shortened, on one line, and only if it does not contain the password.
    fn quote(&self, message: &str) -> String {
        if !self.password().is_ok_and(|password| is_free_of(message, &self.user, &password)) {
            return "the server's message contains the password".into();
        }
        let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
        message.trim().chars().take(MAX_QUOTE_CHARS).map(plain).collect()
    }
}

impl Requests<'_> {
    /// Sends a request through the library. An error consists of `failure` and a reason, without the library's own
    /// message, which may contain whole e-mails.
    fn send<T>(&self, failure: &str, send: impl FnOnce() -> imap::error::Result<T>) -> Result<T> {
        self.last.forget();
        // The library's parser panics at some responses, such as a date that is NIL.
        let error = match catch_panic(send) {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        let last = self.last.get();
        // What was heard has the letters that the library cannot read.
        let words = |name: &str, otherwise: &str| {
            let words = last.as_deref().and_then(|last| last.strip_prefix(name));
            self.address.quote(words.unwrap_or(otherwise))
        };
        let reason = match (error, &last) {
            (Some(Error::No(no)), _) => words("NO", &no.information),
            (Some(Error::Bad(bad)), _) => words("BAD", &bad.information),
            // Also of a server that hangs up afterwards.
            (_, Some(last)) if last.starts_with("BYE ") => self.address.quote(last),
            (Some(Error::Io(error)), _) => describe(&error),
            (Some(Error::ConnectionLost), _) => "the connection was lost".into(),
            // Includes `Error::Bye`, which the library returns for every line that it cannot parse.
            _ => "invalid response".into(),
        };
        bail!("{}: {failure} ({reason})", self.address.host_and_port())
    }
}

/// A log-in whose name and password may have any letters (RFC 4616).
struct Plain<'a> {
    user: &'a str,
    password: &'a str,
}

impl Authenticator for Plain<'_> {
    type Response = String;

    fn process(&self, _challenge: &[u8]) -> String {
        format!("\0{}\0{}", self.user, self.password)
    }
}

/// Describes an error: common network errors in plain words, all others in the system's words.
fn describe(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("no response within {} s", TIMEOUT.as_secs()),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            "the connection was lost".into()
        }
        _ => error.to_string(),
    }
}

/// Returns whether a server's message does not contain the password: as it is, escaped, or as [`Plain`] sends it.
fn is_free_of(message: &str, user: &str, password: &str) -> bool {
    let sent = BASE64_STANDARD.encode(Plain { user, password }.process(&[]));
    !message.contains(password)
        && !message.contains(&escape(password))
        && !message.contains(sent.trim_end_matches('='))
}

/// Escapes a string for a quoted string in a command.
fn escape(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"")
}

/// Encodes the name of a mailbox for a command, in modified UTF-7 (RFC 3501, 5.1.3). The library does not do this.
fn modified_utf7(name: &str) -> String {
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

impl Tls {
    /// Returns a configuration that trusts only the fixture's certificate, or those that the system trusts.
    fn config(&mut self, address: &MailboxAddress) -> Result<Arc<ClientConfig>> {
        if let Some((certificate, config)) = &self.0
            && *certificate == address.certificate
        {
            return Ok(Arc::clone(config));
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?;
        let mut config = match &address.certificate {
            Some(file) => {
                let mut roots = RootCertStore::empty();
                let certificate = CertificateDer::from_pem_file(file);
                roots.add(
                    certificate.with_context(|| format!("cannot read the certificate {}", file.display()))?,
                )?;
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            None => {
                let builder = builder.with_platform_verifier();
                builder.context("cannot load the system's certificates")?.with_no_client_auth()
            }
        };
        // Each log-in does a full handshake, as the article's does. A session ticket from the previous batch would save
        // half of it.
        config.resumption = Resumption::disabled();
        let config = Arc::new(config);
        self.0 = Some((address.certificate.clone(), Arc::clone(&config)));
        Ok(config)
    }
}

impl Session<'_> {
    /// Returns the numbers of all messages, in order.
    pub(super) fn search_all(&mut self) -> Result<Vec<u32>> {
        let found = self.requests.send("cannot search the mailbox", || self.imap.search("ALL"))?;
        let mut numbers: Vec<_> = found.into_iter().collect();
        numbers.sort_unstable();
        if numbers.is_empty() {
            let address = self.requests.address;
            let (server, mailbox) = (address.host_and_port(), &address.mailbox);
            bail!("{server}: the mailbox `{mailbox}` is empty; choose one with messages");
        }
        Ok(numbers)
    }

    /// Fetches a message as the server stores it: `fetch(i, '(RFC822)')`, or, from a real mailbox, with a request that
    /// does not mark it as read.
    pub(super) fn fetch(&mut self, number: u32) -> Result<Vec<u8>> {
        let address = self.requests.address;
        let items = if address.certificate.is_some() { "(RFC822)" } else { "(BODY.PEEK[])" };
        let failure = format!("cannot fetch message {number}");
        let mails = self.requests.send(&failure, || self.imap.fetch(number.to_string(), items))?;
        // A server may send the flags of any message at any time, including this one.
        let mail = mails.iter().filter(|mail| mail.message == number).find_map(imap::types::Fetch::body);
        let gone = || {
            format!(
                "{}: the server sent no text of message {number}; perhaps it no longer exists",
                address.host_and_port()
            )
        };
        mail.map(<[u8]>::to_vec).with_context(gone)
    }

    /// Closes the mailbox, as `client.close()` does, and then the connection.
    pub(super) fn close(mut self) -> Result<()> {
        self.requests.send("cannot close the mailbox", || self.imap.close())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_name_is_encoded_in_modified_utf7() {
        // The last one is RFC 3501's example.
        for (name, encoded) in [
            ("Sent mail", "Sent mail"),
            ("R&D", "R&-D"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("é&🎉", "&AOk-&-&2DzfiQ-"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
        ] {
            assert_eq!(modified_utf7(name), encoded);
        }
    }

    #[test]
    fn a_message_that_contains_the_password_is_recognised() {
        let is_free = |message| is_free_of(message, "me", r#"ti"ger"#);
        assert!(is_free("wrong password"));
        assert!(!is_free(r#"BAD in LOGIN me ti"ger"#));
        assert!(!is_free(r#"BAD in LOGIN me "ti\"ger""#));
        assert!(!is_free("BAD in `AG1lAHRpImdlcg==`"));
    }
}
