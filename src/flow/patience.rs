//! How long a hole is waited for, and what is handed out meanwhile.
//!
//! *In*: the two streams of a connection. *Out*: octets in order, or an explicit gap. *Bound*: packets and event
//! time. *Spec*: RFC 6298 section 2.4 for how long a sender retransmits.

use super::connection::{Connection, Phase, Surroundings};
use super::stream::Fin;
use super::{Event, Side};

/// Packets of the connection for which a hole is waited for that the receiver does not have.
const PATIENCE_PACKETS: u32 = 64;
/// Event time for the same, seconds.
const PATIENCE_SECONDS: f64 = 1.0;
/// The same where only one direction is captured, or only one side speaks of the octets, seconds: long
/// enough for a retransmission.
const PATIENCE_ONE_SIDED_SECONDS: f64 = 5.0;
/// The same where the receiver has not acknowledged the octets: as long as a sender retransmits
/// (RFC 6298 section 2.4 lets it wait a minute).
const PATIENCE_UNPROVEN_SECONDS: f64 = 60.0;

/// How much speaks for octets having arrived that were not captured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// The receiver acknowledged them, and the sender went on behind them.
    Both,
    /// The receiver acknowledged them.
    Receiver,
    /// Nothing.
    None,
}

impl Connection {
    /// Hands out whatever has become due on either side.
    pub(super) fn pump(&mut self, around: &mut Surroundings<'_>, emit: &mut impl FnMut(Event<'_>)) {
        loop {
            let mut moved = false;
            for side in [Side::Originator, Side::Responder] {
                let (own, peer) = self.pair(side);
                let peer_next = peer.reach();
                let desk = &mut around.desk(side);
                moved |= own.drain(peer_next, desk, emit);
                moved |= own.believe(peer_next, desk, emit);
                if let Some(Fin { place, due, .. }) = own.fin
                    && !own.finished
                    && own.next >= place
                    && due <= peer_next
                    && (own.fin_acked || own.disputed().is_none())
                {
                    own.finished = true;
                    own.clear(around.budget);
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
    pub(super) fn lose_patience(&mut self, around: &mut Surroundings<'_>, emit: &mut impl FnMut(Event<'_>)) {
        let two_way = self.is_two_way();
        for side in [Side::Originator, Side::Responder] {
            let (own, _) = self.pair(side);
            if !own.waits() {
                own.blocked = None;
                continue;
            }
            let same = own.blocked.filter(|(place, _, _)| *place == own.next);
            let (place, since, packets) = same.unwrap_or((own.next, around.at, 0));
            own.blocked = Some((place, since, packets.saturating_add(1)));
            let waited = around.at.seconds_since(since);
            let many = packets >= PATIENCE_PACKETS;
            let early_acked = own.acked > own.next
                && own.early.as_ref().is_some_and(|early| early.begins_before(own.acked));
            if waited >= PATIENCE_ONE_SIDED_SECONDS || (early_acked && (many || waited >= PATIENCE_SECONDS)) {
                self.take_early(true, around, emit);
            }
            let given_up = if two_way {
                ((many || waited >= PATIENCE_SECONDS) && self.skip(side, Proof::Both, around, emit))
                    || (waited >= PATIENCE_ONE_SIDED_SECONDS
                        && self.skip(side, Proof::Receiver, around, emit))
                    || (waited >= PATIENCE_UNPROVEN_SECONDS && self.skip(side, Proof::None, around, emit))
            } else {
                (many || waited >= PATIENCE_ONE_SIDED_SECONDS) && self.skip(side, Proof::None, around, emit)
            };
            let patience_ends = !two_way && many || waited >= PATIENCE_ONE_SIDED_SECONDS;
            if given_up || (patience_ends && self.undispute()) {
                self.pump(around, emit);
            }
        }
    }

    /// Skips the hole that `waiting` waits for, if there is so much proof that the receiver has what we
    /// miss. Says whether there was.
    pub(super) fn skip(
        &mut self,
        waiting: Side,
        proof: Proof,
        around: &mut Surroundings<'_>,
        emit: &mut impl FnMut(Event<'_>),
    ) -> bool {
        let (own, peer) = self.pair(waiting);
        if !own.waits() {
            return false;
        }
        // What stands at the cursor waits for octets of the peer; else the own stream has the hole. Skip no
        // further than what the other side's next octets want: after those it may have said more.
        let own_wants = own.wants().filter(|due| *due > peer.next);
        let (side, hole, wanted) = match own_wants {
            Some(due) => (waiting.peer(), peer, Some(due)),
            None => {
                let wanted = peer.will_want().filter(|due| *due > own.next);
                (waiting, own, wanted)
            }
        };
        let next = hole.next;
        let fin = hole.fin.map(|fin| fin.place);
        let after = hole.store.start().into_iter().chain(fin).filter(|place| *place > next).min();
        let proven = match proof {
            // One side alone can claim what it likes; so both must have come that far.
            Proof::Both => hole.acked.min(hole.reached),
            Proof::Receiver => hole.acked,
            Proof::None => u64::MAX,
        };
        let until = [after, wanted, Some(proven), fin].into_iter().flatten().min().unwrap_or(next);
        if !hole.known || until <= next || until == u64::MAX {
            return false;
        }
        hole.skip_to(until, &mut around.desk(side), emit);
        true
    }

    /// No acknowledgment tells whether a FIN was taken, and octets stand behind it: reads those.
    fn undispute(&mut self) -> bool {
        let mut any = false;
        for stream in [&mut self.originator, &mut self.responder] {
            if stream.disputed().is_some_and(|place| stream.next >= place) {
                stream.forget_fin();
                any = true;
            }
        }
        any
    }

    /// Nothing more will come: hands out what waits, with the gaps that remain.
    pub fn flush(&mut self, around: &mut Surroundings<'_>, emit: &mut impl FnMut(Event<'_>)) {
        self.take_early(true, around, emit);
        while self.waits() {
            self.pump(around, emit);
            if !self.waits() {
                break;
            }
            let both = [Side::Originator, Side::Responder];
            let skipped = both.into_iter().any(|side| self.skip(side, Proof::Both, around, emit))
                || both.into_iter().any(|side| self.skip(side, Proof::None, around, emit));
            if !skipped && !self.undispute() {
                break;
            }
        }
        self.originator.clear(around.budget);
        self.responder.clear(around.budget);
    }
}
