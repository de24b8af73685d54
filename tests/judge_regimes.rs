//! Each row of baselines/benign.toml is replayed: bursts drawn from it must not alarm.
//!
//! `PORTREEVE_CAMPAIGN=1000 cargo test --release --test judge_regimes -- --nocapture` draws more bursts of each.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod judge_support;

use judge_support::at;
use portreeve::company::Role;
use portreeve::engine::episode::Episode;
use portreeve::engine::marks::{Marks, ReversePathClass, VerdictClass};
use portreeve::engine::model::{MarkLaw, Model, Regime, Template};
use portreeve::engine::sender::{Sample, Sender};
use portreeve::time::CivilClock;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// False alarms per 1,000 sender-days that the thresholds are set for.
const BUDGET: f64 = 0.1;

fn class(rng: &mut ChaCha8Rng, shares: &[f64]) -> usize {
    let mut left = rng.random::<f64>() * shares.iter().sum::<f64>();
    shares
        .iter()
        .position(|share| {
            left -= share;
            left < 0.0
        })
        .unwrap_or(0)
}

fn draw(rng: &mut ChaCha8Rng, law: &MarkLaw) -> Marks {
    use VerdictClass::*;
    let paths = [ReversePathClass::Own, ReversePathClass::Unknown, ReversePathClass::Null];
    Marks {
        novel: Some(rng.random_bool(law.novel)),
        verdict: Some([Accepted, NoSuchRecipient, Policy, Deferred][class(rng, &law.verdict)]),
        reverse_path: Some(paths[class(rng, &law.reverse_path)]),
        foreign: Some(rng.random_bool(law.foreign)),
        ..Marks::default()
    }
}

/// Four weeks of an application with 10 messages an hour.
fn taught(model: &Model, role: Role) -> Sender {
    let (clock, own) = (CivilClock::utc(), model.prior(role).law);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut sender = Sender::new(model, role, at(0.0), &clock);
    for n in 0..28 * 24 * 10 {
        let now = at(f64::from(n) * 360.0);
        sender.advance(model, &clock, model.amber, now);
        sender.deliver(model, model.amber, now, &draw(&mut rng, &own));
    }
    sender
}

/// The message of a burst at which it alarms, as the engine decides it.
fn alarm(model: &Model, taught: &Sender, rng: &mut ChaCha8Rng, law: &MarkLaw, per_hour: f64) -> Option<u32> {
    let clock = CivilClock::utc();
    let mut sender = taught.clone();
    let mut seconds = 28.0 * 86_400.0 + rng.random_range(0.0..86_400.0);
    (1..400).find(|_| {
        seconds += -rng.random::<f64>().max(1e-9).ln() * 3_600.0 / per_hour;
        let (now, marks) = (at(seconds), draw(rng, law));
        sender.advance(model, &clock, model.amber, now);
        let step = sender.deliver(model, model.amber, now, &marks);
        if step.clear || step.fresh {
            sender.end_episode();
        }
        if !step.clear {
            sender.remember(model, now, &marks, None, sample);
        }
        let threshold = model.base_threshold(sender.role, BUDGET) + sender.usual_per_day().ln_1p();
        step.evidence >= threshold && sender.episode().is_some_and(Episode::marks_accuse)
    })
}

fn sample() -> Sample {
    Sample {
        at: at(0.0),
        address: None,
        client: None,
        responder: None,
        reverse_path: None,
        forward_path: None,
        forward_domain: None,
        forward_path_digest: None,
        code: None,
        text: None,
        queue_id: None,
    }
}

fn regime_law(model: &Model, regime: &Regime, own: &MarkLaw) -> MarkLaw {
    let foreign = if regime.replaced_machine { model.replaced_machine } else { own.foreign };
    MarkLaw { foreign, ..regime.law.unwrap_or(*own) }
}

#[test]
fn bursts_of_every_benign_regime_stay_quiet_and_hijacks_do_not() {
    let bursts: u32 = std::env::var("PORTREEVE_CAMPAIGN").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let model = Model::shipped().unwrap();
    let role = Role::Application;
    let (sender, own) = (taught(&model, role), model.prior(role).law);
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let rates = [40.0, 300.0, 2_500.0];
    for regime in &model.regimes {
        let law = regime_law(&model, regime, &own);
        let alarms = (0..bursts)
            .filter(|n| alarm(&model, &sender, &mut rng, &law, rates[*n as usize % 3]).is_some())
            .count();
        println!("{:<28} {alarms} alarms in {bursts} bursts of 400", regime.name);
        // A cold list drifts: of 400 messages to strangers some stretch looks like a hijack once in a while.
        let share = if regime.name == "cold_bulk" { 0.25 } else { 0.01 };
        assert!(alarms as f64 <= (share * f64::from(bursts)).max(1.0), "{}: {alarms}", regime.name);
    }
    let tried = model.templates_of(role);
    for (_, Template { name, law, .. }) in (0..).zip(&model.templates).filter(|(i, _)| tried & 1 << i != 0) {
        let delays: Vec<Option<u32>> =
            (0..bursts).map(|n| alarm(&model, &sender, &mut rng, law, rates[n as usize % 3])).collect();
        let found = delays.iter().flatten().count();
        println!("{name:<28} {found} of {bursts} hijacks found");
        assert!(found as f64 >= 0.98 * f64::from(bursts), "{name}: {delays:?}");
    }
}
