//! One sender: who it is, what it normally does, what the test says of it now.
//!
//! *In*: marks in event time. *Out*: a [`Verdict`] per delivery. *Bound*: fixed size beside at most
//! `limits::BLOCK_ADDRESSES_MAX` addresses of a block.

use super::baseline::{Baseline, MarkCounts};
use super::detector::{Detector, Expected, Step};
use super::marks::Marks;
use super::memory::KnownTraits;
use super::model::Model;
use crate::company::Role;
use crate::limits;
use crate::mail::Untrusted;
use crate::observation::Vantage;
use crate::time::{CivilClock, MICROS_PER_HOUR, Timestamp};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Who is profiled.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum SenderId {
    /// One address.
    Address(IpAddr),
    /// An authenticated user, lower case.
    Account(Untrusted),
    /// An address prefix.
    Block(IpNet),
    /// An MTA's machine by the name in its log, where its address is not known. Lower case.
    Host(Untrusted),
}

/// A sender as seen from one road: the two roads are learned apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct SenderKey {
    /// The road.
    pub vantage: Vantage,
    /// Who.
    pub id: SenderId,
}

/// What happened since the change point: the last moment at which nothing spoke for a hijack.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// First and last delivery.
    pub first_at: Timestamp,
    /// Last delivery.
    pub last_at: Timestamp,
    /// Deliveries (and, under TLS, estimated messages).
    pub messages: u64,
    /// Of these, such whose paths and verdict TLS hid.
    pub hidden: u64,
    /// Marks.
    pub marks: MarkCounts,
    /// Addresses of a block that took part.
    pub addresses: BTreeSet<IpAddr>,
    /// A few deliveries, the first ones.
    pub samples: Vec<Sample>,
}

/// One delivery shown as an example. The forward-path's local part is never kept here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// The address that it left from.
    pub address: Option<IpAddr>,
    /// Who handed it in.
    pub client: Option<IpAddr>,
    /// The server.
    pub responder: Option<IpAddr>,
    /// Reverse-path; empty for the null path.
    pub reverse_path: Option<Untrusted>,
    /// Domain of the forward-path.
    pub forward_domain: Option<Untrusted>,
    /// Keyed digest of the whole forward-path.
    pub forward_path_digest: Option<u64>,
    /// Reply code.
    pub code: Option<u16>,
    /// The receiver's words.
    pub text: Option<Untrusted>,
    /// Local id of the message.
    pub queue_id: Option<Untrusted>,
}

/// State of one sender.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sender {
    /// Declared role, or `Unused` until told otherwise.
    pub role: Role,
    /// What is normal.
    pub baseline: Baseline,
    /// The test.
    pub detector: Detector,
    /// SYN shapes (of an address) or client networks (of an account) it is known by.
    pub machines: KnownTraits,
    /// HELO names it is known by.
    pub helos: KnownTraits,
    /// Domains of reverse-paths it is known by.
    pub reverse_domains: KnownTraits,
    /// What happened since the change point.
    pub episode: Episode,
    /// First delivery ever.
    pub first_at: Timestamp,
    /// Last delivery.
    pub last_at: Timestamp,
    /// Deliveries ever.
    pub messages: u64,
    /// The address an account's last mail left by; the last account of an address is not kept.
    pub last_address: Option<IpAddr>,
    /// Reached in event time.
    clock: Timestamp,
    /// Greatest evidence in the hour under way.
    hour_peak: f64,
}

impl Sender {
    /// A sender met for the first time at `at`.
    pub fn new(model: &Model, role: Role, at: Timestamp, clock: &CivilClock) -> Sender {
        Sender {
            role,
            baseline: Baseline::new(model.prior(role), clock.profile_bin(at.hour_index())),
            detector: Detector::new(model),
            machines: KnownTraits::default(),
            helos: KnownTraits::default(),
            reverse_domains: KnownTraits::default(),
            episode: Episode::default(),
            first_at: at,
            last_at: at,
            messages: 0,
            last_address: None,
            clock: at,
            hour_peak: 0.0,
        }
    }

    /// Lets time pass up to `to`: closes hours and days, learns, lets the test cool down. A clock that goes
    /// back stands still.
    pub fn advance(&mut self, model: &Model, clock: &CivilClock, to: Timestamp) {
        while self.clock.hour_index() < to.hour_index() {
            let hour = self.clock.hour_index();
            let end = Timestamp::from_micros((hour + 1) * MICROS_PER_HOUR);
            self.detector.wait(model, &self.expected(), end.seconds_since(self.clock));
            self.clock = end;
            self.end_hour(model, clock, hour);
        }
        if to > self.clock {
            self.detector.wait(model, &self.expected(), to.seconds_since(self.clock));
            self.clock = to;
        }
    }

    fn end_hour(&mut self, model: &Model, clock: &CivilClock, hour: i64) {
        let trusted = self.hour_peak < model.amber;
        self.baseline.end_hour(clock.profile_bin(hour), trusted);
        for traits in [&mut self.machines, &mut self.helos, &mut self.reverse_domains] {
            traits.end_hour(trusted);
        }
        if hour.rem_euclid(24) == 23 {
            self.baseline.end_day();
            for traits in [&mut self.machines, &mut self.helos, &mut self.reverse_domains] {
                traits.end_day();
            }
        }
        self.baseline.predict(model.prior(self.role), clock.profile_bin(hour + 1));
        self.hour_peak = self.detector.evidence();
    }

    /// What is expected now.
    pub fn expected(&self) -> Expected {
        Expected {
            rate: self.baseline.rate,
            dispersion: self.baseline.dispersion,
            law: self.baseline.law.into(),
        }
    }

    /// Judges one delivery and counts it. Call [`Sender::advance`] first.
    pub fn deliver(&mut self, model: &Model, at: Timestamp, marks: &Marks, sample: Option<Sample>) -> Step {
        let seconds = at.seconds_since(self.last_at);
        let hangs_together = self.messages > 0 && (0.0..1.0).contains(&seconds);
        let weight = if hangs_together { model.same_second_weight } else { 1.0 };
        let step = self.detector.deliver(model, &self.expected(), marks, weight);
        self.baseline.count(marks);
        self.hour_peak = self.hour_peak.max(step.evidence);
        self.messages += 1;
        self.last_at = self.last_at.max(at);
        self.remember(at, marks, sample);
        step
    }

    /// Starts the episode anew; for when nothing speaks for a hijack and no incident is open.
    pub fn end_episode(&mut self) {
        if self.episode.messages > 0 {
            self.episode = Episode::default();
        }
    }

    fn remember(&mut self, at: Timestamp, marks: &Marks, sample: Option<Sample>) {
        let episode = &mut self.episode;
        if episode.messages == 0 {
            episode.first_at = at;
        }
        episode.last_at = at;
        episode.messages += 1;
        episode.marks.add(marks);
        let Some(sample) = sample else {
            episode.hidden += 1;
            return;
        };
        if let Some(address) = sample.address
            && episode.addresses.len() < limits::BLOCK_ADDRESSES_MAX
        {
            episode.addresses.insert(address);
        }
        episode.hidden += u64::from(sample.forward_path_digest.is_none());
        if episode.samples.len() < limits::SAMPLES_MAX {
            episode.samples.push(sample);
        }
    }
}
