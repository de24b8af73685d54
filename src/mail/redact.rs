//! Recipients taken out of text that others wrote: servers repeat them in refusals, mailing lists write them into
//! the envelope sender.
//!
//! *In*: a text, the recipient it was about. *Out*: the text with `…` where the recipient's name stood. *Bound*:
//! the text's own.

use super::path::Mailbox;
use super::text::Untrusted;

/// Names shorter than this are only taken out where they stand as a word of their own: `it` is in too many words.
const SUBSTRING_BYTES_MIN: usize = 4;

/// A server's words about a recipient: the names of all mailboxes in them, and this recipient's name wherever it
/// stands.
pub fn redact_reply(text: &Untrusted, recipient: Option<&Mailbox>) -> Untrusted {
    let bytes = redact_mailboxes(text.as_bytes());
    Untrusted::bounded(&redact_names(bytes, recipient), usize::MAX)
}

/// An envelope sender: this recipient's name in it, as in `bounce+NAME=example.org@lists.example`.
pub fn redact_reverse_path(text: &Untrusted, recipient: Option<&Mailbox>) -> Untrusted {
    Untrusted::bounded(&redact_names(text.as_bytes().to_vec(), recipient), usize::MAX)
}

const ELLIPSIS: &[u8] = "…".as_bytes();

/// What may stand in a local part without quotes (RFC 5322 atext and the dot), or is no ASCII.
fn in_local_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte) || byte >= 0x80
}

/// Replaces what stands before each `@` that a domain follows.
fn redact_mailboxes(text: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    for (i, byte) in text.iter().enumerate() {
        let domain_follows =
            text.get(i + 1).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'[' || *b >= 0x80);
        if *byte == b'@' && domain_follows {
            let quoted = out.last() == Some(&b'"');
            let start = if quoted {
                out[..out.len() - 1].iter().rposition(|b| *b == b'"')
            } else {
                Some(out.iter().rposition(|b| !in_local_part(*b)).map_or(0, |at| at + 1))
            };
            if let Some(start) = start.filter(|start| *start < out.len()) {
                out.truncate(start);
                out.extend_from_slice(ELLIPSIS);
            }
        }
        out.push(*byte);
    }
    out
}

/// Replaces the recipient's local part, with and without its quotes and its tag (`name+tag`).
fn redact_names(mut text: Vec<u8>, recipient: Option<&Mailbox>) -> Vec<u8> {
    let Some(recipient) = recipient else { return text };
    let local = recipient.local_part();
    let bare = local.strip_prefix(b"\"").and_then(|local| local.strip_suffix(b"\"")).unwrap_or(local);
    let base = bare.split(|b| *b == b'+').next().unwrap_or_default();
    for name in [local, bare, base] {
        if !name.is_empty() {
            text = redact_name(&text, name);
        }
    }
    text
}

fn redact_name(text: &[u8], name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut i = 0;
    while i < text.len() {
        let here = text.get(i..i + name.len()).is_some_and(|window| window.eq_ignore_ascii_case(name));
        let word = || {
            let before = i.checked_sub(1).and_then(|at| text.get(at));
            let after = text.get(i + name.len());
            ![before, after].into_iter().flatten().any(u8::is_ascii_alphanumeric)
        };
        if here && (name.len() >= SUBSTRING_BYTES_MIN || word()) {
            out.extend_from_slice(ELLIPSIS);
            i += name.len();
        } else {
            out.push(text[i]);
            i += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str, recipient: &str) -> String {
        redact_reply(&text.into(), Mailbox::parse(recipient.as_bytes()).as_ref()).to_lossy()
    }

    #[test]
    fn servers_words_lose_their_mailboxes() {
        assert_eq!(
            reply("5.1.1 <Jane.Roe@example.org>: unknown", "jane.roe@example.org"),
            "5.1.1 <…@example.org>: unknown"
        );
        assert_eq!(reply("user janeroe not found here", "JaneRoe@x.example"), "user … not found here");
        assert_eq!(reply("no it here; it@x", "it@x"), "no … here; …@x");
        assert_eq!(reply("with a bit of wit", "it@x"), "with a bit of wit");
        assert_eq!(
            reply("other@x.example and \"a b\"@y [z@[192.0.2.1]]", "q@q"),
            "…@x.example and …@y […@[192.0.2.1]]"
        );
        assert_eq!(reply("jane is full", "jane+shop@x"), "… is full");
        assert_eq!(reply("a b unknown", "\"a b\"@x"), "… unknown");
        assert_eq!(reply("at 10 @ noon", "q@q"), "at 10 @ noon");
    }

    #[test]
    fn verp_and_srs_lose_the_recipient_and_keep_the_rest() {
        let path = |text: &str| {
            let recipient = Mailbox::parse(b"jane.roe@example.org");
            redact_reverse_path(&text.into(), recipient.as_ref()).to_lossy()
        };
        assert_eq!(path("bounce+jane.roe=example.org@lists.corp"), "bounce+…=example.org@lists.corp");
        assert_eq!(path("SRS0=HHH=TT=example.org=Jane.Roe@fwd"), "SRS0=HHH=TT=example.org=…@fwd");
        assert_eq!(path("news@corp.example"), "news@corp.example");
    }
}
