//! What is normal for one sender: its rate by hour of week, how much that rate varies, its marks.
//!
//! *In*: counts of one hour at a time, clipped. *Out*: rate, dispersion and mark law for the current hour.
//! *Bound*: fixed size. *Spec*: docs/detection.md (Gamma–Poisson with forgetting, negative-binomial
//! overdispersion by moments, Dirichlet marks).

use super::marks::Marks;
use super::model::{MarkLaw, RolePrior};
use crate::time::PROFILE_BINS;
use serde::{Deserialize, Serialize};

/// Share that a day keeps of what was learned before: half after 14 days.
const DAILY_MEMORY: f64 = 0.951_694_974_928_184_4;
/// Weight of the prior dispersion, in squared messages.
const DISPERSION_PRIOR_WEIGHT: f64 = 4.0;
/// One over the prior dispersion r = 2.
const DISPERSION_PRIOR_INVERSE: f64 = 0.5;
/// Least rate, messages per hour.
const RATE_MIN: f64 = 0.01;

/// Mark counts: how often each mark was seen, and how it fell out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MarkCounts {
    /// Deliveries whose recipient was new, of those where novelty could be seen.
    pub novel: f64,
    /// Deliveries where novelty could be seen.
    pub novel_seen: f64,
    /// Verdict classes.
    pub verdict: [f64; 4],
    /// Reverse-path classes.
    pub reverse_path: [f64; 3],
    /// Deliveries from a foreign machine.
    pub foreign: f64,
    /// Deliveries where the machine could be seen.
    pub foreign_seen: f64,
}

impl MarkCounts {
    /// Counts one delivery.
    pub fn add(&mut self, marks: &Marks) {
        if let Some(novel) = marks.novel {
            self.novel_seen += 1.0;
            self.novel += f64::from(u8::from(novel));
        }
        if let Some(verdict) = marks.verdict {
            self.verdict[verdict as usize] += 1.0;
        }
        if let Some(reverse_path) = marks.reverse_path {
            self.reverse_path[reverse_path as usize] += 1.0;
        }
        if let Some(foreign) = marks.foreign {
            self.foreign_seen += 1.0;
            self.foreign += f64::from(u8::from(foreign));
        }
    }

    fn merge(&mut self, other: &MarkCounts, share: f64) {
        self.novel += other.novel * share;
        self.novel_seen += other.novel_seen * share;
        self.foreign += other.foreign * share;
        self.foreign_seen += other.foreign_seen * share;
        for i in 0..4 {
            self.verdict[i] += other.verdict[i] * share;
        }
        for i in 0..3 {
            self.reverse_path[i] += other.reverse_path[i] * share;
        }
    }

    fn forget(&mut self) {
        let kept = *self;
        *self = MarkCounts::default();
        self.merge(&kept, DAILY_MEMORY);
    }
}

/// What one sender normally does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Messages by bin, forgetting.
    messages: Vec<f64>,
    /// Hours watched by bin, forgetting.
    hours: Vec<f64>,
    /// Σ ((N−m)² − N) with its prior.
    excess: f64,
    /// Σ m² with its prior.
    squares: f64,
    marks: MarkCounts,
    /// Messages of the hour under way.
    hour_messages: f64,
    hour_marks: MarkCounts,
    /// Messages ever learned from.
    learned_messages: f64,
    /// Rate expected in the current hour, messages per hour.
    pub rate: f64,
    /// Rate over the whole week, messages per hour.
    pub level: f64,
    /// Size r of the negative binomial.
    pub dispersion: f64,
    /// Mark law expected now.
    pub law: MarkLawState,
}

/// A [`MarkLaw`] that can be stored.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MarkLawState {
    novel: f64,
    verdict: [f64; 4],
    reverse_path: [f64; 3],
    foreign: f64,
}

impl From<MarkLaw> for MarkLawState {
    fn from(law: MarkLaw) -> MarkLawState {
        MarkLawState {
            novel: law.novel,
            verdict: law.verdict,
            reverse_path: law.reverse_path,
            foreign: law.foreign,
        }
    }
}

impl From<MarkLawState> for MarkLaw {
    fn from(law: MarkLawState) -> MarkLaw {
        MarkLaw {
            novel: law.novel,
            verdict: law.verdict,
            reverse_path: law.reverse_path,
            foreign: law.foreign,
        }
    }
}

impl Baseline {
    /// A sender without history, in the given bin of the week.
    pub fn new(prior: &RolePrior, bin: usize) -> Baseline {
        let mut baseline = Baseline {
            messages: vec![0.0; PROFILE_BINS],
            hours: vec![0.0; PROFILE_BINS],
            excess: DISPERSION_PRIOR_INVERSE * DISPERSION_PRIOR_WEIGHT,
            squares: DISPERSION_PRIOR_WEIGHT,
            marks: MarkCounts::default(),
            hour_messages: 0.0,
            hour_marks: MarkCounts::default(),
            learned_messages: 0.0,
            rate: prior.rate_per_hour,
            level: prior.rate_per_hour,
            dispersion: 2.0,
            law: prior.law.into(),
        };
        baseline.predict(prior, bin);
        baseline
    }

    /// Counts one delivery of the hour under way.
    pub fn count(&mut self, marks: &Marks) {
        self.hour_messages += 1.0;
        self.hour_marks.add(marks);
    }

    /// Messages in the hour under way.
    pub fn hour_messages(&self) -> f64 {
        self.hour_messages
    }

    /// Deliveries that this sender was learned from, ever.
    pub fn learned_messages(&self) -> f64 {
        self.learned_messages
    }

    /// Usual messages per day.
    pub fn usual_per_day(&self) -> f64 {
        24.0 * self.level
    }

    /// Most messages that are normal in the current hour: mean plus two standard deviations plus two.
    pub fn hour_messages_max(&self) -> f64 {
        let mean = self.rate.max(0.02);
        mean + 2.0 * (mean + mean * mean / self.dispersion).sqrt() + 2.0
    }

    /// Closes the hour of `bin`. `trusted` is false where suspicion was open at any time of it: then
    /// nothing is learned. What is learned is clipped, so that one hour moves the baseline a bounded way.
    pub fn end_hour(&mut self, bin: usize, trusted: bool) {
        if trusted {
            let mean = self.rate.max(0.02);
            let clipped = self.hour_messages.min(self.hour_messages_max());
            self.messages[bin] += clipped;
            self.hours[bin] += 1.0;
            self.excess += (clipped - mean).powi(2) - clipped;
            self.squares += mean * mean;
            if self.hour_messages > 0.0 {
                self.marks.merge(&self.hour_marks, clipped / self.hour_messages);
                self.learned_messages += clipped;
            }
        }
        self.hour_messages = 0.0;
        self.hour_marks = MarkCounts::default();
    }

    /// Closes a day: forgets by half-life.
    pub fn end_day(&mut self) {
        for value in self.messages.iter_mut().chain(self.hours.iter_mut()) {
            *value *= DAILY_MEMORY;
        }
        self.marks.forget();
        let prior = DISPERSION_PRIOR_WEIGHT * (1.0 - DAILY_MEMORY);
        self.excess = self.excess * DAILY_MEMORY + DISPERSION_PRIOR_INVERSE * prior;
        self.squares = self.squares * DAILY_MEMORY + prior;
    }

    /// Works out what is expected in `bin`.
    pub fn predict(&mut self, prior: &RolePrior, bin: usize) {
        let (mut messages, mut hours) =
            (prior.rate_per_hour * prior.rate_weight_hours, prior.rate_weight_hours);
        for i in 0..PROFILE_BINS {
            messages += self.messages[i];
            hours += prior.profile[i] * self.hours[i];
        }
        self.level = messages / hours;
        let weight = prior.profile_weight_hours;
        self.rate = ((weight * self.level * prior.profile[bin] + self.messages[bin])
            / (weight + self.hours[bin]))
            .max(RATE_MIN);
        self.dispersion = (self.squares / self.excess.max(0.05 * self.squares)).clamp(0.3, 20.0);
        self.law = self.mark_law(prior).into();
    }

    /// Expected rate of every bin, messages per hour.
    pub fn week(&self, prior: &RolePrior) -> Vec<f64> {
        let weight = prior.profile_weight_hours;
        (0..PROFILE_BINS)
            .map(|i| {
                ((weight * self.level * prior.profile[i] + self.messages[i]) / (weight + self.hours[i]))
                    .max(RATE_MIN)
            })
            .collect()
    }

    /// Posterior means with floors: a floor bounds what one delivery can prove, also for young senders.
    fn mark_law(&self, prior: &RolePrior) -> MarkLaw {
        let (weight, law, marks) = (prior.weight_messages, &prior.law, &self.marks);
        let verdicts: f64 = marks.verdict.iter().sum();
        let reverse_paths: f64 = marks.reverse_path.iter().sum();
        let share = |prior: f64, count: f64, total: f64| (weight * prior + count) / (weight + total);
        let verdict = |i: usize, floor: f64| share(law.verdict[i], marks.verdict[i], verdicts).max(floor);
        let path = |i: usize, floor: f64| {
            share(law.reverse_path[i], marks.reverse_path[i], reverse_paths).max(floor)
        };
        MarkLaw {
            novel: share(law.novel, marks.novel, marks.novel_seen).clamp(0.01, 0.95),
            verdict: [verdict(0, 1e-4), verdict(1, 0.004), verdict(2, 0.002), verdict(3, 0.01)],
            reverse_path: [path(0, 1e-4), path(1, 0.002), path(2, 0.003)],
            foreign: share(law.foreign, marks.foreign, marks.foreign_seen).clamp(0.0015, 0.5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::company::Role;
    use crate::engine::model::Model;

    fn taught(hours: usize, per_hour: f64) -> Baseline {
        let model = Model::shipped().unwrap();
        let prior = model.prior(Role::Application);
        let mut baseline = Baseline::new(prior, 0);
        for hour in 0..hours {
            baseline.predict(prior, hour % 24);
            baseline.hour_messages = per_hour;
            baseline.end_hour(hour % 24, true);
            if hour % 24 == 23 {
                baseline.end_day();
            }
        }
        baseline.predict(prior, hours % 24);
        baseline
    }

    #[test]
    fn a_steady_rate_is_learned() {
        let baseline = taught(24 * 28, 10.0);
        assert!((baseline.rate - 10.0).abs() < 1.0, "{}", baseline.rate);
    }

    #[test]
    fn one_wild_hour_moves_the_rate_a_bounded_way() {
        let mut baseline = taught(24 * 28, 10.0);
        let model = Model::shipped().unwrap();
        let before = baseline.level;
        baseline.hour_messages = 100_000.0;
        baseline.end_hour(0, true);
        baseline.predict(model.prior(Role::Application), 0);
        assert!(baseline.level < before * 1.02, "{} → {}", before, baseline.level);
    }

    #[test]
    fn nothing_is_learned_under_suspicion() {
        let mut baseline = taught(24 * 28, 10.0);
        let before = baseline.clone();
        baseline.hour_messages = 50.0;
        baseline.end_hour(0, false);
        assert_eq!(baseline.messages, before.messages);
        assert_eq!(baseline.hours, before.hours);
    }
}
