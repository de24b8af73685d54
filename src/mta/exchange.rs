//! Exchange Server 2007 to 2019: message tracking logs; the extended message trace of Exchange Online, which has
//! the same columns.
//!
//! *In*: values between commas, with a header or without. *Out*: parts. *Bound*: linear in the line.
//! *Spec*: "Message tracking", Exchange Server documentation: fields and events.
//!
//! Which text is whose: columns are Exchange's, and quotes keep a sender's text inside its own. Host names are
//! taken from the column of our own server, never from a client's greeting. Recipients are a list; a status
//! is believed for one recipient only where there are as many statuses as recipients.

use super::fields::{self, rsplit_once, split_once};
use super::sessions::plain_reply;
use super::stamp::take_iso;
use super::table::{Columns, Row};
use super::{Dialect, Emit, Fate, Line, Memory, Origin, Outcome, Part, Route, Status, json};
use crate::mail::Reply;
use std::net::IpAddr;

pub(super) const DIALECT: Dialect = Dialect {
    name: "exchange",
    about: "Exchange Server's message tracking logs",
    split,
    claims: |_| false,
    recognises,
    read,
    verbatim: false,
    patterns: None,
};

/// Columns of Exchange 2010. Later versions add `network-message-id` after `message-id`, and more at the end.
const COLUMNS_2010: [&str; 26] = [
    "date-time",
    "client-ip",
    "client-hostname",
    "server-ip",
    "server-hostname",
    "source-context",
    "connector-id",
    "source",
    "event-id",
    "internal-message-id",
    "message-id",
    "recipient-address",
    "recipient-status",
    "total-bytes",
    "recipient-count",
    "related-recipient-address",
    "reference",
    "message-subject",
    "sender-address",
    "return-path",
    "message-info",
    "directionality",
    "tenant-id",
    "original-client-ip",
    "original-server-ip",
    "custom-data",
];
const SOURCES: &[&[u8]] = &[
    b"ADMIN",
    b"AGENT",
    b"APPROVAL",
    b"BOOTLOADER",
    b"DNS",
    b"DSN",
    b"GATEWAY",
    b"MAILBOXRULE",
    b"MEETINGMESSAGEPROCESSOR",
    b"ORAR",
    b"PICKUP",
    b"POISONMESSAGE",
    b"PUBLICFOLDER",
    b"QUEUE",
    b"REDUNDANCY",
    b"RESOLVER",
    b"ROUTING",
    b"SAFETYNET",
    b"SMTP",
    b"STOREDRIVER",
    b"TRANSPORT",
];

fn recognises(line: &[u8]) -> bool {
    if line.starts_with(b"#Log-type: Message Tracking Log")
        || line.starts_with(b"#Software: Microsoft Exchange")
        || is_header(line)
    {
        return true;
    }
    take_iso(line).is_some_and(|(_, rest)| rest.first() == Some(&b','))
        && Row::commas(line).is_some_and(|row| {
            (21..=40).contains(&row.len()) && row.at(7).is_some_and(|source| SOURCES.contains(&source))
        })
}

/// `#Fields: date-time,client-ip,…`, in exports `date_time_utc,client_ip,…`.
fn is_header(line: &[u8]) -> bool {
    let names = line.strip_prefix(b"#Fields: ").unwrap_or(line);
    names.starts_with(b"date-time,client-ip,") || names.starts_with(b"date_time_utc,client_ip,")
}

fn split<'l>(_: &mut Memory, line: &'l [u8]) -> Option<Line<'l>> {
    // Protocol logs begin alike.
    let other =
        line.starts_with(b"#Log-type: SMTP ") || line.starts_with(b"#Fields: date-time,connector-id,");
    if (line.starts_with(b"#") && !other) || is_header(line) {
        return Some(Line { stamp: None, host: None, program: b"", pid: None, text: line });
    }
    let (stamp, rest) = take_iso(line)?;
    if rest.first() != Some(&b',') {
        return None;
    }
    // Names and addresses of both ends stand before the first column that may hold a comma.
    let place =
        |wanted: usize| line.split(|byte| *byte == b',').nth(wanted).filter(|field| !field.is_empty());
    let event = Row::commas(line).filter(|row| row.len() >= 21)?;
    let sends = event.at(8).is_some_and(|event| event.starts_with(b"SEND"));
    let host = if sends { place(2) } else { place(4) };
    let host = host.filter(|host| !host.starts_with(b"\""));
    Some(Line { stamp: Some(stamp), host, program: b"", pid: None, text: line })
}

/// The columns of a row without a header, by their number.
fn columns(row: &Row) -> Columns {
    let mut names: Vec<&str> = COLUMNS_2010.to_vec();
    if row.len() > COLUMNS_2010.len() {
        names.insert(11, "network-message-id");
    }
    Columns::known(&names)
}

fn read(line: &Line, memory: &mut Memory, emit: Emit) -> Fate {
    if is_header(line.text) {
        let names = line.text.strip_prefix(b"#Fields: ").unwrap_or(line.text);
        if let Some(header) = Row::commas(names) {
            memory.columns = Columns::of(&header);
        }
        return Fate::Ignored;
    }
    if line.text.starts_with(b"#") {
        return Fate::Ignored;
    }
    let Some(row) = Row::commas(line.text).filter(|row| row.len() >= 21) else { return Fate::Unparsed };
    let known;
    let names = if memory.columns.is_empty() {
        known = columns(&row);
        &known
    } else {
        &memory.columns
    };
    read_event(&Event { row: &row, names }, emit)
}

/// One row with the names of its columns.
struct Event<'r> {
    row: &'r Row,
    names: &'r Columns,
}

impl<'r> Event<'r> {
    fn field(&self, name: &str) -> Option<&'r [u8]> {
        self.row.named(self.names, name)
    }

    fn address(&self, name: &str) -> Option<IpAddr> {
        self.field(name).and_then(json::endpoint)
    }

    /// What the row says about where the message came from.
    fn origin(&self) -> Origin<'r> {
        // Who is authenticated sends 'originating' mail under an address that is his.
        let originating =
            self.field("directionality").is_some_and(|d| d.eq_ignore_ascii_case(b"originating"));
        let size = self.field("total-bytes").and_then(fields::number);
        let recipients = self.field("recipient-count").and_then(fields::number);
        Origin {
            account: self.field("sender-address").filter(|sender| originating && *sender != b"<>"),
            reverse_path: self.field("return-path").map(|path| if path == b"<>" { &[][..] } else { path }),
            size_bytes: size,
            recipients: recipients.and_then(|count| u32::try_from(count).ok()),
            message_id: self.field("message-id"),
            ..Origin::default()
        }
    }
}

fn read_event(event: &Event, emit: Emit) -> Fate {
    let (Some(source), Some(kind)) = (event.field("source"), event.field("event-id")) else {
        return Fate::Unparsed;
    };
    if !kind.iter().all(|byte| byte.is_ascii_uppercase()) {
        return Fate::Unparsed;
    }
    let id = event.field("internal-message-id").unwrap_or_default();
    match (source, kind) {
        (b"SMTP" | b"STOREDRIVER" | b"PICKUP", b"RECEIVE") => {
            let origin = Origin {
                begins: true,
                client: event.address("client-ip"),
                original_client: event.address("original-client-ip"),
                ..event.origin()
            };
            emit(id, Part::Origin(origin));
            Fate::Parsed
        }
        // The message goes on under another id.
        (_, b"TRANSFER") => {
            let original = event.field("reference").and_then(|ids| ids.split(|byte| *byte == b';').next());
            let origin = Origin {
                begins: true,
                client: Some(IpAddr::from([127, 0, 0, 1])),
                original_id: original,
                ..event.origin()
            };
            emit(id, Part::Origin(origin));
            Fate::Parsed
        }
        (b"SMTP" | b"GATEWAY", b"SEND" | b"SENDEXTERNAL") => {
            outcomes(event, id, Status::Sent, Route::Remote, emit)
        }
        (b"STOREDRIVER", b"DELIVER") => outcomes(event, id, Status::Sent, Route::Local, emit),
        (b"AGENT" | b"MAILBOXRULE", b"FAIL") => {
            emit(id, Part::Rejected);
            Fate::Parsed
        }
        (b"STOREDRIVER", b"FAIL") => outcomes(event, id, Status::Bounced, Route::Local, emit),
        (_, b"FAIL") => outcomes(event, id, Status::Bounced, Route::Remote, emit),
        (b"STOREDRIVER", b"DEFER") => outcomes(event, id, Status::Deferred, Route::Local, emit),
        (_, b"DEFER") => outcomes(event, id, Status::Deferred, Route::Remote, emit),
        _ => Fate::Ignored,
    }
}

fn outcomes(event: &Event, id: &[u8], status: Status, route: Route, emit: Emit) -> Fate {
    let recipients: Vec<&[u8]> = addresses(event.field("recipient-address").unwrap_or_default()).collect();
    if recipients.is_empty() {
        return Fate::Unparsed;
    }
    // Between the servers of one organisation.
    let inside = event.field("connector-id") == Some(b"Intra-Organization SMTP Send Connector");
    let route = if inside { Route::Local } else { route };
    let whole = event.field("recipient-status").unwrap_or_default();
    let statuses: Vec<&[u8]> = match recipients.len() {
        1 => vec![whole],
        many => Some(whole.split(|byte| *byte == b';').collect::<Vec<_>>())
            .filter(|statuses| statuses.len() == many)
            .unwrap_or_default(),
    };
    let server = event.address("server-ip").filter(|_| status == Status::Sent);
    for (index, recipient) in recipients.iter().enumerate() {
        let said = statuses.get(index).copied().unwrap_or_default();
        let (words, tried) = last_error(said);
        emit(
            id,
            Part::Outcome(Outcome {
                origin: event.origin(),
                forward_path: Some(recipient),
                route,
                responder: server,
                attempted: server.or(tried),
                status,
                reply: Some(reply(words, status)),
                egress: event.address("client-ip").filter(|_| status == Status::Sent),
                ..Outcome::unknown()
            }),
        );
    }
    Fate::Parsed
}

/// `[{LED=450 4.7.0 later};{MSG=};{FQDN=mx};{IP=198.51.100.1};{LRT=…}]`: the error and the server that gave it.
fn last_error(said: &[u8]) -> (&[u8], Option<IpAddr>) {
    let Some(rest) = said.strip_prefix(b"[{LED=") else { return (said, None) };
    let words = split_once(rest, b"};{").map_or(rest, |(words, _)| words);
    let server = rsplit_once(rest, b"{IP=").and_then(|(_, rest)| fields::address(split_once(rest, b"}")?.0));
    (words, server)
}

fn reply(words: &[u8], status: Status) -> Reply {
    match fields::reply(words) {
        Some(reply) if reply.code.map(Status::of_code) == Some(status) => reply,
        _ => Reply {
            text: Some(fields::reply_text(words)).filter(|text| !text.as_bytes().is_empty()),
            ..plain_reply(status.class())
        },
    }
}

/// Addresses between semicolons that stand outside quotes.
fn addresses(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    list.split(move |byte| {
        quoted ^= *byte == b'"';
        *byte == b';' && !quoted
    })
    .map(<[u8]>::trim_ascii)
    .filter(|address| !address.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::{says, says_on};
    use super::*;

    const HEAD: &str = "2025-01-14T09:29:05.327Z";

    #[test]
    fn with_26_and_30_columns_and_with_a_header() {
        let expected = [
            "877 to=a@example.net Remote Sent by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(250) enhanced=2.1.5 as=?",
            "877 to=b@example.net Remote Sent by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(250) enhanced=2.1.5 as=?",
        ];
        let old = format!(
            "{HEAD},192.0.2.1,MBX1,198.51.100.1,mx.example.net,\"x, y\",Out,SMTP,SEND,877,<m@x>,a@example.net;b@example.net,250 2.1.5 ok;250 2.1.5 ok,1363,2,,,\"Subject, a@evil.example\",bob@example.com,bob@example.com,,Originating,,,,S:a=b"
        );
        assert_eq!(says(&DIALECT, &old), (Fate::Parsed, expected.map(String::from).to_vec()));
        let new = old.replace("<m@x>,", "<m@x>,0b7099ea,") + ",Email,log-id,15.01";
        assert_eq!(says(&DIALECT, &new), (Fate::Parsed, expected.map(String::from).to_vec()));
        assert!(recognises(old.as_bytes()) && recognises(new.as_bytes()));
        let mut memory = Memory::default();
        let header = format!("#Fields: {}", COLUMNS_2010.join(","));
        assert_eq!(says_on(&DIALECT, &mut memory, &header).0, Fate::Ignored);
        assert_eq!(says_on(&DIALECT, &mut memory, &old).1, expected);
        let head = split(&mut memory, old.as_bytes()).unwrap();
        assert_eq!(head.host, Some(&b"MBX1"[..]));
    }

    #[test]
    fn arrivals_failures_and_delays() {
        let row = |source: &str, event: &str, status: &str| {
            format!(
                "{HEAD},192.0.2.9,pc,192.0.2.1,MBX1,,In,{source},{event},877,<m@x>,net,a@example.net,{status},1363,1,,,S,bob@example.com,<>,,Originating,,10.0.0.9,,S:a=b"
            )
        };
        assert_eq!(
            says(&DIALECT, &row("SMTP", "RECEIVE", "")).1,
            [
                "877 origin begins=true client=Some(192.0.2.9) account=bob@example.com original=Some(10.0.0.9)/? from= size=Some(1363) rcpts=Some(1)"
            ]
        );
        assert_eq!(
            says(
                &DIALECT,
                &row(
                    "QUEUE",
                    "FAIL",
                    "[{LED=550 5.1.1 no {IP=192.0.2.66}};{MSG=};{FQDN=mx};{IP=198.51.100.1};{LRT=1}]"
                )
            )
            .1,
            [
                "877 to=a@example.net Remote Bounced by=None tried=Some(198.51.100.1) code=Some(550) enhanced=5.1.1 as=?"
            ]
        );
        assert_eq!(
            says(&DIALECT, &row("SMTP", "DEFER", "")).1,
            ["877 to=a@example.net Remote Deferred by=None tried=None code=None enhanced=4.0.0 as=?"]
        );
        assert_eq!(says(&DIALECT, &row("AGENT", "FAIL", "")).1, ["877 rejected"]);
        assert_eq!(says(&DIALECT, &row("SMTP", "HADISCARD", "")).0, Fate::Ignored);
    }

    #[test]
    fn quoted_recipients_keep_their_semicolons() {
        let list: Vec<_> = addresses(br#""a;b"@x;c@y"#).collect();
        assert_eq!(list, [&br#""a;b"@x"#[..], b"c@y"]);
    }
}
