//! Work grows with the input and no faster: instructions for n and for 2n of each hostile shape, counted by valgrind's
//! callgrind, so that no clock and no busy machine has a say. Without valgrind the test says so and passes.
//!
//! `PORTREEVE_LINEAR_N=100000 cargo test --release --test wire_linear -- --nocapture` is the long form.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod wire_support;

use portreeve::capture::{LinkType, Packet};
use portreeve::company::Company;
use portreeve::smtp::{WireRoad, WireSettings};
use portreeve::time::{CivilClock, Timestamp};
use std::process::Command;
use std::sync::Arc;
use wire_support::{Bend, End, Frame, Talk};

const RATIO_MAX: f64 = 2.2;
const USUAL_N: usize = 1_500;

/// What a shape is called, and the frames that it makes of n.
type Shape = (&'static str, fn(usize) -> Vec<Frame>);

const SHAPES: &[Shape] = &[
    ("a line without end", |n| client(&b"x".repeat(n * 16))),
    ("segments of one octet", |n| {
        let mut talk = greeted();
        talk.mss = 1;
        talk.say(End::Client, &b"NOOP\r\n".repeat(n / 6), true);
        talk.frames
    }),
    ("lines of one octet", |n| client(&b"x\n".repeat(n))),
    ("pipelined commands, never answered", |n| client(&b"NOOP\r\n".repeat(n))),
    ("one unknown command after the other", |n| client(&b"XUNKNOWN abcdefghijklmnop\r\n".repeat(n))),
    ("transactions in one flow", |n| {
        let mut talk = greeted();
        for _ in 0..n / 8 {
            talk.play(
                "C: MAIL FROM:<a@a.example>\nS: 250 ok\nC: RCPT TO:<b@b.example>\nS: 250 ok\nC: DATA\nS: 354 go\n\
                 C: hi\nC: .\nS: 250 ok",
            );
        }
        talk.frames
    }),
    ("octets in reverse order", |n| {
        let mut talk = greeted();
        for at in (1..n as i64).rev() {
            talk.bent(End::Client, b"x", &Bend { sequence_offset: at, ..Bend::default() });
        }
        talk.frames
    }),
    ("every second octet, then the others", |n| {
        let mut talk = greeted();
        let n = n as i64;
        for at in (1..n).step_by(2).chain((0..n).step_by(2)) {
            talk.bent(End::Client, b"x", &Bend { sequence_offset: at, ..Bend::default() });
        }
        talk.frames
    }),
    ("overlaps that contradict each other", |n| {
        let mut talk = greeted();
        for at in 1..n as i64 {
            let bytes = [b'a' + (at % 26) as u8; 40];
            talk.bent(End::Client, &bytes, &Bend { sequence_offset: 2 + at * 7, ..Bend::default() });
        }
        talk.frames
    }),
    ("BDAT 1, again and again", |n| client(&b"BDAT 1\r\nx".repeat(n))),
    ("recipients of one transaction", |n| {
        let mut talk = greeted();
        talk.play("C: MAIL FROM:<a@a.example>\nS: 250 ok");
        for _ in 0..n / 4 {
            talk.play("C: RCPT TO:<b@b.example>\nS: 250 ok");
        }
        talk.play("C: DATA\nS: 354 go\nC: hi\nC: .\nS: 250 ok");
        talk.frames
    }),
    ("a reply of many lines", |n| {
        let mut talk = Talk::opened(40_000);
        talk.say(End::Server, &b"220-a\r\n".repeat(n), true);
        talk.frames
    }),
    ("replies that nobody asked for", |n| {
        let mut talk = greeted();
        talk.say(End::Server, &b"250 ok\r\n".repeat(n), true);
        talk.frames
    }),
    ("folded headers", |n| message(&[&b"Subject: x"[..], &b"\r\n y".repeat(n), b"\r\n\r\nhi\r\n"].concat())),
    ("headers without end", |n| message(&b"X-Mailer: y\r\n".repeat(n))),
    ("nested parts", |n| {
        let part = |i| format!("Content-Type: multipart/mixed; boundary=b{i}\r\n\r\n--b{i}\r\n");
        message((0..n / 8).map(part).collect::<String>().as_bytes())
    }),
    ("links that are never closed", |n| {
        message(&[&b"Content-Type: text/html\r\n\r\n"[..], &b"<a href=x.example ".repeat(n)].concat())
    }),
    ("links without an end tag", |n| {
        message(&[&b"Content-Type: text/html\r\n\r\n"[..], &b"<a href=x.example>y ".repeat(n)].concat())
    }),
    ("quotes that are never closed", |n| {
        message(&[&b"Content-Type: text/html\r\n\r\n"[..], &b"<a href=\"".repeat(n)].concat())
    }),
    ("a body of dots", |n| message(&b".".repeat(n * 16))),
    ("stuffed dots", |n| message(&b"\r\n..".repeat(n))),
    ("ends that servers disagree about", |n| message(&b"\n.\n".repeat(n))),
    ("the same, each answered", |n| {
        let mut talk = greeted();
        talk.play(
            "C: MAIL FROM:<a@a.example>\nS: 250 ok\nC: RCPT TO:<b@b.example>\nS: 250 ok\nC: DATA\nS: 354 go",
        );
        talk.say(End::Client, &b"x\n.\nMAIL FROM:<a@b>\nRCPT TO:<c@d>\nDATA\n".repeat(n / 16), true);
        talk.say(End::Server, &b"250 a\r\n250 b\r\n250 c\r\n354 d\r\n".repeat(n / 16), true);
        talk.frames
    }),
    ("records of TLS, each empty", |n| {
        let mut talk = greeted();
        talk.play("C: STARTTLS\nS: 220 go");
        talk.say(
            End::Client,
            &[b"\x16\x03\x01\x00\x00".to_vec(), b"\x17\x03\x03\x00\x00".repeat(n)].concat(),
            true,
        );
        talk.frames
    }),
    ("fragments of eight octets", |n| {
        let mut talk = greeted();
        talk.say(End::Client, &b"NOOP\r\n".repeat(n), true);
        talk.frames.into_iter().flat_map(|frame| fragments(&frame)).collect()
    }),
];

fn greeted() -> Talk {
    let mut talk = Talk::opened(40_000);
    talk.play("S: 220 mx ready\nC: EHLO client.example\nS: 250-mx\nS: 250-PIPELINING\nS: 250 CHUNKING");
    talk
}

fn client(bytes: &[u8]) -> Vec<Frame> {
    let mut talk = greeted();
    talk.say(End::Client, bytes, true);
    talk.frames
}

fn message(bytes: &[u8]) -> Vec<Frame> {
    let mut talk = greeted();
    talk.play(
        "C: MAIL FROM:<a@a.example>\nS: 250 ok\nC: RCPT TO:<b@b.example>\nS: 250 ok\nC: DATA\nS: 354 go",
    );
    talk.say(End::Client, bytes, true);
    talk.play("c: \\r\\n.\\r\\n\nS: 250 ok");
    talk.frames
}

/// An IPv4 datagram in the smallest fragments there are.
fn fragments(frame: &Frame) -> Vec<Frame> {
    let (header, payload) = frame.bytes.split_at(20);
    let last = payload.len().div_ceil(8) - 1;
    let id = (frame.at.as_micros() as u16).to_be_bytes();
    let piece = |(i, part): (usize, &[u8])| {
        let mut bytes = [header, part].concat();
        bytes[2..4].copy_from_slice(&(20 + part.len() as u16).to_be_bytes());
        bytes[4..6].copy_from_slice(&id);
        bytes[6..8].copy_from_slice(&(i as u16 | if i < last { 0x2000 } else { 0 }).to_be_bytes());
        Frame { at: frame.at, bytes }
    };
    payload.chunks(8).enumerate().map(piece).collect()
}

/// The only function whose instructions are counted.
#[inline(never)]
fn measured_work(road: &mut WireRoad, frames: &[Frame]) -> usize {
    let mut out = Vec::new();
    for Frame { at, bytes } in frames {
        let original_bytes = bytes.len() as u32;
        road.packet(&Packet { at: *at, link: LinkType::RAW, bytes, original_bytes }, &mut out);
    }
    road.finish(&mut out);
    out.len()
}

fn n() -> usize {
    std::env::var("PORTREEVE_LINEAR_N").ok().and_then(|n| n.parse().ok()).unwrap_or(USUAL_N)
}

/// Every shape at n and at 2n: what callgrind watches. Alone, it shows that no shape is refused.
#[test]
fn the_work() {
    for (name, shape) in SHAPES {
        for n in [n(), 2 * n()] {
            let frames = shape(n);
            let company = Arc::new(Company::new(Vec::new(), &[], Vec::new(), CivilClock::utc()));
            let settings = WireSettings { content_bytes_max: 1 << 20, ..WireSettings::default() };
            let mut road = WireRoad::new(company, settings);
            let began = std::time::Instant::now();
            let found = measured_work(&mut road, &frames);
            println!("{name}: n {n}, {} frames, {found} observations, {:?}", frames.len(), began.elapsed());
            assert_eq!(road.counters().packets, frames.len() as u64, "{name}");
            assert!(frames.first().unwrap().at > Timestamp::default());
        }
    }
}

#[test]
fn twice_the_input_is_at_most_a_little_more_than_twice_the_work() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("skipped: valgrind is not installed (Debian: valgrind)");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("callgrind.out");
    let run = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--toggle-collect=wire_linear::measured_work",
            "--dump-after=wire_linear::measured_work",
        ])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "the_work", "--test-threads=1"])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let instructions: Vec<f64> = (1..=2 * SHAPES.len())
        .map(|part| {
            let text = std::fs::read_to_string(format!("{}.{part}", out.display())).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
            line.trim().parse().unwrap()
        })
        .collect();
    let mut bad = Vec::new();
    for ((name, _), pair) in SHAPES.iter().zip(instructions.chunks(2)) {
        let ratio = pair[1] / pair[0];
        println!("{ratio:5.2}  {name} ({:.1} million instructions for 2n)", pair[1] / 1e6);
        assert!(pair[0] > 10_000.0, "{name}: nothing was counted");
        if ratio > RATIO_MAX {
            bad.push(format!("{name}: {ratio:.2}"));
        }
    }
    assert!(bad.is_empty(), "more than {RATIO_MAX}: {}", bad.join(", "));
}
