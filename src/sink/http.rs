//! One HTTP/1.1 client for the sinks that speak it: one server, connections that stay open, no redirects.
//!
//! *In*: a URL of the configuration, a request. *Out*: status and the beginning of the body. *Bound*: a time
//! limit for each request, [`BODY_BYTES_MAX`] of the answer. *Spec*: RFC 9110, RFC 9112; [`super::dial`] for
//! where it connects to.

use super::dial::{DialError, Guard, Tls, TlsSettings, connect};
use super::{Fate, escaped_start};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::time::Duration;

/// Bytes of an answer that are read; a server that sends more is cut off.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Longest wait that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// A server, and one connection to it.
pub struct Client {
    endpoint: Endpoint,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// Where a URL leads.
#[derive(Clone)]
pub struct Endpoint {
    host: String,
    port: u16,
    authority: HeaderValue,
    path: String,
    tls: Option<Tls>,
    guard: Guard,
    limit: Duration,
}

/// What a server said.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// How long it asks us to wait.
    pub retry_after: Option<Duration>,
    /// The body, or its beginning where it is longer than is read.
    pub body: Vec<u8>,
}

impl Endpoint {
    /// Reads a URL: `http` or `https`, without a password in it.
    pub fn new(url: &str, tls: &TlsSettings, guard: Guard, limit: Duration) -> Result<Endpoint, String> {
        let bad = |why: &str| format!("url {}: {why}", url.escape_default());
        let uri: Uri = url.parse().map_err(|_| bad("this is no URL"))?;
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        if authority.as_str().contains('@') {
            // Not printed: what stands there is a password.
            return Err("url: put name and password into their own settings, not into the URL".into());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let (tls, usual_port) = match uri.scheme_str() {
            Some("https") => (Some(Tls::new(tls, &host)?), 443),
            Some("http") => (None, 80),
            _ => return Err(bad("use https:// or http://")),
        };
        Ok(Endpoint {
            port: authority.port_u16().unwrap_or(usual_port),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| bad("this is no host"))?,
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            host,
            tls,
            guard,
            limit,
        })
    }

    /// The same server, another path below the URL's own.
    pub fn below(&self, path: &str) -> Endpoint {
        Endpoint { path: format!("{}{path}", self.path.trim_end_matches('/')), ..self.clone() }
    }
}

impl Client {
    /// A client that connects when it is needed.
    pub fn new(endpoint: Endpoint) -> Client {
        Client { endpoint, connection: None }
    }

    /// Another client for the same server, not connected yet.
    pub fn unconnected(&self) -> Client {
        Client::new(self.endpoint.clone())
    }

    /// Posts a body. An error says why there was no answer; the connection is then given up.
    pub async fn post(
        &mut self,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Answer, String> {
        let limit = self.endpoint.limit;
        let reused = self.connection.as_ref().is_some_and(|connection| !connection.is_closed());
        let mut result = tokio::time::timeout(limit, self.exchange(headers, body.clone())).await;
        if reused && matches!(result, Ok(Err(_))) {
            // A server may close an idle connection at any moment: once more on a fresh one.
            self.connection = None;
            result = tokio::time::timeout(limit, self.exchange(headers, body)).await;
        }
        let answer = result.unwrap_or_else(|_| Err("no answer in time".into()));
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    async fn exchange(
        &mut self,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Answer, String> {
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => self.open().await?,
        };
        connection.ready().await.map_err(|error| error.to_string())?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.endpoint.path)
            .header(HOST, &self.endpoint.authority)
            .header(USER_AGENT, concat!("portreeve/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_LENGTH, body.len());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let response = connection.send_request(request).await.map_err(|error| chain(&error))?;
        let (head, body) = response.into_parts();
        let retry_after = head
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
        let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(collected) => collected.to_bytes().to_vec(),
            Err(error) => return Err(format!("the answer broke off: {error}")),
        };
        self.connection = Some(connection);
        Ok(Answer { status: head.status, retry_after, body })
    }

    async fn open(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let Endpoint { host, port, tls, guard, limit, .. } = &self.endpoint;
        let text = |error: DialError| format!("{host}:{port}: {error}");
        let stream = connect(host, *port, guard, *limit).await.map_err(text)?;
        let failed = |error: hyper::Error| format!("{host}:{port}: {}", chain(&error));
        match tls {
            Some(tls) => {
                let stream = tls.wrap(stream, *limit).await.map_err(text)?;
                let (sender, driver) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
                tokio::spawn(driver);
                Ok(sender)
            }
            None => {
                let (sender, driver) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
                tokio::spawn(driver);
                Ok(sender)
            }
        }
    }
}

impl Answer {
    /// What an answer means for all that was sent, where the protocol says no more.
    pub fn fate(&self) -> Fate {
        let reason = format!("{}: {}", self.status.as_u16(), escaped_start(&self.body));
        match self.status.as_u16() {
            200..=299 => Fate::Delivered,
            // Too much at once, no right to, nothing there, a proxy without its server: not about this alert.
            300..=399 | 401 | 403 | 404 | 405 | 407 | 408 | 421 | 425 | 429 | 502..=504 => {
                Fate::Later { reason, after: self.retry_after, refused: false }
            }
            _ => Fate::Later { reason, after: self.retry_after, refused: true },
        }
    }
}

/// An error with its sources: hyper keeps the interesting part inside.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// A header whose value is a secret: marked so that it is not printed.
pub fn secret_header(name: HeaderName, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| "the secret holds characters that a header cannot carry".to_owned())?;
    value.set_sensitive(true);
    Ok((name, value))
}
