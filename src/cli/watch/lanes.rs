//! The threads of one interface put together: one stream of observations in the order of time, one reading.
//!
//! *In*: what each thread saw, and up to when it has read. *Out*: batches for the judge, whose order does not depend on
//! which thread ran when; the sum of the readings on the board. *Bound*: `limits::LANES_WAITING_MAX` observations and
//! [`WAIT_MAX`]; what is let go before its turn is counted, and so is what finds no room with the judge: a span port
//! cannot be asked to wait.

use super::board::Board;
use super::{BATCH, Batch};
use crate::health::SourceReading;
use crate::limits;
use crate::observation::Observation;
use crate::time::Timestamp;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Sender, error::TrySendError};

/// How long an observation may wait for a thread that says nothing, as where the clock was set back.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How long observations of a quiet line are gathered.
const GATHER: Duration = Duration::from_millis(20);

/// What the threads of an interface share.
pub struct Lanes {
    shared: Mutex<Shared>,
    sender: Sender<Batch>,
    board: Arc<Board>,
}

struct Shared {
    lanes: Vec<Lane>,
    ready: Vec<Observation>,
    sent: Instant,
    dropped: u64,
    untimely: u64,
}

/// One thread.
struct Lane {
    waiting: VecDeque<Waiting>,
    /// The latest moment that its observations have reached.
    reached: Timestamp,
    /// Nothing earlier comes from it any more.
    read_up_to: Timestamp,
    reading: Option<SourceReading>,
}

struct Waiting {
    key: Timestamp,
    since: Instant,
    observation: Observation,
}

impl Lanes {
    /// For so many threads.
    pub fn new(threads: usize, sender: Sender<Batch>, board: Arc<Board>) -> Lanes {
        let start = Timestamp::from_micros(i64::MIN);
        let lane = || Lane { waiting: VecDeque::new(), reached: start, read_up_to: start, reading: None };
        let lanes = std::iter::repeat_with(lane).take(threads).collect();
        let shared = Shared { lanes, ready: Vec::new(), sent: Instant::now(), dropped: 0, untimely: 0 };
        Lanes { shared: Mutex::new(shared), sender, board }
    }

    /// Takes what a thread saw, and up to when it has read. With `all` nothing is held back for a larger batch.
    pub fn hand_over(&self, lane: usize, seen: &mut Vec<Observation>, read_up_to: Timestamp, all: bool) {
        let mut shared = self.shared();
        shared.take(lane, seen, read_up_to, Instant::now());
        let gathered = all && shared.sent.elapsed() >= GATHER;
        if shared.ready.len() >= BATCH || gathered && !shared.ready.is_empty() {
            shared.send(&self.sender);
        }
    }

    /// Nothing more comes from a thread.
    pub fn end(&self, lane: usize, seen: &mut Vec<Observation>) {
        let mut shared = self.shared();
        shared.take(lane, seen, Timestamp::from_micros(i64::MAX), Instant::now());
        if !shared.ready.is_empty() {
            shared.send(&self.sender);
        }
    }

    /// Whether nobody listens any more.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether the sources are to drain and end.
    pub fn stopping(&self) -> bool {
        self.board.stopping()
    }

    /// Writes the sum of what the threads counted.
    pub fn report(&self, lane: usize, reading: SourceReading) {
        let mut shared = self.shared();
        if let Some(lane) = shared.lanes.get_mut(lane) {
            lane.reading = Some(reading);
        }
        let readings = shared.lanes.iter().filter_map(|lane| lane.reading.clone());
        let Some(mut sum) = readings.reduce(|sum, next| sum.with_thread(&next)) else { return };
        (sum.dropped_by_queue, sum.untimely) = (shared.dropped, shared.untimely);
        self.board.write(sum);
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn take(&mut self, number: usize, seen: &mut Vec<Observation>, read_up_to: Timestamp, now: Instant) {
        if self.lanes.len() == 1 {
            return self.ready.append(seen);
        }
        let Some(lane) = self.lanes.get_mut(number) else { return };
        for observation in seen.drain(..) {
            lane.reached = lane.reached.max(observation.at);
            lane.waiting.push_back(Waiting { key: lane.reached, since: now, observation });
        }
        lane.read_up_to = lane.read_up_to.max(read_up_to);
        while let Some(next) = self.next(now) {
            self.ready.extend(self.lanes[next].waiting.pop_front().map(|waiting| waiting.observation));
        }
    }

    /// The lane whose first observation may go.
    fn next(&mut self, now: Instant) -> Option<usize> {
        let fronts = self.lanes.iter().enumerate();
        let fronts = fronts.filter_map(|(number, lane)| Some((lane.waiting.front()?.key, number)));
        let (key, number) = fronts.min()?;
        // Of two at the same moment that of the earlier lane goes first, as if both had been there.
        let nothing_before = |(other, lane): (usize, &Lane)| {
            !lane.waiting.is_empty() || lane.read_up_to > key || lane.read_up_to == key && other > number
        };
        if self.lanes.iter().enumerate().all(nothing_before) {
            return Some(number);
        }
        let crowded =
            self.lanes.iter().map(|lane| lane.waiting.len()).sum::<usize>() > limits::LANES_WAITING_MAX;
        let since = self.lanes[number].waiting.front()?.since;
        let overdue = now.saturating_duration_since(since) > WAIT_MAX;
        if !crowded && !overdue {
            return None;
        }
        self.untimely += 1;
        Some(number)
    }

    fn send(&mut self, sender: &Sender<Batch>) {
        self.sent = Instant::now();
        let batch = Batch { observations: std::mem::take(&mut self.ready), ..Batch::default() };
        if let Err(TrySendError::Full(batch)) = sender.try_send(batch) {
            self.dropped += batch.observations.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{Attempt, AttemptOutcome, Fact, SenderKeys, Vantage};
    use proptest::prelude::*;

    fn seen(micros: i64, number: usize) -> Observation {
        let responder = std::net::IpAddr::from((number as u128).to_be_bytes());
        let fact = Fact::Attempt(Attempt { responder, outcome: AttemptOutcome::Answered });
        let at = Timestamp::from_micros(micros);
        Observation { at, vantage: Vantage::Wire, sender: SenderKeys::default(), fact }
    }

    fn shared(threads: usize) -> Shared {
        let (sender, _) = tokio::sync::mpsc::channel(1);
        let lanes = Lanes::new(threads, sender, Arc::default());
        lanes.shared.into_inner().unwrap()
    }

    proptest! {
        /// Whichever thread runs when, in whatever portions: the merged stream is one, and it is in order.
        #[test]
        fn the_turns_of_threads_leave_no_trace(
            steps in prop::collection::vec((0i64..3, 0usize..3), 1..200),
            turns in prop::collection::vec((0usize..3, 1usize..9), 0..200),
        ) {
            let mut at = 0;
            let mut lanes: [VecDeque<Observation>; 3] = Default::default();
            for (number, (step, lane)) in steps.iter().enumerate() {
                at += step;
                lanes[*lane].push_back(seen(at, number));
            }
            let mut wanted: Vec<_> = lanes.iter().enumerate().flat_map(|(lane, list)| {
                list.iter().map(move |one| (one.at, lane, one.clone()))
            }).collect();
            wanted.sort_by_key(|(at, lane, _)| (*at, *lane));
            let (mut shared, now) = (shared(3), Instant::now());
            let ends = (0..3).map(|lane| (lane, usize::MAX));
            for (lane, portion) in turns.into_iter().chain(ends) {
                let portion = portion.min(lanes[lane].len());
                let mut list: Vec<_> = lanes[lane].drain(..portion).collect();
                let last = list.last().map_or(i64::MIN, |one| one.at.as_micros());
                let up_to = if lanes[lane].is_empty() { i64::MAX } else { last };
                shared.take(lane, &mut list, Timestamp::from_micros(up_to), now);
            }
            let wanted: Vec<_> = wanted.into_iter().map(|(_, _, one)| one).collect();
            prop_assert_eq!(&shared.ready, &wanted);
            prop_assert_eq!(shared.untimely, 0);
        }
    }

    #[test]
    fn a_thread_that_says_nothing_is_not_waited_for_without_end() {
        let (mut shared, now) = (shared(2), Instant::now());
        shared.take(0, &mut vec![seen(1, 0)], Timestamp::from_micros(1), now);
        assert!(shared.ready.is_empty());
        shared.take(0, &mut vec![], Timestamp::from_micros(1), now + WAIT_MAX + GATHER);
        assert_eq!((shared.ready.len(), shared.untimely), (1, 1));
    }

    #[test]
    fn a_crowd_that_waits_is_bounded_and_counted() {
        let (mut shared, now) = (shared(2), Instant::now());
        let crowd = limits::LANES_WAITING_MAX + 7;
        shared.take(
            0,
            &mut (0..crowd).map(|number| seen(1, number)).collect(),
            Timestamp::from_micros(1),
            now,
        );
        assert_eq!((shared.ready.len(), shared.untimely), (7, 7));
    }

    #[test]
    fn what_the_judge_has_no_room_for_is_counted_on_the_board() {
        let (sender, mut batches) = tokio::sync::mpsc::channel(1);
        let board = Arc::new(Board::default());
        let lanes = Lanes::new(2, sender, Arc::clone(&board));
        let reading = |taken| SourceReading {
            taken,
            dropped_by_interface: 3,
            ..SourceReading::of("span0", crate::health::SourceKind::Capture)
        };
        lanes.end(0, &mut vec![seen(1, 0), seen(2, 1)]);
        lanes.end(1, &mut vec![seen(1, 2)]);
        lanes.report(0, reading(5));
        lanes.report(1, reading(6));
        let [sum] = board.read().try_into().unwrap();
        assert_eq!((sum.taken, sum.dropped_by_interface, sum.dropped_by_queue), (11, 3, 0));
        assert_eq!(batches.try_recv().unwrap().observations.len(), 3);
        lanes.end(1, &mut vec![seen(3, 3)]);
        lanes.end(0, &mut vec![seen(3, 4)]);
        lanes.report(0, reading(5));
        assert_eq!(board.read()[0].dropped_by_queue, 1);
    }
}
