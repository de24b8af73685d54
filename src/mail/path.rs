//! Reverse-paths and forward-paths (RFC 5321 section 4.1.2), read leniently: a sensor sees what a real
//! server accepted, so it keeps what it can instead of refusing.

use super::text::Untrusted;
use crate::limits;
use serde::{Deserialize, Serialize};

/// An address as written, split at its last unquoted `@`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Mailbox {
    address: Untrusted,
    local_part_bytes: u32,
}

impl Mailbox {
    /// Reads a mailbox without its angle brackets. `Postmaster` without a domain has an empty domain.
    /// Source routes (`@a,@b:user@c`) are dropped (RFC 5321 appendix C). `None` where nothing is left.
    pub fn parse(text: &[u8]) -> Option<Mailbox> {
        let text = strip_source_route(text.trim_ascii());
        if text.is_empty() {
            return None;
        }
        let address = Untrusted::bounded(text, limits::PATH_BYTES_MAX);
        let local_part_bytes = last_unquoted_at(address.as_bytes()) as u32;
        Some(Mailbox { address, local_part_bytes })
    }

    /// The whole address as written.
    pub fn address(&self) -> &Untrusted {
        &self.address
    }

    /// What stands before the last unquoted `@`.
    pub fn local_part(&self) -> &[u8] {
        &self.address.as_bytes()[..self.local_part_bytes as usize]
    }

    /// What stands after it; empty where there is none.
    pub fn domain(&self) -> &[u8] {
        let after = self.local_part_bytes as usize + 1;
        self.address.as_bytes().get(after..).unwrap_or_default()
    }
}

/// The argument of MAIL (RFC 5321 section 4.1.1.2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum ReversePath {
    /// `<>`: a notification, not mail that a person sent.
    Null,
    /// An address.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// Reads the text between the angle brackets.
    pub fn parse(text: &[u8]) -> ReversePath {
        Mailbox::parse(text).map_or(ReversePath::Null, ReversePath::Mailbox)
    }

    /// The mailbox, unless the path is null.
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            ReversePath::Null => None,
            ReversePath::Mailbox(mailbox) => Some(mailbox),
        }
    }
}

fn strip_source_route(text: &[u8]) -> &[u8] {
    if text.first() == Some(&b'@')
        && let Some(colon) = memchr::memchr(b':', text)
    {
        return &text[colon + 1..];
    }
    text
}

/// Position of the last `@` outside quotes, or the length where there is none.
fn last_unquoted_at(text: &[u8]) -> usize {
    let (mut quoted, mut at, mut i) = (false, text.len(), 0);
    while i < text.len() {
        match text[i] {
            b'\\' if quoted => i += 1,
            b'"' => quoted = !quoted,
            b'@' if !quoted => at = i,
            _ => {}
        }
        i += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_the_last_unquoted_at() {
        let mailbox = Mailbox::parse(br#""a@b\" c"@example.org"#).unwrap();
        assert_eq!(mailbox.domain(), b"example.org");
        assert_eq!(mailbox.local_part(), br#""a@b\" c""#);
        assert_eq!(Mailbox::parse(b"@x,@y:u@z").unwrap().domain(), b"z");
        assert_eq!(Mailbox::parse(b"Postmaster").unwrap().domain(), b"");
        assert_eq!(ReversePath::parse(b" "), ReversePath::Null);
    }
}
