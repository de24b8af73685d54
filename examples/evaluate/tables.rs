//! Tables of the evaluation.
//!
//! *In*: what detectors said. *Out*: lines on standard output.

use crate::attacks::KINDS;
use crate::ours;
use crate::peers::PEERS;
use crate::population::Honest;
use crate::score::{Rise, Summary, Trail, false_alarms, summary, threshold};
use portreeve::engine::model::Model;
use portreeve::engine::volume;

/// Names of the detectors in their order.
pub fn names() -> impl Iterator<Item = &'static str> {
    std::iter::once("portreeve").chain(PEERS.iter().map(|peer| peer.name))
}

/// Our score at which a budget alarms: scores are minus the logarithm of the false alarms that they imply.
pub fn ours_at(budget: f64) -> f64 {
    -budget.ln()
}

/// Alarms of trails at a threshold.
pub fn alarms(trails: &[Trail], at: f64) -> Vec<(Option<Rise>, usize)> {
    trails.iter().map(|trail| (trail.alarm(at), trail.attack.count)).collect()
}

fn header(title: &str) {
    println!("\n{title}");
    println!(
        "{:<24} {:>7} {:>9} {:>9} {:>10} {:>10} {:>7} {:>12}",
        "", "found", "msg p50", "msg p90", "s p50", "s p90", "leaked", "false/1000 d"
    );
}

fn row(name: &str, sum: &Summary, realised: f64) {
    let number = |value: f64| if value.is_finite() { format!("{value:.0}") } else { "-".into() };
    println!(
        "{name:<24} {:>6.1}% {:>9} {:>9} {:>10} {:>10} {:>6.1}% {realised:>12.2}",
        100.0 * sum.found,
        number(sum.messages.0),
        number(sum.messages.1),
        number(sum.seconds.0),
        number(sum.seconds.1),
        100.0 * sum.leaked
    );
}

/// Each at its published threshold, ours at the default budget.
pub fn as_published(fresh: &Honest, attacked: &[Vec<Trail>]) {
    header("as published (portreeve: 1 false alarm per 1,000 sender-days asked for)");
    for (index, name) in names().enumerate() {
        let at = index.checked_sub(1).map_or(ours_at(1.0), |peer| PEERS[peer].published);
        row(name, &summary(&alarms(&attacked[index], at)), false_alarms(&fresh.days[index], at));
    }
}

/// Our second tier, every mailing announced.
pub fn second_tier(fresh: &Honest, attacked: &[Vec<Trail>]) {
    header("second tier, unexplained volume, where every mailing is announced");
    let (Some(days), Some(trails)) = (fresh.days.last(), attacked.last()) else { return };
    for budget in [1.0, 0.1] {
        let at = ours_at(budget);
        row(&format!("at {budget}"), &summary(&alarms(trails, at)), false_alarms(days, at));
    }
    let mut falling = days.clone();
    falling.sort_by(|a, b| b.total_cmp(a));
    let nats = [10.0, 1.0, 0.1].map(|budget| threshold(&falling, budget) + volume::alarms_implied(0.0).ln());
    println!("fitted here at 10 / 1 / 0.1: {:.2} / {:.2} / {:.2} nats", nats[0], nats[1], nats[2]);
    println!("found by kind of attack at 1");
    for kind in KINDS {
        let of_kind: Vec<&Trail> = trails.iter().filter(|trail| trail.attack.kind == kind).collect();
        let found = of_kind.iter().filter(|trail| trail.alarm(ours_at(1.0)).is_some()).count();
        println!("{:<24} {:>6.1}%", kind.name(), 100.0 * found as f64 / of_kind.len().max(1) as f64);
    }
}

/// The threshold of each detector at a budget: ours as shipped, theirs from the calibration set.
fn thresholds(calibration: &Honest, budget: f64) -> Vec<f64> {
    let calibrated = calibration.days.iter().skip(1).map(|days| {
        let mut falling = days.clone();
        falling.sort_by(|a, b| b.total_cmp(a));
        threshold(&falling, budget)
    });
    std::iter::once(ours_at(budget)).chain(calibrated).collect()
}

/// Each at the threshold that gives it a budget; portreeve's thresholds are the shipped ones, the peers' are fitted
/// to the calibration set.
pub fn at_a_budget(calibration: &Honest, fresh: &Honest, attacked: &[Vec<Trail>], budget: f64) {
    header(&format!(
        "all at {budget} false alarms per 1,000 sender-days (peers' thresholds fitted, ours shipped)"
    ));
    let thresholds = thresholds(calibration, budget);
    for ((index, name), at) in names().enumerate().zip(&thresholds) {
        row(name, &summary(&alarms(&attacked[index], *at)), false_alarms(&fresh.days[index], *at));
    }
    println!("\nportreeve by kind of attack at {budget}");
    for kind in KINDS {
        for foreign in [true, false] {
            let of_kind = |trail: &&Trail| trail.attack.kind == kind && trail.attack.foreign == foreign;
            let trails: Vec<Trail> = attacked[0].iter().filter(of_kind).cloned().collect();
            if !trails.is_empty() {
                let name =
                    format!("{}, {}", kind.name(), if foreign { "other machine" } else { "own machine" });
                row(&name, &summary(&alarms(&trails, ours_at(budget))), f64::NAN);
            }
        }
    }
}

/// Alarms per 100 benign bursts, at a fitted budget of 1.
pub fn bursts(calibration: &Honest, fresh: &Honest) {
    println!("\nalarms per 100 benign bursts, all at 1 false alarm per 1,000 sender-days");
    let thresholds = thresholds(calibration, 1.0);
    print!("{:<24}", "");
    fresh.bursts.keys().for_each(|cause| print!(" {:>12}", format!("{cause:?}")));
    println!();
    for ((index, name), at) in names().enumerate().zip(&thresholds) {
        print!("{name:<24}");
        for scores in fresh.bursts.values() {
            let alarmed = scores[index].iter().filter(|score| *score >= at).count();
            print!(" {:>12.1}", 100.0 * alarmed as f64 / scores[index].len().max(1) as f64);
        }
        println!();
    }
    print!("{:<24}", "(bursts seen)");
    fresh.bursts.values().for_each(|scores| print!(" {:>12}", scores[0].len()));
    println!();
}

/// Per class: what the shipped thresholds give, and what this calibration would make of them.
pub fn roles(model: &Model, calibration: &Honest, fresh: &Honest) {
    println!(
        "\nportreeve by class: realised false alarms per 1,000 sender-days, and base thresholds fitted here (nats)"
    );
    println!("{:<12} {:>8} {:>24} {:>30}", "", "days", "realised at 10 / 1 / 0.1", "fitted at 10 / 1 / 0.1");
    for (class, days) in &fresh.days_of {
        let realised = [10.0, 1.0, 0.1].map(|budget| false_alarms(days, ours_at(budget)));
        let mut falling = calibration.days_of[class].clone();
        falling.extend(days);
        falling.sort_by(|a, b| b.total_cmp(a));
        let role = ours::role_of(*class);
        let fitted = [10.0, 1.0, 0.1].map(|budget| {
            let at = threshold(&falling, budget);
            model.base_threshold(role, (-at).exp())
        });
        println!(
            "{:<12} {:>8} {:>8.2} {:>7.2} {:>7.2} {:>12.2} {:>8.2} {:>8.2}",
            format!("{class:?}"),
            days.len(),
            realised[0],
            realised[1],
            realised[2],
            fitted[0],
            fitted[1],
            fitted[2]
        );
    }
}
