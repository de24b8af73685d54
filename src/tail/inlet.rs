//! Several ways in as one, in the order of time.
//!
//! *In*: inlets, and somebody who can tell the time of a line. *Out*: their lines, merged. *Bound*: one line of each
//! waits. *Spec*: none.
//!
//! A line is taken once every other inlet has a later one at hand, or was found at its end after the line was read.
//! What such an inlet brings later was then written later, so that a silent log never holds the others up, and no
//! clock is asked. What remains is the delay of the programs that write.

use super::stream::{Stream, StreamCounters};
use super::{FollowCounters, Follower, TailError};
use crate::time::Timestamp;

/// One way in, open.
pub enum Inlet {
    /// A file.
    File(Box<Follower>),
    /// Anything that comes by itself.
    Stream(Stream),
}

/// What an inlet counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InletCounters {
    /// Of a file.
    File(FollowCounters),
    /// Of anything else.
    Stream(StreamCounters),
}

impl Inlet {
    /// The next line, without taking it; `None` where there is none yet.
    pub fn peek(&mut self) -> Result<Option<&[u8]>, TailError> {
        match self {
            Inlet::File(follower) => follower.peek(),
            Inlet::Stream(stream) => stream.peek(),
        }
    }

    /// Takes the line that [`Inlet::peek`] showed: the position is now after it.
    pub fn take(&mut self) {
        match self {
            Inlet::File(follower) => follower.take(),
            Inlet::Stream(stream) => stream.take(),
        }
    }

    /// Whether another line can be had without looking whether something came.
    fn at_hand(&mut self) -> bool {
        match self {
            Inlet::File(follower) => follower.at_hand(),
            Inlet::Stream(_) => false,
        }
    }

    /// Where it was read to; `None` for what cannot be read again.
    pub fn position(&self) -> Option<String> {
        match self {
            Inlet::File(follower) => Some(follower.position()),
            Inlet::Stream(stream) => stream.position().map(str::to_owned),
        }
    }

    /// When what is read was last written; `None` where it is written now.
    pub fn modified_at(&self) -> Option<Timestamp> {
        match self {
            Inlet::File(follower) => follower.modified_at(),
            Inlet::Stream(_) => None,
        }
    }

    /// Whether nothing will come any more.
    pub fn ended(&self) -> bool {
        matches!(self, Inlet::Stream(stream) if stream.ended())
    }

    /// What it counted.
    pub fn counters(&self) -> InletCounters {
        match self {
            Inlet::File(follower) => InletCounters::File(*follower.counters()),
            Inlet::Stream(stream) => InletCounters::Stream(stream.counters()),
        }
    }
}

/// Who takes the lines.
pub trait TakeLines {
    /// The time of a line, `None` where it has none.
    fn stamp(&mut self, inlet: usize, line: &[u8]) -> Option<Timestamp>;
    /// Takes a line. Says whether there is room for another.
    fn line(&mut self, inlet: usize, line: &[u8]) -> bool;
    /// An inlet could not be read now.
    fn trouble(&mut self, inlet: usize, error: TailError);
}

/// Merges the lines of inlets; they are known by their place in the list, which must stay the same.
#[derive(Default)]
pub struct Merge {
    inlets: Vec<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    /// Time of the line at hand.
    head: Option<Timestamp>,
    /// The latest time so far: a line without a stamp, or with an older one, belongs there.
    reached: Timestamp,
}

impl Merge {
    /// Hands out what is there, until there is nothing or no more room. Returns the number of lines.
    pub fn look(&mut self, inlets: &mut [Inlet], taker: &mut impl TakeLines) -> usize {
        let new = Place { head: None, reached: Timestamp::from_micros(i64::MIN) };
        self.inlets.resize(inlets.len(), new);
        let mut lines = 0;
        // Inlets that were in trouble are asked again at the next look.
        let mut troubled = vec![false; inlets.len()];
        loop {
            self.fill(inlets, &mut troubled, taker);
            let Some(first) = self.first() else { return lines };
            let until = self.second(first);
            while let Ok(Some(line)) = inlets[first].peek() {
                let room = taker.line(first, line);
                inlets[first].take();
                lines += 1;
                self.inlets[first].head = None;
                if !room {
                    return lines;
                }
                if !inlets[first].at_hand() {
                    break;
                }
                self.stamp(first, inlets, taker);
                if until.is_some_and(|until| (self.inlets[first].head, first) > (Some(until.0), until.1)) {
                    break;
                }
            }
        }
    }

    /// Looks for lines where none is at hand. Where one inlet brings some, the others are asked once more: their end
    /// must be found after that.
    fn fill(&mut self, inlets: &mut [Inlet], troubled: &mut [bool], taker: &mut impl TakeLines) {
        loop {
            let mut brought = false;
            for index in 0..inlets.len() {
                if self.inlets[index].head.is_some() || troubled[index] {
                    continue;
                }
                match inlets[index].peek() {
                    Ok(Some(_)) => {
                        self.stamp(index, inlets, taker);
                        brought = true;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        troubled[index] = true;
                        taker.trouble(index, error);
                    }
                }
            }
            if !brought {
                return;
            }
        }
    }

    /// Takes note of the time of the line at hand. One inlet alone needs none.
    fn stamp(&mut self, index: usize, inlets: &mut [Inlet], taker: &mut impl TakeLines) {
        let alone = inlets.len() == 1;
        let Ok(Some(line)) = inlets[index].peek() else { return };
        let at = if alone { None } else { taker.stamp(index, line) };
        let place = &mut self.inlets[index];
        place.reached = at.map_or(place.reached, |at| at.max(place.reached));
        place.head = Some(place.reached);
    }

    /// The inlet whose line is the earliest.
    fn first(&self) -> Option<usize> {
        let heads = self.inlets.iter().enumerate();
        heads.filter_map(|(index, place)| Some((place.head?, index))).min().map(|(_, index)| index)
    }

    /// The earliest line of the other inlets.
    fn second(&self, first: usize) -> Option<(Timestamp, usize)> {
        let heads = self.inlets.iter().enumerate().filter(|(index, _)| *index != first);
        heads.filter_map(|(index, place)| Some((place.head?, index))).min()
    }
}
