//! The Common Event Format form, for ArcSight, Sentinel and what reads the same.
//!
//! *In*: an [`Alert`]. *Out*: one line `CEF:0|…`. *Bound*: a fixed list of fields, each cut as in the record.
//! *Spec*: ArcSight CEF, revision 26: `|` and `\` are escaped in the header, `=` and `\` in the extension.

use super::{Alert, RULE_NAME, VERSION, millis, one_line, variant_name};
use std::net::IpAddr;

/// One line with its line end.
pub fn encode(alert: &Alert) -> String {
    let severity = match alert.severity.name.as_str() {
        "critical" => 10,
        "high" => 8,
        "medium" => 5,
        _ => 3,
    };
    let mut line = format!("CEF:0|portreeve|portreeve|{}|", header(VERSION));
    line.push_str(&format!("{}|{}|{severity}|", header(&alert.test.template), header(RULE_NAME)));
    let pairs: Vec<String> =
        fields(alert).into_iter().map(|(key, value)| format!("{key}={}", extension(&value))).collect();
    line.push_str(&pairs.join(" "));
    one_line(line)
}

/// Keys of the CEF dictionary with their values, before escaping. Custom fields carry their label beside them.
fn fields(alert: &Alert) -> Vec<(&'static str, String)> {
    let mut list = vec![
        ("externalId", alert.id.clone()),
        ("rt", millis(&alert.times.event).to_string()),
        ("start", millis(&alert.times.first).to_string()),
        ("end", millis(&alert.times.last).to_string()),
        ("cat", variant_name(&alert.kind)),
        ("act", format!("incident-{}", variant_name(&alert.change))),
        ("app", "smtp".into()),
        ("proto", "TCP".into()),
        ("deviceDirection", "1".into()),
        ("cnt", alert.blast_radius.messages.to_string()),
        ("msg", alert.headline.clone()),
    ];
    if let Some(sensor) = &alert.sensor {
        list.push(("dvchost", sensor.name.clone()));
    }
    match (alert.sender.kind.as_str(), alert.sender.name.parse::<IpAddr>()) {
        ("address", Ok(IpAddr::V4(address))) => list.push(("src", address.to_string())),
        ("address", Ok(IpAddr::V6(address))) => {
            list.push(("c6a2", address.to_string()));
            list.push(("c6a2Label", "Source IPv6 Address".into()));
        }
        ("account", _) => list.push(("suser", alert.sender.name.clone())),
        ("host", _) => list.push(("shost", alert.sender.name.clone())),
        _ => {}
    }
    let mut custom = |key: &'static str, label_key: &'static str, label: &str, value: String| {
        list.push((key, value));
        list.push((label_key, label.into()));
    };
    custom("cs1", "cs1Label", "Sender", alert.sender.name.clone());
    custom("cs2", "cs2Label", "Incident", alert.incident.id.clone());
    custom("cs3", "cs3Label", "Queue Ids", alert.join_keys.queue_ids.join(" "));
    custom("cn1", "cn1Label", "Recipients Accepted", alert.blast_radius.recipients_accepted.to_string());
    custom("cn2", "cn2Label", "Sequence", alert.incident.sequence.to_string());
    custom("cfp1", "cfp1Label", "Confidence", alert.confidence.to_string());
    custom("cfp2", "cfp2Label", "Evidence Nats", alert.test.evidence_nats.to_string());
    list.retain(|(_, value)| !value.is_empty());
    list
}

fn header(text: &str) -> String {
    escape(text, &['\\', '|'])
}

fn extension(text: &str) -> String {
    escape(text, &['\\', '='])
}

/// Escapes with a backslash; line ends, which the record cannot hold, would become `\n`.
fn escape(text: &str, special: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c => {
                if special.contains(&c) {
                    out.push('\\');
                }
                out.push(c);
            }
        }
    }
    out
}
