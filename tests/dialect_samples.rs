//! Other people's samples with the truth that stands beside them: what we read equals it, or the difference is
//! one of those that docs/dialects.md lists with its reason. The samples are read where they lie; where they
//! are not, a test says so and passes.

#![allow(clippy::unwrap_used)] // a test fails loudly

use portreeve::company::Company;
use portreeve::mta::{LogCounters, LogRoad, LogSettings, LogSource, dialect_named};
use portreeve::observation::{Delivery, Fact, Observation, Vantage};
use portreeve::tail::LogFile;
use portreeve::time::{CivilClock, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LOGS: &str = "../shared/data/logs";

fn sample(path: &str) -> Option<PathBuf> {
    let path = Path::new(LOGS).join(path);
    if !path.exists() {
        eprintln!("skipped: {} is not here", path.display());
        return None;
    }
    Some(path)
}

fn text(path: &str) -> Option<String> {
    Some(String::from_utf8_lossy(&std::fs::read(sample(path)?).unwrap()).into_owned())
}

/// Files of a folder, sorted.
fn files(folder: &str, extension: &str) -> Option<Vec<PathBuf>> {
    let entries = std::fs::read_dir(sample(folder)?).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    Some(paths)
}

/// Reads lines as one log. The samples' servers bear private addresses: with a network declared they are
/// other people's.
fn read_as(dialect: Option<&str>, lines: &[&str]) -> (LogCounters, Vec<Observation>) {
    let networks = vec!["203.0.113.0/24".parse().unwrap()];
    let company = Arc::new(Company::new(networks, &[], vec![], CivilClock::utc()));
    let mut road = LogRoad::new(company, LogSettings::default());
    let source = road.add_source(LogSource {
        name: "sample".into(),
        dialect: dialect.map(|name| dialect_named(name).unwrap()),
        zone: jiff::tz::TimeZone::UTC,
        modified_at: Some(Timestamp::parse_rfc3339("2026-11-24T00:00:00Z").unwrap()),
    });
    let mut out = Vec::new();
    for line in lines {
        road.line(source, line.as_bytes(), &mut out);
    }
    road.finish(&mut out);
    let counters = road.counters().clone();
    assert_eq!(counters.lines, counters.parsed + counters.ignored + counters.unparsed);
    (counters, out)
}

fn deliveries(out: &[Observation]) -> Vec<(&Observation, &Delivery)> {
    out.iter()
        .filter_map(|seen| match &seen.fact {
            Fact::Delivery(delivery) => Some((seen, delivery)),
            _ => None,
        })
        .collect()
}

/// Account, client and success of every login.
fn logins(out: &[Observation]) -> Vec<(Option<String>, Option<IpAddr>, bool)> {
    out.iter()
        .filter_map(|seen| match &seen.fact {
            Fact::Login(login) => Some((
                seen.sender.account.as_ref().map(|name| name.to_lossy()),
                seen.sender.client,
                login.succeeded,
            )),
            _ => None,
        })
        .collect()
}

fn queue_id(delivery: &Delivery) -> String {
    delivery.queue_id.as_ref().map(|id| id.to_lossy()).unwrap_or_default()
}

fn recipient(delivery: &Delivery) -> String {
    delivery.forward_path.as_ref().map(|path| path.address().to_lossy()).unwrap_or_default()
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

/// What a line's status word makes of the counters: delivered, deferred, bounced.
fn tally(counters: &LogCounters) -> (u64, u64, u64) {
    (counters.delivered, counters.deferred, counters.bounced)
}

fn expected_tally(status: Option<&str>) -> (u64, u64, u64) {
    match status {
        Some("sent") => (1, 0, 0),
        Some("deferred" | "SOFTBOUNCE") => (0, 1, 0),
        Some("bounced") => (0, 0, 1),
        _ => (0, 0, 0),
    }
}

/// A value of whyscream's YAML: bare, or in quotes of either kind.
fn yaml_value(text: &str) -> String {
    let text = text.trim();
    if let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        return inner.replace("\\\"", "\"").replace("\\\\", "\\");
    }
    match text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        Some(inner) => inner.replace("''", "'"),
        None => text.to_owned(),
    }
}

#[test]
fn whyscreams_postfix_messages() {
    let Some(mut paths) = files("whyscream-postfix-grok/test", "yaml") else { return };
    let all = paths.len();
    // Parts of lines: what `tls=`, `delays=` and counters of commands hold.
    let parts = ["tls_features", "delays", "command_counter"];
    paths.retain(|path| !parts.iter().any(|part| path.to_string_lossy().contains(part)));
    let (mut outcomes, mut clients) = (0, 0);
    for path in &paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let yaml = std::fs::read_to_string(path).unwrap();
        let data = yaml.lines().find_map(|line| line.strip_prefix("data: ")).map(yaml_value).unwrap();
        let truth: BTreeMap<String, String> = yaml
            .lines()
            .filter_map(|line| line.strip_prefix("    ").or(line.strip_prefix("  ")))
            .filter_map(|line| line.split_once(": "))
            .map(|(key, value)| (key.trim().to_owned(), yaml_value(value)))
            .collect();
        let daemon = name.rsplit_once('_').unwrap().0;
        let daemon = if daemon == "relay" { "smtp" } else { daemon };
        let line = format!("Nov 24 20:14:01 mx1 postfix/{daemon}[1]: {data}");
        let (counters, out) = read_as(None, &[&line]);
        assert_eq!((counters.unparsed, counters.ambiguous), (0, 0), "{name}: {data}");
        // Addresses are only verified: nothing is delivered.
        let status = truth.get("postfix_status").map(String::as_str);
        assert_eq!(tally(&counters), expected_tally(status), "{name}: {data}");
        if let Some((_, delivery)) = deliveries(&out).first() {
            outcomes += 1;
            assert_eq!(Some(&queue_id(delivery)), truth.get("postfix_queueid"), "{name}");
            let pairs = &truth["postfix_keyvalue_data"];
            assert_eq!(Some(recipient(delivery).as_str()), between(pairs, "to=<", ">"), "{name}");
            let relay = between(pairs, "relay=", ",").and_then(|relay| between(relay, "[", "]"));
            let relay = relay.and_then(|text| text.parse::<IpAddr>().ok());
            assert_eq!(delivery.responder, relay, "{name}");
        }
        let data_pairs = truth.get("postfix_keyvalue_data").map(String::as_str).unwrap_or_default();
        if let Some(user) = between(&format!("{data_pairs},"), "sasl_username=", ",")
            && let Some((account, client, _)) = logins(&out).first()
        {
            clients += 1;
            assert_eq!(account.as_deref(), Some(user.to_lowercase().as_str()), "{name}");
            let truth = truth.get("postfix_client_ip").cloned();
            let client = client.map(|client| client.to_string());
            assert_eq!(client, truth.or(between(&data, "[", "]").map(String::from)), "{name}");
        }
    }
    eprintln!("{} of {all} are lines, {outcomes} outcomes, {clients} logins", paths.len());
    assert!(paths.len() >= 100 && outcomes >= 3);
}

#[test]
fn sekoias_postfix_events() {
    let Some(paths) = files("sekoia-intake/Postfix/postfix/tests", "json") else { return };
    let (mut outcomes, mut other) = (0, Vec::new());
    for path in &paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let event: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let message = event["input"]["message"].as_str().unwrap();
        let program = event.pointer("/input/log/syslog/appname").and_then(Value::as_str);
        let program = program.filter(|program| program.len() > 1);
        // Without a program, only what an attempt's form tells can be compared.
        let program = program.or(message.contains(": to=<").then_some("postfix"));
        let line = match program {
            Some(program) => format!("Nov 24 20:14:01 mx1 {program}[1]: {message}"),
            None => format!("Nov 24 20:14:01 mx1 {message}"),
        };
        let (counters, out) = read_as(Some("syslog"), &[&line]);
        let expected = &event["expected"];
        let Some((_, delivery)) = deliveries(&out).first().copied() else {
            if program.is_some() && counters.unparsed > 0 {
                other.push(format!("{name}: {message}"));
            }
            continue;
        };
        outcomes += 1;
        let text = |pointer: &str| expected.pointer(pointer).and_then(Value::as_str).map(String::from);
        if let Some(id) = text("/postfix/queue_id/local") {
            assert_eq!(queue_id(delivery), id, "{name}");
        }
        if let Some(to) = text("/email/to/address/0") {
            assert_eq!(recipient(delivery), to, "{name}");
        }
        if let Some(status @ ("sent" | "deferred" | "bounced")) = text("/action/name").as_deref() {
            assert_eq!(tally(&counters), expected_tally(Some(status)), "{name}");
        }
        if let (Some(address), Some(responder)) = (text("/destination/ip"), delivery.responder) {
            assert_eq!(responder.to_string(), address, "{name}");
        }
    }
    eprintln!("{} events, {outcomes} outcomes", paths.len());
    assert!(other.is_empty(), "unparsed: {other:#?}");
    assert!(outcomes >= 10);
}

/// What fail2ban says of a line: whether it is an attack, and from where.
fn fail2ban(name: &str) -> Option<Vec<(Value, String)>> {
    let text = text(&format!("fail2ban/fail2ban/tests/files/logs/{name}"))?;
    let mut pairs = Vec::new();
    let mut truth = None;
    for line in text.lines() {
        if let Some(json) = line.strip_prefix("# failJSON: ") {
            truth = serde_json::from_str::<Value>(json).ok();
        } else if !line.starts_with('#')
            && !line.is_empty()
            && let Some(truth) = truth.take()
        {
            pairs.push((truth, line.to_owned()));
        }
    }
    Some(pairs)
}

/// What fail2ban bans for, and we do not count as a refusal or as a failed login.
const KINDS_NOT_COUNTED: &[&str] = &[
    // Manners of a client before it says anything.
    "PREGREET",
    "HANGUP",
    "COMMAND",
    "lost connection after",
    "disconnect from",
    "did not issue MAIL",
    "rejecting commands from",
    "lost input channel",
    "too many errors",
    "improper command pipelining",
    "does not resolve to address",
    "rate limit exceeded",
    "sender verify fail",
    "SMTP connection from",
    "SMTP protocol",
    "SMTP call",
    "SMTP command",
    "SMTP syntax",
    "no IP address found",
    "no host name found",
    "unexpected disconnection",
    "dropped by",
    "dropped: too many",
    "[rejected]",
    "tls_handshake_not_finished",
    "no auth attempts",
    // A message that has no recipients left.
    "nrcpts=0",
    // Dovecot's auth process says the same attempt a second time; see src/mta/dovecot.rs.
    "auth-worker",
    "auth: ",
    "dovecot-auth: ",
    "auth(",
    // No password was tried.
    "plaintext auth",
    "disallowed test auth",
    "before auth was ready",
    "didn't finish SASL auth",
];

#[test]
fn fail2bans_attackers() {
    let mut differences = Vec::new();
    let mut agreed = 0;
    for name in ["postfix", "exim", "sendmail-reject", "dovecot"] {
        let Some(pairs) = fail2ban(name) else { return };
        for (truth, line) in pairs {
            let dialect = if name == "exim" { Some("exim") } else { Some("syslog") };
            let (counters, out) = read_as(dialect, &[&line]);
            let failed = logins(&out).into_iter().find(|(_, _, succeeded)| !succeeded);
            let matches = truth["match"].as_bool() == Some(true);
            let host = truth["host"].as_str().and_then(|host| host.parse::<IpAddr>().ok());
            match &failed {
                // Whoever failed is who fail2ban says it was.
                Some((_, client, _)) if matches && host.is_some() => {
                    assert_eq!(*client, host.map(|host| host.to_canonical()), "{name}: {line}");
                    agreed += 1;
                }
                Some(_) => {}
                None if matches && counters.rejected > 0 => agreed += 1,
                None if matches => differences.push(format!("{name}: {line}")),
                None => {}
            }
        }
    }
    // Each is of a kind that docs/dialects.md lists: what fail2ban bans and we do not count as a refusal or a
    // failed login.
    let known = KINDS_NOT_COUNTED;
    let unknown: Vec<_> =
        differences.iter().filter(|line| !known.iter().any(|kind| line.contains(kind))).collect();
    eprintln!("{agreed} agree, {} differ as listed", differences.len() - unknown.len());
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(agreed >= 60, "{agreed}");
}

#[test]
fn crowdsecs_logins() {
    for (folder, dialect, at_least) in
        [("dovecot-logs", "syslog", 3), ("postfix-logs", "syslog", 1), ("exim-logs", "exim", 1)]
    {
        let base = format!("crowdsecurity-hub/.tests/{folder}");
        let (Some(log), Some(asserts)) =
            (text(&format!("{base}/{folder}.log")), text(&format!("{base}/parser.assert")))
        else {
            return;
        };
        // `…["crowdsecurity/x"][3].Evt.Meta["source_ip"] == "192.0.2.1"`: what the parser of the program says.
        let of_stage = |line: &&str| line.contains("\"s01-parse\"") && line.contains(".Evt.Meta[");
        let mut truth: BTreeMap<usize, BTreeMap<&str, &str>> = BTreeMap::new();
        for line in asserts.lines().filter(of_stage) {
            let index =
                line.rsplit_once("].Evt.Meta[").unwrap().0.rsplit_once('[').unwrap().1.parse().unwrap();
            let key = between(line, ".Evt.Meta[\"", "\"]").unwrap();
            let value = line.split_once("== \"").unwrap().1.trim_end_matches('"');
            truth.entry(index).or_default().insert(key, value);
        }
        let mut agreed = 0;
        for (index, line) in log.lines().enumerate() {
            let (_, out) = read_as(Some(dialect), &[line]);
            let Some(facts) = truth.get(&index) else { continue };
            for (account, client, succeeded) in logins(&out) {
                if succeeded {
                    continue;
                }
                if let (Some(client), Some(source)) = (client, facts.get("source_ip")) {
                    assert_eq!(client.to_string(), *source, "{line}");
                    agreed += 1;
                }
                if let (Some(account), Some(user)) = (account, facts.get("username")) {
                    assert_eq!(account, user.to_lowercase(), "{line}");
                }
            }
        }
        eprintln!("{folder}: {agreed} logins agree");
        assert!(agreed >= at_least, "{folder}: {agreed}");
    }
}

#[test]
fn yo000s_messages() {
    for name in ["test", "test-milter", "test-iso8601.log"] {
        let base = "yo000-postfix-log-parser/test";
        let log = format!("{base}/{}.log", name.trim_end_matches(".log"));
        let (Some(log), Some(truth)) = (text(&log), text(&format!("{base}/{name}.146.out"))) else { return };
        let (counters, out) = read_as(None, &log.lines().collect::<Vec<_>>());
        // The first line of the milter's log lacks the first digit of its year.
        assert_eq!(counters.unparsed, u64::from(name == "test-milter"), "{name}");
        let mut read: Vec<(String, String, String)> = Vec::new();
        for (seen, delivery) in deliveries(&out) {
            let path = delivery.reverse_path.as_ref().and_then(|path| path.mailbox());
            let path = path.map(|path| path.address().to_lossy()).unwrap_or_default();
            read.push((queue_id(delivery), recipient(delivery), path));
            assert!(seen.sender.host.is_some());
        }
        let mut expected = Vec::new();
        // Objects one after another, each over several lines or one.
        for object in serde_json::Deserializer::from_str(&truth).into_iter::<Value>() {
            let object = object.unwrap();
            let text = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
            for message in object["messages"].as_array().into_iter().flatten() {
                let to = message["to"].as_str().unwrap_or_default().to_owned();
                if matches!(message["status"].as_str(), Some("sent" | "deferred" | "bounced")) {
                    expected.push((text("queue_id"), to, text("from")));
                }
            }
        }
        // The parser beside it leaves out messages that are still in the queue: ours are all of its and more.
        for message in &expected {
            let local = !read.contains(message);
            assert!(!local || counters.local > 0, "{name}: {message:?} is missing in {read:#?}");
        }
        eprintln!("{name}: {} of theirs, {} of ours", expected.len(), read.len());
    }
}

#[test]
fn msimersons_readme() {
    let Some(readme) = text("msimerson-postfix-parser/README.md") else { return };
    let mut compared = 0;
    let blocks: Vec<&str> = readme.split("```js").collect();
    for pair in blocks.windows(2) {
        let (Some(line), returns) = (between(pair[0], "asObject('", "')"), pair[1]) else { continue };
        let truth = |name: &str| between(returns, &format!("{name}: '"), "'");
        if !line.contains(": to=<") {
            continue;
        }
        let daemon = if line.contains("relay=none") { "error" } else { "smtp" };
        let (counters, out) = read_as(None, &[&format!("Nov 24 20:14:01 mx1 postfix/{daemon}[1]: {line}")]);
        // 'forwarded' is what this parser calls `sent (forwarded as …)`.
        let word = truth("status").and_then(|status| status.split(' ').next());
        let word = word.map(|word| if word == "forwarded" { "sent" } else { word });
        assert_eq!(tally(&counters), expected_tally(word), "{line}");
        let found = deliveries(&out);
        let Some((_, delivery)) = found.first() else {
            assert_eq!(counters.local, 1, "{line}");
            continue;
        };
        assert_eq!(Some(queue_id(delivery).as_str()), truth("qid"), "{line}");
        assert_eq!(Some(recipient(delivery).as_str()), truth("to"), "{line}");
        compared += 1;
    }
    assert!(compared >= 2, "{compared}");
}

#[test]
fn elastics_exchange_events() {
    let folder = "elastic-integrations/exchange";
    let (Some(log), Some(truth)) = (
        text(&format!("{folder}/test-messagetracking.log")),
        text(&format!("{folder}/truth-messagetracking.json")),
    ) else {
        return;
    };
    let truth: Value = serde_json::from_str(&truth).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert!(LogRoad::looks_like(log.as_bytes()).is_some_and(|dialect| dialect.name == "exchange"));
    for (line, truth) in lines.iter().zip(truth["lines"].as_array().unwrap()) {
        let id = truth["internalmessageid"].as_str().unwrap();
        // A row that sends the same message on shows what was learned when it arrived.
        let send = format!(
            "{},192.0.2.1,{},198.51.100.7,mx,,Out,SMTP,SEND,{id},<m>,net,probe@example.net,250 ok,1,1,,,s,,,,Incoming,,,,,Email,,",
            truth["datetime"].as_str().unwrap(),
            truth["serverhostname"].as_str().unwrap_or("exchange-mail")
        );
        let (counters, out) = read_as(None, &[line, &send]);
        assert_eq!(counters.unparsed, 0, "{line}");
        let found = deliveries(&out);
        let (seen, delivery) = found[0];
        assert_eq!(queue_id(delivery), id);
        if truth["eventid"] != "RECEIVE" {
            continue;
        }
        let path = delivery.reverse_path.as_ref().unwrap().mailbox().unwrap();
        let returned = truth["returnpath"].as_str().or(truth["senderaddress"].as_str());
        assert_eq!(Some(path.address().to_lossy().as_str()), returned);
        // The hop before is believed only where it is ours; here it is nobody's.
        assert_eq!(
            seen.sender.client.map(|client| client.to_string()).as_deref(),
            truth["clientip"].as_str()
        );
    }
    let (counters, out) = read_as(None, &lines);
    assert_eq!((counters.unparsed, counters.ambiguous), (0, 0));
    // The send connector between servers of one organisation is no way out; the other SEND is.
    assert_eq!((deliveries(&out).len(), counters.local), (1, 1));
    let reply = deliveries(&out)[0].1.reply.clone().unwrap();
    assert_eq!((reply.code, recipient(deliveries(&out)[0].1).as_str()), (Some(250), "email@email.com"));
}

#[test]
fn elastics_beats_and_protocol_logs() {
    let Some(log) = text("elastic-beats/exchange-msgtrk-utf8-bom.log") else { return };
    assert!(LogRoad::looks_like(log.as_bytes()).is_some_and(|dialect| dialect.name == "exchange"));
    let (counters, _) = read_as(None, &log.lines().collect::<Vec<_>>());
    assert_eq!((counters.lines, counters.ignored), (7, 7), "a header and two notices of the store");
    for name in ["smtp_SmtpSend.log", "SmtpRecive.log"] {
        let Some(log) = text(&format!("elastic-integrations/exchange/{name}")) else { return };
        assert!(
            LogRoad::looks_like(log.as_bytes()).is_some_and(|dialect| dialect.name == "exchange-protocol")
        );
        assert_eq!(read_as(None, &log.lines().collect::<Vec<_>>()).0.unparsed, 0);
    }
    let Some(log) = text("crowdsecurity-hub/.tests/exchange-smtp-logs/exchange-smtp-logs.log") else {
        return;
    };
    let lines: Vec<&str> = log.lines().collect();
    let with_auth =
        lines[0].replace(",9,", ",8,").replace(">,535 5.7.3 Authentication unsuccessful", "<,AUTH LOGIN");
    let (_, out) = read_as(Some("exchange-protocol"), &[&with_auth, lines[0]]);
    assert_eq!(logins(&out), [(None, Some("192.168.9.212".parse().unwrap()), false)]);
}

#[test]
fn sekoias_message_traces() {
    let Some(paths) = files("sekoia-intake/Office 365/message-trace/tests", "json") else { return };
    for path in paths {
        let event: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let line = event["input"]["message"].as_str().unwrap();
        assert!(LogRoad::looks_like(line.as_bytes()).is_some_and(|dialect| dialect.name == "microsoft365"));
        let (counters, out) = read_as(None, &[line]);
        assert_eq!(counters.unparsed, 0);
        // A message that is still under way has no outcome yet.
        if event["expected"]["event"]["action"] == "GettingStatus" {
            assert!(out.is_empty());
            continue;
        }
        let found = deliveries(&out);
        let (seen, delivery) = found[0];
        assert_eq!(recipient(delivery), event["expected"]["email"]["to"]["address"][0].as_str().unwrap());
        let path = delivery.reverse_path.as_ref().unwrap().mailbox().unwrap().address().to_lossy();
        assert_eq!(path, event["expected"]["email"]["from"]["address"][0].as_str().unwrap());
        assert_eq!(seen.at.to_rfc3339(), event["expected"]["@timestamp"].as_str().unwrap());
        assert_eq!(
            queue_id(delivery),
            event["expected"]["office365"]["message_trace"]["MessageTraceId"].as_str().unwrap()
        );
    }
}

#[test]
fn a_sendmail_farm_counts_as_grep_counts_it() {
    let Some(log) = text("excerpts/sendmail-qidtrace-a.log") else { return };
    let lines: Vec<&str> = log.lines().collect();
    assert!(LogRoad::looks_like(log.as_bytes()).is_some_and(|dialect| dialect.name == "syslog"));
    let (counters, out) = read_as(None, &lines);
    assert_eq!(
        (counters.lines, counters.unparsed, counters.ambiguous),
        (6_600, 0, 0),
        "{:#?}",
        counters.unparsed_samples
    );
    let recipients = |wanted: &str| -> u64 {
        let of = |line: &&&str| line.contains(": to=") && line.contains(wanted);
        lines
            .iter()
            .filter(of)
            .map(|line| {
                between(line, ": to=", ", delay=")
                    .unwrap()
                    .split(',')
                    .filter(|to| to.starts_with('<'))
                    .count() as u64
            })
            .sum()
    };
    assert_eq!(counters.delivered, recipients("stat=Sent"));
    // Whoever made the log anonymous made `sendmail` and `mailer=` of one line into `sendu473` and `u473er=`.
    assert_eq!(counters.deferred, recipients("stat=Deferred") - 1);
    assert!(counters.rejected > 1_000);
    assert!(deliveries(&out).iter().all(|(_, delivery)| delivery.forward_path.is_some()));
}

#[test]
fn opensmtpds_three_dialects() {
    let Some(log) = text("excerpts/opensmtpd-excerpts.log") else { return };
    let (counters, out) = read_as(Some("opensmtpd"), &log.lines().collect::<Vec<_>>());
    // One line was cut by its author, after `rcpt=<->`.
    assert_eq!((counters.lines, counters.unparsed), (60, 1), "{:#?}", counters.unparsed_samples);
    let found: Vec<_> = deliveries(&out)
        .iter()
        .map(|(_, d)| (queue_id(d), recipient(d), d.reply.clone().unwrap().code))
        .collect();
    assert_eq!(
        found,
        [
            ("f6e94209".into(), "gilles.chehade@gmail.com".into(), Some(250)),
            ("8f26ea98".into(), "[redacted]@tin.it".into(), Some(421)),
        ]
    );
    // What a filter of the same machine hands in again counts once, with the client of the first time.
    assert_eq!((counters.inward, counters.local, counters.inherited), (1, 1, 0));
}

#[test]
fn powermtas_cut_columns_cannot_be_placed_in_time() {
    let Some(log) = text("sparkypmta/example.csv") else { return };
    assert!(LogRoad::looks_like(log.as_bytes()).is_some_and(|dialect| dialect.name == "powermta"));
    let (counters, out) = read_as(None, &log.lines().collect::<Vec<_>>());
    assert_eq!((counters.lines, counters.ignored, counters.unparsed, out.len()), (4, 1, 3, 0));
}

#[test]
fn zeeks_records_in_both_forms() {
    let folder = Path::new("../shared/data/captures/zeeklogs");
    let mut both = Vec::new();
    for name in ["wrccdc2018/smtp.log.gz", "wrccdc2018/smtp.json.gz", "slips/test9-smtp.log"] {
        let path = folder.join(name);
        if !path.exists() {
            eprintln!("skipped: {} is not here", path.display());
            return;
        }
        let mut file = LogFile::open(&path).unwrap();
        assert!(LogRoad::looks_like(file.head()).is_some_and(|dialect| dialect.name == "zeek"), "{name}");
        let mut lines = Vec::new();
        while let Some(line) = file.next_line().unwrap() {
            lines.push(String::from_utf8_lossy(line).into_owned());
        }
        let networks = vec!["10.0.0.0/8".parse().unwrap()];
        let company = Arc::new(Company::new(networks, &[], vec![], CivilClock::utc()));
        let mut road = LogRoad::new(company, LogSettings::default());
        let source = road.add_source(LogSource {
            name: "zeek".into(),
            dialect: None,
            zone: jiff::tz::TimeZone::UTC,
            modified_at: None,
        });
        let mut out = Vec::new();
        lines.iter().for_each(|line| road.line(source, line.as_bytes(), &mut out));
        assert_eq!(road.counters().unparsed, 0, "{name}");
        assert!(out.iter().all(|seen| seen.vantage == Vantage::Wire && seen.sender.address.is_some()));
        eprintln!("{name}: {} lines, {} deliveries", lines.len(), deliveries(&out).len());
        both.push(out);
    }
    // JSON has its times in microseconds, the table too.
    assert_eq!(both[0].len(), both[1].len());
    assert_eq!(both[0], both[1]);
    assert!(
        deliveries(&both[2]).iter().all(|(_, delivery)| delivery.reply.as_ref().unwrap().code == Some(554))
    );
}

#[test]
fn zeeks_own_baselines() {
    let folder = "zeek-btest/testing/btest/Baseline";
    let Some(folder) = sample(folder) else { return };
    let mut transactions = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path().join("smtp.log");
        let Ok(log) = std::fs::read_to_string(&path) else { continue };
        // Zeek's suite masks times.
        let log = log.replace("XXXXXXXXXX.XXXXXX", "1757675281.000001");
        let lines: Vec<&str> = log.lines().filter(|line| !line.starts_with("###")).collect();
        let (counters, _) = read_as(Some("zeek"), &lines);
        assert_eq!(counters.unparsed, 0, "{}", path.display());
        transactions += counters.parsed;
    }
    assert!(transactions >= 20, "{transactions}");
}

#[test]
fn a_hijacked_account_as_its_owner_posted_it() {
    let Some(log) = text("issue-threads/wazuh-35544_compromised-account_postfix.log") else { return };
    let (counters, out) = read_as(None, &log.lines().collect::<Vec<_>>());
    assert_eq!((counters.logins, counters.unparsed), (24, 0));
    assert!(
        logins(&out).iter().all(|(account, _, succeeded)| account.as_deref() == Some("myuser") && *succeeded)
    );
}

#[test]
fn ossecs_entries_hold_no_line_that_cannot_be_read() {
    for name in ["mail-alerts", "mail-errors", "vpopmail"] {
        let Some(log) = text(&format!("ossec-hids/etc/rules/log-entries/{name}")) else { return };
        let lines: Vec<&str> = log.lines().filter(|line| !line.starts_with('#')).collect();
        let (counters, out) = read_as(Some("syslog"), &lines);
        eprintln!(
            "{name}: {} lines, {} parsed, {} unparsed",
            counters.lines, counters.parsed, counters.unparsed
        );
        if name == "vpopmail" {
            assert_eq!(counters.unparsed, 0, "{:#?}", counters.unparsed_samples);
            assert!(logins(&out).iter().any(|(account, client, _)| account.as_deref()
                == Some("keith1@xxxx.com")
                && client.is_some()));
        }
    }
}
