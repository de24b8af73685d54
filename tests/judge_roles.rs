//! Roles of senders that nobody declared: learned from what they do, said when they change, never against a
//! declaration.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod judge_support;

use judge_support::*;
use portreeve::company::{Company, Host, Role};
use portreeve::engine::Engine;
use portreeve::engine::sender::{SenderId, SenderKey};
use portreeve::observation::Vantage;
use portreeve::time::CivilClock;
use std::sync::Arc;

const DAY: f64 = 86_400.0;
/// An address of ours that nobody declared.
const ADDRESS: &str = "10.1.2.3";

fn key() -> SenderKey {
    SenderKey { vantage: Vantage::Wire, id: SenderId::Address(ADDRESS.parse().unwrap()) }
}

fn role(engine: &Engine) -> Role {
    engine.sender(&key()).unwrap().role
}

/// Lets an hour of a habit pass: so many messages, each to whom it names.
fn hour(engine: &mut Engine, hour: u64, messages: u64, to: impl Fn(u64) -> String) {
    let mut out = Vec::new();
    for n in 0..messages {
        let seconds = hour as f64 * 3_600.0 + (n as f64 + 0.3) * 3_600.0 / messages as f64;
        mail(ADDRESS, seconds, to(hour * 1_000 + n)).send(engine, &mut out);
    }
    assert!(opened(&out).is_empty(), "hour {hour}: {out:?}");
}

fn weekday_at(hour: u64) -> Option<u64> {
    ((hour / 24) % 7 < 5).then_some(hour % 24)
}

/// People's mail through a server: by day, mostly to people known.
fn relay(engine: &mut Engine, hours: std::ops::Range<u64>) {
    for at in hours {
        let messages = match weekday_at(at) {
            Some(8..18) => 25 + at * 7 % 11,
            Some(_) => 3,
            None => 2,
        };
        hour(engine, at, messages, |n| {
            if n % 17 == 0 {
                format!("new{n}@far{}.example", n % 50)
            } else {
                format!("friend{}@near.example", n % 90)
            }
        });
    }
}

/// A probe: one message each third hour, day and night, to one mailbox.
fn device(engine: &mut Engine, hours: std::ops::Range<u64>) {
    for at in hours.filter(|at| at % 3 == 0) {
        hour(engine, at, 1, |_| "ops@corp.example".into());
    }
}

#[test]
fn a_server_that_nobody_declared_is_known_by_its_habits() {
    type Habit = fn(&mut Engine, std::ops::Range<u64>);
    let habits: [(Habit, Role); 2] = [(relay, Role::MailRelay), (device, Role::Device)];
    for (habit, expected) in habits {
        let mut engine = engine();
        habit(&mut engine, 0..6 * 24);
        assert_eq!(role(&engine), Role::Unused, "six days are too few");
        assert_eq!(engine.take_role_changes(), []);
        habit(&mut engine, 6 * 24..14 * 24);
        assert_eq!(role(&engine), expected);
        let changes = engine.take_role_changes();
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert_eq!(
            (changes[0].before, changes[0].role, &changes[0].sender),
            (Role::Unused, expected, &key())
        );
        assert!(changes[0].at >= at(7.0 * DAY) && changes[0].at < at(9.0 * DAY), "{:?}", changes[0].at);
        assert_eq!(engine.sender(&key()).unwrap().learned_role.as_ref().unwrap().since, changes[0].at);
    }
}

#[test]
fn a_role_that_changes_is_said_once_and_survives_a_restart() {
    let mut engine = engine();
    device(&mut engine, 0..14 * 24);
    relay(&mut engine, 14 * 24..56 * 24);
    let changes = engine.take_role_changes();
    let roles: Vec<Role> = changes.iter().map(|change| change.role).collect();
    assert_eq!((roles[0], *roles.last().unwrap()), (Role::Device, Role::MailRelay), "{roles:?}");
    assert!(roles.windows(2).all(|pair| pair[0] != pair[1]) && roles.len() <= 3, "{roles:?}");

    let mut restarted = judge_support::engine();
    for (key, blob) in engine.take_changed() {
        assert!(restarted.import_sender(key, &blob));
    }
    assert!(restarted.import_shared(&engine.export_shared()));
    assert_eq!(restarted.sender(&key()), engine.sender(&key()));
    relay(&mut restarted, 56 * 24..63 * 24);
    assert_eq!(restarted.take_role_changes(), []);
}

#[test]
fn a_declared_role_is_never_left_and_holds_at_once() {
    let mut engine = engine();
    relay(&mut engine, 0..10 * 24);
    assert_eq!(role(&engine), Role::MailRelay);
    let host = Host { name: "shop".into(), address: ADDRESS.parse().unwrap(), role: Some(Role::Application) };
    let networks = vec!["10.0.0.0/8".parse().unwrap()];
    let company = Company::new(networks, &["corp.example".into()], vec![host], CivilClock::utc());
    engine.reconfigure(Arc::new(company), portreeve::engine::Settings::default());
    assert_eq!(role(&engine), Role::Application);
    assert_eq!(engine.sender(&key()).unwrap().learned_role, None);
    engine.take_role_changes();
    relay(&mut engine, 10 * 24..20 * 24);
    assert_eq!((role(&engine), engine.take_role_changes()), (Role::Application, vec![]));
}

#[test]
fn nothing_is_learned_of_a_role_under_suspicion() {
    let mut engine = engine();
    device(&mut engine, 0..14 * 24);
    engine.take_role_changes();
    let mut out = spam(&mut engine, ADDRESS, 14.0 * DAY + 1_000.0, 400);
    assert!(!opened(&out).is_empty());
    // The blast goes on for days: what it does is not what this address is for.
    for day in 15..19 {
        out.extend(spam(&mut engine, ADDRESS, f64::from(day) * DAY + 1_000.0, 400));
    }
    assert_eq!((role(&engine), engine.take_role_changes()), (Role::Device, vec![]));
}
