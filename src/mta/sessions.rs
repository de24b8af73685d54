//! What dialects remember between lines that share a session, a process or a delivery number.
//!
//! *In*: the id that the lines share. *Out*: a [`Session`]. *Bound*: `limits::LOG_SESSIONS_MAX` sessions and
//! `limits::LOG_SESSION_BYTES_MAX` octets a generation, two generations; what is forgotten leaves facts
//! unknown, never wrong. *Spec*: none.

use super::kept::{decode, encode};
use crate::limits;
use crate::mail::Reply;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;

/// What the lines of one session said so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The other side.
    pub(super) peer: Option<IpAddr>,
    /// Who logged in.
    pub(super) account: Option<Box<[u8]>>,
    /// The message that the session, or the delivery, is about.
    pub(super) message: Option<Box<[u8]>>,
    /// Argument of MAIL.
    pub(super) reverse_path: Option<Box<[u8]>>,
    /// Arguments of RCPT that were not refused.
    pub(super) recipients: Vec<Recipient>,
    /// Commands that wait for their answers.
    pub(super) pending: VecDeque<Pending>,
    /// What the client says next, where it is no command.
    pub(super) awaited: Awaited,
    /// Transactions that ended.
    pub(super) transactions: u32,
    /// Whether a delivery goes to another server.
    pub(super) remote: bool,
}

/// One forward-path of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Recipient {
    pub(super) forward_path: Box<[u8]>,
    /// Whether RCPT was accepted.
    pub(super) accepted: bool,
}

/// A command whose answer is to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Pending {
    Mail,
    Rcpt(Box<[u8]>),
    Data,
    EndOfData,
    Auth,
    Other,
}

/// What a client says that is no command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Awaited {
    #[default]
    Command,
    UserName,
    /// A password, or what holds one.
    Secret,
}

impl Session {
    /// Forgets the transaction under way.
    pub(super) fn reset(&mut self) {
        self.reverse_path = None;
        self.recipients.clear();
    }

    /// What is kept of a text.
    pub(super) fn kept(text: &[u8]) -> Box<[u8]> {
        text.get(..text.len().min(limits::PATH_BYTES_MAX)).unwrap_or_default().into()
    }
}

/// A reply by its code alone, for what the receiver did not put in words.
pub(super) fn plain_reply(class: Option<u8>) -> Reply {
    let status = |class| crate::mail::EnhancedStatus { class, subject: 0, detail: 0 };
    Reply { code: None, enhanced: class.map(status), text: None }
}

/// Sessions under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions {
    young: HashMap<Box<[u8]>, Session>,
    old: HashMap<Box<[u8]>, Session>,
    young_bytes: usize,
    /// `None` where nothing is kept.
    changes: Option<Changes>,
}

/// What must be noted of the sessions of a source.
#[derive(Clone, Debug, Default)]
struct Changes {
    /// Ids of sessions that may have changed, or ended, since this was last asked.
    changed: BTreeSet<Box<[u8]>>,
    /// Ids of sessions of which a note is kept.
    noted: BTreeSet<Box<[u8]>>,
}

impl Sessions {
    /// From now on changes are noted.
    pub(super) fn keep(&mut self) {
        self.changes = Some(Changes::default());
    }

    /// Takes back a session that was noted.
    pub(super) fn restore(&mut self, id: &[u8], note: &[u8]) {
        if let Some(changes) = &mut self.changes {
            changes.noted.insert(id.into());
        }
        if let Some(session) = decode::<Session>(note) {
            *self.get_or_begin(id) = session;
        }
    }

    /// What changed: a note for each session, an empty one for each that is gone.
    pub(super) fn take_changes(&mut self) -> Vec<(Box<[u8]>, Vec<u8>)> {
        let Some(changes) = &mut self.changes else { return Vec::new() };
        let mut notes = Vec::new();
        for id in std::mem::take(&mut changes.changed) {
            if let Some(session) = self.young.get(&id) {
                changes.noted.insert(id.clone());
                notes.push((id, encode(session)));
            } else if changes.noted.remove(&id) {
                notes.push((id, Vec::new()));
            }
        }
        notes
    }

    fn mark(&mut self, id: &[u8]) {
        if let Some(changes) = self.changes.as_mut().filter(|changes| !changes.changed.contains(id)) {
            changes.changed.insert(id.into());
        }
    }

    /// The session of an id, where there is one.
    pub(super) fn get(&mut self, id: &[u8]) -> Option<&mut Session> {
        if !self.young.contains_key(id) {
            let (id, session) = self.old.remove_entry(id)?;
            self.young.insert(id, session);
        }
        self.mark(id);
        self.young.get_mut(id)
    }

    /// The session of an id, a new one where there is none.
    pub(super) fn get_or_begin(&mut self, id: &[u8]) -> &mut Session {
        if self.get(id).is_none()
            && (self.young.len() >= limits::LOG_SESSIONS_MAX
                || self.young_bytes >= limits::LOG_SESSION_BYTES_MAX)
        {
            self.forget_old();
        }
        self.mark(id);
        self.young.entry(id.into()).or_default()
    }

    /// What was not asked for during a whole generation goes.
    fn forget_old(&mut self) {
        let gone = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        self.young_bytes = 0;
        if let Some(changes) = &mut self.changes {
            changes.changed.extend(gone.into_keys());
        }
    }

    /// Begins a session anew.
    pub(super) fn begin(&mut self, id: &[u8]) -> &mut Session {
        self.remove(id);
        self.get_or_begin(id)
    }

    /// Adds a command that waits for its answer. Too many waiting ones are all forgotten: which answer is whose
    /// can then no longer be told.
    pub(super) fn wait(&mut self, id: &[u8], command: Pending) {
        if let Pending::Rcpt(forward_path) = &command {
            self.young_bytes = self.young_bytes.saturating_add(forward_path.len());
        }
        let session = self.get_or_begin(id);
        if session.pending.len() >= limits::LOG_PENDING_COMMANDS_MAX {
            session.pending.clear();
            session.reset();
        }
        session.pending.push_back(command);
    }

    /// Adds a recipient to a session; what is beyond the bound is not kept.
    pub(super) fn add_recipient(&mut self, id: &[u8], forward_path: &[u8], accepted: bool) {
        let forward_path = Session::kept(forward_path);
        self.young_bytes = self.young_bytes.saturating_add(forward_path.len());
        let session = self.get_or_begin(id);
        if session.recipients.len() < limits::RECIPIENTS_KEPT_MAX {
            session.recipients.push(Recipient { forward_path, accepted });
        }
    }

    /// Forgets a session that ended.
    pub(super) fn remove(&mut self, id: &[u8]) -> Option<Session> {
        self.mark(id);
        self.young.remove(id).or_else(|| self.old.remove(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_whatever_lines_say() {
        let mut sessions = Sessions::default();
        for number in 0..3 * limits::LOG_SESSIONS_MAX {
            sessions.get_or_begin(number.to_string().as_bytes()).account = Some((*b"bob").into());
        }
        assert!(sessions.young.len() + sessions.old.len() <= 2 * limits::LOG_SESSIONS_MAX);
        let newest = (3 * limits::LOG_SESSIONS_MAX - 1).to_string();
        assert!(sessions.get(newest.as_bytes()).is_some_and(|session| session.account.is_some()));
        for _ in 0..2 * limits::RECIPIENTS_KEPT_MAX {
            sessions.add_recipient(newest.as_bytes(), &[b'x'; 5_000], true);
        }
        let session = sessions.get(newest.as_bytes()).unwrap();
        assert_eq!(session.recipients.len(), limits::RECIPIENTS_KEPT_MAX);
        assert_eq!(session.recipients[0].forward_path.len(), limits::PATH_BYTES_MAX);
    }
}
