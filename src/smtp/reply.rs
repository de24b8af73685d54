//! Replies of the server, put together from their lines.
//!
//! *In*: lines. *Out*: [`ServerReply`], reused from one reply to the next. *Bound*: the text kept,
//! `limits::REPLY_TEXT_BYTES_MAX`. *Spec*: RFC 5321 section 4.2, RFC 2034.

use crate::limits;
use crate::mail::{EnhancedStatus, Reply, Untrusted};

/// The reply that is being read, or was read last.
#[derive(Debug, Default)]
pub struct ServerReply {
    code: u16,
    enhanced: Option<EnhancedStatus>,
    text: Vec<u8>,
    /// Octets of all its lines with their ends.
    octets: u32,
    open: bool,
    /// A line of it is the keyword of RFC 3030.
    chunking: bool,
}

/// What a line of the server was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyLine {
    /// More lines of this reply follow.
    Continues,
    /// The reply is complete.
    Complete,
    /// No reply at all.
    NotAReply,
}

impl ServerReply {
    /// Takes one line without its end.
    pub fn line(&mut self, line: &[u8]) -> ReplyLine {
        let Some(code) = code_of(line) else { return ReplyLine::NotAReply };
        if !self.open {
            self.enhanced = None;
            self.text.clear();
            self.chunking = false;
            self.octets = 0;
        }
        self.octets = self.octets.saturating_add(line.len() as u32 + 2);
        self.code = code;
        self.open = line.get(3) == Some(&b'-');
        let text = line.get(4..).unwrap_or_default();
        let status = EnhancedStatus::parse_prefix(text);
        self.enhanced = self.enhanced.or(status.map(|(status, _)| status));
        let words = text.get(status.map_or(0, |(_, bytes)| bytes)..).unwrap_or_default().trim_ascii();
        self.chunking |= words.eq_ignore_ascii_case(b"CHUNKING");
        if !self.text.is_empty() && !words.is_empty() {
            self.keep(b" ");
        }
        self.keep(words);
        if self.open { ReplyLine::Continues } else { ReplyLine::Complete }
    }

    /// Whether more lines are to come.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Forgets a reply whose end was not captured.
    pub fn abandon(&mut self) {
        self.open = false;
    }

    /// The three digits.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The first digit.
    pub fn class(&self) -> u16 {
        self.code / 100
    }

    /// Octets of its lines, each with CR and LF.
    pub fn octets(&self) -> u32 {
        self.octets
    }

    /// The words, without enhanced status, lines joined by a blank.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether a line of it offers chunks (RFC 3030 section 2).
    pub fn names_chunking(&self) -> bool {
        self.chunking
    }

    /// A copy to keep.
    pub fn to_reply(&self) -> Reply {
        Reply {
            code: Some(self.code),
            enhanced: self.enhanced,
            text: Some(Untrusted::bounded(&self.text, limits::REPLY_TEXT_BYTES_MAX)),
        }
    }

    /// The id under which the server keeps the message, where it says so.
    pub fn queue_id(&self) -> Option<Untrusted> {
        // Postfix: `queued as ID`; Exim: `id=ID`; sendmail: `ID Message accepted`.
        let word = if let Some(at) = memchr::memmem::find(&self.text, b"queued as ") {
            self.text.get(at + 10..)?
        } else if let Some(at) = memchr::memmem::find(&self.text, b"id=") {
            self.text.get(at + 3..)?
        } else {
            let at = memchr::memmem::find(&self.text, b" Message accepted")?;
            self.text.get(..at)?
        };
        let end = word.iter().position(|b| !(b.is_ascii_alphanumeric() || *b == b'-')).unwrap_or(word.len());
        let id = word.get(..end).filter(|id| id.len() >= 5)?;
        Some(Untrusted::bounded(id, limits::ID_BYTES_MAX))
    }

    fn keep(&mut self, words: &[u8]) {
        let room = limits::REPLY_TEXT_BYTES_MAX.saturating_sub(self.text.len());
        self.text.extend_from_slice(words.get(..words.len().min(room)).unwrap_or_default());
    }
}

/// Three digits, then a blank, a hyphen or nothing.
fn code_of(line: &[u8]) -> Option<u16> {
    let digits = line.first_chunk::<3>()?;
    if !digits.iter().all(u8::is_ascii_digit) || !matches!(digits[0], b'1'..=b'6') {
        return None;
    }
    if !matches!(line.get(3), None | Some(b' ' | b'-' | b'\t')) {
        return None;
    }
    Some(digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_one_reply() {
        let mut reply = ServerReply::default();
        assert_eq!(reply.line(b"550-5.7.1 Our system"), ReplyLine::Continues);
        assert_eq!(reply.line(b"550 5.7.1 refuses you."), ReplyLine::Complete);
        let kept = reply.to_reply();
        assert_eq!(kept.text, Some("Our system refuses you.".into()));
        assert_eq!(kept.enhanced, Some(EnhancedStatus { class: 5, subject: 7, detail: 1 }));
        assert_eq!(reply.line(b"250"), ReplyLine::Complete);
        assert_eq!((reply.code(), reply.text()), (250, &b""[..]));
        assert_eq!(reply.line(b"2500 x"), ReplyLine::NotAReply);
        assert_eq!(reply.line(b"SSH-2.0"), ReplyLine::NotAReply);
    }

    #[test]
    fn queue_ids_of_three_servers() {
        for (line, id) in [
            ("250 2.0.0 Ok: 11 bytes queued as 9FE18201AAA610", Some("9FE18201AAA610")),
            ("250 OK id=1Tk5cX-0003Wc-PC", Some("1Tk5cX-0003Wc-PC")),
            ("250 2.0.0 r9BHhZ2x001234 Message accepted for delivery", Some("r9BHhZ2x001234")),
            ("250 ok", None),
        ] {
            let mut reply = ServerReply::default();
            reply.line(line.as_bytes());
            assert_eq!(reply.queue_id(), id.map(Into::into), "{line}");
        }
    }
}
