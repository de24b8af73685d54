//! The Elastic Common Schema form (ECS 9.4).
//!
//! *In*: an [`Alert`]. *Out*: one JSON line whose standard fields are ECS and whose own fields stand under
//! `portreeve`. *Bound*: `limits::ALERT_LINE_BYTES_MAX`. *Spec*: ECS 9.4 fields.csv.
//!
//! Envelope addresses are not in `email.from` or `email.to`: ECS means the header fields there, and a sensor
//! that saw only the envelope must not say otherwise.

use super::{Alert, RULE_NAME, VERSION, millis, one_line, technique_name, variant_name};
use serde_json::{Map, Value, json};

/// One line with its line end.
pub fn encode(alert: &Alert) -> String {
    one_line(record(alert).to_string())
}

/// The record as a value.
pub fn record(alert: &Alert) -> Value {
    let mut root = Map::new();
    let mut put = |name: &str, value: Value| root.insert(name.into(), value);
    put("@timestamp", json!(alert.times.event));
    put("ecs", json!({ "version": "9.4.0" }));
    put("message", json!(alert.headline));
    put("event", event(alert));
    put(
        "rule",
        json!({ "id": alert.test.template, "name": RULE_NAME, "category": variant_name(&alert.kind), "version": VERSION }),
    );
    put("network", json!({ "transport": "tcp", "protocol": "smtp", "direction": "outbound" }));
    put("observer", observer(alert));
    if let Some(organization) = alert.sensor.as_ref().and_then(|sensor| sensor.organization.as_ref()) {
        put("organization", json!({ "name": organization }));
    }
    put("email", email(alert));
    put("threat", threat(alert));
    match alert.sender.kind.as_str() {
        "address" => put("source", json!({ "ip": alert.sender.name, "address": alert.sender.name })),
        "account" => put("source", json!({ "user": { "name": alert.sender.name } })),
        "block" => put("source", json!({ "address": alert.sender.name })),
        "host" => put("host", json!({ "name": alert.sender.name })),
        _ => None,
    };
    put("related", related(alert));
    put("portreeve", serde_json::to_value(alert).unwrap_or(Value::Null));
    Value::Object(root)
}

fn event(alert: &Alert) -> Value {
    let duration_ns =
        (millis(&alert.times.last) - millis(&alert.times.first)).max(0).saturating_mul(1_000_000);
    json!({
        "kind": "alert",
        "category": ["email", "intrusion_detection"],
        "type": ["info"],
        "module": "portreeve",
        "dataset": "portreeve.alert",
        "provider": "portreeve",
        "action": format!("incident-{}", variant_name(&alert.change)),
        "code": alert.test.template,
        "id": alert.id,
        "sequence": alert.incident.sequence,
        "start": alert.times.first,
        "end": alert.times.last,
        "duration": duration_ns,
        "severity": alert.severity.score,
        "risk_score": f64::from(alert.severity.score),
        "reason": alert.headline,
    })
}

fn observer(alert: &Alert) -> Value {
    let mut observer =
        json!({ "type": "sensor", "vendor": "portreeve", "product": "portreeve", "version": VERSION });
    if let Some(sensor) = &alert.sensor {
        observer["name"] = json!(sensor.name);
    }
    observer
}

fn email(alert: &Alert) -> Value {
    let mut email = json!({ "direction": "outbound" });
    if let Some(queue_id) = alert.join_keys.queue_ids.first() {
        email["local_id"] = json!(queue_id);
    }
    email
}

/// Sub-techniques beside their techniques, as ECS keeps them.
fn threat(alert: &Alert) -> Value {
    let (mut ids, mut sub_ids): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for id in &alert.attack_techniques {
        let technique = id.split('.').next().unwrap_or(id);
        if !ids.contains(&technique) {
            ids.push(technique);
        }
        if technique != id {
            sub_ids.push(id);
        }
    }
    let names = |ids: &[&str]| ids.iter().map(|id| technique_name(id)).collect::<Vec<_>>();
    json!({
        "framework": "MITRE ATT&CK",
        "technique": {
            "id": ids,
            "name": names(&ids),
            "subtechnique": { "id": sub_ids, "name": names(&sub_ids) },
        },
    })
}

fn related(alert: &Alert) -> Value {
    let (mut addresses, mut users, mut hosts): (Vec<&str>, Vec<&str>, Vec<&str>) = Default::default();
    let own = (alert.sender.kind.as_str(), alert.sender.name.as_str());
    let others = alert.related.iter().map(|related| (related.kind.as_str(), related.name.as_str()));
    let origins = alert.attribution.origins.iter().map(|origin| (origin.kind.as_str(), origin.name.as_str()));
    for (kind, name) in std::iter::once(own).chain(others).chain(origins) {
        let list = match kind {
            "address" | "client" => &mut addresses,
            "account" => &mut users,
            "host" => &mut hosts,
            _ => continue,
        };
        if !list.contains(&name) {
            list.push(name);
        }
    }
    json!({ "ip": addresses, "user": users, "hosts": hosts })
}
