//! A machine visits a receiver: the session goes onto the wire, its outcome into the ledger.
//!
//! *In*: who visits, with what mail. *Out*: frames, the answers, and the truth's counts.

use super::Director;
use super::calendar::timestamp;
use super::dialogue::{Caller, Manners, Offer, Said, hold};
use super::frames::{End, SHAPES, Shape, shape};
use super::mta::{Mail, Submitter};
use super::receivers::{Answer, Life, Recipient, Reputation};
use super::talk::Talk;
use super::truth::{BenignBurst, Hijack, Tally, TruthSender, account_name, address_name};
use super::world::{World, link_address};
use crate::alert::SenderName;
use crate::company::Role;
use crate::time::{MICROS_PER_DAY, Timestamp};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

/// First port that is given out, and how many there are.
const PORTS: (u32, u32) = (32_768, 28_000);

/// What a mail is part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Label {
    /// Everyday mail.
    Ordinary,
    /// A benign burst, by index.
    Benign(usize),
    /// A hijack, by index.
    Hijack(usize),
}

/// Who visits.
pub(super) struct Visitor {
    /// Address it uses.
    pub(super) source: IpAddr,
    /// Name it greets with.
    pub(super) helo: String,
    /// How it opens connections.
    pub(super) shape: &'static Shape,
    /// Routers between it and the sensor.
    pub(super) hops: u8,
    /// How it speaks.
    pub(super) manners: Manners,
    /// Reaches nobody just now.
    pub(super) cut_off: bool,
}

/// One message for one domain.
pub(super) struct Job {
    /// Reverse-path.
    pub(super) from: String,
    /// Forward-paths, all of one domain.
    pub(super) to: Vec<Recipient>,
    /// The message.
    pub(super) body: Rc<[u8]>,
    /// Probability that a receiver refuses it for what it is or whence it comes.
    pub(super) refused: f64,
    /// What it is part of.
    pub(super) label: Label,
    /// Whether this is its first try.
    pub(super) first: bool,
}

/// What came of a visit.
pub(super) struct Visited {
    /// When it began.
    pub(super) at: i64,
    /// When the server greeted.
    pub(super) greeted_at: i64,
    /// The server's name.
    pub(super) host: String,
    /// The server's address.
    pub(super) responder: IpAddr,
    /// Whether the connection was reset.
    pub(super) refused: bool,
    /// The answers to each job's recipients; `None` where nobody answered.
    pub(super) said: Option<Vec<Vec<Said>>>,
}

impl Director {
    /// One connection to the receiver of the jobs' recipients.
    pub(super) fn visit(&mut self, visitor: &Visitor, at: i64, jobs: &[Job]) -> Visited {
        let first = jobs[0].to[0];
        let mut judgements = Vec::with_capacity(jobs.len());
        for job in jobs {
            let reputation = Reputation { refused: job.refused };
            let dice = &mut self.dice;
            judgements.push(self.receivers.judge(dice, visitor.source, &job.from, &job.to, &reputation));
        }
        let provider = self.receivers.provider_of(first);
        let responder = match (visitor.source, provider.v6) {
            (IpAddr::V6(_), Some(v6)) => v6,
            _ => *self.dice.pick(&provider.v4),
        };
        let port = self.ports.entry(visitor.source).or_insert(0);
        *port = (*port + 1) % PORTS.1;
        let client = End {
            ip: visitor.source,
            port: (PORTS.0 + *port) as u16,
            mac: link_address(visitor.source),
            shape: visitor.shape,
            hops: visitor.hops,
        };
        let server = End {
            ip: responder,
            port: 25,
            mac: [0x02, 0, 0, 0, 0, 1],
            shape: if provider.style.name == "exchange" {
                shape("windows-server")
            } else {
                &SHAPES[first.domain as usize % 4]
            },
            hops: 7 + (first.domain % 11) as u8,
        };
        let host = provider.host.clone();
        let life = if visitor.cut_off { Life::Silent } else { provider.life };
        if life != Life::Answers {
            let rtt = provider.rtt_us;
            self.ledger.unreached(visitor.source, life);
            self.captures.add(match life {
                Life::Refuses => Talk::refused(client, server, at, &mut self.dice, rtt),
                _ => Talk::unanswered(client, server, at, &mut self.dice),
            });
            let refused = life == Life::Refuses;
            return Visited { at, greeted_at: at, host, responder, refused, said: None };
        }
        let offers = jobs
            .iter()
            .zip(judgements)
            .map(|(job, judgement)| Offer {
                reverse_path: &job.from,
                recipients: job.to.iter().map(|to| self.receivers.address(*to)).collect(),
                judgement,
                body: &job.body,
            })
            .collect();
        let caller = Caller { end: client, helo: &visitor.helo, manners: visitor.manners };
        let held = hold(&caller, provider, server, at, offers, &mut self.dice);
        self.captures.add(held.talk);
        self.ledger.session(visitor.source);
        for (job, said) in jobs.iter().zip(&held.said) {
            self.ledger.wire(visitor.source, job, said, held.tls);
        }
        Visited { at, greeted_at: held.greeted_at, host, responder, refused: false, said: Some(held.said) }
    }
}

/// A sender in the ledger: kind and name.
type Key = (String, String);

/// The truth while it is written.
#[derive(Default)]
pub(super) struct Ledger {
    wire: BTreeMap<IpAddr, Tally>,
    log: BTreeMap<Key, Tally>,
    legitimate_since: BTreeMap<Key, Timestamp>,
    /// Attacks.
    pub(super) hijacks: Vec<Hijack>,
    /// Benign bursts.
    pub(super) benign: Vec<BenignBurst>,
}

fn key(name: SenderName) -> Key {
    (name.kind, name.name)
}

fn count(tally: &mut Tally, said: &Said) {
    tally.deliveries += 1;
    let deferred = said.words.starts_with('4');
    match said.answer {
        Answer::Accepted => tally.accepted += 1,
        Answer::Unknown => tally.no_such_recipient += 1,
        Answer::Listed | Answer::Content => tally.refused += 1,
        _ if deferred => tally.deferred += 1,
        _ => tally.other += 1,
    }
}

impl Ledger {
    fn session(&mut self, source: IpAddr) {
        self.wire.entry(source).or_default().sessions += 1;
    }

    fn unreached(&mut self, source: IpAddr, life: Life) {
        let tally = self.wire.entry(source).or_default();
        let count =
            if life == Life::Refuses { &mut tally.connections_refused } else { &mut tally.unanswered };
        *count += 1;
    }

    /// What the wire shows of one message.
    fn wire(&mut self, source: IpAddr, job: &Job, said: &[Said], tls: bool) {
        let tally = self.wire.entry(source).or_default();
        if tls {
            tally.hidden_messages += u64::from(said.iter().any(|said| said.after_data));
        } else {
            said.iter().for_each(|said| count(tally, said));
        }
        let times = said.iter().map(|said| timestamp(said.at));
        match job.label {
            Label::Hijack(index) if job.first => {
                let hijack = &mut self.hijacks[index];
                let seen = if tls { &mut hijack.seen_by.wire_hidden } else { &mut hijack.seen_by.wire };
                *seen += said.len() as u64;
                hijack.deliveries.extend(times);
                hijack.accepted += said.iter().filter(|said| said.answer == Answer::Accepted).count() as u64;
            }
            Label::Benign(index) if job.first => self.benign[index].deliveries += said.len() as u64,
            _ => {}
        }
        if let (false, Some(first)) = (matches!(job.label, Label::Hijack(_)), said.first()) {
            self.legitimate(address_name(source), timestamp(first.at));
        }
    }

    /// What a log shows of one recipient, for the server itself and for who handed the mail in. A
    /// connection that failed is a line about the recipient too.
    pub(super) fn log(
        &mut self,
        world: &World,
        machine: usize,
        mail: &Mail,
        first: bool,
        said: Option<&Said>,
        at: Timestamp,
    ) {
        let mut names = vec![address_name(world.machines[machine].address)];
        match &mail.submitter {
            Submitter::Account { login, .. } => names.push(account_name(login)),
            Submitter::Client { address, .. } => names.push(address_name(*address)),
            Submitter::Itself => {}
        }
        for name in names {
            if !matches!(mail.label, Label::Hijack(_)) {
                self.legitimate(name.clone(), at);
            }
            let tally = self.log.entry(key(name)).or_default();
            match said {
                Some(said) => count(tally, said),
                None => {
                    tally.deliveries += 1;
                    tally.deferred += 1;
                }
            }
        }
        if let Label::Hijack(index) = mail.label
            && first
            && said.is_some()
        {
            self.hijacks[index].seen_by.log += 1;
        }
    }

    fn legitimate(&mut self, name: SenderName, at: Timestamp) {
        self.legitimate_since.entry(key(name)).or_insert(at);
    }

    /// Days from a sender's first legitimate mail to the end, over all senders.
    pub(super) fn sender_days(&self, end: Timestamp) -> u64 {
        let days = |since: &Timestamp| (end.as_micros() - since.as_micros()).div_euclid(MICROS_PER_DAY) + 1;
        self.legitimate_since.values().map(|since| days(since).max(0) as u64).sum()
    }

    /// All senders with their counts, in a stable order.
    pub(super) fn senders(&self, declared: &[(String, IpAddr, Role)]) -> Vec<TruthSender> {
        let mut all: BTreeMap<Key, (Tally, Tally)> = BTreeMap::new();
        for (address, tally) in &self.wire {
            all.entry(key(address_name(*address))).or_default().0 = *tally;
        }
        for (name, tally) in &self.log {
            all.entry(name.clone()).or_default().1 = *tally;
        }
        let role_of = |(kind, name): &Key| match kind.as_str() {
            "account" => Some(Role::Workstation),
            _ => {
                declared.iter().find(|(_, address, _)| address.to_string() == *name).map(|(_, _, role)| *role)
            }
        };
        all.into_iter()
            .map(|(name, (wire, log))| TruthSender {
                role: role_of(&name),
                sender: SenderName { kind: name.0, name: name.1 },
                wire,
                log,
            })
            .collect()
    }
}
