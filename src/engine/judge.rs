//! One observation: whose mail it is, what its marks are, what the test says to them.
//!
//! *In*: deliveries, and sessions under TLS. *Out*: evidence, handed to `decide`. *Bound*: the address, the account or
//! client behind it, and `blocks::LEVELS_MAX` blocks around it, an observation.

use super::Engine;
use super::blocks::block_of;
use super::detector::Step;
use super::familiarity::{Familiarity, known_first};
use super::incident::IncidentChange;
use super::marks::Marks;
use super::memory::TraitKind;
use super::persist;
use super::roads::{
    self, MachineTraits, PathTrait, RECIPIENT_GENERATION_SECONDS, octets, reverse_path_class, verdict_class,
};
use super::roles::declared;
use super::samples::{hidden_sample, sample};
use super::sender::{Sample, Sender, SenderId, SenderKey};
use super::volume;
use super::wakes::Scan;
use crate::company::Role;
use crate::limits;
use crate::mail::{ReversePath, registrable_domain};
use crate::observation::{Delivery, Fact, Observation, SenderKeys, Session};
use crate::time::Timestamp;
use std::net::IpAddr;

/// Messages of one session under TLS that are judged; a session with more is counted so far.
const HIDDEN_MESSAGES_MAX: u32 = 1_000;
/// How long a silent sender's waking under TLS waits for enough messages to be judged, seconds.
const UNDECIDED_SECONDS: f64 = 86_400.0;

/// What the test says of one sender after one delivery.
pub(super) struct Judgement {
    /// From here on nothing is learned, nats.
    pub amber: f64,
    pub evidence: f64,
    pub template: usize,
    pub threshold: f64,
    /// What the wake-up scan says; of blocks only.
    pub scan: Option<Scan>,
}

impl Engine {
    pub(super) fn delivery(
        &mut self,
        observation: &Observation,
        delivery: &Delivery,
        out: &mut Vec<IncidentChange>,
    ) {
        let road = &mut self.roads[observation.vantage as usize];
        if road.is_retry(&self.key, observation, delivery) {
            self.counters.retries += 1;
            return;
        }
        self.counters.deliveries += 1;
        road.count(observation.at);
        let known = self.familiarity(observation);
        let road = &mut self.roads[observation.vantage as usize];
        let recipient = delivery
            .forward_path
            .as_ref()
            .map(|path| self.key.digest(&[&path.address().as_bytes().to_ascii_lowercase()]));
        let novel = recipient.map(|digest| !road.recipients.contains(digest));
        let domain = delivery.forward_path.as_ref();
        let domain = domain.map(|path| self.key.digest(&[&registrable_domain(path.domain())]));
        let new_domain = domain.map(|digest| !road.domains.contains(digest));
        let mut marks = Marks {
            novel: novel.filter(|_| known.settled),
            verdict: delivery.reply.as_ref().and_then(verdict_class),
            ..Marks::default()
        };
        if let Some(place) = self.model.side_mark("new_domain") {
            marks.side.note(place, new_domain.filter(|_| marks.novel == Some(true)));
        }
        let path = delivery.reverse_path.as_ref().map(|path| self.path_trait(path));
        let named = self.settings.recipients_named;
        let sample = || sample(observation, delivery, recipient, named);
        let suspected = self.judge_all(observation, known, path, marks, &sample, out);
        if let Some(digest) = recipient.filter(|_| !suspected) {
            let road = &mut self.roads[observation.vantage as usize];
            road.recipients.insert(digest, observation.at, RECIPIENT_GENERATION_SECONDS);
            if let Some(digest) = domain {
                road.domains.insert(digest, observation.at, RECIPIENT_GENERATION_SECONDS);
            }
        }
    }

    /// A session under TLS: each message that its outside shows is judged by destination and machine.
    pub(super) fn hidden(
        &mut self,
        observation: &Observation,
        session: &Session,
        out: &mut Vec<IncidentChange>,
    ) {
        let messages = session.opaque.map_or(0, |opaque| opaque.messages_estimated);
        let digest = self.key.digest(&[&octets(session.responder)]);
        for _ in 0..messages.min(HIDDEN_MESSAGES_MAX) {
            self.counters.hidden_messages += 1;
            let road = &mut self.roads[observation.vantage as usize];
            road.count(observation.at);
            let known = self.familiarity(observation);
            let road = &mut self.roads[observation.vantage as usize];
            let novel = !road.responders.contains(digest);
            let mut marks = Marks::default();
            if let Some(place) = self.model.side_mark("new_server") {
                marks.side.note(place, Some(novel).filter(|_| known.settled));
            }
            let sample = || hidden_sample(observation, session);
            let suspected = self.judge_all(observation, known, None, marks, &sample, out);
            if !suspected {
                let road = &mut self.roads[observation.vantage as usize];
                road.responders.insert(digest, observation.at, RECIPIENT_GENERATION_SECONDS);
            }
        }
    }

    /// Which senders an observation is about, not counting the block of a quiet address.
    pub fn profiled(&self, keys: &SenderKeys) -> [Option<SenderId>; 2] {
        let origin = match (&keys.account, keys.client) {
            (Some(account), _) => Some(SenderId::Account(account.clone())),
            (None, Some(client))
                if keys.address != Some(client) && !client.is_loopback() && self.company.owns(client) =>
            {
                Some(SenderId::Address(client))
            }
            _ => None,
        };
        [self.egress(keys), origin]
    }

    /// Where the mail leaves from.
    pub(super) fn egress(&self, keys: &SenderKeys) -> Option<SenderId> {
        match (keys.address, &keys.host) {
            (Some(address @ IpAddr::V6(_)), _) if self.company.host_of(address).is_none() => {
                Some(SenderId::Block(block_of(address)))
            }
            (Some(address), _) => Some(SenderId::Address(address)),
            (None, Some(host)) => Some(SenderId::Host(host.clone())),
            (None, None) => None,
        }
    }

    /// Judges one delivery for every sender it is about. Returns whether any of them is under suspicion.
    fn judge_all(
        &mut self,
        observation: &Observation,
        known: Familiarity,
        path: Option<PathTrait>,
        marks: Marks,
        sample: &dyn Fn() -> Sample,
        out: &mut Vec<IncidentChange>,
    ) -> bool {
        let [egress, origin] = self.profiled(&observation.sender);
        let blocks: Vec<SenderId> = self.blocks_fed(observation).into_iter().map(SenderId::Block).collect();
        let tag = egress.as_ref().or(origin.as_ref()).map_or(0, |id| self.tag(id));
        let mut scan = self.woke(observation, known, marks);
        let mut suspected = false;
        let planned = self.take_planned([egress.as_ref(), origin.as_ref(), blocks.first()], observation.at);
        self.counters.planned += u64::from(planned.contains(&true));
        // Blocks first, from the narrowest: what one accounts for is no story of a wider one, nor of an address.
        let of_blocks = blocks.iter().map(|block| (block, planned[2]));
        let of_others = [(egress.as_ref(), planned[0]), (origin.as_ref(), planned[1])];
        let of_others = of_others.into_iter().filter_map(|(id, planned)| Some((id?, planned)));
        let mut accounted = false;
        for (id, planned) in of_blocks.chain(of_others) {
            let is_fed = blocks.contains(id);
            if is_fed && accounted {
                continue;
            }
            let key = SenderKey { vantage: observation.vantage, id: id.clone() };
            let through = egress.as_ref().filter(|_| matches!(id, SenderId::Account(_)));
            if let Some(mut judgement) =
                self.judge(observation, &key, known, path, marks, through, planned, sample)
            {
                judgement.scan = scan.take_if(|(block, _)| block == id).map(|(_, scan)| scan);
                suspected |= judgement.evidence >= judgement.amber;
                self.decide(&key, &judgement, out);
            }
            accounted |= is_fed && self.incidents.contains_key(id);
        }
        self.learn_company(observation, path, tag, suspected);
        suspected
    }

    /// A digest that stands for a sender in the company's waiting words.
    fn tag(&self, id: &SenderId) -> u64 {
        match id {
            SenderId::Address(address) => self.key.digest(&[b"address", &octets(*address)]),
            SenderId::Account(name) => self.key.digest(&[b"account", name.as_bytes()]),
            SenderId::Host(name) => self.key.digest(&[b"host", name.as_bytes()]),
            SenderId::Block(block) => self.key.digest(&[b"block", &octets(block.network())]),
        }
    }

    /// `None` for the null path; else the digest of the domain and whether it is declared ours.
    fn path_trait(&self, path: &ReversePath) -> PathTrait {
        let mailbox = path.mailbox()?;
        let digest = self.key.digest(&[&registrable_domain(mailbox.domain())]);
        Some((digest, self.company.owns_mailbox(mailbox)))
    }

    fn learn_company(
        &mut self,
        observation: &Observation,
        path: Option<PathTrait>,
        tag: u64,
        suspected: bool,
    ) {
        let syn = observation.sender.machine.syn.map(|syn| self.key.digest(&[&syn.to_le_bytes()]));
        let road = &mut self.roads[observation.vantage as usize];
        if suspected {
            road.machines.distrust(tag);
            road.reverse_domains.distrust(tag);
            return;
        }
        if let Some(digest) = syn {
            road.machines.note(digest, tag);
        }
        if let Some(Some((digest, _))) = path {
            road.reverse_domains.note(digest, tag);
        }
    }

    /// Judges one delivery for one sender; `None` where there is no room for another sender, or where a planned
    /// mailing covers it.
    #[allow(clippy::too_many_arguments)]
    fn judge(
        &mut self,
        observation: &Observation,
        key: &SenderKey,
        known: Familiarity,
        path: Option<PathTrait>,
        mut marks: Marks,
        through: Option<&SenderId>,
        planned: bool,
        sample: &dyn Fn() -> Sample,
    ) -> Option<Judgement> {
        if self.senders.len() >= limits::SENDERS_MAX && !self.senders.contains_key(key) {
            self.counters.senders_refused += 1;
            return None;
        }
        let role = declared(&self.company, &key.id).unwrap_or(Role::Unused);
        let seen = self.machine_traits(observation, &key.id);
        let (Familiarity { settled, margin_nats: margin }, at) = (known, observation.at);
        let road = &mut self.roads[key.vantage as usize];
        let clock = &self.company.clock;
        let sender = self
            .senders
            .entry(key.clone())
            .or_insert_with(|| Box::new(Sender::new(&self.model, role, at, clock)));
        self.counters.late += u64::from(at < sender.last_at);
        let new_day = sender.messages == 0 || at.day_index() > sender.last_at.day_index();
        self.counters.sender_days += u64::from(new_day);
        // A young install asks for more evidence before it accuses, and as much more before it stops to learn.
        let amber = self.model.amber + margin;
        if let Some(closed) = &mut self.closed_hours {
            closed.extend(persist::closed_hour(key, sender, at));
        }
        let season = &mut self.seasons[key.vantage as usize];
        sender.advance_in(&self.model, clock, season.of(sender.role), amber, at);
        marks.foreign = roads::foreign(&sender.traits, road, seen, settled);
        if planned && marks.foreign != Some(true) {
            return None;
        }
        marks.reverse_path = path.map(|path| reverse_path_class(&sender.traits, road, path, settled));
        if let (SenderId::Account(_), Some(network)) = (&key.id, seen.machine)
            && let Some(place) = self.model.side_mark("changing_network")
        {
            marks.side.note(place, sender.recent().network(network));
        }
        learn_traits(sender, seen, path);
        if through.is_some() && sender.last_egress.as_deref() != through {
            sender.last_egress = through.cloned().map(Box::new);
        }
        let step = sender.deliver(&self.model, amber, at, &marks);
        if step.evidence < amber && !matches!(key.id, SenderId::Block(_)) {
            season.note(sender);
        }
        let undecided = sender.episode().is_some_and(|episode| {
            episode.peak_nats >= amber && at.seconds_since(episode.first_at) < UNDECIDED_SECONDS
        });
        let told = self.incidents.get(&key.id).is_some_and(|incident| incident.template != volume::TEMPLATE);
        let goes_on = told || undecided && sender.woke_unseen();
        if !goes_on && (step.clear || step.fresh) {
            sender.end_episode();
        }
        if goes_on || !step.clear {
            // Of others it is known which address they are.
            let part = observation.sender.address.filter(|_| matches!(key.id, SenderId::Block(_)));
            sender.remember(&self.model, at, &marks, part, sample);
            sender.note_evidence(step.evidence);
            if let Some(reach) = sender.reach() {
                reach.stages_of(at, &marks, self.model.side_mark("same_letter"));
                if let Fact::Delivery(delivery) = &observation.fact {
                    reach.delivery(&key.id, observation, delivery, marks.verdict, &self.company);
                }
            }
            sender.note_excess(&self.model, at);
        }
        if !sender.changed {
            sender.changed = true;
            self.changed.push(key.clone());
        }
        if let (true, Fact::Delivery(delivery)) = (goes_on || !step.clear, &observation.fact) {
            self.note_recipient(key, at, delivery);
        }
        if new_day {
            self.reconsider_role(key, amber, at);
        }
        Some(self.judgement(key, step, margin, at))
    }

    /// What a step of the test means for a sender: its threshold beside its evidence.
    pub(super) fn judgement(&self, key: &SenderKey, step: Step, margin: f64, at: Timestamp) -> Judgement {
        let (role, usual) = match self.senders.get(key) {
            Some(sender) => (sender.role, sender.proven_per_day().ln_1p()),
            None => (Role::Unused, 0.0),
        };
        let base = self.model.base_threshold(role, self.settings.false_alarms_per_1000_sender_days);
        let raised = self.raised_nats(&key.id, step.template, at);
        let too_early = margin > 0.0 && known_first(role);
        let threshold = if too_early { f64::INFINITY } else { base + usual + margin + raised };
        let amber = self.model.amber + margin;
        Judgement { evidence: step.evidence, template: step.template, threshold, amber, scan: None }
    }

    /// Keyed digests of what tells machines apart. An account is known by the networks of its clients, an
    /// address by the machine that speaks with it.
    pub(super) fn machine_traits(&self, observation: &Observation, id: &SenderId) -> MachineTraits {
        let keyed = |value: Option<u64>| value.map(|value| self.key.digest(&[&value.to_le_bytes()]));
        let machine = observation.sender.machine;
        match id {
            SenderId::Account(_) => MachineTraits {
                machine: observation.sender.client.map(|client| self.key.digest(&[&network_of(client)])),
                helo: None,
                by_company: false,
            },
            _ => MachineTraits { machine: keyed(machine.syn), helo: keyed(machine.helo), by_company: true },
        }
    }
}

fn learn_traits(sender: &mut Sender, seen: MachineTraits, path: Option<PathTrait>) {
    if let Some(digest) = seen.machine {
        sender.traits.note(TraitKind::Machine, digest);
    }
    if let Some(digest) = seen.helo {
        sender.traits.note(TraitKind::Helo, digest);
    }
    if let Some(Some((digest, _))) = path {
        sender.traits.note(TraitKind::ReverseDomain, digest);
    }
}

/// The network a client is known by: IPv4 /24, IPv6 /48.
fn network_of(client: IpAddr) -> Vec<u8> {
    match client.to_canonical() {
        IpAddr::V4(v4) => v4.octets()[..3].to_vec(),
        IpAddr::V6(v6) => v6.octets()[..6].to_vec(),
    }
}
