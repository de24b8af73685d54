//! Segments of one direction that acknowledge what their peer has not been seen to send.
//!
//! *In*: pieces as captured. *Out*: the same, once the peer was seen to have come so far. *Bound*: as a [`Store`]'s:
//! octets and pieces of a direction, octets of all flows together. *Spec*: RFC 9293 section 3.10.7.4, fifth check.
//!
//! Most of them are only captured out of order: the peer's octets come soon. The others are decoys: a receiver drops
//! what acknowledges octets that it never sent. Kept apart they cannot stand in the place of what it took.
//!
//! [`Store`]: super::store::Store

use super::connection::{Connection, Surroundings};
use super::store::Budget;
use super::stream::{Fin, Piece};
use super::{Event, Side};
use crate::limits;
use std::collections::BTreeMap;

/// One of them, with its own octets.
#[derive(Debug)]
pub(super) struct Kept {
    start: u64,
    bytes: Vec<u8>,
    cut_bytes: u64,
    due: u64,
    /// Whether the stream ends with it.
    pub(super) finishes: bool,
}

impl Kept {
    /// The piece that it is.
    pub(super) fn piece(&self) -> Piece<'_> {
        Piece { start: self.start, bytes: &self.bytes, cut_bytes: self.cut_bytes, due: self.due }
    }
}

/// Those of one direction, by what they acknowledge and the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Early {
    kept: BTreeMap<(u64, u64), Kept>,
    bytes: usize,
    came: u64,
}

impl Early {
    /// Keeps a piece. `false` where there is no room.
    pub(super) fn keep(&mut self, piece: &Piece<'_>, finishes: bool, budget: &mut Budget) -> bool {
        let bytes = piece.bytes.len();
        if self.kept.len() >= limits::OUT_OF_ORDER_SEGMENTS_MAX
            || self.bytes + bytes > limits::OUT_OF_ORDER_FLOW_BYTES_MAX / 2
            || budget.bytes + bytes > limits::OUT_OF_ORDER_TOTAL_BYTES_MAX
        {
            return false;
        }
        self.bytes += bytes;
        budget.bytes += bytes;
        self.came += 1;
        let (start, cut_bytes, due) = (piece.start, piece.cut_bytes, piece.due);
        let kept = Kept { start, bytes: piece.bytes.to_vec(), cut_bytes, due, finishes };
        self.kept.insert((due, self.came), kept);
        true
    }

    /// Takes one out that acknowledges no more than the peer has sent.
    pub(super) fn next(&mut self, peer_reached: u64, budget: &mut Budget) -> Option<Kept> {
        let entry = self.kept.first_entry().filter(|entry| entry.key().0 <= peer_reached)?;
        let kept = entry.remove();
        self.bytes = self.bytes.saturating_sub(kept.bytes.len());
        budget.bytes = budget.bytes.saturating_sub(kept.bytes.len());
        Some(kept)
    }

    /// Whether any begins before a place.
    pub(super) fn begins_before(&self, place: u64) -> bool {
        self.kept.values().any(|kept| kept.start < place)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Lets go of all.
    pub(super) fn clear(&mut self, budget: &mut Budget) {
        while self.next(u64::MAX, budget).is_some() {}
    }
}

impl Connection {
    /// Whether a piece acknowledges what its peer was not seen to send.
    pub(super) fn is_early(&mut self, side: Side, piece: &Piece<'_>) -> bool {
        let (_, peer) = self.pair(side);
        !piece.bytes.is_empty() && peer.known && peer.seen && piece.due > peer.claimed.max(peer.reached)
    }

    /// Takes pieces that acknowledge no more than their peer was seen to send by now; or all.
    pub(super) fn take_early(
        &mut self,
        all: bool,
        around: &mut Surroundings<'_>,
        emit: &mut impl FnMut(Event<'_>),
    ) {
        for side in [Side::Originator, Side::Responder] {
            loop {
                let (own, peer) = self.pair(side);
                let reached = if all { u64::MAX } else { peer.claimed.max(peer.reached) };
                let Some(early) = &mut own.early else { break };
                let kept = early.next(reached, around.budget);
                if early.is_empty() {
                    own.early = None;
                }
                let Some(kept) = kept else { break };
                let piece = kept.piece();
                let end = piece.start + piece.bytes.len() as u64 + piece.cut_bytes;
                own.reached = own.reached.max(end);
                own.said = own.said.max(end);
                peer.acked = peer.acked.max(piece.due);
                own.cover_fin(piece.start, end);
                if kept.finishes {
                    own.finish_at(Fin { from: piece.start, place: end, due: piece.due });
                }
                let peer_next = peer.reach();
                own.take(piece, peer_next, &mut around.desk(side), emit);
            }
        }
    }
}
