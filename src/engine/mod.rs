//! ★ Observations become statistics and incidents.
//!
//! *In*: [`Observation`]s in event time. *Out*: [`IncidentChange`]s. *Bound*: `limits::SENDERS_MAX` senders,
//! two generations of `limits::REMEMBERED_MAX` recipients a road. *Spec*: docs/detection.md.
//!
//! No I/O, no clock, no knowledge of packets or log lines: a pure function of state and event.

pub mod baseline;
pub mod detector;
pub mod incident;
pub mod marks;
pub mod memory;
pub mod model;
pub mod sender;

use crate::company::{Company, Role};
use crate::limits;
use crate::mail::{Reply, ReversePath, Verdict, registrable_domain};
use crate::observation::{Delivery, Fact, Observation, SenderKeys, Session, Tls, Vantage};
use crate::time::Timestamp;
use incident::{Change, Incident, IncidentChange};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use marks::{Marks, ReversePathClass, VerdictClass};
use memory::{InstallKey, KnownTraits, Remembered};
use model::Model;
use sender::{Sample, Sender, SenderId, SenderKey};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// Recipients and destinations are forgotten after one to two such spans without mail.
const RECIPIENT_GENERATION_SECONDS: f64 = 60.0 * 86_400.0;
/// A deferred delivery is retried for at most five days (RFC 5321 section 4.5.4.1).
const DEFERRAL_GENERATION_SECONDS: f64 = 5.0 * 86_400.0;
/// Deliveries after which the company's traits can be judged by, beside the settling time.
const SETTLED_MESSAGES: u64 = 100;
/// Usual messages a day below which an address counts as quiet and feeds its block.
const QUIET_PER_DAY: f64 = 2.0;
/// Addresses that must take part before a block is accused.
const BLOCK_ADDRESSES_MIN: usize = 3;

/// What the user may set.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The false-alarm budget.
    pub false_alarms_per_1000_sender_days: f64,
    /// How long a new install only learns what is new and what is foreign, days.
    pub settling_days: f64,
    /// Extra evidence asked for on the first moment of a new install, nats; it falls to nothing while it settles.
    pub unsettled_margin_nats: f64,
    /// Quiet time after which an incident is closed, hours.
    pub close_after_hours: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            false_alarms_per_1000_sender_days: 1.0,
            settling_days: 3.0,
            unsettled_margin_nats: 20.0,
            close_after_hours: 6.0,
        }
    }
}

/// What was seen of the company from one road.
#[derive(Default)]
struct Road {
    recipients: Remembered,
    responders: Remembered,
    deferred: Remembered,
    machines: KnownTraits,
    reverse_domains: KnownTraits,
    first_at: Option<Timestamp>,
    hour: i64,
    messages: u64,
}

/// What the engine counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EngineCounters {
    /// Observations taken.
    pub observations: u64,
    /// Deliveries judged.
    pub deliveries: u64,
    /// Messages under TLS judged by their outside.
    pub hidden_messages: u64,
    /// Deliveries known as retries of one already judged.
    pub retries: u64,
    /// Observations older than what their sender had already reached; judged as of then.
    pub late: u64,
    /// Senders not profiled because the table was full.
    pub senders_refused: u64,
    /// Incidents opened.
    pub incidents_opened: u64,
}

/// The judge.
pub struct Engine {
    company: Arc<Company>,
    model: Model,
    settings: Settings,
    key: InstallKey,
    senders: HashMap<SenderKey, Box<Sender>>,
    changed: BTreeSet<SenderKey>,
    roads: [Road; 2],
    incidents: BTreeMap<SenderId, Incident>,
    now: Timestamp,
    swept_hour: i64,
    counters: EngineCounters,
}

/// Stored state that is not a sender's.
#[derive(Serialize, Deserialize)]
struct Shared {
    roads: Vec<StoredRoad>,
    incidents: Vec<Incident>,
    now: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct StoredRoad {
    recipients: (Vec<u64>, Vec<u64>, Option<Timestamp>),
    responders: (Vec<u64>, Vec<u64>, Option<Timestamp>),
    deferred: (Vec<u64>, Vec<u64>, Option<Timestamp>),
    machines: KnownTraits,
    reverse_domains: KnownTraits,
    first_at: Option<Timestamp>,
    hour: i64,
    messages: u64,
}

impl Engine {
    /// A judge without memories.
    pub fn new(company: Arc<Company>, model: Model, settings: Settings, key: InstallKey) -> Engine {
        Engine {
            company,
            model,
            settings,
            key,
            senders: HashMap::new(),
            changed: BTreeSet::new(),
            roads: [Road::default(), Road::default()],
            incidents: BTreeMap::new(),
            now: Timestamp::from_micros(i64::MIN),
            swept_hour: i64::MIN,
            counters: EngineCounters::default(),
        }
    }

    /// Counters so far.
    pub fn counters(&self) -> EngineCounters {
        self.counters
    }

    /// The latest moment seen.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Incidents that are open.
    pub fn open_incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.values()
    }

    /// All senders, in a stable order.
    pub fn senders(&self) -> Vec<(&SenderKey, &Sender)> {
        let mut list: Vec<_> = self.senders.iter().map(|(key, sender)| (key, &**sender)).collect();
        list.sort_by(|a, b| a.0.cmp(b.0));
        list
    }

    /// The model in use.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Takes one observation; pushes what it changed.
    pub fn observe(&mut self, observation: &Observation, out: &mut Vec<IncidentChange>) {
        self.counters.observations += 1;
        self.now = self.now.max(observation.at);
        if self.now.hour_index() != self.swept_hour {
            self.sweep(out);
        }
        match &observation.fact {
            Fact::Delivery(delivery) => self.delivery(observation, delivery, out),
            Fact::Session(session) if session.tls == Tls::Started => self.hidden(observation, session, out),
            Fact::Session(_) | Fact::Message(_) | Fact::Attempt(_) | Fact::Login(_) => {}
        }
    }

    fn delivery(&mut self, observation: &Observation, delivery: &Delivery, out: &mut Vec<IncidentChange>) {
        if self.is_retry(observation, delivery) {
            self.counters.retries += 1;
            return;
        }
        self.counters.deliveries += 1;
        let suspected = self.suspected(observation);
        let recipient = delivery
            .forward_path
            .as_ref()
            .map(|path| self.key.digest(&[&path.address().as_bytes().to_ascii_lowercase()]));
        let settled = self.settled(observation.vantage, observation.at);
        let road = &mut self.roads[observation.vantage as usize];
        let novel = recipient.map(|digest| !road.recipients.contains(digest));
        if let Some(digest) = recipient
            && !suspected
        {
            road.recipients.insert(digest, observation.at, RECIPIENT_GENERATION_SECONDS);
        }
        let marks = Marks {
            novel: novel.filter(|_| settled),
            verdict: delivery.reply.as_ref().and_then(verdict_class),
            reverse_path: None,
            foreign: None,
        };
        let sample = sample(observation, delivery, recipient);
        self.judge_all(observation, delivery.reverse_path.as_ref(), marks, &sample, out);
    }

    /// A session under TLS: each message that its outside shows is judged by destination and machine.
    fn hidden(&mut self, observation: &Observation, session: &Session, out: &mut Vec<IncidentChange>) {
        let messages = session.opaque.map_or(0, |opaque| opaque.messages_estimated);
        let settled = self.settled(observation.vantage, observation.at);
        let digest = self.key.digest(&[&octets(session.responder)]);
        for _ in 0..messages.min(1_000) {
            self.counters.hidden_messages += 1;
            let suspected = self.suspected(observation);
            let road = &mut self.roads[observation.vantage as usize];
            let novel = !road.responders.contains(digest);
            if !suspected {
                road.responders.insert(digest, observation.at, RECIPIENT_GENERATION_SECONDS);
            }
            let marks = Marks { novel: Some(novel).filter(|_| settled), ..Marks::default() };
            let sample = Sample {
                at: observation.at,
                address: observation.sender.address,
                client: observation.sender.client,
                responder: Some(session.responder),
                reverse_path: None,
                forward_domain: None,
                forward_path_digest: None,
                code: None,
                text: None,
                queue_id: None,
            };
            self.judge_all(observation, None, marks, &sample, out);
        }
    }

    /// Whether the same delivery was judged before. Logs say so; on the wire a deferral of the same
    /// recipient by the same sender within five days does.
    fn is_retry(&mut self, observation: &Observation, delivery: &Delivery) -> bool {
        if let Some(retry) = delivery.retry {
            return retry;
        }
        let (Some(address), Some(forward_path)) = (observation.sender.address, &delivery.forward_path) else {
            return false;
        };
        let reverse_path = match &delivery.reverse_path {
            Some(ReversePath::Mailbox(mailbox)) => mailbox.address().as_bytes(),
            _ => b"",
        };
        let digest = self.key.digest(&[&octets(address), forward_path.address().as_bytes(), reverse_path]);
        let verdict = delivery.reply.as_ref().and_then(Reply::verdict);
        let deferred = &mut self.roads[observation.vantage as usize].deferred;
        let known = deferred.contains(digest);
        match verdict {
            Some(Verdict::Deferred) => deferred.insert(digest, observation.at, DEFERRAL_GENERATION_SECONDS),
            Some(_) if known => deferred.remove(digest),
            _ => {}
        }
        known
    }

    /// Whether the company has been watched long enough from this road to call anything new or foreign.
    fn settled(&mut self, vantage: Vantage, at: Timestamp) -> bool {
        let settling_seconds = self.settings.settling_days * 86_400.0;
        let road = &mut self.roads[vantage as usize];
        let first_at = *road.first_at.get_or_insert(at);
        road.messages += 1;
        road.messages > SETTLED_MESSAGES && at.seconds_since(first_at) >= settling_seconds
    }

    fn suspected(&self, observation: &Observation) -> bool {
        self.profiled(&observation.sender).into_iter().any(|id| {
            let key = SenderKey { vantage: observation.vantage, id };
            self.senders.get(&key).is_some_and(|sender| sender.detector.evidence() >= self.model.amber)
        })
    }

    /// Which senders an observation is about, not counting the block of a quiet address.
    fn profiled(&self, keys: &SenderKeys) -> Vec<SenderId> {
        let mut ids = Vec::with_capacity(3);
        if let Some(address) = keys.address {
            match address {
                IpAddr::V6(_) if self.company.host_of(address).is_none() => {
                    ids.push(SenderId::Block(block_of(address)))
                }
                _ => ids.push(SenderId::Address(address)),
            }
        } else if let Some(host) = &keys.host {
            ids.push(SenderId::Host(host.clone()));
        }
        if let Some(account) = &keys.account {
            ids.push(SenderId::Account(account.clone()));
        } else if let Some(client) = keys.client
            && keys.address != Some(client)
            && !client.is_loopback()
            && self.company.owns(client)
        {
            ids.push(SenderId::Address(client));
        }
        ids
    }

    fn judge_all(
        &mut self,
        observation: &Observation,
        reverse_path: Option<&ReversePath>,
        marks: Marks,
        sample: &Sample,
        out: &mut Vec<IncidentChange>,
    ) {
        let ids = self.profiled(&observation.sender);
        let path = reverse_path.map(|path| self.path_trait(path));
        for id in &ids {
            self.judge(observation, id, path, marks, sample, out);
        }
        if let Some(address @ IpAddr::V4(_)) = observation.sender.address
            && self.company.host_of(address).is_none()
            && self.quiet(observation.vantage, address)
        {
            self.judge(observation, &SenderId::Block(block_of(address)), path, marks, sample, out);
        }
        self.learn_company(observation, path);
    }

    fn quiet(&self, vantage: Vantage, address: IpAddr) -> bool {
        let key = SenderKey { vantage, id: SenderId::Address(address) };
        self.senders.get(&key).is_none_or(|sender| sender.baseline.usual_per_day() < QUIET_PER_DAY)
    }

    /// `None` for the null path; else the digest of the domain and whether it is declared ours.
    fn path_trait(&self, path: &ReversePath) -> Option<(u64, Option<bool>)> {
        let mailbox = path.mailbox()?;
        let digest = self.key.digest(&[&registrable_domain(mailbox.domain())]);
        Some((digest, self.company.owns_mailbox(mailbox)))
    }

    fn learn_company(&mut self, observation: &Observation, path: Option<Option<(u64, Option<bool>)>>) {
        let suspected = self.suspected(observation);
        let hour = observation.at.hour_index();
        let road = &mut self.roads[observation.vantage as usize];
        if hour != road.hour {
            road.machines.end_hour(true);
            road.reverse_domains.end_hour(true);
            road.hour = hour;
        }
        if suspected {
            return;
        }
        if let Some(syn) = observation.sender.machine.syn {
            road.machines.note(self.key.digest(&[&syn.to_le_bytes()]));
        }
        if let Some(Some((digest, _))) = path {
            road.reverse_domains.note(digest);
        }
    }

    fn judge(
        &mut self,
        observation: &Observation,
        id: &SenderId,
        path: Option<Option<(u64, Option<bool>)>>,
        mut marks: Marks,
        sample: &Sample,
        out: &mut Vec<IncidentChange>,
    ) {
        let key = SenderKey { vantage: observation.vantage, id: id.clone() };
        if !self.senders.contains_key(&key) && self.senders.len() >= limits::SENDERS_MAX {
            self.counters.senders_refused += 1;
            return;
        }
        let role = self.role_of(id);
        let machine = self.machine_traits(observation, id);
        let at = observation.at;
        let road = &self.roads[observation.vantage as usize];
        let clock = &self.company.clock;
        let sender = self
            .senders
            .entry(key.clone())
            .or_insert_with(|| Box::new(Sender::new(&self.model, role, at, clock)));
        self.counters.late += u64::from(at < sender.last_at);
        sender.advance(&self.model, clock, at);
        let settled = road.messages > SETTLED_MESSAGES
            && road
                .first_at
                .is_some_and(|first| at.seconds_since(first) >= self.settings.settling_days * 86_400.0);
        marks.foreign = foreign(sender, road, machine, id, settled);
        marks.reverse_path = path.and_then(|path| reverse_path_class(sender, road, path, settled));
        if let Some(digest) = machine.0 {
            sender.machines.note(digest);
        }
        if let Some(digest) = machine.1 {
            sender.helos.note(digest);
        }
        if let Some(Some((digest, _))) = path {
            sender.reverse_domains.note(digest);
        }
        sender.last_address = observation.sender.address;
        let step = sender.deliver(&self.model, at, &marks, Some(sample.clone()));
        if step.clear && !self.incidents.contains_key(id) {
            sender.end_episode();
        }
        self.changed.insert(key.clone());
        self.decide(&key, step.template, step.evidence, out);
    }

    fn role_of(&self, id: &SenderId) -> Role {
        match id {
            SenderId::Address(address) => {
                self.company.host_of(*address).and_then(|host| host.role).unwrap_or(Role::Unused)
            }
            SenderId::Host(_) => Role::MailRelay,
            SenderId::Account(_) => Role::Workstation,
            SenderId::Block(_) => Role::Unused,
        }
    }

    /// Keyed digests of what tells machines apart: (SYN shape or client network, HELO name).
    fn machine_traits(&self, observation: &Observation, id: &SenderId) -> (Option<u64>, Option<u64>) {
        match id {
            SenderId::Account(_) => {
                (observation.sender.client.map(|client| self.key.digest(&[&network_of(client)])), None)
            }
            _ => {
                let machine = observation.sender.machine;
                let keyed = |value: Option<u64>| value.map(|value| self.key.digest(&[&value.to_le_bytes()]));
                (keyed(machine.syn), keyed(machine.helo))
            }
        }
    }

    /// Threshold of one sender: calibrated base, plus its usual rate, plus the margin of a young install.
    fn threshold(&self, sender: &Sender, vantage: Vantage) -> f64 {
        let base = self.model.base_threshold(self.settings.false_alarms_per_1000_sender_days);
        base + sender.baseline.usual_per_day().ln_1p() + self.margin(vantage)
    }

    fn margin(&self, vantage: Vantage) -> f64 {
        let settling_seconds = (self.settings.settling_days * 86_400.0).max(1.0);
        let age = self.roads[vantage as usize].first_at.map_or(0.0, |first| self.now.seconds_since(first));
        self.settings.unsettled_margin_nats * (1.0 - age / settling_seconds).clamp(0.0, 1.0)
    }

    /// Where an alert is decided.
    fn decide(&mut self, key: &SenderKey, template: usize, evidence: f64, out: &mut Vec<IncidentChange>) {
        let Some(sender) = self.senders.get(key) else { return };
        let at = sender.last_at;
        let threshold = self.threshold(sender, key.vantage);
        if let Some(incident) = self.incidents.get_mut(&key.id) {
            if evidence < self.model.amber {
                return;
            }
            incident.suspicious_at = incident.suspicious_at.max(at);
            if !incident.vantages.contains(&key.vantage) {
                incident.vantages.push(key.vantage);
                incident.vantages.sort();
            }
            if incident.vantages[0] == key.vantage || incident.messages < sender.episode.messages {
                incident.messages = incident.messages.max(sender.episode.messages);
            }
            if incident.update_due(at) {
                incident.refresh(&self.model, sender, template, at);
                incident.sequence += 1;
                incident.reported_messages = incident.messages;
                incident.reported_at = at;
                out.push(IncidentChange { change: Change::Updated, at, incident: incident.clone() });
            }
            return;
        }
        if evidence < threshold {
            return;
        }
        match &key.id {
            SenderId::Block(block)
                if block.max_prefix_len() == 32 && sender.episode.addresses.len() < BLOCK_ADDRESSES_MIN =>
            {
                return;
            }
            SenderId::Address(address) => {
                if let Some(open) = self.open_block_of(*address) {
                    let own = key.id.clone();
                    if let Some(incident) = self.incidents.get_mut(&open) {
                        incident.relate(&own);
                    }
                    return;
                }
            }
            _ => {}
        }
        self.open(key, template, threshold, out);
    }

    fn open_block_of(&self, address: IpAddr) -> Option<SenderId> {
        let id = SenderId::Block(block_of(address));
        self.incidents.contains_key(&id).then_some(id)
    }

    fn open(&mut self, key: &SenderKey, template: usize, threshold: f64, out: &mut Vec<IncidentChange>) {
        let Some(sender) = self.senders.get(key) else { return };
        let at = sender.last_at;
        let name = postcard::to_allocvec(&key.id).unwrap_or_default();
        let mut incident = Incident {
            id: self.key.digest(&[b"incident", &name, &at.as_micros().to_le_bytes()]),
            sequence: 0,
            sender: key.id.clone(),
            role: sender.role,
            role_declared: matches!(&key.id, SenderId::Address(a) if self.company.host_of(*a).is_some_and(|h| h.role.is_some())),
            vantages: vec![key.vantage],
            kind: incident::Kind::Unknown,
            confidence: 0.0,
            opened_at: at,
            first_at: at,
            last_at: at,
            evidence_nats: 0.0,
            threshold_nats: threshold,
            template: String::new(),
            messages: 0,
            hidden: 0,
            accepted: 0,
            usual_max: 0.0,
            addresses: 0,
            evidence: Vec::new(),
            explanations: Vec::new(),
            samples: Vec::new(),
            related: Vec::new(),
            reported_messages: 0,
            reported_at: at,
            suspicious_at: at,
        };
        incident.refresh(&self.model, sender, template, at);
        let normalised = incident.evidence_nats - sender.baseline.usual_per_day().ln_1p();
        incident.confidence = incident::confidence(self.model.implied_false_alarms(normalised));
        incident.reported_messages = incident.messages;
        self.relate(&mut incident, sender.last_address);
        self.counters.incidents_opened += 1;
        out.push(IncidentChange { change: Change::Opened, at, incident: incident.clone() });
        self.incidents.insert(key.id.clone(), incident);
    }

    /// Joins an incident with the open ones of the same story: the account with the relay it leaves by, the
    /// block with its addresses.
    fn relate(&mut self, incident: &mut Incident, last_address: Option<IpAddr>) {
        for (id, other) in &mut self.incidents {
            let same_story = match (&incident.sender, id) {
                (SenderId::Account(_), SenderId::Address(address)) => last_address == Some(*address),
                (SenderId::Address(own), SenderId::Account(_)) => {
                    other.samples.iter().any(|sample| sample.address == Some(*own))
                }
                (SenderId::Block(block), SenderId::Address(address)) => block.contains(address),
                _ => false,
            };
            if same_story {
                incident.relate(id);
                other.relate(&incident.sender);
            }
        }
        if let (SenderId::Account(_), Some(address)) = (&incident.sender, last_address) {
            incident.relate(&SenderId::Address(address));
        }
        if let SenderId::Block(_) = incident.sender {
            let key = |vantage| SenderKey { vantage, id: incident.sender.clone() };
            let sender = incident.vantages.first().and_then(|vantage| self.senders.get(&key(*vantage)));
            let addresses = sender.map(|sender| sender.episode.addresses.clone()).unwrap_or_default();
            for address in addresses {
                incident.relate(&SenderId::Address(address));
            }
        }
    }

    /// Once an hour: closes incidents whose sender is quiet again.
    fn sweep(&mut self, out: &mut Vec<IncidentChange>) {
        self.swept_hour = self.now.hour_index();
        let quiet_seconds = self.settings.close_after_hours * 3_600.0;
        let quiet: Vec<SenderId> = self
            .incidents
            .iter()
            .filter(|(_, incident)| self.now.seconds_since(incident.suspicious_at) >= quiet_seconds)
            .map(|(id, _)| id.clone())
            .collect();
        let hour_start = Timestamp::from_seconds(self.swept_hour.saturating_mul(3_600));
        for id in quiet {
            let Some(mut incident) = self.incidents.remove(&id) else { continue };
            incident.sequence += 1;
            incident.last_at = incident.suspicious_at;
            for vantage in [Vantage::Wire, Vantage::Log] {
                let key = SenderKey { vantage, id: id.clone() };
                if let Some(sender) = self.senders.get_mut(&key) {
                    sender.end_episode();
                    self.changed.insert(key);
                }
            }
            out.push(IncidentChange { change: Change::Closed, at: hour_start, incident });
        }
    }

    /// Senders whose state changed since the last call, for the store.
    pub fn take_changed(&mut self) -> Vec<(SenderKey, Vec<u8>)> {
        let changed = std::mem::take(&mut self.changed);
        changed
            .into_iter()
            .filter_map(|key| {
                let blob = postcard::to_allocvec(&**self.senders.get(&key)?).ok()?;
                Some((key, blob))
            })
            .collect()
    }

    /// State that is not a sender's, for the store.
    pub fn export_shared(&self) -> Vec<u8> {
        let roads = self
            .roads
            .iter()
            .map(|road| StoredRoad {
                recipients: road.recipients.export(),
                responders: road.responders.export(),
                deferred: road.deferred.export(),
                machines: road.machines.clone(),
                reverse_domains: road.reverse_domains.clone(),
                first_at: road.first_at,
                hour: road.hour,
                messages: road.messages,
            })
            .collect();
        let shared = Shared { roads, incidents: self.incidents.values().cloned().collect(), now: self.now };
        postcard::to_allocvec(&shared).unwrap_or_default()
    }

    /// Takes back what [`Engine::export_shared`] gave. `false` where it cannot be read.
    pub fn import_shared(&mut self, blob: &[u8]) -> bool {
        let Ok(shared) = postcard::from_bytes::<Shared>(blob) else { return false };
        for (road, stored) in self.roads.iter_mut().zip(shared.roads) {
            *road = Road {
                recipients: Remembered::import(stored.recipients),
                responders: Remembered::import(stored.responders),
                deferred: Remembered::import(stored.deferred),
                machines: stored.machines,
                reverse_domains: stored.reverse_domains,
                first_at: stored.first_at,
                hour: stored.hour,
                messages: stored.messages,
            };
        }
        self.incidents =
            shared.incidents.into_iter().map(|incident| (incident.sender.clone(), incident)).collect();
        self.now = shared.now;
        self.swept_hour = shared.now.hour_index();
        true
    }

    /// Takes back one sender. `false` where it cannot be read.
    pub fn import_sender(&mut self, key: SenderKey, blob: &[u8]) -> bool {
        match postcard::from_bytes::<Sender>(blob) {
            Ok(sender) => self.senders.insert(key, Box::new(sender)).is_none(),
            Err(_) => false,
        }
    }
}

/// The block an address belongs to: IPv4 /24, IPv6 /64.
fn block_of(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(v4) => IpNet::V4(Ipv4Net::new_assert(v4, 24).trunc()),
        IpAddr::V6(v6) => IpNet::V6(Ipv6Net::new_assert(v6, 64).trunc()),
    }
}

/// The network a client is known by: IPv4 /24, IPv6 /48.
fn network_of(client: IpAddr) -> Vec<u8> {
    match client.to_canonical() {
        IpAddr::V4(v4) => v4.octets()[..3].to_vec(),
        IpAddr::V6(v6) => v6.octets()[..6].to_vec(),
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The class of a final answer. Trouble on the way (no server reached) says nothing about the mail.
fn verdict_class(reply: &Reply) -> Option<VerdictClass> {
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

/// Whether a machine or network is foreign to the sender. A sender that is not known by any yet is measured by the company's.
fn foreign(
    sender: &Sender,
    road: &Road,
    machine: (Option<u64>, Option<u64>),
    id: &SenderId,
    settled: bool,
) -> Option<bool> {
    let by_machine = machine.0.and_then(|digest| match (sender.machines.knows(digest), id) {
        (None, SenderId::Account(_)) => None,
        (None, _) => road.machines.knows(digest).filter(|_| settled).map(|known| !known),
        (Some(known), _) => Some(!known),
    });
    let by_helo = machine.1.and_then(|digest| sender.helos.knows(digest)).map(|known| !known);
    match (by_machine, by_helo) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(false) || b.unwrap_or(false)),
    }
}

fn reverse_path_class(
    sender: &Sender,
    road: &Road,
    path: Option<(u64, Option<bool>)>,
    settled: bool,
) -> Option<ReversePathClass> {
    let Some((digest, ours)) = path else { return Some(ReversePathClass::Null) };
    if ours == Some(true) || sender.reverse_domains.knows(digest) == Some(true) {
        return Some(ReversePathClass::Own);
    }
    if !settled {
        return None;
    }
    let by_company = road.reverse_domains.knows(digest);
    match (ours, sender.reverse_domains.knows(digest), by_company) {
        (_, None, Some(true)) => Some(ReversePathClass::Own),
        (None, None, None) => None,
        _ => Some(ReversePathClass::Unknown),
    }
}

fn sample(observation: &Observation, delivery: &Delivery, recipient: Option<u64>) -> Sample {
    let domain = |mailbox: &crate::mail::Mailbox| {
        crate::mail::Untrusted::bounded(mailbox.domain(), limits::PATH_BYTES_MAX)
    };
    Sample {
        at: observation.at,
        address: observation.sender.address,
        client: observation.sender.client,
        responder: delivery.responder,
        reverse_path: delivery.reverse_path.as_ref().map(|path| {
            path.mailbox().map_or_else(crate::mail::Untrusted::default, |mailbox| mailbox.address().clone())
        }),
        forward_domain: delivery.forward_path.as_ref().map(domain),
        forward_path_digest: recipient,
        code: delivery.reply.as_ref().and_then(|reply| reply.code),
        text: delivery.reply.as_ref().and_then(|reply| reply.text.clone()),
        queue_id: delivery.queue_id.clone(),
    }
}
