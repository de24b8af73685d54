//! How many alerts may leave: a flood is told in few alerts, and in exact numbers.
//!
//! *In*: alerts in event time. *Out*: those that may leave now, each with what was folded into it ([`Suppressed`]).
//! *Bound*: a token bucket; `limits::ALERTS_WAITING_MAX` incidents wait with their newest alert. *Spec*:
//! docs/alerts.md, floods.
//!
//! Nothing is lost silently: an alert leaves, or is folded into a later one of the same incident, or waits, or, where
//! too many wait, the mildest is dropped and counted. What leaves plus the `suppressed.of_all` of what left plus what
//! waits is what was offered.

use super::record::{Alert, Suppressed};
use crate::engine::incident::Change;
use crate::limits;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Score of `critical`: such alerts may use the tokens that are kept back for them.
const CRITICAL_SCORE: u8 = 99;
/// Share of a burst that is kept back for critical alerts.
const RESERVE_SHARE: f64 = 0.25;

/// What the user may set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Alerts an hour of event time, in the long run.
    pub per_hour: f64,
    /// Alerts at once after a quiet time.
    pub burst: f64,
}

impl Default for Rate {
    fn default() -> Rate {
        Rate { per_hour: 600.0, burst: 200.0 }
    }
}

/// The budget and what waits for it. Kept with the state, so that a restart changes nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Budget {
    tokens: f64,
    /// Up to when tokens were given; `None` before the first alert.
    filled_at: Option<Timestamp>,
    /// By incident.
    waiting: BTreeMap<String, Waiting>,
    /// Most severe first, then first come: (255 − score, arrival, incident).
    order: BTreeSet<(u8, u64, String)>,
    arrivals: u64,
    /// Alerts folded or dropped since one left.
    suppressed: u64,
    /// Alerts dropped because too many waited.
    dropped: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Waiting {
    alert: Alert,
    arrival: u64,
    /// Earlier alerts of the incident that this one stands for.
    folded: u64,
}

impl Budget {
    /// A full bucket.
    pub fn new(rate: &Rate) -> Budget {
        Budget {
            tokens: rate.burst,
            filled_at: None,
            waiting: BTreeMap::new(),
            order: BTreeSet::new(),
            arrivals: 0,
            suppressed: 0,
            dropped: 0,
        }
    }

    /// Offers an alert at a moment of event time; pushes what may leave.
    pub fn offer(&mut self, rate: &Rate, alert: Alert, at: Timestamp, out: &mut Vec<Alert>) {
        let incident = alert.incident.id.clone();
        self.arrivals += 1;
        let mut entry = Waiting { alert, arrival: self.arrivals, folded: 0 };
        if let Some(earlier) = self.take(&incident) {
            self.suppressed += 1;
            entry.folded = earlier.folded + 1;
            entry.arrival = earlier.arrival;
            // Who was not told of the opening is told now, by the newest facts.
            if earlier.alert.change == Change::Opened && entry.alert.change == Change::Updated {
                entry.alert.change = Change::Opened;
            }
        }
        self.order.insert(place(&entry, &incident));
        self.waiting.insert(incident, entry);
        self.drop_beyond_bound();
        self.release(rate, at, out);
    }

    /// Lets time pass; pushes what may leave now.
    pub fn release(&mut self, rate: &Rate, at: Timestamp, out: &mut Vec<Alert>) {
        let filled_at = *self.filled_at.get_or_insert(at);
        let hours = at.seconds_since(filled_at).max(0.0) / 3_600.0;
        self.tokens = (self.tokens + hours * rate.per_hour).min(rate.burst);
        self.filled_at = Some(filled_at.max(at));
        while let Some((inverse, _, incident)) = self.order.first() {
            let reserve = if 255 - inverse >= CRITICAL_SCORE { 0.0 } else { RESERVE_SHARE * rate.burst };
            if self.tokens < 1.0 + reserve {
                break;
            }
            self.tokens -= 1.0;
            let incident = incident.clone();
            self.leave(&incident, out);
        }
    }

    /// Pushes everything that waits, whatever the rate: for a run that ends and keeps nothing.
    pub fn finish(&mut self, out: &mut Vec<Alert>) {
        while let Some((.., incident)) = self.order.first() {
            let incident = incident.clone();
            self.leave(&incident, out);
        }
    }

    /// Incidents whose newest alert waits.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Alerts folded or dropped that no alert has told of yet.
    pub fn untold(&self) -> u64 {
        self.suppressed
    }

    /// Alerts dropped because too many waited. They are told in numbers.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn leave(&mut self, incident: &str, out: &mut Vec<Alert>) {
        let Some(entry) = self.take(incident) else { return };
        let suppressed =
            Suppressed { of_this_incident: entry.folded, of_all: std::mem::take(&mut self.suppressed) };
        out.push(Alert { suppressed, ..entry.alert });
    }

    fn take(&mut self, incident: &str) -> Option<Waiting> {
        let entry = self.waiting.remove(incident)?;
        self.order.remove(&place(&entry, incident));
        Some(entry)
    }

    /// The mildest goes, of these the one that came first.
    fn drop_beyond_bound(&mut self) {
        while self.waiting.len() > limits::ALERTS_WAITING_MAX {
            let Some((mildest, ..)) = self.order.last() else { return };
            let first = self.order.range((*mildest, 0, String::new())..).next().cloned();
            let Some((.., incident)) = first else { return };
            self.take(&incident);
            self.suppressed += 1;
            self.dropped += 1;
        }
    }
}

fn place(entry: &Waiting, incident: &str) -> (u8, u64, String) {
    (255 - entry.alert.severity.score, entry.arrival, incident.to_owned())
}
