//! Where alerts leave: one sink a file, one row in [`SINKS`].
//!
//! *In*: the outbox of a [`Store`](crate::store::Store), row by row behind each sink's own cursor. *Out*: the
//! alert in the sink's form; a fate for each. *Bound*: batches of [`Deliver::batch_max`]; what waits, waits on
//! disk. *Spec*: docs/alerts.md; each sink names its protocol.
//!
//! The outbox gives at-least-once; the alert's stable id, and the file sink's own care, make that exactly once.

mod batch;
pub mod command;
pub mod delivery;
pub mod dial;
pub mod elastic;
pub mod file;
pub mod http;
pub mod mail;
mod needs;
mod plain;
pub mod secret;
pub mod splunk;
pub mod stdout;
mod sys;
pub mod syslog;
pub mod webhook;

pub use needs::Needs;
pub use plain::Sink;

use crate::alert::{self, Alert, Format};
use crate::mail::Untrusted;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;
use std::pin::Pin;
use std::time::Duration;

/// Where alerts go.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SinkConfig {
    /// Standard output.
    Stdout(stdout::Settings),
    /// A file that is appended to.
    File(file::Settings),
    /// A syslog receiver.
    Syslog(syslog::Settings),
    /// Any HTTP server: one signed POST an alert.
    Webhook(webhook::Settings),
    /// Splunk's HTTP Event Collector.
    Splunk(splunk::Settings),
    /// Elasticsearch or OpenSearch.
    Elastic(elastic::Settings),
    /// Mail to people.
    Mail(mail::Settings),
    /// A program that takes the alert on its standard input.
    Command(command::Settings),
}

impl SinkConfig {
    /// `name`, `format` and `severity_min`.
    fn common(&self) -> (&Option<String>, &Option<String>, &Option<String>) {
        match self {
            SinkConfig::Stdout(s) => (&s.name, &s.format, &s.severity_min),
            SinkConfig::File(s) => (&s.name, &s.format, &s.severity_min),
            SinkConfig::Syslog(s) => (&s.name, &s.format, &s.severity_min),
            SinkConfig::Webhook(s) => (&s.name, &s.format, &s.severity_min),
            SinkConfig::Splunk(s) => (&s.name, &s.format, &s.severity_min),
            SinkConfig::Elastic(s) => (&s.name, &s.format, &s.severity_min),
            SinkConfig::Mail(s) => (&s.name, &s.format, &s.severity_min),
            SinkConfig::Command(s) => (&s.name, &s.format, &s.severity_min),
        }
    }

    /// Checks what can be checked without reading secrets and certificates.
    pub fn check(&self) -> Result<(), String> {
        Common::read(self, "ndjson").map(drop)
    }
}

/// One kind of sink.
pub struct SinkKind {
    /// Value of `type` in the configuration.
    pub name: &'static str,
    /// Opens a sink of this kind; `None` where the settings are another kind's.
    pub open: fn(&SinkConfig) -> Option<Result<Opened, String>>,
}

/// All kinds. A new one is one file, one row here, one variant of [`SinkConfig`].
pub const SINKS: &[SinkKind] = &[
    SinkKind { name: "stdout", open: stdout::open },
    SinkKind { name: "file", open: file::open },
    SinkKind { name: "syslog", open: syslog::open },
    SinkKind { name: "webhook", open: webhook::open },
    SinkKind { name: "splunk", open: splunk::open },
    SinkKind { name: "elastic", open: elastic::open },
    SinkKind { name: "mail", open: mail::open },
    SinkKind { name: "command", open: command::open },
];

/// A sink ready to take alerts.
pub struct Opened {
    /// Name of its cursor.
    pub name: String,
    /// Least severity score that it takes.
    pub score_min: u8,
    /// What sends.
    pub deliver: Box<dyn Deliver>,
}

/// An alert on its way.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Place in the outbox.
    pub seq: i64,
    /// The alert.
    pub alert: Alert,
}

/// What became of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The receiver has it.
    Delivered,
    /// Sent, but the protocol gives no receipt: counted apart.
    Unconfirmed,
    /// The receiver will never take it: kept as a dead letter with the reason.
    Dead(String),
    /// To be tried again.
    Later {
        /// Why.
        reason: String,
        /// How long the receiver asks us to wait.
        after: Option<Duration>,
        /// The receiver got it and said no. If it keeps saying so to this letter alone, the letter is dead.
        refused: bool,
    },
}

impl Fate {
    /// To be tried again: the receiver was not reached.
    pub fn unreachable(reason: impl Into<String>) -> Fate {
        Fate::Later { reason: reason.into(), after: None, refused: false }
    }
}

/// Fates of the first letters of a batch, in order. Those it does not mention were not tried.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Vec<Fate>> + Send + 'a>>;

/// What a sink does.
pub trait Deliver: Send {
    /// Most letters of one call.
    fn batch_max(&self) -> usize;

    /// Sends letters. `place` is the sink's note kept with its cursor: it is saved in the transaction that
    /// moves the cursor over the letters.
    fn send<'a>(&'a mut self, letters: &'a [Letter], place: &'a mut String) -> Sending<'a>;

    /// Opens the target anew, as after a rotation.
    fn reopen(&mut self) {}
}

/// Opens one configured sink. The text of an error is one line and says what to do.
pub fn open(config: &SinkConfig) -> Result<Opened, String> {
    let opened = SINKS.iter().find_map(|kind| {
        let opened = (kind.open)(config)?;
        Some(opened.map_err(|error| format!("sink {}: {error}", kind.name)))
    });
    opened.unwrap_or_else(|| Err("sink: unknown type".into()))
}

/// Opens all configured sinks. Two that would share a cursor are refused.
pub fn open_all(configs: &[SinkConfig]) -> Result<Vec<Opened>, String> {
    let mut list: Vec<Opened> = Vec::new();
    for config in configs {
        let opened = open(config)?;
        if list.iter().any(|other| other.name == opened.name) {
            return Err(format!("two sinks are called {:?}: give one of them another name", opened.name));
        }
        list.push(opened);
    }
    Ok(list)
}

/// What every sink may be told, checked. (`name`, `format` and `severity_min` stand in each sink's settings:
/// serde cannot refuse unknown keys in settings that are put together.)
struct Common {
    name: Option<String>,
    format: &'static Format,
    score_min: u8,
}

impl Common {
    fn read(config: &SinkConfig, usual_format: &str) -> Result<Common, String> {
        let (name, format, severity_min) = config.common();
        let format_name = format.as_deref().unwrap_or(usual_format);
        let format = alert::format(format_name).ok_or_else(|| {
            format!("sink.format {format_name:?} is unknown: use {}", alert::format_names())
        })?;
        let score_min = match severity_min.as_deref() {
            None | Some("low") => 0,
            Some("medium") => 47,
            Some("high") => 73,
            Some("critical") => 99,
            Some(other) => {
                return Err(format!(
                    "sink.severity_min {other:?} is unknown: use low, medium, high or critical"
                ));
            }
        };
        Ok(Common { name: name.clone(), format, score_min })
    }

    fn opened(self, target: String, deliver: impl Deliver + 'static) -> Opened {
        Opened { name: self.name.unwrap_or(target), score_min: self.score_min, deliver: Box::new(deliver) }
    }
}

/// A time limit from the configuration.
fn time_limit(seconds: Option<f64>) -> Result<Duration, String> {
    let seconds = seconds.unwrap_or(10.0);
    if !(0.1..=600.0).contains(&seconds) {
        return Err("timeout_seconds must be between 0.1 and 600".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// The beginning of what a receiver said, printable.
fn escaped_start(bytes: &[u8]) -> String {
    Untrusted::bounded(bytes.trim_ascii(), 200).escaped()
}

/// Reads `host:port`, with IPv6 addresses in brackets.
fn host_and_port(text: &str, usual_port: u16) -> Result<(String, u16), String> {
    let bad = || format!("{text:?} is not host:port");
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']').ok_or_else(bad)) {
        Some(inner) => {
            let (host, rest) = inner?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(bad)?) })
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map_or(Ok(usual_port), |port| port.parse().map_err(|_| bad()))?;
    if host.is_empty() || host.contains([':', '/', '@', ' ']) && text.strip_prefix('[').is_none() {
        return Err(bad());
    }
    Ok((host.to_owned(), port))
}

/// `allow_networks` of the configuration.
type AllowNetworks = Vec<IpNet>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_read() {
        let read = |text| host_and_port(text, 514);
        assert_eq!(read("siem.example:6514"), Ok(("siem.example".into(), 6514)));
        assert_eq!(read("siem.example"), Ok(("siem.example".into(), 514)));
        assert_eq!(read("[2001:db8::1]:601"), Ok(("2001:db8::1".into(), 601)));
        assert_eq!(read("[2001:db8::1]"), Ok(("2001:db8::1".into(), 514)));
        for bad in ["", ":514", "a:b", "2001:db8::1", "http://x", "[::1", "a:70000", "user@host"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_table_of_sinks_has_no_two_of_a_name() {
        let names: std::collections::BTreeSet<_> = SINKS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), SINKS.len());
    }
}
