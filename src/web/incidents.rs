//! Incidents as a list: for the first page, for a sender, and all of them with a filter.
//!
//! *In*: a filter out of the address. *Out*: a page of rows. *Bound*: `limits::WEB_ROWS_MAX` rows.

use super::page::{self, count};
use super::reading::Trouble;
use super::{Dashboard, Viewer};
use crate::limits;
use crate::store::read::{IncidentFilter, IncidentSummary, Page, Review};
use crate::time::Timestamp;
use axum::extract::{Query, State};
use maud::{Markup, html};
use serde::Deserialize;
use std::sync::Arc;

/// What the address says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    /// `open`, `closed`, `unreviewed`; all otherwise.
    pub state: String,
    /// Least severity by name.
    pub severity: String,
    /// Text in the sender's name.
    pub sender: String,
    /// Page, from 0.
    pub page: u32,
}

/// Names of severities and their least scores.
const SEVERITIES: &[(&str, u8)] = &[("low", 1), ("medium", 47), ("high", 73), ("critical", 99)];

impl Wanted {
    /// As the state wants it.
    pub fn filter(&self) -> IncidentFilter {
        let least = SEVERITIES.iter().find(|(name, _)| *name == self.severity).map(|(_, score)| *score);
        IncidentFilter {
            open: match self.state.as_str() {
                "open" => Some(true),
                "closed" => Some(false),
                _ => None,
            },
            reviewed: (self.state == "unreviewed").then_some(false),
            score_min: least,
            sender: Some(bounded(&self.sender).to_owned()).filter(|text| !text.is_empty()),
            ..IncidentFilter::default()
        }
    }

    /// Rows of this page.
    pub fn rows(&self) -> Page {
        let limit = limits::WEB_ROWS_MAX as u32;
        Page { offset: self.page.saturating_mul(limit), limit }
    }

    fn at_page(&self, number: u32) -> String {
        format!(
            "/incidents?state={}&severity={}&sender={}&page={number}",
            page::encoded(&self.state),
            page::encoded(&self.severity),
            page::encoded(&self.sender)
        )
    }
}

/// A search text, cut to what is searched for.
pub fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(limits::WEB_SEARCH_BYTES_MAX)]
}

/// `GET /incidents`.
pub async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Query(wanted): Query<Wanted>,
) -> Result<Markup, Trouble> {
    let asked = wanted.clone();
    let (listed, newest) = dashboard
        .reading
        .ask(move |reader| Ok((reader.incidents(&asked.filter(), asked.rows())?, reader.newest()?)))
        .await?;
    let newest = newest.map(Timestamp::from_micros);
    let content = html! {
        h1 { "Incidents" }
        p.lead { "What behaved like somebody else. The one that changed last comes first." }
        form.line method="get" action="/incidents" role="search" {
            label { "State" select name="state" {
                @for (value, name) in [("", "all"), ("open", "open"), ("closed", "closed"), ("unreviewed", "not yet reviewed")] {
                    option value=(value) selected[value == wanted.state] { (name) }
                }
            } }
            label { "At least" select name="severity" {
                option value="" { "any severity" }
                @for (name, _) in SEVERITIES.iter().skip(1) { option value=(name) selected[*name == wanted.severity] { (name) } }
            } }
            label { "Sender" input type="search" name="sender" value=(wanted.sender) placeholder="address or account"; }
            button { "Show" }
        }
        @if listed.rows.is_empty() {
            section.card.quiet { h2 { "None." } p { "No incident is of this kind." } }
        } @else {
            p.soft.small { (count(listed.total, "incident", "incidents")) }
            (list(&listed.rows, newest))
            (pages(wanted.page, listed.total, |number| wanted.at_page(number)))
        }
    };
    Ok(dashboard.page(&viewer, "Incidents", "/incidents", &content))
}

/// Links to the page before and after.
pub fn pages(number: u32, total: u64, path: impl Fn(u32) -> String) -> Markup {
    let last = total.saturating_sub(1) / limits::WEB_ROWS_MAX as u64;
    html! {
        @if last > 0 {
            div.pages {
                @if number > 0 { a href=(path(number - 1)) rel="prev" { "← before" } }
                span.soft { "page " (number + 1) " of " (last + 1) }
                @if u64::from(number) < last { a href=(path(number.saturating_add(1))) rel="next" { "after →" } }
            }
        }
    }
}

/// Rows of incidents.
pub fn list(rows: &[IncidentSummary], newest: Option<Timestamp>) -> Markup {
    html! {
        ul.incidents {
            @for row in rows {
                li class=(format!("{}-edge", edge(&row.severity))) {
                    p.title {
                        a href=(format!("/incident/{}", page::encoded(&row.id))) { bdi { (row.sender_name) } }
                        (page::severity(&row.severity))
                        (state(row))
                    }
                    p.says { (without_name(&row.headline, &row.sender_name)) }
                    p.meta {
                        span { (what(&row.kind)) }
                        @if let Some(opened) = Timestamp::parse_rfc3339(&row.opened_at) {
                            span { "opened " (page::time(opened)) @if let Some(ago) = ago(opened, newest) { " (" (ago) ")" } }
                        }
                        span { (count(row.recipients_accepted, "recipient", "recipients")) " got mail" }
                        span { (page::percent(row.confidence)) " sure" }
                    }
                }
            }
        }
    }
}

fn edge(severity: &str) -> &str {
    match severity {
        "critical" | "high" | "medium" => severity,
        _ => "low",
    }
}

/// The headline begins with the sender's name, which stands above it already.
pub fn without_name(headline: &str, name: &str) -> String {
    let text = match headline.strip_prefix(name).map(str::trim_start) {
        Some(rest) if !rest.is_empty() => {
            let mut letters = rest.chars();
            let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
            first + letters.as_str()
        }
        _ => headline.to_owned(),
    };
    // A number and its sign are not parted by a line's end.
    text.replace(" %", "\u{a0}%")
}

fn ago(at: Timestamp, newest: Option<Timestamp>) -> Option<String> {
    let seconds = newest?.seconds_since(at);
    match seconds {
        s if s < 0.0 => None,
        s if s < 60.0 => Some("just now".into()),
        s => Some(format!("{} ago", page::span(s))),
    }
}

/// What was hijacked, in words.
pub fn what(kind: &str) -> &'static str {
    match kind {
        "account" => "account taken over",
        "host" => "machine abused",
        "block" => "address block abused",
        "relay" => "something behind a mail server",
        "unexplained_volume" => "more mail than usual, unexplained",
        _ => "not yet clear what",
    }
}

/// Open or closed, and what an operator said.
pub fn state(row: &IncidentSummary) -> Markup {
    html! {
        @if row.last_change == "closed" { span.state { "closed" } } @else { span.state.open { "open" } }
        @match row.review {
            Some(Review::Confirmed) => span.state { "confirmed" },
            Some(Review::Dismissed) => span.state { "false alarm" },
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headline_does_not_say_the_name_twice() {
        assert_eq!(without_name("a@b sent 3 messages", "a@b"), "Sent 3 messages");
        assert_eq!(without_name("other text", "a@b"), "other text");
        assert_eq!(without_name("a@b", "a@b"), "a@b");
    }

    #[test]
    fn a_search_text_is_cut_between_characters() {
        let long = "ü".repeat(1_000);
        assert!(bounded(&long).len() <= limits::WEB_SEARCH_BYTES_MAX && bounded(&long).ends_with('ü'));
    }
}
