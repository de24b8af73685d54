//! Microsoft 365 message trace: `Get-MessageTrace` and its kin, the enhanced summary report, the reporting web
//! service and Graph.
//!
//! *In*: values between commas after a header, or JSON objects, one a line; UTF-16 is read by its ASCII part.
//! *Out*: parts. *Bound*: linear in the line. *Spec*: "Message trace in the modern Exchange admin center".
//!
//! One row is one recipient with what became of it. A trace holds mail of both directions: a row is outbound
//! unless it says that it came in (`directionality`, or an address it came from and none it went to). The
//! sender's address is an authenticated mailbox's, so it stands for the account. Answers are not in it.

use super::fields;
use super::sessions::plain_reply;
use super::stamp::{Stamp, take_iso};
use super::table::{Columns, Row};
use super::{Dialect, Emit, Fate, Line, Memory, Origin, Outcome, Part, Route, Status, json};
use crate::time::Timestamp;
use std::borrow::Cow;

pub(super) const DIALECT: Dialect = Dialect {
    name: "microsoft365",
    about: "Microsoft 365 message trace (CSV exports, JSON)",
    split,
    claims: |_| false,
    recognises: |line| is_header(&narrow(line)) || Trace::of_json(line).is_some(),
    read,
    verbatim: false,
    patterns: None,
};

/// UTF-16 in ASCII's range, as its low bytes. What is left of a byte order mark goes too.
fn narrow(line: &[u8]) -> Cow<'_, [u8]> {
    if !line.contains(&0) {
        return Cow::Borrowed(line);
    }
    Cow::Owned(line.iter().copied().filter(|byte| !matches!(byte, 0 | 0xfe | 0xff)).collect())
}

fn is_header(line: &[u8]) -> bool {
    let Some(row) = Row::commas(line) else { return false };
    let columns = Columns::of(&row);
    let has = |name: &str| columns.place(name).is_some();
    (has("senderaddress") || has("sender-address"))
        && (has("recipientaddress") || has("recipient-address") || has("recipient-status"))
        && (has("received") || has("origin-timestamp-utc") || has("received-date-time"))
}

fn split<'l>(memory: &mut Memory, line: &'l [u8]) -> Option<Line<'l>> {
    let stamp = match Trace::of_json(line) {
        Some(trace) => trace.stamp(),
        None => {
            let text = narrow(line);
            let known = !memory.columns.is_empty() || is_header(&text) || text.starts_with(b"#TYPE ");
            if !known {
                return None;
            }
            Row::commas(&text)
                .and_then(|row| Trace::of_row(&row, &memory.columns))
                .and_then(|trace| trace.stamp())
        }
    };
    Some(Line { stamp, host: None, program: b"", pid: None, text: line })
}

fn read(line: &Line, memory: &mut Memory, emit: Emit) -> Fate {
    if let Some(trace) = Trace::of_json(line.text) {
        return trace.read(emit);
    }
    let text = narrow(line.text);
    if text.starts_with(b"#TYPE ") {
        return Fate::Ignored;
    }
    let Some(row) = Row::commas(&text) else { return Fate::Unparsed };
    if is_header(&text) {
        memory.columns = Columns::of(&row);
        return Fate::Ignored;
    }
    match Trace::of_row(&row, &memory.columns) {
        Some(trace) => trace.read(emit),
        None => Fate::Unparsed,
    }
}

/// One row, whatever it is written in.
#[derive(Debug, Default)]
struct Trace {
    received: Option<Vec<u8>>,
    sender: Option<Vec<u8>>,
    recipient: Option<Vec<u8>>,
    /// `address##events;address##events`, of the enhanced summary.
    recipients: Option<Vec<u8>>,
    status: Option<Vec<u8>>,
    from_address: Option<Vec<u8>>,
    to_address: Option<Vec<u8>>,
    direction: Option<Vec<u8>>,
    size: Option<u64>,
    id: Option<Vec<u8>>,
}

impl Trace {
    fn of_json(line: &[u8]) -> Option<Trace> {
        let object = json::object(line)?;
        let text = |names: &[&str]| {
            names.iter().find_map(|name| json::text_of_any_case(&object, name)).map(<[u8]>::to_vec)
        };
        let trace = Trace {
            received: text(&["Received", "receivedDateTime"]),
            sender: text(&["SenderAddress"]),
            recipient: text(&["RecipientAddress"]),
            recipients: None,
            status: text(&["Status"]),
            from_address: text(&["FromIP"]),
            to_address: text(&["ToIP"]),
            direction: text(&["Directionality"]),
            size: object.get("Size").or(object.get("size")).and_then(serde_json::Value::as_u64),
            id: text(&["MessageTraceId", "id"]),
        };
        let whole = trace.received.is_some() && trace.sender.is_some() && trace.recipient.is_some();
        whole.then_some(trace)
    }

    fn of_row(row: &Row, columns: &Columns) -> Option<Trace> {
        let text =
            |names: &[&str]| names.iter().find_map(|name| row.named(columns, name)).map(<[u8]>::to_vec);
        let trace = Trace {
            received: text(&["received", "received-date-time", "origin-timestamp-utc"]),
            sender: text(&["senderaddress", "sender-address"]),
            recipient: text(&["recipientaddress", "recipient-address"]),
            recipients: text(&["recipient-status"]),
            status: text(&["status"]),
            from_address: text(&["fromip", "original-client-ip"]),
            to_address: text(&["toip"]),
            direction: text(&["directionality"]),
            size: text(&["size", "total-bytes"]).and_then(|size| fields::number(&size)),
            id: text(&["messagetraceid", "message-trace-id", "network-message-id"]),
        };
        (trace.received.is_some() && (trace.recipient.is_some() || trace.recipients.is_some()))
            .then_some(trace)
    }

    /// `2026-01-31T09:00:00.123Z`, `/Date(1658751973240)/`, `1/31/2026 9:00:00 AM`, all of them UTC.
    fn stamp(&self) -> Option<Stamp> {
        let text = self.received.as_deref()?;
        if let Some(millis) = text.strip_prefix(b"/Date(") {
            let digits = millis.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let millis = fields::number(millis.get(..digits)?)?;
            let micros = i64::try_from(millis).ok()?.checked_mul(1_000)?;
            return Some(Stamp::Moment(Timestamp::from_micros(micros)));
        }
        match take_iso(text) {
            Some((Stamp::Civil(civil), _)) => {
                let offset_seconds = civil.offset_seconds.or(Some(0));
                Some(Stamp::Civil(super::stamp::Civil { offset_seconds, ..civil }))
            }
            Some((stamp, _)) => Some(stamp),
            None => {
                let text = std::str::from_utf8(text).ok()?;
                let parsed = ["%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M:%S"]
                    .iter()
                    .find_map(|format| jiff::civil::DateTime::strptime(format, text).ok())?;
                let at = jiff::tz::TimeZone::UTC.to_timestamp(parsed).ok()?;
                Some(Stamp::Moment(Timestamp::from_micros(at.as_microsecond())))
            }
        }
    }

    fn read(&self, emit: Emit) -> Fate {
        if self.is_incoming() {
            return Fate::Ignored;
        }
        let Some(recipients) = &self.recipients else {
            let Some(status) = self.status.as_deref().and_then(status) else { return Fate::Ignored };
            self.give(self.recipient.as_deref().unwrap_or_default(), status, emit);
            return Fate::Parsed;
        };
        let mut fate = Fate::Ignored;
        for entry in recipients.split(|byte| *byte == b';') {
            let Some((recipient, events)) = fields::split_once(entry, b"##") else { continue };
            let last = events.split(|byte| *byte == b',').rfind(|event| !event.trim_ascii().is_empty());
            if let Some(status) = last.and_then(|event| status(event.trim_ascii())) {
                self.give(recipient.trim_ascii(), status, emit);
                fate = Fate::Parsed;
            }
        }
        fate
    }

    fn is_incoming(&self) -> bool {
        match &self.direction {
            Some(direction) => direction.eq_ignore_ascii_case(b"incoming"),
            None => self.from_address.is_some() && self.to_address.is_none(),
        }
    }

    fn give(&self, recipient: &[u8], status: Status, emit: Emit) {
        let responder = self.to_address.as_deref().and_then(fields::address);
        let id = self.id.as_deref().unwrap_or_default();
        let sender = self.sender.as_deref();
        let null = |path: &&[u8]| *path == b"<>";
        let outcome = Outcome {
            origin: Origin {
                client: self.from_address.as_deref().and_then(fields::address),
                account: sender.filter(|sender| !null(sender)),
                reverse_path: sender.map(|sender| if null(&sender) { &[][..] } else { sender }),
                size_bytes: self.size.filter(|size| *size > 0),
                ..Origin::default()
            },
            forward_path: Some(recipient),
            route: Route::Remote,
            responder,
            attempted: responder,
            status,
            reply: Some(plain_reply(status.class())),
            ..Outcome::unknown()
        };
        emit(id, Part::Outcome(outcome));
    }
}

/// What the service calls the end of a message's way. What is still under way, was split up or kept back before
/// it left is no delivery.
fn status(word: &[u8]) -> Option<Status> {
    let is = |known: &[&str]| known.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
    match () {
        () if is(&["Delivered", "Deliver", "Send", "Sent", "SendExternal"]) => Some(Status::Sent),
        () if is(&["Failed", "Fail"]) => Some(Status::Bounced),
        () if is(&["Pending", "Defer", "Deferred"]) => Some(Status::Deferred),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{says, says_on};
    use super::*;

    #[test]
    fn exports_with_their_headers() {
        let mut memory = Memory::default();
        let header = "\"Organization\",\"MessageId\",\"Received\",\"SenderAddress\",\"RecipientAddress\",\"Subject\",\"Status\",\"ToIP\",\"FromIP\",\"Size\",\"MessageTraceId\"";
        assert!((DIALECT.recognises)(header.as_bytes()));
        assert_eq!(says_on(&DIALECT, &mut memory, header).0, Fate::Ignored);
        let row = "\"o\",\"<m>\",\"1/31/2026 9:00:00 PM\",\"bob@example.com\",\"a@example.net\",\"x, \"\"Delivered\"\"\",\"Failed\",\"198.51.100.1\",\"\",\"9\",\"id-1\"";
        assert_eq!(
            says_on(&DIALECT, &mut memory, row).1,
            [
                "id-1 to=a@example.net Remote Bounced by=Some(198.51.100.1) tried=Some(198.51.100.1) code=None enhanced=5.0.0 as=?"
            ]
        );
        let head = split(&mut memory, row.as_bytes()).unwrap();
        let expected = Timestamp::parse_rfc3339("2026-01-31T21:00:00Z").unwrap();
        assert_eq!(head.stamp, Some(Stamp::Moment(expected)));
        let incoming = row.replace("\"198.51.100.1\",\"\"", "\"\",\"192.0.2.9\"");
        assert_eq!(says_on(&DIALECT, &mut memory, &incoming), (Fate::Ignored, vec![]));
    }

    #[test]
    fn the_enhanced_summary_also_in_utf16() {
        let header = "origin_timestamp_utc,sender_address,recipient_status,message_subject,total_bytes,message_id,network_message_id,original_client_ip,directionality,connector_id,delivery_priority";
        let row = "2026-01-31T09:00:00.1234567Z,bob@example.com,a@example.net##Receive, Send;b@example.net##Receive, Fail,Hi,9,<m>,id-1,192.0.2.9,Originating,,Normal";
        let row = row.replace(
            "a@example.net##Receive, Send;b@example.net##Receive, Fail",
            "\"a@example.net##Receive, Send;b@example.net##Receive, Fail\"",
        );
        let wide = |text: &str| text.bytes().flat_map(|byte| [byte, 0]).collect::<Vec<u8>>();
        let mut memory = Memory::default();
        for (header, row) in
            [(header.as_bytes().to_vec(), row.clone().into_bytes()), (wide(header), wide(&row))]
        {
            let head = split(&mut memory, &header).unwrap();
            assert_eq!(read(&head, &mut memory, &mut |_, _| {}), Fate::Ignored);
            let head = split(&mut memory, &row).unwrap();
            let mut recipients = Vec::new();
            read(&head, &mut memory, &mut |_, part| {
                if let Part::Outcome(outcome) = part {
                    recipients.push((outcome.forward_path.unwrap().to_vec(), outcome.status));
                }
            });
            assert_eq!(
                recipients,
                [(b"a@example.net".to_vec(), Status::Sent), (b"b@example.net".to_vec(), Status::Bounced)]
            );
        }
    }

    #[test]
    fn json_of_the_reporting_service_and_of_graph() {
        for line in [
            r#"{"Received":"/Date(1658751973240)/","SenderAddress":"bob@example.com","RecipientAddress":"a@example.net","Status":"Delivered","ToIP":"198.51.100.1","FromIP":null,"Size":0,"MessageTraceId":"id-1"}"#,
            r#"{"id":"id-1","receivedDateTime":"2022-07-25T12:26:13.24Z","senderAddress":"bob@example.com","recipientAddress":"a@example.net","status":"delivered","toIP":"198.51.100.1","size":7}"#,
        ] {
            assert_eq!(
                says(&DIALECT, line).1,
                [
                    "id-1 to=a@example.net Remote Sent by=Some(198.51.100.1) tried=Some(198.51.100.1) code=None enhanced=2.0.0 as=?"
                ]
            );
        }
    }
}
