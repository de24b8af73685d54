//! The attacks: who sends what in whose name, how fast, to what lists.
//!
//! *In*: the scenario. *Out*: campaigns, message by message. *Spec*: ranges of rates, novelty and refusals
//! as measured on real campaigns and cited in docs/detection.md; every campaign draws its own from them.

use super::calendar::timestamp;
use super::content::{Address, Kind, Letter, compose};
use super::dialogue::Manners;
use super::draw::Dice;
use super::frames::{Shape, shape};
use super::mta::{Mail, Submitter};
use super::names;
use super::receivers::Recipient;
use super::spamware::{List, Wish, bot_greeting, bot_manners, forged_address, recipients};
use super::truth::{Hijack, HijackKind, SeenBy, account_name, address_name};
use super::visit::{Job, Label, Visitor};
use super::world::{APPLICATION, RELAY_1, RELAY_2, foreign_client, foreign_shape};
use super::{Director, Event};
use crate::alert::SenderName;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One hour, microseconds.
const HOUR_US: f64 = 3_600e6;

/// A spam campaign.
pub(super) struct Campaign {
    hijack: usize,
    via: Via,
    from: Forged,
    list: List,
    /// Alike letters: one to three of them.
    templates: Vec<u64>,
    /// Mean recipients of a message beyond the first.
    more: f64,
    per_hour: f64,
    growth_per_day: f64,
    started: i64,
    until: i64,
    left: u64,
    dice: Dice,
}

/// How the mail leaves.
enum Via {
    /// A machine of the attacker's speaks to receivers itself.
    Direct { addresses: Addresses, helo: String, shape: &'static Shape, hops: u8, manners: Manners },
    /// Submission with a stolen password.
    Account { machine: usize, login: String, clients: Vec<IpAddr> },
    /// A script on a server of ours.
    Script { machine: usize },
}

/// Addresses that a machine of the attacker's uses.
enum Addresses {
    One(IpAddr),
    /// Each in turn.
    Many(Vec<IpAddr>),
    /// Another one of a /64 each time.
    Rotating(u128),
}

/// Reverse-paths of a campaign.
enum Forged {
    /// The address of the account or program.
    Own(String),
    /// Random names in our domain.
    OwnDomain(String),
    /// One address elsewhere.
    Elsewhere(String),
    /// Always another one elsewhere.
    Rotating,
}

/// The usual kinds, in the order in which a world has them.
pub(super) const KINDS: &[HijackKind] = &[
    HijackKind::LowAndSlow,
    HijackKind::SlowRamp,
    HijackKind::LoudBlast,
    HijackKind::DormantBlock,
    HijackKind::AccountTakeover,
    HijackKind::WorkstationDirect,
    HijackKind::Ipv6Rotation,
    HijackKind::StarttlsOnly,
];

impl Director {
    /// Plans the attacks on the given days.
    pub(super) fn plan_hijacks(&mut self, seed: u64, days: &[u32]) {
        let rounds = self.scenario.hijacks_of_a_kind;
        let kinds = self.scenario.kinds;
        let total = rounds as usize * kinds.len();
        let book: Vec<Recipient> = self
            .sources
            .iter()
            .filter(|source| source.is_person())
            .flat_map(|source| source.contacts().iter().take(12).copied())
            .collect();
        for number in 0..total {
            let kind = kinds[number % kinds.len()];
            let mut dice = Dice::new(seed, &format!("hijack {number}"));
            // The long ones begin early, the others are spread over what is left.
            let place = match kind {
                HijackKind::LowAndSlow | HijackKind::SlowRamp => number / kinds.len() * days.len() / 4,
                _ => number * days.len() / total,
            };
            let Some(day) = days.get(place.min(days.len().saturating_sub(1))) else { return };
            let night = kind != HijackKind::CleanList && dice.chance(0.5);
            let hour = if night { dice.between(0.5, 6.0) } else { dice.between(8.0, 20.0) };
            let at = self.calendar.at(*day, hour);
            let campaign = self.campaign(kind, number, at, dice, &book);
            self.campaigns.push(campaign);
            self.schedule(at, Event::Campaign(self.campaigns.len() - 1));
        }
    }

    fn campaign(
        &mut self,
        kind: HijackKind,
        number: usize,
        at: i64,
        mut dice: Dice,
        book: &[Recipient],
    ) -> Campaign {
        let (via, senders) = self.way_out(kind, number, &mut dice);
        let from = self.forged(&via, &mut dice);
        let (per_hour, hours) = match kind {
            HijackKind::LoudBlast => (dice.magnitude(600.0, 6_000.0), dice.between(0.3, 2.0)),
            HijackKind::WorkstationDirect => (dice.magnitude(60.0, 900.0), dice.between(1.0, 5.0)),
            HijackKind::DormantBlock => (dice.magnitude(15.0, 120.0), 24.0),
            HijackKind::AccountTakeover => (dice.magnitude(60.0, 900.0), dice.between(0.5, 3.0)),
            HijackKind::LowAndSlow => (dice.between(4.0, 12.0), 7.0 * 24.0),
            HijackKind::StarttlsOnly => (dice.magnitude(60.0, 600.0), dice.between(1.0, 4.0)),
            HijackKind::Ipv6Rotation => (dice.magnitude(60.0, 600.0), dice.between(1.0, 4.0)),
            HijackKind::SlowRamp => (dice.between(0.5, 2.0), 11.0 * 24.0),
            HijackKind::Snowshoe => (dice.between(25.0, 60.0), 24.0),
            HijackKind::CleanList => (dice.magnitude(60.0, 400.0), dice.between(1.0, 4.0)),
        };
        let until = (at + (hours * HOUR_US) as i64).min(self.calendar.end() - 7_200_000_000);
        self.ledger.hijacks.push(Hijack {
            id: format!("h{:02}", number + 1),
            kind,
            senders,
            start: timestamp(at),
            end: timestamp(at),
            seen_by: SeenBy::default(),
            deliveries: Vec::new(),
            accepted: 0,
        });
        let wish = match kind {
            HijackKind::StarttlsOnly => Wish::Starttls,
            HijackKind::Ipv6Rotation => Wish::V6,
            _ => Wish::Any,
        };
        let account = matches!(via, Via::Account { .. });
        let clean = kind == HijackKind::CleanList;
        let left = match &via {
            Via::Direct { addresses: Addresses::Many(list), .. } if kind == HijackKind::Snowshoe => {
                list.len() as u64
            }
            Via::Direct { addresses: Addresses::Many(list), .. } => list.len() as u64 * dice.whole(1, 4),
            _ => u64::MAX,
        };
        Campaign {
            hijack: self.ledger.hijacks.len() - 1,
            from,
            list: List {
                unknown: if clean { dice.between(0.01, 0.03) } else { dice.between(0.10, 0.45) },
                refused: if clean { dice.between(0.0, 0.04) } else { dice.between(0.05, 0.30) },
                known: if account { dice.between(0.05, 0.35) } else { dice.between(0.0, 0.1) },
                wish,
                book: book.to_vec(),
            },
            templates: (0..dice.whole(1, 3)).map(|_| dice.bits()).collect(),
            more: if account && kind == HijackKind::AccountTakeover { dice.between(0.0, 4.0) } else { 0.1 },
            via,
            per_hour,
            growth_per_day: if kind == HijackKind::SlowRamp { dice.between(1.4, 1.8) } else { 1.0 },
            started: at,
            until,
            left: left.min(self.scenario.attack_messages_max),
            dice,
        }
    }

    /// How a kind of attack leaves, and who may rightly be accused of it.
    fn way_out(&self, kind: HijackKind, number: usize, dice: &mut Dice) -> (Via, Vec<SenderName>) {
        let round = number / self.scenario.kinds.len();
        let direct = |dice: &mut Dice, addresses: Addresses, hops: u8, shape: &'static Shape| Via::Direct {
            addresses,
            helo: bot_greeting(dice, &self.world.domain()),
            shape,
            hops,
            manners: bot_manners(dice),
        };
        match kind {
            HijackKind::LoudBlast => {
                let relay = self.world.machines[RELAY_1 + round % 2].address;
                let (hops, shape) = (dice.whole(1, 9) as u8, foreign_shape(dice));
                (direct(dice, Addresses::One(relay), hops, shape), vec![address_name(relay)])
            }
            HijackKind::WorkstationDirect => {
                let place = dice.below(self.world.people.len());
                let address = self.world.people[place].office;
                (direct(dice, Addresses::One(address), 2, shape("windows")), vec![address_name(address)])
            }
            HijackKind::DormantBlock | HijackKind::Snowshoe => {
                let count = if kind == HijackKind::Snowshoe { 64 } else { dice.whole(48, 200) };
                let mut hosts: Vec<u8> = (1..=254).collect();
                for place in (1..hosts.len()).rev() {
                    hosts.swap(place, dice.below(place + 1));
                }
                let addresses: Vec<IpAddr> = hosts
                    .into_iter()
                    .take(count as usize)
                    .map(|host| IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)))
                    .collect();
                let mut senders = vec![SenderName { kind: "block".into(), name: "192.0.2.0/24".into() }];
                senders.extend(addresses.iter().map(|address| address_name(*address)));
                let (hops, shape) = (dice.whole(2, 12) as u8, foreign_shape(dice));
                (direct(dice, Addresses::Many(addresses), hops, shape), senders)
            }
            HijackKind::AccountTakeover | HijackKind::LowAndSlow | HijackKind::CleanList => {
                let networks =
                    if kind == HijackKind::LowAndSlow { dice.whole(1, 6) } else { dice.whole(3, 40) };
                let clients = (0..networks).map(|_| foreign_client(dice)).collect();
                self.stolen_account(round, clients, dice)
            }
            // Every other ramp is malware on a person's own machine that uses the person's account.
            HijackKind::SlowRamp if round % 2 == 1 => self.stolen_account(round, Vec::new(), dice),
            HijackKind::StarttlsOnly => {
                let address = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 60 + number as u8 % 100));
                let via = direct(dice, Addresses::One(address), 0, shape("linux"));
                (with_starttls(via), vec![address_name(address)])
            }
            HijackKind::Ipv6Rotation => {
                let subnet = dice.whole(0x2000, 0x2fff) as u16;
                let prefix = Ipv6Addr::new(0x2001, 0xdb8, 0x100, subnet, 0, 0, 0, 0);
                let block = SenderName { kind: "block".into(), name: format!("{prefix}/64") };
                let (hops, shape) = (dice.whole(1, 6) as u8, foreign_shape(dice));
                (direct(dice, Addresses::Rotating(prefix.into()), hops, shape), vec![block])
            }
            HijackKind::SlowRamp => {
                let machine = &self.world.machines[APPLICATION];
                let senders = [Some(machine.address), machine.v6].into_iter().flatten().map(address_name);
                (Via::Script { machine: APPLICATION }, senders.collect())
            }
        }
    }

    /// A person's account, used from the given addresses or else from the person's own machine. It is one
    /// of the relay that the round's blast does not use: then it is clear whom an alert is about.
    fn stolen_account(&self, round: usize, clients: Vec<IpAddr>, dice: &mut Dice) -> (Via, Vec<SenderName>) {
        let relay = RELAY_2 - round % 2;
        let people: Vec<_> = self.world.people.iter().filter(|person| person.relay == relay).collect();
        let person = *dice.pick(&people);
        let relay = self.world.machines[person.relay].address;
        let clients = if clients.is_empty() { vec![person.office] } else { clients };
        let via = Via::Account { machine: person.relay, login: person.login.clone(), clients };
        (via, vec![account_name(&person.login), address_name(relay)])
    }

    fn forged(&self, via: &Via, dice: &mut Dice) -> Forged {
        let own_domain = Forged::OwnDomain(self.world.domain());
        let elsewhere = Forged::Elsewhere(forged_address(dice));
        match via {
            Via::Account { login, .. } => match dice.below(10) {
                0 => own_domain,
                1 => elsewhere,
                _ => Forged::Own(login.clone()),
            },
            Via::Script { .. } => Forged::Own(format!("www-data@{}", self.world.domain())),
            Via::Direct { .. } => match dice.below(20) {
                0..9 => own_domain,
                9..14 => elsewhere,
                _ => Forged::Rotating,
            },
        }
    }

    /// The next message of a campaign.
    pub(super) fn strike(&mut self, index: usize, at: i64) {
        let campaign = &mut self.campaigns[index];
        if at > campaign.until || campaign.left == 0 {
            return;
        }
        campaign.left -= 1;
        let days = (at - campaign.started) as f64 / (24.0 * HOUR_US);
        let rate = campaign.per_hour * campaign.growth_per_day.powf(days);
        let next = at + campaign.dice.exponential(HOUR_US / rate) as i64 + 1;
        let letter = Letter { kind: Kind::Spam, template: *campaign.dice.pick(&campaign.templates) };
        let from = match &campaign.from {
            Forged::Own(address) | Forged::Elsewhere(address) => address.clone(),
            Forged::OwnDomain(domain) => {
                let name = *campaign.dice.pick(names::FIRST);
                format!("{name}{}@{domain}", campaign.dice.whole(1, 99))
            }
            Forged::Rotating => forged_address(&mut campaign.dice),
        };
        let label = Label::Hijack(campaign.hijack);
        let refused = campaign.list.refused;
        let count = 1 + campaign.dice.poisson(campaign.more);
        let same_domain = matches!(campaign.via, Via::Direct { .. });
        let to = recipients(&self.receivers, &campaign.list, &mut campaign.dice, count, same_domain);
        match &campaign.via {
            Via::Direct { addresses, helo, shape, hops, manners } => {
                let source = match addresses {
                    Addresses::One(address) => *address,
                    Addresses::Many(list) => list[campaign.left as usize % list.len()],
                    Addresses::Rotating(prefix) => {
                        IpAddr::V6(Ipv6Addr::from(prefix | u128::from(campaign.dice.bits())))
                    }
                };
                let visitor = Visitor {
                    source,
                    helo: helo.clone(),
                    shape,
                    hops: *hops,
                    manners: *manners,
                    cut_off: false,
                };
                let first = self.receivers.address(to[0]);
                let (bits, domain) = (campaign.dice.bits(), from.rsplit('@').next().unwrap_or_default());
                let address = Address {
                    company: &self.world.company,
                    from: &from,
                    to: &first,
                    date: &self.calendar.rfc5322(at),
                    trace: "",
                    message_id: &format!("{bits:016x}@{domain}"),
                };
                let body = compose(letter, &address, &mut campaign.dice).into();
                let job = Job { from, to, body, refused, label, first: true };
                self.visit(&visitor, at, &[job]);
            }
            Via::Account { machine, login, clients } => {
                let client = *campaign.dice.pick(clients);
                let submitter = Submitter::Account { login: login.clone(), client };
                let machine = *machine;
                self.submit(machine, vec![Mail { from, to, letter, submitter, label, refused }], at);
            }
            Via::Script { machine } => {
                let machine = *machine;
                let mail = Mail { from, to, letter, submitter: Submitter::Itself, label, refused };
                self.submit(machine, vec![mail], at);
            }
        }
        self.schedule(next, Event::Campaign(index));
    }
}

fn with_starttls(via: Via) -> Via {
    match via {
        Via::Direct { addresses, helo, shape, hops, manners } => Via::Direct {
            addresses,
            helo,
            shape,
            hops,
            manners: Manners { ehlo: true, starttls: true, ..manners },
        },
        other => other,
    }
}
