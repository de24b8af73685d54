//! Suricata's EVE records of type `smtp`: the wire, second hand.
//!
//! *In*: JSON objects, one a transaction; other types are ignored. *Out*: [`super::Seen`]. *Bound*: linear in the
//! line. *Spec*: Suricata's `etc/schema.json`: `src_ip`, `dest_ip`, `flow_id`, `tx_id`, `smtp.helo`,
//! `smtp.mail_from`, `smtp.rcpt_to`. Answers are not in it.

use super::json::{self, text, texts};
use super::{Dialect, Emit, Fate, Line, Memory, Part, Seen};
use serde_json::Value;

pub(super) const DIALECT: Dialect = Dialect {
    name: "suricata",
    about: "Suricata's EVE records (event_type smtp)",
    split: |_, line| {
        let record = json::object(line)?;
        let stamp = record.get("timestamp").and_then(json::moment);
        Some(Line { stamp, host: None, program: b"", pid: None, text: line })
    },
    claims: |_| false,
    recognises: |line| {
        json::object(line)
            .is_some_and(|record| record.contains_key("event_type") && record.contains_key("timestamp"))
    },
    read,
    verbatim: false,
    patterns: None,
};

fn read(line: &Line, _: &mut Memory, emit: Emit) -> Fate {
    let Some(record) = json::object(line.text) else { return Fate::Unparsed };
    if text(&record, "event_type") != Some(b"smtp") {
        return Fate::Ignored;
    }
    let Some(smtp) = record.get("smtp").and_then(Value::as_object) else { return Fate::Unparsed };
    let ends = (json::address(&record, "src_ip"), json::address(&record, "dest_ip"));
    let (Some(originator), Some(responder)) = ends else { return Fate::Unparsed };
    let paths: Vec<&[u8]> = texts(smtp, "rcpt_to").into_iter().map(bare).collect();
    let number = |name: &str| record.get(name).and_then(Value::as_u64).map(|number| number.to_string());
    let id = format!("{}.{}", number("flow_id").unwrap_or_default(), number("tx_id").unwrap_or_default());
    let seen = Seen {
        originator,
        responder,
        helo: text(smtp, "helo"),
        tls: false,
        reverse_path: smtp.get("mail_from").and_then(Value::as_str).map(|path| bare(path.as_bytes())),
        forward_paths: &paths,
        reply: None,
    };
    emit(id.as_bytes(), Part::Seen(seen));
    Fate::Parsed
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
        let line = r#"{"timestamp":"2026-07-30T09:00:00.000000+0000","flow_id":7,"event_type":"smtp","src_ip":"192.0.2.9","src_port":5,"dest_ip":"198.51.100.1","dest_port":25,"tx_id":1,"smtp":{"helo":"pc","mail_from":"<>","rcpt_to":["<a@example.net>"]}}"#;
        assert!((DIALECT.recognises)(line.as_bytes()));
        assert_eq!(
            says(&DIALECT, line).1,
            [r#"7.1 seen 192.0.2.9 to 198.51.100.1 helo=pc tls=false from= to=["a@example.net"] code=None"#]
        );
        assert_eq!(says(&DIALECT, &line.replace("\"smtp\",", "\"dns\",")).0, Fate::Ignored);
    }
}
