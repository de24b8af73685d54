//! `portreeve watch`: span ports and logs, live, until a signal ends it.
//!
//! *In*: interfaces and logs from the configuration or the command line. *Out*: alerts in the sinks. *Bound*:
//! the channel between sources and judge; a capture whose batch finds no room drops it and counts, a log waits,
//! since a file can be read later. *Spec*: docs/operations.md.
//!
//! ```text
//!  capture.rs (threads), lanes.rs ─┐                        ┌─▶ sinks (a thread each, from the outbox)
//!  logs.rs (one thread) ───────────┼─ batches ─▶ service.rs ┼─▶ state, once a second
//!                                  └─ board ───▶ beat.rs ───┴─▶ health, metrics, systemd
//! ```
//!
//! Interfaces and sockets are opened first; then all rights are given up ([`crate::sandbox`]); then the first
//! hostile byte is read.

mod beat;
mod board;
mod capture;
mod lanes;
mod log_input;
mod logs;
mod pages;
mod plan;
mod service;
mod signals;
mod sources;

use super::failure::Outcome;
use crate::cli::judge::wall_clock;
use crate::mta::Note;
use crate::observation::Observation;
use clap::Args;
use std::path::PathBuf;

/// Observations that a source gathers before it hands them over.
const BATCH: usize = 256;

/// Watch span ports and logs, live
#[derive(Args)]
pub struct Arguments {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// An interface to watch, beside those of the configuration
    #[arg(short, long, value_name = "NAME")]
    interface: Vec<String>,
    /// A log to follow, beside those of the configuration
    #[arg(short, long, value_name = "FILE")]
    log: Vec<PathBuf>,
    /// Directory to keep state in
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Form of the alerts on standard output, where the configuration names no sink
    #[arg(short, long, default_value = "ndjson")]
    format: String,
    /// Read logs that were never followed before from their beginning instead of their end
    #[arg(long)]
    from_start: bool,
}

/// What a source hands over: what it saw, and where that brought it.
#[derive(Default)]
struct Batch {
    observations: Vec<Observation>,
    positions: Vec<(String, String)>,
    /// What else must be kept with the positions.
    notes: Vec<Note>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    service::run(arguments)
}
