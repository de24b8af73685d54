//! `portreeve schema`: the JSON Schema of what comes out and of what may be configured.

use super::failure::{Failure, Outcome};
use super::print;
use clap::{Args, ValueEnum};

/// Print the JSON Schema of alerts or of the configuration
#[derive(Args)]
pub struct Arguments {
    /// Which
    of: Subject,
}

#[derive(Clone, Copy, ValueEnum)]
enum Subject {
    /// The native form of an alert
    Alert,
    /// The configuration file
    Config,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    let schema = match arguments.of {
        Subject::Alert => crate::alert::schema(),
        Subject::Config => schemars::schema_for!(crate::config::Config).into(),
    };
    let text = serde_json::to_string_pretty(&schema).map_err(Failure::running)?;
    print(&format!("{text}\n"))?;
    Ok(0)
}
