//! One incident: what happened, why that is a hijack, how far it got, what to do.
//!
//! *In*: an incident's id. *Out*: one page. *Bound*: what an alert holds; the last alert tells everything.

use super::chart::{self, Bar, Instant};
use super::incidents::{state, what};
use super::now::swatch;
use super::page::{self, count};
use super::reading::Trouble;
use super::sender::{bars_of, id_of};
use super::{Dashboard, Viewer, trail};
use crate::alert::Alert;
use crate::store::StoreError;
use crate::store::actions::{Action, ActionRow};
use crate::store::read::{IncidentStory, Reader, SenderProfile};
use crate::time::{CivilClock, MICROS_PER_HOUR, Timestamp};
use axum::extract::{Path, State};
use maud::{Markup, html};
use std::sync::Arc;

/// Hours before the first delivery that the curve shows, at least.
const HOURS_BEFORE: i64 = 36;
/// Harmless explanations that are not folded away.
const BENIGN_SHOWN: usize = 3;
/// Hours that the curve shows at most.
const HOURS_SHOWN: i64 = 8 * 24;

/// What the page needs.
struct Answers {
    story: IncidentStory,
    profile: Option<SenderProfile>,
}

/// An incident and the profile that the curve is drawn from.
fn answers(reader: &Reader, id: &str) -> Result<Option<Answers>, StoreError> {
    let Some(story) = reader.incident(id)? else { return Ok(None) };
    let wanted = story.alerts.last().and_then(|alert| alert.coverage.vantages.first().copied());
    let profiles = match id_of(&story.summary.sender_kind, &story.summary.sender_name) {
        Some(id) => reader.sender(&id)?,
        None => Vec::new(),
    };
    let of_road =
        |profile: &SenderProfile| wanted.is_none_or(|road| profile.summary.vantage == road_name(road));
    Ok(Some(Answers { story, profile: profiles.into_iter().find(of_road) }))
}

fn road_name(vantage: crate::observation::Vantage) -> &'static str {
    match vantage {
        crate::observation::Vantage::Wire => "wire",
        crate::observation::Vantage::Log => "log",
    }
}

/// `GET /incident/{id}`.
pub async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Markup, Trouble> {
    let found = dashboard.reading.ask(move |reader| answers(reader, &id)).await?;
    let nothing = Trouble::Nothing("There is no such incident, or its alerts were cleared away.");
    let Some(Answers { story, profile }) = found else { return Err(nothing) };
    let Some(alert) = story.alerts.last() else { return Err(nothing) };
    let content = html! {
        (headline(&story, alert))
        (timeline(&story, alert, profile.as_ref(), &dashboard.about.clock))
        div.columns.wide-left.act-first {
            div { (evidence(alert)) (trail::course(alert)) (trail::whose(alert)) (benign(alert)) }
            div { (next_steps(alert)) (trail::reach(alert)) (verdict(&story, &viewer, dashboard.settings.read_only)) (related(alert)) }
        }
        (samples(alert))
        div.columns.wide-left { (history(&story)) (take_away(&story)) }
    };
    let title = format!("{}: {}", story.summary.sender_name, what(&story.summary.kind));
    Ok(dashboard.page(&viewer, &title, "/incidents", &content))
}

fn headline(story: &IncidentStory, alert: &Alert) -> Markup {
    // The closing alert says that it is quiet again; what happened is told by the one before.
    let telling = story.alerts.iter().rev().find(|alert| !closes(alert)).unwrap_or(alert);
    html! {
        p.soft.small { a href="/incidents" { "Incidents" } " / " span.mono { (story.summary.id) } }
        h1 { (page::sender(&alert.sender.kind, &alert.sender.name)) }
        p.title { (page::severity_of(&alert.severity)) " " (state(&story.summary)) " " span.soft { (what(&story.summary.kind)) " · " (page::percent(alert.confidence)) " sure" } }
        p.lead { (super::incidents::without_name(&telling.headline, &alert.sender.name)) @if closes(alert) { " It is quiet again." } }
    }
}

/// Whether an alert ends its incident.
pub fn closes(alert: &Alert) -> bool {
    crate::alert::change_name(alert) == "closed"
}

fn timeline(
    story: &IncidentStory,
    alert: &Alert,
    profile: Option<&SenderProfile>,
    clock: &CivilClock,
) -> Markup {
    let at = |text: &str| Timestamp::parse_rfc3339(text);
    let (Some(first), Some(last)) = (at(&alert.times.first), at(&alert.times.last)) else { return html! {} };
    let opened = at(&alert.times.opened).unwrap_or(first);
    let until = (last.hour_index() + 8).max(opened.hour_index() + 3);
    let from = (first.hour_index() - HOURS_BEFORE).max(until - HOURS_SHOWN);
    let bars: Vec<Bar> = profile.map(|profile| bars_of(profile, from..until, clock)).unwrap_or_default();
    let delay = opened.seconds_since(first);
    let instants = [
        Instant { at: first, label: "began", class: "began" },
        Instant { at: opened, label: "alarm", class: "alarm" },
    ];
    let shown = if delay < 3_600.0 && delay * 120.0 < (until - from) as f64 * 3_600.0 {
        &instants[1..]
    } else {
        &instants[..]
    };
    html! {
        section.card {
            div.head {
                h2 { "Messages by the hour" }
                span.soft.small {
                    "began " (page::time(first)) " · alarm " (page::time(opened)) ", " (page::span(delay)) " later, after "
                    (count(story.alerts.first().map_or(0, |alert| alert.blast_radius.messages), "message", "messages"))
                }
            }
            figure {
                @if bars.is_empty() { p.soft { "The curve of this sender was forgotten." } }
                @else { (chart::volume(&bars, MICROS_PER_HOUR, shown, "Messages by the hour, with the alarm")) }
            }
            p.key { span { (swatch("volume")) "messages" } span { (swatch("volume over")) "more than normal" } span { (swatch("band")) "normal for this sender at this hour" } }
        }
    }
}

fn evidence(alert: &Alert) -> Markup {
    let mut list: Vec<_> = alert.evidence.iter().collect();
    list.sort_by(|a, b| b.weight_nats.unwrap_or(f64::MIN).total_cmp(&a.weight_nats.unwrap_or(f64::MIN)));
    let most = list.iter().filter_map(|e| e.weight_nats).map(f64::abs).fold(0.0, f64::max);
    let told = list.iter().filter(|evidence| evidence.weight_nats.is_none());
    html! {
        section.card {
            div.head { h2 { "Why this is a hijack" } span.soft.small { "longer bar: heavier reason" } }
            ul.evidence {
                @for reason in list.iter().filter(|evidence| evidence.weight_nats.is_some()) {
                    @let weight = reason.weight_nats.unwrap_or(0.0);
                    li {
                        div.what {
                            strong { (word(&reason.name)) }
                            span.weight title=(format!("log-likelihood ratio, in nats: e^{weight:.1} times likelier under a hijack")) { (format!("{weight:+.1}")) }
                        }
                        (chart::weight(weight, most))
                        p.versus { "seen " strong { (measured(reason.observed, &reason.unit)) } ", normal " (measured(reason.expected, &reason.unit)) @if weight < 0.0 { " · speaks against a hijack" } }
                    }
                }
            }
            @for reason in told { p.small.soft { (reason.sentence) } }
            p.small.soft {
                "Together " strong { (format!("{:+.1}", alert.test.evidence_nats)) } " over the best harmless explanation; the alarm needed "
                (format!("{:.1}", alert.test.threshold_nats)) ". Speed alone never accuses."
            }
        }
    }
}

/// A reason, in words.
fn word(name: &str) -> String {
    let known = match name {
        "volume" => "More messages than usual",
        "novel_recipient" => "Recipients never written to before",
        "novel_destination" => "Servers never called before",
        "no_such_recipient" => "Recipients that do not exist",
        "refused_by_policy" => "Refused as spam or blocklisted",
        "deferred" => "Put off by the receivers",
        "unknown_reverse_path" => "Sender domains not used here",
        "foreign_machine" => "From a machine or network never seen",
        "same_letter" => "Nearly one letter to many",
        "new_link" => "Links to domains nobody here sent before",
        "new_domain" => "New recipients in domains never written to",
        "new_server" => "Servers never called before",
        "risky_attachment" => "Attachments that run or are encrypted",
        "deceptive_link" => "Links that lead elsewhere than they show",
        "guessed_password" => "A password found by trying",
        "changing_network" => "Handed in from ever other networks",
        "unlogged_mail" => "Mail that stands in no log",
        "wake_ups" => "Silent addresses that woke up",
        other => return other.replace('_', " "),
    };
    known.to_owned()
}

/// A value with its unit. Shares are told in percent.
fn measured(value: f64, unit: &str) -> String {
    match unit {
        unit if unit.starts_with("share") => page::percent(value),
        "" => page::quantity(value),
        unit => format!("{} {}", page::quantity(value), unit.replace('_', " ")),
    }
}

/// A sentence of ours in which commands stand between backticks.
fn with_commands(text: &str) -> Markup {
    html! { @for (index, part) in text.split('`').enumerate() { @if index % 2 == 1 { code { (part) } } @else { (part) } } }
}

fn next_steps(alert: &Alert) -> Markup {
    html! {
        section.card {
            h2 { "What to do now" }
            ol.steps { @for step in &alert.next_steps { li { (with_commands(step)) } } }
            @if !alert.before_unblocking.is_empty() {
                h3 { "Before you lift a block" }
                ul.plainlist { @for reason in &alert.before_unblocking { li { (reason) } } }
            }
        }
    }
}

fn benign(alert: &Alert) -> Markup {
    let (first, rest) = alert.benign_explanations.split_at(alert.benign_explanations.len().min(BENIGN_SHOWN));
    let list = |part: &[crate::engine::incident::Explanation]| {
        html! {
            ul.plainlist {
                @for explanation in part {
                    li { (explanation.says) div.small.soft {
                        @if explanation.worse_by_nats >= 0.0 { "fits worse than a hijack by " (format!("{:.1}", explanation.worse_by_nats)) }
                        @else { "fits these marks alone better by " (format!("{:.1}", -explanation.worse_by_nats)) "; the rate speaks against it" }
                    } }
                }
            }
        }
    };
    html! {
        section.card {
            div.head { h2 { "Harmless explanations weighed" } span.soft.small { "the best first" } }
            (list(first))
            @if !rest.is_empty() { details.more { summary { (rest.len()) " more, which fit worse" } (list(rest)) } }
        }
    }
}

fn related(alert: &Alert) -> Markup {
    html! {
        @if !alert.related.is_empty() {
            section.card {
                h2 { "Belongs to the same story" }
                ul.plainlist { @for other in &alert.related { li { (page::sender(&other.kind, &other.name)) " " span.soft.small { (page::kind_word(&other.kind)) } } } }
                @if alert.related_omitted > 0 { p.soft { "and " (page::number(alert.related_omitted)) " more" } }
            }
        }
    }
}

fn samples(alert: &Alert) -> Markup {
    let blank = || html! { span.soft { "not seen" } };
    html! {
        section.card {
            div.head { h2 { "Examples" } span.soft.small { (alert.samples.len()) " of " (count(alert.blast_radius.messages, "message", "messages")) } }
            div.scroll { table.tight.stack {
                thead { tr { th { "When" } th { "From" } th { "To" } th { "Answer" } th { "Queue id" } } }
                tbody {
                    @for sample in &alert.samples {
                        tr {
                            td.nowrap { (page::stamp(&sample.at)) }
                            td { @match sample.reverse_path.as_deref() { Some("") => "<>", Some(path) => bdi { (path) }, None => (blank()) }
                                @if let Some(client) = sample.client.as_ref().or(sample.address.as_ref()) { div.small.soft { "by " bdi { (client) } } } }
                            td { @match sample.forward_path.as_ref().or(sample.forward_domain.as_ref()) { Some(to) => bdi { (to) }, None => (blank()) }
                                @if let Some(server) = &sample.responder { div.small.soft { bdi { (server) } } } }
                            td.words { @match sample.reply_code { Some(code) => (code), None => (blank()) } @if let Some(text) = &sample.reply_text { div.small.soft { bdi { (text) } } } }
                            td.mono { bdi { (sample.queue_id.as_deref().unwrap_or("–")) } }
                        }
                    }
                }
            } }
            @if !alert.join_keys.queue_ids.is_empty() {
                details { summary { "Search the mail log" } pre { "grep -E '" (alert.join_keys.queue_ids.iter().filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')).cloned().collect::<Vec<_>>().join("|")) "' /var/log/mail.log" } }
            }
        }
    }
}

fn history(story: &IncidentStory) -> Markup {
    html! {
        section.card {
            h2 { "What happened" }
            div.scroll { table.tight {
                thead { tr { th { "When" } th { "What" } th.number { "Messages" } th.number { "Got it" } th { "Severity" } } }
                tbody {
                    @for alert in &story.alerts {
                        tr {
                            td.nowrap { (page::stamp(&alert.times.event)) }
                            td { (crate::alert::change_name(alert)) }
                            td.number { (page::number(alert.blast_radius.messages)) }
                            td.number { (page::number(alert.blast_radius.recipients_accepted)) }
                            td { (page::severity_of(&alert.severity)) }
                        }
                    }
                    @for review in &story.reviews {
                        @let (said, reason) = told(review);
                        tr { td.nowrap { (page::time(Timestamp::from_micros(review.at))) } td colspan="4" { (said) " by " (review.by) ": " (reason) } }
                    }
                }
            } }
        }
    }
}

/// What an operator said.
fn told(review: &ActionRow) -> (&'static str, &str) {
    match &review.action {
        Action::Confirm { reason, .. } => ("confirmed", reason),
        Action::Dismiss { reason, .. } => ("called a false alarm", reason),
        _ => ("noted", ""),
    }
}

fn verdict(story: &IncidentStory, viewer: &Viewer, read_only: bool) -> Markup {
    let waits = story.reviews.last().is_some_and(|review| review.obeyed_at.is_none());
    let path = |verdict: &str| format!("/incident/{}/{verdict}", page::encoded(&story.summary.id));
    html! {
        section.card #verdict {
            h2 { "Your verdict" }
            @if let Some(review) = story.reviews.last() {
                @let (said, reason) = told(review);
                p { "It was " strong { (said) } ": " (reason) @if waits { span.soft { " The sensor takes note at its next commit." } } }
            }
            @if !read_only {
                form method="post" action=(path("confirm")) {
                    (page::token(viewer.form_token()))
                    label { "Reason, for whoever looks later" textarea name="reason" required maxlength="1000" placeholder="What you found, or why it is harmless" {} }
                    div.buttons {
                        button.main { "It is a hijack" }
                        button formaction=(path("dismiss")) { "False alarm" }
                    }
                }
            }
        }
    }
}

fn take_away(story: &IncidentStory) -> Markup {
    let path = |name: &str| format!("/api/v1/incidents/{}/{name}", page::encoded(&story.summary.id));
    html! {
        section.card {
            h2 { "Take it with you" }
            p { a href=(path("alert.json")) download { "Alert (JSON)" } " · " a href=(path("xarf.json")) download { "Abuse report (X-ARF)" } " · " a href=(path("")) { "Whole story (API)" } @if story.names_recipients { " · " a href=(path("recipients.json")) download { "Who got it (JSON)" } } }
        }
    }
}
