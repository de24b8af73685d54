//! The native record: plain data, public fields, one meaning each for ever.
//!
//! *In*: [`super::compose`] fills it. *Out*: every form is a view of it. *Bound*: `limits::ALERT_*`; one JSON
//! line stays below 32 KiB. *Spec*: docs/alerts.md, `portreeve schema alert`.

use crate::engine::incident::{Change, Evidence, Explanation, Kind};
use crate::observation::Vantage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the native form. Fields may be added; none changes its meaning.
pub const SCHEMA_VERSION: &str = "1.0";

/// One alert: what leaves when an incident changes.
///
/// A field that is added later bears `#[serde(default)]`: alerts of older versions may still wait in the outbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Who reports; `null` where the configuration names nobody.
    pub sensor: Option<SensorRef>,
    /// Who.
    pub sender: SenderRef,
    /// Other senders of the same story: the relay an account leaves by, the addresses of a block.
    pub related: Vec<SenderName>,
    /// Related senders that are not named because the list is full.
    pub related_omitted: u64,
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
    /// Whose mail it is, behind the sender.
    #[serde(default)]
    pub attribution: Attribution,
    /// Which stages of a hijack were seen, and what comes next.
    #[serde(default)]
    pub chain: Chain,
    /// How far it got.
    pub blast_radius: BlastRadius,
    /// What could and could not be seen.
    pub coverage: Coverage,
    /// What was not told one by one since the alert before.
    pub suppressed: Suppressed,
    /// Keys that find the same mail in other systems.
    pub join_keys: JoinKeys,
    /// A few deliveries.
    pub samples: Vec<SampleRecord>,
    /// MITRE ATT&CK techniques.
    pub attack_techniques: Vec<String>,
    /// What to do now.
    pub next_steps: Vec<String>,
    /// Only when an incident closes: what speaks for and against lifting a block, one sentence each.
    pub before_unblocking: Vec<String>,
}

/// Which incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IncidentRef {
    /// Stable id, 16 hexadecimal digits.
    pub id: String,
    /// 0 for the opening, then counting.
    pub sequence: u32,
}

/// Times of an alert, RFC 3339 in UTC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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

/// The sensor and whom to ask about its reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SensorRef {
    /// Name of the sensor.
    pub name: String,
    /// Organisation that runs it.
    pub organization: Option<String>,
    /// Mail address to ask about reports.
    pub contact: Option<String>,
    /// Domain of the organisation.
    pub domain: Option<String>,
}

/// A sender by kind and name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SenderName {
    /// `address`, `account`, `block`, `host` (a mail server known by its name only), or `sensor` (the alert is
    /// about portreeve itself).
    pub kind: String,
    /// Address, account name, prefix, or host name.
    pub name: String,
}

/// The sender that the alert is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SenderRef {
    /// `address`, `account`, `block`, `host` (a mail server known by its name only), or `sensor` (the alert is
    /// about portreeve itself).
    pub kind: String,
    /// Address, account name, prefix, or host name.
    pub name: String,
    /// Its role.
    pub role: crate::company::Role,
    /// Whether the configuration declares the role.
    pub role_declared: bool,
}

/// How bad.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Severity {
    /// `low`, `medium`, `high` or `critical`.
    pub name: String,
    /// 0 to 100.
    pub score: u8,
}

/// The sequential test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRef {
    /// Evidence for a hijack against every benign explanation, nats.
    pub evidence_nats: f64,
    /// What it had to reach.
    pub threshold_nats: f64,
    /// The hijack template that fits best.
    pub template: String,
}

/// Whose mail it is, behind the sender.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attribution {
    /// Accounts and clients that handed the mail in, as the mail server's log names them, the greatest excess first.
    pub origins: Vec<OriginRecord>,
    /// Deliveries of origins that are not named here or that the log does not know.
    pub messages_omitted: u64,
    /// Scripts and clients of web mailers, as headers of the messages name them. Whoever writes a message writes its
    /// headers: they may lie.
    pub headers: Vec<OriginRecord>,
    /// For an account: where its mail left.
    pub egress: Vec<EgressRecord>,
}

/// One origin's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OriginRecord {
    /// `account`, `client`, `script` or `web_client`.
    pub kind: String,
    /// Account, address, or name of the script.
    pub name: String,
    /// Deliveries of its mail, at least.
    pub messages: u64,
    /// Deliveries that are normal for it in the time; `null` where nobody learned it.
    pub usual_messages: Option<f64>,
    /// Its share of what is more than normal, 0 to 1.
    pub share_of_excess: f64,
}

/// A way out of the company.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EgressRecord {
    /// `address`, or `host`: a mail server known by its name only.
    pub kind: String,
    /// Address or name.
    pub name: String,
    /// Deliveries that left there, at least.
    pub messages: u64,
}

/// The course of the incident.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// Stages of a hijack in their usual order.
    pub stages: Vec<StageRecord>,
    /// What usually comes after the last stage that was seen; `null` where none was seen, or when it is over.
    pub next: Option<String>,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageRecord {
    /// Stable name: `password_guessed`, `new_network_login`, `first_foreign_mail`, `blast`, `unknown_users`,
    /// `receivers_block`.
    pub name: String,
    /// What it means, in one sentence.
    pub says: String,
    /// When it was first seen; `null` where it was not.
    pub seen_at: Option<String>,
}

/// Recipients of one domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainRecord {
    /// Domain of the recipients.
    pub domain: String,
    /// How many accepted, at least.
    pub recipients_accepted: u64,
}

/// How far it got.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlastRadius {
    /// Deliveries since the change point.
    pub messages: u64,
    /// Recipients whose server took the message.
    pub recipients_accepted: u64,
    /// Of the messages, such whose recipients and verdict TLS hid: how many were accepted is not known.
    pub messages_hidden: u64,
    /// Addresses that took part, for a block.
    pub addresses: u64,
    /// Domains of the recipients that accepted, the most first.
    #[serde(default)]
    pub domains: Vec<DomainRecord>,
    /// Recipients that accepted and whose domain is not named here.
    #[serde(default)]
    pub recipients_omitted: u64,
    /// Recipients in the company's own domains that accepted; `null` where no domain is configured or none was seen.
    #[serde(default)]
    pub recipients_inside: Option<u64>,
}

/// What could and could not be seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    /// Roads that speak for the incident.
    pub vantages: Vec<Vantage>,
    /// Share of the messages whose paths and verdict TLS hid; 0 to 1.
    pub hidden_share: f64,
    /// Share of frames that the capture dropped around the time of the alert; 0 to 1. `null` where it is not
    /// measured: logs, and captures read from a file.
    pub frames_dropped_share: Option<f64>,
    /// How far the log's newest line lay behind when it was read, seconds. `null` where it is not measured.
    pub log_lag_seconds: Option<f64>,
}

/// What was not told one by one since the alert before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suppressed {
    /// Changes of this incident held back because the alert rate was used up.
    pub of_this_incident: u64,
    /// Changes of all incidents held back since the last alert that left.
    pub of_all: u64,
}

/// Keys that find the same mail in other systems, each once, in the order of the samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinKeys {
    /// The mail server's local ids of messages.
    pub queue_ids: Vec<String>,
    /// Servers that answered, as addresses.
    pub responders: Vec<String>,
    /// Domains of recipients.
    pub forward_domains: Vec<String>,
}

/// One delivery as an example.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// The whole forward-path: `null` unless `privacy.recipients` is switched on.
    pub forward_path: Option<String>,
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
