//! The IMAP fixture as clients of every manner meet it: commands, literals, mistakes, and those who go away.

mod common;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::trial;
use libtest_mimic::Arguments;
use parbench::fixtures::imap::{Account, Imap, PASSWORD};
use parbench::fixtures::mail::mail;
use parbench::scenarios::NETWORK;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

fn main() -> ExitCode {
    parbench::bench::enter(NETWORK);
    let trials = vec![
        trial("commands are answered in their states", states),
        trial("a wrong password, a wrong user and a wrong name are refused alike", passwords),
        trial("mails arrive byte for byte, whole and in part", mails),
        trial("numbers and unique identifiers are told apart", identifiers),
        trial("reading marks as seen, unless it only peeks or examines", seen),
        trial("mails are searched for", search),
        trial("what is not served is refused, and the client goes on", refusals),
        trial("literals are waited for, or come at once", literals),
        trial("commands may be sent ahead", pipelined),
        trial("what is too long is refused, and the client goes on", too_long),
        trial("a client that speaks another language is sent away", babble),
        trial("a client that goes away disturbs nobody", gone),
        trial("an empty mailbox is one", empty),
        trial("the certificate goes with the server", certificate),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A client that says what it is told to and nothing else.
struct Talk(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Talk {
    /// A client that was greeted.
    fn with(server: &Imap) -> Result<Talk> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(server.certificate())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        let connection = ClientConnection::new(config, "localhost".try_into()?)?;
        let mut talk = Talk(BufReader::new(StreamOwned::new(connection, connect(server)?)));
        let greeting = talk.line()?;
        ensure!(greeting.starts_with("* OK "), "{greeting}");
        Ok(talk)
    }

    /// A client that has logged in and selected its mailbox.
    fn selected(server: &Imap, user: &str) -> Result<Talk> {
        let mut talk = Talk::with(server)?;
        talk.expect(&format!("LOGIN {user} \"{PASSWORD}\""), "OK welcome")?;
        talk.expect("SELECT INBOX", "OK [READ-WRITE]")?;
        Ok(talk)
    }

    fn say(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())?;
        Ok(self.0.get_mut().flush()?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line)?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// All until the line with that tag; a literal's lines are among them.
    fn until(&mut self, tag: &str) -> Result<String> {
        let mut answer = String::new();
        loop {
            let line = self.line()?;
            ensure!(line.ends_with('\n'), "it hung up after: {answer}{line}");
            answer += &line;
            if line.starts_with(&format!("{tag} ")) {
                return Ok(answer);
            }
        }
    }

    fn ask(&mut self, command: &str) -> Result<String> {
        self.say(format!("tag. {command}\r\n"))?;
        self.until("tag.")
    }

    /// Asks; the answer must have these words in it.
    fn expect(&mut self, command: &str, words: &str) -> Result<String> {
        let answer = self.ask(command)?;
        ensure!(answer.contains(words), "{command} gave {answer:?}, not {words:?}");
        Ok(answer)
    }

    /// The connection must end now.
    fn ended(&mut self) -> Result<()> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            // Without TLS's own good-bye.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            result => ensure!(result? == 0, "it said {}", String::from_utf8_lossy(&rest)),
        }
        Ok(())
    }
}

fn connect(server: &Imap) -> Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", server.port()))?;
    // Long enough for a slow machine; only a server that does not answer takes it all.
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.set_write_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

fn states() -> Result<()> {
    let server = Imap::start()?;
    let mut talk = Talk::with(&server)?;
    talk.expect("CAPABILITY", "* CAPABILITY IMAP4REV1 AUTH=PLAIN\r\ntag. OK")?;
    talk.expect("NOOP", "OK")?;
    for early in ["SELECT INBOX", "EXAMINE INBOX", "FETCH 1 FLAGS", "CLOSE"] {
        talk.expect(early, "BAD log in first")?;
    }
    let login = format!("LOGIN reader+mails=3+delay_us=100 \"{PASSWORD}\"");
    talk.expect(&login, "OK welcome")?;
    talk.expect(&login, "BAD already logged in")?;
    for early in ["FETCH 1 FLAGS", "UID FETCH 1001 FLAGS", "SEARCH ALL", "CLOSE"] {
        talk.expect(early, "BAD select a mailbox first")?;
    }
    let answer = talk.expect("SELECT inbox", "OK [READ-WRITE]")?;
    for line in ["* 3 EXISTS", "* 0 RECENT", "* FLAGS (\\Seen)", "[UIDVALIDITY 1]", "[UIDNEXT 1004]"] {
        ensure!(answer.contains(line), "{line} is not in {answer}");
    }
    ensure!(answer.contains("[PERMANENTFLAGS (\\Seen)]"), "{answer}");
    let answer = talk.expect("EXAMINE INBOX", "OK [READ-ONLY]")?;
    ensure!(answer.contains("[PERMANENTFLAGS ()]"), "{answer}");
    // A mailbox that is not there leaves none selected.
    talk.expect("SELECT Other", "NO there is no such mailbox")?;
    talk.expect("FETCH 1 FLAGS", "BAD select a mailbox first")?;
    talk.expect("SELECT INBOX", "OK")?;
    talk.expect("CLOSE", "OK closed")?;
    talk.expect("FETCH 1 FLAGS", "BAD select a mailbox first")?;
    talk.expect("LOGOUT", "* BYE")?;
    talk.ended()
}

fn passwords() -> Result<()> {
    let server = Imap::start()?;
    let mut talk = Talk::with(&server)?;
    for (user, password) in [
        ("reader", "wrong"),
        ("reader", "\"\""),
        ("root", "\"open sesame\""),
        ("reader+mails=x", "\"open sesame\""),
    ] {
        let refusal = "tag. NO [AUTHENTICATIONFAILED] wrong user or password\r\n";
        let answer = talk.expect(&format!("LOGIN {user} {password}"), refusal)?;
        ensure!(answer == refusal, "{answer}");
    }
    // `\0reader\0open sesame`, without its name, and what is no base64.
    for (data, answer) in [
        ("AHJlYWRlcg==", "NO [AUTHENTICATIONFAILED]"),
        ("*", "NO [AUTHENTICATIONFAILED]"),
        ("\u{e9}", "NO [AUTHENTICATIONFAILED]"),
        ("AHJlYWRlcgBvcGVuIHNlc2FtZQ==", "OK welcome"),
    ] {
        talk.say("tag. AUTHENTICATE PLAIN\r\n")?;
        let ready = talk.line()?;
        ensure!(ready == "+ \r\n", "{ready}");
        talk.say(format!("{data}\r\n"))?;
        let said = talk.until("tag.")?;
        ensure!(said.starts_with(&format!("tag. {answer}")), "{data}: {said}");
    }
    talk.expect(&format!("LOGIN reader \"{PASSWORD}\""), "BAD already logged in")?;
    Ok(())
}

fn mails() -> Result<()> {
    let server = Imap::start()?;
    let mut talk = Talk::selected(&server, "reader+seed=5+mails=8")?;
    for number in 1..=8 {
        let mail = String::from_utf8(mail(5, number))?;
        for (item, name) in [("RFC822", "RFC822"), ("BODY[]", "BODY[]"), ("BODY.PEEK[]", "BODY[]")] {
            let answer = talk.ask(&format!("FETCH {number} ({item})"))?;
            let literal = format!("* {number} FETCH ({name} {{{}}}\r\n{mail}", mail.len());
            ensure!(answer.starts_with(&literal), "{item} of mail {number} gave {answer}");
            let rest = &answer[literal.len()..];
            ensure!(
                [")\r\n", " FLAGS (\\Seen))\r\n"]
                    .contains(&rest.replace("tag. OK completed\r\n", "").as_str()),
                "{rest}"
            );
        }
    }
    let (start, mail) = (100, mail(5, 2));
    let part = String::from_utf8_lossy(&mail[start..start + 30]).into_owned();
    talk.expect("FETCH 2 BODY.PEEK[]<100.30>", &format!("BODY[]<100> {{30}}\r\n{part})"))?;
    talk.expect("FETCH 2 BODY.PEEK[]<9999999.30>", "BODY[]<9999999> {0}\r\n)")?;
    talk.expect("FETCH 2 (RFC822.SIZE)", &format!("(RFC822.SIZE {})", mail.len()))?;
    Ok(())
}

fn identifiers() -> Result<()> {
    let server = Imap::start()?;
    let mut talk = Talk::selected(&server, "reader+mails=9")?;
    let count = |answer: String| answer.lines().filter(|line| line.starts_with("* ")).count();
    talk.expect("FETCH 3 (UID)", "* 3 FETCH (UID 1003)\r\n")?;
    talk.expect("UID FETCH 1003 (FLAGS)", "* 3 FETCH (UID 1003 FLAGS ())\r\n")?;
    talk.expect("UID FETCH 1003 (UID FLAGS)", "* 3 FETCH (UID 1003 FLAGS ())\r\n")?;
    for (set, mails) in [("1:*", 9), ("9:7,7,*", 3), ("2,4:5", 3)] {
        ensure!(count(talk.expect(&format!("FETCH {set} FLAGS"), "OK")?) == mails, "{set}");
    }
    // Identifiers that are not there are no mistake; numbers are.
    for (set, mails) in [("3", 0), ("1:4294967295", 9), ("1005:*", 5), ("5000:*", 1)] {
        ensure!(count(talk.expect(&format!("UID FETCH {set} FLAGS"), "OK")?) == mails, "{set}");
    }
    for set in ["10", "1:10", "1003"] {
        talk.expect(&format!("FETCH {set} FLAGS"), "BAD there is no such message")?;
    }
    talk.expect("FETCH 0 FLAGS", "BAD")?;
    Ok(())
}

fn seen() -> Result<()> {
    let server = Imap::start()?;
    let mut talk = Talk::selected(&server, "reader+mails=4")?;
    talk.expect("FETCH 1 (FLAGS BODY.PEEK[])", "FLAGS ()")?;
    talk.expect("SEARCH SEEN", "* SEARCH\r\n")?;
    let told = talk.expect("FETCH 2 (FLAGS RFC822)", "FLAGS (\\Seen))\r\n")?;
    ensure!(told.matches("FLAGS").count() == 1, "{told}");
    let again = talk.ask("FETCH 2 (RFC822)")?;
    ensure!(!again.contains("FLAGS"), "nothing has changed, but {again}");
    let mut other = Talk::with(&server)?;
    other.expect(&format!("LOGIN reader+mails=4+delay_us=1 \"{PASSWORD}\""), "OK")?;
    other.expect("EXAMINE INBOX", "[READ-ONLY]")?;
    other.expect("FETCH 3 (BODY[])", "* 3 FETCH")?;
    other.expect("SEARCH SEEN", "* SEARCH 2\r\n")?;
    talk.expect("UID FETCH 1004 (BODY[])", "FLAGS (\\Seen)")?;
    other.expect("SEARCH UNSEEN", "* SEARCH 1 3\r\n")?;
    Ok(())
}

fn search() -> Result<()> {
    let server = Imap::start()?;
    let mut talk = Talk::selected(&server, "reader+mails=6")?;
    let large = (1..=6).filter(|number| mail(1, *number).len() > 5_000).map(|number| format!(" {number}"));
    let large = format!("* SEARCH{}\r\n", large.collect::<String>());
    for (keys, found) in [
        ("ALL", "* SEARCH 1 2 3 4 5 6\r\n"),
        ("2:3", "* SEARCH 2 3\r\n"),
        ("UID 1005:*", "* SEARCH 5 6\r\n"),
        ("OR 1 (4:* NOT 5)", "* SEARCH 1 4 6\r\n"),
        ("LARGER 5000", &large),
        ("SMALLER 1", "* SEARCH\r\n"),
        ("CHARSET utf-8 6 UNSEEN", "* SEARCH 6\r\n"),
    ] {
        talk.expect(&format!("SEARCH {keys}"), found)?;
    }
    talk.expect("UID SEARCH 2:3", "* SEARCH 1002 1003\r\n")?;
    talk.expect("SEARCH FROM ada", "NO supported keys are ALL")?;
    talk.expect("SEARCH CHARSET KLINGON ALL", "NO [BADCHARSET]")?;
    Ok(())
}

fn refusals() -> Result<()> {
    let server = Imap::start()?;
    let mut talk = Talk::selected(&server, "reader+mails=2")?;
    for command in [
        "FETCH 1 ALL",
        "FETCH 1 (ENVELOPE)",
        "FETCH 1 BODY[HEADER]",
        &format!("FETCH 1 (FLAGS{})", " BODY[]".repeat(1_000)),
        "STORE 1 +FLAGS (\\Deleted)",
        "EXPUNGE",
        "DELETE INBOX",
        "COPY 1 Other",
    ] {
        let answer = talk.expect(command, "tag. NO ")?;
        ensure!(answer.lines().count() == 1, "{command} gave {answer}");
    }
    for command in ["BLURB", "FETCH", "FETCH 1", "FETCH x FLAGS", "LOGIN reader", "SELECT", "NOOP now"] {
        talk.expect(command, "tag. BAD this is not an IMAP4rev1 command")?;
        talk.expect("NOOP", "OK")?;
    }
    talk.say("\r\n")?;
    ensure!(talk.line()?.starts_with("* BAD "), "an empty line");
    talk.expect("SEARCH ALL", "* SEARCH 1 2\r\n")?;
    Ok(())
}

fn literals() -> Result<()> {
    let server = Imap::start()?;
    let user = Account { mails: 2, ..Account::default() }.to_string();
    let mut talk = Talk::with(&server)?;
    talk.say(format!("a LOGIN {{{}}}\r\n", user.len()))?;
    ensure!(talk.line()?.starts_with("+ "), "it does not wait for the literal");
    talk.say(format!("{user} {{{}}}\r\n", PASSWORD.len()))?;
    ensure!(talk.line()?.starts_with("+ "), "it does not wait for the second literal");
    talk.say(format!("{PASSWORD}\r\n"))?;
    ensure!(talk.until("a")?.contains("OK welcome"), "not logged in");
    talk.say("b SELECT {5+}\r\nINBOX\r\n")?;
    ensure!(talk.until("b")?.contains("* 2 EXISTS"), "not selected");
    Ok(())
}

fn pipelined() -> Result<()> {
    let server = Imap::start()?;
    let mut talk = Talk::with(&server)?;
    talk.say(format!("a LOGIN reader+mails=3 \"{PASSWORD}\"\r\nb SELECT INBOX\r\nc FETCH 3 RFC822.SIZE\r\nd BLURB\r\ne CLOSE\r\n"))?;
    for (tag, words) in [("a", "OK"), ("b", "OK"), ("c", "* 3 FETCH"), ("d", "BAD"), ("e", "OK")] {
        let answer = talk.until(tag)?;
        ensure!(answer.contains(words), "{tag}: {answer}");
    }
    Ok(())
}

fn too_long() -> Result<()> {
    let server = Imap::start()?;
    let mut talk = Talk::selected(&server, "reader+mails=2")?;
    let long = "1,".repeat(20_000);
    talk.expect(&format!("FETCH {long}1 FLAGS"), "tag. BAD the command is too long\r\n")?;
    talk.expect("FETCH 1 FLAGS", "* 1 FETCH")?;
    // It is refused before it is sent.
    talk.expect("SELECT {1000000}", "tag. BAD the literal is too long\r\n")?;
    talk.expect("FETCH 2 FLAGS", "* 2 FETCH")?;
    talk.say(" {4000000000}\r\n")?;
    ensure!(talk.line()?.starts_with("* BAD the literal is too long"), "a long literal of nobody's");
    // This one comes anyway, and what is in it is no command.
    talk.say(format!("a SELECT {{40000+}}\r\n{}\r\n", "x LOGOUT\r\n".repeat(4_000)))?;
    ensure!(talk.until("a")?.contains("BAD the command is too long"), "a long literal");
    talk.expect("FETCH 1 FLAGS", "* 1 FETCH")?;
    Ok(())
}

fn babble() -> Result<()> {
    let server = Imap::start()?;
    let mut talk = Talk::with(&server)?;
    talk.say("GET / HTTP/1.1\r\nHost: localhost\r\n".repeat(5))?;
    for line in 0..10 {
        let answer = talk.line()?;
        ensure!(answer.contains(" BAD "), "line {line}: {answer}");
    }
    ensure!(talk.line()?.starts_with("* BYE "), "it hangs up without a word");
    talk.ended()
}

fn gone() -> Result<()> {
    let server = Imap::start()?;
    let mut stays = Talk::selected(&server, "reader+mails=2")?;
    drop(connect(&server)?);
    // Speaks no TLS, and learns so.
    let mut plain = connect(&server)?;
    plain.write_all(b"a LOGIN reader x\r\n")?;
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest);
    ensure!(!String::from_utf8_lossy(&rest).contains(" OK "), "it answered without TLS");
    for half in ["", "a LOG", "a LOGIN {300}\r\nabc", "a FETCH 1 (RFC822"] {
        Talk::with(&server)?.say(half)?;
    }
    // Goes while the answer is on its way.
    Talk::selected(&server, "reader+mails=2")?.say("a FETCH 1:2 (RFC822)\r\n".repeat(200))?;
    stays.expect("FETCH 1 FLAGS", "* 1 FETCH")?;
    Talk::selected(&server, "reader+mails=2")?.expect("SEARCH ALL", "* SEARCH 1 2\r\n")?;
    Ok(())
}

fn empty() -> Result<()> {
    let server = Imap::start()?;
    let mut talk = Talk::selected(&server, "reader+mails=0")?;
    talk.expect("SEARCH ALL", "* SEARCH\r\n")?;
    talk.expect("FETCH 1:* FLAGS", "BAD there is no such message")?;
    talk.expect("UID FETCH 1:* FLAGS", "tag. OK completed")?;
    Ok(())
}

fn certificate() -> Result<()> {
    let server = Imap::start()?;
    let (file, port) = (server.certificate().to_path_buf(), server.port());
    ensure!(file.exists(), "{} is not there", file.display());
    drop(server);
    let folder = file.parent().context("it is in no folder")?;
    ensure!(!folder.exists(), "{} is still there", folder.display());
    ensure!(TcpStream::connect(("127.0.0.1", port)).is_err(), "somebody still listens on {port}");
    Ok(())
}
