//! Elasticsearch and OpenSearch.
//!
//! *In*: letters. *Out*: `POST …/_bulk` with one `create` an alert, whose document id is the alert's id: an alert
//! sent twice is there once. *Bound*: [`BATCH_MAX`]. *Spec*: Elasticsearch bulk API: the answer has its own status for
//! each item, also where the whole is 200.

use super::dial::{Guard, TlsSettings};
use super::http::{Answer, Client, Endpoint, secret_header};
use super::secret::Secret;
use super::{Common, Deliver, Fate, Letter, Opened, Sending, SinkConfig, escaped_start, time_limit};
use crate::alert::Format;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Documents of one request.
const BATCH_MAX: usize = 200;

/// Settings of an Elasticsearch or OpenSearch cluster.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The cluster, such as `https://elastic.example:9200`.
    pub url: String,
    /// Name under which the store remembers how far this sink has come. Default: type and target.
    pub name: Option<String>,
    /// Form of the alert, see docs/alerts.md. Default: ecs.
    pub format: Option<String>,
    /// Leaves out what is less severe: `low`, `medium`, `high` or `critical`. Default: everything.
    pub severity_min: Option<String>,
    /// Index or data stream. Default: `portreeve-alerts`.
    pub index: Option<String>,
    /// File with an API key, as Kibana prints it (base64).
    pub api_key_file: Option<PathBuf>,
    /// Environment variable with the same.
    pub api_key_env: Option<String>,
    /// User name, where no API key is given.
    pub username: Option<String>,
    /// File with the user's password.
    pub password_file: Option<PathBuf>,
    /// Environment variable with the same.
    pub password_env: Option<String>,
    /// Seconds until an attempt is given up. Default: 10.
    pub timeout_seconds: Option<f64>,
    /// Networks that this sink may connect to beside public addresses. Default: none.
    #[schemars(with = "Option<Vec<String>>")]
    pub allow_networks: Option<super::AllowNetworks>,
    /// Certificates.
    #[serde(default)]
    pub tls: TlsSettings,
}

struct Elastic {
    client: Client,
    format: &'static Format,
    headers: Vec<(HeaderName, HeaderValue)>,
    index: String,
}

/// Opens a sink of this kind.
pub fn open(config: &SinkConfig) -> Option<Result<Opened, String>> {
    let SinkConfig::Elastic(settings) = config else { return None };
    Some(Common::read(config, "ecs").and_then(|common| open_elastic(settings, common)))
}

fn open_elastic(settings: &Settings, common: Common) -> Result<Opened, String> {
    if common.format.media_type != "application/json" {
        return Err("format must be one of JSON: ecs, ndjson, ocsf or xarf".into());
    }
    let guard = Guard::new(settings.allow_networks.as_deref().unwrap_or_default());
    let limit = time_limit(settings.timeout_seconds)?;
    let endpoint = Endpoint::new(&settings.url, &settings.tls, guard, limit)?;
    let mut headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))];
    if let Some(authorization) = authorization(settings)? {
        headers.push(authorization);
    }
    let elastic = Elastic {
        client: Client::new(endpoint.below("/_bulk")),
        format: common.format,
        headers,
        index: settings.index.clone().unwrap_or_else(|| "portreeve-alerts".into()),
    };
    Ok(common.opened(format!("elastic {}", settings.url), elastic))
}

fn authorization(settings: &Settings) -> Result<Option<(HeaderName, HeaderValue)>, String> {
    let key = Secret::read("api_key", settings.api_key_file.as_deref(), settings.api_key_env.as_deref())?;
    let password =
        Secret::read("password", settings.password_file.as_deref(), settings.password_env.as_deref())?;
    match (key, &settings.username, password) {
        (Some(key), None, None) => {
            secret_header(AUTHORIZATION, &format!("ApiKey {}", key.expose())).map(Some)
        }
        (None, Some(user), Some(password)) => {
            let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
            secret_header(AUTHORIZATION, &format!("Basic {pair}")).map(Some)
        }
        (None, None, None) => Ok(None),
        _ => Err("give an api_key, or username and password, or nothing".into()),
    }
}

impl Deliver for Elastic {
    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    fn send<'a>(&'a mut self, letters: &'a [Letter], _: &'a mut String) -> Sending<'a> {
        Box::pin(async move {
            let body: String = letters.iter().map(|letter| self.item(letter)).collect();
            match self.client.post(&self.headers, Bytes::from(body)).await {
                Ok(answer) if answer.status.is_success() => item_fates(&answer, letters),
                Ok(answer) => vec![answer.fate(); letters.len()],
                Err(reason) => vec![Fate::unreachable(reason); letters.len()],
            }
        })
    }
}

impl Elastic {
    fn item(&self, letter: &Letter) -> String {
        let action = json!({ "create": { "_index": self.index, "_id": letter.alert.id } });
        format!("{action}\n{}", (self.format.encode)(&letter.alert))
    }
}

/// The fate of each item of a bulk answer. An answer that does not tell of all our items tells nothing.
fn item_fates(answer: &Answer, letters: &[Letter]) -> Vec<Fate> {
    let unclear = || {
        let reason = format!("not a bulk answer: {}", escaped_start(&answer.body));
        vec![Fate::Later { reason, after: None, refused: false }; letters.len()]
    };
    let Ok(value) = serde_json::from_slice::<Value>(&answer.body) else { return unclear() };
    let Some(items) = value["items"].as_array().filter(|items| items.len() == letters.len()) else {
        return unclear();
    };
    let fates: Option<Vec<Fate>> =
        items.iter().zip(letters).map(|(item, letter)| item_fate(item, letter, answer)).collect();
    fates.unwrap_or_else(unclear)
}

fn item_fate(item: &Value, letter: &Letter, answer: &Answer) -> Option<Fate> {
    let result = item.get("create").or_else(|| item.get("index"))?;
    if result["_id"].as_str() != Some(&letter.alert.id) {
        return None;
    }
    let status = result["status"].as_u64()?;
    let error = &result["error"];
    let text = |name: &str| escaped_start(error[name].as_str().unwrap_or_default().as_bytes());
    let reason = format!("{status}: {}: {}", text("type"), text("reason"));
    Some(match status {
        // 409: a document of this id is there already, which is what was wanted.
        200..=299 | 409 => Fate::Delivered,
        400 | 413 | 422 => Fate::Dead(reason),
        429 | 500..=599 => Fate::Later { reason, after: answer.retry_after, refused: false },
        _ => Fate::Later { reason, after: answer.retry_after, refused: true },
    })
}
