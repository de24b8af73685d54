//! How far the test is from the best there can be: delays beside those of the matched CUSUM, which knows the sender's own
//! law, the attack's law and its rate (Moustakides 1986: no other test is faster at the same rate of false alarms).
//!
//! *In*: the model, a seed. *Out*: a table. *Bound*: [`RUNS`] attacks a row. *Spec*: docs/detection.md, G8.
//!
//! The matched CUSUM has to tell the attack from the sender's ordinary mail only. Ours has to tell it from newsletters, cold
//! lists, flushed queues and replaced machines as well, and does not know which attack comes. The quotient says what that costs.

use crate::random::Random;
use portreeve::company::Role;
use portreeve::engine::detector::{Detector, Expected};
use portreeve::engine::marks::{Marks, ReversePathClass, VerdictClass, likelihood};
use portreeve::engine::model::{MarkLaw, Model, SIDE_MARKS_MAX};

/// Messages between two false alarms of both tests.
const BETWEEN_FALSE_ALARMS: f64 = 100_000.0;
/// Ordinary messages by which thresholds are found.
const CALIBRATION: usize = 4_000_000;
/// Ordinary messages before an attack.
const BEFORE: usize = 200;
/// Attacks of each row.
const RUNS: u64 = 400;
/// Messages after which an attack counts as found.
const GIVEN_UP: usize = 20_000;
/// The sender's own rate, messages per hour.
const RATE: f64 = 20.0;
/// Shares of the mail that are the attack's.
const SHARES: [f64; 3] = [0.8, 0.2, 0.05];

fn draw(rng: &mut Random, law: &MarkLaw) -> Marks {
    use ReversePathClass::{Null, Own, Unknown};
    use VerdictClass::{Accepted, Deferred, NoSuchRecipient, Policy};
    Marks {
        novel: Some(rng.happens(law.novel)),
        verdict: Some([Accepted, NoSuchRecipient, Policy, Deferred][usize::from(rng.class(&law.verdict))]),
        reverse_path: Some([Own, Unknown, Null][usize::from(rng.class(&law.reverse_path))]),
        foreign: Some(rng.happens(law.foreign)),
        ..Marks::default()
    }
}

/// Takes messages (seconds since the last one, marks), gives evidence in nats.
type Test<'a> = Box<dyn FnMut(f64, &Marks) -> f64 + 'a>;

fn ours<'a>(model: &'a Model, expected: &'a Expected) -> Test<'a> {
    let mut detector = Detector::default();
    Box::new(move |seconds, marks| {
        detector.wait(model, expected, seconds);
        let weight = if seconds < 1.0 { model.same_second_weight } else { 1.0 };
        detector.deliver(model, expected, marks, weight).evidence
    })
}

fn matched<'a>(own: &'a MarkLaw, attack: &'a MarkLaw, share: f64) -> Test<'a> {
    let rate = RATE * share / (1.0 - share);
    let mut evidence = 0.0f64;
    Box::new(move |seconds, marks| {
        let ratio = likelihood(attack, marks) / likelihood(own, marks);
        evidence = (evidence - rate * seconds / 3_600.0 + (1.0 + rate / RATE * ratio).ln()).max(0.0);
        evidence
    })
}

fn gap_seconds(rng: &mut Random, per_hour: f64) -> f64 {
    -(1.0 - rng.uniform()).ln() * 3_600.0 / per_hour
}

/// The threshold at which ordinary mail alarms once in [`BETWEEN_FALSE_ALARMS`] messages: the evidence of ordinary mail comes
/// in excursions; so many of them must stay below it.
fn threshold(rng: &mut Random, own: &MarkLaw, mut test: Test) -> f64 {
    let (mut tops, mut top) = (Vec::new(), 0.0f64);
    for message in 0..CALIBRATION {
        let evidence = test(gap_seconds(rng, RATE), &draw(rng, own));
        top = top.max(evidence);
        // A hundred hours apart are as good as independent.
        if message % 2_000 == 1_999 {
            tops.push(std::mem::take(&mut top));
        }
    }
    tops.sort_by(|a, b| b.total_cmp(a));
    // One alarm in N messages: of blocks of n messages the share 1 − e^(−n/N) has one.
    let share = 1.0 - (-2_000.0 / BETWEEN_FALSE_ALARMS).exp();
    tops[(share * tops.len() as f64) as usize]
}

/// Mean number of the attack's messages up to the alarm.
fn delay(
    seed: u64,
    own: &MarkLaw,
    attack: &MarkLaw,
    share: f64,
    at: f64,
    make: &dyn Fn() -> Test<'static>,
) -> f64 {
    let mut sum = 0usize;
    for run in 0..RUNS {
        let mut rng = Random::part(seed, run);
        let mut test = make();
        for _ in 0..BEFORE {
            test(gap_seconds(&mut rng, RATE), &draw(&mut rng, own));
        }
        let mut messages = 0;
        for _ in 0..GIVEN_UP {
            let hostile = rng.happens(share);
            messages += usize::from(hostile);
            let marks = draw(&mut rng, if hostile { attack } else { own });
            if test(gap_seconds(&mut rng, RATE / (1.0 - share)), &marks) >= at {
                break;
            }
        }
        sum += messages;
    }
    sum as f64 / RUNS as f64
}

/// Prints the table.
pub fn print(model: &'static Model, seed: u64) {
    let own: &'static MarkLaw = &model.prior(Role::MailRelay).law;
    let expected: &'static Expected = Box::leak(Box::new(Expected {
        rate: RATE,
        dispersion: 20.0,
        law: *own,
        side: [0.5; SIDE_MARKS_MAX],
        templates: model.templates_of(Role::MailRelay),
    }));
    println!(
        "\nefficiency: mean messages of the attack up to the alarm, one false alarm in {BETWEEN_FALSE_ALARMS:.0} ordinary messages"
    );
    println!("{:<24} {:>6} {:>10} {:>10} {:>8}", "", "share", "matched", "ours", "eta");
    let our_threshold = threshold(&mut Random::part(seed, 0), own, ours(model, expected));
    for template in model.templates.iter().take(3) {
        let law: &'static MarkLaw = &template.law;
        for share in SHARES {
            let at = threshold(&mut Random::part(seed, 1), own, matched(own, law, share));
            let best = delay(seed + 1, own, law, share, at, &move || matched(own, law, share));
            let mine = delay(seed + 1, own, law, share, our_threshold, &move || ours(model, expected));
            println!("{:<24} {share:>6.2} {best:>10.1} {mine:>10.1} {:>8.2}", template.name, best / mine);
        }
    }
}
