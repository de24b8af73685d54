//! Errors of the disk other than a full one: nothing advances while they last, and it goes on within seconds after.
//!
//! The kernel refuses every write beyond a limit that is set on the running process (EFBIG), which the state sees as
//! an error of the disk. Needs bash and prlimit (util-linux); elsewhere it says so and passes.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod service_support;

use portreeve::store::read::Reader;
use service_support::{Service, deliveries, longest_log, until, world};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn append(path: &Path, bytes: &[u8]) {
    std::fs::File::options().append(true).create(true).open(path).unwrap().write_all(bytes).unwrap();
}

/// Sets how long a file may be that the service writes.
fn limit(service: &Service, bytes: &str) {
    let pid = service.child.id().to_string();
    let status =
        Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]).status();
    assert!(status.unwrap().success());
}

/// Deliveries that are committed.
fn committed(state: &Path) -> u64 {
    let reader = Reader::open(state).unwrap();
    reader.counters().unwrap().get("deliveries").copied().unwrap_or(0)
}

/// Deliveries that a replay of a log finds.
fn judged(log: &Path) -> u64 {
    let mut replay = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    let replayed = replay.args(["replay", log.to_str().unwrap()]).output().unwrap();
    deliveries(&String::from_utf8_lossy(&replayed.stderr))
}

#[test]
fn what_cannot_be_written_does_not_count_as_read() {
    if Command::new("prlimit").arg("--version").output().is_err() {
        return eprintln!("skipped: prlimit is not installed");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let source = longest_log(&world(directory.path()));
    let bytes = std::fs::read(&source).unwrap();
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let third = |n: usize| lines[n * lines.len() / 3..(n + 1) * lines.len() / 3].concat();
    append(&path("mail.log"), b"");
    let text = format!(
        "[[source.log]]\npath = {:?}\n[[sink]]\ntype = \"file\"\npath = {:?}\n",
        path("mail.log"),
        path("alerts")
    );
    std::fs::write(path("portreeve.toml"), text).unwrap();
    let (config, state) = (path("portreeve.toml"), path("state"));
    let service = Service::watching_without_file_signal(&[
        "-c",
        config.to_str().unwrap(),
        "--state",
        state.to_str().unwrap(),
    ]);
    append(&path("mail.log"), &third(0));
    let before = judged(&path("mail.log"));
    until("a first commit", || committed(&state) == before);

    limit(&service, "1");
    append(&path("mail.log"), &third(1));
    until("the error", || service.said().contains("state.db"));
    assert_eq!(committed(&state), before, "nothing advances");

    limit(&service, "unlimited");
    let began = Instant::now();
    until("a commit", || committed(&state) > before);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    eprintln!("went on {took:?} after the errors ended");

    append(&path("mail.log"), &third(2));
    let wanted = judged(&source);
    until("every delivery", || committed(&state) >= wanted);
    let (code, said, _) = service.end();
    assert_eq!((code, committed(&state)), (Some(0), wanted), "{said}");
}
