//! A dialect of the user's own: regular expressions whose named groups say which text is what.
//!
//! *In*: patterns of the configuration, then lines. *Out*: parts. *Bound*: `limits::PATTERNS_MAX` patterns of
//! `limits::PATTERNS_BYTES_MAX` bytes compiled; matching is linear in the line (the `regex` crate has no
//! backtracking). *Spec*: docs/dialects.md, "Your own dialect".
//!
//! A pattern must fit the whole line: a sender's text cannot be found by a search from somewhere in the middle.

use super::fields::{self, number};
use super::sessions::plain_reply;
use super::stamp::{Stamp, take_stamp};
use super::{Dialect, Emit, Fate, Line, Memory, Origin, Outcome, Part, Route, Status, json, syslog};
use crate::limits;
use crate::mail::Reply;
use regex::bytes::{Captures, Regex, RegexBuilder};
use std::net::IpAddr;

/// What a named group of a pattern may be called.
pub const GROUPS: &[&str] = &[
    "account",
    "client",
    "host",
    "login",
    "queue_id",
    "recipient",
    "relay",
    "reply",
    "sender",
    "size",
    "status",
    "time",
];

/// Patterns of one user-defined dialect.
#[derive(Debug)]
pub struct Patterns {
    patterns: Vec<Regex>,
    /// Whether lines have syslog's head, which is taken off first.
    syslog: bool,
}

/// Patterns that cannot be used. The text is one line and says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PatternsError(pub String);

impl Patterns {
    /// Compiles patterns. With `syslog` they are held against what the program wrote, without its head.
    pub fn new(lines: &[String], syslog: bool) -> Result<Patterns, PatternsError> {
        let fail = |text: String| Err(PatternsError(text));
        if lines.is_empty() || lines.len() > limits::PATTERNS_MAX {
            return fail(format!("give 1 to {} patterns in lines", limits::PATTERNS_MAX));
        }
        let mut patterns = Vec::with_capacity(lines.len());
        for (index, line) in lines.iter().enumerate() {
            let whole = format!("^(?:{line})$");
            let pattern = RegexBuilder::new(&whole)
                .size_limit(limits::PATTERNS_BYTES_MAX / limits::PATTERNS_MAX.min(lines.len()))
                .build()
                .map_err(|error| PatternsError(format!("lines[{index}]: {}", one_line(&error))))?;
            for group in pattern.capture_names().flatten() {
                if !GROUPS.contains(&group) {
                    return fail(format!(
                        "lines[{index}]: unknown group '{group}'; known are {}",
                        GROUPS.join(", ")
                    ));
                }
            }
            let has = |name: &str| pattern.capture_names().flatten().any(|group| group == name);
            if !syslog && !has("time") {
                return fail(format!(
                    "lines[{index}]: has no group 'time'; name the text that holds it, or set syslog = true"
                ));
            }
            patterns.push(pattern);
        }
        Ok(Patterns { patterns, syslog })
    }

    fn fit<'l>(&self, text: &'l [u8]) -> Option<Captures<'l>> {
        self.patterns.iter().find_map(|pattern| pattern.captures(text))
    }
}

fn one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
}

/// A dialect that goes by patterns. It lives as long as the program: make one for each that a configuration
/// names, when it is read.
pub fn custom_dialect(name: &str, patterns: Patterns) -> &'static Dialect {
    Box::leak(Box::new(Dialect {
        name: Box::leak(name.to_owned().into_boxed_str()),
        about: "a dialect of the configuration",
        split,
        claims: |_| false,
        recognises: |_| false,
        read,
        verbatim: true,
        patterns: Some(Box::leak(Box::new(patterns))),
    }))
}

fn split<'l>(memory: &mut Memory, line: &'l [u8]) -> Option<Line<'l>> {
    let patterns = memory.patterns?;
    if patterns.syslog {
        return syslog::split(line);
    }
    let found = patterns.fit(line);
    let group = |name: &str| found.as_ref().and_then(|found| found.name(name)).map(|text| text.as_bytes());
    let stamp = group("time").and_then(moment);
    Some(Line { stamp, host: group("host"), program: b"", pid: None, text: line })
}

/// Any stamp that other dialects read, or a count from the epoch.
fn moment(text: &[u8]) -> Option<Stamp> {
    let of_text = || serde_json::Value::String(String::from_utf8_lossy(text).into_owned());
    take_stamp(text).map(|(stamp, _)| stamp).or_else(|| json::moment(&of_text()))
}

fn read(line: &Line, memory: &mut Memory, emit: Emit) -> Fate {
    let Some(found) = memory.patterns.and_then(|patterns| patterns.fit(line.text)) else {
        return Fate::Ignored;
    };
    let group = |name: &str| found.name(name).map(|text| text.as_bytes()).filter(|text| !text.is_empty());
    let address = |name: &str| group(name).and_then(json::endpoint);
    let id = group("queue_id").filter(|id| id.len() <= limits::ID_BYTES_MAX).unwrap_or_default();
    let (client, account): (Option<IpAddr>, _) = (address("client"), group("account"));
    if let Some(word) = group("login") {
        let succeeded = ["ok", "success", "succeeded", "accepted", "true", "yes", "1", "235"]
            .iter()
            .any(|good| word.eq_ignore_ascii_case(good.as_bytes()));
        emit(&[], Part::Login { account, client, succeeded });
    }
    let origin = Origin {
        begins: client.is_some() || account.is_some(),
        client,
        account,
        reverse_path: found.name("sender").map(|text| text.as_bytes()),
        size_bytes: group("size").and_then(number),
        ..Origin::default()
    };
    let Some(word) = group("status") else {
        if !id.is_empty() {
            emit(id, Part::Origin(origin));
        }
        return Fate::Parsed;
    };
    let Some(status) = status(word) else {
        if word.eq_ignore_ascii_case(b"removed") {
            emit(id, Part::Removed);
        } else if word.eq_ignore_ascii_case(b"rejected") {
            emit(id, Part::Rejected);
        } else {
            return Fate::Unparsed;
        }
        return Fate::Parsed;
    };
    let words = group("reply").unwrap_or(word);
    let reply = fields::reply(words).filter(|reply| reply.code.map(Status::of_code) == Some(status));
    let plain = || Reply { text: Some(fields::reply_text(words)), ..plain_reply(status.class()) };
    let relay = address("relay");
    let outcome = Outcome {
        origin: Origin { begins: false, ..origin },
        forward_path: group("recipient"),
        route: Route::Remote,
        responder: relay,
        attempted: relay,
        status,
        reply: Some(reply.unwrap_or_else(plain)),
        ..Outcome::unknown()
    };
    emit(id, Part::Outcome(outcome));
    Fate::Parsed
}

/// A code, or a word for what became of a delivery.
fn status(word: &[u8]) -> Option<Status> {
    if let Some(reply) = fields::reply(word) {
        return reply.code.map(Status::of_code).filter(|status| *status != Status::Unknown);
    }
    let is = |known: &[&str]| known.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
    match () {
        () if is(&["sent", "delivered", "accepted", "ok", "success"]) => Some(Status::Sent),
        () if is(&["deferred", "delayed", "tempfail", "retry"]) => Some(Status::Deferred),
        () if is(&["bounced", "failed", "permfail", "undeliverable"]) => Some(Status::Bounced),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_with(lines: &[&str], syslog: bool, text: &str) -> (Fate, Vec<String>) {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let dialect = custom_dialect("mine", Patterns::new(&lines, syslog).unwrap());
        let mut memory = Memory { patterns: dialect.patterns, ..Memory::default() };
        super::super::says_on(dialect, &mut memory, text)
    }

    #[test]
    fn named_groups() {
        let line = r"(?P<time>\S+) OUT id=(?P<queue_id>\S+) from=<(?P<sender>[^>]*)> to=<(?P<recipient>[^>]*)> mx=(?P<relay>\S+) code=(?P<status>\d+ .*)";
        assert_eq!(
            read_with(
                &[line],
                false,
                "2026-11-24T20:14:01Z OUT id=7 from=<> to=<a@b> mx=198.51.100.1:25 code=550 5.1.1 no"
            )
            .1,
            [
                "7 to=a@b Remote Bounced by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(550) enhanced=5.1.1 as=?"
            ]
        );
        let line = r"login=(?P<login>\w+) user=(?P<account>.*) ip=(?P<client>\S+)";
        assert_eq!(
            read_with(
                &[line],
                true,
                "Nov 24 20:14:01 mx1 own[7]: login=failed user=x ip=192.0.2.66 ip=192.0.2.9"
            )
            .1,
            [" login x ip=192.0.2.66 Some(192.0.2.9) false"]
        );
    }

    #[test]
    fn a_pattern_fits_the_whole_line_or_not_at_all() {
        assert_eq!(
            read_with(&["a(?P<status>sent)"], true, "Nov 24 20:14:01 mx1 own: xasent").0,
            Fate::Ignored
        );
        assert_eq!(
            read_with(&["a(?P<status>sent)"], true, "Nov 24 20:14:01 mx1 own: asentx").0,
            Fate::Ignored
        );
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_a_reason() {
        let refuse = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            Patterns::new(&lines, true).unwrap_err().to_string()
        };
        assert!(refuse(&["(?P<queueid>x)"]).contains("unknown group 'queueid'; known are account, client"));
        assert!(refuse(&["(x"]).starts_with("lines[0]: "));
        assert!(refuse(&[]).starts_with("give 1 to"));
        assert!(refuse(&[r"(?:\w{1000}){1000}"]).contains("lines[0]: "));
        assert!(Patterns::new(&["x".into()], false).unwrap_err().to_string().contains("'time'"));
    }
}
