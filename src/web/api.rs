//! The HTTP API behind the pages: the same questions and the same actions, in JSON.
//!
//! *In*: requests that passed the guard. *Out*: JSON. *Bound*: `limits::WEB_ROWS_MAX` rows a page. *Spec*:
//! docs/api.md, `GET /api/v1/openapi.json`.

use super::reading::Trouble;
use super::sender::id_of;
use super::{Dashboard, Viewer, actions, incidents, live, openapi, senders};
use crate::alert::{Alert, xarf};
use crate::observation::Vantage;
use crate::store::actions::Action;
use crate::store::read::IncidentStory;
use crate::time::Timestamp;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// As [`Trouble`], told in JSON.
struct Told(Trouble);

impl From<Trouble> for Told {
    fn from(trouble: Trouble) -> Told {
        Told(trouble)
    }
}

impl IntoResponse for Told {
    fn into_response(self) -> Response {
        self.0.answer(true)
    }
}

type Answer<T> = Result<Json<T>, Told>;
type Shared = State<Arc<Dashboard>>;

/// All routes of the API. Each is a row of [`openapi::ROUTES`]; a test compares the two.
pub fn routes() -> Router<Arc<Dashboard>> {
    Router::new()
        .route("/api/v1/openapi.json", get(openapi::document))
        .route("/api/v1/status", get(status))
        .route("/api/v1/events", get(live::events))
        .route("/api/v1/volume", get(volume))
        .route("/api/v1/incidents", get(list_incidents))
        .route("/api/v1/incidents/{id}", get(incident))
        .route("/api/v1/incidents/{id}/alert.json", get(alert))
        .route("/api/v1/incidents/{id}/xarf.json", get(abuse_report))
        .route("/api/v1/incidents/{id}/recipients.json", get(recipients))
        .route("/api/v1/incidents/{id}/confirm", post(confirm))
        .route("/api/v1/incidents/{id}/dismiss", post(dismiss))
        .route("/api/v1/senders", get(list_senders))
        .route("/api/v1/senders/{kind}/{name}", get(sender))
        .route("/api/v1/planned", get(planned).post(announce))
        .route("/api/v1/planned/{number}/cancel", post(cancel))
        .route("/api/v1/actions/{number}", get(action))
}

async fn status(State(dashboard): Shared) -> Answer<serde_json::Value> {
    let found = dashboard
        .reading
        .ask(|reader| {
            let newest = reader.newest()?.map(|at| Timestamp::from_micros(at).to_rfc3339());
            Ok(json!({ "newest": newest, "sinks": reader.sinks()?, "counters": reader.counters()? }))
        })
        .await?;
    let mut found = found;
    found["version"] = json!(env!("CARGO_PKG_VERSION"));
    found["watched"] = json!(dashboard.about.watched);
    Ok(Json(found))
}

#[derive(Deserialize)]
#[serde(default)]
struct VolumeWanted {
    road: String,
    hours: i64,
}

impl Default for VolumeWanted {
    fn default() -> VolumeWanted {
        VolumeWanted { road: "wire".into(), hours: 24 }
    }
}

async fn volume(State(dashboard): Shared, Query(wanted): Query<VolumeWanted>) -> Answer<impl Serialize> {
    let road = match wanted.road.as_str() {
        "wire" => Vantage::Wire,
        "log" => Vantage::Log,
        _ => return Err(Told(Trouble::Refused("road is wire or log".into()))),
    };
    let hours = wanted.hours.clamp(1, 24 * 366);
    let points = dashboard
        .reading
        .ask(move |reader| {
            let until = reader.newest()?.unwrap_or(0).saturating_add(1);
            reader.volume(road, until.saturating_sub(hours * crate::time::MICROS_PER_HOUR), until)
        })
        .await?;
    Ok(Json(points))
}

async fn list_incidents(
    State(dashboard): Shared,
    Query(wanted): Query<incidents::Wanted>,
) -> Answer<impl Serialize> {
    Ok(Json(dashboard.reading.ask(move |reader| reader.incidents(&wanted.filter(), wanted.rows())).await?))
}

async fn story(dashboard: &Dashboard, id: String) -> Result<IncidentStory, Told> {
    let found = dashboard.reading.ask(move |reader| reader.incident(&id)).await?;
    found.ok_or(Told(Trouble::Nothing("There is no such incident.")))
}

async fn incident(State(dashboard): Shared, Path(id): Path<String>) -> Answer<IncidentStory> {
    story(&dashboard, id).await.map(Json)
}

/// The last alert that tells what happened: the closing one only where there is no other.
async fn telling(dashboard: &Dashboard, id: String) -> Result<Alert, Told> {
    let mut alerts = story(dashboard, id).await?.alerts;
    let place = alerts.iter().rposition(|alert| !super::incident::closes(alert));
    let alert = match place {
        Some(place) => Some(alerts.swap_remove(place)),
        None => alerts.pop(),
    };
    alert.ok_or(Told(Trouble::Nothing("The alerts of this incident were cleared away.")))
}

async fn alert(State(dashboard): Shared, Path(id): Path<String>) -> Result<Response, Told> {
    let alert = telling(&dashboard, id).await?;
    Ok(download(&format!("{}.json", alert.id), serde_json::to_string_pretty(&alert).unwrap_or_default()))
}

async fn abuse_report(State(dashboard): Shared, Path(id): Path<String>) -> Result<Response, Told> {
    let alert = telling(&dashboard, id).await?;
    Ok(download(&format!("{}-xarf.json", alert.id), format!("{:#}", xarf::record(&alert))))
}

async fn recipients(State(dashboard): Shared, Path(id): Path<String>) -> Result<Response, Told> {
    let id = story(&dashboard, id).await?.summary.id;
    let name = format!("{id}-recipients.json");
    let rows = dashboard.reading.ask(move |reader| reader.recipients(&id)).await?;
    Ok(download(&name, serde_json::to_string_pretty(&rows).unwrap_or_default()))
}

/// A file to keep. Its name is made of hexadecimal digits by whoever derived the alert's id; anything else drops out.
fn download(name: &str, content: String) -> Response {
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect();
    let disposition = format!("attachment; filename=\"portreeve-{name}\"");
    (
        [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_DISPOSITION, disposition)],
        content,
    )
        .into_response()
}

async fn act(dashboard: &Dashboard, viewer: &Viewer, action: Action) -> Result<Response, Told> {
    let number = dashboard.reading.act(action, viewer.name()).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "action": number }))).into_response())
}

async fn confirm(
    State(dashboard): Shared,
    viewer: Viewer,
    Path(id): Path<String>,
    Json(review): Json<actions::Review>,
) -> Result<Response, Told> {
    act(&dashboard, &viewer, actions::verdict("confirm", id, review.reason)?).await
}

async fn dismiss(
    State(dashboard): Shared,
    viewer: Viewer,
    Path(id): Path<String>,
    Json(review): Json<actions::Review>,
) -> Result<Response, Told> {
    act(&dashboard, &viewer, actions::verdict("dismiss", id, review.reason)?).await
}

async fn list_senders(
    State(dashboard): Shared,
    Query(wanted): Query<senders::Wanted>,
) -> Answer<impl Serialize> {
    let ask = move |reader: &crate::store::read::Reader| {
        reader.senders(&wanted.filter(), wanted.order(), wanted.rows())
    };
    Ok(Json(dashboard.reading.ask(ask).await?))
}

async fn sender(
    State(dashboard): Shared,
    Path((kind, name)): Path<(String, String)>,
) -> Answer<impl Serialize> {
    let nothing = || Told(Trouble::Nothing("No such sender was seen."));
    let id = id_of(&kind, &name).ok_or_else(nothing)?;
    let profiles = dashboard.reading.ask(move |reader| reader.sender(&id)).await?;
    if profiles.is_empty() { Err(nothing()) } else { Ok(Json(profiles)) }
}

async fn planned(State(dashboard): Shared) -> Answer<impl Serialize> {
    let ask = |reader: &crate::store::read::Reader| reader.planned(reader.newest()?.unwrap_or(0));
    Ok(Json(dashboard.reading.ask(ask).await?))
}

/// A mailing to be announced; times are RFC 3339.
#[derive(Deserialize)]
struct Announcement {
    sender: String,
    from: String,
    until: String,
    recipients_max: u64,
    reason: String,
}

async fn announce(
    State(dashboard): Shared,
    viewer: Viewer,
    Json(wanted): Json<Announcement>,
) -> Result<Response, Told> {
    let moment = |text: &str| {
        let why = || Told(Trouble::Refused(format!("{text:?} is not an RFC 3339 time")));
        Timestamp::parse_rfc3339(text).map(Timestamp::as_micros).ok_or_else(why)
    };
    let (from, until) = (moment(&wanted.from)?, moment(&wanted.until)?);
    let Announcement { sender, recipients_max, reason, .. } = wanted;
    act(&dashboard, &viewer, Action::Announce { sender, from, until, recipients_max, reason }).await
}

async fn cancel(State(dashboard): Shared, viewer: Viewer, Path(number): Path<i64>) -> Result<Response, Told> {
    act(&dashboard, &viewer, Action::Cancel { mailing: number }).await
}

async fn action(State(dashboard): Shared, Path(number): Path<i64>) -> Answer<impl Serialize> {
    let found = dashboard.reading.ask(move |reader| reader.action(number)).await?;
    found.map(Json).ok_or(Told(Trouble::Nothing("There is no such action.")))
}
