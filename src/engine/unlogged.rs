//! Mail that leaves a mail server's address and stands in no log: another program uses the address.
//!
//! *In*: [`Reconciled`] facts of the join. *Out*: an incident of its own, or one more reason in an open one.
//! *Bound*: one fixed-size entry a server, `limits::SAMPLES_MAX` examples.
//!
//! *Spec*: docs/detection.md, wire and log. A cumulative sum (Page 1954) of the log-likelihood ratio of 'this
//! piece of mail is unlogged' between a share p₁ of [`SHARES`] and the learned share p₀, for each p₁ apart. A
//! server's p₀ is a Beta posterior with a forgetting memory; nothing is learned under suspicion, and each share
//! must be at least [`SHARE_RATIO_MIN`] times p₀ to be tested.

use super::Engine;
use super::incident::{Change, Evidence, Incident, IncidentChange, Kind, confidence};
use super::sender::{Sample, SenderId, SenderKey};
use crate::limits;
use crate::observation::{Observation, Reconciled, Vantage, View};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Shares of unlogged mail that are looked for.
const SHARES: [f64; 4] = [0.005, 0.02, 0.1, 0.5];
/// A share nearer to the learned one is not looked for.
const SHARE_RATIO_MIN: f64 = 4.0;
/// Prior of the learned share: so many pieces, of which so many unlogged.
const PRIOR_PIECES: f64 = 500.0;
const PRIOR_UNLOGGED: f64 = 0.25;
/// Days after which half of what was learned is forgotten.
const HALF_LIFE_DAYS: f64 = 14.0;
/// Name that such an incident bears in place of a hijack template's.
pub const TEMPLATE: &str = "unlogged";
/// From here on nothing is learned, nats.
const AMBER_NATS: f64 = 5.0;

/// What is known of one server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Entry {
    pieces: f64,
    unlogged: f64,
    day: i64,
    per_day: f64,
    pieces_today: u32,
    nats: [f64; SHARES.len()],
    story: Option<Story>,
}

/// Unlogged mail since the sums last stood at nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Story {
    first_at: Timestamp,
    last_at: Timestamp,
    pieces: u64,
    messages: u64,
    accepted: u64,
    hidden: u64,
    samples: Vec<Sample>,
}

/// All servers whose packets and log are joined.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger(std::collections::BTreeMap<IpAddr, Entry>);

impl Entry {
    fn share(&self) -> f64 {
        (PRIOR_UNLOGGED + self.unlogged) / (PRIOR_PIECES + self.pieces)
    }

    fn evidence(&self) -> f64 {
        self.nats.iter().copied().fold(0.0, f64::max)
    }

    /// Days pass: forgets, and learns how many pieces a day are usual.
    fn advance(&mut self, at: Timestamp) {
        let days = at.day_index().saturating_sub(self.day);
        if self.day == 0 {
            self.day = at.day_index();
        } else if days > 0 {
            let keep = 0.5_f64.powf(days as f64 / HALF_LIFE_DAYS);
            self.pieces *= keep;
            self.unlogged *= keep;
            let seen = f64::from(std::mem::take(&mut self.pieces_today)) / days as f64;
            self.per_day += if self.per_day == 0.0 { seen } else { 0.2 * (seen - self.per_day) };
            self.day = at.day_index();
        }
        self.pieces_today = self.pieces_today.saturating_add(1);
    }

    fn count(&mut self, unlogged: bool) {
        let share = self.share();
        for (nats, wanted) in self.nats.iter_mut().zip(SHARES) {
            if wanted < SHARE_RATIO_MIN * share {
                *nats = 0.0;
                continue;
            }
            // Logged mail lowers the sums, and most stand at nothing already.
            if unlogged || *nats > 0.0 {
                let ratio = if unlogged { wanted / share } else { (1.0 - wanted) / (1.0 - share) };
                *nats = (*nats + ratio.ln()).max(0.0);
            }
        }
        if self.evidence() < AMBER_NATS {
            self.pieces += 1.0;
            self.unlogged += f64::from(u8::from(unlogged));
        }
        if self.evidence() == 0.0 {
            self.story = None;
        }
    }
}

impl Ledger {
    /// The reason that unlogged mail gives for an incident at this address, where it gives one.
    fn reason(&self, id: &SenderId, threshold: f64) -> Option<Evidence> {
        let SenderId::Address(address) = id else { return None };
        let entry = self.0.get(address)?;
        let story = entry.story.as_ref()?;
        (entry.evidence() >= threshold).then(|| Evidence {
            name: "unlogged_mail".into(),
            observed: story.messages as f64 / story.pieces.max(1) as f64,
            expected: entry.share(),
            unit: "share of deliveries".into(),
            weight_nats: Some(entry.evidence()),
            sentence: format!(
                "{} of {} deliveries left this address and stand in no log of its mail server, which was being written; normal is {:.2} %.",
                story.messages,
                story.pieces,
                100.0 * entry.share()
            ),
        })
    }

    /// Starts the sums anew; for when an incident is closed.
    pub(super) fn acquit(&mut self, id: &SenderId) {
        if let SenderId::Address(address) = id
            && let Some(entry) = self.0.get_mut(address)
        {
            entry.nats = Default::default();
            entry.story = None;
        }
    }
}

impl Engine {
    /// Takes what the join says of one piece of mail.
    pub(super) fn reconciled(
        &mut self,
        observation: &Observation,
        fact: &Reconciled,
        out: &mut Vec<IncidentChange>,
    ) {
        let Some(address) = observation.sender.address else { return };
        let unlogged = match fact.view {
            View::WireOnly => true,
            View::LogOnly => return,
            View::MatchedByReply
            | View::MatchedByMessageId
            | View::MatchedByPath
            | View::MatchedBySession => false,
        };
        if !unlogged {
            self.note_origin(observation, fact);
        }
        let sample = unlogged.then(|| self.unlogged_sample(observation, fact));
        let entry = self.ledger.0.entry(address).or_default();
        entry.advance(fact.seen_at);
        if let Some(story) = &mut entry.story {
            story.pieces += 1;
        }
        entry.count(unlogged);
        let Some(sample) = sample else { return };
        let story = entry.story.get_or_insert_with(|| Story {
            first_at: fact.seen_at,
            last_at: fact.seen_at,
            pieces: 1,
            messages: 0,
            accepted: 0,
            hidden: 0,
            samples: Vec::new(),
        });
        story.last_at = story.last_at.max(fact.seen_at);
        story.messages += 1;
        story.hidden += u64::from(fact.delivery.is_none());
        story.accepted += u64::from(sample.code.is_some_and(|code| code / 100 == 2));
        if story.samples.len() < limits::SAMPLES_MAX {
            story.samples.push(sample);
        }
        let per_day = entry.per_day.max(f64::from(entry.pieces_today));
        let evidence = entry.evidence();
        let id = SenderId::Address(address);
        let threshold = self.base(&id) + per_day.ln_1p();
        if evidence >= threshold {
            self.accuse_unlogged(&id, evidence, threshold, out);
        }
    }

    /// The log names who handed in what the wire saw leave.
    fn note_origin(&mut self, observation: &Observation, fact: &Reconciled) {
        let keys = &observation.sender;
        if keys.account.is_none() && keys.client.is_none() {
            return;
        }
        let Some(id) = self.egress(keys) else { return };
        let key = SenderKey { vantage: Vantage::Wire, id };
        let Some(sender) = self.senders.get_mut(&key) else { return };
        if sender.episode().is_some_and(|episode| fact.seen_at >= episode.first_at)
            && let Some(reach) = sender.reach()
        {
            reach.origin(&key.id, keys);
        }
    }

    fn unlogged_sample(&self, observation: &Observation, fact: &Reconciled) -> Sample {
        match &fact.delivery {
            Some(delivery) => {
                let at = Observation { at: fact.seen_at, ..observation.clone() };
                let named = self.settings.recipients_named;
                let sample = super::samples::sample(&at, delivery, fact.recipient, named);
                let forward_domain = sample.forward_domain.or_else(|| fact.recipient_domain.clone());
                Sample { forward_domain, ..sample }
            }
            None => super::samples::unseen(observation, fact.seen_at, fact.responder),
        }
    }

    fn accuse_unlogged(
        &mut self,
        id: &SenderId,
        evidence: f64,
        threshold: f64,
        out: &mut Vec<IncidentChange>,
    ) {
        let SenderId::Address(address) = id else { return };
        let Some(entry) = self.ledger.0.get(address) else { return };
        let Some(story) = entry.story.clone() else { return };
        let share = entry.share();
        let at = self.now;
        self.end_volume(id, at, out);
        let opened = !self.incidents.contains_key(id);
        if opened {
            let mut incident = self.begin(id, Vantage::Wire, at, threshold);
            incident.first_at = story.first_at;
            incident.kind = Kind::Host;
            incident.template = TEMPLATE.into();
            let usual = evidence - (threshold - self.base(id));
            incident.confidence = confidence(self.model.implied_false_alarms(incident.role, usual));
            self.counters.incidents_opened += 1;
            self.incidents.insert(id.clone(), incident);
        }
        let Some(incident) = self.incidents.get_mut(id) else { return };
        incident.suspicious_at = incident.suspicious_at.max(story.last_at);
        if incident.template == TEMPLATE {
            incident.follow(&story, share, evidence);
        }
        let due = opened || incident.update_due(at);
        if due {
            incident.sequence += u32::from(!opened);
            incident.reported_messages = incident.messages;
            incident.reported_at = at;
            let change = if opened { Change::Opened } else { Change::Updated };
            let mut incident = incident.clone();
            self.add_unlogged(&mut incident);
            self.tell_trail(&mut incident);
            out.push(IncidentChange { change, at, incident });
        }
    }

    fn base(&self, id: &SenderId) -> f64 {
        self.model.base_threshold(self.role_of(id), self.settings.false_alarms_per_1000_sender_days)
    }

    /// Names unlogged mail among the reasons of an incident at its address.
    pub(super) fn add_unlogged(&self, incident: &mut Incident) {
        incident.evidence.retain(|evidence| evidence.name != "unlogged_mail");
        if let Some(reason) = self.ledger.reason(&incident.sender, self.base(&incident.sender)) {
            incident.evidence.insert(0, reason);
        }
    }
}

impl Incident {
    fn follow(&mut self, story: &Story, share: f64, evidence_nats: f64) {
        self.last_at = story.last_at;
        self.evidence_nats = evidence_nats;
        self.messages = story.messages;
        self.hidden = story.hidden;
        self.accepted = story.accepted;
        self.usual_max = {
            let mean = share * story.pieces as f64;
            (mean + 2.0 * mean.sqrt()).floor()
        };
        self.samples.clone_from(&story.samples);
    }
}
