//! ntopng's check of SMTP contacts: how many servers a host that is none itself talked to. Counted exactly here,
//! where ntopng estimates, and anew every hour.

use super::Judge;
use std::collections::BTreeSet;

/// Distinct servers of the hour.
pub fn judge() -> Judge {
    let (mut hour, mut servers) = (f64::NEG_INFINITY, BTreeSet::new());
    Box::new(move |seen| {
        let now = (seen.at / 3_600.0).floor();
        if now != hour {
            hour = now;
            servers.clear();
        }
        servers.insert(seen.server);
        if seen.serves { 0.0 } else { servers.len() as f64 }
    })
}
