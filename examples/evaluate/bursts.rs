//! What honest senders do that looks like trouble: mailings, month-ends, storms, outages, new machines.
//!
//! *In*: a history of daily business. *Out*: the same with bursts. *Spec*: detection/sim.py `gen_entity`.

use crate::histories::{
    Cause, Class, DAY, DAYS, END, HOUR, History, Mix, bin_of, in_business_hours, profile,
};
use crate::random::Random;

const REGULAR: Mix = Mix { novel: 0.04, verdict: [0.915, 0.015, 0.01, 0.06], path: [0.99, 0.002, 0.008] };
const INVOICES: Mix = Mix { novel: 0.03, verdict: [0.935, 0.02, 0.005, 0.04], path: [0.99, 0.002, 0.008] };
const BACKSCATTER: Mix = Mix { novel: 0.8, verdict: [0.42, 0.33, 0.1, 0.15], path: [0.01, 0.01, 0.98] };
const LOAD_TEST: Mix = Mix { novel: 0.0, verdict: [0.99, 0.001, 0.001, 0.008], path: [1.0, 0.0, 0.0] };
const STRAY: Mix = Mix { novel: 0.3, verdict: [0.95, 0.02, 0.005, 0.025], path: [0.97, 0.02, 0.01] };

/// Adds what this class may meet.
pub fn add(rng: &mut Random, history: &mut History) {
    let class = history.class;
    if class == Class::Bulk {
        newsletters(rng, history);
    }
    let cold = match class {
        Class::Office => 0.06,
        Class::Bulk => 0.3,
        _ => 0.0,
    };
    if rng.happens(cold) {
        cold_list(rng, history);
    }
    if class == Class::Office && rng.happens(0.25) {
        let start = 25.0 * DAY + rng.between(7.0, 18.0) * HOUR;
        let (count, seconds) = (rng.between(100.0, 1_200.0) as usize, rng.between(0.5, 3.0) * HOUR);
        history.burst(rng, start, seconds, count, &INVOICES, Cause::Invoices);
    }
    if matches!(class, Class::Office | Class::Relay) && rng.happens(0.06) {
        let start = rng.uniform() * END * 0.95;
        let (count, seconds) = (rng.between(100.0, 1_500.0) as usize, rng.between(1.0, 8.0) * HOUR);
        history.burst(rng, start, seconds, count, &BACKSCATTER, Cause::Backscatter);
    }
    if matches!(class, Class::Appliance | Class::Office) && rng.happens(0.04) {
        let start = rng.uniform() * END * 0.95;
        let (count, seconds) = (rng.between(300.0, 3_000.0) as usize, rng.between(0.2, 2.0) * HOUR);
        history.burst(rng, start, seconds, count, &LOAD_TEST, Cause::LoadTest);
    }
    if class == Class::Dormant && rng.happens(0.02) {
        migration(rng, history);
    }
    if class == Class::Dormant && rng.happens(0.05) {
        let (start, count) = (rng.uniform() * END * 0.99, 1 + rng.below(5));
        history.burst(rng, start, HOUR, count, &STRAY, Cause::StrayWake);
    }
    if class != Class::Dormant && rng.happens(0.25) {
        outage(rng, history);
    }
    if matches!(class, Class::Office | Class::Bulk | Class::Relay) && rng.happens(0.10) {
        replaced_host(rng, history);
    }
}

fn newsletters(rng: &mut Random, history: &mut History) {
    for week in 0..4 {
        for _ in 0..1 + rng.below(2) {
            let start = (week * 7 + rng.below(5)) as f64 * DAY + rng.between(8.0, 16.0) * HOUR;
            let count = (1_200f64.ln() + 0.6 * rng.normal()).exp().clamp(200.0, 5_000.0) as usize;
            let seconds = rng.between(0.3, 1.2) * HOUR;
            history.burst(rng, start, seconds, count, &REGULAR, Cause::Newsletter);
        }
    }
}

fn cold_list(rng: &mut Random, history: &mut History) {
    let start = in_business_hours(rng);
    let (count, seconds) = (rng.between(200.0, 2_500.0) as usize, rng.between(0.3, 2.0) * HOUR);
    let (unknown_user, novel) = (rng.between(0.03, 0.09), rng.between(0.3, 0.65));
    let mix = Mix {
        novel,
        verdict: [1.0 - unknown_user - 0.02 - 0.08, unknown_user, 0.02, 0.08],
        path: [0.985, 0.005, 0.01],
    };
    history.burst(rng, start, seconds, count, &mix, Cause::ColdList);
}

fn migration(rng: &mut Random, history: &mut History) {
    let start = rng.between(15.0, 25.0) * DAY;
    let per_day = (150f64.ln() + 0.8 * rng.normal()).exp().clamp(30.0, 1_500.0);
    let profile = profile(Class::Office);
    for hour in (start / HOUR) as usize..DAYS * 24 {
        let count = rng.poisson(per_day / 24.0 * profile[bin_of(hour)]);
        let before = history.sent.len() as f64;
        let mix = Mix {
            novel: 0.05 + 0.12 * 30.0 / (30.0 + before),
            verdict: [0.94, 0.015, 0.005, 0.04],
            path: [0.985, 0.005, 0.01],
        };
        history.burst(rng, hour as f64 * HOUR, HOUR, count, &mix, Cause::Migration);
    }
}

/// Mail held back and then sent within ten minutes.
fn outage(rng: &mut Random, history: &mut History) {
    let start = rng.uniform() * END * 0.95;
    let end = start + rng.between(1.0, 7.0) * HOUR;
    for sent in &mut history.sent {
        if sent.at > start && sent.at < end && sent.cause == Cause::Ordinary {
            sent.at = end + rng.uniform() * 600.0;
            sent.cause = Cause::QueueFlush;
        }
    }
}

/// The first 60 messages of a new machine are foreign; then it is known.
fn replaced_host(rng: &mut Random, history: &mut History) {
    let start = rng.between(1.0, DAYS as f64 - 1.0) * DAY;
    history.sent.sort_by(|a, b| a.at.total_cmp(&b.at));
    for sent in history.sent.iter_mut().filter(|sent| sent.at > start).take(60) {
        sent.foreign = true;
        sent.cause = Cause::ReplacedHost;
    }
}
