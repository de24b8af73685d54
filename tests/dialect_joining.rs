//! Messages whose lines go strange ways: through filters and relays of ours, under ids that come again, with lines
//! lost, retried, notified of. Each transcript says what must come out: one message counts once, and stands under
//! whoever handed it in first.

#![allow(clippy::unwrap_used)] // a test fails loudly

use portreeve::company::{Company, Host};
use portreeve::mta::{LogCounters, LogRoad, LogSettings, LogSource};
use portreeve::observation::{Delivery, Fact, Observation};
use portreeve::time::{CivilClock, Timestamp};
use std::path::Path;
use std::sync::Arc;

fn read(lines: &[&str]) -> (LogCounters, Vec<Observation>) {
    let host =
        |name: &str, address: &str| Host { name: name.into(), address: address.parse().unwrap(), role: None };
    let hosts = vec![host("mx1", "203.0.113.7"), host("mx2", "203.0.113.8")];
    let networks = vec!["203.0.113.0/24".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
    let company = Arc::new(Company::new(networks, &["example.org".into()], hosts, CivilClock::utc()));
    let mut road = LogRoad::new(company, LogSettings::default());
    let source = road.add_source(LogSource {
        name: "x".into(),
        dialect: None,
        zone: jiff::tz::TimeZone::UTC,
        modified_at: Some(Timestamp::parse_rfc3339("2026-11-24T23:00:00Z").unwrap()),
    });
    let mut out = Vec::new();
    for line in lines {
        road.line(source, format!("Nov 24 {line}").as_bytes(), &mut out);
    }
    assert_eq!(road.counters().unparsed, 0, "{:?}", road.counters().unparsed_samples);
    (road.counters().clone(), out)
}

fn deliveries(out: &[Observation]) -> Vec<(&Observation, &Delivery)> {
    out.iter()
        .filter_map(|seen| match &seen.fact {
            Fact::Delivery(delivery) => Some((seen, delivery)),
            _ => None,
        })
        .collect()
}

/// Account and client of a delivery, and whether it was tried before.
fn who(seen: &(&Observation, &Delivery)) -> (Option<String>, Option<String>, Option<bool>) {
    let account = seen.0.sender.account.as_ref().map(|name| name.to_lossy());
    (account, seen.0.sender.client.map(|client| client.to_string()), seen.1.retry)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn a_content_filter_on_the_same_machine_counts_once() {
    // amavis after the queue: 10024 takes the message, 10025 hands it back under a new id.
    let (counters, out) = read(&[
        "20:00:01 mx1 postfix/submission/smtpd[1]: AAAA11: client=pc[192.0.2.9], sasl_method=PLAIN, sasl_username=bob",
        "20:00:01 mx1 postfix/qmgr[2]: AAAA11: from=<bob@example.org>, size=9, nrcpt=1 (queue active)",
        "20:00:02 mx1 postfix/10025/smtpd[3]: BBBB22: client=localhost[127.0.0.1]",
        "20:00:02 mx1 postfix/qmgr[2]: BBBB22: from=<bob@example.org>, size=99, nrcpt=1 (queue active)",
        "20:00:02 mx1 postfix/amavis/smtp[4]: AAAA11: to=<a@x.example>, relay=127.0.0.1[127.0.0.1]:10024, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as BBBB22)",
        "20:00:02 mx1 postfix/qmgr[2]: AAAA11: removed",
        "20:00:03 mx1 postfix/smtp[5]: BBBB22: to=<a@x.example>, relay=mx.x.example[198.51.100.1]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)",
    ]);
    let found = deliveries(&out);
    assert_eq!((found.len(), counters.messages, counters.inward), (1, 1, 1));
    assert_eq!(who(&found[0]), (some("bob"), some("192.0.2.9"), Some(false)));
}

#[test]
fn xforward_names_the_first_client() {
    let lines = |filter: &str| {
        [
            format!("20:00:02 mx1 postfix/10025/smtpd[3]: BBBB22: client=f[{filter}], orig_queue_id=AAAA11, orig_client=pc[192.0.2.9]"),
            "20:00:02 mx1 postfix/qmgr[2]: BBBB22: from=<bob@example.org>, size=99, nrcpt=1 (queue active)".into(),
            "20:00:03 mx1 postfix/smtp[5]: BBBB22: to=<a@x.example>, relay=mx.x.example[198.51.100.1]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)".into(),
        ]
    };
    // Only a machine of ours is believed.
    for (filter, client) in
        [("127.0.0.1", "192.0.2.9"), ("10.1.2.3", "192.0.2.9"), ("192.0.2.77", "192.0.2.77")]
    {
        let lines = lines(filter);
        let (_, out) = read(&lines.each_ref().map(String::as_str));
        assert_eq!(who(&deliveries(&out)[0]).1, some(client), "{filter}");
    }
}

#[test]
fn a_relay_of_ours_passes_on_who_is_behind() {
    let (counters, out) = read(&[
        "20:00:01 mx1 postfix/submission/smtpd[1]: AAAA11: client=pc[192.0.2.9], sasl_method=PLAIN, sasl_username=bob",
        "20:00:01 mx1 postfix/qmgr[2]: AAAA11: from=<bob@example.org>, size=9, nrcpt=1 (queue active)",
        "20:00:02 mx2 postfix/smtpd[3]: CCCC33: client=mx1[203.0.113.7]",
        "20:00:02 mx1 postfix/smtp[4]: AAAA11: to=<a@x.example>, relay=mx2[203.0.113.8]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as CCCC33)",
        "20:00:03 mx2 postfix/smtp[5]: CCCC33: to=<a@x.example>, relay=mx.x.example[198.51.100.1]:25, delay=1, delays=0/0/0/1, dsn=5.1.1, status=bounced (host mx.x.example[198.51.100.1] said: 550 5.1.1 no (in reply to RCPT TO command))",
    ]);
    let found = deliveries(&out);
    assert_eq!((found.len(), counters.messages), (1, 1));
    assert_eq!(who(&found[0]), (some("bob"), some("192.0.2.9"), Some(false)));
    assert_eq!(found[0].0.sender.address, Some("203.0.113.8".parse().unwrap()));
}

#[test]
fn an_id_that_comes_again_is_another_message() {
    let attempt = |time: &str, to: &str| {
        format!(
            "{time} mx1 postfix/smtp[5]: AAAA11: to=<{to}>, relay=mx[198.51.100.1]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)"
        )
    };
    let (first, second) = (attempt("20:00:02", "a@x.example"), attempt("21:00:02", "b@x.example"));
    // With `removed` between, and with that line lost.
    for removed in [Some("20:00:03 mx1 postfix/qmgr[2]: AAAA11: removed"), None] {
        let mut lines = vec![
            "20:00:01 mx1 postfix/smtpd[1]: AAAA11: client=pc[192.0.2.9], sasl_method=PLAIN, sasl_username=bob",
            "20:00:01 mx1 postfix/qmgr[2]: AAAA11: from=<bob@example.org>, size=9, nrcpt=1 (queue active)",
            &first,
        ];
        lines.extend(removed);
        lines.push("21:00:01 mx1 postfix/pickup[1]: AAAA11: uid=33 from=<www-data>");
        lines.push(&second);
        let (counters, out) = read(&lines);
        let found = deliveries(&out);
        assert_eq!(counters.messages, 2);
        assert_eq!(who(&found[0]), (some("bob"), some("192.0.2.9"), Some(false)));
        assert_eq!(who(&found[1]), (None, None, Some(false)));
    }
}

#[test]
fn lost_lines_leave_facts_unknown() {
    let (_, out) = read(&[
        "20:00:03 mx1 postfix/smtp[5]: AAAA11: to=<a@x.example>, relay=mx[198.51.100.1]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)",
    ]);
    let found = deliveries(&out);
    assert_eq!(who(&found[0]), (None, None, None));
    assert_eq!(found[0].1.reverse_path, None);
}

#[test]
fn retries_and_notifications() {
    let attempt = |time: &str, status: &str| {
        format!(
            "{time} mx1 postfix/smtp[5]: AAAA11: to=<a@x.example>, relay=mx[198.51.100.1]:25, delay=1, delays=0/0/0/1, {status}"
        )
    };
    let later = "dsn=4.2.0, status=deferred (host mx[198.51.100.1] said: 450 4.2.0 later (in reply to RCPT TO command))";
    let (first, again, last) = (
        attempt("20:00:02", later),
        attempt("20:10:02", later),
        attempt(
            "21:00:02",
            "dsn=5.1.1, status=bounced (host mx[198.51.100.1] said: 550 5.1.1 no (in reply to RCPT TO command))",
        ),
    );
    let (counters, out) = read(&[
        "20:00:01 mx1 postfix/smtpd[1]: AAAA11: client=pc[192.0.2.9], sasl_method=PLAIN, sasl_username=bob",
        "20:00:01 mx1 postfix/qmgr[2]: AAAA11: from=<bob@example.org>, size=9, nrcpt=1 (queue active)",
        &first,
        &again,
        &last,
        "21:00:03 mx1 postfix/bounce[6]: AAAA11: sender non-delivery notification: DDDD44",
        "21:00:03 mx1 postfix/qmgr[2]: DDDD44: from=<>, size=9, nrcpt=1 (queue active)",
        "21:00:03 mx1 postfix/qmgr[2]: AAAA11: removed",
        "21:00:04 mx1 postfix/smtp[5]: DDDD44: to=<out@y.example>, relay=mx.y.example[198.51.100.2]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)",
    ]);
    let found = deliveries(&out);
    let retries: Vec<_> = found.iter().map(|seen| who(seen).2).collect();
    assert_eq!(retries[..3], [Some(false), Some(true), Some(true)]);
    assert_eq!((counters.retries, counters.messages), (2, 2));
    // A notification is told by its null path, and stands under nobody.
    assert_eq!(found[3].1.reverse_path.as_ref().unwrap().mailbox(), None);
    assert_eq!((who(&found[3]).0, who(&found[3]).1), (None, None));
}

#[test]
fn instances_and_other_mtas_of_one_machine_do_not_mix() {
    let (_, out) = read(&[
        "20:00:01 mx1 postfix-out/smtpd[1]: AAAA11: client=pc[192.0.2.9], sasl_method=PLAIN, sasl_username=bob",
        "20:00:01 mx1 sm-mta[7]: s1N7vR47006519: from=<eve@example.org>, size=5, class=0, nrcpts=1, relay=other [192.0.2.10]",
        "20:00:02 mx1 postfix-out/smtp[5]: AAAA11: to=<a@x.example>, relay=mx[198.51.100.1]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)",
        "20:00:02 mx1 sm-mta[8]: s1N7vR47006519: to=<b@x.example>, delay=00:00:01, xdelay=00:00:01, mailer=esmtp, pri=1, relay=mx. [198.51.100.1], dsn=2.0.0, stat=Sent (ok)",
    ]);
    let found = deliveries(&out);
    assert_eq!(who(&found[0]), (some("bob"), some("192.0.2.9"), Some(false)));
    assert_eq!(who(&found[1]), (None, some("192.0.2.10"), Some(false)));
}

#[test]
fn a_filter_without_its_mtas_log_counts_and_with_it_only_adds() {
    let record = r#"{"ip":"192.0.2.9","user":"bob","from":"bob@example.org","rcpt":["a@x.example"],"qid":"AAAA11","action":"no action","score":1.5,"symbols":[],"unix_time":1795550402}"#;
    let company =
        Arc::new(Company::new(vec!["203.0.113.0/24".parse().unwrap()], &[], vec![], CivilClock::utc()));
    let mut road = LogRoad::new(company, LogSettings::default());
    let mut source = |name: &str| {
        road.add_source(LogSource {
            name: name.into(),
            dialect: None,
            zone: jiff::tz::TimeZone::UTC,
            modified_at: None,
        })
    };
    let (postfix, rspamd) = (source("mx1"), source("mx1"));
    let mut out = Vec::new();
    road.line(rspamd, record.as_bytes(), &mut out);
    assert_eq!(deliveries(&out).len(), 1);
    assert_eq!(deliveries(&out)[0].1.reply, None);
    out.clear();
    let record = record.replace("AAAA11", "BBBB22");
    road.line(postfix, b"2026-11-24T20:00:01Z mx1 postfix/smtpd[1]: BBBB22: client=pc[192.0.2.9]", &mut out);
    road.line(rspamd, record.as_bytes(), &mut out);
    assert_eq!(deliveries(&out).len(), 0);
    road.line(postfix, b"2026-11-24T20:00:03Z mx1 postfix/smtp[5]: BBBB22: to=<a@x.example>, relay=mx[198.51.100.1]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)", &mut out);
    assert_eq!(who(&deliveries(&out)[0]), (some("bob"), some("192.0.2.9"), Some(false)));
}

#[test]
fn lightmeters_filtered_message_counts_once() {
    let path = Path::new(
        "../shared/data/logs/lightmeter-controlcenter/test_files/postfix_logs/individual_files/5_zimbra_amavisd.log",
    );
    if !path.exists() {
        eprintln!("skipped: {} is not here", path.display());
        return;
    }
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let company =
        Arc::new(Company::new(vec!["203.0.113.0/24".parse().unwrap()], &[], vec![], CivilClock::utc()));
    let mut road = LogRoad::new(company, LogSettings::default());
    let source = road.add_source(LogSource {
        name: "x".into(),
        dialect: None,
        zone: jiff::tz::TimeZone::UTC,
        modified_at: None,
    });
    let mut out = Vec::new();
    text.lines().for_each(|line| road.line(source, line.as_bytes(), &mut out));
    let outward: Vec<_> =
        deliveries(&out).iter().map(|(_, delivery)| delivery.forward_path.clone()).collect();
    let distinct: std::collections::BTreeSet<_> = outward.iter().collect();
    eprintln!("{} deliveries outward, {} inward", outward.len(), road.counters().inward);
    assert_eq!(outward.len(), distinct.len(), "no recipient twice");
    assert!(road.counters().inward > 0);
}
