//! What was seen of the company from one road: the recipients, servers, machines and domains that are known,
//! and whether it was watched long enough to call anything new.
//!
//! *In*: deliveries. *Out*: known or new. *Bound*: two generations of `limits::REMEMBERED_MAX` each.

use super::marks::{ReversePathClass, VerdictClass};
use super::memory::{Exported, InstallKey, Remembered, StoredSet, TraitKind, Traits, Vocabulary};
use crate::mail::{Reply, ReversePath, Verdict};
use crate::observation::{Delivery, Observation};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Recipients and destinations are forgotten after one to two such spans without mail.
pub const RECIPIENT_GENERATION_SECONDS: f64 = 60.0 * 86_400.0;
/// A deferred delivery is retried for at most five days (RFC 5321 section 4.5.4.1).
const DEFERRAL_GENERATION_SECONDS: f64 = 5.0 * 86_400.0;
/// Deliveries after which the company's traits can be judged by, beside the settling time.
const SETTLED_MESSAGES: u64 = 100;

/// One road.
#[derive(Default)]
pub struct Road {
    /// Recipients written to.
    pub recipients: Remembered,
    /// Servers called.
    pub responders: Remembered,
    deferred: Remembered,
    /// Shapes of machines.
    pub machines: Vocabulary,
    /// Domains of reverse-paths.
    pub reverse_domains: Vocabulary,
    first_at: Option<Timestamp>,
    hour: i64,
    day: i64,
    days: u32,
    messages: u64,
}

/// Stored form of a [`Road`].
#[derive(Serialize, Deserialize)]
pub struct StoredRoad {
    recipients: Exported,
    responders: Exported,
    deferred: Exported,
    machines: (Exported, Vec<(u64, u64)>),
    reverse_domains: (Exported, Vec<(u64, u64)>),
    first_at: Option<Timestamp>,
    hour: i64,
    day: i64,
    days: u32,
    messages: u64,
}

/// What a road remembers in sets, in the order of [`Road::sets`].
pub const SETS: [&str; 5] = ["recipients", "responders", "deferred", "machines", "reverse_domains"];

/// What a road remembers beside its sets.
#[derive(Serialize, Deserialize)]
pub struct RoadRest {
    places: [(u64, Option<Timestamp>); SETS.len()],
    machines_waiting: Vec<(u64, u64)>,
    reverse_domains_waiting: Vec<(u64, u64)>,
    first_at: Option<Timestamp>,
    hour: i64,
    day: i64,
    days: u32,
    messages: u64,
}

impl Road {
    /// Its sets, in the order of [`SETS`].
    pub fn sets(&mut self) -> [&mut Remembered; SETS.len()] {
        [
            &mut self.recipients,
            &mut self.responders,
            &mut self.deferred,
            self.machines.known_mut(),
            self.reverse_domains.known_mut(),
        ]
    }

    /// What it remembers beside its sets.
    pub fn rest(&mut self) -> RoadRest {
        RoadRest {
            places: self.sets().map(|set| set.place()),
            machines_waiting: self.machines.waiting(),
            reverse_domains_waiting: self.reverse_domains.waiting(),
            first_at: self.first_at,
            hour: self.hour,
            day: self.day,
            days: self.days,
            messages: self.messages,
        }
    }

    /// From its sets and the rest.
    pub fn restore(rest: RoadRest, mut stored: [StoredSet; SETS.len()]) -> Road {
        let mut place = 0;
        let [recipients, responders, deferred, machines, reverse_domains] = stored.each_mut().map(|stored| {
            place += 1;
            Remembered::restore(rest.places[place - 1], stored)
        });
        Road {
            recipients,
            responders,
            deferred,
            machines: Vocabulary::restore(machines, rest.machines_waiting),
            reverse_domains: Vocabulary::restore(reverse_domains, rest.reverse_domains_waiting),
            first_at: rest.first_at,
            hour: rest.hour,
            day: rest.day,
            days: rest.days,
            messages: rest.messages,
        }
    }

    /// Counts a message at a moment: settling is counted in days on which mail was seen, so that one stamp far
    /// from the others settles nothing.
    pub fn count(&mut self, at: Timestamp) {
        let first_at = *self.first_at.get_or_insert(at);
        self.first_at = Some(first_at.min(at));
        self.messages += 1;
        if self.days == 0 || at.day_index() > self.day {
            self.day = at.day_index();
            self.days += 1;
        }
        if at.hour_index() > self.hour || self.messages == 1 {
            self.hour = at.hour_index();
            self.machines.end_hour(at, RECIPIENT_GENERATION_SECONDS);
            self.reverse_domains.end_hour(at, RECIPIENT_GENERATION_SECONDS);
        }
    }

    /// Share of the settling time that has passed, 0 to 1.
    pub fn settled_share(&self, settling_days: f64, now: Timestamp) -> f64 {
        let age_days = self.first_at.map_or(0.0, |first| now.seconds_since(first) / 86_400.0);
        let days = age_days.min(f64::from(self.days));
        if settling_days <= 0.0 { 1.0 } else { (days / settling_days).clamp(0.0, 1.0) }
    }

    /// Whether the company has been watched long enough from this road to call anything new or foreign.
    pub fn settled(&self, settling_days: f64, now: Timestamp) -> bool {
        self.messages > SETTLED_MESSAGES && self.settled_share(settling_days, now) >= 1.0
    }

    /// Whether the same delivery was judged before. Logs say so; on the wire a deferral of the same
    /// recipient by the same sender within five days does.
    pub fn is_retry(&mut self, key: &InstallKey, observation: &Observation, delivery: &Delivery) -> bool {
        if let Some(retry) = delivery.retry {
            return retry;
        }
        let Some(forward_path) = &delivery.forward_path else { return false };
        let sender = match (observation.sender.address, &observation.sender.host) {
            (Some(address), _) => octets(address),
            (None, Some(host)) => host.as_bytes().to_vec(),
            (None, None) => return false,
        };
        let reverse_path = match &delivery.reverse_path {
            Some(ReversePath::Mailbox(mailbox)) => mailbox.address().as_bytes(),
            _ => b"",
        };
        let digest = key.digest(&[&sender, forward_path.address().as_bytes(), reverse_path]);
        let known = self.deferred.contains(digest);
        match delivery.reply.as_ref().and_then(Reply::verdict) {
            Some(Verdict::Deferred) => {
                self.deferred.insert(digest, observation.at, DEFERRAL_GENERATION_SECONDS)
            }
            Some(_) if known => self.deferred.remove(digest),
            _ => {}
        }
        known
    }

    /// Stored form.
    pub fn export(&self) -> StoredRoad {
        StoredRoad {
            recipients: self.recipients.export(),
            responders: self.responders.export(),
            deferred: self.deferred.export(),
            machines: self.machines.export(),
            reverse_domains: self.reverse_domains.export(),
            first_at: self.first_at,
            hour: self.hour,
            day: self.day,
            days: self.days,
            messages: self.messages,
        }
    }

    /// From the stored form.
    pub fn import(stored: StoredRoad) -> Road {
        Road {
            recipients: Remembered::import(stored.recipients),
            responders: Remembered::import(stored.responders),
            deferred: Remembered::import(stored.deferred),
            machines: Vocabulary::import(stored.machines),
            reverse_domains: Vocabulary::import(stored.reverse_domains),
            first_at: stored.first_at,
            hour: stored.hour,
            day: stored.day,
            days: stored.days,
            messages: stored.messages,
        }
    }
}

/// The class of a final answer. Trouble on the way (no server reached) says nothing about the mail.
pub fn verdict_class(reply: &Reply) -> Option<VerdictClass> {
    if reply.code.is_none()
        && reply.enhanced.is_some_and(|status| status.class == 4 && matches!(status.subject, 3 | 4))
    {
        return None;
    }
    match reply.verdict()? {
        Verdict::Accepted => Some(VerdictClass::Accepted),
        Verdict::NoSuchRecipient => Some(VerdictClass::NoSuchRecipient),
        Verdict::Blocked | Verdict::Policy => Some(VerdictClass::Policy),
        Verdict::Deferred => Some(VerdictClass::Deferred),
        Verdict::OtherPermanent => None,
    }
}

/// What tells machines apart, as keyed digests.
#[derive(Clone, Copy, Debug, Default)]
pub struct MachineTraits {
    /// SYN shape, or for an account the client's network.
    pub machine: Option<u64>,
    /// HELO name.
    pub helo: Option<u64>,
    /// Whether the company's other machines may stand in while this sender is not known by any.
    pub by_company: bool,
}

/// Whether a machine or network is foreign to the sender. A sender that is not known by any yet is measured by
/// the company's.
pub fn foreign(traits: &Traits, road: &mut Road, seen: MachineTraits, settled: bool) -> Option<bool> {
    let by_machine = seen.machine.and_then(|digest| match traits.knows(TraitKind::Machine, digest) {
        None if !seen.by_company || !settled => None,
        None => road.machines.knows(digest).map(|known| !known),
        Some(known) => Some(!known),
    });
    let by_helo = seen.helo.and_then(|digest| traits.knows(TraitKind::Helo, digest)).map(|known| !known);
    match (by_machine, by_helo) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(false) || b.unwrap_or(false)),
    }
}

/// A reverse-path as the judge sees it: `None` for the null path; else the digest of its domain and whether
/// the domain is declared ours.
pub type PathTrait = Option<(u64, Option<bool>)>;

/// Whose reverse-path it is. Before the company is settled, a mailbox is known to be one and nothing more.
pub fn reverse_path_class(
    traits: &Traits,
    road: &mut Road,
    path: PathTrait,
    settled: bool,
) -> ReversePathClass {
    let Some((digest, ours)) = path else { return ReversePathClass::Null };
    let by_sender = traits.knows(TraitKind::ReverseDomain, digest);
    if ours == Some(true) || by_sender == Some(true) {
        return ReversePathClass::Own;
    }
    if !settled {
        return ReversePathClass::Mailbox;
    }
    match (ours, by_sender, road.reverse_domains.knows(digest)) {
        (_, None, Some(true)) => ReversePathClass::Own,
        (None, None, None) => ReversePathClass::Mailbox,
        _ => ReversePathClass::Unknown,
    }
}

/// Bytes of an address, IPv4 in four.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
