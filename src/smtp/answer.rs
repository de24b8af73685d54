//! The server's half of a session: every reply takes a command out of the queue and changes the envelope.
//!
//! *In*: octets of the server. *Out*: observations. *Bound*: one reply at a time. *Spec*: RFC 5321
//! sections 4.2 and 4.3.2, RFC 3030 section 2, RFC 3207 section 4.
//!
//! Where servers disagree about the end of a message, their replies tell which view they took: an answer
//! that no strict end explains belongs to the suspect one, and what followed that are commands.

use super::Outlet;
use super::opaque::replies::{ReplyKind, dialect_of};
use super::pending::{MessageEnd, Pending, Sending};
use super::reply::ReplyLine;
use super::session::{Mode, Session};
use super::transaction::Outcome;
use crate::mail::ReversePath;
use crate::observation::{Oddity, Tls};

impl Session {
    pub(super) fn hear_server(&mut self, bytes: &[u8], outlet: &mut Outlet<'_>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.mode == Mode::Opaque {
                return self.opaque_hear_server(rest);
            }
            let (mid_line, mid_reply) = (self.server_mid_line, self.reply.is_open());
            let reply = &mut self.reply;
            let Some(read) = self.server_lines.next(&mut rest, |line| reply.line(line.text)) else { break };
            self.server_mid_line = false;
            if self.is_promised_line(read, rest) {
                continue;
            }
            match read {
                ReplyLine::Complete => self.answer(outlet),
                ReplyLine::Continues => {}
                ReplyLine::NotAReply if mid_line || mid_reply => {}
                ReplyLine::NotAReply => self.odd(Oddity::NotAReply, outlet),
            }
        }
    }

    /// Takes a line of the server as complete although its end has not come.
    pub(super) fn close_open_line(&mut self, outlet: &mut Outlet<'_>) {
        if self.reply.line(self.server_lines.partial()) != ReplyLine::NotAReply {
            self.server_lines.forget();
            self.server_mid_line = true;
            self.odd(Oddity::NotAReply, outlet);
            if !self.reply.is_open() {
                self.answer(outlet);
            }
        }
    }

    /// Whether a line belongs to a reply that was taken as complete before its last line.
    fn is_promised_line(&mut self, read: ReplyLine, rest: &[u8]) -> bool {
        let Some(seen_some) = self.reply_cut else { return false };
        let continues = read == ReplyLine::Continues;
        self.reply_cut = continues.then_some(true);
        continues || seen_some || (!rest.is_empty() && self.pending.len() <= 1)
    }

    /// A reply is complete.
    fn answer(&mut self, outlet: &mut Outlet<'_>) {
        let code = self.reply.code();
        self.answered_since_gap = true;
        self.answered_since_wait = true;
        self.closing |= matches!(code, 421 | 521);
        if self.greeting_awaited {
            self.greeting_awaited = false;
            self.closing |= code == 554;
            self.dialect = dialect_of(self.reply.text());
            return;
        }
        match self.pending.front() {
            None => self.unasked(outlet),
            Some(slot) if slot.doubtful => self.reconcile(outlet),
            Some(slot) if !can_answer(code, &slot.what) => {
                // Step was lost without a gap.
                self.pending.iter_mut().for_each(|slot| slot.doubtful = true);
                self.odd(Oddity::ReplyWithoutCommand, outlet);
                self.reconcile(outlet);
            }
            Some(_) => self.answer_front(outlet),
        }
        self.release(outlet);
    }

    pub(super) fn answer_front(&mut self, outlet: &mut Outlet<'_>) {
        if let Some(slot) = self.pending.pop_front() {
            outlet.counters.replies += 1;
            let places = matches!(slot.what, Pending::Mail(_) | Pending::Recipient(_) | Pending::Data);
            if places && self.reply.code() == 503 && !slot.ahead {
                self.odd(Oddity::CommandOutOfPlace, outlet);
            }
            self.apply(slot.what, true, outlet);
        }
    }

    /// A reply while it is not sure which command it answers.
    fn reconcile(&mut self, outlet: &mut Outlet<'_>) {
        let only = only_fits(self.reply.code());
        if let Some(fits) = only
            && let Some(at) = self.pending.iter().position(|slot| fits(&slot.what))
        {
            for _ in 0..at {
                if let Some(slot) = self.pending.pop_front() {
                    self.apply(slot.what, false, outlet);
                }
            }
            self.pending.iter_mut().for_each(|slot| slot.doubtful = false);
            return self.answer_front(outlet);
        }
        if self.reply.code() == 354 {
            // DATA itself was not captured, but its answer was.
            self.answer_none(outlet);
            self.sending = Sending::begin(true, outlet);
            self.mode = Mode::Data;
            return;
        }
        if let [slot] = self.pending.make_contiguous()
            && !matches!(slot.what, Pending::Missing)
            && can_answer(self.reply.code(), &slot.what)
        {
            return self.answer_front(outlet);
        }
        if matches!(self.pending.back(), Some(slot) if matches!(slot.what, Pending::Data)) {
            // Success never answers DATA: its answer is missing, and this one is for something later.
            self.answer_none(outlet);
            self.lose(outlet);
        }
        self.transaction.reply_in_gap();
        outlet.counters.replies_unmatched += 1;
    }

    /// The answers to all pending commands will not be seen.
    pub(super) fn answer_none(&mut self, outlet: &mut Outlet<'_>) {
        while let Some(slot) = self.pending.pop_front() {
            self.apply(slot.what, false, outlet);
        }
    }

    /// A command got its reply; with `seen` false, a reply that was not seen.
    pub(super) fn apply(&mut self, what: Pending, seen: bool, outlet: &mut Outlet<'_>) {
        let class = if seen { Some(self.reply.class()) } else { None };
        if seen && let Some((kind, address)) = self.kind_of_reply(&what) {
            self.heard.note(kind, self.reply.octets(), address);
        }
        match what {
            Pending::Hello(name) => {
                self.chunking = !seen || self.reply.names_chunking();
                if matches!(class, None | Some(2)) {
                    self.transaction.abandon(self.responder, outlet);
                    self.set_helo(name);
                } else if self.helo.is_none() {
                    self.set_helo(name);
                }
            }
            Pending::Mail(path) => match class {
                None | Some(2) => {
                    self.transaction.abandon(self.responder, outlet);
                    self.transaction.begin(path);
                    if self.missing > 0 {
                        self.transaction.doubt();
                    }
                }
                _ => self.transaction.refuse(path, &self.reply),
            },
            Pending::Recipient(path) => match class {
                Some(4 | 5) => {
                    outlet.counters.recipients_refused += 1;
                    self.recipients_refused = self.recipients_refused.saturating_add(1);
                    outlet.deliver(self.transaction.refused_recipient(self.responder, path, &self.reply));
                }
                class => {
                    let accepted = class == Some(2);
                    let counter = if accepted {
                        &mut outlet.counters.recipients_accepted
                    } else {
                        &mut outlet.counters.recipients_unanswered
                    };
                    *counter += 1;
                    self.transaction.accept(path, accepted, self.missing > 0);
                    if self.transaction.is_beyond() {
                        self.odd(Oddity::TooManyRecipients, outlet);
                    }
                }
            },
            Pending::Data => self.data_answered(seen, outlet),
            Pending::EndOfData(end) => self.settle(end, seen, outlet),
            Pending::Chunk(Some(end)) => self.settle(end, seen, outlet),
            // A refused chunk ends the transaction; what is still in flight is refused too.
            Pending::Chunk(None) if matches!(class, Some(4 | 5)) && self.transaction.has_recipients() => {
                let bytes = self.sending.chunk_bytes;
                let end = MessageEnd { size_bytes: None, ..self.sending.end(bytes, false) };
                self.settle(end, true, outlet);
            }
            Pending::Chunk(None) => {}
            Pending::ChunkAsked(size, last) => self.chunk_answered((size, last), seen, outlet),
            Pending::Reset => {
                if matches!(class, None | Some(2)) {
                    self.transaction.abandon(self.responder, outlet);
                }
            }
            Pending::Quit => self.quit = true,
            Pending::StartTls => self.starttls_answered(seen, outlet),
            Pending::Auth => self.auth_answered(seen),
            Pending::Missing => self.missing -= 1,
            Pending::Other => {}
        }
    }

    /// What the reply is among those whose lengths tell what is said under TLS, and the octets of the command's address.
    fn kind_of_reply(&self, to: &Pending) -> Option<(ReplyKind, usize)> {
        let none = |kind| Some((kind, 0));
        match (to, self.reply.class()) {
            (Pending::Mail(ReversePath::Mailbox(from)), 2) => {
                Some((ReplyKind::Mail, from.address().as_bytes().len()))
            }
            (Pending::Recipient(Some(to)), 2) => Some((ReplyKind::Recipient, to.address().as_bytes().len())),
            (Pending::Recipient(Some(to)), 4 | 5) => {
                Some((ReplyKind::Refused, to.address().as_bytes().len()))
            }
            (Pending::Data, 3) => none(ReplyKind::GoAhead),
            (Pending::Data | Pending::Chunk(_), 5) if !self.transaction.has_recipients() => {
                none(ReplyKind::NoRecipients)
            }
            (Pending::EndOfData(_), 2) => none(ReplyKind::Queued),
            (Pending::Chunk(Some(_)), 2) => none(ReplyKind::LastChunk),
            (Pending::Chunk(None), 2) => none(ReplyKind::Chunk),
            (Pending::Reset, 2) => none(ReplyKind::Reset),
            (Pending::Quit, 2) => none(ReplyKind::Bye),
            _ => None,
        }
    }

    fn data_answered(&mut self, seen: bool, outlet: &mut Outlet<'_>) {
        let assumed = self.mode == Mode::Data;
        let granted = seen && self.reply.code() == 354;
        if granted {
            self.transaction.confirm();
        }
        if granted || !seen {
            if !assumed {
                self.sending = Sending::begin(true, outlet);
                self.mode = if granted { Mode::Data } else { Mode::PerhapsData };
            }
            return;
        }
        self.transaction.refuse_data(outlet.at, &self.reply);
        if assumed {
            // It was refused after all: what was read as a message may have been commands.
            self.mode = Mode::Lost;
            self.push_missing();
        } else if self.mode == Mode::Held {
            self.mode = Mode::Command;
        }
    }

    /// A message was offered, and perhaps answered.
    fn settle(&mut self, end: MessageEnd, seen: bool, outlet: &mut Outlet<'_>) {
        if !seen && end.after_close {
            self.transaction.abandon(self.responder, outlet);
            return;
        }
        if seen {
            outlet.counters.transactions += 1;
            outlet.counters.messages_accepted += u64::from(self.reply.class() == 2);
            self.messages = self.messages.saturating_add(1);
        } else {
            outlet.counters.messages_unanswered += 1;
        }
        let content = end.excerpt.and_then(|(excerpt, bytes)| excerpt.read(bytes));
        let outcome = Outcome { reply: seen.then_some(&self.reply), size_bytes: end.size_bytes, content };
        self.transaction.settle(self.responder, outcome, outlet);
    }

    fn starttls_answered(&mut self, seen: bool, outlet: &mut Outlet<'_>) {
        if self.mode == Mode::Held {
            self.mode = Mode::Command;
        }
        if !seen {
            self.starttls_unanswered = true;
        } else if self.reply.class() == 2 {
            // RFC 3207 section 4.2: the session starts anew.
            self.transaction.abandon(self.responder, outlet);
            self.grant_starttls(outlet);
        } else {
            self.tls = Tls::Refused;
        }
    }

    fn auth_answered(&mut self, seen: bool) {
        self.mode = match (seen, self.reply.code()) {
            (false, _) => Mode::PerhapsAuthLine,
            (true, 334) => Mode::AuthLine,
            (true, code) => {
                let auth = self.auth.take();
                if code / 100 == 2 {
                    self.set_account(auth.and_then(|auth| auth.into_name()));
                }
                Mode::Command
            }
        };
    }

    /// A reply that no command explains.
    fn unasked(&mut self, outlet: &mut Outlet<'_>) {
        let (code, class) = (self.reply.code(), self.reply.class());
        if !outlet.originator_seen {
            return self.one_sided_answer(outlet);
        }
        if let Mode::Chunk(_, last) = self.mode
            && matches!(class, 4 | 5)
            && !self.sending.answered
        {
            return self.refuse_chunk_early(last, outlet);
        }
        let verdict = matches!(class, 2 | 4 | 5) && code != 421 && only_fits(code).is_none();
        if self.mode == Mode::Data && verdict && !self.sending.answered {
            if let Some((bytes, after)) = self.sending.suspect.take() {
                // The end was the suspect one, or among the missing octets.
                let mode = if self.sending.gap { Mode::Lost } else { Mode::Command };
                outlet.counters.ends_by_reply += 1;
                let end = self.sending.end(bytes, false);
                self.settle(end, true, outlet);
                return self.reread(&after, mode, outlet);
            }
            if matches!(class, 4 | 5) {
                self.settle(MessageEnd::unseen(false), true, outlet);
                self.sending.answered = true;
                return;
            }
        }
        if let Some((_, after)) = self.sending.suspect.take().filter(|_| self.mode == Mode::Command) {
            outlet.counters.ends_by_reply += 1;
            self.reread(&after, Mode::Command, outlet);
            if !self.pending.is_empty() {
                return self.answer_front(outlet);
            }
        }
        if self.mode == Mode::Lost {
            self.transaction.reply_in_gap();
        } else if !matches!(code, 220 | 421 | 521) {
            self.odd(Oddity::ReplyWithoutCommand, outlet);
        }
        outlet.counters.replies_unmatched += 1;
    }

    /// Octets of both sides are missing while a message was sent: its end and its answer were among them.
    pub(super) fn give_up_message(&mut self, outlet: &mut Outlet<'_>) {
        if self.mode == Mode::Data && self.sending.gap && self.sending.answer_lost {
            let (_, after) = self.sending.suspect.take().unwrap_or_default();
            self.settle(MessageEnd::unseen(false), false, outlet);
            self.lose(outlet);
            self.reread(&after, Mode::Lost, outlet);
        }
    }

    /// What followed an end of data that only the server saw is read as commands.
    fn reread(&mut self, after: &[u8], mode: Mode, outlet: &mut Outlet<'_>) {
        self.sending = Sending::default();
        self.mode = mode;
        self.rereads = self.rereads.saturating_add(1);
        self.reread_client(after, outlet);
    }

    /// Only the server's side is captured: a message shows by the go-ahead and what follows it.
    fn one_sided_answer(&mut self, outlet: &mut Outlet<'_>) {
        let class = self.reply.class();
        if class == 3 {
            self.sending.answered = self.reply.code() == 354;
        } else if std::mem::take(&mut self.sending.answered) {
            self.transaction.doubt();
            self.settle(MessageEnd::unseen(false), true, outlet);
        }
        outlet.counters.replies_unmatched += 1;
    }
}

/// Replies that only one kind of command can get: which.
fn only_fits(code: u16) -> Option<fn(&Pending) -> bool> {
    match code {
        354 => Some(|what| matches!(what, Pending::Data)),
        334 | 235 => Some(|what| matches!(what, Pending::Auth)),
        221 => Some(|what| matches!(what, Pending::Quit)),
        _ => None,
    }
}

/// Whether a command can get a reply at all.
fn can_answer(code: u16, what: &Pending) -> bool {
    match only_fits(code) {
        Some(fits) => fits(what),
        // DATA is told to go ahead, or refused.
        None => !(matches!(what, Pending::Data) && code / 100 == 2),
    }
}
