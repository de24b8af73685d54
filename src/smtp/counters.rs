//! What the wire road counts.
//!
//! *In*: what was seen. *Out*: [`WireCounters`]. *Bound*: one number a kind. *Spec*: none.

use crate::capture::DecodeCounters;
use crate::capture::fragments::FragmentCounters;
use crate::flow::FlowCounters;
use crate::observation::{Oddity, Opaque};
use serde::Serialize;
use std::collections::BTreeMap;

/// What was counted on the way. Counts go on exactly when a bound is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WireCounters {
    /// Frames taken.
    pub packets: u64,
    /// Their captured bytes.
    pub bytes: u64,
    /// Frames that gave no TCP segment, by reason.
    pub undecodable: DecodeCounters,
    /// What became of IP fragments.
    pub fragments: FragmentCounters,
    /// Segments of other ports.
    pub other_ports: u64,
    /// Segments of connections that the company did not open.
    pub foreign: u64,
    /// Segments of connections that are closed or were never seen to begin, without content.
    pub stray: u64,
    /// Connections followed.
    pub flows: u64,
    /// Connections whose beginning was not captured.
    pub flows_midstream: u64,
    /// Handshakes completed.
    pub answered: u64,
    /// Connections that the responder refused.
    pub refused: u64,
    /// SYNs that nobody answered.
    pub unanswered: u64,
    /// Connections without proof of both ends that were forgotten because there were too many.
    pub evicted_half_open: u64,
    /// Open connections that were forgotten because there were too many.
    pub evicted_open: u64,
    /// What connections showed.
    pub flow: FlowCounters,
    /// Connections with content of both ends.
    pub flows_two_way: u64,
    /// Connections with content of the client only.
    pub flows_originator_only: u64,
    /// Connections with content of the server only.
    pub flows_responder_only: u64,
    /// SMTP sessions that ended.
    pub sessions: u64,
    /// Of these, under TLS.
    pub sessions_tls: u64,
    /// Messages that these seem to have carried.
    pub messages_hidden: u64,
    /// How far that may be wrong.
    pub messages_hidden_error: u64,
    /// Forward-paths that seem to have been offered in them.
    pub recipients_hidden: u64,
    /// Of these, refused.
    pub recipients_hidden_refused: u64,
    /// Servers whose replies' lengths were forgotten because there were too many.
    pub reply_sizes_forgotten: u64,
    /// Messages whose end-of-data was answered.
    pub transactions: u64,
    /// Of these, accepted.
    pub messages_accepted: u64,
    /// Messages whose end was sent and whose answer was not seen.
    pub messages_unanswered: u64,
    /// Transactions with accepted recipients that were given up before their end.
    pub transactions_abandoned: u64,
    /// RCPT commands.
    pub recipients_offered: u64,
    /// RCPT commands answered 2xx.
    pub recipients_accepted: u64,
    /// RCPT commands answered 4xx or 5xx.
    pub recipients_refused: u64,
    /// RCPT commands whose answer was not seen.
    pub recipients_unanswered: u64,
    /// Accepted recipients of abandoned transactions.
    pub recipients_abandoned: u64,
    /// Replies that answered a command.
    pub replies: u64,
    /// Replies that no command could be given to.
    pub replies_unmatched: u64,
    /// Messages whose end the server's reply showed, not the text.
    pub ends_by_reply: u64,
    /// Broken manners, each time.
    pub oddities: BTreeMap<Oddity, u64>,
}

impl WireCounters {
    /// Counts what the outside of a session under TLS told.
    pub(super) fn hidden(&mut self, opaque: &Opaque) {
        self.messages_hidden += u64::from(opaque.messages_estimated);
        self.messages_hidden_error += u64::from(opaque.messages_error);
        self.recipients_hidden += u64::from(opaque.recipients_estimated);
        self.recipients_hidden_refused += u64::from(opaque.recipients_refused_estimated);
    }
}
