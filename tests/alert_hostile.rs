//! Whatever a sender writes, every form stays one record, gains no field, and moves no cursor.
//!
//! `cargo test --release --test alert_hostile` runs 100,000 strings; the long campaign is
//! `PORTREEVE_HOSTILE_STRINGS=1000000 cargo test --release --test alert_hostile`.

#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod alert_support;

use alert_support::*;
use portreeve::alert::{self, Alert};
use portreeve::engine::incident::Change;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::collections::BTreeSet;

/// Pieces that mean something to one of the dialects, a terminal or a browser.
const PIECES: &[&str] = &[
    "\n",
    "\r\n",
    "\r",
    "\t",
    "\0",
    "\u{1b}[2J",
    "\u{1b}]0;x\u{7}",
    "\u{9b}31m",
    "\u{7f}",
    "\u{85}",
    "\u{202e}",
    "\u{2066}",
    "\u{200b}",
    "\u{feff}",
    "\u{2028}",
    "\u{2029}",
    "\u{e0041}",
    "\u{fe0f}",
    "|",
    "\\",
    "\\|",
    "=",
    " src=198.51.100.1",
    " act=allowed",
    "\" evil=\"1",
    "]",
    "\"]",
    "[evil@1 a=\"b\"]",
    "\",\"evil\":\"1",
    "\\u0022",
    "}\n{",
    "CEF:0|x|y|1|2|3|9|",
    "LEEF:2.0|a|b|c|d|x09|",
    "<34>1 - - - - - - ",
    "usrName=root\t",
    "<script>alert(1)</script>",
    "'; DROP TABLE alert; --",
    "=cmd()",
    "..%2f..",
    "\u{ff1d}",
    "\u{10ffff}",
    "é",
    "漢字",
    "🙂",
    "a",
    "B",
    "0",
    "@example.org",
    "-",
    "%s%n",
    "{{7*7}}",
    "$(id)",
    "`id`",
    "&amp;",
];

fn hostile(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    match rng.random_range(0..4) {
        0 => {
            bytes.resize(rng.random_range(0..40), 0);
            rng.fill_bytes(&mut bytes);
        }
        1 => {
            let text: String = (0..rng.random_range(0..20))
                .filter_map(|_| char::from_u32(rng.random_range(0..0x11_0000)))
                .collect();
            bytes.extend_from_slice(text.as_bytes());
        }
        _ => {
            for _ in 0..rng.random_range(0..8) {
                bytes.extend_from_slice(PIECES[rng.random_range(0..PIECES.len())].as_bytes());
            }
            if rng.random_bool(0.1) {
                bytes.push(rng.random_range(0x80..=0xff));
            }
        }
    }
    bytes
}

/// Names of all fields of a JSON value.
fn fields(prefix: &str, value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                fields(&format!("{prefix}/{name}"), value, out);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| fields(prefix, value, out)),
        _ => drop(out.insert(prefix.to_owned())),
    }
}

/// The field names of a line in its dialect, and the values that must come back as they were.
fn read_back(form: &str, line: &str) -> (BTreeSet<String>, Vec<String>) {
    let mut names = BTreeSet::new();
    let pairs = |pairs: std::collections::BTreeMap<String, String>, wanted: &[&str]| {
        let values = wanted.iter().map(|key| pairs.get(*key).cloned().unwrap_or_default()).collect();
        (pairs.into_keys().collect(), values)
    };
    match form {
        "cef" => pairs(decode_cef(line).unwrap().1, &["externalId", "cs1"]),
        "leef" => pairs(decode_leef(line).unwrap().1, &["alertId", "sender"]),
        "rfc5424" => {
            let message = decode_rfc5424(line.strip_suffix('\n').unwrap()).unwrap();
            let value = |name: &str| {
                message.parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap_or_default()
            };
            let values = vec![value("id"), value("sender")];
            (message.parameters.iter().map(|(name, _)| name.clone()).collect(), values)
        }
        _ => {
            let value: Value = serde_json::from_str(line).unwrap();
            fields("", &value, &mut names);
            let native = match form {
                "ndjson" => value.clone(),
                "ecs" => value["portreeve"].clone(),
                "ocsf" => value["unmapped"]["portreeve"].clone(),
                _ => {
                    use base64::Engine as _;
                    let payload = value["evidence"][0]["payload"].as_str().unwrap();
                    let native = base64::engine::general_purpose::STANDARD.decode(payload).unwrap();
                    serde_json::from_slice(&native).unwrap()
                }
            };
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            (names, vec![text(&native["id"]), text(&native["sender"]["name"])])
        }
    }
}

#[test]
fn no_string_breaks_a_form() {
    let strings: u64 =
        std::env::var("PORTREEVE_HOSTILE_STRINGS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let seed = 0x6f75_7463_6f6d_6573;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // What harmless text of the same shape yields: no hostile string may add a field to it.
    let mut known: Vec<BTreeSet<String>> = vec![BTreeSet::new(); alert::FORMATS.len()];
    for sender in senders(&mut || b"x".to_vec()) {
        let alert = Alert::of(&change_with(Change::Closed, sender, &mut || b"x".to_vec()));
        for (form, known) in alert::FORMATS.iter().zip(&mut known).filter(|(form, _)| form.name != "text") {
            known.append(&mut read_back(form.name, &(form.encode)(&alert)).0);
        }
    }
    let mut used = 0;
    while used < strings {
        let mut text = || {
            used += 1;
            hostile(&mut rng)
        };
        for sender in senders(&mut text) {
            let alert = Alert::of(&change_with(Change::Closed, sender, &mut text));
            for (form, known) in alert::FORMATS.iter().zip(&known) {
                check(form, known, &alert);
            }
        }
    }
    println!("{used} strings, seed {seed:#x}, {} forms", alert::FORMATS.len());
}

fn check(form: &alert::Format, known: &BTreeSet<String>, alert: &Alert) {
    let line = (form.encode)(alert);
    let marks = if form.name == "rfc5424" { line.replacen('\u{feff}', "", 1) } else { line.clone() };
    let marks = if form.name == "leef" { marks.replace('\t', "") } else { marks };
    if let Some(c) = marks.chars().find(|c| dangerous(*c)) {
        panic!("{}: {:?} in {line:?}", form.name, c);
    }
    assert!(line.len() <= portreeve::limits::ALERT_LINE_BYTES_MAX);
    if form.name == "text" {
        assert!(line.ends_with("\n\n") && line.find("\n\n") == Some(line.len() - 2), "{line:?}");
        return;
    }
    assert_eq!(line.find('\n'), Some(line.len() - 1), "{}: {line:?}", form.name);
    let (names, values) = read_back(form.name, &line);
    if let Some(extra) = names.difference(known).next() {
        panic!("{}: field {extra:?} in {line}", form.name);
    }
    assert_eq!(values, [alert.id.clone(), alert.sender.name.clone()], "{}: {line}", form.name);
}

/// The bytes that leave are also read by another program's decoder, where there is one.
#[test]
fn python_reads_what_we_write() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let script = "
import sys, json
n = 0
for line in sys.stdin.buffer.read().split(b'\\n')[:-1]:
    text = line.decode('utf-8')
    seen = []
    def pairs(list):
        assert len({k for k, _ in list}) == len(list), 'a key twice'
        return dict(list)
    json.loads(text, object_pairs_hook=pairs)
    assert not any(ord(c) < 32 for c in text)
    n += 1
print(n)
";
    let Ok(mut child) =
        Command::new("python3").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
    else {
        eprintln!("skipped: python3 is not installed");
        return;
    };
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut text = || hostile(&mut rng);
    let (mut lines, mut count) = (Vec::new(), 0);
    for _ in 0..200 {
        for sender in senders(&mut text) {
            let alert = Alert::of(&change_with(Change::Updated, sender, &mut text));
            for form in ["ndjson", "ecs", "ocsf", "xarf"] {
                lines.extend_from_slice((alert::format(form).unwrap().encode)(&alert).as_bytes());
                count += 1;
            }
        }
    }
    child.stdin.take().unwrap().write_all(&lines).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), count.to_string());
}
