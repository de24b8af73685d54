//! What comes beside a delivery: what the message carried, and how its sender logged in.
//!
//! *In*: messages with content, logins. *Out*: evidence, handed to `decide`. *Bound*: only senders that are
//! profiled already; `limits::URL_DOMAINS_MAX` links a message. *Spec*: docs/detection.md, marks.
//!
//! What all messages of a campaign share (its links, its attachments) is asked once a letter, not once a message:
//! a thousand copies prove no more than one.

use super::Engine;
use super::incident::IncidentChange;
use super::judge::Judgement;
use super::marks::Marks;
use super::roads::{self, RECIPIENT_GENERATION_SECONDS};
use super::sender::{SenderId, SenderKey};
use crate::observation::{Content, Login, Message, Observation};

impl Engine {
    /// A message: its letter, its links, its attachments.
    pub(super) fn message(
        &mut self,
        observation: &Observation,
        message: &Message,
        out: &mut Vec<IncidentChange>,
    ) {
        let Some(content) = &message.content else { return };
        let [egress, origin] = self.profiled(&observation.sender);
        let links: Vec<u64> =
            content.url_domains.iter().map(|domain| self.key.digest(&[domain.as_bytes()])).collect();
        let settled = self.familiarity(observation).settled;
        let road = &mut self.roads[observation.vantage as usize];
        let known = links.iter().filter(|digest| road.links.contains(**digest)).count();
        let new_link = (!links.is_empty() && settled).then_some(known < links.len());
        let mut suspected = false;
        for id in [egress, origin].into_iter().flatten() {
            let key = SenderKey { vantage: observation.vantage, id };
            if self.plan_runs(&key.id, observation.at) {
                continue;
            }
            let marks = |engine: &mut Engine| engine.content_marks(&key, content, new_link);
            if let Some(judgement) = self.consider(observation, &key, marks) {
                suspected |= judgement.evidence >= judgement.amber;
                self.decide(&key, &judgement, out);
            }
            if let Some(reach) = self.senders.get_mut(&key).and_then(|sender| sender.reach()) {
                reach.content(content, message.recipients);
            }
        }
        if !suspected {
            let road = &mut self.roads[observation.vantage as usize];
            for digest in links {
                road.links.insert(digest, observation.at, RECIPIENT_GENERATION_SECONDS);
            }
        }
    }

    fn content_marks(&mut self, key: &SenderKey, content: &Content, new_link: Option<bool>) -> Marks {
        let mut marks = Marks::default();
        let Some(sender) = self.senders.get_mut(key) else { return marks };
        let same = content.similarity.map(|similarity| sender.recent().letter(similarity));
        let once = |mark: Option<bool>| mark.filter(|_| same != Some(true));
        let risky = content.attachments.iter().any(|attached| attached.executable || attached.encrypted);
        let deceptive = (!content.url_domains.is_empty()).then_some(content.deceptive_link);
        for (name, mark) in [
            ("same_letter", same),
            ("new_link", once(new_link)),
            ("risky_attachment", once(Some(risky))),
            ("deceptive_link", once(deceptive)),
        ] {
            if let Some(place) = self.model.side_mark(name) {
                marks.side.note(place, mark);
            }
        }
        marks
    }

    /// A login of an account that is profiled.
    pub(super) fn login(&mut self, observation: &Observation, login: Login, out: &mut Vec<IncidentChange>) {
        let Some(account) = &observation.sender.account else { return };
        let key = SenderKey { vantage: observation.vantage, id: SenderId::Account(account.clone()) };
        let day = observation.at.day_index();
        let settled = self.familiarity(observation).settled;
        let seen = self.machine_traits(observation, &key.id);
        let marks = |engine: &mut Engine| {
            let mut marks = Marks::default();
            let Some(sender) = engine.senders.get_mut(&key) else { return marks };
            let guessed = sender.recent().login(login.succeeded, day);
            if login.succeeded {
                let road = &mut engine.roads[key.vantage as usize];
                let new_network = roads::foreign(&sender.traits, road, seen, settled) == Some(true);
                engine.logins.note(account, observation.at, guessed == Some(true), new_network);
            }
            if let Some(place) = engine.model.side_mark("guessed_password") {
                marks.side.note(place, guessed);
            }
            marks
        };
        if let Some(judgement) = self.consider(observation, &key, marks) {
            self.decide(&key, &judgement, out);
        }
    }

    /// Judges marks that come beside a delivery; `None` where there is nothing to judge.
    fn consider(
        &mut self,
        observation: &Observation,
        key: &SenderKey,
        marks: impl FnOnce(&mut Engine) -> Marks,
    ) -> Option<Judgement> {
        let margin = self.familiarity(observation).margin_nats;
        let amber = self.model.amber + margin;
        let sender = self.senders.get_mut(key)?;
        let weather = self.seasons[key.vantage as usize].of(sender.role);
        sender.advance_in(&self.model, &self.company.clock, weather, amber, observation.at);
        let marks = marks(self);
        if marks.side.seen == 0 {
            return None;
        }
        let sender = self.senders.get_mut(key)?;
        let step = sender.consider(&self.model, amber, observation.at, &marks);
        let same_letter = self.model.side_mark("same_letter");
        if let Some(reach) = sender.reach() {
            reach.stages_of(observation.at, &marks, same_letter);
        }
        if !std::mem::replace(&mut sender.changed, true) {
            self.changed.push(key.clone());
        }
        Some(self.judgement(key, step, margin, observation.at))
    }
}
