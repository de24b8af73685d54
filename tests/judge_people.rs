//! What people tell the judge: mailings planned in advance, and incidents confirmed or dismissed.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod judge_support;

use judge_support::*;
use portreeve::engine::Engine;
use portreeve::engine::feedback::{Feedback, FeedbackVerdict, RAISE_MAX_NATS, RAISE_NATS};
use portreeve::engine::incident::{Change, IncidentChange};
use portreeve::engine::planned::{PlanError, Planned};
use portreeve::engine::sender::SenderId;
use portreeve::time::Timestamp;

const APP: &str = "203.0.113.30";
/// The sixth day, ten in the morning.
const SATURDAY_TEN: f64 = 5.0 * 86_400.0 + 10.0 * 3_600.0;

fn taught() -> Engine {
    let mut engine = engine();
    assert!(opened(&ordinary_days(&mut engine, 5)).is_empty());
    engine
}

fn planned(from: f64, until: f64, recipients_max: u64) -> Planned {
    Planned {
        sender: SenderId::Address(APP.parse().unwrap()),
        from: at(from),
        until: at(until),
        recipients_max,
    }
}

fn first_alarm(changes: &[IncidentChange]) -> Option<Timestamp> {
    opened(changes).first().map(|change| change.at)
}

#[test]
fn a_planned_mailing_is_honoured_up_to_its_bound_and_its_end() {
    let mut alone = taught();
    let without = first_alarm(&spam(&mut alone, APP, SATURDAY_TEN, 200)).unwrap();
    assert!(without.seconds_since(at(SATURDAY_TEN)) < 60.0);

    let mut engine = taught();
    engine.plan(planned(SATURDAY_TEN, SATURDAY_TEN + 86_400.0, 200)).unwrap();
    assert_eq!(spam(&mut engine, APP, SATURDAY_TEN, 200), vec![]);
    assert_eq!((engine.counters().planned, engine.plans()[0].used), (200, 200));
    let beyond = first_alarm(&spam(&mut engine, APP, SATURDAY_TEN + 3_600.0, 100)).unwrap();
    assert!(beyond.seconds_since(at(SATURDAY_TEN + 3_600.0)) < 60.0, "the bound was not kept");

    let mut engine = taught();
    engine.plan(planned(SATURDAY_TEN, SATURDAY_TEN + 150.0, 10_000)).unwrap();
    let after = first_alarm(&spam(&mut engine, APP, SATURDAY_TEN, 200)).unwrap();
    assert!(after >= at(SATURDAY_TEN + 150.0) && after < at(SATURDAY_TEN + 240.0), "the end was not kept");
}

#[test]
fn a_plan_survives_a_restart_and_is_not_planned_twice() {
    let mut engine = taught();
    let plan = planned(SATURDAY_TEN, SATURDAY_TEN + 86_400.0, 50);
    engine.plan(plan.clone()).unwrap();
    spam(&mut engine, APP, SATURDAY_TEN, 20);
    let mut restarted = judge_support::engine();
    assert!(restarted.import_shared(&engine.export_shared()));
    restarted.plan(plan.clone()).unwrap();
    assert_eq!((restarted.plans().len(), restarted.plans()[0].used), (1, 20));
    assert!(
        restarted.withdraw_plan(&plan.sender, plan.from) && !restarted.withdraw_plan(&plan.sender, plan.from)
    );
    assert_eq!(engine.plan(planned(5.0, 5.0, 1)), Err(PlanError::Empty));
}

fn dismissal(change: &IncidentChange, at: Timestamp) -> Feedback {
    Feedback {
        incident: change.incident.id,
        sender: change.incident.sender.clone(),
        template: change.incident.template.clone(),
        verdict: FeedbackVerdict::Dismissed,
        at,
    }
}

#[test]
fn a_dismissal_closes_raises_the_bar_is_bounded_and_expires() {
    let mut engine = taught();
    let changes = spam(&mut engine, APP, SATURDAY_TEN, 40);
    let incident = (*opened(&changes)[0]).clone();
    let now = engine.now();
    let mut out = Vec::new();
    assert!(engine.feedback(&dismissal(&incident, now), &mut out));
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].change, out[0].incident.id), (Change::Closed, incident.incident.id));
    assert!(!engine.feedback(&dismissal(&incident, now), &mut out), "the same dismissal counts once");
    assert_eq!(engine.counters().dismissed, 1);
    let bar = engine.leniencies()[0].clone();
    assert_eq!(bar.left_nats(now), RAISE_NATS);
    assert!((bar.left_nats(now.plus_seconds(15.0 * 86_400.0)) - RAISE_NATS / 2.0).abs() < 1e-9);
    assert_eq!(bar.left_nats(now.plus_seconds(31.0 * 86_400.0)), 0.0);

    let again = spam(&mut engine, APP, SATURDAY_TEN + 7_200.0, 40);
    let raised = opened(&again)[0].incident.threshold_nats - incident.incident.threshold_nats;
    assert!((raised - RAISE_NATS).abs() < 0.5, "{raised}");

    for id in 0..10 {
        let mut next = dismissal(&incident, now);
        next.incident = id;
        engine.feedback(&next, &mut out);
    }
    assert_eq!(engine.leniencies()[0].left_nats(now), RAISE_MAX_NATS);
    let rate = engine.dismissed_per_1000_sender_days().unwrap();
    assert!((rate - 11_000.0 / engine.counters().sender_days as f64).abs() < 1e-9);
}

#[test]
fn a_confirmation_takes_the_rise_back() {
    let mut engine = taught();
    let changes = spam(&mut engine, APP, SATURDAY_TEN, 40);
    let incident = (*opened(&changes)[0]).clone();
    let (now, mut out) = (engine.now(), Vec::new());
    engine.feedback(&dismissal(&incident, now), &mut out);
    let confirmed = Feedback { verdict: FeedbackVerdict::Confirmed, ..dismissal(&incident, now) };
    assert!(engine.feedback(&confirmed, &mut out));
    assert!(engine.leniencies().is_empty());
    assert_eq!((engine.counters().confirmed, engine.counters().dismissed), (1, 1));
}
