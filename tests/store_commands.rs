//! The commands about a kept state, as a person runs them: beside a running sensor and without one.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod store_support;

use portreeve::store::{Moment, Store};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use store_support::*;

fn portreeve(state: &Path, arguments: &[&str]) -> Output {
    let state = ["--state", state.to_str().unwrap()];
    Command::new(env!("CARGO_BIN_EXE_portreeve")).args(arguments).args(state).output().unwrap()
}

fn good(state: &Path, arguments: &[&str]) -> String {
    let output = portreeve(state, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(state: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&good(state, &[arguments, &["--json"]].concat())).unwrap()
}

/// Wrong usage: exit code 2 and one line.
fn refused(state: &Path, arguments: &[&str]) -> String {
    let output = portreeve(state, arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), text.lines().count()), (Some(2), 1), "{arguments:?}: {text}");
    text
}

/// A child of one test holds, from its fork to its exec, the lock that another test has just given back: the tests take
/// turns, so that a state in use is one that a sensor works with.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A state in which 30 senders, the three blocks around them and 5 alerts are known.
fn filled() -> tempfile::TempDir {
    let directory = quick_directory();
    let mut store = Store::open(directory.path()).unwrap();
    let mut engine = engine(store.key);
    feed(&mut engine, 30, 0);
    let alerts = alert_rows(0, 5);
    store.commit_moment(&mut engine, &Moment { alerts: &alerts, ..Moment::default() }).unwrap();
    directory
}

#[test]
fn without_a_sensor() {
    let _turn = turn();
    let directory = filled();
    let state = directory.path();

    let senders = json(state, &["senders", "--sort", "name", "--limit", "3"]);
    assert_eq!((senders["total"].as_u64(), senders["rows"].as_array().unwrap().len()), (Some(33), 3));
    let found = good(state, &["senders", "--search", "10.0.0.7"]);
    assert!(found.contains("\n10.0.0.7 ") && found.contains("1 of 1 senders"), "{found}");
    let profile = json(state, &["senders", "show", "10.0.0.7"]);
    assert_eq!(profile[0]["week"].as_array().unwrap().len(), 48);
    assert!(good(state, &["senders", "show", "10.0.0.7"]).contains("weekday"));
    assert!(refused(state, &["senders", "show", "10.9.9.9"]).contains("is not known"));
    assert!(refused(state, &["senders", "--sort", "colour"]).contains("use last, name"));

    let incidents = json(state, &["incidents"]);
    assert_eq!(incidents["total"], 5);
    let id = incidents["rows"][0]["id"].as_str().unwrap().to_owned();
    assert!(good(state, &["incidents", "show", &id]).contains("Alert number 4."));
    assert_eq!(json(state, &["incidents", "show", &id])["alerts"].as_array().unwrap().len(), 1);
    let said = json(state, &["incidents", "dismiss", &id, "--reason", "a test", "--by", "ann"]);
    assert_eq!((said["by"].as_str(), said["obeyed_at"].is_null()), (Some("ann"), true));
    assert_eq!(json(state, &["incidents", "--unreviewed"])["total"], 4);
    assert!(good(state, &["incidents", "show", &id]).contains("dismissed by ann: a test"));
    assert!(refused(state, &["incidents", "confirm", "0123"]).contains("is not known"));

    let check = portreeve(state, &["check"]);
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(text.contains("false alarms: "), "{text}");

    let until = ["--until", "2099-01-01T00:00:00Z"];
    let add = ["plan", "add", "10.0.0.7", "--recipients-max", "25000"];
    let plan = json(state, &[&add[..], &until].concat());
    let number = plan["number"].to_string();
    assert_eq!(json(state, &["plan", "list"])[0]["state"], "waiting");
    assert!(good(state, &["plan", "cancel", &number]).contains("noted"));
    assert_eq!(json(state, &["plan", "list"])[0]["state"], "cancelled");
    assert!(refused(state, &["plan", "cancel", &number]).contains("no announced mailing"));
    assert!(refused(state, &[&add[..], &["--until", "soon"]].concat()).contains("is no time"));

    // Without a sensor, what is to be forgotten is forgotten at once, and what waited is done with it.
    assert!(good(state, &["baseline", "forget", "10.0.0.7"]).contains("forgotten"));
    refused(state, &["senders", "show", "10.0.0.7"]);
    assert!(json(state, &["plan", "list"])[0]["outcome"].is_string());

    let nowhere = quick_directory();
    assert!(refused(nowhere.path(), &["senders"]).contains("there is no state yet"));
    let output = Command::new(env!("CARGO_BIN_EXE_portreeve")).arg("incidents").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn baselines_go_out_and_come_back() {
    let _turn = turn();
    let (directory, elsewhere) = (filled(), quick_directory());
    let state = directory.path();
    let document = elsewhere.path().join("baselines.json");
    good(state, &["baseline", "export", "-o", document.to_str().unwrap()]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&document).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "it names people");
    let exported = std::fs::read_to_string(&document).unwrap();
    assert_eq!(good(state, &["baseline", "export"]), exported);
    good(state, &["baseline", "forget", "10.0.0.7"]);
    assert_ne!(good(state, &["baseline", "export"]), exported);
    assert_eq!(json(state, &["baseline", "import", document.to_str().unwrap()])["senders"], 33);
    assert_eq!(good(state, &["baseline", "export"]), exported);
    assert_eq!(json(state, &["senders"])["total"], 33);
    std::fs::write(&document, "{}").unwrap();
    assert!(refused(state, &["baseline", "import", document.to_str().unwrap()]).contains("is no document"));
}

/// A sensor that follows an empty log.
struct Sensor(Child);

impl Sensor {
    fn start(state: &Path, log: &Path) -> Sensor {
        let child = Command::new(env!("CARGO_BIN_EXE_portreeve"))
            .args(["watch", "--state", state.to_str().unwrap(), "-l", log.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while !portreeve::store::in_use(state) {
            assert!(began.elapsed() < Duration::from_secs(60), "the sensor does not start");
            std::thread::yield_now();
        }
        Sensor(child)
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn beside_a_running_sensor() {
    let _turn = turn();
    let (directory, elsewhere) = (filled(), quick_directory());
    let (state, log) = (directory.path(), elsewhere.path().join("mail.log"));
    std::fs::write(&log, "").unwrap();
    let _sensor = Sensor::start(state, &log);

    let until = ["--until", "2099-01-01T00:00:00Z", "--recipients-max", "25000"];
    let plan = json(state, &[&["plan", "add", "10.0.0.7"], &until[..]].concat());
    assert_eq!(plan["outcome"], "planned", "{plan}");
    assert_eq!(json(state, &["plan", "list"])[0]["state"], "underway");
    assert!(good(state, &["plan", "cancel", &plan["number"].to_string()]).contains("taken back"));
    assert!(good(state, &["baseline", "forget", "10.0.0.7"]).contains("forgotten"));
    assert_eq!(json(state, &["senders"])["total"], 32);
    let id = json(state, &["incidents"])["rows"][0]["id"].as_str().unwrap().to_owned();
    assert!(good(state, &["incidents", "confirm", &id]).contains("noted"));

    let copy = elsewhere.path().join("copy.db");
    good(state, &["backup", copy.to_str().unwrap()]);
    let place = quick_directory();
    std::fs::copy(&copy, place.path().join("state.db")).unwrap();
    std::fs::copy(state.join("install.key"), place.path().join("install.key")).unwrap();
    assert_eq!(json(place.path(), &["senders"])["total"], 32);
    assert!(Store::open(place.path()).unwrap().troubles.is_empty());
    let document = elsewhere.path().join("baselines.json");
    good(state, &["baseline", "export", "-o", document.to_str().unwrap()]);
    let output = portreeve(state, &["baseline", "import", document.to_str().unwrap()]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("in use"));
}
