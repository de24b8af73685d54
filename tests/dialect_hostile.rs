//! Hostile lines for every dialect: mutated, spliced, cut and swollen. Nothing panics, every line has exactly one
//! fate, passwords never leave the parser, and a stream gives the same however it is cut.
//!
//! 300,000 mutated lines take seconds. The long form is
//! `PORTREEVE_MUTATED_LINES=10000000 cargo test --release --test dialect_hostile mutated`.

#![allow(clippy::unwrap_used)] // a test fails loudly

use portreeve::company::Company;
use portreeve::limits;
use portreeve::mta::{DIALECTS, LogCounters, LogRoad, LogSettings, LogSource, dialect_named};
use portreeve::observation::Observation;
use portreeve::tail::LogFile;
use portreeve::time::{CivilClock, Timestamp};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

/// What must never be seen outside a parser: passwords, bare and as they go over the wire.
const SECRETS: &[&str] = &["S3cr3tW0rd", "UzNjcjN0VzByZA==", "AGJvYgBTM2NyM3RXMHJk"];

/// Lines of every dialect, passwords among them where an MTA logs them.
fn corpus() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        (
            "syslog",
            vec![
                "Nov 23 20:14:01 mx1 postfix/smtpd[5]: 0123456789AB: client=pc[192.0.2.9], sasl_method=PLAIN, sasl_username=Bob",
                "Nov 23 20:14:01 mx1 postfix/smtpd[5]: warning: pc[192.0.2.9]: SASL PLAIN authentication failed: AGJvYgBTM2NyM3RXMHJk, sasl_username=bob",
                "Nov 23 20:14:01 mx1 postfix/qmgr[1]: 0123456789AB: from=<bob@example.com>, size=9, nrcpt=2 (queue active)",
                "Nov 23 20:14:02 mx1 postfix/smtp[7]: 0123456789AB: to=<a@example.net>, orig_to=<c@d>, relay=mx[198.51.100.1]:25, delay=1, delays=0/0/0/1, tls=may, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4AB)",
                "Nov 23 20:14:03 mx1 sm-mta[77]: s1N7vR47006519: to=<a@example.net>,<b@example.net>, ctladdr=<bob@example.com> (1/1), delay=00:00:02, xdelay=00:00:01, mailer=esmtp, pri=1, relay=mx. [198.51.100.1], dsn=2.0.0, stat=Sent (ok)",
                "Nov 23 20:14:03 mx1 sm-mta[77]: s1N7vR47006519: from=<bob@example.com>, size=108, class=0, nrcpts=2, msgid=<x@y>, proto=ESMTP, daemon=MTA, relay=pc [192.0.2.9]",
                "Nov 23 20:14:03 mx1 sm-mta[77]: AUTH=server, relay=pc [192.0.2.9], authid=bob, mech=PLAIN, bits=0",
                "Nov 23 20:14:04 mx1 smtpd[7]: 5df87c972116a049 smtp connected address=192.0.2.9 host=pc",
                "Nov 23 20:14:04 mx1 smtpd[7]: 5df87c972116a049 smtp failed-command command=\"AUTH PLAIN AGJvYgBTM2NyM3RXMHJk\" result=\"535 no\"",
                "Nov 23 20:14:04 mx1 smtpd[7]: 5df87c972116a049 smtp message msgid=3d4c4a42 size=319 nrcpt=1 proto=ESMTP",
                "Nov 23 20:14:04 mx1 smtpd[7]: 5df87c9ffd0e785d mta delivery evpid=3d4c4a424797fe79 from=<b@c> to=<a@d> rcpt=<-> source=\"203.0.113.7\" relay=\"198.51.100.1 (mx)\" delay=2s result=\"Ok\" stat=\"250 ok\"",
                "Nov 23 20:14:05 mx1 qmail: 1284616202.125476 starting delivery 7: msg 53 to remote a@example.net",
                "Nov 23 20:14:05 mx1 vchkpw-smtp: password fail (pass: 'S3cr3tW0rd') bob@example.com:192.0.2.9",
                "Nov 23 20:14:06 mx1 dovecot: imap-login: Login: user=<bob>, method=PLAIN, rip=192.0.2.9, lip=198.51.100.1",
                "Nov 23 20:14:06 mx1 dovecot: auth: sql(bob,192.0.2.9): Password mismatch (given password: S3cr3tW0rd)",
                "<22>1 2026-11-23T20:14:07Z mx1 exim 4 - [x a=\"]\"] 2026-11-23 20:14:07 1RwtJa-000AFB-07 => a@example.net R=dns T=remote_smtp H=mx [198.51.100.1] C=\"250 ok\"",
            ],
        ),
        (
            "exim",
            vec![
                "2026-11-24 20:14:01 1RwtJa-000AFB-07 <= bob@example.com H=pc (x) [192.0.2.9]:1 P=esmtpsa A=login:bob S=9 id=a@b",
                "2026-11-24 20:14:01 1RwtJa-000AFB-07 ** a@example.net R=d T=remote_smtp H=mx [198.51.100.1]: SMTP error from remote mail server after RCPT TO:<a@example.net>: 550 no",
                "2026-11-24 20:14:01 login authenticator failed for (x) [192.0.2.9]: 535 Incorrect authentication data (set_id=bob)",
                "2026-11-24 20:14:01 SMTP command: AUTH PLAIN AGJvYgBTM2NyM3RXMHJk",
            ],
        ),
        (
            "opensmtpd",
            vec![
                "Nov 23 20:14:04 mx1 smtpd[7]: relay: TempFail for 3d4c4a424797fe79: session=5df87c9ffd0e785d, from=<b@c>, to=<a@d>, rcpt=<->, source=203.0.113.7, relay=198.51.100.1 (mx), delay=3s, stat=421 busy",
                "5df87c972116a049 smtp authentication user=bob result=permfail",
            ],
        ),
        (
            "qmail",
            vec![
                "@400000004c91b044077a9e94 info msg 53: bytes 246 from <me@example.com> qp 20345 uid 666",
                "@400000004c91b044077a9e94 starting delivery 7: msg 53 to remote a@example.net",
                "@400000004c91b044077a9e94 delivery 7: failure: 198.51.100.1_does_not_like_recipient./Remote_host_said:_550_no/",
            ],
        ),
        (
            "exchange",
            vec![
                "#Fields: date-time,client-ip,client-hostname,server-ip,server-hostname,source-context,connector-id,source,event-id,internal-message-id,message-id,recipient-address,recipient-status,total-bytes,recipient-count,related-recipient-address,reference,message-subject,sender-address,return-path,message-info,directionality,tenant-id,original-client-ip,original-server-ip,custom-data",
                "2025-01-14T09:29:05.327Z,192.0.2.1,MBX1,198.51.100.1,mx,\"x, y\",Out,SMTP,SEND,877,<m@x>,a@example.net;b@example.net,250 ok;250 ok,1363,2,,,\"S, \"\"q\"\"\",bob@example.com,bob@example.com,,Originating,,,,S:a=b",
                "2025-01-14T09:29:05.327Z,192.0.2.9,pc,192.0.2.1,MBX1,,In,SMTP,RECEIVE,877,<m@x>,a@example.net,,1363,1,,,S,bob@example.com,<>,,Originating,,10.0.0.9,,S:a=b",
            ],
        ),
        (
            "exchange-protocol",
            vec![
                "2022-07-20T21:12:06.270Z,In,08DA4F7C11473A60,1,192.0.2.1:25,198.51.100.1:53,<,AUTH LOGIN,",
                "2022-07-20T21:12:06.270Z,In,08DA4F7C11473A60,2,192.0.2.1:25,198.51.100.1:53,>,334 UGFzc3dvcmQ6,",
                "2022-07-20T21:12:06.270Z,In,08DA4F7C11473A60,3,192.0.2.1:25,198.51.100.1:53,<,UzNjcjN0VzByZA==,",
                "2022-07-20T21:12:06.270Z,In,08DA4F7C11473A60,4,192.0.2.1:25,198.51.100.1:53,>,535 5.7.3 no,",
            ],
        ),
        (
            "microsoft365",
            vec![
                "\"Received\",\"SenderAddress\",\"RecipientAddress\",\"Status\",\"ToIP\",\"FromIP\",\"Size\",\"MessageTraceId\"",
                "\"1/31/2026 9:00:00 PM\",\"bob@example.com\",\"a@example.net\",\"Failed\",\"198.51.100.1\",\"\",\"9\",\"id\"",
                r#"{"Received":"/Date(1658751973240)/","SenderAddress":"b@c","RecipientAddress":"a@d","Status":"Delivered","ToIP":"198.51.100.1","MessageTraceId":"x"}"#,
            ],
        ),
        (
            "kumomta",
            vec![
                r#"{"type":"Bounce","id":"1d98","sender":"b@c","recipient":["a@d"],"queue":"d","size":1,"timestamp":1757675281,"peer_address":{"name":"mx","addr":"198.51.100.1"},"response":{"code":550,"content":"no"}}"#,
                r#"{"type":"Rejection","id":"1d98","sender":"b@c","recipient":"a@d","queue":"d","timestamp":1757675281,"response":{"code":535,"command":"AUTH PLAIN AGJvYgBTM2NyM3RXMHJk","content":"no"}}"#,
            ],
        ),
        (
            "powermta",
            vec![
                "type,timeLogged,rcpt,orig,dsnStatus,dsnDiag,dlvSourceIp,dlvDestinationIp",
                "b,2026-09-21 12:00:00+0000,a@example.net,b@c,5.1.1 (bad),\"smtp;550 5.1.1 no\",203.0.113.7,198.51.100.1",
            ],
        ),
        (
            "haraka",
            vec![
                "2020-12-01T22:15:11.000Z [NOTICE] [D33D6290-C923-4DAC-A4B4-D0E7B8FAF010] [core] connect ip=192.0.2.9 port=59300",
                "2020-12-01T22:15:11.000Z [PROTOCOL] [D33D6290-C923-4DAC-A4B4-D0E7B8FAF010] [core] C: AUTH PLAIN AGJvYgBTM2NyM3RXMHJk state=1",
                "2020-12-01T22:15:11.000Z [PROTOCOL] [D33D6290-C923-4DAC-A4B4-D0E7B8FAF010] [core] S: 535 no",
                "2020-12-01T22:15:11.000Z [NOTICE] [D33D6290-C923-4DAC-A4B4-D0E7B8FAF010.1] [core] recipient <a@example.net> code=OK msg=\"\" sender=b@c",
                "2020-12-01T22:15:11.000Z [NOTICE] [D33D6290-C923-4DAC-A4B4-D0E7B8FAF010.1.1] [outbound] delivered file=1 domain=example.net host=mx ip=198.51.100.1 port=25 mode=SMTP tls=Y auth=N response=\"ok\" delay=4 fails=0 rcpts=1/0/0",
            ],
        ),
        (
            "mailenable",
            vec![
                "01/31/26 09:00:00\tSMTP-IN\tAAAA.MAI\t13\t192.0.2.9\tAUTH\tAUTH LOGIN\t334 VXNlcm5hbWU6\t34\t14",
                "01/31/26 09:00:00\tSMTP-IN\tAAAA.MAI\t13\t192.0.2.9\tAUTH\tYm9i\t334 UGFzc3dvcmQ6\t34\t14",
                "01/31/26 09:00:00\tSMTP-IN\tAAAA.MAI\t13\t192.0.2.9\tAUTH\tUzNjcjN0VzByZA==\t235 ok\t34\t14",
                "01/31/26 09:00:00\tSMTP-OU\tAAAA.MAI\t10\t198.51.100.1\tRCPT\tRCPT TO:<a@example.net>\t250 OK\t30\t10\t\tS",
                "01/31/26 09:00:00\tSMTP-OU\tAAAA.MAI\t10\t198.51.100.1\tDATE\t.\t250 ok\t1000\t10\t\tS",
            ],
        ),
        (
            "hmailserver",
            vec![
                "\"SMTPD\"\t1\t1\t\"2026-01-02 10:00:00.000\"\t\"192.0.2.9\"\t\"RECEIVED: AUTH PLAIN AGJvYgBTM2NyM3RXMHJk\"",
                "\"SMTPD\"\t1\t1\t\"2026-01-02 10:00:00.000\"\t\"192.0.2.9\"\t\"SENT: 535 no\"",
                "\"SMTPC\"\t1\t2\t\"2026-01-02 10:00:00.000\"\t\"198.51.100.1\"\t\"SENT: AUTH PLAIN AGJvYgBTM2NyM3RXMHJk\"",
                "\"SMTPC\"\t1\t2\t\"2026-01-02 10:00:00.000\"\t\"198.51.100.1\"\t\"SENT: RCPT TO:<a@example.net>\"",
                "\"SMTPC\"\t1\t2\t\"2026-01-02 10:00:00.000\"\t\"198.51.100.1\"\t\"RECEIVED: 550 5.1.1 no\"",
            ],
        ),
        (
            "rspamd",
            vec![
                r#"{"ip":"192.0.2.9","user":"bob","from":"b@c","rcpt":["a@d"],"qid":"4AB12CD","action":"no action","score":1.5,"symbols":[],"unix_time":1757675281}"#,
            ],
        ),
        (
            "zeek",
            vec![
                "#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\ttrans_depth\thelo\tmailfrom\trcptto\tlast_reply\ttls",
                "1757675281.5\tCU\t192.0.2.9\t5\t198.51.100.1\t25\t2\tpc\tb@c\ta@d,e@f\t250 Ok\tF",
                r#"{"ts":1757675281.5,"uid":"CU","id.orig_h":"192.0.2.9","id.resp_h":"198.51.100.1","trans_depth":2,"helo":"pc","mailfrom":"b@c","rcptto":["a@d"],"last_reply":"250 Ok","tls":false}"#,
            ],
        ),
        (
            "suricata",
            vec![
                r#"{"timestamp":"2026-07-30T09:00:00.000000+0000","flow_id":7,"event_type":"smtp","src_ip":"192.0.2.9","dest_ip":"198.51.100.1","tx_id":1,"smtp":{"helo":"pc","mail_from":"<>","rcpt_to":["<a@d>"]}}"#,
            ],
        ),
    ]
}

fn road_for(dialect: Option<&str>) -> (LogRoad, portreeve::mta::SourceId) {
    let company =
        Arc::new(Company::new(vec!["203.0.113.0/24".parse().unwrap()], &[], vec![], CivilClock::utc()));
    let mut road = LogRoad::new(company, LogSettings::default());
    let source = road.add_source(LogSource {
        name: "x".into(),
        dialect: dialect.map(|name| dialect_named(name).unwrap()),
        zone: jiff::tz::TimeZone::UTC,
        modified_at: Some(Timestamp::parse_rfc3339("2026-11-24T00:00:00Z").unwrap()),
    });
    (road, source)
}

/// Everything that leaves a road, as text.
fn all_text(out: &[Observation], counters: &LogCounters) -> String {
    format!("{out:?}{counters:?}{}", serde_json::to_string(counters).unwrap())
}

fn assert_exact(counters: &LogCounters) {
    assert_eq!(counters.lines, counters.parsed + counters.ignored + counters.unparsed);
    assert!(counters.ambiguous <= counters.parsed && counters.quarantined <= counters.unparsed);
    assert!(counters.unparsed_samples.len() <= limits::UNPARSED_SAMPLES_MAX);
    for sample in &counters.unparsed_samples {
        assert!(
            !sample.chars().any(|c| c.is_control() || matches!(c as u32, 0x202a..=0x202e | 0x2066..=0x2069))
        );
        assert!(sample.len() <= 10 * limits::UNPARSED_SAMPLE_BYTES_MAX);
    }
}

#[test]
fn every_dialect_is_in_the_corpus_and_recognises_its_own() {
    let corpus = corpus();
    for dialect in DIALECTS {
        // These three are read through syslog.
        if !matches!(dialect.name, "postfix" | "sendmail" | "dovecot") {
            assert!(corpus.iter().any(|(name, _)| *name == dialect.name), "{}", dialect.name);
        }
    }
    for (name, lines) in corpus {
        let found = LogRoad::looks_like(lines.join("\n").as_bytes()).map(|dialect| dialect.name);
        // What OpenSMTPD writes through syslog is recognised as syslog.
        assert!(found == Some(name) || name == "opensmtpd", "{name}: {found:?}");
        let (mut road, source) = road_for(Some(name));
        let mut out = Vec::new();
        lines.iter().for_each(|line| road.line(source, line.as_bytes(), &mut out));
        assert_eq!(road.counters().unparsed, 0, "{name}: {:?}", road.counters().unparsed_samples);
        assert!(road.counters().parsed > 0, "{name}");
    }
}

#[test]
fn passwords_never_leave_a_parser() {
    for (name, lines) in corpus() {
        // As they are, each alone, cut anywhere, and in a wrong dialect.
        for dialect in DIALECTS.iter().map(|dialect| Some(dialect.name)).chain([None]) {
            let (mut road, source) = road_for(dialect);
            let mut out = Vec::new();
            for line in &lines {
                road.line(source, line.as_bytes(), &mut out);
                for cut in (1..line.len()).step_by(7) {
                    road.line(source, &line.as_bytes()[..cut], &mut out);
                }
            }
            let text = all_text(&out, road.counters());
            for secret in SECRETS {
                assert!(!text.contains(secret), "{name} as {dialect:?}: {secret}");
            }
        }
    }
}

/// One hostile line made of good ones.
fn mutate(rng: &mut ChaCha8Rng, lines: &[&str]) -> Vec<u8> {
    let pick = |rng: &mut ChaCha8Rng| lines[rng.random_range(0..lines.len())].as_bytes().to_vec();
    let mut line = pick(rng);
    for _ in 0..rng.random_range(0..4) {
        if line.is_empty() {
            break;
        }
        let at = rng.random_range(0..line.len());
        match rng.random_range(0..10) {
            0 => line[at] = rng.random(),
            1 => line.truncate(at),
            2 => drop(line.drain(..at)),
            3 => {
                let other = pick(rng);
                let from = rng.random_range(0..=other.len());
                line.truncate(at);
                line.extend_from_slice(&other[from..]);
            }
            4 => {
                let piece = line[at..(at + 40).min(line.len())].to_vec();
                line.splice(at..at, piece);
            }
            5 => {
                let signs: [&[u8]; 12] = [
                    b"\"",
                    b">",
                    b"<",
                    b", ",
                    b" ",
                    b"\0",
                    b"\xff\xfe",
                    b"\\",
                    b"[",
                    b"]",
                    b"\t",
                    b"\xe2\x80\xae",
                ];
                line.splice(at..at, signs[rng.random_range(0..signs.len())].iter().copied());
            }
            6 => {
                let digits = rng.random_range(1..30);
                line.splice(at..at, std::iter::repeat_n(b'9', digits));
            }
            7 => {
                let end = (at + rng.random_range(1..20)).min(line.len());
                drop(line.drain(at..end));
            }
            8 => line.insert(at, b"0123456789abcdefABCDEF=:;@"[rng.random_range(0..26)]),
            _ => {
                if rng.random_range(0..200) == 0 {
                    let sign = line[at];
                    line.splice(at..at, std::iter::repeat_n(sign, limits::LOG_LINE_BYTES_MAX));
                }
            }
        }
    }
    line
}

#[test]
fn mutated_lines_have_one_fate_each() {
    let wanted: u64 = std::env::var("PORTREEVE_MUTATED_LINES").map_or(300_000, |text| text.parse().unwrap());
    let corpus = corpus();
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let (mut lines, mut fates) = (0, [0; 3]);
    let rounds = 20 * corpus.len() as u64;
    let each = wanted.div_ceil(rounds);
    for round in 0..rounds {
        let (name, good) = &corpus[(round % corpus.len() as u64) as usize];
        // Every fourth time the dialect is to be found by content, once in a while it is a wrong one.
        let dialect = match rng.random_range(0..8) {
            0 | 1 => None,
            2 => Some(DIALECTS[rng.random_range(0..DIALECTS.len())].name),
            _ => Some(*name),
        };
        let (mut road, source) = road_for(dialect);
        let mut out = Vec::new();
        for _ in 0..each {
            let line = mutate(&mut rng, good);
            road.stamp(source, &line);
            road.line(source, &line, &mut out);
            if out.len() > 10_000 {
                out.clear();
            }
        }
        let counters = road.counters();
        assert_exact(counters);
        assert_eq!(counters.lines, each);
        lines += counters.lines;
        for (fate, count) in fates.iter_mut().zip([counters.parsed, counters.ignored, counters.unparsed]) {
            *fate += count;
        }
    }
    eprintln!("{lines} lines: {} parsed, {} ignored, {} unparsed", fates[0], fates[1], fates[2]);
    assert!(lines >= wanted && fates.iter().sum::<u64>() == lines);
    assert!(fates.iter().all(|count| *count > lines / 50), "every fate is met");
}

/// A reader that hands out its bytes in pieces of given sizes.
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    sizes: Vec<usize>,
    turn: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let size = self.sizes[self.turn % self.sizes.len()].clamp(1, buffer.len());
        self.turn += 1;
        let rest = &self.bytes[self.at..];
        let read = size.min(rest.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        self.at += read;
        Ok(read)
    }
}

fn replay(reader: impl Read + Send + 'static, dialect: Option<&str>) -> (LogCounters, Vec<Observation>) {
    let (mut road, source) = road_for(dialect);
    let mut file = LogFile::from_reader(reader, "x").unwrap();
    let mut out = Vec::new();
    while let Some(line) = file.next_line().unwrap() {
        road.line(source, line, &mut out);
    }
    road.finish(&mut out);
    assert_exact(road.counters());
    (road.counters().clone(), out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_split_of_a_stream_gives_the_same(
        seed in any::<u64>(),
        which in 0usize..15,
        sizes in proptest::collection::vec(1usize..700, 1..8),
        end in prop::sample::select(vec!["\n", "\r\n"]),
    ) {
        let corpus = corpus();
        let (name, good) = &corpus[which % corpus.len()];
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = Vec::new();
        for line in good {
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(end.as_bytes());
        }
        for _ in 0..40 {
            bytes.extend_from_slice(&mutate(&mut rng, good));
            bytes.extend_from_slice(end.as_bytes());
        }
        for dialect in [Some(*name), None] {
            let whole = replay(std::io::Cursor::new(bytes.clone()), dialect);
            let pieces = Pieces { bytes: bytes.clone(), at: 0, sizes: sizes.clone(), turn: 0 };
            prop_assert_eq!(&whole, &replay(pieces, dialect));
        }
    }

    /// Begun again from what was noted, after any lines: what sessions, headers and messages under way had said
    /// before is still known.
    #[test]
    fn a_restart_after_any_line_changes_nothing(
        seed in any::<u64>(),
        which in 0usize..15,
        cuts in proptest::collection::vec(1usize..9, 1..12),
    ) {
        let corpus = corpus();
        let (name, good) = &corpus[which % corpus.len()];
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut lines: Vec<Vec<u8>> = good.iter().map(|line| line.as_bytes().to_vec()).collect();
        lines.extend((0..40).map(|_| mutate(&mut rng, good)));
        lines.extend(good.iter().map(|line| line.as_bytes().to_vec()));
        let (mut whole, mut pieces) = (Vec::new(), Vec::new());
        let (mut road, source) = road_for(Some(name));
        lines.iter().for_each(|line| road.line(source, line, &mut whole));
        let (mut rest, mut notes) = (lines.as_slice(), BTreeMap::new());
        for cut in cuts.iter().cycle() {
            let (mut road, source) = road_for(Some(name));
            road.restore(notes.clone().into_iter().collect());
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            now.iter().for_each(|line| road.line(source, line, &mut pieces));
            for (name, note) in road.take_changes() {
                match note.is_empty() {
                    true => drop(notes.remove(&name)),
                    false => drop(notes.insert(name, note)),
                }
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(whole, pieces);
    }
}
