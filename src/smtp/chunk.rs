//! Chunks of a message: BDAT.
//!
//! *In*: BDAT, and what the server says to it. *Out*: the session's mode and its slots. *Bound*: chunks that wait for an
//! answer, `limits::WAITING_CLIENT_BYTES_MAX`. *Spec*: RFC 3030 section 2.
//!
//! A server that takes no chunks refuses the command and reads what was to be a chunk as commands. So where it has not
//! said that it takes them, the chunk waits for its answer.

use super::Outlet;
use super::pending::{MessageEnd, Pending, Sending};
use super::session::{Mode, Session};
use memchr::memmem;

impl Session {
    /// BDAT was sent.
    pub(super) fn chunk(&mut self, size: u64, last: bool, outlet: &mut Outlet<'_>) {
        if self.sending.chunk_bytes == 0 {
            self.sending = Sending::begin(false, outlet);
        }
        if self.chunking {
            self.begin_chunk(size, last);
        } else {
            self.wait_for(Pending::ChunkAsked(size, last));
        }
    }

    pub(super) fn begin_chunk(&mut self, size: u64, last: bool) {
        self.mode = if size > 0 { Mode::Chunk(size, last) } else { Mode::Command };
        if size == 0 {
            self.end_of_chunk(last);
        }
    }

    /// A chunk is whole, and waits for its answer unless the server did not wait for its end.
    pub(super) fn end_of_chunk(&mut self, last: bool) {
        if std::mem::take(&mut self.sending.answered) {
            self.sending = Sending::default();
            return;
        }
        let bytes = self.sending.chunk_bytes;
        let end = last.then(|| self.sending.end(bytes, self.closing));
        if last {
            self.sending = Sending::default();
        }
        self.push(Pending::Chunk(end));
    }

    /// A server that has not said that it takes chunks has answered: to the chunk, or to a command that it does not know.
    pub(super) fn chunk_answered(&mut self, (size, last): (u64, bool), seen: bool, outlet: &mut Outlet<'_>) {
        let refused_as_such = match self.reply.code() {
            500 | 502 => true,
            503 => memmem::find(&self.reply.text().to_ascii_uppercase(), b"CHUNKING").is_some(),
            _ => false,
        };
        if seen && refused_as_such {
            self.sending = Sending::default();
            self.mode = Mode::Command;
            return;
        }
        self.begin_chunk(size, last);
        if !seen {
            return;
        }
        // What waits is the chunk, which has this answer, and what comes behind it.
        self.release(outlet);
        if matches!(self.pending.front(), Some(slot) if matches!(slot.what, Pending::Chunk(_))) {
            self.answer_front(outlet);
        } else if matches!(self.mode, Mode::Chunk(..)) && matches!(self.reply.class(), 4 | 5) {
            self.refuse_chunk_early(last, outlet);
        }
    }

    /// A chunk was refused though the client still sends what it has promised.
    pub(super) fn refuse_chunk_early(&mut self, last: bool, outlet: &mut Outlet<'_>) {
        outlet.counters.replies += 1;
        let end = MessageEnd { size_bytes: None, ..self.sending.end(0, false) };
        self.apply(Pending::Chunk(last.then_some(end)), true, outlet);
        self.sending.answered = true;
    }
}
