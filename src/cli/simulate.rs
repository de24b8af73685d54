//! `portreeve simulate`: writes a labelled world: logs, captures, configuration, truth.

use super::failure::{Failure, Outcome};
use super::shown;
use crate::simulate::{SCENARIOS, SimulateSettings, Summary, simulate};
use clap::Args;
use std::path::PathBuf;

/// Write a labelled world of mail: MTA logs, captures, truth. The same seed gives the same bytes
#[derive(Args)]
pub struct Arguments {
    /// Directory to write; it must be empty or not exist
    out: PathBuf,
    /// Which world
    #[arg(long, default_value = "company")]
    scenario: String,
    /// Seed of all randomness
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Length of the world, days; the scenario's own where not given
    #[arg(long)]
    days: Option<u32>,
    /// People with a mail account; the scenario's own where not given
    #[arg(long)]
    accounts: Option<u32>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    if !SCENARIOS.iter().any(|scenario| scenario.name == arguments.scenario) {
        let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        return Err(Failure::usage(format!(
            "--scenario {}: unknown; use {}",
            arguments.scenario,
            names.join(", ")
        )));
    }
    if std::fs::read_dir(&arguments.out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::usage(format!("{}: not empty; give a new directory", shown(&arguments.out))));
    }
    let settings = SimulateSettings {
        seed: arguments.seed,
        scenario: arguments.scenario.clone(),
        days: arguments.days,
        accounts: arguments.accounts,
    };
    let summary = simulate(&settings, &arguments.out).map_err(Failure::running)?;
    eprintln!("{}", says(&summary));
    Ok(0)
}

/// What was made, in one line.
pub fn says(summary: &Summary) -> String {
    format!(
        "{} log lines, {} frames ({} MB of captures), {} hijacks, {} benign bursts",
        summary.log_lines,
        summary.frames,
        summary.capture_bytes / 1_000_000,
        summary.truth.hijacks.len(),
        summary.truth.benign.len()
    )
}
