//! A server that says what a test has written for it, right or wrong.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use anyhow::{Result, ensure};
use parbench::fixtures::folder::Folder;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::Server;

/// What it says to a command in place of what would be right, with TAG for the command's tag; to no command, as a
/// greeting; and to what it asked for with `+ `, as to a command of that name. After another answer without a tag it hangs
/// up.
pub(crate) type Script = &'static [(&'static str, &'static str)];

const GREETING: &str = "* OK hello\r\n";
/// What a mailbox with one mail says.
const RIGHT: Script = &[
    ("", GREETING),
    ("SEARCH", "* SEARCH 1\r\nTAG OK found\r\n"),
    ("FETCH", "* 1 FETCH (BODY[] \"mail\")\r\nTAG OK fetched\r\n"),
];

/// Serves one client after the other until the test's program ends.
pub(crate) fn actor(script: Script) -> Result<Server> {
    let folder = Folder::new()?;
    let certificate = folder.path().join("certificate.pem");
    let key = KeyPair::generate()?;
    let signed = CertificateParams::new(["localhost".to_string()])?.self_signed(&key)?;
    fs::write(&certificate, signed.pem())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = config.with_no_client_auth().with_single_cert(vec![signed.der().clone()], key)?;
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that has heard enough hangs up, and what is written to it fails.
            let _ = play(stream, &config, script);
        }
    });
    let certificate = certificate.display().to_string();
    Ok(Server { user: "reader", port, certificate, password: "tiger", _kept: Box::new(folder) })
}

fn play(stream: TcpStream, config: &Arc<ServerConfig>, script: Script) -> Result<()> {
    let connection = ServerConnection::new(Arc::clone(config))?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let (mut command, mut tag) = (String::new(), String::new());
    let mut asked = false;
    loop {
        let (first, words) = command.split_once(' ').unwrap_or_default();
        let name = if asked { "+" } else { words.split_whitespace().next().unwrap_or_default() };
        if !asked {
            tag = first.to_string();
        }
        let line = script
            .iter()
            .chain(RIGHT)
            .find(|(of, _)| *of == name)
            .map_or(&"TAG OK done\r\n", |(_, line)| line);
        stream.get_mut().write_all(line.replace("TAG", &tag).as_bytes())?;
        asked = line.starts_with("+ ");
        if !line.contains("TAG") && !asked && !line.starts_with("* OK ") {
            return Ok(());
        }
        command.clear();
        ensure!(stream.read_line(&mut command)? > 0, "it has hung up");
    }
}
