//! What is normal for one sender: its rate by hour of week, how much that rate varies, its marks.
//!
//! *In*: counts of one hour at a time, clipped. *Out*: rate, dispersion and mark law for the current hour.
//! *Bound*: fixed size. *Spec*: docs/detection.md (Gamma–Poisson with forgetting, negative-binomial
//! overdispersion by moments, Dirichlet marks).

use super::counts::{HourCounts, MarkCounts};
use super::detector::Expected;
use super::model::{MarkLaw, Model, RolePrior, SIDE_MARKS_MAX};
use super::slow::Slow;
use crate::time::PROFILE_BINS;

/// Share that a day keeps of what was learned before: half after 14 days.
pub const DAILY_MEMORY: f64 = 0.9516951530106196;
/// Weight of the prior dispersion, in squared messages.
const DISPERSION_PRIOR_WEIGHT: f64 = 4.0;
/// One over the prior dispersion r = 2.
const DISPERSION_PRIOR_INVERSE: f64 = 0.5;
/// Least rate, messages per hour.
const RATE_MIN: f64 = 0.01;
/// Least mean that counts are compared with, messages per hour.
const MEAN_MIN: f64 = 0.02;

/// What one sender normally does.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// Messages by bin, forgetting.
    pub(super) messages: [f64; PROFILE_BINS],
    /// Hours watched by bin, forgetting.
    pub(super) hours: [f64; PROFILE_BINS],
    /// Σ ((N−m)² − N) with its prior.
    pub(super) excess: f64,
    /// Σ m² with its prior.
    pub(super) squares: f64,
    /// Marks learned.
    pub(super) marks: MarkCounts,
    /// What it was like over the last months.
    pub(super) slow: Slow,
    /// Rate over the whole week, messages per hour.
    pub level: f64,
    /// What is expected in the current hour.
    pub expected: Expected,
}

impl Baseline {
    /// A sender without history, in the given bin of the week.
    pub fn new(model: &Model, prior: &RolePrior, bin: usize) -> Baseline {
        let mut baseline = Baseline {
            messages: [0.0; PROFILE_BINS],
            hours: [0.0; PROFILE_BINS],
            excess: DISPERSION_PRIOR_INVERSE * DISPERSION_PRIOR_WEIGHT,
            squares: DISPERSION_PRIOR_WEIGHT,
            marks: MarkCounts::default(),
            slow: Slow::default(),
            level: prior.rate_per_hour,
            expected: Expected {
                rate: prior.rate_per_hour,
                dispersion: 1.0 / DISPERSION_PRIOR_INVERSE,
                law: prior.law,
                side: [0.5; SIDE_MARKS_MAX],
                templates: model.templates_of(prior.role),
            },
        };
        baseline.predict(model, prior, bin, 1.0);
        baseline
    }

    /// Usual messages per day.
    pub fn usual_per_day(&self) -> f64 {
        24.0 * self.level
    }

    /// Closes the hour of `bin`. `exposure` is how much of an ordinary hour it was: 0 teaches nothing, where suspicion
    /// was open at any time of it or nobody watched; less than 1 is a holiday, in which few messages say little. What
    /// is learned is clipped, so that one hour moves the baseline a bounded way.
    pub fn end_hour(&mut self, bin: usize, hour: &HourCounts, exposure: f64) {
        if exposure <= 0.0 {
            return;
        }
        let mean = self.expected.rate.max(MEAN_MIN);
        let clipped = hour.messages().min(hour_messages_max(&self.expected));
        self.messages[bin] += clipped;
        self.hours[bin] += exposure;
        self.excess += (clipped - mean).powi(2) - clipped;
        self.squares += mean * mean;
        if hour.messages() > 0.0 {
            self.marks.merge(&hour.marks(), clipped / hour.messages());
        }
    }

    /// Closes a day that was worth a share of an ordinary one: forgets by half-life.
    pub fn end_day(&mut self, exposure: f64) {
        self.forget(if exposure == 1.0 { DAILY_MEMORY } else { DAILY_MEMORY.powf(exposure) });
    }

    /// Closes a week: the slow reference follows.
    pub fn end_week(&mut self, prior: &RolePrior) {
        self.slow.end_week(&self.mark_law(prior), self.level_now(prior));
    }

    /// Forgets all but a share, as after several days at once.
    pub fn forget(&mut self, kept: f64) {
        for value in self.messages.iter_mut().chain(self.hours.iter_mut()) {
            *value *= kept;
        }
        self.marks.keep(kept);
        let prior = DISPERSION_PRIOR_WEIGHT * (1.0 - kept);
        self.excess = self.excess * kept + DISPERSION_PRIOR_INVERSE * prior;
        self.squares = self.squares * kept + prior;
    }

    /// A whole day without mail and without suspicion, in one step: its 24 hours, each with its bin and exposure, are
    /// taken as empty hours at the rates known when it began. As much is forgotten as the day is worth.
    pub fn idle_day(&mut self, prior: &RolePrior, hours: impl Iterator<Item = (usize, f64)>, exposure: f64) {
        self.level = self.level_now(prior);
        for (bin, exposure) in hours {
            let mean = exposure * self.rate_of(prior, bin).max(MEAN_MIN);
            self.hours[bin] += exposure;
            self.excess += mean * mean;
            self.squares += mean * mean;
        }
        self.end_day(exposure);
    }

    fn level_now(&self, prior: &RolePrior) -> f64 {
        let (mut messages, mut hours) =
            (prior.rate_per_hour * prior.rate_weight_hours, prior.rate_weight_hours);
        for i in 0..PROFILE_BINS {
            messages += self.messages[i];
            hours += prior.profile[i] * self.hours[i];
        }
        messages / hours
    }

    fn rate_of(&self, prior: &RolePrior, bin: usize) -> f64 {
        let weight = prior.profile_weight_hours;
        ((weight * self.level * prior.profile[bin] + self.messages[bin]) / (weight + self.hours[bin]))
            .max(RATE_MIN)
    }

    /// Works out what is expected in `bin`, where everybody sends `factor` times what they are known for.
    pub fn predict(&mut self, model: &Model, prior: &RolePrior, bin: usize, factor: f64) {
        self.level = self.level_now(prior);
        self.expected = Expected {
            rate: (factor * self.rate_of(prior, bin)).max(RATE_MIN),
            dispersion: (self.squares / self.excess.max(0.05 * self.squares)).clamp(0.3, 20.0),
            law: self.slow.bound(self.mark_law(prior)),
            side: side_law(model, &self.marks),
            templates: model.templates_of(prior.role),
        };
    }

    /// Expected rate of every bin, messages per hour.
    pub fn week(&self, prior: &RolePrior) -> Vec<f64> {
        (0..PROFILE_BINS).map(|bin| self.rate_of(prior, bin)).collect()
    }

    /// Posterior means with floors: a floor bounds what one delivery can prove, also for young senders.
    fn mark_law(&self, prior: &RolePrior) -> MarkLaw {
        let (weight, law, marks) = (prior.weight_messages, &prior.law, &self.marks);
        let (verdict_counts, path_counts) = (marks.verdict(), marks.reverse_path());
        let (verdicts, paths) = (verdict_counts.iter().sum(), path_counts.iter().sum());
        let ((novel, novel_seen), (foreign, foreign_seen)) = (marks.novel(), marks.foreign());
        let share = |prior: f64, count: f64, total: f64| (weight * prior + count) / (weight + total);
        let verdict = |i: usize, floor: f64| share(law.verdict[i], verdict_counts[i], verdicts).max(floor);
        let path = |i: usize, floor: f64| share(law.reverse_path[i], path_counts[i], paths).max(floor);
        MarkLaw {
            novel: share(law.novel, novel, novel_seen).clamp(0.01, 0.95),
            verdict: [verdict(0, 1e-4), verdict(1, 0.004), verdict(2, 0.002), verdict(3, 0.01)],
            reverse_path: [path(0, 1e-4), path(1, 0.002), path(2, 0.003)],
            foreign: share(law.foreign, foreign, foreign_seen).clamp(0.0015, 0.5),
        }
    }
}

/// This sender's own probabilities of the side marks, with floors.
pub(super) fn side_law(model: &Model, counts: &MarkCounts) -> [f64; SIDE_MARKS_MAX] {
    let mut law = [0.5; SIDE_MARKS_MAX];
    for (place, mark) in model.side_marks.iter().enumerate() {
        let (set, seen) = counts.side(place);
        let share = (mark.weight * mark.prior + set) / (mark.weight + seen);
        law[place] = share.clamp(mark.floor, 0.95);
    }
    law
}

/// Most messages that are normal in one hour: mean plus two standard deviations plus two.
pub fn hour_messages_max(expected: &Expected) -> f64 {
    let mean = expected.rate.max(MEAN_MIN);
    mean + 2.0 * (mean + mean * mean / expected.dispersion).sqrt() + 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::company::Role;
    use crate::engine::marks::Marks;

    fn hour(messages: u32) -> HourCounts {
        let mut hour = HourCounts::default();
        (0..messages).for_each(|_| hour.add(&Marks::default()));
        hour
    }

    fn taught(hours: usize, per_hour: u32) -> (Model, Baseline) {
        let model = Model::shipped().unwrap();
        let prior = model.prior(Role::Application);
        let mut baseline = Baseline::new(&model, prior, 0);
        for index in 0..hours {
            baseline.predict(&model, prior, index % 24, 1.0);
            baseline.end_hour(index % 24, &hour(per_hour), 1.0);
            if index % 24 == 23 {
                baseline.end_day(1.0);
            }
        }
        baseline.predict(&model, prior, hours % 24, 1.0);
        (model, baseline)
    }

    #[test]
    fn a_steady_rate_is_learned() {
        let (_, baseline) = taught(24 * 28, 10);
        assert!((baseline.expected.rate - 10.0).abs() < 1.0, "{}", baseline.expected.rate);
    }

    #[test]
    fn one_wild_hour_moves_the_rate_a_bounded_way() {
        let (model, mut baseline) = taught(24 * 28, 10);
        let before = baseline.level;
        baseline.end_hour(0, &hour(100_000), 1.0);
        baseline.predict(&model, model.prior(Role::Application), 0, 1.0);
        assert!(baseline.level < before * 1.02, "{} → {}", before, baseline.level);
    }

    #[test]
    fn nothing_is_learned_under_suspicion() {
        let (_, mut baseline) = taught(24 * 28, 10);
        let before = baseline.clone();
        baseline.end_hour(0, &hour(50), 0.0);
        assert_eq!(baseline, before);
    }

    #[test]
    fn an_idle_day_is_nearly_24_idle_hours() {
        let (model, baseline) = taught(24 * 28, 10);
        let prior = model.prior(Role::Application);
        let (mut at_once, mut hourly) = (baseline.clone(), baseline);
        at_once.idle_day(prior, (0..24).map(|hour| (hour, 1.0)), 1.0);
        at_once.predict(&model, prior, 0, 1.0);
        for index in 0..24 {
            hourly.predict(&model, prior, index, 1.0);
            hourly.end_hour(index, &hour(0), 1.0);
        }
        hourly.end_day(1.0);
        hourly.predict(&model, prior, 0, 1.0);
        assert!((at_once.level / hourly.level - 1.0).abs() < 1e-9);
        assert!((at_once.expected.dispersion / hourly.expected.dispersion - 1.0).abs() < 0.05);
    }
}
