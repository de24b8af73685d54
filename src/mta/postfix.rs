//! Postfix, 2.2 to 3.11: every daemon that says who sends what to whom.
//!
//! *In*: syslog lines of programs named `instance/daemon`. *Out*: parts. *Bound*: linear in the line.
//! *Spec*: the log formats of smtpd(8), qmgr(8), cleanup(8), pickup(8), smtp(8), bounce(8).
//!
//! Which text is whose: queue id, daemon, `relay=` to `status=`, `size=`, `nrcpt=` are Postfix's. The
//! recipient and the reverse-path are the sender's, the words in parentheses the receiver's. Since 3.5
//! addresses are logged in quoted form, which ends where the quotes say; older versions log them raw, so a
//! line that can be split in two places is ambiguous and yields no recipient, server or answer.

use super::fields::{self, rsplit_once, split_once, take_host, take_path};
use super::{Dialect, Emit, Fate, Line, Memory, Origin, Outcome, Part, Route, Status, syslog};
use crate::mail::{EnhancedStatus, Reply};
use std::net::IpAddr;

pub(super) const DIALECT: Dialect = Dialect {
    name: "postfix",
    about: "Postfix, through syslog or its own maillog_file",
    split: |_, line| syslog::split(line),
    claims: |program| daemon(program).is_some(),
    recognises: |_| false,
    read,
    verbatim: false,
    patterns: None,
};

/// Daemons whose lines are read, and those that are known to say nothing about a message.
const DAEMONS: &[&[u8]] = &[
    b"smtpd",
    b"qmgr",
    b"smtp",
    b"cleanup",
    b"pickup",
    b"lmtp",
    b"local",
    b"virtual",
    b"pipe",
    b"bounce",
    b"error",
    b"discard",
    b"retry",
    b"relay",
    b"oqmgr",
    b"nqmgr",
    b"postscreen",
    b"anvil",
    b"scache",
    b"master",
    b"dnsblog",
    b"verify",
    b"tlsproxy",
    b"tlsmgr",
    b"proxymap",
    b"trivial-rewrite",
    b"postdrop",
    b"sendmail",
    b"postsuper",
    b"postqueue",
    b"postfix-script",
    b"defer",
    b"trace",
    b"flush",
    b"showq",
    b"spawn",
    b"postlog",
    b"postlogd",
    b"proxywrite",
    b"qmqpd",
    b"postmap",
    b"postalias",
    b"postqueue",
    b"bounced",
];

/// The daemon of a program name: `postfix/smtpd`, `postfix-out/submission/smtpd`, `mail/smtp`.
fn daemon(program: &[u8]) -> Option<&[u8]> {
    if program == b"postfix" {
        return Some(program);
    }
    let slash = memchr::memrchr(b'/', program)?;
    let name = program.get(slash + 1..)?;
    (DAEMONS.contains(&name) || program.starts_with(b"postfix")).then_some(name)
}

fn read(line: &Line, _: &mut Memory, emit: Emit) -> Fate {
    let Some(daemon) = daemon(line.program) else { return Fate::Ignored };
    let text = line.text;
    let Some((id, rest)) = take_id(text) else {
        return match daemon {
            b"smtpd" => read_warning(text, emit),
            _ => Fate::Ignored,
        };
    };
    // Some relays cut the daemon off: its line's form tells it.
    let daemon = if daemon == b"postfix" { daemon_by_form(rest) } else { daemon };
    match daemon {
        b"smtpd" | b"postscreen" | b"qmqpd" => read_smtpd(id, rest, emit),
        b"qmgr" | b"oqmgr" | b"nqmgr" if rest.starts_with(b"from=<") => read_qmgr(id, rest, emit),
        b"qmgr" | b"oqmgr" | b"nqmgr" | b"postsuper" if rest.starts_with(b"removed") => {
            emit(id, Part::Removed);
            Fate::Parsed
        }
        b"pickup" if rest.starts_with(b"uid=") => read_pickup(id, rest, emit),
        b"cleanup" if rest.starts_with(b"resent-message-id=") => Fate::Parsed,
        b"cleanup" if rest.starts_with(b"message-id=") => {
            let message_id = rest.strip_prefix(b"message-id=");
            emit(id, Part::Origin(Origin { message_id, ..Origin::default() }));
            Fate::Parsed
        }
        b"cleanup" if is_refusal(rest) => {
            emit(id, Part::Rejected);
            Fate::Parsed
        }
        b"bounce" if rsplit_once(rest, b"notification: ").is_some_and(|(_, id)| looks_like_id(id)) => {
            Fate::Parsed
        }
        _ if rest.starts_with(b"to=<") => read_outcome(id, daemon, rest, emit),
        _ if rest.starts_with(b"to=") => read_bare_outcome(id, daemon, rest, emit),
        _ => Fate::Ignored,
    }
}

fn daemon_by_form(rest: &[u8]) -> &'static [u8] {
    let begins = |start: &[u8]| rest.starts_with(start);
    match () {
        () if begins(b"client=") || is_refusal(rest) => b"smtpd",
        () if begins(b"from=<") || begins(b"removed") => b"qmgr",
        () if begins(b"uid=") => b"pickup",
        () if begins(b"message-id=") => b"cleanup",
        () => b"smtp",
    }
}

/// Splits `4BfG2k1z…: rest`. `NOQUEUE` gives an empty id.
fn take_id(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', text.get(..64).unwrap_or(text))?;
    let (id, rest) = text.split_at_checked(colon)?;
    let rest = rest.strip_prefix(b": ")?;
    if id == b"NOQUEUE" {
        return Some((&[], rest));
    }
    looks_like_id(id).then_some((id, rest))
}

/// Short ids are upper-case hexadecimal, long ones use digits and consonants (postconf(5),
/// `enable_long_queue_ids`). Words such as `warning` have vowels and no digits.
fn looks_like_id(text: &[u8]) -> bool {
    let all = |test: fn(&u8) -> bool| text.iter().all(test);
    (5..=64).contains(&text.len())
        && all(u8::is_ascii_alphanumeric)
        && (text.iter().any(u8::is_ascii_digit)
            || all(|byte| matches!(byte, b'A'..=b'F'))
            || all(|byte| !matches!(byte.to_ascii_lowercase(), b'a' | b'e' | b'i' | b'o' | b'u')))
}

/// `reject: RCPT from …`, `milter-reject: END-OF-MESSAGE from …`, `proxy-reject: …`, `discard: …`.
fn is_refusal(rest: &[u8]) -> bool {
    [&b"reject: "[..], b"milter-reject: ", b"proxy-reject: ", b"discard: ", b"milter-discard: "]
        .iter()
        .any(|word| rest.starts_with(word))
}

/// `client=name[address], sasl_method=PLAIN, sasl_username=x, sasl_sender=y, orig_queue_id=z,
/// orig_client=name[address]`; `reject: …`; `proxy-accept: …`.
fn read_smtpd(id: &[u8], rest: &[u8], emit: Emit) -> Fate {
    if is_refusal(rest) {
        emit(id, Part::Rejected);
        return Fate::Parsed;
    }
    if let Some(rest) = rest.strip_prefix(b"proxy-accept: END-OF-MESSAGE from ") {
        return read_proxy_accept(rest, emit);
    }
    let Some(rest) = rest.strip_prefix(b"client=") else { return Fate::Ignored };
    let Some((_, client, rest)) = take_host(rest) else { return Fate::Unparsed };
    let rest = skip_port(rest);
    let account = field(rest, b", sasl_username=");
    // A name that goes on like the fields after it: nobody can tell which is which.
    let doubtful = split_once(rest, b", sasl_username=")
        .is_some_and(|(_, name)| memchr::memmem::find(name, b", orig_").is_some());
    let account = account.filter(|_| !doubtful);
    if account.is_some() || doubtful {
        emit(id, Part::Login { account, client, succeeded: true });
    }
    if !id.is_empty() {
        let after = if doubtful { &[][..] } else { rest };
        let original_client = rsplit_once(after, b", orig_client=")
            .and_then(|(_, host)| take_host(host))
            .and_then(|host| host.1);
        let original_id = rsplit_once(after, b", orig_queue_id=").map(|(_, rest)| up_to_comma(rest));
        emit(
            id,
            Part::Origin(Origin {
                begins: true,
                client,
                account,
                original_client,
                original_id,
                ..Origin::default()
            }),
        );
    }
    if doubtful { Fate::Ambiguous } else { Fate::Parsed }
}

/// A proxy filter took the message before it was queued: `name[address]: 250 2.0.0 Ok: queued as ID;
/// from=<…> to=<…> proto=ESMTP helo=<…> sasl_username=<…>`. The answer is our own filter's.
fn read_proxy_accept(rest: &[u8], emit: Emit) -> Fate {
    let Some((_, client, rest)) = take_host(rest) else { return Fate::Unparsed };
    let Some((answer, tail)) = split_once(skip_port(rest), b"; from=<") else { return Fate::Unparsed };
    let Some(id) = fields::taken_as(answer) else { return Fate::Ignored };
    // HELO names hold no blank and no bracket (smtpd replaces them), so the last one is Postfix's own.
    let account = rsplit_once(tail, b" helo=<")
        .and_then(|(_, tail)| split_once(tail, b"> sasl_username=<"))
        .and_then(|(_, account)| account.strip_suffix(b">"));
    emit(id, Part::Origin(Origin { client, account, ..Origin::default() }));
    Fate::Parsed
}

/// `warning: name[address]: SASL LOGIN authentication failed: reason, sasl_username=x`.
fn read_warning(text: &[u8], emit: Emit) -> Fate {
    let Some(rest) = text.strip_prefix(b"warning: ") else { return Fate::Ignored };
    let Some((_, client, rest)) = take_host(rest) else { return Fate::Ignored };
    let Some(rest) = skip_port(rest).strip_prefix(b": SASL ") else { return Fate::Ignored };
    let Some((_, rest)) = split_once(rest, b" ") else { return Fate::Ignored };
    let Some(reason) = rest.strip_prefix(b"authentication failed") else { return Fate::Ignored };
    // The reason is the server's own, up to the name that was tried.
    let account = split_once(reason, b", sasl_username=").map(|(_, account)| account);
    emit(&[], Part::Login { account: account.filter(|name| !is_no_name(name)), client, succeeded: false });
    Fate::Parsed
}

/// What Postfix prints where it knows no name.
fn is_no_name(name: &[u8]) -> bool {
    name.is_empty() || name == b"(unavailable)"
}

/// `from=<…>, size=123, nrcpt=1 (queue active)` or `from=<…>, status=expired, returned to sender`:
/// between a fixed head and a fixed tail, so that the path may hold anything.
fn read_qmgr(id: &[u8], rest: &[u8], emit: Emit) -> Fate {
    let Some(rest) = rest.strip_prefix(b"from=<") else { return Fate::Unparsed };
    if rest.ends_with(b", returned to sender") {
        let given_up = rsplit_once(rest, b">, status=").is_some();
        if given_up {
            emit(id, Part::Expired);
        }
        return if given_up { Fate::Parsed } else { Fate::Unparsed };
    }
    let read = || {
        let rest = rest.strip_suffix(b")")?;
        let (rest, _) = rsplit_once(rest, b" (queue ")?;
        let (rest, recipients) = rsplit_once(rest, b", nrcpt=")?;
        let (rest, size) = rsplit_once(rest, b">, size=")?;
        Some((rest, fields::number(size)?, u32::try_from(fields::number(recipients)?).ok()?))
    };
    let Some((path, size, recipients)) = read() else { return Fate::Unparsed };
    emit(
        id,
        Part::Origin(Origin {
            reverse_path: Some(path),
            size_bytes: Some(size),
            recipients: Some(recipients),
            ..Origin::default()
        }),
    );
    Fate::Parsed
}

/// `uid=33 from=<www-data>`: handed in by a program of this machine.
fn read_pickup(id: &[u8], rest: &[u8], emit: Emit) -> Fate {
    let read = || {
        let (uid, path) = split_once(rest.strip_prefix(b"uid=")?, b" from=<")?;
        fields::number(uid)?;
        rsplit_once(path, b">").map(|(path, _)| path)
    };
    let Some(path) = read() else { return Fate::Unparsed };
    emit(id, Part::Origin(Origin { begins: true, reverse_path: Some(path), ..Origin::default() }));
    Fate::Parsed
}

/// What Postfix says of an attempt between the recipient and the answer.
struct Attempt<'l> {
    relay: &'l [u8],
    dsn: Option<EnhancedStatus>,
    status: Status,
    /// Between the parentheses.
    words: &'l [u8],
}

/// `to=<…>, orig_to=<…>, relay=…, delay=…, dsn=…, status=sent (…)`.
fn read_outcome(id: &[u8], daemon: &[u8], rest: &[u8], emit: Emit) -> Fate {
    let Some(rest) = rest.strip_prefix(b"to=<") else { return Fate::Unparsed };
    let quoted = rest.first() == Some(&b'"');
    let split = take_path(rest)
        .and_then(|(path, rest)| Some((path, take_attempt(rest)?)))
        .or_else(|| next_attempt(rest).map(|(at, attempt)| (rest.get(..at).unwrap_or_default(), attempt)));
    let Some((path, attempt)) = split else { return Fate::Unparsed };
    let doubtful = !(quoted && path.contains(&b'@')) && next_attempt(attempt.words).is_some();
    give_outcome(id, daemon, path, &attempt, doubtful, emit)
}

/// `to=user, orig_to=root, relay=local, …`: some versions log addresses without brackets.
fn read_bare_outcome(id: &[u8], daemon: &[u8], rest: &[u8], emit: Emit) -> Fate {
    let Some(rest) = rest.strip_prefix(b"to=") else { return Fate::Unparsed };
    let places = |text| {
        memchr::memmem::find_iter(text, b", ")
            .filter_map(move |at| Some((at, take_attempt(text.get(at..)?)?)))
    };
    let Some((at, attempt)) = places(rest).next() else { return Fate::Unparsed };
    let doubtful = places(attempt.words).next().is_some();
    give_outcome(id, daemon, rest.get(..at).unwrap_or_default(), &attempt, doubtful, emit)
}

fn give_outcome(
    id: &[u8],
    daemon: &[u8],
    path: &[u8],
    attempt: &Attempt,
    doubtful: bool,
    emit: Emit,
) -> Fate {
    let route = route(daemon, attempt);
    if attempt.status == Status::Probed {
        return Fate::Parsed;
    }
    if doubtful {
        emit(id, Part::Outcome(Outcome { route, ..Outcome::unknown() }));
        return Fate::Ambiguous;
    }
    let responder = take_host(attempt.relay).and_then(|(_, address, _)| address);
    let passed_to = if attempt.status == Status::Sent { fields::taken_as(attempt.words) } else { None };
    let outcome = Outcome {
        origin: Origin::default(),
        forward_path: Some(path),
        route,
        responder,
        attempted: responder.or_else(|| attempted(attempt.words)),
        status: attempt.status,
        reply: Some(answer(attempt)),
        passed_to,
        egress: None,
    };
    emit(id, Part::Outcome(outcome));
    Fate::Parsed
}

/// Reads Postfix's own part, from the comma after the recipient on, in the one order it is written in.
fn take_attempt(rest: &[u8]) -> Option<Attempt<'_>> {
    let rest = match rest.strip_prefix(b", orig_to=<") {
        Some(rest) => take_path(rest)?.1,
        None => match rest.strip_prefix(b", orig_to=") {
            Some(rest) => rest.get(memchr::memmem::find(rest, b", relay=")?..)?,
            None => rest,
        },
    };
    let (relay, rest) = split_once(rest.strip_prefix(b", relay=")?, b", ")?;
    let rest = match rest.strip_prefix(b"conn_use=") {
        Some(rest) => split_once(rest, b", ")?.1,
        None => rest,
    };
    let (delay, rest) = split_once(rest.strip_prefix(b"delay=")?, b", ")?;
    let is_figure = |text: &[u8]| {
        text.iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'/' | b'e' | b'+' | b'-'))
    };
    let rest = match rest.strip_prefix(b"delays=") {
        Some(rest) => split_once(rest, b", ").filter(|(delays, _)| is_figure(delays))?.1,
        None => rest,
    };
    // Since 3.11: how TLS went.
    let rest = match rest.strip_prefix(b"tls=") {
        Some(rest) => split_once(rest, b", ").filter(|(tls, _)| !tls.contains(&b' '))?.1,
        None => rest,
    };
    let (dsn, rest) = match rest.strip_prefix(b"dsn=") {
        Some(rest) => {
            let (dsn, rest) = split_once(rest, b", ")?;
            (EnhancedStatus::parse_prefix(dsn).map(|(status, _)| status), rest)
        }
        None => (None, rest),
    };
    let rest = rest.strip_prefix(b"status=")?;
    let word = rest.iter().take_while(|byte| byte.is_ascii_alphabetic() || **byte == b'-').count();
    let (word, rest) = rest.split_at_checked(word)?;
    let status = match word {
        b"sent" => Status::Sent,
        b"deferred" | b"SOFTBOUNCE" => Status::Deferred,
        b"bounced" => Status::Bounced,
        b"deliverable" | b"undeliverable" | b"undeliverable-but-not-cached" => Status::Probed,
        _ => return None,
    };
    let words = rest.strip_prefix(b" (").or(rest.is_empty().then_some(rest))?;
    let words = words.strip_suffix(b")").unwrap_or(words);
    is_figure(delay).then_some(Attempt { relay, dsn, status, words })
}

/// The next place in a text where Postfix's own part could begin.
fn next_attempt(text: &[u8]) -> Option<(usize, Attempt<'_>)> {
    memchr::memmem::find_iter(text, b">, ")
        .find_map(|at| text.get(at + 1..).and_then(take_attempt).map(|attempt| (at, attempt)))
}

/// Local mailboxes are reached by local(8), virtual(8), pipe(8) and LMTP over a socket.
fn route(daemon: &[u8], attempt: &Attempt) -> Route {
    let suspended = attempt.words.starts_with(b"delivery temporarily suspended");
    match daemon {
        b"discard" => Route::Discarded,
        b"local" | b"virtual" | b"pipe" => Route::Local,
        b"error" | b"retry" if !suspended => Route::Local,
        _ if attempt.relay.ends_with(b"]")
            && take_host(attempt.relay).is_some_and(|host| host.1.is_none()) =>
        {
            Route::Local
        }
        _ if matches!(attempt.relay, b"local" | b"virtual") => Route::Local,
        _ => Route::Remote,
    }
}

/// `250 2.0.0 Ok`, `host name[address] said: 550 5.1.1 … (in reply to RCPT TO command)`,
/// `host name[address] refused to talk to me: 554 …`; else Postfix's own words, with `dsn=`.
fn answer(attempt: &Attempt) -> Reply {
    let words = attempt.words.strip_prefix(b"delivery temporarily suspended: ").unwrap_or(attempt.words);
    let said = words.strip_prefix(b"host ").and_then(take_host).map(|(_, _, rest)| skip_port(rest)).and_then(
        |rest| rest.strip_prefix(b" said: ").or_else(|| rest.strip_prefix(b" refused to talk to me: ")),
    );
    let reply = match said {
        Some(said) => {
            let end = memchr::memmem::rfind(said, b" (in reply to ").unwrap_or(said.len());
            fields::reply(said.get(..end).unwrap_or(said))
        }
        None if attempt.status == Status::Sent => fields::reply(words),
        None => None,
    };
    // A receiver's words do not overrule what Postfix did.
    match reply {
        Some(reply) if (reply.code.is_some_and(|code| code < 400)) == (attempt.status == Status::Sent) => {
            reply
        }
        _ => Reply {
            code: None,
            enhanced: attempt.dsn.or(plain_dsn(attempt.status)),
            text: Some(fields::reply_text(words)),
        },
    }
}

/// The class alone, where an old Postfix logs no `dsn=`.
fn plain_dsn(status: Status) -> Option<EnhancedStatus> {
    let class = match status {
        Status::Sent => 2,
        Status::Deferred => 4,
        Status::Bounced => 5,
        Status::Probed | Status::Unknown => return None,
    };
    Some(EnhancedStatus { class, subject: 0, detail: 0 })
}

/// `connect to name[address]:25: Connection timed out`, also after `delivery temporarily suspended: `.
fn attempted(words: &[u8]) -> Option<IpAddr> {
    let words = words.strip_prefix(b"delivery temporarily suspended: ").unwrap_or(words);
    let host = [&b"connect to "[..], b"host ", b"lost connection with ", b"conversation with "]
        .iter()
        .find_map(|word| words.strip_prefix(*word))?;
    take_host(host)?.1
}

/// The value after `name`, up to the next field that smtpd may add.
fn field<'l>(rest: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (_, value) = split_once(rest, name)?;
    let ends = [&b", sasl_sender="[..], b", orig_queue_id=", b", orig_client="];
    let end = ends.iter().filter_map(|end| memchr::memmem::find(value, end)).min().unwrap_or(value.len());
    value.get(..end).filter(|value| !is_no_name(value))
}

fn up_to_comma(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b',').next().unwrap_or_default()
}

fn skip_port(text: &[u8]) -> &[u8] {
    let Some(rest) = text.strip_prefix(b":") else { return text };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 { text } else { rest.get(digits..).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(line: &str) -> (Fate, Vec<String>) {
        super::super::says(&DIALECT, &format!("Nov 24 20:14:01 mx1 postfix/{line}"))
    }

    fn parsed(line: &str) -> Vec<String> {
        let (fate, parts) = says(line);
        assert_eq!(fate, Fate::Parsed, "{line}");
        parts
    }

    #[test]
    fn origins() {
        assert_eq!(
            parsed(
                "submission/smtpd[1]: 4Bfz12k3LmzQ: client=pc[2001:db8::1]:4021, sasl_method=LOGIN, sasl_username=Bob@x"
            ),
            [
                "4Bfz12k3LmzQ login Bob@x Some(2001:db8::1) true",
                "4Bfz12k3LmzQ origin begins=true client=Some(2001:db8::1) account=Bob@x original=None/? from=? size=None rcpts=None"
            ]
        );
        assert_eq!(
            parsed(
                "10025/smtpd[1]: AB12CD: client=localhost[127.0.0.1], orig_queue_id=EF34AB, orig_client=pc[192.0.2.9]"
            ),
            [
                "AB12CD origin begins=true client=Some(127.0.0.1) account=? original=Some(192.0.2.9)/EF34AB from=? size=None rcpts=None"
            ]
        );
        assert_eq!(
            parsed("qmgr[1]: AB12CD: from=<>, size=7, nrcpt=3 (queue active)"),
            [
                "AB12CD origin begins=false client=None account=? original=None/? from= size=Some(7) rcpts=Some(3)"
            ]
        );
        assert_eq!(
            parsed("pickup[1]: AB12CD: uid=33 from=<www-data>"),
            [
                "AB12CD origin begins=true client=None account=? original=None/? from=www-data size=None rcpts=None"
            ]
        );
        assert_eq!(
            parsed("smtpd[1]: NOQUEUE: client=pc[192.0.2.9], sasl_method=PLAIN, sasl_username=bob"),
            [" login bob Some(192.0.2.9) true"]
        );
    }

    #[test]
    fn outcomes() {
        for (line, expected) in [
            (
                "smtp[1]: AB12CD: to=<a@b>, relay=mx[192.0.2.1]:25, conn_use=2, delay=1.2, delays=0/0.1/1/0.1, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 218BEDC28EC)",
                "AB12CD to=a@b Remote Sent by=Some(192.0.2.1) tried=Some(192.0.2.1) code=Some(250) enhanced=2.0.0 as=218BEDC28EC",
            ),
            (
                "smtp[1]: AB12CD: to=<a@b>, orig_to=<c@d>, relay=mx[192.0.2.1]:25, delay=1, delays=0/0/0/1, dsn=5.1.1, status=bounced (host mx[192.0.2.1] said: 550-5.1.1 no such user (in reply to RCPT TO command))",
                "AB12CD to=a@b Remote Bounced by=Some(192.0.2.1) tried=Some(192.0.2.1) code=Some(550) enhanced=5.1.1 as=?",
            ),
            (
                "smtp[1]: AB12CD: to=<a@b>, relay=none, delay=1, delays=0/0/0/1, dsn=4.4.1, status=deferred (connect to mx[2001:db8::5]:25: Connection timed out)",
                "AB12CD to=a@b Remote Deferred by=None tried=Some(2001:db8::5) code=None enhanced=4.4.1 as=?",
            ),
            (
                "error[1]: AB12CD: to=<a@b>, relay=none, delay=1, delays=0/0/0/1, dsn=4.0.0, status=deferred (delivery temporarily suspended: host mx[192.0.2.1] refused to talk to me: 554 5.7.1 blocked)",
                "AB12CD to=a@b Remote Deferred by=None tried=Some(192.0.2.1) code=Some(554) enhanced=5.7.1 as=?",
            ),
            (
                "lmtp[1]: AB12CD: to=<a@b>, relay=mx[private/dovecot-lmtp], delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 <a@b> saved)",
                "AB12CD to=a@b Local Sent by=None tried=None code=Some(250) enhanced=2.0.0 as=?",
            ),
            (
                "smtp[1]: AB12CD: to=<a@b>, relay=mx[192.0.2.1], delay=1, status=sent (250 Ok)",
                "AB12CD to=a@b Remote Sent by=Some(192.0.2.1) tried=Some(192.0.2.1) code=Some(250) enhanced=? as=?",
            ),
        ] {
            assert_eq!(parsed(line), [expected], "{line}");
        }
    }

    #[test]
    fn logins_and_refusals() {
        assert_eq!(
            parsed("smtpd[1]: warning: unknown[192.0.2.66]: SASL LOGIN authentication failed: UGFzc3dvcmQ6"),
            [" login ? Some(192.0.2.66) false"]
        );
        assert_eq!(
            parsed(
                "smtpd[1]: warning: x[192.0.2.66]: SASL PLAIN authentication failed: no, sasl_username=a, sasl_username=b"
            ),
            [" login a, sasl_username=b Some(192.0.2.66) false"]
        );
        assert_eq!(
            parsed(
                "smtpd[1]: NOQUEUE: reject: RCPT from x[192.0.2.66]: 554 5.7.1 <a>: denied; from=<b> to=<a> proto=ESMTP helo=<c>"
            ),
            [" rejected"]
        );
        assert_eq!(
            parsed("qmgr[1]: AB12CD: from=<a>, status=expired, returned to sender"),
            ["AB12CD expired"]
        );
        assert_eq!(
            parsed(
                "smtpd[1]: NOQUEUE: proxy-accept: END-OF-MESSAGE from pc[192.0.2.9]: 250 2.0.0 Ok: queued as AB12CD; from=<x> helo=<y> sasl_username=<z>@e> to=<a> proto=ESMTP helo=<c> sasl_username=<bob>"
            ),
            [
                "AB12CD origin begins=false client=Some(192.0.2.9) account=bob original=None/? from=? size=None rcpts=None"
            ]
        );
    }

    /// The reverse-path that a live Postfix 3.7 logs verbatim, and its like in the other fields.
    #[test]
    fn a_sender_cannot_write_fields() {
        let forged = r#""x> to=<victim@corp.example>, relay=bank.example[192.0.2.1]:25, delay=0, status=sent (250 ok"@evil.example"#;
        assert_eq!(
            parsed(&format!("qmgr[1]: AB12CD: from=<{forged}>, size=9, nrcpt=1 (queue active)")),
            [format!(
                "AB12CD origin begins=false client=None account=? original=None/? from={forged} size=Some(9) rcpts=Some(1)"
            )]
        );
        assert_eq!(
            parsed(&format!(
                "smtpd[1]: NOQUEUE: reject: RCPT from x[192.0.2.6]: 554 5.7.1 <{forged}>: no; from=<{forged}> to=<a> proto=SMTP helo=<b>"
            )),
            [" rejected"]
        );
        let quoted = r#""a>, relay=bank[192.0.2.1]:25, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (250 ok"@evil.example"#;
        assert_eq!(
            parsed(&format!(
                "smtp[1]: AB12CD: to=<{quoted}>, relay=mx[198.51.100.1]:25, delay=1, delays=0/0/0/1, dsn=5.0.0, status=bounced (host mx[198.51.100.1] said: 550 no (in reply to RCPT TO command))"
            )),
            [format!(
                "AB12CD to={quoted} Remote Bounced by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(550) enhanced=? as=?"
            )]
        );
        // The same logged raw by a Postfix before 3.5, and a receiver who writes fields into its answer: two
        // readings, so none.
        let raw = "a@b>, relay=bank[192.0.2.1]:25, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (250 ok@evil.example";
        let answer =
            "550 x>, relay=bank[192.0.2.1]:25, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (250 ok)";
        for (recipient, answer) in [(raw, "550 no"), ("a@b", answer)] {
            let (fate, parts) = says(&format!(
                "smtp[1]: AB12CD: to=<{recipient}>, relay=mx[198.51.100.1]:25, delay=1, delays=0/0/0/1, dsn=5.0.0, status=bounced (host mx[198.51.100.1] said: {answer})"
            ));
            assert_eq!(fate, Fate::Ambiguous);
            assert_eq!(parts, ["AB12CD to=? Remote Unknown by=None tried=None code=None enhanced=? as=?"]);
        }
        // A receiver cannot turn a refusal into a delivery, nor the reverse.
        assert_eq!(
            parsed(
                "smtp[1]: AB12CD: to=<a@b>, relay=mx[198.51.100.1]:25, delay=1, delays=0/0/0/1, dsn=5.0.0, status=bounced (host mx[198.51.100.1] said: 250 fine (in reply to RCPT TO command))"
            ),
            [
                "AB12CD to=a@b Remote Bounced by=Some(198.51.100.1) tried=Some(198.51.100.1) code=None enhanced=5.0.0 as=?"
            ]
        );
    }

    /// Found by a real Postfix with hostile names.
    #[test]
    fn a_login_name_cannot_write_the_fields_after_it() {
        let (fate, parts) = says(
            "smtpd[1]: AB12CD: client=pc[192.0.2.9], sasl_method=PLAIN, sasl_username=x], orig_client=evil[192.0.2.66]",
        );
        assert_eq!(fate, Fate::Ambiguous);
        assert_eq!(
            parts,
            [
                "AB12CD login ? Some(192.0.2.9) true",
                "AB12CD origin begins=true client=Some(192.0.2.9) account=? original=None/? from=? size=None rcpts=None"
            ]
        );
    }

    #[test]
    fn what_does_not_fit_is_unparsed_and_other_lines_are_ignored() {
        for line in
            ["smtp[1]: AB12CD: to=<a@b", "qmgr[1]: AB12CD: from=<a>, size=x", "smtpd[1]: AB12CD: client=none"]
        {
            assert_eq!(says(line).0, Fate::Unparsed, "{line}");
        }
        for line in [
            "smtpd[1]: connect from a[192.0.2.1]",
            "smtp[1]: warning: host a[192.0.2.1]:25 greeted me with my own hostname",
            "anvil[1]: statistics: max connection rate 1/60s",
            "smtp[1]: AB12CD: host a[192.0.2.1] said: 450 later",
        ] {
            assert_eq!(says(line).0, Fate::Ignored, "{line}");
        }
    }
}
