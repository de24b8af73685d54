//! MailEnable: the SMTP activity log.
//!
//! *In*: lines of values between tabs. *Out*: parts. *Bound*: see [`super::sessions`]. *Spec*: article ME020170
//! of MailEnable's knowledge base: time, `SMTP-IN` or `SMTP-OU`, message file, socket, address, command, its
//! details, the answer, octets received, octets sent, user, subject.
//!
//! One line holds a command and its answer. The details of AUTH are a client's credentials in clear: of them
//! only the user name is read, and the log's own column of users where it has one.

use super::fields;
use super::sessions::Pending;
use super::stamp::{Civil, Stamp};
use super::table::Row;
use super::transcript::{Side, Utterance, answer, command};
use super::{Dialect, Emit, Fate, Line, Memory, Part};

pub(super) const DIALECT: Dialect = Dialect {
    name: "mailenable",
    about: "MailEnable's SMTP activity log",
    split,
    claims: |_| false,
    recognises: |line| stamp(line).is_some() && is_activity(line),
    read,
    verbatim: true,
    patterns: None,
};

fn is_activity(line: &[u8]) -> bool {
    let kind = line.split(|byte| *byte == b'\t').nth(1);
    matches!(kind, Some(b"SMTP-IN" | b"SMTP-OU"))
}

fn split<'l>(_: &mut Memory, line: &'l [u8]) -> Option<Line<'l>> {
    let stamp = stamp(line);
    // `[01/02/26 09:00:00]****** LOG FILE STARTED`
    (stamp.is_some() || line.starts_with(b"[")).then_some(Line {
        stamp,
        host: None,
        program: b"",
        pid: None,
        text: line,
    })
}

/// `01/31/26 09:00:00`: month first, the century left out.
fn stamp(line: &[u8]) -> Option<Stamp> {
    let text = line.get(..17)?;
    let shape = text.iter().zip(b"00/00/00 00:00:00").all(|(byte, model)| match model {
        b'0' => byte.is_ascii_digit(),
        _ => byte == model,
    });
    let two =
        |at: usize| text.get(at..at + 2).and_then(fields::number).and_then(|value| u8::try_from(value).ok());
    if !shape || line.get(17) != Some(&b'\t') {
        return None;
    }
    Some(Stamp::Civil(Civil {
        year: Some(2_000 + i16::from(two(6)?)),
        month: two(0)?,
        day: two(3)?,
        hour: two(9)?,
        minute: two(12)?,
        second: two(15)?,
        micros: 0,
        offset_seconds: None,
    }))
}

fn read(line: &Line, memory: &mut Memory, emit: Emit) -> Fate {
    if line.stamp.is_none() || !is_activity(line.text) {
        return Fate::Ignored;
    }
    let Some(row) = Row::tabs(line.text).filter(|row| row.len() >= 8) else { return Fate::Unparsed };
    let side = if row.at(1) == Some(b"SMTP-OU") { Side::Client } else { Side::Server };
    let (Some(message), Some(socket)) = (row.at(2), row.at(3)) else { return Fate::Unparsed };
    let session = [row.at(1).unwrap_or_default(), b".", socket].concat();
    let message = message.strip_suffix(b".MAI").unwrap_or(message);
    let peer = row.at(4).and_then(fields::address);
    let of = Utterance { session: &session, side, peer, own: None, message: Some(message) };
    let (verb, details) = (row.at(5).unwrap_or_default(), row.at(6).unwrap_or_default());
    let said = row.at(7).unwrap_or_default();
    match verb {
        b"CONN" | b"" => {
            memory.sessions.begin(&session).peer = peer;
            Fate::Parsed
        }
        b"AUTH" if side == Side::Server => read_login(&of, details, said, row.at(10), memory, emit),
        // A message's end has no command of its own; whether DATA has a line hangs on the version.
        b"DATE" => {
            memory.sessions.get_or_begin(&session).pending.clear();
            memory.sessions.wait(&session, Pending::EndOfData);
            answer(&of, said, &mut memory.sessions, emit)
        }
        _ if details.is_empty() => {
            command(&of, verb, &mut memory.sessions, emit);
            answer(&of, said, &mut memory.sessions, emit)
        }
        _ => {
            command(&of, details, &mut memory.sessions, emit);
            answer(&of, said, &mut memory.sessions, emit)
        }
    }
}

/// A step of AUTH. The column of users names who tried, where the version has one.
fn read_login(
    of: &Utterance,
    details: &[u8],
    said: &[u8],
    user: Option<&[u8]>,
    memory: &mut Memory,
    emit: Emit,
) -> Fate {
    let ignore: Emit = &mut |_, _| {};
    command(of, details, &mut memory.sessions, ignore);
    let mut name_it = |id: &[u8], part: Part| {
        let part = match part {
            Part::Login { account, client, succeeded } => {
                Part::Login { account: user.or(account), client, succeeded }
            }
            part => part,
        };
        emit(id, part);
    };
    answer(of, said, &mut memory.sessions, &mut name_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(lines: &[&str]) -> Vec<String> {
        let mut all = Vec::new();
        let mut memory = Memory::default();
        for line in lines {
            let line = format!("01/31/26 09:00:00\t{}", line.replace('|', "\t"));
            let (fate, parts) = super::super::says_on(&DIALECT, &mut memory, &line);
            assert_ne!(fate, Fate::Unparsed, "{line}");
            all.extend(parts);
        }
        all
    }

    #[test]
    fn deliveries_share_their_message_file() {
        assert_eq!(
            read_all(&[
                "SMTP-IN|AAAA.MAI|13|192.0.2.9|MAIL|MAIL FROM:<bob@example.com>|250 OK|40|10||Subject",
                "SMTP-IN|AAAA.MAI|13|192.0.2.9|RCPT|RCPT TO:<a@example.net>|250 OK|30|10||Subject",
                "SMTP-IN|AAAA.MAI|13|192.0.2.9|DATA|DATA|354 go|30|10||Subject",
                "SMTP-IN|AAAA.MAI|13|192.0.2.9|DATE||250 OK|9000|10||Subject",
                "SMTP-OU|AAAA.MAI|10|198.51.100.1|CONN||220 mx ESMTP|0|10||Subject",
                "SMTP-OU|AAAA.MAI|10|198.51.100.1|MAIL|MAIL FROM:<bob@example.com> SIZE=1000|250 OK|40|10||Subject",
                "SMTP-OU|AAAA.MAI|10|198.51.100.1|RCPT|RCPT TO:<a@example.net>|250 OK|30|10||Subject",
                "SMTP-OU|AAAA.MAI|10|198.51.100.1|RCPT|RCPT TO:<b@example.net>|552 5.1.1 policy|30|10||Subject",
                "SMTP-OU|AAAA.MAI|10|198.51.100.1|DATA|DATA|354 go|30|10||Subject",
                "SMTP-OU|AAAA.MAI|10|198.51.100.1|DATE|.|250 2.0.0 OK queued|1000|10||Subject",
            ]),
            [
                "AAAA origin begins=true client=Some(192.0.2.9) account=? original=None/? from=bob@example.com size=None rcpts=Some(1)",
                "AAAA to=b@example.net Remote Bounced by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(552) enhanced=5.1.1 as=?",
                "AAAA to=a@example.net Remote Sent by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(250) enhanced=2.0.0 as=?",
            ]
        );
    }

    #[test]
    fn logins() {
        assert_eq!(
            read_all(&[
                "SMTP-IN|AAAA.MAI|13|192.0.2.9|||220 mail ESMTP|0|0",
                "SMTP-IN|AAAA.MAI|13|192.0.2.9|AUTH|AUTH LOGIN|334 VXNlcm5hbWU6|34|14",
                "SMTP-IN|AAAA.MAI|13|192.0.2.9|AUTH|Ym9i|334 UGFzc3dvcmQ6|34|14",
                "SMTP-IN|AAAA.MAI|13|192.0.2.9|AUTH|Z2VoZWlt|535 Invalid Username or Password|34|14",
                "SMTP-IN|AAAA.MAI|13|192.0.2.9|AUTH|AUTH LOGIN|334 VXNlcm5hbWU6|34|14",
                "SMTP-IN|AAAA.MAI|13|192.0.2.9|AUTH|Ym9i|334 UGFzc3dvcmQ6|34|14",
                "SMTP-IN|AAAA.MAI|13|192.0.2.9|AUTH|Z2VoZWlt|235 Authenticated|34|14|bob@example.com",
            ]),
            [" login bob Some(192.0.2.9) false", " login bob@example.com Some(192.0.2.9) true"]
        );
    }
}
