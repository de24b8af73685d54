//! The end-to-end test: real mail servers, a real span port, the program as it is shipped, real receivers of
//! alerts. Needs root; says why where it skips. `make lab` is the same, by hand.

#![allow(clippy::unwrap_used)] // a test fails loudly

use std::path::Path;
use std::process::Command;

/// Exit code of `tests/lab/run` where the machine cannot carry the lab.
const SKIPPED: i32 = 77;

#[test]
fn every_hijack_is_told_at_the_syslog_server_and_the_webhook_and_the_ordinary_day_is_quiet() {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/run");
    let done = Command::new(run)
        .env("PORTREEVE", env!("CARGO_BIN_EXE_portreeve"))
        .env("LAB_MAILS", "120")
        .env("LAB_DAY_SECONDS", "20")
        .env("LAB_SECONDS_MAX", "240")
        .output()
        .unwrap();
    let says = String::from_utf8_lossy(&done.stdout);
    eprintln!("{says}{}", String::from_utf8_lossy(&done.stderr));
    match done.status.code() {
        Some(SKIPPED) => {}
        Some(0) => {
            for attack in ["workstation blast", "account takeover", "block blast"] {
                let row = says.lines().find(|line| line.starts_with(attack)).unwrap();
                assert!(!row.contains("none"), "{row}");
            }
        }
        code => panic!("the lab ended with {code:?}"),
    }
}
