//! Fixed limits: so many in an hour, a minute, a day.

use super::Judge;

/// Counts in windows of the clock.
fn counter(seconds: f64) -> impl FnMut(f64, bool) -> f64 {
    let (mut window, mut count) = (f64::NEG_INFINITY, 0.0);
    move |at, counts| {
        let now = (at / seconds).floor();
        if now != window {
            (window, count) = (now, 0.0);
        }
        count += f64::from(u8::from(counts));
        count
    }
}

/// Messages in the hour.
pub fn hourly() -> Judge {
    let mut hour = counter(3_600.0);
    Box::new(move |seen| hour(seen.at, true))
}

/// Whichever of the two limits is nearer, 1 where it is reached.
pub fn policyd() -> Judge {
    let (mut minute, mut day) = (counter(60.0), counter(86_400.0));
    Box::new(move |seen| (minute(seen.at, true) / 10.0).max(day(seen.at, true) / 150.0))
}

/// Refused recipients in the hour.
pub fn failed() -> Judge {
    let mut hour = counter(3_600.0);
    Box::new(move |seen| hour(seen.at, seen.refused))
}
