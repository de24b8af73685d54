//! The sequential test: hijack templates against a hidden Markov model of benign regimes, message by message.
//!
//! *In*: the marks of a delivery, the time since the last one, the baseline's prediction. *Out*: registers in
//! nats. *Bound*: fixed size. *Spec*: docs/detection.md; the null filter is a fixed-share forward filter
//! (Herbster and Warmuth), the registers are CUSUMs of clipped log-likelihood ratios (Page).

use super::marks::Marks;
use super::model::{MarkLaw, Model, RATES, STATES_MAX};
use serde::{Deserialize, Serialize};

/// Time constant of the short memory of volume, seconds (two hours).
const VOLUME_MEMORY_SECONDS: f64 = 7_200.0;
/// Longest step of silence worked out at once, seconds.
const GAP_STEP_SECONDS: f64 = 600.0;
/// Below this the filter is taken to be back at rest.
const REST: f64 = 1e-9;

/// What the baseline expects of the current hour.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Messages per hour.
    pub rate: f64,
    /// Size of the negative binomial.
    pub dispersion: f64,
    /// Marks.
    pub law: MarkLaw,
}

/// The registers of one sender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    /// Evidence for each template × rate, nats.
    registers: Vec<f64>,
    /// Probability of each hidden state of the null.
    states: Vec<f64>,
    /// Messages observed, with a memory of two hours.
    observed: f64,
    /// Messages expected, with the same memory.
    expected: f64,
    /// Log-likelihood of each benign regime (normal first), against the sender's own marks, since the change point.
    explained: Vec<f64>,
    /// The same of each template.
    accused: Vec<f64>,
}

/// What one delivery did to the test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Greatest register, nats.
    pub evidence: f64,
    /// Its template.
    pub template: usize,
    /// Whether every register stands at zero.
    pub clear: bool,
}

impl Detector {
    /// A sender at rest.
    pub fn new(model: &Model) -> Detector {
        let mut states = vec![0.0; model.states()];
        states[0] = 1.0;
        Detector {
            registers: vec![0.0; model.registers()],
            states,
            observed: 0.0,
            expected: 0.0,
            explained: vec![0.0; model.regimes.len() + 1],
            accused: vec![0.0; model.templates.len()],
        }
    }

    /// Greatest register, nats.
    pub fn evidence(&self) -> f64 {
        self.registers.iter().copied().fold(0.0, f64::max)
    }

    /// Probability of each benign regime: normal, then the regimes in the model's order (replaced host
    /// without a burst is added to the first replaced-host regime).
    pub fn regime_posterior(&self, model: &Model) -> Vec<f64> {
        let mut posterior = vec![self.states[0]];
        for regime in 0..model.regimes.len() {
            posterior.push(self.states[2 + regime * RATES..2 + (regime + 1) * RATES].iter().sum());
        }
        if let Some(replaced) = model.regimes.iter().position(|regime| regime.replaced_machine) {
            posterior[1 + replaced] += self.states[1];
        }
        posterior
    }

    /// Log-likelihood ratios since the change point against the sender's own marks: benign regimes (normal
    /// first), then templates.
    pub fn explanations(&self) -> (&[f64], &[f64]) {
        (&self.explained, &self.accused)
    }

    /// Lets `seconds` pass without a delivery.
    pub fn wait(&mut self, model: &Model, expected: &Expected, seconds: f64) {
        let mut left = seconds;
        while left > 1e-9 {
            let step = left.min(GAP_STEP_SECONDS);
            if self.at_rest(model) {
                self.remember_volume(expected.rate, step);
            } else {
                self.silence(model, expected, step);
                self.remember_volume(expected.rate, step);
            }
            left -= step;
        }
    }

    /// Whether silence changes nothing but the memory of volume.
    fn at_rest(&self, model: &Model) -> bool {
        let share = model.regime_change / model.states() as f64;
        self.registers.iter().all(|register| *register == 0.0)
            && self.states[1..].iter().all(|state| (state - share).abs() < REST)
    }

    fn remember_volume(&mut self, rate: f64, seconds: f64) {
        let kept = (-seconds / VOLUME_MEMORY_SECONDS).exp();
        self.observed *= kept;
        self.expected = self.expected * kept + rate * seconds / 3_600.0;
    }

    /// Rate expected now, given how the last two hours went (Pólya form).
    fn current_rate(&self, expected: &Expected) -> f64 {
        expected.rate * (expected.dispersion + self.observed) / (expected.dispersion + self.expected)
    }

    fn silence(&mut self, model: &Model, expected: &Expected, seconds: f64) {
        let hours = seconds / 3_600.0;
        let rate_now = self.current_rate(expected);
        let mut total = 0.0;
        for (index, state) in self.states.iter_mut().enumerate() {
            if index >= 2 {
                let rate = expected.rate + model.rates_per_hour[(index - 2) % RATES];
                *state *= (-(rate - rate_now) * hours).clamp(-30.0, 0.0).exp();
            }
            total += *state;
        }
        let back = 1.0 - (-seconds / model.return_seconds).exp();
        let count = model.states() as f64;
        let share = model.regime_change / count;
        for (index, state) in self.states.iter_mut().enumerate() {
            let rest = if index == 0 { 1.0 - (count - 1.0) * share } else { share };
            *state = (1.0 - back) * (*state / total) + back * rest;
        }
        let log_total = total.ln();
        for (index, register) in self.registers.iter_mut().enumerate() {
            let rate = expected.rate + model.rates_per_hour[index % RATES];
            let change = -(rate - rate_now) * hours - log_total;
            *register = (*register + change.min(0.0)).max(0.0);
        }
    }

    /// Judges one delivery. `weight` is below 1 for deliveries that hang together with the one before.
    pub fn deliver(&mut self, model: &Model, expected: &Expected, marks: &Marks, weight: f64) -> Step {
        let rate_now = self.current_rate(expected);
        self.observed += 1.0;
        let own = likelihood(&expected.law, marks);
        let log_null = self.filter(model, expected, marks, weight, rate_now, own);
        let mut step = Step { evidence: 0.0, template: 0, clear: true };
        for (index, template) in model.templates.iter().enumerate() {
            let ratio = likelihood(&template.law, marks) / own;
            for (rate_index, extra) in model.rates_per_hour.iter().enumerate() {
                let share = extra / (extra + expected.rate);
                let marks_ratio = ((1.0 - share) + share * ratio).ln();
                let volume_ratio = ((expected.rate + extra) / rate_now).ln();
                let change = ((marks_ratio + volume_ratio) * weight - log_null)
                    .clamp(model.increment_min, model.increment_max);
                let register = &mut self.registers[index * RATES + rate_index];
                *register = (*register + change).clamp(0.0, model.register_max);
                if *register > step.evidence {
                    step.evidence = *register;
                    step.template = index;
                }
            }
        }
        step.clear = step.evidence == 0.0;
        self.explain(model, expected, marks, own, step.clear);
        step
    }

    /// One step of the null's filter. Returns the log of its predictive density against 'normal'.
    fn filter(
        &mut self,
        model: &Model,
        expected: &Expected,
        marks: &Marks,
        weight: f64,
        rate_now: f64,
        own: f64,
    ) -> f64 {
        let law = &expected.law;
        let foreign = marks.foreign.map_or(1.0, |is| if is { law.foreign } else { 1.0 - law.foreign });
        let replaced = marks
            .foreign
            .map_or(1.0, |is| if is { model.replaced_machine } else { 1.0 - model.replaced_machine });
        let mut gains = [1.0; STATES_MAX];
        gains[1] = (replaced / foreign).ln().clamp(-40.0, 40.0) * weight;
        gains[0] = 0.0;
        for (index, regime) in model.regimes.iter().enumerate() {
            let without_machine = match &regime.law {
                Some(regime_law) => likelihood_without_machine(regime_law, marks),
                None => own / foreign,
            };
            let machine = if regime.replaced_machine { replaced } else { foreign };
            let ratio = without_machine * machine / own;
            for (rate_index, extra) in model.rates_per_hour.iter().enumerate() {
                let share = if regime.replaced_machine { 1.0 } else { extra / (extra + expected.rate) };
                let gain = ((1.0 - share) + share * ratio).ln() + ((expected.rate + extra) / rate_now).ln();
                gains[2 + index * RATES + rate_index] = gain.clamp(-40.0, 40.0) * weight;
            }
        }
        let mut total = 0.0;
        for (state, gain) in self.states.iter_mut().zip(&mut gains) {
            *gain = gain.exp();
            total += *state * *gain;
        }
        let share = model.regime_change / model.states() as f64;
        for (state, gain) in self.states.iter_mut().zip(&gains) {
            *state = (1.0 - model.regime_change) * *state * gain / total + share;
        }
        total.ln()
    }

    /// Adds up, for people, how well each explanation fits the deliveries since the change point.
    fn explain(&mut self, model: &Model, expected: &Expected, marks: &Marks, own: f64, clear: bool) {
        if clear {
            self.explained.fill(0.0);
            self.accused.fill(0.0);
            return;
        }
        let law = &expected.law;
        let replaced = MarkLaw { foreign: model.replaced_machine, ..*law };
        for (index, regime) in model.regimes.iter().enumerate() {
            let mut regime_law = regime.law.unwrap_or(*law);
            regime_law.foreign = if regime.replaced_machine { replaced.foreign } else { law.foreign };
            self.explained[1 + index] += (likelihood(&regime_law, marks) / own).ln();
        }
        for (index, template) in model.templates.iter().enumerate() {
            self.accused[index] += (likelihood(&template.law, marks) / own).ln();
        }
    }
}

fn bernoulli(probability: f64, happened: Option<bool>) -> f64 {
    match happened {
        Some(true) => probability,
        Some(false) => 1.0 - probability,
        None => 1.0,
    }
}

fn likelihood_without_machine(law: &MarkLaw, marks: &Marks) -> f64 {
    bernoulli(law.novel, marks.novel)
        * marks.verdict.map_or(1.0, |class| law.verdict[class as usize])
        * marks.reverse_path.map_or(1.0, |class| law.reverse_path[class as usize])
}

/// Probability of the marks that were seen; a mark that was not seen counts as 1 everywhere.
pub fn likelihood(law: &MarkLaw, marks: &Marks) -> f64 {
    likelihood_without_machine(law, marks) * bernoulli(law.foreign, marks.foreign)
}
