//! What a server says, on its way to the IMAP library: its last status line is kept for errors, and what the library
//! cannot parse although servers say it becomes what it can.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;

/// Maximum number of bytes of a line that are looked at.
const MAX_LINE_BYTES: usize = 1 << 10;

/// The last status line of a server, such as `NO no such mailbox`, without its tag.
#[derive(Clone, Default)]
pub(super) struct LastStatus(Rc<RefCell<Option<String>>>);

impl LastStatus {
    pub(super) fn forget(&self) {
        self.0.take();
    }

    pub(super) fn get(&self) -> Option<String> {
        self.0.borrow().clone()
    }
}

/// A stream on which each byte of a server's lines that is not ASCII arrives as `?`: the library's parser refuses lines
/// such as `OK grüße`, although only a person reads their words. Literals, that is, e-mails, pass as they are.
pub(super) struct Heard<S> {
    stream: S,
    last: LastStatus,
    line: Vec<u8>,
    /// Number of bytes of a literal that are still to come.
    literal: usize,
}

impl<S> Heard<S> {
    pub(super) fn new(stream: S, last: &LastStatus) -> Heard<S> {
        Heard { stream, last: last.clone(), line: Vec::new(), literal: 0 }
    }

    fn hear(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let skipped = self.literal.min(bytes.len());
            self.literal -= skipped;
            bytes = &mut bytes[skipped..];
            let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            let (line, rest) = bytes.split_at_mut(end);
            bytes = rest;
            self.line.extend_from_slice(&line[..line.len().min(MAX_LINE_BYTES - self.line.len())]);
            line.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b'?');
            if line.ends_with(b"\n") {
                // A line of the maximum length may end in `{` by chance: what is cut does not announce a literal.
                let whole = self.line.ends_with(b"\n");
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8_lossy(line.trim_ascii_end());
                self.literal = if whole { literal(&line).unwrap_or(0) } else { 0 };
                if let Some(status) = status(&line) {
                    *self.last.0.borrow_mut() = Some(status.to_string());
                }
            }
        }
    }
}

/// Returns the length of the literal that a line announces.
fn literal(line: &str) -> Option<usize> {
    line.strip_suffix('}')?.rsplit_once('{')?.1.parse().ok()
}

/// Returns a status line without its tag: one that ends a command, or `BYE`.
fn status(line: &str) -> Option<&str> {
    let (tag, rest) = line.split_once(' ')?;
    let name = rest.split(' ').next()?;
    let ends = match tag {
        "*" => &["BYE"][..],
        "+" => &[],
        _ => &["OK", "NO", "BAD", "BYE"],
    };
    ends.iter().any(|end| name.eq_ignore_ascii_case(end)).then_some(rest)
}

impl<S: Read> Read for Heard<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.stream.read(buffer)?;
        self.hear(&mut buffer[..bytes]);
        Ok(bytes)
    }
}

impl<S: Write> Write for Heard<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_ascii_and_literals_do_not_however_the_bytes_arrive() {
        let said = "* OK grüße\r\n* 1 FETCH (BODY[] {15}\r\nä NO ü\r\n{9}\r\n)\r\nx1 NO `台北` fehlt\r\n* 2 EXISTS\r\n";
        let plain = "* OK gr????e\r\n* 1 FETCH (BODY[] {15}\r\nä NO ü\r\n{9}\r\n)\r\nx1 NO `??????` fehlt\r\n* 2 EXISTS\r\n";
        for step in [1, 2, 5, 1_000] {
            let last = LastStatus::default();
            let mut heard = Heard::new(said.as_bytes(), &last);
            let (mut all, mut buffer) = (Vec::new(), vec![0; step]);
            loop {
                match heard.read(&mut buffer).unwrap() {
                    0 => break,
                    bytes => all.extend_from_slice(&buffer[..bytes]),
                }
            }
            assert_eq!(String::from_utf8(all).unwrap(), plain, "{step}");
            assert_eq!(last.get().as_deref(), Some("NO `台北` fehlt"), "{step}");
        }
    }

    #[test]
    fn a_status_is_what_ends_a_command_or_the_session() {
        for (line, expected) in [
            ("* BYE going down", Some("BYE going down")),
            ("a1 ok done", Some("ok done")),
            ("* NO nearly full", None),
            ("* 1 EXISTS", None),
            ("+ OK", None),
            ("", None),
        ] {
            assert_eq!(status(line), expected, "{line}");
        }
        assert_eq!(literal("BODY[] {12}"), Some(12));
        assert_eq!((literal("{99999999999999999999}"), literal("}"), literal("{x}")), (None, None, None));
    }
}
