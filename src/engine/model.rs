//! The statistical model as data: roles, benign regimes, hijack templates, thresholds.
//!
//! *In*: `baselines/*.toml`, compiled in and read by [`super::tables`]. *Out*: [`Model`]. *Bound*:
//! [`STATES_MAX`] hidden states, [`REGISTERS_MAX`] registers, [`SIDE_MARKS_MAX`] side marks.
//! *Spec*: docs/detection.md.

use super::marks::SideMarks;
use super::tables::{self, ModelError};
use crate::company::Role;
use crate::time::PROFILE_BINS;

/// Rates that a burst or a hijack may have on top of the sender's own.
pub const RATES: usize = 4;
/// Most hidden states of the null: normal, replaced host, and regimes × rates.
pub const STATES_MAX: usize = 2 + 10 * RATES;
/// Most registers of the test: templates × rates.
pub const REGISTERS_MAX: usize = 4 * RATES;
/// Most marks beside those of the reference model.
pub const SIDE_MARKS_MAX: usize = 8;

/// Probabilities of the marks of one delivery.
///
/// Verdict classes: accepted, no such recipient, refused by policy, deferred. Reverse-path classes: own,
/// unknown, null.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MarkLaw {
    /// Recipient never written to before.
    pub novel: f64,
    /// Verdict classes, summing to 1.
    pub verdict: [f64; 4],
    /// Reverse-path classes, summing to 1.
    pub reverse_path: [f64; 3],
    /// A machine never seen for this sender.
    pub foreign: f64,
}

/// Probabilities of the side marks under one law; `None` where it has no opinion and the sender's own holds.
pub type SideLaw = [Option<f64>; SIDE_MARKS_MAX];

/// A mark that the reference model does not have.
#[derive(Clone, Debug)]
pub struct SideMark {
    /// Stable name.
    pub name: String,
    /// What it means, for people.
    pub says: String,
    /// The words after a share in an explanation.
    pub words: String,
    /// Probability before a sender has a history.
    pub prior: f64,
    /// Deliveries that the prior is worth.
    pub weight: f64,
    /// Least probability: it bounds what one delivery can prove.
    pub floor: f64,
    /// How much of its log-likelihood ratio counts: below 1 where it goes along with other marks.
    pub exponent: f64,
}

/// One hypothesis of how a hijacker's mail looks.
#[derive(Clone, Debug)]
pub struct Template {
    /// Stable name.
    pub name: String,
    /// What it means, for people.
    pub says: String,
    /// Roles that it is tried on; all where none is named.
    pub roles: Vec<Role>,
    /// Its marks.
    pub law: MarkLaw,
    /// Its side marks.
    pub side: SideLaw,
}

/// One benign explanation of a burst.
#[derive(Clone, Debug)]
pub struct Regime {
    /// Stable name.
    pub name: String,
    /// What it means, for people.
    pub says: String,
    /// Its marks; `None` keeps the sender's own. The share of foreign machines is not part of it.
    pub law: Option<MarkLaw>,
    /// Its side marks.
    pub side: SideLaw,
    /// Whether almost every delivery comes from a foreign machine.
    pub replaced_machine: bool,
}

/// Middle and spread of what tells a role from others; both on a logarithmic scale (log-odds for shares).
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The middle.
    pub middle: f64,
    /// Standard deviation.
    pub deviation: f64,
}

/// What tells a role from others.
#[derive(Clone, Copy, Debug)]
pub struct Typical {
    /// Logarithm of the usual messages per day.
    pub messages_per_day: Spread,
    /// Log-odds of a recipient never written to before.
    pub novel_recipient: Spread,
    /// Log-odds of a message in office hours.
    pub office_hours: Spread,
}

/// What is normal for a role before a sender has a history.
#[derive(Clone, Debug)]
pub struct RolePrior {
    /// The role.
    pub role: Role,
    /// Shape of the week, mean 1 over the 168 hours.
    pub profile: [f64; PROFILE_BINS],
    /// Messages per hour.
    pub rate_per_hour: f64,
    /// Hours that the prior rate is worth.
    pub rate_weight_hours: f64,
    /// Hours that the overall rate is worth in one bin.
    pub profile_weight_hours: f64,
    /// Marks.
    pub law: MarkLaw,
    /// Messages that the prior marks are worth.
    pub weight_messages: f64,
    /// How a sender of this role is told once it has a history.
    pub typical: Typical,
    /// Thresholds of this role before ln(1 + usual messages per day) is added, nats; one a budget of
    /// [`Model::budgets`].
    pub bases_nats: Vec<f64>,
}

/// Everything that is fixed about the test.
#[derive(Clone, Debug)]
pub struct Model {
    /// Hijack templates.
    pub templates: Vec<Template>,
    /// Benign regimes; the first is the sender's own mix.
    pub regimes: Vec<Regime>,
    /// Further marks.
    pub side_marks: Vec<SideMark>,
    /// Extra rates, messages per hour.
    pub rates_per_hour: [f64; RATES],
    /// Chance of a regime change at a delivery.
    pub regime_change: f64,
    /// Time constant of the way back to normal in silence, seconds.
    pub return_seconds: f64,
    /// Share of foreign machines after a replacement.
    pub replaced_machine: f64,
    /// Least increment, nats.
    pub increment_min: f64,
    /// Greatest increment, nats.
    pub increment_max: f64,
    /// Ceiling of a register, nats.
    pub register_max: f64,
    /// From here on nothing is learned, nats.
    pub amber: f64,
    /// Weight of a delivery within a second of the one before.
    pub same_second_weight: f64,
    /// Budgets that thresholds were calibrated for, false alarms per 1,000 sender-days, falling.
    pub budgets: Vec<f64>,
    /// What is normal, by role.
    pub priors: Vec<RolePrior>,
}

impl Model {
    /// Reads the shipped baselines.
    pub fn shipped() -> Result<Model, ModelError> {
        tables::shipped()
    }

    /// What is normal for a role.
    pub fn prior(&self, role: Role) -> &RolePrior {
        self.priors.iter().find(|prior| prior.role == role).unwrap_or(&self.priors[0])
    }

    /// Hidden states of the null.
    pub fn states(&self) -> usize {
        2 + self.regimes.len() * RATES
    }

    /// Registers of the test.
    pub fn registers(&self) -> usize {
        self.templates.len() * RATES
    }

    /// Templates that are tried on a role, one bit each.
    pub fn templates_of(&self, role: Role) -> u8 {
        let tried = |template: &Template| template.roles.is_empty() || template.roles.contains(&role);
        (0..)
            .zip(&self.templates)
            .filter(|(_, template)| tried(template))
            .fold(0, |mask, (i, _)| mask | 1 << i)
    }

    /// Place of a side mark.
    pub fn side_mark(&self, name: &str) -> Option<usize> {
        self.side_marks.iter().position(|mark| mark.name == name)
    }

    /// Likelihood ratio of the side marks seen, under a law against the sender's own.
    pub fn side_ratio(&self, law: &SideLaw, own: &[f64; SIDE_MARKS_MAX], seen: &SideMarks) -> f64 {
        if seen.seen == 0 {
            return 1.0;
        }
        let mut ratio = 1.0;
        for (place, mark) in self.side_marks.iter().enumerate() {
            let (Some(set), Some(p)) = (seen.get(place), law[place]) else { continue };
            // Whatever else it is, it has these marks at least as often as the sender itself: what a sender was
            // slowly taught must not become an argument for it.
            let p = p.max(own[place]);
            let of_mark = if set { p / own[place] } else { (1.0 - p) / (1.0 - own[place]) };
            ratio *= if mark.exponent == 1.0 { of_mark } else { of_mark.powf(mark.exponent) };
        }
        ratio
    }

    /// Threshold of a role for a false-alarm budget, nats, before the sender's usual rate is added. Straight in
    /// the logarithm of the budget between the calibrated rows, and beyond them with the nearest slope.
    pub fn base_threshold(&self, role: Role, false_alarms_per_1000_sender_days: f64) -> f64 {
        let bases = &self.prior(role).bases_nats;
        let wanted = false_alarms_per_1000_sender_days.max(1e-9).ln();
        let last_pair = self.budgets.len() - 2;
        let pair = (0..last_pair).find(|i| wanted >= self.budgets[i + 1].ln()).unwrap_or(last_pair);
        let (left, right) = (self.budgets[pair].ln(), self.budgets[pair + 1].ln());
        let share = (wanted - left) / (right - left);
        (bases[pair] + share * (bases[pair + 1] - bases[pair])).max(0.5)
    }

    /// False alarms per 1,000 sender-days that ordinary mail of a role gives at an evidence (the inverse of
    /// [`Model::base_threshold`]).
    pub fn implied_false_alarms(&self, role: Role, evidence_nats: f64) -> f64 {
        let bases = &self.prior(role).bases_nats;
        let last_pair = bases.len() - 2;
        let pair = (0..last_pair).find(|i| evidence_nats <= bases[i + 1]).unwrap_or(last_pair);
        let share = (evidence_nats - bases[pair]) / (bases[pair + 1] - bases[pair]);
        let (left, right) = (self.budgets[pair].ln(), self.budgets[pair + 1].ln());
        (left + share * (right - left)).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_budget_never_lowers_the_threshold() {
        let model = Model::shipped().unwrap();
        for prior in &model.priors {
            let thresholds: Vec<f64> = [100.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.01]
                .map(|budget| model.base_threshold(prior.role, budget))
                .into();
            assert!(thresholds.is_sorted(), "{:?}: {thresholds:?}", prior.role);
        }
    }

    #[test]
    fn the_implied_rate_is_the_inverse_of_the_threshold() {
        let model = Model::shipped().unwrap();
        for budget in [10.0, 2.0, 0.5, 0.1, 0.01] {
            let nats = model.base_threshold(Role::MailRelay, budget);
            let implied = model.implied_false_alarms(Role::MailRelay, nats);
            assert!((implied / budget - 1.0).abs() < 1e-9, "{budget} → {nats} → {implied}");
        }
    }
}
