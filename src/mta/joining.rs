//! What the parts of a line mean for the message they belong to.
//!
//! *In*: [`Part`]s with their queue ids, what the queue remembers. *Out*: [`Observation`]s and counters.
//! *Bound*: see [`super::queue`]. *Spec*: docs/architecture.md, logs.

use super::queue::{OpenMessage, Queue, account_name};
use super::road::{LogCounters, Machine as LogMachine};
use super::{Origin, Outcome, Part, Route, Seen, Status};
use crate::company::Company;
use crate::limits;
use crate::mail::{Mailbox, ReversePath, Untrusted, Verdict};
use crate::observation::{
    Delivery, Fact, Login, Machine, Message, Observation, SenderKeys, Session, SessionEnd, Tls, Vantage,
    digest,
};
use crate::time::Timestamp;
use std::net::IpAddr;

/// Joins the parts of one line with what is known.
pub(super) struct Joining<'r> {
    pub(super) company: &'r Company,
    pub(super) queue: &'r mut Queue,
    pub(super) counters: &'r mut LogCounters,
    pub(super) machine: &'r LogMachine,
    pub(super) at: Timestamp,
    /// Machine and queue id of the message at hand.
    pub(super) key: &'r mut Vec<u8>,
    pub(super) out: &'r mut Vec<Observation>,
}

impl Joining<'_> {
    pub(super) fn take(&mut self, id: &[u8], part: Part) {
        let id = id.get(..id.len().min(limits::ID_BYTES_MAX)).unwrap_or_default();
        write_key(self.key, &self.machine.joins_as, id);
        match part {
            Part::Origin(origin) => self.origin(&origin),
            Part::Outcome(outcome) => self.outcome(id, &outcome),
            Part::Removed => drop(self.queue.remove(self.key)),
            Part::Expired => self.counters.expired += 1,
            Part::Rejected => self.counters.rejected += 1,
            Part::Login { account, client, succeeded } => self.login(account, client, succeeded),
            Part::Filtered { origin, forward_paths } => self.filtered(id, &origin, forward_paths),
            Part::Seen(seen) => self.seen(id, &seen),
        }
    }

    fn origin(&mut self, origin: &Origin) {
        let company = self.company;
        let ours = |address| is_ours(company, address);
        let original = origin.original_id.filter(|_| origin.client.is_some_and(ours)).and_then(|id| {
            let mut key = Vec::new();
            write_key(&mut key, &self.machine.joins_as, id);
            self.queue.get(&key).map(|message| (message.client, message.account.clone()))
        });
        let message = self.queue.get_or_begin(self.key, self.at);
        message.learn(origin, ours);
        if let Some((client, account)) = original {
            message.inherit(client, account, ours);
            self.counters.inherited += 1;
        }
    }

    fn login(&mut self, account: Option<&[u8]>, client: Option<IpAddr>, succeeded: bool) {
        match succeeded {
            true => self.counters.logins += 1,
            false => self.counters.logins_failed += 1,
        }
        let sender = self.sender(account.map(account_name), client);
        self.observe(sender, Fact::Login(Login { succeeded }));
    }

    /// A message that a filter let through. Where the MTA's own log is read, that one tells what became of it.
    fn filtered(&mut self, id: &[u8], origin: &Origin, forward_paths: &[&[u8]]) {
        let known = !id.is_empty() && self.queue.get(self.key).is_some_and(|message| message.begun);
        if known {
            self.origin(origin);
            return;
        }
        for path in forward_paths {
            let outcome = Outcome { origin: *origin, forward_path: Some(path), ..Outcome::unknown() };
            self.outcome(id, &outcome);
        }
    }

    /// What another sensor saw on the wire, as the wire road would have told it.
    fn seen(&mut self, id: &[u8], seen: &Seen) {
        if !self.company.sends(seen.originator, seen.responder) {
            self.counters.inward += 1;
            return;
        }
        let sender = SenderKeys {
            address: Some(seen.originator),
            machine: Machine { helo: seen.helo.map(digest), syn: None },
            ..SenderKeys::default()
        };
        let queue_id = (!id.is_empty()).then(|| Untrusted::bounded(id, limits::ID_BYTES_MAX));
        let recipients = u32::try_from(seen.forward_paths.len()).unwrap_or(u32::MAX);
        let mut observe = |fact| {
            self.out.push(Observation { at: self.at, vantage: Vantage::Wire, sender: sender.clone(), fact });
        };
        if recipients == 0 {
            // Nothing but a session: what TLS hid, or what never came to mail.
            observe(Fact::Session(Session {
                responder: seen.responder,
                opened_at: self.at,
                helo: seen.helo.map(|helo| Untrusted::bounded(helo, limits::HELO_BYTES_MAX)),
                tls: if seen.tls { Tls::Started } else { Tls::Clear },
                opaque: None,
                client_hello: None,
                messages: 0,
                recipients: 0,
                recipients_refused: 0,
                ended: SessionEnd::Closed,
                gap_bytes: 0,
                oddities: Vec::new(),
            }));
            return;
        }
        // The last answer is the one to end-of-data, unless QUIT was answered after it (221).
        let reply = seen.reply.clone().filter(|reply| reply.verdict().is_some() && reply.code != Some(221));
        self.counters.messages += 1;
        observe(Fact::Message(Message {
            responder: Some(seen.responder),
            recipients,
            size_bytes: None,
            accepted: reply.as_ref().map(|reply| reply.verdict() == Some(Verdict::Accepted)),
            queue_id: queue_id.clone(),
            content: None,
        }));
        for path in seen.forward_paths {
            observe(Fact::Delivery(Delivery {
                responder: Some(seen.responder),
                reverse_path: seen.reverse_path.map(ReversePath::parse),
                forward_path: Mailbox::parse(path),
                reply: reply.clone(),
                retry: None,
                queue_id: queue_id.clone(),
                message_id: None,
            }));
        }
    }

    fn outcome(&mut self, id: &[u8], outcome: &Outcome) {
        match outcome.status {
            Status::Sent => self.counters.delivered += 1,
            Status::Deferred => self.counters.deferred += 1,
            Status::Bounced => self.counters.bounced += 1,
            Status::Probed => return,
            Status::Unknown => {}
        }
        match outcome.route {
            Route::Remote => {}
            Route::Local => {
                self.counters.local += 1;
                return;
            }
            Route::Discarded => {
                self.counters.discarded += 1;
                return;
            }
        }
        if self.is_inward(outcome) {
            self.counters.inward += 1;
            self.hand_over(outcome);
            return;
        }
        let company = self.company;
        let mut alone = OpenMessage::default();
        let message = match id {
            b"" => &mut alone,
            _ => self.queue.get_or_begin(self.key, self.at),
        };
        message.learn(&outcome.origin, |address| is_ours(company, address));
        let first = !std::mem::replace(&mut message.announced, true);
        let message = message.clone();
        let retry = self.retry(id, outcome, message.begun);
        self.counters.retries += u64::from(retry == Some(true));
        let mut sender = self.sender(message.account.clone(), message.client);
        if let Some(egress) =
            outcome.egress.filter(|address| company.owns(*address) && !address.is_loopback())
        {
            sender.address = Some(egress);
        }
        let queue_id = (!id.is_empty()).then(|| Untrusted::bounded(id, limits::ID_BYTES_MAX));
        if first {
            self.counters.messages += 1;
            let fact = Fact::Message(Message {
                responder: None,
                recipients: message.recipients.unwrap_or(1).max(1),
                size_bytes: message.size_bytes,
                accepted: match outcome.status {
                    Status::Sent => Some(true),
                    Status::Deferred | Status::Bounced => Some(false),
                    Status::Probed | Status::Unknown => None,
                },
                queue_id: queue_id.clone(),
                content: None,
            });
            self.observe(sender.clone(), fact);
        }
        let fact = Fact::Delivery(Delivery {
            responder: outcome.responder,
            reverse_path: message.reverse_path,
            forward_path: outcome.forward_path.and_then(Mailbox::parse),
            reply: outcome.reply.clone(),
            retry,
            queue_id,
            message_id: message.message_id,
        });
        self.observe(sender, fact);
    }

    /// Whether this attempt was made before. `None` where the message began before the log did.
    fn retry(&mut self, id: &[u8], outcome: &Outcome, begun: bool) -> Option<bool> {
        let recipient = outcome.forward_path.filter(|_| !id.is_empty())?;
        let before = match outcome.status {
            Status::Deferred => self.queue.defer(self.key, recipient, self.at),
            _ => self.queue.was_deferred(self.key, recipient),
        };
        (before || begun).then_some(before)
    }

    /// To a machine of ours, or to a mailbox of ours whose server is not named.
    fn is_inward(&self, outcome: &Outcome) -> bool {
        match outcome.attempted.or(outcome.responder) {
            Some(address) => is_ours(self.company, address),
            None => outcome
                .forward_path
                .and_then(Mailbox::parse)
                .is_some_and(|mailbox| self.company.owns_mailbox(&mailbox) == Some(true)),
        }
    }

    /// A filter or relay of ours took the message under another id: whoever is behind this one is
    /// behind that one. Only a filter on the same machine or a declared host is believed.
    fn hand_over(&mut self, outcome: &Outcome) {
        let (Some(id), Some(relay)) = (outcome.passed_to, outcome.responder) else { return };
        let declared = self.company.host_of(relay).map(|host| host.name.to_ascii_lowercase());
        let machine = match &declared {
            _ if relay.is_loopback() || Some(relay) == self.machine.address => &*self.machine.joins_as,
            Some(name) => name.as_bytes(),
            None => return,
        };
        let mut key = Vec::new();
        write_key(&mut key, machine, id);
        let Some(message) = self.queue.get(self.key) else { return };
        let (client, account) = (message.client, message.account.clone());
        if client.is_none() && account.is_none() {
            return;
        }
        let company = self.company;
        self.queue.get_or_begin(&key, self.at).inherit(client, account, |address| is_ours(company, address));
        self.counters.inherited += 1;
    }

    fn sender(&self, account: Option<Untrusted>, client: Option<IpAddr>) -> SenderKeys {
        SenderKeys {
            address: self.machine.address,
            account,
            client,
            host: Some(self.machine.name.clone()),
            ..SenderKeys::default()
        }
    }

    fn observe(&mut self, sender: SenderKeys, fact: Fact) {
        self.out.push(Observation { at: self.at, vantage: Vantage::Log, sender, fact });
    }
}

/// A machine of ours, this one included.
fn is_ours(company: &Company, address: IpAddr) -> bool {
    address.is_loopback() || company.owns(address)
}

/// Writes under what a message is remembered.
pub(super) fn write_key(key: &mut Vec<u8>, machine: &[u8], id: &[u8]) {
    key.clear();
    key.extend_from_slice(machine);
    key.push(b'\n');
    key.extend_from_slice(id);
}
