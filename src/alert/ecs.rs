//! The Elastic Common Schema form (ECS 9.4).
//!
//! *In*: an [`Alert`]. *Out*: one JSON line whose standard fields are ECS and whose own fields stand under
//! `portreeve`. *Spec*: ECS 9.4 fields.csv.

use super::Alert;
use serde_json::{Map, Value, json};

/// One line with its line end.
pub fn encode(alert: &Alert) -> String {
    let mut line = record(alert).to_string();
    line.push('\n');
    line
}

/// The record as a value.
pub fn record(alert: &Alert) -> Value {
    let mut root = Map::new();
    root.insert("@timestamp".into(), json!(alert.times.event));
    root.insert("ecs".into(), json!({ "version": "9.4.0" }));
    root.insert("message".into(), json!(alert.headline));
    root.insert(
        "event".into(),
        json!({
            "kind": "alert",
            "category": ["email", "intrusion_detection"],
            "type": ["info"],
            "module": "portreeve",
            "dataset": "portreeve.alert",
            "action": format!("incident-{}", serde_name(&alert.change)),
            "code": alert.test.template,
            "id": alert.id,
            "sequence": alert.incident.sequence,
            "start": alert.times.first,
            "end": alert.times.last,
            "severity": alert.severity.score,
            "risk_score": f64::from(alert.severity.score),
            "reason": alert.headline,
        }),
    );
    root.insert(
        "rule".into(),
        json!({ "id": alert.test.template, "name": "Hijacked mail sender", "category": serde_name(&alert.kind) }),
    );
    root.insert("network".into(), json!({ "transport": "tcp", "protocol": "smtp", "direction": "outbound" }));
    root.insert(
        "observer".into(),
        json!({ "type": "sensor", "vendor": "portreeve", "product": "portreeve", "version": env!("CARGO_PKG_VERSION") }),
    );
    add_senders(alert, &mut root);
    root.insert(
        "threat".into(),
        json!({ "framework": "MITRE ATT&CK", "technique": { "id": alert.attack_techniques } }),
    );
    if let Some(queue_id) = alert.samples.iter().find_map(|sample| sample.queue_id.as_ref()) {
        root.insert("email".into(), json!({ "direction": "outbound", "local_id": queue_id }));
    } else {
        root.insert("email".into(), json!({ "direction": "outbound" }));
    }
    root.insert("portreeve".into(), serde_json::to_value(alert).unwrap_or(Value::Null));
    Value::Object(root)
}

fn add_senders(alert: &Alert, root: &mut Map<String, Value>) {
    let (mut addresses, mut users) = (Vec::new(), Vec::new());
    match alert.sender.kind.as_str() {
        "address" => {
            root.insert("source".into(), json!({ "ip": alert.sender.name }));
            addresses.push(alert.sender.name.clone());
        }
        "account" => {
            root.insert("user".into(), json!({ "name": alert.sender.name }));
            users.push(alert.sender.name.clone());
        }
        "host" => {
            root.insert("host".into(), json!({ "name": alert.sender.name }));
        }
        _ => {}
    }
    for related in &alert.related {
        match related.kind.as_str() {
            "address" => addresses.push(related.name.clone()),
            "account" => users.push(related.name.clone()),
            _ => {}
        }
    }
    root.insert("related".into(), json!({ "ip": addresses, "user": users }));
}

fn serde_name<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}
