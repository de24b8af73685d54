//! The engine's state for the store, and back.
//!
//! *In*, *out*: blobs that only the engine reads. *Bound*: the engine's.

use super::Engine;
use super::feedback::Leniency;
use super::incident::Incident;
use super::planned::Plan;
use super::roads::{Road, StoredRoad};
use super::sender::{Sender, SenderKey};
use super::wakes::Wakes;
use crate::observation::Vantage;
use crate::time::Timestamp;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Stored state that is not a sender's.
#[derive(Serialize, Deserialize)]
struct Shared {
    roads: Vec<StoredRoad>,
    incidents: Vec<Incident>,
    wakes: Vec<((Vantage, IpNet), Wakes)>,
    plans: Vec<Plan>,
    leniencies: Vec<Leniency>,
    /// Sender-days, confirmed and dismissed incidents: what the realised rate of false alarms is made of.
    told: [u64; 3],
    now: Timestamp,
}

impl Engine {
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
            wakes: self.wakes.iter().map(|(key, wakes)| (*key, wakes.clone())).collect(),
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
        self.wakes = shared.wakes.into_iter().collect();
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
