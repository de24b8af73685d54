//! What was seen before: bounded sets of keyed digests that forget by generations, and the few traits of one sender.
//!
//! *In*: keyed 64-bit digests. *Out*: known or not. *Bound*: `limits::REMEMBERED_MAX`,
//! `limits::KNOWN_TRAITS_MAX`. *Spec*: docs/detection.md, marks.

use crate::limits;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use std::collections::{BTreeSet, HashMap, HashSet};
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
/// Whether a digest went, and whether it came after that.
type Changed = HashMap<u64, (bool, bool), std::hash::BuildHasherDefault<Identity>>;

/// What became of a set since it was stored last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetChange {
    /// Whether this is the whole set and not what changed.
    pub whole: bool,
    /// By generation, oldest first.
    pub steps: Vec<SetStep>,
}

/// What changed in one generation of a set: first some went, from the generation before it, too; then some came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetStep {
    /// Number of the generation; all but this one and the one before it are forgotten.
    pub generation: u64,
    /// Digests that went, sorted.
    pub removed: Vec<u64>,
    /// Digests that came after that, sorted.
    pub added: Vec<u64>,
}

/// A set that forgets: what was not met for one to two generations is gone.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    current: Digests,
    previous: Digests,
    generation_began: Option<Timestamp>,
    /// Number of the current generation.
    generation: u64,
    /// What changed since the set was stored, by generation; `None` where nothing of it is stored.
    journal: Option<Vec<(u64, Changed)>>,
    /// Changes handed out since the whole set was.
    journalled: usize,
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
            self.note(digest, true);
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
            self.generation += 1;
        }
        if self.current.insert(digest) {
            self.note(digest, true);
        }
    }

    /// Forgets one digest.
    pub fn remove(&mut self, digest: u64) {
        if self.current.remove(&digest) | self.previous.remove(&digest) {
            self.note(digest, false);
        }
    }

    fn note(&mut self, digest: u64, came: bool) {
        let Some(journal) = &mut self.journal else { return };
        if journal.last().is_none_or(|(generation, _)| *generation != self.generation) {
            journal.push((self.generation, Changed::default()));
        }
        let Some((_, changed)) = journal.last_mut() else { return };
        let change = changed.entry(digest).or_default();
        *change = if came { (change.0, true) } else { (true, false) };
    }

    /// What changed since the last call, for the store; `None` for nothing. The whole set where nothing of it is
    /// stored, or where more was handed out since than a whole set is worth.
    pub fn take_change(&mut self) -> Option<SetChange> {
        let worth = 2 * self.len() + limits::JOURNAL_CHANGES_MIN;
        let Some(journal) = self.journal.as_mut().filter(|_| self.journalled <= worth) else {
            (self.journal, self.journalled) = (Some(Vec::new()), 0);
            let (current, previous, _) = self.export();
            let step = |generation, added| SetStep { generation, added, removed: Vec::new() };
            let mut steps = vec![step(self.generation, current)];
            if let Some(earlier) = self.generation.checked_sub(1) {
                steps.insert(0, step(earlier, previous));
            }
            return Some(SetChange { whole: true, steps });
        };
        let steps: Vec<SetStep> = std::mem::take(journal)
            .into_iter()
            .map(|(generation, changed)| {
                let mut step = SetStep { generation, ..SetStep::default() };
                step.removed.extend(changed.iter().filter(|(_, change)| change.0).map(|(digest, _)| digest));
                step.added.extend(changed.iter().filter(|(_, change)| change.1).map(|(digest, _)| digest));
                step.added.sort_unstable();
                step.removed.sort_unstable();
                step
            })
            .collect();
        self.journalled += steps.iter().map(|step| step.added.len() + step.removed.len()).sum::<usize>();
        (!steps.is_empty()).then_some(SetChange { whole: false, steps })
    }

    /// Number of the current generation, and when it began.
    pub fn place(&self) -> (u64, Option<Timestamp>) {
        (self.generation, self.generation_began)
    }

    /// From what is stored: the place, and the digests of its generation and the one before.
    pub fn restore(
        (generation, generation_began): (u64, Option<Timestamp>),
        stored: &mut StoredSet,
    ) -> Remembered {
        let mut of = |generation: Option<u64>| {
            let digests = generation.and_then(|generation| stored.remove(&generation));
            digests.unwrap_or_default().into_iter().collect()
        };
        Remembered {
            previous: of(generation.checked_sub(1)),
            current: of(Some(generation)),
            generation_began,
            generation,
            journal: Some(Vec::new()),
            journalled: 0,
            overflows: 0,
        }
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
            // Where there is a generation before the current one, the current one is not the first.
            generation: 1,
            ..Remembered::default()
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
            // Most senders have one of a kind for ever: room for more is not taken in advance.
            self.0.reserve_exact(1);
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

    /// The words that are known.
    pub fn known_mut(&mut self) -> &mut Remembered {
        &mut self.known
    }

    /// What waits.
    pub fn waiting(&self) -> Vec<(u64, u64)> {
        self.waiting.iter().copied().collect()
    }

    /// From its parts.
    pub fn restore(known: Remembered, waiting: Vec<(u64, u64)>) -> Vocabulary {
        Vocabulary { known, waiting: waiting.into_iter().collect() }
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

/// Digests of one set as they are stored, by generation.
pub type StoredSet = std::collections::BTreeMap<u64, Vec<u64>>;

#[cfg(test)]
mod tests {
    use super::*;

    /// What is stored step by step is what is stored whole.
    #[test]
    fn changes_add_up_to_the_set() {
        let mut set = Remembered::default();
        let mut stored: std::collections::BTreeMap<u64, BTreeSet<u64>> = Default::default();
        let mut wholes = 0;
        let mut state = 7u64;
        for round in 0..4_000i64 {
            for _ in 0..round % 7 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let digest = (state >> 33) % 900;
                match state >> 61 {
                    0 => set.remove(digest),
                    1 => {
                        set.contains(digest);
                    }
                    _ => set.insert(digest, Timestamp::from_seconds(round), 500.0),
                }
            }
            let change = set.take_change().unwrap_or_default();
            wholes += u32::from(change.whole);
            if change.whole {
                stored.clear();
            }
            for step in change.steps {
                stored.retain(|generation, _| *generation + 1 >= step.generation);
                for gone in &step.removed {
                    for digests in stored.values_mut() {
                        digests.remove(gone);
                    }
                }
                stored.entry(step.generation).or_default().extend(&step.added);
            }
            let mut copy: StoredSet = stored
                .iter()
                .map(|(generation, digests)| (*generation, digests.iter().copied().collect()))
                .collect();
            assert_eq!(Remembered::restore(set.place(), &mut copy).export(), set.export(), "round {round}");
        }
        assert_eq!(wholes, 1);
    }

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
