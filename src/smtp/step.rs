//! Keeping step: client octets that wait for a reply, and octets that are missing.
//!
//! *In*: what the session holds back, gaps. *Out*: the session in a state in which nothing is invented.
//! *Bound*: `limits::WAITING_CLIENT_BYTES_MAX`. *Spec*: RFC 5321 section 4.1.4, RFC 2920.

use super::Outlet;
use super::content::Excerpt;
use super::pending::{Pending, Sending, Slot};
use super::session::{Mode, Session};
use super::starttls::begins_tls;
use crate::flow::Side;
use crate::limits;
use crate::observation::Oddity;

impl Session {
    pub(super) fn is_in_doubt(&self) -> bool {
        self.pending.front().is_some_and(|slot| slot.doubtful)
    }

    /// Before a new command is taken after missing octets: a client that waits has had all its answers,
    /// and if it had any, it did wait.
    pub(super) fn resume(&mut self, outlet: &mut Outlet<'_>) {
        if self.answered_since_gap && !self.pipelines && self.is_in_doubt() {
            self.answer_none(outlet);
        }
    }

    /// A client that waits for answers goes on after `220 name` without a line end, or after `250-name` and
    /// nothing more: to it, that was the answer, and what the server says next answers the next command.
    pub(super) fn close_open_reply(&mut self, outlet: &mut Outlet<'_>) {
        if self.pipelines || self.pending.len() + usize::from(self.greeting_awaited) != 1 {
            return;
        }
        self.close_open_line(outlet);
        let greeting = self.pending.len() == 1
            && self.pending.front().is_some_and(|slot| matches!(slot.what, Pending::Hello(_)));
        if greeting && self.reply.is_open() && !self.server_lines.is_mid_line() {
            self.reply.abandon();
            self.reply_cut = Some(false);
            self.odd(Oddity::NotAReply, outlet);
            self.answer_front(outlet);
        }
    }

    pub(super) fn hold(&mut self, bytes: &[u8], outlet: &mut Outlet<'_>) {
        if self.held_gap {
            return;
        }
        if self.held_from > limits::WAITING_CLIENT_BYTES_MAX {
            self.held.drain(..self.held_from);
            self.held_from = 0;
        }
        self.held.extend_from_slice(bytes);
        if outlet.one_sided {
            self.answer_none(outlet);
            return self.release(outlet);
        }
        if self.held.len() - self.held_from <= limits::WAITING_CLIENT_BYTES_MAX {
            return;
        }
        // Nobody sends so much before an answer by mistake: then the answer was yes.
        match self.pending.back().map(|slot| &slot.what) {
            Some(Pending::Data) => {
                self.mode = Mode::Data;
                self.sending = Sending::begin(true, outlet);
            }
            Some(Pending::ChunkAsked(size, last)) => {
                let (size, last) = (*size, *last);
                self.pending.pop_back();
                self.begin_chunk(size, last);
            }
            Some(Pending::StartTls) if begins_tls(self.held.get(self.held_from..).unwrap_or_default()) => {
                self.answer_none(outlet);
            }
            _ => {
                self.odd(Oddity::TooManyPendingCommands, outlet);
                self.held.clear();
                self.held_from = 0;
                self.lose(outlet);
            }
        }
        self.release(outlet);
    }

    /// Reads on where nothing has to wait any more.
    pub(super) fn release(&mut self, outlet: &mut Outlet<'_>) {
        let waits = self.pending.back().is_some_and(|slot| slot.what.holds_back());
        if self.mode == Mode::Held && !waits && self.pending.len() < limits::PENDING_COMMANDS_MAX {
            self.mode = Mode::Command;
        }
        while self.mode != Mode::Held && self.held_from < self.held.len() {
            let held = std::mem::take(&mut self.held);
            self.releasing_blind = self.held_blind;
            let taken = self.read_client(held.get(self.held_from..).unwrap_or_default(), outlet);
            self.releasing_blind = false;
            self.held = held;
            self.held_from += taken;
            if outlet.one_sided {
                self.answer_none(outlet);
            }
            if taken == 0 {
                break;
            }
        }
        if self.held_from >= self.held.len() && self.mode != Mode::Held {
            self.held = Vec::new();
            self.held_from = 0;
            let blind = std::mem::take(&mut self.held_blind);
            if std::mem::take(&mut self.held_gap) {
                self.sending.answer_lost |= blind;
                self.client_gap(0, outlet);
            }
        }
    }

    /// Reads again, as commands, what was taken for text; what has to wait comes before what waits.
    pub(super) fn reread_client(&mut self, bytes: &[u8], outlet: &mut Outlet<'_>) {
        let taken = self.read_client(bytes, outlet);
        let rest = bytes.get(taken..).unwrap_or_default();
        self.held = [rest, self.held.get(self.held_from..).unwrap_or_default()].concat();
        self.held_from = 0;
    }

    pub(super) fn gap(&mut self, side: Side, bytes: u64, outlet: &mut Outlet<'_>) {
        self.gap_bytes = self.gap_bytes.saturating_add(bytes);
        self.odd(Oddity::Gap, outlet);
        if let Some(opaque) = &mut self.opaque {
            return opaque.gap(side, bytes);
        }
        match side {
            Side::Originator => self.client_gap(bytes, outlet),
            Side::Responder => {
                self.server_lines.forget();
                self.server_mid_line = true;
                self.reply.abandon();
                self.greeting_awaited = false;
                self.transaction.blind();
                // Where commands are missing too, nobody knows whether it was them that were answered.
                self.answered_since_gap |= self.missing == 0;
                self.sending.answer_lost |= self.mode == Mode::Data;
                self.held_blind |= self.mode == Mode::Held;
                self.pending.iter_mut().for_each(|slot| slot.doubtful = true);
                self.give_up_message(outlet);
            }
        }
    }

    pub(super) fn client_gap(&mut self, bytes: u64, outlet: &mut Outlet<'_>) {
        match self.mode {
            Mode::Held => self.held_gap = true,
            Mode::Opaque => {}
            Mode::Data | Mode::PerhapsData => {
                self.mode = Mode::Data;
                self.sending.gap = true;
                self.sending.excerpt.iter_mut().for_each(Excerpt::gap);
                self.sending.finder.gap();
                // The end may be in the gap: what follows is then commands.
                self.sending.suspect = Some((0, Vec::new()));
                self.give_up_message(outlet);
            }
            Mode::Chunk(left, last) if bytes < left => {
                self.sending.gap = true;
                self.sending.excerpt.iter_mut().for_each(Excerpt::gap);
                self.sending.chunk_bytes += bytes;
                self.mode = Mode::Chunk(left - bytes, last);
            }
            Mode::Chunk(left, last) => {
                self.sending.gap = true;
                self.end_of_chunk(last);
                if bytes > left {
                    self.lose(outlet);
                } else {
                    self.mode = Mode::Command;
                }
            }
            Mode::Command | Mode::Lost | Mode::AuthLine | Mode::PerhapsAuthLine => self.lose(outlet),
        }
    }

    /// Step is lost: what the client says next may be anything.
    pub(super) fn lose(&mut self, outlet: &mut Outlet<'_>) {
        self.lines.forget();
        self.held_gap = false;
        self.mode = Mode::Lost;
        self.auth = None;
        self.chunking = true;
        self.transaction.doubt();
        if self.pending.len() >= limits::PENDING_COMMANDS_MAX {
            self.answer_none(outlet);
            self.mode = Mode::Lost;
        }
        self.push_missing();
        self.answered_since_gap = false;
    }

    /// Any number of commands, none of which is known.
    pub(super) fn push_missing(&mut self) {
        self.pending.push_back(Slot::after(None, Pending::Missing, true));
        self.missing += 1;
    }
}
