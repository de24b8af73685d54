//! The whole way in one process that can be killed: deliveries → engine → store → outbox → file.
//!
//! It runs as a child: the test binary calls itself with `PIPELINE_DIRECTORY` set. Its input is computed from the
//! position alone, so that it can be read again from anywhere, as a log can.

use super::{delivery, engine_with};
use portreeve::alert::Alert;
use portreeve::engine::Settings;
use portreeve::mail::Reply;
use portreeve::observation::{Fact, Observation};
use portreeve::sink::delivery::{Delivery, Patience};
use portreeve::sink::{self, SinkConfig, file};
use portreeve::store::{AlertRow, Store};
use portreeve::time::Timestamp;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Deliveries of a whole run.
pub const DELIVERIES: i64 = 6_000;
/// Deliveries of one commit.
pub const STEP: i64 = 40;

/// Delivery number `n`: quiet mail of 25 senders, and every now and then a blast by one of them.
pub fn observation(n: i64) -> Observation {
    let (blast, seconds) = ((n / 150) % 2 == 1 && n > 600, n * 40);
    let sender = if blast { (n / 300) % 25 } else { n % 25 };
    let recipient = if blast {
        format!("x{n}@stranger{}.example", n % 50)
    } else {
        format!("r{}@partner.example", n % 25)
    };
    let mut observation = delivery(sender as u32, seconds, &recipient);
    if let Fact::Delivery(delivery) = &mut observation.fact
        && blast
        && n % 5 < 3
    {
        delivery.reply =
            Some(Reply { code: Some(550), text: Some("no such user".into()), ..Reply::default() });
    }
    observation
}

/// The sink of the run.
pub fn sink(directory: &Path) -> SinkConfig {
    SinkConfig::File(file::Settings {
        path: directory.join("alerts.ndjson"),
        name: Some("file".into()),
        format: None,
        severity_min: None,
    })
}

/// Runs from where the state says to the end, or to the given delivery. Says what is durable on standard output.
pub fn run(directory: &Path, until: i64) {
    run_saying(directory, until, |line| {
        // One write: what is acknowledged is acknowledged whole.
        let _ = std::io::stdout().write_all(line.as_bytes());
    });
}

/// As [`run`], in this process and without a word.
pub fn run_quietly(directory: &Path, until: i64) {
    run_saying(directory, until, |_| {});
}

fn run_saying(directory: &Path, until: i64, say: impl Fn(&str)) {
    let mut store = Store::open(directory).unwrap();
    assert!(store.troubles.is_empty(), "{:?}", store.troubles);
    let patience = Patience {
        pause_first: Duration::from_millis(1),
        pause_max: Duration::from_millis(50),
        ..Patience::usual(1, || Timestamp::from_seconds(0))
    };
    let sinks = sink::open_all(&[sink(directory)]).unwrap();
    let drivers = Delivery::start(directory, sinks, patience).unwrap();
    let settings = Settings { settling_days: 0.05, unsettled_margin_nats: 0.0, ..Settings::default() };
    let mut engine = engine_with(store.key, settings);
    assert!(store.load(&mut engine).unwrap().is_empty());
    let mut next: i64 = store.position("input").unwrap().map_or(0, |text| text.parse().unwrap());
    while next < until {
        let mut changes = Vec::new();
        let end = (next + STEP).min(until);
        for n in next..end {
            engine.observe(&observation(n), &mut changes);
        }
        next = end;
        let rows: Vec<AlertRow> = changes.iter().map(|change| AlertRow::of(&Alert::of(change))).collect();
        store.commit(&mut engine, &[("input".into(), next.to_string())], &rows).unwrap();
        drivers.committed();
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        say(&format!("durable {next} {}\n", ids.join(" ")));
    }
    let status = drivers.finish(Duration::from_secs(60)).remove(0);
    assert_eq!((status.trouble, status.dead), (None, 0));
    say("done\n");
}
