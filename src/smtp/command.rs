//! One command line of the client.
//!
//! *In*: a line without its end. *Out*: [`Command`]. *Bound*: the line, `limits::LINE_BYTES_MAX`; paths
//! and names as in `limits`. *Spec*: RFC 5321 section 4.1, RFC 3030, RFC 3207, RFC 4954. Read as
//! leniently as the most lenient server: a sensor that refuses a line that the server took is blind.

use crate::limits;
use crate::mail::{Mailbox, ReversePath, Untrusted};

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// HELO or EHLO with the name given.
    Hello(Untrusted),
    /// MAIL with its reverse-path.
    Mail(ReversePath),
    /// RCPT with its forward-path, where one could be read.
    Recipient(Option<Mailbox>),
    /// DATA.
    Data,
    /// BDAT with size and whether it is the last; `None` where the size is none.
    Chunk(Option<(u64, bool)>),
    /// RSET.
    Reset,
    /// QUIT.
    Quit,
    /// STARTTLS.
    StartTls,
    /// AUTH with its mechanism and initial response.
    Auth {
        /// How the user name is to be found.
        mechanism: Mechanism,
        /// The initial response, still in base64.
        initial: Option<Secret>,
    },
    /// A command that changes nothing here: NOOP, VRFY, HELP and the like.
    Neutral,
    /// A verb nobody knows, or nothing at all.
    Unknown,
}

/// SASL mechanisms in which the user name can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// The older habit of asking for name and password in turn.
    Login,
    /// Any other: nothing is read.
    Other,
}

/// Text that may hold a password: overwritten when it is dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// A copy of a line.
    pub fn new(text: &[u8]) -> Secret {
        Secret(text.to_vec())
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// Verbs that are known and change neither envelope nor framing.
const NEUTRAL: &[&[u8]] = &[
    b"NOOP",
    b"VRFY",
    b"EXPN",
    b"HELP",
    b"ETRN",
    b"TURN",
    b"ATRN",
    b"XCLIENT",
    b"XFORWARD",
    b"SEND",
    b"SOML",
    b"SAML",
    b"VERB",
    b"ONEX",
    b"X-EXPS",
    b"XEXCH50",
    b"X-LINK2STATE",
    b"XRDST",
    b"XADR",
    b"XSTA",
    b"XCIR",
    b"XGEN",
    b"QUED",
];

impl Command {
    /// Reads a line.
    pub fn parse(line: &[u8]) -> Command {
        let line = line.trim_ascii();
        let verb_bytes = line.iter().position(|b| matches!(b, b' ' | b'\t' | b':')).unwrap_or(line.len());
        let (verb, rest) = line.split_at(verb_bytes);
        let is = |name: &[u8]| verb.eq_ignore_ascii_case(name);
        if is(b"MAIL") {
            return match argument(rest, b"FROM") {
                Some(path) => Command::Mail(ReversePath::parse(path)),
                None => Command::Unknown,
            };
        }
        if is(b"RCPT") {
            return match argument(rest, b"TO") {
                Some(path) => Command::Recipient(Mailbox::parse(path)),
                None => Command::Unknown,
            };
        }
        if is(b"HELO") || is(b"EHLO") {
            let name = rest.trim_ascii();
            return Command::Hello(Untrusted::bounded(name, limits::HELO_BYTES_MAX));
        }
        if is(b"BDAT") {
            return Command::Chunk(chunk(rest));
        }
        if is(b"AUTH") {
            return auth(rest);
        }
        if is(b"DATA") {
            return Command::Data;
        }
        if is(b"RSET") {
            return Command::Reset;
        }
        if is(b"QUIT") {
            return Command::Quit;
        }
        if is(b"STARTTLS") {
            return Command::StartTls;
        }
        if NEUTRAL.iter().any(|name| is(name)) { Command::Neutral } else { Command::Unknown }
    }

    /// Whether a line is certain to be a command where text of a message is possible too: the verb with
    /// exactly the arguments that it takes.
    pub fn is_certain(line: &[u8]) -> bool {
        let bare = line.trim_ascii_end();
        match Command::parse(line) {
            Command::Mail(_) | Command::Recipient(Some(_)) => line.contains(&b'<') || line.contains(&b'@'),
            Command::Hello(name) => {
                !name.as_bytes().is_empty() && !name.as_bytes().iter().any(u8::is_ascii_whitespace)
            }
            Command::Data | Command::Reset | Command::Quit => bare.len() == 4,
            Command::StartTls => bare.len() == 8,
            Command::Chunk(size) => size.is_some(),
            Command::Auth { mechanism, .. } => mechanism != Mechanism::Other,
            _ => false,
        }
    }
}

/// The path in `FROM:<path> parameters`: with and without blanks, colon or brackets.
fn argument<'a>(rest: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let rest = rest.trim_ascii_start();
    let (word, after) = rest.split_at_checked(keyword.len())?;
    if !word.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let after = after.trim_ascii_start();
    let after = after.strip_prefix(b":").unwrap_or(after).trim_ascii_start();
    if let Some(inside) = after.strip_prefix(b"<") {
        return Some(inside.get(..closing_bracket(inside)).unwrap_or(inside));
    }
    let end = after.iter().position(|b| b.is_ascii_whitespace()).unwrap_or(after.len());
    after.get(..end)
}

/// Position of the `>` that ends a path; one inside quotes does not (RFC 5321 section 4.1.2).
fn closing_bracket(path: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (i, byte) in path.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return i,
            _ => {}
        }
    }
    // A quote that is never closed: servers then take the last bracket, or all.
    memchr::memrchr(b'>', path).unwrap_or(path.len())
}

/// RFC 3030 section 2: `BDAT` size [`LAST`].
fn chunk(rest: &[u8]) -> Option<(u64, bool)> {
    let mut words = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let digits = words.next()?;
    if digits.len() > 20 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size = digits.iter().try_fold(0u64, |sum, digit| {
        sum.checked_mul(10).and_then(|sum| sum.checked_add(u64::from(digit - b'0')))
    })?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
        Some(_) => return None,
    };
    (size <= limits::CHUNK_OCTETS_MAX && words.next().is_none()).then_some((size, last))
}

fn auth(rest: &[u8]) -> Command {
    let mut words = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let mechanism = match words.next() {
        Some(word) if word.eq_ignore_ascii_case(b"PLAIN") => Mechanism::Plain,
        Some(word) if word.eq_ignore_ascii_case(b"LOGIN") => Mechanism::Login,
        _ => Mechanism::Other,
    };
    Command::Auth { mechanism, initial: words.next().map(Secret::new) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(line: &str) -> Option<String> {
        match Command::parse(line.as_bytes()) {
            Command::Mail(ReversePath::Null) => Some("<>".into()),
            Command::Mail(ReversePath::Mailbox(mailbox)) | Command::Recipient(Some(mailbox)) => {
                Some(mailbox.address().escaped())
            }
            _ => None,
        }
    }

    #[test]
    fn paths_as_clients_write_them() {
        for (line, expected) in [
            ("MAIL FROM:<a@b.c> SIZE=10", "a@b.c"),
            ("mail from: <a@b.c>", "a@b.c"),
            ("MAIL FROM:a@b.c BODY=8BITMIME", "a@b.c"),
            ("MAIL FROM:<>", "<>"),
            ("MAIL  FROM :<a@b.c>", "a@b.c"),
            ("RCPT TO:<@r:a@b.c>", "a@b.c"),
            ("RCPT TO:<\"x> to=<y\"@b.c> ORCPT=rfc822;z", "\"x> to=<y\"@b.c"),
            ("RCPT TO:<a@b.c", "a@b.c"),
        ] {
            assert_eq!(path(line).as_deref(), Some(expected), "{line}");
        }
        assert_eq!(Command::parse(b"RCPT TO:"), Command::Recipient(None));
        assert_eq!(Command::parse(b"MAIL"), Command::Unknown);
    }

    #[test]
    fn chunk_sizes() {
        for (line, expected) in [
            ("BDAT 5", Some((5, false))),
            ("bdat 0 last", Some((0, true))),
            ("BDAT 5 X", None),
            ("BDAT -5", None),
            ("BDAT", None),
            ("BDAT 18446744073709551616 LAST", None),
            ("BDAT 18446744073709551615 LAST", None),
        ] {
            assert_eq!(Command::parse(line.as_bytes()), Command::Chunk(expected), "{line}");
        }
    }

    #[test]
    fn words_of_a_message_are_not_certain_commands() {
        for line in ["data is here", "help yourself", "QUIT smoking", "Mail from the office", "EHLO a b", ""]
        {
            assert!(!Command::is_certain(line.as_bytes()), "{line}");
        }
        for line in ["DATA", "rset ", "MAIL FROM:<>", "EHLO x", "BDAT 7 LAST"] {
            assert!(Command::is_certain(line.as_bytes()), "{line}");
        }
    }
}
