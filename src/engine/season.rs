//! The season: how much the company's senders send together against what each is known for. Holidays make all of them
//! quiet at once, the days before make all of them busy, and an outage of the sensor makes all of them disappear.
//!
//! *In*: deliveries of known senders, hour by hour. *Out*: for each hour a factor on the expected rates, and how much
//! of an hour it was that a baseline may learn from. *Bound*: one group a role; `limits::SEASON_HOURS` hours back.
//! *Spec*: docs/detection.md, the season (a common factor, robust since no sender weighs more than one message an hour).

use super::packed::array;
use super::sender::Sender;
use crate::company::Role;
use crate::limits::SEASON_HOURS;
use crate::time::{CivilClock, PROFILE_BINS};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Parts of a message that sums are kept in: sums of whole numbers are the same in every order.
const UNIT: f64 = 1_024.0;
/// Groups: everybody, then one a role.
const GROUPS: usize = 1 + 6;
/// Days that a sender must be known, and most days of silence after which it still counts. Longer than school holidays.
const KNOWN_DAYS_MIN: i64 = 7;
const SILENT_DAYS_MAX: i64 = 45;
/// Time constant of the sums that the factor is the ratio of, hours.
const MEMORY_HOURS: f64 = 6.0;
/// Least sum of what is expected, messages (each sender at most one an hour, so ten senders at least), and what is added
/// on both sides of the ratio.
const EXPECTED_MIN: f64 = 60.0;
const EXPECTED_PRIOR: f64 = 2.0;
/// Hours that a factor is held after the last in which enough was expected to know it: nights and weekends.
const HELD_HOURS: i64 = 72;
/// Between these nothing is said: one sender alone, whatever it sends, moves the ratio of the least sum by less.
const ORDINARY: (f64, f64) = (0.7, 1.35);
/// Bounds of the factor.
const BOUNDS: (f64, f64) = (0.05, 1.5);
/// Messages expected of everybody from which on hours without any observation are an outage.
const BLIND_EXPECTED_MIN: f64 = 10.0;

/// The senders of one role, or all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Group {
    /// What is expected of all of them in each bin, each at most one message an hour, in [`UNIT`]s.
    #[serde(with = "array")]
    expected: [u64; PROFILE_BINS],
    /// What was seen of them in the hour under way, in [`UNIT`]s.
    hour: u64,
    /// Observed and expected messages with a memory of [`MEMORY_HOURS`].
    sums: (f64, f64),
    /// The factor that holds, and the hour in which it was known last.
    factor: (f64, i64),
    /// The factor of each hour in which it was not 1.
    past: BTreeMap<i64, f64>,
}

impl Default for Group {
    fn default() -> Group {
        Group {
            expected: [0; PROFILE_BINS],
            hour: 0,
            sums: (0.0, 0.0),
            factor: (1.0, i64::MIN),
            past: BTreeMap::new(),
        }
    }
}

impl Group {
    fn end_hour(&mut self, hour: i64, bin: usize) {
        let kept = (-1.0 / MEMORY_HOURS).exp();
        self.sums.0 = self.sums.0 * kept + std::mem::take(&mut self.hour) as f64 / UNIT;
        self.sums.1 = self.sums.1 * kept + self.expected[bin] as f64 / UNIT;
        if self.sums.1 >= EXPECTED_MIN {
            let ratio = (self.sums.0 + EXPECTED_PRIOR) / (self.sums.1 + EXPECTED_PRIOR);
            let ordinary = (ORDINARY.0..=ORDINARY.1).contains(&ratio);
            self.factor = (if ordinary { 1.0 } else { ratio.clamp(BOUNDS.0, BOUNDS.1) }, hour);
        } else if hour.saturating_sub(self.factor.1) > HELD_HOURS {
            self.factor = (1.0, i64::MIN);
        }
        self.keep(hour);
    }

    fn keep(&mut self, hour: i64) {
        if self.factor.0 != 1.0 {
            self.past.insert(hour, self.factor.0);
        }
        while self.past.first_key_value().is_some_and(|(first, _)| *first < hour - SEASON_HOURS) {
            self.past.pop_first();
        }
    }

    /// Whether enough is expected of it, or was lately, to have a factor of its own.
    fn speaks(&self) -> bool {
        self.factor.1 != i64::MIN
    }
}

/// What the senders of one road do together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Season {
    groups: [Group; GROUPS],
    /// The hour under way.
    hour: Option<i64>,
    /// Day for which the members were counted last.
    day: Option<i64>,
    /// Hours in which nothing at all was seen though much was expected.
    blind: BTreeSet<i64>,
}

/// The season of one role.
#[derive(Clone, Copy)]
pub struct Weather<'a> {
    season: Option<&'a Season>,
    group: usize,
}

impl Weather<'_> {
    /// Nothing is known of others.
    pub const PLAIN: Weather<'static> = Weather { season: None, group: 0 };

    /// Factor on the rate expected in an hour, as it was known when the hour began.
    pub fn factor(&self, hour: i64) -> f64 {
        self.past(hour.saturating_sub(1))
    }

    /// How much of an hour a past hour was for a baseline: its factor, and 0 where nobody watched.
    pub fn exposure(&self, hour: i64) -> f64 {
        match self.season {
            Some(season) if season.blind.contains(&hour) => 0.0,
            _ => self.past(hour),
        }
    }

    /// Exposure of a whole day from a given hour on, at most 1: as much is forgotten as could be learned.
    pub fn day_exposure(&self, first_hour: i64) -> f64 {
        if self.is_plain() {
            return 1.0;
        }
        (first_hour..first_hour + 24).map(|hour| self.exposure(hour).min(1.0)).sum::<f64>() / 24.0
    }

    /// Whether no hour was out of the ordinary.
    pub fn is_plain(&self) -> bool {
        self.season.is_none_or(|season| season.blind.is_empty() && season.groups[self.group].past.is_empty())
    }

    fn past(&self, hour: i64) -> f64 {
        let past = self.season.map(|season| &season.groups[self.group].past);
        past.and_then(|past| past.get(&hour)).copied().unwrap_or(1.0)
    }
}

impl Season {
    /// The factor that everybody shares now.
    pub fn common_factor(&self) -> f64 {
        self.groups[0].factor.0
    }

    /// As a role feels it: by its own group, or where that is too small by everybody.
    pub fn of(&self, role: Role) -> Weather<'_> {
        let own = 1 + role as usize;
        let group = if self.groups[own].speaks() || !self.groups[own].past.is_empty() { own } else { 0 };
        Weather { season: Some(self), group }
    }

    /// Takes the hour of an observation: ends the hours before it. Returns whether the members have to be counted anew.
    pub fn reach(&mut self, hour: i64, clock: &CivilClock) -> bool {
        let mut current = *self.hour.get_or_insert(hour);
        if hour < current {
            // Something was seen in it after all.
            self.blind.remove(&hour);
        }
        if hour.saturating_sub(current) > SEASON_HOURS {
            *self = Season { hour: Some(hour), ..Season::default() };
            current = hour;
        }
        if current < hour {
            self.end_hours(current, hour, clock);
            current = hour;
        }
        self.hour = Some(current);
        let day = current.div_euclid(24);
        self.day.replace(day).is_none_or(|counted| counted < day)
    }

    /// Ends the hour `first`, in which something was seen, and those between it and `next`, in which nothing was.
    fn end_hours(&mut self, first: i64, next: i64, clock: &CivilClock) {
        let bin = |hour| clock.profile_bin(hour);
        self.groups.iter_mut().for_each(|group| group.end_hour(first, bin(first)));
        let everybody = &self.groups[0];
        let units: u64 = (first + 1..next).map(|hour| everybody.expected[bin(hour)]).sum();
        let blind = units as f64 * everybody.factor.0 >= BLIND_EXPECTED_MIN * UNIT;
        for hour in first + 1..next {
            if blind {
                self.blind.insert(hour);
                self.groups.iter_mut().for_each(|group| group.keep(hour));
            } else {
                self.groups.iter_mut().for_each(|group| group.end_hour(hour, bin(hour)));
            }
        }
        while self.blind.first().is_some_and(|first| *first < next - SEASON_HOURS) {
            self.blind.pop_first();
        }
    }

    /// Begins to count the members anew; [`Season::count`] follows for every sender.
    pub fn recount(&mut self) {
        self.groups.iter_mut().for_each(|group| group.expected = [0; PROFILE_BINS]);
    }

    /// Counts a sender with the rates that are expected of it.
    pub fn count(&mut self, sender: &Sender, week: impl FnOnce() -> Vec<f64>) {
        if !self.is_member(sender) {
            return;
        }
        for (bin, rate) in week().into_iter().enumerate() {
            let units = (rate.min(1.0) * UNIT) as u64;
            self.groups[0].expected[bin] += units;
            self.groups[1 + sender.role as usize].expected[bin] += units;
        }
    }

    /// Notes a delivery of a sender, whose share of an hour is bounded: of the messages beyond three times what is
    /// expected, none counts.
    pub fn note(&mut self, sender: &Sender) {
        let (hour, messages) = sender.hour_under_way();
        let rate = sender.rate() / self.of(sender.role).factor(hour);
        let counts = f64::from(messages) <= 3.0 * rate + 1.0 && self.hour == Some(hour);
        if !counts || !self.is_member(sender) {
            return;
        }
        let units = (UNIT / rate.max(1.0)) as u64;
        self.groups[0].hour += units;
        self.groups[1 + sender.role as usize].hour += units;
    }

    fn is_member(&self, sender: &Sender) -> bool {
        let day = self.day.unwrap_or(0);
        sender.first_at.day_index() + KNOWN_DAYS_MIN <= day
            && sender.last_at.day_index() + SILENT_DAYS_MAX >= day
            && !sender.is_quiet()
    }
}
