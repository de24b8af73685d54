//! What comes a little late is put back in its place before it is judged.
//!
//! *In*: observations as the sources hand them over. *Out*: the same in event time, once nothing earlier can be
//! waited for any longer. *Bound*: `limits::LATENESS_SECONDS` of event time and `limits::ORDER_WAITING_MAX`
//! observations. *Spec*: docs/detection.md, the order of events.
//!
//! Two of the same stamp stay as they came: within one log or one dialogue that order means something, and a
//! stamp of whole seconds does not tell it.

use crate::limits;
use crate::observation::Observation;
use crate::time::Timestamp;
use std::collections::VecDeque;

/// Observations that wait for earlier ones.
#[derive(Debug)]
pub struct Order {
    waiting: VecDeque<Observation>,
    /// The latest stamp seen.
    reached: Timestamp,
    /// Whether all that waits may go.
    settled: bool,
}

impl Default for Order {
    fn default() -> Order {
        Order::resumed(Vec::new())
    }
}

impl Order {
    /// An order in which these wait already: what [`Order::waiting`] told at a commit.
    pub fn resumed(waiting: Vec<Observation>) -> Order {
        let mut order =
            Order { waiting: VecDeque::new(), reached: Timestamp::from_micros(i64::MIN), settled: false };
        waiting.into_iter().for_each(|observation| order.take(observation));
        order
    }

    /// Takes an observation.
    pub fn take(&mut self, observation: Observation) {
        self.settled = false;
        self.reached = self.reached.max(observation.at);
        // Most come in order: among tens of thousands a search would miss the processor's caches each time.
        if self.waiting.back().is_none_or(|last| last.at <= observation.at) {
            return self.waiting.push_back(observation);
        }
        let place = self.waiting.partition_point(|waiting| waiting.at <= observation.at);
        self.waiting.insert(place, observation);
    }

    /// The next in event time; `None` while something earlier may still come.
    pub fn next_due(&mut self) -> Option<Observation> {
        let first = self.waiting.front()?;
        let late = self.reached.seconds_since(first.at) >= limits::LATENESS_SECONDS;
        if late || self.settled || self.waiting.len() > limits::ORDER_WAITING_MAX {
            return self.waiting.pop_front();
        }
        None
    }

    /// Nothing came for a while, or nothing more will come: what waits is due.
    pub fn settle(&mut self) {
        self.settled = true;
    }

    /// What waits, in event time.
    pub fn waiting(&self) -> impl ExactSizeIterator<Item = &Observation> {
        self.waiting.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{Attempt, AttemptOutcome, Fact, SenderKeys, Vantage};
    use proptest::prelude::*;

    fn seen(micros: i64, number: u16) -> Observation {
        let [high, low] = number.to_be_bytes();
        let responder = [192, 0, high, low].into();
        let fact = Fact::Attempt(Attempt { responder, outcome: AttemptOutcome::Answered });
        Observation {
            at: Timestamp::from_micros(micros),
            vantage: Vantage::Wire,
            sender: SenderKeys::default(),
            fact,
        }
    }

    fn ordered(list: impl IntoIterator<Item = Observation>) -> Vec<Observation> {
        let (mut order, mut out) = (Order::default(), Vec::new());
        for observation in list {
            order.take(observation);
            out.extend(std::iter::from_fn(|| order.next_due()));
        }
        order.settle();
        out.extend(std::iter::from_fn(|| order.next_due()));
        out
    }

    proptest! {
        /// Whatever is late by less than the bound comes out as if it had come in time.
        #[test]
        fn lateness_within_the_bound_leaves_no_trace(
            steps in prop::collection::vec((0i64..400_000, 0i64..1_000_000), 1..200),
        ) {
            let mut at = 0;
            let list: Vec<_> = (0u16..).zip(&steps).map(|(number, (step, _))| {
                at += step + 1;
                seen(at, number)
            }).collect();
            let mut arrivals: Vec<_> = list.iter().zip(&steps).map(|(one, (_, late))| {
                (one.at.as_micros() + late, one.clone())
            }).collect();
            arrivals.sort_by_key(|(arrival, _)| *arrival);
            prop_assert_eq!(ordered(arrivals.into_iter().map(|(_, one)| one)), list);
        }
    }

    #[test]
    fn equal_stamps_stay_as_they_came_and_what_is_too_late_goes_at_once() {
        assert_eq!(ordered([seen(5, 2), seen(5, 1), seen(4, 3)]), [seen(4, 3), seen(5, 2), seen(5, 1)]);
        let late = [seen(0, 1), seen(9_000_000, 2), seen(1, 3), seen(9_000_001, 4)];
        assert_eq!(ordered(late.clone()), [0, 2, 1, 3].map(|place| late[place].clone()));
    }

    #[test]
    fn a_crowd_within_one_instant_is_bounded() {
        let mut order = Order::default();
        for number in 0..=u16::MAX {
            order.take(seen(1, number));
            order.take(seen(1, number));
            while order.next_due().is_some() {}
        }
        assert_eq!(order.waiting().len(), limits::ORDER_WAITING_MAX);
    }
}
