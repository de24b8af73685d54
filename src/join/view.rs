//! One delivery as one road saw it: what the other road's view is compared by, and what is told of it.
//!
//! *In*: a delivery. *Out*: [`Traits`], and [`Seen`] where it waits. *Bound*: fixed size beside the delivery itself.
//! *Spec*: RFC 5321 section 4.2.

use crate::limits;
use crate::mail::{
    EnhancedStatus, Mailbox, Reply, ReversePath, Untrusted, redact_reply, redact_reverse_path,
};
use crate::observation::{Delivery, SenderKeys};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use std::net::IpAddr;

/// Letters and digits of an answer that are compared: logs cut long answers at different places.
const ANSWER_LETTERS_MAX: usize = 120;
/// An answer of fewer letters, or without a digit, holds no id.
const ANSWER_LETTERS_MIN: usize = 8;

/// What two views of one delivery are compared by. Small: many are looked through.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Traits {
    /// Event time.
    pub at: Timestamp,
    /// The server, where it was seen.
    pub responder: Option<IpAddr>,
    /// Keyed digest of the forward-path.
    pub path: u64,
    /// Class of the answer: 2, 4 or 5.
    pub class: u16,
    /// Keyed digest of the answer's letters and digits; `None` where they hold no id.
    pub answer: Option<u64>,
    /// Digest of its `Message-ID:`.
    pub message_id: Option<u64>,
}

/// One delivery that waits for the other road.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// What it is compared by.
    pub traits: Traits,
    /// What is told of it; `None` once that was done, where only its time and place still count.
    pub story: Option<Box<Story>>,
}

/// What may be told of a delivery.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Story {
    /// Who sent it, as far as this road knows.
    pub sender: SenderKeys,
    /// What was seen.
    pub delivery: Delivery,
    /// Domain of the forward-path, where that itself was taken away.
    domain: Option<Untrusted>,
}

impl Traits {
    /// `None` where no forward-path or no server's answer was seen: there is nothing to compare.
    pub fn of(key: &[u8; 16], at: Timestamp, delivery: &Delivery) -> Option<Traits> {
        let mailbox = delivery.forward_path.as_ref()?;
        let reply = delivery.reply.as_ref()?;
        let class = class(reply, delivery.responder)?;
        Some(Traits {
            at,
            responder: delivery.responder,
            path: path_digest(key, mailbox),
            class,
            answer: answer_digest(key, reply),
            message_id: delivery.message_id,
        })
    }

    /// Whether both may be the same attempt by what the server said.
    pub fn same_answer(&self, other: &Traits) -> bool {
        self.class == other.class && self.answer.is_some() && self.answer == other.answer
    }

    /// Whether both may be attempts of the same message.
    pub fn same_message(&self, other: &Traits) -> bool {
        self.class == other.class && self.message_id.is_some() && self.message_id == other.message_id
    }

    /// Whether both may be the same attempt by where it went.
    pub fn same_place(&self, other: &Traits) -> bool {
        let servers = self.responder.zip(other.responder);
        self.class == other.class && servers.is_none_or(|(a, b)| a.to_canonical() == b.to_canonical())
    }
}

/// Class of a server's answer. A log also gives answers that no server gave: its own, without a code. But what a server
/// took or refused for good was answered by it, even where the log leaves the code away, as Sendmail's does.
fn class(reply: &Reply, responder: Option<IpAddr>) -> Option<u16> {
    let without_code = || {
        let class = responder.and(reply.enhanced)?.class;
        matches!(class, 2 | 5).then_some(class.into())
    };
    reply.code.map(|code| code / 100).or_else(without_code)
}

impl Seen {
    /// A delivery of which nothing is told yet, taken out of its observation.
    pub fn taken(traits: Traits, sender: &mut SenderKeys, delivery: &mut Delivery) -> Seen {
        let (sender, delivery) = (std::mem::take(sender), std::mem::take(delivery));
        Seen { traits, story: Some(Box::new(Story { sender, delivery, domain: None })) }
    }

    /// What may be stored of it.
    pub fn reduced(&self, recipients_named: bool) -> Seen {
        let story = self.story.clone().map(|story| Box::new(story.reduced(recipients_named)));
        Seen { traits: self.traits, story }
    }

    /// Whether it still wants to be told.
    pub fn is_open(&self) -> bool {
        self.story.is_some()
    }
}

impl Story {
    /// What may be stored and told of it: without the recipient's name, unless names are asked for. Once or twice
    /// makes no difference.
    pub fn reduced(mut self, recipients_named: bool) -> Story {
        if recipients_named {
            return self;
        }
        self.domain = self.recipient_domain();
        let to = self.delivery.forward_path.take();
        if let Some(ReversePath::Mailbox(from)) = &self.delivery.reverse_path {
            let address = redact_reverse_path(from.address(), to.as_ref());
            self.delivery.reverse_path = Some(ReversePath::parse(address.as_bytes()));
        }
        if let Some(text) = self.delivery.reply.as_mut().and_then(|reply| reply.text.as_mut()) {
            *text = redact_reply(text, to.as_ref());
        }
        self
    }

    /// Domain of the forward-path.
    pub fn recipient_domain(&self) -> Option<Untrusted> {
        let domain = |to: &Mailbox| Untrusted::bounded(to.domain(), limits::PATH_BYTES_MAX);
        self.delivery.forward_path.as_ref().map(domain).or_else(|| self.domain.clone())
    }
}

/// Keyed digest of a forward-path in lower case, closed by its length: the engine's digest of the same recipient.
fn path_digest(key: &[u8; 16], mailbox: &Mailbox) -> u64 {
    const LENGTH_BYTES: usize = size_of::<u64>();
    let written = mailbox.address().as_bytes();
    let length = written.len().min(limits::PATH_BYTES_MAX);
    let mut room = [0; limits::PATH_BYTES_MAX + LENGTH_BYTES];
    room[..length].copy_from_slice(&written[..length]);
    room[..length].make_ascii_lowercase();
    room[length..length + LENGTH_BYTES].copy_from_slice(&(length as u64).to_le_bytes());
    SipHasher13::new_with_key(key).hash(&room[..length + LENGTH_BYTES])
}

/// Keyed digest of an answer's lower-case letters and digits, without its enhanced status. Line ends, spaces and
/// punctuation are written differently by every MTA. `None` where they hold no id.
fn answer_digest(key: &[u8; 16], reply: &Reply) -> Option<u64> {
    let mut room = [0; ANSWER_LETTERS_MAX];
    letters(reply.text.as_ref()?, &mut room).map(|letters| SipHasher13::new_with_key(key).hash(letters))
}

fn letters<'a>(text: &Untrusted, room: &'a mut [u8; ANSWER_LETTERS_MAX]) -> Option<&'a [u8]> {
    let text = text.as_bytes();
    let skip = EnhancedStatus::parse_prefix(text).map_or(0, |(_, bytes)| bytes);
    let mut count = 0;
    for byte in &text[skip..] {
        let Some(place) = room.get_mut(count) else { break };
        // What is no letter is overwritten by the next one: cheaper than to ask.
        *place = LETTERS[usize::from(*byte)];
        count += usize::from(*place != 0);
    }
    let letters = &room[..count];
    let an_id = count >= ANSWER_LETTERS_MIN && letters.iter().any(u8::is_ascii_digit);
    an_id.then_some(letters)
}

/// Each ASCII letter in lower case, each digit; 0 for all other bytes.
const LETTERS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 128u8 {
        if byte.is_ascii_alphanumeric() {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::Hasher;

    fn letters_of(text: &str) -> Option<String> {
        let mut room = [0; ANSWER_LETTERS_MAX];
        letters(&text.into(), &mut room).map(|letters| String::from_utf8(letters.to_vec()).unwrap())
    }

    #[test]
    fn a_path_has_the_digest_that_the_engine_gives_it() {
        let long = format!("{}@x.example", "n".repeat(limits::PATH_BYTES_MAX));
        for path in ["a@b", "Jane.Roe@Example.ORG", &long] {
            let mailbox = Mailbox::parse(path.as_bytes()).unwrap();
            let mut hasher = SipHasher13::new_with_key(&[7; 16]);
            let lower = mailbox.address().as_bytes().to_ascii_lowercase();
            hasher.write(&lower);
            hasher.write_u64(lower.len() as u64);
            assert_eq!(path_digest(&[7; 16], &mailbox), hasher.finish(), "{path}");
        }
    }

    #[test]
    fn punctuation_and_status_do_not_part_the_roads() {
        assert_eq!(letters_of("2.0.0 Ok: queued as 4Fx9"), letters_of("Ok:  queued\nas 4fx9"));
        assert_eq!(letters_of("Ok"), None);
        assert_eq!(letters_of("message accepted for delivery"), None);
    }
}
