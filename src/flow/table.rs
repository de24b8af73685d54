//! The connections that are followed, bounded, oldest first.
//!
//! *In*: keys and values. *Out*: values by key, and who was silent longest. *Bound*: the caller asks for
//! [`Table::oldest`] and removes. *Spec*: none. Hashed with a per-process random key, as the keys are an
//! attacker's choice; nothing depends on the order of the map.
//!
//! With many connections at once a packet's time goes into waiting for memory, so the table is laid out to touch
//! little of it: the map holds numbers only, four bytes each, and the key stands beside the value; and the list
//! of a class is kept in the order of whole seconds (nearly: 2^20 µs), so that most packets leave it alone.

use crate::time::Timestamp;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;

/// Both ends of a connection. In whole words, so that two are compared without a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    addresses: [u64; 4],
    ports: u32,
}

impl FlowKey {
    /// The key of a connection from an originator to a responder.
    pub fn new(originator: (IpAddr, u16), responder: (IpAddr, u16)) -> FlowKey {
        let halves = |address: IpAddr| {
            let number = match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
                IpAddr::V6(v6) => v6.to_bits(),
            };
            [(number >> 64) as u64, number as u64]
        };
        let ([a, b], [c, d]) = (halves(originator.0), halves(responder.0));
        let ports = u32::from(originator.1) << 16 | u32::from(responder.1);
        FlowKey { addresses: [a, b, c, d], ports }
    }
}

/// The upper half of an IPv4 address written as an IPv6 address, and what stands above its 32 bits.
const MAPPED: (u64, u64) = (0, 0xffff << 32);

impl Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d] = self.addresses;
        let is_v4 = |upper: u64, lower: u64| upper == MAPPED.0 && lower & !0xffff_ffff == MAPPED.1;
        if is_v4(a, b) && is_v4(c, d) {
            state.write_u64(b << 32 | d & 0xffff_ffff);
        } else {
            self.addresses.iter().for_each(|word| state.write_u64(*word));
        }
        state.write_u32(self.ports);
    }
}

/// Connections are evicted only by others of their class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// No proof yet that both ends speak, or already closed.
    Fleeting = 0,
    /// Both ends speak.
    Established = 1,
}

const NONE: u32 = u32::MAX;
/// A shift that makes whole seconds of microseconds, nearly.
const COARSE_SHIFT: u32 = 20;

/// A connection's link in the list of its class. Links lie together, apart from the values: what a packet
/// does to the list touches three connections, and only one of those is in the cache for its own sake.
#[derive(Clone, Copy, Debug)]
struct Link {
    last_at: Timestamp,
    before: u32,
    after: u32,
    class: Class,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    oldest: u32,
    newest: u32,
    length: usize,
}

/// A connection's place in the table; good until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

/// All connections that are followed.
#[derive(Debug)]
pub struct Table<T> {
    hasher: RandomState,
    places: HashTable<u32>,
    links: Vec<Link>,
    values: Vec<Option<(FlowKey, T)>>,
    free: Vec<u32>,
    ends: [Ends; 2],
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table {
            hasher: RandomState::new(),
            places: HashTable::new(),
            links: Vec::new(),
            values: Vec::new(),
            free: Vec::new(),
            ends: [Ends { oldest: NONE, newest: NONE, length: 0 }; 2],
        }
    }
}

impl<T> Table<T> {
    /// The connection with this key.
    pub fn find(&self, key: &FlowKey) -> Option<Place> {
        let is = |index: &u32| self.key(*index) == Some(key);
        self.places.find(self.hasher.hash_one(key), is).copied().map(Place)
    }

    fn key(&self, index: u32) -> Option<&FlowKey> {
        self.values.get(index as usize)?.as_ref().map(|(key, _)| key)
    }

    /// Adds a connection that is not in the table.
    pub fn insert(&mut self, key: FlowKey, class: Class, at: Timestamp, value: T) -> Place {
        let link = Link { last_at: at, before: NONE, after: NONE, class };
        let value = Some((key, value));
        let index = match self.free.pop() {
            Some(index) => {
                if let Some((old_link, old_value)) = self.slot(index) {
                    (*old_link, *old_value) = (link, value);
                }
                index
            }
            None => {
                self.links.push(link);
                self.values.push(value);
                (self.links.len() - 1) as u32
            }
        };
        let (hasher, values) = (&self.hasher, &self.values);
        let key_of = |index: &u32| values.get(*index as usize)?.as_ref().map(|(key, _)| *key);
        self.places.insert_unique(hasher.hash_one(key), index, |index| {
            key_of(index).map_or(0, |key| hasher.hash_one(key))
        });
        self.link(index);
        Place(index)
    }

    /// The value, marked as heard of at `at`.
    pub fn touch(&mut self, place: Place, at: Timestamp) -> Option<&mut T> {
        let link = self.links.get_mut(place.0 as usize)?;
        let before = std::mem::replace(&mut link.last_at, at);
        let moves = (before.as_micros() >> COARSE_SHIFT) != (at.as_micros() >> COARSE_SHIFT);
        if moves && link.after != NONE {
            self.unlink(place.0);
            self.link(place.0);
        }
        self.peek_mut(place)
    }

    /// The value, without marking it.
    pub fn peek(&self, place: Place) -> Option<&T> {
        self.values.get(place.0 as usize)?.as_ref().map(|(_, value)| value)
    }

    /// The same, to change it.
    pub fn peek_mut(&mut self, place: Place) -> Option<&mut T> {
        self.values.get_mut(place.0 as usize)?.as_mut().map(|(_, value)| value)
    }

    /// The class of a connection.
    pub fn class(&self, place: Place) -> Class {
        self.links.get(place.0 as usize).map_or(Class::Fleeting, |link| link.class)
    }

    /// Moves a connection to another class.
    pub fn reclassify(&mut self, place: Place, class: Class) {
        if self.links.get(place.0 as usize).is_some_and(|link| link.class != class) {
            self.unlink(place.0);
            if let Some(link) = self.links.get_mut(place.0 as usize) {
                link.class = class;
            }
            self.link(place.0);
        }
    }

    /// Takes a connection out.
    pub fn remove(&mut self, place: Place) -> Option<T> {
        let (key, value) = self.values.get_mut(place.0 as usize)?.take()?;
        self.unlink(place.0);
        if let Ok(entry) = self.places.find_entry(self.hasher.hash_one(key), |index| *index == place.0) {
            entry.remove();
        }
        self.free.push(place.0);
        Some(value)
    }

    /// The connection of a class that was silent longest, but for one second, and since when.
    pub fn oldest(&self, class: Class) -> Option<(Place, Timestamp)> {
        let index = self.ends[class as usize].oldest;
        self.links.get(index as usize).map(|link| (Place(index), link.last_at))
    }

    /// How many connections a class has.
    pub fn length(&self, class: Class) -> usize {
        self.ends[class as usize].length
    }

    /// How many connections there are.
    pub fn total(&self) -> usize {
        self.places.len()
    }

    fn slot(&mut self, index: u32) -> Option<(&mut Link, &mut Option<(FlowKey, T)>)> {
        self.links.get_mut(index as usize).zip(self.values.get_mut(index as usize))
    }

    fn link(&mut self, index: u32) {
        let Some(link) = self.links.get_mut(index as usize) else { return };
        let ends = &mut self.ends[link.class as usize];
        link.before = ends.newest;
        link.after = NONE;
        let newest = std::mem::replace(&mut ends.newest, index);
        ends.length += 1;
        if ends.oldest == NONE {
            ends.oldest = index;
        }
        if let Some(link) = self.links.get_mut(newest as usize) {
            link.after = index;
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some(link) = self.links.get(index as usize) else { return };
        let (before, after, class) = (link.before, link.after, link.class);
        match self.links.get_mut(before as usize) {
            Some(link) => link.after = after,
            None => self.ends[class as usize].oldest = after,
        }
        match self.links.get_mut(after as usize) {
            Some(link) => link.before = before,
            None => self.ends[class as usize].newest = before,
        }
        self.ends[class as usize].length -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_silent_come_first_and_classes_are_apart() {
        let mut table = Table::default();
        let at = Timestamp::from_seconds;
        let key = |port| FlowKey::new(("10.0.0.1".parse().unwrap(), port), ("::1".parse().unwrap(), 25));
        let places =
            (0..4).map(|i| table.insert(key(i), Class::Fleeting, at(i.into()), i)).collect::<Vec<_>>();
        assert_eq!(table.touch(places[0], at(9)), Some(&mut 0));
        table.reclassify(places[2], Class::Established);
        assert_eq!(table.oldest(Class::Fleeting), Some((places[1], at(1))));
        assert_eq!(table.remove(places[1]), Some(1));
        assert_eq!(table.remove(places[1]), None);
        assert_eq!(table.oldest(Class::Fleeting), Some((places[3], at(3))));
        assert_eq!(table.remove(places[3]), Some(3));
        assert_eq!(table.oldest(Class::Fleeting), Some((places[0], at(9))));
        assert_eq!((table.length(Class::Fleeting), table.length(Class::Established)), (1, 1));
        assert_eq!(table.find(&key(2)), Some(places[2]));
        assert_eq!(table.insert(key(7), Class::Fleeting, at(10), 7), places[3]);
        assert_eq!(table.total(), 3);
    }

    #[test]
    fn a_place_is_used_again_and_every_key_is_found() {
        let mut table = Table::default();
        let at = Timestamp::from_seconds(1);
        let key = |port| FlowKey::new(("10.0.0.1".parse().unwrap(), port), ("10.0.0.2".parse().unwrap(), 25));
        let first = table.insert(key(1), Class::Fleeting, at, 1);
        table.remove(first);
        assert_eq!(table.find(&key(1)), None);
        assert_eq!(table.insert(key(2), Class::Fleeting, at, 2), first);
        for port in 3..2_000 {
            table.insert(key(port), Class::Fleeting, at, port);
        }
        assert!(
            (3..2_000).all(|port| table.find(&key(port)).and_then(|place| table.peek(place)) == Some(&port))
        );
    }
}
