//! One delivery as one road saw it, reduced to what the other road can be compared by.
//!
//! *In*: a delivery. *Out*: [`Seen`]. *Bound*: fixed size beside the delivery itself. *Spec*: RFC 5321 section 4.2.

use super::keyed;
use crate::limits;
use crate::mail::{EnhancedStatus, Reply, ReversePath, Untrusted, redact_reply, redact_reverse_path};
use crate::observation::{Delivery, Observation, SenderKeys};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Letters and digits of an answer that are compared: logs cut long answers at different places.
const ANSWER_LETTERS_MAX: usize = 120;
/// An answer of fewer letters, or without a digit, holds no id.
const ANSWER_LETTERS_MIN: usize = 8;

/// One delivery as one road saw it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// Event time.
    pub at: Timestamp,
    /// Who sent it, as far as this road knows.
    pub sender: SenderKeys,
    /// What was seen.
    pub delivery: Delivery,
    /// Keyed digest of the forward-path.
    pub path: u64,
    /// Its domain.
    pub domain: Option<Untrusted>,
    /// Class of the answer: 2, 4 or 5.
    pub class: u16,
    /// Keyed digest of the answer's letters and digits; `None` where they hold no id.
    pub answer: Option<u64>,
    /// Whether it found a session under TLS that carried it.
    pub matched: bool,
}

impl Seen {
    /// `None` where no forward-path or no server's answer was seen: there is nothing to compare.
    pub fn of(key: &[u8; 16], observation: &Observation, delivery: &Delivery) -> Option<Seen> {
        let mailbox = delivery.forward_path.as_ref()?;
        let path = mailbox.address().as_bytes().to_ascii_lowercase();
        let reply = delivery.reply.as_ref()?;
        // A log also gives answers that no server gave: its own, without a code.
        let class = reply.code? / 100;
        Some(Seen {
            at: observation.at,
            sender: observation.sender.clone(),
            delivery: delivery.clone(),
            path: keyed(key, &[&path]),
            domain: Some(Untrusted::bounded(mailbox.domain(), limits::PATH_BYTES_MAX)),
            class,
            answer: letters(reply).map(|letters| keyed(key, &[&letters])),
            matched: false,
        })
    }

    /// What may be stored and told of it: without the recipient's name, unless names are asked for. Once or twice
    /// makes no difference.
    pub fn reduced(mut self, recipients_named: bool) -> Seen {
        if recipients_named {
            return self;
        }
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

    /// The server, where it was seen.
    pub fn responder(&self) -> Option<IpAddr> {
        self.delivery.responder
    }

    /// Whether both may be the same attempt by what the server said.
    pub fn same_answer(&self, other: &Seen) -> bool {
        self.class == other.class && self.answer.is_some() && self.answer == other.answer
    }

    /// Whether both may be the same attempt by where it went.
    pub fn same_place(&self, other: &Seen) -> bool {
        let servers = self.responder().zip(other.responder());
        self.class == other.class && servers.is_none_or(|(a, b)| a.to_canonical() == b.to_canonical())
    }
}

/// Lower-case letters and digits of an answer, without its enhanced status. Line ends, spaces and punctuation
/// are written differently by every MTA.
fn letters(reply: &Reply) -> Option<Vec<u8>> {
    let text = reply.text.as_ref()?.as_bytes();
    let skip = EnhancedStatus::parse_prefix(text).map_or(0, |(_, bytes)| bytes);
    let letters: Vec<u8> = text[skip..]
        .iter()
        .filter(|byte| byte.is_ascii_alphanumeric())
        .map(u8::to_ascii_lowercase)
        .take(ANSWER_LETTERS_MAX)
        .collect();
    let an_id = letters.len() >= ANSWER_LETTERS_MIN && letters.iter().any(u8::is_ascii_digit);
    an_id.then_some(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters_of(text: &str) -> Option<String> {
        let reply = Reply { code: Some(250), enhanced: None, text: Some(text.into()) };
        letters(&reply).map(|letters| String::from_utf8(letters).unwrap())
    }

    #[test]
    fn punctuation_and_status_do_not_part_the_roads() {
        assert_eq!(letters_of("2.0.0 Ok: queued as 4Fx9"), letters_of("Ok:  queued\nas 4fx9"));
        assert_eq!(letters_of("Ok"), None);
        assert_eq!(letters_of("message accepted for delivery"), None);
    }
}
