//! What the fuzz targets of the wire do with their input. `tests/fuzz_corpus.rs` does the same with the corpus, on
//! the stable compiler and without libFuzzer.
//!
//! Beside "no panic, no overflow", each target holds a law that any input has to obey.

#![allow(dead_code)] // each target uses one of them

use portreeve::capture::{LinkType, Packet};
use portreeve::company::Company;
use portreeve::flow::connection::Surroundings;
use portreeve::flow::{Budget, Connection, Event, FlowCounters, Segment, Side};
use portreeve::limits;
use portreeve::observation::{Fact, SessionEnd};
use portreeve::smtp::content::{Excerpt, Held};
use portreeve::smtp::opaque::replies::Servers;
use portreeve::smtp::session::Session;
use portreeve::smtp::{Outlet, WireCounters, WireRoad, WireSettings};
use portreeve::time::{CivilClock, Timestamp};
use std::sync::Arc;

/// A target, by its name.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of the wire.
pub const TARGETS: &[Target] =
    &[("frame", frame), ("reassembly", reassembly), ("dialogue", dialogue), ("content", content)];

const LINKS: [i32; 12] = [1, 1, 1, 1, 12, 14, 101, 113, 276, 0, 108, 228];

/// Frames of any link type, one after the other, through the whole road. Law: every frame is counted once.
///
/// Input: one octet for the link type; then frames, each behind two octets of length and one of passing time.
pub fn frame(data: &[u8]) {
    let Some((link, mut rest)) = data.split_first() else { return };
    let link = LinkType(LINKS[usize::from(*link) % LINKS.len()]);
    let company = Arc::new(Company::new(Vec::new(), &[], Vec::new(), CivilClock::utc()));
    let mut road = WireRoad::new(company, WireSettings::default());
    let (mut at, mut out, mut frames) = (Timestamp::from_seconds(1_000), Vec::new(), 0);
    while let [high, low, time, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (bytes, next) = after.split_at(length);
        at = at.plus_seconds(f64::from(*time) / 16.0);
        let original_bytes = (length as u32).saturating_add(u32::from(*time & 3));
        road.packet(&Packet { at, link, bytes, original_bytes }, &mut out);
        frames += 1;
        rest = next;
    }
    road.finish(&mut out);
    assert_eq!(road.counters().packets, frames);
}

/// The octet that stands at a place of a stream where nobody lies.
fn octet(side: Side, place: u32) -> u8 {
    let salt = if side == Side::Originator { 0x9e37_79b9 } else { 0x85eb_ca6b };
    (place.wrapping_mul(salt) >> 24) as u8
}

/// A schedule of segments on one connection. Laws: the budget is given back; and while nobody lies and nothing was
/// given up, what is handed out is the stream itself.
///
/// Input: eight octets a segment: side and manners, place (two), length, acknowledgment (two), flags, time.
pub fn reassembly(data: &[u8]) {
    let (mut budget, mut counters) = (Budget::default(), FlowCounters::default());
    let mut at = Timestamp::from_seconds(1_000);
    let mut connection: Option<Connection> = None;
    let (mut given_up, mut out) = (false, [Vec::new(), Vec::new()]);
    for (number, chunk) in data.chunks_exact(8).take(4_096).enumerate() {
        let [manner, high, low, length, ack_high, ack_low, flags, time] = *chunk else { return };
        let side = if manner & 1 == 0 { Side::Originator } else { Side::Responder };
        let place = u32::from(u16::from_be_bytes([high, low])) & 0x0fff;
        let acknowledged = u32::from(u16::from_be_bytes([ack_high, ack_low])) & 0x0fff;
        // The handshake first, most of the time, so that there is a connection at all.
        let flags = match number {
            0 if manner & 2 == 0 => 0x02,
            1 if manner & 2 == 0 => 0x12,
            _ => flags | if manner & 4 == 0 { 0x10 } else { 0 },
        };
        let flags =
            if manner & 8 == 0 { flags & !0x06 | (if number < 2 { flags & 0x02 } else { 0 }) } else { flags };
        at = at.plus_seconds(f64::from(time) / 64.0);
        let lie = u8::from(manner & 0xf0 == 0xf0);
        let payload: Vec<u8> = (0..u32::from(length)).map(|i| octet(side, place + i) ^ lie).collect();
        // Urgent octets are out of band, and SYN and RST begin and end streams.
        given_up |= lie != 0 || flags & 0x20 != 0 || flags & 0x06 != 0 && number > 1;
        let opens = flags & 0x02 != 0;
        // An answer to a SYN tells by its acknowledgment where the stream begins: here, at 0.
        let (payload, acknowledged) = if opens { (Vec::new(), 0) } else { (payload, acknowledged) };
        let tcp = tcp(side, if opens { 0 } else { place + 1 }, acknowledged + 1, flags, &payload);
        let frame = Packet { at, link: LinkType::RAW, bytes: &tcp, original_bytes: tcp.len() as u32 };
        let Ok(ip) = portreeve::capture::link::ip_slice(&frame) else { return };
        let Some(segment) = Segment::read(&ip) else { return };
        let connection = connection.get_or_insert_with(|| Connection::new(side, &segment));
        given_up |= connection.is_midstream();
        let mut around = Surroundings { at, budget: &mut budget, counters: &mut counters };
        connection.segment(side, &segment, &mut around, &mut |event| match event {
            Event::Bytes(side, bytes) => out[side as usize].extend_from_slice(bytes),
            Event::Gap(..) => given_up = true,
            _ => {}
        });
    }
    let Some(mut connection) = connection else { return };
    let mut around = Surroundings { at, budget: &mut budget, counters: &mut counters };
    connection.flush(&mut around, &mut |_| {});
    assert_eq!(budget.bytes, 0, "the budget was not given back");
    for side in [Side::Originator, Side::Responder] {
        for (place, byte) in out[side as usize].iter().enumerate() {
            assert!(given_up || *byte == octet(side, place as u32), "octet {place} of {side:?}");
        }
    }
}

/// A TCP segment in an IPv4 datagram, without checksums: capture cards leave them out.
fn tcp(side: Side, sequence: u32, acknowledgment: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0];
    let ends = match side {
        Side::Originator => [[10, 0, 0, 1], [192, 0, 2, 1]],
        Side::Responder => [[192, 0, 2, 1], [10, 0, 0, 1]],
    };
    let ports: [u16; 2] = if side == Side::Originator { [4_000, 25] } else { [25, 4_000] };
    out.extend_from_slice(ends.as_flattened());
    ports.iter().for_each(|port| out.extend_from_slice(&port.to_be_bytes()));
    out.extend_from_slice(&sequence.to_be_bytes());
    out.extend_from_slice(&acknowledgment.to_be_bytes());
    out.extend_from_slice(&[0x50, flags & 0x37, 0xff, 0xff, 0, 0, 0, 2]);
    out.extend_from_slice(payload);
    let total = (out.len() as u16).to_be_bytes();
    out[2..4].copy_from_slice(&total);
    out
}

/// Words by which noise reaches the depths of a dialogue.
const CLIENT: [&str; 32] = [
    "EHLO a\r\n",
    "HELO b\r\n",
    "MAIL FROM:<a@b.example>\r\n",
    "RCPT TO:<c@d.example>\r\n",
    "DATA\r\n",
    "x\r\n.\r\n",
    "Subject: x\r\n\r\n",
    ".\r\n",
    "\r\n",
    "BDAT 5\r\nabcde",
    "BDAT 3 LAST\r\nxyz",
    "BDAT 0 LAST\r\n",
    "BDAT 5 X\r\n",
    "RSET\r\n",
    "QUIT\r\n",
    "NOOP\r\n",
    "STARTTLS\r\n",
    "\x16\x03\x01\x00\x05abcde",
    "AUTH PLAIN AGEAYg==\r\n",
    "AUTH LOGIN\r\n",
    "dXNlcg==\r\n",
    "\n.\n",
    "\r.\r",
    "\n.\r\n",
    "\0",
    ".",
    "\r",
    "\n",
    "XCLIENT a\r\n",
    "RCPT TO:<",
    "MAIL FROM:<>\r\n",
    "\x05\x01\x00",
];
const SERVER: [&str; 16] = [
    "220 mx\r\n",
    "250 ok\r\n",
    "250-a\r\n",
    "354 go\r\n",
    "550 5.1.1 no\r\n",
    "450 later\r\n",
    "221 bye\r\n",
    "334 \r\n",
    "235 yes\r\n",
    "503 order\r\n",
    "421 closing\r\n",
    "250 2.0.0 Ok: queued as ABCDE12\r\n",
    "500 what\r\n",
    "2",
    "\r\n",
    "554 no\r\n",
];

/// A dialogue in both directions in any pieces. Laws: no more messages are accepted than the server said yes, and
/// excerpts are given back.
///
/// Input: pieces, each behind one octet: side, raw or words, gap or finish; and one octet of length.
pub fn dialogue(data: &[u8]) {
    let settings = WireSettings::default();
    let held = Held::default();
    let (mut counters, mut out) = (WireCounters::default(), Vec::new());
    let at = Timestamp::from_seconds(1_000);
    let ends = ("10.0.0.1".parse().expect("an address"), ("192.0.2.1".parse().expect("an address"), 25));
    let mut session: Option<Session> = None;
    let mut replies = Servers::default();
    let (mut rest, mut twos) = (data, 0usize);
    while let [what, length, after @ ..] = rest {
        let (piece, next) = after.split_at(usize::from(*length).min(after.len()));
        rest = next;
        let side = if what & 1 == 0 { Side::Originator } else { Side::Responder };
        let words: Vec<u8> = if what & 2 == 0 {
            piece.to_vec()
        } else if side == Side::Originator {
            piece.iter().flat_map(|b| CLIENT[usize::from(*b) % CLIENT.len()].bytes()).collect()
        } else {
            piece.iter().flat_map(|b| SERVER[usize::from(*b) % SERVER.len()].bytes()).collect()
        };
        let mut outlet = Outlet {
            at,
            one_sided: what & 0xc0 == 0xc0,
            originator_seen: true,
            settings: &settings,
            held: &held,
            replies: &mut replies,
            out: &mut out,
            counters: &mut counters,
        };
        let session = session.get_or_insert_with(|| match what & 0x20 {
            0 => Session::new(ends.0, ends.1, None, at),
            _ => Session::midstream(ends.0, ends.1, at, &mut outlet),
        });
        let event = match what & 0x1c {
            0x04 => Event::Gap(side, u64::from(*length)),
            0x08 => Event::Finished(side),
            0x0c => Event::Gap(side, 0),
            _ => Event::Bytes(side, &words),
        };
        if matches!(event, Event::Bytes(Side::Responder, _)) {
            twos += words.iter().filter(|b| **b == b'2').count();
        }
        if !matches!(event, Event::Bytes(_, [])) {
            session.event(event, &mut outlet);
        }
    }
    let Some(session) = session else { return };
    let mut outlet = Outlet {
        at,
        one_sided: false,
        originator_seen: true,
        settings: &settings,
        held: &held,
        replies: &mut replies,
        out: &mut out,
        counters: &mut counters,
    };
    session.finish(SessionEnd::InputEnded, &mut outlet);
    let accepted =
        out.iter().filter(|o| matches!(&o.fact, Fact::Message(m) if m.accepted == Some(true))).count();
    assert!(accepted <= twos, "{accepted} messages accepted by {twos} replies");
    assert_eq!(held.load(std::sync::atomic::Ordering::Relaxed), 0, "excerpts are still counted");
}

/// The first octets of a message. Laws: lists keep their bounds, and the same octets in other pieces say the same.
///
/// Input: one octet for the size of the pieces and the bound, then the message.
pub fn content(data: &[u8]) {
    let Some((manner, message)) = data.split_first() else { return };
    let held = Held::default();
    let bound = if manner & 0x80 == 0 { 1 << 16 } else { 200 };
    let read = |size: usize| {
        let mut excerpt = Excerpt::new(bound, manner & 0x40 != 0, &held);
        message.chunks(size).for_each(|piece| excerpt.add(piece));
        excerpt.read(message.len() as u64)
    };
    let whole = read(message.len().max(1));
    assert_eq!(whole, read(usize::from(manner & 0x3f) + 1));
    let Some(content) = whole else { return };
    assert!(content.url_domains.len() <= limits::URL_DOMAINS_MAX);
    assert!(content.attachments.len() <= limits::ATTACHMENTS_MAX);
}
