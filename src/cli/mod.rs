//! The command line: one file a command.
//!
//! *In*: arguments. *Out*: results on standard output, diagnostics on standard error, an exit code
//! (0 done, 1 failed while running, 2 wrong usage or configuration, 3 alerts with `--exit-code`).

pub mod ask;
pub mod backup;
pub mod baseline;
pub mod check;
pub mod completions;
mod coverage;
pub mod dashboard;
pub mod demo;
pub mod failure;
mod false_alarms;
pub mod incidents;
pub mod inputs;
pub mod judge;
pub mod plan;
pub mod replay;
pub mod report;
pub mod roads;
mod running;
pub mod schema;
pub mod score;
pub mod senders;
pub mod simulate;
pub mod summary;
pub mod terminal;
pub mod watch;

use crate::config::Config;
use clap::{Parser, Subcommand};
use failure::{Failure, Outcome};
use std::path::{Path, PathBuf};

/// Watches outbound SMTP and MTA logs, learns what each sender normally does, and says when one was hijacked.
#[derive(Parser)]
#[command(name = "portreeve", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Replay(replay::Arguments),
    Watch(watch::Arguments),
    Senders(senders::Arguments),
    Incidents(incidents::Arguments),
    Plan(plan::Arguments),
    Baseline(baseline::Arguments),
    Backup(backup::Arguments),
    Dashboard(dashboard::Arguments),
    Check(check::Arguments),
    Simulate(simulate::Arguments),
    Score(score::Arguments),
    Schema(schema::Arguments),
    Completions(completions::Arguments),
}

/// The commands and their options, for manual pages and shell completions.
pub fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// Runs the program with the process's arguments; gives its exit code.
pub fn run() -> u8 {
    let arguments = Arguments::parse();
    let outcome: Outcome = match arguments.command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Watch(arguments) => watch::run(&arguments),
        Command::Senders(arguments) => senders::run(&arguments),
        Command::Incidents(arguments) => incidents::run(&arguments),
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Baseline(arguments) => baseline::run(&arguments),
        Command::Backup(arguments) => backup::run(&arguments),
        Command::Dashboard(arguments) => dashboard::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Score(arguments) => score::run(&arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Completions(arguments) => {
            completions::run(&arguments, <Arguments as clap::CommandFactory>::command())
        }
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            if !failure.text.is_empty() {
                eprintln!("portreeve: {}", failure.text);
            }
            failure.code
        }
    }
}

/// Reads the configuration, or the defaults where none is named.
fn read_config(path: Option<&Path>) -> Result<Config, Failure> {
    path.map_or_else(|| Ok(Config::default()), |path| Config::read(path).map_err(Failure::usage))
}

/// Writes to standard output; whoever closed it has read enough.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    std::io::stdout()
        .write_all(text.as_bytes())
        .and_then(|()| std::io::stdout().flush())
        .map_err(|error| Failure::output("standard output", &error))
}

/// A path argument for people.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// State directory: the argument, else the configuration.
fn state_directory(argument: Option<&PathBuf>, config: &Config) -> Option<PathBuf> {
    argument.cloned().or_else(|| config.state.directory.clone())
}
