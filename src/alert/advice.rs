//! What a person is told: how bad, in one sentence, what to do now, what to think of before unblocking.
//!
//! *In*: an incident's change. *Out*: sentences and a severity. No sender's text but its name gets in here.

use super::record::Severity;
use crate::engine::incident::{Change, Incident, IncidentChange, Kind, span};
use crate::engine::sender::SenderId;
use crate::engine::unlogged;

/// By how much mail got out and how fast it goes: what it costs to wait.
pub fn severity(incident: &Incident) -> Severity {
    let hours = (incident.last_at.seconds_since(incident.first_at) / 3_600.0).max(1.0 / 60.0);
    let per_hour = incident.messages as f64 / hours;
    let (name, score) = if incident.kind == Kind::UnexplainedVolume {
        ("low", 21)
    } else if incident.accepted >= 1_000 || (per_hour >= 600.0 && incident.messages >= 50) {
        ("critical", 99)
    } else if incident.accepted >= 100 || per_hour >= 60.0 || incident.kind == Kind::Block {
        ("high", 73)
    } else if incident.accepted >= 10 || per_hour >= 10.0 {
        ("medium", 47)
    } else {
        ("low", 21)
    };
    Severity { name: name.into(), score }
}

/// One sentence that a person can act on.
pub fn headline(change: &IncidentChange, name: &str) -> String {
    let incident = &change.incident;
    let seconds = incident.last_at.seconds_since(incident.first_at);
    if incident.kind == Kind::UnexplainedVolume {
        let over = if change.change == Change::Closed { "Over, or told as a hijack: " } else { "" };
        return format!(
            "{over}{name} sent {} messages in one hour; at most {} are normal, and nothing else points at a hijack.",
            incident.messages, incident.usual_max
        );
    }
    if change.change == Change::Closed {
        return format!(
            "{name} is quiet again: {} messages in {}, {} recipients accepted.",
            incident.messages,
            span(seconds),
            incident.accepted
        );
    }
    if incident.template == unlogged::TEMPLATE {
        return format!(
            "{} messages left {name} in {} that the log of its mail server does not know; {} would be normal.",
            incident.messages,
            span(seconds),
            incident.usual_max
        );
    }
    let from = match &incident.sender {
        SenderId::Block(_) => format!(" from {} of its addresses", incident.addresses),
        _ => String::new(),
    };
    let mut text = format!(
        "{name} sent {} messages{from} in {}; normal at this hour is 0–{}",
        incident.messages,
        span(seconds),
        incident.usual_max
    );
    for evidence in incident.evidence.iter().filter(|e| e.weight_nats.is_some_and(|w| w > 0.0)).take(2) {
        text.push_str("; ");
        text.push_str(evidence.sentence.split(';').next().unwrap_or_default());
    }
    text.push('.');
    text
}

/// MITRE ATT&CK techniques of a kind.
pub fn techniques(kind: Kind) -> Vec<String> {
    let list: &[&str] = match kind {
        Kind::Account => &["T1586.002", "T1078", "T1566"],
        Kind::Host => &["T1584.004", "T1566"],
        Kind::Relay => &["T1584.004", "T1505.003", "T1566"],
        Kind::Block => &["T1584.008", "T1566"],
        Kind::Unknown => &["T1566"],
        Kind::UnexplainedVolume => &[],
    };
    owned(list)
}

/// What to do now.
pub fn next_steps(change: &IncidentChange) -> Vec<String> {
    let steps: &[&str] = match change.incident.kind {
        Kind::Account => &[
            "Stop the account's submission and end its sessions; then reset its password and second factor.",
            "Hold the account's mail in the queue (Postfix: find its queue ids in the samples and `postsuper -h`).",
            "Look for forwarding rules, app passwords and delegates that were added.",
            "Compare the clients in the samples with the account's usual networks.",
        ],
        Kind::Host => &[
            "Block outbound port 25 of this address at the firewall; mail servers excepted, nothing needs it.",
            "If it is a mail server: another machine speaks with its address. Look for a proxy, a web shell or a second host behind it.",
            "Isolate and image the machine before it is cleaned.",
        ],
        Kind::Relay => &[
            "Find the account, client or script behind the queue ids in the samples.",
            "Hold the queue of that origin; do not stop the whole relay unless it has no other users.",
            "If no log line exists for this mail, it was sent past the mail server: look for a web shell or a proxy.",
        ],
        Kind::Block => &[
            "Filter outbound port 25 for the whole prefix.",
            "Check who announces the prefix (BGP, RPKI) and which hosts answer in it.",
            "Ask the blocklists named in the replies for their evidence before asking to be removed.",
        ],
        Kind::Unknown => &["Look at the samples and find who owns this sender."],
        Kind::UnexplainedVolume => &[
            "Ask who owns this sender whether a mailing is under way.",
            "If it is, announce the next one with [[planned]] or `portreeve plan add`; if nobody knows of it, treat it as a hijack.",
        ],
    };
    owned(steps)
}

/// Reasons for and against lifting a block when an incident closes; nothing before.
pub fn before_unblocking(change: &IncidentChange) -> Vec<String> {
    if change.change != Change::Closed {
        return Vec::new();
    }
    let incident = &change.incident;
    let quiet = span(change.at.seconds_since(incident.suspicious_at));
    let mut reasons = vec![format!(
        "For: nothing suspicious was seen of this sender for {quiet}. If you blocked it, the quiet comes from the block and proves nothing."
    )];
    let cause = match incident.kind {
        Kind::Account => {
            "Against, until done: the password and the second factor are new, sessions are ended, and forwarding rules, app passwords and delegates were looked through."
        }
        Kind::Host => {
            "Against, until done: the program that sent was found and removed, or the machine was installed anew."
        }
        Kind::Relay => {
            "Against, until done: the account, client or script behind the queue ids was found and stopped."
        }
        Kind::Block => {
            "Against, until done: the prefix is announced by you alone and every address that took part is accounted for."
        }
        Kind::Unknown | Kind::UnexplainedVolume => "Against, until done: the cause was found.",
    };
    reasons.push(cause.into());
    if incident.accepted > 0 {
        reasons.push(format!(
            "Expect complaints and blocklist entries: {} recipients accepted a message.",
            incident.accepted
        ));
    }
    reasons
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).into()).collect()
}
