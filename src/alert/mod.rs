//! What leaves when an incident changes: one record, several dialects.
//!
//! *In*: an [`IncidentChange`](crate::engine::incident::IncidentChange). *Out*: an [`Alert`], and its
//! encodings in [`FORMATS`]. *Bound*: `limits::ALERT_*`. *Spec*: docs/alerts.md, `portreeve schema alert`.

mod advice;
pub mod cef;
mod compose;
pub mod ecs;
pub mod leef;
pub mod ocsf;
mod record;
pub mod rfc5424;
pub mod text;
pub mod xarf;

pub use record::*;

use crate::time::Timestamp;

/// One form of the record.
pub struct Format {
    /// Name on the command line and in the configuration.
    pub name: &'static str,
    /// Media type of one encoded record, for sinks that must name it.
    pub media_type: &'static str,
    /// One line (or, for text, one paragraph) with its line end.
    pub encode: fn(&Alert) -> String,
}

/// All forms. A new one is one file and one row.
pub const FORMATS: &[Format] = &[
    Format { name: "ndjson", media_type: "application/json", encode: ndjson },
    Format { name: "ecs", media_type: "application/json", encode: ecs::encode },
    Format { name: "ocsf", media_type: "application/json", encode: ocsf::encode },
    Format { name: "cef", media_type: "text/plain", encode: cef::encode },
    Format { name: "leef", media_type: "text/plain", encode: leef::encode },
    Format { name: "rfc5424", media_type: "text/plain", encode: rfc5424::encode },
    Format { name: "xarf", media_type: "application/json", encode: xarf::encode },
    Format { name: "text", media_type: "text/plain", encode: text::encode },
];

/// The form of a name.
pub fn format(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// The names of all forms, for messages: `ndjson, ecs, …`.
pub fn format_names() -> String {
    let names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
    names.join(", ")
}

/// JSON Schema (2020-12) of the native form.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Alert).to_value()
}

fn ndjson(alert: &Alert) -> String {
    one_line(serde_json::to_string(alert).unwrap_or_default())
}

/// A record and its line end.
fn one_line(mut record: String) -> String {
    record.push('\n');
    record
}

/// The name that serde gives a field-less variant.
fn variant_name<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Event time of an alert, for sorting and tests.
pub fn event_at(alert: &Alert) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(&alert.times.event)
}

/// `opened`, `updated` or `closed`.
pub fn change_name(alert: &Alert) -> String {
    variant_name(&alert.change)
}

/// A stamp of the record in milliseconds since the epoch, as several dialects want it.
fn millis(stamp: &str) -> i64 {
    Timestamp::parse_rfc3339(stamp).map_or(0, |at| at.as_micros().div_euclid(1_000))
}

/// What another system knows the rule by.
const RULE_NAME: &str = "Hijacked mail sender";

/// Product version, as every dialect prints it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// MITRE ATT&CK names of the techniques that [`compose`] uses.
const TECHNIQUES: &[(&str, &str)] = &[
    ("T1078", "Valid Accounts"),
    ("T1505", "Server Software Component"),
    ("T1505.003", "Web Shell"),
    ("T1566", "Phishing"),
    ("T1584", "Compromise Infrastructure"),
    ("T1584.004", "Server"),
    ("T1584.008", "Network Devices"),
    ("T1586", "Compromise Accounts"),
    ("T1586.002", "Email Accounts"),
];

fn technique_name(id: &str) -> &'static str {
    TECHNIQUES.iter().find(|(known, _)| *known == id).map_or("", |(_, name)| name)
}
