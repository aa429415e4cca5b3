//! The address of a mailbox: the fixture's, or the user's own as a URL (RFC 5092).

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::fixtures::imap::{Account, Imap, PASSWORD};

/// The environment variables with the URL of the user's own mailbox, and with its password.
pub(super) const MAILBOX: &str = "PARBENCH_IMAP";
pub(super) const MAILBOX_PASSWORD: &str = "PARBENCH_IMAP_PASSWORD";
const PORT: u16 = 993;

/// The address of a mailbox. Does not contain the password, since the address is sent to worker processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MailboxAddress {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) mailbox: String,
    /// The fixture's certificate; `None` for a real mailbox, in which nothing may be changed.
    pub(super) certificate: Option<PathBuf>,
}

impl MailboxAddress {
    /// Returns the address of an account's mailbox on the fixture.
    pub(super) fn fixture(server: &Imap, account: &Account) -> MailboxAddress {
        MailboxAddress {
            host: "127.0.0.1".into(),
            port: server.port(),
            user: account.to_string(),
            mailbox: "INBOX".into(),
            certificate: Some(server.certificate().to_path_buf()),
        }
    }

    /// Parses an address such as `imaps://me@example.org/INBOX`.
    pub(super) fn parse(url: &str) -> Result<MailboxAddress> {
        // Without the URL itself: if it is not valid, any part of it may be a password.
        let help = || format!("{MAILBOX}: write it like imaps://USER@HOST/MAILBOX");
        // Parameters stand behind a semicolon; a semicolon of a name itself is encoded. A URL's parser encodes all.
        let (log_in, url) = without_log_in(url);
        let url = Url::parse(&url).with_context(help)?;
        let scheme = url.scheme();
        ensure!(scheme == "imaps", "{}; `{scheme}` is not imaps", help());
        ensure!(url.password().is_none(), "{}; the password belongs in {MAILBOX_PASSWORD}", help());
        ensure!(url.query().is_none() && url.fragment().is_none(), "{}, with no `?` or `#`", help());
        let decode = |part: &str| percent_decode_str(part).decode_utf8().map(String::from).with_context(help);
        let path = url.path().strip_prefix('/').unwrap_or_default();
        let (mailbox, rest) = path.split_once(';').unwrap_or((path, ""));
        let any = log_in.is_empty() || log_in.eq_ignore_ascii_case("AUTH=*");
        ensure!(any, "{}; `;{}` is not supported, leave it out", help(), parameter(&log_in));
        ensure!(rest.is_empty(), "{}; `;{}` is not supported, leave it out", help(), parameter(rest));
        let (user, mailbox) = (decode(url.username())?, decode(mailbox)?);
        ensure!(!user.is_empty(), "{}; it has no user", help());
        // Both end up in an IMAP command and in an error, each of which is a single line.
        let plain = !user.contains(char::is_control) && !mailbox.contains(char::is_control);
        ensure!(plain, "{}, with no line break or other control character", help());
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = decode(host.with_context(|| format!("{}; it has no host", help()))?)?;
        // A host of https is made ASCII, as mail clients make one of imaps.
        let ascii = Url::parse(&format!("https://{host}/")).with_context(help)?;
        Ok(MailboxAddress {
            host: ascii.host_str().unwrap_or(&host).trim_matches(['[', ']']).into(),
            port: url.port().unwrap_or(PORT),
            user,
            mailbox: if mailbox.is_empty() { "INBOX".into() } else { mailbox },
            certificate: None,
        })
    }

    pub(super) fn password(&self) -> Result<String> {
        if self.certificate.is_some() {
            return Ok(PASSWORD.into());
        }
        let password = env::var_os(MAILBOX_PASSWORD).filter(|password| !password.is_empty());
        let password = password.with_context(|| {
            format!("set {MAILBOX_PASSWORD} to the password of {} at {}", self.user, self.host_and_port())
        })?;
        let password = password.into_string().map_err(|_| anyhow!("{MAILBOX_PASSWORD} is not UTF-8"))?;
        ensure!(!password.contains(['\r', '\n']), "{MAILBOX_PASSWORD} contains a line break");
        Ok(password)
    }

    pub(super) fn host_and_port(&self) -> String {
        // An IPv6 address needs brackets to show where it ends.
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// The way to log in that a URL names behind its user, such as `AUTH=*`, and the URL without it.
fn without_log_in(url: &str) -> (String, String) {
    let parts = || {
        let (scheme, rest) = url.split_once("://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, host) = authority.rsplit_once('@')?;
        let (user, log_in) = user.split_once(';')?;
        Some((log_in.to_string(), format!("{scheme}://{user}@{host}{path}")))
    };
    parts().unwrap_or_else(|| (String::new(), url.into()))
}

/// The name of a parameter of a URL, without its value.
fn parameter(text: &str) -> &str {
    let name = text.split(['=', ';', '/']).next().unwrap_or_default();
    if name.chars().all(|c| c.is_ascii_alphanumeric()) { name } else { "…" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_a_url_with_a_user() {
        let parse = |url| {
            let address = MailboxAddress::parse(url).unwrap();
            (address.host, address.port, address.user, address.mailbox)
        };
        let address =
            |host: &str, port, user: &str, mailbox: &str| (host.into(), port, user.into(), mailbox.into());
        assert_eq!(parse("imaps://me@h.example/Sent%20mail"), address("h.example", 993, "me", "Sent mail"));
        assert_eq!(parse("imaps://me@h.example"), address("h.example", 993, "me", "INBOX"));
        assert_eq!(
            parse("imaps://me@mail.example@h.example:10993/"),
            address("h.example", 10_993, "me@mail.example", "INBOX")
        );
        // Whatever way to log in, a host that is not ASCII, and characters that would mean something else.
        assert_eq!(
            parse("imaps://me;AUTH=*@bücher.example/"),
            address("xn--bcher-kva.example", 993, "me", "INBOX")
        );
        assert_eq!(parse("imaps://me%3Bx@h.example//Archive"), address("h.example", 993, "me;x", "/Archive"));
        assert_eq!(parse("imaps://a+b=c@[::1]:7/a/b"), address("::1", 7, "a+b=c", "a/b"));
        assert_eq!(MailboxAddress::parse("imaps://me@[::1]/").unwrap().host_and_port(), "[::1]:993");
    }

    #[test]
    fn an_invalid_url_is_refused_without_its_secrets() {
        for (url, reason) in [
            ("", "like imaps://USER@HOST/MAILBOX"),
            ("me:tiger@h.example", "like imaps://USER@HOST/MAILBOX"),
            ("imap://me:tiger@h.example/", "`imap` is not imaps"),
            ("imaps://me:tiger@h.example/INBOX", "belongs in PARBENCH_IMAP_PASSWORD"),
            ("imaps://me@h.example/INBOX?password=tiger", "with no `?` or `#`"),
            ("imaps://h.example/INBOX", "it has no user"),
            ("imaps:///INBOX", "it has no"),
            ("imaps://me@h.example:tiger/", "like imaps://USER@HOST/MAILBOX"),
            ("imaps://me;AUTH=PLAIN@h.example/", "`;AUTH` is not supported"),
            ("imaps://me@h.example/INBOX;UIDVALIDITY=1", "`;UIDVALIDITY` is not supported"),
            ("imaps://me@h.example/INBOX/;UID=7", "`;UID` is not supported"),
            ("imaps://me%0D%0Ax@h.example/", "with no line break"),
            ("imaps://me@h.example/IN%1BBOX", "with no line break"),
        ] {
            let error = format!("{:#}", MailboxAddress::parse(url).unwrap_err());
            assert!(error.contains(reason), "{url}: {error}");
            assert!(!error.contains("tiger"), "{url}: {error}");
        }
    }
}
