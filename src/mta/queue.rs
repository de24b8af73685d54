//! What is known of the messages that are under way: the lines of one message meet here.
//!
//! *In*: keys (machine and queue id) with what lines say. *Out*: what other lines of the same message
//! said. *Bound*: `limits::OPEN_MESSAGES_MAX` and `limits::DEFERRED_RECIPIENTS_MAX` a generation, two
//! generations each; an entry that no line touches for one to two generations is forgotten. *Spec*: none.

use super::Origin;
use crate::limits;
use crate::mail::{ReversePath, Untrusted};
use crate::time::Timestamp;
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::net::IpAddr;

/// Longest time between two lines of one message that is bridged for sure, seconds. Queues retry at
/// least every few hours (RFC 5321 section 4.5.4.1).
const GENERATION_SECONDS: f64 = 2.0 * 86_400.0;

/// What is known of one message.
#[derive(Clone, Debug, Default)]
pub struct OpenMessage {
    /// Whether the line with which it began was seen.
    pub begun: bool,
    /// Whether its [`Message`](crate::observation::Message) was handed out.
    pub announced: bool,
    /// Whether client and account are those of the message that a filter or relay of ours passed on.
    pub inherited: bool,
    /// Who handed it in.
    pub client: Option<IpAddr>,
    /// Authenticated submitter, lower case.
    pub account: Option<Untrusted>,
    /// Argument of MAIL.
    pub reverse_path: Option<ReversePath>,
    /// Bytes.
    pub size_bytes: Option<u64>,
    /// How many recipients it is for.
    pub recipients: Option<u32>,
}

impl OpenMessage {
    /// Adds what a line says of the origin. `ours` tells whether a client is a machine of ours, whose
    /// word about the original client is believed.
    pub fn learn(&mut self, origin: &Origin, ours: impl Fn(IpAddr) -> bool) {
        let reverse_path = origin.reverse_path.map(ReversePath::parse);
        let other_path = matches!((&self.reverse_path, &reverse_path), (Some(old), Some(new)) if old != new);
        if (origin.begins && (self.begun || !self.inherited)) || other_path {
            // The id was used before.
            *self = OpenMessage::default();
        }
        self.begun |= origin.begins;
        let handed_in_by_us = origin.client.is_some_and(&ours);
        if let Some(client) = origin.original_client.filter(|_| handed_in_by_us) {
            self.client = Some(client);
            self.inherited = true;
        } else if let Some(client) = origin.client
            && !(self.inherited && handed_in_by_us)
        {
            self.client = Some(client);
        }
        if let Some(account) = origin.account {
            self.account = Some(account_name(account));
        }
        if reverse_path.is_some() {
            self.reverse_path = reverse_path;
        }
        self.size_bytes = origin.size_bytes.or(self.size_bytes);
        self.recipients = origin.recipients.or(self.recipients);
    }

    /// Takes over who is behind a message that was passed on as this one, unless this one has an
    /// account of its own or came from outside.
    pub fn inherit(
        &mut self,
        client: Option<IpAddr>,
        account: Option<Untrusted>,
        ours: impl Fn(IpAddr) -> bool,
    ) {
        if self.account.is_some() || self.client.is_some_and(|client| !ours(client)) {
            return;
        }
        self.client = client.or(self.client);
        self.account = account;
        self.inherited = true;
    }
}

/// An account as it is kept: lower case, bounded.
pub fn account_name(name: &[u8]) -> Untrusted {
    let name = name.get(..name.len().min(limits::ACCOUNT_BYTES_MAX)).unwrap_or_default();
    Untrusted::bounded(&name.to_ascii_lowercase(), limits::ACCOUNT_BYTES_MAX)
}

/// Messages under way and recipients that were deferred.
#[derive(Debug, Default)]
pub struct Queue {
    messages: Aging<HashMap<Box<[u8]>, OpenMessage>>,
    deferred: Aging<HashSet<u64>>,
    hasher: RandomState,
    /// Messages forgotten because the table was full.
    pub messages_evicted: u64,
    /// Deferred recipients forgotten because the table was full.
    pub deferred_evicted: u64,
}

/// Two generations of something, and when the younger one began.
#[derive(Debug, Default)]
struct Aging<T> {
    young: T,
    old: T,
    began: Option<Timestamp>,
}

impl<T: Default> Aging<T> {
    /// Closes the generation where it is full or over. Returns what is thereby forgotten.
    fn turn(&mut self, at: Timestamp, full: bool) -> Option<T> {
        let began = *self.began.get_or_insert(at);
        if at < began {
            self.began = Some(at);
        }
        if !full && at.seconds_since(began) <= GENERATION_SECONDS {
            return None;
        }
        self.began = Some(at);
        let young = std::mem::take(&mut self.young);
        Some(std::mem::replace(&mut self.old, young))
    }
}

impl Queue {
    /// What is known of a message.
    pub fn get(&mut self, key: &[u8]) -> Option<&mut OpenMessage> {
        let Aging { young, old, .. } = &mut self.messages;
        if !young.contains_key(key) {
            let (key, message) = old.remove_entry(key)?;
            young.insert(key, message);
        }
        young.get_mut(key)
    }

    /// What is known of a message, nothing where it is new.
    pub fn get_or_begin(&mut self, key: &[u8], at: Timestamp) -> &mut OpenMessage {
        if self.get(key).is_none() {
            let full = self.messages.young.len() >= limits::OPEN_MESSAGES_MAX;
            if let Some(forgotten) = self.messages.turn(at, full)
                && full
            {
                self.messages_evicted = self.messages_evicted.saturating_add(forgotten.len() as u64);
            }
        }
        self.messages.young.entry(key.into()).or_default()
    }

    /// Forgets a message that left the queue.
    pub fn remove(&mut self, key: &[u8]) -> Option<OpenMessage> {
        self.messages.young.remove(key).or_else(|| self.messages.old.remove(key))
    }

    /// Whether this recipient of this message was deferred before.
    pub fn was_deferred(&self, key: &[u8], recipient: &[u8]) -> bool {
        let digest = self.hasher.hash_one((key, recipient));
        self.deferred.young.contains(&digest) || self.deferred.old.contains(&digest)
    }

    /// Remembers that it was deferred. Says whether it was before.
    pub fn defer(&mut self, key: &[u8], recipient: &[u8], at: Timestamp) -> bool {
        let digest = self.hasher.hash_one((key, recipient));
        let full = self.deferred.young.len() >= limits::DEFERRED_RECIPIENTS_MAX;
        let before = self.deferred.old.contains(&digest);
        if let Some(forgotten) = self.deferred.turn(at, full)
            && full
        {
            self.deferred_evicted = self.deferred_evicted.saturating_add(forgotten.len() as u64);
        }
        !self.deferred.young.insert(digest) || before
    }

    /// Messages that are remembered.
    pub fn len(&self) -> usize {
        self.messages.young.len() + self.messages.old.len()
    }
}
