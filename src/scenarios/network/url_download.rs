//! Downloads a list of URLs, one in each task.
//!
//! Article 000 downloads 16 URLs: 6.36 s serially, 3.75 s on two threads, 2.02 s on four, and about the same in
//! processes. Article 002 also downloads URLs, and finds that threads are enough for tasks that wait. The fixture
//! serves 16 pages with the article's mean delay, or a shorter one. `PARBENCH_URLS=FILE` downloads the URLs in a file
//! instead, one per line.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;
use std::{env, error, fs};

use anyhow::{Context, Result, anyhow, bail, ensure};
use reqwest::blocking::{Client, Response};
use reqwest::{Url, redirect};
use rustls::crypto::ring;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::futures;
use crate::data::packet::Packet;
use crate::fixtures::http::{Http, Page};
use crate::workload::{Inputs, Size, StartFuture, Workload};

const TASKS: u64 = 16;
/// The environment variable that names a file with the user's own URLs.
const URLS: &str = "PARBENCH_URLS";
/// Longer than any page of the fixture takes, but short enough to report a dead host soon.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct UrlDownload;

#[derive(Serialize, Deserialize)]
pub(super) struct Source {
    url: String,
    /// The digest of the page, if it is known.
    expected: Option<Digest>,
}

/// A worker's HTTP client. Its connections stay open between batches.
pub(super) struct Browser(Client);

/// The file with the user's own URLs, if there is one; set to nothing, the variable counts as unset.
fn own_list() -> Option<OsString> {
    env::var_os(URLS).filter(|file| !file.is_empty())
}

pub(super) fn has_own_list() -> bool {
    own_list().is_some()
}

impl Default for Browser {
    fn default() -> Self {
        let builder = || {
            let builder = Client::builder().timeout(TIMEOUT).connect_timeout(TIMEOUT / 3);
            // No proxy: a proxy would be measured instead, and cannot reach the fixture.
            builder.redirect(redirect::Policy::limited(10)).no_proxy()
        };
        // An error only means that another part of the program has already installed a provider.
        let _ = ring::default_provider().install_default();
        // Only real URLs need the system's certificates: also those without https, which may lead to one that has it. The
        // list is not read for that: it may be a pipe, or have changed. Reading certificates takes time and memory, and
        // the fixture must also work on a machine without any.
        if own_list().is_some()
            && let Ok(client) = builder().build()
        {
            return Browser(client);
        }
        let client = builder().tls_certs_only([]).build();
        Browser(
            client.unwrap_or_else(|error| panic!("cannot create an HTTP client ({})", root_cause(&error))),
        )
    }
}

impl Browser {
    /// Downloads a page as text.
    pub(super) fn text(&self, url: &str) -> Result<String> {
        self.get(url, Response::text)
    }

    /// Downloads a page; `body` reads its body.
    fn get<B>(&self, url: &str, body: fn(Response) -> reqwest::Result<B>) -> Result<B> {
        // A server may close a kept connection at any time, also when the request is on its way: a request that got no
        // byte of a response is sent once more, as browsers do.
        let send = || match self.0.get(url).send() {
            Err(error) if error.is_request() && !error.is_connect() && !error.is_timeout() => {
                self.0.get(url).send()
            }
            sent => sent,
        };
        let get = || {
            let response = send()?;
            let status = response.status();
            Ok((status, body(response)?))
        };
        let (status, body) = get().map_err(|error| explain(url, error))?;
        ensure!(status.is_success(), "{} responded with {status}", redact(url));
        Ok(body)
    }
}

impl Workload for UrlDownload {
    const NAME: &'static str = "url_download";
    const WORKERS: &'static [usize] = &[1, 2, 4, 8, 16];
    const WAITS: bool = true;
    const FUTURE: Option<StartFuture<Source, Digest>> =
        Some(|source| Box::pin(async { Ok(Digest::of(&futures::bytes(&source.url).await?)) }));
    type Input = Source;
    type Output = Digest;
    type Worker = Browser;

    fn prepare(size: Size) -> Result<Inputs<Source>> {
        match own_list() {
            Some(file) => read_urls(Path::new(&file)).map(|urls| Inputs::new(urls).answers_may_differ()),
            None => fixture(size),
        }
    }

    /// The fixture has another port each time.
    fn input_digest(source: &Source) -> Result<u64> {
        match source.expected {
            Some(expected) => Ok(Packet::pack(&expected)?.digest()),
            None => Ok(Packet::pack(&source.url)?.digest()),
        }
    }

    fn run(browser: &mut Browser, source: &Source) -> Result<Digest> {
        Ok(Digest::of(&browser.get(&source.url, Response::bytes)?))
    }

    fn check(sources: &[Source], digests: &[Digest]) -> Result<()> {
        for (Source { url, expected }, digest) in sources.iter().zip(digests) {
            if let Some(expected) = expected {
                ensure!(digest == expected, "{} returned {digest:?}, not {expected:?}", redact(url));
            }
        }
        Ok(())
    }
}

fn fixture(size: Size) -> Result<Inputs<Source>> {
    let server = Http::start()?;
    let delay = Duration::from_millis(size.pick(1, 8, 360));
    let bytes = size.pick(1 << 10, 64 << 10, 1 << 20);
    let source = |seed| {
        let page = Page { seed, bytes, delay, fault: None };
        Source { url: server.url(&page), expected: Some(Digest::of(&page.body())) }
    };
    Ok(Inputs::new((0..TASKS).map(source).collect()).keep(server))
}

/// Reads the URLs in a file, one per line. Empty lines and lines that begin with `#` are ignored.
fn read_urls(file: &Path) -> Result<Vec<Source>> {
    let path = file.display();
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {URLS}={path}"))?;
    // As some editors begin a text file.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines = text.lines().enumerate().map(|(at, line)| {
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        (at + 1, indent, line.trim())
    });
    let lines = lines.filter(|(_, _, line)| !line.is_empty() && !line.starts_with('#'));
    let sources = lines.map(|(number, indent, line)| {
        // Without the line itself: if it is not a URL, any part of it may be a password.
        let help = || format!("{path}, line {number}: write a URL like https://host/path");
        // A URL's parser drops some of these without a word, and encodes the others.
        if let Some(column) = line.chars().position(is_no_part_of_a_url) {
            bail!(
                "{path}, line {number}, column {}: a blank or a control character inside of a URL; write one URL per line, \
                 and comments on lines of their own that begin with #",
                column + 1 + indent
            );
        }
        let url = Url::parse(line).with_context(help)?;
        let scheme = url.scheme();
        ensure!(matches!(scheme, "http" | "https"), "{}; `{scheme}` is neither http nor https", help());
        Ok(Source { url: url.into(), expected: None })
    });
    let sources = sources.collect::<Result<Vec<_>>>()?;
    ensure!(!sources.is_empty(), "{URLS}={path} contains no URL; write one per line");
    Ok(sources)
}

/// Whether a character cannot be in a URL, not even in one with letters that are not ASCII.
fn is_no_part_of_a_url(c: char) -> bool {
    // Those that have no width are as easily overlooked as blanks.
    c.is_whitespace() || c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

/// The most characters of a path that are shown.
const MAX_SHOWN: usize = 200;

/// Returns a URL without the parts that may be secret: user, password, query and fragment.
pub(super) fn redact(url: &str) -> String {
    let Ok(url) = Url::parse(url) else { return "a URL".into() };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let hidden = if url.query().is_some() || url.fragment().is_some() { "?…" } else { "" };
    let mut path: String = url.path().chars().take(MAX_SHOWN).collect();
    if path.len() < url.path().len() {
        path += "…";
    }
    format!("{}://{}{port}{path}{hidden}", url.scheme(), url.host_str().unwrap_or_default())
}

/// Returns an error that describes why a download failed. reqwest's own message may contain the whole URL.
pub(super) fn explain(url: &str, error: reqwest::Error) -> anyhow::Error {
    // A timeout while connecting is of both kinds.
    let message = if error.is_connect() {
        "cannot connect".into()
    } else if error.is_timeout() {
        format!("no response within {} s", TIMEOUT.as_secs())
    } else if error.is_body() || error.is_decode() {
        "the response was cut short".into()
    } else {
        "no response".into()
    };
    let error = error.without_url();
    anyhow!("{}: {message} ({})", redact(url), root_cause(&error))
}

/// Returns the innermost source of an error: the system's message, such as "Connection refused".
fn root_cause<'a>(mut error: &'a (dyn error::Error + 'static)) -> &'a dyn error::Error {
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
    fn a_list_of_urls_may_have_comments_and_empty_lines() {
        let list = urls("# mine\n\n  https://example.com/a?b=c \nhttp://example.org\n").unwrap();
        assert_eq!(list, ["https://example.com/a?b=c", "http://example.org/"]);
        // With a byte order mark, the line ends of other systems, and a scheme in capitals.
        let list = urls("\u{feff}HTTPS://example.com/a\r\nhttp://bücher.example/\r\n").unwrap();
        assert_eq!(list, ["https://example.com/a", "http://xn--bcher-kva.example/"]);
    }

    #[test]
    fn what_is_not_only_a_url_is_refused_with_line_and_column() {
        for (text, place) in [
            ("http://a.example/ # mine", "line 1, column 18: "),
            ("http://a.example\n  http://b.example/x\ttitle", "line 2, column 21: "),
            ("http://a.example/\rhttp://b.example/\r", "line 1, column 18: "),
            ("http://a.example/\0", "line 1, column 18: "),
            ("http://a.exa\u{200b}mple/?token=tiger", "line 1, column 13: "),
        ] {
            let error = format!("{:#}", urls(text).unwrap_err());
            assert!(error.contains(place) && !error.contains("tiger"), "{text}: {error}");
        }
    }

    #[test]
    fn a_bad_list_is_refused_with_the_line_number_and_without_its_secrets() {
        for (text, reason) in [
            ("", "contains no URL"),
            ("# nothing\n", "contains no URL"),
            ("http://a.example\nexample.com/page?token=tiger", "line 2: write a URL like https://host/path"),
            ("ftp://me:tiger@example.com/x", "line 1: write a URL like https://host/path; `ftp` is neither"),
            ("http://me:tiger@exa mple.com", "line 1, column 20: a blank"),
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
    fn a_wrong_page_is_refused() {
        let source = Source { url: "http://h/?t=tiger".into(), expected: Some(Digest::of(b"right")) };
        UrlDownload::check(&[source], &[Digest::of(b"right")]).unwrap();
        let source = Source { url: "http://h/?t=tiger".into(), expected: Some(Digest::of(b"right")) };
        let error = UrlDownload::check(&[source], &[Digest::of(b"wrong")]).unwrap_err();
        assert!(error.to_string().starts_with("http://h/?… returned"), "{error}");
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
        let long = redact(&format!("http://h/{}?t=tiger", "x".repeat(70_000)));
        assert!(long.chars().count() < 300 && long.ends_with("x…?…"), "{long}");
    }
}
