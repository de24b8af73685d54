//! qmail, netqmail, notqmail and s/qmail; vpopmail's logins.
//!
//! *In*: lines of multilog (TAI64N stamps, or what tai64nlocal makes of them) or of splogger through syslog.
//! *Out*: parts. *Bound*: linear in the line; deliveries as [`super::sessions`] says. *Spec*: qmail-log(5).
//!
//! A recipient is named once, when its delivery starts under a number; the number then says how it ended.
//! Message numbers are inodes and come again. Everything after `to remote ` is the recipient, everything after
//! `success: ` the receiver's, with `_` for blanks; neither can write a field.

use super::fields::{self, number, rsplit_once, split_once};
use super::sessions::{Session, plain_reply};
use super::stamp::{Stamp, take_iso, take_tai64n};
use super::{Dialect, Emit, Fate, Line, Memory, Origin, Outcome, Part, Route, Status, syslog};
use crate::mail::Reply;
use crate::time::{MICROS_PER_SECOND, Timestamp};
use std::net::IpAddr;

pub(super) const DIALECT: Dialect = Dialect {
    name: "qmail",
    about: "qmail's qmail-send (multilog or syslog), vpopmail's logins",
    split,
    claims: |program| {
        matches!(program, b"qmail" | b"qmail-send" | b"vpopmail") || program.starts_with(b"vchkpw")
    },
    recognises: |line| own_stamp(line).is_some_and(|(_, text)| is_own(text)),
    read,
    verbatim: true,
    patterns: None,
};

fn split<'l>(_: &mut Memory, line: &'l [u8]) -> Option<Line<'l>> {
    if let Some((stamp, text)) = own_stamp(line) {
        return Some(Line { stamp: Some(stamp), host: None, program: b"qmail", pid: None, text });
    }
    let line = syslog::split(line)?;
    // splogger repeats the time: `qmail: 1157520813.485077 new msg 53`.
    let text = split_once(line.text, b" ").filter(|(first, _)| {
        first.contains(&b'.') && first.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
    });
    Some(Line { text: text.map_or(line.text, |(_, text)| text), ..line })
}

/// `@400000004c91b044077a9e94 text`, `2002-09-17 06:35:15.334422 text`, `1032237315.334422 text`.
fn own_stamp(line: &[u8]) -> Option<(Stamp, &[u8])> {
    if line.first() == Some(&b'@') {
        return take_tai64n(line);
    }
    if line.get(4) == Some(&b'-') {
        return take_iso(line).filter(|(_, text)| is_own(text));
    }
    let (stamp, text) = split_once(line, b" ")?;
    let (seconds, fraction) = split_once(stamp, b".")?;
    let at = i64::try_from(number(seconds).filter(|_| seconds.len() == 10)?)
        .ok()?
        .checked_mul(MICROS_PER_SECOND)?;
    let micros = number(fraction.get(..6)?)?;
    Some((Stamp::Moment(Timestamp::from_micros(at.checked_add(i64::try_from(micros).ok()?)?)), text))
}

/// Whether qmail-send begins its lines so.
fn is_own(text: &[u8]) -> bool {
    ["new msg ", "info msg ", "starting delivery ", "delivery ", "status: ", "end msg ", "bounce msg "]
        .iter()
        .any(|start| text.starts_with(start.as_bytes()))
}

fn read(line: &Line, memory: &mut Memory, emit: Emit) -> Fate {
    let text = line.text.trim_ascii_end();
    if line.program.starts_with(b"vchkpw") {
        return read_login(text, emit);
    }
    if text.starts_with(b"vchkpw")
        && let Some((_, rest)) = split_once(text, b": ")
    {
        return read_login(rest, emit);
    }
    if let Some(id) = text.strip_prefix(b"new msg ") {
        emit(first_word(id), Part::Origin(Origin { begins: true, ..Origin::default() }));
        return Fate::Parsed;
    }
    if let Some(rest) = text.strip_prefix(b"info msg ") {
        return read_info(rest, emit);
    }
    if let Some(rest) = text.strip_prefix(b"starting delivery ") {
        return read_start(rest, memory);
    }
    if let Some(rest) = text.strip_prefix(b"delivery ") {
        return read_end(rest, memory, emit);
    }
    if let Some(id) = text.strip_prefix(b"end msg ") {
        emit(first_word(id), Part::Removed);
        return Fate::Parsed;
    }
    if text.starts_with(b"bounce msg ") || text.starts_with(b"triple bounce: ") {
        return Fate::Parsed;
    }
    Fate::Ignored
}

fn first_word(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b' ').next().unwrap_or_default()
}

/// `53: bytes 246 from <me@domain> qp 20345 uid 666`, with a queue's name after it in some versions.
fn read_info(rest: &[u8], emit: Emit) -> Fate {
    let read = || {
        let (id, rest) = split_once(rest, b": bytes ")?;
        let (size, rest) = split_once(rest, b" from <")?;
        let (path, tail) = rsplit_once(rest, b"> qp ")?;
        tail.first().filter(|byte| byte.is_ascii_digit())?;
        Some((id, number(size)?, path))
    };
    let Some((id, size, path)) = read() else { return Fate::Unparsed };
    // A double bounce has the path `#@[]`: nobody sent it.
    let path = if path == b"#@[]" { &[][..] } else { path };
    emit(id, Part::Origin(Origin { reverse_path: Some(path), size_bytes: Some(size), ..Origin::default() }));
    Fate::Parsed
}

/// `7: msg 53 to remote a@example.net`.
fn read_start(rest: &[u8], memory: &mut Memory) -> Fate {
    let read = || {
        let (delivery, rest) = split_once(rest, b": msg ")?;
        let (message, rest) = split_once(rest, b" to ")?;
        let (route, recipient) = split_once(rest, b" ")?;
        number(delivery)?;
        matches!(route, b"local" | b"remote").then_some((delivery, message, route == b"remote", recipient))
    };
    let Some((delivery, message, remote, recipient)) = read() else { return Fate::Unparsed };
    let session = memory.sessions.begin(delivery);
    session.message = Some(Session::kept(message));
    session.remote = remote;
    memory.sessions.add_recipient(delivery, recipient, true);
    Fate::Parsed
}

/// `7: success: 198.51.100.1_accepted_message./Remote_host_said:_250_ok/`.
fn read_end(rest: &[u8], memory: &mut Memory, emit: Emit) -> Fate {
    let Some((delivery, rest)) = split_once(rest, b": ") else { return Fate::Unparsed };
    let Some((result, words)) = split_once(rest, b": ") else { return Fate::Unparsed };
    let status = match result {
        b"success" => Status::Sent,
        b"deferral" => Status::Deferred,
        b"failure" => Status::Bounced,
        _ => return Fate::Unparsed,
    };
    // Where its start was not seen, nobody knows whose delivery it was.
    let session = memory.sessions.remove(delivery).unwrap_or_default();
    let recipient = session.recipients.first();
    let words: Vec<u8> = words.iter().map(|byte| if *byte == b'_' { b' ' } else { *byte }).collect();
    let responder = responder(&words);
    let outcome = Outcome {
        forward_path: recipient.map(|recipient| &*recipient.forward_path),
        route: match recipient {
            Some(_) if !session.remote => Route::Local,
            None if words.starts_with(b"did ") => Route::Local,
            _ => Route::Remote,
        },
        responder,
        attempted: responder,
        status,
        reply: Some(answer(&words, status)),
        passed_to: None,
        ..Outcome::unknown()
    };
    emit(session.message.as_deref().unwrap_or_default(), Part::Outcome(outcome));
    Fate::Parsed
}

/// qmail-remote begins with the server's address where it reached one.
fn responder(words: &[u8]) -> Option<IpAddr> {
    let word = first_word(words);
    fields::address(word).or_else(|| {
        // `Connected to 198.51.100.1 but sender was rejected.`
        let rest = words.strip_prefix(b"Connected to ")?;
        fields::address(first_word(rest))
    })
}

/// `… /Remote host said: 550 5.1.1 nobody/`; else qmail's own words, which end in `(#4.4.1)`.
fn answer(words: &[u8], status: Status) -> Reply {
    let plain = plain_reply(status.class());
    let said =
        split_once(words, b"/Remote host said: ").map(|(_, said)| said.strip_suffix(b"/").unwrap_or(said));
    if let Some(reply) =
        said.and_then(fields::reply).filter(|reply| reply.code.map(Status::of_code) == Some(status))
    {
        return reply;
    }
    let own = rsplit_once(words, b"(#").and_then(|(_, rest)| crate::mail::EnhancedStatus::parse_prefix(rest));
    let enhanced =
        own.map(|(status, _)| status).filter(|own| Some(own.class) == status.class()).or(plain.enhanced);
    Reply { code: None, enhanced, text: Some(fields::reply_text(words)) }
}

/// `(PLAIN) login success bob@example.com:192.0.2.9`, `password fail (pass: 'x') bob@…:192.0.2.9`,
/// `vpopmail user not found bob@…:192.0.2.9`. The password that some versions print is left where it is: name
/// and address are read from the right.
fn read_login(text: &[u8], emit: Emit) -> Fate {
    let words =
        text.strip_prefix(b"(").and_then(|rest| split_once(rest, b") ")).map_or(text, |(_, rest)| rest);
    let succeeded = words.starts_with(b"login success");
    let failed = ["password fail", "vpopmail user not found", "No user found", "null password given"]
        .iter()
        .any(|start| words.starts_with(start.as_bytes()));
    if !succeeded && !failed {
        return Fate::Ignored;
    }
    let read = || {
        // An IPv6 address holds colons itself: the name before it has no blank.
        let (_, name_and_address) = rsplit_once(words, b" ")?;
        let colon = name_and_address.iter().position(|byte| *byte == b':')?;
        let (name, address) = name_and_address.split_at_checked(colon)?;
        Some((name, fields::address(address.get(1..)?)))
    };
    let Some((account, client)) = read() else { return Fate::Unparsed };
    emit(&[], Part::Login { account: Some(account).filter(|name| !name.is_empty()), client, succeeded });
    Fate::Parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(head: &str, lines: &[&str]) -> Vec<String> {
        let mut all = Vec::new();
        let mut memory = Memory::default();
        for line in lines {
            let line = format!("{head}{line}");
            let (fate, parts) = super::super::says_on(&DIALECT, &mut memory, &line);
            assert_ne!(fate, Fate::Unparsed, "{line}");
            all.extend(parts);
        }
        all
    }

    #[test]
    fn a_message_with_a_retry_under_every_head() {
        for head in [
            "@400000004c91b044077a9e94 ",
            "2010-09-16 05:50:02.125476500 ",
            "1284616202.125476 ",
            "Sep 16 05:50:02 mx1 qmail: 1284616202.125476 ",
            "Sep 16 05:50:02 mx1 qmail: ",
        ] {
            assert_eq!(
                read_all(
                    head,
                    &[
                        "new msg 53",
                        "info msg 53: bytes 246 from <me> qp 1 uid 2@example.com> qp 20345 uid 666",
                        "starting delivery 7: msg 53 to remote a@example.net",
                        "starting delivery 8: msg 53 to local bob@example.com",
                        "status: local 1/10 remote 1/20",
                        "delivery 7: deferral: 198.51.100.1_does_not_like_recipient./Remote_host_said:_450_4.2.0_later/Giving_up_on_198.51.100.1./",
                        "delivery 8: success: did_1+0+0/",
                        "delivery 9: failure: Sorry,_I_couldn't_find_any_host_named_x._(#5.1.2)/",
                        "end msg 53",
                    ]
                ),
                [
                    "53 origin begins=true client=None account=? original=None/? from=? size=None rcpts=None",
                    "53 origin begins=false client=None account=? original=None/? from=me> qp 1 uid 2@example.com size=Some(246) rcpts=None",
                    "53 to=a@example.net Remote Deferred by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(450) enhanced=4.2.0 as=?",
                    "53 to=bob@example.com Local Sent by=None tried=None code=None enhanced=2.0.0 as=?",
                    " to=? Remote Bounced by=None tried=None code=None enhanced=5.1.2 as=?",
                    "53 removed",
                ],
                "{head}"
            );
        }
    }

    #[test]
    fn tai64n() {
        let (stamp, _) = own_stamp(b"@400000005a497a0a00000000 x").unwrap();
        let expected = Timestamp::parse_rfc3339("2018-01-01T00:00:00Z").unwrap();
        assert_eq!(stamp, Stamp::Moment(expected));
        assert!(own_stamp(b"@ffffffffffffffffffffffff x").is_none());
        assert!(own_stamp(b"@400000005a497a0a0000000 x").is_none());
    }

    #[test]
    fn logins_without_their_passwords() {
        for (line, expected) in [
            (
                "vchkpw-submission: (PLAIN) login success bob@example.com:192.0.2.9",
                " login bob@example.com Some(192.0.2.9) true",
            ),
            (
                "vchkpw-smtp: password fail (pass: 'geheim') bob@example.com:2001:db8::1",
                " login bob@example.com Some(2001:db8::1) false",
            ),
            (
                "vpopmail[9]: vchkpw-pop3: password fail bob@example.com:192.0.2.9",
                " login bob@example.com Some(192.0.2.9) false",
            ),
        ] {
            assert_eq!(read_all("Sep 16 05:50:02 mx1 ", &[line]), [expected]);
        }
    }
}
