//! What is novel, refused or foreign about one delivery. `None` where it cannot be seen.
//!
//! *In*: nothing. *Out*: [`Marks`], and the probability a law gives them. *Bound*: fixed size.
//! *Spec*: docs/detection.md, marks.

use super::model::{MarkLaw, SIDE_MARKS_MAX};

/// Verdict classes of the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerdictClass {
    /// Accepted.
    Accepted = 0,
    /// No such recipient.
    NoSuchRecipient = 1,
    /// Refused by blocklist or policy.
    Policy = 2,
    /// Deferred.
    Deferred = 3,
    /// Refused for good, the reason hidden (under TLS): one of the two before.
    Refused = 4,
}

/// Reverse-path classes of the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversePathClass {
    /// A domain of ours, or one this sender is known to use.
    Own = 0,
    /// A domain never used here.
    Unknown = 1,
    /// Null.
    Null = 2,
    /// A mailbox, while it is too early to say whose: own or unknown, but surely not null.
    Mailbox = 3,
}

/// Marks that the reference model does not have, by their place in [`super::model::Model::side_marks`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SideMarks {
    /// Which could be seen, one bit each.
    pub seen: u8,
    /// Which of these are set.
    pub set: u8,
}

impl SideMarks {
    /// Notes what was seen of one mark; `None` notes nothing.
    pub fn note(&mut self, place: usize, mark: Option<bool>) {
        debug_assert!(place < SIDE_MARKS_MAX);
        if let Some(set) = mark {
            self.seen |= 1 << place;
            self.set = self.set & !(1 << place) | u8::from(set) << place;
        }
    }

    /// The mark at a place.
    pub fn get(&self, place: usize) -> Option<bool> {
        (self.seen & 1 << place != 0).then_some(self.set & 1 << place != 0)
    }
}

/// The marks of one delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Marks {
    /// Recipient never written to before by the company.
    pub novel: Option<bool>,
    /// What the receiver said.
    pub verdict: Option<VerdictClass>,
    /// Whose reverse-path it bears.
    pub reverse_path: Option<ReversePathClass>,
    /// Whether it comes from a machine or network never seen for this sender.
    pub foreign: Option<bool>,
    /// Further marks.
    pub side: SideMarks,
}

/// Probability of `happened`; 1 where it was not seen.
pub fn bernoulli(probability: f64, happened: Option<bool>) -> f64 {
    match happened {
        Some(true) => probability,
        Some(false) => 1.0 - probability,
        None => 1.0,
    }
}

/// Probability of the marks without the machine and without the side marks. A mark that was not seen counts
/// as 1 under every law, so it favours none.
pub fn likelihood_without_machine(law: &MarkLaw, marks: &Marks) -> f64 {
    let verdict = match marks.verdict {
        None => 1.0,
        Some(VerdictClass::Refused) => law.verdict[1] + law.verdict[2],
        Some(class) => law.verdict[class as usize],
    };
    let reverse_path = match marks.reverse_path {
        None => 1.0,
        Some(ReversePathClass::Mailbox) => law.reverse_path[0] + law.reverse_path[1],
        Some(class) => law.reverse_path[class as usize],
    };
    bernoulli(law.novel, marks.novel) * verdict * reverse_path
}

/// Probability of the marks without the side marks.
pub fn likelihood(law: &MarkLaw, marks: &Marks) -> f64 {
    likelihood_without_machine(law, marks) * bernoulli(law.foreign, marks.foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_mark_that_was_not_seen_stays_unknown() {
        let mut side = SideMarks::default();
        side.note(3, None);
        side.note(1, Some(true));
        side.note(2, Some(false));
        assert_eq!((side.get(1), side.get(2), side.get(3)), (Some(true), Some(false), None));
    }

    #[test]
    fn what_cannot_be_told_apart_is_the_sum() {
        let law = MarkLaw {
            novel: 0.1,
            verdict: [0.7, 0.1, 0.15, 0.05],
            reverse_path: [0.6, 0.3, 0.1],
            foreign: 0.01,
        };
        let marks = Marks {
            verdict: Some(VerdictClass::Refused),
            reverse_path: Some(ReversePathClass::Mailbox),
            ..Marks::default()
        };
        assert!((likelihood(&law, &marks) - 0.25 * 0.9).abs() < 1e-12);
        assert_eq!(likelihood(&law, &Marks::default()), 1.0);
    }
}
