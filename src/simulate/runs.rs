//! Mailings and bursts that are no attack: newsletters, invoices, storms of alarms, an outage and its flush, a
//! new mail server, notifications to forged senders.
//!
//! *In*: the scenario. *Out*: mails over hours. *Spec*: the benign events of docs/detection.md.

use super::calendar::timestamp;
use super::content::{Kind, Letter};
use super::draw::Dice;
use super::mta::{Mail, Submitter};
use super::receivers::Recipient;
use super::truth::{BenignBurst, address_name};
use super::visit::Label;
use super::world::{BILLING, MONITORING, NEW_RELAY, NEWSLETTER, RELAY_1, RELAY_2};
use super::{Director, Event};
use crate::alert::SenderName;
use std::collections::BTreeSet;

/// One hour, microseconds.
const HOUR_US: i64 = 3_600_000_000;
/// Messages of a mailing that go to one receiver in one session.
const BATCH_MAX: usize = 5;

/// A mailing.
pub(super) struct Run {
    machine: usize,
    from: From,
    letter: Letter,
    submitter: Submitter,
    /// Recipients of one session each, the next one last.
    batches: Vec<Vec<Recipient>>,
    per_hour: f64,
    refused: f64,
    label: Label,
    dice: Dice,
}

/// Reverse-path of a mailing.
enum From {
    Fixed(String),
    /// Another one for each recipient, so that bounces tell who it was.
    Variable,
}

/// What changes at a moment of the plan.
#[derive(Clone, Copy)]
pub(super) enum Turn {
    /// Some people's mail leaves by the new mail server.
    Commission(usize),
    /// The new mail server is nothing special any more.
    Settled,
}

impl Director {
    /// Plans all mailings and benign bursts; `days` are those on which something may happen.
    pub(super) fn plan_runs(&mut self, seed: u64, days: &[u32]) {
        let mut dice = Dice::new(seed, "runs");
        self.plan_newsletters(seed, &mut dice, days);
        self.plan_invoices(seed, &mut dice);
        let day = |dice: &mut Dice, number: usize| {
            let working: Vec<u32> =
                self.calendar.working_days().into_iter().filter(|day| days.contains(day)).collect();
            let place = (number * working.len() / 4 + dice.below(2)).min(working.len().saturating_sub(1));
            working.get(place).copied()
        };
        let (outage, storm) = (day(&mut dice, 0), day(&mut dice, 1));
        let (commission, backscatter) = (day(&mut dice, 2), day(&mut dice, 3));
        if let Some(day) = outage {
            let from = self.calendar.at(day, dice.between(9.0, 14.0));
            let until = from + (dice.between(1.0, 3.0) * HOUR_US as f64) as i64;
            let relay = address_name(self.world.machines[RELAY_1].address);
            let burst = self.burst("queue_flush", vec![relay], from, until + 2 * HOUR_US);
            self.world.machines[RELAY_1].outages.push((from, until, burst));
        }
        if let Some(day) = storm {
            self.plan_storm(seed, &mut dice, day);
        }
        if let Some(day) = commission {
            let at = self.calendar.at(day, 7.5);
            let new = address_name(self.world.machines[NEW_RELAY].address);
            let index = self.burst("new_mail_server", vec![new], at, at + 48 * HOUR_US);
            self.schedule(at, Event::Turn(Turn::Commission(index)));
            self.schedule(at + 48 * HOUR_US, Event::Turn(Turn::Settled));
        }
        if let Some(day) = backscatter {
            self.plan_backscatter(seed, &mut dice, day);
        }
    }

    /// Every Tuesday at ten; once it comes on a Thursday evening.
    fn plan_newsletters(&mut self, seed: u64, dice: &mut Dice, days: &[u32]) {
        let count = self.scenario.subscribers;
        let mut subscribers: Vec<Recipient> = (0..count).map(|_| self.receivers.draw(dice, true)).collect();
        let sender = address_name(self.world.machines[NEWSLETTER].address);
        let mut moved = false;
        for (issue, day) in self.calendar.weekdays(1).into_iter().enumerate() {
            let (leave, join) = (dice.below(count / 40 + 1), dice.below(count / 25 + 1));
            subscribers.drain(..leave);
            for _ in 0..join {
                let exists = !dice.chance(0.02);
                subscribers.push(self.receivers.draw(dice, exists));
            }
            let late = !moved && days.contains(&day) && days.contains(&(day + 2));
            let at = if late {
                self.calendar.at(day + 2, dice.between(16.0, 19.0))
            } else {
                self.calendar.at(day, dice.between(9.8, 10.2))
            };
            let label = if late {
                moved = true;
                Label::Benign(self.burst("newsletter_moved", vec![sender.clone()], at, at + 4 * HOUR_US))
            } else {
                Label::Ordinary
            };
            let run = Run {
                machine: NEWSLETTER,
                from: From::Variable,
                letter: Letter { kind: Kind::Newsletter, template: issue as u64 + 112 },
                submitter: Submitter::Itself,
                batches: batches(&subscribers, dice),
                per_hour: count as f64 / dice.between(0.8, 1.6),
                refused: 0.004,
                label,
                dice: Dice::new(seed, &format!("issue {issue}")),
            };
            self.start(run, at);
        }
    }

    /// A part of the customers each Friday, all of them on the last working day of the month.
    fn plan_invoices(&mut self, seed: u64, dice: &mut Dice) {
        let customers = self.known_to(BILLING);
        let billing = &self.world.clients[BILLING];
        let (address, name) = (billing.address, billing.name.clone());
        let senders = vec![address_name(address), address_name(self.world.machines[RELAY_2].address)];
        let ends = self.calendar.month_ends();
        let days: BTreeSet<u32> = self.calendar.weekdays(4).into_iter().chain(ends.clone()).collect();
        for day in days {
            let at = self.calendar.at(day, dice.between(13.0, 15.0));
            let all = ends.contains(&day);
            let share = if all { 1.0 } else { dice.between(0.3, 0.6) };
            let mut chosen = Vec::new();
            for customer in &customers {
                if dice.chance(share) {
                    let wrong = dice.chance(0.006);
                    chosen.push(if wrong { self.receivers.draw(dice, false) } else { *customer });
                }
            }
            let label = if all {
                Label::Benign(self.burst("month_end_invoices", senders.clone(), at, at + 4 * HOUR_US))
            } else {
                Label::Ordinary
            };
            let run = Run {
                machine: RELAY_2,
                from: From::Fixed(format!("rechnung@{}", self.world.domain())),
                letter: Letter { kind: Kind::Invoice, template: 0 },
                submitter: Submitter::Client { address, name: name.clone() },
                per_hour: chosen.len() as f64 / dice.between(0.7, 2.0),
                batches: chosen.into_iter().map(|customer| vec![customer]).collect(),
                refused: 0.003,
                label,
                dice: Dice::new(seed, &format!("invoices {day}")),
            };
            self.start(run, at);
        }
    }

    /// Hundreds of alarms to the same few people at night.
    fn plan_storm(&mut self, seed: u64, dice: &mut Dice, day: u32) {
        let at = self.calendar.at(day, dice.between(1.0, 5.0));
        let monitoring = &self.world.clients[MONITORING];
        let (address, name) = (monitoring.address, monitoring.name.clone());
        let senders = vec![address_name(address), address_name(self.world.machines[RELAY_2].address)];
        let index = self.burst("monitoring_storm", senders, at, at + 2 * HOUR_US);
        let admins = self.known_to(MONITORING);
        let count = dice.whole(120, 400);
        let run = Run {
            machine: RELAY_2,
            from: From::Fixed(format!("monitor@{}", self.world.domain())),
            letter: Letter { kind: Kind::Alarm, template: 0 },
            submitter: Submitter::Client { address, name },
            batches: (0..count).map(|_| vec![*dice.pick(&admins)]).collect(),
            per_hour: count as f64 / dice.between(0.3, 1.0),
            refused: 0.002,
            label: Label::Benign(index),
            dice: Dice::new(seed, "storm"),
        };
        self.start(run, at);
    }

    /// Spam with forged senders came in; the relay notifies those whose names were used.
    fn plan_backscatter(&mut self, seed: u64, dice: &mut Dice, day: u32) {
        let at = self.calendar.at(day, dice.between(18.0, 22.0));
        let relay = address_name(self.world.machines[RELAY_1].address);
        let index = self.burst("backscatter", vec![relay], at, at + 6 * HOUR_US);
        let unknown = dice.between(0.2, 0.45);
        let batches = (0..dice.whole(150, 500))
            .map(|_| {
                let exists = !dice.chance(unknown);
                vec![self.receivers.draw(dice, exists)]
            })
            .collect::<Vec<_>>();
        let run = Run {
            machine: RELAY_1,
            from: From::Fixed(String::new()),
            letter: Letter { kind: Kind::Bounce, template: 0 },
            submitter: Submitter::Itself,
            per_hour: batches.len() as f64 / dice.between(1.0, 4.0),
            batches,
            refused: dice.between(0.02, 0.1),
            label: Label::Benign(index),
            dice: Dice::new(seed, "backscatter"),
        };
        self.start(run, at);
    }

    /// Whom a client of a relay writes to.
    fn known_to(&self, client: usize) -> Vec<Recipient> {
        let source = self.sources.iter().find(|source| source.is_client(client));
        source.map(|source| source.contacts().to_vec()).unwrap_or_default()
    }

    fn start(&mut self, mut run: Run, at: i64) {
        run.batches.reverse();
        self.runs.push(run);
        self.schedule(at, Event::Run(self.runs.len() - 1));
    }

    fn burst(&mut self, kind: &str, senders: Vec<SenderName>, start: i64, end: i64) -> usize {
        self.ledger.benign.push(BenignBurst {
            kind: kind.to_owned(),
            senders,
            start: timestamp(start),
            end: timestamp(end),
            deliveries: 0,
        });
        self.ledger.benign.len() - 1
    }

    /// The next batch of a mailing.
    pub(super) fn run(&mut self, index: usize, at: i64) {
        let domain = self.world.domain();
        let run = &mut self.runs[index];
        let Some(batch) = run.batches.pop() else { return };
        let wait = run.dice.exponential(batch.len() as f64 / run.per_hour * HOUR_US as f64) as i64;
        let mails = batch
            .into_iter()
            .map(|recipient| Mail {
                from: match &run.from {
                    From::Fixed(from) => from.clone(),
                    From::Variable => format!("bounce+{:07x}@news.{domain}", run.dice.bits() >> 36),
                },
                to: vec![recipient],
                letter: run.letter,
                submitter: run.submitter.clone(),
                label: run.label,
                refused: run.refused,
            })
            .collect();
        let machine = run.machine;
        self.submit(machine, mails, at);
        self.schedule(at + wait, Event::Run(index));
    }

    /// The plan turns.
    pub(super) fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Commission(index) => {
                self.commissioned = Some(index);
                let moves = self.sources.iter_mut().filter(|source| source.is_person());
                moves.step_by(3).for_each(|source| source.machine = NEW_RELAY);
            }
            Turn::Settled => self.commissioned = None,
        }
    }
}

/// Recipients of one domain together, at most a few at a time, domains mixed.
fn batches(recipients: &[Recipient], dice: &mut Dice) -> Vec<Vec<Recipient>> {
    let mut sorted = recipients.to_vec();
    sorted.sort();
    sorted.dedup();
    let mut list: Vec<Vec<Recipient>> = sorted
        .chunk_by(|a, b| a.domain == b.domain)
        .flat_map(|same| same.chunks(BATCH_MAX).map(<[Recipient]>::to_vec))
        .collect();
    for place in (1..list.len()).rev() {
        list.swap(place, dice.below(place + 1));
    }
    list
}
