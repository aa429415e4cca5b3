//! The fixtures as a workload meets them: each page and each fault of the HTTP server, and their end.

mod common;

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{await_end, children, eventually, has_ended, interrupt, trial};
use libtest_mimic::Arguments;
use parbench::fixtures::folder::Folder;
use parbench::fixtures::http::{Fault, Http, Page};
use parbench::fixtures::imap::Imap;
use parbench::scenarios::NETWORK;
use reqwest::blocking::{Client, Response};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

fn main() -> ExitCode {
    parbench::bench::enter(NETWORK);
    if std::env::args().nth(1).as_deref() == Some("hold fixtures") {
        return hold_fixtures();
    }
    let trials = vec![
        trial("a page arrives as it is", page),
        trial("404 and 500 arrive as such", statuses),
        trial("a reset is an error", || fails(Fault::Reset, is_reset)),
        trial("a truncated body is an error", || {
            fails(Fault::Truncated, |error| error.is_decode() || error.is_body())
        }),
        trial("a server that hangs runs into the client's limit", || {
            fails(Fault::Hang, |error| error.is_timeout())
        }),
        trial("a body that trickles arrives whole", trickle),
        trial("a dead server refuses connections", dead),
        trial("a folder is there, and gone afterwards", folder),
        trial("fixtures end when their owner is killed", || owner_ends("-KILL")),
        trial("fixtures end when their owner is interrupted", || owner_ends(interrupt())),
        trial("a fixture by hand lives until a signal, and leaves no folder", by_hand),
        trial("a path with a line break in it arrives whole", line_break),
        trial("a kept connection that the server closes is no error", closes_connections),
        trial("an unknown fixture is refused with the known ones", unknown),
        trial("a list of your own URLs is downloaded", || own_urls(None)),
        trial("a page that is missing is one clear error", || own_urls(Some(Fault::NotFound))),
        trial("a connection that is reset is one clear error", || own_urls(Some(Fault::Reset))),
        trial("a host that is dead is one clear error", own_dead_url),
        trial("your own URLs may be https", own_tls),
        trial("a certificate for another name is one clear error", own_untrusted_tls),
        trial("a server that speaks no TLS is one clear error", own_bad_tls),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn page_with(fault: Option<Fault>) -> Page {
    Page { seed: 5, bytes: 100_000, delay: Duration::from_millis(1), fault }
}

fn get(server: &Http, page: &Page) -> reqwest::Result<Response> {
    // Long enough for a slow machine; only a hang takes it all.
    let client = Client::builder().timeout(Duration::from_secs(2)).tls_certs_only([]).no_proxy().build()?;
    client.get(server.url(page)).send()
}

/// The client needs a TLS provider, as every program with rustls does, even for plain HTTP.
fn server() -> Result<Http> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Http::start()
}

fn page() -> Result<()> {
    let page = page_with(None);
    let response = get(&server()?, &page)?;
    ensure!(response.status() == 200 && response.bytes()? == page.body(), "another page came");
    Ok(())
}

fn statuses() -> Result<()> {
    let server = server()?;
    for (fault, status) in [(Fault::NotFound, 404), (Fault::ServerError, 500)] {
        let response = get(&server, &page_with(Some(fault)))?;
        ensure!(response.status() == status, "{} in place of {status}", response.status());
    }
    Ok(())
}

fn fails(fault: Fault, is_expected: fn(&reqwest::Error) -> bool) -> Result<()> {
    let server = server()?;
    let result = get(&server, &page_with(Some(fault))).and_then(Response::bytes);
    let error = result.err().with_context(|| format!("{fault:?} gave a page"))?;
    ensure!(is_expected(&error), "{fault:?} gave {error:?}");
    Ok(())
}

fn is_reset(error: &reqwest::Error) -> bool {
    let mut sources = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    sources.any(|source| {
        source.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
    })
}

fn trickle() -> Result<()> {
    let page = page_with(Some(Fault::Trickle));
    ensure!(get(&server()?, &page)?.bytes()? == page.body(), "another page came");
    Ok(())
}

fn dead() -> Result<()> {
    let server = server()?;
    let url = server.url(&page_with(None));
    drop(server);
    let error =
        reqwest::blocking::Client::builder().tls_certs_only([]).no_proxy().build()?.get(url).send().err();
    ensure!(error.as_ref().is_some_and(reqwest::Error::is_connect), "{error:?}");
    Ok(())
}

fn folder() -> Result<()> {
    let folder = Folder::new()?;
    let path = folder.path().to_path_buf();
    fs::create_dir(path.join("inner"))?;
    fs::write(path.join("inner/file"), "x")?;
    drop(folder);
    ensure!(!path.exists(), "{} is still there", path.display());
    Ok(())
}

/// The main of a program that is ended while it has fixtures.
fn hold_fixtures() -> ExitCode {
    let held = Folder::new().and_then(|folder| Ok((server()?, folder, Imap::start()?)));
    if let Ok((_, folder, _)) = &held {
        println!("{}", folder.path().display());
        let _ = std::io::stdin().read_line(&mut String::new());
    }
    ExitCode::FAILURE
}

fn owner_ends(signal: &str) -> Result<()> {
    let mut owner = Command::new(std::env::current_exe()?)
        .arg("hold fixtures")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut path = String::new();
    BufReader::new(owner.stdout.take().context("it has no stdout")?).read_line(&mut path)?;
    let fixtures = children(owner.id())?;
    let killed = Command::new("kill").args([signal, &owner.id().to_string()]).status()?;
    await_end(&mut owner)?;
    ensure!(killed.success() && fixtures.len() == 3 && !path.trim().is_empty(), "{fixtures:?} {path}");
    eventually("no fixture outlives it", || fixtures.iter().all(|fixture| has_ended(*fixture)))?;
    eventually("the folder is gone", || fs::exists(path.trim()).is_ok_and(|there| !there))
}

/// Started by a script: stdin is /dev/null, and stdout a pipe.
fn by_hand() -> Result<()> {
    for signal in ["-TERM", "-HUP", interrupt(), "-KILL"] {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["parbench", "fixture", "folder"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut fixture = command.spawn()?;
        let mut path = String::new();
        let stdout = fixture.stdout.take().context("it has no stdout")?;
        let read = BufReader::new(stdout).read_line(&mut path);
        let folder = Path::new(path.trim());
        let lives = fixture.try_wait()?.is_none() && folder.is_dir();
        let killed = Command::new("kill").args([signal, &fixture.id().to_string()]).status();
        await_end(&mut fixture)?;
        read?;
        ensure!(lives && killed?.success(), "{signal}: {path:?} is there: {}", folder.is_dir());
        eventually("the folder is gone", || !folder.exists())?;
    }
    Ok(())
}

/// The folder for temporary files has a line break in its name, and a folder of the first line is beside it.
fn line_break() -> Result<()> {
    let outer = Folder::new()?;
    let (first, odd) = (outer.path().join("a"), outer.path().join("a\nb"));
    fs::create_dir(&first)?;
    fs::create_dir(&odd)?;
    let mut owner = Command::new(std::env::current_exe()?)
        .args(["parbench", "rounds", "page_save", "--rounds", "1", "--workers", "1", "--size", "smoke"])
        .env("TMPDIR", &odd)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    owner.stderr.take().context("it has no stderr")?.read_to_string(&mut said)?;
    ensure!(owner.wait()?.success(), "{said}");
    ensure!(fs::read_dir(&first)?.count() == 0, "there are files in the wrong folder");
    ensure!(fs::read_dir(&odd)?.count() == 0, "files are left");
    Ok(())
}

/// A server that answers one request on each connection, keeps it, and closes it when the next request comes.
fn closes_connections() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || -> Result<()> {
                let mut request = [0; 4096];
                ensure!(stream.read(&mut request)? > 0, "no request");
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")?;
                // The next request is read and not answered.
                stream.read(&mut request).map(drop)?;
                Ok(())
            });
        }
    });
    let output = download(&format!("http://{address}/\n").repeat(8))?;
    ensure!(output.status.success(), "{}", errors(&output)?);
    Ok(())
}

fn unknown() -> Result<()> {
    let output = Command::new(std::env::current_exe()?).args(["parbench", "fixture", "ftp"]).output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    let clear = error.contains("there is no fixture `ftp`; there are http, imap, folder");
    ensure!(output.status.code() == Some(2) && clear, "{error}");
    Ok(())
}

/// One round of url_download over a list of the user's own, in a process of its own: it reads the
/// environment.
fn download(urls: &str) -> Result<process::Output> {
    let folder = Folder::new()?;
    let list = folder.path().join("urls.txt");
    fs::write(&list, urls)?;
    let arguments = ["parbench", "rounds", "url_download", "--rounds", "1", "--workers", "2"];
    let mut command = Command::new(std::env::current_exe()?);
    // A proxy of the environment is no part of the list: were it used, nothing would arrive.
    command.args(arguments).env("PARBENCH_URLS", list).env("HTTP_PROXY", "http://127.0.0.1:1");
    command.env("SSL_CERT_FILE", authority());
    Ok(command.stdin(Stdio::null()).output()?)
}

fn errors(output: &process::Output) -> Result<String> {
    Ok(String::from_utf8(output.stderr.clone())?)
}

fn own_urls(fault: Option<Fault>) -> Result<()> {
    let server = server()?;
    let (good, bad) = (server.url(&page_with(None)), server.url(&page_with(fault)));
    let output = download(&format!("# two pages\n{good}\n\n{bad}\n"))?;
    let (results, error) = (String::from_utf8(output.stdout.clone())?, errors(&output)?);
    if fault.is_none() {
        ensure!(output.status.success() && results.contains("url_download"), "{error}");
    } else {
        ensure!(output.status.code() == Some(2) && error.lines().count() == 1, "{error}");
        let address = good.split("/page").next().unwrap_or_default();
        ensure!(error.contains(&format!("task 1: {address}/page?…")) && !error.contains("seed="), "{error}");
    }
    Ok(())
}

/// A port that was free a moment ago.
fn dead_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn own_dead_url() -> Result<()> {
    let output = download(&format!("http://me:tiger@{}/x?token=tiger\n", dead_address()?))?;
    let error = errors(&output)?;
    let clear = error.contains("cannot connect (Connection refused") && error.lines().count() == 1;
    ensure!(output.status.code() == Some(2) && clear && !error.contains("tiger"), "{error}");
    Ok(())
}

/// The certificate of an authority of our own, which signed the one of `tls_server`.
fn authority() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls/authority.pem")
}

/// A server that answers every request over TLS, for as long as this program lives; its address.
fn tls_server() -> Result<String> {
    let file = |name: &str| authority().with_file_name(name);
    let certificates = CertificateDer::pem_file_iter(file("server.pem"))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(file("server.key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = Arc::new(config.with_no_client_auth().with_single_cert(certificates, key)?);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || answer(StreamOwned::new(ServerConnection::new(config)?, stream)));
        }
    });
    Ok(address)
}

fn answer(mut stream: StreamOwned<ServerConnection, TcpStream>) -> Result<()> {
    let mut request = [0; 4096];
    while stream.read(&mut request)? > 0 {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")?;
    }
    Ok(())
}

fn own_tls() -> Result<()> {
    let address = tls_server()?;
    let output = download(&format!("https://{address}/a\nhttps://{address}/b\n"))?;
    ensure!(output.status.success(), "{}", String::from_utf8(output.stderr)?);
    ensure!(String::from_utf8(output.stdout)?.contains("\"tasks\":2"), "no records");
    Ok(())
}

fn own_untrusted_tls() -> Result<()> {
    // The certificate is for 127.0.0.1, and so is this address; the name is another.
    let url = format!("https://localhost:{}/", tls_server()?.rsplit(':').next().unwrap_or_default());
    let error = String::from_utf8(download(&url)?.stderr)?;
    ensure!(error.contains("cannot connect (") && error.contains("ertificate"), "{error}");
    Ok(())
}

fn own_bad_tls() -> Result<()> {
    // Speaks no TLS at all: the fixture answers a handshake with a 400.
    let server = server()?;
    let url = server.url(&page_with(None)).replace("http://", "https://");
    let output = download(&format!("{url}\n"))?;
    let error = errors(&output)?;
    let clear = error.contains("cannot connect (") && error.lines().count() == 1;
    ensure!(output.status.code() == Some(2) && clear && !error.contains("seed="), "{error}");
    Ok(())
}
