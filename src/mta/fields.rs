//! Small readers for the parts that MTA lines share. Each reads from a side that the MTA controls and
//! returns what follows; none searches a sender's text for a match.
//!
//! *In*: bytes of a line. *Out*: fields, borrowed. *Bound*: linear in the line. *Spec*: RFC 5321
//! section 4.1.2 (quoted local parts), section 4.2 (replies), RFC 3463.

use crate::limits;
use crate::mail::{EnhancedStatus, Reply, Untrusted};
use std::net::IpAddr;

/// Reads a path after its `<` up to the `>` that is outside quotes. Returns the text between and what
/// follows the `>`.
pub fn take_path(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut quoted, mut i) = (false, 0);
    while let Some(byte) = text.get(i) {
        match byte {
            b'\\' if quoted => i += 1,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some((text.get(..i)?, text.get(i + 1..)?)),
            _ => {}
        }
        i += 1;
    }
    None
}

/// Splits at the first occurrence of `separator`; the separator belongs to neither part.
pub fn split_once<'l>(text: &'l [u8], separator: &[u8]) -> Option<(&'l [u8], &'l [u8])> {
    let at = match separator {
        [byte] => memchr::memchr(*byte, text)?,
        _ => memchr::memmem::find(text, separator)?,
    };
    Some((text.get(..at)?, text.get(at + separator.len()..)?))
}

/// Splits at the last occurrence of `separator`.
pub fn rsplit_once<'l>(text: &'l [u8], separator: &[u8]) -> Option<(&'l [u8], &'l [u8])> {
    let at = memchr::memmem::rfind(text, separator)?;
    Some((text.get(..at)?, text.get(at + separator.len()..)?))
}

/// An IP address, with an `IPv6:` tag or a zone or without.
pub fn address(text: &[u8]) -> Option<IpAddr> {
    if text.len() > 64 {
        return None;
    }
    let text = match text.split_at_checked(5) {
        Some((tag, rest)) if tag.eq_ignore_ascii_case(b"ipv6:") => rest,
        _ => text,
    };
    let text = text.split(|byte| *byte == b'%').next()?;
    Some(std::str::from_utf8(text).ok()?.parse::<IpAddr>().ok()?.to_canonical())
}

/// A decimal number that fills the whole text.
pub fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    text.iter().try_fold(0u64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
}

/// `name[address]` at the start of a text: a host as Postfix and Sendmail print it. The name is bounded
/// by the first bracket: host names contain none. Returns name, address (`None` for `unknown` and for
/// sockets) and what follows the bracket.
pub fn take_host(text: &[u8]) -> Option<(&[u8], Option<IpAddr>, &[u8])> {
    let (name, rest) = split_once(text, b"[")?;
    if name.iter().any(|byte| matches!(byte, b' ' | b'<' | b'>' | b'"' | b'=')) {
        return None;
    }
    let (inside, rest) = split_once(rest, b"]")?;
    Some((name, address(inside), rest))
}

/// The reply a text begins with: `550 5.1.1 words`, `550-5.1.1 words`, `250 Ok`. `None` where it begins
/// with no code.
pub fn reply(text: &[u8]) -> Option<Reply> {
    let (digits, rest) = text.split_at_checked(3)?;
    if !matches!(digits.first(), Some(b'2'..=b'5')) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let words = match rest.split_first() {
        None => rest,
        Some((b' ' | b'-', words)) => words,
        Some(_) => return None,
    };
    let code = u16::try_from(number(digits)?).ok()?;
    let enhanced = EnhancedStatus::parse_prefix(words).map(|(status, _)| status);
    Some(Reply { code: Some(code), enhanced, text: Some(reply_text(words)) })
}

/// The same of a reply whose lines stand in one, as Exim writes them, each with its code:
/// `250-two chunks\\n250 OK id=…`. They are joined by a blank, without the status of each, as those of the wire are.
pub fn reply_of_lines(text: &[u8]) -> Option<Reply> {
    let reply = reply(text)?;
    let code = text.get(..3)?;
    let begins = |line: &[u8]| line.starts_with(code) && matches!(line.get(3), Some(b' ' | b'-'));
    let breaks = memchr::memmem::find_iter(text, b"\\n").filter(|at| text.get(at + 2..).is_some_and(begins));
    let (mut words, mut from) = (Vec::new(), code.len() + 1);
    for at in breaks {
        words.extend_from_slice(text.get(from..at)?.trim_ascii());
        // In quotes the backslash is itself escaped.
        words.truncate(words.len() - usize::from(words.ends_with(b"\\")));
        words.push(b' ');
        from = at + 2 + code.len() + 1;
        from += EnhancedStatus::parse_prefix(text.get(from..)?).map_or(0, |(_, bytes)| bytes);
    }
    if words.is_empty() {
        return Some(reply);
    }
    words.extend_from_slice(text.get(from..)?.trim_ascii());
    Some(Reply { text: Some(reply_text(&words)), ..reply })
}

/// Words of a reply as they are kept.
pub fn reply_text(words: &[u8]) -> Untrusted {
    Untrusted::bounded(words.trim_ascii(), limits::REPLY_TEXT_BYTES_MAX)
}

/// Under which id a server has taken a message: `… queued as 218BEDC28EC`, `OK id=1RwtJa-000AFB-07`.
pub fn taken_as(answer: &[u8]) -> Option<&[u8]> {
    let (_, rest) = rsplit_once(answer, b"ueued as ").or_else(|| rsplit_once(answer, b" id="))?;
    let end = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
    rest.get(..end).filter(|id| (5..=64).contains(&id.len()) && id.iter().any(u8::is_ascii_digit))
}

/// Whether a text can be a queue id: letters, digits and the few signs that MTAs use.
pub fn is_id(text: &[u8]) -> bool {
    (1..=limits::ID_BYTES_MAX).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_reply_are_joined_without_their_codes() {
        let text = |said: &str| reply_of_lines(said.as_bytes()).unwrap().text.unwrap().to_lossy();
        let chunks = r"250- 918 byte chunk, total 918\\n250 OK id=1xXTqQ-0000HJ-0v";
        assert_eq!(text(chunks), "918 byte chunk, total 918 OK id=1xXTqQ-0000HJ-0v");
        assert_eq!(text(r"550-5.7.1 one\n550 5.7.1 two"), "5.7.1 one two");
        assert_eq!(text(r"550 at C:\new\n250 OK"), r"at C:\new\n250 OK");
    }

    #[test]
    fn quoted_paths_end_outside_their_quotes() {
        let text = br#""x> to=<y\">"@z>, relay=none"#;
        assert_eq!(take_path(text).unwrap(), (&br#""x> to=<y\">"@z"#[..], &b", relay=none"[..]));
        assert_eq!(take_path(b"a\"b>"), None);
    }

    #[test]
    fn hosts_and_addresses() {
        let ip = |text: &str| text.parse::<IpAddr>().ok();
        assert_eq!(take_host(b"mx[192.0.2.1]:25").unwrap(), (&b"mx"[..], ip("192.0.2.1"), &b":25"[..]));
        assert_eq!(take_host(b"a[IPv6:2001:db8::1]").unwrap().1, ip("2001:db8::1"));
        assert_eq!(take_host(b"a[private/dovecot-lmtp]").unwrap().1, None);
        assert_eq!(take_host(b"unknown[unknown]").unwrap().1, None);
        assert_eq!(take_host(b"a b[192.0.2.1]"), None);
        assert_eq!(address(b"::ffff:192.0.2.1"), ip("192.0.2.1"));
        assert_eq!(address(b"fe80::1%eth0"), ip("fe80::1"));
    }

    #[test]
    fn replies() {
        let reply = |text: &str| super::reply(text.as_bytes());
        assert_eq!(reply("550-5.1.1 no").unwrap().enhanced.unwrap().subject, 1);
        assert_eq!(reply("250 Ok").unwrap().code, Some(250));
        assert_eq!(reply("250"), Some(Reply { code: Some(250), enhanced: None, text: Some("".into()) }));
        assert_eq!(reply("2500 x"), None);
        assert_eq!(reply("delivered"), None);
    }
}
