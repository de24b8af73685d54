//! The most frequent among what is counted, in fixed room.
//!
//! *In*: things, one or several at a time. *Out*: the frequent ones, each with how often it came at least. *Bound*:
//! the room that the caller names. *Spec*: Space-Saving (Metwally, Agrawal, El Abbadi, ICDT 2005): whatever makes up
//! more than 1/room of all is among them, and nothing is told to have come more often than it did.

use serde::{Deserialize, Serialize};

/// One that is frequent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry<T> {
    what: T,
    count: u32,
    /// By how much `count` may be too great: what it took over from the one whose place it has.
    over: u32,
}

/// The most frequent ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Top<T> {
    entries: Vec<Entry<T>>,
    total: u64,
}

impl<T> Default for Top<T> {
    fn default() -> Top<T> {
        Top { entries: Vec::new(), total: 0 }
    }
}

impl<T: Clone + Ord> Top<T> {
    /// Counts `what`, `times` over, in room for `room` of a kind.
    pub fn add(&mut self, what: &T, times: u32, room: usize) {
        self.add_unknown(times);
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.what == *what) {
            entry.count = entry.count.saturating_add(times);
            return;
        }
        if self.entries.len() < room {
            self.entries.reserve_exact(1);
            self.entries.push(Entry { what: what.clone(), count: times, over: 0 });
            return;
        }
        if let Some(rarest) = self.entries.iter_mut().min_by_key(|entry| entry.count) {
            let over = rarest.count;
            *rarest = Entry { what: what.clone(), count: over.saturating_add(times), over };
        }
    }

    /// Counts what nobody can name.
    pub fn add_unknown(&mut self, times: u32) {
        self.total = self.total.saturating_add(u64::from(times));
    }

    /// All that was counted, named or not.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The most frequent first, each with how often it came at least. Equal ones stand in their own order.
    pub fn list(&self) -> Vec<(&T, u64)> {
        let mut list: Vec<(&T, u64)> =
            self.entries.iter().map(|entry| (&entry.what, u64::from(entry.count - entry.over))).collect();
        list.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Nothing is overstated, what is frequent is there, and with room for all the counts are exact.
        #[test]
        fn the_frequent_are_found_and_nothing_is_overstated(
            stream in prop::collection::vec((0u8..40, 1u32..4), 0..400),
            room in 1usize..24,
        ) {
            let (mut top, mut exact) = (Top::default(), BTreeMap::<u8, u64>::new());
            for (what, times) in &stream {
                top.add(what, *times, room);
                *exact.entry(*what).or_default() += u64::from(*times);
            }
            let total: u64 = exact.values().sum();
            prop_assert_eq!(top.total(), total);
            let list = top.list();
            prop_assert!(list.len() <= room);
            for (what, count) in &list {
                prop_assert!(*count <= exact[what] && (exact.len() > room || *count == exact[what]));
            }
            for (what, count) in exact {
                if count * room as u64 > total {
                    prop_assert!(list.iter().any(|(named, _)| **named == what));
                }
            }
        }
    }
}
