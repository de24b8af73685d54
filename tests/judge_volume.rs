//! The second tier: more mail than habits explain, though no mark points at a hijack. Off unless asked for.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod judge_support;

use judge_support::*;
use portreeve::engine::incident::{Change, IncidentChange, Kind};
use portreeve::engine::planned::Planned;
use portreeve::engine::sender::SenderId;
use portreeve::engine::{Engine, Settings};

const APP: &str = "203.0.113.30";
const DAY: f64 = 86_400.0;
/// The tenth day, a Wednesday, two in the afternoon.
const TENTH_TWO: f64 = 9.0 * DAY + 14.0 * 3_600.0;

fn taught(volume_alarms_per_1000_sender_days: f64) -> Engine {
    let mut engine = engine_with(Settings { volume_alarms_per_1000_sender_days, ..Settings::default() });
    assert!(opened(&ordinary_days(&mut engine, 9)).is_empty(), "a steady sender never alarms");
    engine
}

/// A mailing to people known, all accepted: no mark says anything.
fn mailing(engine: &mut Engine, seconds: f64, messages: u32) -> Vec<IncidentChange> {
    let mut out = Vec::new();
    for n in 0..messages {
        let to = format!("friend{}@partner{}.example", n % 60, n % 60 % 7);
        mail(APP, seconds + f64::from(n) * 2.0, to).send(engine, &mut out);
    }
    out
}

fn volume_alarms(changes: &[IncidentChange]) -> usize {
    opened(changes).iter().filter(|change| change.incident.kind == Kind::UnexplainedVolume).count()
}

#[test]
fn a_mailing_that_nobody_announced_is_told_where_that_was_asked_for() {
    assert!(
        opened(&mailing(&mut taught(0.0), TENTH_TWO, 1_000)).is_empty(),
        "the tier is off unless asked for"
    );

    let mut engine = taught(10.0);
    let changes = mailing(&mut engine, TENTH_TWO, 1_000);
    assert_eq!((opened(&changes).len(), volume_alarms(&changes)), (1, 1), "{changes:?}");
    let first = &changes[0].incident;
    assert_eq!(first.kind, Kind::UnexplainedVolume);
    assert!(
        first.messages < 300 && first.evidence[0].weight_nats.unwrap() >= first.threshold_nats,
        "{first:?}"
    );
    assert!(changes.len() <= 4, "updates only when it doubles: {}", changes.len());

    // It is over when the sender is quiet, and the next day is an ordinary one.
    let mut out = Vec::new();
    mail(APP, TENTH_TWO + 10.0 * 3_600.0, "friend1@partner1.example").send(&mut engine, &mut out);
    assert!(out.iter().any(|change| change.change == Change::Closed), "{out:?}");
    assert_eq!(engine.open_incidents().count(), 0);
}

#[test]
fn an_announced_mailing_is_explained() {
    let mut engine = taught(10.0);
    engine
        .plan(Planned {
            sender: SenderId::Address(APP.parse().unwrap()),
            from: at(TENTH_TWO),
            until: at(TENTH_TWO + DAY),
            recipients_max: 2_000,
        })
        .unwrap();
    assert!(opened(&mailing(&mut engine, TENTH_TWO, 1_000)).is_empty());
}

#[test]
fn a_hijack_takes_the_place_of_unexplained_volume() {
    let mut engine = taught(10.0);
    let mut changes = mailing(&mut engine, TENTH_TWO, 600);
    assert_eq!(volume_alarms(&changes), 1);
    changes.extend(spam(&mut engine, APP, TENTH_TWO + 1_300.0, 200));
    let kinds: Vec<(Change, Kind)> = changes
        .iter()
        .filter(|change| change.change != Change::Updated)
        .map(|change| (change.change, change.incident.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            (Change::Opened, Kind::UnexplainedVolume),
            (Change::Closed, Kind::UnexplainedVolume),
            (Change::Opened, Kind::Host)
        ]
    );
    assert_eq!(engine.open_incidents().count(), 1);
}

#[test]
fn the_tier_says_nothing_of_new_senders_and_little_mail() {
    let mut engine = taught(10.0);
    let mut out = Vec::new();
    for n in 0..100 {
        let to = format!("friend{}@partner{}.example", n % 60, n % 60 % 7);
        mail("203.0.113.77", TENTH_TWO + f64::from(n) * 20.0, to).send(&mut engine, &mut out);
    }
    assert_eq!(volume_alarms(&out), 0);
    assert_eq!(volume_alarms(&mailing(&mut engine, 10.0 * DAY + 3.0 * 3_600.0, 15)), 0);
}

/// Volume incidents open, and close, without a trace in the first tier: the same blast is found at the same message.
#[test]
fn the_first_tier_does_not_notice_the_second() {
    let blast = |volume: f64| {
        let mut engine = taught(volume);
        mailing(&mut engine, TENTH_TWO, 600);
        let changes = spam(&mut engine, APP, TENTH_TWO + 26.0 * 3_600.0, 100);
        let first = opened(&changes)[0].incident.clone();
        (first.opened_at, first.evidence_nats.to_bits(), first.messages, first.kind)
    };
    assert_eq!(blast(0.0), blast(10.0));
}
