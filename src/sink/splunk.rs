//! Splunk's HTTP Event Collector.
//!
//! *In*: letters. *Out*: `POST …/services/collector/event`, many events a request. *Bound*: [`BATCH_MAX`].
//! *Spec*: Splunk Enterprise, "Format events for HTTP Event Collector" and its error codes.
//!
//! A batch is taken or refused whole, so after a refusal the driver sends letters one by one to find the bad one.

use super::dial::{Guard, TlsSettings};
use super::http::{Client, Endpoint, secret_header};
use super::secret::Secret;
use super::{Common, Deliver, Fate, Letter, Opened, Sending, SinkConfig, time_limit};
use crate::alert::{Format, event_at};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Events of one request: with 32 KiB each well below the collector's usual limit of 1 MB for 2 KiB alerts.
const BATCH_MAX: usize = 100;

/// Settings of a Splunk collector.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The collector, such as `https://splunk.example:8088`.
    pub url: String,
    /// Name under which the store remembers how far this sink has come. Default: type and target.
    pub name: Option<String>,
    /// Form of the alert, see docs/alerts.md. Default: ndjson.
    pub format: Option<String>,
    /// Leaves out what is less severe: `low`, `medium`, `high` or `critical`. Default: everything.
    pub severity_min: Option<String>,
    /// File with the collector's token.
    pub token_file: Option<PathBuf>,
    /// Environment variable with the same.
    pub token_env: Option<String>,
    /// Index to write to. Default: the token's.
    pub index: Option<String>,
    /// Source type. Default: `portreeve:alert`.
    pub sourcetype: Option<String>,
    /// Seconds until an attempt is given up. Default: 10.
    pub timeout_seconds: Option<f64>,
    /// Networks that this sink may connect to beside public addresses. Default: none.
    #[schemars(with = "Option<Vec<String>>")]
    pub allow_networks: Option<super::AllowNetworks>,
    /// Certificates.
    #[serde(default)]
    pub tls: TlsSettings,
}

struct Splunk {
    client: Client,
    format: &'static Format,
    headers: Vec<(HeaderName, HeaderValue)>,
    index: Option<String>,
    sourcetype: String,
}

/// Opens a sink of this kind.
pub fn open(config: &SinkConfig) -> Option<Result<Opened, String>> {
    let SinkConfig::Splunk(settings) = config else { return None };
    Some(Common::read(config, "ndjson").and_then(|common| open_splunk(settings, common)))
}

fn open_splunk(settings: &Settings, common: Common) -> Result<Opened, String> {
    let guard = Guard::new(settings.allow_networks.as_deref().unwrap_or_default());
    let limit = time_limit(settings.timeout_seconds)?;
    let endpoint = Endpoint::new(&settings.url, &settings.tls, guard, limit)?;
    let token = Secret::required("token", settings.token_file.as_deref(), settings.token_env.as_deref())?;
    let splunk = Splunk {
        client: Client::new(endpoint.below("/services/collector/event")),
        format: common.format,
        headers: vec![
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            secret_header(AUTHORIZATION, &format!("Splunk {}", token.expose()))?,
        ],
        index: settings.index.clone(),
        sourcetype: settings.sourcetype.clone().unwrap_or_else(|| "portreeve:alert".into()),
    };
    Ok(common.opened(format!("splunk {}", settings.url), splunk))
}

impl Deliver for Splunk {
    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    fn send<'a>(&'a mut self, letters: &'a [Letter], _: &'a mut String) -> Sending<'a> {
        Box::pin(async move {
            let body: String = letters.iter().map(|letter| self.event(letter).to_string()).collect();
            let fate = match self.client.post(&self.headers, Bytes::from(body)).await {
                Ok(answer) => answer.fate(),
                Err(reason) => Fate::unreachable(reason),
            };
            vec![fate; letters.len()]
        })
    }
}

impl Splunk {
    fn event(&self, letter: &Letter) -> Value {
        let encoded = (self.format.encode)(&letter.alert);
        let event = match self.format.media_type {
            "application/json" => serde_json::from_str(&encoded).unwrap_or(Value::Null),
            _ => Value::from(encoded.trim_end()),
        };
        let mut envelope = json!({
            "source": "portreeve",
            "sourcetype": self.sourcetype,
            "event": event,
            "fields": { "alert_id": letter.alert.id },
        });
        if let Some(at) = event_at(&letter.alert) {
            envelope["time"] = json!(at.as_seconds_f64());
        }
        if let Some(sensor) = &letter.alert.sensor {
            envelope["host"] = json!(sensor.name);
        }
        if let Some(index) = &self.index {
            envelope["index"] = json!(index);
        }
        envelope
    }
}
