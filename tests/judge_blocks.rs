//! Blocks of dormant addresses, and accounts behind a busy relay: through the whole engine.
//!
//! `PORTREEVE_CAMPAIGN=60 cargo test --release --test judge_blocks -- --nocapture` runs more worlds.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod judge_support;

use judge_support::*;
use portreeve::engine::Engine;
use portreeve::engine::incident::IncidentChange;
use portreeve::engine::sender::SenderId;
use portreeve::observation::Vantage;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ATTACK: f64 = 5.0 * 86_400.0 + 14.0 * 3_600.0;

fn worlds(usual: u64) -> u64 {
    std::env::var("PORTREEVE_CAMPAIGN").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn median(mut list: Vec<usize>) -> usize {
    list.sort_unstable();
    list[list.len() / 2]
}

/// The verdict of one message of a dirty list.
fn code(rng: &mut ChaCha8Rng) -> u16 {
    if rng.random_bool(0.35) { 550 } else { 250 }
}

/// The message of the block at which the block was accused; `None` where it never was.
fn snowshoe(engine: &mut Engine, seed: u64) -> (Option<usize>, Vec<IncidentChange>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut times: Vec<f64> = (0..64).map(|_| ATTACK + 7_200.0 * rng.random::<f64>()).collect();
    times.sort_by(f64::total_cmp);
    let (mut out, mut found) = (Vec::new(), None);
    for (index, seconds) in times.into_iter().enumerate() {
        let mut one =
            mail(&format!("192.0.2.{}", 3 * index + 7), seconds, format!("v{seed}-{index}@else.example"));
        one.code = code(&mut rng);
        one.send(engine, &mut out);
        let block = |change: &&&IncidentChange| matches!(change.incident.sender, SenderId::Block(_));
        if found.is_none() && opened(&out).iter().any(|change| block(&change)) {
            found = Some(index + 1);
        }
    }
    (found, out)
}

#[test]
fn a_snowshoe_over_a_dormant_block_is_found_by_its_wake_ups() {
    let count = worlds(20);
    let mut delays = Vec::new();
    for seed in 0..count {
        let mut engine = engine();
        assert!(opened(&ordinary_days(&mut engine, 5)).is_empty());
        let (found, changes) = snowshoe(&mut engine, seed);
        let first = opened(&changes)[0].incident.clone();
        assert!(
            matches!(first.sender, SenderId::Block(_)),
            "the block comes before its addresses: {first:?}"
        );
        assert!(first.evidence.iter().any(|reason| reason.name == "wake_ups"), "{:?}", first.evidence);
        assert_eq!(opened(&changes).len(), 1, "one story, one incident");
        delays.extend(found);
    }
    println!("snowshoe: {} of {count} found, messages of the block {delays:?}", delays.len());
    assert!(delays.len() as f64 >= 0.95 * count as f64);
    assert!(median(delays) <= 3);
}

#[test]
fn three_new_machines_that_write_to_known_people_are_no_snowshoe() {
    let mut engine = engine();
    ordinary_days(&mut engine, 5);
    let mut out = Vec::new();
    for index in 0..12 {
        let seconds = ATTACK + 300.0 * f64::from(index);
        let to = format!("friend{index}@partner{}.example", index % 7);
        mail(&format!("192.0.2.{}", index + 1), seconds, to).send(&mut engine, &mut out);
    }
    assert_eq!(opened(&out).len(), 0, "{out:?}");
}

/// One message from one address in each of 16 blocks of a /20: no /24 sees enough, the /20 does. The same for one /64
/// in each of many of a /48, which wake at once.
#[test]
fn spam_spread_over_many_blocks_is_found_at_the_block_around_them() {
    let mut delays = Vec::new();
    for seed in 0..worlds(10) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut engine = engine();
        ordinary_days(&mut engine, 5);
        let mut out = Vec::new();
        for index in 0..64 {
            let address = format!("10.1.{}.{}", 16 + index % 16, 10 + rng.random_range(0..200));
            let to = format!("v{seed}-{index}@else.example");
            let mut one = mail(&address, ATTACK + 100.0 * f64::from(index), to);
            one.code = code(&mut rng);
            one.send(&mut engine, &mut out);
        }
        let first = opened(&out)[0].incident.clone();
        assert_eq!(first.sender, SenderId::Block("10.1.16.0/20".parse().unwrap()), "{first:?}");
        assert_eq!(opened(&out).len(), 1, "one story, one incident");
        delays.push(first.messages as usize);
    }
    println!("a /20 of 16 blocks: messages until it was accused {delays:?}");
    assert!(median(delays) <= 20);
}

#[test]
fn subnets_of_ipv6_that_wake_together_are_found_at_the_prefix_around_them() {
    let mut engine = engine();
    ordinary_days(&mut engine, 5);
    let mut out = Vec::new();
    for index in 0..12 {
        let address = format!("2001:db8:7:{index:x}::{index:x}");
        mail(&address, ATTACK + 60.0 * f64::from(index), format!("v{index}@else.example"))
            .send(&mut engine, &mut out);
    }
    let first = opened(&out)[0].incident.clone();
    assert_eq!(first.sender, SenderId::Block("2001:db8:7::/48".parse().unwrap()));
    assert!(first.messages <= 3 && opened(&out).len() == 1, "{out:?}");
}

/// Fourteen days of a relay with 3,000 messages a day of 40 accounts.
fn relay_days(engine: &mut Engine, days: u32, rng: &mut ChaCha8Rng) -> Vec<IncidentChange> {
    let mut out = Vec::new();
    for hour in 0..24 * days {
        let busy = (8..18).contains(&(hour % 24));
        let count = if busy { 280 } else { 14 };
        for n in 0..count {
            let seconds = f64::from(hour) * 3_600.0 + 3_600.0 * f64::from(n) / f64::from(count);
            // The person whose account will be stolen writes a few mails a day.
            let account = if rng.random_ratio(1, 400) { 0 } else { rng.random_range(1..40) };
            ordinary_of(account, seconds, rng).send(engine, &mut out);
        }
    }
    out
}

const NAMES: [&str; 40] = [
    "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9", "b0", "b1", "b2", "b3", "b4", "b5", "b6",
    "b7", "b8", "b9", "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "d0", "d1", "d2", "d3",
    "d4", "d5", "d6", "d7", "d8", "d9",
];

fn ordinary_of(account: usize, seconds: f64, rng: &mut ChaCha8Rng) -> Mail {
    let stranger = rng.random_bool(0.03);
    let friend = if stranger { rng.random_range(1_000..1_000_000) } else { rng.random_range(0..25) };
    let mut one = mail("203.0.113.10", seconds, format!("f{account}-{friend}@p{}.example", friend % 11));
    one.account = Some(NAMES[account]);
    one.client = Some(format!("10.1.{account}.9").parse().unwrap());
    one.vantage = Vantage::Log;
    one.code = if rng.random_bool(0.01) { 550 } else { 250 };
    one
}

#[test]
fn low_and_slow_through_one_account_is_found_at_the_account() {
    let count = worlds(4);
    let mut delays = Vec::new();
    for seed in 0..count {
        let mut rng = ChaCha8Rng::seed_from_u64(1_000 + seed);
        let mut engine = engine();
        let quiet = opened(&relay_days(&mut engine, 7, &mut rng)).len();
        assert_eq!(quiet, 0, "ordinary mail alarmed");
        let (mut out, mut seconds, mut messages) = (Vec::new(), 7.0 * 86_400.0, 0);
        let rate = rng.random_range(4.0..12.0);
        while messages < 200 && opened(&out).is_empty() {
            // Ordinary mail of the relay goes on around it.
            for _ in 0..12 {
                ordinary_of(rng.random_range(1..40), seconds, &mut rng).send(&mut engine, &mut out);
                seconds += 300.0 / rate;
            }
            let mut one = ordinary_of(0, seconds, &mut rng);
            (one.to, one.code) = (format!("victim{messages}@else{messages}.example"), code(&mut rng));
            one.send(&mut engine, &mut out);
            messages += 1;
        }
        let incident = opened(&out)[0].incident.clone();
        assert_eq!(incident.sender, SenderId::Account("a0".into()), "{incident:?}");
        assert!(incident.related.contains(&SenderId::Address("203.0.113.10".parse().unwrap())));
        delays.push(messages);
    }
    println!("low and slow at the account: {delays:?}");
    assert!(median(delays) <= 12);
}

#[test]
fn a_blast_through_an_account_names_account_and_relay_in_each_other() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut engine = engine();
    relay_days(&mut engine, 7, &mut rng);
    let mut out = Vec::new();
    for n in 0..3_000 {
        let mut one = ordinary_of(3, 7.0 * 86_400.0 + f64::from(n), &mut rng);
        (one.to, one.code) = (format!("victim{n}@else{n}.example"), code(&mut rng));
        one.send(&mut engine, &mut out);
    }
    let (account, relay) =
        (SenderId::Account("a3".into()), SenderId::Address("203.0.113.10".parse().unwrap()));
    let last = |id: &SenderId| out.iter().rev().find(|change| change.incident.sender == *id).unwrap();
    assert!(last(&account).incident.related.contains(&relay));
    assert!(last(&relay).incident.related.contains(&account));
}
