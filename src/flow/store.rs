//! Octets of one direction that came before their turn.
//!
//! *In*: pieces at a place in the stream. *Out*: the octets at the cursor, as a Linux receiver would have
//! them. *Bound*: octets and runs of one direction; all flows share a [`Budget`]. *Spec*: overlaps as
//! measured on Linux 6.18 (docs/architecture.md): what starts first is kept, and of two that start
//! together the longer.
//!
//! Linux keeps overlapping pieces whole and sorted, joins a piece to the run that it continues, drops
//! what an earlier run covers, and replaces what a new piece covers. So do we: the order of arrival then
//! decides exactly as it does there, also among three.

use super::history::History;
use crate::limits;
use std::collections::BTreeMap;

/// What all flows together may keep.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    /// Early octets kept now.
    pub bytes: usize,
    /// What short segments said last.
    pub history: History,
}

/// What became of a piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// It did not fit and was dropped.
    pub evicted: bool,
    /// It says something else than what was there.
    pub conflict: bool,
}

/// Pieces joined where one continued the other.
#[derive(Debug)]
struct Run {
    bytes: Vec<u8>,
    /// From which place on, the peer's stream must have come how far before these octets are due.
    due: Vec<(u64, u64)>,
}

impl Run {
    fn end(&self, start: u64) -> u64 {
        start + self.bytes.len() as u64
    }
}

/// The early octets of one direction.
#[derive(Debug, Default)]
pub struct Store {
    runs: BTreeMap<u64, Run>,
    bytes: usize,
}

impl Store {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Where the first run starts.
    pub fn start(&self) -> Option<u64> {
        self.runs.first_key_value().map(|(start, _)| *start)
    }

    /// Keeps a piece that starts at `start` and is due once the peer's stream has come to `due`.
    pub fn insert(&mut self, start: u64, bytes: &[u8], due: u64, budget: &mut Budget) -> Kept {
        let mut kept = Kept::default();
        let end = start + bytes.len() as u64;
        let before = self.runs.range_mut(..=start).next_back();
        let mut at = start;
        if let Some((&run_start, run)) = before {
            let run_end = run.end(run_start);
            kept.conflict |= differs(run_start, &run.bytes, start, bytes);
            if end <= run_end {
                return kept;
            }
            if run_end == start && fits(self.bytes, bytes.len(), budget) {
                run.bytes.extend_from_slice(bytes);
                if run.due.last().is_none_or(|(_, last)| *last != due) {
                    run.due.push((start, due));
                }
                at = run_start;
                self.bytes += bytes.len();
                budget.bytes += bytes.len();
                kept.conflict |= self.merge_right(at, start, end, budget);
                return kept;
            }
        }
        if self.runs.len() >= limits::OUT_OF_ORDER_SEGMENTS_MAX || !fits(self.bytes, bytes.len(), budget) {
            kept.evicted = true;
            return kept;
        }
        if let Some(replaced) = self.runs.insert(at, Run { bytes: bytes.to_vec(), due: vec![(start, due)] }) {
            self.released(replaced.bytes.len(), budget);
        }
        self.bytes += bytes.len();
        budget.bytes += bytes.len();
        kept.conflict |= self.merge_right(at, start, end, budget);
        kept
    }

    /// Drops the runs after `at` that the piece `start..end` now in it covers. Says whether it differed
    /// from any of those.
    fn merge_right(&mut self, at: u64, start: u64, end: u64, budget: &mut Budget) -> bool {
        let mut conflict = false;
        while let Some((&next_start, next)) = self.runs.range(at + 1..).next() {
            if end <= next_start {
                break;
            }
            if let Some(run) = self.runs.get(&at) {
                let piece = run.bytes.get((start - at) as usize..).unwrap_or_default();
                conflict |= differs(next_start, &next.bytes, start, piece);
            }
            if end < next.end(next_start) {
                break;
            }
            if let Some(covered) = self.runs.remove(&next_start) {
                self.released(covered.bytes.len(), budget);
            }
        }
        conflict
    }

    /// How far the peer's stream must come before the octet at the cursor is due; `None` where it is not here.
    pub fn due_at(&self, cursor: u64) -> Option<u64> {
        let (start, run) =
            self.runs.range(..=cursor).next_back().filter(|(start, run)| run.end(**start) > cursor)?;
        run.due.iter().rev().find(|(from, _)| *from <= cursor.max(*start)).map(|(_, due)| *due)
    }

    /// The same of the first octet that is here.
    pub fn first_due(&self) -> Option<u64> {
        self.runs.first_key_value()?.1.due.first().map(|(_, due)| *due)
    }

    /// Whether anything kept says something else than a piece.
    pub fn contradicts(&self, start: u64, bytes: &[u8]) -> bool {
        if self.runs.is_empty() {
            return false;
        }
        let end = start + bytes.len() as u64;
        let before = self.runs.range(..=start).next_back();
        let after = self.runs.range(start + 1..end.max(start + 1));
        before.into_iter().chain(after).any(|(at, run)| differs(*at, &run.bytes, start, bytes))
    }

    /// Whether all of a piece is here.
    pub fn covers(&self, start: u64, end: u64) -> bool {
        self.runs.range(..=start).next_back().is_some_and(|(at, run)| run.end(*at) >= end)
    }

    /// The octets at the cursor that are due; `None` where a hole or something not yet due comes first.
    pub fn ready(&mut self, cursor: u64, peer: u64, budget: &mut Budget) -> Option<&[u8]> {
        self.forget_before(cursor, budget);
        let (&start, run) = self.runs.first_key_value()?;
        if start > cursor {
            return None;
        }
        let mut until = run.end(start);
        for (from, due) in run.due.iter().rev() {
            if *due > peer {
                until = (*from).min(until);
            } else if *from <= cursor {
                break;
            }
        }
        let begin = (cursor - start) as usize;
        let due = run.bytes.get(begin..until.saturating_sub(start) as usize)?;
        if due.is_empty() { None } else { Some(due) }
    }

    /// Lets go of what lies wholly before the cursor.
    pub fn forget_before(&mut self, cursor: u64, budget: &mut Budget) {
        while let Some(first) = self.runs.first_entry() {
            if first.get().end(*first.key()) > cursor {
                break;
            }
            let bytes = first.remove().bytes.len();
            self.released(bytes, budget);
        }
    }

    /// Lets go of everything.
    pub fn clear(&mut self, budget: &mut Budget) {
        self.runs.clear();
        self.released(self.bytes, budget);
    }

    fn released(&mut self, bytes: usize, budget: &mut Budget) {
        self.bytes = self.bytes.saturating_sub(bytes);
        budget.bytes = budget.bytes.saturating_sub(bytes);
    }
}

fn fits(kept: usize, bytes: usize, budget: &Budget) -> bool {
    kept + bytes <= limits::OUT_OF_ORDER_FLOW_BYTES_MAX / 2
        && budget.bytes + bytes <= limits::OUT_OF_ORDER_TOTAL_BYTES_MAX
}

/// Whether two pieces disagree where they overlap.
fn differs(one_start: u64, one: &[u8], other_start: u64, other: &[u8]) -> bool {
    let from = one_start.max(other_start);
    let until = (one_start + one.len() as u64).min(other_start + other.len() as u64);
    if from >= until {
        return false;
    }
    let part = |start: u64, bytes: &'_ [u8]| ((from - start) as usize, (until - start) as usize, bytes.len());
    let (a, b, _) = part(one_start, one);
    let (c, d, _) = part(other_start, other);
    one.get(a..b) != other.get(c..d)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills the hole at 0 last and reads everything that is there.
    fn after(pieces: &[(u64, &str)]) -> (String, bool) {
        let (mut store, mut budget) = (Store::default(), Budget::default());
        let mut conflict = false;
        for (start, text) in pieces {
            conflict |= store.insert(*start, text.as_bytes(), 0, &mut budget).conflict;
        }
        let mut cursor = pieces.iter().map(|(start, _)| *start).min().unwrap_or_default();
        let mut out = Vec::new();
        while let Some(bytes) = store.ready(cursor, 0, &mut budget) {
            out.extend_from_slice(bytes);
            cursor += bytes.len() as u64;
        }
        store.forget_before(u64::MAX, &mut budget);
        assert_eq!(budget.bytes, 0);
        (String::from_utf8(out).unwrap(), conflict)
    }

    /// The cases measured on Linux 6.18: what the kernel gave to the application.
    #[test]
    fn overlaps_are_resolved_as_by_linux() {
        for (pieces, kernel) in [
            (&[(4, "AAAA"), (4, "BBBB")][..], "AAAA"),
            (&[(6, "AAAA"), (4, "BBBB")], "BBBBAA"),
            (&[(4, "AAAA"), (6, "BBBB")], "AAAABB"),
            (&[(6, "AA"), (4, "BBBBBB")], "BBBBBB"),
            (&[(4, "AAAAAA"), (6, "BB")], "AAAAAA"),
            (&[(4, "AA"), (4, "BBBB")], "BBBB"),
            (&[(6, "AA"), (4, "BBBB")], "BBBB"),
            (&[(4, "AAAA"), (8, "CCCC"), (6, "BBBB")], "AAAACCCC"),
        ] {
            assert_eq!(after(pieces), (kernel.to_owned(), true), "{pieces:?}");
        }
    }

    #[test]
    fn the_same_twice_is_no_conflict() {
        assert_eq!(after(&[(4, "abcd"), (6, "cdef"), (4, "ab")]), ("abcdef".to_owned(), false));
        assert_eq!(after(&[(8, "ef"), (4, "abcdefgh")]), ("abcdefgh".to_owned(), false));
    }

    #[test]
    fn nothing_comes_before_it_is_due() {
        let (mut store, mut budget) = (Store::default(), Budget::default());
        store.insert(0, b"MAIL", 100, &mut budget);
        store.insert(4, b"RCPT", 200, &mut budget);
        assert_eq!(store.ready(0, 99, &mut budget), None);
        assert_eq!(store.ready(0, 100, &mut budget), Some(&b"MAIL"[..]));
        assert_eq!(store.ready(4, 100, &mut budget), None);
        assert_eq!(store.ready(4, 200, &mut budget), Some(&b"RCPT"[..]));
    }

    #[test]
    fn the_bound_holds_and_is_said() {
        let (mut store, mut budget) = (Store::default(), Budget::default());
        let evicted =
            (0..5_000u64).filter(|i| store.insert(20_000 - 2 * i, b"x", 0, &mut budget).evicted).count();
        assert_eq!(evicted, 5_000 - limits::OUT_OF_ORDER_SEGMENTS_MAX);
        let big = vec![0; limits::OUT_OF_ORDER_FLOW_BYTES_MAX];
        assert!(store.insert(1 << 30, &big, 0, &mut budget).evicted);
        store.clear(&mut budget);
        assert_eq!(budget.bytes, 0);
    }
}
