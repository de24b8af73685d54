//! `portreeve plan`: bulk mailings announced in advance, so that they are not taken for hijacks.
//!
//! *In*: a state directory, a mailing. *Out*: a request to the sensor; the list. *Bound*: the engine's.
//! *Spec*: docs/operations.md.

use super::ask::{StateArguments, answer, ask, moment, refused, wall_clock};
use super::failure::{Failure, Outcome};
use crate::store::actions::Action;
use crate::store::read::{MailingState, PlannedMailing};
use crate::time::Timestamp;
use clap::{Args, Subcommand};

/// Announce bulk mailings, list them, take them back
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    state: StateArguments,
}

#[derive(Subcommand)]
enum Command {
    /// Announce a mailing
    Add {
        /// Who will send it: an address, a prefix, an account, or host:NAME
        sender: String,
        /// From when on, as in 2026-12-01T08:00:00Z; by default now
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Until when, as in 2026-12-01T12:00:00Z
        #[arg(long, value_name = "TIME")]
        until: String,
        /// Most recipients
        #[arg(long, value_name = "COUNT")]
        recipients_max: u64,
        /// What for
        #[arg(long, default_value = "")]
        reason: String,
        /// Who announces it; by default the user
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
    /// List what was announced
    List,
    /// Take an announcement back
    Cancel {
        /// Its number
        number: i64,
        /// Who takes it back; by default the user
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    let (action, by) = match &arguments.command {
        Command::List => {
            let now = wall_clock().as_micros();
            let planned = arguments.state.reader()?.planned(now).map_err(refused)?;
            arguments.state.print(&planned, || table(&planned))?;
            return Ok(0);
        }
        Command::Cancel { number, by } => (Action::Cancel { mailing: *number }, by),
        Command::Add { sender, from, until, recipients_max, reason, by } => {
            let from = from.as_deref().map_or_else(|| Ok(wall_clock()), time)?;
            let announce = Action::Announce {
                sender: sender.clone(),
                from: from.as_micros(),
                until: time(until)?.as_micros(),
                recipients_max: *recipients_max,
                reason: reason.clone(),
            };
            (announce, by)
        }
    };
    let row = ask(&arguments.state.place()?.1, &action, by.as_deref())?;
    arguments.state.print(&row, || answer(&row))?;
    Ok(0)
}

fn time(text: &str) -> Result<Timestamp, Failure> {
    Timestamp::parse_rfc3339(text)
        .ok_or_else(|| Failure::usage(format!("{text:?} is no time: write it like 2026-12-01T08:00:00Z")))
}

fn table(planned: &[PlannedMailing]) -> String {
    let mut out = format!(
        "{:>6}  {:9}  {:27}  {:27}  {:>10}  SENDER\n",
        "NUMBER", "STATE", "FROM", "UNTIL", "RECIPIENTS"
    );
    for mailing in planned {
        let PlannedMailing { number, recipients_max, .. } = mailing;
        let (from, until) = (moment(mailing.from), moment(mailing.until));
        let sender = crate::mail::Untrusted::from(mailing.sender.as_str()).escaped();
        let state = state_name(mailing.state);
        out += &format!("{number:>6}  {state:9}  {from:27}  {until:27}  {recipients_max:>10}  {sender}\n");
    }
    out
}

fn state_name(state: MailingState) -> &'static str {
    match state {
        MailingState::Waiting => "waiting",
        MailingState::Announced => "announced",
        MailingState::Underway => "underway",
        MailingState::Over => "over",
        MailingState::Cancelled => "cancelled",
    }
}
