//! Wire and log of one relay laid side by side: ordinary days raise nothing, mail past the log is found.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod join_support;

use join_support::*;
use portreeve::engine::incident::{Change, IncidentChange};
use portreeve::engine::memory::InstallKey;
use portreeve::engine::model::Model;
use portreeve::engine::trail::Trail;
use portreeve::engine::{Engine, Settings};
use portreeve::join::Join;
use portreeve::join::coverage::Blind;
use portreeve::observation::*;
use portreeve::time::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::HashMap;

struct Run {
    opened: Vec<IncidentChange>,
    join: Join,
    blind: Vec<Blind>,
}

fn run(mails: Vec<Mail>) -> Run {
    let observations = observations(mails);
    let mut join = Join::new([7; 16], false);
    let mut engine =
        Engine::new(company(), Model::shipped().unwrap(), Settings::default(), InstallKey([7; 16]));
    let (mut changes, mut reconciled) = (Vec::new(), Vec::new());
    for observation in &observations {
        let from = reconciled.len();
        engine.observe(observation, &mut changes);
        join.observe(observation.clone(), &mut reconciled);
        for piece in &reconciled[from..] {
            engine.observe(piece, &mut changes);
        }
    }
    let opened = changes.into_iter().filter(|change| change.change == Change::Opened).collect();
    let blind = join.take_blind();
    Run { opened, join, blind }
}

#[test]
fn ten_ordinary_days_match_and_raise_nothing() {
    for seed in 0..3 {
        let mut rng = StdRng::seed_from_u64(seed);
        let run = run(days(&mut rng, 0, 10, 3_000, true, 400));
        let counters = run.join.counters();
        // One per cent of the packets' side is lost; all the rest must match.
        assert!(counters.matched() as f64 >= 0.985 * 30_000.0, "{counters:?}");
        assert!(counters.wire_only <= 10, "{counters:?}");
        assert!(run.opened.iter().all(|change| change.incident.template != "unlogged"), "{:#?}", run.opened);
        assert!(run.blind.is_empty(), "{:?}", run.blind);
    }
}

#[test]
fn no_two_pieces_of_mail_are_mixed_up() {
    let mut rng = StdRng::seed_from_u64(11);
    // Few people get much mail: many pieces to one forward-path within seconds.
    let mut mails = days(&mut rng, 0, 2, 14_000, true, 20);
    mails.iter_mut().for_each(|mail| mail.under_tls = false);
    let mut observations = observations(mails);
    for observation in &mut observations {
        // The log's line says which piece it is, where the join carries it along and does not look at it.
        if let (Vantage::Log, Fact::Delivery(delivery)) = (observation.vantage, &observation.fact) {
            observation.sender.account.clone_from(&delivery.queue_id);
        }
    }
    // The receiver's answer, as the wire saw it, ends with the id that the log's queue id was made from.
    let said = |observation: &Observation| match (observation.vantage, &observation.fact) {
        (Vantage::Wire, Fact::Delivery(delivery)) => {
            Some((observation.at, delivery.reply.as_ref()?.text.as_ref()?.to_lossy()))
        }
        _ => None,
    };
    let said: HashMap<Timestamp, String> = observations.iter().filter_map(said).collect();
    let (mut join, mut reconciled) = (Join::new([7; 16], false), Vec::new());
    observations.into_iter().for_each(|observation| join.observe(observation, &mut reconciled));
    let mut checked = 0;
    for piece in &reconciled {
        let Fact::Reconciled(fact) = &piece.fact else { panic!("{piece:?}") };
        if fact.view != View::MatchedByReply {
            continue;
        }
        let said = &said[&fact.seen_at];
        let id = said.rsplit(['\n', ' ', '\u{fffd}']).next().unwrap().to_lowercase();
        assert_eq!(piece.sender.account.as_ref().unwrap().to_lossy(), format!("Q{id}"), "{said}");
        checked += 1;
    }
    println!("{checked} of {} pieces matched by the answer, none wrongly", reconciled.len());
    assert!(checked >= 10_000, "{checked}");
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
        // Whose mail is logged says nothing about mail that is not.
        assert_eq!(alarm.incident.trail, Trail::default());
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

#[test]
fn a_path_that_the_sensor_no_longer_sees_is_told_once() {
    for (share, seed) in [(100, 21), (34, 22)] {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut mails = days(&mut rng, 0, 9, 2_000, true, 400);
        for mail in &mut mails {
            // From the fourth day on, the mail to some receivers takes another way out.
            mail.lost |= mail.at >= 3.2 * DAY_SECONDS && mail.person % 100 < share && mail.person % 3 != 1;
        }
        let run = run(mails);
        let [blind] = &run.blind[..] else { panic!("{:?}", run.blind) };
        let delay = blind.at.seconds_since(start().plus_seconds(3.2 * DAY_SECONDS));
        println!("{share} %: told after {:.1} h, {} of {}", delay / 3_600.0, blind.unseen, blind.pieces);
        assert!((0.0..12.0 * 3_600.0).contains(&delay), "{blind:?}");
        assert!(blind.unseen >= 20 && blind.usual_share < 0.05 && !blind.receivers.is_empty(), "{blind:?}");
        assert_eq!(blind.server.to_string(), RELAY);
    }
}

#[test]
fn a_sensor_that_did_not_run_or_never_did_accuses_no_path() {
    let mut rng = StdRng::seed_from_u64(31);
    let mut mails = days(&mut rng, 0, 6, 3_000, true, 400);
    for mail in &mut mails {
        // No packets for ten hours of the fourth day.
        mail.lost |= (3.3..3.7).contains(&(mail.at / DAY_SECONDS));
    }
    let outage = run(mails);
    assert!(outage.blind.is_empty(), "{:?}", outage.blind);
    assert!(outage.join.counters().unsettled > 1_000, "{:?}", outage.join.counters());
    // Only the log is configured.
    let mut mails = days(&mut rng, 0, 3, 3_000, true, 400);
    mails.iter_mut().for_each(|mail| mail.lost = true);
    let only_log = run(mails);
    assert!(only_log.blind.is_empty() && only_log.opened.is_empty(), "{:?}", only_log.blind);
    assert_eq!(only_log.join.counters().log_only, 0);
}

#[test]
fn bursts_of_loss_are_no_blindness() {
    for seed in 41..44 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut mails = days(&mut rng, 0, 10, 3_000, true, 400);
        for mail in &mut mails {
            // Once an hour the capture is overrun for ten seconds to two minutes; one in fifty is lost besides.
            let into_hour = mail.at.rem_euclid(3_600.0);
            let overrun = 10.0 + (mail.at / 3_600.0).floor() * 37.0 % 110.0;
            mail.lost |= into_hour < overrun || rng.random_range(0..50) == 0;
        }
        let run = run(mails);
        assert!(run.blind.is_empty(), "{:?}", run.blind);
    }
}
