//! Senders as a list: search, sort, a curve for each.
//!
//! *In*: a filter out of the address. *Out*: a page of rows. *Bound*: `limits::WEB_ROWS_MAX` rows.

use super::incidents::{bounded, pages};
use super::page::{self, count};
use super::reading::Trouble;
use super::{Dashboard, Viewer, chart};
use crate::limits;
use crate::store::read::{Page, SenderFilter, SenderOrder, SenderSummary};
use crate::time::Timestamp;
use axum::extract::{Query, State};
use maud::{Markup, html};
use serde::Deserialize;
use std::sync::Arc;

/// Hours of a row's curve: one week.
const SPARK_HOURS: usize = 7 * 24;
/// Hours that one bar of it stands for.
const SPARK_STEP: usize = 4;

/// Kinds of senders, for the filter.
const KINDS: &[(&str, &str)] = &[
    ("", "all kinds"),
    ("account", "accounts"),
    ("address", "addresses"),
    ("block", "blocks"),
    ("host", "mail servers by name"),
];

/// Columns that sort: name of the order, heading.
const ORDERS: &[(&str, &str)] = &[
    ("name", "Sender"),
    ("evidence", "Suspicion"),
    ("usual", "Usual a day"),
    ("messages", "Messages"),
    ("last", "Last mail"),
];

/// What the address says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    /// Text in the name.
    pub q: String,
    /// Kind of sender.
    pub kind: String,
    /// Name of an order.
    pub sort: String,
    /// Page, from 0.
    pub page: u32,
}

impl Wanted {
    /// As the state wants it.
    pub fn filter(&self) -> SenderFilter {
        let known = KINDS.iter().any(|(kind, _)| *kind == self.kind && !kind.is_empty());
        SenderFilter {
            name: Some(bounded(self.q.trim()).to_owned()).filter(|text| !text.is_empty()),
            kind: known.then(|| self.kind.clone()),
            ..SenderFilter::default()
        }
    }

    /// In which order.
    pub fn order(&self) -> SenderOrder {
        SenderOrder::NAMES
            .iter()
            .find(|(name, _)| *name == self.sort)
            .map_or(SenderOrder::Evidence, |(_, order)| *order)
    }

    /// Rows of this page.
    pub fn rows(&self) -> Page {
        let limit = limits::WEB_ROWS_MAX as u32;
        Page { offset: self.page.saturating_mul(limit), limit }
    }

    fn path(&self, sort: &str, number: u32) -> String {
        format!(
            "/senders?q={}&kind={}&sort={sort}&page={number}",
            page::encoded(&self.q),
            page::encoded(&self.kind)
        )
    }
}

/// `GET /senders`.
pub async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Query(wanted): Query<Wanted>,
) -> Result<Markup, Trouble> {
    let asked = wanted.clone();
    let listed = dashboard
        .reading
        .ask(move |reader| reader.senders(&asked.filter(), asked.order(), asked.rows()))
        .await?;
    let sort = if wanted.sort.is_empty() { "evidence" } else { wanted.sort.as_str() };
    let content = html! {
        h1 { "Senders" }
        p.lead { "Every address, account and block that sent mail, and what is usual for it. What the wire shows and what logs tell are learned apart, so a sender may have a row for each. Suspicion is the weight of what speaks for a hijack now; from about 7 on there is an alarm." }
        form.line method="get" action="/senders" role="search" {
            label { "Search" input type="search" name="q" value=(wanted.q) placeholder="address, account or network"; }
            label { "Kind" select name="kind" {
                @for (value, name) in KINDS { option value=(value) selected[*value == wanted.kind] { (name) } }
            } }
            input type="hidden" name="sort" value=(sort);
            button { "Show" }
        }
        @if listed.rows.is_empty() {
            section.card.quiet { h2 { "None." } p { "No sender is of this kind." } }
        } @else {
            p.soft.small { (count(listed.total, "row", "rows")) }
            section.card { div.scroll { table {
                thead { tr {
                    @for (order, heading) in ORDERS {
                        th.number[*order != "name"] aria-sort=[(*order == sort).then_some(if *order == "name" { "ascending" } else { "descending" })] {
                            a href=(wanted.path(order, 0)) { (heading) @if *order == sort { @if *order == "name" { " ↑" } @else { " ↓" } } }
                        }
                    }
                    th.curve { "Its last week" }
                } }
                tbody { @for row in &listed.rows { (one(row)) } }
            } } }
            (pages(wanted.page, listed.total, |number| wanted.path(sort, number)))
        }
    };
    Ok(dashboard.page(&viewer, "Senders", "/senders", &content))
}

fn one(row: &SenderSummary) -> Markup {
    html! {
        tr {
            td.name {
                (page::sender(&row.kind, &row.name))
                div.small.soft { (page::kind_word(&row.kind)) @if row.kind != "block" { " · " (page::role_word(&row.role)) } " · " (if row.vantage == "wire" { "wire" } else { "log" }) }
            }
            td.number { (suspicion(row.evidence_nats)) }
            td.number { (page::quantity(row.usual_per_day)) }
            td.number { (page::number(row.messages)) }
            td.number { (page::time(Timestamp::from_micros(row.last_at))) }
            td.curve { (chart::spark(&recent(&row.hours.messages))) }
        }
    }
}

/// Evidence for a hijack in words of weight; nothing where nothing speaks for one.
pub fn suspicion(nats: f64) -> Markup {
    html! {
        @match nats {
            n if n >= 6.0 => span.high title=(format!("{n:.1} nats")) { (format!("{n:.0}")) },
            n if n >= 2.0 => span.medium title=(format!("{n:.1} nats")) { (format!("{n:.0}")) },
            _ => span.soft { "–" },
        }
    }
}

/// The last week, some hours to a bar.
fn recent(hours: &[u32]) -> Vec<f64> {
    let hours = &hours[hours.len().saturating_sub(SPARK_HOURS)..];
    let mut padded = vec![0u64; SPARK_HOURS - hours.len()];
    padded.extend(hours.iter().map(|messages| u64::from(*messages)));
    padded.chunks(SPARK_STEP).map(|chunk| chunk.iter().sum::<u64>() as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_ends_with_the_last_hour() {
        let curve = recent(&[9, 1, 2]);
        assert_eq!(curve.len(), SPARK_HOURS / SPARK_STEP);
        assert_eq!(curve.last(), Some(&12.0));
        assert_eq!(recent(&vec![1; 1_000]).iter().sum::<f64>(), SPARK_HOURS as f64);
    }

    #[test]
    fn what_the_address_says_is_bounded_and_known() {
        let wanted = Wanted {
            q: "x".repeat(9_999),
            kind: "nonsense".into(),
            sort: "drop table".into(),
            page: u32::MAX,
        };
        assert!(wanted.filter().name.unwrap().len() <= limits::WEB_SEARCH_BYTES_MAX);
        assert_eq!((wanted.filter().kind, wanted.order()), (None, SenderOrder::Evidence));
        assert_eq!(wanted.rows().offset, u32::MAX);
    }
}
