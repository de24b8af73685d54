//! The slow reference: what a sender was like over the last months, beside what it learned in the last weeks.
//!
//! *In*: the baseline, once a week. *Out*: bounds on what was learned quickly. *Bound*: [`StoredSlow`], 14 bytes. *Spec*:
//! docs/detection.md, poisoning (a mean over 13 weeks, robustness.md E3).
//!
//! Whoever hides bad mail among good mail, a little more every day, teaches the baseline within weeks. The reference
//! follows seven times more slowly, and the test takes no habit for normal that is far from it.

use super::model::MarkLaw;
use super::packed::Small;
use serde::{Deserialize, Serialize};

/// Weeks that it is a mean over.
const WEEKS: u8 = 13;
/// Weeks from which on it says something.
const WEEKS_MIN: u8 = 2;
/// How much greater than in the reference the odds of a bad mark may be taken for, and the usual volume.
const ODDS_MAX: f64 = 2.0;
/// Least probability that is compared with: one in a hundred is nobody's secret.
const COMPARED_MIN: f64 = 0.01;
/// Marks that speak against a sender: new recipient, no such recipient, refused, unknown reverse-path, foreign machine.
const BAD_MARKS: usize = 5;

/// The slow reference of one sender.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slow {
    weeks: u8,
    marks: [f64; BAD_MARKS],
    level: f64,
}

fn bad_marks(law: &MarkLaw) -> [f64; BAD_MARKS] {
    [law.novel, law.verdict[1], law.verdict[2], law.reverse_path[1], law.foreign]
}

impl Slow {
    /// Ends a week with what was learned by then.
    pub fn end_week(&mut self, law: &MarkLaw, level: f64) {
        self.weeks = (self.weeks + 1).min(WEEKS);
        let weeks = f64::from(self.weeks);
        for (slow, fast) in self.marks.iter_mut().zip(bad_marks(law)) {
            *slow += (fast - *slow) / weeks;
        }
        self.level += (level - self.level) / weeks;
    }

    /// A law in which no bad mark is more usual than the reference allows. What is taken from bad answers and paths goes
    /// to the good ones.
    pub fn bound(&self, mut law: MarkLaw) -> MarkLaw {
        if self.weeks < WEEKS_MIN {
            return law;
        }
        let [novel, unknown_user, policy, unknown_path, foreign] = self.marks.map(|slow| {
            let odds = ODDS_MAX * slow.max(COMPARED_MIN) / (1.0 - slow.max(COMPARED_MIN));
            odds / (1.0 + odds)
        });
        law.novel = law.novel.min(novel);
        law.foreign = law.foreign.min(foreign);
        for (bad, most) in [(1, unknown_user), (2, policy)] {
            let excess = (law.verdict[bad] - most).max(0.0);
            law.verdict[bad] -= excess;
            law.verdict[0] += excess;
        }
        let excess = (law.reverse_path[1] - unknown_path).max(0.0);
        law.reverse_path[1] -= excess;
        law.reverse_path[0] += excess;
        law
    }

    /// A level that is at most a little above that of the reference, messages per hour.
    pub fn bound_level(&self, level: f64) -> f64 {
        if self.weeks < WEEKS_MIN { level } else { level.min(ODDS_MAX * self.level) }
    }
}

/// The same between deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoredSlow {
    weeks: u8,
    marks: [Small; BAD_MARKS],
    level: Small,
}

impl StoredSlow {
    /// Packs.
    pub fn new(slow: &Slow) -> StoredSlow {
        StoredSlow { weeks: slow.weeks, marks: slow.marks.map(Small::new), level: Small::new(slow.level) }
    }

    /// Unpacks.
    pub fn get(&self) -> Slow {
        Slow { weeks: self.weeks, marks: self.marks.map(Small::get), level: self.level.get() }
    }
}
