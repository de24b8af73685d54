//! The Log Event Extended Format form, for QRadar.
//!
//! *In*: an [`Alert`]. *Out*: one line `LEEF:2.0|…` whose attributes are parted by tabs. *Bound*: a fixed list
//! of fields, each cut as in the record. *Spec*: IBM LEEF 2.0. The format has no escapes: what would end a
//! field is replaced by a space.

use super::{Alert, VERSION, one_line, variant_name};
use crate::time::Timestamp;

/// One line with its line end.
pub fn encode(alert: &Alert) -> String {
    let mut line = format!("LEEF:2.0|portreeve|portreeve|{VERSION}|{}|x09|", header(&alert.test.template));
    let pairs: Vec<String> =
        fields(alert).into_iter().map(|(key, value)| format!("{key}={}", attribute(&value))).collect();
    line.push_str(&pairs.join("\t"));
    one_line(line)
}

fn fields(alert: &Alert) -> Vec<(&'static str, String)> {
    let severity = match alert.severity.name.as_str() {
        "critical" => 10,
        "high" => 8,
        "medium" => 5,
        _ => 3,
    };
    let mut list = vec![
        ("devTimeFormat", "yyyy-MM-dd'T'HH:mm:ss.SSSZ".into()),
        ("devTime", device_time(&alert.times.event)),
        ("sev", severity.to_string()),
        ("cat", variant_name(&alert.kind)),
        ("proto", "TCP".into()),
    ];
    match alert.sender.kind.as_str() {
        "address" => list.push(("src", alert.sender.name.clone())),
        "account" => list.push(("usrName", alert.sender.name.clone())),
        "host" => list.push(("identHostName", alert.sender.name.clone())),
        _ => {}
    }
    list.extend([
        ("alertId", alert.id.clone()),
        ("incidentId", alert.incident.id.clone()),
        ("sequence", alert.incident.sequence.to_string()),
        ("change", variant_name(&alert.change)),
        ("sender", alert.sender.name.clone()),
        ("messages", alert.blast_radius.messages.to_string()),
        ("recipientsAccepted", alert.blast_radius.recipients_accepted.to_string()),
        ("confidence", alert.confidence.to_string()),
        ("queueIds", alert.join_keys.queue_ids.join(" ")),
        ("headline", alert.headline.clone()),
    ]);
    if let Some(sensor) = &alert.sensor {
        list.push(("sensor", sensor.name.clone()));
    }
    list.retain(|(_, value)| !value.is_empty());
    list
}

/// The stamp in the form that `devTimeFormat` announces, such as `2026-11-24T09:31:00.123+0000`.
fn device_time(stamp: &str) -> String {
    let millis = Timestamp::parse_rfc3339(stamp).map_or(0, |at| at.as_micros().div_euclid(1_000));
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(at) => format!("{at:.3}").replace('Z', "+0000"),
        Err(_) => stamp.into(),
    }
}

fn header(text: &str) -> String {
    attribute(text).replace('|', " ")
}

fn attribute(text: &str) -> String {
    text.replace(['\t', '\n', '\r'], " ")
}
