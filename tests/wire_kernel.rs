//! Against the kernel: what Linux hands to an application is what we read, octet for octet.
//!
//! Random schedules of segments (cut anywhere, early, late, again, overlapping with other words, damaged, out of the
//! window, resets, ends, numbers that go round) are sent over a veth to a listener of this machine's kernel, and
//! captured on their way with all that the kernel answers. Everything happens in a network namespace of its own. Needs
//! root; says so and passes where it cannot run. `PORTREEVE_KERNEL_SCHEDULES` (500) and `PORTREEVE_KERNEL_SEED` (1).
//!
//! Not among them, because no bystander can know what the kernel does, or because we are known to differ:
//! - Other words over the seam of two early segments that touch. Whether Linux joins the two, and then keeps them
//!   against a third, hangs on the room that the network card's driver left behind the first. We join them always, and
//!   say that there was a conflict. So a schedule either lies, or has early segments that touch; and FIN inside a
//!   schedule stands alone.
//! - A hop limit that would not last. The listener stands next to the sender and takes such segments; a server farther
//!   away does not get them, which is what the sensor assumes.
//! - Urgent octets in close succession, which only an application that reads late takes for ordinary ones.
//! - Decoys that acknowledge what was never sent, or urgent octets, together with a receiver that has no room.
//! - Resets that stand behind early segments, which Linux honours where SACK shows them: we wait for its own reset.

#![allow(clippy::unwrap_used)] // a test fails loudly

use etherparse::PacketBuilder;
use nix::sched::{CloneFlags, CpuSet};
use portreeve::capture::link::ip_slice;
use portreeve::capture::{LinkType, Packet};
use portreeve::flow::connection::Surroundings;
use portreeve::flow::{Budget, Connection, Event, Flags, FlowCounters, Segment, Side};
use portreeve::time::Timestamp;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

const CLIENT: [u8; 4] = [192, 0, 2, 2];
const SERVER: [u8; 4] = [192, 0, 2, 1];
const PORT: u16 = 25;

/// What is wrong with a segment, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Plain,
    BadChecksum,
    NoAck,
    Syn,
    Signed,
    FarAck,
    OldStamp,
    Urgent(u16),
    Fin,
    Reset,
}

/// A segment of the client: where it stands behind the handshake, what it says.
#[derive(Clone, Copy, Debug)]
struct Step {
    place: i64,
    length: usize,
    /// 0 tells the truth; others say other words at the same places.
    version: u8,
    manner: Manner,
}

/// What the SYN offers.
#[derive(Clone, Copy, Debug)]
struct Offer {
    first: u32,
    sack: bool,
    stamps: bool,
    scale: bool,
}

#[derive(Clone, Debug)]
struct Schedule {
    offer: Offer,
    /// Receive buffer of the listener, octets; `None` for the usual one.
    buffer: Option<usize>,
    steps: Vec<Step>,
    fill: Vec<Step>,
}

fn octet(place: i64, version: u8) -> u8 {
    let (first, count) = [(b'a', 26), (b'A', 26), (b'0', 10)][usize::from(version)];
    first + (place.rem_euclid(1_009) % count) as u8
}

impl Schedule {
    fn random(dice: &mut ChaCha8Rng) -> Schedule {
        let first = if dice.random_bool(0.5) { u32::MAX - dice.random_range(0..400) } else { dice.random() };
        let offer = Offer { first, sack: dice.random(), stamps: dice.random(), scale: dice.random() };
        let lies = dice.random_bool(0.5);
        let buffer = (!lies && dice.random_bool(0.4)).then(|| dice.random_range(2_304..12_000));
        let longest = if buffer.is_some() { 1_400 } else { 40 };
        let (mut cursor, mut steps) = (0, Vec::new());
        for _ in 0..dice.random_range(1..50) {
            let mut length = dice.random_range(1..=longest);
            let version = if lies && dice.random_bool(0.3) { dice.random_range(1..3) } else { 0 };
            let (place, manner) = match dice.random_range(0..100) {
                0..45 => (cursor, Manner::Plain),
                45..60 => (cursor + dice.random_range(1..20), Manner::Plain),
                60..85 => (cursor + dice.random_range(-60..60), Manner::Plain),
                _ => (cursor + dice.random_range(-5..5), Manner::random(dice)),
            };
            let far = match dice.random_range(0..60) {
                0 => dice.random_range(300_000..1 << 30),
                1 => -dice.random_range(1_000..1 << 30),
                _ => 0,
            };
            let mut place = place + far;
            let mut manner = manner;
            if lies {
                (place, length) = apart(place, length);
            }
            match manner {
                // Alone, so that it touches nothing.
                Manner::Fin if lies => length = 0,
                Manner::Fin => manner = Manner::Plain,
                // With SACK Linux also takes some resets that stand behind early segments.
                Manner::Reset if !lies && offer.sack => manner = Manner::Plain,
                // A receiver without room for the octets still takes note of the pointer.
                Manner::Urgent(_) | Manner::FarAck if buffer.is_some() => manner = Manner::Plain,
                _ => {}
            }
            if matches!(manner, Manner::Plain | Manner::Urgent(_)) && far == 0 {
                cursor = cursor.max(place + length as i64);
            }
            steps.push(Step { place, length, version, manner });
        }
        // Of several urgent octets only the last stays out of band, unless the application was quick to read.
        let mut urgent = steps.iter_mut().filter(|step| matches!(step.manner, Manner::Urgent(_)));
        urgent.next();
        urgent.for_each(|step| step.manner = Manner::Plain);
        let mut schedule = Schedule { offer, buffer, steps, fill: Vec::new() };
        if buffer.is_some() || dice.random_bool(0.7) {
            schedule.fill(cursor, lies, longest.max(100), dice);
        }
        schedule
    }

    /// In the end the whole truth is sent once more, so that no hole remains.
    fn fill(&mut self, end: i64, lies: bool, longest: usize, dice: &mut ChaCha8Rng) {
        let mut place = 0;
        while place < end {
            let length = dice.random_range(1..=longest).min((end - place) as usize);
            let (place_apart, length_apart) = if lies { apart(place, length) } else { (place, length) };
            self.fill.push(Step {
                place: place_apart,
                length: length_apart,
                version: 0,
                manner: Manner::Plain,
            });
            place = place_apart + length_apart as i64;
        }
        if dice.random_bool(0.3) {
            self.fill.reverse();
        }
        if dice.random_bool(0.5) {
            self.fill.push(Step { place, length: 0, version: 0, manner: Manner::Fin });
        }
    }
}

/// Begins at a multiple of three and ends one behind such: then no segment begins where another ends.
fn apart(place: i64, length: usize) -> (i64, usize) {
    (place - place.rem_euclid(3), length - length % 3 + 1)
}

impl Manner {
    fn random(dice: &mut ChaCha8Rng) -> Manner {
        match dice.random_range(0..20) {
            0..3 => Manner::BadChecksum,
            3..6 => Manner::NoAck,
            6..8 => Manner::Syn,
            8..10 => Manner::Signed,
            10..12 => Manner::FarAck,
            12..14 => Manner::OldStamp,
            14..16 => Manner::Urgent(dice.random_range(0..12)),
            16 => Manner::Fin,
            _ => Manner::Reset,
        }
    }
}

/// A veth in a namespace of its own: what is sent on one end comes to the kernel's listener at the other.
struct Wire {
    sender: pcap::Capture<pcap::Active>,
    watcher: pcap::Capture<pcap::Active>,
}

#[derive(Debug)]
struct Frame {
    at: Timestamp,
    bytes: Vec<u8>,
}

impl Wire {
    /// Leaves the machine's network for good: for a thread that then ends.
    fn new() -> Wire {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
        // On one processor a frame is taken before the next one is sent.
        let mut one = CpuSet::new();
        one.set(0).unwrap();
        let _ = nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &one);
        for words in [
            "link set lo up",
            "link add v0 address 02:00:00:00:00:02 type veth peer name v1 address 02:00:00:00:00:01",
            "link set v0 up",
            "link set v1 up",
            "address add 192.0.2.1/24 dev v1",
            "neighbour replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev v1 nud permanent",
        ] {
            assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
        }
        // Short frames: the ring of immediate mode has room for few long ones.
        let open = || {
            let capture = pcap::Capture::from_device("v0").unwrap();
            capture.immediate_mode(true).snaplen(2_048).buffer_size(16 << 20).open().unwrap()
        };
        let mut watcher = open().setnonblock().unwrap();
        watcher.filter(&format!("ip and tcp port {PORT}"), true).unwrap();
        Wire { sender: open(), watcher }
    }

    fn send(&mut self, frame: &[u8]) {
        self.sender.sendpacket(frame).unwrap();
    }

    /// What was captured since the last look.
    fn look(&mut self, frames: &mut Vec<Frame>) {
        while let Ok(packet) = self.watcher.next_packet() {
            let at = Timestamp::from_micros(packet.header.ts.tv_sec * 1_000_000 + packet.header.ts.tv_usec);
            frames.push(Frame { at, bytes: packet.data.to_vec() });
        }
    }

    /// Waits for the first segment of the server on a port among frames from `from` on; gives its place behind.
    fn answer(&mut self, port: u16, frames: &mut Vec<Frame>, from: usize) -> Option<usize> {
        let until = Instant::now() + Duration::from_secs(2);
        let mut next = from;
        loop {
            self.look(frames);
            while let Some(frame) = frames.get(next) {
                next += 1;
                if let Some(true) =
                    segment(frame).map(|s| (s.source_port, s.destination_port) == (PORT, port))
                {
                    return Some(next);
                }
            }
            if Instant::now() > until {
                return None;
            }
        }
    }
}

fn segment(frame: &Frame) -> Option<Segment<'_>> {
    let (link, original_bytes) = (LinkType::ETHERNET, frame.bytes.len() as u32);
    let ip = ip_slice(&Packet { at: frame.at, link, bytes: &frame.bytes, original_bytes }).ok()?;
    Segment::read(&ip)
}

/// One side of a connection as it is played.
struct Client {
    port: u16,
    offer: Offer,
    server_next: u32,
    server_stamp: u32,
    stamp: u32,
}

impl Client {
    fn frame(&mut self, step: &Step) -> Vec<u8> {
        let payload: Vec<u8> = (0..step.length as i64).map(|i| octet(step.place + i, step.version)).collect();
        let sequence = self.offer.first.wrapping_add(1).wrapping_add(step.place as u32);
        let mut tcp = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1])
            .ipv4(CLIENT, SERVER, 64)
            .tcp(self.port, PORT, sequence, 64_000);
        let far = if step.manner == Manner::FarAck { 1 << 20 } else { 0 };
        if step.manner != Manner::NoAck {
            tcp = tcp.ack(self.server_next.wrapping_add(far));
        }
        match step.manner {
            Manner::Syn => tcp = tcp.syn(),
            Manner::Fin => tcp = tcp.fin(),
            Manner::Reset => tcp = tcp.rst(),
            Manner::Urgent(pointer) => tcp = tcp.urg(pointer),
            _ => {}
        }
        let mut options = Vec::new();
        if self.offer.stamps {
            self.stamp += 1;
            let stamp = if step.manner == Manner::OldStamp { self.stamp - 500_000 } else { self.stamp };
            options.extend([1, 1, 8, 10]);
            options.extend(stamp.to_be_bytes());
            options.extend(self.server_stamp.to_be_bytes());
        }
        if step.manner == Manner::Signed {
            options.extend([1, 1, 19, 18]);
            options.extend([7; 16]);
        }
        finish(tcp.options_raw(&options).unwrap(), &payload, step.manner == Manner::BadChecksum)
    }

    fn syn(&self) -> Vec<u8> {
        let mut options = vec![2, 4, 5, 180];
        if self.offer.sack {
            options.extend([1, 1, 4, 2]);
        }
        if self.offer.stamps {
            options.extend([1, 1, 8, 10]);
            options.extend(self.stamp.to_be_bytes());
            options.extend([0; 4]);
        }
        if self.offer.scale {
            options.extend([1, 3, 3, 7]);
        }
        let tcp = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1])
            .ipv4(CLIENT, SERVER, 64)
            .tcp(self.port, PORT, self.offer.first, 64_000);
        finish(tcp.syn().options_raw(&options).unwrap(), &[], false)
    }
}

fn finish(
    tcp: etherparse::PacketBuilderStep<etherparse::TcpHeader>,
    payload: &[u8],
    damaged: bool,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    tcp.write(&mut bytes, payload).unwrap();
    if damaged {
        bytes[14 + 20 + 17] ^= 0x55;
    }
    bytes
}

/// What the kernel handed to its application, and all frames.
fn play(wire: &mut Wire, listener: &TcpListener, port: u16, schedule: &Schedule) -> (Vec<u8>, Vec<Frame>) {
    let mut frames = Vec::new();
    wire.look(&mut frames);
    frames.clear();
    nix::sys::socket::setsockopt(
        &listener.as_fd(),
        nix::sys::socket::sockopt::RcvBuf,
        &schedule.buffer.unwrap_or(131_072),
    )
    .unwrap();
    let mut client =
        Client { port, offer: schedule.offer, server_next: 0, server_stamp: 0, stamp: 1_000_000 };
    wire.send(&client.syn());
    let answer = wire.answer(port, &mut frames, 0).expect("no answer to SYN") - 1;
    let answer = segment(&frames[answer]).unwrap();
    client.server_next = answer.sequence.wrapping_add(1);
    client.server_stamp = answer.time_stamp().unwrap_or(0);
    let quiet = Step { place: 0, length: 0, version: 0, manner: Manner::Plain };
    wire.send(&client.frame(&quiet));
    let mut stream = accept(listener);
    for step in &schedule.steps {
        wire.send(&client.frame(step));
    }
    let mut delivered = Vec::new();
    // Where the receiver had no room it gets the rest once its application has read.
    let rounds = if schedule.buffer.is_some() { 40 } else { 1 };
    for _ in 0..rounds {
        for step in &schedule.fill {
            wire.send(&client.frame(step));
        }
        // Octets from before the beginning are answered at once, by a connection or by what is left of it: then all
        // that was sent before is done with.
        wire.look(&mut frames);
        let sent = frames.len();
        wire.send(&client.frame(&Step { place: -1, length: 1, ..quiet }));
        wire.answer(port, &mut frames, sent).expect("no answer at the end");
        let before = delivered.len();
        let mut buffer = [0; 65_536];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            delivered.extend_from_slice(&buffer[..read]);
        }
        if delivered.len() == before {
            break;
        }
    }
    (delivered, frames)
}

fn accept(listener: &TcpListener) -> TcpStream {
    let until = Instant::now() + Duration::from_secs(2);
    loop {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true).unwrap();
            let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger).unwrap();
            return stream;
        }
        assert!(Instant::now() < until, "no connection");
    }
}

/// What we read from the capture, up to the first octets that we say are missing.
fn read(frames: &[Frame], port: u16) -> (Vec<u8>, FlowCounters) {
    let (mut budget, mut counters) = (Budget::default(), FlowCounters::default());
    let (mut delivered, mut whole) = (Vec::new(), true);
    let mut connection: Option<Connection> = None;
    let mut hear = |event: Event<'_>| match event {
        Event::Bytes(Side::Originator, bytes) if whole => delivered.extend_from_slice(bytes),
        Event::Gap(..) => whole = false,
        _ => {}
    };
    let mut at = Timestamp::from_seconds(0);
    for frame in frames {
        let Some(segment) = segment(frame) else { continue };
        let side = match (segment.source_port, segment.destination_port) {
            ends if ends == (port, PORT) => Side::Originator,
            ends if ends == (PORT, port) => Side::Responder,
            _ => continue,
        };
        at = frame.at;
        let connection = connection.get_or_insert_with(|| Connection::new(side, &segment));
        let mut around = Surroundings { at, budget: &mut budget, counters: &mut counters };
        connection.segment(side, &segment, &mut around, &mut hear);
    }
    let mut around = Surroundings { at, budget: &mut budget, counters: &mut counters };
    connection.unwrap().flush(&mut around, &mut hear);
    (delivered, counters)
}

/// The frames of a schedule that ended otherwise, to be read by a person.
fn tell(frames: &[Frame], port: u16, first: u32) {
    let mut server_first = None;
    for segment in frames.iter().filter_map(segment) {
        let flags =
            [(Flags::SYN, 'S'), (Flags::FIN, 'F'), (Flags::RST, 'R'), (Flags::ACK, 'A'), (Flags::URG, 'U')];
        let flags: String =
            flags.iter().filter(|(bit, _)| segment.flags.has(*bit)).map(|(_, letter)| *letter).collect();
        let ours = segment.source_port == port;
        let server = *server_first.get_or_insert(if ours { 0 } else { segment.sequence });
        if !ours && server == 0 {
            server_first = Some(segment.sequence);
        }
        let (own, peer) =
            if ours { (first, server_first.unwrap_or(0)) } else { (server_first.unwrap_or(0), first) };
        eprintln!(
            "  {} {flags:4} seq {:6} ack {:6} window {:5} stamp {:?} sum {:?} {} {:?}",
            if ours { "client" } else { "kernel" },
            segment.sequence.wrapping_sub(own.wrapping_add(1)) as i32,
            segment.acknowledgment.wrapping_sub(peer.wrapping_add(1)) as i32,
            segment.window,
            segment.time_stamp(),
            segment.sum_is_right(),
            segment.payload.len(),
            String::from_utf8_lossy(segment.payload),
        );
    }
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn schedules() {
    let (count, seed) = (number("PORTREEVE_KERNEL_SCHEDULES", 500), number("PORTREEVE_KERNEL_SEED", 1));
    let mut wire = Wire::new();
    let listener = TcpListener::bind(("192.0.2.1", PORT)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (mut octets, mut segments, mut differ, mut all) = (0, 0, 0, FlowCounters::default());
    for number in 0..count {
        let mut dice = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(number));
        let schedule = Schedule::random(&mut dice);
        let port = 1_025 + (number % 64_000) as u16;
        let (kernel, frames) = play(&mut wire, &listener, port, &schedule);
        let (ours, counters) = read(&frames, port);
        segments += frames.len();
        octets += kernel.len();
        all.conflicting_overlaps += counters.conflicting_overlaps;
        all.gaps += counters.gaps;
        if ours != kernel {
            differ += 1;
            if differ <= number_shown() {
                eprintln!(
                    "schedule {number} of seed {seed}: {:?} buffer {:?}",
                    schedule.offer, schedule.buffer
                );
                tell(&frames, port, schedule.offer.first);
                eprintln!("  kernel {:?}", String::from_utf8_lossy(&kernel));
                eprintln!("  ours   {:?}", String::from_utf8_lossy(&ours));
            }
        }
    }
    eprintln!(
        "{count} schedules, {segments} segments captured, {octets} octets delivered by the kernel, {} conflicting overlaps \
         noticed, {} gaps: {differ} differ",
        all.conflicting_overlaps, all.gaps
    );
    assert_eq!(differ, 0);
    assert!(octets > 0 && all.conflicting_overlaps > 0);
}

fn number_shown() -> u64 {
    number("PORTREEVE_KERNEL_SHOWN", 3)
}

#[test]
fn what_the_kernel_hands_on_is_what_we_read() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("skipped: needs root, for a network namespace");
        return;
    }
    if Command::new("ip").arg("-V").output().is_err() {
        eprintln!("skipped: ip is not installed: .ci/install iproute2");
        return;
    }
    let allowed = std::thread::spawn(|| nix::sched::unshare(CloneFlags::CLONE_NEWNET).is_ok());
    if !allowed.join().unwrap() {
        eprintln!("skipped: this machine allows no new network namespaces");
        return;
    }
    // A thread of its own, as it leaves the machine's network.
    std::thread::spawn(schedules).join().unwrap();
}
