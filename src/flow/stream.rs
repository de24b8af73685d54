//! One direction of a connection: which octets a receiver would hand to its application, and when.
//!
//! *In*: pieces at their places. *Out*: octets in order. *Bound*: a [`Store`] of early pieces, one of
//! doubtful pieces, and its part of the [`History`](super::history::History). *Spec*: RFC 9293 section 3.10.7.4; Linux.
//!
//! A piece that the receiver may never have got, because its hop limit would not last, its checksum is
//! wrong, or it lies outside of the window, is *doubtful*: it is used only where the receiver
//! acknowledged its place and no other copy came. A decoy is then never read, and a change of route only
//! costs a round trip.

use super::early::Early;
use super::history::Trail;
use super::store::{Budget, Kept, Store};
use super::{Event, FlowCounters, Side};
use crate::time::Timestamp;

/// Distance beyond which sequence and acknowledgment numbers are not believed: the largest window
/// (RFC 7323 section 2.3).
pub(super) const WINDOW_MAX: u64 = 1 << 30;
/// Longest segment that is remembered so: commands and replies are short, bulk is not worth a copy.
const HISTORY_SEGMENT_BYTES_MAX: usize = 512;

/// What all of a stream's work needs.
pub(super) struct Desk<'a> {
    pub(super) side: Side,
    pub(super) budget: &'a mut Budget,
    pub(super) counters: &'a mut FlowCounters,
}

/// A piece of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) start: u64,
    pub(super) bytes: &'a [u8],
    /// Octets after `bytes` that the capture has not.
    pub(super) cut_bytes: u64,
    /// How far the peer's stream must have come before.
    pub(super) due: u64,
}

/// A FIN that was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fin {
    /// Where its segment begins.
    pub(super) from: u64,
    /// Where it stands.
    pub(super) place: u64,
    /// How far the peer's stream must come before.
    pub(super) due: u64,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Whether `next` means anything.
    pub(super) known: bool,
    /// Whether any segment of this side was seen.
    pub(super) seen: bool,
    /// The next octet to hand out. Sequence numbers are counted on beyond 32 bits.
    pub(super) next: u64,
    /// What the peer acknowledged.
    pub(super) acked: u64,
    /// How far this side itself claims to have come.
    pub(super) reached: u64,
    /// The same, with segments that a receiver may not have taken.
    pub(super) claimed: u64,
    /// Where the last of its octets ends.
    pub(super) said: u64,
    /// Right edge of the peer's receive window; `None` where its scale is not known.
    pub(super) window_edge: Option<u64>,
    /// The first FIN that may have been taken, and another.
    pub(super) fin: Option<Fin>,
    other_fin: Option<Box<Fin>>,
    /// The peer acknowledged FIN, and nothing behind it.
    pub(super) fin_acked: bool,
    pub(super) finished: bool,
    /// The hole given up last, while nothing after it was handed out.
    pub(super) gap_start: Option<u64>,
    /// Place of an octet that is out of band (RFC 9293 section 3.8.5).
    pub(super) urgent: Option<u64>,
    /// The hop limit that this side's segments have.
    pub(super) hop_limit: Option<u8>,
    /// Whether this side's checksums are right where the capture sees them.
    pub(super) sums_right: bool,
    /// The time stamp of the last segment in order, where both sides use them.
    pub(super) stamp: Option<u32>,
    /// Where the stream waits, since when, and for how many packets of the connection.
    pub(super) blocked: Option<(u64, Timestamp, u32)>,
    pub(super) store: Store,
    doubtful: Option<Box<Store>>,
    /// Pieces that acknowledge what the peer was not seen to send.
    pub(super) early: Option<Box<Early>>,
    trail: Trail,
}

impl Stream {
    /// The place of a sequence number in the stream: the nearest to the cursor.
    pub(super) fn place(&self, sequence: u32) -> u64 {
        let distance = sequence.wrapping_sub(self.next as u32) as i32;
        self.next.wrapping_add_signed(i64::from(distance))
    }

    /// Begins at a sequence number, far enough from 0 that places before it exist.
    pub(super) fn begin(&mut self, sequence: u32) {
        self.next = (1 << 32) + u64::from(sequence);
        self.acked = self.next;
        self.reached = self.next;
        self.known = true;
    }

    /// Whether anything waits for its turn.
    pub(super) fn waits(&self) -> bool {
        !self.store.is_empty() || (self.fin.is_some() && !self.finished) || self.early.is_some()
    }

    /// How far the peer may look on this stream: to its end, once it is known to have one.
    pub(super) fn reach(&self) -> u64 {
        if self.finished || !self.seen || !self.known { u64::MAX } else { self.next }
    }

    /// A segment with FIN. As Linux does, what earlier segments cover is dropped, FIN and all.
    pub(super) fn finish_at(&mut self, fin: Fin) {
        if self.finished || fin.place < self.next || self.store.covers(fin.from, fin.place + 1) {
            return;
        }
        match &mut self.fin {
            None => self.fin = Some(fin),
            Some(first) => {
                let later = if fin.place < first.place { std::mem::replace(first, fin) } else { fin };
                if later.place != first.place {
                    self.other_fin = Some(Box::new(later));
                }
            }
        }
        self.note_fin_acked();
    }

    /// A segment that covers an early one with FIN takes its place.
    pub(super) fn cover_fin(&mut self, start: u64, end: u64) {
        if self.fin.is_some_and(|fin| self.next < fin.from && start <= fin.from && end > fin.place) {
            self.forget_fin();
        }
    }

    /// The receiver did not take the first FIN.
    pub(super) fn forget_fin(&mut self) {
        self.fin = self.other_fin.take().map(|fin| *fin);
        self.note_fin_acked();
    }

    fn note_fin_acked(&mut self) {
        self.fin_acked = self.fin.is_some_and(|fin| self.acked == fin.place + 1);
    }

    /// Where FIN stands, if octets behind it were seen too. Only the receiver knows which of both it took: they wait
    /// for its acknowledgment.
    pub(super) fn disputed(&self) -> Option<u64> {
        self.fin.map(|fin| fin.place).filter(|place| !self.finished && self.said > *place)
    }

    /// How far the peer's stream must come before what stands at the cursor is due.
    pub(super) fn wants(&self) -> Option<u64> {
        let fin = self.fin.filter(|fin| !self.finished && fin.place <= self.next).map(|fin| fin.due);
        self.store.due_at(self.next).or(fin)
    }

    /// The same of the first octets that are here, whether or not a hole comes before them.
    pub(super) fn will_want(&self) -> Option<u64> {
        let fin = self.fin.filter(|_| !self.finished).map(|fin| fin.due);
        self.wants().or_else(|| self.store.first_due()).or(fin)
    }

    /// Whether doubtful octets wait for their acknowledgment.
    pub(super) fn doubts(&self) -> bool {
        self.doubtful.is_some()
    }

    /// Takes a piece that a receiver takes: hands it out, or keeps it for later.
    pub(super) fn take(
        &mut self,
        mut piece: Piece<'_>,
        peer_next: u64,
        desk: &mut Desk<'_>,
        emit: &mut impl FnMut(Event<'_>),
    ) {
        let end = piece.start + piece.bytes.len() as u64 + piece.cut_bytes;
        if let Some(gap_start) = self.gap_start
            && (gap_start..self.next).contains(&piece.start)
        {
            // What was believed lost comes after all, and nothing behind it was handed out: go back.
            self.next = piece.start;
            self.gap_start = None;
        }
        if piece.start < self.next {
            self.look_back(&piece, desk);
            if end <= self.next {
                return;
            }
            let known = ((self.next - piece.start) as usize).min(piece.bytes.len());
            piece.bytes = piece.bytes.get(known..).unwrap_or_default();
            piece.start = self.next;
        }
        if self.finished {
            desk.counters.out_of_window += 1;
            return;
        }
        if piece.start > self.next
            || piece.due > peer_next
            || self.disputed().is_some_and(|place| end > place)
        {
            let decoy = self.doubtful.as_ref().is_some_and(|d| d.contradicts(piece.start, piece.bytes));
            desk.counters.conflicting_overlaps += u64::from(decoy);
            let kept = self.store.insert(piece.start, piece.bytes, piece.due, desk.budget);
            note(kept, desk.counters);
            return;
        }
        if self.waiting_contradicts(&piece) {
            desk.counters.conflicting_overlaps += 1;
        }
        self.hand_out(piece.bytes, desk, emit);
        if end > self.next {
            // The capture kept only the beginning of the segment.
            self.skip_to(end, desk, emit);
        }
    }

    /// Keeps a piece that the receiver may not have got.
    pub(super) fn doubt(&mut self, piece: &Piece<'_>, desk: &mut Desk<'_>) {
        let end = piece.start + piece.bytes.len() as u64;
        if end <= self.next || self.finished {
            return self.look_back(piece, desk);
        }
        let said = desk.budget.history.contradicts(self.trail, piece.start, piece.bytes);
        if said == Some(true) || self.store.contradicts(piece.start, piece.bytes) {
            desk.counters.conflicting_overlaps += 1;
        }
        let doubtful = self.doubtful.get_or_insert_default();
        doubtful.forget_before(self.next, desk.budget);
        let kept = doubtful.insert(piece.start, piece.bytes, piece.due, desk.budget);
        note(kept, desk.counters);
    }

    /// Hands out doubtful octets that the receiver has acknowledged. Says whether there were any.
    pub(super) fn believe(
        &mut self,
        peer_next: u64,
        desk: &mut Desk<'_>,
        emit: &mut impl FnMut(Event<'_>),
    ) -> bool {
        let Some(mut doubtful) = self.doubtful.take() else { return false };
        let mut any = false;
        while self.acked > self.next
            && self.store.start().is_none_or(|start| start > self.next)
            && let Some(bytes) = doubtful.ready(self.next, peer_next, desk.budget)
        {
            let confirmed = (bytes.len() as u64).min(self.acked - self.next);
            self.hand_out(bytes.get(..confirmed as usize).unwrap_or_default(), desk, emit);
            desk.counters.doubtful_confirmed += 1;
            any = true;
        }
        if any {
            // The route or the way of capturing has changed: learn it anew.
            self.hop_limit = None;
            self.sums_right = false;
            self.stamp = None;
        }
        doubtful.forget_before(self.next, desk.budget);
        if !doubtful.is_empty() {
            self.doubtful = Some(doubtful);
        }
        any
    }

    /// Hands out stored octets that have become due. Says whether there were any.
    pub(super) fn drain(
        &mut self,
        peer_next: u64,
        desk: &mut Desk<'_>,
        emit: &mut impl FnMut(Event<'_>),
    ) -> bool {
        if self.store.is_empty() {
            return false;
        }
        let mut store = std::mem::take(&mut self.store);
        let mut any = false;
        while let Some(bytes) = store.ready(self.next, peer_next, desk.budget) {
            let room = self.disputed().map_or(u64::MAX, |place| place.saturating_sub(self.next));
            let bytes = bytes.get(..room.min(bytes.len() as u64) as usize).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            self.hand_out(bytes, desk, emit);
            any = true;
        }
        self.store = store;
        any
    }

    /// Gives octets up that do not come.
    pub(super) fn skip_to(&mut self, until: u64, desk: &mut Desk<'_>, emit: &mut impl FnMut(Event<'_>)) {
        let bytes = until.saturating_sub(self.next);
        self.gap_start = Some(self.next);
        self.next = until;
        desk.counters.gaps += 1;
        desk.counters.gap_bytes += bytes;
        emit(Event::Gap(desk.side, bytes));
    }

    /// Lets go of everything that waits.
    pub(super) fn clear(&mut self, budget: &mut Budget) {
        self.store.clear(budget);
        if let Some(doubtful) = &mut self.doubtful {
            doubtful.clear(budget);
        }
        self.doubtful = None;
        if let Some(early) = &mut self.early {
            early.clear(budget);
        }
        self.early = None;
    }

    /// Whether what waits says something else than a piece.
    fn waiting_contradicts(&self, piece: &Piece<'_>) -> bool {
        self.store.contradicts(piece.start, piece.bytes)
            || self.doubtful.as_ref().is_some_and(|d| d.contradicts(piece.start, piece.bytes))
    }

    fn hand_out(&mut self, bytes: &[u8], desk: &mut Desk<'_>, emit: &mut impl FnMut(Event<'_>)) {
        if bytes.is_empty() {
            return;
        }
        self.gap_start = None;
        if bytes.len() <= HISTORY_SEGMENT_BYTES_MAX {
            desk.budget.history.remember(&mut self.trail, self.next, bytes);
        }
        let (start, end) = (self.next, self.next + bytes.len() as u64);
        self.next = end;
        self.reached = self.reached.max(end);
        match self.urgent {
            Some(place) if (start..end).contains(&place) => {
                self.urgent = None;
                let (before, after) = bytes.split_at((place - start) as usize);
                for part in [before, after.get(1..).unwrap_or_default()] {
                    if !part.is_empty() {
                        emit(Event::Bytes(desk.side, part));
                    }
                }
            }
            _ => emit(Event::Bytes(desk.side, bytes)),
        }
    }

    /// Octets come again: do they say the same?
    fn look_back(&self, piece: &Piece<'_>, desk: &mut Desk<'_>) {
        let again = (self.next.saturating_sub(piece.start)).min(piece.bytes.len() as u64);
        desk.counters.retransmitted_bytes += again;
        match desk.budget.history.contradicts(self.trail, piece.start, piece.bytes) {
            Some(differs) => desk.counters.conflicting_overlaps += u64::from(differs),
            None => desk.counters.forgotten_overlaps += 1,
        }
    }
}

fn note(kept: Kept, counters: &mut FlowCounters) {
    counters.early_segments_dropped += u64::from(kept.evicted);
    counters.conflicting_overlaps += u64::from(kept.conflict);
}
