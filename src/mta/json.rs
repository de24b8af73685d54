//! Lines that are JSON objects.
//!
//! *In*: a line. *Out*: values by name. *Bound*: serde_json's depth of 128; linear in the line.
//! *Spec*: RFC 8259.

use super::fields;
use super::stamp::{Stamp, take_iso};
use crate::time::{MICROS_PER_SECOND, Timestamp};
use serde_json::{Map, Value};
use std::net::IpAddr;

/// The object that fills a line.
pub(super) fn object(line: &[u8]) -> Option<Map<String, Value>> {
    if line.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    match serde_json::from_slice(line).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// Text that is not empty.
pub(super) fn text<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v [u8]> {
    object.get(name)?.as_str().map(str::as_bytes).filter(|text| !text.is_empty())
}

/// Text of a member in whatever case it is written.
pub(super) fn text_of_any_case<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v [u8]> {
    let (_, value) = object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    value.as_str().map(str::as_bytes).filter(|text| !text.is_empty())
}

/// An address, with a port or without.
pub(super) fn address(object: &Map<String, Value>, name: &str) -> Option<IpAddr> {
    endpoint(text(object, name)?)
}

/// `192.0.2.1`, `192.0.2.1:25`, `[2001:db8::1]:25`.
pub(super) fn endpoint(text: &[u8]) -> Option<IpAddr> {
    if let Some(address) = fields::address(text) {
        return Some(address);
    }
    match text.strip_prefix(b"[") {
        Some(rest) => fields::address(fields::split_once(rest, b"]")?.0),
        None => fields::address(fields::rsplit_once(text, b":")?.0),
    }
}

/// A list of texts, or one text alone.
pub(super) fn texts<'v>(object: &'v Map<String, Value>, name: &str) -> Vec<&'v [u8]> {
    match object.get(name) {
        Some(Value::String(text)) => vec![text.as_bytes()],
        Some(Value::Array(values)) => {
            values.iter().filter_map(|value| value.as_str().map(str::as_bytes)).collect()
        }
        _ => Vec::new(),
    }
}

/// A moment: RFC 3339, or counted from the epoch in seconds, milliseconds or microseconds. The three units
/// cannot be mistaken for each other in the years 2001 to 2286.
pub(super) fn moment(value: &Value) -> Option<Stamp> {
    if let Some(text) = value.as_str() {
        return take_iso(text.as_bytes()).map(|(stamp, _)| stamp).or_else(|| epoch(text.parse().ok()?));
    }
    epoch(value.as_f64()?)
}

fn epoch(count: f64) -> Option<Stamp> {
    let micros = match count {
        _ if !(1e9..1e16).contains(&count) => return None,
        _ if count < 1e10 => count * MICROS_PER_SECOND as f64,
        _ if count < 1e13 => count * 1e3,
        _ => count,
    };
    Some(Stamp::Moment(Timestamp::from_micros(micros.round() as i64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_in_every_unit() {
        let expected = Some(Stamp::Moment(Timestamp::from_micros(1_658_751_973_240_000)));
        for value in ["1658751973.24", "1658751973240", "1658751973240000", "\"1658751973.24\""] {
            assert_eq!(moment(&serde_json::from_str(value).unwrap()), expected, "{value}");
        }
        for value in ["5", "-1", "1e300", "null", "\"x\"", "[]"] {
            assert_eq!(moment(&serde_json::from_str(value).unwrap()), None, "{value}");
        }
    }

    #[test]
    fn endpoints() {
        let ip = |text: &str| text.parse::<IpAddr>().ok();
        for (text, expected) in [
            ("192.0.2.1:25", "192.0.2.1"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:db8::1]:25", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(endpoint(text.as_bytes()), ip(expected), "{text}");
        }
        assert_eq!(endpoint(b"localhost:25"), None);
    }

    #[test]
    fn deep_nesting_is_no_object() {
        assert!(object("{\"a\":".repeat(4_000).as_bytes()).is_none());
        assert!(object(b"[]").is_none());
    }
}
