//! What the parts of a line mean for the message they belong to.
//!
//! *In*: [`Part`]s with their queue ids, what the queue remembers. *Out*: [`Observation`]s and counters.
//! *Bound*: see [`super::queue`]. *Spec*: docs/architecture.md, logs.

use super::queue::{OpenMessage, Queue, account_name};
use super::road::{LogCounters, Machine};
use super::{Origin, Outcome, Part, Route, Status};
use crate::company::Company;
use crate::limits;
use crate::mail::{Mailbox, Untrusted};
use crate::observation::{Delivery, Fact, Login, Message, Observation, SenderKeys, Vantage};
use crate::time::Timestamp;
use std::net::IpAddr;

/// Joins the parts of one line with what is known.
pub(super) struct Joining<'r> {
    pub(super) company: &'r Company,
    pub(super) queue: &'r mut Queue,
    pub(super) counters: &'r mut LogCounters,
    pub(super) machine: &'r Machine,
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
        let sender = self.sender(message.account.clone(), message.client);
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
