//! A relay whose mail both roads see, as observations.

#![allow(clippy::unwrap_used, dead_code)] // a test fails loudly; not every test needs all of this

use portreeve::company::{Company, Host, Role};
use portreeve::mail::{Mailbox, Reply, ReversePath};
use portreeve::observation::*;
use portreeve::time::{CivilClock, Timestamp};
use rand::Rng;
use rand::rngs::StdRng;
use std::net::IpAddr;
use std::sync::Arc;

pub const RELAY: &str = "203.0.113.10";
pub const DAY_SECONDS: f64 = 86_400.0;

pub fn company() -> Arc<Company> {
    let host = Host { name: "mx1".into(), address: RELAY.parse().unwrap(), role: Some(Role::MailRelay) };
    Arc::new(Company::new(
        vec!["203.0.113.0/24".parse().unwrap()],
        &["home.example".into()],
        vec![host],
        CivilClock::utc(),
    ))
}

/// One delivery of the relay, which either road may see.
pub struct Mail {
    pub at: f64,
    pub person: u32,
    pub responder: IpAddr,
    pub id: u64,
    pub code: u16,
    pub under_tls: bool,
    pub logged: bool,
    /// Lost by the capture.
    pub lost: bool,
}

pub fn start() -> Timestamp {
    Timestamp::parse_rfc3339("2026-03-02T00:00:00Z").unwrap()
}

pub fn observation(seconds: f64, vantage: Vantage, fact: Fact) -> Observation {
    let sender = SenderKeys { address: Some(RELAY.parse().unwrap()), ..SenderKeys::default() };
    Observation { at: start().plus_seconds(seconds), vantage, sender, fact }
}

pub fn delivery(mail: &Mail, queue_id: Option<String>, text: String) -> Fact {
    let to = format!("person{}@away.example", mail.person);
    Fact::Delivery(Delivery {
        responder: Some(mail.responder),
        reverse_path: Some(ReversePath::parse(b"clerk@home.example")),
        forward_path: Mailbox::parse(to.as_bytes()),
        reply: Some(Reply { code: Some(mail.code), enhanced: None, text: Some(text.as_str().into()) }),
        retry: None,
        queue_id: queue_id.map(|id| id.as_str().into()),
        message_id: None,
    })
}

/// The views of a piece of mail, in the words of each road.
pub fn views(mail: &Mail) -> Vec<Observation> {
    let mut list = Vec::new();
    if mail.under_tls && !mail.lost {
        let session = Session {
            responder: mail.responder,
            opened_at: start().plus_seconds(mail.at - 1.0),
            helo: None,
            tls: Tls::Started,
            opaque: Some(Opaque {
                originator_bytes: 5_000,
                responder_bytes: 900,
                messages_estimated: 1,
                ..Opaque::default()
            }),
            client_hello: None,
            messages: 0,
            recipients: 0,
            recipients_refused: 0,
            ended: SessionEnd::Quit,
            gap_bytes: 0,
            oddities: Vec::new(),
        };
        list.push(observation(mail.at + 2.0, Vantage::Wire, Fact::Session(session)));
    } else if !mail.lost {
        let text = format!("2.0.0 Ok: queued as\n{:X}", mail.id);
        list.push(observation(mail.at, Vantage::Wire, delivery(mail, None, text)));
    }
    if mail.logged {
        let text = format!("2.0.0 Ok: queued as {:X}", mail.id);
        let queue_id = Some(format!("Q{:x}", mail.id));
        // Stamps of whole seconds, written after the answer.
        list.push(observation((mail.at + 0.3).floor(), Vantage::Log, delivery(mail, queue_id, text)));
    }
    list
}

/// Days of a relay with `per_day` pieces a day by daylight, one per cent lost by the capture.
pub fn days(
    rng: &mut StdRng,
    from_day: u32,
    days: u32,
    per_day: u32,
    logged: bool,
    people: u32,
) -> Vec<Mail> {
    let mut list = Vec::new();
    for day in from_day..from_day + days {
        for _ in 0..per_day {
            let hour = rng.random_range(0.0..1.0f64) + rng.random_range(0.0..1.0f64);
            let at = f64::from(day) * DAY_SECONDS + hour / 2.0 * DAY_SECONDS;
            let person = rng.random_range(0..people);
            let responder = IpAddr::from([198, 51, 100, (person % 200) as u8]);
            let mail = Mail {
                at,
                person,
                responder,
                id: rng.random_range(1 << 20..u64::MAX),
                code: 250,
                under_tls: person % 2 == 1,
                logged,
                lost: rng.random_range(0..100) == 0,
            };
            if rng.random_range(0..50) == 0 {
                // Greylisted first, and tried again.
                list.push(Mail { code: 451, at: mail.at - 600.0, ..mail });
            }
            list.push(mail);
        }
    }
    list
}

/// What both roads show of them, in event time.
pub fn observations(mut mails: Vec<Mail>) -> Vec<Observation> {
    mails.sort_by(|a, b| a.at.total_cmp(&b.at));
    let mut observations: Vec<Observation> = mails.iter().flat_map(views).collect();
    observations.sort_by_key(|observation| observation.at);
    observations
}
