//! Wire and log of one relay laid side by side: ordinary days raise nothing, mail past the log is found.

#![allow(clippy::unwrap_used)] // a test fails loudly

use portreeve::company::{Company, Host, Role};
use portreeve::engine::incident::{Change, IncidentChange};
use portreeve::engine::memory::InstallKey;
use portreeve::engine::model::Model;
use portreeve::engine::{Engine, Settings};
use portreeve::join::Join;
use portreeve::mail::{Mailbox, Reply, ReversePath};
use portreeve::observation::*;
use portreeve::time::{CivilClock, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::net::IpAddr;
use std::sync::Arc;

const RELAY: &str = "203.0.113.10";
const DAY_SECONDS: f64 = 86_400.0;

fn company() -> Arc<Company> {
    let host = Host { name: "mx1".into(), address: RELAY.parse().unwrap(), role: Some(Role::MailRelay) };
    Arc::new(Company::new(
        vec!["203.0.113.0/24".parse().unwrap()],
        &["home.example".into()],
        vec![host],
        CivilClock::utc(),
    ))
}

/// One delivery of the relay, which either road may see.
struct Mail {
    at: f64,
    person: u32,
    responder: IpAddr,
    id: u64,
    code: u16,
    under_tls: bool,
    logged: bool,
    /// Lost by the capture.
    lost: bool,
}

fn start() -> Timestamp {
    Timestamp::parse_rfc3339("2026-03-02T00:00:00Z").unwrap()
}

fn observation(seconds: f64, vantage: Vantage, fact: Fact) -> Observation {
    let sender = SenderKeys { address: Some(RELAY.parse().unwrap()), ..SenderKeys::default() };
    Observation { at: start().plus_seconds(seconds), vantage, sender, fact }
}

fn delivery(mail: &Mail, queue_id: Option<String>, text: String) -> Fact {
    let to = format!("person{}@away.example", mail.person);
    Fact::Delivery(Delivery {
        responder: Some(mail.responder),
        reverse_path: Some(ReversePath::parse(b"clerk@home.example")),
        forward_path: Mailbox::parse(to.as_bytes()),
        reply: Some(Reply { code: Some(mail.code), enhanced: None, text: Some(text.as_str().into()) }),
        retry: None,
        queue_id: queue_id.map(|id| id.as_str().into()),
    })
}

/// The views of a piece of mail, in the words of each road.
fn views(mail: &Mail) -> Vec<Observation> {
    let mut list = Vec::new();
    if mail.under_tls && !mail.lost {
        let session = Session {
            responder: mail.responder,
            opened_at: start().plus_seconds(mail.at - 1.0),
            helo: None,
            tls: Tls::Started,
            opaque: Some(Opaque { originator_bytes: 5_000, responder_bytes: 900, messages_estimated: 1 }),
            messages: 0,
            recipients: 0,
            recipients_refused: 0,
            ended: SessionEnd::Quit,
            gap_bytes: 0,
            oddities: Vec::new(),
        };
        list.push(observation(mail.at + 2.0, Vantage::Wire, Fact::Session(session)));
    } else if !mail.lost {
        let text = format!("2.0.0 Ok: queued as\n{:X}", mail.id);
        list.push(observation(mail.at, Vantage::Wire, delivery(mail, None, text)));
    }
    if mail.logged {
        let text = format!("2.0.0 Ok: queued as {:X}", mail.id);
        let queue_id = Some(format!("Q{:x}", mail.id));
        // Stamps of whole seconds, written after the answer.
        list.push(observation((mail.at + 0.3).floor(), Vantage::Log, delivery(mail, queue_id, text)));
    }
    list
}

/// Days of a relay with `per_day` pieces a day by daylight, one per cent lost by the capture.
fn days(rng: &mut StdRng, from_day: u32, days: u32, per_day: u32, logged: bool, people: u32) -> Vec<Mail> {
    let mut list = Vec::new();
    for day in from_day..from_day + days {
        for _ in 0..per_day {
            let hour = rng.random_range(0.0..1.0f64) + rng.random_range(0.0..1.0f64);
            let at = f64::from(day) * DAY_SECONDS + hour / 2.0 * DAY_SECONDS;
            let person = rng.random_range(0..people);
            let responder = IpAddr::from([198, 51, 100, (person % 200) as u8]);
            let mail = Mail {
                at,
                person,
                responder,
                id: rng.random_range(1 << 20..u64::MAX),
                code: 250,
                under_tls: person % 2 == 1,
                logged,
                lost: rng.random_range(0..100) == 0,
            };
            if rng.random_range(0..50) == 0 {
                // Greylisted first, and tried again.
                list.push(Mail { code: 451, at: mail.at - 600.0, ..mail });
            }
            list.push(mail);
        }
    }
    list
}

struct Run {
    opened: Vec<IncidentChange>,
    join: Join,
    reconciled: Vec<Observation>,
}

fn run(mut mails: Vec<Mail>) -> Run {
    mails.sort_by(|a, b| a.at.total_cmp(&b.at));
    let mut observations: Vec<Observation> = mails.iter().flat_map(views).collect();
    observations.sort_by_key(|observation| observation.at);
    let company = company();
    let mut join = Join::new(Arc::clone(&company), [7; 16]);
    let mut engine =
        Engine::new(company, Model::shipped().unwrap(), Settings::default(), InstallKey([7; 16]));
    let (mut changes, mut reconciled) = (Vec::new(), Vec::new());
    for observation in &observations {
        let from = reconciled.len();
        join.observe(observation, &mut reconciled);
        engine.observe(observation, &mut changes);
        for piece in &reconciled[from..] {
            engine.observe(piece, &mut changes);
        }
    }
    let opened = changes.into_iter().filter(|change| change.change == Change::Opened).collect();
    Run { opened, join, reconciled }
}

#[test]
fn ten_ordinary_days_match_and_raise_nothing() {
    for seed in 0..3 {
        let mut rng = StdRng::seed_from_u64(seed);
        let run = run(days(&mut rng, 0, 10, 3_000, true, 400));
        let counters = run.join.counters();
        let matched = counters.matched_by_reply + counters.matched_by_path + counters.matched_by_session;
        // One per cent of the packets' side is lost; all the rest must match.
        assert!(matched as f64 >= 0.985 * 30_000.0, "{counters:?}");
        assert!(counters.wire_only <= 10, "{counters:?}");
        assert!(run.opened.iter().all(|change| change.incident.template != "unlogged"), "{:#?}", run.opened);
    }
}

#[test]
fn no_two_pieces_of_mail_are_mixed_up() {
    let mut rng = StdRng::seed_from_u64(11);
    // Few people get much mail: many pieces to one forward-path within seconds.
    let run = run(days(&mut rng, 0, 1, 12_000, true, 20));
    let mut checked = 0;
    for piece in &run.reconciled {
        let Fact::Reconciled(fact) = &piece.fact else { panic!("{piece:?}") };
        let (Some(delivery), View::MatchedByReply) = (&fact.delivery, fact.view) else { continue };
        // The queue id of the log was made from the id in the receiver's answer, which the wire saw.
        let said = delivery.reply.as_ref().unwrap().text.as_ref().unwrap().to_lossy();
        let id = u64::from_str_radix(said.rsplit(['\n', ' ', '\u{fffd}']).next().unwrap(), 16);
        let queue_id = piece.sender.account.as_ref();
        assert!(id.is_ok() && queue_id.is_none(), "{said}");
        checked += 1;
    }
    assert!(checked >= 5_000, "{checked}");
}

#[test]
fn fifty_unlogged_a_day_are_found_within_sixty() {
    let (mut found, worlds) = (0, 10);
    for seed in 100..100 + worlds {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut mails = days(&mut rng, 0, 8, 3_000, true, 400);
        let past_the_log = days(&mut rng, 5, 3, 50, false, 5_000);
        let mut times: Vec<f64> = past_the_log.iter().filter(|mail| !mail.lost).map(|mail| mail.at).collect();
        times.sort_by(f64::total_cmp);
        mails.extend(past_the_log);
        let run = run(mails);
        let Some(alarm) = run.opened.iter().find(|change| change.incident.template == "unlogged") else {
            continue;
        };
        assert!(alarm.at.seconds_since(start()) >= 5.0 * DAY_SECONDS, "seed {seed}: {alarm:#?}");
        let sent = times.iter().filter(|at| start().plus_seconds(**at) <= alarm.at).count();
        println!("seed {seed}: found after {sent} unlogged messages");
        assert!(sent <= 60, "seed {seed}: {sent}");
        assert_eq!(alarm.incident.evidence[0].name, "unlogged_mail");
        assert!(!alarm.incident.samples.is_empty());
        found += 1;
    }
    assert_eq!(found, worlds);
}

#[test]
fn a_log_that_stands_still_accuses_nobody() {
    let mut rng = StdRng::seed_from_u64(5);
    let mut mails = days(&mut rng, 0, 6, 3_000, true, 400);
    for mail in &mut mails {
        // The log is not written for six hours of the sixth day.
        mail.logged = !(5.3..5.55).contains(&(mail.at / DAY_SECONDS));
    }
    let run = run(mails);
    assert!(run.opened.is_empty(), "{:#?}", run.opened);
    assert!(run.join.counters().unsettled > 500, "{:?}", run.join.counters());
}
