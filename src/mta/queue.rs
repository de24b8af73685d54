//! What is known of the messages that are under way: the lines of one message meet here.
//!
//! *In*: keys (machine and queue id) with what lines say. *Out*: what other lines of the same message
//! said. *Bound*: `limits::OPEN_MESSAGES_MAX` and `limits::DEFERRED_RECIPIENTS_MAX` a generation, two
//! generations each; an entry that no line touches for one to two generations is forgotten. *Spec*: none.

use super::Origin;
use super::kept::Changes;
use crate::limits;
use crate::mail::{ReversePath, Untrusted};
use crate::observation::digest;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;

/// Longest time between two lines of one message that is bridged for sure, seconds. Queues retry at
/// least every few hours (RFC 5321 section 4.5.4.1).
const GENERATION_SECONDS: f64 = 2.0 * 86_400.0;

/// What is known of one message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OpenMessage {
    /// Whether it changed since changes were last taken.
    #[serde(skip)]
    pub dirty: bool,
    /// Whether changes that were taken hold it.
    #[serde(skip)]
    pub stored: bool,
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
    /// Digest of its `Message-ID:`.
    pub message_id: Option<u64>,
}

impl OpenMessage {
    /// Adds what a line says of the origin. `ours` tells whether a client is a machine of ours, whose
    /// word about the original client is believed.
    pub fn learn(&mut self, origin: &Origin, ours: impl Fn(IpAddr) -> bool) {
        let reverse_path = origin.reverse_path.map(ReversePath::parse);
        let other_path = matches!((&self.reverse_path, &reverse_path), (Some(old), Some(new)) if old != new);
        if (origin.begins && (self.begun || !self.inherited)) || other_path {
            // The id was used before.
            *self = OpenMessage { dirty: self.dirty, stored: self.stored, ..OpenMessage::default() };
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
        self.message_id = origin.message_id.and_then(message_id_digest).or(self.message_id);
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

/// Digest of what stands between the angle brackets of a `Message-ID:`, or of all of it where there are none, as
/// the wire road digests it; `None` where that is nothing.
fn message_id_digest(text: &[u8]) -> Option<u64> {
    let text = match memchr::memchr(b'<', text) {
        Some(at) => text.get(at + 1..)?.split(|byte| *byte == b'>').next()?,
        None => text,
    };
    let text = text.trim_ascii();
    (!text.is_empty()).then(|| digest(text))
}

/// Messages under way and recipients that were deferred.
#[derive(Debug)]
pub struct Queue {
    pub(super) messages: Aging<HashMap<Box<[u8]>, OpenMessage>>,
    pub(super) deferred: Aging<HashSet<u64>>,
    /// Under which recipients are digested: no sender can know which ones collide.
    pub(super) key: (u64, u64),
    /// What changed, where somebody keeps it.
    pub(super) changes: Option<Changes>,
    /// Messages forgotten because the table was full.
    pub messages_evicted: u64,
    /// Deferred recipients forgotten because the table was full.
    pub deferred_evicted: u64,
}

impl Default for Queue {
    fn default() -> Queue {
        let random = RandomState::new();
        Queue {
            messages: Aging::default(),
            deferred: Aging::default(),
            key: (random.hash_one(0), random.hash_one(1)),
            changes: None,
            messages_evicted: 0,
            deferred_evicted: 0,
        }
    }
}

/// Two generations of something, the number of the younger one, and when it began.
#[derive(Debug, Default)]
pub(super) struct Aging<T> {
    pub(super) young: T,
    pub(super) old: T,
    pub(super) number: u64,
    pub(super) began: Option<Timestamp>,
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
        self.number += 1;
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
        let message = young.get_mut(key)?;
        if let Some(changes) = &mut self.changes {
            changes.message(key, message);
        }
        Some(message)
    }

    /// What is known of a message, nothing where it is new.
    pub fn get_or_begin(&mut self, key: &[u8], at: Timestamp) -> &mut OpenMessage {
        if self.get(key).is_none() {
            let full = self.messages.young.len() >= limits::OPEN_MESSAGES_MAX;
            if let Some(forgotten) = self.messages.turn(at, full) {
                if full {
                    self.messages_evicted = self.messages_evicted.saturating_add(forgotten.len() as u64);
                }
                if let Some(changes) = &mut self.changes {
                    changes.forgotten(forgotten);
                }
            }
        }
        let message = self.messages.young.entry(key.into()).or_default();
        if let Some(changes) = &mut self.changes {
            changes.message(key, message);
        }
        message
    }

    /// Forgets a message that left the queue.
    pub fn remove(&mut self, key: &[u8]) -> Option<OpenMessage> {
        let message = self.messages.young.remove(key).or_else(|| self.messages.old.remove(key))?;
        if let Some(changes) = self.changes.as_mut().filter(|_| message.stored) {
            changes.removed.push(key.into());
        }
        Some(message)
    }

    /// Whether this recipient of this message was deferred before.
    pub fn was_deferred(&self, key: &[u8], recipient: &[u8]) -> bool {
        let digest = self.digest(key, recipient);
        self.deferred.young.contains(&digest) || self.deferred.old.contains(&digest)
    }

    /// Remembers that it was deferred. Says whether it was before.
    pub fn defer(&mut self, key: &[u8], recipient: &[u8], at: Timestamp) -> bool {
        let digest = self.digest(key, recipient);
        let full = self.deferred.young.len() >= limits::DEFERRED_RECIPIENTS_MAX;
        let before = self.deferred.old.contains(&digest);
        if let Some(forgotten) = self.deferred.turn(at, full)
            && full
        {
            self.deferred_evicted = self.deferred_evicted.saturating_add(forgotten.len() as u64);
        }
        let new = self.deferred.young.insert(digest);
        if let Some(changes) = self.changes.as_mut().filter(|_| new) {
            changes.deferred.push((self.deferred.number, digest));
        }
        !new || before
    }

    fn digest(&self, key: &[u8], recipient: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        (key, recipient).hash(&mut hasher);
        hasher.finish()
    }

    /// Messages that are remembered.
    pub fn len(&self) -> usize {
        self.messages.young.len() + self.messages.old.len()
    }
}
