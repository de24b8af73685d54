//! How often each mark was seen and how it fell out.
//!
//! *In*: [`Marks`]. *Out*: counts by place in one array, so that they are forgotten, merged and stored alike.
//! *Bound*: [`COUNTS`] numbers.

use super::marks::{Marks, ReversePathClass, VerdictClass};
use super::model::SIDE_MARKS_MAX;
use super::packed::{Small, array};
use serde::{Deserialize, Serialize};

/// Numbers in one set of counts.
pub const COUNTS: usize = 11 + 2 * SIDE_MARKS_MAX;

const NOVEL: usize = 0;
const NOVEL_SEEN: usize = 1;
const VERDICT: usize = 2;
const REVERSE_PATH: usize = 6;
const FOREIGN: usize = 9;
const FOREIGN_SEEN: usize = 10;
const SIDE: usize = 11;
const SIDE_SEEN: usize = SIDE + SIDE_MARKS_MAX;

/// Calls `count` with the place of every number that one delivery adds to. What cannot be told between two
/// classes adds to none.
fn places(marks: &Marks, mut count: impl FnMut(usize)) {
    if let Some(novel) = marks.novel {
        count(NOVEL_SEEN);
        if novel {
            count(NOVEL);
        }
    }
    if let Some(verdict) = marks.verdict.filter(|class| *class != VerdictClass::Refused) {
        count(VERDICT + verdict as usize);
    }
    if let Some(path) = marks.reverse_path.filter(|class| *class != ReversePathClass::Mailbox) {
        count(REVERSE_PATH + path as usize);
    }
    if let Some(foreign) = marks.foreign {
        count(FOREIGN_SEEN);
        if foreign {
            count(FOREIGN);
        }
    }
    if marks.side.seen != 0 {
        for place in 0..SIDE_MARKS_MAX {
            if let Some(set) = marks.side.get(place) {
                count(SIDE_SEEN + place);
                if set {
                    count(SIDE + place);
                }
            }
        }
    }
}

/// Mark counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MarkCounts(#[serde(with = "array")] pub(super) [f64; COUNTS]);

impl Default for MarkCounts {
    fn default() -> MarkCounts {
        MarkCounts([0.0; COUNTS])
    }
}

impl MarkCounts {
    /// Counts one delivery.
    pub fn add(&mut self, marks: &Marks) {
        places(marks, |place| self.0[place] += 1.0);
    }

    /// Adds a share of other counts.
    pub fn merge(&mut self, other: &MarkCounts, share: f64) {
        for (count, other) in self.0.iter_mut().zip(&other.0) {
            *count += other * share;
        }
    }

    /// Forgets all but a share.
    pub fn keep(&mut self, share: f64) {
        self.0.iter_mut().for_each(|count| *count *= share);
    }

    /// Deliveries whose recipient was new, and deliveries where that could be seen.
    pub fn novel(&self) -> (f64, f64) {
        (self.0[NOVEL], self.0[NOVEL_SEEN])
    }

    /// Deliveries by verdict class.
    pub fn verdict(&self) -> [f64; 4] {
        [self.0[VERDICT], self.0[VERDICT + 1], self.0[VERDICT + 2], self.0[VERDICT + 3]]
    }

    /// Deliveries by reverse-path class.
    pub fn reverse_path(&self) -> [f64; 3] {
        [self.0[REVERSE_PATH], self.0[REVERSE_PATH + 1], self.0[REVERSE_PATH + 2]]
    }

    /// Deliveries from a foreign machine, and deliveries where the machine could be seen.
    pub fn foreign(&self) -> (f64, f64) {
        (self.0[FOREIGN], self.0[FOREIGN_SEEN])
    }

    /// Deliveries with a side mark set, and deliveries where it could be seen.
    pub fn side(&self, place: usize) -> (f64, f64) {
        (self.0[SIDE + place], self.0[SIDE_SEEN + place])
    }
}

/// Learned counts as they are stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredCounts(#[serde(with = "array")] [Small; COUNTS]);

impl StoredCounts {
    /// Packs.
    pub fn new(counts: &MarkCounts) -> StoredCounts {
        StoredCounts(counts.0.map(Small::new))
    }

    /// Unpacks.
    pub fn get(&self) -> MarkCounts {
        MarkCounts(self.0.map(Small::get))
    }
}

/// The counts of the hour under way. Messages are exact. Marks are exact up to 65,535 of a kind; beyond that all
/// are halved together and of further deliveries only half are counted (then a quarter, and so on), which keeps
/// their shares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HourCounts {
    messages: u32,
    halvings: u8,
    #[serde(with = "array")]
    counts: [u16; COUNTS],
}

impl Default for HourCounts {
    fn default() -> HourCounts {
        HourCounts { messages: 0, halvings: 0, counts: [0; COUNTS] }
    }
}

impl HourCounts {
    /// Counts one delivery.
    pub fn add(&mut self, marks: &Marks) {
        self.messages = self.messages.saturating_add(1);
        self.mark(marks);
    }

    /// Counts marks beside those of the delivery that was counted last.
    pub fn mark(&mut self, marks: &Marks) {
        if self.counts.contains(&u16::MAX) {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.halvings = (self.halvings + 1).min(16);
        }
        // Knuth's multiplicative hash spreads the choice, so that no rhythm of the sender's meets it.
        let chosen = u64::from(self.messages.wrapping_mul(2_654_435_761)) >> (32 - self.halvings) == 0;
        if !chosen {
            return;
        }
        places(marks, |place| self.counts[place] += 1);
    }

    /// Deliveries.
    pub fn messages(&self) -> f64 {
        f64::from(self.messages)
    }

    /// Their marks.
    pub fn marks(&self) -> MarkCounts {
        let unit = 2f64.powi(i32::from(self.halvings));
        MarkCounts(self.counts.map(|count| f64::from(count) * unit))
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.messages == 0 && self.counts == [0; COUNTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_counts_exactly_and_then_keeps_the_shares() {
        let mut hour = HourCounts::default();
        for index in 0..200_000u32 {
            hour.add(&Marks { novel: Some(index % 4 == 0), ..Marks::default() });
        }
        assert_eq!(hour.messages(), 200_000.0);
        let (novel, seen) = hour.marks().novel();
        assert!(
            (seen / 200_000.0 - 1.0).abs() < 0.01 && (novel / seen - 0.25).abs() < 0.01,
            "{novel} {seen}"
        );
    }
}
