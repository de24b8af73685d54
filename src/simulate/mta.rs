//! A mail server: takes mail, queues it, delivers, tries again, gives up, and writes its log.
//!
//! *In*: mails. *Out*: sessions on the wire and, where the log is collected, Postfix lines that say the same.
//! *Bound*: mail that waits for another try. *Spec*: Postfix' log and its default retry times.

use super::calendar::timestamp;
use super::content::{Kind, Letter};
use super::dialogue::Said;
use super::draw::Dice;
use super::receivers::Recipient;
use super::visit::{Job, Label, Visited, Visitor};
use super::{Director, Event};
use std::collections::BTreeMap;
use std::net::IpAddr;

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
    id: String,
    mail: Mail,
    size: u64,
    tries: u32,
    arrived: i64,
    left: Vec<Recipient>,
    failed: bool,
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
        let size = 500 + self.dice.whole(200, 3_000);
        let left = mail.to.clone();
        let entry = Queued { id, mail, size, tries: 0, arrived: at, left, failed: false };
        self.log_arrival(machine, &entry, at);
        entry
    }

    fn log_arrival(&mut self, machine: usize, entry: &Queued, at: i64) {
        let Some(log) = self.world.machines[machine].log else { return };
        let domain = self.world.domain();
        let (id, mail) = (&entry.id, &entry.mail);
        let lines = &mut self.logs[log];
        let (pid, helper) = (lines.next_pid(), lines.next_pid());
        let (service, peer, login, verbs) = match &mail.submitter {
            Submitter::Account { login, client } => {
                let auth = format!(", sasl_method=PLAIN, sasl_username={login}");
                (
                    "submission/smtpd",
                    Some((client_name(*client, &domain), *client)),
                    auth,
                    "ehlo=2 starttls=1 auth=1 ",
                )
            }
            Submitter::Client { address, name } => {
                ("smtpd", Some((format!("{name}.{domain}"), *address)), String::new(), "ehlo=1 ")
            }
            Submitter::Itself => ("pickup", None, String::new(), ""),
        };
        if let Some((name, client)) = &peer {
            lines.say(at - 40_000, format!("postfix/{service}[{pid}]: connect from {name}[{client}]"));
            lines.say(at, format!("postfix/{service}[{pid}]: {id}: client={name}[{client}]{login}"));
        } else if mail.letter.kind != Kind::Bounce {
            lines.say(at, format!("postfix/pickup[{pid}]: {id}: uid=33 from=<{}>", mail.from));
        }
        let message_id = format!("{:x}.{}@{domain}", at, entry.size);
        lines.say(at + 9_000, format!("postfix/cleanup[{helper}]: {id}: message-id=<{message_id}>"));
        let (from, size, count) = (&mail.from, entry.size, mail.to.len());
        lines.say(
            at + 30_000,
            format!("postfix/qmgr[612]: {id}: from=<{from}>, size={size}, nrcpt={count} (queue active)"),
        );
        if let Some((name, client)) = peer {
            let commands = if login.is_empty() { 4 + count } else { 7 + count };
            lines.say(
                at + 55_000,
                format!(
                    "postfix/{service}[{pid}]: disconnect from {name}[{client}] \
                     {verbs}mail=1 rcpt={count} data=1 quit=1 commands={commands}"
                ),
            );
        }
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
                let words =
                    format!("connect to {}[{}]:25: Connection timed out", visited.host, visited.responder);
                (visited.at + 30_000_000, "4.4.1".to_owned(), "deferred", words)
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

    /// The notification of a failure goes to the sender's mailbox, inside.
    fn log_notification(&mut self, machine: usize, log: usize, entry: &Queued, at: i64) {
        self.world.machines[machine].serial += 1;
        let id = queue_id(self.world.machines[machine].serial, at, machine % 2 == 1);
        let (domain, to) = (self.world.domain(), &entry.mail.from);
        let lines = &mut self.logs[log];
        let (pid, cleanup, lmtp) = (lines.next_pid(), lines.next_pid(), lines.next_pid());
        let message_id = format!("{at:x}.{id}@{domain}");
        lines.say(at, format!("postfix/cleanup[{cleanup}]: {id}: message-id=<{message_id}>"));
        lines.say(
            at + 500,
            format!("postfix/bounce[{pid}]: {}: sender non-delivery notification: {id}", entry.id),
        );
        lines.say(
            at + 900,
            format!("postfix/qmgr[612]: {id}: from=<>, size={}, nrcpt=1 (queue active)", entry.size + 2_200),
        );
        lines.say(
            at + 15_000,
            format!(
                "postfix/lmtp[{lmtp}]: {id}: to=<{to}>, relay=store.{domain}[10.20.1.5]:24, delay=0.02, \
                 delays=0/0/0.01/0.01, dsn=2.0.0, status=sent (250 2.0.0 <{to}> Saved)"
            ),
        );
        lines.say(at + 16_000, format!("postfix/qmgr[612]: {id}: removed"));
    }

    /// Another try for a mail that waits.
    pub(super) fn retry(&mut self, machine: usize, entry: Queued, at: i64) {
        if let Some(log) = self.world.machines[machine].log {
            let (id, from, size) = (&entry.id, &entry.mail.from, entry.size);
            let count = entry.left.len();
            self.logs[log].say(
                at,
                format!("postfix/qmgr[612]: {id}: from=<{from}>, size={size}, nrcpt={count} (queue active)"),
            );
        }
        self.deliver(machine, vec![entry], at + 20_000);
    }

    /// Lines that say nothing about mail that leaves: strangers who try to relay, to log in, or only knock.
    pub(super) fn noise(&mut self, machine: usize, dice: &mut Dice, at: i64) {
        let Some(log) = self.world.machines[machine].log else { return };
        let domain = self.world.domain();
        let stranger = super::world::foreign_client(dice);
        let target = self.receivers.draw(dice, true);
        let target = self.receivers.address(target);
        let lines = &mut self.logs[log];
        let pid = lines.next_pid();
        let daemon = format!("postfix/smtpd[{pid}]");
        lines.say(at, format!("{daemon}: connect from unknown[{stranger}]"));
        let left = match dice.below(3) {
            0 => {
                lines.say(at + 300_000, format!(
                    "{daemon}: NOQUEUE: reject: RCPT from unknown[{stranger}]: 454 4.7.1 <{target}>: Relay access \
                     denied; from=<test@{domain}> to=<{target}> proto=ESMTP helo=<user-pc>"
                ));
                "ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4"
            }
            1 => {
                lines.say(at + 300_000, format!(
                    "{daemon}: warning: unknown[{stranger}]: SASL LOGIN authentication failed: UGFzc3dvcmQ6"
                ));
                "ehlo=1 auth=0/1 quit=1 commands=2/3"
            }
            _ => {
                lines.say(
                    at + 200_000,
                    format!("{daemon}: lost connection after CONNECT from unknown[{stranger}]"),
                );
                "commands=0/0"
            }
        };
        lines.say(at + 400_000, format!("{daemon}: disconnect from unknown[{stranger}] {left}"));
        let (later, then) = (at + 200_000_000, self.calendar.classic(at));
        let text = format!("statistics: max connection rate 1/60s for (smtp:{stranger}) at {then}");
        lines.say(later, format!("postfix/anvil[{}]: {text}", pid + 1));
    }
}

fn job(entry: &Queued, to: Vec<Recipient>) -> Job {
    Job {
        from: entry.mail.from.clone(),
        to,
        letter: entry.mail.letter,
        refused: entry.mail.refused,
        label: entry.mail.label,
        first: entry.tries == 0,
    }
}

/// Postfix' word for an answer, by the class of its code.
fn status_word(words: &str) -> &'static str {
    match words.as_bytes().first() {
        Some(b'2') => "sent",
        Some(b'4') => "deferred",
        _ => "bounced",
    }
}

/// The enhanced status in a reply, or the code's class with zeros, as Postfix prints it.
fn enhanced(words: &str) -> String {
    let after = words.get(4..).unwrap_or_default();
    match crate::mail::EnhancedStatus::parse_prefix(after.as_bytes()) {
        Some((status, _)) => format!("{}.{}.{}", status.class, status.subject, status.detail),
        None => format!("{}.0.0", words.get(..1).unwrap_or("5")),
    }
}

/// Where the time went: before the queue, in it, connecting, speaking. Seconds.
fn delays(arrived: i64, started: i64, greeted: i64, settled: i64) -> String {
    let seconds = |from: i64, to: i64| (to - from).max(0) as f64 / 1e6;
    let queued = seconds(arrived, started);
    let (connect, speak) = (seconds(started, greeted), seconds(greeted, settled));
    format!("delay={:.2}, delays={:.2}/0.01/{connect:.2}/{speak:.2}", queued + 0.01 + connect + speak, queued)
}

/// Clients are named where they are ours, and unknown where they are not.
fn client_name(client: IpAddr, domain: &str) -> String {
    match client {
        IpAddr::V4(v4) if v4.octets()[0] == 10 => {
            let [_, _, third, last] = v4.octets();
            format!("ws-{third}-{last}.{domain}")
        }
        _ => "unknown".to_owned(),
    }
}

/// Postfix' short ids (microseconds and inode in hexadecimal) or its long ones (time in base 52, inode in base 51).
fn queue_id(serial: u64, at: i64, long: bool) -> String {
    if !long {
        return format!("{:05X}{:06X}", at.rem_euclid(1_000_000), 0x1c0_000 + serial % 0xe00_000);
    }
    const DIGITS: &[u8; 52] = b"0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";
    let encode = |mut value: u64, base: u64, width: usize| {
        let mut text = vec![b'0'; width];
        for place in text.iter_mut().rev() {
            *place = DIGITS[(value % base) as usize];
            value /= base;
        }
        String::from_utf8(text).unwrap_or_default()
    };
    let seconds = encode(at.div_euclid(1_000_000) as u64, 52, 6);
    let micros = encode(at.rem_euclid(1_000_000) as u64, 52, 4);
    format!("{seconds}{micros}z{}", encode(serial % 345_025_251, 51, 5))
}
