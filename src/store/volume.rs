//! How much mail there was, by the hour, for the curves that people look at.
//!
//! *In*: every observation that is judged. *Out*: points to be counted up with the next commit. *Bound*: hours and
//! [`SERIES`] between two commits. *Spec*: docs/architecture.md, state.

use super::HistoryRow;
use super::summary::vantage_name;
use crate::mail::{Reply, Verdict};
use crate::observation::{Fact, Observation, Session, Vantage};
use crate::time::MICROS_PER_HOUR;
use std::collections::BTreeMap;

/// Curves of one road, as the last part of a series' name: `volume.wire.deliveries`.
pub const SERIES: &[&str] = &["deliveries", "refused", "deferred", "hidden"];

/// What was counted since the last commit.
#[derive(Default)]
pub struct Volume {
    /// By hour, then road, then [`SERIES`].
    hours: BTreeMap<i64, [[u64; SERIES.len()]; 2]>,
}

impl Volume {
    /// Counts an observation.
    pub fn count(&mut self, observation: &Observation) {
        let [deliveries, refused, deferred, hidden] = match &observation.fact {
            Fact::Delivery(delivery) => match delivery.reply.as_ref().and_then(Reply::verdict) {
                Some(Verdict::Accepted) | None => [1, 0, 0, 0],
                Some(Verdict::Deferred) => [1, 0, 1, 0],
                Some(_) => [1, 1, 0, 0],
            },
            Fact::Session(Session { opaque: Some(opaque), .. }) if opaque.messages_estimated > 0 => {
                [0, 0, 0, u64::from(opaque.messages_estimated)]
            }
            _ => return,
        };
        let hour = self.hours.entry(observation.at.hour_index()).or_default();
        let counts = &mut hour[observation.vantage as usize];
        for (count, more) in counts.iter_mut().zip([deliveries, refused, deferred, hidden]) {
            *count += more;
        }
    }

    /// What was counted, and begins at nothing again.
    pub fn take(&mut self) -> Vec<HistoryRow> {
        let mut rows = Vec::new();
        for (hour, roads) in std::mem::take(&mut self.hours) {
            let at = hour.saturating_mul(MICROS_PER_HOUR);
            for (vantage, counts) in [Vantage::Wire, Vantage::Log].into_iter().zip(roads) {
                for (series, count) in SERIES.iter().zip(counts).filter(|(_, count)| *count > 0) {
                    let series = series_name(vantage, series);
                    rows.push(HistoryRow { series, at, value: count as f64 });
                }
            }
        }
        rows
    }
}

/// Full name of a curve.
pub fn series_name(vantage: Vantage, series: &str) -> String {
    format!("volume.{}.{series}", vantage_name(vantage))
}
