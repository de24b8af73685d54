//! The engine's state for the store, and back.
//!
//! *In*, *out*: blobs that only the engine reads. *Bound*: the engine's.

use super::Engine;
use super::feedback::Leniency;
use super::incident::Incident;
use super::planned::Plan;
use super::roads::{Road, StoredRoad};
use super::sender::{Sender, SenderId, SenderKey};
use crate::observation::Vantage;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Stored state that is not a sender's.
#[derive(Serialize, Deserialize)]
struct Shared {
    roads: Vec<StoredRoad>,
    incidents: Vec<Incident>,
    plans: Vec<Plan>,
    leniencies: Vec<Leniency>,
    /// Sender-days, confirmed and dismissed incidents: what the realised rate of false alarms is made of.
    told: [u64; 3],
    now: Timestamp,
}

/// An hour of one sender that ended with messages in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedHour {
    /// Who.
    pub sender: SenderKey,
    /// Which hour, counted since the epoch.
    pub hour: i64,
    /// Messages in it.
    pub messages: u32,
}

/// The hour under way, where a delivery at `at` ends it.
pub(super) fn closed_hour(key: &SenderKey, sender: &Sender, at: Timestamp) -> Option<ClosedHour> {
    let (hour, messages) = sender.hour_under_way();
    (messages > 0 && hour < at.hour_index()).then(|| ClosedHour { sender: key.clone(), hour, messages })
}

impl Engine {
    /// Has every hour noted that ends with messages in it, until [`Engine::take_closed_hours`] takes it.
    pub fn note_closed_hours(&mut self) {
        self.closed_hours.get_or_insert_default();
    }

    /// Hours that ended since the last call, in the order in which they did.
    pub fn take_closed_hours(&mut self) -> Vec<ClosedHour> {
        self.closed_hours.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// One sender.
    pub fn sender(&self, key: &SenderKey) -> Option<&Sender> {
        self.senders.get(key).map(|sender| &**sender)
    }

    /// Forgets what was learned about one sender, on both roads; an open incident stays open. Returns whether
    /// there was something.
    pub fn forget(&mut self, id: &SenderId) -> bool {
        let mut known = false;
        for vantage in [Vantage::Wire, Vantage::Log] {
            let key = SenderKey { vantage, id: id.clone() };
            known |= self.senders.remove(&key).is_some();
            self.changed.retain(|changed| *changed != key);
        }
        if let Some(closed) = &mut self.closed_hours {
            closed.retain(|hour| hour.sender.id != *id);
        }
        known
    }

    /// Senders whose state changed since the last call, for the store, in a stable order.
    pub fn take_changed(&mut self) -> Vec<(SenderKey, Vec<u8>)> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed
            .into_iter()
            .filter_map(|key| {
                let sender = self.senders.get_mut(&key)?;
                sender.changed = false;
                let blob = postcard::to_allocvec(&**sender).ok()?;
                Some((key, blob))
            })
            .collect()
    }

    /// State that is not a sender's, for the store.
    pub fn export_shared(&self) -> Vec<u8> {
        let shared = Shared {
            roads: self.roads.iter().map(Road::export).collect(),
            incidents: self.incidents.values().cloned().collect(),
            plans: self.plans.clone(),
            leniencies: self.leniencies.clone(),
            told: [self.counters.sender_days, self.counters.confirmed, self.counters.dismissed],
            now: self.now,
        };
        postcard::to_allocvec(&shared).unwrap_or_default()
    }

    /// Takes back what [`Engine::export_shared`] gave. `false` where it cannot be read.
    pub fn import_shared(&mut self, blob: &[u8]) -> bool {
        let Ok(shared) = postcard::from_bytes::<Shared>(blob) else { return false };
        for (road, stored) in self.roads.iter_mut().zip(shared.roads) {
            *road = Road::import(stored);
        }
        self.incidents =
            shared.incidents.into_iter().map(|incident| (incident.sender.clone(), incident)).collect();
        self.plans = shared.plans;
        self.leniencies = shared.leniencies;
        [self.counters.sender_days, self.counters.confirmed, self.counters.dismissed] = shared.told;
        self.now = shared.now;
        self.swept_hour = shared.now.hour_index();
        true
    }

    /// Takes back one sender. `false` where it cannot be read.
    pub fn import_sender(&mut self, key: SenderKey, blob: &[u8]) -> bool {
        match postcard::from_bytes::<Sender>(blob) {
            Ok(sender) => self.senders.insert(key, Box::new(sender)).is_none(),
            Err(_) => false,
        }
    }
}
