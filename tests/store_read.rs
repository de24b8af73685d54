//! What people read of the state, and what they tell a running sensor.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod store_support;

use portreeve::alert::Alert;
use portreeve::engine::sender::{SenderId, SenderKey};
use portreeve::observation::{Fact, Vantage};
use portreeve::store::actions::{self, Action, Control, Obeyed};
use portreeve::store::domains::DomainShare;
use portreeve::store::read::{IncidentFilter, MailingState, Page, Reader, Review, SenderFilter, SenderOrder};
use portreeve::store::transfer::sender_named;
use portreeve::store::volume::Volume;
use portreeve::store::{AlertRow, Moment, Store, StoreError};
use portreeve::time::Timestamp;
use std::time::Instant;
use store_support::*;

const START: i64 = 1_795_392_000;

/// Alert number `sequence` of incident `n`.
fn alert_of(n: i64, sequence: u32, change: &str) -> Alert {
    let mut value = serde_json::to_value(alert(n)).unwrap();
    value["id"] = format!("{n:016x}-{sequence}").into();
    value["incident"] = serde_json::json!({ "id": format!("{n:016x}"), "sequence": sequence });
    value["change"] = change.into();
    value["sender"]["kind"] = "address".into();
    value["sender"]["name"] = format!("10.0.{}.{}", n / 250, n % 250).into();
    value["severity"] = serde_json::json!({ "name": "high", "score": 50 + n % 50 });
    value["blast_radius"]["messages"] = (100 * (i64::from(sequence) + 1)).into();
    serde_json::from_value(value).unwrap()
}

#[test]
fn incidents_are_listed_filtered_and_told_whole() {
    let directory = quick_directory();
    let mut store = Store::open(directory.path()).unwrap();
    let mut engine = engine(store.key);
    let mut rows: Vec<AlertRow> = (0..120).map(|n| AlertRow::of(&alert_of(n, 0, "opened"))).collect();
    rows.push(AlertRow::of(&alert_of(7, 1, "updated")));
    rows.push(AlertRow::of(&alert_of(7, 2, "closed")));
    store.commit(&mut engine, &[], &rows).unwrap();
    // What is committed again changes nothing.
    store.commit(&mut engine, &[], &rows).unwrap();

    let reader = Reader::open(directory.path()).unwrap();
    let all = reader.incidents(&IncidentFilter::default(), Page { offset: 110, limit: 50 }).unwrap();
    assert_eq!((all.total, all.rows.len()), (120, 10));
    let list = |filter: IncidentFilter| reader.incidents(&filter, Page::default()).unwrap();
    let closed = list(IncidentFilter { open: Some(false), ..IncidentFilter::default() });
    assert_eq!((closed.total, closed.rows[0].id.as_str()), (1, "0000000000000007"));
    assert_eq!((closed.rows[0].messages, closed.rows[0].alerts), (300, 3));
    assert_eq!(list(IncidentFilter { open: Some(true), ..IncidentFilter::default() }).total, 119);
    assert_eq!(list(IncidentFilter { score_min: Some(99), ..IncidentFilter::default() }).total, 2);
    assert_eq!(
        list(IncidentFilter { sender: Some("10.0.0.1".into()), ..IncidentFilter::default() }).total,
        31
    );
    assert_eq!(list(IncidentFilter { sender: Some("%".into()), ..IncidentFilter::default() }).total, 0);
    let late = IncidentFilter { since: Some((START + 115) * 1_000_000), ..IncidentFilter::default() };
    assert_eq!(list(late).total, 5);

    let story = reader.incident("0000000000000007").unwrap().unwrap();
    let changes: Vec<u32> = story.alerts.iter().map(|alert| alert.incident.sequence).collect();
    assert_eq!(changes, [0, 1, 2]);
    assert!(reader.incident("ffff").unwrap().is_none());

    let mut control = Control::open(directory.path()).unwrap();
    let dismiss = |incident: &str| Action::Dismiss { incident: incident.into(), reason: "newsletter".into() };
    let refused = control.ask(&dismiss("ffff"), "eve", Timestamp::from_seconds(1));
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    control.ask(&dismiss("0000000000000007"), "eve", Timestamp::from_seconds(1)).unwrap();
    let story = reader.incident("0000000000000007").unwrap().unwrap();
    assert_eq!((story.summary.review, story.reviews.len()), (Some(Review::Dismissed), 1));
    assert_eq!(list(IncidentFilter { reviewed: Some(true), ..IncidentFilter::default() }).total, 1);
    assert_eq!(list(IncidentFilter { reviewed: Some(false), ..IncidentFilter::default() }).total, 119);
}

#[test]
fn an_action_takes_effect_once_with_the_state_that_it_changed() {
    let directory = quick_directory();
    let mut store = Store::open(directory.path()).unwrap();
    let mut engine = engine(store.key);
    feed(&mut engine, 5, 0);
    store.commit(&mut engine, &[], &[]).unwrap();
    let mut control = Control::open(directory.path()).unwrap();
    let (from, until) = ((START + 3_600) * 1_000_000, (START + 7_200) * 1_000_000);
    let announce = |sender: &str| Action::Announce {
        sender: sender.into(),
        from,
        until,
        recipients_max: 25_000,
        reason: "quarterly".into(),
    };
    let kept = control.ask(&announce("10.0.0.1"), "ann", Timestamp::from_seconds(1)).unwrap();
    let gone = control.ask(&announce("10.0.0.2"), "ann", Timestamp::from_seconds(2)).unwrap();
    let cancel = control.ask(&Action::Cancel { mailing: gone }, "bob", Timestamp::from_seconds(3)).unwrap();
    let again = control.ask(&Action::Cancel { mailing: gone }, "bob", Timestamp::from_seconds(3));
    assert!(matches!(again, Err(StoreError::Refused(_))));
    let forget = Action::Forget { sender: "10.0.0.3".into() };
    control.ask(&forget, "bob", Timestamp::from_seconds(4)).unwrap();

    let reader = Reader::open(directory.path()).unwrap();
    let states = |now: i64| -> Vec<(i64, MailingState)> {
        reader.planned(now).unwrap().iter().map(|plan| (plan.number, plan.state)).collect()
    };
    assert_eq!(states(from), [(gone, MailingState::Cancelled), (kept, MailingState::Waiting)]);
    let waiting = store.actions_waiting().unwrap();
    assert_eq!(waiting.iter().map(|row| row.by.as_str()).collect::<Vec<_>>(), ["ann", "ann", "bob", "bob"]);
    assert_eq!(waiting[3].action, forget);

    let id = sender_named("10.0.0.3");
    let (mut changes, mut forgotten) = (Vec::new(), Vec::new());
    let mut outcome = |row| actions::obey(&mut engine, &store, row, &mut changes, &mut forgotten).unwrap();
    let obeyed: Vec<Obeyed> =
        waiting.iter().map(|row| Obeyed { number: row.number, at: 5, outcome: outcome(row) }).collect();
    let outcomes: Vec<&str> = obeyed.iter().map(|obeyed| obeyed.outcome.as_str()).collect();
    assert_eq!(outcomes, ["planned", "planned", "taken back", "forgotten"]);
    assert_eq!((engine.plans().len(), forgotten.as_slice()), (1, std::slice::from_ref(&id)));
    let moment = Moment { obeyed: &obeyed, forgotten: &forgotten, ..Moment::default() };
    store.commit_moment(&mut engine, &moment).unwrap();
    assert!(store.actions_waiting().unwrap().is_empty());
    assert_eq!(states(from - 1), [(gone, MailingState::Cancelled), (kept, MailingState::Announced)]);
    assert_eq!(states(from)[1].1, MailingState::Underway);
    assert_eq!(states(until)[1].1, MailingState::Over);
    assert_eq!(reader.action(cancel).unwrap().unwrap().outcome.as_deref(), Some("taken back"));
    assert!(reader.sender(&id).unwrap().is_empty());
    let addresses = SenderFilter { kind: Some("address".into()), ..SenderFilter::default() };
    assert_eq!(reader.senders(&addresses, SenderOrder::Name, Page::default()).unwrap().total, 4);
    drop(store);
    assert!(Store::open(directory.path()).unwrap().troubles.is_empty());
}

#[test]
fn an_action_that_somebody_forged_is_not_obeyed() {
    let directory = quick_directory();
    let store = Store::open(directory.path()).unwrap();
    let mut control = Control::open(directory.path()).unwrap();
    let forget = Action::Forget { sender: "10.0.0.3".into() };
    control.ask(&forget, "bob", Timestamp::from_seconds(4)).unwrap();
    rusqlite::Connection::open(directory.path().join("state.db"))
        .unwrap()
        .execute("UPDATE action SET what = replace(what, '10.0.0.3', '10.0.0.4')", [])
        .unwrap();
    assert!(store.actions_waiting().unwrap().is_empty());
}

#[test]
fn senders_are_listed_and_told_with_what_was_learned() {
    let directory = quick_directory();
    let mut store = Store::open(directory.path()).unwrap();
    let mut engine = engine(store.key);
    store.load(&mut engine).unwrap();
    let mut volume = Volume::default();
    for (sender, seconds) in
        (0..30i64).flat_map(|hour| [(1, hour * 3_600), (1, hour * 3_600 + 9), (2, hour * 3_600)])
    {
        let observation = delivery(sender, seconds, "r@example.net");
        volume.count(&observation);
        engine.observe(&observation, &mut Vec::new());
        if let Fact::Delivery(delivery) = &observation.fact {
            let id = SenderId::Address(observation.sender.address.unwrap());
            store.count_domain(SenderKey { vantage: Vantage::Wire, id }, observation.at, delivery);
        }
        if seconds == 40 * 3_600 {
            store.commit(&mut engine, &[], &[]).unwrap();
        }
    }
    let counted = volume.take();
    let moment = Moment { counted: &counted, counters: &[("deliveries", 90)], ..Moment::default() };
    store.commit_moment(&mut engine, &moment).unwrap();
    store
        .commit_moment(&mut engine, &Moment { counters: &[("deliveries", 9)], ..Moment::default() })
        .unwrap();

    let reader = Reader::open(directory.path()).unwrap();
    let filter = SenderFilter { kind: Some("address".into()), ..SenderFilter::default() };
    let by_messages = reader.senders(&filter, SenderOrder::Messages, Page::default()).unwrap();
    assert_eq!(by_messages.total, 2);
    let first = &by_messages.rows[0];
    assert_eq!((first.name.as_str(), first.messages, first.vantage.as_str()), ("10.0.0.1", 60, "wire"));
    assert_eq!((first.hours.last, first.hours.messages.clone()), (START / 3_600 + 29, vec![2; 30]));
    let search = SenderFilter { name: Some("0.0.2".into()), ..filter.clone() };
    assert_eq!(reader.senders(&search, SenderOrder::Name, Page::default()).unwrap().total, 1);
    let other_road = SenderFilter { vantage: Some(Vantage::Log), ..SenderFilter::default() };
    assert_eq!(reader.senders(&other_road, SenderOrder::Name, Page::default()).unwrap().total, 0);

    let profiles = reader.sender(&sender_named("10.0.0.1")).unwrap();
    let [profile] = profiles.as_slice() else { panic!("{profiles:?}") };
    assert_eq!((profile.week.len(), profile.messages_now), (48, 2.0));
    assert!(profile.marks.accepted > 0.9 && profile.usual_max_now > profile.expected_now, "{profile:?}");
    let domains = [DomainShare { domain: "example.net".into(), share: 1.0 }];
    assert_eq!(profile.recipient_domains, domains);
    let points = reader.volume(Vantage::Wire, i64::MIN, i64::MAX).unwrap();
    assert_eq!((points.len(), points[0].deliveries, points[29].deliveries), (30, 3.0, 3.0));
    assert_eq!(reader.counters().unwrap()["deliveries"], 99);
    assert!(serde_json::to_string(&profiles).unwrap().contains("\"new_recipient\""));
}

/// Shortest of five, milliseconds.
fn quickest<T>(mut ask: impl FnMut() -> T) -> f64 {
    let time = |_| {
        let began = Instant::now();
        std::hint::black_box(ask());
        began.elapsed().as_secs_f64() * 1e3
    };
    (0..5).map(time).fold(f64::INFINITY, f64::min)
}

/// Prints how long each question takes. The bounds are wide: a busy machine must not fail the test.
#[test]
fn questions_stay_quick_beside_100_000_senders_and_10_000_incidents() {
    let directory = quick_directory();
    let mut store = Store::open(directory.path()).unwrap();
    let mut engine = engine(store.key);
    feed(&mut engine, 100_000, 0);
    let rows: Vec<AlertRow> = (0..10_000).map(|n| AlertRow::of(&alert_of(n, 0, "opened"))).collect();
    store.commit(&mut engine, &[], &rows).unwrap();
    let reader = Reader::open(directory.path()).unwrap();
    let page = Page { offset: 5_000, limit: 50 };
    for (name, order) in SenderOrder::NAMES {
        let took = quickest(|| reader.senders(&SenderFilter::default(), *order, page).unwrap());
        println!("senders by {name}: {took:.1} ms");
        assert!(took < 2_000.0, "{took} ms");
    }
    let search = SenderFilter { name: Some("0.77.7".into()), ..SenderFilter::default() };
    let took = quickest(|| reader.senders(&search, SenderOrder::LastAt, Page::default()).unwrap());
    println!("senders by a part of the name: {took:.1} ms");
    assert!(took < 2_000.0, "{took} ms");
    let took = quickest(|| reader.sender(&sender_named("10.0.77.7")).unwrap());
    println!("one sender: {took:.1} ms");
    for (what, filter) in [
        ("all incidents", IncidentFilter::default()),
        ("incidents not reviewed", IncidentFilter { reviewed: Some(false), ..IncidentFilter::default() }),
        (
            "incidents of a sender",
            IncidentFilter { sender: Some("0.7.7".into()), ..IncidentFilter::default() },
        ),
    ] {
        let took = quickest(|| reader.incidents(&filter, page).unwrap());
        println!("{what}: {took:.1} ms");
        assert!(took < 2_000.0, "{took} ms");
    }
    let took = quickest(|| reader.incident(&format!("{:016x}", 5_000)).unwrap());
    println!("one incident: {took:.1} ms");
    assert!(took < 2_000.0, "{took} ms");
}
