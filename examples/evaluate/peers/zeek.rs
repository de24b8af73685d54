//! The ladder of distinct recipients of Zeek's smtp-url-analysis: 50, 100, 250 and so on within four hours. The
//! first rung is the alarm.

use super::Judge;
use std::collections::BTreeSet;

/// How long the table lives, seconds.
const WINDOW_SECONDS: f64 = 4.0 * 3_600.0;

/// Distinct recipients since the table was made.
pub fn judge() -> Judge {
    let (mut since, mut recipients) = (f64::NEG_INFINITY, BTreeSet::new());
    Box::new(move |seen| {
        if seen.at - since > WINDOW_SECONDS {
            since = seen.at;
            recipients.clear();
        }
        recipients.insert(seen.recipient);
        recipients.len() as f64
    })
}
