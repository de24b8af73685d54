//! The open incidents, and which of them the store has not seen as they are now.
//!
//! *In*: incidents by sender. *Out*: the same; what changed. *Bound*: one open incident a sender.
//!
//! It reads like the map that it wraps. Whoever may change an incident marks it: no place in the engine has to
//! remember to.

use super::incident::Incident;
use super::sender::SenderId;
use std::collections::{BTreeMap, BTreeSet};

/// Open incidents by their sender.
#[derive(Default)]
pub struct OpenIncidents {
    open: BTreeMap<SenderId, Incident>,
    /// Whose incident may have changed since the store took it; `None` where nothing of them is stored.
    changed: Option<BTreeSet<SenderId>>,
}

impl OpenIncidents {
    /// As they were stored; with `stored` unset the store has none of them.
    pub fn restore(incidents: Vec<Incident>, stored: bool) -> OpenIncidents {
        let open = incidents.into_iter().map(|incident| (incident.sender.clone(), incident)).collect();
        OpenIncidents { open, changed: stored.then(BTreeSet::new) }
    }

    /// Senders whose incident may have changed since the last call, and whether these are all there are.
    pub fn take_changed(&mut self) -> (BTreeSet<SenderId>, bool) {
        match self.changed.replace(BTreeSet::new()) {
            Some(changed) => (changed, false),
            None => (self.open.keys().cloned().collect(), true),
        }
    }

    fn mark(&mut self, id: &SenderId) {
        if let Some(changed) = self.changed.as_mut().filter(|changed| !changed.contains(id)) {
            changed.insert(id.clone());
        }
    }

    /// As of a map.
    pub fn get(&self, id: &SenderId) -> Option<&Incident> {
        self.open.get(id)
    }

    /// As of a map.
    pub fn get_mut(&mut self, id: &SenderId) -> Option<&mut Incident> {
        if self.open.contains_key(id) {
            self.mark(id);
        }
        self.open.get_mut(id)
    }

    /// As of a map.
    pub fn contains_key(&self, id: &SenderId) -> bool {
        self.open.contains_key(id)
    }

    /// As of a map.
    pub fn insert(&mut self, id: SenderId, incident: Incident) {
        self.mark(&id);
        self.open.insert(id, incident);
    }

    /// As of a map.
    pub fn remove(&mut self, id: &SenderId) -> Option<Incident> {
        self.mark(id);
        self.open.remove(id)
    }

    /// As of a map.
    pub fn iter(&self) -> impl Iterator<Item = (&SenderId, &Incident)> {
        self.open.iter()
    }

    /// As of a map.
    pub fn values(&self) -> impl Iterator<Item = &Incident> {
        self.open.values()
    }
}
