//! Time is data: it comes from packets and log lines, never from a clock.
//!
//! *In*: seconds and microseconds of a capture, stamps of a log. *Out*: [`Timestamp`], and the
//! hour-of-week bin it falls into in the company's time zone. *Bound*: years 1 to 9999.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// Microseconds in one second.
pub const MICROS_PER_SECOND: i64 = 1_000_000;
/// Microseconds in one hour.
pub const MICROS_PER_HOUR: i64 = 3_600 * MICROS_PER_SECOND;
/// Microseconds in one day.
pub const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

/// A moment in event time: microseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Timestamp {
        Timestamp(micros)
    }

    /// From whole seconds since the epoch.
    pub const fn from_seconds(seconds: i64) -> Timestamp {
        Timestamp(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch, with the fraction.
    pub fn as_seconds_f64(self) -> f64 {
        self.0 as f64 / MICROS_PER_SECOND as f64
    }

    /// Seconds from `earlier` to this moment; negative where `earlier` is later.
    pub fn seconds_since(self, earlier: Timestamp) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / MICROS_PER_SECOND as f64
    }

    /// This moment moved by a number of seconds, rounded to a microsecond.
    pub fn plus_seconds(self, seconds: f64) -> Timestamp {
        Timestamp(self.0.saturating_add((seconds * MICROS_PER_SECOND as f64).round() as i64))
    }

    /// Whole hours since the epoch, rounded down: the index of the hour this moment is in.
    pub const fn hour_index(self) -> i64 {
        self.0.div_euclid(MICROS_PER_HOUR)
    }

    /// Whole UTC days since the epoch, rounded down.
    pub const fn day_index(self) -> i64 {
        self.0.div_euclid(MICROS_PER_DAY)
    }

    /// RFC 3339 in UTC with microseconds, as in `2026-11-24T09:31:00.000000Z`.
    pub fn to_rfc3339(self) -> String {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(stamp) => format!("{stamp:.6}"),
            Err(_) => format!("@{}us", self.0),
        }
    }

    /// Reads an RFC 3339 stamp with an offset or `Z`.
    pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
        text.parse::<jiff::Timestamp>().ok().map(|stamp| Timestamp(stamp.as_microsecond()))
    }
}

/// Number of bins of the weekly profile: 24 hours of a weekday, then 24 of a weekend day
/// (detection.md section 2).
pub const PROFILE_BINS: usize = 48;

/// The company's civil clock: which profile bin an hour belongs to.
#[derive(Clone, Debug)]
pub struct CivilClock {
    zone: TimeZone,
}

impl CivilClock {
    /// A clock for one time zone.
    pub fn new(zone: TimeZone) -> CivilClock {
        CivilClock { zone }
    }

    /// The clock of UTC.
    pub fn utc() -> CivilClock {
        CivilClock { zone: TimeZone::UTC }
    }

    /// The bin (0..48) of an hour counted since the epoch.
    pub fn profile_bin(&self, hour_index: i64) -> usize {
        CivilClock::bin_of_local_hour(self.local_hour(hour_index))
    }

    /// The same hour as the company's clocks count it: hours since 1970-01-01T00:00 local time.
    pub fn local_hour(&self, hour_index: i64) -> i64 {
        let Some(seconds) = hour_index.checked_mul(3_600) else { return 0 };
        let Ok(stamp) = jiff::Timestamp::from_second(seconds) else { return 0 };
        let offset = i64::from(self.zone.to_offset(stamp).seconds());
        (seconds + offset).div_euclid(3_600)
    }

    /// The bin (0..48) of a local hour.
    pub fn bin_of_local_hour(local_hour: i64) -> usize {
        // 1970-01-01 was a Thursday; with Monday as 0 that is 3.
        let weekday = (local_hour.div_euclid(24) + 3).rem_euclid(7);
        let hour = local_hour.rem_euclid(24) as usize;
        if weekday >= 5 { 24 + hour } else { hour }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saturday_is_a_weekend_bin() {
        let saturday = Timestamp::parse_rfc3339("2026-11-28T09:30:00Z").unwrap();
        let monday = Timestamp::parse_rfc3339("2026-11-30T09:30:00Z").unwrap();
        assert_eq!(CivilClock::utc().profile_bin(saturday.hour_index()), 24 + 9);
        assert_eq!(CivilClock::utc().profile_bin(monday.hour_index()), 9);
    }

    #[test]
    fn the_civil_clock_follows_its_zone() {
        let zone = TimeZone::get("America/New_York").unwrap();
        let friday_evening_utc = Timestamp::parse_rfc3339("2026-11-28T02:00:00Z").unwrap();
        assert_eq!(CivilClock::new(zone).profile_bin(friday_evening_utc.hour_index()), 21);
    }

    #[test]
    fn rfc3339_round_trip_keeps_microseconds() {
        let stamp = Timestamp::from_micros(1_700_000_000_123_456);
        assert_eq!(Timestamp::parse_rfc3339(&stamp.to_rfc3339()), Some(stamp));
    }
}
