//! The promised rate of false alarms beside the one that people found.
//!
//! *In*: what the store counted. *Out*: one sentence for `check`. *Bound*: none needed. *Spec*: docs/detection.md.

use std::collections::BTreeMap;

/// From how many false alarms on a rate is held against the promise: with fewer it may be chance.
const DISMISSED_MIN: u64 = 3;
/// How far the realised rate may be above the promise.
const FACTOR_MAX: f64 = 2.0;

/// What people said of the incidents so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Realised {
    opened: u64,
    confirmed: u64,
    dismissed: u64,
    sender_days: u64,
    budget: f64,
}

impl Realised {
    /// From the counters of the store, and the promised false alarms per 1,000 sender-days.
    pub fn new(counters: &BTreeMap<String, u64>, budget: f64) -> Realised {
        let count = |name: &str| counters.get(name).copied().unwrap_or(0);
        Realised {
            opened: count("incidents_opened"),
            confirmed: count("confirmed"),
            dismissed: count("dismissed"),
            sender_days: count("sender_days"),
            budget,
        }
    }

    /// Dismissed incidents per 1,000 sender-days; `None` before a sender-day has passed.
    pub fn per_1000_sender_days(&self) -> Option<f64> {
        (self.sender_days > 0).then(|| self.dismissed as f64 * 1_000.0 / self.sender_days as f64)
    }

    /// Whether more false alarms came than were promised, and too many for chance.
    pub fn exceeds(&self) -> bool {
        self.dismissed >= DISMISSED_MIN
            && self.per_1000_sender_days().is_some_and(|rate| rate > FACTOR_MAX * self.budget)
    }

    /// One sentence for people.
    pub fn sentence(&self) -> String {
        let Some(rate) = self.per_1000_sender_days() else {
            return "false alarms: nothing was judged yet".into();
        };
        let Realised { opened, confirmed, dismissed, sender_days, budget } = self;
        if confirmed + dismissed == 0 {
            return format!(
                "false alarms: of {opened} incidents in {sender_days} sender-days none was confirmed or dismissed, \
                 so their share is not known; say `portreeve incidents dismiss ID` or `confirm ID`"
            );
        }
        let mut text = format!(
            "false alarms: {dismissed} dismissed, {confirmed} confirmed of {opened} incidents: {rate:.2} in 1,000 \
             sender-days, promised {budget}"
        );
        if self.exceeds() {
            text.push_str(
                "; announce mailings with [[planned]], declare servers with [[host]], or lower the budget",
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realised(opened: u64, confirmed: u64, dismissed: u64, sender_days: u64) -> Realised {
        Realised { opened, confirmed, dismissed, sender_days, budget: 1.0 }
    }

    #[test]
    fn unknown_is_not_zero() {
        assert_eq!(realised(0, 0, 0, 0).per_1000_sender_days(), None);
        assert!(realised(4, 0, 0, 900).sentence().contains("not known"));
    }

    #[test]
    fn few_false_alarms_are_chance_and_many_are_not() {
        assert!(!realised(2, 0, 2, 100).exceeds());
        assert!(realised(9, 0, 9, 4_000).exceeds());
        assert!(!realised(9, 0, 9, 5_000).exceeds());
        let text = realised(12, 3, 9, 4_000).sentence();
        assert!(text.contains("9 dismissed, 3 confirmed of 12 incidents: 2.25 in 1,000"), "{text}");
    }
}
