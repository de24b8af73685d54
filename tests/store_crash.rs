//! kill -9 at any instant: nothing lost, nothing twice, and the same memory as if nothing had happened.
//!
//! CI kills 2,000 times; the campaign is
//! `PORTREEVE_KILLS=50000 cargo test --release --test store_crash -- --nocapture`.

#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod store_support;

use portreeve::alert::Alert;
use portreeve::store::Store;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use store_support::{campaign, pipeline, quick_directory};

/// The child's part: not a test of its own.
#[test]
fn child() {
    if let Some(directory) = std::env::var_os("PIPELINE_DIRECTORY") {
        pipeline::run(Path::new(&directory), pipeline::DELIVERIES);
    }
}

fn spawn(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
        .env("PIPELINE_DIRECTORY", directory)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Alerts and baselines that a run left.
fn result(directory: &Path) -> (String, String) {
    let alerts = std::fs::read_to_string(directory.join("alerts.ndjson")).unwrap();
    let store = Store::open(directory).unwrap();
    assert!(store.troubles.is_empty(), "{:?}", store.troubles);
    (alerts, serde_json::to_string(&store.export().unwrap()).unwrap())
}

#[test]
fn kills_at_random_instants_change_nothing() {
    let undisturbed = quick_directory();
    let began = Instant::now();
    assert!(spawn(undisturbed.path()).wait().unwrap().success());
    let whole = began.elapsed();
    let key = undisturbed.path().join("install.key");
    let (alerts, baselines) = result(undisturbed.path());
    let count = alerts.lines().count();
    assert!(count >= 20, "the run raises only {count} alerts");

    // Two at a time: mostly it waits for processes to start.
    let wanted = campaign("PORTREEVE_KILLS", 2_000).div_ceil(2);
    let work = |seed: u64| kills(seed, wanted, whole, &key, &alerts, &baselines);
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(|| work(0x6b69_6c6d));
        (work(0x6b69_6c6c), other.join().unwrap())
    });
    println!("{} kills in {} runs of {count} alerts", first.0 + second.0, first.1 + second.1);
}

/// Kills runs, so many times; gives how many, and in how many runs.
fn kills(seed: u64, wanted: u64, whole: Duration, key: &Path, alerts: &str, baselines: &str) -> (u64, u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut kills, mut runs) = (0u64, 0u64);
    while kills < wanted {
        let place = quick_directory();
        std::fs::copy(key, place.path().join("install.key")).unwrap();
        loop {
            let mut child = spawn(place.path());
            let deadline = Instant::now() + whole.mul_f64(rng.random_range(0.0..0.35));
            let ended = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break Some(status);
                }
                if Instant::now() >= deadline {
                    break None;
                }
                std::thread::sleep(Duration::from_micros(200));
            };
            let Some(status) = ended else {
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
                continue;
            };
            assert!(status.success(), "{}", std::io::read_to_string(child.stderr.take().unwrap()).unwrap());
            break;
        }
        runs += 1;
        let (alerts_now, baselines_now) = result(place.path());
        let ids: Vec<String> =
            alerts_now.lines().map(|line| serde_json::from_str::<Alert>(line).unwrap().id).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an id came twice, seed {seed:#x}");
        assert!(alerts_now == alerts, "alerts differ: {} ids, seed {seed:#x}", ids.len());
        assert!(baselines_now == baselines, "baselines differ, seed {seed:#x}");
    }
    (kills, runs)
}
