//! Haraka: its own log (default format), through syslog, multilog or a container's collector.
//!
//! *In*: `[LEVEL] [session] [plugin] message`, after a stamp. *Out*: parts. *Bound*: see [`super::sessions`].
//! *Spec*: `logger.js`, `connection.js` and `outbound/hmail.js` of Haraka.
//!
//! A session is `UUID`, its transactions `UUID.1`, `UUID.2`, and each domain's share of one `UUID.1.1`. Recipients
//! are named when they are offered; an outcome names their domain only, and how many of them it is for.
//! At level PROTOCOL the dialogue itself is logged, passwords included: of it only AUTH is looked at, for the
//! name and whether it was right.

use super::fields::{self, number, rsplit_once, split_once, take_path};
use super::sessions::{Awaited, Pending, Session, plain_reply};
use super::stamp::{Stamp, take_iso};
use super::transcript::{self, Side, Utterance};
use super::{Dialect, Emit, Fate, Line, Memory, Origin, Outcome, Part, Route, Status, syslog};
use crate::mail::Reply;
use std::net::IpAddr;

pub(super) const DIALECT: Dialect = Dialect {
    name: "haraka",
    about: "Haraka's own log",
    split,
    claims: |program| program == b"haraka",
    recognises: |line| own_stamp(line).is_some_and(|(_, text)| take_entry(text).is_some()),
    read,
    verbatim: true,
    patterns: None,
};

const LEVELS: &[&[u8]] =
    &[b"DATA", b"PROTOCOL", b"DEBUG", b"INFO", b"NOTICE", b"WARN", b"ERROR", b"CRIT", b"ALERT", b"EMERG"];

fn split<'l>(_: &mut Memory, line: &'l [u8]) -> Option<Line<'l>> {
    if let Some((stamp, text)) = own_stamp(line)
        && take_entry(text).is_some()
    {
        return Some(Line { stamp, host: None, program: b"haraka", pid: None, text });
    }
    syslog::split(line)
}

/// What stands before the level: nothing, or a time.
fn own_stamp(line: &[u8]) -> Option<(Option<Stamp>, &[u8])> {
    if line.first() == Some(&b'[') {
        return Some((None, line));
    }
    take_iso(line).map(|(stamp, text)| (Some(stamp), text))
}

struct Entry<'l> {
    session: &'l [u8],
    plugin: &'l [u8],
    words: &'l [u8],
}

/// `[NOTICE] [1B012E7A-4362-42CC-B2D5-27534802E482.1] [core] sender <a@b> …`.
fn take_entry(text: &[u8]) -> Option<Entry<'_>> {
    let (level, rest) = split_once(text.strip_prefix(b"[")?, b"] [")?;
    let (session, rest) = split_once(rest, b"] [")?;
    let (plugin, words) = split_once(rest, b"] ")?;
    let fits =
        session == b"-" || session.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b'.'));
    (LEVELS.contains(&level) && fits).then_some(Entry { session, plugin, words: words.trim_ascii_start() })
}

fn read(line: &Line, memory: &mut Memory, emit: Emit) -> Fate {
    let Some(entry) = take_entry(line.text) else { return Fate::Ignored };
    if entry.session == b"-" {
        return Fate::Ignored;
    }
    if entry.plugin == b"outbound" {
        return read_outbound(&entry, memory, emit);
    }
    if entry.plugin.starts_with(b"auth/") && entry.words.starts_with(b"delaying for ") {
        return read_delay(&entry, memory, emit);
    }
    if entry.plugin != b"core" {
        return Fate::Ignored;
    }
    if let Some(words) = entry.words.strip_prefix(b"C: ") {
        return read_command(&entry, words, memory, emit);
    }
    if let Some(words) = entry.words.strip_prefix(b"S: ") {
        return read_answer(&entry, words, memory, emit);
    }
    read_core(&entry, memory, emit)
}

/// The session of a transaction: `UUID` of `UUID.1`.
fn connection(session: &[u8]) -> &[u8] {
    session.split(|byte| *byte == b'.').next().unwrap_or(session)
}

fn read_core(entry: &Entry, memory: &mut Memory, emit: Emit) -> Fate {
    let (word, rest) = split_once(entry.words, b" ").unwrap_or((entry.words, b""));
    match word {
        b"connect" => {
            let address = rest.strip_prefix(b"ip=").and_then(|rest| fields::address(up_to_blank(rest)));
            memory.sessions.begin(entry.session).peer = address;
            Fate::Parsed
        }
        b"disconnect" => {
            memory.sessions.remove(entry.session);
            Fate::Parsed
        }
        b"sender" => {
            let Some((path, _)) = rest.strip_prefix(b"<").and_then(take_path) else { return Fate::Unparsed };
            let session = memory.sessions.begin(entry.session);
            session.reverse_path = Some(Session::kept(path));
            Fate::Parsed
        }
        b"recipient" => {
            let Some((path, rest)) = rest.strip_prefix(b"<").and_then(take_path) else {
                return Fate::Unparsed;
            };
            if rest.starts_with(b" code=OK") {
                memory.sessions.add_recipient(entry.session, path, true);
            } else if rest.starts_with(b" code=DENY") {
                emit(&[], Part::Rejected);
            }
            Fate::Parsed
        }
        b"queue" if rest.starts_with(b"code=OK") => read_queued(entry, memory, emit),
        b"queue" if rest.starts_with(b"code=DENY") => {
            emit(&[], Part::Rejected);
            Fate::Parsed
        }
        _ => Fate::Ignored,
    }
}

/// The message was taken into the queue: what is known of where it came from.
fn read_queued(entry: &Entry, memory: &mut Memory, emit: Emit) -> Fate {
    let from = memory.sessions.get(connection(entry.session));
    let (client, account) = from.map_or((None, None), |session| (session.peer, session.account.clone()));
    let session = memory.sessions.get_or_begin(entry.session);
    emit(
        entry.session,
        Part::Origin(Origin {
            begins: true,
            client,
            account: account.as_deref(),
            reverse_path: session.reverse_path.as_deref(),
            recipients: u32::try_from(session.recipients.len()).ok().filter(|count| *count > 0),
            ..Origin::default()
        }),
    );
    Fate::Parsed
}

/// An auth plugin makes a client wait whose login failed. Where the dialogue is logged, its answer says so too.
fn read_delay(entry: &Entry, memory: &mut Memory, emit: Emit) -> Fate {
    let session = memory.sessions.get_or_begin(connection(entry.session));
    if !session.pending.contains(&Pending::Auth) {
        emit(&[], Part::Login { account: None, client: session.peer, succeeded: false });
    }
    Fate::Parsed
}

/// `C: AUTH PLAIN base64 state=1`.
fn read_command(entry: &Entry, words: &[u8], memory: &mut Memory, emit: Emit) -> Fate {
    let words = rsplit_once(words, b" state=").map_or(words, |(words, _)| words);
    let id = connection(entry.session);
    let session = memory.sessions.get_or_begin(id);
    let is_auth = words.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH"));
    if !is_auth && session.awaited == Awaited::Command {
        return Fate::Ignored;
    }
    let of = Utterance { session: id, side: Side::Server, peer: session.peer, own: None, message: None };
    transcript::command(&of, words, &mut memory.sessions, emit)
}

fn read_answer(entry: &Entry, words: &[u8], memory: &mut Memory, emit: Emit) -> Fate {
    let id = connection(entry.session);
    let session = memory.sessions.get_or_begin(id);
    if session.pending.front() != Some(&Pending::Auth) {
        return Fate::Ignored;
    }
    let of = Utterance { session: id, side: Side::Server, peer: session.peer, own: None, message: None };
    transcript::answer(&of, words, &mut memory.sessions, emit)
}

fn read_outbound(entry: &Entry, memory: &mut Memory, emit: Emit) -> Fate {
    // `UUID.1.2` is the second domain of `UUID.1`.
    let message = rsplit_once(entry.session, b".").map_or(entry.session, |(message, _)| message);
    let words = entry.words;
    if let Some(rest) = words.strip_prefix(b"Attempting to deliver to: ") {
        memory.sessions.get_or_begin(entry.session).peer = super::json::endpoint(up_to_blank(rest));
        return Fate::Parsed;
    }
    if let Some(rest) = words.strip_prefix(b"delivered file=") {
        return read_delivered(entry, message, rest, memory, emit);
    }
    let (status, reason) = if let Some(rest) = words.strip_prefix(b"Temp failing ") {
        (Status::Deferred, split_once(rest, b" seconds: ").map(|(_, reason)| reason).unwrap_or_default())
    } else if let Some(rest) = words.strip_prefix(b"bouncing mail: ") {
        (Status::Bounced, rest.strip_prefix(b"Error: ").unwrap_or(rest))
    } else {
        return Fate::Ignored;
    };
    let attempted = memory.sessions.get(entry.session).and_then(|session| session.peer);
    let session = memory.sessions.get_or_begin(message);
    // Which domain's share it is, this line does not say.
    let domains = |session: &Session| {
        let mut domains: Vec<_> = session.recipients.iter().map(|to| domain(&to.forward_path)).collect();
        domains.dedup();
        domains.len()
    };
    let known = domains(session) == 1;
    let reply = fields::reply(reason).filter(|reply| reply.code.map(Status::of_code) == Some(status));
    let plain = Reply { text: Some(fields::reply_text(reason)), ..plain_reply(status.class()) };
    let outcome = |path| Outcome {
        forward_path: path,
        responder: None,
        attempted,
        status,
        reply: Some(reply.clone().unwrap_or_else(|| plain.clone())),
        ..Outcome::unknown()
    };
    if !known {
        emit(message, Part::Outcome(outcome(None)));
        return Fate::Parsed;
    }
    for recipient in &session.recipients {
        emit(message, Part::Outcome(outcome(Some(&recipient.forward_path))));
    }
    Fate::Parsed
}

/// `name domain=fastmail.example host=mx ip=198.51.100.1 port=25 mode=SMTP tls=Y auth=N response="250 ok"
/// delay=4.565 fails=0 rcpts=1/0/0`: delivered, put off and refused. Values were quoted in older versions.
fn read_delivered(entry: &Entry, message: &[u8], rest: &[u8], memory: &mut Memory, emit: Emit) -> Fate {
    let read = || {
        let (facts, rest) = split_once(rest, b" response=")?;
        let (words, tail) = rsplit_once(rest, b" delay=")?;
        let words = words.strip_prefix(b"\"").and_then(|words| words.strip_suffix(b"\"")).unwrap_or(words);
        let counts = rsplit_once(tail, b" rcpts=").map_or(&b"1/0/0"[..], |(_, counts)| counts);
        let mut counts = counts.split(|byte| *byte == b'/').filter_map(number);
        Some((facts, words, counts.next()?, counts.next()?, counts.next()?))
    };
    let Some((facts, words, sent, put_off, refused)) = read() else { return Fate::Unparsed };
    let field = |name: &[u8]| {
        let (_, value) = split_once(facts, name)?;
        Some(up_to_blank(value)).map(|value| {
            value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
        })
    };
    let responder: Option<IpAddr> = field(b" ip=").and_then(fields::address);
    let route = if responder.is_none() && field(b" ip=").is_some_and(|ip| ip.starts_with(b"/")) {
        Route::Local
    } else {
        Route::Remote
    };
    let wanted = field(b" domain=").unwrap_or_default();
    let session = memory.sessions.get_or_begin(message);
    let reply = fields::reply(words).filter(|reply| reply.code.map(Status::of_code) == Some(Status::Sent));
    // Haraka takes the code off.
    let reply = reply.unwrap_or_else(|| Reply {
        text: Some(fields::reply_text(words)),
        ..plain_reply(Status::Sent.class())
    });
    let outcome = |path| Outcome {
        forward_path: path,
        route,
        responder,
        attempted: responder,
        status: Status::Sent,
        reply: Some(reply.clone()),
        passed_to: fields::taken_as(words),
        ..Outcome::unknown()
    };
    let of_domain: Vec<&[u8]> = session
        .recipients
        .iter()
        .map(|recipient| &*recipient.forward_path)
        .filter(|path| domain(path).eq_ignore_ascii_case(wanted))
        .collect();
    let whole = put_off == 0 && refused == 0 && of_domain.len() as u64 == sent;
    for index in 0..sent.min(crate::limits::RECIPIENTS_KEPT_MAX as u64) as usize {
        let path = of_domain.get(index).copied().filter(|_| whole);
        emit(message, Part::Outcome(outcome(path)));
    }
    let _ = entry;
    Fate::Parsed
}

fn domain(path: &[u8]) -> &[u8] {
    memchr::memrchr(b'@', path).and_then(|at| path.get(at + 1..)).unwrap_or_default()
}

fn up_to_blank(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "D33D6290-C923-4DAC-A4B4-D0E7B8FAF010";

    fn read_all(lines: &[&str]) -> Vec<String> {
        let mut all = Vec::new();
        let mut memory = Memory::default();
        for line in lines {
            let line = format!("2020-12-01T22:15:11.000Z [NOTICE] [{}", line.replace('§', UUID));
            let (fate, parts) = super::super::says_on(&DIALECT, &mut memory, &line);
            assert_ne!(fate, Fate::Unparsed, "{line}");
            all.extend(parts.into_iter().map(|part| part.replace(UUID, "§")));
        }
        all
    }

    #[test]
    fn a_session_and_its_deliveries() {
        assert_eq!(
            read_all(&[
                "§] [core] connect ip=192.0.2.9 port=59300 local_ip=:: local_port=2525",
                "§] [core] C: AUTH PLAIN AGJvYgBnZWhlaW0= state=1",
                "§] [core] S: 235 2.7.0 Authentication successful",
                "§.1] [core] sender <bob@example.com> code=CONT msg=\"\"",
                "§.1] [core] recipient <a@example.net> code=OK msg=\"\" sender=bob@example.com",
                "§.1] [core] recipient <no@example.net> code=DENY msg=\"\" sender=bob@example.com",
                "§.1] [core] recipient <b@example.org> code=OK msg=\"\" sender=bob@example.com",
                "§.1] [core] queue code=OK msg=\"Message Queued\"",
                "§] [core] disconnect ip=192.0.2.9 rdns=x helo=y relay=Y",
                "§.1.1] [outbound] Attempting to deliver to: 198.51.100.1:25 (0) (0)",
                "§.1.1] [outbound]  delivered file=16_0 domain=example.net host=mx ip=198.51.100.1 port=25 mode=SMTP tls=Y auth=N response=\"Queued as BA5AF7A207E delay=9 rcpts=9/9/9\" delay=4.565 fails=0 rcpts=1/0/0",
                "§.1.2] [outbound] Attempting to deliver to: 198.51.100.2:25 (0) (0)",
                "§.1.2] [outbound] Temp failing 16_0 for 64 seconds: Tried all MXs",
            ]),
            [
                " login bob Some(192.0.2.9) true",
                " rejected",
                "§.1 origin begins=true client=Some(192.0.2.9) account=bob original=None/? from=bob@example.com size=None rcpts=Some(2)",
                "§.1 to=a@example.net Remote Sent by=Some(198.51.100.1) tried=Some(198.51.100.1) code=None enhanced=2.0.0 as=BA5AF7A207E",
                "§.1 to=? Remote Deferred by=None tried=Some(198.51.100.2) code=None enhanced=4.0.0 as=?",
            ]
        );
    }

    #[test]
    fn failed_logins_count_once() {
        assert_eq!(
            read_all(&[
                "§] [core] connect ip=192.0.2.9 port=59300",
                "§] [auth/flat_file] delaying for 2 seconds",
                "§] [core] C: AUTH LOGIN state=1",
                "§] [core] S: 334 VXNlcm5hbWU6",
                "§] [core] C: Ym9i state=1",
                "§] [core] S: 334 UGFzc3dvcmQ6",
                "§] [core] C: Z2VoZWlt state=1",
                "§] [auth/flat_file] delaying for 2 seconds",
                "§] [core] S: 535 5.7.8 Authentication failed",
            ]),
            [" login ? Some(192.0.2.9) false", " login bob Some(192.0.2.9) false"]
        );
    }
}
