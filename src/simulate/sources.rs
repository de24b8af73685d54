//! Everyday mail: people and machines that send a little every day to those they know, and now and then to
//! somebody new.
//!
//! *In*: an hour. *Out*: the mails of that hour. *Spec*: the rates and mixes of the workload in
//! docs/detection.md: over-dispersed days, slowly moving moods, recipients by rank.

use super::calendar::{ALWAYS, CUSTOMERS, OFFICE, Profile};
use super::content::{Kind, Letter};
use super::draw::Dice;
use super::mta::{Mail, Submitter};
use super::receivers::{Receivers, Recipient};
use super::visit::Label;
use super::world::{
    APPLICATION, BILLING, MONITORING, NEW_RELAY, RELAY_1, RELAY_2, World, carrier_client, hotel_client,
};
use super::{Director, Event, Scenario};
use std::net::IpAddr;

/// Somebody who mails every day.
pub(super) struct Source {
    /// The mail server it uses.
    pub(super) machine: usize,
    from: String,
    who: Who,
    kind: Kind,
    per_day: f64,
    profile: &'static Profile,
    contacts: Vec<Recipient>,
    /// Share of recipients that were never written to by this sender.
    novelty: f64,
    /// Share of recipients that do not exist.
    unknown: f64,
    /// Share of messages with several recipients.
    grouped: f64,
    /// Logarithm of the slowly moving rate, and how far it moves in an hour.
    mood: f64,
    restless: f64,
    day: u32,
    day_factor: f64,
    dice: Dice,
}

/// Share of people whose phones send mail too, and share of their mail that comes from them.
const PHONE_SHARE: f64 = 0.25;
const PHONE_MAIL_SHARE: f64 = 0.2;
/// Share of working days spent at home.
const HOME_SHARE: f64 = 0.3;
/// Share of days on which a person leaves for some days.
const TRAVEL_SHARE: f64 = 0.006;
/// Mails to colleagues for each mail to the world.
const INTERNAL_SHARE: f64 = 0.4;

/// A mail from one person to a colleague: it never leaves.
pub(super) struct Internal {
    /// Reverse-path.
    pub(super) from: String,
    /// To whom, by index.
    pub(super) colleague: usize,
    /// Who hands it in.
    pub(super) submitter: Submitter,
}

/// How a source is known to its mail server.
enum Who {
    /// A person: where it sits today, until which day it travels, whether its phone sends too.
    Person {
        index: usize,
        place: IpAddr,
        travels_until: u32,
        phone: bool,
    },
    Client {
        index: usize,
    },
    Itself,
}

/// The sources of a world.
pub(super) fn sources(seed: u64, scenario: &Scenario, world: &World, receivers: &Receivers) -> Vec<Source> {
    let mut list = Vec::new();
    for (index, person) in world.people.iter().enumerate() {
        let mut dice = Dice::new(seed, &format!("person {index}"));
        let per_day = dice.lognormal(6.0, 0.8).min(60.0);
        let known = dice.whole(scenario.contacts.0, scenario.contacts.1);
        let who =
            Who::Person { index, place: person.office, travels_until: 0, phone: dice.chance(PHONE_SHARE) };
        let mut source =
            source(person.relay, person.login.clone(), who, Kind::Personal, per_day, &OFFICE, dice);
        source.know(receivers, known);
        list.push(source);
    }
    let domain = world.domain();
    let mut dice = Dice::new(seed, "application");
    let orders = scenario.orders_per_day * dice.between(0.8, 1.25);
    let mut application = source(
        APPLICATION,
        format!("shop@{domain}"),
        Who::Itself,
        Kind::Transaction,
        orders,
        &CUSTOMERS,
        dice,
    );
    application.novelty = application.dice.between(0.2, 0.4);
    application.grouped = 0.0;
    application.know(receivers, (orders * 3.0) as u64);
    list.push(application);

    let dice = Dice::new(seed, "billing");
    let who = Who::Client { index: BILLING };
    let mut billing = source(RELAY_2, format!("rechnung@{domain}"), who, Kind::Invoice, 12.0, &OFFICE, dice);
    billing.grouped = 0.0;
    billing.know(receivers, scenario.customers as u64);
    list.push(billing);

    let dice = Dice::new(seed, "monitoring");
    let who = Who::Client { index: MONITORING };
    let mut monitoring = source(RELAY_2, format!("monitor@{domain}"), who, Kind::Alarm, 12.0, &ALWAYS, dice);
    monitoring.novelty = 0.0;
    monitoring.unknown = 0.0;
    monitoring.know(receivers, 5);
    list.push(monitoring);
    for index in MONITORING + 1..world.clients.len() {
        let dice = Dice::new(seed, &format!("device {index}"));
        let from = format!("{}@{domain}", world.clients[index].name);
        let mut device = source(RELAY_1, from, Who::Client { index }, Kind::Invoice, 5.0, &OFFICE, dice);
        device.novelty = 0.01;
        device.know(receivers, 8);
        list.push(device);
    }
    list
}

fn source(
    machine: usize,
    from: String,
    who: Who,
    kind: Kind,
    per_day: f64,
    profile: &'static Profile,
    mut dice: Dice,
) -> Source {
    Source {
        machine,
        from,
        who,
        kind,
        per_day,
        profile,
        contacts: Vec::new(),
        novelty: dice.between(0.03, 0.09),
        unknown: dice.gamma(2.0) * 0.006,
        grouped: 0.12,
        mood: 0.0,
        restless: dice.between(0.1, 0.5),
        day: u32::MAX,
        day_factor: 1.0,
        dice,
    }
}

impl Source {
    /// Gives the source people it knows; a tenth of them shares few domains.
    fn know(&mut self, receivers: &Receivers, count: u64) {
        for _ in 0..count {
            let contact = match self.contacts.first() {
                Some(first) if self.dice.chance(0.1) => receivers.draw_of(&mut self.dice, first.domain, true),
                _ => receivers.draw(&mut self.dice, true),
            };
            self.contacts.push(contact);
        }
    }

    /// Whom the source knows.
    pub(super) fn contacts(&self) -> &[Recipient] {
        &self.contacts
    }

    /// Whether it is a person.
    pub(super) fn is_person(&self) -> bool {
        matches!(self.who, Who::Person { .. })
    }

    /// Whether it is a client of a relay, by its index.
    pub(super) fn is_client(&self, index: usize) -> bool {
        matches!(self.who, Who::Client { index: own } if own == index)
    }

    fn recipient(&mut self, receivers: &Receivers) -> Recipient {
        if self.dice.chance(self.unknown) {
            return receivers.draw(&mut self.dice, false);
        }
        if self.dice.chance(self.novelty) {
            let recipient = receivers.draw(&mut self.dice, true);
            // Somebody new joins the lower half of the list and pushes somebody out.
            let half = self.contacts.len() / 2;
            let place = half + self.dice.below(self.contacts.len() - half);
            self.contacts[place] = recipient;
            return recipient;
        }
        self.contacts[self.dice.rank(self.contacts.len())]
    }

    fn submitter(&mut self, world: &World) -> Submitter {
        match &self.who {
            Who::Person { index, place, phone, .. } => {
                let on_the_phone = *phone && self.dice.chance(PHONE_MAIL_SHARE);
                let client = if on_the_phone { carrier_client(&mut self.dice) } else { *place };
                Submitter::Account { login: world.people[*index].login.clone(), client }
            }
            Who::Client { index } => {
                let client = &world.clients[*index];
                Submitter::Client { address: client.address, name: client.name.clone() }
            }
            Who::Itself => Submitter::Itself,
        }
    }

    /// A new day: another mood, another place.
    fn wake(&mut self, world: &World, day: u32, weekend: bool) {
        self.day = day;
        self.day_factor = self.dice.gamma(8.0);
        let (home, leaves) = (self.dice.chance(HOME_SHARE), self.dice.chance(TRAVEL_SHARE));
        if let Who::Person { index, place, travels_until, .. } = &mut self.who {
            let person = &world.people[*index];
            if leaves && *travels_until <= day {
                *travels_until = day + self.dice.whole(2, 5) as u32;
                *place = hotel_client(&mut self.dice);
            } else if *travels_until <= day {
                *place = if home || weekend { person.home } else { person.office };
            }
        }
    }
}

impl Director {
    /// The mails of one source in the hour that begins now.
    pub(super) fn hour(&mut self, index: usize, at: i64) {
        let civil = self.calendar.civil(at);
        let day = self.calendar.day_of(at);
        let source = &mut self.sources[index];
        source.mood = 0.7 * source.mood + source.restless * source.dice.normal();
        if source.day != day {
            source.wake(&self.world, day, civil.weekday >= 5);
        }
        let mean = source.per_day
            * source.profile.share(civil.weekday, civil.hour)
            * source.day_factor
            * source.mood.exp();
        let machine = source.machine;
        let label = match self.commissioned {
            Some(burst) if machine == NEW_RELAY => Label::Benign(burst),
            _ => Label::Ordinary,
        };
        let mut mails = Vec::new();
        for _ in 0..source.dice.poisson(mean) {
            let due = at + (source.dice.unit() * 3_600e6) as i64;
            let count = if source.dice.chance(source.grouped) { 2 + source.dice.poisson(3.0) } else { 1 };
            let mut to: Vec<Recipient> = Vec::new();
            for _ in 0..count {
                let recipient = source.recipient(&self.receivers);
                if !to.contains(&recipient) {
                    to.push(recipient);
                }
            }
            let mail = Mail {
                from: source.from.clone(),
                to,
                letter: Letter { kind: source.kind, template: 0 },
                submitter: source.submitter(&self.world),
                label,
                refused: 0.003,
            };
            mails.push((due, mail));
        }
        let mut inside = Vec::new();
        if source.is_person() {
            for _ in 0..source.dice.poisson(mean * INTERNAL_SHARE) {
                let due = at + (source.dice.unit() * 3_600e6) as i64;
                let colleague = source.dice.below(self.world.people.len());
                let mail = Internal {
                    from: source.from.clone(),
                    colleague,
                    submitter: source.submitter(&self.world),
                };
                inside.push((due, mail));
            }
        }
        for (due, mail) in inside {
            self.schedule(due, Event::Internal { machine, mail });
        }
        for (due, mail) in mails {
            self.schedule(due, Event::Mail { machine, mails: vec![mail] });
        }
    }
}
