//! Real logs, end to end from file to observations, against what other tools count in them.

#![allow(clippy::unwrap_used)] // helpers of tests fail as tests do

use portreeve::company::Company;
use portreeve::mail::Verdict;
use portreeve::mta::{LogCounters, LogRoad, LogSettings, LogSource, SourceId, dialect_named};
use portreeve::observation::{Delivery, Fact, Observation};
use portreeve::tail::LogFile;
use portreeve::time::{CivilClock, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

const LOGS: &str = "../shared/data/logs";
const FGFORREST: &str = "fgforrest-pda/server/src/test/resources/META-INF/logs/real/mail.log.2.gz";
const BOBAGOLD: &str = "bobagold-postfix-log-parser/tests/Postfix/Log/mail.info";

/// The samples' relays bear addresses of private ranges: with a network declared they are other people's.
fn company() -> Arc<Company> {
    Arc::new(Company::new(vec!["192.0.2.0/24".parse().unwrap()], &[], vec![], CivilClock::utc()))
}

/// Opens a sample. `None`, with the reason printed, where it is not here.
fn open(sample: &str) -> Option<LogFile> {
    let path = Path::new(LOGS).join(sample);
    if !path.exists() {
        eprintln!("skipped: {} is not here", path.display());
        return None;
    }
    Some(LogFile::open(&path).unwrap())
}

fn road_with(name: &str) -> (LogRoad, SourceId) {
    let mut road = LogRoad::new(company(), LogSettings::default());
    let source = road.add_source(LogSource {
        name: name.into(),
        dialect: None,
        zone: jiff::tz::TimeZone::UTC,
        modified_at: Some(Timestamp::parse_rfc3339("2026-11-24T00:00:00Z").unwrap()),
    });
    (road, source)
}

fn replay(mut file: LogFile) -> (LogCounters, Vec<Observation>) {
    assert!(LogRoad::looks_like(file.head()).is_some(), "{} is a log", file.name());
    let (mut road, source) = road_with(file.name());
    let mut out = Vec::new();
    while let Some(line) = file.next_line().unwrap() {
        road.line(source, line, &mut out);
    }
    road.finish(&mut out);
    let counters = road.counters().clone();
    assert_eq!(counters.lines, file.lines());
    assert_eq!(counters.lines, counters.parsed + counters.ignored + counters.unparsed);
    (counters, out)
}

fn deliveries(out: &[Observation]) -> impl Iterator<Item = (&Observation, &Delivery)> {
    out.iter().filter_map(|observation| match &observation.fact {
        Fact::Delivery(delivery) => Some((observation, delivery)),
        _ => None,
    })
}

fn with_verdict(out: &[Observation], wanted: fn(Verdict) -> bool) -> u64 {
    let verdict = |delivery: &Delivery| delivery.reply.as_ref().and_then(|reply| reply.verdict());
    deliveries(out).filter(|(_, delivery)| verdict(delivery).is_some_and(wanted)).count() as u64
}

#[test]
fn a_bulk_mailer_counts_as_pflogsumm_counts_it() {
    let Some(file) = open(FGFORREST) else { return };
    let (counters, out) = replay(file);
    // `wc` counts 95,364 line ends; the last line has none.
    assert_eq!((counters.lines, counters.unparsed, counters.ambiguous), (95_365, 0, 0));
    assert_eq!((counters.delivered, counters.deferred, counters.bounced), (7_841, 8_019, 1_225));
    // The oracle's 1,182 'deferred' are distinct messages; its other figures are zero as ours.
    assert_eq!((counters.rejected, counters.discarded), (0, 0));
    // Every relay is another's: each attempt is a delivery of ours.
    assert_eq!(deliveries(&out).count() as u64, 7_841 + 8_019 + 1_225);
    assert_eq!(with_verdict(&out, |verdict| verdict == Verdict::Accepted), 7_841);
    // Postfix defers where a server refuses to talk with a 5xx greeting: the server's answer stays.
    let refused_to_talk = deliveries(&out)
        .filter(|(_, delivery)| {
            delivery.reply.as_ref().is_some_and(|reply| reply.code.is_some_and(|c| c >= 500))
        })
        .count() as u64;
    assert!(refused_to_talk >= 1_000);
    let deferred: BTreeSet<_> = deliveries(&out)
        .filter(|(_, delivery)| {
            let reply = delivery.reply.as_ref().unwrap();
            reply.verdict() == Some(Verdict::Deferred)
        })
        .map(|(_, delivery)| delivery.queue_id.clone())
        .collect();
    assert!(deferred.len() <= 1_182, "{}", deferred.len());
}

#[test]
fn a_cron_job_counts_as_pflogsumm_counts_it() {
    let Some(file) = open(BOBAGOLD) else { return };
    let (counters, out) = replay(file);
    assert_eq!((counters.lines, counters.unparsed, counters.ambiguous), (27_359, 0, 0));
    assert_eq!((counters.delivered, counters.deferred, counters.bounced), (5_137, 18, 1));
    assert_eq!(deliveries(&out).count(), 5_137 + 18 + 1);
    let reverse_paths: BTreeSet<_> =
        deliveries(&out).filter_map(|(_, delivery)| delivery.reverse_path.clone()).collect();
    assert!(reverse_paths.len() >= 3, "{reverse_paths:?}");
    assert!(deliveries(&out).all(|(observation, delivery)| {
        observation.sender.host.as_ref().is_some_and(|host| host.as_bytes() == b"vps305")
            && delivery.forward_path.is_some()
            && delivery.queue_id.is_some()
    }));
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

/// Lines of one message each kind, with what breaks readers: CR, NUL, bad UTF-8, an overlong line, no end.
fn awkward_log() -> Vec<u8> {
    let mut log = Vec::new();
    for line in [
        &b"Nov 23 20:14:01 mx1 postfix/smtpd[5]: 0123456789AB: client=pc[192.0.2.9], sasl_method=PLAIN, sasl_username=Bob"[..],
        b"Nov 23 20:14:01 mx1 postfix/qmgr[1]: 0123456789AB: from=<bob@example.com>, size=9, nrcpt=2 (queue active)\r",
        b"",
        b"\0\0\0Nov 23 20:14:02 mx1 postfix/smtp[7]: 0123456789AB: to=<\xff\xfe@example.net>, relay=mx[198.51.100.1]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Ok \xc3)",
        b"garbage without a head",
    ] {
        log.extend_from_slice(line);
        log.push(b'\n');
    }
    log.extend_from_slice(b"Nov 23 20:14:03 mx1 postfix/smtp[7]: 0123456789AB: to=<b@example.net>, relay=mx[198.51.100.1]:25, delay=1, delays=0/0/0/1, dsn=5.1.1, status=bounced (host mx[198.51.100.1] said: 550 5.1.1 ");
    log.extend(std::iter::repeat_n(b'x', 40_000));
    log.extend_from_slice(
        b" (in reply to RCPT TO command))\nNov 23 20:14:04 mx1 postfix/qmgr[1]: 0123456789AB: removed",
    );
    log
}

proptest! {
    #[test]
    fn any_split_of_the_stream_gives_the_same(sizes in proptest::collection::vec(1usize..5_000, 1..8)) {
        let log = awkward_log();
        let whole = replay(LogFile::from_reader(std::io::Cursor::new(log.clone()), "x").unwrap());
        let pieces = Pieces { bytes: log, at: 0, sizes, turn: 0 };
        prop_assert_eq!(&whole, &replay(LogFile::from_reader(pieces, "x").unwrap()));
        prop_assert_eq!(whole.0.bounced, 1);
        prop_assert_eq!(deliveries(&whole.1).count(), 2);
    }
}

#[test]
fn what_is_no_log_is_known_as_such() {
    let mut pcap = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
    pcap.extend((0..4_000u32).map(|i| (i * 7) as u8));
    for head in [&pcap[..], b"", b"\x7fELF\x02\x01\x01", b"hello\nworld\n", b"{\"a\":1}\n"] {
        assert!(LogRoad::looks_like(head).is_none());
    }
}

#[test]
fn an_exim_log_counts_as_eximstats_counts_it() {
    let Some(file) = open("azatot-exim-out/data/out") else { return };
    let (counters, out) = replay(file);
    assert_eq!((counters.lines, counters.unparsed, counters.ambiguous), (10_000, 0, 0));
    // eximstats: 1,910 messages delivered to 2,136 addresses (361 of them to :blackhole:), that is its `=>`
    // and `->` lines. Its 129 failed messages are 291 `**` lines, one a recipient.
    assert_eq!((counters.delivered, counters.bounced, counters.discarded), (2_136, 291, 361));
    // One for each `==` line; none of them says that its time has not come.
    assert_eq!(counters.deferred, 3_069);
    // eximstats takes 371 answers of receivers for rejections of ours ('Recipient address rejected' in an
    // error text); there is none.
    assert_eq!(counters.rejected, 0);
    assert!(deliveries(&out).all(|(_, delivery)| delivery.forward_path.is_some()));
    let from_one = deliveries(&out)
        .filter(|(seen, _)| seen.sender.client == Some("84.154.134.45".parse().unwrap()))
        .count();
    assert!(from_one > 1_000, "{from_one}");
}

#[test]
fn exims_own_suite_has_no_line_that_cannot_be_read() {
    for kind in ["log", "rejectlog"] {
        let Ok(entries) = std::fs::read_dir(Path::new(LOGS).join("exim-testsuite/test").join(kind)) else {
            eprintln!("skipped: the logs of Exim's suite are not here");
            return;
        };
        let (mut arrivals, mut delivered, mut flags) = (0, 0, 0);
        let mut unread = Vec::new();
        for entry in entries {
            let path = entry.unwrap().path();
            let mut road = LogRoad::new(company(), LogSettings::default());
            let dialect = dialect_named("exim");
            let source = road.add_source(LogSource {
                name: "exim".into(),
                dialect,
                zone: jiff::tz::TimeZone::UTC,
                modified_at: None,
            });
            let mut file = LogFile::open(&path).unwrap();
            let mut out = Vec::new();
            while let Some(line) = file.next_line().unwrap() {
                // Lines of the suite's own: between the logs of its two Exims, and where it sorted them.
                if line.starts_with(b"********") || line.starts_with(b"**NOTE:") {
                    continue;
                }
                road.line(source, line, &mut out);
                let flag = |wanted: &[&str]| {
                    line.split(|byte| *byte == b' ')
                        .nth(3)
                        .is_some_and(|flag| wanted.iter().any(|w| w.as_bytes() == flag))
                };
                arrivals += u64::from(flag(&["<="]));
                flags += u64::from(flag(&["=>", "->", ">>"]));
            }
            let counters = road.counters();
            delivered += counters.delivered;
            unread.extend(counters.unparsed_samples.iter().map(|line| format!("{}: {line}", path.display())));
        }
        eprintln!("{kind}: {arrivals} arrivals, {flags} delivery flags, {delivered} delivered");
        assert!(delivered <= flags);
        assert!(unread.is_empty(), "{unread:#?}");
    }
}
