//! Recipients' names stay out of everything that is kept or sent, unless they are asked for.

#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod store_support;

use portreeve::alert::{Alert, FORMATS};
use portreeve::engine::Settings;
use portreeve::mail::{Mailbox, Reply, ReversePath};
use portreeve::observation::Fact;
use portreeve::sink::{self, SinkConfig, file};
use portreeve::store::{AlertRow, Store};
use std::path::Path;
use std::time::Duration;
use store_support::*;

/// Ten thousand recipients whose names would be seen at once. They stand in the server's words and in the
/// envelope sender too, as mailing lists and refusals have them.
fn run(directory: &Path, recipients_named: bool) -> Vec<Alert> {
    let mut store = Store::open(directory).unwrap();
    let settings =
        Settings { settling_days: 0.05, unsettled_margin_nats: 0.0, recipients_named, ..Settings::default() };
    let mut engine = engine_with(store.key, settings);
    assert!(store.load(&mut engine).unwrap().is_empty());
    let file = SinkConfig::File(file::Settings {
        path: directory.join("alerts.ndjson"),
        name: None,
        format: None,
        severity_min: None,
    });
    let sinks = sink::open_all(&[file]).unwrap();
    let patience = sink::delivery::Patience::usual(1, portreeve::time::Timestamp::default);
    let drivers = sink::delivery::Delivery::start(directory, sinks, patience).unwrap();
    let mut alerts = Vec::new();
    for n in 0..10_000i64 {
        let mut changes = Vec::new();
        let canary = format!("Canary.{n:05}");
        let mut observation = delivery((n / 400) as u32, n * 40, &format!("{canary}@dom{}.example", n % 90));
        let Fact::Delivery(delivery) = &mut observation.fact else { unreachable!() };
        let text = match n % 3 {
            0 => format!("5.1.1 <{canary}@dom.example>: no such user"),
            1 => format!("user {} is unknown", canary.to_lowercase()),
            _ => format!("Recipient {canary}=dom.example refused; see postmaster@dom.example"),
        };
        delivery.reply =
            Some(Reply { code: Some(550), text: Some(text.as_str().into()), ..Reply::default() });
        delivery.reverse_path =
            Some(ReversePath::parse(format!("bounce+{canary}=dom.example@corp.example").as_bytes()));
        assert!(Mailbox::parse(canary.as_bytes()).is_some());
        engine.observe(&observation, &mut changes);
        if n % 50 == 49 || !changes.is_empty() {
            let new: Vec<Alert> = changes.iter().map(Alert::of).collect();
            let rows: Vec<AlertRow> = new.iter().map(AlertRow::of).collect();
            store.commit(&mut engine, &[], &rows).unwrap();
            alerts.extend(new);
        }
    }
    drivers.committed();
    drivers.finish(Duration::from_secs(60));
    std::fs::write(directory.join("baselines.json"), serde_json::to_vec(&store.export().unwrap()).unwrap())
        .unwrap();
    store.backup(&directory.join("backup.db")).unwrap();
    for format in FORMATS {
        let text: String = alerts.iter().map(|alert| (format.encode)(alert)).collect();
        std::fs::write(directory.join(format.name), text).unwrap();
    }
    alerts
}

/// Files in which the canaries sing, also in base64 at any alignment.
fn sings(directory: &Path) -> Vec<String> {
    use base64::Engine as _;
    let mut needles = vec![b"canary".to_vec()];
    for lead in 0..3 {
        for word in ["Canary.0", "canary.0"] {
            let text = format!("{}{word}", "x".repeat(lead));
            let encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(text);
            needles.push(encoded.as_bytes()[if lead == 0 { 0 } else { 4 }..encoded.len() - 1].to_vec());
        }
    }
    let mut list = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let lower = bytes.to_ascii_lowercase();
        if memchr::memmem::find(&lower, &needles[0]).is_some()
            || needles[1..].iter().any(|needle| memchr::memmem::find(&bytes, needle).is_some())
        {
            list.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    list
}

#[test]
fn ten_thousand_canaries_are_silent_by_default() {
    let directory = quick_directory();
    let alerts = run(directory.path(), false);
    assert!(alerts.len() > 10 && alerts.iter().any(|alert| alert.samples.len() == 5), "{}", alerts.len());
    assert_eq!(sings(directory.path()), Vec::<String>::new());
    let sample = &alerts[0].samples[0];
    assert!(sample.forward_path.is_none() && sample.forward_path_digest.is_some());
    assert!(sample.reverse_path.as_ref().unwrap().contains("bounce+…=dom.example@corp.example"));
}

#[test]
fn they_sing_when_they_are_asked_for() {
    let directory = quick_directory();
    let alerts = run(directory.path(), true);
    let list = sings(directory.path());
    for name in ["alerts.ndjson", "state.db", "ecs", "xarf", "ndjson", "ocsf", "baselines.json"] {
        assert!(list.iter().any(|found| found == name), "{name} is silent: the test hears nothing; {list:?}");
    }
    assert!(alerts[0].samples[0].forward_path.as_ref().unwrap().starts_with("Canary."));
}
