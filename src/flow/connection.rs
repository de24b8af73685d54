//! One TCP connection as a bystander sees it.
//!
//! *In*: its segments as captured: late, twice, overlapping, some missing, some forged. *Out*: [`Event`]s.
//! *Bound*: two [`Stream`]s; patience with a hole is counted in packets and in event time.
//! *Spec*: RFC 9293 section 3.10.7, RFC 5961, RFC 7323; where they leave a choice, Linux.
//!
//! The order of the capture is not the order of the dialogue: span ports merge two directions, and
//! queues overtake each other. But every segment says what its sender had already received. So an octet
//! is handed out once its own stream has come to it *and* the other stream has come to what it
//! acknowledges. A reply then never comes before its command, however the capture was shuffled.

use super::segment::{Flags, Options, Segment};
use super::store::Budget;
use super::stream::{Desk, Fin, Piece, Stream, WINDOW_MAX};
use super::{Event, FlowCounters, Side};
use crate::time::Timestamp;

/// Segments with octets after which a peer that was not seen at all is not captured: long before, it
/// would have acknowledged.
const ALONE_SEGMENTS: u32 = 6;
/// Hops by which routes of one connection differ at most; a segment with less to go is a decoy until the
/// receiver acknowledges it.
const HOPS_OFF_MAX: u8 = 10;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing but SYNs of the originator.
    SynSent,
    /// The responder answered the SYN.
    SynReceived,
    /// Data may flow.
    Open,
    /// The responder refused.
    Refused,
    /// Reset, or finished on both sides.
    Closed,
}

/// What one SYN offered.
#[derive(Clone, Copy, Debug, Default)]
struct Offer {
    window: u16,
    scale: Option<u8>,
    stamps: bool,
    signed: bool,
}

impl Offer {
    pub(super) fn of(segment: &Segment<'_>) -> Offer {
        let mut offer = Offer { window: segment.window, ..Offer::default() };
        for option in segment.options() {
            match option.kind {
                // RFC 7323 section 2.3: a shift beyond 14 counts as 14.
                Options::WINDOW_SCALE => offer.scale = option.value.first().map(|shift| (*shift).min(14)),
                Options::TIME_STAMPS => offer.stamps = true,
                Options::MD5 => offer.signed = true,
                _ => {}
            }
        }
        offer
    }
}

/// A connection and what is waiting in it.
#[derive(Debug)]
pub struct Connection {
    pub(super) phase: Phase,
    pub(super) originator: Stream,
    pub(super) responder: Stream,
    /// What the originator's SYN offered.
    offer: Offer,
    /// Shifts of the windows of originator and responder; `None` where the handshake was not seen.
    pub(super) scales: Option<(u8, u8)>,
    /// The responder's first sequence number.
    pub(super) responder_start: Option<u32>,
    /// Whether it was picked up without its handshake.
    pub(super) midstream: bool,
    /// Segments with octets before both sides were seen.
    pub(super) alone: u32,
    /// A reset was seen, whether the receiver had to honour it or not.
    pub(super) reset_seen: bool,
}

/// What a segment needs beside itself.
pub struct Surroundings<'a> {
    /// When it was captured.
    pub at: Timestamp,
    /// What all flows together keep.
    pub budget: &'a mut Budget,
    /// What is counted.
    pub counters: &'a mut FlowCounters,
}

impl Surroundings<'_> {
    pub(super) fn desk(&mut self, side: Side) -> Desk<'_> {
        Desk { side, budget: self.budget, counters: self.counters }
    }
}

impl Connection {
    /// A connection that begins with this segment, which `side` sent.
    pub fn new(side: Side, segment: &Segment<'_>) -> Connection {
        let opens = segment.flags.has(Flags::SYN);
        Connection {
            phase: if opens && side == Side::Originator { Phase::SynSent } else { Phase::Open },
            originator: Stream::default(),
            responder: Stream::default(),
            offer: Offer::default(),
            scales: None,
            responder_start: None,
            midstream: !opens,
            alone: 0,
            reset_seen: false,
        }
    }

    /// How far it has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether it was picked up without its handshake.
    pub fn is_midstream(&self) -> bool {
        self.midstream
    }

    /// Whether segments of both ends were seen.
    pub fn is_two_way(&self) -> bool {
        self.originator.seen && self.responder.seen
    }

    /// Whether any segment of a side was seen.
    pub fn is_seen(&self, side: Side) -> bool {
        self.stream(side).seen
    }

    /// Whether a side has talked for so long without any answer that only it is captured.
    pub fn is_alone(&self, side: Side) -> bool {
        !self.stream(side.peer()).seen && self.alone >= ALONE_SEGMENTS
    }

    /// Whether a side has said that it sends no more.
    pub fn saw_finish(&self) -> bool {
        self.originator.finished || self.responder.finished
    }

    /// Whether a reset was seen, honoured or not.
    pub fn saw_reset(&self) -> bool {
        self.reset_seen
    }

    /// Whether a segment shows that the ends have begun anew on the same ports: a responder answers a SYN
    /// only where it has no connection.
    pub fn is_superseded_by(&self, side: Side, segment: &Segment<'_>) -> bool {
        side == Side::Responder
            && segment.flags.has(Flags::SYN)
            && segment.flags.has(Flags::ACK)
            && self.phase == Phase::Open
            && self.responder_start.is_some_and(|start| start != segment.sequence)
    }

    pub(super) fn stream(&self, side: Side) -> &Stream {
        match side {
            Side::Originator => &self.originator,
            Side::Responder => &self.responder,
        }
    }

    pub(super) fn pair(&mut self, side: Side) -> (&mut Stream, &mut Stream) {
        match side {
            Side::Originator => (&mut self.originator, &mut self.responder),
            Side::Responder => (&mut self.responder, &mut self.originator),
        }
    }

    pub(super) fn waits(&self) -> bool {
        self.originator.waits() || self.responder.waits()
    }

    /// Takes a segment of `side`.
    pub fn segment(
        &mut self,
        side: Side,
        segment: &Segment<'_>,
        around: &mut Surroundings<'_>,
        emit: &mut impl FnMut(Event<'_>),
    ) {
        if matches!(self.phase, Phase::Closed | Phase::Refused) {
            return;
        }
        if segment.flags.has(Flags::RST) {
            return self.reset(side, segment, around, emit);
        }
        if segment.flags.has(Flags::SYN) {
            return self.synchronise(side, segment, around);
        }
        if !segment.flags.has(Flags::ACK) {
            around.counters.bad_flags += 1;
            return;
        }
        let Some(due) = self.acknowledged(side, segment, around.counters) else { return };
        let midstream = self.midstream;
        let (own, _) = self.pair(side);
        if !own.known {
            own.begin(segment.sequence);
            if !midstream {
                // The beginning of this side was not captured, however long it was.
                emit(Event::Gap(side, 0));
            }
        }
        let start = own.place(segment.sequence);
        if start > own.next.saturating_add(WINDOW_MAX) || start.saturating_add(WINDOW_MAX) < own.next {
            around.counters.out_of_window += 1;
            return;
        }
        let piece = Piece { start, bytes: segment.payload, cut_bytes: u64::from(segment.cut_bytes), due };
        let signed = self.offer.signed;
        let Some(doubtful) = doubts(self.pair(side).0, segment, start, signed, around.counters) else {
            return;
        };
        self.open(side, emit);
        let own = self.pair(side).0;
        own.claimed = own.claimed.max(start + segment.payload.len() as u64 + u64::from(segment.cut_bytes));
        if doubtful {
            self.pair(side).0.doubt(&piece, &mut around.desk(side));
        } else if self.is_early(side, &piece) {
            let finishes = segment.flags.has(Flags::FIN);
            let early = self.pair(side).0.early.get_or_insert_default();
            if !early.keep(&piece, finishes, around.budget) {
                around.counters.early_segments_dropped += 1;
            }
        } else {
            self.accept(side, segment, piece, around, emit);
        }
        self.settle(around, emit);
    }

    /// A segment that the receiver takes, or would take.
    pub(super) fn accept(
        &mut self,
        side: Side,
        segment: &Segment<'_>,
        piece: Piece<'_>,
        around: &mut Surroundings<'_>,
        emit: &mut impl FnMut(Event<'_>),
    ) {
        let scale = self.scales.map(|(originator, responder)| match side {
            Side::Originator => originator,
            Side::Responder => responder,
        });
        if !self.is_two_way() && !piece.bytes.is_empty() {
            self.alone = self.alone.saturating_add(1);
        }
        let (own, peer) = self.pair(side);
        own.seen = true;
        let end = piece.start + piece.bytes.len() as u64 + piece.cut_bytes;
        own.reached = own.reached.max(end);
        if end > piece.start {
            own.said = own.said.max(end);
        }
        if peer.known {
            peer.acked = peer.acked.max(piece.due);
            let edge = scale.map(|scale| piece.due + (u64::from(segment.window) << scale));
            peer.window_edge = peer.window_edge.max(edge);
        }
        own.cover_fin(piece.start, end);
        if segment.flags.has(Flags::FIN) {
            own.finish_at(Fin { from: piece.start, place: end, due: piece.due });
        }
        if segment.flags.has(Flags::URG) && !segment.payload.is_empty() && end >= own.next {
            around.counters.urgent += 1;
            // As most do, the pointer is read as one beyond the octet, not as the octet (RFC 6093).
            let place = piece.start + u64::from(segment.urgent_pointer.saturating_sub(1));
            own.urgent = Some(place).filter(|place| *place >= own.next).or(own.urgent);
        }
        if end > piece.start {
            let peer_next = peer.reach();
            own.take(piece, peer_next, &mut around.desk(side), emit);
        }
    }

    /// Goes on with whatever a segment has made possible.
    pub(super) fn settle(&mut self, around: &mut Surroundings<'_>, emit: &mut impl FnMut(Event<'_>)) {
        self.take_early(false, around, emit);
        if self.waits() || self.originator.doubts() || self.responder.doubts() {
            self.pump(around, emit);
            self.lose_patience(around, emit);
        }
    }

    /// The place in the peer's stream that a segment acknowledges. `None` where it is absurd.
    pub(super) fn acknowledged(
        &mut self,
        side: Side,
        segment: &Segment<'_>,
        counters: &mut FlowCounters,
    ) -> Option<u64> {
        let (_, peer) = self.pair(side);
        if !peer.known {
            return Some(0);
        }
        let place = peer.place(segment.acknowledgment);
        if let Some(fin) = peer.fin.map(|fin| fin.place)
            && !peer.finished
            && place > fin
        {
            peer.fin_acked |= place == fin + 1;
            if (fin + 2..=peer.reached + 1).contains(&place) {
                // The receiver has taken octets behind it, so it never took this FIN.
                peer.forget_fin();
            }
        }
        // FIN takes a number, but is no octet.
        let due = peer.fin.map_or(place, |fin| place.min(fin.place));
        if due > peer.next.saturating_add(WINDOW_MAX) || place.saturating_add(WINDOW_MAX) < peer.next {
            counters.far_acknowledgments += 1;
            return None;
        }
        Some(due)
    }

    pub(super) fn open(&mut self, side: Side, emit: &mut impl FnMut(Event<'_>)) {
        let done = match self.phase {
            // The responder speaks, or the originator acknowledges: either proves the handshake.
            Phase::SynReceived => true,
            // The answer to the SYN was not captured, but what follows it is.
            Phase::SynSent => side == Side::Responder,
            _ => false,
        };
        if done {
            self.phase = Phase::Open;
            emit(Event::Opened);
        }
    }

    pub(super) fn synchronise(&mut self, side: Side, segment: &Segment<'_>, around: &mut Surroundings<'_>) {
        let answer = segment.flags.has(Flags::ACK);
        let first_answer = !self.responder.known && !self.originator.seen;
        match (side, self.phase) {
            (Side::Originator, Phase::SynSent) if !answer => {
                self.originator.begin(segment.sequence.wrapping_add(1));
                learn(&mut self.originator, segment);
                self.offer = Offer::of(segment);
            }
            (Side::Responder, Phase::SynSent) if answer => self.answer_syn(segment),
            (Side::Responder, Phase::Open) if answer && first_answer => self.answer_syn(segment),
            (Side::Originator, Phase::SynReceived) if !answer => {}
            (Side::Responder, Phase::SynReceived) if answer => {}
            _ => around.counters.bad_flags += 1,
        }
    }

    /// The responder answered. Which of several SYNs it took is told by what it acknowledges.
    pub(super) fn answer_syn(&mut self, segment: &Segment<'_>) {
        self.originator.begin(segment.acknowledgment);
        self.responder.begin(segment.sequence.wrapping_add(1));
        self.responder_start = Some(segment.sequence);
        learn(&mut self.responder, segment);
        self.phase = Phase::SynReceived;
        let answer = Offer::of(segment);
        if !self.originator.seen {
            return;
        }
        // Scales and time stamps are used where both sides offered them; windows of SYNs are not scaled.
        self.scales = Some(self.offer.scale.zip(answer.scale).unwrap_or_default());
        self.originator.window_edge = Some(self.originator.next + u64::from(answer.window));
        self.responder.window_edge = Some(self.responder.next + u64::from(self.offer.window));
        self.offer.signed &= answer.signed;
        if !(self.offer.stamps && answer.stamps) {
            self.originator.stamp = None;
            self.responder.stamp = None;
        }
    }

    /// RFC 5961 section 3: a receiver honours a reset only at the exact number that it expects. (Linux also
    /// honours some that stand right behind early octets; its own resets then tell.)
    pub(super) fn reset(
        &mut self,
        side: Side,
        segment: &Segment<'_>,
        around: &mut Surroundings<'_>,
        emit: &mut impl FnMut(Event<'_>),
    ) {
        if self.phase == Phase::SynSent {
            let answers =
                segment.flags.has(Flags::ACK) && segment.acknowledgment == self.originator.next as u32;
            if side == Side::Responder && answers {
                self.responder.seen = true;
                self.phase = Phase::Refused;
            } else if side == Side::Originator {
                self.phase = Phase::Closed;
            } else {
                around.counters.bad_resets += 1;
            }
            return;
        }
        let stream = self.stream(side);
        let place = stream.place(segment.sequence);
        let fin = stream.fin.map(|fin| fin.place.saturating_add(1));
        let expected = [Some(stream.next), Some(stream.acked), fin].contains(&Some(place));
        let honoured = !stream.known || expected;
        self.reset_seen = true;
        if !honoured {
            around.counters.bad_resets += 1;
            return;
        }
        self.flush(around, emit);
        self.phase = Phase::Closed;
        emit(Event::Reset);
    }
}

/// What a SYN shows of its side.
fn learn(stream: &mut Stream, segment: &Segment<'_>) {
    stream.seen = true;
    stream.hop_limit = Some(segment.hop_limit);
    stream.sums_right = segment.sum_is_right() == Some(true);
    stream.stamp = segment.time_stamp();
}

/// Whether the receiver may never have got a segment, or refused it. `None` where it certainly refused.
fn doubts(
    own: &mut Stream,
    segment: &Segment<'_>,
    start: u64,
    signed: bool,
    counters: &mut FlowCounters,
) -> Option<bool> {
    let mut doubtful = false;
    let usual = *own.hop_limit.get_or_insert(segment.hop_limit);
    if usual.saturating_sub(segment.hop_limit) > HOPS_OFF_MAX {
        counters.low_hop_limits += 1;
        doubtful = true;
    }
    if !segment.options.is_empty() {
        if !signed && segment.options().any(|option| option.kind == Options::MD5) {
            counters.unexpected_md5 += 1;
            return None;
        }
        if let Some((kept, stamp)) = own.stamp.zip(segment.time_stamp()) {
            // RFC 7323 section 5.3, with the tolerance of one tick that Linux has.
            if (kept.wrapping_sub(stamp) as i32) > 1 {
                counters.old_time_stamps += 1;
                doubtful = true;
            } else if start <= own.next && !doubtful {
                own.stamp = Some(if (stamp.wrapping_sub(kept) as i32) > 0 { stamp } else { kept });
            }
        }
    }
    if segment.payload.is_empty() {
        return Some(doubtful);
    }
    // Newer kernels refuse all of a segment that goes beyond the window, older ones what goes beyond.
    if own.window_edge.is_some_and(|edge| start + segment.payload.len() as u64 > edge) {
        counters.out_of_window += 1;
        doubtful = true;
    }
    match segment.sum_is_right() {
        Some(true) => own.sums_right = true,
        Some(false) if own.sums_right => {
            counters.bad_checksums += 1;
            doubtful = true;
        }
        _ => {}
    }
    Some(doubtful)
}
