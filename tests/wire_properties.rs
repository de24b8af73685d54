//! Laws of the wire road, on generated dialogues.
//!
//! 1. However a capture cuts, repeats or shuffles the segments of a dialogue, the observations are the same.
//! 2. Packets that are missing lose facts, and never invent a delivery.
//! 3. Garbage between valid messages loses none of them.
//! 4. No frame panics.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod wire_support;

use portreeve::observation::{Fact, Observation};
use portreeve::time::Timestamp;
use proptest::prelude::*;
use wire_support::{End, Frame, Seen, Talk, replay};

/// How often a law is tried: so often, or as `PROPTEST_CASES` says.
fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}

/// What stands between messages.
#[derive(Clone, Copy, Debug)]
enum Noise {
    Noop,
    Unknown,
    Empty,
    Long,
    Binary,
    BadChunk,
    HelloAgain,
    Reset,
    Verify,
    MailRefused,
    DataRefused,
    GivenUp,
    StartTlsRefused,
    AuthFailed,
    ChunkRefused,
    BareLineFeed,
}

const NOISE: &[Noise] = &[
    Noise::Noop,
    Noise::Unknown,
    Noise::Empty,
    Noise::Long,
    Noise::Binary,
    Noise::BadChunk,
    Noise::HelloAgain,
    Noise::Reset,
    Noise::Verify,
    Noise::MailRefused,
    Noise::DataRefused,
    Noise::GivenUp,
    Noise::StartTlsRefused,
    Noise::AuthFailed,
    Noise::ChunkRefused,
    Noise::BareLineFeed,
];

/// One message of a dialogue.
#[derive(Clone, Debug)]
struct Mail {
    noise: Vec<Noise>,
    /// The code that each RCPT gets.
    recipients: Vec<u16>,
    /// BDAT with so many chunks, or DATA.
    chunks: Option<usize>,
    /// Commands go out together (RFC 2920).
    pipelined: bool,
    body: Vec<u8>,
    verdict: u16,
}

/// A dialogue and what it must give.
struct Dialogue {
    talk: Talk,
    deliveries: Vec<String>,
    messages: usize,
}

impl Dialogue {
    fn of(mails: &[Mail], mss: usize) -> Dialogue {
        let mut talk = Talk::opened(41_000);
        talk.mss = mss;
        talk.play("S: 220 mx ready\nC: EHLO client.example\nS: 250-mx\nS: 250-PIPELINING\nS: 250 CHUNKING");
        let mut dialogue = Dialogue { talk, deliveries: Vec::new(), messages: 0 };
        for (number, mail) in mails.iter().enumerate() {
            mail.noise.iter().for_each(|noise| dialogue.noise(*noise, number));
            dialogue.mail(number, mail);
        }
        dialogue.talk.play("C: QUIT\nS: 221 bye");
        dialogue.talk.close();
        dialogue
    }

    fn noise(&mut self, noise: Noise, number: usize) {
        let long = "x".repeat(6_000);
        let script = match noise {
            Noise::Noop => "C: NOOP\nS: 250 ok",
            Noise::Unknown => "C: GET / HTTP/1.1\nS: 500 what",
            Noise::Empty => "C:\nS: 500 what",
            Noise::Long => &format!("C: {long}\nS: 500 line too long"),
            Noise::Binary => "c: \\x00\\xff\\x16\\x80\\x01\\r\\n\nS: 500 what",
            Noise::BadChunk => "C: BDAT 5 X\nS: 501 syntax",
            Noise::HelloAgain => "C: EHLO client.example\nS: 250-mx\nS: 250 CHUNKING",
            Noise::Reset => "C: RSET\nS: 250 ok",
            Noise::Verify => "C: VRFY someone\nS: 252-cannot\nS: 252 tell",
            Noise::MailRefused => "C: MAIL FROM:<bad@a.example>\nS: 550 no",
            Noise::DataRefused => &format!(
                "C: MAIL FROM:<r{number}@a.example>\nS: 250 ok\nC: RCPT TO:<r{number}@b.example>\nS: 250 ok\n\
                     C: DATA\nS: 554 no\nC: RSET\nS: 250 ok"
            ),
            Noise::GivenUp => &format!(
                "C: MAIL FROM:<g{number}@a.example>\nC: RCPT TO:<g{number}@b.example>\nC: RSET\n\
                     S: 250 ok\nS: 250 ok\nS: 250 ok"
            ),
            Noise::StartTlsRefused => "C: STARTTLS\nS: 454 no",
            Noise::AuthFailed => "C: AUTH LOGIN\nS: 334 VXNl\nC: bWU=\nS: 334 UGFz\nC: bWU=\nS: 535 no",
            Noise::ChunkRefused => "C: BDAT 4 LAST\nc: QUIT\nS: 503 no transaction",
            Noise::BareLineFeed => "c: NOOP\\n\nS: 250 ok",
        };
        if let Noise::DataRefused = noise {
            self.deliveries.push(format!("r{number}@a.example > r{number}@b.example: 554"));
        }
        if let Noise::ChunkRefused = noise {
            self.messages += 1;
        }
        self.talk.play(script);
    }

    fn mail(&mut self, number: usize, mail: &Mail) {
        let reverse = format!("m{number}@a.example");
        let forward = |i: usize| format!("m{number}-{i}@b.example");
        let mut steps = vec![(format!("MAIL FROM:<{reverse}>\r\n").into_bytes(), "250 ok\r\n".to_owned())];
        let (mut refused, mut accepted) = (Vec::new(), Vec::new());
        for (i, code) in mail.recipients.iter().enumerate() {
            steps
                .push((format!("RCPT TO:<{}>\r\n", forward(i)).into_bytes(), format!("{code} rcpt {i}\r\n")));
            let (list, code) =
                if *code == 250 { (&mut accepted, mail.verdict) } else { (&mut refused, *code) };
            list.push(format!("{reverse} > {}: {code}", forward(i)));
        }
        let last = format!("{} message {number}\r\n", mail.verdict);
        match mail.chunks {
            Some(chunks) => {
                let size = mail.body.len().div_ceil(chunks).max(1);
                for part in mail.body.chunks(size) {
                    let head = format!("BDAT {}\r\n", part.len());
                    steps.push(([head.as_bytes(), part].concat(), "250 chunk\r\n".to_owned()));
                }
                steps.push((b"BDAT 0 LAST\r\n".to_vec(), last));
            }
            None => {
                steps.push((b"DATA\r\n".to_vec(), "354 go\r\n".to_owned()));
                steps.push((text(&mail.body), last));
            }
        }
        // RFC 2920: DATA may be the last of a group; the message then waits for 354.
        let group = if mail.chunks.is_some() { steps.len() } else { steps.len() - 1 };
        if mail.pipelined {
            let (together, alone) = steps.split_at(group);
            let said = together.iter().flat_map(|(command, _)| command.clone()).collect::<Vec<_>>();
            let answers = together.iter().map(|(_, reply)| reply.as_str()).collect::<String>();
            self.talk.say(End::Client, &said, true);
            self.talk.say(End::Server, answers.as_bytes(), true);
            steps = alone.to_vec();
        }
        for (command, reply) in &steps {
            self.talk.say(End::Client, command, true);
            self.talk.say(End::Server, reply.as_bytes(), true);
        }
        self.messages += 1;
        self.deliveries.extend(refused);
        self.deliveries.extend(accepted);
    }
}

/// A body as DATA carries it: lines with CRLF, dots stuffed, and the end.
fn text(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.iter().copied().filter(|byte| !matches!(byte, b'\r' | 0)).collect::<Vec<_>>();
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(&line);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

fn a_mail() -> impl Strategy<Value = Mail> {
    (
        prop::collection::vec(prop::sample::select(NOISE), 0..3),
        prop::collection::vec(prop::sample::select(&[250u16, 250, 250, 550, 451][..]), 1..4),
        prop::option::weighted(0.3, 1..4usize),
        any::<bool>(),
        prop::collection::vec(prop::sample::select(&b"ab .\nRCPT TO:<x>\r\nQUIT\n"[..]), 0..120),
        prop::sample::select(&[250u16, 250, 554, 451][..]),
    )
        .prop_map(|(noise, recipients, chunks, pipelined, body, verdict)| {
            // Without a recipient, servers refuse DATA: then there is no message.
            let recipients = if recipients.contains(&250) { recipients } else { vec![250] };
            Mail { noise, recipients, chunks, pipelined, body, verdict }
        })
}

fn mails() -> impl Strategy<Value = Vec<Mail>> {
    prop::collection::vec(a_mail(), 1..4)
}

/// Observations without their times.
fn facts(seen: &Seen) -> Vec<Observation> {
    let mut out = seen.out.clone();
    for observation in &mut out {
        observation.at = Timestamp::default();
        if let Fact::Session(session) = &mut observation.fact {
            session.opened_at = Timestamp::default();
        }
    }
    out
}

/// The first observation in which two captures of one dialogue differ.
fn difference(one: &Seen, other: &Seen) -> Option<String> {
    let (one, other) = (facts(one), facts(other));
    let differs = |i: &usize| one.get(*i) != other.get(*i);
    let at = (0..one.len().max(other.len())).find(differs)?;
    Some(format!("{:?}\n{:?}", one.get(at).map(|o| &o.fact), other.get(at).map(|o| &o.fact)))
}

/// The same frames, captured one after the other in this order.
fn in_order(frames: Vec<Frame>) -> Vec<Frame> {
    let start = frames.iter().map(|frame| frame.at.as_micros()).min().unwrap_or_default();
    let at = |i: usize| Timestamp::from_micros(start + 1_000 * i as i64);
    frames.into_iter().enumerate().map(|(i, frame)| Frame { at: at(i), ..frame }).collect()
}

/// Each frame moves back by up to its number of places.
fn shuffled(frames: &[Frame], delays: &[usize]) -> Vec<Frame> {
    let delay = |i: usize| if i < 3 { 0 } else { delays[i % delays.len()] };
    let mut order = frames.iter().enumerate().map(|(i, frame)| (i + delay(i), i, frame)).collect::<Vec<_>>();
    order.sort_by_key(|(place, i, _)| (*place, *i));
    in_order(order.into_iter().map(|(_, _, frame)| frame.clone()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(1_000), ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same(mails in mails(), mss in 1usize..200) {
        let whole = Dialogue::of(&mails, 100_000);
        let cut = Dialogue::of(&mails, mss);
        let (whole, cut) = (replay(&whole.talk.frames), replay(&cut.talk.frames));
        prop_assert_eq!(difference(&whole, &cut), None);
    }

    #[test]
    fn any_shuffle_and_repetition_gives_the_same(
        mails in mails(),
        mss in 20usize..1_460,
        delays in prop::collection::vec(0usize..16, 1..40),
        again in prop::collection::vec((3usize..400, 0usize..30), 0..20),
    ) {
        let dialogue = Dialogue::of(&mails, mss);
        let straight = replay(&dialogue.talk.frames);
        prop_assert_eq!(straight.deliveries(), dialogue.deliveries.clone());
        let mut frames = shuffled(&dialogue.talk.frames, &delays);
        for (which, later) in again {
            if which < frames.len() {
                let at = (which + later).min(frames.len());
                frames.insert(at, frames[which].clone());
            }
        }
        let other = replay(&in_order(frames));
        prop_assert_eq!(other.counters.flow.gaps, 0);
        prop_assert_eq!(other.counters.flow.conflicting_overlaps, 0);
        prop_assert_eq!(difference(&straight, &other), None);
    }

    #[test]
    fn missing_packets_invent_nothing(
        mails in mails(),
        mss in 20usize..1_460,
        missing in prop::collection::btree_set(0usize..300, 0..30),
    ) {
        let dialogue = Dialogue::of(&mails, mss);
        let kept = |(i, frame): (usize, &Frame)| (!missing.contains(&i)).then(|| frame.clone());
        let frames = dialogue.talk.frames.iter().enumerate().filter_map(kept).collect::<Vec<_>>();
        let seen = replay(&frames);
        let mut nameless = 0;
        for delivery in seen.deliveries() {
            let (path, code) = delivery.rsplit_once(": ").unwrap();
            let forward = path.rsplit_once(" > ").unwrap().1;
            if forward == "-" {
                nameless += 1;
                continue;
            }
            // An address that was cut by a gap is not one of ours, and must not have got a verdict.
            let truth = dialogue.deliveries.iter().find(|truth| truth.contains(&format!(" > {forward}: ")));
            let known = truth.map(|truth| truth.rsplit_once(": ").unwrap().1);
            let given_up = forward.starts_with('g');
            prop_assert!(code == "-" || known == Some(code), "{delivery}, in truth {truth:?}");
            prop_assert!(truth.is_some() || given_up, "{delivery} was never offered");
        }
        prop_assert!(nameless <= dialogue.messages, "{nameless} of {}", dialogue.messages);
        let accepted = dialogue.deliveries.iter().filter(|delivery| delivery.ends_with(": 250")).count();
        let seen_accepted = seen.deliveries().iter().filter(|delivery| delivery.ends_with(": 250")).count();
        prop_assert!(seen_accepted <= accepted);
        prop_assert!(seen.counters.transactions as usize <= dialogue.messages);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(20_000), ..ProptestConfig::default() })]

    #[test]
    fn garbage_between_messages_loses_none(mails in mails()) {
        let dialogue = Dialogue::of(&mails, 1_460);
        let seen = replay(&dialogue.talk.frames);
        prop_assert_eq!(seen.deliveries(), dialogue.deliveries);
        prop_assert_eq!(seen.messages().len(), dialogue.messages);
        prop_assert_eq!(seen.sessions().len(), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(2_000), ..ProptestConfig::default() })]

    #[test]
    fn no_frame_panics(
        mails in mails(),
        flips in prop::collection::vec((0usize..400, 0usize..120, any::<u8>()), 0..60),
        cuts in prop::collection::vec((0usize..400, 0usize..120), 0..10),
    ) {
        let mut frames = Dialogue::of(&mails, 300).talk.frames;
        for (which, at, value) in flips {
            if let Some(byte) = frames.get_mut(which).and_then(|frame| frame.bytes.get_mut(at)) {
                *byte = value;
            }
        }
        for (which, length) in cuts {
            if let Some(frame) = frames.get_mut(which) {
                frame.bytes.truncate(length);
            }
        }
        let seen = replay(&frames);
        prop_assert_eq!(seen.counters.packets as usize, frames.len());
    }
}
