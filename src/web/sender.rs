//! One sender: what it normally does, by hour of the week and by mark, and what it does now.
//!
//! *In*: a sender's kind and name. *Out*: one page. *Bound*: two profiles (wire and log), `INCIDENTS_SHOWN` rows.

use super::chart::{self, Bar, Instant};
use super::incidents::list;
use super::now::{road_word, swatch};
use super::page::{self, count};
use super::reading::Trouble;
use super::senders::suspicion;
use super::{Dashboard, Viewer};
use crate::engine::sender::SenderId;
use crate::mail::Untrusted;
use crate::observation::Vantage;
use crate::store::domains::DomainShare;
use crate::store::read::{IncidentFilter, IncidentSummary, MarkProbabilities, Page, SenderProfile};
use crate::time::{CivilClock, MICROS_PER_HOUR, Timestamp};
use axum::extract::{Path, State};
use maud::{Markup, html};
use std::sync::Arc;

/// Incidents of a sender that are shown.
const INCIDENTS_SHOWN: u32 = 20;
/// Hours of its curve.
const HOURS_SHOWN: i64 = 14 * 24;
/// Domains of its recipients.
const DOMAINS_SHOWN: usize = 10;

/// A sender by its kind and name, as alerts and addresses of pages write them.
pub fn id_of(kind: &str, name: &str) -> Option<SenderId> {
    match kind {
        "address" => name.parse().ok().map(SenderId::Address),
        "block" => name.parse().ok().map(SenderId::Block),
        "account" => Some(SenderId::Account(Untrusted::from(name))),
        "host" => Some(SenderId::Host(Untrusted::from(name))),
        _ => None,
    }
}

/// A sender's hours against its own baseline.
pub fn bars_of(profile: &SenderProfile, shown: std::ops::Range<i64>, clock: &CivilClock) -> Vec<Bar> {
    let hours = &profile.summary.hours;
    let first = hours.last - hours.messages.len() as i64 + 1;
    shown
        .map(|hour| {
            let place = usize::try_from(hour - first).ok();
            let value = place.and_then(|place| hours.messages.get(place)).copied().unwrap_or(0);
            let rate = profile.week.get(clock.profile_bin(hour));
            Bar {
                at: Timestamp::from_micros(hour.saturating_mul(MICROS_PER_HOUR)),
                value: f64::from(value),
                usual: None,
                usual_max: rate.map(|rate| rate.messages_max),
            }
        })
        .collect()
}

/// `GET /sender/{kind}/{name}`.
pub async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Path((kind, name)): Path<(String, String)>,
) -> Result<Markup, Trouble> {
    let nothing = "No such sender was seen.";
    let id = id_of(&kind, &name).ok_or(Trouble::Nothing(nothing))?;
    let wanted = name.clone();
    let (profiles, incidents) = dashboard
        .reading
        .ask(move |reader| {
            let filter = IncidentFilter { sender: Some(wanted.clone()), ..IncidentFilter::default() };
            let mut listed = reader.incidents(&filter, Page { offset: 0, limit: INCIDENTS_SHOWN })?.rows;
            listed.retain(|incident| incident.sender_name == wanted);
            Ok((reader.sender(&id)?, listed))
        })
        .await?;
    if profiles.is_empty() && incidents.is_empty() {
        return Err(Trouble::Nothing(nothing));
    }
    let content = content(&dashboard, &kind, &name, &profiles, &incidents);
    Ok(dashboard.page(&viewer, &name, "/senders", &content))
}

fn content(
    dashboard: &Dashboard,
    kind: &str,
    name: &str,
    profiles: &[SenderProfile],
    incidents: &[IncidentSummary],
) -> Markup {
    let open = incidents.iter().filter(|incident| incident.last_change != "closed").count();
    html! {
        p.soft.small { a href="/senders" { "Senders" } " / " (page::kind_word(kind)) }
        h1 { bdi { (name) } }
        p.lead {
            @match (open, profiles.iter().any(|profile| profile.under_suspicion)) {
                (0, false) => "It behaves as it always does.",
                (0, true) => "Something of its last mail is unusual, not yet enough for an alarm.",
                _ => span.high { (count(open as u64, "open incident", "open incidents")) },
            }
        }
        @if !incidents.is_empty() { section { h2 { "Incidents" } (list(incidents, None)) } }
        @for profile in profiles { (one(dashboard, kind, profile)) }
    }
}

fn one(dashboard: &Dashboard, kind: &str, profile: &SenderProfile) -> Markup {
    let (summary, clock) = (&profile.summary, &dashboard.about.clock);
    let road = if summary.vantage == "wire" { Vantage::Wire } else { Vantage::Log };
    let end = summary.hours.last + 1;
    let begin = Timestamp::from_micros(summary.first_at).hour_index().max(end - HOURS_SHOWN).min(end - 24);
    let bars = bars_of(profile, begin..end, clock);
    html! {
        section.card {
            div.head { h2 { (road_word(road)) } span.soft.small { (count(summary.messages, "message", "messages")) " since " (page::time(Timestamp::from_micros(summary.first_at))) } }
            dl.facts {
                @if kind != "block" { div { dt { "Role" } dd.word { (page::role_word(&summary.role)) @if let Some(learned) = &profile.learned_role { small { "learned, since " (page::time(Timestamp::from_micros(learned.since))) "; before: " (page::role_word(learned.before)) } } } } }
                div { dt { "Usual a day" } dd { (page::quantity(summary.usual_per_day)) } }
                div { dt { "In its last hour" } dd { (page::quantity(profile.messages_now)) small { "up to " (page::quantity(profile.usual_max_now)) " normal" } } }
                div { dt { "Last mail" } dd.word { (page::time(Timestamp::from_micros(summary.last_at))) } }
                div { dt { "Suspicion" } dd { (suspicion(summary.evidence_nats)) small { @if profile.under_suspicion { "being watched" } @else { "none" } } } }
            }
            h3 { "Messages by the hour" }
            figure { (chart::volume(&bars, MICROS_PER_HOUR, &[] as &[Instant], "Messages by the hour")) }
            p.key { span { (swatch("volume")) "messages" } span { (swatch("volume over")) "more than normal" } span { (swatch("band")) "normal for this sender at this hour" } }
        }
        div.columns {
            section.card {
                div.head { h2 { "Its week" } span.soft.small { "what is expected of each hour" } }
                figure { (chart::week(&week(profile), "Messages expected by hour of the week")) }
                p.small.soft { "Learned for weekdays and for weekends, in the company's time zone. Darker: more." }
            }
            section.card {
                div.head { h2 { "What its mail is like" } span.soft.small { "chance on one delivery" } }
                (marks(&profile.marks))
            }
        }
        @if !profile.recipient_domains.is_empty() {
            section.card {
                div.head { h2 { "Where its mail goes" } span.soft.small { "domains of its recipients, lately; at least so much" } }
                (domains(&profile.recipient_domains))
            }
        }
    }
}

/// Weekday bins on five days, weekend bins on two.
fn week(profile: &SenderProfile) -> Vec<Option<f64>> {
    let rate = |day: usize, hour: usize| {
        let bin = if day >= 5 { 24 + hour } else { hour };
        profile.week.get(bin).map(|rate| rate.messages)
    };
    (0..7).flat_map(|day| (0..24).map(move |hour| (day, hour))).map(|(day, hour)| rate(day, hour)).collect()
}

fn marks(marks: &MarkProbabilities) -> Markup {
    let rows: &[(&str, f64)] = &[
        ("Accepted", marks.accepted),
        ("Recipient does not exist", marks.no_such_recipient),
        ("Refused as spam or blocklisted", marks.refused_by_policy),
        ("Put off", marks.deferred),
        ("Recipient never written to before", marks.new_recipient),
        ("Own sender domain", marks.own_reverse_path),
        ("Foreign sender domain", marks.unknown_reverse_path),
        ("Null sender (bounces)", marks.null_reverse_path),
        ("Foreign machine or network", marks.foreign_machine),
    ];
    html! {
        table.tight {
            tbody {
                @for (name, share) in rows {
                    tr { td { (name) } td.phone-hide { (chart::share(*share)) } td.number { (page::percent(*share)) } }
                }
            }
        }
    }
}

/// The heaviest domains, and the others as one.
fn domains(shares: &[DomainShare]) -> Markup {
    let shown = &shares[..shares.len().min(DOMAINS_SHOWN)];
    let others = 1.0 - shown.iter().map(|share| share.share).sum::<f64>();
    html! {
        table.tight {
            tbody {
                @for DomainShare { domain, share } in shown {
                    tr { td.word { bdi { (domain) } } td.phone-hide { (chart::share(*share)) } td.number { (page::percent(*share)) } }
                }
                @if others >= 0.001 {
                    tr.soft { td { "Other domains" } td.phone-hide { (chart::share(others)) } td.number { (page::percent(others)) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_senders() {
        assert_eq!(id_of("address", "192.0.2.1"), Some(SenderId::Address("192.0.2.1".parse().unwrap())));
        assert_eq!(id_of("block", "192.0.2.0/24"), Some(SenderId::Block("192.0.2.0/24".parse().unwrap())));
        assert!(id_of("account", "a@b.example").is_some() && id_of("host", "mx1").is_some());
        assert_eq!((id_of("address", "x"), id_of("sensor", "x")), (None, None));
    }
}
