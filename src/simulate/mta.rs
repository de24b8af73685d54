//! A mail server: takes mail, queues it, delivers, tries again, gives up, and writes its log.
//!
//! *In*: mails. *Out*: sessions on the wire and, where the log is collected, Postfix lines that say the same.
//! *Bound*: mail that waits for another try. *Spec*: Postfix' log and its default retry times.

use super::calendar::timestamp;
use super::content::{Address, Letter, compose, signature};
use super::dialogue::Said;
use super::postfix::{client_name, delays, enhanced, queue_id, status_word};
use super::receivers::Recipient;
use super::visit::{Job, Label, Visited, Visitor};
use super::{Director, Event};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

/// Time until mail is given up (Postfix: maximal_queue_lifetime), microseconds.
const LIFETIME_US: i64 = 5 * 86_400_000_000;
/// First and last wait between tries (Postfix: minimal and maximal_backoff_time), seconds.
const BACKOFF_SECONDS: (f64, f64) = (300.0, 4_000.0);

/// Who hands a mail to a mail server.
#[derive(Clone)]
pub(super) enum Submitter {
    /// A person or whoever has the password.
    Account {
        /// SASL login.
        login: String,
        /// Where from.
        client: IpAddr,
    },
    /// A machine that may relay.
    Client {
        /// Its address.
        address: IpAddr,
        /// Its name.
        name: String,
    },
    /// A program on the machine itself, or the mail server's own notification.
    Itself,
}

/// A mail to be sent.
pub(super) struct Mail {
    /// Reverse-path; empty for the null path.
    pub(super) from: String,
    /// Forward-paths.
    pub(super) to: Vec<Recipient>,
    /// What it says.
    pub(super) letter: Letter,
    /// Who hands it in.
    pub(super) submitter: Submitter,
    /// What it is part of.
    pub(super) label: Label,
    /// Probability that a receiver refuses it for what it is or whence it comes.
    pub(super) refused: f64,
}

/// A mail in the queue.
pub(super) struct Queued {
    pub(super) id: String,
    pub(super) mail: Mail,
    pub(super) message_id: String,
    pub(super) body: Rc<[u8]>,
    pub(super) tries: u32,
    pub(super) arrived: i64,
    pub(super) left: Vec<Recipient>,
    pub(super) failed: bool,
}

impl Director {
    /// A mail server takes mails; several at once are for one destination.
    pub(super) fn submit(&mut self, machine: usize, mails: Vec<Mail>, at: i64) {
        let entries = mails.into_iter().map(|mail| self.enqueue(machine, mail, at)).collect();
        self.deliver(machine, entries, at + 90_000);
    }

    fn enqueue(&mut self, machine: usize, mail: Mail, at: i64) -> Queued {
        let host = &mut self.world.machines[machine];
        host.serial += 1;
        let id = queue_id(host.serial, at, machine % 2 == 1);
        let message_id = format!("{at:x}.{:x}@{}", self.dice.bits() >> 40, self.world.domain());
        let body = self.compose(machine, &id, &mail, &message_id, at);
        let left = mail.to.clone();
        let entry = Queued { id, mail, message_id, body, tries: 0, arrived: at, left, failed: false };
        self.log_arrival(machine, &entry, at);
        entry
    }

    /// The message as the server passes it on, with its trace header.
    fn compose(&mut self, machine: usize, id: &str, mail: &Mail, message_id: &str, at: i64) -> Rc<[u8]> {
        let helo = &self.world.machines[machine].helo;
        let date = self.calendar.rfc5322(at);
        let domain = self.world.domain();
        let origin = match &mail.submitter {
            Submitter::Account { client, .. } => {
                format!("from [{client}] ({} [{client}])", client_name(*client, &domain))
            }
            Submitter::Client { address, name } => {
                format!("from {name}.{domain} ({name}.{domain} [{address}])")
            }
            Submitter::Itself => "from localhost".to_owned(),
        };
        let mut trace = signature(&domain, at, &mut self.dice);
        trace.push_str(&format!(
            "Received: {origin}\r\n\tby {helo} (Postfix) with ESMTP id {id};\r\n\t{date}\r\n"
        ));
        let to = self.receivers.address(mail.to[0]);
        let address = Address {
            company: &self.world.company,
            from: &mail.from,
            to: &to,
            date: &date,
            trace: &trace,
            message_id,
        };
        compose(mail.letter, &address, &mut self.dice).into()
    }

    /// One try to deliver what is left of some mails, all recipients of a domain in one session.
    fn deliver(&mut self, machine: usize, mut entries: Vec<Queued>, at: i64) {
        let mut groups: BTreeMap<u32, Vec<(usize, Vec<Recipient>)>> = BTreeMap::new();
        for (index, entry) in entries.iter_mut().enumerate() {
            let mut by_domain: BTreeMap<u32, Vec<Recipient>> = BTreeMap::new();
            for recipient in std::mem::take(&mut entry.left) {
                by_domain.entry(recipient.domain).or_default().push(recipient);
            }
            for (domain, recipients) in by_domain {
                groups.entry(domain).or_default().push((index, recipients));
            }
        }
        let mut latest = at;
        for group in groups.into_values() {
            let start = at + self.dice.exponential(60_000.0) as i64;
            let jobs: Vec<Job> = group.iter().map(|(index, to)| job(&entries[*index], to.clone())).collect();
            let visitor = self.visitor(machine, &jobs, start);
            let visited = self.visit(&visitor, start, &jobs);
            for (place, (index, recipients)) in group.into_iter().enumerate() {
                let entry = &mut entries[index];
                let said = visited.said.as_ref().map(|said| &said[place]);
                for (which, recipient) in recipients.into_iter().enumerate() {
                    let said = said.map(|said| &said[which]);
                    let (ended, stays) = self.settle(machine, entry, recipient, &visited, said);
                    latest = latest.max(ended);
                    if stays {
                        entry.left.push(recipient);
                    }
                }
            }
        }
        for entry in entries {
            self.conclude(machine, entry, latest);
        }
    }

    /// Who visits: the machine, by IPv6 where both ends have it and the dice say so.
    fn visitor(&mut self, machine: usize, jobs: &[Job], at: i64) -> Visitor {
        let host = &self.world.machines[machine];
        let offers_v6 = jobs
            .first()
            .and_then(|job| job.to.first())
            .is_some_and(|to| self.receivers.provider_of(*to).v6.is_some());
        let source = match host.v6 {
            Some(v6) if offers_v6 && self.dice.chance(0.5) => v6,
            _ => host.address,
        };
        Visitor {
            source,
            helo: host.helo.clone(),
            shape: host.shape,
            hops: 0,
            manners: host.manners,
            cut_off: host.outages.iter().any(|(from, until, _)| (*from..*until).contains(&at)),
        }
    }

    /// Logs what became of one recipient; when it was known, and whether it must be tried again.
    fn settle(
        &mut self,
        machine: usize,
        entry: &mut Queued,
        recipient: Recipient,
        visited: &Visited,
        said: Option<&Said>,
    ) -> (i64, bool) {
        let to = self.receivers.address(recipient);
        let (at, dsn, status, words) = match said {
            None => {
                let (wait, why) =
                    if visited.refused { (200_000, "refused") } else { (30_000_000, "timed out") };
                let words =
                    format!("connect to {}[{}]:25: Connection {why}", visited.host, visited.responder);
                (visited.at + wait, "4.4.1".to_owned(), "deferred", words)
            }
            Some(said) => {
                let status = status_word(&said.words);
                let dsn = enhanced(&said.words);
                let words = if status == "sent" {
                    said.words.clone()
                } else {
                    let stage = if said.after_data { "end of DATA" } else { "RCPT TO" };
                    format!(
                        "host {}[{}] said: {} (in reply to {stage} command)",
                        visited.host, visited.responder, said.words
                    )
                };
                (said.at + 300, dsn, status, words)
            }
        };
        if let Some(log) = self.world.machines[machine].log {
            let lines = &mut self.logs[log];
            let pid = lines.next_pid();
            let relay = match said {
                None => "none".to_owned(),
                Some(_) => format!("{}[{}]:25", visited.host, visited.responder),
            };
            let delays = delays(entry.arrived, visited.at, visited.greeted_at, at);
            let id = &entry.id;
            lines.say(
                at,
                format!("postfix/smtp[{pid}]: {id}: to=<{to}>, relay={relay}, {delays}, dsn={dsn}, status={status} ({words})"),
            );
            self.ledger.log(&self.world, machine, &entry.mail, entry.tries == 0, said, timestamp(at));
        }
        entry.failed |= status == "bounced";
        (at, status == "deferred")
    }

    /// After a try: mail is gone, or given up, or waits.
    fn conclude(&mut self, machine: usize, mut entry: Queued, at: i64) {
        entry.tries += 1;
        let expired = at - entry.arrived > LIFETIME_US;
        if !entry.left.is_empty() && !expired {
            let wait =
                (BACKOFF_SECONDS.0 * f64::from(1u32 << entry.tries.min(5) >> 1)).min(BACKOFF_SECONDS.1);
            let mut due = at + (wait * self.dice.between(0.95, 1.3) * 1e6) as i64;
            for (from, until, burst) in &self.world.machines[machine].outages {
                if (*from..*until).contains(&at) && due > *until {
                    // The administrator flushes the queue when the line is back.
                    due = until + self.dice.between(2e6, 240e6) as i64;
                    self.ledger.benign[*burst].deliveries += entry.left.len() as u64;
                }
            }
            self.schedule(due, Event::Retry { machine, entry: Box::new(entry) });
            return;
        }
        if let Some(log) = self.world.machines[machine].log {
            let id = entry.id.clone();
            if !entry.left.is_empty() {
                let text = format!(
                    "postfix/qmgr[612]: {id}: from=<{}>, status=expired, returned to sender",
                    entry.mail.from
                );
                self.logs[log].say(at + 200, text);
            }
            if (entry.failed || expired) && !entry.mail.from.is_empty() {
                self.log_notification(machine, log, &entry, at + 400);
            }
            self.logs[log].say(at + 30_000, format!("postfix/qmgr[612]: {id}: removed"));
        }
    }

    /// Another try for a mail that waits.
    pub(super) fn retry(&mut self, machine: usize, entry: Queued, at: i64) {
        if let Some(log) = self.world.machines[machine].log {
            let (id, from, size) = (&entry.id, &entry.mail.from, entry.body.len());
            let count = entry.left.len();
            self.logs[log].say(
                at,
                format!("postfix/qmgr[612]: {id}: from=<{from}>, size={size}, nrcpt={count} (queue active)"),
            );
        }
        self.deliver(machine, vec![entry], at + 20_000);
    }
}

fn job(entry: &Queued, to: Vec<Recipient>) -> Job {
    Job {
        from: entry.mail.from.clone(),
        to,
        body: entry.body.clone(),
        refused: entry.mail.refused,
        label: entry.mail.label,
        first: entry.tries == 0,
    }
}
