//! `portreeve incidents`: what was found, one incident with its history, and what people say about it.
//!
//! *In*: a state directory. *Out*: a table, or JSON. *Bound*: a page. *Spec*: docs/operations.md.

use super::ask::{StateArguments, answer, ask, refused};
use super::failure::{Failure, Outcome};
use super::summary::grouped;
use super::terminal::{Paint, columns, minute, reasons};
use crate::store::actions::Action;
use crate::store::read::{
    IncidentFilter, IncidentStory, IncidentSummary, Listed, Page, RecipientRow, Review,
};
use clap::{Args, Subcommand};

/// List what was found, show one incident, say what it was
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    state: StateArguments,
    /// Only incidents that are open
    #[arg(long)]
    open: bool,
    /// Only incidents that nobody reviewed yet
    #[arg(long)]
    unreviewed: bool,
    /// Only incidents that score at least this, 0 to 100
    #[arg(long, value_name = "SCORE")]
    score_min: Option<u8>,
    /// Only incidents whose sender's name contains this
    #[arg(long, value_name = "TEXT")]
    sender: Option<String>,
    /// Incidents to skip
    #[arg(long, default_value_t = 0)]
    offset: u32,
    /// Incidents to list
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

#[derive(Subcommand)]
enum Command {
    /// Show one incident with its evidence and history
    Show {
        /// Its id
        id: String,
    },
    /// List who got its mail, where `[privacy] recipients` is switched on
    Recipients {
        /// Its id
        id: String,
    },
    /// Say that it was a hijack
    Confirm(Word),
    /// Say that it was a false alarm: the sensor learns from it
    Dismiss(Word),
}

#[derive(Args)]
struct Word {
    /// Its id
    id: String,
    /// Why
    #[arg(long, default_value = "")]
    reason: String,
    /// Who says so; by default the user
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    match &arguments.command {
        None => list(arguments)?,
        Some(Command::Show { id }) => {
            let story = arguments.state.reader()?.incident(id).map_err(refused)?;
            let story = story.ok_or_else(|| {
                Failure::usage(format!("incident {id:?} is not known: see `portreeve incidents`"))
            })?;
            arguments.state.print(&story, || told(&story))?;
        }
        Some(Command::Recipients { id }) => recipients(arguments, id)?,
        Some(Command::Confirm(word)) => {
            let (incident, reason) = (word.id.clone(), word.reason.clone());
            say(arguments, Action::Confirm { incident, reason }, word)?;
        }
        Some(Command::Dismiss(word)) => {
            let (incident, reason) = (word.id.clone(), word.reason.clone());
            say(arguments, Action::Dismiss { incident, reason }, word)?;
        }
    }
    Ok(0)
}

/// One recipient a line, parted by tabs: when, whether its server took the message, its answer, who.
fn recipients(arguments: &Arguments, id: &str) -> Result<(), Failure> {
    let rows = arguments.state.reader()?.recipients(id).map_err(refused)?;
    if rows.is_empty() {
        return Err(Failure::usage(format!(
            "no recipients of incident {id:?} are kept: they are only where `[privacy] recipients = true`"
        )));
    }
    arguments.state.print(&rows, || rows.iter().map(line).collect())
}

fn line(row: &RecipientRow) -> String {
    let accepted = match row.accepted {
        Some(true) => "accepted",
        Some(false) => "refused",
        None => "not seen",
    };
    let code = row.reply_code.map_or("-".into(), |code| code.to_string());
    format!("{}\t{accepted}\t{code}\t{}\n", row.at, row.recipient)
}

fn say(arguments: &Arguments, action: Action, word: &Word) -> Result<(), Failure> {
    let row = ask(&arguments.state.place()?.1, &action, word.by.as_deref())?;
    arguments.state.print(&row, || answer(&row))
}

fn list(arguments: &Arguments) -> Result<(), Failure> {
    let filter = IncidentFilter {
        open: arguments.open.then_some(true),
        score_min: arguments.score_min,
        sender: arguments.sender.clone(),
        reviewed: arguments.unreviewed.then_some(false),
        ..IncidentFilter::default()
    };
    let page = Page { offset: arguments.offset, limit: arguments.limit };
    let listed = arguments.state.reader()?.incidents(&filter, page).map_err(refused)?;
    arguments.state.print(&listed, || table(&listed))
}

fn table(listed: &Listed<IncidentSummary>) -> String {
    let paint = Paint::stdout();
    let heads = ["ID", "SEVERITY", "STATE", "REVIEW", "OPENED (UTC)", "MESSAGES", "GOT IT", "SENDER"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for row in &listed.rows {
        rows.push(vec![
            row.id.clone(),
            row.severity.clone(),
            if row.last_change == "closed" { "closed" } else { "open" }.into(),
            review_name(row.review).into(),
            minute(&row.opened_at),
            grouped(row.messages),
            grouped(row.recipients_accepted),
            row.sender_name.clone(),
        ]);
    }
    let mut lines = columns(&rows, &[5, 6]).into_iter();
    let mut out = lines.next().map(|heads| paint.soft(&heads) + "\n").unwrap_or_default();
    for (line, row) in lines.zip(&listed.rows) {
        let headline =
            row.headline.strip_prefix(&row.sender_name).map_or(row.headline.as_str(), str::trim_start);
        out += &format!("{}\n{:16}  {}\n", paint.severity(&row.severity, &line), "", paint.soft(headline));
    }
    out + &paint.soft(&format!("{} of {} incidents\n", listed.rows.len(), listed.total))
}

fn review_name(review: Option<Review>) -> &'static str {
    match review {
        Some(Review::Confirmed) => "confirmed",
        Some(Review::Dismissed) => "dismissed",
        None => "-",
    }
}

fn told(story: &IncidentStory) -> String {
    let IncidentSummary { id, sender_kind, sender_name, role, severity, confidence, .. } = &story.summary;
    let mut out = format!("Incident {id}: {sender_kind} {sender_name} ({role})\n");
    out += &format!(
        "severity {severity}, confidence {confidence:.2}, opened {}, review: {}\n",
        story.summary.opened_at,
        review_name(story.summary.review)
    );
    if let Some(alert) = story.alerts.last() {
        out += &format!("\n{}\n\nEvidence:\n", alert.headline);
        reasons(alert, Paint::stdout()).iter().for_each(|reason| out += &format!("  {reason}\n"));
        let told = alert.evidence.iter().filter(|evidence| evidence.weight_nats.is_none());
        told.for_each(|evidence| out += &format!("  {}\n", evidence.sentence));
        let lines = crate::alert::text::trail(alert);
        if !lines.is_empty() {
            out += "\nWhat is known of it:\n";
            lines.iter().for_each(|line| out += &format!("  {line}\n"));
        }
        out += "\nNext steps:\n";
        alert.next_steps.iter().for_each(|step| out += &format!("  - {step}\n"));
        if !alert.before_unblocking.is_empty() {
            out += "\nBefore unblocking:\n";
            alert.before_unblocking.iter().for_each(|line| out += &format!("  - {line}\n"));
        }
    }
    out += "\nHistory:\n";
    for alert in &story.alerts {
        let change = crate::alert::change_name(alert);
        out += &format!("  {}  {change:8}  {}\n", alert.times.event, alert.headline);
    }
    for review in &story.reviews {
        let (at, by) = (super::ask::moment(review.at), crate::mail::Untrusted::from(review.by.as_str()));
        let (Action::Confirm { reason, .. } | Action::Dismiss { reason, .. }) = &review.action else {
            continue;
        };
        let reason = crate::mail::Untrusted::from(reason.as_str()).escaped();
        let word = review_name(Review::of(&review.action));
        out += &format!("  {at}  {word} by {}: {reason}\n", by.escaped());
    }
    out
}
