//! An engine with something learned, and a quick place for files.

#![allow(clippy::unwrap_used)] // a test fails loudly
#![allow(dead_code, reason = "each test binary uses a part")]

use portreeve::company::Company;
use portreeve::engine::incident::IncidentChange;
use portreeve::engine::memory::InstallKey;
use portreeve::engine::model::Model;
use portreeve::engine::{Engine, Settings};
use portreeve::mail::{Mailbox, Reply, ReversePath};
use portreeve::observation::{Delivery, Fact, Observation, SenderKeys, Vantage};
use portreeve::store::AlertRow;
use portreeve::time::{CivilClock, Timestamp};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

pub mod disk;
pub mod pipeline;

/// A new engine.
pub fn engine(key: InstallKey) -> Engine {
    engine_with(key, Settings::default())
}

/// A new engine with settings.
pub fn engine_with(key: InstallKey, settings: Settings) -> Engine {
    let networks = vec!["10.0.0.0/8".parse().unwrap()];
    let company = Arc::new(Company::new(networks, &["corp.example".into()], vec![], CivilClock::utc()));
    Engine::new(company, Model::shipped().unwrap(), settings, key)
}

/// One delivery of sender number `sender`, `seconds` after a fixed Monday.
pub fn delivery(sender: u32, seconds: i64, recipient: &str) -> Observation {
    let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + sender));
    Observation {
        at: Timestamp::from_seconds(1_795_392_000 + seconds),
        vantage: Vantage::Wire,
        sender: SenderKeys { address: Some(address), ..SenderKeys::default() },
        fact: Fact::Delivery(Delivery {
            responder: Some("198.51.100.25".parse().unwrap()),
            reverse_path: Some(ReversePath::parse(b"app@corp.example")),
            forward_path: Mailbox::parse(recipient.as_bytes()),
            reply: Some(Reply { code: Some(250), ..Reply::default() }),
            retry: None,
            queue_id: None,
            message_id: None,
        }),
    }
}

/// Lets senders `0..senders` send one message each.
pub fn feed(engine: &mut Engine, senders: u32, seconds: i64) -> Vec<IncidentChange> {
    let mut out = Vec::new();
    for sender in 0..senders {
        engine.observe(&delivery(sender, seconds, &format!("r{sender}@example.net")), &mut out);
    }
    out
}

/// Alerts number `from..until`, each about an incident of its own.
pub fn alert_rows(from: i64, until: i64) -> Vec<AlertRow> {
    (from..until).map(|n| AlertRow::of(&alert(n))).collect()
}

/// Alert number `n`.
pub fn alert(n: i64) -> portreeve::alert::Alert {
    let at = Timestamp::from_seconds(1_795_392_000 + n);
    portreeve::alert::Alert::of_trouble("test", &n.to_string(), at, &format!("Alert number {n}."), "Nothing.")
}

/// Where files are quick: in memory where there is such a place. These tests are about bytes, not about disks.
pub fn quick_place() -> std::path::PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.into() } else { std::env::temp_dir() }
}

/// A temporary directory there.
pub fn quick_directory() -> tempfile::TempDir {
    tempfile::tempdir_in(quick_place()).unwrap()
}

/// Copies all files of a directory, not what is below it.
pub fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            continue;
        }
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A number from the environment, for longer campaigns.
pub fn campaign(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
