//! The engine's state for the store, and back.
//!
//! *In*, *out*: blobs that only the engine reads. *Bound*: the engine's.

use super::Engine;
use super::feedback::Leniency;
use super::incident::Incident;
use super::memory::{SetChange, StoredSet};
use super::open::OpenIncidents;
use super::planned::Plan;
use super::roads::{Road, RoadRest, SETS, StoredRoad};
use super::roles;
use super::season::Season;
use super::sender::{Sender, SenderId, SenderKey};
use super::trail::{Logins, Trail};
use super::unlogged::Ledger;
use super::wakes::Wakes;
use crate::observation::Vantage;
use crate::time::Timestamp;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    ledger: Ledger,
    now: Timestamp,
}

/// What younger versions added; it stands behind what older ones know, and what is not there is empty.
#[derive(Clone, Debug, Default, PartialEq)]
struct Added {
    seasons: [Season; 2],
    logins: Logins,
}

impl Added {
    /// Reads as much as there is, and gives back what stands behind.
    fn read(blob: &[u8]) -> Option<(Added, &[u8])> {
        let (seasons, blob) = take_or_default(blob)?;
        let (logins, blob) = take_or_default(blob)?;
        Some((Added { seasons, logins }, blob))
    }
}

fn take_or_default<T: Default + for<'de> Deserialize<'de>>(blob: &[u8]) -> Option<(T, &[u8])> {
    if blob.is_empty() { Some((T::default(), blob)) } else { postcard::take_from_bytes(blob).ok() }
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

/// Stored state that is neither a sender's nor an incident's nor a remembered set.
#[derive(Serialize, Deserialize)]
struct Rest {
    roads: Vec<RoadRest>,
    wakes: Vec<((Vantage, IpNet), Wakes)>,
    plans: Vec<Plan>,
    leniencies: Vec<Leniency>,
    told: [u64; 3],
    ledger: Ledger,
    now: Timestamp,
}

/// What changed of the state that is not a sender's.
#[derive(Clone, Debug, Default)]
pub struct SharedChange {
    /// The small part, whole.
    pub rest: Vec<u8>,
    /// Remembered sets that changed, by name.
    pub sets: Vec<(String, SetChange)>,
    /// Open incidents by their sender; `None` where there is none any more.
    pub incidents: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Whether these are all incidents there are, and not only those that changed.
    pub all_incidents: bool,
}

/// The state that is not a sender's, as the store kept it.
#[derive(Clone, Debug, Default)]
pub struct StoredShared {
    /// The small part.
    pub rest: Vec<u8>,
    /// Remembered sets by name.
    pub sets: BTreeMap<String, StoredSet>,
    /// Open incidents.
    pub incidents: Vec<Vec<u8>>,
}

impl StoredShared {
    fn read(mut self) -> Option<(Vec<Road>, Vec<Incident>, Rest, Added)> {
        let (mut rest, added) = postcard::take_from_bytes::<Rest>(&self.rest).ok()?;
        let (added, _) = Added::read(added)?;
        let incidents = self.incidents.iter().map(|incident| Incident::from_blob(incident));
        let incidents = incidents.collect::<Option<Vec<Incident>>>()?;
        let mut roads = Vec::new();
        for (road, vantage) in std::mem::take(&mut rest.roads).into_iter().zip(["wire", "log"]) {
            let sets = SETS.map(|name| self.sets.remove(&format!("{vantage}.{name}")).unwrap_or_default());
            roads.push(Road::restore(road, sets));
        }
        Some((roads, incidents, rest, added))
    }

    /// The same in the form of [`Engine::export_shared`]; `None` where it cannot be read.
    pub fn whole(self) -> Option<Vec<u8>> {
        let (roads, mut incidents, rest, added) = self.read()?;
        incidents.sort_by(|a, b| a.sender.cmp(&b.sender));
        let Rest { wakes, plans, leniencies, told, ledger, now, .. } = rest;
        let roads = roads.iter().map(Road::export).collect();
        let shared = Shared { roads, incidents, wakes, plans, leniencies, told, ledger, now };
        shared.to_blob(&added.seasons, &added.logins)
    }
}

impl Shared {
    fn to_blob(&self, seasons: &[Season; 2], logins: &Logins) -> Option<Vec<u8>> {
        let trails: Vec<&Trail> = self.incidents.iter().map(|incident| &incident.trail).collect();
        postcard::to_allocvec(&(self, seasons, logins, trails)).ok()
    }
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
                Some((key, sender.to_blob()?))
            })
            .collect()
    }

    /// What changed of the state that is not a sender's since the last call, for the store.
    pub fn take_shared(&mut self) -> SharedChange {
        let mut sets = Vec::new();
        for (road, vantage) in self.roads.iter_mut().zip(["wire", "log"]) {
            for (set, name) in road.sets().into_iter().zip(SETS) {
                sets.extend(set.take_change().map(|change| (format!("{vantage}.{name}"), change)));
            }
        }
        let rest = Rest {
            roads: self.roads.iter_mut().map(Road::rest).collect(),
            wakes: self.wakes.iter().map(|(key, wakes)| (*key, wakes.clone())).collect(),
            plans: self.plans.clone(),
            leniencies: self.leniencies.clone(),
            told: [self.counters.sender_days, self.counters.confirmed, self.counters.dismissed],
            ledger: self.ledger.clone(),
            now: self.now,
        };
        let (changed, all_incidents) = self.incidents.take_changed();
        let stored = |id: SenderId| {
            let name = postcard::to_allocvec(&id).unwrap_or_default();
            (name, self.incidents.get(&id).and_then(Incident::to_blob))
        };
        let incidents = changed.into_iter().map(stored).collect();
        SharedChange {
            rest: postcard::to_allocvec(&(rest, &self.seasons, &self.logins)).unwrap_or_default(),
            sets,
            incidents,
            all_incidents,
        }
    }

    /// Takes back what the store made of all that [`Engine::take_shared`] gave. `false` where it cannot be read.
    pub fn restore_shared(&mut self, stored: StoredShared) -> bool {
        let Some((roads, incidents, rest, added)) = stored.read() else { return false };
        for (place, road) in self.roads.iter_mut().zip(roads) {
            *place = road;
        }
        self.take_back(incidents, rest, added, true);
        true
    }

    fn take_back(&mut self, incidents: Vec<Incident>, rest: Rest, added: Added, stored: bool) {
        (self.seasons, self.logins) = (added.seasons, added.logins);
        self.incidents = OpenIncidents::restore(incidents, stored);
        self.wakes = rest.wakes.into_iter().collect();
        self.plans = rest.plans;
        self.leniencies = rest.leniencies;
        [self.counters.sender_days, self.counters.confirmed, self.counters.dismissed] = rest.told;
        self.ledger = rest.ledger;
        self.now = rest.now;
        self.swept_hour = rest.now.hour_index();
    }

    /// State that is not a sender's, whole.
    pub fn export_shared(&self) -> Vec<u8> {
        let shared = Shared {
            roads: self.roads.iter().map(Road::export).collect(),
            incidents: self.incidents.values().cloned().collect(),
            wakes: self.wakes.iter().map(|(key, wakes)| (*key, wakes.clone())).collect(),
            plans: self.plans.clone(),
            leniencies: self.leniencies.clone(),
            told: [self.counters.sender_days, self.counters.confirmed, self.counters.dismissed],
            ledger: self.ledger.clone(),
            now: self.now,
        };
        shared.to_blob(&self.seasons, &self.logins).unwrap_or_default()
    }

    /// Takes back what [`Engine::export_shared`] gave. `false` where it cannot be read.
    pub fn import_shared(&mut self, blob: &[u8]) -> bool {
        let Ok((shared, added)) = postcard::take_from_bytes::<Shared>(blob) else { return false };
        let Some((added, trails)) = Added::read(added) else { return false };
        let Some((trails, _)) = take_or_default::<Vec<Trail>>(trails) else { return false };
        let Shared { roads, mut incidents, wakes, plans, leniencies, told, ledger, now } = shared;
        for (incident, trail) in incidents.iter_mut().zip(trails) {
            incident.trail = trail;
        }
        for (road, stored) in self.roads.iter_mut().zip(roads) {
            *road = Road::import(stored);
        }
        let rest = Rest { roads: Vec::new(), wakes, plans, leniencies, told, ledger, now };
        self.take_back(incidents, rest, added, false);
        true
    }

    /// Takes back one sender. `false` where it cannot be read.
    pub fn import_sender(&mut self, key: SenderKey, blob: &[u8]) -> bool {
        match Sender::from_blob(blob) {
            Some(mut sender) => {
                roles::declare(&self.company, &key.id, &mut sender);
                self.senders.insert(key, Box::new(sender)).is_none()
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::company::Company;
    use crate::engine::Settings;
    use crate::engine::memory::InstallKey;
    use crate::engine::model::Model;
    use crate::time::CivilClock;

    /// What a version without seasons and logins wrote is read, and is a state without them.
    #[test]
    fn older_state_is_read() {
        let company = || Company::new(Vec::new(), &[], Vec::new(), CivilClock::utc()).into();
        let new =
            || Engine::new(company(), Model::shipped().unwrap(), Settings::default(), InstallKey([1; 16]));
        let (mut engine, mut other) = (new(), new());
        engine.seasons[0].reach(500_000, &CivilClock::utc());
        let bytes = |state: &[Season; 2]| postcard::to_allocvec(state).unwrap().len();
        // Behind the seasons stand the logins, and in the whole form the trails: one byte each while empty.
        let (seasons, whole) = (bytes(&engine.seasons), engine.export_shared());
        for (cut, kept) in [(seasons + 2, false), (2, true), (1, true), (0, true)] {
            assert!(other.import_shared(&whole[..whole.len() - cut]), "{cut}");
            assert_eq!(other.seasons == engine.seasons, kept, "{cut}");
        }
        let rest = engine.take_shared().rest;
        let stored = |rest: &[u8]| StoredShared { rest: rest.to_vec(), ..StoredShared::default() };
        assert!(other.restore_shared(stored(&rest)));
        assert_eq!(other.seasons, engine.seasons);
        assert!(other.restore_shared(stored(&rest[..rest.len() - 1])));
        assert_eq!(other.seasons, engine.seasons);
        assert!(other.restore_shared(stored(&rest[..rest.len() - seasons - 1])));
        assert_eq!(other.seasons, <[Season; 2]>::default());
        assert!(!other.restore_shared(stored(&rest[..rest.len() - 2])));
    }
}
