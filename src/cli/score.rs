//! `portreeve score`: holds alerts against the truth of a simulated world.

use super::failure::{Failure, Outcome};
use super::print;
use crate::alert::Alert;
use crate::simulate::score::score;
use crate::simulate::truth::Truth;
use clap::Args;
use std::path::{Path, PathBuf};

/// Compare alerts with the truth of a simulated world: delay, mail leaked, false alarms
#[derive(Args)]
pub struct Arguments {
    /// The world's truth.json
    truth: PathBuf,
    /// Alerts in the native form, one JSON object a line
    alerts: PathBuf,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    let truth = read_truth(&arguments.truth)?;
    let text = read(&arguments.alerts)?;
    let mut alerts = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let alert: Alert = serde_json::from_str(line).map_err(|error| {
            let place = format!("{}: line {}", arguments.alerts.display(), number + 1);
            Failure::usage(format!("{place}: {error}; `replay -f ndjson` writes what is read here"))
        })?;
        alerts.push(alert);
    }
    let score = score(&truth, &alerts);
    let text = if arguments.json {
        serde_json::to_string_pretty(&score).map_err(Failure::running)? + "\n"
    } else {
        score.to_text()
    };
    print(&text)?;
    Ok(0)
}

/// Reads a world's truth.
pub fn read_truth(path: &Path) -> Result<Truth, Failure> {
    serde_json::from_str(&read(path)?)
        .map_err(|error| Failure::usage(format!("{}: {error}; `simulate` writes it", path.display())))
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{}: {error}; check the path", path.display())))
}
