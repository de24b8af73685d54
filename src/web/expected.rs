//! What is usual at an hour, read off the hours before: for the company's curve, which no engine keeps a baseline of.
//!
//! *In*: messages by the hour. *Out*: bars with a band. *Bound*: five weeks of hours. *Spec*: median and median
//! absolute deviation of the same hour of the same kind of day (weekday, weekend) in the four weeks before;
//! 1.4826 makes the deviation a standard deviation for normal data (Rousseeuw & Croux 1993).
//!
//! It is drawn to be looked at. It decides nothing: alarms come from the engine alone.

use super::chart::Bar;
use crate::time::{CivilClock, MICROS_PER_HOUR, PROFILE_BINS, Timestamp};
use std::collections::BTreeMap;

/// Hours looked back at.
pub const MEMORY_HOURS: i64 = 28 * 24;
/// Same hours that must have been seen before a band is drawn.
const SAMPLES_MIN: usize = 3;

/// The hours of `shown`, each against the same hours before it. `counted` are messages by the hour since the epoch;
/// hours in which nothing was counted may be missing, but none after the first lacks its watch.
pub fn bars(counted: &BTreeMap<i64, f64>, shown: std::ops::Range<i64>, clock: &CivilClock) -> Vec<Bar> {
    let Some(first) = counted.keys().next().copied() else { return Vec::new() };
    let begin = first.max(shown.start.saturating_sub(MEMORY_HOURS));
    let mut seen: [Vec<f64>; PROFILE_BINS] = std::array::from_fn(|_| Vec::new());
    let mut list = Vec::new();
    for hour in begin.min(shown.start)..shown.end {
        let value = counted.get(&hour).copied().unwrap_or(0.0);
        let bin = &mut seen[clock.profile_bin(hour)];
        if hour >= shown.start {
            let band = band(bin);
            list.push(Bar {
                at: Timestamp::from_micros(hour.saturating_mul(MICROS_PER_HOUR)),
                value,
                usual: band.map(|(usual, _)| usual),
                usual_max: band.map(|(_, most)| most),
            });
        }
        if hour >= begin {
            bin.push(value);
        }
    }
    list
}

/// Median, and median plus three deviations, of which the counting noise of the median is the least.
fn band(seen: &[f64]) -> Option<(f64, f64)> {
    if seen.len() < SAMPLES_MIN {
        return None;
    }
    let usual = median(seen.to_vec());
    let deviation = 1.4826 * median(seen.iter().map(|value| (value - usual).abs()).collect());
    Some((usual, usual + 3.0 * deviation.max(usual.sqrt()).max(1.0)))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_stands_out_of_its_hour_and_does_not_move_it() {
        let clock = CivilClock::utc();
        let mut counted: BTreeMap<i64, f64> = (0..24 * 21).map(|hour| (hour, 10.0)).collect();
        counted.insert(24 * 15, 900.0);
        let bars = bars(&counted, 24 * 14..24 * 21, &clock);
        assert_eq!(bars.len(), 24 * 7);
        let burst = bars.iter().find(|bar| bar.value == 900.0).unwrap();
        let band = (burst.usual.unwrap(), burst.usual_max.unwrap());
        assert_eq!(band.0, 10.0);
        assert!((15.0..30.0).contains(&band.1));
        assert!(bars.iter().all(|bar| bar.usual == Some(10.0)));
    }

    #[test]
    fn no_band_before_there_is_something_to_compare_with() {
        let counted: BTreeMap<i64, f64> = (100..110).map(|hour| (hour, 1.0)).collect();
        let bars = bars(&counted, 90..110, &CivilClock::utc());
        assert_eq!(bars.len(), 20);
        assert!(bars.iter().all(|bar| bar.usual.is_none()));
        assert!(super::bars(&BTreeMap::new(), 0..5, &CivilClock::utc()).is_empty());
    }
}
