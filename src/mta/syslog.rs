//! The head of a syslog line: stamp, host, program; what follows is the program's own text.
//!
//! *In*: a line, with or without `<PRI>`. *Out*: [`Line`], borrowed. *Bound*: the head only is read.
//! *Spec*: RFC 3164 section 4.1, RFC 5424 section 6.

use super::Line;
use super::fields::split_once;
use super::stamp::{Stamp, take_iso, take_stamp};

/// Splits a syslog line into its head and the program's text.
///
/// Seen in the wild and accepted: NUL bytes before the stamp, stamps with the year first or last,
/// RFC 3339 stamps, RFC 5424 heads whose message repeats the tag, no host, no colon after `[pid]`.
pub fn split(line: &[u8]) -> Option<Line<'_>> {
    let nuls = line.iter().take_while(|byte| **byte == 0).count();
    let line = skip_priority(line.get(nuls..)?);
    if let Some(rest) = line.strip_prefix(b"1 ")
        && let Some(line) = split_5424(rest)
    {
        return Some(line);
    }
    let (stamp, rest) = take_stamp(line)?;
    // A table whose first column is a stamp.
    if matches!(rest.first(), Some(b',' | b'\t')) {
        return None;
    }
    let first = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
    if first.ends_with(b":")
        && let Some((program, pid, text)) = take_tag(rest)
    {
        return Some(Line { stamp: Some(stamp), host: None, program, pid, text });
    }
    // multilog keeps what a program wrote: it names no host.
    if line.first() == Some(&b'@') {
        return None;
    }
    let (mut host, mut rest) = split_once(rest, b" ")?;
    // `<mail.info>` before the host, as BSD's syslogd -v and busybox write it.
    if host.starts_with(b"<") && host.ends_with(b">") {
        (host, rest) = split_once(rest, b" ")?;
    }
    let (program, pid, text) = take_tag(rest.trim_ascii_start())?;
    Some(Line { stamp: Some(stamp), host: Some(host), program, pid, text })
}

/// Whether a line is surely one of syslog: its program is followed by a colon or by its process id.
pub fn is_surely(line: &[u8]) -> bool {
    let Some(head) = split(line) else { return false };
    // The text is the line's end: what stands before it ends the tag.
    let before = line.len().saturating_sub(head.text.len());
    let tag = line.get(..before).unwrap_or_default().trim_ascii_end();
    !head.program.is_empty()
        && head.program.iter().all(u8::is_ascii_graphic)
        && (tag.ends_with(b":") || tag.ends_with(b"]") || head.stamp.is_none() || line.starts_with(b"<"))
}

/// `<22>` before everything else.
fn skip_priority(line: &[u8]) -> &[u8] {
    let Some(rest) = line.strip_prefix(b"<") else { return line };
    let digits = rest.iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
    match rest.get(digits..).and_then(|rest| rest.strip_prefix(b">")) {
        Some(rest) if (1..=3).contains(&digits) => rest,
        _ => line,
    }
}

/// `stamp host app procid msgid [structured data] message`, after the version.
fn split_5424(rest: &[u8]) -> Option<Line<'_>> {
    let (stamp, rest) = match rest.strip_prefix(b"- ") {
        Some(rest) => (None, rest),
        None => take_iso(rest).map(|(stamp, rest): (Stamp, _)| (Some(stamp), rest))?,
    };
    let (host, rest) = split_once(rest, b" ")?;
    let (program, rest) = split_once(rest, b" ")?;
    let (procid, rest) = split_once(rest, b" ")?;
    let (_msgid, rest) = split_once(rest, b" ")?;
    let text = skip_structured(rest)?;
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let host = Some(host).filter(|host| *host != b"-");
    // Some relays put the old tag into the message and leave the field empty, or keep both.
    match take_tag(text) {
        Some((inner, pid, text)) if program == b"-" || (inner.starts_with(program) && program.len() > 1) => {
            Some(Line { stamp, host, program: inner, pid, text })
        }
        _ => {
            let pid = Some(procid).filter(|pid| *pid != b"-");
            Some(Line { stamp, host, program, pid, text })
        }
    }
}

/// Skips `-` or `[id name="value"…]…` and the blank after it.
fn skip_structured(text: &[u8]) -> Option<&[u8]> {
    if let Some(rest) = text.strip_prefix(b"-") {
        return Some(rest.strip_prefix(b" ").unwrap_or(rest));
    }
    let (mut quoted, mut i) = (false, 0);
    while let Some(byte) = text.get(i) {
        match byte {
            b'\\' if quoted => i += 1,
            b'"' => quoted = !quoted,
            b']' if !quoted && text.get(i + 1) != Some(&b'[') => {
                let rest = text.get(i + 1..)?;
                return Some(rest.strip_prefix(b" ").unwrap_or(rest));
            }
            b'[' if i == 0 => {}
            _ if i == 0 => return None,
            _ => {}
        }
        i += 1;
    }
    None
}

/// Program, process and text.
type Tag<'l> = (&'l [u8], Option<&'l [u8]>, &'l [u8]);

/// `program[pid]: text`, `program: text`, `program[pid] text`. The program contains no blank.
fn take_tag(text: &[u8]) -> Option<Tag<'_>> {
    let end = memchr::memchr3(b'[', b':', b' ', text)?;
    let (program, rest) = text.split_at_checked(end)?;
    if program.is_empty() {
        return None;
    }
    let (pid, rest) = match rest.split_first()? {
        (b'[', rest) => {
            let (pid, rest) = split_once(rest, b"]").filter(|(pid, _)| pid.len() <= 20)?;
            (Some(pid), rest.strip_prefix(b":").unwrap_or(rest))
        }
        (_, rest) => (None, rest),
    };
    Some((program, pid, rest.strip_prefix(b" ").unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        for (line, host, program, text) in [
            ("Nov 24 20:14:01 mx1 postfix/smtpd[5]: hello", "mx1", "postfix/smtpd", "hello"),
            ("<22>Nov  4 20:14:01 mx1 postfix/smtpd[5] hello", "mx1", "postfix/smtpd", "hello"),
            (
                "\0\0\0Nov 24 20:14:01 mx1 postfix-192.0.2.7/smtpd[59]: x",
                "mx1",
                "postfix-192.0.2.7/smtpd",
                "x",
            ),
            ("2013 Jun 10 06:27:30.123 g postfix/qmgr[1]: x: y", "g", "postfix/qmgr", "x: y"),
            ("Nov 24 20:14:01 postfix/smtpd[5]: hello", "", "postfix/smtpd", "hello"),
            ("Nov 24 20:14:01 mx1 smtpd: hello", "mx1", "smtpd", "hello"),
            ("Nov 24 20:14:01 <mail.info> mx1 smtpd[7]: hello", "mx1", "smtpd", "hello"),
            ("Nov 24 20:14:01 2001:db8::1 smtpd[1]: hello", "2001:db8::1", "smtpd", "hello"),
            (
                "<22>1 2026-11-24T20:14:01.5Z mx1 postfix/qmgr 77 - - A: removed",
                "mx1",
                "postfix/qmgr",
                "A: removed",
            ),
            (
                "<22>1 2026-11-24T20:14:01.5Z mx1 - - - [x@1 a=\"]\\\"\"][y] postfix/qmgr[7]: A: b",
                "mx1",
                "postfix/qmgr",
                "A: b",
            ),
            (
                "<22>1 2026-11-24T20:14:01Z mx1 postfix 7 - - postfix/qmgr[7]: A: b",
                "mx1",
                "postfix/qmgr",
                "A: b",
            ),
        ] {
            let line = split(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(line.host.unwrap_or_default(), host.as_bytes());
            assert_eq!(line.program, program.as_bytes());
            assert_eq!(line.text, text.as_bytes());
            assert!(line.stamp.is_some());
        }
        for line in ["", "no stamp here", "Nov 24 20:14:01", "Nov 24 20:14:01 mx1", "<999999>x"] {
            assert!(split(line.as_bytes()).is_none(), "{line}");
        }
    }
}
