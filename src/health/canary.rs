//! The rhythm of one source, learned from the source itself: when silence means that it is gone.
//!
//! *In*: once in a while, whether anything came. *Out*: since when it is silent against its habit. *Bound*:
//! [`SLOTS`] shares a source. *Spec*: docs/operations.md, blindness.
//!
//! For each hour of a working day and of a weekend day, the share of minutes in which anything came is learned.
//! A silent minute surprises by −ln(1 − share); the surprise of a silence is the sum over its minutes. A source
//! that rests at night surprises nobody by a silent night. Because mail comes in bursts, minutes are not
//! independent: so a silence must surprise twice as much as any that the source came back from lately.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Hours of a working day, then hours of a day at the weekend (UTC).
const SLOTS: usize = 48;
/// Minutes of a slot that must be known before its share is believed.
const KNOWN_MINUTES: f64 = 30.0;
/// Where a slot is not known, a silence of this long surprises enough: no weekend lasts longer.
const UNKNOWN_HOURS: f64 = 72.0;
/// Least surprise of a silence that is told, nats.
const SURPRISE_NATS: f64 = 12.0;
/// Shortest silence that is told, minutes.
const SILENCE_MINUTES_MIN: f64 = 5.0;
/// How long a source that never talked may be silent, seconds: the span port may be the wrong one.
const NEVER_TALKED_SECONDS: f64 = 3_600.0;
/// How often as surprising as those before it a silence must be.
const TIMES_WORST: f64 = 2.0;
/// Minutes after which what was learned of a slot weighs half: ten days of that hour.
const HALF_LIFE_MINUTES: f64 = 600.0;
/// What is left of the worst silence after a day.
const WORST_KEPT_A_DAY: f64 = 0.95;
/// A share below certainty: no single minute proves anything.
const SHARE_MAX: f64 = 0.95;

/// What is known of one source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Canary {
    /// Minutes in which anything came, and minutes, both fading.
    slots: Vec<(f64, f64)>,
    /// Surprise of the worst silence that it came back from, nats, fading.
    worst_nats: f64,
    /// The minute under way, and whether anything came in it.
    minute: Option<(i64, bool)>,
    /// When anything came last; before that, when it was listened to first.
    last_at: Option<Timestamp>,
    /// Whether anything ever came.
    ever_talked: bool,
    /// Surprise of the silence under way, nats.
    surprise_nats: f64,
}

impl Default for Canary {
    fn default() -> Canary {
        Canary {
            slots: vec![(0.0, 0.0); SLOTS],
            worst_nats: 0.0,
            minute: None,
            last_at: None,
            ever_talked: false,
            surprise_nats: 0.0,
        }
    }
}

impl Canary {
    /// Hears whether anything came since the last call. Time that was not listened to teaches nothing.
    pub fn listen(&mut self, at: Timestamp, came: bool) {
        let minute = at.as_micros().div_euclid(60_000_000);
        match &mut self.minute {
            Some((current, any)) if *current == minute => *any |= came,
            Some((current, any)) if *current + 1 == minute => {
                let (ended, any) = (*current, *any);
                self.minute = Some((minute, came));
                self.end_minute(ended, any);
            }
            // The first minute ever, or after a pause: half a minute says nothing about silence.
            _ => {
                self.last_at = Some(at);
                self.surprise_nats = 0.0;
                self.minute = Some((minute, true));
            }
        }
        if came {
            self.worst_nats = self.worst_nats.max(self.surprise_nats);
            self.surprise_nats = 0.0;
            self.last_at = Some(at);
            self.ever_talked = true;
        }
    }

    /// Since when it is silent, where that is against its habit.
    pub fn silent_since(&self, at: Timestamp) -> Option<Timestamp> {
        let last_at = self.last_at?;
        if !self.ever_talked {
            return (at.seconds_since(last_at) >= NEVER_TALKED_SECONDS).then_some(last_at);
        }
        let long = at.seconds_since(last_at) >= SILENCE_MINUTES_MIN * 60.0;
        let surprising = self.surprise_nats >= SURPRISE_NATS.max(TIMES_WORST * self.worst_nats);
        (long && surprising).then_some(last_at)
    }

    /// Whether anything ever came.
    pub fn ever_talked(&self) -> bool {
        self.ever_talked
    }

    fn end_minute(&mut self, minute: i64, any: bool) {
        let Some((active, minutes)) = self.slots.get_mut(slot(minute)) else { return };
        if !any {
            self.surprise_nats += if *minutes < KNOWN_MINUTES {
                SURPRISE_NATS / (UNKNOWN_HOURS * 60.0)
            } else {
                -(1.0 - (*active / *minutes).min(SHARE_MAX)).ln()
            };
        }
        // A silence that is out of the ordinary is not a habit.
        if self.surprise_nats < SURPRISE_NATS {
            let keep = 0.5f64.powf(1.0 / HALF_LIFE_MINUTES);
            *active = *active * keep + f64::from(u8::from(any));
            *minutes = *minutes * keep + 1.0;
        }
        self.worst_nats *= WORST_KEPT_A_DAY.powf(1.0 / 1_440.0);
    }
}

/// The slot of a minute since the epoch, which was a Thursday.
fn slot(minute: i64) -> usize {
    let weekend = (minute.div_euclid(1_440) + 3).rem_euclid(7) >= 5;
    let hour = minute.div_euclid(60).rem_euclid(24);
    usize::try_from(hour).unwrap_or(0) + if weekend { 24 } else { 0 }
}
