//! Exchange Server's SMTP protocol logs, SmtpSend and SmtpReceive.
//!
//! *In*: lines of nine values between commas. *Out*: parts. *Bound*: see [`super::sessions`]. *Spec*:
//! "Protocol logging", Exchange Server documentation: `date-time, connector-id, session-id, sequence-number,
//! local-endpoint, remote-endpoint, event, data, context`; events are `+` connect, `-` disconnect, `>` sent,
//! `<` received, `*` information.

use super::stamp::take_iso;
use super::table::Row;
use super::transcript::{Side, Utterance, answer, command, logged_in};
use super::{Dialect, Emit, Fate, Line, Memory, fields, json};

pub(super) const DIALECT: Dialect = Dialect {
    name: "exchange-protocol",
    about: "Exchange Server's SMTP protocol logs (SmtpSend, SmtpReceive)",
    split,
    claims: |_| false,
    recognises,
    read,
    verbatim: true,
    patterns: None,
};

const FIELDS: &[u8] = b"#Fields: date-time,connector-id,session-id,sequence-number,";

fn split<'l>(_: &mut Memory, line: &'l [u8]) -> Option<Line<'l>> {
    let stamp = match line.first()? {
        b'#' => (!line.starts_with(b"#Log-type: Message")).then_some(None)?,
        _ => {
            Row::commas(line).filter(is_event)?;
            Some(take_iso(line)?.0)
        }
    };
    Some(Line { stamp, host: None, program: b"", pid: None, text: line })
}

fn recognises(line: &[u8]) -> bool {
    line.starts_with(FIELDS)
        || line.starts_with(b"#Log-type: SMTP ")
        || (take_iso(line).is_some_and(|(_, rest)| rest.first() == Some(&b','))
            && Row::commas(line).is_some_and(|row| is_event(&row)))
}

fn is_event(row: &Row) -> bool {
    matches!(row.at(6), Some(b"+" | b"-" | b">" | b"<" | b"*"))
        && row.at(2).is_some_and(|session| session.len() == 16 && session.iter().all(u8::is_ascii_hexdigit))
}

fn read(line: &Line, memory: &mut Memory, emit: Emit) -> Fate {
    if line.text.starts_with(b"#") {
        return Fate::Ignored;
    }
    let Some(row) = Row::commas(line.text).filter(is_event) else { return Fate::Unparsed };
    let Some(session) = row.at(2) else { return Fate::Unparsed };
    let data = row.at(7).unwrap_or_default();
    let end = |place| row.at(place).and_then(json::endpoint);
    let event = row.at(6).unwrap_or_default();
    match event {
        b"+" => {
            memory.sessions.begin(session).peer = end(5);
            return Fate::Parsed;
        }
        b"-" => {
            memory.sessions.remove(session);
            return Fate::Parsed;
        }
        _ => {}
    }
    let is_answer = fields::reply(data).is_some();
    // Who answers is the server: where we send an answer, a client speaks to us.
    let side = match (event, is_answer) {
        (b">", true) | (b"<", false) | (b"*", _) => Side::Server,
        _ => Side::Client,
    };
    let of = Utterance { session, side, peer: end(5), own: end(4), message: None };
    match event {
        b"*" => match row.at(8) {
            // Servers of the organisation log in with accounts of their own.
            Some(b"authenticated") if !data.ends_with(b"$") && !data.starts_with(b"NT AUTHORITY") => {
                logged_in(&of, data, &mut memory.sessions, emit)
            }
            _ => Fate::Ignored,
        },
        _ if is_answer => answer(&of, data, &mut memory.sessions, emit),
        _ => command(&of, data, &mut memory.sessions, emit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(lines: &[&str]) -> Vec<String> {
        let mut all = Vec::new();
        let mut memory = Memory::default();
        for (number, line) in lines.iter().enumerate() {
            let line = format!(
                "2022-07-20T21:12:06.270Z,MBX\\Out,08DA4F7C11473A60,{number},192.0.2.1:5222,198.51.100.1:25,{line},"
            );
            let (fate, parts) = super::super::says_on(&DIALECT, &mut memory, &line);
            assert_ne!(fate, Fate::Unparsed, "{line}");
            all.extend(parts);
        }
        all
    }

    #[test]
    fn a_send_log() {
        assert_eq!(
            read_all(&[
                "+,",
                "<,220 mx.example.net ESMTP",
                ">,EHLO mbx.example.com",
                "<,250 mx.example.net Hello [192.0.2.1] SIZE PIPELINING",
                ">,MAIL FROM:<bob@example.com> SIZE=1000",
                ">,RCPT TO:<a@example.net>",
                ">,RCPT TO:<b@example.net>",
                "<,250 2.1.0 Sender OK",
                "<,250 2.1.5 Recipient OK",
                "<,550 5.1.1 unknown",
                ">,DATA",
                "<,354 Start mail input; end with <CRLF>.<CRLF>",
                "<,\"250 2.6.0 <x@y> queued, 1361.827 KB/sec\"",
                ">,QUIT",
                "-,",
            ]),
            [
                "08DA4F7C11473A60.1 to=b@example.net Remote Bounced by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(550) enhanced=5.1.1 as=?",
                "08DA4F7C11473A60.1 to=a@example.net Remote Sent by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(250) enhanced=2.6.0 as=?",
                "08DA4F7C11473A60.1 removed",
            ]
        );
    }

    #[test]
    fn a_receive_log() {
        assert_eq!(
            read_all(&[
                "+,",
                ">,220 mbx.example.com Microsoft ESMTP",
                "<,EHLO pc",
                ">,250 mbx Hello [198.51.100.1]",
                "<,AUTH LOGIN",
                ">,334 <authentication information>",
                "<,\"<authentication information>\"",
                ">,535 5.7.3 Authentication unsuccessful",
                "<,AUTH LOGIN",
                "*,EXAMPLE\\bob,authenticated",
                ">,235 <authentication information>",
                "*,EXAMPLE\\MBX$,authenticated",
                "<,MAIL FROM:<bob@example.com>",
                ">,250 2.1.0 Sender OK",
                "<,RCPT TO:<a@example.net>",
                ">,250 2.1.5 Recipient OK",
                "<,RCPT TO:<relay@elsewhere.example>",
                ">,550 5.7.54 Unable to relay",
                "<,BDAT 500 LAST",
                ">,\"250 2.6.0 <[InternalId=1]@x> [InternalId=5450313518243, Hostname=mbx] Queued mail for delivery\"",
            ]),
            [
                " login ? Some(198.51.100.1) false",
                " login EXAMPLE\\bob Some(198.51.100.1) true",
                " rejected",
                "5450313518243 origin begins=true client=Some(198.51.100.1) account=EXAMPLE\\bob original=None/? from=bob@example.com size=None rcpts=Some(1)",
            ]
        );
    }
}
