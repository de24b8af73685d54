//! The API described: one table of routes, from which come the OpenAPI document and the page for people.
//!
//! *In*: [`ROUTES`]. *Out*: OpenAPI 3.1. A test asks every route, so that the table and the program agree.

use super::{Dashboard, Viewer};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::HOST;
use maud::{Markup, html};
use serde_json::{Map, Value, json};
use std::sync::{Arc, LazyLock};

/// One route.
pub struct Route {
    /// `get` or `post`.
    pub method: &'static str,
    /// Its path; parts in braces vary.
    pub path: &'static str,
    /// What it is for, in one sentence.
    pub summary: &'static str,
    /// Parameters after `?`: name, type, meaning.
    pub query: &'static [(&'static str, &'static str, &'static str)],
    /// Fields of the JSON body, all required: name, type, meaning.
    pub body: &'static [(&'static str, &'static str, &'static str)],
}

const PAGE: (&str, &str, &str) = ("page", "integer", "Page of 100 rows, from 0.");
const REASON: (&str, &str, &str) = ("reason", "string", "Why, for whoever looks later.");

const fn get(path: &'static str, summary: &'static str) -> Route {
    Route { method: "get", path, summary, query: &[], body: &[] }
}

/// All routes of the API.
pub const ROUTES: &[Route] = &[
    get("/api/v1/openapi.json", "This description."),
    get("/api/v1/status", "How far mail was judged, sinks, counters."),
    get("/api/v1/events", "Server-sent events: one named changed, whenever something changed."),
    Route {
        query: &[
            ("road", "string", "wire or log."),
            ("hours", "integer", "Hours back from the newest mail; 24 if left out."),
        ],
        ..get("/api/v1/volume", "Messages by the hour.")
    },
    Route {
        query: &[
            ("state", "string", "open, closed or unreviewed; all if left out."),
            ("severity", "string", "At least this: low, medium, high, critical."),
            ("sender", "string", "Text in the sender's name."),
            PAGE,
        ],
        ..get("/api/v1/incidents", "Incidents, the one that changed last first.")
    },
    get("/api/v1/incidents/{id}", "One incident: its alerts and what operators said."),
    get("/api/v1/incidents/{id}/alert.json", "Its last alert that tells what happened, as a file."),
    get("/api/v1/incidents/{id}/xarf.json", "The same as an X-ARF abuse report."),
    get(
        "/api/v1/incidents/{id}/recipients.json",
        "Who got its mail, as a file; nobody unless [privacy] recipients is switched on.",
    ),
    Route {
        method: "post",
        body: &[REASON],
        ..get("/api/v1/incidents/{id}/confirm", "Say that it was a hijack.")
    },
    Route {
        method: "post",
        body: &[REASON],
        ..get("/api/v1/incidents/{id}/dismiss", "Say that it was a false alarm.")
    },
    Route {
        query: &[
            ("q", "string", "Text in the name."),
            ("kind", "string", "address, account, block or host."),
            ("sort", "string", "evidence, usual, messages, last or name."),
            PAGE,
        ],
        ..get("/api/v1/senders", "Senders and what is usual for them.")
    },
    get(
        "/api/v1/senders/{kind}/{name}",
        "What was learned about one sender, for each road that saw it: its week, its marks, the domains of its recipients.",
    ),
    get("/api/v1/planned", "Announced mailings."),
    Route {
        method: "post",
        body: &[
            ("sender", "string", "Address or account that will send."),
            ("from", "string", "Beginning, RFC 3339."),
            ("until", "string", "End, RFC 3339."),
            ("recipients_max", "integer", "Recipients at most."),
            ("reason", "string", "What for."),
        ],
        ..get("/api/v1/planned", "Announce a bulk mailing.")
    },
    Route { method: "post", ..get("/api/v1/planned/{number}/cancel", "Call a mailing off.") },
    get("/api/v1/actions/{number}", "What became of an action."),
];

/// The document.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        item[route.method] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "portreeve",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Reads and acts like the dashboard. Actions are put down and obeyed by the sensor at its next commit, within a second.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": { "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } } },
        "security": [{ "token": [] }, {}],
    })
});

fn operation(route: &Route) -> Value {
    let parameter = |place: &str, name: &str, kind: &str, says: &str| {
        json!({
            "name": name, "in": place, "required": place == "path", "description": says, "schema": { "type": kind },
        })
    };
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path
        .map(|name| {
            parameter("path", name, if name == "number" { "integer" } else { "string" }, "As lists give it.")
        })
        .collect();
    parameters.extend(route.query.iter().map(|(name, kind, says)| parameter("query", name, kind, says)));
    let (code, says) = if route.method == "post" { ("202", "Put down.") } else { ("200", "Found.") };
    let media = if route.path.ends_with("/events") { "text/event-stream" } else { "application/json" };
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            code: { "description": says, "content": { media: {} } },
            "default": { "description": "Refused; `error` says why.", "content": { "application/json": { "schema": {
                "type": "object", "properties": { "error": { "type": "string" } } } } } },
        },
    });
    if route.method == "post" {
        let fields: Map<String, Value> = route
            .body
            .iter()
            .map(|(name, kind, says)| ((*name).to_owned(), json!({ "type": kind, "description": says })))
            .collect();
        let names: Vec<&str> = route.body.iter().map(|(name, ..)| *name).collect();
        operation["requestBody"] = json!({ "required": !names.is_empty(), "content": { "application/json": { "schema": {
            "type": "object", "properties": fields, "required": names } } } });
    }
    operation
}

/// `get_incidents_id_alert_json` of a path.
fn operation_id(route: &Route) -> String {
    let path = route.path.trim_start_matches("/api/v1/");
    let words: Vec<&str> =
        path.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    format!("{}_{}", route.method, words.join("_"))
}

/// `GET /api/v1/openapi.json`.
pub async fn document() -> Json<Value> {
    Json(DOCUMENT.clone())
}

/// `GET /api`: the same for people.
pub async fn show(State(dashboard): State<Arc<Dashboard>>, viewer: Viewer, headers: HeaderMap) -> Markup {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let content = html! {
        h1 { "HTTP API" }
        p.lead { "Everything that these pages read and do. Programs send " code { "Authorization: Bearer TOKEN" } "; on loopback without a token nothing is asked. " a href="/api/v1/openapi.json" { "OpenAPI document" } "." }
        section.card { div.scroll { table {
            thead { tr { th { "Request" } th { "What it is for" } th { "Takes" } } }
            tbody { @for route in ROUTES { tr {
                td.mono { (route.method.to_uppercase()) " " (route.path) }
                td { (route.summary) }
                td.small { @for (name, _, says) in route.query.iter().chain(route.body) { div { code { (name) } " " (says) } } }
            } } }
        } } }
        section.card {
            h2 { "For example" }
            pre { "curl -s http://" (host) "/api/v1/incidents?state=open\n"
                "curl -s http://" (host) "/api/v1/incidents/ID/dismiss \\\n  -H 'content-type: application/json' -d '{\"reason\": \"newsletter\"}'" }
        }
    };
    dashboard.page(&viewer, "HTTP API", "", &content)
}
