//! The sequential test: hijack templates against a hidden Markov model of benign regimes, message by message.
//!
//! *In*: the marks of a delivery, the time since the last one, the baseline's prediction. *Out*: registers in
//! nats. *Bound*: fixed size. *Spec*: docs/detection.md; the null filter is a fixed-share forward filter
//! (Herbster and Warmuth), the registers are CUSUMs of clipped log-likelihood ratios (Page).
//!
//! All of it is kept as ratios, not as their logarithms: a CUSUM in logarithms that is held at 0 and clipped is
//! a product that is held at 1 and clipped, and products need no logarithm per register.

use super::marks::{Marks, bernoulli, likelihood, likelihood_without_machine};
use super::model::{MarkLaw, Model, RATES, REGISTERS_MAX, SIDE_MARKS_MAX, STATES_MAX};

/// Time constant of the short memory of volume, seconds (two hours).
const VOLUME_MEMORY_SECONDS: f64 = 7_200.0;
/// Longest step of silence worked out at once, seconds.
const GAP_STEP_SECONDS: f64 = 600.0;
/// Silence after which nothing of the hidden states is left but what the last such span makes of them:
/// e^-24 of what was before, at the shipped return time.
pub const STATES_MEMORY_SECONDS: f64 = 12.0 * 3_600.0;
/// Bounds of one state's gain, nats.
const GAIN_MAX_NATS: f64 = 40.0;

/// What the baseline expects of the current hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// Messages per hour.
    pub rate: f64,
    /// Size of the negative binomial.
    pub dispersion: f64,
    /// Marks.
    pub law: MarkLaw,
    /// Side marks: this sender's own probabilities.
    pub side: [f64; SIDE_MARKS_MAX],
    /// Templates that are tried on it, one bit each.
    pub templates: u8,
}

/// Evidence below which the story of an episode starts anew, nats. A busy sender's registers never all stand at
/// zero, and two to one is no suspicion.
const CLEAR_BELOW_NATS: f64 = 0.7;

/// The registers of one sender.
#[derive(Clone, Debug, PartialEq)]
pub struct Detector {
    /// Evidence for each template × rate, as a likelihood ratio of at least 1.
    pub(super) registers: [f64; REGISTERS_MAX],
    /// Probability of each hidden state of the null.
    pub(super) states: [f64; STATES_MAX],
    /// Messages observed, with a memory of two hours.
    pub(super) observed: f64,
    /// Messages expected, with the same memory.
    pub(super) expected: f64,
}

/// What one delivery did to the test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Greatest register, nats.
    pub evidence: f64,
    /// Its template.
    pub template: usize,
    /// Whether so little speaks for a hijack that what came before need not be told.
    pub clear: bool,
    /// Whether that was so just before this delivery, after the silence: with it the story begins anew.
    pub fresh: bool,
}

impl Default for Detector {
    /// A sender at rest.
    fn default() -> Detector {
        let mut states = [0.0; STATES_MAX];
        states[0] = 1.0;
        Detector { registers: [1.0; REGISTERS_MAX], states, observed: 0.0, expected: 0.0 }
    }
}

impl Detector {
    /// Greatest register, nats.
    pub fn evidence(&self) -> f64 {
        self.registers.iter().copied().fold(1.0, f64::max).ln()
    }

    /// Every register in nats, in the model's order: template by template, rate by rate.
    pub fn registers_nats(&self, model: &Model) -> Vec<f64> {
        self.registers[..model.registers()].iter().map(|ratio| ratio.ln()).collect()
    }

    /// Whether every register stands at zero nats.
    pub fn is_clear(&self) -> bool {
        self.registers.iter().all(|ratio| *ratio <= 1.0)
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

    /// Lets `seconds` pass without a delivery.
    pub fn wait(&mut self, model: &Model, expected: &Expected, seconds: f64) {
        let mut left = seconds;
        while left > 1e-9 {
            let step = left.min(GAP_STEP_SECONDS);
            self.silence(model, expected, step);
            left -= step;
        }
    }

    /// Lets one whole hour pass for the memory of volume alone; for silence so long that the hidden states
    /// will be worked out anew before the next delivery.
    pub fn wait_hour_at_rest(&mut self, rate: f64) {
        let kept = (-GAP_STEP_SECONDS / VOLUME_MEMORY_SECONDS).exp();
        let kept_hour = kept.powi(6);
        self.observed *= kept_hour;
        self.expected =
            self.expected * kept_hour + rate * GAP_STEP_SECONDS / 3_600.0 * (1.0 - kept_hour) / (1.0 - kept);
    }

    /// Rate expected now, given how the last two hours went (Pólya form).
    fn current_rate(&self, expected: &Expected) -> f64 {
        expected.rate * (expected.dispersion + self.observed) / (expected.dispersion + self.expected)
    }

    fn silence(&mut self, model: &Model, expected: &Expected, seconds: f64) {
        let hours = seconds / 3_600.0;
        let rate_now = self.current_rate(expected);
        let decay = model.rates_per_hour.map(|extra| (-(expected.rate + extra - rate_now) * hours).exp());
        let state_decay = decay.map(|decay| decay.clamp((-30.0f64).exp(), 1.0));
        let (states, registers) = (model.states(), model.registers());
        let mut total = self.states[0] + self.states[1];
        for states in self.states[2..states].chunks_exact_mut(RATES) {
            for (state, decay) in states.iter_mut().zip(&state_decay) {
                *state *= decay;
                total += *state;
            }
        }
        let kept_volume = (-seconds / VOLUME_MEMORY_SECONDS).exp();
        let kept = (-seconds / model.return_seconds).exp();
        let share = model.regime_change / states as f64;
        let scale = kept / total;
        let rest = (1.0 - kept) * share;
        for state in &mut self.states[1..states] {
            *state = *state * scale + rest;
        }
        self.states[0] = self.states[0] * scale + (1.0 - kept) * (1.0 - (states as f64 - 1.0) * share);
        let fall = decay.map(|decay| (decay / total).min(1.0));
        for registers in self.registers[..registers].chunks_exact_mut(RATES) {
            for (register, fall) in registers.iter_mut().zip(&fall) {
                *register = (*register * fall).max(1.0);
            }
        }
        self.observed *= kept_volume;
        self.expected = self.expected * kept_volume + expected.rate * hours;
    }

    /// Judges one delivery. `weight` is below 1 for deliveries that hang together with the one before.
    pub fn deliver(&mut self, model: &Model, expected: &Expected, marks: &Marks, weight: f64) -> Step {
        let fresh = self.evidence() < CLEAR_BELOW_NATS;
        let rate_now = self.current_rate(expected);
        self.observed += 1.0;
        let volume = model.rates_per_hour.map(|extra| (expected.rate + extra) / rate_now);
        let change = model.regime_change;
        Step { fresh, ..self.weigh(model, expected, marks, weight, volume, change) }
    }

    /// Judges what a message carried, or a login: marks that come beside the delivery that was counted. They say
    /// nothing of volume, and the regime does not change between a message and its letter.
    pub fn consider(&mut self, model: &Model, expected: &Expected, marks: &Marks) -> Step {
        let fresh = self.evidence() < CLEAR_BELOW_NATS;
        Step { fresh, ..self.weigh(model, expected, marks, 1.0, [1.0; RATES], 0.0) }
    }

    fn weigh(
        &mut self,
        model: &Model,
        expected: &Expected,
        marks: &Marks,
        weight: f64,
        volume: [f64; RATES],
        regime_change: f64,
    ) -> Step {
        let own = likelihood(&expected.law, marks);
        let share = model.rates_per_hour.map(|extra| extra / (extra + expected.rate));
        let total = self.filter(model, expected, marks, weight, own, &volume, &share, regime_change);
        let (least, most) = (model.increment_min.exp(), model.increment_max.exp());
        let ceiling = model.register_max.exp();
        let (mut greatest, mut greatest_at) = (1.0, 0);
        for (index, template) in model.templates.iter().enumerate() {
            if expected.templates & 1 << index == 0 {
                continue;
            }
            let ratio = likelihood(&template.law, marks) / own
                * model.side_ratio(&template.side, &expected.side, &marks.side);
            let mut gains = [0.0; RATES];
            for (rate, gain) in gains.iter_mut().enumerate() {
                *gain = ((1.0 - share[rate]) + share[rate] * ratio) * volume[rate];
            }
            raise(&mut gains, weight);
            for (rate, gain) in gains.iter().enumerate() {
                let register = &mut self.registers[index * RATES + rate];
                *register = (*register * (gain / total).clamp(least, most)).clamp(1.0, ceiling);
                if *register > greatest {
                    (greatest, greatest_at) = (*register, index);
                }
            }
        }
        Step {
            evidence: greatest.ln(),
            template: greatest_at,
            clear: greatest.ln() < CLEAR_BELOW_NATS,
            fresh: false,
        }
    }

    /// One step of the null's filter. Returns its predictive density against 'normal'.
    #[allow(clippy::too_many_arguments)]
    fn filter(
        &mut self,
        model: &Model,
        expected: &Expected,
        marks: &Marks,
        weight: f64,
        own: f64,
        volume: &[f64; RATES],
        share: &[f64; RATES],
        regime_change: f64,
    ) -> f64 {
        let foreign = bernoulli(expected.law.foreign, marks.foreign);
        let replaced = bernoulli(model.replaced_machine, marks.foreign);
        let (least, most) = ((-GAIN_MAX_NATS).exp(), GAIN_MAX_NATS.exp());
        let mut gains = [0.0; STATES_MAX];
        gains[0] = 1.0;
        gains[1] = (replaced / foreign).clamp(least, most);
        for (index, regime) in model.regimes.iter().enumerate() {
            let without_machine = match &regime.law {
                Some(law) => likelihood_without_machine(law, marks),
                None => own / foreign,
            };
            let machine = if regime.replaced_machine { replaced } else { foreign };
            let ratio =
                without_machine * machine / own * model.side_ratio(&regime.side, &expected.side, &marks.side);
            for rate in 0..RATES {
                let share = if regime.replaced_machine { 1.0 } else { share[rate] };
                let gain = ((1.0 - share) + share * ratio) * volume[rate];
                gains[2 + index * RATES + rate] = gain.clamp(least, most);
            }
        }
        let states = model.states();
        raise(&mut gains[1..states], weight);
        let mut total = 0.0;
        for (state, gain) in self.states[..states].iter_mut().zip(&gains) {
            *state *= gain;
            total += *state;
        }
        let change = regime_change / states as f64;
        let scale = (1.0 - regime_change) / total;
        for state in &mut self.states[..states] {
            *state = *state * scale + change;
        }
        total
    }
}

/// Every gain to the power of `weight`, which is 1 most of the time, and the shipped 0.6 for what hangs together.
fn raise(gains: &mut [f64], weight: f64) {
    if weight == 0.6 {
        gains.iter_mut().for_each(|gain| *gain = three_fifths(*gain));
    } else if weight != 1.0 {
        gains.iter_mut().for_each(|gain| *gain = gain.powf(weight));
    }
}

/// x^(3/5) of a positive, normal number, to 1e-14: x times the square of x^(-1/5), which Newton's method finds
/// without a division. A general power costs as much as all the rest of the test.
fn three_fifths(x: f64) -> f64 {
    // The exponent divided by -5: within 3.2 % of x^(-1/5), above and below alike, and each step squares the error, times
    // three: 3e-3, 3e-5, 2e-9, 2e-17.
    let mut root = f64::from_bits(0x4cb8_a7ef_9db2_2d0f - x.to_bits() / 5);
    for _ in 0..4 {
        let square = root * root;
        root += root * 0.2 * (1.0 - x * square * square * root);
    }
    x * root * root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_fifths_are_three_fifths() {
        for step in -4_000..=4_000 {
            let x = (f64::from(step) / 100.0).exp();
            assert!((three_fifths(x) / x.powf(0.6) - 1.0).abs() < 1e-14, "{x}");
        }
    }
}
