//! Exim 4: main log, reject log, the same through syslog.
//!
//! *In*: lines with Exim's stamp (milliseconds, zone and pid selected or not), or syslog lines of `exim`.
//! *Out*: parts. *Bound*: linear in the line. *Spec*: "Log files" of the Exim specification, chapter 53.
//!
//! Which text is whose: the id, the flag and the order of fields are Exim's. Addresses are the sender's and
//! keep their quotes, so they end where the quotes say. A HELO name stands in parentheses before the client's
//! address; where junk is allowed in it, it can imitate what follows: a line with two such places yields no
//! client and no account. What follows the last field (`C="…"`, the error text) is the receiver's.

use super::fields::{self, address, split_once, take_path};
use super::stamp::{Stamp, take_iso};
use super::{Dialect, Emit, Fate, Line, Memory, Origin, Outcome, Part, Route, Status, syslog};
use crate::mail::{EnhancedStatus, Reply};
use std::net::IpAddr;

pub(super) const DIALECT: Dialect = Dialect {
    name: "exim",
    about: "Exim: main log, reject log, or through syslog",
    split,
    claims: |program| matches!(program, b"exim" | b"exim4"),
    recognises: |line| take_own_stamp(line).is_some_and(|(_, text)| is_exim_text(text)),
    read,
    verbatim: false,
    patterns: None,
};

/// Takes Exim's own stamp, or syslog's head with or without Exim's stamp behind it. A line without any
/// is the continuation of one before: a header in the reject log, a reply of several lines.
fn split<'l>(_: &mut Memory, line: &'l [u8]) -> Option<Line<'l>> {
    if let Some((stamp, text)) = take_own_stamp(line)
        && !syslog::split(line).is_some_and(|line| (DIALECT.claims)(line.program))
    {
        return Some(Line { stamp: Some(stamp), host: None, program: b"exim", pid: None, text });
    }
    match syslog::split(line) {
        Some(line) => {
            let text = take_own_stamp(line.text).map_or(line.text, |(_, text)| text);
            Some(Line { text, ..line })
        }
        None => Some(split_journal(line).unwrap_or(Line {
            stamp: None,
            host: None,
            program: b"exim",
            pid: None,
            text: line,
        })),
    }
}

/// `host exim[4711]: 2012-02-13 14:39:22 …`: a journal's head without its own time.
fn split_journal(line: &[u8]) -> Option<Line<'_>> {
    let (host, rest) = split_once(line, b" ")?;
    let (pid, rest) = split_once(rest.strip_prefix(b"exim[")?, b"]: ")?;
    let (stamp, text) = take_own_stamp(rest)?;
    Some(Line { stamp: Some(stamp), host: Some(host), program: b"exim", pid: Some(pid), text })
}

/// `2012-02-13 14:39:22.123 +0100 [4711] `.
fn take_own_stamp(line: &[u8]) -> Option<(Stamp, &[u8])> {
    if line.get(10) != Some(&b' ') {
        return None;
    }
    let (stamp, text) = take_iso(line)?;
    let pid = text.strip_prefix(b"[").and_then(|text| split_once(text, b"] "));
    Some((stamp, pid.filter(|(pid, _)| fields::number(pid).is_some()).map_or(text, |(_, text)| text)))
}

fn is_exim_text(text: &[u8]) -> bool {
    take_id(text).is_some()
        || [
            &b"H="[..],
            b"exim ",
            b"Start queue run",
            b"End queue run",
            b"SMTP ",
            b"no host name found",
            b"TLS error",
        ]
        .iter()
        .any(|start| text.starts_with(start))
        || memchr::memmem::find(text.get(..64).unwrap_or(text), b" authenticator failed for ").is_some()
}

/// `1RwtJa-000AFB-07`, since 4.97 `10HmaX-000000005vi-0000`, and the blank after it.
fn take_id(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b' ', text.get(..24).unwrap_or(text))?;
    let (id, rest) = text.split_at_checked(end)?;
    let mut parts = id.split(|byte| *byte == b'-').map(<[u8]>::len);
    let lengths = (parts.next(), parts.next(), parts.next(), parts.next());
    let fits = matches!(lengths, (Some(6), Some(6), Some(2), None) | (Some(6), Some(11), Some(4), None));
    let alphabet = id.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    (fits && alphabet).then_some((id, rest.get(1..)?))
}

fn read(line: &Line, _: &mut Memory, emit: Emit) -> Fate {
    if line.stamp.is_none() {
        return Fate::Ignored;
    }
    let Some((id, rest)) = take_id(line.text) else { return read_without_id(line.text, emit) };
    let Some((flag, rest)) = rest.split_at_checked(3) else {
        return Fate::Ignored;
    };
    match flag {
        b"<= " => read_arrival(id, rest, emit),
        b"=> " | b"-> " | b">> " => read_delivery(id, rest, emit),
        b"** " => read_failure(id, rest, Status::Bounced, emit),
        b"== " => read_failure(id, rest, Status::Deferred, emit),
        b"Com" if rest.starts_with(b"pleted") => {
            emit(id, Part::Removed);
            Fate::Parsed
        }
        _ if is_rejection(line.text) => {
            emit(id, Part::Rejected);
            Fate::Parsed
        }
        _ => Fate::Ignored,
    }
}

fn read_without_id(text: &[u8], emit: Emit) -> Fate {
    if let Some((name, rest)) = split_once(text, b" authenticator failed for ")
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    {
        return read_failed_login(rest, emit);
    }
    if is_rejection(text) {
        emit(&[], Part::Rejected);
        return Fate::Parsed;
    }
    Fate::Ignored
}

/// `H=… F=<…> rejected RCPT <…>: …`, `… temporarily rejected …`, `rejected MAIL …`, `F=<…> rejected after DATA`.
fn is_rejection(text: &[u8]) -> bool {
    text.starts_with(b"rejected ") || memchr::memmem::find(text, b" rejected ").is_some()
}

/// `sender H=name (helo) [address]:port I=[…]:25 U=ident P=esmtpa X=… A=login:account S=123 id=… for …`.
fn read_arrival(id: &[u8], rest: &[u8], emit: Emit) -> Fate {
    let Some((sender, rest)) = take_word(rest) else { return Fate::Unparsed };
    let path = if sender == b"<>" { &[][..] } else { sender };
    let mut origin = Origin { begins: true, reverse_path: Some(path), ..Origin::default() };
    let mut fate = Fate::Parsed;
    let tail = if rest.starts_with(b"H=") {
        match take_only(client_places(rest, |rest| skip_between(rest).starts_with(b" P="))) {
            Ok((client, rest)) => {
                origin.client = client;
                rest
            }
            Err(many) => {
                fate = if many { Fate::Ambiguous } else { Fate::Unparsed };
                &[]
            }
        }
    } else {
        rest
    };
    let (account, size) = read_protocol(tail);
    origin.account = account;
    origin.size_bytes = size;
    // The first one: after it come the subject and the recipients, which a sender writes as he likes.
    origin.message_id = split_once(tail, b" id=").map(|(_, rest)| up_to_blank(rest));
    if let (Some(_), Some(_)) = (account, origin.client) {
        emit(id, Part::Login { account, client: origin.client, succeeded: true });
    }
    emit(id, Part::Origin(origin));
    fate
}

/// Account and size among the fields after the client: they stand before the message id, so everything up
/// to `S=` is Exim's, but for what a client may choose in TLS or by an ident service: beside such fields a
/// second `A=` or `S=` makes both unknown.
fn read_protocol(tail: &[u8]) -> (Option<&[u8]>, Option<u64>) {
    let chosen =
        [&b" SNI="[..], b" U=", b" DN="].iter().any(|field| memchr::memmem::find(tail, field).is_some());
    let twice = |field: &[u8]| memchr::memmem::find_iter(tail, field).nth(1).is_some();
    if chosen && (twice(b" A=") || twice(b" S=")) {
        return (None, None);
    }
    let (head, size) = match split_once(tail, b" S=") {
        Some((head, rest)) => (head, fields::number(up_to_blank(rest))),
        None => (tail, None),
    };
    let account = split_once(head, b" A=")
        .and_then(|(_, rest)| split_once(up_to_blank(rest), b":"))
        .map(|(_, rest)| rest.split(|byte| *byte == b':').next().unwrap_or(rest));
    (account.filter(|name| !name.is_empty()), size)
}

/// `for H=name (helo) [address]:port I=[…]:587 Ci=1: 535 Incorrect authentication data (set_id=name)`.
fn read_failed_login(rest: &[u8], emit: Emit) -> Fate {
    let answers = |rest: &[u8]| {
        skip_between(rest).strip_prefix(b": ").is_some_and(|rest| fields::reply(rest).is_some())
    };
    let (client, tail, fate) = match take_only(client_places(rest, answers)) {
        Ok((client, tail)) => (client, tail, Fate::Parsed),
        Err(true) => (None, &[][..], Fate::Ambiguous),
        // A program on this machine has no address: `for U=login: 535 …`.
        Err(false) if rest.starts_with(b"U=") => (None, rest, Fate::Parsed),
        Err(false) => return Fate::Unparsed,
    };
    let account = split_once(tail, b" (set_id=").map(|(_, name)| {
        let end = memchr::memrchr(b')', name).unwrap_or(name.len());
        name.get(..end).unwrap_or(name)
    });
    emit(&[], Part::Login { account, client, succeeded: false });
    fate
}

/// Every place where an address in brackets stands as a client's does: after a blank, a name or a HELO, and
/// before what `follows` accepts. Returns the addresses with what comes after the port.
fn client_places<'l>(
    text: &'l [u8],
    follows: impl Fn(&'l [u8]) -> bool,
) -> impl Iterator<Item = (Option<IpAddr>, &'l [u8])> {
    memchr::memchr_iter(b'[', text).filter_map(move |at| {
        // The interface that took the connection stands in brackets of its own.
        if text.get(..at)?.ends_with(b" I=") {
            return None;
        }
        let (inside, rest) = split_once(text.get(at + 1..)?, b"]")?;
        let rest = skip_port(rest);
        (!inside.contains(&b' ') && follows(rest)).then(|| (address(inside), rest))
    })
}

/// The only element; else whether there are many.
fn take_only<T>(mut places: impl Iterator<Item = T>) -> Result<T, bool> {
    let first = places.next().ok_or(false)?;
    if places.next().is_some() { Err(true) } else { Ok(first) }
}

/// A line of which only the recipient's end is doubtful.
fn doubtful(id: &[u8], emit: Emit) -> Fate {
    emit(id, Part::Outcome(Outcome::unknown()));
    Fate::Ambiguous
}

/// `address <original> P=<sender> R=router T=transport H=host [address]:port X=… C="250 OK id=…"`.
fn read_delivery(id: &[u8], rest: &[u8], emit: Emit) -> Fate {
    let Ok(quoted) = take_quoted(rest) else { return doubtful(id, emit) };
    let Some((recipient, fields)) = quoted.or_else(|| take_recipient(rest)) else { return Fate::Unparsed };
    // The confirmation is the receiver's text, with its quotes escaped: nothing of ours follows it but times.
    let (fields, confirmation) = split_once(fields, b" C=\"").unwrap_or((fields, &[]));
    let (router, responder) = read_route(fields);
    let confirmation = unquoted(confirmation);
    let said = fields::reply_of_lines(confirmation).filter(|reply| reply.code.is_some_and(|code| code < 400));
    let outcome = Outcome {
        forward_path: Some(recipient.path),
        route: route(&recipient, router, responder),
        responder,
        attempted: responder,
        status: Status::Sent,
        reply: Some(said.unwrap_or(Reply { code: None, enhanced: Some(plain(2)), text: None })),
        passed_to: fields::taken_as(confirmation),
        ..Outcome::unknown()
    };
    emit(id, Part::Outcome(outcome));
    Fate::Parsed
}

/// `address <original> R=router T=transport H=host [address]: error`, for deferrals with ` defer (-44)` before
/// the host. Shorter where no transport was reached.
fn read_failure(id: &[u8], rest: &[u8], status: Status, emit: Emit) -> Fate {
    let Ok(quoted) = take_quoted(rest) else { return doubtful(id, emit) };
    let Some((recipient, rest)) = quoted.or_else(|| take_recipient(rest)) else { return Fate::Unparsed };
    let (fields, words) = split_fields(rest);
    // No attempt was made. (With `**` the same words give up after a long time of failures.)
    let waits =
        words.starts_with(b"retry time not reached") || words.starts_with(b"SMTP delivery explicitly queued");
    if waits && status == Status::Deferred {
        return Fate::Parsed;
    }
    let (router, responder) = read_route(fields);
    let (said, host) = said(words);
    let responder = responder.or(host);
    let class = if status == Status::Bounced { 5 } else { 4 };
    let reply = said.filter(|reply| reply.code.is_some_and(|code| code >= 400)).unwrap_or_else(|| Reply {
        code: None,
        enhanced: Some(plain(class)),
        text: Some(fields::reply_text(words)),
    });
    let outcome = Outcome {
        forward_path: Some(recipient.path),
        route: route(&recipient, router, responder),
        responder,
        attempted: responder,
        status,
        reply: Some(reply),
        ..Outcome::unknown()
    };
    emit(id, Part::Outcome(outcome));
    Fate::Parsed
}

/// A recipient as it stands after the flag.
struct Recipient<'l> {
    /// The address, or the original one where the final one is a mailbox, a pipe or a file.
    path: &'l [u8],
    /// Whether it ends on this machine by its form alone.
    local: bool,
    discarded: bool,
}

/// A recipient whose local part needs quotes: Exim logs it bare, with its blanks, and then the original with its
/// quotes: `=> x r=y@b <"x r=y"@b> R=…`. It ends where the original, bare, equals all that stands before it.
/// `Err` where that is so in two places: the sender imitates it.
fn take_quoted(rest: &[u8]) -> Result<Option<(Recipient<'_>, &[u8])>, ()> {
    let places = memchr::memmem::find_iter(rest, b" <\"").filter_map(|at| {
        let (bare, original) = rest.split_at_checked(at)?;
        let (path, after) = take_path(original.get(2..)?)?;
        is_quoted_form(path, bare).then_some((Recipient { path, local: false, discarded: false }, after))
    });
    match take_only(places) {
        Ok(found) => Ok(Some(found)),
        Err(true) => Err(()),
        Err(false) => Ok(None),
    }
}

/// Whether `"a \"b"@c` is what `a "b@c` looks like in quotes. Exim logs in lower case.
fn is_quoted_form(quoted: &[u8], bare: &[u8]) -> bool {
    let mut bare = bare.iter();
    let (mut inside, mut i) = (false, 0);
    while let Some(byte) = quoted.get(i) {
        i += 1;
        let byte = match byte {
            b'"' => {
                inside = !inside;
                continue;
            }
            b'\\' if inside => {
                i += 1;
                quoted.get(i - 1)
            }
            byte => Some(byte),
        };
        match (byte, bare.next()) {
            (Some(byte), Some(other)) if byte.eq_ignore_ascii_case(other) => {}
            _ => return false,
        }
    }
    bare.next().is_none()
}

fn take_recipient(rest: &[u8]) -> Option<(Recipient<'_>, &[u8])> {
    let special = matches!(rest.first(), Some(b'|' | b'/' | b':'));
    let (name, rest) = match special {
        // A command or file name may hold blanks; the original address follows it.
        true => {
            let end = memchr::memmem::find(rest, b" <").or_else(|| memchr::memchr(b' ', rest));
            rest.split_at_checked(end.unwrap_or(rest.len()))?
        }
        false => take_address(rest)?,
    };
    let rest_after = rest.strip_prefix(b" <").and_then(take_path);
    let discarded = name == b":blackhole:";
    match rest_after {
        Some((original, after)) if special || !name.contains(&b'@') => {
            Some((Recipient { path: original, local: true, discarded }, after))
        }
        Some((_, after)) => Some((Recipient { path: name, local: false, discarded: false }, after)),
        None => Some((Recipient { path: name, local: false, discarded }, rest)),
    }
}

/// An address up to the blank or the colon outside quotes that ends it.
fn take_address(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut quoted, mut i) = (false, 0);
    while let Some(byte) = text.get(i) {
        match byte {
            b'\\' => i += 1,
            b'"' => quoted = !quoted,
            b' ' if !quoted => break,
            b':' if !quoted && matches!(text.get(i + 1), Some(b' ') | None) => break,
            _ => {}
        }
        i += 1;
    }
    let (address, rest) = text.split_at_checked(i.min(text.len()))?;
    (!address.is_empty() && !quoted).then_some((address, rest))
}

/// A word up to the blank outside quotes that ends it, and what follows the blank.
fn take_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut quoted, mut i) = (false, 0);
    while let Some(byte) = text.get(i) {
        match byte {
            b'\\' => i += 1,
            b'"' => quoted = !quoted,
            b' ' if !quoted => break,
            _ => {}
        }
        i += 1;
    }
    let (word, rest) = text.split_at_checked(i.min(text.len()))?;
    (!word.is_empty() && !quoted).then_some((word, rest.get(1..).unwrap_or_default()))
}

/// Splits Exim's fields from the error text, which begins at the first colon that ends a word.
fn split_fields(rest: &[u8]) -> (&[u8], &[u8]) {
    let (fields, words) = split_once(rest, b": ").unwrap_or((rest.strip_suffix(b":").unwrap_or(rest), &[]));
    (fields.strip_suffix(b" ").unwrap_or(fields), words)
}

/// Transport and server among the fields. Names of routers and transports hold no blank; host names come
/// from the DNS, which Exim checks for their characters.
fn read_route(fields: &[u8]) -> (Option<&[u8]>, Option<IpAddr>) {
    let transport = split_once(fields, b" T=").map(|(_, rest)| up_to_blank(rest));
    let host = split_once(fields, b" H=").and_then(|(_, rest)| {
        let (_, rest) = split_once(rest, b"[")?;
        address(split_once(rest, b"]")?.0)
    });
    (transport, host)
}

fn route(recipient: &Recipient, transport: Option<&[u8]>, responder: Option<IpAddr>) -> Route {
    if recipient.discarded {
        return Route::Discarded;
    }
    let over_smtp = transport.is_none_or(|name| memchr::memmem::find(name, b"smtp").is_some());
    match responder {
        None if recipient.local || !over_smtp => Route::Local,
        _ => Route::Remote,
    }
}

/// The server's answer inside an error text: `SMTP error from remote mail server after RCPT TO:<…>: host
/// name [address]: 550 …`; newer versions name the host before. The command may hold a path of the
/// sender's, which ends where its quotes say.
fn said(words: &[u8]) -> (Option<Reply>, Option<IpAddr>) {
    let read = || {
        let rest = ["SMTP error from remote mail server after ", "LMTP error after "]
            .iter()
            .find_map(|start| words.strip_prefix(start.as_bytes()))?;
        let rest = match split_once(rest, b":<") {
            Some((command, path)) if command.ends_with(b" TO") || command.ends_with(b" FROM") => {
                take_path(path)?.1
            }
            _ => rest,
        };
        let rest = split_once(rest, b": ")?.1;
        let Some(host) = rest.strip_prefix(b"host ") else {
            return Some((fields::reply_of_lines(rest), None));
        };
        let (_, host) = split_once(host, b" [")?;
        let (inside, rest) = split_once(host, b"]")?;
        Some((fields::reply_of_lines(skip_port(rest).strip_prefix(b": ")?), address(inside)))
    };
    read().unwrap_or((None, None))
}

/// What stands before the closing quote. Escapes are left as they are.
fn unquoted(text: &[u8]) -> &[u8] {
    let mut i = 0;
    while let Some(byte) = text.get(i) {
        match byte {
            b'\\' => i += 1,
            b'"' => break,
            _ => {}
        }
        i += 1;
    }
    text.get(..i.min(text.len())).unwrap_or_default()
}

fn plain(class: u8) -> EnhancedStatus {
    EnhancedStatus { class, subject: 0, detail: 0 }
}

fn up_to_blank(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b' ').next().unwrap_or_default()
}

fn skip_port(text: &[u8]) -> &[u8] {
    let Some(rest) = text.strip_prefix(b":") else { return text };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 { text } else { rest.get(digits..).unwrap_or_default() }
}

/// Skips ` I=[address]:port`, ` Ci=id`, ` U=ident`, ` PRX=…`: what Exim puts between a client's address and
/// what follows. None of them holds a blank.
fn skip_between(mut text: &[u8]) -> &[u8] {
    while let Some(name) =
        [&b" TFO"[..], b" I=", b" Ci=", b" U=", b" PRX="].iter().find(|name| text.starts_with(name))
    {
        let word = up_to_blank(text.get(name.len()..).unwrap_or_default());
        let word = word.strip_suffix(b":").unwrap_or(word);
        text = text.get(name.len() + word.len()..).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::says;
    use super::*;

    fn parsed(line: &str) -> Vec<String> {
        let (fate, parts) = says(&DIALECT, &format!("2026-11-24 20:14:01 {line}"));
        assert_eq!(fate, Fate::Parsed, "{line}");
        parts
    }

    const ID: &str = "1RwtJa-000AFB-07";

    /// Found by a real Exim 4.96 with hostile recipients.
    #[test]
    fn a_recipient_with_blanks_cannot_write_fields() {
        let local = "victim@corp.example R=out T=out H=bank [192.0.2.66] C=\\\"250 ok\\\" x";
        let bare = local.replace('\\', "");
        assert_eq!(
            parsed(&format!(
                "{ID} => {bare}@b.example <\"{local}\"@b.example> R=out T=out H=mx [198.51.100.1] C=\"250 fine\""
            )),
            [format!(
                "{ID} to=\"{local}\"@b.example Remote Sent by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(250) enhanced=? as=?"
            )]
        );
        // One that brings its own original along makes two readings.
        let local = "x@y <\\\"x\\\"@y> R=out T=out H=bank [192.0.2.66] z";
        let bare = local.replace('\\', "");
        let line = format!(
            "2026-11-24 20:14:01 {ID} => {bare}@b.example <\"{local}\"@b.example> R=out T=out H=mx [198.51.100.1]"
        );
        let (fate, parts) = says(&DIALECT, &line);
        assert_eq!(fate, Fate::Ambiguous);
        assert_eq!(parts, [format!("{ID} to=? Remote Unknown by=None tried=None code=None enhanced=? as=?")]);
    }

    #[test]
    fn arrivals() {
        for (line, expected) in [
            (
                "<= a@b H=pc.example (helo) [192.0.2.9]:4711 I=[198.51.100.7]:587 P=esmtpsa X=TLS1.3:x:256 CV=no A=login:Bob@x S=1289 id=1@x for c@d",
                "origin begins=true client=Some(192.0.2.9) account=Bob@x original=None/? from=a@b size=Some(1289) rcpts=None",
            ),
            (
                "<= <> R=1RookS-000Pg8-VO U=mailnull P=local S=3958",
                "origin begins=true client=None account=? original=None/? from= size=Some(3958) rcpts=None",
            ),
            (
                "<= a@b H=([10.0.0.1]) [2001:db8::9] U=x P=smtp S=5",
                "origin begins=true client=Some(2001:db8::9) account=? original=None/? from=a@b size=Some(5) rcpts=None",
            ),
        ] {
            let expected = format!("{ID} {expected}");
            assert_eq!(parsed(&format!("{ID} {line}")).last(), Some(&expected), "{line}");
        }
        let (_, parts) = says(
            &DIALECT,
            "Nov 24 20:14:01 mx1 exim[7]: 2026-11-24 20:14:01 10HmaX-000000005vi-0000 Completed",
        );
        assert_eq!(parts, ["10HmaX-000000005vi-0000 removed"]);
        let (_, parts) = says(&DIALECT, "2026-11-24 20:14:01.123 +0100 [4711] 1RwtJa-000AFB-07 Completed");
        assert_eq!(parts, ["1RwtJa-000AFB-07 removed"]);
    }

    #[test]
    fn outcomes() {
        for (line, expected) in [
            (
                "=> c@d R=dnslookup T=remote_smtp H=mx.d [192.0.2.1]:25 X=TLS C=\"250 2.0.0 OK id=1RwtJa-000AFB-99\" QT=1s",
                "to=c@d Remote Sent by=Some(192.0.2.1) tried=Some(192.0.2.1) code=Some(250) enhanced=2.0.0 as=1RwtJa-000AFB-99",
            ),
            (
                "-> c@d <e@f> R=dnslookup T=remote_smtp H=mx.d [192.0.2.1]* C=\"250 said \\\"no\\\" [192.0.2.66]\"",
                "to=c@d Remote Sent by=Some(192.0.2.1) tried=Some(192.0.2.1) code=Some(250) enhanced=? as=?",
            ),
            (
                "=> bob <bob@f> R=local T=maildir_home",
                "to=bob@f Local Sent by=None tried=None code=None enhanced=2.0.0 as=?",
            ),
            (
                "=> |/usr/bin/procmail -d x <bob@f> R=r T=address_pipe",
                "to=bob@f Local Sent by=None tried=None code=None enhanced=2.0.0 as=?",
            ),
            (
                "=> :blackhole: <bob@f> R=r",
                "to=bob@f Discarded Sent by=None tried=None code=None enhanced=2.0.0 as=?",
            ),
            (
                "** c@d R=dnslookup T=remote_smtp: SMTP error from remote mail server after RCPT TO:<c@d>: host mx.d [192.0.2.1]: 550 5.1.1 no",
                "to=c@d Remote Bounced by=Some(192.0.2.1) tried=Some(192.0.2.1) code=Some(550) enhanced=5.1.1 as=?",
            ),
            (
                "** c@d R=dnslookup T=remote_smtp H=mx.d [192.0.2.1]: SMTP error from remote mail server after end of data: 550 spam",
                "to=c@d Remote Bounced by=Some(192.0.2.1) tried=Some(192.0.2.1) code=Some(550) enhanced=? as=?",
            ),
            (
                "** c@d: retry timeout exceeded",
                "to=c@d Remote Bounced by=None tried=None code=None enhanced=5.0.0 as=?",
            ),
            (
                "** c@d : Unrouteable address",
                "to=c@d Remote Bounced by=None tried=None code=None enhanced=5.0.0 as=?",
            ),
            (
                "== c@d R=r T=remote_smtp defer (-44) H=mx.d [192.0.2.1]: SMTP error from remote mail server after RCPT TO:<c@d>: 450 4.7.1 later",
                "to=c@d Remote Deferred by=Some(192.0.2.1) tried=Some(192.0.2.1) code=Some(450) enhanced=4.7.1 as=?",
            ),
            (
                "== bob@f R=local T=appendfile defer (-22): mailbox is full",
                "to=bob@f Local Deferred by=None tried=None code=None enhanced=4.0.0 as=?",
            ),
        ] {
            assert_eq!(parsed(&format!("{ID} {line}")), [format!("{ID} {expected}")], "{line}");
        }
        assert_eq!(parsed(&format!("{ID} == c@d routing defer (-52): retry time not reached")).len(), 0);
    }

    #[test]
    fn logins_and_refusals() {
        assert_eq!(
            parsed(
                "dovecot_login authenticator failed for (User) [192.0.2.66]:2129 I=[203.0.113.1]:465 Ci=30: 535 Incorrect authentication data (set_id=u@x)"
            ),
            [" login u@x Some(192.0.2.66) false"]
        );
        assert_eq!(
            parsed(
                "plain authenticator failed for H=(x) [192.0.2.66] U=y: 435 Unable to authenticate at present"
            ),
            [" login ? Some(192.0.2.66) false"]
        );
        assert_eq!(parsed("H=a [192.0.2.66] F=<b@c> rejected RCPT <d@e>: no"), [" rejected"]);
    }

    #[test]
    fn a_sender_cannot_write_fields() {
        let sender = r#""x H=bank [192.0.2.1] P=esmtpa A=plain:victim S=1"@evil.example"#;
        assert_eq!(
            parsed(&format!(
                "{ID} <= {sender} H=pc [192.0.2.66] P=esmtpa A=plain:mallory S=9 id=x A=plain:victim [192.0.2.1]"
            ))[1],
            format!(
                "{ID} origin begins=true client=Some(192.0.2.66) account=mallory original=None/? from={sender} size=Some(9) rcpts=None"
            )
        );
        // Junk in HELO, where allowed, makes a second place: none is believed.
        for line in [
            "<= a@b H=(x) [192.0.2.1] P=esmtpa A=plain:victim S=1) [192.0.2.66] P=esmtpa A=plain:mallory S=9",
            "<= a@b H=(x) [192.0.2.66] P=esmtp S=9 id=y [192.0.2.1] P=esmtpa A=plain:victim S=1",
        ] {
            let (fate, parts) = says(&DIALECT, &format!("2026-11-24 20:14:01 {ID} {line}"));
            assert_eq!(fate, Fate::Ambiguous);
            assert_eq!(
                parts,
                [format!(
                    "{ID} origin begins=true client=None account=? original=None/? from=a@b size=None rcpts=None"
                )]
            );
        }
        let recipient = r#""a R=r T=t H=bank [192.0.2.1] C="@evil.example"#;
        assert_eq!(
            parsed(&format!("{ID} => {recipient} R=dnslookup T=remote_smtp H=mx [192.0.2.66] C=\"250 ok\"")),
            [format!(
                "{ID} to={recipient} Remote Sent by=Some(192.0.2.66) tried=Some(192.0.2.66) code=Some(250) enhanced=? as=?"
            )]
        );
        assert_eq!(
            parsed(&format!(
                "{ID} ** {recipient} R=dnslookup T=remote_smtp H=mx [192.0.2.66]: SMTP error from remote mail server after RCPT TO:<{recipient}>: 550 : 250 ok"
            )),
            [format!(
                "{ID} to={recipient} Remote Bounced by=Some(192.0.2.66) tried=Some(192.0.2.66) code=Some(550) enhanced=? as=?"
            )]
        );
    }
}
