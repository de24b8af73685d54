//! The examples do what they say: the small world is judged, the library example judges it too, and every field that a
//! saved search or a rule names is in the alerts.

#![allow(clippy::unwrap_used)] // a test fails loudly

use portreeve::config::Config;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "../examples/library.rs"]
mod library;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(example(name)).unwrap()
}

/// Alerts of the small world in a form.
fn alerts(format: &str) -> String {
    let world = |name: &str| example("world").join(name);
    let done = Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .args(["replay", "-q", "-f", format, "-c"])
        .arg(world("portreeve.toml"))
        .args(["mx-out1.log.gz", "mx-out2.log.gz", "span0.pcapng.gz"].map(world))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn records(format: &str) -> Vec<Value> {
    alerts(format).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whether a dotted name leads to something in one of the records.
fn known(records: &[Value], name: &str) -> bool {
    let pointer = format!("/{}", name.trim_end_matches("{}").replace('.', "/"));
    records.iter().any(|record| record.pointer(&pointer).is_some())
}

/// Names with dots, as queries write fields; what stands in quotes is a value.
fn dotted(query: &str) -> BTreeSet<String> {
    let unquoted: String = query.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let words = unquoted.split(|c: char| !(c.is_ascii_alphanumeric() || "._@{}".contains(c)));
    words.filter(|word| word.contains('.') && !word.ends_with('.')).map(str::to_owned).collect()
}

#[test]
fn the_world_has_the_hijacks_that_its_page_tells_of() {
    let opened: BTreeSet<String> = records("ndjson")
        .iter()
        .filter(|record| record["change"] == "opened")
        .map(|record| {
            format!("{} {}", record["kind"].as_str().unwrap(), record["sender"]["name"].as_str().unwrap())
        })
        .collect();
    for wanted in [
        "account willi.issing@bodenwerk.example",
        "account arne.richter@bodenwerk.example",
        "host 10.20.100.24",
    ] {
        assert!(opened.contains(wanted), "{wanted} is not in {opened:?}");
    }
}

#[test]
fn the_library_example_finds_the_workstation_in_the_capture() {
    let mut accused = Vec::new();
    // Without a history an unused address that sends to strangers and is refused is enough.
    library::judge(&example("world/span0.pcapng.gz"), |alert| accused.push(alert.sender.name)).unwrap();
    assert!(accused.iter().any(|name| name == "10.20.100.24"), "{accused:?}");
    assert!(text("library.rs").lines().count() <= 40);
}

#[test]
fn every_configuration_is_accepted() {
    for folder in ["postfix", "splunk", "elastic", "wazuh", "sentinel", "world"] {
        let name = format!("{folder}/portreeve.toml");
        Config::parse(&text(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn splunk_searches_name_fields_of_the_record() {
    let records = records("ndjson");
    let searches = text("splunk/savedsearches.conf").replace("\\\n", " ");
    let mut fields = BTreeSet::new();
    for line in searches.lines().filter_map(|line| line.strip_prefix("search = ")) {
        assert!(line.contains("sourcetype=\"portreeve:alert\""), "{line}");
        fields.extend(dotted(line));
    }
    assert!(fields.len() > 10, "{fields:?}");
    for field in fields {
        assert!(known(&records, &field), "{field} is in no alert");
    }
}

#[test]
fn elastic_rule_and_template_name_fields_of_ecs() {
    let records = records("ecs");
    let rule: Value = serde_json::from_str(&text("elastic/detection-rule.json")).unwrap();
    let mut fields = dotted(rule["query"].as_str().unwrap());
    for list in ["risk_score_mapping", "severity_mapping"] {
        fields.extend(
            rule[list].as_array().unwrap().iter().map(|row| row["field"].as_str().unwrap().to_owned()),
        );
    }
    for override_ in ["rule_name_override", "timestamp_override"] {
        fields.insert(rule[override_].as_str().unwrap().to_owned());
    }
    let template: Value = serde_json::from_str(&text("elastic/index-template.json")).unwrap();
    let properties = template.pointer("/template/mappings/properties").unwrap().as_object().unwrap();
    for (name, property) in properties {
        match property["properties"].as_object() {
            Some(below) => fields.extend(below.keys().map(|key| format!("{name}.{key}"))),
            None => drop(fields.insert(name.clone())),
        }
    }
    assert!(fields.len() > 10, "{fields:?}");
    for field in fields {
        assert!(known(&records, &field), "{field} is in no alert");
    }
}

#[test]
fn wazuh_rules_name_fields_of_the_record_and_match_it() {
    let records = records("ndjson");
    let rules = text("wazuh/local_rules.xml");
    let names = rules.split("<field name=\"").skip(1).filter_map(|part| part.split('"').next());
    let shown = rules.split("$(").skip(1).filter_map(|part| part.split(')').next());
    // The agent adds the label.
    let fields: BTreeSet<&str> = names.chain(shown).filter(|name| *name != "product").collect();
    assert!(fields.len() >= 6, "{fields:?}");
    for field in fields {
        assert!(known(&records, field), "{field} is in no alert");
    }
    for name in ["wazuh/local_rules.xml", "wazuh/ossec.conf"] {
        let parsed = Command::new("python3")
            .args(["-c", "import sys, xml.etree.ElementTree as t; t.parse(sys.argv[1])"])
            .arg(example(name))
            .output();
        match parsed {
            Ok(done) => assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr)),
            Err(error) => eprintln!("skipped: {name} is not parsed: python3: {error}"),
        }
    }
}

#[test]
fn the_sentinel_rule_asks_for_what_cef_carries() {
    // What the Azure Monitor agent makes of CEF's keys.
    const COLUMNS: &[(&str, &str)] = &[
        ("DeviceAction", "act="),
        ("ExternalID", "externalId="),
        ("DeviceCustomString1", "cs1="),
        ("DeviceCustomString2", "cs2="),
        ("DeviceCustomString3", "cs3="),
        ("DeviceCustomNumber1", "cn1="),
        ("SourceIP", "src="),
        ("SourceUserName", "suser="),
        ("Message", "msg="),
    ];
    let template: Value = serde_json::from_str(&text("sentinel/analytics-rule.json")).unwrap();
    let query = template.pointer("/resources/0/properties/query").unwrap().as_str().unwrap();
    let cef = alerts("cef");
    assert!(query.contains("DeviceVendor == \"portreeve\"") && cef.starts_with("CEF:0|portreeve|"));
    for (column, key) in COLUMNS {
        assert!(query.contains(column), "{column}");
        assert!(cef.contains(&format!(" {key}")) || cef.contains(&format!("|{key}")), "{key}");
    }
    assert!(cef.contains("act=incident-opened"));
}
