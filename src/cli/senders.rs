//! `portreeve senders`: what was learned, as a list, and one sender whole.
//!
//! *In*: a state directory. *Out*: a table with a curve of the last day, or JSON. *Bound*: a page. *Spec*:
//! docs/operations.md.

use super::ask::{StateArguments, moment, refused};
use super::failure::{Failure, Outcome};
use super::summary::grouped;
use super::terminal::{Paint, bar, columns, minute, sparkline};
use crate::store::domains::DomainShare;
use crate::store::read::{Listed, Page, SenderFilter, SenderOrder, SenderProfile, SenderSummary};
use crate::store::transfer::sender_named;
use clap::{Args, Subcommand};

/// Hours of the curve in the list.
const CURVE_HOURS: usize = 24;
/// Domains of one sender's recipients.
const DOMAINS_SHOWN: usize = 10;

/// List the senders that are known, or show what was learned about one
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    state: StateArguments,
    /// Only senders whose name contains this
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Only senders of this kind: address, account, block or host
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Order: last, name, messages, usual or evidence
    #[arg(long, default_value = "last")]
    sort: String,
    /// Senders to skip
    #[arg(long, default_value_t = 0)]
    offset: u32,
    /// Senders to list
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

#[derive(Subcommand)]
enum Command {
    /// Show what was learned about one sender
    Show {
        /// An address, a prefix, an account, or host:NAME
        sender: String,
    },
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    if let Some(Command::Show { sender }) = &arguments.command {
        let profiles = arguments.state.reader()?.sender(&sender_named(sender)).map_err(refused)?;
        if profiles.is_empty() {
            return Err(Failure::usage(format!("sender {sender:?} is not known: see `portreeve senders`")));
        }
        arguments.state.print(&profiles, || profiles.iter().map(told).collect())?;
        return Ok(0);
    }
    let order = SenderOrder::NAMES.iter().find(|(name, _)| *name == arguments.sort);
    let Some((_, order)) = order else {
        let names: Vec<&str> = SenderOrder::NAMES.iter().map(|(name, _)| *name).collect();
        return Err(Failure::usage(format!("--sort {}: unknown; use {}", arguments.sort, names.join(", "))));
    };
    let filter = SenderFilter {
        name: arguments.search.clone(),
        kind: arguments.kind.clone(),
        ..SenderFilter::default()
    };
    let page = Page { offset: arguments.offset, limit: arguments.limit };
    let listed = arguments.state.reader()?.senders(&filter, *order, page).map_err(refused)?;
    arguments.state.print(&listed, || table(&listed))?;
    Ok(0)
}

fn table(listed: &Listed<SenderSummary>) -> String {
    let heads =
        ["SENDER", "KIND", "ROLE", "ROAD", "MESSAGES", "USUAL/DAY", "EVIDENCE", "LAST (UTC)", "LAST DAY"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for row in &listed.rows {
        let hours = &row.hours.messages;
        let curve = sparkline(hours[hours.len().saturating_sub(CURVE_HOURS)..].iter().map(|n| f64::from(*n)));
        rows.push(vec![
            row.name.clone(),
            row.kind.clone(),
            row.role.replace('_', " "),
            row.vantage.clone(),
            grouped(row.messages),
            format!("{:.1}", row.usual_per_day),
            format!("{:.1}", row.evidence_nats),
            minute(&moment(row.last_at)),
            curve,
        ]);
    }
    let paint = Paint::stdout();
    let lines = columns(&rows, &[4, 5, 6]);
    let mut out = String::new();
    for (place, line) in lines.iter().enumerate() {
        let evidence =
            place.checked_sub(1).and_then(|place| listed.rows.get(place)).map(|row| row.evidence_nats);
        out += &match evidence {
            None => paint.soft(line),
            Some(nats) if nats >= 6.0 => paint.severity("high", line),
            Some(_) => line.clone(),
        };
        out.push('\n');
    }
    out + &paint.soft(&format!("{} of {} senders\n", listed.rows.len(), listed.total))
}

fn told(profile: &SenderProfile) -> String {
    let SenderSummary { vantage, kind, name, role, messages, usual_per_day, .. } = &profile.summary;
    let marks = &profile.marks;
    let mut out = format!("{kind} {name} ({role}), as seen from the {vantage} road\n");
    out += &format!(
        "{messages} messages from {} to {}; usually {usual_per_day:.1} a day\n",
        moment(profile.summary.first_at),
        moment(profile.summary.last_at)
    );
    if let Some(learned) = &profile.learned_role {
        out += &format!(
            "role learned, since {}; before it was taken for {}\n",
            moment(learned.since),
            learned.before.replace('_', " ")
        );
    }
    out += &format!(
        "in its last hour: {:.0} messages; expected {:.1}, normal up to {:.0}\n",
        profile.messages_now, profile.expected_now, profile.usual_max_now
    );
    for (name, weekend) in [("weekday", false), ("weekend", true)] {
        let rates: Vec<f64> =
            profile.week.iter().filter(|rate| rate.weekend == weekend).map(|rate| rate.messages).collect();
        let most = rates.iter().copied().fold(0.0, f64::max);
        out += &format!("{name}  {}  up to {most:.1} messages an hour\n", sparkline(rates.into_iter()));
    }
    for (mark, probability) in [
        ("recipient never written to before", marks.new_recipient),
        ("accepted", marks.accepted),
        ("no such recipient", marks.no_such_recipient),
        ("refused by policy", marks.refused_by_policy),
        ("deferred", marks.deferred),
        ("reverse-path of its own", marks.own_reverse_path),
        ("reverse-path of another domain", marks.unknown_reverse_path),
        ("null reverse-path", marks.null_reverse_path),
        ("machine never seen before", marks.foreign_machine),
    ] {
        out += &format!("  {}  {:5.1} %  {mark}\n", bar(probability, 10), 100.0 * probability);
    }
    if !profile.recipient_domains.is_empty() {
        out += "writes to\n";
    }
    for DomainShare { domain, share } in profile.recipient_domains.iter().take(DOMAINS_SHOWN) {
        let domain = crate::mail::Untrusted::from(domain.as_str()).escaped();
        out += &format!("  {}  {:5.1} %  {domain}\n", bar(*share, 10), 100.0 * share);
    }
    if profile.under_suspicion {
        out += &format!("evidence for a hijack now: {:.1} nats\n", profile.summary.evidence_nats);
    }
    out
}
