//! rspamd: what its metadata exporter or its history writes as JSON, one object a line.
//!
//! *In*: objects. *Out*: parts. *Bound*: linear in the line. *Spec*: rspamd's documentation, "Metadata
//! exporter" (`ip`, `user`, `from`, `rcpt`, `qid`, `action`) and "History" (`sender_smtp`, `rcpt_smtp`,
//! `unix_time`).
//!
//! A filter sees a message on its way in, and does not know what becomes of it. Where the MTA's own log of the
//! same machine is read too, it adds client and account to what that log says; else a message that it let
//! through counts as one with unknown answers.

use super::fields;
use super::json::{self, text, texts};
use super::{Dialect, Emit, Fate, Line, Memory, Origin, Part};
use serde_json::{Map, Value};

pub(super) const DIALECT: Dialect = Dialect {
    name: "rspamd",
    about: "rspamd's JSON records (metadata exporter, history)",
    split: |_, line| {
        let record = json::object(line)?;
        let time = ["unix_time", "timestamp", "time", "ts", "@timestamp"];
        // Some versions have the scan's duration under `time`: no moment is that small.
        let stamp = time.iter().find_map(|name| record.get(*name).and_then(json::moment));
        Some(Line { stamp, host: None, program: b"", pid: None, text: line })
    },
    claims: |_| false,
    recognises: |line| {
        json::object(line).is_some_and(|record| {
            record.contains_key("action") && record.contains_key("score") && record.contains_key("symbols")
        })
    },
    read,
    verbatim: false,
    patterns: None,
};

fn read(line: &Line, _: &mut Memory, emit: Emit) -> Fate {
    let Some(record) = json::object(line.text) else { return Fate::Unparsed };
    let Some(action) = text(&record, "action") else { return Fate::Unparsed };
    let id = text(&record, "qid").filter(|id| fields::is_id(id)).unwrap_or_default();
    if matches!(action, b"reject" | b"soft reject" | b"greylist") {
        emit(id, Part::Rejected);
        return Fate::Parsed;
    }
    let paths = forward_paths(&record);
    let from = ["from", "sender_smtp", "from_smtp"];
    let origin = Origin {
        client: json::address(&record, "ip"),
        account: text(&record, "user").filter(|user| !matches!(*user, b"unknown" | b"undef" | b"<undef>")),
        reverse_path: from.iter().find_map(|name| text(&record, name)).map(bare),
        size_bytes: record.get("size").and_then(Value::as_u64),
        recipients: u32::try_from(paths.len()).ok().filter(|count| *count > 0),
        ..Origin::default()
    };
    emit(id, Part::Filtered { origin, forward_paths: &paths });
    Fate::Parsed
}

fn forward_paths(record: &Map<String, Value>) -> Vec<&[u8]> {
    let paths = ["rcpt", "rcpt_smtp", "recipients"].iter().map(|name| texts(record, name));
    paths.into_iter().find(|paths| !paths.is_empty()).unwrap_or_default().into_iter().map(bare).collect()
}

/// An address without its brackets.
fn bare(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"<").and_then(|path| path.strip_suffix(b">")).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::super::says;
    use super::*;

    #[test]
    fn records() {
        let line = r#"{"ip":"192.0.2.9","user":"bob","from":"bob@example.com","rcpt":["a@example.net","b@example.net"],"qid":"4AB12CD","action":"no action","score":1.5,"symbols":[],"unix_time":1757675281}"#;
        assert!((DIALECT.recognises)(line.as_bytes()));
        assert_eq!(
            says(&DIALECT, line).1,
            [
                r#"4AB12CD filtered client=Some(192.0.2.9) account=bob from=bob@example.com to=["a@example.net", "b@example.net"]"#
            ]
        );
        let line = r#"{"ip":"192.0.2.9","user":"unknown","sender_smtp":"<x@y>","rcpt_smtp":["<a@b>"],"action":"reject","score":20,"symbols":{},"unix_time":1757675281.5}"#;
        assert_eq!(says(&DIALECT, line).1, [" rejected"]);
    }
}
