//! Both roads' views of the same mail, laid side by side.
//!
//! *In*: [`Observation`]s of both roads in event time. *Out*: [`Fact::Reconciled`], one for each delivery of a
//! server whose packets and log are both seen. *Bound*: `limits::JOIN_SERVERS_MAX` servers,
//! `limits::JOIN_WAITING_MAX` deliveries that wait for their other view on each. *Spec*: docs/detection.md, wire
//! and log.
//!
//! ```text
//!  wire delivery ─┐   same address, same forward-path, then:  ┌─▶ matched
//!                 ├─▶ the receiver's answer, the Message-ID,  ├─▶ wire only: the log went on and does not know it
//!  log delivery ──┘   or server and second; else an open      └─▶ log only: the sensor never saw it
//!                     session with TLS
//! ```
//!
//! Nothing is said of mail on which one road could not speak: while the log or the wire stood still, or before both
//! roads were seen to agree.

pub mod coverage;
pub mod kept;
pub mod order;
mod server;
mod view;
mod waiting;

use crate::limits;
use crate::observation::{Fact, Observation, Tls, Vantage};
use crate::time::Timestamp;
use coverage::{Blind, Silences};
use serde::{Deserialize, Serialize};
use server::{Server, Tell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use view::Traits;

/// What the join counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinCounters {
    /// Deliveries matched by the receiver's answer.
    pub matched_by_reply: u64,
    /// Deliveries matched by forward-path and `Message-ID:`.
    pub matched_by_message_id: u64,
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
    key: [u8; 16],
    recipients_named: bool,
    servers: BTreeMap<IpAddr, Server>,
    wire_reached: Timestamp,
    silences: Silences,
    blind: Vec<Blind>,
    counters: JoinCounters,
    /// Notes of another form, to be removed.
    outdated: Vec<String>,
}

impl JoinCounters {
    /// Deliveries that both roads have.
    pub fn matched(&self) -> u64 {
        self.matched_by_reply + self.matched_by_message_id + self.matched_by_path + self.matched_by_session
    }
}

impl Join {
    /// A join that has seen nothing. Nothing an attacker chooses is hashed without `key`. Recipients are told by
    /// digest and domain unless they are to be named.
    pub fn new(key: [u8; 16], recipients_named: bool) -> Join {
        Join {
            key,
            recipients_named,
            servers: BTreeMap::new(),
            wire_reached: Timestamp::from_micros(i64::MIN),
            silences: Silences::default(),
            blind: Vec::new(),
            counters: JoinCounters::default(),
            outdated: Vec::new(),
        }
    }

    /// What was counted so far.
    pub fn counters(&self) -> JoinCounters {
        self.counters
    }

    /// Takes servers whose mail the sensor was found not to see any more.
    pub fn take_blind(&mut self) -> Vec<Blind> {
        std::mem::take(&mut self.blind)
    }

    /// Takes one observation of a road; pushes what is settled by it. It is taken whole, since most deliveries wait
    /// here for their other view.
    pub fn observe(&mut self, mut observation: Observation, out: &mut Vec<Observation>) {
        let Some(address) = observation.sender.address else { return };
        match observation.vantage {
            Vantage::Log => self.take_logged(address, &mut observation, out),
            Vantage::Wire => self.take_passed(address, &mut observation, out),
        }
    }

    fn take_logged(&mut self, address: IpAddr, observation: &mut Observation, out: &mut Vec<Observation>) {
        if !self.servers.contains_key(&address) {
            // Only mail that left makes a server: a login or a rejected client does not.
            if !matches!(observation.fact, Fact::Delivery(_)) {
                return;
            }
            if self.servers.len() >= limits::JOIN_SERVERS_MAX {
                self.counters.servers_refused += 1;
                return;
            }
        }
        let (key, wire_reached) = (self.key, self.wire_reached);
        let Observation { at, sender, fact, .. } = observation;
        let (server, mut tell) = self.parts(address, out);
        if let Fact::Delivery(delivery) = fact
            && let Some(traits) = Traits::of(&key, *at, delivery)
        {
            server.logged(traits, sender, delivery, &mut tell);
        }
        server.log_reaches(*at, &mut tell);
        server.wire_reaches(wire_reached, &mut tell);
    }

    fn take_passed(&mut self, address: IpAddr, observation: &mut Observation, out: &mut Vec<Observation>) {
        if observation.at > self.wire_reached {
            self.silences.note(self.wire_reached, observation.at);
            self.wire_reached = observation.at;
        }
        if !self.servers.contains_key(&address) {
            return;
        }
        let (key, wire_reached) = (self.key, self.wire_reached);
        let Observation { at, sender, fact, .. } = observation;
        let (server, mut tell) = self.parts(address, out);
        match fact {
            Fact::Delivery(delivery) => {
                if let Some(traits) = Traits::of(&key, *at, delivery) {
                    server.passed(traits, sender, delivery, &mut tell);
                }
            }
            Fact::Session(session) if session.tls == Tls::Started => {
                server.session(*at, session, &mut tell);
            }
            _ => {}
        }
        server.wire_reaches(wire_reached, &mut tell);
    }

    /// One server, and where it tells.
    fn parts<'a>(&'a mut self, address: IpAddr, out: &'a mut Vec<Observation>) -> (&'a mut Server, Tell<'a>) {
        let server = self.servers.entry(address).or_insert_with(|| Server::new(address));
        server.changed = true;
        let tell = Tell {
            counters: &mut self.counters,
            out,
            blind: &mut self.blind,
            recipients_named: self.recipients_named,
            silences: &self.silences,
        };
        (server, tell)
    }
}
