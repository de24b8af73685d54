//! The share of sessions under TLS that one interface is used to: a sudden rise hides what was seen before.
//!
//! *In*: sessions so far, and those under TLS. *Out*: a share that is far above all that was usual. *Bound*: a few
//! numbers a source. *Spec*: docs/operations.md, blindness.
//!
//! Sessions are counted in spans. Usual is the highest share of a span, up to the hour before the last: a newsletter
//! that goes out under TLS once a week is no news the second time. It fades towards what the hours show.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A span ends when it has as many sessions, and is as old: the share of 100 is known to ±10 %.
const SPAN_SESSIONS_MIN: u64 = 100;
const SPAN_SECONDS_MIN: f64 = 300.0;
/// By how much the share must be above all that was usual.
const RISE: f64 = 0.2;
/// What an hour with sessions takes from a usual share that it does not reach: half in 500 such hours.
const FADES_AN_HOUR: f64 = 1.0 / 720.0;

/// What is known of one source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TlsHabit {
    /// The highest share of a span of this hour, and the hour since the epoch.
    current: Option<(i64, f64)>,
    /// The same of the last hour with sessions before.
    last: Option<f64>,
    /// The highest before that, fading.
    usual: Option<f64>,
    /// Share of the last span.
    #[serde(skip)]
    share: Option<f64>,
    /// When the span under way began, and the counts then.
    #[serde(skip)]
    span: Option<(Timestamp, u64, u64)>,
}

impl TlsHabit {
    /// Hears how many sessions there were so far, and how many of them under TLS.
    pub fn listen(&mut self, at: Timestamp, sessions: u64, hidden: u64) {
        let began = self.span.filter(|(began_at, before, _)| *before <= sessions && *began_at <= at);
        let Some((began_at, sessions_before, hidden_before)) = began else {
            self.span = Some((at, sessions, hidden));
            return;
        };
        let new = sessions - sessions_before;
        if new < SPAN_SESSIONS_MIN || at.seconds_since(began_at) < SPAN_SECONDS_MIN {
            return;
        }
        self.span = Some((at, sessions, hidden));
        let share = hidden.saturating_sub(hidden_before) as f64 / new as f64;
        self.share = Some(share);
        self.learn(at.hour_index(), share);
    }

    /// The share of the last span and the usual one, where the former is far above.
    pub fn risen(&self) -> Option<(f64, f64)> {
        let (share, usual) = (self.share?, self.usual?);
        (share - usual >= RISE).then_some((share, usual))
    }

    fn learn(&mut self, hour: i64, share: f64) {
        if let Some((current, highest)) = &mut self.current
            && *current == hour
        {
            *highest = highest.max(share);
            return;
        }
        if let Some(last) = self.last.take() {
            let usual = self.usual.unwrap_or(last);
            self.usual = Some(last.max(usual + (last - usual) * FADES_AN_HOUR));
        }
        self.last = self.current.replace((hour, share)).map(|(_, highest)| highest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays hours of so many sessions a minute, each with its share in percent; the hours in which it was risen.
    fn risen(habit: &mut TlsHabit, first_hour: i64, per_minute: u64, shares: &[u64]) -> Vec<i64> {
        let (mut sessions, mut hidden, mut hours) = (0, 0, Vec::new());
        for (hour, share) in (first_hour..).zip(shares) {
            for minute in 0..60 {
                sessions += per_minute * 100;
                hidden += per_minute * share;
                let at = Timestamp::from_seconds(hour * 3_600 + minute * 60);
                habit.listen(at, sessions / 100, hidden / 100);
                if habit.risen().is_some() && hours.last() != Some(&hour) {
                    hours.push(hour);
                }
            }
        }
        hours
    }

    #[test]
    fn a_sudden_share_is_told_for_a_while_and_becomes_usual() {
        for per_minute in [4, 400] {
            let shares = [[10; 6], [60; 6]].concat();
            let hours: Vec<i64> = risen(&mut TlsHabit::default(), 0, per_minute, &shares);
            assert_eq!(hours.first(), Some(&6), "{per_minute} a minute");
            assert!(hours.len() <= 3, "{hours:?}");
        }
    }

    #[test]
    fn what_comes_every_week_is_told_once() {
        let mut habit = TlsHabit::default();
        let mut week = vec![10; 168];
        week[100] = 60;
        let told: Vec<_> = (0..4).map(|n| risen(&mut habit, n * 168, 40, &week).len()).collect();
        assert!(told[0] > 0 && told[1..] == [0, 0, 0], "{told:?}");
    }

    #[test]
    fn a_usual_share_and_few_sessions_are_not_told() {
        assert_eq!(risen(&mut TlsHabit::default(), 0, 10, &[90; 12]), [0i64; 0]);
        assert_eq!(risen(&mut TlsHabit::default(), 0, 0, &[10, 90]), [0i64; 0]);
        let mut habit = TlsHabit::default();
        habit.listen(Timestamp::from_seconds(1), 500, 400);
        habit.listen(Timestamp::from_seconds(900), 10, 0);
        assert_eq!(habit.risen(), None, "a source that was opened anew counts anew");
    }
}
