//! Examples that an incident shows.
//!
//! *In*: observations. *Out*: [`Sample`]s. *Bound*: one observation's.

use super::sender::Sample;
use crate::limits;
use crate::mail::{Mailbox, Untrusted, redact_reply, redact_reverse_path};
use crate::observation::{Delivery, Observation, Session};
use crate::time::Timestamp;
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
