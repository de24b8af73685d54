//! The Message-ID as a match of wire and log: both roads digest the same octets, attempts find their own line, and a
//! copied one hides nothing.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod join_support;
mod wire_support;

use join_support::*;
use portreeve::join::{Join, JoinCounters};
use portreeve::mail::Reply;
use portreeve::mta::{LogRoad, LogSettings, LogSource};
use portreeve::observation::*;
use portreeve::time::Timestamp;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::HashMap;
use std::net::IpAddr;
use wire_support::Talk;

/// Both views of a piece of mail whose receiver's answer holds no id. The log names the receiver by another address,
/// as behind NAT, or not at all. Its account says which piece it is, which the join carries along.
fn without_ids(mail: &Mail, message_id: u64) -> Vec<Observation> {
    let mut list = views(mail);
    for view in &mut list {
        let Fact::Delivery(delivery) = &mut view.fact else { continue };
        delivery.message_id = Some(message_id);
        delivery.reply = Some(Reply { code: Some(mail.code), enhanced: None, text: Some("Ok".into()) });
        if view.vantage == Vantage::Log {
            delivery.responder =
                Some(IpAddr::from([192, 0, 2, 77])).filter(|_| !mail.person.is_multiple_of(4));
            view.sender.account = Some(mail.id.to_string().as_str().into());
        }
    }
    list
}

/// What the join makes of it: what it counted, and for each match when the wire saw it and which line it was.
fn joined(mut list: Vec<Observation>) -> (JoinCounters, HashMap<Timestamp, (View, String)>) {
    list.sort_by_key(|observation| observation.at);
    let (mut join, mut told) = (Join::new([7; 16], false), Vec::new());
    list.into_iter().for_each(|observation| join.observe(observation, &mut told));
    let mut matches = HashMap::new();
    for piece in told {
        let Fact::Reconciled(fact) = piece.fact else { panic!("{piece:?}") };
        if let Some(account) = piece.sender.account.filter(|_| fact.delivery.is_none()) {
            assert!(matches.insert(fact.seen_at, (fact.view, account.to_lossy())).is_none());
        }
    }
    (join.counters(), matches)
}

/// Ordinary mail of a day, by which the roads come to agree.
fn ordinary_day(rng: &mut StdRng, day: u32) -> Vec<Mail> {
    let mut mails = days(rng, day, 1, 2_000, true, 400);
    mails.iter_mut().for_each(|mail| mail.under_tls = false);
    mails
}

fn mail(at: f64, id: u64) -> Mail {
    let responder = "198.51.100.9".parse().unwrap();
    Mail { at, person: 1, responder, id, code: 250, under_tls: false, logged: true, lost: false }
}

#[test]
fn answers_without_an_id_from_hidden_receivers_match() {
    let mut rng = StdRng::seed_from_u64(51);
    let mails = ordinary_day(&mut rng, 0);
    let expected: HashMap<Timestamp, String> = mails
        .iter()
        .filter(|mail| !mail.lost)
        .map(|mail| (start().plus_seconds(mail.at), mail.id.to_string()))
        .collect();
    let (counters, matches) = joined(mails.iter().flat_map(|mail| without_ids(mail, mail.id)).collect());
    assert_eq!(counters.matched_by_message_id, expected.len() as u64, "{counters:?}");
    assert_eq!(counters.matched(), counters.matched_by_message_id);
    assert_eq!(counters.wire_only, 0, "{counters:?}");
    for (at, id) in expected {
        assert_eq!(matches[&at], (View::MatchedByMessageId, id));
    }
}

#[test]
fn each_attempt_finds_its_own_line() {
    let mut rng = StdRng::seed_from_u64(52);
    let day = ordinary_day(&mut rng, 0);
    let mut list: Vec<Observation> = day.iter().flat_map(|mail| without_ids(mail, mail.id)).collect();
    // Put off three times and accepted in the end; the capture lost the second attempt.
    let seconds = [0.0, 300.0, 900.0, 1_800.0].map(|later| 0.9 * DAY_SECONDS + later);
    for (number, at) in seconds.into_iter().enumerate() {
        let code = if number < 3 { 451 } else { 250 };
        let attempt = Mail { code, lost: number == 1, ..mail(at, number as u64) };
        list.extend(without_ids(&attempt, 0xa77e));
    }
    let (counters, matches) = joined(list);
    for (number, at) in seconds.into_iter().enumerate().filter(|(number, _)| *number != 1) {
        let found = &matches[&start().plus_seconds(at)];
        assert_eq!(*found, (View::MatchedByMessageId, number.to_string()), "{counters:?}");
    }
    assert_eq!(counters.wire_only, 0, "{counters:?}");
}

#[test]
fn a_copied_message_id_hides_nothing() {
    let mut rng = StdRng::seed_from_u64(53);
    let mut day = ordinary_day(&mut rng, 0);
    day.iter_mut().for_each(|mail| mail.lost = false);
    let mut list: Vec<Observation> = day.iter().flat_map(|mail| without_ids(mail, mail.id)).collect();
    // Fifty of them leave once more past the log, to the same person under the same Message-ID.
    let by_daylight = |mail: &&Mail| (0.3..0.7).contains(&(mail.at / DAY_SECONDS));
    for copied in day.iter().filter(by_daylight).step_by(20).take(50) {
        let past_the_log = Mail { at: copied.at + 2.0, logged: false, ..mail(copied.at, copied.id) };
        list.extend(without_ids(&Mail { person: copied.person, ..past_the_log }, copied.id));
    }
    // What the log says last, so that all is settled.
    list.extend(without_ids(&mail(2.0 * DAY_SECONDS, 1), 1));
    let (counters, _) = joined(list);
    assert_eq!(counters.wire_only, 50, "{counters:?}");
    assert_eq!(counters.matched(), day.len() as u64 + 1, "{counters:?}");
}

#[test]
fn both_roads_digest_the_same_octets() {
    const ID: &str = "20261124.4BfG$2k@Pc.home.example";
    let talk = Talk::script(&format!(
        "S: 220 mx
        C: HELO pc
        S: 250 mx
        C: MAIL FROM:<bob@home.example>
        S: 250 ok
        C: RCPT TO:<no@away.example>
        S: 550 no
        C: RCPT TO:<ann@away.example>
        S: 250 ok
        C: DATA
        S: 354 go
        C: Message-ID: <{ID}>
        C: Subject: x
        C:
        C: text
        C: .
        S: 250 ok
        C: QUIT
        S: 221 bye"
    ));
    let seen = wire_support::replay(&talk.frames);
    // A forward-path is refused before the message is said.
    assert_eq!(message_ids(&seen.out), [None, Some(digest(ID.as_bytes()))]);
    assert_eq!(seen.messages()[0].content.as_ref().unwrap().message_id, Some(digest(ID.as_bytes())));
    for log in [
        [
            "Mar  2 10:00:00 mx1 postfix/smtpd[1]: 4BfG2k1z: client=pc[192.0.2.9]".to_owned(),
            format!("Mar  2 10:00:00 mx1 postfix/cleanup[2]: 4BfG2k1z: message-id=<{ID}>"),
            "Mar  2 10:00:00 mx1 postfix/qmgr[3]: 4BfG2k1z: from=<bob@home.example>, size=9, nrcpt=1 (queue active)".to_owned(),
            "Mar  2 10:00:01 mx1 postfix/smtp[4]: 4BfG2k1z: to=<ann@away.example>, relay=mx[198.51.100.1]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)".to_owned(),
        ],
        [
            "".to_owned(),
            "2026-03-02 10:00:00 Start queue run: pid=1".to_owned(),
            format!("2026-03-02 10:00:00 1RwtJa-000AFB-07 <= bob@home.example H=pc (pc) [192.0.2.9]:4711 P=esmtp S=1289 id={ID} T=\"id=x\" for ann@away.example"),
            "2026-03-02 10:00:01 1RwtJa-000AFB-07 => ann@away.example R=dnslookup T=remote_smtp H=mx [198.51.100.1] C=\"250 ok\"".to_owned(),
        ],
        [
            "".to_owned(),
            "".to_owned(),
            format!("Mar  2 10:00:00 mx1 sm-mta[77]: s1N7vR47006519: from=<bob@home.example>, size=108, class=0, nrcpts=1, msgid=<{ID}>, proto=ESMTP, daemon=MTA, relay=pc [192.0.2.9]"),
            "Mar  2 10:00:01 mx1 sm-mta[78]: s1N7vR47006519: to=<ann@away.example>, delay=00:00:01, xdelay=00:00:01, mailer=esmtp, pri=1, relay=mx. [198.51.100.1], dsn=2.0.0, stat=Sent (ok)".to_owned(),
        ],
    ] {
        assert_eq!(message_ids(&read(&log)), [Some(digest(ID.as_bytes()))], "{log:#?}");
    }
}

fn message_ids(out: &[Observation]) -> Vec<Option<u64>> {
    let delivery = |seen: &Observation| match &seen.fact {
        Fact::Delivery(delivery) => Some(delivery.message_id),
        _ => None,
    };
    out.iter().filter_map(delivery).collect()
}

fn read(lines: &[String]) -> Vec<Observation> {
    let mut road = LogRoad::new(company(), LogSettings::default());
    let source = road.add_source(LogSource {
        name: "mx1".into(),
        dialect: None,
        zone: jiff::tz::TimeZone::UTC,
        modified_at: Some(start().plus_seconds(DAY_SECONDS)),
    });
    let mut out = Vec::new();
    for line in lines.iter().filter(|line| !line.is_empty()) {
        road.line(source, line.as_bytes(), &mut out);
    }
    out
}
