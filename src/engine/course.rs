//! One sender's test and baseline on their way through time, in full precision.
//!
//! *In*: the passing of time, marks. *Out*: a [`Step`] per delivery. *Bound*: fixed size; silence of any length
//! costs at most 120 days' steps. *Spec*: docs/detection.md.

use super::baseline::{Baseline, DAILY_MEMORY};
use super::counts::HourCounts;
use super::detector::{Detector, STATES_MEMORY_SECONDS, Step};
use super::marks::Marks;
use super::memory::Traits;
use super::model::{Model, RolePrior};
use super::season::Weather;
use crate::time::{CivilClock, MICROS_PER_DAY, MICROS_PER_HOUR, Timestamp};

/// Silence after which whole days pass in one step, seconds.
const DAYS_AT_ONCE_AFTER_SECONDS: f64 = 48.0 * 3_600.0;
/// Days of silence that are walked one by one; of what was known before, 0.3 % is left after them.
const IDLE_DAYS_WALKED: i64 = 120;
/// Deliveries so near to each other hang together, seconds.
const TOGETHER_SECONDS: f64 = 1.0;

/// Test and baseline of one sender.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// Reached in event time.
    pub clock: Timestamp,
    /// Last delivery.
    pub last_at: Timestamp,
    /// Deliveries ever.
    pub messages: u32,
    /// The hour under way.
    pub hour: HourCounts,
    /// Whether suspicion was open at any time of it.
    pub hour_suspicious: bool,
    /// The test.
    pub test: Detector,
    /// What is normal.
    pub learned: Baseline,
    /// From here on nothing is learned, nats: the model's, plus the margin of a young install.
    pub amber: f64,
}

impl Course {
    /// A sender met for the first time at `at`.
    pub fn new(model: &Model, prior: &RolePrior, clock: &CivilClock, at: Timestamp) -> Course {
        Course {
            clock: at,
            last_at: at,
            messages: 0,
            hour: HourCounts::default(),
            hour_suspicious: false,
            test: Detector::default(),
            learned: Baseline::new(model, prior, clock.profile_bin(at.hour_index())),
            amber: model.amber,
        }
    }

    /// Whole hours pass up to the hour of `to`: closes hours and days, learns, lets the test cool down. A clock
    /// that goes back stands still.
    pub fn advance(
        &mut self,
        model: &Model,
        prior: &RolePrior,
        clock: &CivilClock,
        weather: Weather,
        to: Timestamp,
        traits: &mut Traits,
    ) {
        while self.clock.hour_index() < to.hour_index() {
            let hour = self.clock.hour_index();
            let silent_seconds = self.clock.seconds_since(self.last_at);
            let left_seconds = to.seconds_since(self.clock);
            let at_rest = silent_seconds >= STATES_MEMORY_SECONDS && self.test.is_clear();
            if at_rest
                && silent_seconds >= DAYS_AT_ONCE_AFTER_SECONDS
                && left_seconds >= DAYS_AT_ONCE_AFTER_SECONDS
                && hour.rem_euclid(24) == 0
            {
                self.idle_days(model, prior, clock, weather, left_seconds, traits);
                continue;
            }
            let end = Timestamp::from_micros((hour + 1) * MICROS_PER_HOUR);
            if at_rest && left_seconds >= STATES_MEMORY_SECONDS + 7_200.0 {
                self.test.wait_hour_at_rest(self.learned.expected.rate);
            } else {
                self.test.wait(model, &self.learned.expected, end.seconds_since(self.clock));
            }
            self.clock = end;
            self.end_hour(model, prior, clock, weather, hour, traits);
        }
    }

    fn end_hour(
        &mut self,
        model: &Model,
        prior: &RolePrior,
        clock: &CivilClock,
        weather: Weather,
        hour: i64,
        traits: &mut Traits,
    ) {
        let trusted = !self.hour_suspicious;
        let exposure = if trusted { weather.exposure(hour) } else { 0.0 };
        self.learned.end_hour(clock.profile_bin(hour), &self.hour, exposure);
        traits.end_hour(trusted);
        self.hour = HourCounts::default();
        if hour.rem_euclid(24) == 23 {
            self.learned.end_day(weather.day_exposure(hour - 23));
            self.end_week(prior, hour.div_euclid(24));
            traits.end_day();
        }
        self.learned.predict(model, prior, clock.profile_bin(hour + 1), weather.factor(hour + 1));
        self.hour_suspicious = self.test.evidence() >= self.amber;
    }

    fn end_week(&mut self, prior: &RolePrior, day: i64) {
        if day.rem_euclid(7) == 0 {
            self.learned.end_week(prior);
        }
    }

    /// Whole days without mail and without suspicion, from the start of a day, leaving two days to be walked.
    fn idle_days(
        &mut self,
        model: &Model,
        prior: &RolePrior,
        clock: &CivilClock,
        weather: Weather,
        left_seconds: f64,
        traits: &mut Traits,
    ) {
        let days = ((left_seconds / 86_400.0) as i64 - 1).max(1);
        let skipped = (days - IDLE_DAYS_WALKED).max(0);
        if skipped > 0 {
            self.learned.forget(DAILY_MEMORY.powi(skipped.min(10_000) as i32));
        }
        let first_day = self.clock.day_index() + skipped;
        for day in first_day..first_day + days.min(IDLE_DAYS_WALKED) {
            // Summer time may move two bins of one day by an hour: that is less than they are worth.
            let local = clock.local_hour(day * 24);
            let hours = (0..24)
                .map(|hour| (CivilClock::bin_of_local_hour(local + hour), weather.exposure(day * 24 + hour)));
            self.learned.idle_day(prior, hours, weather.day_exposure(day * 24));
            self.end_week(prior, day);
            traits.end_day();
        }
        self.clock = Timestamp::from_micros(self.clock.as_micros().saturating_add(days * MICROS_PER_DAY));
        let hour = self.clock.hour_index();
        self.learned.predict(model, prior, clock.profile_bin(hour), weather.factor(hour));
    }

    /// Judges one delivery and counts it. Call [`Course::advance`] first.
    pub fn deliver(&mut self, model: &Model, at: Timestamp, marks: &Marks) -> Step {
        let weight = weight(model, self.messages, self.last_at, at);
        self.test.wait(model, &self.learned.expected, at.seconds_since(self.clock));
        let step = self.test.deliver(model, &self.learned.expected, marks, weight);
        self.hour.add(marks);
        self.hour_suspicious |= step.evidence >= self.amber;
        self.messages = self.messages.saturating_add(1);
        self.clock = self.clock.max(at);
        self.last_at = self.last_at.max(at);
        step
    }
}

/// How much a delivery counts: less where it hangs together with the one before.
pub fn weight(model: &Model, messages: u32, last_at: Timestamp, at: Timestamp) -> f64 {
    let together = messages > 0 && at.seconds_since(last_at).abs() < TOGETHER_SECONDS;
    if together { model.same_second_weight } else { 1.0 }
}
