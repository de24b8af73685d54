//! Ethernet frames with IPv4 or IPv6 and TCP, checksums right.
//!
//! *In*: addresses, TCP fields, payload. *Out*: octets. *Spec*: RFC 791, RFC 8200, RFC 9293; shapes of SYNs
//! as operating systems send them.

use std::net::IpAddr;

/// TCP flags.
pub(super) mod flag {
    /// No more data.
    pub(in crate::simulate) const FIN: u8 = 0x01;
    /// Open.
    pub(in crate::simulate) const SYN: u8 = 0x02;
    /// Abort.
    pub(in crate::simulate) const RST: u8 = 0x04;
    /// Hand over at once.
    pub(in crate::simulate) const PSH: u8 = 0x08;
    /// Acknowledgement is valid.
    pub(in crate::simulate) const ACK: u8 = 0x10;
}

/// How an operating system opens connections.
pub(super) struct Shape {
    /// Which one.
    pub(super) name: &'static str,
    /// Initial hop limit.
    hop_limit: u8,
    /// Window of the SYN.
    window: u16,
    /// Order of the options: `M` MSS, `S` SACK permitted, `T` timestamps, `N` padding, `W` window scale, `E` end.
    options: &'static str,
    /// Window scale, bits.
    scale: u8,
    /// Greatest segment, octets of payload without options.
    mss: u16,
}

/// Shapes of machines; the first few are servers.
pub(super) const SHAPES: &[Shape] = &[
    Shape { name: "linux", hop_limit: 64, window: 64_240, options: "MSTNW", scale: 7, mss: 1_460 },
    Shape { name: "linux-old", hop_limit: 64, window: 29_200, options: "MSTNW", scale: 7, mss: 1_460 },
    Shape { name: "linux-big", hop_limit: 64, window: 65_320, options: "MSTNW", scale: 9, mss: 1_420 },
    Shape { name: "freebsd", hop_limit: 64, window: 65_535, options: "MNWST", scale: 6, mss: 1_460 },
    Shape { name: "windows-server", hop_limit: 128, window: 64_240, options: "MNWNNS", scale: 8, mss: 1_460 },
    Shape { name: "windows", hop_limit: 128, window: 65_535, options: "MNWNNS", scale: 8, mss: 1_460 },
    Shape { name: "windows-old", hop_limit: 128, window: 8_192, options: "MNWNNS", scale: 2, mss: 1_460 },
    Shape { name: "mac", hop_limit: 64, window: 65_535, options: "MNWNNTSE", scale: 6, mss: 1_460 },
    Shape { name: "router", hop_limit: 255, window: 5_840, options: "MSTNW", scale: 0, mss: 1_380 },
    Shape { name: "embedded", hop_limit: 255, window: 4_128, options: "M", scale: 0, mss: 536 },
];

/// The shape of a name; the first one where there is none.
pub(super) fn shape(name: &str) -> &'static Shape {
    SHAPES.iter().find(|shape| shape.name == name).unwrap_or(&SHAPES[0])
}

impl Shape {
    /// Whether it asks for timestamps.
    pub(super) fn stamps(&self) -> bool {
        self.options.contains('T')
    }

    /// Greatest payload of a segment, octets.
    pub(super) fn segment(&self, v6: bool, stamps: bool) -> usize {
        usize::from(self.mss) - if v6 { 20 } else { 0 } - if stamps { 12 } else { 0 }
    }
}

/// One end of a connection.
#[derive(Clone)]
pub(super) struct End {
    /// Address.
    pub(super) ip: IpAddr,
    /// Port.
    pub(super) port: u16,
    /// Link address of the machine or of the router before it.
    pub(super) mac: [u8; 6],
    /// How it opens.
    pub(super) shape: &'static Shape,
    /// Routers between it and the sensor.
    pub(super) hops: u8,
}

/// The variable part of a segment.
pub(super) struct Segment<'a> {
    /// Sequence number.
    pub(super) sequence: u32,
    /// Acknowledgement number.
    pub(super) acknowledgement: u32,
    /// Flags.
    pub(super) flags: u8,
    /// Timestamps option (own, echoed), where negotiated.
    pub(super) stamps: Option<(u32, u32)>,
    /// IPv4 identification.
    pub(super) id: u16,
    /// Payload.
    pub(super) payload: &'a [u8],
}

/// Appends one frame.
pub(super) fn push_frame(out: &mut Vec<u8>, from: &End, to: &End, segment: &Segment<'_>) {
    let options = options(from, segment);
    let tcp_octets = 20 + options.len() + segment.payload.len();
    out.extend_from_slice(&to.mac);
    out.extend_from_slice(&from.mac);
    let hop_limit = from.shape.hop_limit.saturating_sub(from.hops);
    let pseudo = match (from.ip, to.ip) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            out.extend_from_slice(&[0x08, 0x00]);
            let start = out.len();
            out.extend_from_slice(&[0x45, 0]);
            out.extend_from_slice(&(20 + tcp_octets as u16).to_be_bytes());
            out.extend_from_slice(&segment.id.to_be_bytes());
            out.extend_from_slice(&[0x40, 0, hop_limit, 6, 0, 0]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
            let checksum = fold(sum(&out[start..]));
            out[start + 10..start + 12].copy_from_slice(&checksum.to_be_bytes());
            sum(&source.octets()) + sum(&destination.octets())
        }
        (from_ip, to_ip) => {
            let (source, destination) = (octets_v6(from_ip), octets_v6(to_ip));
            out.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
            out.extend_from_slice(&(tcp_octets as u16).to_be_bytes());
            out.extend_from_slice(&[6, hop_limit]);
            out.extend_from_slice(&source);
            out.extend_from_slice(&destination);
            sum(&source) + sum(&destination)
        }
    };
    push_tcp(out, from, to, segment, &options, pseudo + 6 + tcp_octets as u64);
}

fn push_tcp(out: &mut Vec<u8>, from: &End, to: &End, segment: &Segment<'_>, options: &[u8], pseudo: u64) {
    let start = out.len();
    let syn = segment.flags & flag::SYN != 0;
    let window = if syn { from.shape.window } else { 501 };
    out.extend_from_slice(&from.port.to_be_bytes());
    out.extend_from_slice(&to.port.to_be_bytes());
    out.extend_from_slice(&segment.sequence.to_be_bytes());
    out.extend_from_slice(&segment.acknowledgement.to_be_bytes());
    out.push((((20 + options.len()) / 4) << 4) as u8);
    out.push(segment.flags);
    out.extend_from_slice(&window.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0]);
    out.extend_from_slice(options);
    out.extend_from_slice(segment.payload);
    let checksum = fold(pseudo + sum(&out[start..]));
    out[start + 16..start + 18].copy_from_slice(&checksum.to_be_bytes());
}

/// TCP options: those of a SYN in the order of its shape, or timestamps alone.
fn options(from: &End, segment: &Segment<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    if segment.flags & flag::SYN != 0 {
        for letter in from.shape.options.bytes() {
            match letter {
                b'M' => {
                    let mss = from.shape.mss - if from.ip.is_ipv6() { 20 } else { 0 };
                    out.extend_from_slice(&[2, 4]);
                    out.extend_from_slice(&mss.to_be_bytes());
                }
                b'S' => out.extend_from_slice(&[4, 2]),
                b'W' => out.extend_from_slice(&[3, 3, from.shape.scale]),
                b'N' => out.push(1),
                b'T' => {
                    // An answering SYN offers timestamps only where the opening one did.
                    if let Some((own, echoed)) = segment.stamps {
                        out.extend_from_slice(&[8, 10]);
                        out.extend_from_slice(&own.to_be_bytes());
                        out.extend_from_slice(&echoed.to_be_bytes());
                    }
                }
                _ => out.push(0),
            }
        }
    } else if let Some((own, echoed)) = segment.stamps {
        out.extend_from_slice(&[1, 1, 8, 10]);
        out.extend_from_slice(&own.to_be_bytes());
        out.extend_from_slice(&echoed.to_be_bytes());
    }
    while out.len() % 4 != 0 {
        out.push(if segment.flags & flag::SYN != 0 { 0 } else { 1 });
    }
    out
}

fn octets_v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// Sum of 16-bit words, big-endian, an odd last octet padded with zero (RFC 1071).
fn sum(bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(4);
    let mut total = 0u64;
    for chunk in &mut chunks {
        total += u64::from(u32::from_be_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]));
    }
    let mut tail = [0u8; 4];
    tail[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    total + u64::from(u32::from_be_bytes(tail))
}

/// Folds a sum into the checksum's 16 bits and turns it over.
fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total >> 16) + (total & 0xffff);
    }
    !(total as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketHeaders, TransportHeader};

    #[test]
    fn frames_parse_and_their_checksums_hold() {
        for (a, b) in [("192.0.2.1", "198.18.0.9"), ("2001:db8::1", "2001:db8::2")] {
            for shape in SHAPES {
                for (flags, payload) in [(flag::SYN, &b""[..]), (flag::ACK | flag::PSH, b"EHLO odd\r\n")] {
                    let end = |ip: &str, port| End {
                        ip: ip.parse().unwrap(),
                        port,
                        mac: [2, 0, 0, 0, 0, port as u8],
                        shape,
                        hops: 3,
                    };
                    let stamps = shape.stamps().then_some((77, 5));
                    let segment = Segment { sequence: 7, acknowledgement: 9, flags, stamps, id: 1, payload };
                    let mut out = Vec::new();
                    push_frame(&mut out, &end(a, 40_000), &end(b, 25), &segment);
                    let parsed = PacketHeaders::from_ethernet_slice(&out).unwrap();
                    let Some(TransportHeader::Tcp(tcp)) = parsed.transport else { panic!("{}", shape.name) };
                    let right = match parsed.net.unwrap() {
                        etherparse::NetHeaders::Ipv4(ip, _) => {
                            assert_eq!(ip.calc_header_checksum(), ip.header_checksum);
                            tcp.calc_checksum_ipv4(&ip, payload).unwrap()
                        }
                        etherparse::NetHeaders::Ipv6(ip, _) => tcp.calc_checksum_ipv6(&ip, payload).unwrap(),
                        other => panic!("{other:?}"),
                    };
                    assert_eq!(right, tcp.checksum, "{} {a}", shape.name);
                    assert_eq!(parsed.payload.slice(), payload);
                }
            }
        }
    }
}
