//! What an incident tells beside its reasons: whose mail it is, which way it left, whom it reached, which stages were
//! seen and when.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod judge_support;

use judge_support::*;
use portreeve::alert::Alert;
use portreeve::engine::Engine;
use portreeve::engine::incident::{Change, IncidentChange};
use portreeve::engine::memory::InstallKey;
use portreeve::engine::model::Model;
use portreeve::engine::reach::{Origin, STAGES, Stage};
use portreeve::engine::sender::SenderId;
use portreeve::engine::trail::Trail;
use portreeve::observation::*;

const RELAY: &str = "203.0.113.10";
const WEB: &str = "203.0.113.30";
/// The seventh day, ten in the morning.
const SUNDAY_TEN: f64 = 6.0 * 86_400.0 + 10.0 * 3_600.0;

/// A delivery that the relay's log tells of.
fn logged(account: &'static str, client: &str, seconds: f64, to: String) -> Mail {
    let client = Some(client.parse().unwrap());
    Mail {
        account: Some(account),
        client,
        vantage: Vantage::Log,
        from: "staff@corp.example",
        ..mail(RELAY, seconds, to)
    }
}

/// Six days of four accounts behind the relay, ten messages a day each, to people they know.
fn taught() -> Engine {
    let (mut engine, mut out) = (engine(), Vec::new());
    for hour in (0..144u32).filter(|hour| (8..18).contains(&(hour % 24))) {
        for (n, account) in ["ann", "bob", "cleo", "dan"].into_iter().enumerate() {
            let seconds = f64::from(hour) * 3_600.0 + 600.0 * n as f64;
            let friend = format!("friend{}@partner{n}.example", hour * 7 % 12);
            logged(account, &format!("10.0.{n}.7"), seconds, friend).send(&mut engine, &mut out);
        }
    }
    assert!(opened(&out).is_empty(), "{out:#?}");
    engine
}

fn login(account: &str, client: &str, seconds: f64, succeeded: bool) -> Observation {
    let sender = SenderKeys {
        address: Some(RELAY.parse().unwrap()),
        account: Some(account.into()),
        client: Some(client.parse().unwrap()),
        ..SenderKeys::default()
    };
    let fact = Fact::Login(Login { succeeded });
    Observation { at: at(seconds), vantage: Vantage::Log, sender, fact }
}

/// Somebody guesses bob's password, sends himself one letter, and then 400 to strangers, two of them colleagues; the
/// others work on.
fn hijack(engine: &mut Engine) -> Vec<IncidentChange> {
    let mut out = Vec::new();
    for n in 0..20 {
        engine.observe(&login("bob", "198.18.7.9", SUNDAY_TEN - 4_000.0 + f64::from(n), n == 19), &mut out);
    }
    logged("bob", "198.18.7.9", SUNDAY_TEN, "me@evil.example".into()).send(engine, &mut out);
    for n in 0..400u32 {
        let to = match n {
            50 => "ann@corp.example".into(),
            51 => "cleo@mail.corp.example".into(),
            n => format!("victim{n}@else{}.example", n % 20),
        };
        let mut one = logged("bob", "198.18.7.9", SUNDAY_TEN + 600.0 + 2.0 * f64::from(n), to);
        one.code = if n >= 30 && n % 4 == 3 { 550 } else { 250 };
        one.send(engine, &mut out);
        if n % 100 == 10 {
            let friend = format!("friend{}@partner0.example", n % 12);
            logged("ann", "10.0.0.7", one.seconds + 1.0, friend).send(engine, &mut out);
        }
    }
    out
}

/// The same, and a quiet day: the incidents close with totals.
fn hijack_and_quiet(engine: &mut Engine) -> Vec<IncidentChange> {
    let mut out = hijack(engine);
    engine.advance(at(SUNDAY_TEN + 86_400.0), &mut out);
    out
}

#[test]
fn an_open_incident_keeps_what_was_told_last() {
    let mut engine = taught();
    let changes = hijack(&mut engine);
    for open in engine.open_incidents() {
        let told = changes.iter().rfind(|change| change.incident.sender == open.sender).unwrap();
        assert_eq!(told.change, Change::Updated);
        assert_eq!(open.trail, told.incident.trail);
    }
    assert_eq!(engine.open_incidents().count(), 2);
}

fn of<'a>(changes: &'a [IncidentChange], sender: &SenderId, change: Change) -> &'a IncidentChange {
    let mut of_sender = changes.iter().filter(|one| one.incident.sender == *sender && one.change == change);
    of_sender.next().unwrap_or_else(|| panic!("no {change:?} of {sender:?}"))
}

fn stage(trail: &Trail, wanted: Stage) -> Option<f64> {
    let place = STAGES.iter().position(|stage| *stage == wanted).unwrap();
    trail.stages[place].map(|seen| seen.seconds_since(at(SUNDAY_TEN)))
}

#[test]
fn an_account_names_its_clients_its_way_out_its_stages_and_whom_it_reached() {
    let mut engine = taught();
    let changes = hijack_and_quiet(&mut engine);
    let bob = SenderId::Account("bob".into());
    let trail = &of(&changes, &bob, Change::Closed).incident.trail;

    let first = &trail.origins[0];
    assert_eq!(first.origin, Origin::Client("198.18.7.9".parse().unwrap()));
    assert_eq!((first.usual, trail.origins_omitted), (None, 0));
    assert!(first.messages >= 400 && first.share_of_excess > 0.9, "{first:?}");
    let [(way, left)] = &trail.ways[..] else { panic!("{:?}", trail.ways) };
    assert_eq!(*way, SenderId::Address(RELAY.parse().unwrap()));
    assert_eq!(*left, first.messages);

    let accepted: u64 = trail.domains.iter().map(|(_, n)| n).sum::<u64>() + trail.domains_omitted;
    let refused = (30..400).filter(|n| n % 4 == 3).count() as u64;
    assert_eq!(accepted, first.messages - refused);
    assert_eq!(trail.inside, Some(1 + u64::from(51 % 4 != 3)));
    assert_eq!(trail.domains.len(), portreeve::limits::ALERT_DOMAINS_MAX);

    let seen = |wanted| stage(trail, wanted).unwrap();
    assert_eq!(seen(Stage::PasswordGuessed), -4_000.0 + 19.0);
    assert_eq!(seen(Stage::NewNetworkLogin), -4_000.0 + 19.0);
    assert_eq!(seen(Stage::FirstForeignMail), 0.0);
    assert!((600.0..660.0).contains(&seen(Stage::Blast)), "{}", seen(Stage::Blast));
    assert_eq!(seen(Stage::UnknownUsers), 662.0);
    assert_eq!(stage(trail, Stage::ReceiversBlock), None);
}

#[test]
fn the_relay_names_the_account_that_makes_up_the_excess() {
    let mut engine = taught();
    let changes = hijack_and_quiet(&mut engine);
    let relay = SenderId::Address(RELAY.parse().unwrap());
    let change = changes.iter().rfind(|one| one.incident.sender == relay && one.change != Change::Closed);
    let change = change.expect("the relay's own incident");
    let first = &change.incident.trail.origins[0];
    assert_eq!(first.origin, Origin::Account("bob".into()));
    assert!(first.share_of_excess > 0.9, "{:?}", change.incident.trail.origins);
    assert!(first.usual.unwrap() < 20.0, "{first:?}");
    let alert = Alert::of(change);
    assert!(alert.headline.contains("excess comes from account bob"), "{}", alert.headline);
    assert!(alert.next_steps[0].starts_with("Stop account bob"), "{:?}", alert.next_steps);
    // The logins of whom it names belong to its course.
    assert!(alert.chain.stages[1].seen_at.is_some() && alert.chain.next.is_some(), "{:?}", alert.chain);
}

#[test]
fn a_restart_forgets_nothing_of_it() {
    let (mut whole, mut first) = (taught(), taught());
    let halves = |engine: &mut Engine, restart: bool| {
        let mut out = Vec::new();
        engine.observe(&login("bob", "198.18.7.9", SUNDAY_TEN - 60.0, true), &mut out);
        for n in 0..120u32 {
            if restart && n == 60 {
                let mut next = engine_with(portreeve::engine::Settings::default());
                assert!(next.import_shared(&engine.export_shared()));
                for (key, blob) in engine.take_changed() {
                    assert!(next.import_sender(key, &blob));
                }
                *engine = next;
            }
            logged(
                "bob",
                "198.18.7.9",
                SUNDAY_TEN + 2.0 * f64::from(n),
                format!("v{n}@else{}.example", n % 9),
            )
            .send(engine, &mut out);
        }
        engine.advance(at(SUNDAY_TEN + 86_400.0), &mut out);
        out
    };
    let (without, with) = (halves(&mut whole, false), halves(&mut first, true));
    assert!(without.len() >= 2 && !without[0].incident.trail.origins.is_empty());
    assert_eq!(without, with);
}

#[test]
fn on_the_wire_the_log_names_the_accounts_and_headers_the_scripts() {
    let mut engine =
        Engine::new(company(), Model::shipped().unwrap(), Default::default(), InstallKey([7; 16]));
    assert!(opened(&ordinary_days(&mut engine, 6)).is_empty());
    let mut out = Vec::new();
    for n in 0..200u32 {
        let seconds = SUNDAY_TEN + 3.0 * f64::from(n);
        for address in [RELAY, WEB] {
            let mut one = mail(address, seconds, format!("victim{n}@else.example"));
            one.code = [550, 250, 250, 550, 250][n as usize % 5];
            let passed = one.observation();
            engine.observe(&passed, &mut out);
            let fact = match (address, &passed.fact) {
                (RELAY, Fact::Delivery(delivery)) => Fact::Reconciled(Reconciled {
                    view: View::MatchedByReply,
                    delivery: Some(Box::new(delivery.clone())),
                    recipient: None,
                    recipient_domain: None,
                    responder: delivery.responder,
                    seen_at: passed.at,
                }),
                _ => Fact::Message(Message {
                    responder: None,
                    recipients: 1,
                    size_bytes: None,
                    accepted: Some(true),
                    queue_id: None,
                    content: Some(Box::new(Content {
                        php_script: Some("contact.php".into()),
                        similarity: Some(0x1234_5678_9abc_def0),
                        ..Content::default()
                    })),
                }),
            };
            let mut sender = passed.sender.clone();
            if address == RELAY {
                sender.account = Some("dan".into());
            }
            engine.observe(&Observation { at: passed.at, vantage: Vantage::Wire, sender, fact }, &mut out);
        }
    }
    engine.advance(at(SUNDAY_TEN + 86_400.0), &mut out);
    let closed = |address: &str| {
        &of(&out, &SenderId::Address(address.parse().unwrap()), Change::Closed).incident.trail
    };
    assert_eq!(closed(RELAY).origins[0].origin, Origin::Account("dan".into()));
    assert!(closed(RELAY).origins[0].messages >= 195, "{:?}", closed(RELAY).origins);
    let [script] = &closed(WEB).headers[..] else { panic!("{:?}", closed(WEB)) };
    assert_eq!(script.origin, Origin::Script("contact.php".into()));
    assert!(script.messages >= 195 && script.share_of_excess > 0.9, "{script:?}");
    assert!(closed(WEB).origins.is_empty() && closed(WEB).origins_omitted == 0);
    // One letter to many.
    assert!(stage(closed(WEB), Stage::Blast).unwrap() < 60.0);
}
