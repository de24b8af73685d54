//! Several logs as one: in the order of time, none held up by a silent one, and a message that is half-way at a
//! restart keeps its first lines.

#![allow(clippy::unwrap_used)] // a test fails loudly

use portreeve::company::Company;
use portreeve::mta::{LogRoad, LogSource, SourceId};
use portreeve::observation::Observation;
use portreeve::tail::{Follower, Inlet, Merge, TailError, TakeLines};
use portreeve::time::{CivilClock, Timestamp};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn road(logs: &[PathBuf]) -> (LogRoad, Vec<SourceId>) {
    let networks = vec!["10.0.0.0/8".parse().unwrap()];
    let company = Arc::new(Company::new(networks, &[], vec![], CivilClock::utc()));
    let mut road = LogRoad::new(company, Default::default());
    let zone = jiff::tz::TimeZone::UTC;
    let sources = logs
        .iter()
        .map(|log| {
            let name = log.display().to_string();
            road.add_source(LogSource { name, dialect: None, zone: zone.clone(), modified_at: None })
        })
        .collect();
    (road, sources)
}

/// Reads lines into a road, and stops after some.
struct Reader<'r> {
    road: &'r mut LogRoad,
    sources: &'r [SourceId],
    room: usize,
    lines: Vec<String>,
    out: Vec<Observation>,
}

impl TakeLines for Reader<'_> {
    fn stamp(&mut self, inlet: usize, line: &[u8]) -> Option<Timestamp> {
        self.road.stamp(self.sources[inlet], line)
    }
    fn line(&mut self, inlet: usize, line: &[u8]) -> bool {
        self.road.line(self.sources[inlet], line, &mut self.out);
        self.lines.push(String::from_utf8_lossy(line).into_owned());
        self.room = self.room.saturating_sub(1);
        self.room > 0
    }
    fn trouble(&mut self, _: usize, error: TailError) {
        panic!("{error}");
    }
}

/// The lines of some messages, each with its second and the log it is in: a submission with a login on one machine,
/// passed on to another, deferred there and delivered later.
fn mail(seed: u64, messages: usize) -> Vec<(i64, usize, String)> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut lines = Vec::new();
    for number in 0..messages {
        let mut at = rng.random_range(0..60_000i64);
        let id = format!("A{number:05}F");
        let second = format!("B{number:05}F");
        let mut say = |log: usize, host: &str, daemon: &str, text: String, rng: &mut StdRng| {
            at += rng.random_range(1..200);
            let stamp = Timestamp::from_seconds(1_790_000_000 + at).to_rfc3339();
            lines.push((at, log, format!("{stamp} {host} postfix/{daemon}[7]: {text}")));
        };
        let account = number % 7;
        let client = format!(
            "{id}: client=c[192.0.2.{account}], sasl_method=PLAIN, sasl_username=u{account}@x.example"
        );
        say(0, "in1", "smtpd", client, &mut rng);
        say(
            0,
            "in1",
            "qmgr",
            format!("{id}: from=<u{account}@x.example>, size=99, nrcpt=1 (queue active)"),
            &mut rng,
        );
        let to = format!("to=<r{number}@far.example>");
        let passed = format!(
            "{id}: {to}, relay=127.0.0.1[127.0.0.1]:10025, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as {second})"
        );
        say(0, "in1", "smtp", passed, &mut rng);
        say(0, "in1", "qmgr", format!("{id}: removed"), &mut rng);
        say(
            1,
            "in1",
            "qmgr",
            format!("{second}: from=<u{account}@x.example>, size=99, nrcpt=1 (queue active)"),
            &mut rng,
        );
        for (dsn, status) in [("4.2.0", "deferred"), ("2.0.0", "sent")] {
            let words =
                if status == "sent" { "250 2.0.0 Ok" } else { "host mx[198.51.100.1] said: 451 4.2.0 later" };
            let text = format!(
                "{second}: {to}, relay=mx[198.51.100.1]:25, delay=1, delays=0/0/0/1, dsn={dsn}, status={status} ({words})"
            );
            say(1, "in1", "smtp", text, &mut rng);
        }
        say(1, "in1", "qmgr", format!("{second}: removed"), &mut rng);
    }
    lines.sort();
    lines
}

fn append(path: &Path, line: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}

fn start(logs: &[PathBuf], positions: &[Option<String>]) -> Vec<Inlet> {
    let follow = |(log, position): (&PathBuf, &Option<String>)| {
        let follower = match position {
            Some(position) => Follower::resume(log, position).unwrap(),
            None => Follower::from_start(log).unwrap(),
        };
        Inlet::File(Box::new(follower))
    };
    logs.iter().zip(positions).map(follow).collect()
}

#[test]
fn logs_that_are_caught_up_with_come_in_the_order_of_time() {
    let directory = tempfile::tempdir().unwrap();
    let logs = [0, 1, 2].map(|n| directory.path().join(format!("mail{n}.log")));
    fs::write(&logs[2], "").unwrap();
    let lines = mail(1, 300);
    for (_, log, line) in &lines {
        append(&logs[*log], line);
    }
    let (mut road, sources) = road(&logs);
    let mut inlets = start(&logs, &[None, None, None]);
    let mut reader =
        Reader { road: &mut road, sources: &sources, room: usize::MAX, lines: vec![], out: vec![] };
    let read = Merge::default().look(&mut inlets, &mut reader);
    assert_eq!(read, lines.len(), "a silent log holds nothing up");
    let stamps: Vec<&str> = reader.lines.iter().map(|line| &line[..27]).collect();
    assert!(stamps.is_sorted(), "the lines of both logs come in the order of time");
    let unsorted = |logs: &[usize]| logs.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(unsorted(&lines.iter().map(|line| line.1).collect::<Vec<_>>()) > 100, "the logs do overlap");
}

#[test]
fn a_log_that_wakes_up_late_is_read_with_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let logs = [0, 1].map(|n| directory.path().join(format!("mail{n}.log")));
    for log in &logs {
        fs::write(log, "").unwrap();
    }
    let (mut road, sources) = road(&logs);
    let mut inlets = start(&logs, &[None, None]);
    let (mut merge, mut seen) = (Merge::default(), Vec::new());
    for (_, log, line) in mail(2, 40) {
        append(&logs[log], &line);
        let mut reader = Reader { road: &mut road, sources: &sources, room: 99, lines: vec![], out: vec![] };
        assert_eq!(merge.look(&mut inlets, &mut reader), 1, "each line is taken as soon as it is there");
        seen.append(&mut reader.lines);
    }
    assert!(seen.iter().map(|line| &line[..27]).is_sorted());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Cut off after any number of lines, and begun again from what was kept then, any number of times: the
    /// observations are those of one undisturbed run.
    #[test]
    fn a_restart_changes_nothing(seed in 0u64..1000, cuts in prop::collection::vec(1usize..60, 1..12)) {
        let directory = tempfile::tempdir().unwrap();
        let logs = [0, 1].map(|n| directory.path().join(format!("mail{n}.log")));
        let lines = mail(seed, 40);
        for (_, log, line) in &lines {
            append(&logs[*log], line);
        }
        let whole = {
            let (mut road, sources) = road(&logs);
            let mut inlets = start(&logs, &[None, None]);
            let mut reader =
                Reader { road: &mut road, sources: &sources, room: usize::MAX, lines: vec![], out: vec![] };
            Merge::default().look(&mut inlets, &mut reader);
            reader.out
        };
        prop_assert!(whole.iter().any(|seen| seen.sender.account.is_some()));
        let mut notes: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut positions = [None, None];
        let mut seen = Vec::new();
        for room in cuts.into_iter().chain([usize::MAX]) {
            let (mut road, sources) = road(&logs);
            road.restore(notes.clone().into_iter().collect());
            let mut inlets = start(&logs, &positions);
            let mut reader =
                Reader { road: &mut road, sources: &sources, room, lines: vec![], out: vec![] };
            let mut merge = Merge::default();
            merge.look(&mut inlets, &mut reader);
            seen.append(&mut reader.out);
            // What is written down now is all that the next run has. Some of what this one reads after that is lost
            // with it.
            for (name, note) in road.take_changes() {
                match note.is_empty() {
                    true => notes.remove(&name),
                    false => notes.insert(name, note),
                };
            }
            positions = [inlets[0].position(), inlets[1].position()];
            let mut lost = Reader { road: &mut road, sources: &sources, room: 5, lines: vec![], out: vec![] };
            merge.look(&mut inlets, &mut lost);
        }
        prop_assert_eq!(seen, whole);
        // Every message was removed: nothing may be left of them.
        prop_assert_eq!(notes.keys().filter(|name| name.starts_with("m/")).count(), 0);
    }
}
