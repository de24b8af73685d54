//! What a person is told: how bad, in one sentence, what to do now, what to think of before unblocking.
//!
//! *In*: an incident's change. *Out*: sentences and a severity. No text of a sender's gets in but its name and
//! that of whoever makes up most of it, cut and made harmless before.

use super::record::{Attribution, Chain, OriginRecord, Severity, StageRecord};
use crate::engine::incident::{Change, Incident, IncidentChange, Kind, span};
use crate::engine::reach::{STAGES, Stage};
use crate::engine::sender::SenderId;
use crate::engine::unlogged;
use crate::time::Timestamp;

/// Share of the excess from which on one origin is named in the headline.
const MOST: f64 = 0.6;

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

/// One sentence that a person can act on. `culprit` made up most of it.
pub fn headline(change: &IncidentChange, name: &str, culprit: Option<&OriginRecord>) -> String {
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
    if let Some(origin) = culprit {
        text.push_str(&format!(
            "; {:.0} % of the excess comes from {}",
            100.0 * origin.share_of_excess,
            named(origin)
        ));
    }
    text.push('.');
    text
}

/// Name of a stage, what it means, and what to expect once it is the last one seen.
fn stage(stage: Stage) -> [&'static str; 3] {
    match stage {
        Stage::PasswordGuessed => [
            "password_guessed",
            "The right password came after many wrong ones.",
            "Mail from a network that the account never used. Nothing was sent yet that shows; a new password stops it here.",
        ],
        Stage::NewNetworkLogin => [
            "new_network_login",
            "The account logged in from a network never seen for it.",
            "A first message, often a single one to the attacker's own mailbox, as a test; then the blast.",
        ],
        Stage::FirstForeignMail => [
            "first_foreign_mail",
            "Mail came from a machine or network never seen for this sender.",
            "The blast, one letter to thousands, usually at night or on a weekend.",
        ],
        Stage::Blast => [
            "blast",
            "One letter went to many recipients, or more mail than is normal here.",
            "The dead addresses of the list bounce, and spam traps among them report the address.",
        ],
        Stage::UnknownUsers => [
            "unknown_users",
            "Recipients do not exist: the list was bought or gathered, not written to before.",
            "Receivers and blocklists begin to refuse the address, and ordinary mail of yours with it.",
        ],
        Stage::ReceiversBlock => [
            "receivers_block",
            "Receivers refuse the mail as spam, or because the address is on a blocklist.",
            "The listing spreads to more receivers and to neighbouring addresses, and the attacker moves on to another account. Ask for removal only after the cause is gone.",
        ],
    }
}

/// The course of an incident. The second tier has none: nothing in it points at a hijack.
pub fn chain(change: &IncidentChange) -> Chain {
    let incident = &change.incident;
    // An address does not log in: such stages are told of it only where an account behind it is known to have.
    let is_account = matches!(incident.sender, SenderId::Account(_));
    let of_logins = |of: &Stage| matches!(of, Stage::PasswordGuessed | Stage::NewNetworkLogin);
    let seen = STAGES.iter().zip(incident.trail.stages);
    let seen = seen.filter(|(of, at)| is_account || at.is_some() || !of_logins(of));
    if incident.kind == Kind::UnexplainedVolume || seen.clone().all(|(_, at)| at.is_none()) {
        return Chain::default();
    }
    let record = |(of, at): (&Stage, Option<Timestamp>)| {
        let [name, says, _] = stage(*of);
        StageRecord { name: name.into(), says: says.into(), seen_at: at.map(|at| at.to_rfc3339()) }
    };
    let last = seen.clone().rev().find(|(_, at)| at.is_some());
    let next = last.filter(|_| change.change != Change::Closed).map(|(last, _)| stage(*last)[2].to_owned());
    Chain { stages: seen.map(record).collect(), next }
}

/// The account, client or script that makes up most of an incident at an address.
pub fn culprit(attribution: &Attribution) -> Option<&OriginRecord> {
    let first = attribution.origins.first().into_iter().chain(attribution.headers.first());
    let most = first.max_by(|a, b| a.share_of_excess.total_cmp(&b.share_of_excess))?;
    (most.share_of_excess >= MOST).then_some(most)
}

/// An origin in words.
fn named(origin: &OriginRecord) -> String {
    format!("{} {}", origin.kind.replace('_', " "), origin.name)
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

/// What to do now. `culprit` made up most of it.
pub fn next_steps(change: &IncidentChange, culprit: Option<&OriginRecord>) -> Vec<String> {
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
    let mut steps = owned(steps);
    if let (Kind::Relay | Kind::Host, Some(origin)) = (change.incident.kind, culprit) {
        let share = 100.0 * origin.share_of_excess;
        let first = format!(
            "Stop {}: {share:.0} % of the excess is its mail. Hold what waits of it in the queue.",
            named(origin)
        );
        steps.insert(0, first);
    }
    steps
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
