//! The evaluation: our judge and the ones to beat, side by side on the same histories and worlds.
//!
//! *In*: seeds. *Out*: tables on standard output, curves as SVG. *Bound*: what the arguments ask for.
//! *Spec*: docs/detection.md, evaluation. Nothing of the product uses this; it uses the product's own judge.

#![allow(clippy::unwrap_used)] // a tool for developers: it fails loudly

mod attacks;
mod bursts;
mod curves;
mod efficiency;
mod goals;
mod histories;
mod ours;
mod peers;
mod population;
mod random;
mod score;
mod tables;
mod worlds;

use clap::Parser;
use portreeve::engine::model::Model;
use std::path::PathBuf;

/// Holds the judge and the ones to beat to the same histories and worlds.
#[derive(Parser)]
struct Arguments {
    /// First seed; the others follow from it
    #[arg(long, default_value_t = 11)]
    seed: u64,
    /// Share of the reference population of 2,500 senders, for each of two sets of honest histories
    #[arg(long, default_value_t = 0.5)]
    share: f64,
    /// Attacks of each of seven kinds
    #[arg(long, default_value_t = 60)]
    attacks: usize,
    /// Whole simulated worlds
    #[arg(long, default_value_t = 4)]
    worlds: u64,
    /// Scenario of the worlds
    #[arg(long, default_value = "demo")]
    scenario: String,
    /// Where the curves go
    #[arg(long, default_value = "docs/evidence/judge-curves.svg")]
    svg: PathBuf,
}

fn main() {
    let arguments = Arguments::parse();
    let model: &'static Model = Box::leak(Box::new(Model::shipped().unwrap()));
    println!("peers, each by its published rule:");
    for peer in peers::PEERS {
        println!("  {:<24} {}", peer.name, peer.source);
    }
    let calibration = population::honest(model, arguments.seed, arguments.share);
    let fresh = population::honest(model, arguments.seed + 1_000, arguments.share);
    let attacked = population::attacked(model, arguments.seed + 2_000, arguments.attacks);
    println!(
        "\nhistories: {} honest sender-days to calibrate the peers, {} fresh ones, {} attacks; seed {}",
        calibration.days[0].len(),
        fresh.days[0].len(),
        attacked[0].len(),
        arguments.seed
    );
    tables::as_published(&fresh, &attacked);
    for budget in [1.0, 0.1] {
        tables::at_a_budget(&calibration, &fresh, &attacked, budget);
    }
    tables::second_tier(&fresh, &attacked);
    tables::bursts(&calibration, &fresh);
    tables::roles(model, &calibration, &fresh);
    goals::print(model, &goals::measure(model, &fresh, &attacked, arguments.seed, arguments.attacks));
    efficiency::print(model, arguments.seed + 4_000);
    curves::draw(&fresh, &attacked, &arguments.svg);
    println!("\ncurves: {}", arguments.svg.display());
    worlds::compare(model, &arguments.scenario, arguments.seed, arguments.worlds);
}
