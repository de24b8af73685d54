//! IP datagrams out of their fragments.
//!
//! *In*: [`FragmentSlice`]s in the order of the capture. *Out*: [`Assembled`]. *Bound*:
//! `limits::FRAGMENTED_DATAGRAMS_MAX`, `limits::FRAGMENTS_BYTES_MAX`, half a minute. *Spec*: RFC 791 section 3.2,
//! RFC 8200 section 4.5, RFC 5722; where they leave a choice, Linux: a piece that is there already is passed over, and
//! one that overlaps another otherwise ends the datagram. So there are never two readings.

use super::link::{Found, FragmentSlice, IpSlice, Undecodable, found};
use crate::limits;
use crate::time::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;

/// How long a datagram waits for its pieces, seconds, as Linux has it (`ipfrag_time`).
const WAIT_SECONDS: f64 = 30.0;
/// Longest payload of a datagram, octets.
const PAYLOAD_BYTES_MAX: usize = 65_535;
/// What a piece costs beside its octets.
const PIECE_BYTES: usize = 64;

/// What became of fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FragmentCounters {
    /// Datagrams put together.
    pub assembled: u64,
    /// Fragments that cannot belong to a datagram: too long, misplaced, or cut by the capture.
    pub refused: u64,
    /// Datagrams given up because pieces overlap.
    pub overlapping: u64,
    /// Datagrams given up because pieces did not come in time.
    pub expired: u64,
    /// Datagrams given up because there were too many.
    pub evicted: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    identification: u32,
}

#[derive(Debug)]
struct Open {
    number: u64,
    pieces: BTreeMap<usize, Vec<u8>>,
    /// Octets of the pieces.
    have: usize,
    /// Length of the whole, once the last piece is here.
    length: Option<usize>,
    hop_limit: u8,
    protocol: u8,
}

/// A datagram put together.
#[derive(Debug)]
pub struct Assembled {
    source: IpAddr,
    destination: IpAddr,
    hop_limit: u8,
    protocol: u8,
    payload: Vec<u8>,
}

impl Assembled {
    /// What it holds, tunnels taken off.
    pub fn found(&self) -> Result<Found<'_>, Undecodable> {
        let ip = IpSlice {
            source: self.source,
            destination: self.destination,
            hop_limit: self.hop_limit,
            protocol: self.protocol,
            payload: &self.payload,
            cut_bytes: 0,
        };
        found(Found::Whole(ip), 0)
    }
}

/// Datagrams that wait for pieces. Hashed with a key of the process, since names are an attacker's choice; nothing
/// depends on the order of the map.
#[derive(Debug, Default)]
pub struct Fragments {
    open: HashMap<Key, Open>,
    /// Oldest first; an entry whose number is not the datagram's is a leftover.
    order: VecDeque<(Timestamp, u64, Key)>,
    numbers: u64,
    bytes: usize,
    counters: FragmentCounters,
}

impl Fragments {
    /// What became of fragments so far.
    pub fn counters(&self) -> FragmentCounters {
        self.counters
    }

    /// Takes one piece. Gives the whole where this was the last that was missing.
    pub fn add(&mut self, piece: &FragmentSlice<'_>, at: Timestamp) -> Option<Assembled> {
        self.expire(at);
        let (start, length) = (piece.start as usize, piece.ip.payload.len());
        let end = start + length;
        // All pieces but the last are whole units of eight octets.
        if length == 0 || end > PAYLOAD_BYTES_MAX || piece.ip.cut_bytes > 0 || (piece.more && length % 8 != 0)
        {
            self.counters.refused += 1;
            return None;
        }
        let key = Key {
            source: piece.ip.source,
            destination: piece.ip.destination,
            // Each fragment of IPv6 may name another next header: the first one's counts (RFC 8200).
            protocol: if piece.ip.source.is_ipv4() { piece.ip.protocol } else { 0 },
            identification: piece.identification,
        };
        self.make_room(length + PIECE_BYTES);
        let number = self.numbers;
        let open = self.open.entry(key).or_insert_with(|| Open {
            number,
            pieces: BTreeMap::new(),
            have: 0,
            length: None,
            hop_limit: piece.ip.hop_limit,
            protocol: piece.ip.protocol,
        });
        if open.number == number {
            self.numbers += 1;
            self.order.push_back((at, number, key));
        }
        let misplaced = match open.length {
            Some(known) => end > known || (!piece.more && end != known),
            None => !piece.more && open.reach() > end,
        };
        if !misplaced && open.holds(start, end) {
            return None;
        }
        if misplaced || open.overlaps(start, end) {
            self.counters.overlapping += 1;
            self.forget(&key);
            return None;
        }
        if !piece.more {
            open.length = Some(end);
        }
        if start == 0 {
            (open.hop_limit, open.protocol) = (piece.ip.hop_limit, piece.ip.protocol);
        }
        open.have += length;
        open.pieces.insert(start, piece.ip.payload.to_vec());
        let complete = open.length == Some(open.have);
        self.bytes += length + PIECE_BYTES;
        if !complete {
            return None;
        }
        self.counters.assembled += 1;
        let open = self.forget(&key)?;
        let payload = open.pieces.into_values().flatten().collect();
        let Open { hop_limit, protocol, .. } = open;
        Some(Assembled { source: key.source, destination: key.destination, hop_limit, protocol, payload })
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some((since, number, key)) = self.order.front().copied() {
            let waits = self.open.get(&key).is_some_and(|open| open.number == number);
            if waits && now.seconds_since(since) < WAIT_SECONDS {
                return;
            }
            self.order.pop_front();
            if waits {
                self.counters.expired += 1;
                self.forget(&key);
            }
        }
    }

    fn make_room(&mut self, bytes: usize) {
        while self.open.len() >= limits::FRAGMENTED_DATAGRAMS_MAX
            || self.bytes + bytes > limits::FRAGMENTS_BYTES_MAX
            || self.order.len() >= 4 * limits::FRAGMENTED_DATAGRAMS_MAX
        {
            let Some((_, number, key)) = self.order.pop_front() else { return };
            if self.open.get(&key).is_some_and(|open| open.number == number) {
                self.counters.evicted += 1;
                self.forget(&key);
            }
        }
    }

    fn forget(&mut self, key: &Key) -> Option<Open> {
        let open = self.open.remove(key)?;
        self.bytes = self.bytes.saturating_sub(open.have + open.pieces.len() * PIECE_BYTES);
        Some(open)
    }
}

impl Open {
    /// Where the last piece that is here ends.
    fn reach(&self) -> usize {
        self.pieces.last_key_value().map_or(0, |(start, bytes)| start + bytes.len())
    }

    /// Whether all of a piece is here already.
    fn holds(&self, start: usize, end: usize) -> bool {
        let Some((first, _)) = self.pieces.range(..=start).next_back() else { return false };
        let mut reached = start;
        for (place, bytes) in self.pieces.range(*first..end) {
            if *place > reached {
                return false;
            }
            reached = reached.max(place + bytes.len());
        }
        reached >= end
    }

    fn overlaps(&self, start: usize, end: usize) -> bool {
        self.pieces.range(..end).next_back().is_some_and(|(place, bytes)| place + bytes.len() > start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(identification: u32, start: u32, payload: &[u8], more: bool) -> FragmentSlice<'_> {
        let ip = IpSlice {
            source: "10.0.0.1".parse().unwrap(),
            destination: "192.0.2.1".parse().unwrap(),
            hop_limit: 61,
            protocol: 6,
            payload,
            cut_bytes: 0,
        };
        FragmentSlice { ip, identification, start, more }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(second)
    }

    #[test]
    fn pieces_in_any_order_make_the_whole() {
        let whole: Vec<u8> = (0..=60).collect();
        let parts = [(0, 0..24, true), (24, 24..48, true), (48, 48..61, false)];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            let mut fragments = Fragments::default();
            let mut result = None;
            for i in order {
                let (start, range, more) = parts[i].clone();
                assert!(result.is_none());
                result = fragments.add(&piece(7, start, &whole[range], more), at(1));
            }
            let assembled = result.unwrap();
            let Ok(Found::Whole(ip)) = assembled.found() else { panic!("a datagram") };
            assert_eq!((ip.payload, ip.hop_limit, ip.protocol), (&whole[..], 61, 6));
            assert_eq!((fragments.bytes, fragments.open.len()), (0, 0));
        }
    }

    #[test]
    fn what_is_there_already_is_passed_over_and_an_overlap_ends_it() {
        let mut fragments = Fragments::default();
        fragments.add(&piece(1, 0, &[1; 16], true), at(1));
        fragments.add(&piece(1, 16, &[2; 16], true), at(1));
        assert!(fragments.add(&piece(1, 8, &[9; 16], true), at(1)).is_none());
        assert_eq!(fragments.counters.overlapping, 0);
        assert!(fragments.add(&piece(1, 32, &[3; 5], false), at(1)).is_some());
        fragments.add(&piece(2, 8, &[1; 16], true), at(1));
        fragments.add(&piece(2, 0, &[9; 16], true), at(1));
        assert_eq!(fragments.counters.overlapping, 1);
        fragments.add(&piece(3, 0, &[1; 16], true), at(1));
        fragments.add(&piece(3, 8, &[1; 4], false), at(1));
        assert_eq!((fragments.counters.overlapping, fragments.bytes), (2, 0));
    }

    #[test]
    fn what_cannot_be_is_refused_and_what_does_not_come_is_given_up() {
        let mut fragments = Fragments::default();
        for bad in [piece(1, 0, &[0; 7], true), piece(1, 65_528, &[0; 16], false), piece(1, 0, &[], true)] {
            assert!(fragments.add(&bad, at(1)).is_none());
        }
        assert_eq!((fragments.counters.refused, fragments.open.len()), (3, 0));
        fragments.add(&piece(1, 0, &[0; 8], true), at(1));
        fragments.add(&piece(2, 0, &[0; 8], true), at(40));
        assert_eq!((fragments.counters.expired, fragments.open.len()), (1, 1));
    }

    #[test]
    fn a_flood_of_first_fragments_stays_within_its_bound() {
        let mut fragments = Fragments::default();
        let payload = vec![0; 1_480];
        for identification in 0..20_000 {
            fragments.add(&piece(identification, 0, &payload, true), at(1));
        }
        assert!(fragments.open.len() <= limits::FRAGMENTED_DATAGRAMS_MAX);
        assert!(fragments.bytes <= limits::FRAGMENTS_BYTES_MAX);
        assert_eq!(fragments.counters.evicted, 20_000 - fragments.open.len() as u64);
        assert!(fragments.order.len() <= 4 * limits::FRAGMENTED_DATAGRAMS_MAX);
    }
}
