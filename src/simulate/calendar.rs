//! The world's time: civil days of its time zone, office hours, ends of months.
//!
//! *In*: a first day and a number of days. *Out*: moments, and what people do at them.

use super::SimulateError;
use crate::time::{MICROS_PER_SECOND, Timestamp};
use jiff::Span;
use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;

/// Time zone of the simulated company.
pub(super) const TIME_ZONE: &str = "Europe/Berlin";

/// Months as stamps name them.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Days of the week as stamps name them.
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Share of a working day's mail in each hour, and the day's weight at weekends.
pub(super) struct Profile {
    /// Weights of the 24 hours; they need not add up to 1.
    hours: [f64; 24],
    /// Weight of a Saturday or Sunday against a working day.
    weekend: f64,
}

/// People in an office: mornings, a lunch dip, afternoons, stragglers.
pub(super) const OFFICE: Profile = Profile {
    hours: [
        0.02, 0.01, 0.01, 0.01, 0.02, 0.1, 0.5, 2.0, 6.0, 9.0, 10.0, 9.0, 5.5, 7.0, 9.5, 9.0, 7.0, 4.0, 1.5,
        0.8, 0.6, 0.5, 0.2, 0.1,
    ],
    weekend: 0.04,
};
/// Customers of a web site: days and evenings, weekends too.
pub(super) const CUSTOMERS: Profile = Profile {
    hours: [
        1.0, 0.6, 0.4, 0.3, 0.3, 0.5, 1.2, 2.5, 4.0, 5.0, 5.5, 5.5, 5.5, 5.0, 5.0, 5.0, 5.2, 5.5, 6.0, 6.5,
        6.5, 5.5, 4.0, 2.2,
    ],
    weekend: 0.8,
};
/// Machines that report around the clock.
pub(super) const ALWAYS: Profile = Profile { hours: [1.0; 24], weekend: 1.0 };

impl Profile {
    /// Share of a mean working day that falls into an hour of a day.
    pub(super) fn share(&self, weekday: u8, hour: usize) -> f64 {
        let total: f64 = self.hours.iter().sum();
        let day = if weekday >= 5 { self.weekend } else { 1.0 };
        day * self.hours[hour.min(23)] / total
    }
}

/// First day, number of days, time zone.
pub(super) struct Calendar {
    zone: TimeZone,
    first: Date,
    /// How many days the world lasts.
    pub(super) days: u32,
}

/// A moment as people of the company read it.
#[derive(Clone, Copy)]
pub(super) struct Civil {
    /// 0 for Monday.
    pub(super) weekday: u8,
    /// 0 to 23.
    pub(super) hour: usize,
}

impl Calendar {
    /// The days from `first` on.
    pub(super) fn new(first: Date, days: u32) -> Result<Calendar, SimulateError> {
        let zone = TimeZone::get(TIME_ZONE).map_err(|error| SimulateError::Calendar(error.to_string()))?;
        Ok(Calendar { zone, first, days })
    }

    /// A moment by day and local hour of the clock; a fraction of an hour may follow.
    pub(super) fn at(&self, day: u32, hour: f64) -> i64 {
        let whole = hour.floor().clamp(0.0, 23.0);
        let date = self.date(day);
        let full_hour = self.zone.to_timestamp(date.at(whole as i8, 0, 0, 0));
        let base = full_hour.map_or(0, |stamp| stamp.as_microsecond());
        base + ((hour - whole) * 3_600.0 * MICROS_PER_SECOND as f64) as i64
    }

    /// When the world begins.
    pub(super) fn start(&self) -> i64 {
        self.at(0, 0.0)
    }

    /// When it ends.
    pub(super) fn end(&self) -> i64 {
        self.at(self.days, 0.0)
    }

    /// The civil date of a day of the world.
    pub(super) fn date(&self, day: u32) -> Date {
        self.first.checked_add(Span::new().days(i64::from(day))).unwrap_or(self.first)
    }

    /// Days of the world on which people work.
    pub(super) fn working_days(&self) -> Vec<u32> {
        (0..self.days)
            .filter(|day| !matches!(self.date(*day).weekday(), Weekday::Saturday | Weekday::Sunday))
            .collect()
    }

    /// The working days of the world that are the last ones of their months.
    pub(super) fn month_ends(&self) -> Vec<u32> {
        let works = self.working_days();
        works
            .iter()
            .filter(|day| {
                let month = self.date(**day).month();
                (1..=4).map(|ahead| self.date(**day + ahead)).all(|later| {
                    later.month() != month || matches!(later.weekday(), Weekday::Saturday | Weekday::Sunday)
                })
            })
            .copied()
            .collect()
    }

    /// Days of the world that fall on a weekday (0 for Monday).
    pub(super) fn weekdays(&self, weekday: u8) -> Vec<u32> {
        (0..self.days).filter(|day| monday_based(self.date(*day).weekday()) == weekday).collect()
    }

    /// How people read a moment.
    pub(super) fn civil(&self, at: i64) -> Civil {
        let seconds = at.div_euclid(MICROS_PER_SECOND);
        let offset = jiff::Timestamp::from_second(seconds)
            .map_or(0, |stamp| i64::from(self.zone.to_offset(stamp).seconds()));
        let hours = (seconds + offset).div_euclid(3_600);
        // 1970-01-01 was a Thursday; with Monday as 0 that is 3.
        Civil { weekday: (hours.div_euclid(24) + 3).rem_euclid(7) as u8, hour: hours.rem_euclid(24) as usize }
    }

    /// A moment as clocks show it, and the offset from UTC in seconds.
    fn local(&self, at: i64) -> (DateTime, i32) {
        let stamp = jiff::Timestamp::from_microsecond(at).unwrap_or_default();
        let offset = self.zone.to_offset(stamp);
        (offset.to_datetime(stamp), offset.seconds())
    }

    /// Stamp of RFC 3164: `Mar  3 09:12:01`.
    pub(super) fn classic(&self, at: i64) -> String {
        let (t, _) = self.local(at);
        let month = MONTHS[t.month() as usize - 1];
        format!("{month} {:2} {:02}:{:02}:{:02}", t.day(), t.hour(), t.minute(), t.second())
    }

    /// Stamp of RFC 3339 with microseconds and offset.
    pub(super) fn rfc3339(&self, at: i64) -> String {
        let (t, offset) = self.local(at);
        format!(
            "{}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}+{:02}:{:02}",
            t.year(),
            t.month(),
            t.day(),
            t.hour(),
            t.minute(),
            t.second(),
            at.rem_euclid(MICROS_PER_SECOND),
            offset / 3_600,
            offset / 60 % 60
        )
    }

    /// `Date:` of RFC 5322.
    pub(super) fn rfc5322(&self, at: i64) -> String {
        let (t, offset) = self.local(at);
        let weekday = WEEKDAYS[monday_based(t.date().weekday()) as usize];
        let month = MONTHS[t.month() as usize - 1];
        format!(
            "{weekday}, {} {month} {} {:02}:{:02}:{:02} +{:02}{:02}",
            t.day(),
            t.year(),
            t.hour(),
            t.minute(),
            t.second(),
            offset / 3_600,
            offset / 60 % 60
        )
    }

    /// The day of the world that a moment falls on.
    pub(super) fn day_of(&self, at: i64) -> u32 {
        let date = self.local(at).0.date();
        self.first.until(date).map_or(0, |span| span.get_days().max(0) as u32)
    }
}

/// Monday is 0.
fn monday_based(weekday: Weekday) -> u8 {
    weekday.to_monday_zero_offset() as u8
}

/// A moment as the rest of the program knows it.
pub(super) fn timestamp(at: i64) -> Timestamp {
    Timestamp::from_micros(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_follow_the_civil_clock_over_its_change() {
        let calendar = Calendar::new(jiff::civil::date(2026, 3, 23), 11).unwrap();
        // 2026-03-29 has 23 hours in Berlin.
        assert_eq!(calendar.at(7, 0.0) - calendar.at(6, 0.0), 23 * 3_600 * MICROS_PER_SECOND);
        assert_eq!(calendar.civil(calendar.at(6, 9.5)).hour, 9);
        assert_eq!(calendar.civil(calendar.at(6, 9.5)).weekday, 6);
        assert_eq!(calendar.day_of(calendar.at(6, 9.5)), 6);
        assert_eq!(calendar.month_ends(), vec![8]);
        assert_eq!(calendar.weekdays(1), vec![1, 8]);
    }
}
