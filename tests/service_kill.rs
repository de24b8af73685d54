//! The program itself, killed with -9 while it follows a log that is written and rotated: at the end every line counts
//! once. Sandbox on, as always. `PORTREEVE_LOG_KILLS` sets how often (8; docs/proofs.md has a longer run).

#![allow(clippy::unwrap_used)] // a test fails loudly

mod service_support;

use portreeve::store::read::Reader;
use portreeve::time::Timestamp;
use service_support::{Service, free_port, metric, until};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Lines that are written between two looks at the service.
const PIECE: u64 = 150;

/// A log that is written and rotated.
struct Log {
    directory: PathBuf,
    written: u64,
    rotations: u64,
    began: Timestamp,
}

impl Log {
    fn path(&self) -> PathBuf {
        self.directory.join("mail.log")
    }

    fn write(&mut self, lines: u64) {
        let mut text = String::new();
        for _ in 0..lines {
            let (n, at) = (self.written, self.began.plus_seconds(self.written as f64 * 0.2).to_rfc3339());
            text += &format!(
                "{at} mx1 postfix/smtp[77]: {n:09X}1: to=<user{n}@far{}.example>, relay=mx.far{}.example[198.51.100.7]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as {n:X}A)\n",
                n % 40,
                n % 40
            );
            self.written += 1;
        }
        let mut file = std::fs::File::options().append(true).create(true).open(self.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Shifts mail.log.1 and so on up, and makes room in one of three ways.
    fn rotate(&mut self) {
        self.rotations += 1;
        let name = |number: u64, end: &str| self.directory.join(format!("mail.log.{number}{end}"));
        for number in (1..40).rev() {
            for end in ["", ".gz"] {
                let _ = std::fs::rename(name(number, end), name(number + 1, end));
            }
        }
        match self.rotations % 3 {
            // The inode is free again at once, and the new file may get it.
            0 => {
                std::fs::rename(self.path(), name(1, "")).unwrap();
                assert!(Command::new("gzip").arg(name(1, "")).status().unwrap().success());
            }
            1 => std::fs::rename(self.path(), name(1, "")).unwrap(),
            _ => {
                std::fs::copy(self.path(), name(1, "")).unwrap();
                std::fs::File::options().write(true).open(self.path()).unwrap().set_len(0).unwrap();
            }
        }
        std::fs::File::options().append(true).create(true).open(self.path()).unwrap();
    }
}

fn judged(state: &Path) -> u64 {
    let counters = Reader::open(state).and_then(|reader| reader.counters()).unwrap_or_default();
    counters.get("deliveries").copied().unwrap_or(0)
}

#[test]
fn killed_again_and_again_it_counts_every_line_once() {
    let rounds: u64 =
        std::env::var("PORTREEVE_LOG_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let directory = tempfile::tempdir().unwrap();
    let (state, logs) = (directory.path().join("state"), directory.path().join("log"));
    std::fs::create_dir(&logs).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let began = Timestamp::from_seconds(now - 3 * 86_400);
    let mut log = Log { directory: logs, written: 0, rotations: 0, began };
    log.write(0);
    let port = free_port();
    let config = directory.path().join("portreeve.toml");
    let text = format!(
        "[metrics]\nlisten = \"127.0.0.1:{port}\"\n[[source.log]]\npath = {:?}\ndialect = \"postfix\"\n",
        log.path()
    );
    std::fs::write(&config, text).unwrap();
    let start = || Service::watching(&["-c", config.to_str().unwrap(), "--state", state.to_str().unwrap()]);
    let mut chance = 7u64;
    let mut draw = |below: u64| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) % below
    };
    for _ in 0..rounds {
        let service = start();
        let first = metric(port, "portreeve_lines_total").unwrap_or(0.0);
        for _ in 0..draw(4) {
            log.write(PIECE);
            if draw(2) == 0 {
                log.rotate();
                log.write(draw(PIECE));
            }
        }
        // It dies somewhere on its way through the lines: before, in or after a commit.
        let some = (log.written - judged(&state)) * draw(3) / 2;
        until("some lines", || {
            let read = metric(port, "portreeve_lines_total").unwrap_or(0.0) - first;
            read >= some as f64 || judged(&state) == log.written
        });
        drop(service);
        for _ in 0..draw(3) {
            log.write(draw(PIECE));
            log.rotate();
        }
        log.write(draw(PIECE));
    }
    let service = start();
    until("every line", || judged(&state) >= log.written);
    let (code, said, _) = service.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(judged(&state), log.written, "after {} rotations: {said}", log.rotations);
    eprintln!("{rounds} kills, {} rotations, {} lines: each counted once", log.rotations, log.written);
}
