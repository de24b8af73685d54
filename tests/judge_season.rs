//! The season: holidays, one sender's blast, and an outage of the sensor leave what was learned of everybody as it was.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod judge_support;

use judge_support::*;
use portreeve::engine::Engine;
use portreeve::engine::sender::{Sender, SenderId, SenderKey};
use portreeve::observation::Vantage;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Days until which everybody is known.
const KNOWN_DAYS: u64 = 28;
const OFFICE: std::ops::Range<u64> = 8..18;

fn address(sender: u32) -> String {
    format!("10.0.{}.{}", sender / 8, 10 + sender % 8)
}

fn key(sender: u32) -> SenderKey {
    SenderKey { vantage: Vantage::Wire, id: SenderId::Address(address(sender).parse().unwrap()) }
}

/// Mail of days on which each of `senders` writes to people it knows, `share` times as often as usual.
fn ordinary(senders: u32, days: std::ops::Range<u64>, share: f64, seed: u64) -> Vec<Mail> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut mails = Vec::new();
    for hour in days.start * 24..days.end * 24 {
        for sender in 0..senders {
            let office = OFFICE.contains(&(hour % 24)) && hour / 24 % 7 < 5;
            let usual = if office { 3.0 + f64::from(sender % 5) } else { 0.2 };
            for _ in 0..12 {
                if rng.random_bool(usual * share / 12.0) {
                    let to = format!("friend{}@partner{}.example", rng.random_range(0..30), sender % 7);
                    let seconds = (hour * 3_600) as f64 + rng.random_range(0.0..3_600.0);
                    mails.push(mail(&address(sender), seconds, to));
                }
            }
        }
    }
    mails
}

fn send(engine: &mut Engine, mut mails: Vec<Mail>) {
    mails.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let mut out = Vec::new();
    mails.iter().for_each(|mail| mail.send(engine, &mut out));
    assert!(opened(&out).is_empty(), "{:?}", opened(&out));
}

fn days(engine: &mut Engine, senders: u32, days: std::ops::Range<u64>, share: f64, seed: u64) {
    send(engine, ordinary(senders, days, share, seed));
}

fn levels(engine: &Engine, senders: u32) -> Vec<f64> {
    (0..senders).map(|sender| engine.sender(&key(sender)).map_or(0.0, Sender::usual_per_day)).collect()
}

/// Ratios of what is usual after and before, over all senders together and for each.
fn moved(before: &[f64], after: &[f64]) -> (f64, Vec<f64>) {
    let ratios = before.iter().zip(after).map(|(before, after)| after / before).collect();
    (after.iter().sum::<f64>() / before.iter().sum::<f64>(), ratios)
}

#[test]
fn two_weeks_of_holidays_move_nothing_by_more_than_a_tenth() {
    for (share, seed) in [(0.1, 1), (0.02, 2), (0.0, 3)] {
        let mut engine = engine();
        days(&mut engine, 24, 0..KNOWN_DAYS, 1.0, seed);
        let before = levels(&engine, 24);
        days(&mut engine, 24, KNOWN_DAYS..KNOWN_DAYS + 14, share, seed + 10);
        // One message each, when the holidays are over: hours before it are closed with the next delivery.
        let mut out = Vec::new();
        for sender in 0..24 {
            let seconds = ((KNOWN_DAYS + 14) * 86_400 + 8 * 3_600) as f64 + f64::from(sender);
            mail(&address(sender), seconds, "friend1@partner1.example").send(&mut engine, &mut out);
        }
        let (together, each) = moved(&before, &levels(&engine, 24));
        assert!((0.95..1.05).contains(&together), "{share}: {together}");
        assert!(each.iter().all(|ratio| (0.9..1.1).contains(ratio)), "{share}: {each:?}");
    }
}

/// The same quiet of one sender alone is its own: it is learned.
#[test]
fn one_sender_that_falls_silent_is_no_holiday() {
    let mut engine = engine();
    days(&mut engine, 24, 0..KNOWN_DAYS, 1.0, 1);
    let before = levels(&engine, 24);
    // The last sender is left out.
    days(&mut engine, 23, KNOWN_DAYS..KNOWN_DAYS + 14, 1.0, 2);
    let mut out = Vec::new();
    mail(&address(23), ((KNOWN_DAYS + 14) * 86_400) as f64, "friend1@partner1.example")
        .send(&mut engine, &mut out);
    let (_, each) = moved(&before, &levels(&engine, 24));
    assert!(each[23] < 0.8, "{each:?}");
}

#[test]
fn one_blast_does_not_look_like_a_busy_day() {
    let taught = |blast: bool| {
        let mut engine = engine();
        days(&mut engine, 24, 0..KNOWN_DAYS, 1.0, 5);
        let mut mails = ordinary(24, KNOWN_DAYS..KNOWN_DAYS + 1, 1.0, 6);
        for n in 0..if blast { 4_000u32 } else { 0 } {
            let seconds = (KNOWN_DAYS * 86_400 + 8 * 3_600) as f64 + f64::from(n) * 3.0;
            mails.push(mail(&address(0), seconds, format!("friend{}@partner0.example", n % 30)));
        }
        send(&mut engine, mails);
        engine
    };
    let (with, without) = (taught(true), taught(false));
    assert_eq!((with.common_factor(Vantage::Wire), without.common_factor(Vantage::Wire)), (1.0, 1.0));
    assert_eq!(levels(&with, 24)[1..], levels(&without, 24)[1..]);
}

#[test]
fn an_outage_is_no_holiday_and_teaches_nothing() {
    let mut engine = engine();
    days(&mut engine, 24, 0..KNOWN_DAYS, 1.0, 7);
    let before = levels(&engine, 24);
    days(&mut engine, 24, KNOWN_DAYS + 7..KNOWN_DAYS + 8, 1.0, 8);
    let (together, each) = moved(&before, &levels(&engine, 24));
    assert!((0.93..1.07).contains(&together), "{together}");
    assert!(each.iter().all(|ratio| (0.9..1.1).contains(ratio)), "{each:?}");
    assert_eq!(engine.common_factor(Vantage::Wire), 1.0);
}

/// What was learned of the season survives a restart.
#[test]
fn the_season_is_stored() {
    let mut whole = engine();
    days(&mut whole, 24, 0..KNOWN_DAYS, 1.0, 9);
    days(&mut whole, 24, KNOWN_DAYS..KNOWN_DAYS + 3, 0.05, 10);
    let factor = whole.common_factor(Vantage::Wire);
    assert!(factor < 0.5, "{factor}");
    let mut other = engine();
    assert!(other.import_shared(&whole.export_shared()));
    assert_eq!(other.common_factor(Vantage::Wire), factor);
    for (key, blob) in whole.take_changed() {
        assert!(other.import_sender(key, &blob));
    }
    days(&mut whole, 24, KNOWN_DAYS + 3..KNOWN_DAYS + 6, 0.05, 11);
    days(&mut other, 24, KNOWN_DAYS + 3..KNOWN_DAYS + 6, 0.05, 11);
    assert_eq!(levels(&whole, 24), levels(&other, 24));
}
