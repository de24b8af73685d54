//! What a run ends with: each incident in a few lines, the worst first, with the next step.
//!
//! *In*: the alerts of a run. *Out*: text that is enough for somebody who has only a terminal. *Bound*:
//! [`INCIDENTS_SHOWN`] incidents.

use super::terminal::{Paint, minute};
use crate::alert::Alert;
use crate::engine::incident::Change;
use std::collections::BTreeMap;

/// Incidents that are told; the rest is counted.
const INCIDENTS_SHOWN: usize = 12;

/// What is left to do after a run.
pub fn of(alerts: &[Alert], paint: Paint) -> String {
    let mut stories: BTreeMap<&str, (&Alert, bool)> = BTreeMap::new();
    for alert in alerts.iter().filter(|alert| alert.sender.kind != "sensor") {
        let story = stories.entry(&alert.incident.id).or_insert((alert, false));
        match alert.change {
            Change::Closed => story.1 = true,
            _ => story.0 = alert,
        }
    }
    let mut list: Vec<(&Alert, bool)> = stories.into_values().collect();
    if list.is_empty() {
        return String::new();
    }
    list.sort_by(|(a, a_closed), (b, b_closed)| {
        let key = |alert: &Alert, closed: bool| (!closed, alert.severity.score);
        key(b, *b_closed).cmp(&key(a, *a_closed)).then(a.times.opened.cmp(&b.times.opened))
    });
    let open = list.iter().filter(|(_, closed)| !closed).count();
    let mut text = format!(
        "\n{}\n",
        paint.strong(&format!("{} incidents, {open} of them still open, the worst first", list.len()))
    );
    for (alert, closed) in list.iter().take(INCIDENTS_SHOWN) {
        text.push_str(&one(alert, *closed, paint));
    }
    if list.len() > INCIDENTS_SHOWN {
        text.push_str(&format!("\n{} more: see the alerts\n", list.len() - INCIDENTS_SHOWN));
    }
    text
}

fn one(alert: &Alert, closed: bool, paint: Paint) -> String {
    let severity = &alert.severity.name;
    let label = paint.severity(severity, &format!("{:8}", severity.to_uppercase()));
    let radius = &alert.blast_radius;
    let mut text = format!(
        "\n{label} {}  {}\n         {}\n         since {} UTC, alarm {} UTC; {} recipients got mail; {:.0} % sure; incident {}\n",
        paint.strong(&alert.sender.name),
        paint.soft(if closed { "quiet again" } else { "open" }),
        alert.headline.strip_prefix(&alert.sender.name).map_or(alert.headline.as_str(), str::trim_start),
        minute(&alert.times.first),
        minute(&alert.times.opened),
        super::summary::grouped(radius.recipients_accepted),
        100.0 * alert.confidence,
        alert.incident.id,
    );
    if let Some(related) = alert.related.first() {
        let more = alert.related.len() - 1;
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        text.push_str(&format!("         leaves by or belongs to {}{more}\n", related.name));
    }
    if !alert.join_keys.queue_ids.is_empty() {
        text.push_str(&format!("         queue ids: {}\n", alert.join_keys.queue_ids.join(" ")));
    }
    for step in alert.next_steps.iter().take(if closed { 1 } else { 2 }) {
        text.push_str(&format!("       → {step}\n"));
    }
    text
}
