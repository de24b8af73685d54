//! The goals G1 to G11 of docs/detection.md, reached or missed.
//!
//! *In*: trails and honest days. *Out*: a table. G5 (blocks) and G10 (cost) are measured where whole deliveries are:
//! tests/judge_blocks.rs and benches/judge.rs.

use crate::attacks::Kind;
use crate::population::{Honest, low_and_slow_accounts};
use crate::score::{Summary, Trail, false_alarms, summary};
use crate::tables::{alarms, names, ours_at};
use portreeve::engine::model::Model;

/// One goal.
pub struct Goal {
    /// Its name.
    pub name: &'static str,
    /// What it asks for.
    pub asks: &'static str,
    /// What was measured.
    pub measured: String,
    /// Whether it was reached.
    pub reached: bool,
}

fn of(trails: &[Trail], at: f64, wanted: impl Fn(&Trail) -> bool) -> Summary {
    let chosen: Vec<Trail> = trails.iter().filter(|trail| wanted(trail)).cloned().collect();
    summary(&alarms(&chosen, at))
}

/// Average precision where one sender-day in 1,000 is an attack's: over attacks by falling score, the mean of the
/// precision at each.
fn average_precision(trails: &[Trail], days: &[f64]) -> f64 {
    const PREVALENCE: f64 = 1e-3;
    let mut scores: Vec<f64> =
        trails.iter().map(|trail| trail.rises.last().map_or(0.0, |rise| rise.score)).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    let mut falling = days.to_vec();
    falling.sort_by(|a, b| b.total_cmp(a));
    let precision = |rank: usize, score: f64| {
        let found = (rank + 1) as f64 / scores.len() as f64 * PREVALENCE;
        let wrong =
            falling.partition_point(|day| *day >= score) as f64 / falling.len() as f64 * (1.0 - PREVALENCE);
        found / (found + wrong)
    };
    scores.iter().enumerate().map(|(rank, score)| precision(rank, *score)).sum::<f64>() / scores.len() as f64
}

/// Measures the goals on histories, at 0.1 false alarms per 1,000 sender-days.
pub fn measure(
    model: &Model,
    fresh: &Honest,
    attacked: &[Vec<Trail>],
    seed: u64,
    accounts: usize,
) -> Vec<Goal> {
    let at = ours_at(0.1);
    let ours = &attacked[0];
    let mut goals = Vec::new();
    let mut goal = |name, asks, measured, reached| goals.push(Goal { name, asks, measured, reached });
    let delays = |sum: &Summary| format!("{:.0}, {:.0}", sum.messages.0, sum.messages.1);
    let foreign = of(ours, at, |trail| trail.attack.kind == Kind::Blast && trail.attack.foreign);
    let reached = foreign.messages.0 <= 6.0 && foreign.messages.1 <= 10.0;
    goal("G1 blast, other machine", "median <= 6, 90 % <= 10 messages", delays(&foreign), reached);
    let own = of(ours, at, |trail| trail.attack.kind == Kind::Blast && !trail.attack.foreign);
    let reached = own.messages.0 <= 16.0 && own.messages.1 <= 40.0;
    goal("G2 blast, own machine", "median <= 16, 90 % <= 40 messages", delays(&own), reached);
    let blast = of(ours, at, |trail| trail.attack.kind == Kind::Blast);
    let leaked = format!("{:.2} %", 100.0 * blast.leaked);
    goal("G3 blast leaked", "<= 1 %", leaked, blast.leaked <= 0.01);
    let wake = of(ours, at, |trail| trail.attack.kind == Kind::DormantWake);
    let reached = wake.messages.0 <= 3.0 && wake.messages.1 <= 8.0;
    goal("G4 dormant wakes", "median <= 3, 90 % <= 8 messages", delays(&wake), reached);
    let slow = summary(&alarms(&low_and_slow_accounts(model, seed + 3_000, accounts), at));
    let reached = slow.found >= 1.0 && slow.messages.0 <= 12.0 && slow.messages.1 <= 25.0;
    let measured = format!("{}, {:.0} %", delays(&slow), 100.0 * slow.found);
    goal("G6 low and slow, account", "median <= 12, 90 % <= 25, all found", measured, reached);
    let found = summary(&alarms(ours, at)).found;
    goal("   found, seven kinds", ">= 84 %", format!("{:.1} %", 100.0 * found), found >= 0.84);
    let precision: Vec<f64> =
        attacked.iter().zip(&fresh.days).map(|(trails, days)| average_precision(trails, days)).collect();
    let best = precision.iter().zip(names()).skip(1).max_by(|a, b| a.0.total_cmp(b.0)).unwrap();
    let measured = format!("{:.2}; best peer {:.2} ({})", precision[0], best.0, best.1);
    goal("G7 average precision", ">= .88", measured, precision[0] >= 0.88);
    let worst = fresh
        .bursts
        .iter()
        .map(|(cause, scores)| {
            let alarmed = scores[0].iter().filter(|score| **score >= at).count();
            (100.0 * alarmed as f64 / scores[0].len().max(1) as f64, *cause)
        })
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap();
    goal("G9 benign bursts", "<= 1 alarm per 100", format!("{:.1} ({:?})", worst.0, worst.1), worst.0 <= 1.0);
    let realised = [10.0, 1.0, 0.1].map(|budget| false_alarms(&fresh.days[0], ours_at(budget)));
    let measured = format!("{:.2}, {:.2}, {:.3}", realised[0], realised[1], realised[2]);
    let reached =
        realised.iter().zip([10.0, 1.0, 0.1]).all(|(realised, promised)| *realised <= 2.0 * promised);
    goal("G11 realised false alarms", "at most twice 10, 1, 0.1", measured, reached);
    goals
}

/// Prints them.
pub fn print(_model: &Model, goals: &[Goal]) {
    println!("\ngoals, at 0.1 false alarms per 1,000 sender-days");
    for goal in goals {
        let verdict = if goal.reached { "reached" } else { "MISSED" };
        println!("{:<28} {:<40} {:<44} {verdict}", goal.name, goal.asks, goal.measured);
    }
}
