//! Trouble of the sensor that the join of wire and log found, as an alert.
//!
//! *In*: [`Blind`]. *Out*: [`Alert`]. *Bound*: a few receivers are named.

use crate::alert::Alert;
use crate::engine::incident::span;
use crate::join::coverage::Blind;

/// Receivers named in the alert.
const NAMED_MAX: usize = 3;

/// The alert of a server whose mail the sensor no longer sees.
pub fn alert(blind: &Blind) -> Alert {
    let receivers: Vec<String> =
        blind.receivers.iter().take(NAMED_MAX).map(|(to, pieces)| format!("{to} ({pieces})")).collect();
    let headline = format!(
        "{} of {} deliveries that the log of {} tells of in {} never passed the sensor; {:.1} % is normal here. The sensor is blind on their path, or the log is forged. Most went to {}.",
        blind.unseen,
        blind.pieces,
        blind.server,
        span(blind.at.seconds_since(blind.since)),
        100.0 * blind.usual_share,
        receivers.join(", ")
    );
    let key = format!("{}\n{}", blind.server, blind.since.as_micros());
    Alert::of_trouble(
        "logged_never_seen",
        &key,
        blind.at,
        &headline,
        "Find the way that mail to these receivers takes: a second uplink, IPv6, a tunnel or a smart host that the span port does not mirror. If the way is the usual one, compare the log with the receivers' own.",
    )
}
