//! The door: a password opens a session, a form closes it.
//!
//! *In*: a form. *Out*: a cookie. *Bound*: `limits::WEB_LOGINS_PER_MINUTE_MAX`; passwords are checked one at a time,
//! off the event loop, because Argon2 is slow on purpose. *Spec*: RFC 6265 (cookies), docs/dashboard.md.

use super::Dashboard;
use super::guard::{self, COOKIE};
use super::page;
use axum::Form;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Mutex;

/// One password at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// The form.
#[derive(Deserialize)]
pub struct Login {
    password: String,
}

/// `GET /login`.
pub async fn show(State(dashboard): State<Arc<Dashboard>>) -> Response {
    if dashboard.settings.secrets.is_open() {
        return Redirect::to("/").into_response();
    }
    form(&dashboard, None).into_response()
}

fn form(dashboard: &Dashboard, trouble: Option<&str>) -> Markup {
    let what = if dashboard.settings.secrets.has_password() { "Password" } else { "Token" };
    page::bare_with(
        "Log in",
        &html! {
            @if let Some(trouble) = trouble { p.notice role="alert" { (trouble) } }
            form method="post" action="/login" {
                label { (what) input type="password" name="password" required autofocus autocomplete="current-password"; }
                div.buttons { button.main { "Log in" } }
            }
        },
    )
}

/// `POST /login`.
pub async fn enter(State(dashboard): State<Arc<Dashboard>>, Form(login): Form<Login>) -> Response {
    if !dashboard.sessions().may_try(Instant::now()) {
        let page = form(&dashboard, Some("Too many attempts. Wait a minute."));
        return (StatusCode::TOO_MANY_REQUESTS, page).into_response();
    }
    let one = ONE_AT_A_TIME.lock().await;
    let asked = Arc::clone(&dashboard);
    let fits = tokio::task::spawn_blocking(move || {
        let secrets = &asked.settings.secrets;
        secrets.password_fits(&login.password) || secrets.token_fits(&login.password)
    })
    .await;
    drop(one);
    if !fits.unwrap_or(false) {
        return (StatusCode::FORBIDDEN, form(&dashboard, Some("That is not it."))).into_response();
    }
    match dashboard.sessions().begin(Instant::now()) {
        Ok(cookie) => {
            let secure = if dashboard.settings.https { "; Secure" } else { "" };
            let cookie = format!("{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Strict{secure}");
            ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()
        }
        Err(error) => {
            tracing::error!("dashboard: {error}");
            guard::refuse(false, StatusCode::INTERNAL_SERVER_ERROR, "No session could be opened.")
        }
    }
}

/// `POST /logout`.
pub async fn leave(State(dashboard): State<Arc<Dashboard>>, headers: HeaderMap) -> Response {
    if let Some(cookie) = guard::cookie(&headers) {
        dashboard.sessions().end(cookie);
    }
    let gone = format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    ([(header::SET_COOKIE, gone)], Redirect::to("/login")).into_response()
}
