//! A company, an engine, and observations made by hand.

#![allow(clippy::unwrap_used)] // a test fails loudly
#![allow(dead_code, reason = "each test binary uses a part")]

use portreeve::company::{Company, Host, Role};
use portreeve::engine::incident::{Change, IncidentChange};
use portreeve::engine::memory::InstallKey;
use portreeve::engine::model::Model;
use portreeve::engine::{Engine, Settings};
use portreeve::mail::{EnhancedStatus, Mailbox, Reply, ReversePath};
use portreeve::observation::{Delivery, Fact, Observation, SenderKeys, Vantage};
use portreeve::time::{CivilClock, Timestamp};
use std::net::IpAddr;
use std::sync::Arc;

/// A Monday, midnight.
pub const MONDAY: i64 = 1_795_392_000;

/// The company of these tests: a relay, a newsletter host, dormant space.
pub fn company() -> Arc<Company> {
    let host = |name: &str, address: &str, role| Host {
        name: name.into(),
        address: address.parse().unwrap(),
        role: Some(role),
    };
    let hosts = vec![
        host("relay", "203.0.113.10", Role::MailRelay),
        host("news", "203.0.113.20", Role::BulkSender),
        host("app", "203.0.113.30", Role::Application),
    ];
    let networks = ["203.0.113.0/24", "192.0.2.0/24", "10.0.0.0/8", "2001:db8::/32"];
    let networks = networks.map(|net| net.parse().unwrap()).to_vec();
    Arc::new(Company::new(networks, &["corp.example".into()], hosts, CivilClock::utc()))
}

/// An engine without memories.
pub fn engine() -> Engine {
    engine_with(Settings::default())
}

/// An engine with settings.
pub fn engine_with(settings: Settings) -> Engine {
    Engine::new(company(), Model::shipped().unwrap(), settings, InstallKey([7; 16]))
}

/// One delivery, to be changed as a test needs it.
#[derive(Clone)]
pub struct Mail {
    pub seconds: f64,
    pub address: Option<IpAddr>,
    pub account: Option<&'static str>,
    pub client: Option<IpAddr>,
    pub from: &'static str,
    pub to: String,
    pub code: u16,
    pub vantage: Vantage,
    pub syn: Option<u64>,
}

/// A delivery of an address, `seconds` after Monday's midnight.
pub fn mail(address: &str, seconds: f64, to: impl Into<String>) -> Mail {
    Mail {
        seconds,
        address: Some(address.parse().unwrap()),
        account: None,
        client: None,
        from: "app@corp.example",
        to: to.into(),
        code: 250,
        vantage: Vantage::Wire,
        syn: None,
    }
}

/// The moment `seconds` after Monday's midnight.
pub fn at(seconds: f64) -> Timestamp {
    Timestamp::from_seconds(MONDAY).plus_seconds(seconds)
}

impl Mail {
    /// As an observation.
    pub fn observation(&self) -> Observation {
        let mut sender = SenderKeys { address: self.address, client: self.client, ..SenderKeys::default() };
        sender.account = self.account.map(Into::into);
        sender.machine.syn = self.syn;
        let status = (self.code == 550).then_some(EnhancedStatus { class: 5, subject: 1, detail: 1 });
        Observation {
            at: at(self.seconds),
            vantage: self.vantage,
            sender,
            fact: Fact::Delivery(Delivery {
                responder: Some("198.51.100.25".parse().unwrap()),
                reverse_path: Some(ReversePath::parse(self.from.as_bytes())),
                forward_path: Mailbox::parse(self.to.as_bytes()),
                reply: Some(Reply { code: Some(self.code), enhanced: status, text: None }),
                retry: None,
                queue_id: None,
                message_id: None,
            }),
        }
    }

    /// Into an engine.
    pub fn send(&self, engine: &mut Engine, out: &mut Vec<IncidentChange>) {
        engine.observe(&self.observation(), out);
    }
}

/// Five ordinary days of a relay and an application, 20 messages an hour each by day, to known people.
pub fn ordinary_days(engine: &mut Engine, days: u32) -> Vec<IncidentChange> {
    let mut out = Vec::new();
    for hour in 0..u64::from(days) * 24 {
        let count = if (8..18).contains(&(hour % 24)) { 20 } else { 2 };
        for n in 0..count {
            let seconds = hour as f64 * 3_600.0 + n as f64 * (3_500.0 / count as f64);
            let friend = (hour * 7 + n * 13) % 60;
            for address in ["203.0.113.10", "203.0.113.30"] {
                mail(address, seconds, format!("friend{friend}@partner{}.example", friend % 7))
                    .send(engine, &mut out);
            }
        }
    }
    out
}

/// Spam of an address: `count` messages to strangers, 3 s apart, four in ten to nobody. Returns what it changed.
pub fn spam(engine: &mut Engine, address: &str, from_seconds: f64, count: u64) -> Vec<IncidentChange> {
    let mut out = Vec::new();
    for n in 0..count {
        let mut one =
            mail(address, from_seconds + 3.0 * n as f64, format!("victim{from_seconds}-{n}@else.example"));
        one.code = [550, 250, 250, 550, 250][(n % 5) as usize];
        one.send(engine, &mut out);
    }
    out
}

/// Incidents opened among changes.
pub fn opened(changes: &[IncidentChange]) -> Vec<&IncidentChange> {
    changes.iter().filter(|change| change.change == Change::Opened).collect()
}
