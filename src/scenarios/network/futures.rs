//! The same downloads as futures, with reqwest's asynchronous client.

use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use reqwest::{Client, Response, redirect};
use rustls::crypto::ring;

use super::url_download::{TIMEOUT, explain, has_own_list, redact};

/// The client of all tasks of this process: its connections stay open between batches, as a worker's do.
static CLIENT: OnceLock<Client> = OnceLock::new();
/// The client of requests that are sent again: it keeps no connection, so each gets a new one.
static AGAIN: OnceLock<Client> = OnceLock::new();

/// The client in a cell; made at the first call, with at most so many connections kept open.
fn client(cell: &'static OnceLock<Client>, kept: usize) -> Result<&'static Client> {
    if let Some(client) = cell.get() {
        return Ok(client);
    }
    // As in the blocking client.
    let builder = || {
        let builder = Client::builder().timeout(TIMEOUT).connect_timeout(TIMEOUT / 3);
        builder.redirect(redirect::Policy::limited(10)).no_proxy().pool_max_idle_per_host(kept)
    };
    let _ = ring::default_provider().install_default();
    let own = has_own_list().then(|| builder().build().ok()).flatten();
    let client = match own {
        Some(client) => client,
        None => builder().tls_certs_only([]).build().context("cannot create an HTTP client")?,
    };
    Ok(cell.get_or_init(|| client))
}

/// Downloads a page as text.
pub(super) async fn text(url: &str) -> Result<String> {
    let response = send(url).await?;
    response.text().await.map_err(|error| explain(url, error))
}

/// Downloads a page.
pub(super) async fn bytes(url: &str) -> Result<Vec<u8>> {
    let response = send(url).await?;
    Ok(response.bytes().await.map_err(|error| explain(url, error))?.into())
}

/// A request that got no byte of a response is sent once more, as browsers do: a server may close a kept connection.
/// Then it is sent over a new one, since all that are kept may be closed by now.
async fn send(url: &str) -> Result<Response> {
    let sent = match client(&CLIENT, usize::MAX)?.get(url).send().await {
        Err(error) if error.is_request() && !error.is_connect() && !error.is_timeout() => {
            client(&AGAIN, 0)?.get(url).send().await
        }
        sent => sent,
    };
    let response = sent.map_err(|error| explain(url, error))?;
    let status = response.status();
    ensure!(status.is_success(), "{} responded with {status}", redact(url));
    Ok(response)
}
