//! OpenSMTPD 5, 6 and 7: three ways to write the same.
//!
//! *In*: syslog lines of `smtpd`, or the same without a head (run in the foreground). *Out*: parts.
//! *Bound*: linear in the line; sessions as [`super::sessions`] says. *Spec*: `log_info` calls of smtpd(8).
//!
//! ```text
//! 5.x  smtp-in: Accepted message 8a1b2c3d on session 5df87c903d709659: from=<a>, to=<b>, size=9, ndest=1, proto=ESMTP
//! 6.x  5df87c903d709659 smtp event=message address=192.0.2.9 host=pc msgid=8a1b2c3d from=<a> to=<b> size=9 ndest=1
//! 7.x  5df87c903d709659 smtp message msgid=8a1b2c3d size=9 nrcpt=1 proto=ESMTP
//! ```
//!
//! The message is known by its id, the first eight digits of an envelope's. Fields are read in the order in
//! which smtpd writes them; what stands in brackets ends where its quotes say, and `stat=` takes the rest.

use super::fields::{self, number, rsplit_once, split_once, take_path};
use super::sessions::Session;
use super::{Dialect, Emit, Fate, Line, Memory, Origin, Outcome, Part, Route, Status, syslog};
use crate::mail::Reply;
use std::net::IpAddr;

pub(super) const DIALECT: Dialect = Dialect {
    name: "opensmtpd",
    about: "OpenSMTPD, through syslog or from its foreground",
    split,
    claims: |program| program == b"smtpd",
    recognises: |line| take_session(line).is_some_and(|(_, rest)| take_subject(rest).is_some()),
    read,
    verbatim: true,
    patterns: None,
};

/// Takes syslog's head; a line that begins with a session has none.
fn split<'l>(_: &mut Memory, line: &'l [u8]) -> Option<Line<'l>> {
    if take_session(line).is_some() {
        return Some(Line { stamp: None, host: None, program: b"smtpd", pid: None, text: line });
    }
    syslog::split(line)
}

/// `5df87c903d709659 rest`.
fn take_session(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (id, rest) = split_once(text.get(..17.min(text.len()))?, b" ")
        .and_then(|(id, _)| text.split_at_checked(id.len()))?;
    (id.len() == 16 && id.iter().all(u8::is_ascii_hexdigit)).then_some((id, rest.strip_prefix(b" ")?))
}

/// `smtp connected rest`, `mta event=delivery rest`.
fn take_subject(rest: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (part, rest) = split_once(rest, b" ")?;
    let (event, rest) = split_once(rest, b" ").unwrap_or((rest, b""));
    matches!(part, b"smtp" | b"mta" | b"mda").then_some((
        part,
        event.strip_prefix(b"event=").unwrap_or(event),
        rest,
    ))
}

fn read(line: &Line, memory: &mut Memory, emit: Emit) -> Fate {
    // `smtp: 5df87c903d709659 …`, `info: …`: levels and processes that some versions put before.
    let text = line.text;
    if let Some((session, rest)) = take_session(text) {
        let Some((part, event, rest)) = take_subject(rest) else { return Fate::Ignored };
        return match (part, event) {
            (b"smtp", _) => read_smtp(session, event, rest, memory, emit),
            (_, b"delivery" | b"expired") => read_delivery(part, rest, emit),
            _ => Fate::Ignored,
        };
    }
    if let Some(rest) = text.strip_prefix(b"smtp-in: ") {
        return read_5_smtp(rest, memory, emit);
    }
    for (name, part) in [(&b"relay: "[..], &b"mta"[..]), (b"delivery: ", b"mda")] {
        if let Some(rest) = text.strip_prefix(name) {
            return read_5_delivery(part, rest, emit);
        }
    }
    Fate::Ignored
}

/// The value of the first `name=value` in a text that smtpd itself wrote.
fn own<'l>(text: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    text.split(|byte| *byte == b' ').find_map(|word| word.strip_prefix(name))
}

/// A session of the receiving side.
fn read_smtp(session: &[u8], event: &[u8], rest: &[u8], memory: &mut Memory, emit: Emit) -> Fate {
    match event {
        b"connected" => {
            memory.sessions.begin(session).peer = own(rest, b"address=").and_then(fields::address);
            Fate::Parsed
        }
        b"disconnected" | b"closed" => {
            memory.sessions.remove(session);
            Fate::Parsed
        }
        b"authentication" => read_login(session, rest, memory, emit),
        b"message" => {
            let Some(id) = own(rest, b"msgid=") else { return Fate::Unparsed };
            // 6.x names the path of a message with one recipient here; 7.x has a line for each envelope.
            let path = split_once(rest, b" from=<").and_then(|(_, rest)| take_path(rest));
            let tail = path.map_or(rest, |(_, tail)| tail);
            let tail = split_once(tail, b"to=<")
                .and_then(|(_, tail)| take_path(tail))
                .map_or(tail, |(_, tail)| tail);
            let recipients = own(tail, b"nrcpt=").or_else(|| own(tail, b"ndest="));
            let size = own(tail, b"size=").and_then(number);
            begin(id, session, path.map(|(path, _)| path), size, recipients, memory, emit)
        }
        b"envelope" => {
            let read = || {
                let rest = rest.strip_prefix(b"evpid=")?;
                let (id, rest) = rest.split_at_checked(16)?;
                let (path, _) = take_path(rest.strip_prefix(b" from=<")?)?;
                Some((id.get(..8)?, path))
            };
            let Some((id, path)) = read() else { return Fate::Unparsed };
            emit(id, Part::Origin(Origin { reverse_path: Some(path), ..Origin::default() }));
            Fate::Parsed
        }
        b"failed-command" => {
            let command = rest.strip_prefix(b"command=\"").unwrap_or(rest);
            let refused = ["MAIL", "RCPT", "DATA"].iter().any(|verb| {
                command.get(..verb.len()).is_some_and(|word| word.eq_ignore_ascii_case(verb.as_bytes()))
            });
            if refused || command.starts_with(b"\"") {
                emit(&[], Part::Rejected);
                return Fate::Parsed;
            }
            Fate::Ignored
        }
        _ => Fate::Ignored,
    }
}

fn begin(
    id: &[u8],
    session: &[u8],
    path: Option<&[u8]>,
    size_bytes: Option<u64>,
    recipients: Option<&[u8]>,
    memory: &mut Memory,
    emit: Emit,
) -> Fate {
    let known = memory.sessions.get(session);
    let (client, account) = known.map_or((None, None), |known| (known.peer, known.account.as_deref()));
    emit(
        id,
        Part::Origin(Origin {
            begins: true,
            client,
            account,
            reverse_path: path,
            size_bytes,
            recipients: recipients.and_then(number).and_then(|count| u32::try_from(count).ok()),
            ..Origin::default()
        }),
    );
    Fate::Parsed
}

/// `user=bob result=ok`, in 6.x `user=bob address=… host=… result=ok`. The name is the client's.
fn read_login(session: &[u8], rest: &[u8], memory: &mut Memory, emit: Emit) -> Fate {
    let read = || {
        let (before, result) = rsplit_once(rest, b" result=")?;
        let before = before.strip_prefix(b"user=")?;
        let account = rsplit_once(before, b" address=").map_or(before, |(name, _)| name);
        Some((account, result))
    };
    let Some((account, result)) = read() else { return Fate::Unparsed };
    let succeeded = match result {
        b"ok" => true,
        b"permfail" => false,
        // The server could not look it up.
        _ => return Fate::Parsed,
    };
    let known = memory.sessions.get_or_begin(session);
    if succeeded {
        known.account = Some(Session::kept(account));
    }
    emit(
        &[],
        Part::Login { account: Some(account).filter(|name| !name.is_empty()), client: known.peer, succeeded },
    );
    Fate::Parsed
}

/// `evpid=c405e39ad6bbc64f from=<a> to=<b> rcpt=<-> source="192.0.2.1" relay="198.51.100.1 (mx)" delay=2s
/// result="Ok" stat="250 …"`; for mailboxes `user=bob delay=0s result=Ok stat=Delivered`.
fn read_delivery(part: &[u8], rest: &[u8], emit: Emit) -> Fate {
    let read = || {
        let (envelope, rest) = rest.strip_prefix(b"evpid=")?.split_at_checked(16)?;
        let (from, rest) = take_path(rest.strip_prefix(b" from=<")?)?;
        let (to, rest) = take_path(rest.strip_prefix(b" to=<")?)?;
        // What remains is smtpd's, up to `stat=`.
        let (facts, words) = split_once(rest, b" stat=")?;
        Some((envelope, from, to, facts, unquoted(words)))
    };
    let Some((envelope, from, to, facts, words)) = read() else { return Fate::Unparsed };
    let result = split_once(facts, b" result=").map(|(_, result)| unquoted(result)).unwrap_or_default();
    let field = |name: &[u8]| split_once(facts, name).map(|(_, rest)| unquoted(rest));
    give(part, envelope, from, to, result, field(b" relay="), field(b" source="), words, emit)
}

/// Text in quotes up to the next quote, or up to a blank.
fn unquoted(text: &[u8]) -> &[u8] {
    match text.strip_prefix(b"\"") {
        // `stat=` ends the line, so its own quotes do not end it.
        Some(rest) if rest.ends_with(b"\"") && !rest.windows(2).any(|pair| pair == b"\" ") => {
            rest.get(..rest.len() - 1).unwrap_or_default()
        }
        Some(rest) => rest.split(|byte| *byte == b'"').next().unwrap_or_default(),
        None => text.split(|byte| *byte == b' ').next().unwrap_or_default(),
    }
}

#[allow(clippy::too_many_arguments)] // what one line says
fn give(
    part: &[u8],
    envelope: &[u8],
    from: &[u8],
    to: &[u8],
    result: &[u8],
    relay: Option<&[u8]>,
    source: Option<&[u8]>,
    words: &[u8],
    emit: Emit,
) -> Fate {
    let status = match result {
        b"Ok" | b"Delivered" => Status::Sent,
        b"TempFail" | b"Loop" => Status::Deferred,
        b"PermFail" | b"Error" | b"Expired" => Status::Bounced,
        _ => return Fate::Unparsed,
    };
    let id = envelope.get(..8).unwrap_or(envelope);
    if result == b"Expired" || words.starts_with(b"Envelope expired") {
        emit(id, Part::Expired);
    }
    let address = |text: &[u8]| fields::address(text.split(|byte| *byte == b' ').next()?);
    let responder: Option<IpAddr> = relay.and_then(address);
    let reply = fields::reply(words).filter(|reply| reply.code.map(Status::of_code) == Some(status));
    let plain = super::sessions::plain_reply(status.class());
    let outcome = Outcome {
        origin: Origin { reverse_path: Some(from), ..Origin::default() },
        forward_path: Some(to),
        route: if part == b"mda" { Route::Local } else { Route::Remote },
        responder,
        attempted: responder,
        status,
        reply: Some(reply.unwrap_or(Reply { text: Some(fields::reply_text(words)), ..plain })),
        passed_to: passed_to(words, status),
        egress: source.and_then(address),
    };
    emit(id, Part::Outcome(outcome));
    Fate::Parsed
}

/// `250 2.0.0: f6e94209 Message accepted for delivery`: the next OpenSMTPD's id.
fn passed_to(words: &[u8], status: Status) -> Option<&[u8]> {
    let of_ours =
        words.strip_suffix(b" Message accepted for delivery").and_then(|words| rsplit_once(words, b" "));
    let id = of_ours.map(|(_, id)| id).filter(|id| id.len() == 8 && id.iter().all(u8::is_ascii_hexdigit));
    id.or_else(|| fields::taken_as(words)).filter(|_| status == Status::Sent)
}

/// 5.x, receiving: `New session 5df8… from host pc [192.0.2.9]`, `Accepted message … on session …`,
/// `Accepted authentication for user bob on session …`, `Authentication failed for user bob on session …`.
fn read_5_smtp(rest: &[u8], memory: &mut Memory, emit: Emit) -> Fate {
    if let Some(rest) = rest.strip_prefix(b"New session ") {
        let Some((session, rest)) = split_once(rest, b" from host ") else { return Fate::Unparsed };
        let inside = rsplit_once(rest, b" [").and_then(|(_, rest)| rest.strip_suffix(b"]"));
        memory.sessions.begin(session).peer = inside.and_then(fields::address);
        return Fate::Parsed;
    }
    if let Some(rest) = rest.strip_prefix(b"Closing session ") {
        memory.sessions.remove(rest.split(|byte| *byte == b':').next().unwrap_or(rest));
        return Fate::Parsed;
    }
    if let Some(rest) = rest.strip_prefix(b"Accepted message ") {
        let read = || {
            let (id, rest) = split_once(rest, b" on session ")?;
            let (session, rest) = split_once(rest, b": from=<")?;
            let (path, rest) = take_path(rest)?;
            let rest = match rest.strip_prefix(b", to=<") {
                Some(rest) => take_path(rest)?.1,
                None => rest,
            };
            let (size, rest) = split_once(rest.strip_prefix(b", size=")?, b", ")?;
            let recipients = rest.strip_prefix(b"ndest=")?.split(|byte| *byte == b',').next();
            Some((id, session, path, number(size), recipients))
        };
        let Some((id, session, path, size, recipients)) = read() else { return Fate::Unparsed };
        return begin(id, session, Some(path), size, recipients, memory, emit);
    }
    for (words, succeeded) in [
        (&b"Accepted authentication for user "[..], true),
        (b"Authentication failed for user ", false),
        (b"Failed authentication for user ", false),
    ] {
        if let Some(rest) = rest.strip_prefix(words) {
            let Some((account, session)) = rsplit_once(rest, b" on session ") else { return Fate::Unparsed };
            let known = memory.sessions.get_or_begin(session);
            if succeeded {
                known.account = Some(Session::kept(account));
            }
            emit(&[], Part::Login { account: Some(account), client: known.peer, succeeded });
            return Fate::Parsed;
        }
    }
    Fate::Ignored
}

/// 5.x, sending: `Ok for c405e39ad6bbc64f: session=…, from=<a>, to=<b>, rcpt=<->, source=…, relay=… (mx),
/// delay=3s, stat=250 …`.
fn read_5_delivery(part: &[u8], rest: &[u8], emit: Emit) -> Fate {
    let read = || {
        let (result, rest) = split_once(rest, b" for ")?;
        let (envelope, rest) = rest.split_at_checked(16)?;
        let rest = rest.strip_prefix(b": ")?;
        let rest = match rest.strip_prefix(b"session=") {
            Some(rest) => split_once(rest, b", ")?.1,
            None => rest,
        };
        let (from, rest) = take_path(rest.strip_prefix(b"from=<")?)?;
        let (to, rest) = take_path(rest.strip_prefix(b", to=<")?)?;
        let (facts, words) = split_once(rest, b", stat=")?;
        Some((result, envelope, from, to, facts, words))
    };
    let Some((result, envelope, from, to, facts, words)) = read() else { return Fate::Ignored };
    let field =
        |name: &[u8]| split_once(facts, name).and_then(|(_, rest)| rest.split(|byte| *byte == b',').next());
    give(part, envelope, from, to, result, field(b", relay="), field(b", source="), words, emit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads lines one after another and prints what all of them say.
    fn read_all(lines: &[&str]) -> Vec<String> {
        let mut all = Vec::new();
        let mut memory = Memory::default();
        for line in lines {
            let line = format!("Nov 24 20:14:01 mx1 smtpd[7]: {line}");
            let (fate, parts) = super::super::says_on(&DIALECT, &mut memory, &line);
            assert_ne!(fate, Fate::Unparsed, "{line}");
            all.extend(parts);
        }
        all
    }

    #[test]
    fn version_7() {
        assert_eq!(
            read_all(&[
                "5df87c972116a049 smtp connected address=192.0.2.9 host=pc",
                "5df87c972116a049 smtp authentication user=bob result=ok",
                "5df87c972116a049 smtp message msgid=3d4c4a42 size=319 nrcpt=1 proto=ESMTP",
                "5df87c972116a049 smtp envelope evpid=3d4c4a424797fe79 from=<bob@example.com> to=<a@example.net>",
                "5df87c972116a049 smtp disconnected reason=quit",
                "5df87c9ffd0e785d mta delivery evpid=3d4c4a424797fe79 from=<bob@example.com> to=<a@example.net> rcpt=<-> source=\"203.0.113.7\" relay=\"198.51.100.1 (mx.example.net)\" delay=2s result=\"PermFail\" stat=\"550 5.1.1 \"nobody\" here\"",
            ]),
            [
                " login bob Some(192.0.2.9) true",
                "3d4c4a42 origin begins=true client=Some(192.0.2.9) account=bob original=None/? from=? size=Some(319) rcpts=Some(1)",
                "3d4c4a42 origin begins=false client=None account=? original=None/? from=bob@example.com size=None rcpts=None",
                "3d4c4a42 to=a@example.net Remote Bounced by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(550) enhanced=5.1.1 as=?",
            ]
        );
    }

    #[test]
    fn version_6() {
        assert_eq!(
            read_all(&[
                "5df87c972116a049 smtp event=connected address=192.0.2.9 host=pc",
                "5df87c972116a049 smtp event=authentication user=eve result=ok address=1.1.1.1 address=192.0.2.9 host=pc result=permfail",
                "5df87c972116a049 smtp event=message address=192.0.2.9 host=pc msgid=3d4c4a42 from=<b@c> to=<a@d> size=5 ndest=1 proto=ESMTP",
                "5df87c9ffd0e785d mta event=delivery evpid=3d4c4a424797fe79 from=<b@c> to=<a@d> rcpt=<-> source=\"203.0.113.7\" relay=\"198.51.100.1 (mx)\" delay=2s result=\"Ok\" stat=\"250 2.0.0: f6e94209 Message accepted for delivery\"",
                "5df87c9ffd0e785d mda event=delivery evpid=3d4c4a424797fe79 from=<b@c> to=<a@d> rcpt=<a@d> user=a delay=0s result=Ok stat=Delivered",
            ]),
            [
                " login eve result=ok address=1.1.1.1 Some(192.0.2.9) false",
                "3d4c4a42 origin begins=true client=Some(192.0.2.9) account=? original=None/? from=b@c size=Some(5) rcpts=Some(1)",
                "3d4c4a42 to=a@d Remote Sent by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(250) enhanced=2.0.0 as=f6e94209",
                "3d4c4a42 to=a@d Local Sent by=None tried=None code=None enhanced=2.0.0 as=?",
            ]
        );
    }

    #[test]
    fn version_5() {
        assert_eq!(
            read_all(&[
                "smtp-in: New session 5df87c972116a049 from host pc.example.com [192.0.2.9]",
                "smtp-in: Accepted authentication for user bob on session 5df87c972116a049",
                "smtp-in: Accepted message 3d4c4a42 on session 5df87c972116a049: from=<b@c>, to=<a@d>, size=303, ndest=1, proto=ESMTP",
                "relay: TempFail for 3d4c4a424797fe79: session=5df87c9ffd0e785d, from=<b@c>, to=<a@d>, rcpt=<->, source=203.0.113.7, relay=198.51.100.1 (mx), delay=3s, stat=421 too busy, stat=250",
                "delivery: Ok for 3d4c4a424797fe79: from=<b@c>, to=<a@d>, user=a, method=mbox, delay=0s, stat=Delivered",
                "smtp-in: Closing session 5df87c972116a049: client disconnected",
            ]),
            [
                " login bob Some(192.0.2.9) true",
                "3d4c4a42 origin begins=true client=Some(192.0.2.9) account=bob original=None/? from=b@c size=Some(303) rcpts=Some(1)",
                "3d4c4a42 to=a@d Remote Deferred by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(421) enhanced=? as=?",
                "3d4c4a42 to=a@d Local Sent by=None tried=None code=None enhanced=2.0.0 as=?",
            ]
        );
    }

    #[test]
    fn refusals_and_secrets() {
        let (fate, parts) = super::super::says(
            &DIALECT,
            "Nov 24 20:14:01 mx1 smtpd[7]: a56dece24dcac3d2 smtp failed-command command=\"DATA\" result=\"550 message rejected\"",
        );
        assert_eq!((fate, parts), (Fate::Parsed, vec![" rejected".to_owned()]));
        let (fate, parts) = super::super::says(
            &DIALECT,
            "c1a89cb774083905 smtp failed-command command=\"AUTH PLAIN AGJvYgBnZWhlaW0=\" result=\"535 no\"",
        );
        assert_eq!((fate, parts.len()), (Fate::Ignored, 0));
    }
}
