//! What waits in a session: commands for their replies, a message for its end.
//!
//! *In*: commands and chunks. *Out*: [`Slot`], [`Sending`]. *Bound*: `limits::PENDING_COMMANDS_MAX` slots.
//! *Spec*: RFC 2920, RFC 3030.

use super::Outlet;
use super::content::Excerpt;
use super::data::EndFinder;
use crate::mail::{Mailbox, ReversePath, Untrusted};

/// A command that waits for its reply.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) what: Pending,
    /// Missing octets make it unsure which reply is its.
    pub(super) doubtful: bool,
    /// It was sent before the answer to a command that it builds upon, in one group (RFC 2920 section 3.1): that it
    /// came out of place, its sender could not know.
    pub(super) ahead: bool,
}

impl Slot {
    /// A command that comes after these.
    pub(super) fn after(earlier: Option<&Slot>, what: Pending, doubtful: bool) -> Slot {
        let ahead = earlier.is_some_and(|earlier| match (&what, &earlier.what) {
            (Pending::Recipient(_), Pending::Mail(_)) => true,
            (Pending::Recipient(_), Pending::Recipient(_)) => earlier.ahead,
            (Pending::Data, Pending::Mail(_) | Pending::Recipient(_)) => true,
            _ => false,
        });
        Slot { what, doubtful, ahead }
    }
}

/// What a reply will answer.
#[derive(Debug)]
pub(super) enum Pending {
    Hello(Untrusted),
    Mail(ReversePath),
    Recipient(Option<Mailbox>),
    Data,
    EndOfData(MessageEnd),
    Chunk(Option<MessageEnd>),
    /// A chunk for a server that has not said that it takes any: its size, and whether it is the last.
    ChunkAsked(u64, bool),
    Reset,
    Quit,
    StartTls,
    Auth,
    Other,
    /// Any number of commands in missing octets.
    Missing,
}

impl Pending {
    /// Whether the meaning of the client's next octets hangs on the reply.
    pub(super) fn holds_back(&self) -> bool {
        matches!(self, Pending::Data | Pending::ChunkAsked(..) | Pending::StartTls | Pending::Auth)
    }
}

/// What is known of a message when its end is sent.
#[derive(Debug)]
pub(super) struct MessageEnd {
    /// `None` where octets are missing.
    pub(super) size_bytes: Option<u64>,
    /// Its first octets, and how many of them are the message.
    pub(super) excerpt: Option<(Excerpt, u64)>,
    /// The server had already closed: there will be no answer.
    pub(super) after_close: bool,
}

impl MessageEnd {
    /// The end of a message of which too much is missing.
    pub(super) fn unseen(after_close: bool) -> MessageEnd {
        MessageEnd { size_bytes: None, excerpt: None, after_close }
    }
}

/// The message that is being sent.
#[derive(Debug, Default)]
pub(super) struct Sending {
    pub(super) finder: EndFinder,
    /// Octets of earlier chunks.
    pub(super) chunk_bytes: u64,
    /// Octets are missing.
    pub(super) gap: bool,
    /// The server has answered before the end.
    pub(super) answered: bool,
    /// The server's answer may be among octets that are missing.
    pub(super) answer_lost: bool,
    /// The first end that is no strict one: octets of the message before it, and what came after it,
    /// which are commands to some servers.
    pub(super) suspect: Option<(u64, Vec<u8>)>,
    /// Its first octets, where content is wanted.
    pub(super) excerpt: Option<Excerpt>,
}

impl Sending {
    /// A message begins, by DATA or by BDAT.
    pub(super) fn begin(by_data: bool, outlet: &Outlet<'_>) -> Sending {
        let bytes_max = outlet.settings.content_bytes_max;
        let excerpt = (bytes_max > 0).then(|| Excerpt::new(bytes_max, by_data, outlet.held));
        Sending { excerpt, ..Sending::default() }
    }

    /// Its end was sent: what is known of it.
    pub(super) fn end(&mut self, bytes: u64, after_close: bool) -> MessageEnd {
        MessageEnd {
            size_bytes: (!self.gap).then_some(bytes),
            excerpt: self.excerpt.take().map(|excerpt| (excerpt, if self.gap { u64::MAX } else { bytes })),
            after_close,
        }
    }
}
