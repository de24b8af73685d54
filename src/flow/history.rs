//! What short segments of all connections said last, to see whether they come again and say something else.
//!
//! *In*: pieces as they are handed out. *Out*: whether a piece that comes again agrees. *Bound*:
//! `limits::HISTORY_BYTES_MAX` for all connections together; [`STEPS_MAX`] pieces are looked at. *Spec*: none.
//!
//! One ring for all: it is written in order, so a packet of one connection among many thousands touches no memory
//! of its own for it. Each piece says where the one before it of its direction stands.

use crate::limits;

/// Pieces of a direction that are looked at for one that comes again.
const STEPS_MAX: usize = 128;
/// Octets before a piece: where the one before it stands, its place in the stream, its length.
const HEAD_BYTES: usize = 8 + 8 + 2;
/// Size of the ring.
const RING: u64 = limits::HISTORY_BYTES_MAX as u64;

/// Where the last remembered piece of a direction stands; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trail(u64);

/// The ring.
#[derive(Clone, Debug, Default)]
pub struct History {
    ring: Vec<u8>,
    /// Octets ever written, rounds included.
    written: u64,
}

impl History {
    /// Remembers a piece of the direction whose trail this is. What does not fit in 16 bits is not remembered.
    pub fn remember(&mut self, trail: &mut Trail, start: u64, bytes: &[u8]) {
        let (Ok(length), size) = (u16::try_from(bytes.len()), (HEAD_BYTES + bytes.len()) as u64) else {
            return;
        };
        if self.ring.is_empty() {
            self.ring.reserve_exact(limits::HISTORY_BYTES_MAX);
            // No piece stands at 0: that means none.
            self.ring.push(0);
            self.written = 1;
        }
        // A piece never goes round the ring's end.
        if self.written % RING + size > RING {
            self.ring.resize(limits::HISTORY_BYTES_MAX, 0);
            self.written += RING - self.written % RING;
        }
        let at = (self.written % RING) as usize;
        for (from, part) in [
            (at, &trail.0.to_le_bytes()[..]),
            (at + 8, &start.to_le_bytes()),
            (at + 16, &length.to_le_bytes()),
            (at + HEAD_BYTES, bytes),
        ] {
            match self.ring.get_mut(from..from + part.len()) {
                Some(room) => room.copy_from_slice(part),
                None => self.ring.extend_from_slice(part),
            }
        }
        *trail = Trail(self.written);
        self.written += size;
    }

    /// Whether a piece that comes again says something else. `None` where what was said there is forgotten.
    pub fn contradicts(&self, trail: Trail, start: u64, bytes: &[u8]) -> Option<bool> {
        let mut at = trail;
        for _ in 0..STEPS_MAX {
            if at == Trail::default() {
                return Some(false);
            }
            let (before, said_start, said) = self.piece(at)?;
            let (from, until) =
                (said_start.max(start), (said_start + said.len() as u64).min(start + bytes.len() as u64));
            if from < until {
                let part = |start: u64| (from - start) as usize..(until - start) as usize;
                if said.get(part(said_start)) != bytes.get(part(start)) {
                    return Some(true);
                }
            }
            if said_start <= start {
                return Some(false);
            }
            at = before;
        }
        None
    }

    /// A piece, unless it was written over.
    fn piece(&self, Trail(at): Trail) -> Option<(Trail, u64, &[u8])> {
        if at + RING < self.written {
            return None;
        }
        let (head, rest) = self.ring.get((at % RING) as usize..)?.split_at_checked(HEAD_BYTES)?;
        let word =
            |from: usize| head.get(from..from + 8)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let length = u16::from_le_bytes(*head.get(16..)?.first_chunk()?);
        Some((Trail(word(0)?), word(8)?, rest.get(..usize::from(length))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_direction_knows_what_it_said() {
        let (mut history, mut one, mut other) = (History::default(), Trail::default(), Trail::default());
        assert_eq!(history.contradicts(one, 100, b"x"), Some(false));
        for (place, text) in [(100, "MAIL"), (104, "RCPT"), (108, "DATA")] {
            history.remember(&mut one, place, text.as_bytes());
            history.remember(&mut other, place, b"....");
        }
        for (place, again, differs) in [
            (100, "MAILRCPTDATA", false),
            (102, "ILRC", false),
            (102, "ILRX", true),
            (90, "..........MXIL", true),
        ] {
            assert_eq!(history.contradicts(one, place, again.as_bytes()), Some(differs), "{again}");
        }
        assert_eq!(history.contradicts(other, 104, b"RCPT"), Some(true));
        // Nothing is known of what was too long to be remembered.
        assert_eq!(history.contradicts(one, 112, b"more"), Some(false));
    }

    #[test]
    fn the_ring_goes_round_and_says_what_it_forgot() {
        let mut history = History::default();
        let mut trails = [Trail::default(); 3];
        let text = |place: u64| vec![(place % 251) as u8; 1 + (place % 300) as usize];
        let mut place = 0;
        while history.written < 3 * RING {
            for trail in &mut trails[..2] {
                history.remember(trail, place, &text(place));
            }
            if place == 0 {
                history.remember(&mut trails[2], 0, b"early");
            }
            place += 300;
            assert!(history.ring.len() <= limits::HISTORY_BYTES_MAX);
        }
        let last = place - 300;
        for trail in &trails[..2] {
            assert_eq!(history.contradicts(*trail, last, &text(last)), Some(false));
            assert_eq!(history.contradicts(*trail, last - 3_000, &text(last - 3_000)), Some(false));
            assert_eq!(history.contradicts(*trail, last - 3_000, b"no"), Some(true));
            assert_eq!(history.contradicts(*trail, 0, b"no"), None);
        }
        assert_eq!(history.contradicts(trails[2], 0, b"early"), None);
    }
}
