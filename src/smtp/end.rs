//! The end of a session: what still waits is given up, and what was seen of it is told.
//!
//! *In*: a session whose connection is over. *Out*: its last observations. *Bound*: none of its own. *Spec*: RFC 5321
//! section 3.8.

use super::Outlet;
use super::session::Session;
use crate::observation::{self, Fact, SessionEnd, Tls};

impl Session {
    /// The connection is over.
    pub fn finish(mut self, ended: SessionEnd, outlet: &mut Outlet<'_>) {
        let before = outlet.out.len();
        // No reply will come: what waited for one is read as if only this side were captured.
        outlet.one_sided = true;
        self.answer_none(outlet);
        self.release(outlet);
        self.transaction.abandon(self.responder, outlet);
        if self.tls == Tls::Clear {
            outlet.replies.learn(self.responder, &self.heard);
            outlet.counters.reply_sizes_forgotten = outlet.replies.forgotten;
        }
        if self.client_spoke || self.server_spoke {
            let client_hello = self.opaque.as_mut().and_then(|opaque| opaque.client_hello());
            let session = observation::Session {
                responder: self.responder,
                opened_at: self.opened_at,
                helo: self.helo.take(),
                tls: self.tls,
                opaque: self.opaque.take().map(|opaque| opaque.seen()),
                client_hello,
                messages: self.messages,
                recipients: self.recipients,
                recipients_refused: self.recipients_refused,
                ended: if self.quit { SessionEnd::Quit } else { ended },
                gap_bytes: self.gap_bytes,
                oddities: std::mem::take(&mut self.oddities),
            };
            if let Some(opaque) = &session.opaque {
                outlet.counters.hidden(opaque);
            }
            outlet.counters.sessions += 1;
            outlet.counters.sessions_tls += u64::from(self.tls == Tls::Started);
            outlet.push(outlet.at, Fact::Session(session));
        }
        self.sign(before, outlet);
    }
}
