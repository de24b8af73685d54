//! What every request passes, whatever it asks for: the name it called us by, who calls, where a form comes from.
//!
//! *In*: a request. *Out*: the request with its [`Caller`], or a refusal; every answer with its safety headers.
//! *Bound*: `limits::WEB_BODY_BYTES_MAX`, `limits::WEB_REQUEST_SECONDS_MAX`. *Spec*: CSP Level 3; Fetch (Origin,
//! Sec-Fetch-Site); docs/dashboard.md, safety.

use super::Dashboard;
use super::access::{Caller, form_fits};
use super::page;
use crate::limits;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Name of the session's cookie.
pub const COOKIE: &str = "portreeve_session";

/// Header in which a script of ours sends its form token.
const FORM_TOKEN_HEADER: &str = "x-form-token";

/// Nothing is allowed but our own files; nothing inline runs or styles.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const SAFETY_HEADERS: &[(&str, &str)] = &[
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    // Not `no-referrer`: browsers then send `Origin: null` with our own forms.
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
];

/// The layer around all routes.
pub async fn guard(State(dashboard): State<Arc<Dashboard>>, request: Request, next: Next) -> Response {
    let api = request.uri().path().starts_with("/api/");
    let mut response = match admit(&dashboard, request).await {
        Ok(request) => {
            let within = Duration::from_secs(limits::WEB_REQUEST_SECONDS_MAX);
            match tokio::time::timeout(within, next.run(request)).await {
                Ok(response) => response,
                Err(_) => refuse(api, StatusCode::SERVICE_UNAVAILABLE, "This took too long. Try again."),
            }
        }
        Err(refusal) => *refusal,
    };
    for (name, value) in SAFETY_HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The request with its caller, or why it goes no further.
async fn admit(dashboard: &Dashboard, request: Request) -> Result<Request, Box<Response>> {
    let path = request.uri().path().to_owned();
    let api = path.starts_with("/api/");
    let refused = |status, text: &str| Err(Box::new(refuse(api, status, text)));
    if !host_is_ours(request.headers(), &dashboard.settings.hosts) {
        return refused(
            StatusCode::MISDIRECTED_REQUEST,
            "This dashboard does not go by that name. Add the name to [web] hosts.",
        );
    }
    let acts = request.method() == Method::POST;
    if acts && !origin_is_ours(request.headers()) {
        return refused(StatusCode::FORBIDDEN, "This request comes from another site.");
    }
    let public = path == "/login" || path == "/healthz" || path.starts_with("/assets/");
    let Some(caller) = caller(dashboard, &request) else {
        if public {
            return bounded(request, None).await;
        }
        return match api {
            true => refused(StatusCode::UNAUTHORIZED, "Send the token: Authorization: Bearer …"),
            false => Err(Box::new(Redirect::to("/login").into_response())),
        };
    };
    if acts && dashboard.settings.read_only && path != "/login" && path != "/logout" {
        return refused(StatusCode::FORBIDDEN, "This dashboard only shows: it is set to read_only.");
    }
    let checked = (acts && path != "/login").then_some(&caller);
    let mut request = bounded(request, checked).await?;
    request.extensions_mut().insert(caller);
    Ok(request)
}

/// The request with its body read; a form that acts must carry its browser's token.
async fn bounded(request: Request, acting: Option<&Caller>) -> Result<Request, Box<Response>> {
    let (parts, body) = request.into_parts();
    let api = parts.uri.path().starts_with("/api/");
    let within = Duration::from_secs(limits::WEB_REQUEST_SECONDS_MAX);
    let read = tokio::time::timeout(within, to_bytes(body, limits::WEB_BODY_BYTES_MAX)).await;
    let Ok(Ok(bytes)) = read else {
        return Err(Box::new(refuse(api, StatusCode::PAYLOAD_TOO_LARGE, "This is too large, or too slow.")));
    };
    if let Some(caller) = acting {
        let given = match parts.headers.get(FORM_TOKEN_HEADER) {
            Some(value) => value.to_str().unwrap_or_default().to_owned(),
            None => form_token_of(&bytes),
        };
        if !form_fits(caller, &given) {
            let text = "This form is out of date. Load the page again, then repeat what you did.";
            return Err(Box::new(refuse(api, StatusCode::FORBIDDEN, text)));
        }
    }
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

fn form_token_of(body: &[u8]) -> String {
    #[derive(serde::Deserialize, Default)]
    struct Token {
        #[serde(default)]
        form_token: String,
    }
    let uri = format!("/?{}", String::from_utf8_lossy(body));
    uri.parse::<axum::http::Uri>()
        .ok()
        .and_then(|uri| axum::extract::Query::<Token>::try_from_uri(&uri).ok())
        .map(|query| query.0.form_token)
        .unwrap_or_default()
}

/// Names are ours by the configuration; addresses cannot be rebound (DNS rebinding needs a name).
fn host_is_ours(headers: &HeaderMap, hosts: &[String]) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = without_port(host).to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse::<IpAddr>().is_ok() || hosts.contains(&name)
}

fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(at) if !host[at..].contains(']') => &host[..at],
        _ => host,
    }
}

/// Whether a POST comes from a page of ours or from no page at all.
fn origin_is_ours(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return false;
    }
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, rest)| rest == host),
        (Some(_), None) => false,
    }
}

fn caller(dashboard: &Dashboard, request: &Request) -> Option<Caller> {
    let headers = request.headers();
    let secrets = &dashboard.settings.secrets;
    let bearer =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if let Some(token) = bearer {
        return secrets.token_fits(token).then_some(Caller::Program);
    }
    let mut sessions = dashboard.sessions();
    if !secrets.is_open() {
        return sessions.find(cookie(headers)?, Instant::now());
    }
    // Browsers name the origin of every POST, and ask first before they send JSON across sites: what does
    // neither is a program on this machine.
    let json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if json && !headers.contains_key(header::ORIGIN) && !headers.contains_key("sec-fetch-site") {
        return Some(Caller::Program);
    }
    Some(Caller::Browser { form_token: sessions.shared_form_token.clone() })
}

/// The session's cookie of a request.
pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .find_map(|line| line.split(';').find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('=')))
}

/// An answer that says no, as a page or as JSON.
pub fn refuse(api: bool, status: StatusCode, text: &str) -> Response {
    if api {
        return (status, axum::Json(serde_json::json!({ "error": text }))).into_response();
    }
    (status, page::bare(status.canonical_reason().unwrap_or("Refused"), text)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_our_names_and_addresses_are_answered() {
        let hosts = vec!["mailwatch.example.org".to_owned()];
        for (host, ours) in [
            ("localhost:8025", true),
            ("127.0.0.1:8025", true),
            ("[::1]:8025", true),
            ("[::1]", true),
            ("192.0.2.1", true),
            ("MailWatch.example.org", true),
            ("mailwatch.example.org:443", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            assert_eq!(host_is_ours(&headers(&[("host", host)]), &hosts), ours, "{host}");
        }
        assert!(!host_is_ours(&HeaderMap::new(), &hosts));
    }

    #[test]
    fn other_sites_cannot_act() {
        let host = ("host", "localhost:8025");
        assert!(origin_is_ours(&headers(&[host])));
        assert!(origin_is_ours(&headers(&[host, ("origin", "http://localhost:8025")])));
        assert!(!origin_is_ours(&headers(&[host, ("origin", "http://localhost:1")])));
        assert!(!origin_is_ours(&headers(&[host, ("origin", "null")])));
        assert!(!origin_is_ours(&headers(&[host, ("sec-fetch-site", "cross-site")])));
        assert!(!origin_is_ours(&headers(&[host, ("sec-fetch-site", "same-site")])));
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        assert_eq!(cookie(&headers(&[("cookie", "a=b; portreeve_session=x1; c=d")])), Some("x1"));
        assert_eq!(cookie(&headers(&[("cookie", "portreeve_sessions=x1")])), None);
    }

    #[test]
    fn a_form_token_is_read_out_of_a_form() {
        assert_eq!(form_token_of(b"reason=a+b&form_token=abc"), "abc");
        assert_eq!(form_token_of(b"reason=a"), "");
        assert_eq!(form_token_of(&[0xff, 0x20, b'&']), "");
    }
}
