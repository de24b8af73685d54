//! The wake-up scan: how many long silent addresses of one prefix begin to send within an hour.
//!
//! *In*: first messages after silence. *Out*: a scan statistic in nats. *Bound*: `limits::WAKES_MAX` prefixes.
//! *Spec*: docs/detection.md, blocks: S = w ln(w/mu) - (w - mu), the log-likelihood ratio of a Poisson count
//! (Kulldorff's expectation-based scan), with a Gamma prior on the prefix's own rate of wake-ups.
//!
//! It needs no SMTP content, so it works under TLS; but a prefix where new machines come and go learns that, and
//! addresses that write only to known recipients are no sign of anything.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Silence after which an address counts as dormant, seconds.
pub const DORMANT_SECONDS: f64 = 30.0 * 86_400.0;
/// Memory of the count, seconds.
const WINDOW_SECONDS: f64 = 3_600.0;
/// Prior: 0.07 wake-ups in 28 days (detection.md section 6).
const PRIOR_WAKES: f64 = 0.07;
const PRIOR_HOURS: f64 = 28.0 * 24.0;
/// Fewest addresses that can make a scan speak.
const ADDRESSES_MIN: f64 = 2.5;

/// Wake-ups of one prefix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wakes {
    since: Timestamp,
    last_at: Timestamp,
    /// Wake-ups of the last hour, fading; of these to strangers, or hidden.
    recent: f64,
    strange: f64,
    /// Wake-ups that were taken for normal.
    usual: f64,
}

/// What the scan says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scan {
    /// Addresses that woke within about an hour.
    pub woken: f64,
    /// Wake-ups an hour that are normal here.
    pub usual_per_hour: f64,
    /// Evidence, nats; 0 where too few woke or they wrote to people they know.
    pub nats: f64,
}

impl Wakes {
    /// A prefix watched from `since` on.
    pub fn new(since: Timestamp, at: Timestamp) -> Wakes {
        Wakes { since, last_at: at, recent: 0.0, strange: 0.0, usual: 0.0 }
    }

    /// Notes that an address woke; `strange` where it did not write to somebody known.
    pub fn note(&mut self, at: Timestamp, strange: bool) -> Scan {
        let kept = (-at.seconds_since(self.last_at).max(0.0) / WINDOW_SECONDS).exp();
        // What faded without an alarm was usual.
        self.usual += self.recent * (1.0 - kept);
        self.recent = self.recent * kept + 1.0;
        self.strange = self.strange * kept + f64::from(u8::from(strange));
        self.last_at = self.last_at.max(at);
        self.scan(at)
    }

    /// The last wake-up.
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// Evidence now. The count fades, so that it stands a little below the number of addresses.
    pub fn scan(&self, at: Timestamp) -> Scan {
        let hours = (at.seconds_since(self.since) / 3_600.0).max(0.0);
        let usual_per_hour = (PRIOR_WAKES + self.usual) / (PRIOR_HOURS + hours);
        let (woken, expected) = (self.strange, usual_per_hour);
        let speaks = woken >= ADDRESSES_MIN && woken > expected;
        let nats = if speaks { woken * (woken / expected).ln() - (woken - expected) } else { 0.0 };
        Scan { woken, usual_per_hour, nats }
    }

    /// Takes back what an incident told: it must not become usual, nor count again.
    pub fn told(&mut self) {
        (self.recent, self.strange) = (0.0, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_seconds(0).plus_seconds(seconds)
    }

    #[test]
    fn three_wakes_in_a_silent_prefix_speak_and_two_do_not() {
        let mut wakes = Wakes::new(at(0.0), at(0.0));
        let later = 10.0 * 86_400.0;
        assert_eq!(wakes.note(at(later), true).nats, 0.0);
        assert_eq!(wakes.note(at(later + 60.0), true).nats, 0.0);
        let third = wakes.note(at(later + 120.0), true);
        assert!(third.nats > 20.0, "{third:?}");
    }

    #[test]
    fn where_machines_come_and_go_it_stays_quiet() {
        let mut wakes = Wakes::new(at(0.0), at(0.0));
        let most = (0..300).map(|n| wakes.note(at(f64::from(n) * 4_000.0), true).nats).fold(0.0, f64::max);
        let burst = (0..3).map(|n| wakes.note(at(1_200_010.0 + f64::from(n)), true).nats).fold(0.0, f64::max);
        assert!(most < 6.0 && burst < 6.0, "{most} {burst}");
    }

    #[test]
    fn mail_to_known_people_is_no_sign() {
        let mut wakes = Wakes::new(at(0.0), at(0.0));
        assert!((0..20).all(|n| wakes.note(at(1e6 + f64::from(n)), false).nats == 0.0));
    }
}
