//! The event stream: says that something changed, never what; browsers then fetch their page again.
//!
//! *In*: the state's newest moment, looked at once a second while somebody listens. *Out*: server-sent events.
//! *Bound*: `limits::WEB_STREAMS_MAX` listeners. *Spec*: HTML, server-sent events.

use super::Dashboard;
use super::guard;
use crate::limits;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::{Sender, channel};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;

/// How often the state is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who listens.
pub struct Live {
    newest: Sender<i64>,
}

impl Live {
    /// Nobody yet.
    pub fn new() -> Live {
        Live { newest: channel(0).0 }
    }
}

/// Looks for changes as long as the dashboard is served.
pub async fn watch(dashboard: Arc<Dashboard>) {
    let mut clock = tokio::time::interval(LOOK_EVERY);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        if dashboard.live.newest.receiver_count() == 0 {
            continue;
        }
        if let Ok(version) = dashboard.reading.ask(|reader| reader.version()).await {
            dashboard.live.newest.send_if_modified(|known| std::mem::replace(known, version) != version);
        }
    }
}

/// `GET /api/v1/events`.
pub async fn events(State(dashboard): State<Arc<Dashboard>>) -> Response {
    if dashboard.live.newest.receiver_count() >= limits::WEB_STREAMS_MAX {
        return guard::refuse(true, StatusCode::SERVICE_UNAVAILABLE, "Too many listeners. Try again later.");
    }
    let changes = WatchStream::from_changes(dashboard.live.newest.subscribe())
        .map(|version| Ok::<Event, Infallible>(Event::default().event("changed").data(version.to_string())));
    Sse::new(changes).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response()
}
