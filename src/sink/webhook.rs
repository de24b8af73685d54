//! Any HTTP server: one POST an alert.
//!
//! *In*: letters. *Out*: `POST` with the alert as body. *Bound*: `connections` requests at once. *Spec*: RFC 9110;
//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header) is the alert's id, the same at every attempt;
//! `X-Portreeve-Signature: sha256=HEX` is HMAC-SHA-256 (RFC 2104) of the body under the shared secret.

use super::dial::{Guard, TlsSettings};
use super::http::{Client, Endpoint, secret_header};
use super::secret::Secret;
use super::{Common, Deliver, Fate, Letter, Opened, Sending, SinkConfig, time_limit};
use crate::alert::Format;
use hmac::{Hmac, Mac};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::Sha256;
use std::path::PathBuf;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const SIGNATURE: HeaderName = HeaderName::from_static("x-portreeve-signature");

/// Settings of a webhook.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where to post to.
    pub url: String,
    /// Name under which the store remembers how far this sink has come. Default: type and target.
    pub name: Option<String>,
    /// Form of the alert, see docs/alerts.md. Default: ndjson.
    pub format: Option<String>,
    /// Leaves out what is less severe: `low`, `medium`, `high` or `critical`. Default: everything.
    pub severity_min: Option<String>,
    /// File with the secret that signs each body. Default: not signed.
    pub secret_file: Option<PathBuf>,
    /// Environment variable with the same.
    pub secret_env: Option<String>,
    /// File with a token for `Authorization: Bearer`. Default: none.
    pub token_file: Option<PathBuf>,
    /// Environment variable with the same.
    pub token_env: Option<String>,
    /// Requests at once, 1 to 32. Default: 4.
    pub connections: Option<usize>,
    /// Seconds until an attempt is given up. Default: 10.
    pub timeout_seconds: Option<f64>,
    /// Networks that this sink may connect to beside public addresses. Default: none.
    #[schemars(with = "Option<Vec<String>>")]
    pub allow_networks: Option<super::AllowNetworks>,
    /// Certificates.
    #[serde(default)]
    pub tls: TlsSettings,
}

struct Webhook {
    clients: Vec<Client>,
    format: &'static Format,
    secret: Option<Secret>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Opens a sink of this kind.
pub fn open(config: &SinkConfig) -> Option<Result<Opened, String>> {
    let SinkConfig::Webhook(settings) = config else { return None };
    Some(Common::read(config, "ndjson").and_then(|common| open_webhook(settings, common)))
}

fn open_webhook(settings: &Settings, common: Common) -> Result<Opened, String> {
    let guard = Guard::new(settings.allow_networks.as_deref().unwrap_or_default());
    let limit = time_limit(settings.timeout_seconds)?;
    let endpoint = Endpoint::new(&settings.url, &settings.tls, guard, limit)?;
    let connections = settings.connections.unwrap_or(4);
    if !(1..=32).contains(&connections) {
        return Err("connections must be between 1 and 32".into());
    }
    let secret = Secret::read("secret", settings.secret_file.as_deref(), settings.secret_env.as_deref())?;
    let token = Secret::read("token", settings.token_file.as_deref(), settings.token_env.as_deref())?;
    let mut headers = vec![(CONTENT_TYPE, HeaderValue::from_static(common.format.media_type))];
    if let Some(token) = token {
        headers.push(secret_header(AUTHORIZATION, &format!("Bearer {}", token.expose()))?);
    }
    let clients = (0..connections).map(|_| Client::new(endpoint.clone())).collect();
    let webhook = Webhook { clients, format: common.format, secret, headers };
    Ok(common.opened(format!("webhook {}", settings.url), webhook))
}

impl Deliver for Webhook {
    fn batch_max(&self) -> usize {
        200
    }

    fn send<'a>(&'a mut self, letters: &'a [Letter], _: &'a mut String) -> Sending<'a> {
        Box::pin(async move {
            let requests: Vec<_> = letters.iter().map(|letter| self.request(letter)).collect();
            let lanes = self.clients.len();
            // Each connection takes every n-th letter; one that fails stops its own lane.
            let lane = |(first, client): (usize, &mut Client)| {
                let requests: Vec<_> = requests.iter().skip(first).step_by(lanes).cloned().collect();
                let mut client = std::mem::replace(client, client.unconnected());
                async move {
                    let mut fates = Vec::new();
                    for (headers, body) in requests {
                        let fate = match client.post(&headers, body).await {
                            Ok(answer) => answer.fate(),
                            Err(reason) => Fate::unreachable(reason),
                        };
                        let stop = matches!(fate, Fate::Later { .. });
                        fates.push(fate);
                        if stop {
                            break;
                        }
                    }
                    (client, fates)
                }
            };
            let running: Vec<_> = self.clients.iter_mut().enumerate().map(lane).map(tokio::spawn).collect();
            let mut results = Vec::new();
            for (index, task) in running.into_iter().enumerate() {
                let (client, fates) = match task.await {
                    Ok(done) => done,
                    Err(_) => (self.clients[index].unconnected(), Vec::new()),
                };
                self.clients[index] = client;
                results.push(fates.into_iter());
            }
            // In the order of the letters, up to the first that was not tried.
            (0..letters.len()).map_while(|n| results[n % lanes].next()).collect()
        })
    }
}

impl Webhook {
    fn request(&self, letter: &Letter) -> (Vec<(HeaderName, HeaderValue)>, Bytes) {
        let body = (self.format.encode)(&letter.alert);
        let mut headers = self.headers.clone();
        if let Ok(id) = HeaderValue::from_str(&letter.alert.id) {
            headers.push((IDEMPOTENCY_KEY, id));
        }
        if let Some(secret) = &self.secret {
            headers.push((SIGNATURE, signature(secret, body.as_bytes())));
        }
        (headers, Bytes::from(body))
    }
}

fn signature(secret: &Secret, body: &[u8]) -> HeaderValue {
    // HMAC takes a key of any length (RFC 2104 section 2), so this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else {
        return HeaderValue::from_static("");
    };
    mac.update(body);
    let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&format!("sha256={digits}")).unwrap_or(HeaderValue::from_static(""))
}
