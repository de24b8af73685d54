//! The statistical model as data: roles, benign regimes, hijack templates, thresholds.
//!
//! *In*: `baselines/*.toml`, compiled in. *Out*: [`Model`]. *Bound*: [`STATES_MAX`] hidden states,
//! [`REGISTERS_MAX`] registers. *Spec*: docs/detection.md.

use crate::company::Role;
use crate::time::PROFILE_BINS;
use serde::Deserialize;

/// Rates that a burst or a hijack may have on top of the sender's own.
pub const RATES: usize = 4;
/// Most hidden states of the null: normal, replaced host, and regimes × rates.
pub const STATES_MAX: usize = 2 + 16 * RATES;
/// Most registers of the test: templates × rates.
pub const REGISTERS_MAX: usize = 8 * RATES;

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

/// One hypothesis of how a hijacker's mail looks.
#[derive(Clone, Debug)]
pub struct Template {
    /// Stable name.
    pub name: String,
    /// What it means, for people.
    pub says: String,
    /// Its marks.
    pub law: MarkLaw,
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
    /// Whether almost every delivery comes from a foreign machine.
    pub replaced_machine: bool,
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
}

/// Everything that is fixed about the test.
#[derive(Clone, Debug)]
pub struct Model {
    /// Hijack templates.
    pub templates: Vec<Template>,
    /// Benign regimes; the first is the sender's own mix.
    pub regimes: Vec<Regime>,
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
    budgets: Vec<f64>,
    bases: Vec<f64>,
    priors: Vec<RolePrior>,
}

/// A shipped baseline that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("baselines/{file}: {reason}")]
pub struct ModelError {
    file: &'static str,
    reason: String,
}

#[derive(Deserialize)]
struct Number<T> {
    value: T,
    #[serde(rename = "unit")]
    _unit: String,
    #[serde(rename = "meaning")]
    _meaning: String,
    #[serde(rename = "origin")]
    _origin: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MarksFile {
    weight_messages: Option<Number<f64>>,
    novel_recipient: Number<f64>,
    accepted: Number<f64>,
    no_such_recipient: Number<f64>,
    refused_by_policy: Number<f64>,
    deferred: Number<f64>,
    own_reverse_path: Number<f64>,
    unknown_reverse_path: Number<f64>,
    null_reverse_path: Number<f64>,
    foreign_machine: Option<Number<f64>>,
}

impl MarksFile {
    fn law(&self) -> Result<MarkLaw, String> {
        let law = MarkLaw {
            novel: self.novel_recipient.value,
            verdict: [
                self.accepted.value,
                self.no_such_recipient.value,
                self.refused_by_policy.value,
                self.deferred.value,
            ],
            reverse_path: [
                self.own_reverse_path.value,
                self.unknown_reverse_path.value,
                self.null_reverse_path.value,
            ],
            foreign: self.foreign_machine.as_ref().map_or(0.5, |number| number.value),
        };
        let sums_to_one = |values: &[f64]| (values.iter().sum::<f64>() - 1.0).abs() < 1e-6;
        let positive = |values: &[f64]| values.iter().all(|value| *value > 0.0 && *value < 1.0);
        if !sums_to_one(&law.verdict) || !sums_to_one(&law.reverse_path) {
            return Err("the classes of a mark do not sum to 1".into());
        }
        if !positive(&law.verdict) || !positive(&law.reverse_path) || !positive(&[law.novel, law.foreign]) {
            return Err("a probability is not between 0 and 1".into());
        }
        Ok(law)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleFile {
    role: Role,
    profile: String,
    rate: RateFile,
    marks: MarksFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateFile {
    messages_per_hour: Number<f64>,
    weight_hours: Number<f64>,
    profile_weight_hours: Number<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BenignFile {
    switching: SwitchingFile,
    rates: RatesFile,
    regime: Vec<RegimeFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchingFile {
    regime_change: Number<f64>,
    return_seconds: Number<f64>,
    replaced_machine: Number<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RatesFile {
    messages_per_hour: Number<[f64; RATES]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegimeFile {
    name: String,
    says: String,
    machine: MachineRule,
    marks: Option<MarksFile>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum MachineRule {
    Own,
    Replaced,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HijackFile {
    hijack: Vec<TemplateFile>,
    test: TestFile,
    threshold: ThresholdFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateFile {
    name: String,
    says: String,
    marks: MarksFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestFile {
    increment_min_nats: Number<f64>,
    increment_max_nats: Number<f64>,
    register_max_nats: Number<f64>,
    amber_nats: Number<f64>,
    same_second_weight: Number<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThresholdFile {
    false_alarms_per_1000_sender_days: Number<Vec<f64>>,
    base_nats: Number<Vec<f64>>,
}

const ROLE_FILES: &[(&str, &str)] = &[
    ("mail_relay.toml", include_str!("../../baselines/mail_relay.toml")),
    ("bulk_sender.toml", include_str!("../../baselines/bulk_sender.toml")),
    ("application.toml", include_str!("../../baselines/application.toml")),
    ("device.toml", include_str!("../../baselines/device.toml")),
    ("workstation.toml", include_str!("../../baselines/workstation.toml")),
    ("unused.toml", include_str!("../../baselines/unused.toml")),
];
const BENIGN: &str = include_str!("../../baselines/benign.toml");
const HIJACK: &str = include_str!("../../baselines/hijack.toml");

impl Model {
    /// Reads the shipped baselines.
    pub fn shipped() -> Result<Model, ModelError> {
        let benign: BenignFile = read("benign.toml", BENIGN)?;
        let hijack: HijackFile = read("hijack.toml", HIJACK)?;
        let regimes = benign.regime.into_iter().map(regime).collect::<Result<Vec<_>, _>>();
        let regimes = regimes.map_err(|reason| ModelError { file: "benign.toml", reason })?;
        let templates = hijack.hijack.into_iter().map(template).collect::<Result<Vec<_>, _>>();
        let templates = templates.map_err(|reason| ModelError { file: "hijack.toml", reason })?;
        if 2 + regimes.len() * RATES > STATES_MAX || templates.len() * RATES > REGISTERS_MAX {
            return Err(ModelError {
                file: "benign.toml",
                reason: "more rows than the test has room for".into(),
            });
        }
        let budgets = hijack.threshold.false_alarms_per_1000_sender_days.value;
        let bases = hijack.threshold.base_nats.value;
        if budgets.len() != bases.len() || budgets.len() < 2 || !budgets.is_sorted_by(|a, b| a > b) {
            return Err(ModelError { file: "hijack.toml", reason: "thresholds need falling budgets".into() });
        }
        let priors =
            ROLE_FILES.iter().map(|(file, text)| role_prior(file, text)).collect::<Result<Vec<_>, _>>()?;
        Ok(Model {
            templates,
            regimes,
            rates_per_hour: benign.rates.messages_per_hour.value,
            regime_change: benign.switching.regime_change.value,
            return_seconds: benign.switching.return_seconds.value,
            replaced_machine: benign.switching.replaced_machine.value,
            increment_min: hijack.test.increment_min_nats.value,
            increment_max: hijack.test.increment_max_nats.value,
            register_max: hijack.test.register_max_nats.value,
            amber: hijack.test.amber_nats.value,
            same_second_weight: hijack.test.same_second_weight.value,
            budgets,
            bases,
            priors,
        })
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

    /// Threshold for a false-alarm budget, nats, before the sender's usual rate is added.
    pub fn base_threshold(&self, false_alarms_per_1000_sender_days: f64) -> f64 {
        let wanted = false_alarms_per_1000_sender_days.max(1e-9).ln();
        let last_pair = self.budgets.len() - 2;
        let pair = (0..last_pair).find(|i| wanted >= self.budgets[i + 1].ln()).unwrap_or(last_pair);
        let (left, right) = (self.budgets[pair].ln(), self.budgets[pair + 1].ln());
        let share = (wanted - left) / (right - left);
        (self.bases[pair] + share * (self.bases[pair + 1] - self.bases[pair])).max(0.5)
    }
}

impl Model {
    /// False alarms per 1,000 sender-days that ordinary mail gives at an evidence (the inverse of
    /// [`Model::base_threshold`]).
    pub fn implied_false_alarms(&self, evidence_nats: f64) -> f64 {
        let last_pair = self.bases.len() - 2;
        let pair = (0..last_pair).find(|i| evidence_nats <= self.bases[i + 1]).unwrap_or(last_pair);
        let share = (evidence_nats - self.bases[pair]) / (self.bases[pair + 1] - self.bases[pair]);
        let (left, right) = (self.budgets[pair].ln(), self.budgets[pair + 1].ln());
        (left + share * (right - left)).exp()
    }
}

fn read<T: serde::de::DeserializeOwned>(file: &'static str, text: &str) -> Result<T, ModelError> {
    toml::from_str(text).map_err(|error| ModelError { file, reason: error.to_string() })
}

fn regime(file: RegimeFile) -> Result<Regime, String> {
    let law = file.marks.map(|marks| marks.law()).transpose()?;
    Ok(Regime {
        name: file.name,
        says: file.says,
        law,
        replaced_machine: file.machine == MachineRule::Replaced,
    })
}

fn template(file: TemplateFile) -> Result<Template, String> {
    Ok(Template { name: file.name, says: file.says, law: file.marks.law()? })
}

fn role_prior(file: &'static str, text: &str) -> Result<RolePrior, ModelError> {
    let parsed: RoleFile = read(file, text)?;
    let profile = match parsed.profile.as_str() {
        "flat" => [1.0; PROFILE_BINS],
        "office" => office_profile(),
        other => return Err(ModelError { file, reason: format!("unknown profile {other}") }),
    };
    let law = parsed.marks.law().map_err(|reason| ModelError { file, reason })?;
    Ok(RolePrior {
        role: parsed.role,
        profile,
        rate_per_hour: parsed.rate.messages_per_hour.value,
        rate_weight_hours: parsed.rate.weight_hours.value,
        profile_weight_hours: parsed.rate.profile_weight_hours.value,
        law,
        weight_messages: parsed.marks.weight_messages.map_or(40.0, |number| number.value),
    })
}

/// Two humps of office work at 10:30 and 15:00, weekends at 18 %, mean 1 over the week
/// (detection.md section 2, peer profile).
fn office_profile() -> [f64; PROFILE_BINS] {
    let hump = |hour: f64, centre: f64| (-0.5 * ((hour - centre) / 2.0).powi(2)).exp();
    let mut profile = [0.0; PROFILE_BINS];
    for hour in 0..24 {
        let work = 0.08 + hump(hour as f64, 10.5) + 0.9 * hump(hour as f64, 15.0);
        profile[hour] = work;
        profile[24 + hour] = 0.18 * work;
    }
    let mean = (5.0 * profile[..24].iter().sum::<f64>() + 2.0 * profile[24..].iter().sum::<f64>()) / 168.0;
    profile.map(|value| value / mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_baselines_are_whole() {
        let model = Model::shipped().unwrap();
        assert_eq!((model.states(), model.registers()), (34, 12));
        for role in [
            Role::MailRelay,
            Role::BulkSender,
            Role::Application,
            Role::Device,
            Role::Workstation,
            Role::Unused,
        ] {
            assert_eq!(model.prior(role).role, role);
        }
    }

    #[test]
    fn a_smaller_budget_never_lowers_the_threshold() {
        let model = Model::shipped().unwrap();
        assert!((model.base_threshold(1.0) - 5.08).abs() < 1e-9);
        let thresholds: Vec<f64> =
            [100.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.01].map(|b| model.base_threshold(b)).into();
        assert!(thresholds.is_sorted(), "{thresholds:?}");
    }
}
