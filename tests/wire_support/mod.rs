//! Dialogues as text, played as packets.
//!
//! A script has one line a step. `C: text` and `S: text` are said with CRLF; `c: text` and `s: text`
//! without it, with `\r`, `\n`, `\0` and `\\` written out. Lines of one side that follow each other go out
//! in one segment, unless an empty line stands between them. `x` before a line: said, but not captured.

#![allow(dead_code)] // each test crate uses its part

use etherparse::PacketBuilder;
use portreeve::capture::{LinkType, Packet};
use portreeve::company::Company;
use portreeve::observation::{Delivery, Fact, Message, Observation, Oddity, Session};
use portreeve::smtp::{WireCounters, WireRoad, WireSettings};
use portreeve::time::{CivilClock, Timestamp};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub at: Timestamp,
    pub bytes: Vec<u8>,
}

/// Which end speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Client,
    Server,
}

impl End {
    pub fn other(self) -> End {
        if self == End::Client { End::Server } else { End::Client }
    }
}

/// Everything that can be bent in a segment.
#[derive(Clone, Debug, Default)]
pub struct Bend {
    pub sequence_offset: i64,
    pub acknowledgment_offset: i64,
    pub hop_limit: Option<u8>,
    pub bad_checksum: bool,
    pub no_ack: bool,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    pub md5: bool,
    pub urgent: Option<u16>,
}

/// One connection, as it is captured.
#[derive(Clone, Debug)]
pub struct Talk {
    pub frames: Vec<Frame>,
    pub address: Ipv4Addr,
    pub port: u16,
    pub server_port: u16,
    /// Next sequence numbers of client and server.
    pub next: [u32; 2],
    pub micros: i64,
    /// Largest segment.
    pub mss: usize,
}

pub const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 25);

impl Talk {
    pub fn new(port: u16) -> Talk {
        Talk {
            frames: Vec::new(),
            address: Ipv4Addr::new(10, 1, 2, 3),
            port,
            server_port: 25,
            next: [u32::MAX - 40, 7_000],
            micros: 1_700_000_000_000_000,
            mss: 1_460,
        }
    }

    /// A connection after its handshake.
    pub fn opened(port: u16) -> Talk {
        let mut talk = Talk::new(port);
        talk.handshake();
        talk
    }

    /// A whole session after a script.
    pub fn script(text: &str) -> Talk {
        let mut talk = Talk::opened(40_000);
        talk.play(text);
        talk.close();
        talk
    }

    pub fn handshake(&mut self) {
        let syn = |syn| Bend { syn, ..Bend::default() };
        let frame = self.frame(End::Client, b"", &Bend { no_ack: true, ..syn(true) });
        self.frames.push(frame);
        self.next[0] = self.next[0].wrapping_add(1);
        let frame = self.frame(End::Server, b"", &syn(true));
        self.frames.push(frame);
        self.next[1] = self.next[1].wrapping_add(1);
        self.acknowledge(End::Client);
    }

    pub fn close(&mut self) {
        for end in [End::Client, End::Server] {
            let frame = self.frame(end, b"", &Bend { fin: true, ..Bend::default() });
            self.frames.push(frame);
            let next = &mut self.next[end as usize];
            *next = next.wrapping_add(1);
            self.acknowledge(end.other());
        }
    }

    pub fn acknowledge(&mut self, end: End) {
        let frame = self.frame(end, b"", &Bend::default());
        self.frames.push(frame);
    }

    /// Says something, in as many segments as it takes; `captured` false moves on without frames.
    pub fn say(&mut self, end: End, bytes: &[u8], captured: bool) {
        for part in bytes.chunks(self.mss) {
            let frame = self.frame(end, part, &Bend::default());
            if captured {
                self.frames.push(frame);
            }
            let next = &mut self.next[end as usize];
            *next = next.wrapping_add(part.len() as u32);
        }
        if captured {
            self.acknowledge(end.other());
        }
    }

    /// A segment at the place where `end` is, bent; nothing moves on.
    pub fn bent(&mut self, end: End, bytes: &[u8], bend: &Bend) {
        let frame = self.frame(end, bytes, bend);
        self.frames.push(frame);
    }

    pub fn frame(&mut self, end: End, payload: &[u8], bend: &Bend) -> Frame {
        self.micros += 1_000;
        let bend_by = |number: u32, offset: i64| number.wrapping_add(offset as u32);
        let (client, server) = (self.address.octets(), SERVER.octets());
        let (source, destination, ports) = match end {
            End::Client => (client, server, (self.port, self.server_port)),
            End::Server => (server, client, (self.server_port, self.port)),
        };
        let sequence = bend_by(self.next[end as usize], bend.sequence_offset);
        let acknowledgment = bend_by(self.next[end.other() as usize], bend.acknowledgment_offset);
        let builder = PacketBuilder::ipv4(source, destination, bend.hop_limit.unwrap_or(60));
        let mut tcp = builder.tcp(ports.0, ports.1, sequence, 64_000);
        if !bend.no_ack {
            tcp = tcp.ack(acknowledgment);
        }
        if bend.syn {
            tcp = tcp.syn();
        }
        if bend.fin {
            tcp = tcp.fin();
        }
        if bend.rst {
            tcp = tcp.rst();
        }
        if let Some(pointer) = bend.urgent {
            tcp = tcp.urg(pointer);
        }
        if bend.md5 {
            let md5 = [&[19u8, 18][..], &[7; 16], &[1, 1]].concat();
            tcp = tcp.options_raw(&md5).unwrap();
        }
        let mut bytes = Vec::new();
        tcp.write(&mut bytes, payload).unwrap();
        if bend.bad_checksum {
            bytes[37] ^= 0x55;
        }
        Frame { at: Timestamp::from_micros(self.micros), bytes }
    }

    /// Plays a script.
    pub fn play(&mut self, text: &str) {
        let mut flight: Option<(End, bool, Vec<u8>)> = None;
        for line in text.lines().map(str::trim_start).chain([""]) {
            let (captured, line) = match line.strip_prefix('x') {
                Some(rest) => (false, rest.trim_start()),
                None => (true, line),
            };
            let said = line.split_once(": ").or_else(|| line.strip_suffix(':').map(|who| (who, "")));
            let said = said.map(|(who, text)| match who {
                "C" => (End::Client, [text.as_bytes(), b"\r\n"].concat()),
                "S" => (End::Server, [text.as_bytes(), b"\r\n"].concat()),
                "c" => (End::Client, unescape(text)),
                "s" => (End::Server, unescape(text)),
                who => panic!("who is {who:?}?"),
            });
            match (&mut flight, said) {
                (Some((end, seen, bytes)), Some((who, more))) if *end == who && *seen == captured => {
                    bytes.extend_from_slice(&more);
                }
                (_, said) => {
                    if let Some((end, captured, bytes)) = flight.take() {
                        self.say(end, &bytes, captured);
                    }
                    flight = said.map(|(end, bytes)| (end, captured, bytes));
                }
            }
        }
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let (mut out, mut bytes) = (Vec::new(), text.bytes());
    while let Some(byte) = bytes.next() {
        out.push(match (byte, byte == b'\\') {
            (_, true) => match bytes.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b'0') => 0,
                Some(b'x') => {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other.unwrap(),
            },
            (byte, false) => byte,
        });
    }
    out
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub out: Vec<Observation>,
    pub counters: WireCounters,
}

pub fn everyone() -> Arc<Company> {
    let networks = ["0.0.0.0/0", "::/0"].map(|net| net.parse().unwrap()).to_vec();
    Arc::new(Company::new(networks, &[], vec![], CivilClock::utc()))
}

pub fn replay(frames: &[Frame]) -> Seen {
    replay_with(frames, WireSettings::default())
}

pub fn replay_with(frames: &[Frame], settings: WireSettings) -> Seen {
    let mut road = WireRoad::new(everyone(), settings);
    let mut out = Vec::new();
    for frame in frames {
        let packet = Packet {
            at: frame.at,
            link: LinkType::RAW,
            bytes: &frame.bytes,
            original_bytes: frame.bytes.len() as u32,
        };
        road.packet(&packet, &mut out);
    }
    road.finish(&mut out);
    Seen { out, counters: road.counters().clone() }
}

/// `reverse > forward: code`, with `-` for what is not known.
pub fn line(delivery: &Delivery) -> String {
    let dash = || "-".to_owned();
    let reverse = match &delivery.reverse_path {
        Some(path) => path.mailbox().map_or("<>".to_owned(), |mailbox| mailbox.address().escaped()),
        None => dash(),
    };
    let forward = delivery.forward_path.as_ref().map_or_else(dash, |mailbox| mailbox.address().escaped());
    let code =
        delivery.reply.as_ref().and_then(|reply| reply.code).map_or_else(dash, |code| code.to_string());
    format!("{reverse} > {forward}: {code}")
}

impl Seen {
    pub fn deliveries(&self) -> Vec<String> {
        self.facts(|fact| match fact {
            Fact::Delivery(delivery) => Some(line(delivery)),
            _ => None,
        })
    }

    pub fn messages(&self) -> Vec<Message> {
        self.facts(|fact| match fact {
            Fact::Message(message) => Some(message.clone()),
            _ => None,
        })
    }

    pub fn sessions(&self) -> Vec<Session> {
        self.facts(|fact| match fact {
            Fact::Session(session) => Some(session.clone()),
            _ => None,
        })
    }

    pub fn session(&self) -> Session {
        let mut sessions = self.sessions();
        assert_eq!(sessions.len(), 1, "{self:#?}");
        sessions.remove(0)
    }

    pub fn oddities(&self) -> Vec<Oddity> {
        self.session().oddities
    }

    pub fn facts<T>(&self, pick: impl Fn(&Fact) -> Option<T>) -> Vec<T> {
        self.out.iter().filter_map(|observation| pick(&observation.fact)).collect()
    }
}
