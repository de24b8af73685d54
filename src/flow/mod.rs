//! TCP connections from packets: octets in order, or an explicit gap.
//!
//! *In*: segments. *Out*: [`Event`]s of one connection in the order of cause and effect: an octet comes
//! after everything that its sender had acknowledged. *Bound*: `limits::FLOWS_MAX`,
//! `limits::FLOWS_HALF_OPEN_MAX`, `limits::OUT_OF_ORDER_*`. *Spec*: RFC 9293; overlaps as Linux.

pub mod connection;
mod early;
pub mod history;
mod patience;
pub mod segment;
pub mod store;
mod stream;
pub mod table;

pub use connection::{Connection, Phase};
pub use segment::{Flags, Segment};
pub use store::Budget;
pub use table::{FlowKey, Table};

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The end that opened it.
    Originator,
    /// The end that answered.
    Responder,
}

impl Side {
    /// The other end.
    pub fn peer(self) -> Side {
        match self {
            Side::Originator => Side::Responder,
            Side::Responder => Side::Originator,
        }
    }
}

/// What happens on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The handshake was completed.
    Opened,
    /// Octets in order.
    Bytes(Side, &'a [u8]),
    /// Octets that the capture has not; 0 where it cannot be told how many.
    Gap(Side, u64),
    /// This side sends no more.
    Finished(Side),
    /// The connection was reset.
    Reset,
}

/// Segments that a receiver would not have taken, by reason, and other manners of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct FlowCounters {
    /// Segments without ACK, or with SYN, in the middle of a connection.
    pub bad_flags: u64,
    /// Segments signed with MD5 on connections that do not sign (RFC 2385).
    pub unexpected_md5: u64,
    /// Resets that the receiver would not have honoured.
    pub bad_resets: u64,
    /// Acknowledgments of what cannot have been sent.
    pub far_acknowledgments: u64,
    /// Segments far outside of what the receiver takes.
    pub out_of_window: u64,
    /// Segments with a wrong checksum where others of their side had a right one.
    pub bad_checksums: u64,
    /// Segments that would not live to the receiver.
    pub low_hop_limits: u64,
    /// Segments with a time stamp from the past (RFC 7323 section 5).
    pub old_time_stamps: u64,
    /// Pieces of doubtful segments that the receiver acknowledged after all.
    pub doubtful_confirmed: u64,
    /// Segments with urgent data.
    pub urgent: u64,
    /// Octets that came again.
    pub retransmitted_bytes: u64,
    /// Two versions of the same octets.
    pub conflicting_overlaps: u64,
    /// Holes that were given up.
    pub gaps: u64,
    /// Octets in those holes.
    pub gap_bytes: u64,
    /// Early segments that did not fit.
    pub early_segments_dropped: u64,
    /// Octets that came again after what they had said was forgotten.
    pub forgotten_overlaps: u64,
}
