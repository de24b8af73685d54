//! Incidents to encode, and a second reading of every dialect, written from the specifications and not from
//! the encoders.

#![allow(clippy::unwrap_used)] // a test fails loudly
#![allow(dead_code, reason = "each test binary uses a part")]

use portreeve::company::Role;
use portreeve::engine::incident::{Change, Evidence, Explanation, Incident, IncidentChange, Kind};
use portreeve::engine::reach::Origin;
use portreeve::engine::sender::{Sample, SenderId};
use portreeve::engine::trail::{OriginShare, Trail};
use portreeve::limits;
use portreeve::mail::Untrusted;
use portreeve::observation::Vantage;
use portreeve::time::Timestamp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A folder of official schemas; says why where it is absent.
pub fn schemas(folder: &str) -> Option<PathBuf> {
    let path = Path::new("../shared/schemas").join(folder);
    if !path.exists() {
        eprintln!(
            "skipped: {} is not there (official schemas are not part of the repository)",
            path.display()
        );
        return None;
    }
    Some(path)
}

/// A whole incident whose every foreign text is `text(n)`.
pub fn change_with(what: Change, sender: SenderId, text: &mut dyn FnMut() -> Vec<u8>) -> IncidentChange {
    let at = |seconds: i64| Timestamp::from_micros((1_795_000_000 + seconds) * 1_000_000 + 123_456);
    let kind = match sender {
        SenderId::Account(_) => Kind::Account,
        SenderId::Block(_) => Kind::Block,
        SenderId::Host(_) => Kind::Relay,
        SenderId::Address(_) => Kind::Host,
    };
    let mut untrusted = |bytes_max| Untrusted::bounded(&text(), bytes_max);
    let sample = |n: u64, untrusted: &mut dyn FnMut(usize) -> Untrusted| Sample {
        at: at(n as i64),
        address: Some("203.0.113.12".parse().unwrap()),
        client: Some("2001:db8::7".parse().unwrap()),
        responder: Some("198.51.100.25".parse().unwrap()),
        reverse_path: Some(untrusted(512)),
        forward_path: None,
        forward_domain: Some(untrusted(512)),
        forward_path_digest: Some(0xfeed + n),
        code: Some(550),
        text: Some(untrusted(256)),
        queue_id: Some(untrusted(128)),
    };
    let samples = (0..5).map(|n| sample(n, &mut untrusted)).collect();
    let related = vec![
        SenderId::Account(untrusted(255)),
        SenderId::Host(untrusted(255)),
        SenderId::Address("203.0.113.13".parse().unwrap()),
        SenderId::Block("203.0.113.0/24".parse().unwrap()),
    ];
    let trail = trail(&mut untrusted);
    let incident = Incident {
        id: 0x0123_4567_89ab_cdef,
        sequence: 3,
        sender,
        role: Role::Workstation,
        role_declared: false,
        vantages: vec![Vantage::Wire, Vantage::Log],
        kind,
        confidence: 0.987_654_321,
        opened_at: at(60),
        first_at: at(0),
        last_at: at(840),
        evidence_nats: 31.25,
        threshold_nats: 12.5,
        template: "spam_blast".into(),
        messages: 1_912,
        hidden: 12,
        accepted: 1_100,
        usual_max: 14.0,
        addresses: 5,
        evidence: vec![
            Evidence {
                name: "volume".into(),
                observed: 1_912.0,
                expected: 14.0,
                unit: "messages".into(),
                weight_nats: None,
                sentence: "1912 messages in 14 min; at this hour at most 14 are normal.".into(),
            },
            Evidence {
                name: "no_such_recipient".into(),
                observed: 0.41,
                expected: 0.01,
                unit: "share of deliveries".into(),
                weight_nats: Some(800.123_456),
                sentence: "41 % of the recipients do not exist; normal is 1.0 %.".into(),
            },
        ],
        explanations: vec![Explanation {
            name: "newsletter".into(),
            says: "an announced mailing".into(),
            worse_by_nats: 22.5,
        }],
        samples,
        related,
        scan: None,
        trail,
        reported_messages: 1_000,
        reported_at: at(600),
        suspicious_at: at(840),
    };
    IncidentChange { change: what, at: at(841 + if what == Change::Closed { 21_600 } else { 0 }), incident }
}

/// A trail as full as it can be.
fn trail(untrusted: &mut dyn FnMut(usize) -> Untrusted) -> Trail {
    let share = |origin, messages: u64| OriginShare {
        origin,
        messages,
        usual: Some(2.5),
        share_of_excess: messages as f64 / 2_000.0,
    };
    let mut origins = vec![share(Origin::Client("198.51.100.77".parse().unwrap()), 1_500)];
    origins.extend((1..limits::ALERT_ORIGINS_MAX).map(|_| share(Origin::Account(untrusted(255)), 40)));
    let mut headers = vec![share(Origin::WebClient("2001:db8::77".parse().unwrap()), 90)];
    headers.extend((1..limits::ALERT_ORIGINS_MAX).map(|_| share(Origin::Script(untrusted(255)), 10)));
    let at = |seconds: i64| Some(Timestamp::from_seconds(1_795_000_000 + seconds));
    Trail {
        origins,
        origins_omitted: 7,
        headers,
        ways: (0..limits::REACH_WAYS_MAX).map(|_| (SenderId::Host(untrusted(255)), 100)).collect(),
        domains: (0..limits::ALERT_DOMAINS_MAX).map(|_| (untrusted(255), 60)).collect(),
        domains_omitted: 500,
        inside: Some(17),
        stages: [None, at(-3_600), at(0), at(30), at(45), None],
    }
}

/// An ordinary incident of an address.
pub fn ordinary(what: Change) -> IncidentChange {
    let texts = ["bounce@example.org", "example.net", "5.1.1 no such user", "4fX1cK0Zz1z9"];
    let mut n = 0;
    change_with(what, SenderId::Address("203.0.113.12".parse().unwrap()), &mut || {
        n += 1;
        texts[(n - 1) % texts.len()].as_bytes().to_vec()
    })
}

/// One of each kind of sender.
pub fn senders(text: &mut dyn FnMut() -> Vec<u8>) -> Vec<SenderId> {
    vec![
        SenderId::Address("203.0.113.12".parse().unwrap()),
        SenderId::Address("2001:db8::12".parse().unwrap()),
        SenderId::Account(Untrusted::bounded(&text(), 255)),
        SenderId::Block("203.0.113.0/24".parse().unwrap()),
        SenderId::Host(Untrusted::bounded(&text(), 255)),
    ]
}

/// CEF by its white paper: seven header fields parted by unescaped bars, then `key=value` pairs whose values
/// run to the space before the next key.
pub fn decode_cef(line: &str) -> Result<(Vec<String>, BTreeMap<String, String>), String> {
    let line = line.strip_suffix('\n').ok_or("no line end")?.strip_prefix("CEF:").ok_or("no CEF:")?;
    let (mut header, mut field, mut chars) = (Vec::new(), String::new(), line.char_indices());
    let mut rest = "";
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => field.push(chars.next().filter(|(_, c)| matches!(c, '|' | '\\')).ok_or("bad escape")?.1),
            '|' => {
                header.push(std::mem::take(&mut field));
                if header.len() == 7 {
                    rest = &line[at + 1..];
                    break;
                }
            }
            c => field.push(c),
        }
    }
    // Every unescaped `=` ends a key; the key begins after the last space before it.
    let bytes = rest.as_bytes();
    let mut marks = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 1,
            b'=' => marks.push(i),
            _ => {}
        }
        i += 1;
    }
    let key_start = |mark: usize| rest[..mark].rfind(' ').map_or(0, |space| space + 1);
    let mut pairs = BTreeMap::new();
    for (n, mark) in marks.iter().enumerate() {
        let end = marks.get(n + 1).map_or(rest.len(), |next| key_start(*next) - 1);
        let key = rest[key_start(*mark)..*mark].to_owned();
        let mut value = String::new();
        let mut chars = rest[mark + 1..end].chars();
        while let Some(c) = chars.next() {
            value.push(match c {
                '\\' => match chars.next().ok_or("escape at the end")? {
                    'n' => '\n',
                    'r' => '\r',
                    c @ ('=' | '\\') => c,
                    c => return Err(format!("bad escape \\{c}")),
                },
                c => c,
            });
        }
        if pairs.insert(key.clone(), value).is_some() {
            return Err(format!("{key} twice"));
        }
    }
    Ok((header, pairs))
}

/// LEEF 2.0: six header fields, the last one the delimiter, then `key=value` parted by it.
pub fn decode_leef(line: &str) -> Result<(Vec<String>, BTreeMap<String, String>), String> {
    let line = line.strip_suffix('\n').ok_or("no line end")?;
    let parts: Vec<&str> = line.splitn(7, '|').collect();
    let [version, .., delimiter, attributes] = parts.as_slice() else { return Err("short header".into()) };
    if *version != "LEEF:2.0" || *delimiter != "x09" {
        return Err(format!("header {version} {delimiter}"));
    }
    let mut pairs = BTreeMap::new();
    for attribute in attributes.split('\t') {
        let (key, value) = attribute.split_once('=').ok_or(format!("no = in {attribute:?}"))?;
        if pairs.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(format!("{key} twice"));
        }
    }
    Ok((parts[..6].iter().map(|part| (*part).into()).collect(), pairs))
}

/// A syslog message by RFC 5424 section 6.
pub struct Syslog {
    pub priority: u8,
    pub timestamp: String,
    pub host: String,
    pub app: String,
    pub message_id: String,
    pub element: Option<String>,
    pub parameters: Vec<(String, String)>,
    pub message: String,
}

/// Reads one RFC 5424 message with at most one structured data element.
pub fn decode_rfc5424(line: &str) -> Result<Syslog, String> {
    let rest = line.strip_prefix('<').ok_or("no <")?;
    let (priority, rest) = rest.split_once('>').ok_or("no >")?;
    let mut fields = rest.splitn(7, ' ');
    let mut next = || fields.next().ok_or("header too short");
    let (version, timestamp, host, app, process) = (next()?, next()?, next()?, next()?, next()?);
    let (message_id, rest) = (next()?, next()?);
    if version != "1" || process != "-" {
        return Err(format!("version {version}, process {process}"));
    }
    let (mut element, mut parameters) = (None, Vec::new());
    let rest = if let Some(rest) = rest.strip_prefix("- ") {
        rest
    } else {
        let mut rest = rest.strip_prefix('[').ok_or("no element")?;
        let id_end = rest.find([' ', ']']).ok_or("element without end")?;
        element = Some(rest[..id_end].to_owned());
        rest = &rest[id_end..];
        loop {
            if let Some(after) = rest.strip_prefix(']') {
                break after.strip_prefix(' ').ok_or("no space before the message")?;
            }
            rest = rest.strip_prefix(' ').ok_or("no space before a parameter")?;
            let (name, after) = rest.split_once("=\"").ok_or("parameter without value")?;
            let (mut value, mut chars) = (String::new(), after.char_indices());
            let end = loop {
                match chars.next().ok_or("value without end")? {
                    (at, '"') => break at,
                    (_, '\\') => {
                        let c = chars.next().ok_or("escape at the end")?.1;
                        if !matches!(c, '"' | '\\' | ']') {
                            return Err(format!("bad escape \\{c}"));
                        }
                        value.push(c);
                    }
                    (_, ']') => return Err("bare ] in a value".into()),
                    (_, c) => value.push(c),
                }
            };
            parameters.push((name.to_owned(), value));
            rest = &after[end + 1..];
        }
    };
    Ok(Syslog {
        priority: priority.parse().map_err(|_| "priority")?,
        timestamp: timestamp.into(),
        host: host.into(),
        app: app.into(),
        message_id: message_id.into(),
        element,
        parameters,
        message: rest.strip_prefix('\u{feff}').unwrap_or(rest).into(),
    })
}

/// Characters that no terminal may ever get from us: C0 but the line end, C1, bidirectional and invisible ones.
pub fn dangerous(c: char) -> bool {
    c.is_control() && c != '\n'
        || matches!(c as u32, 0xad | 0x34f | 0x61c | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f
            | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0x3164 | 0xfe00..=0xfe0f | 0xfeff
            | 0xffa0 | 0xfff0..=0xfffb | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff)
}
