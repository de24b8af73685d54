//! What a detector did with histories: when it would have alarmed, at any threshold.
//!
//! *In*: scores of deliveries. *Out*: greatest scores by day, and the rising maxima of an attack, from which the
//! delay at every threshold follows.

use crate::attacks::Attack;
use crate::histories::{Cause, DAYS, History, Sent, WARM_DAYS};

/// Days that count.
pub const SCORED_DAYS: usize = DAYS - WARM_DAYS;

/// One new maximum since an attack began.
#[derive(Clone, Copy, Debug)]
pub struct Rise {
    /// The score.
    pub score: f64,
    /// Messages of the attack up to then.
    pub messages: usize,
    /// Seconds since its first message.
    pub seconds: f64,
}

/// The maxima of the score since an attack began.
#[derive(Clone, Debug)]
pub struct Trail {
    /// The attack.
    pub attack: Attack,
    /// Rising maxima.
    pub rises: Vec<Rise>,
}

impl Trail {
    /// Follows a detector through a history with an attack.
    pub fn follow(judge: &mut dyn FnMut(&Sent) -> f64, history: &History, attack: &Attack) -> Trail {
        let (mut rises, mut messages): (Vec<Rise>, usize) = (Vec::new(), 0);
        for sent in &history.sent {
            let score = judge(sent);
            messages += usize::from(sent.cause == Cause::Attack);
            if sent.at >= attack.start && rises.last().is_none_or(|rise| score > rise.score) {
                rises.push(Rise { score, messages, seconds: sent.at - attack.start });
            }
        }
        Trail { attack: *attack, rises }
    }

    /// The first alarm at a threshold.
    pub fn alarm(&self, threshold: f64) -> Option<Rise> {
        self.rises.iter().copied().find(|rise| rise.score >= threshold)
    }
}

/// Summary over attacks at one threshold.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// Share found.
    pub found: f64,
    /// Median and 90 % quantile of the attack's messages up to the alarm; infinite where fewer were found.
    pub messages: (f64, f64),
    /// The same in seconds.
    pub seconds: (f64, f64),
    /// Mean share of the attack's mail sent before the alarm; all of it where there was none.
    pub leaked: f64,
}

/// Sums up alarms of attacks.
pub fn summary(alarms: &[(Option<Rise>, usize)]) -> Summary {
    let count = alarms.len().max(1) as f64;
    let found = alarms.iter().filter(|(alarm, _)| alarm.is_some()).count() as f64 / count;
    let leaked: f64 = alarms
        .iter()
        .map(|(alarm, all)| alarm.map_or(1.0, |rise| rise.messages as f64 / (*all).max(1) as f64))
        .sum();
    let delays = |of: fn(&Rise) -> f64| {
        let mut list: Vec<f64> =
            alarms.iter().map(|(alarm, _)| alarm.as_ref().map_or(f64::INFINITY, of)).collect();
        list.sort_by(f64::total_cmp);
        (quantile(&list, 0.5), quantile(&list, 0.9))
    };
    Summary {
        found,
        messages: delays(|rise| rise.messages as f64),
        seconds: delays(|rise| rise.seconds),
        leaked: leaked / count,
    }
}

/// Quantile of a sorted list, between neighbours in a straight line.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    if low == high { low } else { low + (high - low) * place.fract() }
}

/// The threshold that a share of false alarms per 1,000 sender-days asks for, from scores of honest days.
pub fn threshold(scores_falling: &[f64], per_1000_days: f64) -> f64 {
    let allowed = per_1000_days / 1_000.0 * scores_falling.len() as f64;
    let place = (allowed.round() as usize).saturating_sub(1).min(scores_falling.len().saturating_sub(1));
    scores_falling.get(place).map_or(f64::INFINITY, |score| score + 1e-4)
}

/// Share of honest days at or above a threshold, per 1,000.
pub fn false_alarms(scores: &[f64], threshold: f64) -> f64 {
    1_000.0 * scores.iter().filter(|score| **score >= threshold).count() as f64 / scores.len().max(1) as f64
}
