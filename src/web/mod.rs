//! What people look at: pages and an HTTP API over a state that a sensor keeps.
//!
//! *In*: a state directory, read through [`Reader`](crate::store::read::Reader). *Out*: HTML, JSON, an event stream;
//! operators' actions as rows that the sensor obeys at its next commit. *Bound*: `limits::WEB_*`. *Spec*:
//! docs/dashboard.md, docs/api.md.
//!
//! It shares nothing with the engine but the file: it can be slow, flooded or stopped, and nothing else notices.

mod access;
mod actions;
mod api;
mod assets;
mod blocks;
mod chart;
mod expected;
mod guard;
mod incident;
mod incidents;
mod live;
mod login;
pub mod metrics;
mod now;
mod openapi;
mod page;
mod planned;
mod reading;
mod sender;
mod senders;
mod server;
mod settings;
mod shown;
mod trail;

pub use openapi::{DOCUMENT as OPENAPI, ROUTES as API_ROUTES};
pub use server::Running;
pub use settings::{Settings, WebConfig};

use crate::time::CivilClock;
use access::{Caller, Sessions};
use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::{get, post};
use ipnet::IpNet;
use maud::Markup;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What a dashboard shows beside the state.
pub struct About {
    /// Directory of the state.
    pub state: PathBuf,
    /// Name of the sensor, or empty.
    pub sensor: String,
    /// Networks of the company.
    pub networks: Vec<IpNet>,
    /// The clock that people of the company live by.
    pub clock: CivilClock,
    /// Effective configuration for people: section, then name and value, secrets hidden.
    pub configuration: Vec<(String, Vec<(String, String)>)>,
    /// Whether a sensor works on this state: whether time passes.
    pub watched: bool,
}

/// A dashboard.
pub struct Dashboard {
    settings: Settings,
    about: About,
    sessions: Mutex<Sessions>,
    reading: reading::Reading,
    live: live::Live,
    blocks: blocks::Cache,
    vitals: metrics::Published,
}

impl Dashboard {
    /// A dashboard over a state that exists.
    pub fn new(settings: Settings, about: About) -> Result<Dashboard, String> {
        let reading = reading::Reading::open(&about.state)?;
        Ok(Dashboard {
            settings,
            sessions: Mutex::new(Sessions::new(Instant::now())?),
            reading,
            live: live::Live::new(),
            blocks: blocks::Cache::default(),
            vitals: metrics::Published::default(),
            about,
        })
    }

    /// Shows the vitals of the sensor that runs in the same process.
    pub fn with_vitals(self, vitals: metrics::Published) -> Dashboard {
        Dashboard { vitals, ..self }
    }

    /// Listens where the settings say, and serves on a thread of its own. `more` are routes of other stages, such as
    /// `/metrics`; they pass the same guard.
    pub fn start(self, more: Router) -> std::io::Result<Running> {
        let listener = TcpListener::bind(self.settings.listen)?;
        self.start_on(listener, more)
    }

    /// The same on a port that is open already.
    pub fn start_on(self, listener: TcpListener, more: Router) -> std::io::Result<Running> {
        server::start(listener, move || self.routes(more))
    }

    fn routes(self, more: Router) -> Router {
        let dashboard = Arc::new(self);
        tokio::spawn(live::watch(Arc::clone(&dashboard)));
        Router::new()
            .route("/", get(now::show))
            .route("/incidents", get(incidents::show))
            .route("/incident/{id}", get(incident::show))
            .route("/incident/{id}/{verdict}", post(actions::review))
            .route("/senders", get(senders::show))
            .route("/sender/{kind}/{name}", get(sender::show))
            .route("/blocks", get(blocks::show))
            .route("/planned", get(planned::show).post(actions::announce))
            .route("/planned/{number}/cancel", post(actions::cancel))
            .route("/settings", get(shown::show))
            .route("/api", get(openapi::show))
            .route("/login", get(login::show).post(login::enter))
            .route("/logout", post(login::leave))
            .route("/assets/{version}/{name}", get(assets::file))
            .merge(api::routes())
            .fallback(nothing_here)
            .with_state(Arc::clone(&dashboard))
            .merge(more)
            .layer(axum::middleware::from_fn_with_state(dashboard, guard::guard))
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A whole page of ours.
    fn page(&self, viewer: &Viewer, title: &str, place: &str, content: &Markup) -> Markup {
        page::page(
            &page::Frame {
                title,
                place,
                form_token: viewer.form_token(),
                can_leave: !self.settings.secrets.is_open(),
                sensor: &self.about.sensor,
                live: true,
            },
            content,
        )
    }
}

/// Who looks, as the guard found out.
pub struct Viewer(Caller);

impl Viewer {
    /// What forms must carry.
    fn form_token(&self) -> Option<&str> {
        match &self.0 {
            Caller::Browser { form_token } => Some(form_token),
            Caller::Program => None,
        }
    }

    /// By whom an action is, for the record.
    fn name(&self) -> &'static str {
        match &self.0 {
            Caller::Browser { .. } => "dashboard",
            Caller::Program => "API",
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Viewer {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Viewer, StatusCode> {
        parts.extensions.get::<Caller>().cloned().map(Viewer).ok_or(StatusCode::UNAUTHORIZED)
    }
}

async fn nothing_here(uri: axum::http::Uri) -> axum::response::Response {
    guard::refuse(uri.path().starts_with("/api/"), StatusCode::NOT_FOUND, "There is nothing at this address.")
}
