//! Every form of the record against its official schema, or read back by a decoder written for the test.

#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod alert_support;

use alert_support::*;
use portreeve::alert::{self, Alert, SensorRef};
use portreeve::engine::incident::Change;
use portreeve::engine::sender::SenderId;
use portreeve::time::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

const CHANGES: [Change; 3] = [Change::Opened, Change::Updated, Change::Closed];

/// Alerts of every sender kind and change, one with a named sensor, one of the sensor's own trouble.
fn alerts() -> Vec<Alert> {
    let mut list = Vec::new();
    for change in CHANGES {
        for sender in senders(&mut || b"alice@example.org".to_vec()) {
            list.push(Alert::of(&change_with(change, sender, &mut || b"words of a stranger".to_vec())));
        }
    }
    list.push(Alert {
        sensor: Some(SensorRef {
            name: "span 1".into(),
            organization: Some("Example Org".into()),
            contact: Some("abuse@example.org".into()),
            domain: Some("example.org".into()),
        }),
        ..list[0].clone()
    });
    let at = Timestamp::from_seconds(1_795_000_000);
    list.push(Alert::of_trouble(
        "baselines_lost",
        "state.db",
        at,
        "Baselines were lost.",
        "Look at the disk.",
    ));
    list
}

fn encode(name: &str, alert: &Alert) -> String {
    (alert::format(name).unwrap().encode)(alert)
}

fn read_json(path: impl AsRef<std::path::Path>) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn assert_valid(validator: &jsonschema::Validator, value: &Value, what: &str) {
    let errors: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {}\n{value:#}", errors.join("\n"));
}

/// The words and numbers of every change and kind of sender stay what they are: whoever changes them sees it.
/// `PORTREEVE_GOLDEN=write` writes the file anew.
#[test]
fn alerts_are_word_for_word_those_that_are_kept() {
    let path = "tests/data/golden_alerts.ndjson";
    let lines: String = alerts().iter().map(|alert| encode("ndjson", alert)).collect();
    if std::env::var("PORTREEVE_GOLDEN").is_ok_and(|what| what == "write") {
        std::fs::write(path, &lines).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap();
    for (number, (line, kept)) in lines.lines().zip(kept.lines()).enumerate() {
        assert_eq!(line, kept, "alert {number}");
    }
    assert_eq!(lines.lines().count(), kept.lines().count());
    // Severity and confidence apart; totals and what speaks for and against unblocking at the close, and only there.
    for alert in alerts().iter().filter(|alert| alert.sender.kind != "sensor") {
        assert!(alert.severity.score > 0 && (0.0..=1.0).contains(&alert.confidence));
        let closed = alert.change == Change::Closed;
        assert_eq!(alert.before_unblocking.is_empty(), !closed);
        assert!(
            !closed || alert.headline.contains("1912 messages") && alert.headline.contains("1100 recipients")
        );
    }
}

#[test]
fn native_alerts_match_the_schema_that_we_publish() {
    let schema = alert::schema();
    assert_eq!(schema["additionalProperties"], Value::Bool(false));
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for alert in alerts() {
        let line = encode("ndjson", &alert);
        assert_valid(&validator, &serde_json::from_str(&line).unwrap(), "native");
        assert_eq!(serde_json::from_str::<Alert>(&line).unwrap(), alert);
    }
    let mut strange: Value = serde_json::to_value(&alerts()[0]).unwrap();
    strange["sender"]["colour"] = Value::from("red");
    assert!(!validator.is_valid(&strange), "an unknown field must be refused");
}

/// Paths of all fields of a JSON Schema, as docs/alerts.md writes them: `times.first`, `samples[].at`.
fn schema_paths(prefix: &str, object: &Value, root: &Value, out: &mut Vec<String>) {
    let target = |value: &Value| {
        let one = value["anyOf"].as_array().and_then(|list| list.first()).unwrap_or(value);
        let reference = one["$ref"].as_str()?.strip_prefix('#')?;
        root.pointer(reference).filter(|target| target["properties"].is_object())
    };
    for (name, value) in object["properties"].as_object().unwrap() {
        let path = format!("{prefix}{name}");
        if let Some(inner) = target(value) {
            schema_paths(&format!("{path}."), inner, root, out);
        } else if let Some(inner) = target(&value["items"]) {
            schema_paths(&format!("{path}[]."), inner, root, out);
        } else {
            out.push(path);
        }
    }
}

#[test]
fn every_field_is_explained_in_docs_alerts() {
    let docs = std::fs::read_to_string("docs/alerts.md").unwrap();
    let schema = alert::schema();
    let mut paths = Vec::new();
    schema_paths("", &schema, &schema, &mut paths);
    assert!(paths.len() > 50, "{paths:?}");
    paths.retain(|path| !docs.contains(&format!("| `{path}` |")));
    assert!(paths.is_empty(), "docs/alerts.md does not explain {paths:?}");
}

/// Paths of all leaves, arrays not counted, without what stands under `portreeve`.
fn leaves(prefix: &str, value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                if path != "portreeve" {
                    leaves(&path, value, out);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| leaves(prefix, value, out)),
        _ => drop(out.insert(prefix.to_owned())),
    }
}

#[test]
fn ecs_uses_the_names_on_our_list_and_all_of_them() {
    let list = std::fs::read_to_string("tests/schemas/ecs_fields.txt").unwrap();
    let listed: BTreeSet<String> =
        list.lines().filter(|line| !line.starts_with('#')).map(|line| line.to_owned()).collect();
    let mut used = BTreeSet::new();
    for alert in alerts() {
        leaves("", &alert::ecs::record(&alert), &mut used);
    }
    assert_eq!(used, listed);
}

#[test]
fn ecs_names_and_types_are_those_of_9_4() {
    let Some(folder) = schemas("ecs") else { return };
    let csv = std::fs::read_to_string(folder.join("fields.csv")).unwrap();
    let field = |name: &str| {
        csv.lines().map(|line| line.split(',').collect::<Vec<_>>()).find(|row| row.get(3) == Some(&name)).map(
            |row| {
                assert_eq!(row[0], "9.4.0");
                (row[4].to_owned(), row[6].to_owned())
            },
        )
    };
    for alert in alerts() {
        let record = alert::ecs::record(&alert);
        let mut names = BTreeSet::new();
        leaves("", &record, &mut names);
        for name in names {
            let (kind, normalization) = field(&name).unwrap_or_else(|| panic!("{name} is not in ECS 9.4"));
            let pointer = format!("/{}", name.replace('.', "/"));
            let value = record.pointer(&pointer).unwrap();
            if normalization == "array" {
                assert!(value.is_array(), "{name} must be an array");
            }
            for value in value.as_array().unwrap_or(&vec![value.clone()]) {
                let fits = match kind.as_str() {
                    "date" => value.as_str().and_then(Timestamp::parse_rfc3339).is_some(),
                    "long" => value.is_i64() || value.is_u64(),
                    "float" => value.is_number(),
                    "ip" => value.as_str().is_some_and(|v| v.parse::<std::net::IpAddr>().is_ok()),
                    _ => value.is_string(),
                };
                assert!(fits, "{name} is {kind}, we wrote {value}");
            }
        }
    }
}

#[test]
fn ocsf_is_a_detection_finding_of_1_8() {
    let Some(folder) = schemas("ocsf") else { return };
    let validator =
        jsonschema::validator_for(&read_json(folder.join("jsonschema-1.8.0-detection_finding.json")))
            .unwrap();
    let mut activities = BTreeSet::new();
    for alert in alerts() {
        let record = alert::ocsf::record(&alert);
        assert_valid(&validator, &record, "OCSF");
        assert_eq!(record["type_uid"].as_i64().unwrap(), 200_400 + record["activity_id"].as_i64().unwrap());
        activities.insert(record["activity_name"].as_str().unwrap().to_owned());
    }
    assert_eq!(activities.into_iter().collect::<Vec<_>>(), ["Close", "Create", "Update"]);
    let mut wrong = alert::ocsf::record(&alerts()[0]);
    wrong["colour"] = Value::from("red");
    assert!(!validator.is_valid(&wrong));
}

#[test]
fn one_incident_is_one_ocsf_finding() {
    let uid = |change| alert::ocsf::record(&Alert::of(&ordinary(change)))["finding_info"]["uid"].clone();
    assert_eq!(uid(Change::Opened), uid(Change::Updated));
    assert_eq!(uid(Change::Opened), uid(Change::Closed));
}

/// Takes schemas from the folder in place of the network.
struct Folder(std::path::PathBuf);

impl jsonschema::Retrieve for Folder {
    fn retrieve(
        &self,
        uri: &jsonschema::Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let path = uri.as_str().strip_prefix("https://xarf.org/schemas/v4/").ok_or("not an X-ARF schema")?;
        Ok(serde_json::from_str(&std::fs::read_to_string(self.0.join(path))?)?)
    }
}

#[test]
fn xarf_is_a_report_of_4_2() {
    use base64::Engine as _;
    let Some(folder) = schemas("xarf/v4") else { return };
    let build = |name: &str| {
        jsonschema::options()
            .with_retriever(Folder(folder.clone()))
            .should_validate_formats(true)
            .build(&read_json(folder.join(name)))
            .unwrap()
    };
    let (master, own) = (build("xarf-v4-master.json"), build("types/connection-infected-host.json"));
    for alert in alerts() {
        let report = alert::xarf::record(&alert);
        assert_valid(&master, &report, "X-ARF");
        assert_valid(&own, &report, "X-ARF type");
        let payload = report["evidence"][0]["payload"].as_str().unwrap();
        let native = base64::engine::general_purpose::STANDARD.decode(payload).unwrap();
        assert_eq!(serde_json::from_slice::<Alert>(&native).unwrap(), alert);
        assert_eq!(report["report_id"], alert::xarf::record(&alert)["report_id"]);
    }
    let mut wrong = alert::xarf::record(&alerts()[0]);
    wrong["bot_type"] = Value::from("nice");
    assert!(!own.is_valid(&wrong));
}

#[test]
fn cef_leef_and_rfc5424_are_read_back() {
    for alert in alerts() {
        let (header, pairs) = decode_cef(&encode("cef", &alert)).unwrap();
        assert_eq!(header[0], "0");
        assert_eq!(header[4], alert.test.template);
        assert_eq!((&pairs["externalId"], &pairs["msg"]), (&alert.id, &alert.headline));
        assert_eq!(pairs["cs1"], alert.sender.name);

        let (header, pairs) = decode_leef(&encode("leef", &alert)).unwrap();
        assert_eq!(header[4], alert.test.template);
        assert_eq!((&pairs["alertId"], &pairs["headline"]), (&alert.id, &alert.headline));
        assert!(pairs["devTime"].ends_with("+0000"));

        let line = encode("rfc5424", &alert);
        let message = decode_rfc5424(line.strip_suffix('\n').unwrap()).unwrap();
        assert!(Timestamp::parse_rfc3339(&message.timestamp).is_some());
        assert_eq!(message.element.as_deref(), Some("portreeve@32473"));
        assert_eq!(message.parameters[0], ("id".into(), alert.id.clone()));
        assert_eq!(message.message, alert.headline);
        assert_eq!(message.host, if alert.sensor.is_some() { "span_1" } else { "-" });
    }
}

#[test]
fn a_longest_alert_is_one_line_below_the_bound() {
    for byte in [b'"', b'\\', 0xff, b'\n', b'x'] {
        let mut text = || vec![byte; 4_096];
        let mut change = change_with(Change::Opened, SenderId::Account("a".into()), &mut text);
        change.incident.related = (0..64)
            .map(|n: u8| {
                let name = [&[n], text().as_slice()].concat();
                SenderId::Account(portreeve::mail::Untrusted::bounded(&name, 255))
            })
            .collect();
        let alert = Alert::of(&change);
        assert!(alert.related_omitted > 0);
        assert_eq!(alert.related.len() as u64 + alert.related_omitted, 64);
        for format in alert::FORMATS {
            let line = (format.encode)(&alert);
            assert!(line.len() <= portreeve::limits::ALERT_LINE_BYTES_MAX, "{} {}", format.name, line.len());
            assert!(format.name == "text" || line.find('\n') == Some(line.len() - 1), "{}", format.name);
        }
    }
}

#[test]
fn the_table_of_forms_has_no_two_of_a_name() {
    let names: BTreeSet<_> = alert::FORMATS.iter().map(|format| format.name).collect();
    assert_eq!(names.len(), alert::FORMATS.len());
    assert!(names.iter().all(|name| alert::format_names().contains(name)));
}
