//! A flood: the rate is kept, every change is accounted for, the most severe do not wait.

#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod store_support;

use portreeve::alert::Alert;
use portreeve::alert::budget::{Budget, Rate};
use portreeve::engine::incident::Change;
use portreeve::limits;
use portreeve::mail::Reply;
use portreeve::time::Timestamp;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// A small alert of an incident.
fn alert(template: &Alert, incident: u64, sequence: u32, score: u8) -> Alert {
    let mut alert = template.clone();
    alert.incident.id = format!("{incident:016x}");
    alert.incident.sequence = sequence;
    alert.id = format!("{}-{sequence}", alert.incident.id);
    alert.change = if sequence == 0 { Change::Opened } else { Change::Updated };
    alert.severity.score = score;
    alert
}

fn template() -> Alert {
    Alert::of_trouble("flood", "", Timestamp::from_seconds(0), "", "")
}

/// One million alert-worthy changes in a minute over 50,000 senders.
#[test]
fn a_million_changes_in_a_minute_are_told_in_few_alerts_and_exact_numbers() {
    let rate = Rate { per_hour: 600.0, burst: 200.0 };
    let mut budget = Budget::new(&rate);
    let mut rng = ChaCha8Rng::seed_from_u64(0x0066_6c6f_6f64);
    let template = template();
    let (mut out, mut sequences) = (Vec::new(), BTreeMap::<u64, u32>::new());
    let (mut emitted, mut suppressed, mut folded) = (0u64, 0u64, 0u64);
    let (mut criticals, mut slowest) = (BTreeMap::new(), 0i64);
    let total = 1_000_000u64;
    for n in 0..total {
        let at = Timestamp::from_micros(n as i64 * 60);
        let incident = rng.random_range(0..50_000);
        let sequence = sequences.entry(incident).and_modify(|s| *s += 1).or_insert(0);
        // Thirty are critical: no more than what is kept back for them.
        let score = if n % 33_333 == 0 { 99 } else { [21, 47, 73][rng.random_range(0..3)] };
        let alert = alert(&template, incident, *sequence, score);
        if score == 99 {
            criticals.insert(alert.id.clone(), at);
        }
        budget.offer(&rate, alert, at, &mut out);
        for alert in out.drain(..) {
            emitted += 1;
            suppressed += alert.suppressed.of_all;
            folded += alert.suppressed.of_this_incident;
            if let Some(offered) = criticals.remove(&alert.id) {
                slowest = slowest.max(at.as_micros() - offered.as_micros());
            }
        }
    }
    assert!(emitted <= (rate.burst + rate.per_hour / 60.0) as u64 + 1, "{emitted} left");
    assert_eq!(emitted + suppressed + budget.untold() + budget.waiting() as u64, total);
    assert!(folded <= suppressed);
    assert!(criticals.is_empty() && slowest <= 1_000_000, "{} criticals wait, {slowest} µs", criticals.len());
    assert!(budget.waiting() <= limits::ALERTS_WAITING_MAX && budget.dropped() > 0);

    // Later everything that waits is told, at the rate.
    let (mut hours, mut last) = (0, emitted);
    while budget.waiting() > 0 {
        hours += 1;
        budget.release(&rate, Timestamp::from_seconds(60 + hours * 3_600), &mut out);
        for alert in out.drain(..) {
            emitted += 1;
            suppressed += alert.suppressed.of_all;
        }
        assert!(emitted - last <= rate.burst as u64);
        last = emitted;
    }
    assert_eq!(emitted + suppressed + budget.untold(), total);
}

#[test]
fn within_the_rate_nothing_is_held_back_or_changed() {
    let rate = Rate::default();
    let mut budget = Budget::new(&rate);
    let mut out = Vec::new();
    let offered: Vec<Alert> = (0..500).map(|n| alert(&template(), n, 0, 21)).collect();
    for (n, alert) in offered.iter().enumerate() {
        budget.offer(&rate, alert.clone(), Timestamp::from_seconds(n as i64 * 10), &mut out);
    }
    assert_eq!(out, offered);
}

#[test]
fn an_opening_that_waited_is_still_an_opening_and_a_closing_a_closing() {
    let rate = Rate { per_hour: 1.0, burst: 1.0 };
    let mut budget = Budget::new(&rate);
    let mut out = Vec::new();
    let at = Timestamp::from_seconds;
    budget.offer(&rate, alert(&template(), 1, 0, 99), at(0), &mut out);
    assert_eq!(out.len(), 1);
    budget.offer(&rate, alert(&template(), 2, 0, 99), at(1), &mut out);
    budget.offer(&rate, alert(&template(), 2, 1, 99), at(2), &mut out);
    budget.offer(&rate, alert(&template(), 1, 1, 99), at(3), &mut out);
    let closing = Alert { change: Change::Closed, ..alert(&template(), 1, 2, 99) };
    budget.offer(&rate, closing, at(4), &mut out);
    assert_eq!(out.len(), 1);
    budget.finish(&mut out);
    let told: Vec<_> =
        out[1..].iter().map(|a| (a.id.as_str(), a.change, a.suppressed.of_this_incident)).collect();
    assert_eq!(told, [("0000000000000002-1", Change::Opened, 1), ("0000000000000001-2", Change::Closed, 1)]);
    assert_eq!(out.iter().map(|a| a.suppressed.of_all).sum::<u64>(), 2);
}

#[test]
fn a_budget_that_was_kept_goes_on_as_if_nothing_had_happened() {
    let rate = Rate { per_hour: 60.0, burst: 5.0 };
    let run = |stop: usize| {
        let mut budget = Budget::new(&rate);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut out = Vec::new();
        for n in 0..300usize {
            if n == stop {
                let kept = serde_json::to_vec(&budget).unwrap();
                budget = serde_json::from_slice(&kept).unwrap();
            }
            let alert = alert(&template(), rng.random_range(0..20), n as u32, [21, 99][n % 2]);
            budget.offer(&rate, alert, Timestamp::from_seconds(n as i64 * 7), &mut out);
        }
        out
    };
    let undisturbed = run(usize::MAX);
    assert!([1, 50, 299].into_iter().all(|stop| run(stop) == undisturbed));
}

/// Incidents through the engine: updates come at growing intervals, numbered without a gap, and the closing has the
/// totals.
#[test]
fn an_incident_is_updated_ever_more_seldom_and_closed_with_its_totals() {
    use portreeve::engine::Settings;
    use portreeve::engine::incident::{IncidentChange, UPDATE_INTERVAL_SECONDS};
    use portreeve::engine::memory::InstallKey;
    let settings = Settings { settling_days: 0.05, unsettled_margin_nats: 0.0, ..Settings::default() };
    let mut engine = store_support::engine_with(InstallKey([3; 16]), settings);
    let mut changes: Vec<IncidentChange> = Vec::new();
    let mut quiet_day = |from: i64, changes: &mut Vec<IncidentChange>| {
        for n in 0..2_000 {
            let recipient = format!("r{}@partner.example", n % 25);
            engine.observe(&store_support::delivery((n % 25) as u32, from + n * 43, &recipient), changes);
        }
    };
    quiet_day(0, &mut changes);
    quiet_day(86_400, &mut changes);
    assert!(changes.is_empty(), "{changes:?}");
    let blast = 6_000;
    for n in 0..blast {
        let recipient = format!("x{n}@stranger{}.example", n % 50);
        let mut observation = store_support::delivery(3, 2 * 86_400 + n * 5, &recipient);
        let portreeve::observation::Fact::Delivery(delivery) = &mut observation.fact else { unreachable!() };
        if n % 3 > 0 {
            delivery.reply =
                Some(Reply { code: Some(550), text: Some("no such user".into()), ..Reply::default() });
        }
        engine.observe(&observation, &mut changes);
    }
    for n in 0..2_000 {
        let sender = if n % 25 == 3 { 4 } else { n % 25 };
        let recipient = format!("r{sender}@partner.example");
        engine
            .observe(&store_support::delivery(sender as u32, 3 * 86_400 + n * 43, &recipient), &mut changes);
    }
    let kinds: Vec<Change> = changes.iter().map(|change| change.change).collect();
    assert!(kinds.len() >= 4 && kinds[0] == Change::Opened, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == Change::Opened).count(), 1);
    assert_eq!(kinds.last(), Some(&Change::Closed));
    for (n, pair) in changes.windows(2).enumerate() {
        assert_eq!(pair[1].incident.sequence, n as u32 + 1);
        if pair[1].change == Change::Updated {
            let least = UPDATE_INTERVAL_SECONDS * f64::from(1u32 << n);
            assert!(pair[1].at.seconds_since(pair[0].at) >= least, "update {n}");
            assert!(pair[1].incident.messages >= 2 * pair[0].incident.messages);
        }
    }
    let closed = &changes.last().unwrap().incident;
    assert!(closed.messages >= blast as u64 - 20, "{} of {blast} messages are told", closed.messages);
}
