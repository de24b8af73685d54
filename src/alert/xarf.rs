//! The form for abuse desks: an X-ARF 4.2 report, one JSON line.
//!
//! *In*: an [`Alert`]. *Out*: a report of the type connection/infected_host with the native record as
//! evidence. *Bound*: `limits::ALERT_LINE_BYTES_MAX`, twice: once in base64. *Spec*: xarf.org, schemas v4.
//!
//! Not messaging/spam: that type asks for the sender's port and for one envelope sender, and an incident spans
//! many connections and need not show any.

use super::{Alert, millis, one_line, variant_name};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Characters of `description` (xarf-core.json).
const DESCRIPTION_CHARS_MAX: usize = 1_000;

/// One line with its line end.
pub fn encode(alert: &Alert) -> String {
    one_line(record(alert).to_string())
}

/// The report as a value.
pub fn record(alert: &Alert) -> Value {
    let contact = contact(alert);
    let native = serde_json::to_string(alert).unwrap_or_default();
    let mut report = json!({
        "xarf_version": "4.2.0",
        "report_id": uuid(&alert.id),
        "timestamp": alert.times.event,
        "reporter": contact,
        "sender": contact,
        "source_identifier": source_identifier(alert),
        "category": "connection",
        "type": "infected_host",
        "protocol": "tcp",
        "bot_type": "malicious",
        "first_seen": alert.times.first,
        "last_seen": alert.times.last,
        "evidence_source": "traffic_analysis",
        "confidence": alert.confidence,
        "description": description(alert),
        "tags": [
            format!("incident:{}", variant_name(&alert.change)),
            format!("kind:{}", variant_name(&alert.kind)),
            format!("severity:{}", alert.severity.name),
        ],
        "evidence": [{
            "content_type": "application/json",
            "description": "The whole alert in portreeve's own form",
            "payload": STANDARD.encode(&native),
            "hash": format!("sha256:{}", hex(&Sha256::digest(native.as_bytes()))),
            "size": native.len(),
        }],
    });
    if alert.blast_radius.messages > 0 {
        report["total_requests"] = json!(alert.blast_radius.messages);
    }
    if let Some(rate) = per_second(alert) {
        report["request_rate"] = json!(rate);
    }
    report
}

/// Who reports. Without a configured sensor the report names the machine's own postmaster (RFC 5321 section
/// 4.5.1), because the schema asks for somebody.
fn contact(alert: &Alert) -> Value {
    let sensor = alert.sensor.as_ref();
    let domain = sensor.and_then(|sensor| sensor.domain.clone()).unwrap_or_else(|| "localhost".into());
    let contact =
        sensor.and_then(|sensor| sensor.contact.clone()).unwrap_or_else(|| format!("postmaster@{domain}"));
    let org = sensor
        .map(|sensor| sensor.organization.clone().unwrap_or_else(|| sensor.name.clone()))
        .unwrap_or_else(|| "portreeve".into());
    json!({ "org": org.chars().take(200).collect::<String>(), "contact": contact, "domain": domain })
}

/// The address where there is one: the sender itself, or the address that an account's mail left by.
fn source_identifier(alert: &Alert) -> &str {
    if alert.sender.kind == "account" {
        let sample = alert.samples.iter().find_map(|sample| sample.address.as_deref());
        return sample.unwrap_or(&alert.sender.name);
    }
    &alert.sender.name
}

fn description(alert: &Alert) -> String {
    let text = format!("Mail abuse from {} {}: {}", alert.sender.kind, alert.sender.name, alert.headline);
    text.chars().take(DESCRIPTION_CHARS_MAX).collect()
}

fn per_second(alert: &Alert) -> Option<f64> {
    let seconds = (millis(&alert.times.last) - millis(&alert.times.first)) as f64 / 1_000.0;
    (seconds > 0.0).then(|| (alert.blast_radius.messages as f64 / seconds * 10_000.0).round() / 10_000.0)
}

/// A UUID of the shape that the schema asks for (version 4), derived from the alert's id, so that a report sent
/// twice is the same report.
fn uuid(id: &str) -> String {
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&Sha256::digest(id.as_bytes())[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let text = hex(&bytes);
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
