//! Both roads' views of the same mail, laid side by side.
//!
//! *In*: [`Observation`]s of both roads in event time. *Out*: [`Fact::Reconciled`], one for each delivery of a
//! server whose packets and log are both seen. *Bound*: `limits::JOIN_SERVERS_MAX` servers,
//! `limits::JOIN_WAITING_MAX` deliveries that wait for their other view on each. *Spec*: docs/detection.md, wire
//! and log.
//!
//! ```text
//!  wire delivery ─┐   same address, same forward-path,        ┌─▶ matched
//!                 ├─▶ then: the receiver's answer, or server  ├─▶ wire only: the log went on and does not know it
//!  log delivery ──┘   and second, or an open session with TLS └─▶ log only: the sensor never saw it
//! ```
//!
//! Nothing is said of mail on which one road could not speak: while the log stood still, or before both roads
//! were seen to agree.

pub mod order;
mod server;
mod view;

use crate::company::Company;
use crate::limits;
use crate::observation::{Fact, Observation, Tls, Vantage};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use server::Server;
use siphasher::sip::SipHasher13;
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;
use view::Seen;

/// What the join counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinCounters {
    /// Deliveries matched by the receiver's answer.
    pub matched_by_reply: u64,
    /// Deliveries matched by server, forward-path and second.
    pub matched_by_path: u64,
    /// Deliveries matched by a session under TLS that was open then.
    pub matched_by_session: u64,
    /// Left the address and stands in no log.
    pub wire_only: u64,
    /// Stands in the log and never passed the sensor.
    pub log_only: u64,
    /// Not judged: the other road stood still around it, or the two were not yet seen to agree.
    pub unsettled: u64,
    /// Not judged: too many waited.
    pub evicted: u64,
    /// Servers not joined because there were too many.
    pub servers_refused: u64,
}

/// The join of the two roads.
pub struct Join {
    company: Arc<Company>,
    key: [u8; 16],
    servers: BTreeMap<IpAddr, Server>,
    wire_reached: Timestamp,
    counters: JoinCounters,
}

impl Join {
    /// A join that has seen nothing. Nothing an attacker chooses is hashed without `key`.
    pub fn new(company: Arc<Company>, key: [u8; 16]) -> Join {
        Join {
            company,
            key,
            servers: BTreeMap::new(),
            wire_reached: Timestamp::from_micros(i64::MIN),
            counters: JoinCounters::default(),
        }
    }

    /// What was counted so far.
    pub fn counters(&self) -> JoinCounters {
        self.counters
    }

    /// Takes one observation of a road; pushes what is settled by it.
    pub fn observe(&mut self, observation: &Observation, out: &mut Vec<Observation>) {
        let Some(address) = observation.sender.address else { return };
        match observation.vantage {
            Vantage::Log => self.take_logged(address, observation, out),
            Vantage::Wire => self.take_passed(address, observation, out),
        }
    }

    fn take_logged(&mut self, address: IpAddr, observation: &Observation, out: &mut Vec<Observation>) {
        let known = self.servers.len();
        let server = match self.servers.entry(address) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                // Only mail that left makes a server: a login or a rejected client does not.
                if !matches!(observation.fact, Fact::Delivery(_)) {
                    return;
                }
                if known >= limits::JOIN_SERVERS_MAX {
                    self.counters.servers_refused += 1;
                    return;
                }
                entry.insert(Server::new(address))
            }
        };
        if let Fact::Delivery(delivery) = &observation.fact
            && let Some(seen) = Seen::of(&self.key, observation, delivery)
        {
            server.logged(seen, &mut self.counters, out);
        }
        server.log_reaches(observation.at, &mut self.counters, out);
        server.wire_reaches(self.wire_reached, &mut self.counters, out);
    }

    fn take_passed(&mut self, address: IpAddr, observation: &Observation, out: &mut Vec<Observation>) {
        self.wire_reached = self.wire_reached.max(observation.at);
        if !self.company.owns(address) && !self.servers.contains_key(&address) {
            return;
        }
        let Some(server) = self.servers.get_mut(&address) else { return };
        match &observation.fact {
            Fact::Delivery(delivery) => {
                if let Some(seen) = Seen::of(&self.key, observation, delivery) {
                    server.passed(seen, &mut self.counters, out);
                }
            }
            Fact::Session(session) if session.tls == Tls::Started => {
                server.session(observation.at, session, &mut self.counters);
            }
            _ => {}
        }
        server.wire_reaches(self.wire_reached, &mut self.counters, out);
    }
}

/// Keyed digest of parts, each closed by its length.
fn keyed(key: &[u8; 16], parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(key);
    for part in parts {
        hasher.write(part);
        hasher.write_u64(part.len() as u64);
    }
    hasher.finish()
}
