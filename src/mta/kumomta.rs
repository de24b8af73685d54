//! KumoMTA: its log records, JSON objects one a line.
//!
//! *In*: records of any type. *Out*: parts. *Bound*: linear in the line. *Spec*: "Log Record", KumoMTA's
//! reference: `type`, `id`, `sender`, `recipient` (one or a list), `response`, `peer_address`, `source_address`,
//! `timestamp`, `event_time`, `meta`.

use super::fields;
use super::json::{self, endpoint, text, texts};
use super::sessions::plain_reply;
use super::{Dialect, Emit, Fate, Line, Memory, Origin, Outcome, Part, Route, Status};
use crate::mail::{EnhancedStatus, Reply};
use serde_json::{Map, Value};
use std::net::IpAddr;

pub(super) const DIALECT: Dialect = Dialect {
    name: "kumomta",
    about: "KumoMTA's JSON log records",
    split: |_, line| {
        let record = json::object(line)?;
        let stamp = record.get("event_time").and_then(json::moment);
        let stamp = stamp.or_else(|| record.get("timestamp").and_then(json::moment));
        Some(Line { stamp, host: None, program: b"", pid: None, text: line })
    },
    claims: |_| false,
    recognises: |line| {
        json::object(line).is_some_and(|record| {
            ["type", "id", "sender", "recipient", "queue"].iter().all(|name| record.contains_key(*name))
        })
    },
    read,
    verbatim: false,
    patterns: None,
};

/// Names that sites give to the authenticated user among a record's `meta`.
const ACCOUNTS: &[&str] = &["authn_id", "authz_id", "smtp_auth_user"];

fn read(line: &Line, _: &mut Memory, emit: Emit) -> Fate {
    let Some(record) = json::object(line.text) else { return Fate::Unparsed };
    let Some(kind) = text(&record, "type") else { return Fate::Unparsed };
    let id = text(&record, "id").unwrap_or_default();
    match kind {
        b"Reception" => {
            let origin = origin(&record);
            emit(id, Part::Origin(Origin { begins: true, client: peer(&record), ..origin }));
            Fate::Parsed
        }
        b"Delivery" => outcomes(&record, id, Status::Sent, emit),
        b"TransientFailure" => outcomes(&record, id, Status::Deferred, emit),
        b"Bounce" | b"AdminBounce" => outcomes(&record, id, Status::Bounced, emit),
        b"Expiration" => {
            emit(id, Part::Expired);
            outcomes(&record, id, Status::Bounced, emit)
        }
        b"Rejection" => {
            if let Some(login) = failed_login(&record) {
                emit(&[], login);
            } else {
                emit(&[], Part::Rejected);
            }
            Fate::Parsed
        }
        // Reports of others, and moves inside the queue.
        b"OOB"
        | b"Feedback"
        | b"AdminRebind"
        | b"DeferredInjectionRebind"
        | b"Delayed"
        | b"XferOut"
        | b"XferIn" => Fate::Ignored,
        _ => Fate::Ignored,
    }
}

fn member<'r>(record: &'r Map<String, Value>, name: &str) -> Option<&'r Map<String, Value>> {
    record.get(name)?.as_object()
}

fn peer(record: &Map<String, Value>) -> Option<IpAddr> {
    json::address(member(record, "peer_address")?, "addr")
}

fn origin(record: &Map<String, Value>) -> Origin<'_> {
    let meta = member(record, "meta");
    let recipients = texts(record, "recipient").len();
    Origin {
        account: meta.and_then(|meta| ACCOUNTS.iter().find_map(|name| text(meta, name))),
        reverse_path: record.get("sender").and_then(Value::as_str).map(|sender| match sender {
            "<>" => &[][..],
            sender => sender.as_bytes(),
        }),
        size_bytes: record.get("size").and_then(Value::as_u64).filter(|size| *size > 0),
        recipients: u32::try_from(recipients).ok().filter(|count| *count > 0),
        ..Origin::default()
    }
}

fn outcomes(record: &Map<String, Value>, id: &[u8], status: Status, emit: Emit) -> Fate {
    let recipients = texts(record, "recipient");
    if recipients.is_empty() {
        return Fate::Unparsed;
    }
    let (route, responder) = match text(record, "delivery_protocol") {
        Some(protocol) if !protocol.ends_with(b"SMTP") => (Route::Local, None),
        _ => (Route::Remote, peer(record)),
    };
    let egress =
        member(record, "source_address").and_then(|source| text(source, "address")).and_then(endpoint);
    for recipient in recipients {
        emit(
            id,
            Part::Outcome(Outcome {
                origin: origin(record),
                forward_path: Some(recipient),
                route,
                responder,
                attempted: responder,
                status,
                reply: Some(reply(record, status)),
                egress,
                ..Outcome::unknown()
            }),
        );
    }
    Fate::Parsed
}

/// The peer's answer. KumoMTA puts answers of its own into the same member: they fit the type as well.
fn reply(record: &Map<String, Value>, status: Status) -> Reply {
    let read = || {
        let response = member(record, "response")?;
        let code = u16::try_from(response.get("code")?.as_u64()?).ok()?;
        let number = |name: &str| member(response, "enhanced_code")?.get(name)?.as_u64();
        let enhanced = || {
            Some(EnhancedStatus {
                class: u8::try_from(number("class")?).ok()?,
                subject: u16::try_from(number("subject")?).ok()?,
                detail: u16::try_from(number("detail")?).ok()?,
            })
        };
        let words = text(response, "content").map(fields::reply_text);
        Some(Reply { code: Some(code), enhanced: enhanced(), text: words })
    };
    match read() {
        Some(reply) if reply.code.map(Status::of_code) == Some(status) => reply,
        // A message that is given up keeps the words of the last attempt.
        Some(reply) => Reply { text: reply.text, ..plain_reply(status.class()) },
        None => plain_reply(status.class()),
    }
}

/// A `535` to AUTH.
fn failed_login(record: &Map<String, Value>) -> Option<Part<'_>> {
    let response = member(record, "response")?;
    let command = text(response, "command")?;
    let code = response.get("code")?.as_u64()?;
    let is_auth = command.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH"));
    (is_auth && code == 535).then(|| Part::Login { account: None, client: peer(record), succeeded: false })
}

#[cfg(test)]
mod tests {
    use super::super::says;
    use super::*;

    fn record(kind: &str, more: &str) -> String {
        format!(
            r#"{{"type":"{kind}","id":"1d98","sender":"bob@example.com","recipient":["a@example.net","b@example.net"],"queue":"example.net","size":1047,"timestamp":1757675281,"peer_address":{{"name":"mx","addr":"198.51.100.1"}},"source_address":{{"address":"203.0.113.7:53210"}},"meta":{{"authn_id":"bob"}}{more}}}"#
        )
    }

    #[test]
    fn records() {
        let bounce = record(
            "Bounce",
            r#","response":{"code":550,"enhanced_code":{"class":5,"subject":1,"detail":1},"content":"\"recipient\":\"x@y\""}"#,
        );
        assert!((DIALECT.recognises)(bounce.as_bytes()));
        assert_eq!(
            says(&DIALECT, &bounce),
            (
                Fate::Parsed,
                ["a", "b"].map(|name| format!("1d98 to={name}@example.net Remote Bounced by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(550) enhanced=5.1.1 as=?")).to_vec()
            )
        );
        assert_eq!(
            says(&DIALECT, &record("Reception", "")).1,
            [
                "1d98 origin begins=true client=Some(198.51.100.1) account=bob original=None/? from=bob@example.com size=Some(1047) rcpts=Some(2)"
            ]
        );
        assert_eq!(
            says(&DIALECT, &record("Expiration", r#","response":{"code":451,"content":"later"}"#)).1[1],
            "1d98 to=a@example.net Remote Bounced by=Some(198.51.100.1) tried=Some(198.51.100.1) code=None enhanced=5.0.0 as=?"
        );
        assert_eq!(
            says(
                &DIALECT,
                &record("Rejection", r#","response":{"code":535,"command":"AUTH PLAIN AGJvYgBnZWhlaW0="}"#)
            )
            .1,
            [" login ? Some(198.51.100.1) false"]
        );
        assert_eq!(says(&DIALECT, &record("Feedback", "")).0, Fate::Ignored);
    }
}
