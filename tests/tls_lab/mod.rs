//! A lab of mail servers that deliver to each other under TLS, with a sensor between them.

#![allow(clippy::unwrap_used)] // a test fails loudly
#![allow(dead_code)] // each test crate uses its part

pub mod clients;
pub mod joined;
pub mod lab;
pub mod mix;
pub mod places;
pub mod queues;
pub mod servers;
pub mod syslog;
pub mod table;
pub mod truth;
pub mod watch;

use places::{Client, Server};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where captures and truths are kept, if anywhere.
pub fn capture_folder() -> Option<PathBuf> {
    std::env::var_os("PORTREEVE_TLS_CAPTURE").map(PathBuf::from)
}

/// `python-postfix-tls13`
pub fn pair_name(client: Client, server: Server) -> String {
    format!("{client:?}-{:?}-tls1{}", server.mta, server.tls).to_lowercase()
}

/// Longer than any client needs for its visits.
const PATIENCE: Duration = Duration::from_secs(900);

/// Waits until something is so.
pub fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
