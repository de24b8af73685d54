//! Where an alert is decided: incidents are opened, updated, joined and closed.
//!
//! *In*: a sender's evidence and threshold. *Out*: [`IncidentChange`]s. *Bound*: one open incident a sender.

use super::Engine;
use super::blocks::{PARTS_MIN, parts};
use super::incident::{self, Change, Evidence, Incident, IncidentChange, Kind};
use super::judge::Judgement;
use super::sender::{Sender, SenderId, SenderKey};
use super::trail::Trail;
use super::volume;
use super::wakes::Scan;
use crate::company::Role;
use crate::observation::Vantage;
use crate::time::Timestamp;

/// Messages that a silent sender must send under TLS before that alone accuses it.
const OPAQUE_MESSAGES_MIN: u64 = 10;

impl Engine {
    pub(super) fn decide(&mut self, key: &SenderKey, judged: &Judgement, out: &mut Vec<IncidentChange>) {
        let Some(sender) = self.senders.get(key) else { return };
        let unexplained = self.unexplained(&key.id);
        if !unexplained && self.incidents.contains_key(&key.id) && judged.evidence < self.model.amber {
            return;
        }
        if let Some(incident) = self.incidents.get_mut(&key.id).filter(|_| !unexplained) {
            let at = sender.last_at;
            incident.suspicious_at = incident.suspicious_at.max(at);
            if !incident.vantages.contains(&key.vantage) {
                incident.vantages.push(key.vantage);
                incident.vantages.sort();
            }
            let messages = sender.episode().map_or(0, |episode| episode.messages);
            incident.messages = incident.messages.max(messages);
            if incident.update_due(at) {
                incident.refresh(&self.model, sender, judged.template, at);
                incident.sequence += 1;
                incident.reported_messages = incident.messages;
                incident.reported_at = at;
                let mut told = incident.clone();
                self.add_unlogged(&mut told);
                self.tell_trail(&mut told);
                if let Some(open) = self.incidents.get_mut(&key.id) {
                    open.trail.clone_from(&told.trail);
                }
                out.push(IncidentChange { change: Change::Updated, at, incident: told });
            }
            return;
        }
        let woke = self.scan_accuses(judged);
        if !woke && !accuses(sender, judged) {
            return self.decide_volume(key, judged, out);
        }
        if let SenderId::Block(block) = &key.id
            && (block.max_prefix_len() == 32 || block.prefix_len() < 64)
            && !woke
            && sender.episode().is_none_or(|episode| parts(block, &episode.addresses) < PARTS_MIN)
        {
            return;
        }
        if let Some(open) = self.open_block_around(&key.id) {
            if let Some(incident) = self.incidents.get_mut(&open) {
                incident.relate(&key.id);
            }
            return;
        }
        self.open(key, judged, out);
    }

    /// Whether so many dormant addresses woke that this alone accuses their block. The bar is that of an unused
    /// sender, and ln(prefixes watched) for looking at so many.
    fn scan_accuses(&self, judged: &Judgement) -> bool {
        let looked_at = (self.wakes.len() as f64).max(1.0).ln();
        let base = self.model.base_threshold(Role::Unused, self.settings.false_alarms_per_1000_sender_days);
        judged.scan.is_some_and(|scan| scan.nats >= base + looked_at)
    }

    fn open(&mut self, key: &SenderKey, judged: &Judgement, out: &mut Vec<IncidentChange>) {
        let Some(sender) = self.senders.get(key) else { return };
        let at = sender.last_at;
        self.end_volume(&key.id, at, out);
        let Some(sender) = self.senders.get(key) else { return };
        let mut incident = self.begin(&key.id, key.vantage, at, judged.threshold);
        if self.scan_accuses(judged) {
            incident.scan = judged.scan.map(scan_evidence);
        }
        incident.refresh(&self.model, sender, judged.template, at);
        let normalised = incident.evidence_nats - sender.proven_per_day().ln_1p();
        incident.confidence = incident::confidence(self.model.implied_false_alarms(sender.role, normalised));
        incident.reported_messages = incident.messages;
        self.relate(&mut incident, key.vantage);
        if let (SenderId::Block(block), true) = (&key.id, incident.scan.is_some())
            && let Some(wakes) = self.wakes.get_mut(&(key.vantage, *block))
        {
            wakes.told();
        }
        self.add_unlogged(&mut incident);
        self.tell_trail(&mut incident);
        self.tell_recipients(key, incident.id);
        self.counters.incidents_opened += 1;
        out.push(IncidentChange { change: Change::Opened, at, incident: incident.clone() });
        self.incidents.insert(key.id.clone(), incident);
    }

    /// A new incident, without its story.
    pub(super) fn begin(&self, id: &SenderId, vantage: Vantage, at: Timestamp, threshold: f64) -> Incident {
        let name = postcard::to_allocvec(id).unwrap_or_default();
        let declared = match id {
            SenderId::Address(address) => {
                self.company.host_of(*address).is_some_and(|host| host.role.is_some())
            }
            _ => false,
        };
        Incident {
            id: self.key.digest(&[b"incident", &name, &at.as_micros().to_le_bytes()]),
            sequence: 0,
            sender: id.clone(),
            role: self.role_of(id),
            role_declared: declared,
            vantages: vec![vantage],
            kind: Kind::Unknown,
            confidence: 0.0,
            opened_at: at,
            first_at: at,
            last_at: at,
            evidence_nats: 0.0,
            threshold_nats: threshold,
            template: String::new(),
            messages: 0,
            hidden: 0,
            accepted: 0,
            usual_max: 0.0,
            addresses: 0,
            evidence: Vec::new(),
            explanations: Vec::new(),
            samples: Vec::new(),
            related: Vec::new(),
            scan: None,
            trail: Trail::default(),
            reported_messages: 0,
            reported_at: at,
            suspicious_at: at,
        }
    }

    /// Joins an incident with the open ones of the same story: the account with the relay it leaves by, the
    /// block with its addresses.
    fn relate(&mut self, incident: &mut Incident, vantage: Vantage) {
        let senders = &self.senders;
        let egress_of = |id: &SenderId| {
            let sender = senders.get(&SenderKey { vantage, id: id.clone() })?;
            sender.last_egress.as_deref()
        };
        let own_egress = egress_of(&incident.sender);
        let same_story = |id: &SenderId| {
            own_egress == Some(id)
                || egress_of(id) == Some(&incident.sender)
                || match (&incident.sender, id) {
                    (SenderId::Block(block), SenderId::Address(address)) => block.contains(address),
                    (SenderId::Block(block), SenderId::Block(part)) => block != part && block.contains(part),
                    _ => false,
                }
        };
        let others = self.incidents.iter().map(|(id, _)| id);
        for id in others.filter(|id| same_story(id)).cloned().collect::<Vec<_>>() {
            incident.relate(&id);
            if let Some(other) = self.incidents.get_mut(&id) {
                other.relate(&incident.sender);
            }
        }
        if let Some(egress) = own_egress {
            incident.relate(egress);
        }
        if let SenderId::Block(_) = incident.sender {
            let sender = self.senders.get(&SenderKey { vantage, id: incident.sender.clone() });
            if let Some(episode) = sender.and_then(|sender| sender.episode()) {
                for address in &episode.addresses {
                    incident.relate(&SenderId::Address(*address));
                }
            }
        }
    }

    /// What an incident came to in the end, by the road that saw most of it.
    pub(super) fn tell_totals(&self, incident: &mut Incident) {
        let key = |vantage| SenderKey { vantage, id: incident.sender.clone() };
        let messages = |sender: &Sender| sender.episode().map_or(0, |episode| episode.messages);
        let speaking = incident.vantages.iter().filter_map(|vantage| self.sender(&key(*vantage)));
        if let Some(sender) = speaking.max_by_key(|sender| messages(sender))
            && messages(sender) >= incident.messages
        {
            incident.total(&self.model, sender, incident.last_at);
        }
        self.add_unlogged(incident);
        self.tell_trail(incident);
    }

    /// Once an hour: closes incidents whose sender is quiet again.
    pub(super) fn sweep(&mut self, out: &mut Vec<IncidentChange>) {
        self.swept_hour = self.now.hour_index();
        self.drop_ended_plans();
        self.logins.sweep(self.now);
        let quiet_seconds = self.settings.close_after_hours * 3_600.0;
        let quiet: Vec<SenderId> = self
            .incidents
            .iter()
            .filter(|(_, incident)| self.now.seconds_since(incident.suspicious_at) >= quiet_seconds)
            .map(|(id, _)| id.clone())
            .collect();
        let hour_start = Timestamp::from_seconds(self.swept_hour.saturating_mul(3_600));
        for id in quiet {
            let Some(mut incident) = self.incidents.remove(&id) else { continue };
            incident.sequence += 1;
            incident.last_at = incident.suspicious_at;
            self.tell_totals(&mut incident);
            if incident.template != volume::TEMPLATE {
                self.acquit(&id);
            }
            out.push(IncidentChange { change: Change::Closed, at: hour_start, incident });
        }
    }
}

/// The wake-up scan as a reason.
fn scan_evidence(scan: Scan) -> Evidence {
    Evidence {
        name: "wake_ups".into(),
        observed: scan.woken.ceil(),
        expected: scan.usual_per_hour,
        unit: "addresses an hour".into(),
        weight_nats: Some(scan.nats),
        sentence: format!(
            "{:.0} addresses that were silent for 30 days or ever began to send within an hour; {:.4} an hour are normal here.",
            scan.woken.ceil(),
            scan.usual_per_hour
        ),
    }
}

/// Whether the evidence suffices and what was seen since the change point points at a hijack.
///
/// A silent sender that wakes up under TLS shows no marks to ask, and its first messages are all the evidence
/// there will be. It is accused by that alone, once there are too many for a slip.
fn accuses(sender: &Sender, judged: &Judgement) -> bool {
    let Some(episode) = sender.episode() else { return false };
    let by_marks = judged.evidence >= judged.threshold && episode.marks_accuse();
    let by_waking = episode.peak_nats >= judged.threshold && episode.messages >= OPAQUE_MESSAGES_MIN;
    by_marks || by_waking && sender.woke_unseen()
}
