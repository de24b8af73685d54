//! The second tier: more mail in an hour than the sender's habits explain, whatever its marks say.
//!
//! *In*: the hour under way of one sender. *Out*: incidents of [`Kind::UnexplainedVolume`], with a budget of their own.
//! *Bound*: one open incident a sender, as in the first tier. *Spec*: docs/detection.md, the second tier.
//!
//! A newsletter that nobody announced is unexplained volume too. That is why this tier is off unless asked for, why it
//! is told as mild, and why a hijack that the marks show takes the place of its incident.

use super::Engine;
use super::incident::{self, Change, Evidence, Incident, IncidentChange, Kind};
use super::judge::Judgement;
use super::model::Model;
use super::sender::{Sender, SenderId, SenderKey};
use crate::time::Timestamp;

/// What stands for the template in its incidents.
pub const TEMPLATE: &str = "unexplained_volume";

/// Fewest messages in an hour that are worth a person's look.
const MESSAGES_MIN: f64 = 20.0;
/// How long a sender must be known: of a new one everything is unexplained.
const KNOWN_DAYS_MIN: f64 = 7.0;
/// Least mean that an hour is compared with, messages.
const MEAN_MIN: f64 = 0.02;
/// Budgets, alarms per 1,000 sender-days, and from which surprise on they are kept, nats: fitted by `make evaluate` (seed 1401,
/// 70,000 honest sender-days) where every mailing is announced. What a sender's own law would allow, ln(24,000 / budget), is far
/// less: moves of servers, backscatter and flushed queues have tails that no sender teaches.
const CALIBRATED: [(f64, f64); 3] = [(10.0, 16.2), (1.0, 59.0), (0.1, 299.0)];

/// How surprising so many messages are, nats: the exponent of the negative binomial's tail (its generalised likelihood
/// ratio), n ln(n/m) − (n+r) ln((n+r)/(m+r)), beyond its mean m; 0 below it. Höhle and Paul 2008, eq. 3.
pub fn surprise(messages: f64, mean: f64, dispersion: f64) -> f64 {
    let (n, m, r) = (messages, mean.max(MEAN_MIN), dispersion);
    if n <= m { 0.0 } else { n * (n / m).ln() - (n + r) * ((n + r) / (m + r)).ln() }
}

/// Alarms per 1,000 sender-days that a surprise implies (the inverse of [`threshold`]).
pub fn alarms_implied(nats: f64) -> f64 {
    let pair = usize::from(nats > CALIBRATED[1].1);
    let ((left, low), (right, high)) = (CALIBRATED[pair], CALIBRATED[pair + 1]);
    (left.ln() + (nats - low) / (high - low) * (right / left).ln()).exp()
}

/// How surprising the hour under way of a sender is, nats; `None` where it is too new or sends too little to be asked.
pub fn of(model: &Model, sender: &Sender) -> Option<f64> {
    let watched_days = sender.last_at.seconds_since(sender.first_at) / 86_400.0;
    let (messages, _) = sender.hour(model);
    let asked = messages >= MESSAGES_MIN && watched_days >= KNOWN_DAYS_MIN;
    let expected = asked.then(|| sender.expected(model))?;
    Some(surprise(messages, expected.rate, expected.dispersion))
}

/// From which surprise on it is told, nats: straight in the logarithm of the budget between the calibrated ones, and beyond
/// them with the nearest slope.
pub fn threshold(alarms_per_1000_sender_days: f64) -> f64 {
    let pair = usize::from(alarms_per_1000_sender_days < CALIBRATED[1].0);
    let ((left, low), (right, high)) = (CALIBRATED[pair], CALIBRATED[pair + 1]);
    (low + (alarms_per_1000_sender_days / left).ln() / (right / left).ln() * (high - low)).max(low.min(10.0))
}

impl Engine {
    /// What the hour under way says of a sender; `None` where the tier is off or the sender too new to be asked.
    fn excess(&self, sender: &Sender) -> Option<f64> {
        let budget = self.settings.volume_alarms_per_1000_sender_days;
        let nats = (budget > 0.0).then(|| of(&self.model, sender)).flatten()?;
        (nats >= threshold(budget)).then_some(nats)
    }

    /// Whether the open incident of a sender is of this tier.
    pub(super) fn unexplained(&self, id: &SenderId) -> bool {
        self.incidents.get(id).is_some_and(|incident| incident.template == TEMPLATE)
    }

    /// Opens or goes on with an incident where the marks accuse of nothing. Blocks are not asked: their addresses are.
    pub(super) fn decide_volume(
        &mut self,
        key: &SenderKey,
        judged: &Judgement,
        out: &mut Vec<IncidentChange>,
    ) {
        let Some(sender) = self.senders.get(key).filter(|_| !matches!(key.id, SenderId::Block(_))) else {
            return;
        };
        let Some(nats) = self.excess(sender) else { return };
        let at = sender.last_at;
        let (messages, usual_max) = sender.hour(&self.model);
        let opened = !self.incidents.contains_key(&key.id);
        if opened {
            let threshold = threshold(self.settings.volume_alarms_per_1000_sender_days);
            let mut incident = self.begin(&key.id, key.vantage, at, threshold);
            incident.template = TEMPLATE.into();
            incident.kind = Kind::UnexplainedVolume;
            incident.confidence =
                incident::confidence(self.model.implied_false_alarms(sender.role, judged.evidence));
            self.counters.incidents_opened += 1;
            self.incidents.insert(key.id.clone(), incident);
        }
        let Some(incident) = self.incidents.get_mut(&key.id) else { return };
        incident.grow(at, messages, usual_max, nats);
        if !opened && !incident.update_due(at) {
            return;
        }
        incident.sequence += u32::from(!opened);
        incident.reported_messages = incident.messages;
        incident.reported_at = at;
        let change = if opened { Change::Opened } else { Change::Updated };
        out.push(IncidentChange { change, at, incident: incident.clone() });
    }

    /// Closes an incident of this tier, since a better explanation is about to be opened.
    pub(super) fn end_volume(&mut self, id: &SenderId, at: Timestamp, out: &mut Vec<IncidentChange>) {
        if !self.unexplained(id) {
            return;
        }
        if let Some(mut incident) = self.incidents.remove(id) {
            incident.sequence += 1;
            out.push(IncidentChange { change: Change::Closed, at, incident });
        }
    }
}

impl Incident {
    /// Takes over what the hour under way says: messages of the worst hour so far.
    fn grow(&mut self, at: Timestamp, messages: f64, usual_max: f64, nats: f64) {
        self.last_at = at;
        self.suspicious_at = self.suspicious_at.max(at);
        if messages as u64 <= self.messages {
            return;
        }
        self.first_at = Timestamp::from_seconds(at.hour_index().saturating_mul(3_600));
        (self.messages, self.usual_max, self.evidence_nats) = (messages as u64, usual_max.floor(), nats);
        self.evidence = vec![Evidence {
            name: "volume".into(),
            observed: messages,
            expected: usual_max.floor(),
            unit: "messages in the hour".into(),
            weight_nats: Some(nats),
            sentence: format!(
                "{messages:.0} messages in this hour; at most {:.0} are normal. Nothing in their recipients, answers or origin points at a hijack.",
                usual_max.floor()
            ),
        }];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::distribution::{DiscreteCDF, NegativeBinomial};

    /// Chernoff: the tail of a negative binomial is never heavier than e^−surprise.
    #[test]
    fn surprise_bounds_the_tail() {
        for mean in [0.05, 1.0, 20.0, 400.0] {
            for dispersion in [0.3, 2.0, 20.0] {
                let tail = NegativeBinomial::new(dispersion, dispersion / (dispersion + mean)).unwrap();
                for factor in [1.5, 3.0, 8.0, 20.0] {
                    let messages = (mean * factor).ceil().max(1.0);
                    let beyond = tail.sf(messages as u64 - 1);
                    let bound = (-surprise(messages, mean, dispersion)).exp();
                    assert!(
                        beyond <= bound * 1.000_001,
                        "{mean} {dispersion} {messages}: {beyond} > {bound}"
                    );
                }
            }
        }
        assert_eq!(surprise(3.0, 5.0, 2.0), 0.0);
    }

    #[test]
    fn a_smaller_budget_asks_for_more() {
        let thresholds: Vec<f64> = [1_000.0, 100.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.01].map(threshold).into();
        assert!(thresholds.is_sorted() && thresholds[0] >= 10.0, "{thresholds:?}");
        for budget in [10.0, 2.0, 1.0, 0.5, 0.1, 0.02] {
            assert!((alarms_implied(threshold(budget)) / budget - 1.0).abs() < 1e-9);
        }
    }
}
