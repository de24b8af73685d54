//! The syslog form: a whole RFC 5424 message whose facts stand in structured data.
//!
//! *In*: an [`Alert`]. *Out*: one line `<PRI>1 …`. A syslog sink frames it (RFC 6587) and does not print the
//! line end. *Bound*: a fixed list of parameters. *Spec*: RFC 5424 section 6.
//!
//! The SD-ID carries the private enterprise number 32473, which RFC 5612 keeps for examples: portreeve has no
//! number of its own.

use super::{Alert, one_line, variant_name};
use crate::engine::incident::Change;

/// Facility 4, security messages (RFC 5424 table 1).
const FACILITY: u8 = 4;
/// Name of our structured data element.
const SD_ID: &str = "portreeve@32473";

/// One line with its line end.
pub fn encode(alert: &Alert) -> String {
    let parameters: Vec<String> = parameters(alert)
        .into_iter()
        .map(|(name, value)| format!(" {name}=\"{}\"", escape(&value)))
        .collect();
    let data = format!("[{SD_ID}{}]", parameters.concat());
    one_line(format!("{} {data} \u{feff}{}", header(alert), alert.headline))
}

/// A message of another form, such as CEF, in an RFC 5424 envelope without structured data.
pub fn envelope(alert: &Alert, body: &str) -> String {
    format!("{} - {}", header(alert), body.trim_end_matches('\n'))
}

fn header(alert: &Alert) -> String {
    let host = alert.sensor.as_ref().map_or("-".into(), |sensor| print_us_ascii(&sensor.name, 255));
    let id = print_us_ascii(&format!("incident-{}", variant_name(&alert.change)), 32);
    format!("<{}>1 {} {host} portreeve - {id}", FACILITY * 8 + severity(alert), alert.times.event)
}

/// Severity (RFC 5424 table 2): critical 2, high 3 (error), medium 4 (warning), low and closings 5 (notice).
fn severity(alert: &Alert) -> u8 {
    match (alert.change, alert.severity.name.as_str()) {
        (Change::Closed, _) => 5,
        (_, "critical") => 2,
        (_, "high") => 3,
        (_, "medium") => 4,
        _ => 5,
    }
}

fn parameters(alert: &Alert) -> Vec<(&'static str, String)> {
    let mut list = vec![
        ("id", alert.id.clone()),
        ("incident", alert.incident.id.clone()),
        ("sequence", alert.incident.sequence.to_string()),
        ("change", variant_name(&alert.change)),
        ("kind", variant_name(&alert.kind)),
        ("senderKind", alert.sender.kind.clone()),
        ("sender", alert.sender.name.clone()),
        ("severity", alert.severity.name.clone()),
        ("confidence", alert.confidence.to_string()),
        ("template", alert.test.template.clone()),
        ("first", alert.times.first.clone()),
        ("last", alert.times.last.clone()),
        ("messages", alert.blast_radius.messages.to_string()),
        ("accepted", alert.blast_radius.recipients_accepted.to_string()),
    ];
    list.extend(alert.join_keys.queue_ids.iter().map(|queue_id| ("queueId", queue_id.clone())));
    list
}

/// PARAM-VALUE (section 6.3.3): `"`, `\` and `]` are escaped.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '"' | '\\' | ']') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Header fields are printable US-ASCII without spaces (section 6); anything else becomes `_`.
fn print_us_ascii(text: &str, chars_max: usize) -> String {
    let name: String =
        text.chars().take(chars_max).map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
    if name.is_empty() { "-".into() } else { name }
}
