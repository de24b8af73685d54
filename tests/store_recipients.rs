//! The list of who got the mail of an incident: whole where it is asked for, and nowhere else.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod store_support;

use portreeve::alert::Alert;
use portreeve::engine::Settings;
use portreeve::engine::incident::Change;
use portreeve::mail::Reply;
use portreeve::observation::Fact;
use portreeve::store::keep::Retention;
use portreeve::store::read::{Reader, RecipientRow};
use portreeve::store::{AlertRow, Store};
use portreeve::time::Timestamp;
use std::path::Path;
use store_support::*;

const MESSAGES: i64 = 300;

/// One address writes to strangers, every third of whom does not exist; the sensor is restarted after every 7 messages,
/// so also between the first message and the alarm. Returns the incident and what is kept of it.
fn run(directory: &Path, recipients_named: bool) -> (Alert, Vec<RecipientRow>) {
    let settings =
        Settings { settling_days: 0.05, unsettled_margin_nats: 0.0, recipients_named, ..Settings::default() };
    let mut alerts = Vec::new();
    for part in 0..MESSAGES.div_euclid(7) + 1 {
        let mut store = Store::open(directory).unwrap();
        let mut engine = engine_with(store.key, settings);
        assert!(store.load(&mut engine).unwrap().is_empty());
        let mut changes = Vec::new();
        for n in part * 7..(part * 7 + 7).min(MESSAGES) {
            let mut observation =
                delivery(9, 100_000 + n * 10, &format!("Person.{n:03}@dom{}.example", n % 5));
            let Fact::Delivery(delivery) = &mut observation.fact else { unreachable!() };
            if n % 3 == 2 {
                let text = Some("5.1.1 no such user".into());
                delivery.reply = Some(Reply { code: Some(550), text, ..Reply::default() });
            }
            engine.observe(&observation, &mut changes);
        }
        if part * 7 + 7 > MESSAGES {
            engine.advance(Timestamp::from_seconds(1_795_392_000 + 200_000), &mut changes);
        }
        let new: Vec<Alert> = changes.iter().map(Alert::of).collect();
        store.commit(&mut engine, &[], &new.iter().map(AlertRow::of).collect::<Vec<_>>()).unwrap();
        alerts.extend(new);
    }
    let closed = alerts.iter().rfind(|alert| alert.change == Change::Closed).expect("an incident").clone();
    let rows = Reader::open(directory).unwrap().recipients(&closed.incident.id).unwrap();
    (closed, rows)
}

#[test]
fn everybody_is_listed_once_from_the_change_point_on() {
    let directory = quick_directory();
    let (alert, rows) = run(directory.path(), true);
    assert_eq!(rows.len() as u64, alert.blast_radius.messages);
    let accepted = rows.iter().filter(|row| row.accepted == Some(true)).count() as u64;
    assert_eq!(accepted, alert.blast_radius.recipients_accepted);
    assert!(accepted > 100, "{accepted}");
    // It is the last so many, in their order.
    for (row, n) in rows.iter().rev().zip((0..MESSAGES).rev()) {
        assert_eq!(row.recipient, format!("Person.{n:03}@dom{}.example", n % 5));
        assert_eq!(row.reply_code, Some(if n % 3 == 2 { 550 } else { 250 }));
    }
    assert_eq!(rows[0].at, alert.times.first);
    let story = Reader::open(directory.path()).unwrap().incident(&alert.incident.id).unwrap().unwrap();
    assert!(story.names_recipients);
    // With the alerts goes the list.
    let mut store = Store::open(directory.path()).unwrap();
    let later = Timestamp::from_seconds(1_795_392_000 + 500 * 86_400);
    store.clear_old(&Retention::default(), later).unwrap();
    assert_eq!(Reader::open(directory.path()).unwrap().recipients(&alert.incident.id).unwrap(), []);
}

#[test]
fn nobody_is_listed_unless_it_is_asked_for() {
    let directory = quick_directory();
    let (alert, rows) = run(directory.path(), false);
    assert_eq!(rows, []);
    // The counts are there all the same.
    let domains: u64 = alert.blast_radius.domains.iter().map(|domain| domain.recipients_accepted).sum();
    assert_eq!(domains + alert.blast_radius.recipients_omitted, alert.blast_radius.recipients_accepted);
    for file in std::fs::read_dir(directory.path()).unwrap().flatten() {
        let content = std::fs::read(file.path()).unwrap();
        let shows = content.windows(7).any(|window| window.eq_ignore_ascii_case(b"person."));
        assert!(!shows, "{}", file.path().display());
    }
}
