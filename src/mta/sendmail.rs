//! Sendmail 8: `sendmail`, `sm-mta`, `sm-msp-queue` and other names of its daemon.
//!
//! *In*: syslog lines. *Out*: parts. *Bound*: linear in the line. *Spec*: "Log files" of the Sendmail
//! Installation and Operation Guide, section 2.1.1.
//!
//! Which text is whose: the id and the order of fields are Sendmail's. Addresses are the sender's; in brackets
//! they end where their quotes say. `relay=` ends a line about the origin. What follows `reply=` (8.16) and `stat=` is
//! the receiver's: whether mail was delivered is read from `dsn=` before it, and a line in which the attempt's
//! fields stand twice is ambiguous.

use super::fields::{self, number, rsplit_once, split_once, take_host, take_path};
use super::{Dialect, Emit, Fate, Line, Memory, Origin, Outcome, Part, Route, Status, syslog};
use crate::mail::{EnhancedStatus, Reply};
use std::net::IpAddr;

pub(super) const DIALECT: Dialect = Dialect {
    name: "sendmail",
    about: "Sendmail 8, through syslog",
    split: |_, line| syslog::split(line),
    claims: |program| program == b"sendmail" || program.starts_with(b"sm-"),
    recognises: |_| false,
    read,
    verbatim: false,
    patterns: None,
};

fn read(line: &Line, memory: &mut Memory, emit: Emit) -> Fate {
    let pid = line.pid.unwrap_or_default();
    if let Some(rest) = line.text.strip_prefix(b"AUTH=server, ") {
        return read_login(&[], rest, pid, memory, emit);
    }
    if line.text.starts_with(b"ruleset=") && line.text.windows(9).any(|word| word == b", reject=") {
        emit(&[], Part::Rejected);
        return Fate::Parsed;
    }
    let Some((id, rest)) = take_id(line.text) else { return Fate::Ignored };
    if rest.starts_with(b"from=") {
        return read_origin(id, rest, pid, memory, emit);
    }
    if rest.starts_with(b"to=") {
        return read_outcome(id, rest, emit);
    }
    if let Some(rest) = rest.strip_prefix(b"AUTH=server, ") {
        return read_login(id, rest, pid, memory, emit);
    }
    if rest.starts_with(b"AUTH failure ") || rest.starts_with(b"AUTH=server, fail") {
        return read_failed_login(rest, emit);
    }
    if rest.starts_with(b"done; ") {
        emit(id, Part::Removed);
        return Fate::Parsed;
    }
    if is_refusal(rest) {
        emit(id, Part::Rejected);
        return Fate::Parsed;
    }
    // `id: newid: DSN: User unknown`: a notification, which is a message of its own with its own lines.
    match take_id(rest) {
        Some((_, words)) if words.starts_with(b"DSN: ") || words.starts_with(b"sender notify: ") => {
            Fate::Parsed
        }
        Some((_, words)) if words.starts_with(b"postmaster notify: ") => Fate::Parsed,
        _ => Fate::Ignored,
    }
}

/// `s1N7vR47006519: rest`. 8.12 and later write 14 signs, older ones `AAA12345`; `NOQUEUE` gives an empty id.
fn take_id(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (id, rest) = split_once(text.get(..).unwrap_or_default(), b": ")?;
    if id == b"NOQUEUE" {
        return Some((&[], rest));
    }
    let fits = (7..=20).contains(&id.len()) && id.iter().all(u8::is_ascii_alphanumeric);
    (fits && id.iter().any(u8::is_ascii_digit)).then_some((id, rest))
}

/// `ruleset=check_rcpt, arg1=…, relay=…, reject=550 …`, `Milter: to=…, reject=550 …`, `<a@b>... User unknown`,
/// `rejecting commands from …`.
fn is_refusal(rest: &[u8]) -> bool {
    if rest.starts_with(b"ruleset=") || rest.starts_with(b"Milter: ") {
        return rest.windows(9).any(|word| word == b", reject=");
    }
    let unknown =
        rest.strip_prefix(b"<").and_then(take_path).is_some_and(|(_, rest)| rest.starts_with(b"... "));
    unknown || rest.starts_with(b"rejecting commands from ")
}

/// `from=<path>, size=…, class=…, nrcpts=…, msgid=…, proto=…, daemon=…, relay=user@name [address] (may be forged)`.
fn read_origin(id: &[u8], rest: &[u8], pid: &[u8], memory: &mut Memory, emit: Emit) -> Fate {
    let read = || {
        let (path, rest) = take_address(rest.strip_prefix(b"from=")?, b", size=")?;
        let (size, rest) = split_once(rest.strip_prefix(b", size=")?, b", ")?;
        let rest = split_once(rest.strip_prefix(b"class=")?, b", ")?.1;
        let mut fields = rest.strip_prefix(b"nrcpts=")?.split(|byte| *byte == b',');
        let recipients = fields.next()?;
        let message_id = fields.next().and_then(|field| field.strip_prefix(b" msgid="));
        Some((path, number(size)?, u32::try_from(number(recipients)?).ok()?, message_id))
    };
    let Some((path, size_bytes, recipients, message_id)) = read() else { return Fate::Unparsed };
    let client = rsplit_once(rest, b", relay=").and_then(|(_, relay)| relay_address(relay));
    // The process that serves one client says its login once.
    let account = memory.sessions.get(pid).filter(|session| session.peer == client && client.is_some());
    let account = account.and_then(|session| session.account.as_deref());
    emit(
        id,
        Part::Origin(Origin {
            begins: true,
            client,
            account,
            reverse_path: Some(path),
            size_bytes: Some(size_bytes),
            recipients: Some(recipients),
            message_id,
            ..Origin::default()
        }),
    );
    Fate::Parsed
}

/// `relay=name [address], authid=user, mech=PLAIN, bits=0`.
fn read_login(id: &[u8], rest: &[u8], pid: &[u8], memory: &mut Memory, emit: Emit) -> Fate {
    let read = || {
        let (rest, _) = rsplit_once(rest, b", bits=")?;
        let (rest, _) = rsplit_once(rest, b", mech=")?;
        split_once(rest.strip_prefix(b"relay=")?, b", authid=")
    };
    let Some((relay, account)) = read() else { return Fate::Unparsed };
    let client = relay_address(relay);
    if !pid.is_empty() {
        let session = memory.sessions.begin(pid);
        session.peer = client;
        session.account = Some(super::sessions::Session::kept(account));
    }
    emit(id, Part::Login { account: Some(account), client, succeeded: true });
    Fate::Parsed
}

/// `AUTH failure (LOGIN): authentication failure (-13) SASL(-13): …, relay=name [address]`, with `user=` before
/// `relay=` in newer versions.
fn read_failed_login(rest: &[u8], emit: Emit) -> Fate {
    let Some((words, relay)) = rsplit_once(rest, b", relay=") else { return Fate::Ignored };
    let account = rsplit_once(words, b", user=").map(|(_, account)| account).filter(|name| !name.is_empty());
    emit(&[], Part::Login { account, client: relay_address(relay), succeeded: false });
    Fate::Parsed
}

/// The address of `name [192.0.2.1] (may be forged)`, `[IPv6:2001:db8::1]`, `user@localhost`.
fn relay_address(relay: &[u8]) -> Option<IpAddr> {
    let relay = relay.trim_ascii_end();
    let relay = relay.strip_suffix(b" (may be forged)").unwrap_or(relay);
    let (_, inside) = rsplit_once(relay.strip_suffix(b"]")?, b"[")?;
    fields::address(inside)
}

/// An address in brackets up to the bracket outside quotes, or a bare one up to `ends`.
fn take_address<'l>(text: &'l [u8], ends: &[u8]) -> Option<(&'l [u8], &'l [u8])> {
    if let Some(rest) = text.strip_prefix(b"<")
        && let Some((path, rest)) = take_path(rest)
        && rest.starts_with(ends)
    {
        return Some((path, rest));
    }
    let at = memchr::memmem::find(text, ends)?;
    let (address, rest) = text.split_at_checked(at)?;
    let inner = address.strip_prefix(b"<").and_then(|text| text.strip_suffix(b">"));
    Some((inner.unwrap_or(address), rest))
}

/// What Sendmail says of an attempt after the recipients.
struct Attempt<'l> {
    mailer: &'l [u8],
    relay: &'l [u8],
    dsn: Option<EnhancedStatus>,
    /// The server's reply, where it is written beside Sendmail's word for it.
    reply: Option<&'l [u8]>,
    words: &'l [u8],
    /// All that the receiver may have chosen, the end of the line.
    theirs: &'l [u8],
}

/// `to=<a>,<b>, ctladdr=<c> (8/0), delay=…, xdelay=…, mailer=…, pri=…, relay=…, dsn=…, reply=550 …, stat=…`.
fn read_outcome(id: &[u8], rest: &[u8], emit: Emit) -> Fate {
    let Some(list) = rest.strip_prefix(b"to=") else { return Fate::Unparsed };
    let Some((at, attempt)) = next_attempt(list) else { return Fate::Unparsed };
    let status = status(&attempt);
    let Some(status) = status else { return Fate::Parsed };
    let relay = relay_host(attempt.relay);
    let route = match attempt.mailer {
        b"local" | b"prog" | b"*file*" | b"*include*" | b"procmail" | b"cyrus" | b"cyrusv2" => Route::Local,
        b"discard" => Route::Discarded,
        _ => Route::Remote,
    };
    // A second place where the attempt could begin: the receiver imitates it, or a recipient does.
    if next_attempt(attempt.theirs).is_some() {
        emit(id, Part::Outcome(Outcome { route, ..Outcome::unknown() }));
        return Fate::Ambiguous;
    }
    let reply = answer(&attempt, status);
    let mut list = list.get(..at).unwrap_or_default();
    if let Some(without) = list_without_control_address(list) {
        list = without;
    }
    let mut recipients = 0;
    while let Some((path, rest)) = next_recipient(list) {
        list = rest;
        recipients += 1;
        let outcome = Outcome {
            forward_path: Some(path),
            route,
            responder: relay,
            attempted: relay,
            status,
            reply: Some(reply.clone()),
            passed_to: passed_to(&attempt, status),
            ..Outcome::unknown()
        };
        emit(id, Part::Outcome(outcome));
    }
    if recipients == 0 { Fate::Unparsed } else { Fate::Parsed }
}

/// Where Sendmail's own part could begin, and what it says.
fn next_attempt(text: &[u8]) -> Option<(usize, Attempt<'_>)> {
    memchr::memmem::find_iter(text, b", delay=")
        .find_map(|at| text.get(at..).and_then(take_attempt).map(|attempt| (at, attempt)))
}

fn take_attempt(rest: &[u8]) -> Option<Attempt<'_>> {
    let is_clock = |text: &[u8]| text.iter().all(|b| b.is_ascii_digit() || matches!(b, b':' | b'+'));
    let (delay, rest) = split_once(rest.strip_prefix(b", delay=")?, b", ")?;
    let mut mailer = &b""[..];
    let mut relay = &b""[..];
    let mut dsn = None;
    let mut reply: Option<&[u8]> = None;
    let mut theirs = None;
    let mut rest = rest;
    loop {
        if let Some(words) = rest.strip_prefix(b"stat=") {
            let (words, theirs) = (words.trim_ascii_end(), theirs.unwrap_or(words));
            return is_clock(delay).then_some(Attempt { mailer, relay, dsn, reply, words, theirs });
        }
        let (name, value) = split_once(rest.get(..rest.len().min(512))?, b"=")?;
        let end = match name {
            // Some logs lost the comma after a relay without an address.
            b"relay" => [&b", dsn="[..], b" dsn=", b", stat="]
                .iter()
                .filter_map(|end| memchr::memmem::find(value, end))
                .min()?,
            b"reply" => memchr::memmem::find(value, b", stat=")?,
            b"xdelay" | b"mailer" | b"pri" | b"dsn" | b"ntries" | b"tls_verify" | b"quarantine" => {
                memchr::memchr(b',', value)?
            }
            _ => return None,
        };
        let value = value.get(..end)?;
        match name {
            b"mailer" => mailer = value,
            b"relay" => relay = value,
            b"dsn" => dsn = EnhancedStatus::parse_prefix(value).map(|(status, _)| status),
            b"reply" => {
                reply = Some(value);
                theirs = rest.get(name.len() + 1..);
            }
            _ => {}
        }
        let after = rest.get(name.len() + 1 + end..)?;
        rest = after.strip_prefix(b", ").or_else(|| after.strip_prefix(b" "))?;
    }
}

/// `ctladdr=<owner> (uid/gid)` after the recipients is nobody's recipient. It holds the owner's address.
fn list_without_control_address(list: &[u8]) -> Option<&[u8]> {
    let at = memchr::memmem::find_iter(list, b", ctladdr=").last()?;
    list.get(..at)
}

/// One recipient of `<a>,<b>`, `a, b`, `"|program arguments"`, `/file`.
fn next_recipient(list: &[u8]) -> Option<(&[u8], &[u8])> {
    let list = list.trim_ascii_start();
    let after = |rest: &'_ [u8]| rest.first().is_none_or(|byte| *byte == b',');
    if let Some(rest) = list.strip_prefix(b"<")
        && let Some((path, rest)) = take_path(rest)
        && after(rest)
    {
        return Some((path, rest.get(1..).unwrap_or_default()));
    }
    let (mut quoted, mut end) = (false, 0);
    while let Some(byte) = list.get(end) {
        match byte {
            b'\\' => end += 1,
            b'"' => quoted = !quoted,
            b',' if !quoted => break,
            _ => {}
        }
        end += 1;
    }
    let (path, rest) = list.split_at_checked(end.min(list.len()))?;
    let inner = path.strip_prefix(b"<").and_then(|path| path.strip_suffix(b">"));
    (!path.is_empty()).then_some((inner.unwrap_or(path), rest.get(1..).unwrap_or_default()))
}

/// `None` for what is no attempt: a message that was only put into the queue.
fn status(attempt: &Attempt) -> Option<Status> {
    let says = |word: &[u8]| attempt.words.starts_with(word);
    if says(b"queued") {
        return None;
    }
    match attempt.dsn.map(|dsn| dsn.class) {
        Some(2) => return Some(Status::Sent),
        Some(4) => return Some(Status::Deferred),
        Some(5) => return Some(Status::Bounced),
        _ => {}
    }
    Some(match () {
        () if says(b"Sent") => Status::Sent,
        () if says(b"Deferred") => Status::Deferred,
        () => Status::Bounced,
    })
}

/// `mx.example.net. [192.0.2.1]`; a relay without an address is known by no number.
fn relay_host(relay: &[u8]) -> Option<IpAddr> {
    relay_address(relay).or_else(|| take_host(relay).and_then(|host| host.1))
}

/// The server's words: `reply=550 …`, `Sent (250 …)`, `Deferred: 451 …`, `550 5.1.1 …`; else the status alone.
fn answer(attempt: &Attempt, status: Status) -> Reply {
    let words = attempt.words;
    let inside = words.strip_prefix(b"Sent (").and_then(|words| words.strip_suffix(b")"));
    let said = attempt.reply.or(inside).or_else(|| words.strip_prefix(b"Deferred: ")).unwrap_or(words);
    let enhanced = attempt.dsn.or_else(|| super::sessions::plain_reply(status.class()).enhanced);
    match fields::reply(said) {
        Some(reply) if reply.code.map(Status::of_code) == Some(status) => {
            Reply { enhanced: reply.enhanced.or(enhanced), ..reply }
        }
        _ => Reply { code: None, enhanced, text: Some(fields::reply_text(said)) },
    }
}

/// `Sent (jB88DNPM032108 Message accepted for delivery)`: the next Sendmail's id.
fn passed_to<'l>(attempt: &Attempt<'l>, status: Status) -> Option<&'l [u8]> {
    if status != Status::Sent {
        return None;
    }
    let words = attempt.words.strip_prefix(b"Sent (")?.strip_suffix(b")")?;
    let id = words
        .strip_suffix(b" Message accepted for delivery")
        .map(|words| words.rsplit(|byte| *byte == b' ').next().unwrap_or(words));
    id.filter(|id| fields::is_id(id)).or_else(|| fields::taken_as(words))
}

#[cfg(test)]
mod tests {
    use super::super::says;
    use super::*;

    fn parsed(line: &str) -> Vec<String> {
        let (fate, parts) = says(&DIALECT, &format!("Nov 24 20:14:01 mx1 sm-mta[77]: {line}"));
        assert_eq!(fate, Fate::Parsed, "{line}");
        parts
    }

    #[test]
    fn origins_and_logins() {
        assert_eq!(
            parsed(
                "s1N7vR47006519: from=<bob@example.com>, size=108, class=0, nrcpts=2, msgid=<x@y>, proto=ESMTP, daemon=MTA-v4, relay=pc.example.com [192.0.2.9] (may be forged)"
            ),
            [
                "s1N7vR47006519 origin begins=true client=Some(192.0.2.9) account=? original=None/? from=bob@example.com size=Some(108) rcpts=Some(2)"
            ]
        );
        assert_eq!(
            parsed(
                "s1N7vR47006519: from=root, size=5, class=0, nrcpts=1, msgid=<a, relay=evil [198.51.100.1]>, relay=root@localhost"
            ),
            [
                "s1N7vR47006519 origin begins=true client=None account=? original=None/? from=root size=Some(5) rcpts=Some(1)"
            ]
        );
        assert_eq!(
            parsed("AUTH=server, relay=[IPv6:2001:db8::7], authid=bob, mech=PLAIN, bits=0"),
            [" login bob Some(2001:db8::7) true"]
        );
        assert_eq!(
            parsed(
                "s1N7vR47006519: AUTH failure (LOGIN): authentication failure (-13) SASL(-13): authentication failure: checkpass failed, user=bob, relay=pc [192.0.2.9]"
            ),
            [" login bob Some(192.0.2.9) false"]
        );
    }

    #[test]
    fn outcomes() {
        // 8.16 writes the server's reply beside its own word for it.
        assert_eq!(
            parsed(
                "6AT1ajeM000869: to=a@example.org, delay=00:00:01, xdelay=00:00:00, mailer=esmtp, pri=242029, relay=mx [203.0.113.12], dsn=5.1.1, reply=550 5.1.1 <a@example.org>: User unknown in table, stat=User unknown"
            ),
            [
                "6AT1ajeM000869 to=a@example.org Remote Bounced by=Some(203.0.113.12) tried=Some(203.0.113.12) code=Some(550) enhanced=5.1.1 as=?"
            ]
        );
        let imitated = "Nov 24 20:14:01 mx1 sm-mta[77]: 6AT1ajeM000869: to=a@b, delay=1, dsn=2.0.0, reply=250 x, delay=00:00:01, mailer=esmtp, relay=mx [203.0.113.12], dsn=5.1.1, stat=User unknown";
        assert_eq!(says(&DIALECT, imitated).0, Fate::Ambiguous);
        assert_eq!(
            parsed(
                "s1N7vR47006519: to=<a@example.net>,<b@example.net>, ctladdr=<bob@example.com> (1000/1000), delay=00:00:02, xdelay=00:00:01, mailer=esmtp, pri=120345, relay=mx.example.net. [198.51.100.1], dsn=2.0.0, stat=Sent (250 2.0.0 Ok: queued as 4AB12)"
            ),
            [
                "s1N7vR47006519 to=a@example.net Remote Sent by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(250) enhanced=2.0.0 as=4AB12",
                "s1N7vR47006519 to=b@example.net Remote Sent by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(250) enhanced=2.0.0 as=4AB12"
            ]
        );
        assert_eq!(
            parsed(
                "s1N7vR47006519: to=<a@example.net>, delay=1+05:27:12, xdelay=00:00:00, mailer=esmtp, pri=2820642, relay=mx, dsn=5.1.1, stat=User unknown"
            ),
            [
                "s1N7vR47006519 to=a@example.net Remote Bounced by=None tried=None code=None enhanced=5.1.1 as=?"
            ]
        );
        assert_eq!(
            parsed(
                "s1N7vR47006519: to=a@example.net, delay=00:00:12, mailer=esmtp, pri=1, relay=mx [198.51.100.1], dsn=4.3.2, stat=Deferred: 450 4.3.2 try later"
            ),
            [
                "s1N7vR47006519 to=a@example.net Remote Deferred by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(450) enhanced=4.3.2 as=?"
            ]
        );
        assert_eq!(
            parsed(
                "s1N7vR47006519: to=\"|/usr/bin/vacation, bob\", delay=00:00:12, mailer=prog, pri=1, dsn=2.0.0, stat=Sent"
            ),
            [
                "s1N7vR47006519 to=\"|/usr/bin/vacation, bob\" Local Sent by=None tried=None code=None enhanced=2.0.0 as=?"
            ]
        );
        assert_eq!(
            parsed(
                "s1N7vR47006519: to=bob, delay=00:00:00, mailer=relay, pri=1, relay=[127.0.0.1] [127.0.0.1], dsn=2.0.0, stat=Sent (s1N7vS47006520 Message accepted for delivery)"
            ),
            [
                "s1N7vR47006519 to=bob Remote Sent by=Some(127.0.0.1) tried=Some(127.0.0.1) code=None enhanced=2.0.0 as=s1N7vS47006520"
            ]
        );
    }

    #[test]
    fn a_sender_or_a_receiver_cannot_write_fields() {
        let forged = r#"", delay=00:00:01, xdelay=00:00:01, mailer=esmtp, pri=1, relay=bank [192.0.2.1], dsn=2.0.0, stat=Sent"@evil.example"#;
        let line = format!(
            "Nov 24 20:14:01 mx1 sm-mta[7]: s1N7vR47006519: to=<{forged}>, delay=00:00:02, xdelay=00:00:01, mailer=esmtp, pri=120345, relay=mx. [198.51.100.1], dsn=5.0.0, stat=Service unavailable"
        );
        let (fate, parts) = says(&DIALECT, &line);
        assert_eq!(fate, Fate::Ambiguous);
        assert_eq!(
            parts,
            ["s1N7vR47006519 to=? Remote Unknown by=None tried=None code=None enhanced=? as=?"]
        );
        // A refusal stays a refusal, whatever the words say.
        assert_eq!(
            parsed(
                "s1N7vR47006519: to=<a@b>, delay=00:00:02, xdelay=00:00:01, mailer=esmtp, pri=1, relay=mx. [198.51.100.1], dsn=5.0.0, stat=250 fine"
            ),
            [
                "s1N7vR47006519 to=a@b Remote Bounced by=Some(198.51.100.1) tried=Some(198.51.100.1) code=None enhanced=5.0.0 as=?"
            ]
        );
        let path = r#""x>, size=1, class=0, nrcpts=9, relay=a [192.0.2.66]"@evil.example"#;
        assert_eq!(
            parsed(&format!(
                "s1N7vR47006519: from=<{path}>, size=7, class=0, nrcpts=1, msgid=<m>, relay=c [192.0.2.5]"
            )),
            [format!(
                "s1N7vR47006519 origin begins=true client=Some(192.0.2.5) account=? original=None/? from={path} size=Some(7) rcpts=Some(1)"
            )]
        );
    }

    #[test]
    fn refusals_and_the_rest() {
        for line in [
            "s1N7vR47006519: ruleset=check_rcpt, arg1=<a@b>, relay=[192.0.2.5], reject=550 5.7.1 <a@b>... Relaying denied",
            "ruleset=check_relay, arg1=x, arg2=192.0.2.5, relay=x [192.0.2.5], reject=421 4.3.2 Connection rate limit exceeded.",
            "s1N7vR47006519: Milter: to=<a@b>, reject=550 5.7.1 no",
            "s1N7vR47006519: <a@b>... User unknown",
        ] {
            assert!(parsed(line)[0].ends_with("rejected"), "{line}");
        }
        assert_eq!(parsed("s1N7vR47006519: done; delay=00:00:01, ntries=1"), ["s1N7vR47006519 removed"]);
    }
}
