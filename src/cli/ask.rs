//! What the commands about a kept state share: where it lies, and how a running sensor is asked for something.
//!
//! *In*: `--state`, `-c`, an action. *Out*: the directory; the sensor's answer. *Bound*: [`ANSWER_WAIT`] is waited
//! for it. *Spec*: docs/operations.md, actions.

use super::failure::Failure;
use super::{read_config, state_directory};
use crate::config::Config;
use crate::store::actions::{Action, ActionRow, Control};
use crate::store::read::Reader;
use crate::store::{StoreError, in_use};
use crate::time::Timestamp;
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a running sensor may take to answer: it commits once a second.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How often is looked for the answer.
const ANSWER_POLL: Duration = Duration::from_millis(50);

/// Where the state lies, and in which form results are wanted.
#[derive(Args)]
pub struct StateArguments {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// State directory of the sensor
    #[arg(long, value_name = "DIR", global = true)]
    pub state: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

impl StateArguments {
    /// The configuration and the state's directory.
    pub fn place(&self) -> Result<(Config, PathBuf), Failure> {
        let config = read_config(self.config.as_deref())?;
        let directory = state_directory(self.state.as_ref(), &config);
        let directory = directory.ok_or_else(|| {
            Failure::usage("no state directory: name it with --state DIR, or the configuration with -c FILE")
        })?;
        Ok((config, directory))
    }

    /// A view of the state.
    pub fn reader(&self) -> Result<Reader, Failure> {
        Reader::open(&self.place()?.1).map_err(refused)
    }

    /// Prints a value as JSON where that is wanted, else the text.
    pub fn print<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if !self.json {
            return super::print(&text());
        }
        let json = serde_json::to_string_pretty(value).map_err(Failure::running)?;
        super::print(&format!("{json}\n"))
    }
}

/// Asks the sensor of a directory for something, and waits for the answer where one runs.
pub fn ask(directory: &Path, action: &Action, by: Option<&str>) -> Result<ActionRow, Failure> {
    let by = by.map(str::to_owned).unwrap_or_else(operator);
    let number = Control::open(directory)
        .and_then(|mut control| control.ask(action, &by, wall_clock()))
        .map_err(refused)?;
    let reader = Reader::open(directory).map_err(refused)?;
    let began = Instant::now();
    loop {
        let row = reader.action(number).map_err(refused)?;
        let row =
            row.ok_or_else(|| Failure::running("the request was not kept: look at the state's disk"))?;
        if row.obeyed_at.is_some() || began.elapsed() >= ANSWER_WAIT || !in_use(directory) {
            return Ok(row);
        }
        std::thread::sleep(ANSWER_POLL);
    }
}

/// What became of a request, for people.
pub fn answer(row: &ActionRow) -> String {
    match &row.outcome {
        Some(outcome) => format!("{}: {outcome}\n", row.number),
        None => format!("{}: noted; the sensor does it when it runs\n", row.number),
    }
}

/// A store's error as a command's: what was asked wrongly is wrong usage.
pub fn refused(error: StoreError) -> Failure {
    match error {
        StoreError::Refused(_) | StoreError::Missing { .. } | StoreError::Import(_) => Failure::usage(error),
        _ => Failure::running(error),
    }
}

/// Now.
pub fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A moment of event time for people.
pub fn moment(micros: i64) -> String {
    Timestamp::from_micros(micros).to_rfc3339()
}

/// Who sits at the terminal, as far as the environment says.
fn operator() -> String {
    let named = |name: &&str| std::env::var(name).ok().filter(|who| !who.is_empty());
    ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(named).unwrap_or_else(|| "operator".into())
}
