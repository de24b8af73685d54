//! Incidents: evidence about one sender over time, opened, updated, closed.
//!
//! *In*: a sender whose test crossed its threshold. *Out*: [`IncidentChange`]. *Bound*: samples, related
//! senders, and a rate of updates that halves with each one.

use super::evidence;
use super::model::Model;
use super::sender::{Sample, Sender, SenderId};
use super::trail::Trail;
use super::{unlogged, volume};
use crate::company::Role;
use crate::limits;
use crate::observation::Vantage;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

pub use super::evidence::span;

/// Least time between the opening and the first update; it doubles with every update.
pub const UPDATE_INTERVAL_SECONDS: f64 = 600.0;

/// What happened to an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Evidence crossed the threshold.
    Opened,
    /// It goes on.
    Updated,
    /// The sender is quiet again.
    Closed,
}

/// What was hijacked, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Somebody else uses a person's account.
    Account,
    /// A machine sends that should not, or another machine uses the address.
    Host,
    /// Many addresses of one prefix.
    Block,
    /// A mail server relays what is not ours: an account, a script or an open relay behind it.
    Relay,
    /// Not to be told.
    Unknown,
    /// No hijack that marks show, but more mail than the sender's habits explain: the second tier.
    UnexplainedVolume,
}

/// One named reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Evidence {
    /// Stable name.
    pub name: String,
    /// What was seen.
    pub observed: f64,
    /// What is normal for this sender.
    pub expected: f64,
    /// Unit of both.
    pub unit: String,
    /// Log-likelihood ratio of the hijack against the sender's own mix, nats. `null` for context that the test does not weigh.
    pub weight_nats: Option<f64>,
    /// One plain sentence.
    pub sentence: String,
}

/// A benign explanation that was considered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Explanation {
    /// Stable name.
    pub name: String,
    /// What it would mean.
    pub says: String,
    /// How much worse than the hijack it fits the marks seen, nats.
    pub worse_by_nats: f64,
}

/// The state of an incident at one change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Derived from install, sender and opening time.
    pub id: u64,
    /// 0 for the opening, then counting.
    pub sequence: u32,
    /// Who.
    pub sender: SenderId,
    /// Its role.
    pub role: Role,
    /// Whether the role was declared.
    pub role_declared: bool,
    /// Roads that speak for it.
    pub vantages: Vec<Vantage>,
    /// What was hijacked.
    pub kind: Kind,
    /// Share of alarms with this evidence that are true, where one sender in 1,000 is hijacked on a day.
    pub confidence: f64,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// First delivery since the change point.
    pub first_at: Timestamp,
    /// Last delivery that counted.
    pub last_at: Timestamp,
    /// Greatest evidence now, nats.
    pub evidence_nats: f64,
    /// What it had to reach, nats.
    pub threshold_nats: f64,
    /// The template that fits best.
    pub template: String,
    /// Deliveries since the change point.
    pub messages: u64,
    /// Of these hidden by TLS.
    pub hidden: u64,
    /// Recipients that were accepted.
    pub accepted: u64,
    /// Most messages that are normal in such a span.
    pub usual_max: f64,
    /// Addresses that took part (blocks).
    pub addresses: u64,
    /// Reasons.
    pub evidence: Vec<Evidence>,
    /// Benign explanations, best first.
    pub explanations: Vec<Explanation>,
    /// Examples.
    pub samples: Vec<Sample>,
    /// Other senders of the same story.
    pub related: Vec<SenderId>,
    /// What the wake-up scan said, where it opened the incident (blocks).
    pub scan: Option<Evidence>,
    /// Whose mail it is, which way it left, whom it reached, which stages were seen: as of the last change that was
    /// told. Stored behind the rest, see [`Incident::to_blob`].
    #[serde(skip)]
    pub trail: Trail,
    /// Deliveries at the last alert, and when it was.
    pub reported_messages: u64,
    /// When the last alert was.
    pub reported_at: Timestamp,
    /// Last time the evidence stood above amber.
    pub suspicious_at: Timestamp,
}

/// What leaves the engine.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentChange {
    /// What happened.
    pub change: Change,
    /// When, in event time.
    pub at: Timestamp,
    /// The incident after it.
    pub incident: Incident,
}

impl Incident {
    /// Whether it tells of its sender's episode: of mail that the marks accuse, and not of volume or unlogged mail.
    pub fn is_of_episode(&self) -> bool {
        self.template != volume::TEMPLATE && self.template != unlogged::TEMPLATE
    }

    /// Whether an update is due: twice the messages, and the interval has passed.
    pub fn update_due(&self, at: Timestamp) -> bool {
        let interval = UPDATE_INTERVAL_SECONDS * f64::from(1u32 << self.sequence.min(12));
        self.messages >= 2 * self.reported_messages && at.seconds_since(self.reported_at) >= interval
    }

    /// Takes over what the sender's state says now.
    pub fn refresh(&mut self, model: &Model, sender: &Sender, template: usize, at: Timestamp) {
        let Some(episode) = sender.episode() else { return self.refresh_by_scan(model, template, at) };
        self.first_at = episode.first_at;
        self.last_at = at;
        let scan_nats = self.scan.as_ref().and_then(|scan| scan.weight_nats).unwrap_or(0.0);
        self.evidence_nats = sender.evidence().max(scan_nats);
        self.template = model.templates[template].name.clone();
        self.samples = episode.samples.list();
        self.total(model, sender, at);
        self.kind = self.kind_of(&model.templates[template].name);
    }

    /// Takes over the counts of the sender's state, and the reasons that they give.
    pub fn total(&mut self, model: &Model, sender: &Sender, at: Timestamp) {
        let template = model.templates.iter().position(|template| template.name == self.template);
        let (Some(episode), Some(template)) = (sender.episode(), template) else { return };
        let expected = sender.expected(model);
        self.messages = episode.messages;
        self.hidden = episode.hidden;
        self.accepted = episode.marks.verdict()[0] as u64;
        self.addresses = episode.addresses.len() as u64;
        self.usual_max = evidence::usual_max(&expected, episode, at);
        self.evidence = evidence::reasons(model, episode, &expected, template, self.usual_max);
        if let Some(scan) = &self.scan {
            self.evidence.insert(1, scan.clone());
        }
        self.explanations = evidence::explanations(model, episode);
    }

    /// The wake-up scan may speak before the test has anything to say.
    fn refresh_by_scan(&mut self, model: &Model, template: usize, at: Timestamp) {
        let Some(scan) = &self.scan else { return };
        self.last_at = at;
        self.evidence_nats = scan.weight_nats.unwrap_or(0.0);
        (self.messages, self.addresses) = (scan.observed as u64, scan.observed as u64);
        self.evidence = vec![scan.clone()];
        self.template = model.templates[template].name.clone();
        self.kind = self.kind_of(&model.templates[template].name);
    }

    fn kind_of(&self, template: &str) -> Kind {
        match (&self.sender, self.role) {
            (SenderId::Account(_), _) => Kind::Account,
            (SenderId::Block(_), _) => Kind::Block,
            (SenderId::Address(_) | SenderId::Host(_), Role::MailRelay) if template != "foreign_host" => {
                Kind::Relay
            }
            (SenderId::Address(_) | SenderId::Host(_), _) => Kind::Host,
        }
    }

    /// Its state for the store. What younger versions added stands behind what older ones know.
    pub fn to_blob(&self) -> Option<Vec<u8>> {
        postcard::to_allocvec(&(self, &self.trail)).ok()
    }

    /// The inverse of [`Incident::to_blob`], also of a blob that an older version wrote.
    pub fn from_blob(blob: &[u8]) -> Option<Incident> {
        let (incident, added) = postcard::take_from_bytes::<Incident>(blob).ok()?;
        let trail = if added.is_empty() { Trail::default() } else { postcard::from_bytes(added).ok()? };
        Some(Incident { trail, ..incident })
    }

    /// Names another sender of the same story.
    pub fn relate(&mut self, other: &SenderId) {
        if *other != self.sender && !self.related.contains(other) && self.related.len() < limits::RELATED_MAX
        {
            self.related.push(other.clone());
            self.related.sort();
        }
    }
}

/// Share of alarms that are true at an evidence: one hijack per 1,000 sender-days is assumed, and ordinary mail
/// reaches this evidence as often as the calibration says.
pub fn confidence(implied_false_alarms_per_1000_sender_days: f64) -> f64 {
    1.0 / (1.0 + implied_false_alarms_per_1000_sender_days)
}
