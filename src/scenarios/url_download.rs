//! A list of URLs, each downloaded by a task.
//!
//! Article 000 downloads 16 URLs: 6.36 s serially, 3.75 s on two threads, 2.02 s on four, processes about the
//! same. Article 002 does so too and finds that threads are enough for what waits. The fixture serves 16 pages
//! with the article's mean delay, or a shorter one; `PARBENCH_URLS=FILE` downloads a list of your own, one URL
//! a line.

use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use std::time::Duration;
use std::{env, error, fs};

use anyhow::{Context, Result, anyhow, ensure};
use reqwest::blocking::{Client, Response};
use reqwest::{Url, redirect};
use rustls::crypto::ring;
use serde::{Deserialize, Serialize};

use crate::fixtures::http::{Http, Page};
use crate::workload::{Inputs, Size, Workload};

const TASKS: u64 = 16;
/// The file with the user's own URLs.
const URLS: &str = "PARBENCH_URLS";
/// Longer than any fixture takes, short enough to hear of a dead host.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct UrlDownload;

#[derive(Serialize, Deserialize)]
pub(super) struct Source {
    url: String,
    /// What must arrive, where we know.
    expected: Option<Digest>,
}

/// What arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Digest {
    bytes: u64,
    hash: u64,
}

impl Digest {
    pub(super) fn of(body: &[u8]) -> Digest {
        // The standard library's hasher without a random key: the same in every process of a program.
        let mut hasher = DefaultHasher::new();
        hasher.write(body);
        Digest { bytes: body.len() as u64, hash: hasher.finish() }
    }
}

/// A worker's HTTP client, with its connections kept open from batch to batch.
pub(super) struct Browser(Client);

impl Default for Browser {
    fn default() -> Self {
        let builder = Client::builder().timeout(TIMEOUT).connect_timeout(TIMEOUT / 3);
        // No proxy: it would be what is measured, and does not know the fixture.
        let builder = builder.redirect(redirect::Policy::limited(10)).no_proxy();
        // An error only says that another part of the program installed one before.
        let _ = ring::default_provider().install_default();
        // Certificates are the system's for real URLs, and none for the fixture: reading them takes time and
        // memory, and a machine without any must do for it.
        let own = env::var_os(URLS).and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        let builder = if own.contains("https:") { builder } else { builder.tls_certs_only([]) };
        Browser(builder.build().unwrap_or_else(|error| {
            panic!("cannot make an HTTP client ({}): has this system certificates?", deepest(&error))
        }))
    }
}

impl Browser {
    /// The text of a page.
    pub(super) fn text(&self, url: &str) -> Result<String> {
        self.get(url, Response::text)
    }

    /// A page, its body taken as `body` does.
    fn get<B>(&self, url: &str, body: fn(Response) -> reqwest::Result<B>) -> Result<B> {
        let get = || {
            let response = self.0.get(url).send()?;
            let status = response.status();
            Ok((status, body(response)?))
        };
        let (status, body) = get().map_err(|error| explain(url, error))?;
        ensure!(status.is_success(), "{} answered {status}", redact(url));
        Ok(body)
    }
}

impl Workload for UrlDownload {
    const NAME: &'static str = "url_download";
    const WORKERS: &'static [usize] = &[1, 2, 4, 8, 16];
    type Input = Source;
    type Output = Digest;
    type Worker = Browser;

    fn prepare(size: Size) -> Result<Inputs<Source>> {
        match env::var_os(URLS) {
            Some(file) => read_urls(Path::new(&file)).map(Inputs::new),
            None => fixture(size),
        }
    }

    fn run(browser: &mut Browser, source: &Source) -> Result<Digest> {
        Ok(Digest::of(&browser.get(&source.url, Response::bytes)?))
    }

    fn check(sources: &[Source], digests: &[Digest]) -> Result<()> {
        for (Source { url, expected }, digest) in sources.iter().zip(digests) {
            if let Some(expected) = expected {
                ensure!(digest == expected, "{} gave {digest:?}, not {expected:?}", redact(url));
            }
        }
        Ok(())
    }
}

fn fixture(size: Size) -> Result<Inputs<Source>> {
    let server = Http::start()?;
    let delay = Duration::from_millis(size.pick(1, 20, 360));
    let bytes = size.pick(1 << 10, 64 << 10, 1 << 20);
    let source = |seed| {
        let page = Page { seed, bytes, delay, fault: None };
        Source { url: server.url(&page), expected: Some(Digest::of(&page.body())) }
    };
    Ok(Inputs::new((0..TASKS).map(source).collect()).keep(server))
}

/// The URLs in a file, one a line; empty lines and those that begin with `#` are passed over.
fn read_urls(file: &Path) -> Result<Vec<Source>> {
    let place = file.display();
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {URLS}={place}"))?;
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let sources = lines.map(|(number, line)| {
        // Not the line itself: where it is no URL, nobody knows which part of it is a password.
        let help = || format!("{place}, line {number}: write a URL like https://host/path");
        let url = Url::parse(line).with_context(help)?;
        let scheme = url.scheme();
        ensure!(matches!(scheme, "http" | "https"), "{}; `{scheme}` is neither http nor https", help());
        Ok(Source { url: url.into(), expected: None })
    });
    let sources = sources.collect::<Result<Vec<_>>>()?;
    ensure!(!sources.is_empty(), "{URLS}={place} has no URL in it; write one a line");
    Ok(sources)
}

/// A URL without what may be secret: user, password, query and fragment.
fn redact(url: &str) -> String {
    let Ok(url) = Url::parse(url) else { return "a URL".into() };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let hidden = if url.query().is_some() || url.fragment().is_some() { "?…" } else { "" };
    format!("{}://{}{port}{}{hidden}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// What went wrong with a download, in words; reqwest's own sentence may hold the whole URL.
fn explain(url: &str, error: reqwest::Error) -> anyhow::Error {
    // A connection that takes too long is both.
    let what = if error.is_connect() {
        "cannot connect".into()
    } else if error.is_timeout() {
        format!("no answer within {} s", TIMEOUT.as_secs())
    } else if error.is_body() || error.is_decode() {
        "the answer broke off".into()
    } else {
        "no answer".into()
    };
    let error = error.without_url();
    anyhow!("{}: {what} ({})", redact(url), deepest(&error))
}

/// The innermost source of an error: the system's word, such as "Connection refused".
fn deepest<'a>(mut error: &'a (dyn error::Error + 'static)) -> &'a dyn error::Error {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn urls(text: &str) -> Result<Vec<String>> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(text.as_bytes())?;
        Ok(read_urls(file.path())?.into_iter().map(|source| source.url).collect())
    }

    #[test]
    fn a_list_of_urls_has_comments_and_empty_lines() {
        let list = urls("# mine\n\n  https://example.com/a?b=c \nhttp://example.org\n").unwrap();
        assert_eq!(list, ["https://example.com/a?b=c", "http://example.org/"]);
    }

    #[test]
    fn a_bad_list_is_refused_with_its_place_and_without_its_secrets() {
        for (text, reason) in [
            ("", "has no URL in it"),
            ("# nothing\n", "has no URL in it"),
            ("http://a.example\nexample.com/page?token=tiger", "line 2: write a URL like https://host/path"),
            ("ftp://me:tiger@example.com/x", "line 1: write a URL like https://host/path; `ftp` is neither"),
            ("http://me:tiger@exa mple.com", "line 1: write a URL like"),
            ("https://me:tiger#x@host/", "line 1: write a URL like"),
        ] {
            let error = format!("{:#}", urls(text).unwrap_err());
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains("tiger"), "{text}: {error}");
        }
        let error = format!("{:#}", read_urls(Path::new("/no/such/list")).err().unwrap());
        assert!(error.contains("/no/such/list") && error.contains("No such file"), "{error}");
    }

    #[test]
    fn a_wrong_page_is_a_wrong_answer() {
        let source = Source { url: "http://h/?t=tiger".into(), expected: Some(Digest::of(b"right")) };
        UrlDownload::check(&[source], &[Digest::of(b"right")]).unwrap();
        let source = Source { url: "http://h/?t=tiger".into(), expected: Some(Digest::of(b"right")) };
        let error = UrlDownload::check(&[source], &[Digest::of(b"wrong")]).unwrap_err();
        assert!(error.to_string().starts_with("http://h/?… gave"), "{error}");
    }

    #[test]
    fn a_url_is_shown_without_user_password_query_and_fragment() {
        for (url, shown) in [
            ("https://medium.com/@me/x", "https://medium.com/@me/x"),
            ("https://me:tiger@h:81/a/b?c=d#e", "https://h:81/a/b?…"),
            ("http://[::1]:8/#e", "http://[::1]:8/?…"),
            ("no url", "a URL"),
        ] {
            assert_eq!(redact(url), shown);
        }
    }
}
