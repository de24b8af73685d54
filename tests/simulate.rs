//! Simulated worlds: the same octets for the same seed, and a truth that agrees with what was written.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

use portreeve::alert::Alert;
use portreeve::simulate::truth::{HijackKind, Tally, Truth};
use portreeve::simulate::{SimulateSettings, load, score::score, simulate};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

fn settings(seed: u64, scenario: &str) -> SimulateSettings {
    SimulateSettings { seed, scenario: scenario.into(), days: None, accounts: None }
}

/// A small world: few accounts, all kinds of hijack.
fn small(seed: u64) -> SimulateSettings {
    SimulateSettings { accounts: Some(10), days: Some(9), ..settings(seed, "demo") }
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut list = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { list.extend(files(&path)) } else { list.push(path) }
    }
    list.sort();
    list
}

fn text(path: &Path) -> String {
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        let file = std::fs::File::open(path).unwrap();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    } else {
        text = std::fs::read_to_string(path).unwrap();
    }
    text
}

#[test]
fn the_same_seed_gives_the_same_octets() {
    let (a, b, c) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    simulate(&small(5), a.path()).unwrap();
    simulate(&small(5), b.path()).unwrap();
    simulate(&small(6), c.path()).unwrap();
    let (in_a, in_b) = (files(a.path()), files(b.path()));
    assert_eq!(in_a.len(), in_b.len());
    for (one, other) in in_a.iter().zip(&in_b) {
        assert_eq!(one.file_name(), other.file_name());
        assert!(std::fs::read(one).unwrap() == std::fs::read(other).unwrap(), "{}", one.display());
    }
    assert_ne!(text(&a.path().join("truth.json")), text(&c.path().join("truth.json")));
}

#[test]
fn the_truth_agrees_with_the_log_lines() {
    let out = tempfile::tempdir().unwrap();
    let summary = simulate(&small(7), out.path()).unwrap();
    let read: Truth = serde_json::from_str(&text(&out.path().join("truth.json"))).unwrap();
    assert_eq!(read, summary.truth);
    let mut lines = 0;
    for (host, address) in [("mx-out1", "203.0.113.10"), ("mx-out2", "203.0.113.11")] {
        let logs: Vec<String> =
            files(&out.path().join("logs").join(host)).iter().map(|path| text(path)).collect();
        let status = |word: &str| {
            let is = |line: &&str| line.contains("postfix/smtp[") && line.contains(word);
            logs.iter().flat_map(|text| text.lines()).filter(is).count() as u64
        };
        lines += logs.iter().map(|text| text.lines().count() as u64).sum::<u64>();
        let sender = read.senders.iter().find(|sender| sender.sender.name == address).unwrap();
        assert_eq!(status("status="), sender.log.deliveries, "{host}");
        assert_eq!(status("status=sent"), sender.log.accepted, "{host}");
        assert!(sender.log.deliveries > 300 && sender.wire.deliveries > 100, "{sender:?}");
    }
    assert_eq!(lines, summary.log_lines);
}

#[test]
fn every_kind_of_hijack_and_of_benign_burst_happens() {
    let out = tempfile::tempdir().unwrap();
    let truth = simulate(&settings(1, "demo"), out.path()).unwrap().truth;
    let kinds: BTreeSet<HijackKind> = truth.hijacks.iter().map(|hijack| hijack.kind).collect();
    assert_eq!(kinds.len(), 8);
    for hijack in &truth.hijacks {
        assert!(
            hijack.deliveries.len() >= 40,
            "{} {:?}: {}",
            hijack.id,
            hijack.kind,
            hijack.deliveries.len()
        );
        assert!(hijack.deliveries.is_sorted() && hijack.start < hijack.end);
    }
    let benign: BTreeSet<&str> = truth.benign.iter().map(|burst| burst.kind.as_str()).collect();
    assert_eq!(benign.len(), 6, "{benign:?}");
    for burst in &truth.benign {
        assert!(burst.deliveries > 20, "{burst:?}");
    }
}

#[test]
fn the_other_scenarios_are_what_they_say() {
    let world = |scenario: &str| {
        let out = tempfile::tempdir().unwrap();
        let few = SimulateSettings { accounts: Some(12), ..settings(3, scenario) };
        simulate(&few, out.path()).unwrap().truth
    };
    let hard = world("hard");
    let snowshoe = hard.hijacks.iter().find(|hijack| hijack.kind == HijackKind::Snowshoe).unwrap();
    assert!(snowshoe.senders.len() == 65 && (50..=80).contains(&snowshoe.deliveries.len()));
    let clean = hard.hijacks.iter().find(|hijack| hijack.kind == HijackKind::CleanList).unwrap();
    assert!(clean.accepted as f64 > 0.85 * clean.deliveries.len() as f64, "{} accepted", clean.accepted);
    let hidden_share = |truth: &Truth| {
        let sum = |of: fn(&Tally) -> u64| truth.senders.iter().map(|sender| of(&sender.wire)).sum::<u64>();
        let hidden = sum(|tally| tally.hidden_messages) as f64;
        hidden / (hidden + sum(|tally| tally.accepted) as f64)
    };
    let (open, encrypted) = (hidden_share(&world("small")), hidden_share(&world("encrypted")));
    assert!(open < 0.4 && encrypted > 0.6, "{open} {encrypted}");
}

#[test]
fn a_quiet_world_has_no_hijack_and_scores_no_alert_as_right() {
    let out = tempfile::tempdir().unwrap();
    let quiet = SimulateSettings { accounts: Some(10), ..settings(2, "quiet") };
    let truth = simulate(&quiet, out.path()).unwrap().truth;
    assert!(truth.hijacks.is_empty());
    let nothing: &[Alert] = &[];
    let score = score(&truth, nothing);
    assert_eq!((score.found, score.false_alarms), (0, 0));
    assert!(score.to_text().contains("0 of 0 hijacks found"));
}

#[test]
fn loads_are_as_large_as_asked_for_and_repeat() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let wire = load::wire(1, a.path(), 3_000_000, 50).unwrap();
    assert!(wire.bytes >= 3_000_000 && wire.bytes < 8_000_000 && wire.sessions > 50, "{wire:?}");
    assert_eq!(wire.path.metadata().unwrap().len(), wire.bytes);
    let log = load::log(1, a.path(), 20_000).unwrap();
    assert!(log.records >= 20_000 && log.records < 25_000, "{log:?}");
    assert_eq!(text(&log.path).lines().count() as u64, log.records);
    load::wire(1, b.path(), 3_000_000, 50).unwrap();
    load::log(1, b.path(), 20_000).unwrap();
    for file in ["span0-01.pcap", "mail.log"] {
        assert!(std::fs::read(a.path().join(file)).unwrap() == std::fs::read(b.path().join(file)).unwrap());
    }
}

#[test]
fn wrong_settings_are_refused_with_what_to_do() {
    let out = tempfile::tempdir().unwrap();
    let error = simulate(&settings(1, "nowhere"), out.path()).unwrap_err().to_string();
    assert!(error.contains("company, demo, small, quiet, encrypted, hard"), "{error}");
    let short = SimulateSettings { days: Some(2), ..settings(1, "demo") };
    assert!(simulate(&short, out.path()).unwrap_err().to_string().contains("6 to 366 days"));
    std::fs::write(out.path().join("file"), "x").unwrap();
    let error = simulate(&settings(1, "demo"), out.path()).unwrap_err().to_string();
    assert!(error.contains("name a new one"), "{error}");
}
