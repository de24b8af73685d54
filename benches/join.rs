//! What laying wire and log side by side costs, beside the judge, and how large its table gets.
//!
//! Ten days of a relay of which both roads see the mail, half of it under TLS, one per cent lost by the capture. Then
//! the worst case: a log of which the wire shows nothing, faster than anything can be settled. `cargo bench --bench
//! join`; the smallest of `ROUNDS` (5) counts.

#![allow(clippy::unwrap_used)] // a tool for developers: it fails loudly

#[path = "../tests/join_support/mod.rs"]
mod join_support;

use join_support::{Mail, company, days, observations};
use portreeve::engine::memory::InstallKey;
use portreeve::engine::model::Model;
use portreeve::engine::{Engine, Settings};
use portreeve::join::Join;
use portreeve::limits;
use portreeve::observation::Observation;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::hint::black_box;
use std::time::Instant;

/// What a round does with each observation.
#[derive(Clone, Copy)]
struct Parts {
    join: bool,
    judge: bool,
}

fn main() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let mails = days(&mut StdRng::seed_from_u64(1), 0, 10, 3_000, true, 400);
    let list = observations(mails);
    // In turns, so that a busy machine disturbs all alike.
    let modes = [(false, false), (false, true), (true, false), (true, true)];
    let mut least = [f64::INFINITY; 4];
    for _ in 0..rounds {
        for (least, (join, judge)) in least.iter_mut().zip(modes) {
            *least = least.min(nanos(&list, Parts { join, judge }));
        }
    }
    let [hand_over, judge, join, both] = least;
    let (judge, join, both) = (judge - hand_over, join - hand_over, both - hand_over);
    println!(
        "{} observations: judge {judge:.0} ns each, join alone {join:.0} ns, join and judge with what the join tells {both:.0} ns \
         (+{:.0} %); to hand one over, {hand_over:.0} ns, is not counted",
        list.len(),
        100.0 * (both / judge - 1.0)
    );
    crowd();
}

/// Nanoseconds an observation. Each is made anew and given away, as the roads do.
fn nanos(list: &[Observation], parts: Parts) -> f64 {
    let mut join = Join::new([7; 16], false);
    let mut engine =
        Engine::new(company(), Model::shipped().unwrap(), Settings::default(), InstallKey([7; 16]));
    let (mut changes, mut told) = (Vec::new(), Vec::new());
    let began = Instant::now();
    for observation in list {
        let observation = observation.clone();
        if parts.judge {
            engine.observe(&observation, &mut changes);
        }
        if parts.join {
            join.observe(black_box(observation), &mut told);
        } else {
            drop(black_box(observation));
        }
        if parts.judge {
            told.iter().for_each(|piece| engine.observe(piece, &mut changes));
        }
        told.clear();
        black_box(&changes);
    }
    let nanos = began.elapsed().as_nanos() as f64 / list.len() as f64;
    black_box(join.counters());
    nanos
}

/// Three times what the table holds, for as many forward-paths, within a second.
fn crowd() {
    let pieces = 3 * limits::JOIN_WAITING_MAX as u32;
    let mail = |number: u32| Mail {
        at: f64::from(number) / f64::from(pieces),
        person: number,
        responder: "198.51.100.1".parse().unwrap(),
        id: (1 << 20) + u64::from(number),
        code: 250,
        under_tls: false,
        logged: true,
        lost: true,
    };
    let list = observations((0..pieces).map(mail).collect());
    let (mut join, mut told) = (Join::new([7; 16], false), Vec::new());
    let before = resident_bytes();
    let began = Instant::now();
    for observation in &list {
        join.observe(observation.clone(), &mut told);
    }
    let nanos = began.elapsed().as_nanos() as f64 / f64::from(pieces);
    let grown = resident_bytes().saturating_sub(before);
    println!(
        "a log without a wire, {pieces} pieces in a second: {nanos:.0} ns each, {} wait, {} evicted, {} MiB",
        limits::JOIN_WAITING_MAX,
        join.counters().evicted,
        grown >> 20
    );
    assert_eq!(join.counters().evicted, u64::from(pieces) - limits::JOIN_WAITING_MAX as u64);
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}
