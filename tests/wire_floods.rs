//! What an attacker can fill stays small, and hides nobody: SYNs from everywhere with one real abuser among them, and
//! dialogues that never get anywhere.
//!
//! Long forms, each in a process of its own, as the peak of memory is the process's:
//! `PORTREEVE_FLOOD_SYNS=10000000 cargo test --release --test wire_floods syns -- --nocapture` and
//! `PORTREEVE_FLOOD_DIALOGUES=200000 cargo test --release --test wire_floods dialogues -- --nocapture`.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod wire_support;

use etherparse::PacketBuilder;
use portreeve::capture::{LinkType, Packet};
use portreeve::company::Company;
use portreeve::engine::incident::IncidentChange;
use portreeve::engine::memory::InstallKey;
use portreeve::engine::model::Model;
use portreeve::engine::{Engine, Settings};
use portreeve::observation::Observation;
use portreeve::smtp::{WireRoad, WireSettings};
use portreeve::time::{CivilClock, Timestamp};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use wire_support::{Frame, Talk};

const MEMORY_KIB_MAX: i64 = 384 << 10;
const FLOOD_SECONDS: u64 = 1_800;

fn many(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}

fn peak_kib() -> i64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Road and engine, as a sensor without configuration has them.
struct Sensor {
    road: WireRoad,
    engine: Engine,
    found: Vec<Observation>,
    changes: Vec<IncidentChange>,
}

impl Sensor {
    fn new() -> Sensor {
        let company = Arc::new(Company::new(Vec::new(), &[], Vec::new(), CivilClock::utc()));
        let model = Model::shipped().unwrap();
        Sensor {
            road: WireRoad::new(Arc::clone(&company), WireSettings::default()),
            engine: Engine::new(company, model, Settings::default(), InstallKey([7; 16])),
            found: Vec::new(),
            changes: Vec::new(),
        }
    }

    fn packet(&mut self, at: Timestamp, bytes: &[u8]) {
        let original_bytes = bytes.len() as u32;
        self.road.packet(&Packet { at, link: LinkType::RAW, bytes, original_bytes }, &mut self.found);
        self.judge();
    }

    fn judge(&mut self) {
        for observation in self.found.drain(..) {
            self.engine.observe(&observation, &mut self.changes);
        }
    }

    fn accused(&self, address: Ipv4Addr) -> bool {
        let name = format!("{:?}", IpAddr::V4(address));
        self.changes.iter().any(|change| format!("{:?}", change.incident.sender).contains(&name))
    }
}

/// A number that looks random and is not: SplitMix64.
fn scatter(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn syn(source: Ipv4Addr, port: u16) -> Vec<u8> {
    let mut out = Vec::new();
    let builder = PacketBuilder::ipv4(source.octets(), [203, 0, 113, 25], 60);
    builder.tcp(port, 25, 1, 64_000).syn().write(&mut out, b"").unwrap();
    out
}

/// One spam to two recipients, the second of whom does not exist.
fn spam(from: Ipv4Addr, number: u32, micros: i64) -> Vec<Frame> {
    let mut talk = Talk::new(1_024 + (number % 60_000) as u16);
    (talk.address, talk.micros) = (from, micros);
    talk.handshake();
    talk.play(&format!(
        "S: 220 mx\nC: EHLO [{from}]\nS: 250 mx\nC: MAIL FROM:<x{number}@bank{number}.example>\nS: 250 ok\n\
         C: RCPT TO:<a{number}@d{number}.example>\nS: 250 ok\nC: RCPT TO:<b{number}@e{number}.example>\n\
         S: 550 5.1.1 no such user\nC: DATA\nS: 354 go\nC: Subject: win\nC: \nC: http://evil.example/\nC: .\nS: 250 ok\n\
         C: QUIT\nS: 221 bye"
    ));
    talk.close();
    talk.frames
}

#[test]
fn syns_from_everywhere_neither_fill_the_memory_nor_hide_the_abuser() {
    let syns = many("PORTREEVE_FLOOD_SYNS", 300_000);
    let abuser = Ipv4Addr::new(10, 66, 6, 6);
    let messages = 600;
    let mut sensor = Sensor::new();
    let (mut state, mut sent) = (1, 0);
    let mut waiting: std::collections::VecDeque<Frame> = Default::default();
    let began = 1_700_000_000_000_000i64;
    for i in 0..syns {
        let micros =
            began + (u128::from(i) * u128::from(FLOOD_SECONDS) * 1_000_000 / u128::from(syns)) as i64;
        while waiting.front().is_some_and(|frame| frame.at.as_micros() <= micros) {
            let frame = waiting.pop_front().unwrap();
            sensor.packet(frame.at, &frame.bytes);
        }
        if u64::from(sent) * syns <= i * messages {
            waiting.extend(spam(abuser, sent, micros));
            sent += 1;
        }
        let random = scatter(&mut state);
        let packet = syn(Ipv4Addr::from(random as u32), (random >> 32) as u16 | 1_024);
        sensor.packet(Timestamp::from_micros(micros), &packet);
    }
    sensor.road.finish(&mut sensor.found);
    sensor.judge();
    let counters = sensor.road.counters();
    let engine = sensor.engine.counters();
    println!(
        "{syns} SYNs: peak {} MiB; {} pushed out half open, {} open; {} sessions; {engine:?}",
        peak_kib() / 1024,
        counters.evicted_half_open,
        counters.evicted_open,
        counters.sessions
    );
    assert!(sensor.accused(abuser), "the abuser was not found");
    assert_eq!(counters.sessions, u64::from(sent));
    assert_eq!(counters.evicted_open, 0);
    assert!(sensor.engine.senders().len() < 1_000, "{} senders", sensor.engine.senders().len());
    assert!(peak_kib() <= MEMORY_KIB_MAX);
}

#[test]
fn slow_dialogues_stay_within_their_memory() {
    let dialogues = many("PORTREEVE_FLOOD_DIALOGUES", 5_000) as u32;
    let mut sensor = Sensor::new();
    let mut talks: Vec<Talk> = Vec::new();
    let began = 1_700_000_000_000_000i64;
    for i in 0..dialogues {
        let mut talk = Talk::new(1_024 + (i % 60_000) as u16);
        talk.address = Ipv4Addr::new(10, 77, (i / 60_000) as u8, 1);
        talk.micros = began + i64::from(i) * 100;
        talk.handshake();
        talk.play("S: 220 mx");
        for frame in std::mem::take(&mut talk.frames) {
            sensor.packet(frame.at, &frame.bytes);
        }
        talks.push(talk);
    }
    // One octet in thirty seconds, of a command that never ends.
    for round in 1..=20 {
        for (i, talk) in talks.iter_mut().enumerate() {
            talk.micros = began + round * 30_000_000 + i as i64 * 100;
            talk.say(wire_support::End::Client, b"E", true);
            for frame in std::mem::take(&mut talk.frames) {
                sensor.packet(frame.at, &frame.bytes);
            }
        }
    }
    let open_kib = peak_kib();
    sensor.road.finish(&mut sensor.found);
    sensor.judge();
    let counters = sensor.road.counters();
    println!("{dialogues} slow dialogues: peak {} MiB; {} sessions", open_kib / 1024, counters.sessions);
    assert_eq!(counters.sessions, u64::from(dialogues));
    assert_eq!((counters.evicted_open, counters.evicted_half_open), (0, 0));
    assert!(open_kib <= MEMORY_KIB_MAX);
}
