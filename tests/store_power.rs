//! Power cuts at any call, under everything that is written: key, database, alerts file, their names.
//!
//! A real run is taken down by strace (`apt-get install strace`), played onto a disk that loses what was not forced,
//! and cut. What is left must open, hold every moment that was said to be durable, and end in the same alerts. Every
//! fifth cut is cut again while it recovers. Planted faults prove that the harness sees.
//!
//! CI makes 2,000 cuts; the campaign is
//! `PORTREEVE_CUTS=100000 cargo test --release --test store_power -- --nocapture`.

#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod store_support;

use portreeve::alert::Alert;
use portreeve::store::Store;
use portreeve::store::outbox::Outbox;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use store_support::disk::{Call, Disk, trace};
use store_support::{campaign, pipeline, quick_directory};

/// Deliveries of the run that is cut, and of what goes on after a cut.
const UNTIL: i64 = 1_200;
const BEYOND: i64 = 1_320;

/// One test at a time: a process that is being started holds every lock of its parent for a moment.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// The child's part: not a test of its own.
#[test]
fn child() {
    if let Some(directory) = std::env::var_os("PIPELINE_DIRECTORY") {
        let until = std::env::var("PIPELINE_UNTIL").unwrap().parse().unwrap();
        pipeline::run(Path::new(&directory), until);
    }
}

fn traced(directory: &Path, until: i64) -> Vec<Call> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads", "1"]);
    command.env("PIPELINE_DIRECTORY", directory).env("PIPELINE_UNTIL", until.to_string());
    trace(&command, directory)
}

/// What the program had said to be durable: the position, and the alerts.
#[derive(Clone, Default)]
struct Said {
    position: i64,
    alerts: BTreeSet<String>,
}

impl Said {
    fn hear(&mut self, call: &Call) {
        let Call::Said(line) = call else { return };
        let Some(rest) = line.strip_prefix("durable ") else { return };
        let mut words = rest.split_whitespace();
        self.position = words.next().unwrap().parse().unwrap();
        self.alerts.extend(words.map(str::to_owned));
    }
}

/// The undisturbed alerts with one key, and where the run left its files.
struct Truth {
    key: Vec<u8>,
    alerts: Vec<String>,
    directory: tempfile::TempDir,
}

/// Puts what a cut left into a directory. The alerts file must be the same file as before the cut, as it is on a
/// real disk: the one of the run, given another name.
fn lay_out(image: &BTreeMap<String, Vec<u8>>, run: &Path, directory: &Path) {
    for (name, content) in image {
        let (own, here) = (run.join(name), directory.join(name));
        if name == "alerts.ndjson" && own.exists() {
            std::fs::hard_link(&own, &here).unwrap();
        }
        // Truncates and writes: a file that is there keeps its identity.
        std::fs::write(here, content).unwrap();
    }
}

/// Opens what a cut left, in this process, and says what is wrong with it.
fn look(image: &BTreeMap<String, Vec<u8>>, run: &Path, said: &Said, truth: &Truth) -> Result<(), String> {
    let place = quick_directory();
    lay_out(image, run, place.path());
    {
        let store = Store::open(place.path()).map_err(|error| format!("does not open: {error}"))?;
        if !store.troubles.is_empty() {
            return Err(format!("damaged: {:?}", store.troubles));
        }
        let position = store.position("input").unwrap().map_or(0, |text| text.parse().unwrap());
        if position < said.position {
            return Err(format!("position {position}, but {} was durable", said.position));
        }
        let rows = Outbox::open(place.path()).unwrap().after(0, 10_000).unwrap();
        let ids: BTreeSet<String> = rows.into_iter().map(|row| row.id).collect();
        if let Some(lost) = said.alerts.difference(&ids).next() {
            return Err(format!("alert {lost} was durable and is lost"));
        }
    }
    // It goes on, to beyond where it was cut, and the file is as if nothing had happened.
    let run = std::panic::catch_unwind(|| pipeline::run_quietly(place.path(), BEYOND));
    run.map_err(|_| "does not go on".to_owned())?;
    let text =
        std::fs::read_to_string(place.path().join("alerts.ndjson")).map_err(|error| error.to_string())?;
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if std::fs::read(place.path().join("install.key")).unwrap() == truth.key {
        if lines != truth.alerts {
            let ids = |lines: &[String]| -> Vec<String> {
                lines
                    .iter()
                    .map(|l| serde_json::from_str::<Alert>(l).map_or("torn".into(), |a| a.id))
                    .collect()
            };
            return Err(format!("alerts differ: {:?} instead of {:?}", ids(&lines), ids(&truth.alerts)));
        }
    } else if said.position > 0 {
        return Err("the key was lost".into());
    }
    Ok(())
}

/// A run from nothing, and its truth.
fn first_run() -> (Vec<Call>, Truth) {
    let directory = quick_directory();
    let calls = traced(directory.path(), UNTIL);
    pipeline::run_quietly(directory.path(), BEYOND);
    let text = std::fs::read_to_string(directory.path().join("alerts.ndjson")).unwrap();
    let key = std::fs::read(directory.path().join("install.key")).unwrap();
    (calls, Truth { key, alerts: text.lines().map(str::to_owned).collect(), directory })
}

/// Whether a call only makes the database's log longer, or is a word.
fn is_growth(call: &Call) -> bool {
    matches!(call, Call::Write { name, .. } | Call::Sync { name } if name == "state.db-wal")
        || matches!(call, Call::Said(_))
}

/// Cuts a run so many times; returns the first failure.
fn cuts(calls: &[Call], truth: &Truth, wanted: u64, again: bool, seed: u64) -> Result<u64, String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Half of them anywhere, half where something more than the log's growth is going on.
    let lively: Vec<usize> = (0..calls.len()).filter(|n| !is_growth(&calls[*n])).collect();
    let mut places: Vec<usize> = (0..wanted)
        .map(|n| match n % 2 {
            0 => rng.random_range(0..=calls.len()),
            _ => (lively[rng.random_range(0..lively.len())] + rng.random_range(0..4)).min(calls.len()),
        })
        .collect();
    places.sort_unstable();
    let (mut disk, mut said, mut done, mut count) = (Disk::default(), Said::default(), 0, 0);
    for (n, place) in places.into_iter().enumerate() {
        for call in &calls[done..place] {
            disk.happen(call);
            said.hear(call);
        }
        done = place;
        let image = disk.cut(&mut rng);
        count += 1;
        look(&image, truth.directory.path(), &said, truth)
            .map_err(|wrong| format!("cut {n} at call {place}: {wrong}"))?;
        if again && n % 50 == 0 {
            // Ten cuts while it recovers, which takes a run of its own: a fifth of all.
            count += cut_again(&image, &said, truth, &mut rng)
                .map_err(|wrong| format!("cut {n} at {place}, again: {wrong}"))?;
        }
    }
    Ok(count)
}

fn cut_again(
    image: &BTreeMap<String, Vec<u8>>,
    said: &Said,
    truth: &Truth,
    rng: &mut ChaCha8Rng,
) -> Result<u64, String> {
    let place = quick_directory();
    lay_out(image, truth.directory.path(), place.path());
    let mut disk = Disk::of(place.path());
    let calls = traced(place.path(), said.position + 2 * pipeline::STEP);
    // Mostly the recovery itself, which comes first.
    let mut places: Vec<usize> = (0..10)
        .map(|n| rng.random_range(0..=if n < 7 { calls.len().min(60) } else { calls.len() }))
        .collect();
    places.sort_unstable();
    let (mut said, mut done) = (said.clone(), 0);
    let key = std::fs::read(place.path().join("install.key")).unwrap();
    for cut in places {
        for call in &calls[done..cut] {
            disk.happen(call);
            said.hear(call);
        }
        done = cut;
        if key != truth.key {
            // The first cut came before the key: another install, of which only opening can be told.
            said = Said::default();
        }
        look(&disk.cut(rng), place.path(), &said, truth)
            .map_err(|wrong| format!("at call {cut} of the recovery: {wrong}"))?;
    }
    Ok(10)
}

fn strace_works() -> bool {
    let works = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status()
        .is_ok_and(|status| status.success());
    if !works {
        eprintln!("skipped: strace is not installed, or may not trace here");
    }
    works
}

#[test]
fn nothing_said_to_be_durable_is_lost() {
    if !strace_works() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (calls, truth) = first_run();
    assert!(truth.alerts.len() >= 6, "{}", truth.alerts.len());
    let seed = 0x0070_6f77_6572;
    let wanted = campaign("PORTREEVE_CUTS", 2_000) * 5 / 6;
    let count = cuts(&calls, &truth, wanted, true, seed).unwrap();
    println!(
        "{count} cuts of a run of {} calls and {} alerts, seed {seed:#x}",
        calls.len(),
        truth.alerts.len()
    );
}

/// The name of a step by which something becomes durable; `None` for a call that is none.
fn step_name(call: &Call) -> Option<String> {
    match call {
        Call::Open { name, created: true, .. } => Some(format!("create {name}")),
        Call::Sync { name } if name.is_empty() => Some("force the directory".into()),
        Call::Sync { name } => Some(format!("force {name}")),
        Call::Rename { from, to } => Some(format!("rename {from} to {to}")),
        Call::Unlink { name } => Some(format!("unlink {name}")),
        _ => None,
    }
}

/// Killed, with no power lost, before and behind every step by which something becomes durable. CI takes at most ten
/// of each name; all of them with `PORTREEVE_STEPS=1000000`.
#[test]
fn a_kill_around_every_durable_step_changes_nothing() {
    if !strace_works() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (calls, truth) = first_run();
    let most = campaign("PORTREEVE_STEPS", 10);
    let (mut disk, mut said) = (Disk::default(), Said::default());
    let mut kills: BTreeMap<String, u64> = BTreeMap::new();
    for call in &calls {
        let name = step_name(call);
        let wanted = name.as_ref().is_some_and(|name| {
            let count = kills.entry(name.clone()).or_default();
            *count += 1;
            *count <= most
        });
        let before = wanted.then(|| disk.now());
        disk.happen(call);
        said.hear(call);
        for (when, image) in [("before", before), ("behind", wanted.then(|| disk.now()))] {
            let Some(image) = image else { continue };
            look(&image, truth.directory.path(), &said, &truth)
                .unwrap_or_else(|wrong| panic!("killed {when} {name:?}: {wrong}"));
        }
    }
    for (name, count) in &kills {
        println!("killed before and behind: {name}, {} of {count} times", most.min(*count));
    }
    assert!(kills.len() >= 8, "{kills:?}");
}

/// A fault in the program, planted into the calls of a run.
type Fault = fn(&[Call]) -> Vec<Call>;

fn without(calls: &[Call], drop: impl Fn(&Call) -> bool) -> Vec<Call> {
    calls.iter().filter(|call| !drop(call)).cloned().collect()
}

fn is_sync(call: &Call, file: &str) -> bool {
    matches!(call, Call::Sync { name } if name == file)
}

/// Moves each call that `late` picks behind the next one that `mark` picks.
fn delayed(calls: &[Call], late: impl Fn(&Call) -> bool, mark: impl Fn(&Call) -> bool) -> Vec<Call> {
    let (mut out, mut waiting) = (Vec::new(), Vec::new());
    for call in calls {
        if late(call) {
            waiting.push(call.clone());
            continue;
        }
        out.push(call.clone());
        if mark(call) {
            out.append(&mut waiting);
        }
    }
    out.append(&mut waiting);
    out
}

const FAULTS: &[(&str, Fault)] = &[
    ("the log is never forced", |calls| without(calls, |call| is_sync(call, "state.db-wal"))),
    ("the database is never forced", |calls| without(calls, |call| is_sync(call, "state.db"))),
    ("the new database is renamed unforced", |calls| {
        without(calls, |call| is_sync(call, "state.db.new") || is_sync(call, "state.db.new-wal"))
    }),
    ("the key is renamed unforced", |calls| without(calls, |call| is_sync(call, "install.key.new"))),
    ("the directory is never forced", |calls| without(calls, |call| is_sync(call, ""))),
    ("the alerts file is never forced", |calls| without(calls, |call| is_sync(call, "alerts.ndjson"))),
    ("the alerts file is written after its cursor", |calls| {
        delayed(
            calls,
            |call| matches!(call, Call::Write { name, .. } | Call::Sync { name } if name == "alerts.ndjson"),
            |call| is_sync(call, "state.db-wal"),
        )
    }),
    ("durable is said before it is forced", |calls| {
        delayed(calls, |call| is_sync(call, "state.db-wal"), |call| matches!(call, Call::Said(_)))
    }),
    ("the log is played in after it was begun anew", |calls| {
        delayed(
            calls,
            |call| matches!(call, Call::Write { name, .. } | Call::Sync { name } if name == "state.db"),
            |call| matches!(call, Call::Unlink { name } if name == "state.db-wal"),
        )
    }),
    ("the key is written in place", |calls| {
        let renamed = without(calls, |call| matches!(call, Call::Rename { to, .. } if to == "install.key"));
        let rename =
            |name: &String| if name == "install.key.new" { "install.key".into() } else { name.clone() };
        let moved = renamed.into_iter().map(|call| match call {
            Call::Open { name, created, emptied } => Call::Open { name: rename(&name), created, emptied },
            Call::Write { name, offset, bytes } => Call::Write { name: rename(&name), offset, bytes },
            other => other,
        });
        moved.filter(|call| !is_sync(call, "install.key.new")).collect()
    }),
];

#[test]
fn every_planted_fault_is_seen() {
    if !strace_works() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (calls, truth) = first_run();
    for (what, plant) in FAULTS {
        let faulty = plant(&calls);
        assert_ne!(faulty, calls, "{what}: not planted");
        // Many seeds, short: a fault is seen as soon as one cut meets it.
        let seen = (0..40).find_map(|seed| cuts(&faulty, &truth, 100, false, seed).err());
        println!("{what}: {}", seen.as_deref().unwrap_or("NOT SEEN"));
        assert!(seen.is_some(), "{what}: not seen in 4,000 cuts");
    }
}
