//! Examples that an incident shows.
//!
//! *In*: observations. *Out*: [`Sample`]s. *Bound*: one observation's.

use super::sender::Sample;
use crate::limits;
use crate::mail::{Mailbox, Untrusted, redact_reply, redact_reverse_path};
use crate::observation::{Delivery, Observation, Session};
use crate::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::net::IpAddr;

/// An example. The recipient's name is taken out of everything, unless the settings ask for it.
pub(super) fn sample(
    observation: &Observation,
    delivery: &Delivery,
    recipient: Option<u64>,
    named: bool,
) -> Sample {
    let domain = |mailbox: &Mailbox| Untrusted::bounded(mailbox.domain(), limits::PATH_BYTES_MAX);
    let to = delivery.forward_path.as_ref();
    let text = delivery.reply.as_ref().and_then(|reply| reply.text.as_ref());
    let path = |path: &Untrusted| if named { path.clone() } else { redact_reverse_path(path, to) };
    Sample {
        at: observation.at,
        address: observation.sender.address,
        client: observation.sender.client,
        responder: delivery.responder,
        reverse_path: delivery
            .reverse_path
            .as_ref()
            .map(|reverse| reverse.mailbox().map_or_else(Untrusted::default, |from| path(from.address()))),
        forward_path: to.filter(|_| named).map(|mailbox| mailbox.address().clone()),
        forward_domain: to.map(domain),
        forward_path_digest: recipient,
        code: delivery.reply.as_ref().and_then(|reply| reply.code),
        text: text.map(|text| if named { text.clone() } else { redact_reply(text, to) }),
        queue_id: delivery.queue_id.clone(),
    }
}

/// An example of a message under TLS.
pub(super) fn hidden_sample(observation: &Observation, session: &Session) -> Sample {
    unseen(observation, observation.at, Some(session.responder))
}

/// An example of mail of which only the outside was seen.
pub(super) fn unseen(observation: &Observation, at: Timestamp, responder: Option<IpAddr>) -> Sample {
    Sample {
        at,
        address: observation.sender.address,
        client: observation.sender.client,
        responder,
        reverse_path: None,
        forward_path: None,
        forward_domain: None,
        forward_path_digest: None,
        code: None,
        text: None,
        queue_id: None,
    }
}

/// A few examples in little room: every suspect keeps some, and hardly any is ever shown. Elsewhere they are a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    count: u8,
    packed: Vec<u8>,
}

impl Samples {
    /// Adds one.
    pub fn push(&mut self, sample: &Sample) {
        // Writing into memory fails for no value.
        let Ok(packed) = postcard::to_allocvec(sample) else { return };
        self.packed.reserve_exact(packed.len());
        self.packed.extend(packed);
        self.count += 1;
    }

    /// How many.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The examples, the first one first.
    pub fn list(&self) -> Vec<Sample> {
        let mut left = &self.packed[..];
        let next = || {
            let (sample, rest) = postcard::take_from_bytes(left).ok()?;
            left = rest;
            Some(sample)
        };
        std::iter::from_fn(next).collect()
    }
}

impl Serialize for Samples {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Samples {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Samples, D::Error> {
        let mut samples = Samples::default();
        let list = Vec::<Sample>::deserialize(deserializer)?;
        list.iter().take(limits::SAMPLES_MAX).for_each(|sample| samples.push(sample));
        Ok(samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_examples_are_a_list_elsewhere() {
        let sample = |n: i64| Sample {
            at: Timestamp::from_micros(n * 1_764_000_000_123_457 - 5),
            address: Some("2001:db8::7".parse().unwrap()),
            client: (n > 1).then(|| "192.0.2.9".parse().unwrap()),
            responder: None,
            reverse_path: Some(Untrusted::default()),
            forward_path: None,
            forward_domain: Some(Untrusted::from("example.net")),
            forward_path_digest: Some(u64::MAX - n as u64),
            code: Some(550),
            text: (n == 2).then(|| Untrusted::from("no such \u{fc}ser")),
            queue_id: None,
        };
        let list: Vec<Sample> = (0..limits::SAMPLES_MAX as i64).map(sample).collect();
        let mut samples = Samples::default();
        list.iter().for_each(|sample| samples.push(sample));
        assert_eq!((samples.list(), samples.len()), (list.clone(), list.len()));
        let stored = postcard::to_allocvec(&list).unwrap();
        assert_eq!(postcard::to_allocvec(&samples).unwrap(), stored);
        assert_eq!(postcard::from_bytes::<Samples>(&stored).unwrap(), samples);
    }
}
