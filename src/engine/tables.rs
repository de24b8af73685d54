//! Reads `baselines/*.toml`, where every number has a unit, a meaning and an origin.
//!
//! *In*: the files, compiled in. *Out*: [`Model`]. *Bound*: the model's. *Spec*: docs/detection.md.

use super::model::{
    MarkLaw, Model, RATES, REGISTERS_MAX, Regime, RolePrior, SIDE_MARKS_MAX, STATES_MAX, SideLaw, SideMark,
    Spread, Template, Typical,
};
use super::roles::log_odds;
use crate::company::Role;
use crate::time::PROFILE_BINS;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A shipped baseline that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("baselines/{file}: {reason}")]
pub struct ModelError {
    file: &'static str,
    reason: String,
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
const SIDE_MARKS: &str = include_str!("../../baselines/marks.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleFile {
    role: Role,
    profile: String,
    rate: RateFile,
    marks: MarksFile,
    typical: TypicalFile,
    threshold: RoleThresholdFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypicalFile {
    messages_per_day: SpreadFile,
    novel_recipient: SpreadFile,
    office_hours: SpreadFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpreadFile {
    value: f64,
    factor: f64,
    #[serde(rename = "unit")]
    _unit: String,
    #[serde(rename = "meaning")]
    _meaning: String,
    #[serde(rename = "origin")]
    _origin: String,
}

impl TypicalFile {
    fn read(&self) -> Result<Typical, String> {
        let log = |row: &SpreadFile| row.spread(row.value.ln());
        let odds = |row: &SpreadFile| row.spread(log_odds(probability(row.value)?));
        Ok(Typical {
            messages_per_day: log(&self.messages_per_day)?,
            novel_recipient: odds(&self.novel_recipient)?,
            office_hours: odds(&self.office_hours)?,
        })
    }
}

impl SpreadFile {
    fn spread(&self, middle: f64) -> Result<Spread, String> {
        if !middle.is_finite() || self.factor <= 1.0 {
            return Err(format!("{} within a factor of {} is no spread", self.value, self.factor));
        }
        Ok(Spread { middle, deviation: self.factor.ln() })
    }
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
struct RoleThresholdFile {
    base_nats: Number<Vec<f64>>,
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
    #[serde(default)]
    side: BTreeMap<String, Number<f64>>,
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
    #[serde(default)]
    roles: Vec<Role>,
    marks: MarksFile,
    #[serde(default)]
    side: BTreeMap<String, Number<f64>>,
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SideMarksFile {
    mark: Vec<SideMarkFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SideMarkFile {
    name: String,
    says: String,
    words: String,
    prior: Number<f64>,
    weight_messages: Number<f64>,
    floor: Number<f64>,
    exponent: Number<f64>,
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
        if !sums_to_one(&law.verdict) || !sums_to_one(&law.reverse_path) {
            return Err("the classes of a mark do not sum to 1".into());
        }
        for p in law.verdict.iter().chain(&law.reverse_path).chain(&[law.novel, law.foreign]) {
            probability(*p)?;
        }
        Ok(law)
    }
}

fn probability(value: f64) -> Result<f64, String> {
    if value > 0.0 && value < 1.0 { Ok(value) } else { Err(format!("{value} is not between 0 and 1")) }
}

/// Reads the shipped baselines.
pub fn shipped() -> Result<Model, ModelError> {
    let benign: BenignFile = read("benign.toml", BENIGN)?;
    let hijack: HijackFile = read("hijack.toml", HIJACK)?;
    let side: SideMarksFile = read("marks.toml", SIDE_MARKS)?;
    let in_file = |file| move |reason: String| ModelError { file, reason };
    let side_marks = side_marks(side).map_err(in_file("marks.toml"))?;
    let regimes = benign.regime.into_iter().map(|file| regime(file, &side_marks));
    let regimes = regimes.collect::<Result<Vec<_>, _>>().map_err(in_file("benign.toml"))?;
    let templates = hijack.hijack.into_iter().map(|file| template(file, &side_marks));
    let templates = templates.collect::<Result<Vec<_>, _>>().map_err(in_file("hijack.toml"))?;
    if 2 + regimes.len() * RATES > STATES_MAX || templates.len() * RATES > REGISTERS_MAX {
        return Err(in_file("benign.toml")("more rows than the test has room for".into()));
    }
    let budgets = hijack.threshold.false_alarms_per_1000_sender_days.value;
    if budgets.len() < 2 || !budgets.is_sorted_by(|a, b| a > b) {
        return Err(in_file("hijack.toml")("thresholds need falling budgets".into()));
    }
    let priors = ROLE_FILES
        .iter()
        .map(|(file, text)| role_prior(read(file, text)?, &budgets).map_err(in_file(file)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Model {
        templates,
        regimes,
        side_marks,
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
        priors,
    })
}

fn read<T: serde::de::DeserializeOwned>(file: &'static str, text: &str) -> Result<T, ModelError> {
    toml::from_str(text).map_err(|error| ModelError { file, reason: error.to_string() })
}

fn side_marks(file: SideMarksFile) -> Result<Vec<SideMark>, String> {
    if file.mark.len() > SIDE_MARKS_MAX {
        return Err(format!("more than {SIDE_MARKS_MAX} marks"));
    }
    let mark = |mark: SideMarkFile| {
        Ok(SideMark {
            prior: probability(mark.prior.value)?,
            weight: mark.weight_messages.value,
            floor: probability(mark.floor.value)?,
            exponent: mark.exponent.value,
            name: mark.name,
            says: mark.says,
            words: mark.words,
        })
    };
    file.mark.into_iter().map(mark).collect()
}

fn side_law(rows: BTreeMap<String, Number<f64>>, marks: &[SideMark]) -> Result<SideLaw, String> {
    let mut law = SideLaw::default();
    for (name, number) in rows {
        let place = marks.iter().position(|mark| mark.name == name);
        let place = place.ok_or_else(|| format!("no mark is called {name}"))?;
        law[place] = Some(probability(number.value)?);
    }
    Ok(law)
}

fn regime(file: RegimeFile, marks: &[SideMark]) -> Result<Regime, String> {
    Ok(Regime {
        law: file.marks.map(|marks| marks.law()).transpose()?,
        side: side_law(file.side, marks)?,
        replaced_machine: file.machine == MachineRule::Replaced,
        name: file.name,
        says: file.says,
    })
}

fn template(file: TemplateFile, marks: &[SideMark]) -> Result<Template, String> {
    let (law, side) = (file.marks.law()?, side_law(file.side, marks)?);
    Ok(Template { name: file.name, says: file.says, roles: file.roles, law, side })
}

fn role_prior(file: RoleFile, budgets: &[f64]) -> Result<RolePrior, String> {
    let profile = match file.profile.as_str() {
        "flat" => [1.0; PROFILE_BINS],
        "office" => office_profile(),
        "relay" => relay_profile(),
        other => return Err(format!("unknown profile {other}")),
    };
    let bases_nats = file.threshold.base_nats.value;
    if bases_nats.len() != budgets.len() || !bases_nats.is_sorted_by(|a, b| a < b) {
        return Err("a role needs one rising threshold for each budget of hijack.toml".into());
    }
    Ok(RolePrior {
        role: file.role,
        profile,
        rate_per_hour: file.rate.messages_per_hour.value,
        rate_weight_hours: file.rate.weight_hours.value,
        profile_weight_hours: file.rate.profile_weight_hours.value,
        law: file.marks.law()?,
        weight_messages: file.marks.weight_messages.map_or(40.0, |number| number.value),
        typical: file.typical.read()?,
        bases_nats,
    })
}

/// Two humps of office work at 10:30 and 15:00, weekends at 18 %
/// (detection.md section 2, peer profile).
fn office_profile() -> [f64; PROFILE_BINS] {
    let hump = |hour: f64, centre: f64| (-0.5 * ((hour - centre) / 2.0).powi(2)).exp();
    week(0.18, |hour| 0.08 + hump(hour, 10.5) + 0.9 * hump(hour, 15.0))
}

/// One broad hump at 13:00 over half the rate at night, weekends at 70 % (detection/sim.py `prof`).
fn relay_profile() -> [f64; PROFILE_BINS] {
    week(0.7, |hour| 0.5 + 0.8 * (-0.5 * ((hour - 13.0) / 4.5).powi(2)).exp())
}

/// A week of weekdays by hour and weekend days at a share of them, mean 1 over its 168 hours.
fn week(weekend_share: f64, weekday: impl Fn(f64) -> f64) -> [f64; PROFILE_BINS] {
    let mut profile = [0.0; PROFILE_BINS];
    for hour in 0..24 {
        profile[hour] = weekday(hour as f64);
        profile[24 + hour] = weekend_share * profile[hour];
    }
    let mean = (5.0 * profile[..24].iter().sum::<f64>() + 2.0 * profile[24..].iter().sum::<f64>()) / 168.0;
    profile.map(|value| value / mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_baselines_are_whole() {
        let model = shipped().unwrap();
        assert_eq!(model.registers(), 16);
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
}
