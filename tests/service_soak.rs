//! Hours of mixed traffic at many times event time: memory and descriptors stay flat, state stays bounded. And a start
//! with many senders is quick.
//!
//! Short forms by default. The long ones:
//! `PORTREEVE_SOAK_SECONDS=576 cargo test --release --test service_soak hours -- --nocapture` (8 h at 50 times)
//! `PORTREEVE_SENDERS=100000 cargo test --release --test service_soak restart -- --nocapture`

#![allow(clippy::unwrap_used)] // a test fails loudly

mod service_support;

use service_support::{Service, free_port, metric, until};
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

/// Event time goes so many times faster than the clock.
const SPEED: f64 = 50.0;

fn from_environment(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().map_or(usual, |text| text.parse().unwrap())
}

/// A number that looks random and is the same in every run.
fn mixed(number: u64) -> u64 {
    let mut x = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 32)
}

/// The middle one.
fn median(numbers: &[usize]) -> usize {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers[numbers.len() / 2]
}

/// The lines of one message in Postfix's log: a login, an arrival, deliveries with mixed answers, the end.
fn message(out: &mut String, number: u64, account: u64, at_seconds: f64) {
    let micros = (at_seconds * 1e6) as i64;
    let at = jiff::Timestamp::from_microsecond(micros).unwrap().strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00");
    let id = format!("4S{number:x}Z");
    let octets = (account / 250 % 250, account % 250 + 1);
    writeln!(out, "{at} mx1 postfix/smtpd[21]: {id}: client=pc{account}.example[10.1.{}.{}], sasl_method=LOGIN, sasl_username=user{account}", octets.0, octets.1).unwrap();
    writeln!(
        out,
        "{at} mx1 postfix/qmgr[7]: {id}: from=<user{account}@example.com>, size=2312, nrcpt=2 (queue active)"
    )
    .unwrap();
    for copy in 0..2 {
        let chance = mixed(number * 2 + copy);
        let (domain, person) = (chance % 400, chance / 400 % 50);
        let (dsn, status) = match chance / 20_000 % 100 {
            0..=2 => (
                "5.1.1",
                "bounced (host mx.example[192.0.2.9] said: 550 5.1.1 no such user (in reply to RCPT TO command))",
            ),
            3..=6 => (
                "4.2.0",
                "deferred (host mx.example[192.0.2.9] said: 450 4.2.0 greylisted (in reply to RCPT TO command))",
            ),
            _ => ("2.0.0", "sent (250 2.0.0 Ok: queued as 5D1)"),
        };
        writeln!(out, "{at} mx1 postfix/smtp[33]: {id}: to=<p{person}@d{domain}.example>, relay=mx.d{domain}.example[192.0.2.9]:25, delay=0.5, delays=0.1/0/0.2/0.2, dsn={dsn}, status={status}").unwrap();
    }
    writeln!(out, "{at} mx1 postfix/qmgr[7]: {id}: removed").unwrap();
}

/// Resident KiB and open descriptors of a process.
fn measured(id: u32) -> (f64, usize) {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let descriptors = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
    (line.split_whitespace().nth(1).unwrap().parse().unwrap(), descriptors)
}

/// Slope of a line through points, by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let (mean_x, mean_y) =
        points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0 / count, sum.1 + point.1 / count));
    let above: f64 = points.iter().map(|point| (point.0 - mean_x) * (point.1 - mean_y)).sum();
    let below: f64 = points.iter().map(|point| (point.0 - mean_x).powi(2)).sum();
    above / below
}

fn size(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| entry.metadata().map_or(0, |metadata| metadata.len())).sum()
}

#[test]
fn hours_of_traffic_leave_memory_and_descriptors_flat() {
    let seconds = from_environment("PORTREEVE_SOAK_SECONDS", 15);
    let speed = from_environment("PORTREEVE_SOAK_SPEED", SPEED as u64) as f64;
    let long = seconds >= 100;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let port = free_port();
    let config = format!(
        "[metrics]\nlisten = \"127.0.0.1:{port}\"\n[[source.log]]\npath = {:?}\ndialect = \"postfix\"\n[[sink]]\ntype = \"file\"\npath = {:?}\n",
        path("mail.log"),
        path("alerts")
    );
    std::fs::write(path("portreeve.toml"), config).unwrap();
    let mut log = std::fs::File::create(path("mail.log")).unwrap();
    let state = path("state");
    let service = Service::watching(&[
        "-c",
        path("portreeve.toml").to_str().unwrap(),
        "--state",
        state.to_str().unwrap(),
    ]);
    let event_seconds = seconds as f64 * speed;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let event_began = now - event_seconds - 120.0;
    let (began, mut number, mut points) = (Instant::now(), 0, Vec::new());
    let mut descriptors = Vec::new();
    // Four messages a second of event time from 300 accounts, more by day than by night.
    while began.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_millis(250));
        let mut lines = String::new();
        let until = began.elapsed().as_secs_f64() * speed;
        while (number as f64) / 4.0 < until {
            let at = event_began + number as f64 / 4.0;
            let hour = (at / 3_600.0) as u64 % 24;
            if (7..19).contains(&hour) || number % 5 == 0 {
                message(&mut lines, number, mixed(number) % 300, at);
            }
            number += 1;
        }
        log.write_all(lines.as_bytes()).unwrap();
        let (resident, open) = measured(service.child.id());
        points.push((began.elapsed().as_secs_f64() * speed / 3_600.0, resident / 1_024.0));
        descriptors.push(open);
    }
    let written = std::fs::read_to_string(path("mail.log")).unwrap().lines().count() as f64;
    until("every line", || metric(port, "portreeve_lines_total").is_some_and(|read| read >= written));
    let steady = &points[points.len() / 3..];
    let growth = slope(steady);
    let thirds: Vec<_> = descriptors.chunks(descriptors.len().div_ceil(3)).map(median).collect();
    let (first, last, most) = (thirds[1], thirds[2], *descriptors.iter().max().unwrap());
    println!(
        "{:.1} h of event time in {seconds} s: {written} lines; RSS {:.1} MiB after warm-up, {:.1} MiB at the end, {growth:+.2} MiB an hour of event time; descriptors {first}, then {last}, at most {most}; state {} KiB",
        event_seconds / 3_600.0,
        steady[0].1,
        steady[steady.len() - 1].1,
        size(&state) / 1_024
    );
    // Some are open for a moment only, while state is written or metrics are asked for.
    assert!(
        last <= first + 1 && most <= first + 16,
        "descriptors grow from {first} to {last}, at most {most}"
    );
    assert!(size(&state) < 64 << 20, "{} bytes of state", size(&state));
    if long {
        assert!(growth <= 1.0, "memory grows by {growth:.2} MiB an hour");
    } else {
        let grown = steady[steady.len() - 1].1 - steady[0].1;
        assert!(grown < 24.0, "memory grew by {grown:.1} MiB");
    }
    let (code, said, _) = service.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_restart_with_many_senders_is_quick() {
    let senders = from_environment("PORTREEVE_SENDERS", 3_000);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (log, state) = (path("mail.log"), path("state"));
    let mut lines = String::new();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    for account in 0..senders {
        message(&mut lines, account, account, now - 86_400.0 + account as f64 * 0.5);
    }
    std::fs::write(&log, &lines).unwrap();
    let learned = Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .args(["replay", "-q", "--learn", "--state"])
        .args([&state, &log])
        .output()
        .unwrap();
    assert!(learned.status.success(), "{}", String::from_utf8_lossy(&learned.stderr));
    let service = Service::watching(&["-l", log.to_str().unwrap(), "--state", state.to_str().unwrap()]);
    let said = service.said();
    let line = said.lines().find(|line| line.contains("watching, ")).unwrap().to_owned();
    let number = |before: &str| -> u64 {
        let word = line.split(before).next().unwrap().split_whitespace().last().unwrap();
        word.parse().unwrap()
    };
    let (took_ms, known) = (number(" ms after"), number(" senders known"));
    println!("{known} senders: watching after {took_ms} ms; state {} KiB", size(&state) / 1_024);
    // Who had nothing accepted yet is not kept.
    assert!(known >= senders / 100 * 99, "{line}");
    assert!(took_ms <= 2_000, "{line}");
    assert_eq!(service.end().0, Some(0));
}
