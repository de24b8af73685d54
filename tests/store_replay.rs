//! The binary itself, killed at random instants of a replay with state, and started again: the same alerts, once.
//!
//! CI kills 60 times; more with `PORTREEVE_REPLAY_KILLS=1000 cargo test --test store_replay -- --nocapture`.

#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod store_support;

use portreeve::store::Store;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use store_support::{campaign, quick_directory};

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut list = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { list.append(&mut files(&path)) } else { list.push(path) }
    }
    list.sort();
    list
}

fn replay(world: &Path, place: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command.args(["replay", "--quiet", "-c"]).arg(world.join("portreeve.toml"));
    command.args(files(&world.join("logs"))).args(files(&world.join("captures")));
    command.arg("--state").arg(place.join("state")).arg("-o").arg(place.join("alerts.ndjson"));
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn finished(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn result(place: &Path) -> (String, String) {
    let alerts = std::fs::read_to_string(place.join("alerts.ndjson")).unwrap();
    let store = Store::open(&place.join("state")).unwrap();
    assert!(store.troubles.is_empty(), "{:?}", store.troubles);
    (alerts, serde_json::to_string(&store.export().unwrap()).unwrap())
}

#[test]
fn a_replay_that_is_killed_goes_on_as_if_nothing_had_happened() {
    let (worlds, undisturbed) = (quick_directory(), quick_directory());
    let world = worlds.path().join("world");
    let made = Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .args(["simulate", "--scenario", "demo"])
        .arg(&world)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let began = Instant::now();
    finished(replay(&world, undisturbed.path()));
    let whole = began.elapsed();
    let (alerts, baselines) = result(undisturbed.path());
    let count = alerts.lines().count();
    assert!(count >= 8, "{count} alerts");

    let wanted = campaign("PORTREEVE_REPLAY_KILLS", 60);
    let mut rng = ChaCha8Rng::seed_from_u64(0x7265_706c_6179);
    let (mut kills, mut runs) = (0, 0);
    while kills < wanted {
        let place = quick_directory();
        std::fs::create_dir(place.path().join("state")).unwrap();
        let key = undisturbed.path().join("state/install.key");
        std::fs::copy(key, place.path().join("state/install.key")).unwrap();
        for _ in 0..rng.random_range(1..6) {
            let mut child = replay(&world, place.path());
            // Mostly near the end, where things are written.
            let share = 1.05 * (1.0 - rng.random_range(0.0f64..1.0).powi(2));
            let deadline = Instant::now() + whole.mul_f64(share);
            while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_micros(200));
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
        }
        finished(replay(&world, place.path()));
        runs += 1;
        let (alerts_now, baselines_now) = result(place.path());
        assert!(alerts_now == alerts, "alerts differ: {} instead of {count}", alerts_now.lines().count());
        assert!(baselines_now == baselines, "baselines differ");
    }
    println!("{kills} kills in {runs} runs of {count} alerts");
}
