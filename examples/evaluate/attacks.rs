//! Hijacks, seven kinds, to be merged into a history.
//!
//! *In*: a history. *Out*: the same with an attack, and what is known of it. *Spec*: detection/sim.py `gen_attack`.

use crate::histories::{Cause, Class, DAY, END, HOUR, History, Mix, Sent};
use crate::random::Random;

/// Kinds of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// 600 to 6,000 an hour for two hours.
    Blast,
    /// A silent address sends 20 to 400 an hour for twelve hours.
    DormantWake,
    /// 30 to 400 an hour, from midnight on.
    Night,
    /// 4 to 12 an hour for a week.
    LowSlow,
    /// From 2 % of the sender's own rate, half as much again every day, for eleven days.
    Ramp,
    /// The same, with marks that drift from the sender's own to the attack's.
    Boil,
    /// A clean list in business hours.
    Mimic,
}

/// All kinds, in the order of the tables.
pub const KINDS: [Kind; 7] =
    [Kind::Blast, Kind::DormantWake, Kind::Night, Kind::LowSlow, Kind::Ramp, Kind::Boil, Kind::Mimic];

impl Kind {
    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Blast => "blast",
            Kind::DormantWake => "dormant wake",
            Kind::Night => "night",
            Kind::LowSlow => "low and slow",
            Kind::Ramp => "ramp",
            Kind::Boil => "boil",
            Kind::Mimic => "mimic",
        }
    }

    /// Classes of senders that are its victims; one is drawn.
    pub fn victims(self) -> &'static [Class] {
        match self {
            Kind::Blast => &[Class::Office, Class::Office, Class::Bulk, Class::Relay],
            Kind::DormantWake => &[Class::Dormant],
            Kind::Night => &[Class::Office],
            Kind::LowSlow | Kind::Ramp | Kind::Boil => &[Class::Office, Class::Relay],
            Kind::Mimic => &[Class::Office, Class::Bulk],
        }
    }
}

/// What is known of an attack.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// Its kind.
    pub kind: Kind,
    /// Whether another machine sends.
    pub foreign: bool,
    /// First message, seconds.
    pub start: f64,
    /// Its messages.
    pub count: usize,
}

/// Merges an attack into a history. `None` where it drew no message at all.
pub fn merge(rng: &mut Random, kind: Kind, history: &mut History) -> Option<Attack> {
    let foreign = match kind {
        Kind::Mimic | Kind::Boil => false,
        Kind::DormantWake => rng.happens(0.7),
        _ => rng.happens(0.5),
    };
    let (mut novel, mut unknown_user) = (rng.between(0.6, 0.95), rng.between(0.10, 0.45));
    let (mut policy, mut deferred) = (rng.between(0.05, 0.30), rng.between(0.05, 0.2));
    if kind == Kind::Mimic {
        (novel, unknown_user) = (rng.between(0.3, 0.5), rng.between(0.03, 0.08));
        (policy, deferred) = (rng.between(0.01, 0.04), 0.08);
    }
    let unknown = if foreign { 0.7 } else { 0.03 };
    let mix = Mix {
        novel,
        verdict: [1.0 - unknown_user - policy - deferred, unknown_user, policy, deferred],
        path: [1.0 - unknown - 0.01, unknown, 0.01],
    };
    let times = times(rng, kind, history);
    let (start, last) = (*times.first()?, *times.last()?);
    let seconds = if kind == Kind::Boil { 11.0 * DAY } else { last - start };
    let count = times.len();
    let other_machine = if foreign { 0.98 } else { 0.0005 };
    for at in times {
        let other = rng.happens(other_machine);
        let mut sent = mix.draw(rng, at, other, Cause::Attack);
        if kind == Kind::Boil {
            drift(rng, history, &mix, ((at - start) / seconds).clamp(0.0, 1.0), &mut sent);
        }
        history.sent.push(sent);
    }
    history.settle();
    Some(Attack { kind, foreign, start, count })
}

/// Moments of the attack's messages, in order.
fn times(rng: &mut Random, kind: Kind, history: &History) -> Vec<f64> {
    let day0 = (15 + rng.below(3)) as f64 * DAY;
    let log_uniform = |rng: &mut Random, low: f64, high: f64| rng.between(low.ln(), high.ln()).exp();
    let (rate, start, seconds) = match kind {
        Kind::Blast => (log_uniform(rng, 600.0, 6_000.0), day0 + rng.uniform() * DAY, 2.0 * HOUR),
        Kind::DormantWake => (log_uniform(rng, 20.0, 400.0), day0 + rng.uniform() * DAY, 12.0 * HOUR),
        Kind::Night => (log_uniform(rng, 30.0, 400.0), day0 + rng.between(0.0, 3.0) * HOUR, 4.0 * HOUR),
        Kind::LowSlow => (rng.between(4.0, 12.0), day0 + rng.uniform() * DAY, 7.0 * DAY),
        Kind::Mimic => {
            ((history.per_day / 24.0 * rng.between(1.0, 3.0)).max(10.0), day0 + 9.0 * HOUR, 3.0 * DAY)
        }
        Kind::Ramp | Kind::Boil => (0.0, 15.0 * DAY + rng.uniform() * DAY, 11.0 * DAY),
    };
    let mut times = Vec::new();
    if matches!(kind, Kind::Ramp | Kind::Boil) {
        for hour in 0..(seconds / HOUR) as usize {
            let rate = 0.02 * history.per_day / 24.0 * 1.5f64.powf(hour as f64 / 24.0);
            for _ in 0..rng.poisson(rate) {
                times.push(start + (hour as f64 + rng.uniform()) * HOUR);
            }
        }
    } else {
        let count = rng.poisson(rate * seconds / HOUR);
        times.extend((0..count).map(|_| start + rng.uniform() * seconds));
    }
    times.sort_by(f64::total_cmp);
    if kind == Kind::Mimic {
        times.retain(|at| (8.0..18.0).contains(&(at % DAY / HOUR)));
    }
    times.retain(|at| *at < END);
    times.truncate(20_000);
    times
}

/// Marks between the victim's own and the attack's, by the share of the attack that has passed.
fn drift(rng: &mut Random, history: &History, attack: &Mix, passed: f64, sent: &mut Sent) {
    let [novel, unknown_user, policy, deferred, ..] = history.own;
    let between = |own: f64, attack: f64| own + passed * (attack - own);
    sent.novel = rng.happens(between(novel, attack.novel));
    let refused = [
        between(unknown_user, attack.verdict[1]),
        between(policy, attack.verdict[2]),
        between(deferred, attack.verdict[3]),
    ];
    sent.verdict = rng.class(&[1.0 - refused.iter().sum::<f64>(), refused[0], refused[1], refused[2]]);
}
