//! What was seen before: bounded sets of keyed digests that forget by generations, and the few traits of one sender.
//!
//! *In*: keyed 64-bit digests. *Out*: known or not. *Bound*: `limits::REMEMBERED_MAX`,
//! `limits::KNOWN_TRAITS_MAX`. *Spec*: docs/detection.md, marks.

use crate::limits;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use std::collections::HashSet;
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
    pub fn export(&self) -> (Vec<u64>, Vec<u64>, Option<Timestamp>) {
        let sorted = |set: &Digests| {
            let mut digests: Vec<u64> = set.iter().copied().collect();
            digests.sort_unstable();
            digests
        };
        (sorted(&self.current), sorted(&self.previous), self.generation_began)
    }

    /// The inverse of [`Remembered::export`].
    pub fn import(
        (current, previous, generation_began): (Vec<u64>, Vec<u64>, Option<Timestamp>),
    ) -> Remembered {
        Remembered {
            current: current.into_iter().collect(),
            previous: previous.into_iter().collect(),
            generation_began,
            overflows: 0,
        }
    }
}

/// The few traits that one sender is known by. New ones wait until an hour ends without suspicion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KnownTraits {
    known: Vec<(u64, f32)>,
    waiting: Vec<(u64, f32)>,
}

impl KnownTraits {
    /// `None` while nothing is known yet, else whether this trait is.
    pub fn knows(&self, digest: u64) -> Option<bool> {
        if self.known.is_empty() { None } else { Some(self.known.iter().any(|(known, _)| *known == digest)) }
    }

    /// Counts a trait of the hour under way.
    pub fn note(&mut self, digest: u64) {
        if let Some(entry) = self.known.iter_mut().find(|(known, _)| *known == digest) {
            entry.1 += 1.0;
        } else if let Some(entry) = self.waiting.iter_mut().find(|(waiting, _)| *waiting == digest) {
            entry.1 += 1.0;
        } else if self.waiting.len() < limits::KNOWN_TRAITS_MAX {
            self.waiting.push((digest, 1.0));
        }
    }

    /// Ends an hour: what waited becomes known, or is dropped where suspicion was open. The rarest goes
    /// where there are too many.
    pub fn end_hour(&mut self, trusted: bool) {
        if trusted {
            self.known.append(&mut self.waiting);
            self.known.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            self.known.truncate(limits::KNOWN_TRAITS_MAX);
        }
        self.waiting.clear();
    }

    /// Ends a day: old counts weigh less, so that a trait can be displaced.
    pub fn end_day(&mut self) {
        for entry in &mut self.known {
            entry.1 *= 0.95;
        }
    }
}

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
        let mut traits = KnownTraits::default();
        traits.note(7);
        assert_eq!(traits.knows(7), None);
        traits.end_hour(true);
        traits.note(8);
        assert_eq!((traits.knows(7), traits.knows(8)), (Some(true), Some(false)));
        traits.end_hour(false);
        traits.end_hour(true);
        assert_eq!(traits.knows(8), Some(false));
    }

    #[test]
    fn parts_do_not_run_together() {
        let key = InstallKey([1; 16]);
        assert_ne!(key.digest(&[b"ab", b"c"]), key.digest(&[b"a", b"bc"]));
        assert_ne!(key.digest(&[b"a"]), InstallKey([2; 16]).digest(&[b"a"]));
    }
}
