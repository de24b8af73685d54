//! What was seen before: bounded sets of keyed digests that forget by generations, and the few traits of one sender.
//!
//! *In*: keyed 64-bit digests. *Out*: known or not. *Bound*: `limits::REMEMBERED_MAX`,
//! `limits::KNOWN_TRAITS_MAX`. *Spec*: docs/detection.md, marks.

use crate::limits;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use std::collections::{BTreeSet, HashSet};
use std::hash::Hasher;

/// The key of this install: nothing an attacker chooses is hashed without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstallKey(pub [u8; 16]);

impl InstallKey {
    /// Keyed digest of a list of parts, each closed by its length.
    pub fn digest(&self, parts: &[&[u8]]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        for part in parts {
            hasher.write(part);
            hasher.write_u64(part.len() as u64);
        }
        hasher.finish()
    }
}

/// Digests are already uniform: they are their own hash.
#[derive(Clone, Copy, Default)]
pub struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

type Digests = HashSet<u64, std::hash::BuildHasherDefault<Identity>>;

/// A set that forgets: what was not met for one to two generations is gone.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    current: Digests,
    previous: Digests,
    generation_began: Option<Timestamp>,
    /// Generations closed because they were full, not because they were old.
    pub overflows: u64,
}

impl Remembered {
    /// Whether the digest is remembered; renews it where it is.
    pub fn contains(&mut self, digest: u64) -> bool {
        if self.current.contains(&digest) {
            return true;
        }
        if self.previous.contains(&digest) {
            self.current.insert(digest);
            return true;
        }
        false
    }

    /// Remembers a digest at a moment; closes the generation after `generation_seconds` or when full.
    pub fn insert(&mut self, digest: u64, at: Timestamp, generation_seconds: f64) {
        let began = *self.generation_began.get_or_insert(at);
        let full = self.current.len() >= limits::REMEMBERED_MAX;
        if full || at.seconds_since(began) > generation_seconds {
            self.overflows += u64::from(full);
            self.previous = std::mem::take(&mut self.current);
            self.generation_began = Some(at);
        }
        self.current.insert(digest);
    }

    /// Forgets one digest.
    pub fn remove(&mut self, digest: u64) {
        self.current.remove(&digest);
        self.previous.remove(&digest);
    }

    /// Digests remembered.
    pub fn len(&self) -> usize {
        self.current.len() + self.previous.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The content in a stable order, for storage: current, previous, start of the generation.
    pub fn export(&self) -> Exported {
        let sorted = |set: &Digests| {
            let mut digests: Vec<u64> = set.iter().copied().collect();
            digests.sort_unstable();
            digests
        };
        (sorted(&self.current), sorted(&self.previous), self.generation_began)
    }

    /// The inverse of [`Remembered::export`].
    pub fn import((current, previous, generation_began): Exported) -> Remembered {
        Remembered {
            current: current.into_iter().collect(),
            previous: previous.into_iter().collect(),
            generation_began,
            overflows: 0,
        }
    }
}

/// What a trait is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TraitKind {
    /// SYN shape of an address, or client network of an account.
    Machine,
    /// HELO name.
    Helo,
    /// Domain of the reverse-path.
    ReverseDomain,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Trait {
    digest: u32,
    weight: u16,
    kind: TraitKind,
    known: bool,
}

/// The few traits that one sender is known by. New ones wait until an hour ends without suspicion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traits(Vec<Trait>);

impl Traits {
    /// `None` while no trait of this kind is known yet, else whether this one is.
    pub fn knows(&self, kind: TraitKind, digest: u64) -> Option<bool> {
        let mut known = self.0.iter().filter(|entry| entry.kind == kind && entry.known).peekable();
        known.peek()?;
        Some(known.any(|entry| entry.digest == digest as u32))
    }

    /// Counts a trait of the hour under way.
    pub fn note(&mut self, kind: TraitKind, digest: u64) {
        let digest = digest as u32;
        let of_kind = |entry: &&mut Trait| entry.kind == kind;
        if let Some(entry) = self.0.iter_mut().filter(of_kind).find(|entry| entry.digest == digest) {
            entry.weight = entry.weight.saturating_add(1);
        } else if self.0.iter().filter(|entry| entry.kind == kind && !entry.known).count()
            < limits::KNOWN_TRAITS_MAX
        {
            self.0.push(Trait { digest, weight: 1, kind, known: false });
        }
    }

    /// Ends an hour: what waited becomes known, or is dropped where suspicion was open. The rarest goes
    /// where there are too many.
    pub fn end_hour(&mut self, trusted: bool) {
        if !trusted {
            self.0.retain(|entry| entry.known);
            return;
        }
        if self.0.iter().all(|entry| entry.known) {
            return;
        }
        self.0.iter_mut().for_each(|entry| entry.known = true);
        let order = |entry: &Trait| (entry.kind, std::cmp::Reverse(entry.weight), entry.digest);
        self.0.sort_by_key(order);
        let (mut kind, mut count) = (None, 0);
        self.0.retain(|entry| {
            count = if kind == Some(entry.kind) { count + 1 } else { 1 };
            kind = Some(entry.kind);
            count <= limits::KNOWN_TRAITS_MAX
        });
        self.0.shrink_to_fit();
    }

    /// Ends a day: old counts weigh less, so that a trait can be displaced.
    pub fn end_day(&mut self) {
        self.0.iter_mut().for_each(|entry| entry.weight -= entry.weight.div_ceil(20));
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<Trait>()
    }
}

/// A vocabulary of the whole company: what any sender used. New words wait until the hour ends, and are dropped
/// where the sender that brought them came under suspicion in that hour.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    known: Remembered,
    waiting: BTreeSet<(u64, u64)>,
}

impl Vocabulary {
    /// `None` while nothing is known yet, else whether this word is.
    pub fn knows(&mut self, digest: u64) -> Option<bool> {
        (!self.known.is_empty()).then(|| self.known.contains(digest))
    }

    /// Notes a word that a sender used.
    pub fn note(&mut self, digest: u64, sender: u64) {
        if !self.known.contains(digest) && self.waiting.len() < limits::WAITING_WORDS_MAX {
            self.waiting.insert((digest, sender));
        }
    }

    /// Drops what a sender under suspicion brought.
    pub fn distrust(&mut self, sender: u64) {
        if !self.waiting.is_empty() {
            self.waiting.retain(|(_, by)| *by != sender);
        }
    }

    /// Ends an hour: what waited becomes known.
    pub fn end_hour(&mut self, at: Timestamp, generation_seconds: f64) {
        for (digest, _) in std::mem::take(&mut self.waiting) {
            self.known.insert(digest, at, generation_seconds);
        }
    }

    /// What is known, and what waits.
    pub fn export(&self) -> (Exported, Vec<(u64, u64)>) {
        (self.known.export(), self.waiting.iter().copied().collect())
    }

    /// The inverse of [`Vocabulary::export`].
    pub fn import((known, waiting): (Exported, Vec<(u64, u64)>)) -> Vocabulary {
        Vocabulary { known: Remembered::import(known), waiting: waiting.into_iter().collect() }
    }
}

/// Stored form of a [`Remembered`]: current, previous, start of the generation.
pub type Exported = (Vec<u64>, Vec<u64>, Option<Timestamp>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_after_two_generations_unless_met_again() {
        let mut set = Remembered::default();
        let day = |d: i64| Timestamp::from_seconds(d * 86_400);
        let generation = 30.0 * 86_400.0;
        set.insert(1, day(0), generation);
        set.insert(2, day(0), generation);
        set.insert(3, day(31), generation);
        assert!(set.contains(1));
        set.insert(4, day(62), generation);
        assert!(set.contains(1) && !set.contains(2));
    }

    #[test]
    fn traits_wait_for_a_clean_hour() {
        let mut traits = Traits::default();
        traits.note(TraitKind::Helo, 7);
        assert_eq!(traits.knows(TraitKind::Helo, 7), None);
        traits.end_hour(true);
        traits.note(TraitKind::Helo, 8);
        assert_eq!(traits.knows(TraitKind::Helo, 7), Some(true));
        assert_eq!(traits.knows(TraitKind::Helo, 8), Some(false));
        assert_eq!(traits.knows(TraitKind::Machine, 7), None);
        traits.end_hour(false);
        traits.end_hour(true);
        assert_eq!(traits.knows(TraitKind::Helo, 8), Some(false));
    }

    #[test]
    fn the_rarest_trait_goes() {
        let mut traits = Traits::default();
        for digest in 0..40u64 {
            (0..=digest).for_each(|_| traits.note(TraitKind::ReverseDomain, digest));
            traits.end_hour(true);
        }
        assert_eq!(traits.knows(TraitKind::ReverseDomain, 39), Some(true));
        assert_eq!(traits.knows(TraitKind::ReverseDomain, 3), Some(false));
    }

    #[test]
    fn a_suspect_teaches_the_company_nothing() {
        let mut words = Vocabulary::default();
        let hour = |hour: i64| Timestamp::from_seconds(hour * 3_600);
        words.note(1, 100);
        words.note(2, 200);
        words.distrust(200);
        words.end_hour(hour(1), 1e9);
        assert_eq!((words.knows(1), words.knows(2)), (Some(true), Some(false)));
    }

    #[test]
    fn parts_do_not_run_together() {
        let key = InstallKey([1; 16]);
        assert_ne!(key.digest(&[b"ab", b"c"]), key.digest(&[b"a", b"bc"]));
        assert_ne!(key.digest(&[b"a"]), InstallKey([2; 16]).digest(&[b"a"]));
    }
}
