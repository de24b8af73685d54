//! The annotated example is the whole configuration; the shipped units are as tight as promised.

#![allow(clippy::unwrap_used)] // a test fails loudly

use portreeve::config::Config;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

fn example() -> String {
    std::fs::read_to_string("examples/portreeve.toml").unwrap()
}

/// The example with every setting that stands in a comment. Prose has a blank behind the `#`.
fn example_whole() -> String {
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => rest.to_owned(),
        _ => line.to_owned(),
    };
    example().lines().map(uncommented).collect::<Vec<_>>().join("\n")
}

/// Adds the paths of all keys that a schema knows, such as `source.log.path`; elements of a list share a path.
fn keys_of_schema(schema: &Value, root: &Value, path: &str, keys: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return keys_of_schema(&root["$defs"][name], root, path, keys);
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        for part in schema[choice].as_array().into_iter().flatten() {
            keys_of_schema(part, root, path, keys);
        }
    }
    if schema["items"].is_object() {
        keys_of_schema(&schema["items"], root, path, keys);
    }
    for (name, part) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        keys.insert(path.clone());
        keys_of_schema(part, root, &path, keys);
    }
}

fn keys_of_toml(value: &toml::Value, path: &str, keys: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            for (name, part) in table {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                keys.insert(path.clone());
                keys_of_toml(part, &path, keys);
            }
        }
        toml::Value::Array(list) => list.iter().for_each(|part| keys_of_toml(part, path, keys)),
        _ => {}
    }
}

#[test]
fn the_example_is_taken_as_it_is_and_as_a_whole() {
    let config = Config::parse(&example()).unwrap();
    assert_eq!((config.source.capture.len(), config.source.log.len(), config.sink.len()), (1, 1, 1));
    let whole = Config::parse(&example_whole()).unwrap();
    assert_eq!(whole.sink.len(), 8);
}

#[test]
fn the_example_shows_every_key_and_no_other() {
    let out = Command::new(env!("CARGO_BIN_EXE_portreeve")).args(["schema", "config"]).output().unwrap();
    let schema: Value = serde_json::from_slice(&out.stdout).unwrap();
    let (mut known, mut shown) = (BTreeSet::new(), BTreeSet::new());
    keys_of_schema(&schema, &schema, "", &mut known);
    keys_of_toml(&toml::from_str(&example_whole()).unwrap(), "", &mut shown);
    assert!(known.len() > 60, "the schema is not understood: {known:?}");
    let missing: Vec<_> = known.difference(&shown).collect();
    assert!(missing.is_empty(), "examples/portreeve.toml does not show {missing:?}");
    let unknown: Vec<_> = shown.difference(&known).collect();
    assert!(unknown.is_empty(), "examples/portreeve.toml shows what is not known: {unknown:?}");
}

/// What the example calls a default is the default: the file without its active lines changes nothing.
#[test]
fn defaults_of_the_example_are_the_defaults() {
    let plain = format!("{:?}", Config::default());
    for section in ["[detect]", "[alerts]", "[privacy]", "[sandbox]"] {
        let whole = example_whole();
        let part = whole.split(section).nth(1).unwrap().split("\n[").next().unwrap();
        let part: String =
            part.lines().filter(|line| !line.starts_with("user")).collect::<Vec<_>>().join("\n");
        let config = Config::parse(&format!("{section}{part}")).unwrap();
        assert_eq!(format!("{config:?}"), plain, "{section}");
    }
}

#[test]
fn unknown_keys_are_refused_in_every_table() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("portreeve.toml");
    for (text, says) in [
        ("[metrics]\nlisten_on = \"127.0.0.1:1\"", "line 2: unknown key `listen_on`: did you mean `listen`?"),
        ("[sandbox]\nenable = false", "line 2: unknown key `enable`: did you mean `enabled`?"),
        (
            "\n[[source.capture]]\ninterfaces = \"a\"",
            "line 3: unknown key `interfaces`: did you mean `interface`?",
        ),
        ("[[source.log]]\npath = \"a\"\nzone = \"UTC\"", "line 3: unknown key `zone`: did you mean"),
        ("[stats]\n", "line 1: unknown key `stats`: did you mean `state`?"),
    ] {
        std::fs::write(&path, text).unwrap();
        let out = Command::new(env!("CARGO_BIN_EXE_portreeve"))
            .args(["watch", "-c", path.to_str().unwrap()])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{text}: {error}");
        assert!(error.contains(says), "{text}: {error}");
    }
}

/// Robustness G1: the shipped units by systemd's own measure, in tenths.
#[test]
fn the_units_are_tight() {
    for (unit, tenths) in [("portreeve.service", "18"), ("portreeve-log.service", "12")] {
        let measured = Command::new("systemd-analyze")
            .args([
                "security",
                "--offline=true",
                &format!("--threshold={tenths}"),
                &format!("contrib/{unit}"),
            ])
            .output();
        let Ok(measured) = measured else {
            println!("skipped: systemd-analyze is not here");
            return;
        };
        let text = String::from_utf8_lossy(&measured.stdout).into_owned();
        let said = text.lines().last().unwrap_or_default().to_owned();
        if !said.contains("Overall exposure level") {
            println!("skipped: this systemd-analyze cannot judge files: {said}");
            return;
        }
        println!("{said}");
        assert!(measured.status.success(), "{said}");
    }
}
