//! Zeek's smtp.log, as tables with tabs or as JSON: the wire, second hand.
//!
//! *In*: records, one a transaction. *Out*: [`super::Seen`]. *Bound*: linear in the line. *Spec*:
//! `base/protocols/smtp/main.zeek` (fields), "Zeek log formats" (`#separator`, `#fields`, `#unset_field`).
//!
//! Zeek adds a recipient when it is offered, not when it is accepted, and keeps only the last answer. So a
//! refusal among several recipients cannot be told; see docs/dialects.md.

use super::fields;
use super::json;
use super::table::{Columns, Row, list};
use super::{Dialect, Emit, Fate, Line, Memory, Part, Seen};
use std::net::IpAddr;

pub(super) const DIALECT: Dialect = Dialect {
    name: "zeek",
    about: "Zeek's smtp.log (tabs or JSON)",
    split,
    claims: |_| false,
    recognises: |line| {
        matches!(line, b"#path\tsmtp" | b"#separator \\x09")
            || [&b"#set_separator\t"[..], b"#empty_field\t", b"#unset_field\t"]
                .iter()
                .any(|start| line.starts_with(start))
            || (line.starts_with(b"#fields\tts\t") && line.windows(9).any(|word| word == b"\tmailfrom"))
            || json::object(line).is_some_and(|record| is_smtp(&record))
    },
    read,
    verbatim: false,
    patterns: None,
};

/// Whether a record is one of smtp.log: Zeek leaves out members that are unset.
fn is_smtp(record: &serde_json::Map<String, serde_json::Value>) -> bool {
    match record.get("_path").and_then(|path| path.as_str()) {
        Some(path) => path == "smtp",
        None => {
            let has = |name: &str| record.contains_key(name);
            has("id.orig_h") && has("trans_depth") && (has("helo") || has("mailfrom") || has("last_reply"))
        }
    }
}

fn split<'l>(memory: &mut Memory, line: &'l [u8]) -> Option<Line<'l>> {
    let stamp = if line.starts_with(b"#") {
        None
    } else if let Some(record) = json::object(line) {
        record.get("ts").and_then(json::moment)
    } else {
        let row = Row::tabs(line)?;
        let ts = row.at(memory.columns.place("ts").unwrap_or(0))?;
        // Seconds with a fraction, the first value of every line.
        json::moment(&serde_json::Value::String(String::from_utf8_lossy(ts).into_owned()))
    };
    Some(Line { stamp, host: None, program: b"", pid: None, text: line })
}

fn read(line: &Line, memory: &mut Memory, emit: Emit) -> Fate {
    if let Some(names) = line.text.strip_prefix(b"#fields\t") {
        if let Some(header) = Row::tabs(names) {
            memory.columns = Columns::of(&header);
        }
        return Fate::Ignored;
    }
    if line.text.starts_with(b"#") {
        return Fate::Ignored;
    }
    match json::object(line.text) {
        Some(record) => {
            if !is_smtp(&record) {
                return Fate::Ignored;
            }
            let text = |name: &str| json::text(&record, name);
            let paths: Vec<_> = json::texts(&record, "rcptto").into_iter().map(bare).collect();
            let tls = record.get("tls").and_then(serde_json::Value::as_bool).unwrap_or(false);
            let uid = text("uid").unwrap_or_default();
            let depth = record.get("trans_depth").and_then(serde_json::Value::as_u64);
            let ends = (json::address(&record, "id.orig_h"), json::address(&record, "id.resp_h"));
            give(uid, depth, ends, text, &paths, tls, emit)
        }
        None => {
            let Some(row) = Row::tabs(line.text) else { return Fate::Unparsed };
            let columns = &memory.columns;
            // Another of Zeek's logs, or one whose header was not read.
            if columns.place("mailfrom").is_none() {
                return if columns.is_empty() { Fate::Unparsed } else { Fate::Ignored };
            }
            let text =
                |name: &str| row.named(columns, &name.replace('_', "-")).filter(|value| *value != b"-");
            let paths: Vec<_> = list(text("rcptto").filter(|v| *v != b"(empty)"), b',').map(bare).collect();
            let ends =
                (text("id.orig_h").and_then(fields::address), text("id.resp_h").and_then(fields::address));
            let depth = text("trans_depth").and_then(fields::number);
            give(text("uid").unwrap_or_default(), depth, ends, text, &paths, text("tls") == Some(b"T"), emit)
        }
    }
}

fn give<'r>(
    uid: &[u8],
    depth: Option<u64>,
    ends: (Option<IpAddr>, Option<IpAddr>),
    text: impl Fn(&str) -> Option<&'r [u8]>,
    forward_paths: &[&[u8]],
    tls: bool,
    emit: Emit,
) -> Fate {
    let (Some(originator), Some(responder)) = ends else { return Fate::Unparsed };
    let id = [uid, b".", depth.unwrap_or(1).to_string().as_bytes()].concat();
    let seen = Seen {
        originator,
        responder,
        helo: text("helo"),
        tls,
        reverse_path: text("mailfrom").map(bare),
        forward_paths,
        reply: text("last_reply").and_then(fields::reply),
    };
    emit(&id, Part::Seen(seen));
    Fate::Parsed
}

/// An address without the brackets that some versions keep.
fn bare(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"<").and_then(|path| path.strip_suffix(b">")).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::super::{says, says_on};
    use super::*;

    #[test]
    fn tabs_and_json_say_the_same() {
        let expected = [
            r#"CU.2 seen 192.0.2.9 to 198.51.100.1 helo=pc tls=false from=bob@example.com to=["a@example.net", "b@example.net"] code=Some(250)"#,
        ];
        let mut memory = Memory::default();
        let header = "#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\ttrans_depth\thelo\tmailfrom\trcptto\tsubject\tlast_reply\ttls";
        assert_eq!(says_on(&DIALECT, &mut memory, header).0, Fate::Ignored);
        let row = "1757675281.5\tCU\t192.0.2.9\t5\t198.51.100.1\t25\t2\tpc\tbob@example.com\ta@example.net,b@example.net\tx\\x09y\t250 Ok\tF";
        assert_eq!(says_on(&DIALECT, &mut memory, row), (Fate::Parsed, expected.map(String::from).to_vec()));
        let json = r#"{"ts":1757675281.5,"uid":"CU","id.orig_h":"192.0.2.9","id.resp_h":"198.51.100.1","trans_depth":2,"helo":"pc","mailfrom":"<bob@example.com>","rcptto":["a@example.net","<b@example.net>"],"last_reply":"250 Ok","tls":false}"#;
        assert!((DIALECT.recognises)(json.as_bytes()));
        assert_eq!(says(&DIALECT, json).1, expected);
    }
}
