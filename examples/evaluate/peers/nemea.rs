//! NEMEA's smtp_spam_detector: ln(flows) of a host that takes no mail, one more or less for more than ten servers,
//! one less for the ratio of mail in to mail out; confidence 1/(1 + e^(-score/2)). Nothing outlives five minutes.
//!
//! The ratio's sign is the program's, not its README's: its own sample (358 flows, 5.88, 0.95) says so.

use super::Judge;
use std::collections::BTreeSet;

/// Length of a cycle, seconds.
const CYCLE_SECONDS: f64 = 300.0;
/// A host that takes mail too gets no more than this without penalties from headers.
const SERVES_MAX: f64 = 0.73;

/// Confidence of the cycle.
pub fn judge() -> Judge {
    let (mut cycle, mut flows, mut servers) = (f64::NEG_INFINITY, 0.0f64, BTreeSet::new());
    Box::new(move |seen| {
        let now = (seen.at / CYCLE_SECONDS).floor();
        if now != cycle {
            cycle = now;
            flows = 0.0;
            servers.clear();
        }
        flows += 1.0;
        servers.insert(seen.server);
        let many = if servers.len() > 10 { 1.0 } else { -1.0 };
        let score = flows.ln() + many - 1.0;
        let confidence = 1.0 / (1.0 + (-score / 2.0).exp());
        if seen.serves { confidence.min(SERVES_MAX) } else { confidence }
    })
}
