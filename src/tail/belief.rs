//! What time it is, where the system's clock may jump.
//!
//! *In*: the clock of the calendar, and one that only counts. *Out*: the time that is believed. *Bound*: none.
//! *Spec*: none.
//!
//! Stamps of lines are held against the present. A clock that is set forth or back for a moment must neither let
//! stamps of another year pass nor throw true ones away, so a jump is believed only when it lasts.

use crate::time::{MICROS_PER_HOUR, Timestamp};

/// How far the clocks may drift apart between two looks before it counts as a jump.
const JUMP_MICROS: i64 = MICROS_PER_HOUR;
/// How long a jump must last until it is believed.
const LASTS_MICROS: i64 = MICROS_PER_HOUR / 6;

/// Holds the calendar's clock against a counting one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Belief {
    /// What both clocks said when they last agreed.
    agreed: Option<(Timestamp, i64)>,
    /// What both clocks said when the jump was first seen.
    jumped: Option<(Timestamp, i64)>,
}

impl Belief {
    /// The time that is believed, given what the calendar's clock says and what the counting one says, in
    /// microseconds since any moment.
    pub fn now(&mut self, wall: Timestamp, counted: i64) -> Timestamp {
        let expect = |(then, at): (Timestamp, i64)| {
            Timestamp::from_micros(then.as_micros().saturating_add(counted.saturating_sub(at)))
        };
        let near = |other: Timestamp| wall.as_micros().abs_diff(other.as_micros()) <= JUMP_MICROS as u64;
        let Some(expected) = self.agreed.map(expect).filter(|expected| !near(*expected)) else {
            self.agreed = Some((wall, counted));
            self.jumped = None;
            return wall;
        };
        let since = self.jumped.filter(|jumped| near(expect(*jumped))).unwrap_or((wall, counted));
        self.jumped = Some(since);
        if counted.saturating_sub(since.1) >= LASTS_MICROS {
            self.agreed = Some((wall, counted));
            self.jumped = None;
            return wall;
        }
        expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn a_jump_is_believed_when_it_lasts() {
        let mut belief = Belief::default();
        assert_eq!(belief.now(at(1_000_000), 0), at(1_000_000));
        // Drift and small corrections are followed at once.
        assert_eq!(belief.now(at(1_000_012), 10 * SECOND), at(1_000_012));
        // Forth by a day, and back again.
        assert_eq!(belief.now(at(1_086_400), 20 * SECOND), at(1_000_022));
        assert_eq!(belief.now(at(1_000_032), 30 * SECOND), at(1_000_032));
        // To 1970, for good.
        assert_eq!(belief.now(at(5), 40 * SECOND), at(1_000_042));
        assert_eq!(belief.now(at(604), 639 * SECOND), at(1_000_641));
        assert_eq!(belief.now(at(605), 640 * SECOND), at(605));
    }

    proptest! {
        /// The first reading has nothing that it could be held to, so no jump begins with it.
        #[test]
        fn a_short_jump_moves_nothing(jump in -60i64 * 365 * 86_400..60 * 365 * 86_400, lasts in 1i64..590, began in 1i64..1000) {
            let mut belief = Belief::default();
            for second in 0..2_000i64 {
                let jumped = (began..began + lasts).contains(&second);
                let wall = at(1_790_000_000 + second + if jumped { jump } else { 0 });
                let believed = belief.now(wall, second * SECOND);
                let off = believed.seconds_since(at(1_790_000_000 + second)).abs();
                prop_assert!(off <= 3_600.0, "second {}: off by {}", second, off);
            }
        }
    }
}
