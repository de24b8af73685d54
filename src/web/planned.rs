//! Planned mailings: a bulk mailing announced in advance is no alarm, within its bound and until its end.
//!
//! *In*: the state. *Out*: a page with a form. *Bound*: the state's list.

use super::page;
use super::reading::{Trouble, wall_clock};
use super::{Dashboard, Viewer};
use crate::store::read::{MailingState, PlannedMailing};
use crate::time::Timestamp;
use axum::extract::State;
use maud::{Markup, html};
use std::sync::Arc;

/// `GET /planned`.
pub async fn show(State(dashboard): State<Arc<Dashboard>>, viewer: Viewer) -> Result<Markup, Trouble> {
    let watched = dashboard.about.watched;
    let list = dashboard
        .reading
        .ask(move |reader| {
            let now = if watched { Some(wall_clock().as_micros()) } else { reader.newest()? };
            reader.planned(now.unwrap_or(0))
        })
        .await?;
    let content = html! {
        h1 { "Planned mailings" }
        p.lead { "Announce a large mailing before it leaves. Up to its number of recipients and until its end, it is not taken for a hijack; everything else is judged as always." }
        @if !dashboard.settings.read_only { (form(&viewer)) }
        @if list.is_empty() {
            section.card.quiet { h2 { "Nothing is planned." } p { "That is how most days are." } }
        } @else {
            section.card { div.scroll { table {
                thead { tr { th { "Sender" } th { "From" } th { "Until" } th.number { "Recipients" } th { "What for" } th { "State" } th {} } }
                tbody { @for mailing in &list { (one(mailing, &viewer, dashboard.settings.read_only)) } }
            } } }
        }
    };
    Ok(dashboard.page(&viewer, "Planned mailings", "/planned", &content))
}

fn one(mailing: &PlannedMailing, viewer: &Viewer, read_only: bool) -> Markup {
    let ended = matches!(mailing.state, MailingState::Over | MailingState::Cancelled);
    html! {
        tr {
            td.name { bdi { (mailing.sender) } @if let Some(outcome) = &mailing.outcome { div.small.soft { (outcome) } } }
            td.nowrap { (page::time(Timestamp::from_micros(mailing.from))) }
            td.nowrap { (page::time(Timestamp::from_micros(mailing.until))) }
            td.number { (page::number(mailing.recipients_max)) }
            td { (mailing.reason) div.small.soft { "by " (mailing.by) } }
            td { span.state.good[mailing.state == MailingState::Underway] { (word(mailing.state)) } }
            td {
                @if !ended && !read_only {
                    form method="post" action=(format!("/planned/{}/cancel", mailing.number)) { (page::token(viewer.form_token())) button { "Call off" } }
                }
            }
        }
    }
}

fn word(state: MailingState) -> &'static str {
    match state {
        MailingState::Waiting => "being noted",
        MailingState::Announced => "announced",
        MailingState::Underway => "under way",
        MailingState::Over => "over",
        MailingState::Cancelled => "called off",
    }
}

fn form(viewer: &Viewer) -> Markup {
    html! {
        section.card {
            h2 { "Announce one" }
            form method="post" action="/planned" {
                (page::token(viewer.form_token()))
                input type="hidden" name="offset_minutes" value="0";
                div.fields {
                    label { "Sender: address or account" input name="sender" required maxlength="255" placeholder="203.0.113.30"; }
                    label { "From" input type="datetime-local" name="from" required; }
                    label { "Until" input type="datetime-local" name="until" required; }
                    label { "At most so many recipients" input type="number" name="recipients_max" min="1" max="1000000000" required; }
                    label { "What for" input name="reason" required maxlength="1000" placeholder="Spring newsletter"; }
                }
                div.buttons { button.main { "Announce" } }
                noscript { p.small.soft { "Without scripts, give both times in UTC." } }
            }
        }
    }
}
