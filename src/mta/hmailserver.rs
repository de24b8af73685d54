//! hMailServer 5: the log of its SMTP dialogues.
//!
//! *In*: lines of quoted values between tabs. *Out*: parts. *Bound*: see [`super::sessions`]. *Spec*:
//! "Logging" of hMailServer's reference: `"SMTPD" thread session "time" "address" "RECEIVED: …"`; `SMTPD` is its
//! server, `SMTPC` its client. Lines of one dialogue share a session number.
//!
//! A value may hold quotes as they came: the last value is all that stands between the fifth value and the
//! line's end.

use super::fields::{self, split_once};
use super::stamp::take_iso;
use super::transcript::{Side, Utterance, answer, command};
use super::{Dialect, Emit, Fate, Line, Memory};

pub(super) const DIALECT: Dialect = Dialect {
    name: "hmailserver",
    about: "hMailServer's log with SMTP conversations",
    split,
    claims: |_| false,
    recognises: |line| take_values(line).is_some_and(|values| values.is_smtp()),
    read,
    verbatim: true,
    patterns: None,
};

struct Values<'l> {
    kind: &'l [u8],
    session: &'l [u8],
    time: &'l [u8],
    address: &'l [u8],
    words: &'l [u8],
}

impl Values<'_> {
    fn is_smtp(&self) -> bool {
        matches!(self.kind, b"SMTPD" | b"SMTPC")
    }
}

/// `"SMTPD"⇥100⇥1⇥"2026-01-02 10:00:00.000"⇥"127.0.0.1"⇥"RECEIVED: QUIT"`; application lines have no session and
/// no address.
fn take_values(line: &[u8]) -> Option<Values<'_>> {
    let (kind, rest) = split_once(line.strip_prefix(b"\"")?, b"\"\t")?;
    let (_thread, rest) = split_once(rest, b"\t")?;
    let (session, rest) = match rest.strip_prefix(b"\"") {
        Some(_) => (&b""[..], rest),
        None => split_once(rest, b"\t")?,
    };
    let (time, rest) = split_once(rest.strip_prefix(b"\"")?, b"\"\t\"")?;
    let (address, words) = match kind {
        b"SMTPD" | b"SMTPC" => split_once(rest, b"\"\t\"")?,
        _ => (&b""[..], rest),
    };
    Some(Values { kind, session, time, address, words: words.strip_suffix(b"\"").unwrap_or(words) })
}

fn split<'l>(_: &mut Memory, line: &'l [u8]) -> Option<Line<'l>> {
    let stamp = take_iso(take_values(line)?.time)?.0;
    Some(Line { stamp: Some(stamp), host: None, program: b"", pid: None, text: line })
}

fn read(line: &Line, memory: &mut Memory, emit: Emit) -> Fate {
    let Some(values) = take_values(line.text) else { return Fate::Unparsed };
    if !values.is_smtp() {
        return Fate::Ignored;
    }
    let side = if values.kind == b"SMTPC" { Side::Client } else { Side::Server };
    // The numbers of both kinds are counted apart.
    let session = [values.kind, b".", values.session].concat();
    let of = Utterance {
        session: &session,
        side,
        peer: fields::address(values.address),
        own: None,
        message: None,
    };
    let (said, words) = match split_once(values.words, b": ") {
        Some((said @ (b"SENT" | b"RECEIVED"), words)) => (said, words),
        _ => return Fate::Ignored,
    };
    // Lines of one answer stand together; the last one is the answer's last.
    let words = fields::rsplit_once(words, b"[nl]")
        .map_or(words, |(before, last)| if last.is_empty() { before } else { last });
    if side == Side::Client && said == b"RECEIVED" && words.starts_with(b"220 ") {
        memory.sessions.begin(&session);
    }
    match (side, said) {
        (Side::Server, b"RECEIVED") | (Side::Client, b"SENT") => {
            command(&of, words, &mut memory.sessions, emit)
        }
        _ => answer(&of, words, &mut memory.sessions, emit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(lines: &[(&str, u32, &str)]) -> Vec<String> {
        let mut all = Vec::new();
        let mut memory = Memory::default();
        for (kind, session, words) in lines {
            let line = format!(
                "\"{kind}\"\t100\t{session}\t\"2026-01-02 10:00:00.000\"\t\"198.51.100.1\"\t\"{words}\""
            );
            let (fate, parts) = super::super::says_on(&DIALECT, &mut memory, &line);
            assert_ne!(fate, Fate::Unparsed, "{line}");
            all.extend(parts);
        }
        all
    }

    #[test]
    fn both_sides() {
        let out = read_all(&[
            ("SMTPD", 1, "SENT: 220 mail ESMTP"),
            ("SMTPD", 1, "RECEIVED: EHLO pc"),
            ("SMTPD", 1, "SENT: 250-mail[nl]250-SIZE[nl]250 AUTH LOGIN"),
            ("SMTPD", 1, "RECEIVED: AUTH LOGIN"),
            ("SMTPD", 1, "SENT: 334 VXNlcm5hbWU6"),
            ("SMTPD", 1, "RECEIVED: Ym9i"),
            ("SMTPD", 1, "SENT: 334 UGFzc3dvcmQ6"),
            ("SMTPD", 1, "RECEIVED: Z2VoZWlt"),
            ("SMTPD", 1, "SENT: 535 Authentication failed."),
            ("SMTPC", 1, "RECEIVED: 220 mx.example.net ESMTP"),
            ("SMTPC", 1, "SENT: MAIL FROM:<bob@example.com>"),
            ("SMTPC", 1, "RECEIVED: 250 2.1.0 Sender OK"),
            ("SMTPC", 1, "SENT: RCPT TO:<a@example.net>"),
            ("SMTPC", 1, "RECEIVED: 250 2.1.5 \"quoted\" ok"),
            ("SMTPC", 1, "SENT: DATA"),
            ("SMTPC", 1, "RECEIVED: 354 go"),
            ("SMTPC", 1, "SENT: [nl]."),
            ("SMTPC", 1, "RECEIVED: 451 4.3.0 later"),
        ]);
        assert_eq!(
            out,
            [
                " login bob Some(198.51.100.1) false",
                "SMTPC.1.1 to=a@example.net Remote Deferred by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(451) enhanced=4.3.0 as=?",
                "SMTPC.1.1 removed",
            ]
        );
    }

    #[test]
    fn other_kinds_are_ignored() {
        let line = "\"APPLICATION\"\t101\t\"2026-01-02 10:00:00.008\"\t\"SMTPDeliverer - Message 5: Delivering message\"";
        assert_eq!(super::super::says(&DIALECT, line), (Fate::Ignored, vec![]));
    }
}
