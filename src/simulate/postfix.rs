//! What Postfix writes about mail: the wording of its lines.
//!
//! *In*: what happened in a mail server. *Out*: lines as `syslog` gets them, without stamp and host. *Spec*:
//! Postfix' sources and real logs; every line is one that a real server writes.

use super::Director;
use super::content::Kind;
use super::draw::Dice;
use super::lines::Lines;
use super::mta::{Queued, Submitter};
use super::sources::Internal;
use std::net::IpAddr;

impl Director {
    /// A mail came in: who brought it, its message id, its envelope.
    pub(super) fn log_arrival(&mut self, machine: usize, entry: &Queued, at: i64) {
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
        let message_id = &entry.message_id;
        lines.say(at + 9_000, format!("postfix/cleanup[{helper}]: {id}: message-id=<{message_id}>"));
        let (from, size, count) = (&mail.from, entry.body.len(), mail.to.len());
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

    /// The notification of a failure goes to the sender's mailbox, inside.
    pub(super) fn log_notification(&mut self, machine: usize, log: usize, entry: &Queued, at: i64) {
        self.world.machines[machine].serial += 1;
        let id = queue_id(self.world.machines[machine].serial, at, machine % 2 == 1);
        let (domain, to) = (self.world.domain(), &entry.mail.from);
        let lines = &mut self.logs[log];
        let (pid, cleanup) = (lines.next_pid(), lines.next_pid());
        let message_id = format!("{at:x}.{id}@{domain}");
        lines.say(at, format!("postfix/cleanup[{cleanup}]: {id}: message-id=<{message_id}>"));
        lines.say(
            at + 500,
            format!("postfix/bounce[{pid}]: {}: sender non-delivery notification: {id}", entry.id),
        );
        lines.say(
            at + 900,
            format!(
                "postfix/qmgr[612]: {id}: from=<>, size={}, nrcpt=1 (queue active)",
                entry.body.len() + 2_200
            ),
        );
        log_mailbox(lines, &id, to, &domain, at);
    }

    /// Mail of one person to a colleague: in by submission, out to the mailbox store.
    pub(super) fn log_internal(&mut self, machine: usize, mail: &Internal, at: i64) {
        let Some(log) = self.world.machines[machine].log else { return };
        self.world.machines[machine].serial += 1;
        let id = queue_id(self.world.machines[machine].serial, at, machine % 2 == 1);
        let Submitter::Account { login, client } = &mail.submitter else { return };
        let domain = self.world.domain();
        let name = client_name(*client, &domain);
        let to = &self.world.people[mail.colleague].login;
        let (size, from) = (700 + at.rem_euclid(40_000), &mail.from);
        let lines = &mut self.logs[log];
        let (pid, cleanup) = (lines.next_pid(), lines.next_pid());
        let daemon = format!("postfix/submission/smtpd[{pid}]");
        lines.say(at - 40_000, format!("{daemon}: connect from {name}[{client}]"));
        lines.say(
            at,
            format!("{daemon}: {id}: client={name}[{client}], sasl_method=PLAIN, sasl_username={login}"),
        );
        lines.say(at + 9_000, format!("postfix/cleanup[{cleanup}]: {id}: message-id=<{at:x}.0@{domain}>"));
        lines.say(
            at + 10_000,
            format!("postfix/qmgr[612]: {id}: from=<{from}>, size={size}, nrcpt=1 (queue active)"),
        );
        log_mailbox(lines, &id, to, &domain, at + 10_000);
        lines.say(
            at + 55_000,
            format!(
                "{daemon}: disconnect from {name}[{client}] \
                 ehlo=2 starttls=1 auth=1 mail=1 rcpt=1 data=1 quit=1 commands=8"
            ),
        );
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

/// The mailbox store takes a message.
fn log_mailbox(lines: &mut Lines, id: &str, to: &str, domain: &str, at: i64) {
    let lmtp = lines.next_pid();
    lines.say(
        at + 15_000,
        format!(
            "postfix/lmtp[{lmtp}]: {id}: to=<{to}>, relay=store.{domain}[10.20.1.5]:24, delay=0.02, \
             delays=0/0/0.01/0.01, dsn=2.0.0, status=sent (250 2.0.0 <{to}> Saved)"
        ),
    );
    lines.say(at + 16_000, format!("postfix/qmgr[612]: {id}: removed"));
}

/// Postfix' word for an answer, by the class of its code.
pub(super) fn status_word(words: &str) -> &'static str {
    match words.as_bytes().first() {
        Some(b'2') => "sent",
        Some(b'4') => "deferred",
        _ => "bounced",
    }
}

/// The enhanced status in a reply, or the code's class with zeros, as Postfix prints it.
pub(super) fn enhanced(words: &str) -> String {
    let after = words.get(4..).unwrap_or_default();
    match crate::mail::EnhancedStatus::parse_prefix(after.as_bytes()) {
        Some((status, _)) => format!("{}.{}.{}", status.class, status.subject, status.detail),
        None => format!("{}.0.0", words.get(..1).unwrap_or("5")),
    }
}

/// Where the time went: before the queue, in it, connecting, speaking. Seconds.
pub(super) fn delays(arrived: i64, started: i64, greeted: i64, settled: i64) -> String {
    let seconds = |from: i64, to: i64| (to - from).max(0) as f64 / 1e6;
    let queued = seconds(arrived, started);
    let (connect, speak) = (seconds(started, greeted), seconds(greeted, settled));
    format!("delay={:.2}, delays={:.2}/0.01/{connect:.2}/{speak:.2}", queued + 0.01 + connect + speak, queued)
}

/// Clients are named where they are ours, and unknown where they are not.
pub(super) fn client_name(client: IpAddr, domain: &str) -> String {
    match client {
        IpAddr::V4(v4) if v4.octets()[0] == 10 => {
            let [_, _, third, last] = v4.octets();
            format!("ws-{third}-{last}.{domain}")
        }
        _ => "unknown".to_owned(),
    }
}

/// Postfix' short ids (microseconds and inode in hexadecimal) or its long ones (time in base 52, inode in base 51).
pub(super) fn queue_id(serial: u64, at: i64, long: bool) -> String {
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
