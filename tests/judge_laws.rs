//! Laws of the judge: what must hold for every history.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod judge_support;

use judge_support::*;
use portreeve::company::Role;
use portreeve::engine::incident::IncidentChange;
use portreeve::engine::marks::{Marks, ReversePathClass, VerdictClass};
use portreeve::engine::model::Model;
use portreeve::engine::sender::Sender;
use portreeve::engine::{Engine, Settings};
use portreeve::join::order::Order;
use portreeve::limits::LATENESS_SECONDS;
use portreeve::observation::{Observation, Vantage};
use portreeve::time::CivilClock;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const WEEK: i64 = 7 * 86_400;

/// Five ordinary days, then mail of an attack among ordinary mail.
fn history(seed: u64) -> Vec<Observation> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut list = Vec::new();
    for hour in 0..6 * 24 {
        for n in 0..12 {
            let seconds = f64::from(hour) * 3_600.0 + f64::from(n) * 290.0 + rng.random_range(0.0..100.0);
            let friend = rng.random_range(0..40);
            list.push(mail("203.0.113.30", seconds, format!("f{friend}@p.example")).observation());
        }
    }
    for n in 0..rng.random_range(20..200) {
        let seconds = 5.0 * 86_400.0 + 50_000.0 + f64::from(n) * rng.random_range(2.0..20.0);
        let mut one = mail("203.0.113.30", seconds, format!("v{n}@else.example"));
        one.code = if rng.random_bool(0.4) { 550 } else { 250 };
        list.push(one.observation());
    }
    list.sort_by_key(|observation| observation.at);
    list
}

/// As the program hands them to the judge.
fn in_order(arrivals: &[Observation]) -> Vec<Observation> {
    let (mut order, mut list) = (Order::default(), Vec::new());
    for observation in arrivals {
        order.take(observation.clone());
        list.extend(std::iter::from_fn(|| order.next_due()));
    }
    order.settle();
    list.extend(std::iter::from_fn(|| order.next_due()));
    list
}

fn judged(observations: &[Observation]) -> (Vec<IncidentChange>, Engine) {
    let mut engine = engine();
    let mut out = Vec::new();
    observations.iter().for_each(|observation| engine.observe(observation, &mut out));
    (out, engine)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn whole_weeks_shift_alerts_and_nothing_else(seed in 0u64..1_000, weeks in -200i64..200) {
        let here = history(seed);
        let mut there = here.clone();
        let shift = (weeks * WEEK) as f64;
        there.iter_mut().for_each(|observation| observation.at = observation.at.plus_seconds(shift));
        let ((a, _), (b, _)) = (judged(&here), judged(&there));
        prop_assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(&b) {
            prop_assert_eq!(a.change, b.change);
            prop_assert_eq!(a.at.plus_seconds(shift), b.at);
            prop_assert_eq!(&a.incident.evidence, &b.incident.evidence);
            prop_assert_eq!(a.incident.messages, b.incident.messages);
        }
    }

    #[test]
    fn a_steady_sender_never_alarms(per_hour in 1u32..60, refused in 0u32..3, seed in 0u64..1_000) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut engine = engine();
        let mut out = Vec::new();
        for hour in 0..14 * 24u32 {
            for n in 0..per_hour {
                let seconds = f64::from(hour) * 3_600.0 + f64::from(n) * 3_600.0 / f64::from(per_hour);
                let friend = rng.random_range(0..50);
                let mut one = mail("203.0.113.30", seconds, format!("f{friend}@p.example"));
                one.code = if rng.random_ratio(refused, 100) { 550 } else { 250 };
                one.send(&mut engine, &mut out);
            }
        }
        prop_assert!(opened(&out).is_empty(), "{:?}", opened(&out));
    }

    /// What comes late, by less than the bound, changes nothing: the same incidents, the same evidence, the same moments.
    #[test]
    fn the_order_of_arrival_changes_nothing(seed in 0u64..1_000) {
        let mut here = history(seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // The attack, twenty times as fast: now its messages come within the bound of each other.
        let start = at(5.0 * 86_400.0 + 50_000.0);
        for observation in here.iter_mut().filter(|observation| observation.at > start) {
            observation.at = start.plus_seconds(observation.at.seconds_since(start) / 20.0);
        }
        here.sort_by_key(|observation| observation.at);
        let mut there: Vec<_> =
            here.iter().map(|one| (one.at.plus_seconds(rng.random_range(0.0..LATENESS_SECONDS)), one)).collect();
        there.sort_by_key(|(arrival, _)| *arrival);
        let there: Vec<_> = there.into_iter().map(|(_, one)| one.clone()).collect();
        // An attack of a few messages may happen to arrive in order: that is no case of it, and another one is drawn.
        prop_assume!(!there.is_sorted_by_key(|observation| observation.at));
        let ((a, one), (b, other)) = (judged(&in_order(&here)), judged(&in_order(&there)));
        prop_assert!(!opened(&a).is_empty() || here.len() < 6 * 24 * 12 + 100);
        prop_assert_eq!(a, b);
        prop_assert_eq!(one.senders(), other.senders());
    }
}

/// Three weeks of one server's log, then another server's log is added: to us all of its mail is new, to the
/// company none. It has a hundred recipients of its own, and an hour in which a receiver puts everything off.
#[test]
fn a_log_that_is_added_later_is_not_judged_before_it_is_known() {
    let mut engine = engine();
    let mut out = Vec::new();
    let of = |address: &str, seconds: f64, to: String| Mail {
        vantage: Vantage::Log,
        ..mail(address, seconds, to)
    };
    for hour in 0..30 * 24u32 {
        for n in 0..20 {
            let seconds = f64::from(hour) * 3_600.0 + f64::from(n) * 170.0;
            of("203.0.113.10", seconds, format!("friend{}@p.example", (hour * 7 + n) % 80))
                .send(&mut engine, &mut out);
            if hour >= 21 * 24 {
                let mut own =
                    of("203.0.113.77", seconds + 5.0, format!("own{}@q.example", (hour * 3 + n) % 100));
                own.code = if hour == 21 * 24 + 9 { 450 } else { 250 };
                own.send(&mut engine, &mut out);
            }
        }
    }
    assert!(opened(&out).is_empty(), "{:?}", opened(&out));
    // A week later it is known, and spam through it is told.
    let mut out = Vec::new();
    for n in 0..100 {
        let mut one = of("203.0.113.77", 30.0 * 86_400.0 + 3.0 * f64::from(n), format!("v{n}@else.example"));
        one.code = [550, 250, 250, 550, 250][(n % 5) as usize];
        one.send(&mut engine, &mut out);
    }
    assert_eq!(opened(&out).len(), 1);
}

fn taught(days: u32, per_hour: impl Fn(u32) -> u32, marks: impl Fn(u32, u32) -> Marks) -> (Model, Sender) {
    let (model, clock) = (Model::shipped().unwrap(), CivilClock::utc());
    let mut sender = Sender::new(&model, Role::Application, at(0.0), &clock);
    for hour in 0..days * 24 {
        for n in 0..per_hour(hour / 24) {
            let now = at(f64::from(hour) * 3_600.0 + f64::from(n) * 30.0);
            sender.advance(&model, &clock, model.amber, now);
            sender.deliver(&model, model.amber, now, &marks(hour / 24, n));
        }
    }
    (model, sender)
}

fn ordinary(n: u32) -> Marks {
    Marks {
        novel: Some(n.is_multiple_of(16)),
        verdict: Some(VerdictClass::Accepted),
        reverse_path: Some(ReversePathClass::Own),
        foreign: Some(false),
        ..Marks::default()
    }
}

fn hostile(n: u32) -> Marks {
    let verdict = if n.is_multiple_of(3) { VerdictClass::NoSuchRecipient } else { VerdictClass::Accepted };
    Marks { novel: Some(true), verdict: Some(verdict), ..ordinary(n) }
}

/// What an alarm needs: the base threshold, and ln(1 + usual messages a day).
fn threshold(model: &Model, sender: &Sender) -> f64 {
    model.base_threshold(sender.role, 1.0) + sender.proven_per_day().ln_1p()
}

#[test]
fn one_day_moves_a_threshold_by_at_most_a_tenth() {
    let (model, calm) = taught(28, |_| 10, |_, n| ordinary(n));
    for times in [2, 10, 60] {
        let wild = |day| if day == 27 { 10 * times } else { 10 };
        let (_, moved) = taught(28, wild, |_, n| ordinary(n));
        let ratio = threshold(&model, &moved) / threshold(&model, &calm);
        assert!((0.9..=1.1).contains(&ratio), "a day of {times} times the mail: {ratio}");
    }
}

#[test]
fn a_fifth_of_the_days_poisoned_moves_a_threshold_by_at_most_half() {
    let (model, calm) = taught(28, |_| 10, |_, n| ordinary(n));
    let poisoned = |day: u32| day.is_multiple_of(5);
    let wild = |day| if poisoned(day) { 80 } else { 10 };
    let (_, moved) =
        taught(28, wild, |day, n| if poisoned(day) && n >= 10 { hostile(n) } else { ordinary(n) });
    let ratio = threshold(&model, &moved) / threshold(&model, &calm);
    assert!(ratio <= 1.5, "{ratio}");
    // And a blast after it is still found, within ten messages more.
    let delay = |sender: &Sender| {
        let (clock, mut sender) = (CivilClock::utc(), sender.clone());
        (1..500).find(|n| {
            let now = at(28.0 * 86_400.0 + 36_000.0 + f64::from(*n));
            sender.advance(&model, &clock, model.amber, now);
            sender.deliver(&model, model.amber, now, &hostile(*n)).evidence >= threshold(&model, &sender)
        })
    };
    let (before, after) = (delay(&calm).unwrap(), delay(&moved).unwrap());
    println!("blast found after {before} messages of a clean history, {after} of a poisoned one");
    assert!(after <= before + 10, "{before} → {after}");
}

/// E3: half as much again every week would take a year to hide a blast; two to twenty percent a day do not hide it.
#[test]
fn slow_ramps_are_found_before_they_are_ten_times_the_reference() {
    for growth in [1.02f64, 1.05, 1.1, 1.2] {
        let (model, clock) = (Model::shipped().unwrap(), CivilClock::utc());
        let (_, mut sender) = taught(28, |_| 10, |_, n| ordinary(n));
        let mut rng = ChaCha8Rng::seed_from_u64((growth * 100.0) as u64);
        let found = (0..90u32).find(|day| {
            let extra = 10.0 * (growth.powi(*day as i32) - 1.0);
            (0..24).any(|hour| {
                let count = 10 + (extra + rng.random::<f64>()) as u32;
                (0..count).any(|n| {
                    let place = f64::from(*day) * 24.0 + f64::from(hour) + f64::from(n) / f64::from(count);
                    let now = at(28.0 * 86_400.0 + place * 3_600.0);
                    sender.advance(&model, &clock, model.amber, now);
                    let marks = if n >= 10 { hostile(rng.random_range(0..9)) } else { ordinary(n) };
                    sender.deliver(&model, model.amber, now, &marks).evidence >= threshold(&model, &sender)
                })
            })
        });
        let volume = found.map(|day| growth.powi(day as i32));
        println!("{growth} a day: found on day {found:?}, at {volume:?} times the reference");
        assert!(volume.is_some_and(|times| times < 10.0), "{growth}: {found:?}");
    }
}

/// E3: what is taught within weeks is bounded by what a sender was like for months; what stays is believed in the end.
#[test]
fn a_boiling_frog_is_measured_by_the_slow_reference() {
    let (model, clock) = (Model::shipped().unwrap(), CivilClock::utc());
    // New recipients in ten messages an hour, one at first, and from a day on one more every three days. Without suspicion,
    // which would end the lesson before the reference does.
    let law = |days: u32, start: u32| {
        let mut sender = Sender::new(&model, Role::Application, at(0.0), &clock);
        for hour in 0..days * 24 {
            let novel = 1 + ((hour / 24).saturating_sub(start) / 3).min(7);
            for n in 0..10 {
                let now = at(f64::from(hour) * 3_600.0 + f64::from(n) * 30.0);
                sender.advance(&model, &clock, f64::INFINITY, now);
                let marks = Marks { novel: Some(n < novel), ..ordinary(n) };
                sender.deliver(&model, f64::INFINITY, now, &marks);
            }
        }
        sender.expected(&model).law.novel
    };
    let odds = |share: f64| share / (1.0 - share);
    let [clean, unbound, boiled, changed] =
        [(70, 1_000), (13, 0), (84, 70), (400, 70)].map(|(days, start)| law(days, start));
    println!(
        "new recipients: {clean:.2} clean, {unbound:.2} boiled for two weeks without a reference, {boiled:.2} with, {changed:.2} after a year"
    );
    assert!(odds(boiled) <= 2.3 * odds(clean), "{clean} → {boiled}");
    assert!(odds(unbound) > 3.0 * odds(clean), "{clean} → {unbound}: the frog was not boiled");
    assert!(changed > 0.5, "{clean} → {changed}");
}

/// E5: abusive from its first message.
#[test]
fn born_bad_is_found_within_ten_minutes() {
    let mut engine = engine();
    ordinary_days(&mut engine, 5);
    let changes = spam(&mut engine, "203.0.113.99", 5.0 * 86_400.0, 200);
    let first = opened(&changes)[0].at.seconds_since(at(5.0 * 86_400.0));
    assert!(first <= 600.0, "{first} s");
}

/// E1: a clock that jumps raises nothing and hides nothing.
#[test]
fn clock_jumps_raise_nothing_and_hide_nothing() {
    for jump in [-3_600.0, 3_600.0, -86_400.0, 86_400.0, -20.0 * 365.0 * 86_400.0] {
        let mut engine = engine_with(Settings::default());
        assert!(opened(&ordinary_days(&mut engine, 5)).is_empty());
        let mut out = Vec::new();
        for n in 0..200 {
            let seconds = 5.0 * 86_400.0 + 36_000.0 + jump + f64::from(n) * 180.0;
            let to = format!("friend{}@partner{}.example", n % 60, n % 7);
            mail("203.0.113.30", seconds, to).send(&mut engine, &mut out);
        }
        assert!(opened(&out).is_empty(), "{jump}: {:?}", opened(&out));
        let found = spam(&mut engine, "203.0.113.30", 5.0 * 86_400.0 + 90_000.0 + jump.max(0.0), 200);
        assert!(!opened(&found).is_empty(), "{jump}: the blast was hidden");
    }
}
