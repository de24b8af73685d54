//! Flipped bits and cut files: never a panic, never a wrong memory. Either the damage is found and set aside, or
//! what comes back is a moment that was committed.
//!
//! CI runs 2,000 damages; the campaign is `PORTREEVE_DAMAGES=10000 cargo test --release --test store_damage`.

#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod store_support;

use portreeve::store::outbox::Outbox;
use portreeve::store::transfer::Baselines;
use portreeve::store::{Store, Trouble};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use store_support::*;

/// What a store holds, to compare moments.
#[derive(Debug, PartialEq)]
struct Content {
    baselines: Baselines,
    position: Option<String>,
    alerts: Vec<String>,
    cursor: i64,
}

fn content(store: &Store, directory: &Path) -> Content {
    let mut outbox = Outbox::open(directory).unwrap();
    Content {
        baselines: store.export().unwrap(),
        position: store.position("mail.log").unwrap(),
        alerts: outbox
            .after(0, 1_000)
            .unwrap()
            .into_iter()
            .map(|row| row.record.expect("no row with a broken seal after opening"))
            .collect(),
        cursor: outbox.register("file").unwrap().seq,
    }
}

/// A directory with a file and a write-ahead log that holds later commits, and the contents after each commit.
fn prepared(directory: &Path) -> Vec<Content> {
    let mut store = Store::open(directory).unwrap();
    let mut engine = engine(store.key);
    Outbox::open(directory).unwrap().register("file").unwrap();
    let mut moments = Vec::new();
    for round in 0..6 {
        feed(&mut engine, 12, round * 600);
        let position = [("mail.log".to_owned(), round.to_string())];
        store.commit(&mut engine, &position, &alert_rows(round * 3, round * 3 + 3)).unwrap();
        moments.push(content(&store, directory));
        if round == 2 {
            // Half of it is played into the file, the rest stays in the log.
            rusqlite::Connection::open(directory.join("state.db"))
                .unwrap()
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                .unwrap();
        }
    }
    // What stands on disk while the store is open is what a crash leaves.
    copy_directory(directory, &directory.join("crashed"));
    moments
}

#[test]
fn damage_is_found_or_harmless() {
    let original = quick_directory();
    let moments = prepared(original.path());
    let crashed = original.path().join("crashed");
    let damages = campaign("PORTREEVE_DAMAGES", 2_000);
    let seed = 0x6461_6d61_6765;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut aside, mut harmless, mut earlier) = (0u64, 0u64, 0u64);
    for number in 0..damages {
        let place = quick_directory();
        copy_directory(&crashed, place.path());
        let what = damage(place.path(), &mut rng);
        let mut store = Store::open(place.path()).unwrap_or_else(|error| panic!("{number} {what}: {error}"));
        let mut engine = engine(store.key);
        let late = store.load(&mut engine).unwrap();
        assert!(late.is_empty(), "{number} {what}: opened as whole, then {late:?}");
        let found = content(&store, place.path());
        if let [Trouble::Damaged { aside: path, .. }] = store.troubles.as_slice() {
            aside += 1;
            assert!(path.exists(), "{number} {what}");
            assert!(found.baselines.senders.is_empty() && engine.senders().is_empty(), "{number} {what}");
            let all = &moments.last().unwrap().alerts;
            assert!(found.alerts.iter().all(|alert| all.contains(alert)), "{number} {what}");
        } else {
            assert!(store.troubles.is_empty());
            let moment = moments.iter().position(|moment| *moment == found);
            match moment {
                Some(moment) if moment + 1 == moments.len() => harmless += 1,
                Some(_) => earlier += 1,
                None => panic!("{number} {what}: a moment that never was: {found:#?}"),
            }
        }
        feed(&mut engine, 3, 9_000);
        store.commit(&mut engine, &[], &alert_rows(100, 101)).unwrap();
    }
    println!(
        "{damages} damages, seed {seed:#x}: {aside} set aside, {harmless} harmless, {earlier} an earlier moment"
    );
    assert!(aside > damages / 10 && harmless > 0);
}

/// One to eight flipped bits, or a cut, in one of the files.
fn damage(directory: &Path, rng: &mut ChaCha8Rng) -> String {
    let name = ["state.db", "state.db", "state.db", "state.db-wal", "install.key"][rng.random_range(0..5)];
    let path = directory.join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    let what = match rng.random_range(0..10) {
        0 => {
            bytes.truncate(rng.random_range(0..bytes.len()));
            format!("{name} cut to {}", bytes.len())
        }
        1 => {
            let (from, length) = (rng.random_range(0..bytes.len()), rng.random_range(1..4_096));
            let until = (from + length).min(bytes.len());
            bytes[from..until].fill(if rng.random_bool(0.5) { 0 } else { 0xff });
            format!("{name} {from}..{until} overwritten")
        }
        _ => {
            let bits: Vec<usize> =
                (0..rng.random_range(1..=8)).map(|_| rng.random_range(0..bytes.len() * 8)).collect();
            bits.iter().for_each(|bit| bytes[bit / 8] ^= 1 << (bit % 8));
            format!("{name} bits {bits:?}")
        }
    };
    std::fs::write(&path, bytes).unwrap();
    what
}

#[test]
fn every_single_bit_of_the_header_and_first_pages_is_guarded() {
    let original = quick_directory();
    let moments = prepared(original.path());
    let crashed = original.path().join("crashed");
    for bit in (0..100 * 8).chain((100 * 8..16_384 * 8).step_by(997)) {
        let place = quick_directory();
        copy_directory(&crashed, place.path());
        let path = place.path().join("state.db");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, bytes).unwrap();
        let store = Store::open(place.path()).unwrap_or_else(|error| panic!("bit {bit}: {error}"));
        if store.troubles.is_empty() {
            let found = content(&store, place.path());
            assert!(moments.contains(&found), "bit {bit}");
        }
    }
}
