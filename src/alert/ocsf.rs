//! The Open Cybersecurity Schema Framework form: Detection Finding (class 2004) of OCSF 1.8.
//!
//! *In*: an [`Alert`]. *Out*: one JSON line. Opening, updates and closing of one incident are the activities
//! Create, Update and Close with the same `finding_info.uid`. *Bound*: `limits::ALERT_LINE_BYTES_MAX`.
//! *Spec*: schema.ocsf.io/1.8.0/classes/detection_finding.

use super::{Alert, RULE_NAME, SampleRecord, VERSION, millis, one_line, technique_name, variant_name};
use crate::engine::incident::Change;
use serde_json::{Value, json};

const CLASS: i64 = 2004;

/// One line with its line end.
pub fn encode(alert: &Alert) -> String {
    one_line(record(alert).to_string())
}

/// The record as a value.
pub fn record(alert: &Alert) -> Value {
    let (activity_id, activity, status_id, status) = match alert.change {
        Change::Opened => (1, "Create", 1, "New"),
        Change::Updated => (2, "Update", 2, "In Progress"),
        Change::Closed => (3, "Close", 4, "Resolved"),
    };
    let (severity_id, severity) = match alert.severity.name.as_str() {
        "critical" => (5, "Critical"),
        "high" => (4, "High"),
        "medium" => (3, "Medium"),
        _ => (2, "Low"),
    };
    let (confidence_id, confidence) = match alert.confidence {
        c if c >= 0.9 => (3, "High"),
        c if c >= 0.5 => (2, "Medium"),
        _ => (1, "Low"),
    };
    json!({
        "activity_id": activity_id,
        "activity_name": activity,
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": CLASS,
        "class_name": "Detection Finding",
        "type_uid": CLASS * 100 + activity_id,
        "type_name": format!("Detection Finding: {activity}"),
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "confidence_id": confidence_id,
        "confidence": confidence,
        "confidence_score": (alert.confidence * 100.0).round() as i64,
        "is_alert": true,
        "time": millis(&alert.times.event),
        "start_time": millis(&alert.times.first),
        "end_time": millis(&alert.times.last),
        "count": alert.blast_radius.messages,
        "message": alert.headline,
        "metadata": metadata(alert),
        "finding_info": finding_info(alert),
        "evidences": evidences(alert),
        "observables": observables(alert),
        "remediation": { "desc": alert.next_steps.join(" ") },
        "unmapped": { "portreeve": serde_json::to_value(alert).unwrap_or(Value::Null) },
    })
}

fn metadata(alert: &Alert) -> Value {
    let mut metadata = json!({
        "version": "1.8.0",
        "product": { "name": "portreeve", "vendor_name": "portreeve", "version": VERSION },
        "uid": alert.id,
        "correlation_uid": alert.incident.id,
        "event_code": alert.test.template,
        "sequence": alert.incident.sequence,
    });
    if let Some(sensor) = &alert.sensor {
        metadata["loggers"] = json!([{ "name": sensor.name }]);
    }
    metadata
}

fn finding_info(alert: &Alert) -> Value {
    json!({
        "uid": alert.incident.id,
        "title": format!("{RULE_NAME}: {}", alert.sender.name),
        "desc": alert.evidence.iter().map(|e| e.sentence.as_str()).collect::<Vec<_>>().join(" "),
        "types": [variant_name(&alert.kind)],
        "data_sources": alert.coverage.vantages.iter().map(variant_name).collect::<Vec<_>>(),
        "created_time": millis(&alert.times.opened),
        "modified_time": millis(&alert.times.event),
        "first_seen_time": millis(&alert.times.first),
        "last_seen_time": millis(&alert.times.last),
        "analytic": {
            "uid": alert.test.template,
            "name": RULE_NAME,
            "type_id": 3,
            "type": "Statistical",
            "version": VERSION,
        },
        "attacks": alert.attack_techniques.iter().map(|id| attack(id)).collect::<Vec<_>>(),
    })
}

fn attack(id: &str) -> Value {
    let technique = id.split('.').next().unwrap_or(id);
    let mut attack = json!({ "technique": { "uid": technique, "name": technique_name(technique) } });
    if technique != id {
        attack["sub_technique"] = json!({ "uid": id, "name": technique_name(id) });
    }
    attack
}

/// One evidence for the sender as a whole, then one a sample.
fn evidences(alert: &Alert) -> Vec<Value> {
    let radius = &alert.blast_radius;
    let radius = json!({
        "messages": radius.messages,
        "recipients_accepted": radius.recipients_accepted,
        "messages_hidden": radius.messages_hidden,
        "addresses": radius.addresses,
    });
    let mut own = json!({ "name": "sender", "data": { "blast_radius": radius, "test": alert.test } });
    match alert.sender.kind.as_str() {
        "address" => own["src_endpoint"] = json!({ "ip": alert.sender.name }),
        "account" => own["user"] = json!({ "name": alert.sender.name }),
        "host" => own["src_endpoint"] = json!({ "hostname": alert.sender.name }),
        _ => {}
    }
    let mut list = vec![own];
    list.extend(alert.samples.iter().map(evidence_of));
    list
}

fn evidence_of(sample: &SampleRecord) -> Value {
    let mut evidence = json!({
        "name": "delivery",
        "connection_info": { "direction_id": 2, "direction": "Outbound", "protocol_name": "tcp" },
        "data": { "at": sample.at, "reply_code": sample.reply_code, "queue_id": sample.queue_id },
    });
    if let Some(address) = &sample.address {
        evidence["src_endpoint"] = json!({ "ip": address });
    }
    if let Some(responder) = &sample.responder {
        evidence["dst_endpoint"] = json!({ "ip": responder });
    }
    evidence
}

/// Type ids: 1 Hostname, 2 IP Address, 4 User Name.
fn observables(alert: &Alert) -> Vec<Value> {
    let own = (alert.sender.kind.as_str(), alert.sender.name.as_str(), "sender");
    let others =
        alert.related.iter().map(|related| (related.kind.as_str(), related.name.as_str(), "related"));
    let origins = &alert.attribution.origins;
    let origins = origins.iter().map(|origin| (origin.kind.as_str(), origin.name.as_str(), "origin"));
    std::iter::once(own)
        .chain(others)
        .chain(origins)
        .filter_map(|(kind, value, name)| {
            let (type_id, type_name) = match kind {
                "address" | "client" => (2, "IP Address"),
                "account" => (4, "User Name"),
                "host" => (1, "Hostname"),
                _ => return None,
            };
            Some(json!({ "name": name, "type_id": type_id, "type": type_name, "value": value }))
        })
        .collect()
}
