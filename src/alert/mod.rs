//! What leaves when an incident changes: one record, several dialects.
//!
//! *In*: an [`IncidentChange`]. *Out*: an [`Alert`], and its encodings in [`FORMATS`]. *Bound*: samples and
//! related senders as in the incident. *Spec*: docs/alerts.md, `portreeve schema alert`.

pub mod ecs;
pub mod text;

use crate::engine::incident::{Change, Evidence, Explanation, Incident, IncidentChange, Kind, span};
use crate::engine::sender::{Sample, SenderId};
use crate::observation::Vantage;
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the native form. Fields may be added; none changes its meaning.
pub const SCHEMA_VERSION: &str = "1.0";

/// The native form.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// Version of this schema.
    pub schema_version: String,
    /// Stable id of this alert: the incident's id and its sequence. A repeated delivery has the same id.
    pub id: String,
    /// What happened to the incident.
    pub change: Change,
    /// The incident it belongs to.
    pub incident: IncidentRef,
    /// When.
    pub times: Times,
    /// Who.
    pub sender: SenderRef,
    /// Other senders of the same story: the relay an account leaves by, the addresses of a block.
    pub related: Vec<SenderName>,
    /// What was hijacked.
    pub kind: Kind,
    /// Share of alarms with this evidence that are true, if one sender in 1,000 is hijacked on a day; 0 to 1.
    pub confidence: f64,
    /// How bad, apart from how sure.
    pub severity: Severity,
    /// One sentence that a person can act on.
    pub headline: String,
    /// Why: the reasons.
    pub evidence: Vec<Evidence>,
    /// Benign explanations that were weighed, best first.
    pub benign_explanations: Vec<Explanation>,
    /// The test itself.
    pub test: TestRef,
    /// How far it got.
    pub blast_radius: BlastRadius,
    /// What could and could not be seen.
    pub coverage: Coverage,
    /// A few deliveries.
    pub samples: Vec<SampleRecord>,
    /// MITRE ATT&CK techniques.
    pub attack_techniques: Vec<String>,
    /// What to do now.
    pub next_steps: Vec<String>,
}

/// Which incident.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IncidentRef {
    /// Stable id, 16 hexadecimal digits.
    pub id: String,
    /// 0 for the opening, then counting.
    pub sequence: u32,
}

/// Times of an alert, RFC 3339 in UTC.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// First delivery since nothing spoke for a hijack.
    pub first: String,
    /// Last delivery that counted.
    pub last: String,
    /// The event that raised this alert.
    pub event: String,
    /// When the incident was opened.
    pub opened: String,
}

/// A sender by kind and name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SenderName {
    /// `address`, `account`, `block`, or `host` (a mail server known by its name only).
    pub kind: String,
    /// Address, account name, prefix, or host name.
    pub name: String,
}

/// The sender that the alert is about.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SenderRef {
    /// `address`, `account`, `block`, or `host` (a mail server known by its name only).
    pub kind: String,
    /// Address, account name, prefix, or host name.
    pub name: String,
    /// Its role.
    pub role: crate::company::Role,
    /// Whether the configuration declares the role.
    pub role_declared: bool,
}

/// How bad.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Severity {
    /// `low`, `medium`, `high` or `critical`.
    pub name: String,
    /// 0 to 100.
    pub score: u8,
}

/// The sequential test.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRef {
    /// Evidence for a hijack against every benign explanation, nats.
    pub evidence_nats: f64,
    /// What it had to reach.
    pub threshold_nats: f64,
    /// The hijack template that fits best.
    pub template: String,
}

/// How far it got.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlastRadius {
    /// Deliveries since the change point.
    pub messages: u64,
    /// Recipients whose server took the message.
    pub recipients_accepted: u64,
    /// Addresses that took part, for a block.
    pub addresses: u64,
}

/// What could and could not be seen.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    /// Roads that speak for the incident.
    pub vantages: Vec<Vantage>,
    /// Share of the messages whose paths and verdict TLS hid; 0 to 1.
    pub hidden_share: f64,
}

/// One delivery as an example.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SampleRecord {
    /// When.
    pub at: String,
    /// Address it left from.
    pub address: Option<String>,
    /// Who handed it in.
    pub client: Option<String>,
    /// Server that answered.
    pub responder: Option<String>,
    /// Reverse-path; empty for the null path, null where it was hidden.
    pub reverse_path: Option<String>,
    /// Domain of the forward-path.
    pub forward_domain: Option<String>,
    /// Keyed digest of the forward-path: equal for equal recipients of this install.
    pub forward_path_digest: Option<String>,
    /// Reply code.
    pub reply_code: Option<u16>,
    /// The receiver's words.
    pub reply_text: Option<String>,
    /// Local id of the message.
    pub queue_id: Option<String>,
}

/// One form of the record.
pub struct Format {
    /// Name on the command line and in the configuration.
    pub name: &'static str,
    /// One line (or, for text, one paragraph) with its line end.
    pub encode: fn(&Alert) -> String,
}

/// All forms. A new one is one file and one row.
pub const FORMATS: &[Format] = &[
    Format { name: "ndjson", encode: ndjson },
    Format { name: "ecs", encode: ecs::encode },
    Format { name: "text", encode: text::encode },
];

/// The form of a name.
pub fn format(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

fn ndjson(alert: &Alert) -> String {
    let mut line = serde_json::to_string(alert).unwrap_or_default();
    line.push('\n');
    line
}

impl SenderName {
    /// Kind and name of a sender.
    pub fn of(id: &SenderId) -> SenderName {
        let (kind, name) = match id {
            SenderId::Address(address) => ("address", address.to_string()),
            SenderId::Account(account) => ("account", account.to_lossy()),
            SenderId::Block(block) => ("block", block.to_string()),
            SenderId::Host(host) => ("host", host.to_lossy()),
        };
        SenderName { kind: kind.into(), name }
    }
}

impl Alert {
    /// The record of one change.
    pub fn of(change: &IncidentChange) -> Alert {
        let incident = &change.incident;
        let name = SenderName::of(&incident.sender);
        let incident_id = format!("{:016x}", incident.id);
        Alert {
            schema_version: SCHEMA_VERSION.into(),
            id: format!("{incident_id}-{}", incident.sequence),
            change: change.change,
            incident: IncidentRef { id: incident_id, sequence: incident.sequence },
            times: Times {
                first: incident.first_at.to_rfc3339(),
                last: incident.last_at.to_rfc3339(),
                event: change.at.to_rfc3339(),
                opened: incident.opened_at.to_rfc3339(),
            },
            headline: headline(change, &name),
            sender: SenderRef {
                kind: name.kind,
                name: name.name,
                role: incident.role,
                role_declared: incident.role_declared,
            },
            related: incident.related.iter().map(SenderName::of).collect(),
            kind: incident.kind,
            confidence: rounded(incident.confidence),
            severity: severity(incident),
            evidence: incident.evidence.iter().map(round_evidence).collect(),
            benign_explanations: incident
                .explanations
                .iter()
                .map(|e| Explanation { worse_by_nats: rounded(e.worse_by_nats), ..e.clone() })
                .collect(),
            test: TestRef {
                evidence_nats: rounded(incident.evidence_nats),
                threshold_nats: rounded(incident.threshold_nats),
                template: incident.template.clone(),
            },
            blast_radius: BlastRadius {
                messages: incident.messages,
                recipients_accepted: incident.accepted,
                addresses: if matches!(incident.sender, SenderId::Block(_)) { incident.addresses } else { 1 },
            },
            coverage: Coverage {
                vantages: incident.vantages.clone(),
                hidden_share: rounded(incident.hidden as f64 / incident.messages.max(1) as f64),
            },
            samples: incident.samples.iter().map(sample_record).collect(),
            attack_techniques: techniques(incident.kind),
            next_steps: next_steps(incident),
        }
    }
}

/// Four decimals are more than any of these numbers is worth; fewer digits make lines that people can read.
fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

fn round_evidence(evidence: &Evidence) -> Evidence {
    Evidence {
        observed: rounded(evidence.observed),
        expected: rounded(evidence.expected),
        weight_nats: evidence.weight_nats.map(rounded),
        ..evidence.clone()
    }
}

fn sample_record(sample: &Sample) -> SampleRecord {
    SampleRecord {
        at: sample.at.to_rfc3339(),
        address: sample.address.map(|address| address.to_string()),
        client: sample.client.map(|address| address.to_string()),
        responder: sample.responder.map(|address| address.to_string()),
        reverse_path: sample.reverse_path.as_ref().map(|text| text.to_lossy()),
        forward_domain: sample.forward_domain.as_ref().map(|text| text.to_lossy()),
        forward_path_digest: sample.forward_path_digest.map(|digest| format!("{digest:016x}")),
        reply_code: sample.code,
        reply_text: sample.text.as_ref().map(|text| text.to_lossy()),
        queue_id: sample.queue_id.as_ref().map(|text| text.to_lossy()),
    }
}

/// By how much mail got out and how fast it goes: what it costs to wait.
fn severity(incident: &Incident) -> Severity {
    let hours = (incident.last_at.seconds_since(incident.first_at) / 3_600.0).max(1.0 / 60.0);
    let per_hour = incident.messages as f64 / hours;
    let (name, score) = if incident.accepted >= 1_000 || (per_hour >= 600.0 && incident.messages >= 50) {
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

fn headline(change: &IncidentChange, name: &SenderName) -> String {
    let incident = &change.incident;
    let seconds = incident.last_at.seconds_since(incident.first_at);
    if change.change == Change::Closed {
        return format!(
            "{} is quiet again: {} messages in {}, {} recipients accepted.",
            name.name,
            incident.messages,
            span(seconds),
            incident.accepted
        );
    }
    let from = match &incident.sender {
        SenderId::Block(_) => format!(" from {} of its addresses", incident.addresses),
        _ => String::new(),
    };
    let mut text = format!(
        "{} sent {} messages{from} in {}; normal at this hour is 0–{}",
        name.name,
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

fn techniques(kind: Kind) -> Vec<String> {
    let list: &[&str] = match kind {
        Kind::Account => &["T1586.002", "T1078", "T1566"],
        Kind::Host => &["T1584.004", "T1566"],
        Kind::Relay => &["T1584.004", "T1505.003", "T1566"],
        Kind::Block => &["T1584.008", "T1566"],
        Kind::Unknown => &["T1566"],
    };
    list.iter().map(|id| (*id).into()).collect()
}

fn next_steps(incident: &Incident) -> Vec<String> {
    let steps: &[&str] = match incident.kind {
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
    };
    steps.iter().map(|step| (*step).into()).collect()
}

/// Event time of an alert, for sorting and tests.
pub fn event_at(alert: &Alert) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(&alert.times.event)
}
