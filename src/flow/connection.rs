//! One TCP connection as a bystander sees it.
//!
//! *In*: its segments as captured: late, twice, overlapping, some missing, some forged. *Out*: [`Event`]s.
//! *Bound*: two [`Store`]s; patience with a hole is counted in packets and in event time.
//! *Spec*: RFC 9293 section 3.10.7, RFC 5961; where they leave a choice, Linux.
//!
//! The order of the capture is not the order of the dialogue: span ports merge two directions, and
//! queues overtake each other. But every segment says what its sender had already received. So an octet
//! is handed out once its own stream has come to it *and* the other stream has come to what it
//! acknowledges. A reply then never comes before its command, however the capture was shuffled.

use super::segment::{Flags, Options, Segment};
use super::store::{Budget, Store};
use super::{Event, FlowCounters, Side};
use crate::time::Timestamp;

/// Packets of the connection for which a hole that the receiver does not have is waited for.
const PATIENCE_PACKETS: u32 = 64;
/// Event time for the same, seconds.
const PATIENCE_SECONDS: f64 = 1.0;
/// The same where only one direction is captured, so that nobody can say whether the octets arrived:
/// long enough for a retransmission.
const PATIENCE_ONE_SIDED_SECONDS: f64 = 5.0;
/// Distance beyond which sequence and acknowledgment numbers are not believed: the largest window
/// (RFC 7323 section 2.3).
const WINDOW_MAX: u64 = 1 << 30;

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

/// One direction.
#[derive(Debug, Default)]
struct Stream {
    /// Whether `next` means anything.
    known: bool,
    /// Whether any segment of this side was seen.
    seen: bool,
    /// The next octet to hand out. Sequence numbers are counted on beyond 32 bits.
    next: u64,
    /// What the peer acknowledged.
    acked: u64,
    /// Where FIN stands, and what must come before it.
    fin: Option<(u64, u64)>,
    finished: bool,
    /// The hole given up last, while nothing after it was handed out.
    gap_start: Option<u64>,
    store: Store,
}

impl Stream {
    /// The place of a sequence number in the stream: the nearest to the cursor.
    fn place(&self, sequence: u32) -> u64 {
        let distance = sequence.wrapping_sub(self.next as u32) as i32;
        self.next.wrapping_add_signed(i64::from(distance))
    }

    /// Begins at a sequence number, far enough from 0 that places before it exist.
    fn begin(&mut self, sequence: u32) {
        self.next = (1 << 32) + u64::from(sequence);
        self.acked = self.next;
        self.known = true;
    }

    fn waits(&self) -> bool {
        !self.store.is_empty() || (self.fin.is_some() && !self.finished)
    }
}

/// A connection and what is waiting in it.
#[derive(Debug)]
pub struct Connection {
    phase: Phase,
    originator: Stream,
    responder: Stream,
    /// Since when, and for how many packets, something waits.
    blocked: Option<(Timestamp, u32)>,
    /// Whether its SYN was signed (RFC 2385).
    signed: bool,
    /// Whether it was picked up without its handshake.
    midstream: bool,
    /// A reset was seen that the receiver need not have honoured.
    doubtful_reset: bool,
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

impl Connection {
    /// A connection that begins with this segment, which `side` sent.
    pub fn new(side: Side, segment: &Segment<'_>) -> Connection {
        let opens = segment.flags.has(Flags::SYN);
        Connection {
            phase: if opens && side == Side::Originator { Phase::SynSent } else { Phase::Open },
            originator: Stream::default(),
            responder: Stream::default(),
            blocked: None,
            signed: false,
            midstream: !opens,
            doubtful_reset: false,
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

    /// Whether originator and responder are seen once this side has sent a segment.
    pub fn seen_after(&self, side: Side) -> (bool, bool) {
        (self.originator.seen || side == Side::Originator, self.responder.seen || side == Side::Responder)
    }

    /// Whether a side has said that it sends no more.
    pub fn saw_finish(&self) -> bool {
        self.originator.finished || self.responder.finished
    }

    /// Whether a reset was seen, honoured or not.
    pub fn saw_reset(&self) -> bool {
        self.doubtful_reset
    }

    fn stream(&self, side: Side) -> &Stream {
        match side {
            Side::Originator => &self.originator,
            Side::Responder => &self.responder,
        }
    }

    fn pair(&mut self, side: Side) -> (&mut Stream, &mut Stream) {
        match side {
            Side::Originator => (&mut self.originator, &mut self.responder),
            Side::Responder => (&mut self.responder, &mut self.originator),
        }
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
        if !self.signed && segment.options().any(|option| option.kind == Options::MD5) {
            around.counters.unexpected_md5 += 1;
            return;
        }
        let Some(due) = self.acknowledge(side, segment, around) else { return };
        self.open(side, emit);
        let (own, peer) = self.pair(side);
        own.seen = true;
        if !own.known {
            own.begin(segment.sequence);
        }
        let start = own.place(segment.sequence);
        if segment.flags.has(Flags::FIN) && !own.finished {
            own.fin = Some((start + segment.payload.len() as u64 + u64::from(segment.cut_bytes), due));
        }
        let peer_next = if peer.seen && peer.known { peer.next } else { u64::MAX };
        if !segment.payload.is_empty() || segment.cut_bytes > 0 {
            take(side, own, (start, segment, due), peer_next, around, emit);
        }
        if self.originator.waits() || self.responder.waits() {
            self.pump(around, emit);
            self.lose_patience(around, emit);
        }
    }

    /// Notes what a segment acknowledges. Gives the place in the peer's stream; `None` where it is absurd.
    fn acknowledge(
        &mut self,
        side: Side,
        segment: &Segment<'_>,
        around: &mut Surroundings<'_>,
    ) -> Option<u64> {
        let (_, peer) = self.pair(side);
        if !peer.known {
            return Some(0);
        }
        let place = peer.place(segment.acknowledgment);
        // SYN and FIN take a number each, but are no octets.
        let fin_place = peer.fin.map_or(u64::MAX, |(place, _)| place);
        let due = if place > fin_place { fin_place } else { place };
        if due > peer.next.saturating_add(WINDOW_MAX) || place.saturating_add(WINDOW_MAX) < peer.next {
            around.counters.far_acknowledgments += 1;
            return None;
        }
        peer.acked = peer.acked.max(due);
        Some(due)
    }

    fn open(&mut self, side: Side, emit: &mut impl FnMut(Event<'_>)) {
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

    fn synchronise(&mut self, side: Side, segment: &Segment<'_>, around: &mut Surroundings<'_>) {
        let answer = segment.flags.has(Flags::ACK);
        match (side, self.phase) {
            (Side::Originator, Phase::SynSent) if !answer => {
                self.originator.begin(segment.sequence.wrapping_add(1));
                self.originator.seen = true;
                self.signed = segment.options().any(|option| option.kind == Options::MD5);
            }
            (Side::Responder, Phase::SynSent) if answer => {
                // Which of several SYNs the responder took is told by what it acknowledges.
                self.originator.begin(segment.acknowledgment);
                self.responder.begin(segment.sequence.wrapping_add(1));
                self.responder.seen = true;
                self.phase = Phase::SynReceived;
            }
            (Side::Responder, Phase::Open) if answer && !self.responder.known && !self.originator.seen => {
                self.originator.begin(segment.acknowledgment);
                self.responder.begin(segment.sequence.wrapping_add(1));
                self.responder.seen = true;
                self.phase = Phase::SynReceived;
            }
            (Side::Originator, Phase::SynReceived) if !answer => {}
            (Side::Responder, Phase::SynReceived) if answer => {}
            _ => around.counters.bad_flags += 1,
        }
    }

    /// RFC 5961 section 3: a receiver honours a reset only at the exact number that it expects.
    fn reset(
        &mut self,
        side: Side,
        segment: &Segment<'_>,
        around: &mut Surroundings<'_>,
        emit: &mut impl FnMut(Event<'_>),
    ) {
        if self.phase == Phase::SynSent {
            if side == Side::Responder
                && segment.flags.has(Flags::ACK)
                && segment.acknowledgment == self.originator.next as u32
            {
                self.responder.seen = true;
                self.phase = Phase::Refused;
            } else if side == Side::Originator {
                self.phase = Phase::Closed;
            }
            return;
        }
        let stream = self.stream(side);
        let place = stream.place(segment.sequence);
        let fin = stream.fin.map(|(place, _)| place.saturating_add(1));
        if stream.known && place != stream.next && place != stream.acked && fin != Some(place) {
            around.counters.bad_resets += 1;
            self.doubtful_reset = true;
            return;
        }
        self.flush(around, emit);
        self.phase = Phase::Closed;
        self.doubtful_reset = true;
        emit(Event::Reset);
    }

    /// Hands out whatever has become due on either side.
    fn pump(&mut self, around: &mut Surroundings<'_>, emit: &mut impl FnMut(Event<'_>)) {
        loop {
            let mut moved = false;
            for side in [Side::Originator, Side::Responder] {
                let (own, peer) = self.pair(side);
                let peer_next = if peer.seen && peer.known { peer.next } else { u64::MAX };
                while let Some(bytes) = own.store.ready(own.next, peer_next, around.budget) {
                    own.next += bytes.len() as u64;
                    own.gap_start = None;
                    emit(Event::Bytes(side, bytes));
                    moved = true;
                }
                if let Some((place, due)) = own.fin
                    && !own.finished
                    && own.next >= place
                    && due <= peer_next
                {
                    own.finished = true;
                    own.store.clear(around.budget);
                    emit(Event::Finished(side));
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        if self.originator.finished && self.responder.finished {
            self.phase = Phase::Closed;
        }
    }

    /// Gives a hole up that was waited for long enough.
    fn lose_patience(&mut self, around: &mut Surroundings<'_>, emit: &mut impl FnMut(Event<'_>)) {
        if !self.originator.waits() && !self.responder.waits() {
            self.blocked = None;
            return;
        }
        let (since, packets) = self.blocked.unwrap_or((around.at, 0));
        self.blocked = Some((since, packets.saturating_add(1)));
        let waited = around.at.seconds_since(since);
        let given_up = if self.is_two_way() {
            (packets >= PATIENCE_PACKETS || waited >= PATIENCE_SECONDS) && self.skip(true, around, emit)
        } else {
            (packets >= PATIENCE_PACKETS || waited >= PATIENCE_ONE_SIDED_SECONDS)
                && self.skip(false, around, emit)
        };
        if given_up {
            self.pump(around, emit);
            let still = self.originator.waits() || self.responder.waits();
            self.blocked = still.then_some((around.at, 0));
        }
    }

    /// Skips one hole. With `proven`, only one that the receiver acknowledged: it has what we miss.
    fn skip(
        &mut self,
        proven: bool,
        around: &mut Surroundings<'_>,
        emit: &mut impl FnMut(Event<'_>),
    ) -> bool {
        for side in [Side::Originator, Side::Responder] {
            let (own, _) = self.pair(side);
            if !own.known {
                continue;
            }
            let next = own.next;
            let after = own.store.start().filter(|start| *start > next).into_iter();
            let after = after.chain(own.fin.map(|(place, _)| place).filter(|place| *place > next)).min();
            // A run at the cursor waits for the other side: there is no hole here.
            if own.store.start().is_some_and(|start| start <= next) {
                continue;
            }
            let acked = Some(own.acked).filter(|acked| *acked > next);
            let until = match (after, acked) {
                (Some(after), Some(acked)) => after.min(acked),
                (None, Some(acked)) => acked,
                (Some(after), None) if !proven => after,
                _ => continue,
            };
            own.gap_start = Some(next);
            own.next = until;
            around.counters.gaps += 1;
            around.counters.gap_bytes += until - next;
            emit(Event::Gap(side, until - next));
            return true;
        }
        false
    }

    /// Nothing more will come: hands out what waits, with the gaps that remain.
    pub fn flush(&mut self, around: &mut Surroundings<'_>, emit: &mut impl FnMut(Event<'_>)) {
        while self.originator.waits() || self.responder.waits() {
            self.pump(around, emit);
            if !(self.originator.waits() || self.responder.waits()) {
                break;
            }
            if !self.skip(true, around, emit) && !self.skip(false, around, emit) {
                break;
            }
        }
        self.originator.store.clear(around.budget);
        self.responder.store.clear(around.budget);
    }
}

/// Hands out octets that are due, and keeps those that are early.
fn take(
    side: Side,
    own: &mut Stream,
    (mut start, segment, due): (u64, &Segment<'_>, u64),
    peer_next: u64,
    around: &mut Surroundings<'_>,
    emit: &mut impl FnMut(Event<'_>),
) {
    let mut payload = segment.payload;
    let end = start + payload.len() as u64 + u64::from(segment.cut_bytes);
    if let Some(gap_start) = own.gap_start
        && (gap_start..own.next).contains(&start)
    {
        // What was believed lost comes after all, and nothing behind it was handed out: go back.
        own.next = start;
        own.gap_start = None;
    }
    if end <= own.next {
        around.counters.retransmitted_bytes += payload.len() as u64;
        return;
    }
    if start < own.next {
        let known = ((own.next - start) as usize).min(payload.len());
        around.counters.retransmitted_bytes += known as u64;
        payload = payload.get(known..).unwrap_or_default();
        start = own.next;
    }
    if start > own.next.saturating_add(WINDOW_MAX) {
        around.counters.out_of_window += 1;
        return;
    }
    if own.finished || own.fin.is_some_and(|(place, _)| start >= place) {
        around.counters.out_of_window += 1;
        return;
    }
    if start > own.next || due > peer_next {
        let kept = own.store.insert(start, payload, due, around.budget);
        around.counters.early_segments_dropped += u64::from(kept.evicted);
        around.counters.conflicting_overlaps += u64::from(kept.conflict);
        return;
    }
    own.next += payload.len() as u64;
    own.gap_start = None;
    if !payload.is_empty() {
        emit(Event::Bytes(side, payload));
    }
    if end > own.next {
        // The capture kept only the beginning of the segment.
        let cut_bytes = end - own.next;
        own.next = end;
        around.counters.gaps += 1;
        around.counters.gap_bytes += cut_bytes;
        emit(Event::Gap(side, cut_bytes));
    }
}
