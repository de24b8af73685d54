//! How fast the store is: figures to read, no claims. `cargo bench --bench store`.

#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

#[path = "../tests/store_support/mod.rs"]
mod store_support;

use portreeve::store::Store;
use std::time::Instant;
use store_support::*;

fn main() {
    commits_10_000_changed_senders();
    commits_one_changed_sender_beside_many();
    commits_beside_many_remembered_recipients();
}

fn quantile(times: &mut [f64], q: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * q) as usize]
}

fn commits_10_000_changed_senders() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    let mut engine = engine(store.key);
    feed(&mut engine, 10_000, 0);
    store.commit(&mut engine, &[], &[]).unwrap();
    let mut times = Vec::new();
    for round in 1..=20 {
        feed(&mut engine, 10_000, round * 60);
        let position = [("mail.log".to_owned(), round.to_string())];
        let began = Instant::now();
        store.commit(&mut engine, &position, &alert_rows(round, round + 1)).unwrap();
        times.push(began.elapsed().as_secs_f64());
    }
    let bytes = std::fs::metadata(directory.path().join("state.db")).unwrap().len();
    let log = std::fs::metadata(directory.path().join("state.db-wal")).unwrap().len();
    println!(
        "commit of 10,000 changed senders: median {:.3} s, slowest of 20 {:.3} s; file {} MB, log {} MB",
        quantile(&mut times, 0.5),
        quantile(&mut times, 1.0),
        bytes >> 20,
        log >> 20
    );
    let e = store.export().unwrap();
    println!(
        "bytes per sender {}",
        e.senders.iter().map(|s| s.state.len() * 3 / 4).sum::<usize>() / e.senders.len()
    );
    drop(store);
    let began = Instant::now();
    let store = Store::open(directory.path()).unwrap();
    let opened = began.elapsed().as_secs_f64();
    let mut again = store_support::engine(store.key);
    store.load(&mut again).unwrap();
    println!(
        "open with every seal checked {opened:.3} s, load of {} senders {:.3} s",
        again.senders().len(),
        began.elapsed().as_secs_f64() - opened
    );
}

fn commits_one_changed_sender_beside_many() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    let mut engine = engine(store.key);
    feed(&mut engine, 100_000, 0);
    store.commit(&mut engine, &[], &[]).unwrap();
    let mut times = Vec::new();
    for round in 1..=50 {
        feed(&mut engine, 1, round * 60);
        let began = Instant::now();
        store.commit(&mut engine, &[], &[]).unwrap();
        times.push(began.elapsed().as_secs_f64());
    }
    println!(
        "commit of one changed sender beside 100,000: median {:.4} s, slowest of 50 {:.4} s",
        quantile(&mut times, 0.5),
        quantile(&mut times, 1.0)
    );
}

fn commits_beside_many_remembered_recipients() {
    for thousands in [100u32, 1_000] {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        let mut engine = engine(store.key);
        let mut out = Vec::new();
        for n in 0..thousands * 1_000 {
            engine.observe(&delivery(n % 50, i64::from(n) / 100, &format!("r{n}@example.net")), &mut out);
        }
        store.commit(&mut engine, &[], &[]).unwrap();
        let mut times = Vec::new();
        for round in 0..10 {
            let at = i64::from(thousands) * 10 + 60 * round;
            engine.observe(&delivery(1, at, &format!("new{round}@example.net")), &mut out);
            let began = Instant::now();
            store.commit(&mut engine, &[], &[]).unwrap();
            times.push(began.elapsed().as_secs_f64());
        }
        println!(
            "commit of one changed sender beside {thousands},000 recipients: median {:.3} s, slowest of 10 {:.3} s",
            quantile(&mut times, 0.5),
            quantile(&mut times, 1.0)
        );
    }
}
