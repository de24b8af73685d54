//! Who got the mail of an incident, name by name, for a list that can be exported; only where the configuration asks
//! for recipients.
//!
//! *In*: deliveries of senders under suspicion. *Out*: [`Reached`] rows for the store, once there is an incident.
//! *Bound*: `limits::REACH_EARLY_MAX` deliveries before it is opened, `limits::REACHED_MAX` deliveries of one.

use super::Engine;
use super::sender::SenderKey;
use crate::limits;
use crate::mail::{Reply, Untrusted, Verdict};
use crate::observation::{Delivery, Vantage};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One delivery since the change point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Its place among the deliveries since the change point.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// The forward-path.
    pub forward_path: Untrusted,
    /// Whether its server took the message; `None` where that was not seen.
    pub accepted: Option<bool>,
    /// Reply code.
    pub code: Option<u16>,
}

/// One recipient of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Whose.
    pub incident: u64,
    /// The road that saw it: both may see the same delivery.
    pub vantage: Vantage,
    /// Who and how.
    pub recipient: Recipient,
}

impl Recipient {
    fn of(number: u64, at: Timestamp, delivery: &Delivery) -> Option<Recipient> {
        let verdict = delivery.reply.as_ref().and_then(Reply::verdict);
        Some(Recipient {
            number,
            at,
            forward_path: delivery.forward_path.as_ref()?.address().clone(),
            accepted: verdict.map(|verdict| verdict == Verdict::Accepted),
            code: delivery.reply.as_ref().and_then(|reply| reply.code),
        })
    }
}

impl Engine {
    /// Has recipients of incidents noted, as far as the settings allow it, until [`Engine::take_reached`] takes them.
    pub fn note_reached(&mut self) {
        self.reached.get_or_insert_default();
    }

    /// Recipients of incidents since the last call.
    pub fn take_reached(&mut self) -> Vec<Reached> {
        self.reached.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Notes one delivery of a sender under suspicion: with its incident, or for the time when there is one.
    pub(super) fn note_recipient(&mut self, key: &SenderKey, at: Timestamp, delivery: &Delivery) {
        if self.reached.is_none() || !self.settings.recipients_named {
            return;
        }
        let Some(episode) = self.senders.get_mut(key).and_then(|sender| sender.episode_mut()) else { return };
        let Some(recipient) = Recipient::of(episode.messages, at, delivery) else { return };
        let Some(reach) = episode.reach.as_mut() else { return };
        let told = self.incidents.get(&key.id).filter(|incident| incident.is_of_episode());
        let Some(incident) = told.map(|incident| incident.id) else {
            if reach.early.len() < limits::REACH_EARLY_MAX {
                reach.early.push(recipient);
            }
            return;
        };
        if recipient.number <= limits::REACHED_MAX {
            reach.early.push(recipient);
            self.tell_recipients(key, incident);
        }
    }

    /// Hands over, with its incident, what was noted of a sender.
    pub(super) fn tell_recipients(&mut self, key: &SenderKey, incident: u64) {
        let Some(episode) = self.senders.get_mut(key).and_then(|sender| sender.episode_mut()) else { return };
        let Some(reach) = &mut episode.reach else { return };
        let early = std::mem::take(&mut reach.early);
        if let Some(reached) = self.reached.as_mut().filter(|_| self.settings.recipients_named) {
            let vantage = key.vantage;
            reached.extend(early.into_iter().map(|recipient| Reached { incident, vantage, recipient }));
        }
    }
}
