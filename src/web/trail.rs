//! Of one incident: which stages were seen and when, whose mail it is, and whom it reached.
//!
//! *In*: an alert. *Out*: cards of the incident's page. *Bound*: what an alert holds.

use super::page;
use crate::alert::{Alert, EgressRecord, OriginRecord};
use maud::{Markup, html};

/// A stage, in words.
fn stage_word(name: &str) -> String {
    let known = match name {
        "password_guessed" => "Password guessed",
        "new_network_login" => "Login from a new network",
        "first_foreign_mail" => "First foreign mail",
        "blast" => "Blast",
        "unknown_users" => "Dead addresses hit",
        "receivers_block" => "Receivers refuse",
        other => return other.replace('_', " "),
    };
    known.to_owned()
}

/// The stages of a hijack, those that were seen with their time.
pub fn course(alert: &Alert) -> Markup {
    let chain = &alert.chain;
    html! {
        @if !chain.stages.is_empty() {
            section.card {
                h2 { "How far it got" }
                ol.chain {
                    @for stage in &chain.stages {
                        @match &stage.seen_at {
                            Some(at) => li.seen title=(stage.says) { strong { (stage_word(&stage.name)) } (page::stamp(at)) },
                            None => li title=(stage.says) { strong { (stage_word(&stage.name)) } "not seen" },
                        }
                    }
                }
                @if let Some(next) = &chain.next { p.small { "Expect next: " (next) } }
            }
        }
    }
}

/// Whose mail it is, and which way it left.
pub fn whose(alert: &Alert) -> Markup {
    let attribution = &alert.attribution;
    let none =
        attribution.origins.is_empty() && attribution.headers.is_empty() && attribution.egress.is_empty();
    html! {
        @if !none {
            section.card {
                div.head { h2 { "Whose mail it is" } span.soft.small { "share of what is more than normal" } }
                @if !attribution.origins.is_empty() { (origins(&attribution.origins, "Handed in by, as the log says")) }
                @if attribution.messages_omitted > 0 { p.small.soft { (page::number(attribution.messages_omitted)) " more of origins that are not named" } }
                @if !attribution.headers.is_empty() { (origins(&attribution.headers, "Made by, as headers say, which may lie")) }
                @if !attribution.egress.is_empty() { (egress(&attribution.egress)) }
            }
        }
    }
}

fn origins(list: &[OriginRecord], head: &str) -> Markup {
    html! {
        div.scroll { table.tight {
            thead { tr { th { (head) } th.number { "Share" } th.number { "Messages" } th.number { "Normal" } } }
            tbody {
                @for origin in list {
                    tr {
                        td { (origin_name(origin)) " " span.soft.small { (origin_word(&origin.kind)) } }
                        td.number { (page::percent(origin.share_of_excess)) }
                        td.number { (page::number(origin.messages)) }
                        td.number { (origin.usual_messages.map_or("–".into(), page::quantity)) }
                    }
                }
            }
        } }
    }
}

fn origin_name(origin: &OriginRecord) -> Markup {
    match origin.kind.as_str() {
        "account" => page::sender("account", &origin.name),
        "client" => page::sender("address", &origin.name),
        _ => html! { bdi { (origin.name) } },
    }
}

fn origin_word(kind: &str) -> &str {
    match kind {
        "web_client" => "client of a web mailer",
        kind => kind,
    }
}

fn egress(list: &[EgressRecord]) -> Markup {
    html! {
        h3 { "Left by" }
        ul.plainlist {
            @for way in list { li { (page::sender(&way.kind, &way.name)) " " span.soft.small { (page::count(way.messages, "message", "messages")) } } }
        }
    }
}

/// Whom it reached.
pub fn reach(alert: &Alert) -> Markup {
    let radius = &alert.blast_radius;
    html! {
        section.card {
            h2 { "Who is affected" }
            dl.facts {
                div { dt { "Messages" } dd { (page::number(radius.messages)) } }
                div { dt { "Recipients got it" } dd { (page::number(radius.recipients_accepted)) } }
                @if radius.messages_hidden > 0 { div { dt { "Hidden by TLS" } dd { (page::number(radius.messages_hidden)) small { "not known how many got it" } } } }
                @if let Some(inside) = radius.recipients_inside { div { dt { "Colleagues got it" } dd { (page::number(inside)) small { "in domains of yours" } } } }
                @if radius.addresses > 1 { div { dt { "Addresses took part" } dd { (page::number(radius.addresses)) } } }
                div { dt { "Role" } dd.word { (page::role_word(&role_of(alert))) small { @if alert.sender.role_declared { "declared" } @else { "as it looks" } } } }
                @if alert.coverage.hidden_share > 0.0 { div { dt { "Not visible (TLS)" } dd { (page::percent(alert.coverage.hidden_share)) } } }
                @if let Some(lost) = alert.coverage.frames_dropped_share { div { dt { "Packets lost" } dd { (page::percent(lost)) } } }
            }
            @if !radius.domains.is_empty() { (domains(alert)) }
            @else if !alert.join_keys.forward_domains.is_empty() {
                h3 { "Domains written to, of the examples" }
                p.small { @for domain in &alert.join_keys.forward_domains { bdi.mono { (domain) } " " } }
            }
        }
    }
}

fn role_of(alert: &Alert) -> String {
    serde_json::to_value(alert.sender.role)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn domains(alert: &Alert) -> Markup {
    let radius = &alert.blast_radius;
    html! {
        h3 { "Where they got it" }
        div.scroll { table.tight {
            tbody {
                @for domain in &radius.domains { tr { td { bdi.mono { (domain.domain) } } td.number { (page::number(domain.recipients_accepted)) } } }
                @if radius.recipients_omitted > 0 { tr { td.soft { "other domains" } td.number { (page::number(radius.recipients_omitted)) } } }
            }
        } }
    }
}
