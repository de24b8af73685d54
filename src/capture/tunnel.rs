//! Tunnels in which a span port's frames arrive: GRE with ERSPAN I to III, VXLAN, Geneve, IP in IP.
//!
//! *In*: [`IpSlice`]. *Out*: the datagram inside, borrowed. *Bound*: `link::TUNNELS_MAX` of them. *Spec*: RFC 2784 and
//! RFC 2890 (GRE), draft-foschiano-erspan, RFC 7348 and draft-ietf-nvo3-vxlan-gpe, RFC 8926 (Geneve), RFC 2003,
//! RFC 4213 and RFC 2473 (IPv4 and IPv6 in each other).

use super::link::{IpSlice, Undecodable, after_ether_type, be16, peel};

const IP_IN_IP: u8 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV6_IN_IP: u8 = 41;
const GRE: u8 = 47;
/// Ports of VXLAN (the second is what Linux took before there was a number), of VXLAN-GPE and of Geneve.
const VXLAN_PORTS: [u16; 2] = [4789, 8472];
const VXLAN_GPE_PORT: u16 = 4790;
const GENEVE_PORT: u16 = 6081;

/// The datagram inside a tunnel; `None` where there is no tunnel.
pub(super) fn inside<'a>(ip: &IpSlice<'a>) -> Result<Option<&'a [u8]>, Undecodable> {
    match ip.protocol {
        TCP => Ok(None),
        IP_IN_IP | IPV6_IN_IP => Ok(Some(ip.payload)),
        GRE => in_gre(ip.payload).map(Some),
        UDP => in_udp(ip.payload),
        _ => Ok(None),
    }
}

fn in_gre(bytes: &[u8]) -> Result<&[u8], Undecodable> {
    let (flags, protocol) = (be16(bytes, 0)?, be16(bytes, 2)?);
    let has = |bit: u16| flags & bit != 0;
    // Version 1 is PPTP's; routing was given up by RFC 2784.
    if flags & 7 != 0 || has(0x4000) {
        return Err(Undecodable::BadTunnel);
    }
    let (sum, key, sequence) = (has(0x8000), has(0x2000), has(0x1000));
    let header_bytes = 4 * (1 + usize::from(sum) + usize::from(key) + usize::from(sequence));
    let rest = after(bytes, header_bytes)?;
    match protocol {
        // Type I has neither a sequence number nor a header of its own.
        0x88be if !sequence => after_ether_type(rest, 12),
        0x88be => after_ether_type(after(rest, 8)?, 12),
        0x22eb => {
            let last = be16(rest, 10)?;
            let rest = after(rest, if last & 1 == 1 { 20 } else { 12 })?;
            // Five bits say what kind of frame it is.
            match last >> 10 & 0x1f {
                2 => Ok(rest),
                _ => after_ether_type(rest, 12),
            }
        }
        _ => peel(protocol, rest),
    }
}

fn in_udp(bytes: &[u8]) -> Result<Option<&[u8]>, Undecodable> {
    let Ok(port) = be16(bytes, 2) else { return Ok(None) };
    let inside = match port {
        port if VXLAN_PORTS.contains(&port) => after_ether_type(after(bytes, 16)?, 12),
        VXLAN_GPE_PORT => match after(bytes, 16)? {
            rest if bytes.get(11) == Some(&3) => after_ether_type(rest, 12),
            rest => Ok(rest),
        },
        GENEVE_PORT => {
            let options_bytes = usize::from(bytes.get(8).ok_or(Undecodable::BadTunnel)? & 0x3f) * 4;
            peel(be16(bytes, 10)?, after(bytes, 16 + options_bytes)?)
        }
        _ => return Ok(None),
    };
    inside.map(Some)
}

fn after(bytes: &[u8], at: usize) -> Result<&[u8], Undecodable> {
    bytes.get(at..).ok_or(Undecodable::BadTunnel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::link::ip_slice;
    use crate::capture::{LinkType, Packet};
    use crate::time::Timestamp;
    use etherparse::{IpNumber, PacketBuilder};

    fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        PacketBuilder::ipv4([198, 51, 100, 1], [198, 51, 100, 2], 9)
            .write(&mut out, IpNumber(protocol), payload)
            .unwrap();
        out
    }

    fn v6(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        PacketBuilder::ipv6([1; 16], [2; 16], 9).write(&mut out, IpNumber(protocol), payload).unwrap();
        out
    }

    fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        PacketBuilder::ipv4([198, 51, 100, 1], [198, 51, 100, 2], 9)
            .udp(50_000, port)
            .write(&mut out, payload)
            .unwrap();
        out
    }

    /// Hop limit and payload of what is found.
    fn look(bytes: &[u8]) -> Result<(u8, usize), Undecodable> {
        let link = LinkType::RAW;
        let packet = Packet { at: Timestamp::default(), link, bytes, original_bytes: bytes.len() as u32 };
        ip_slice(&packet).map(|ip| (ip.hop_limit, ip.payload.len()))
    }

    fn mail_v4() -> Vec<u8> {
        let mut out = Vec::new();
        let builder = PacketBuilder::ipv4([10, 0, 0, 1], [192, 0, 2, 1], 61);
        builder.tcp(4000, 25, 1, 1000).write(&mut out, b"EHLO x\r\n").unwrap();
        out
    }

    fn mail_v6() -> Vec<u8> {
        let mut out = Vec::new();
        let builder = PacketBuilder::ipv6([3; 16], [4; 16], 61);
        builder.tcp(4000, 25, 1, 1000).write(&mut out, b"EHLO x\r\n").unwrap();
        out
    }

    #[test]
    fn every_tunnel_leads_to_the_same_datagram() {
        let (ip4, ip6) = (mail_v4(), mail_v6());
        let frame = [&[0u8; 12][..], &[8, 0], &ip4].concat();
        let tagged = [&[0u8; 12][..], &[0x81, 0, 0, 7, 0x86, 0xdd], &ip6].concat();
        let with = |head: &[u8], inner: &[u8]| [head, inner].concat();
        let erspan_2 = with(&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 5, 0, 1, 0, 0, 0, 0], &frame);
        let erspan_3 = [&[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 5, 0, 1, 0, 0, 0, 9, 0, 0][..]].concat();
        let cases = [
            ("4in4", v4(4, &ip4)),
            ("6in4", v4(41, &ip6)),
            ("4in6", v6(4, &ip4)),
            ("6in6", v6(41, &ip6)),
            ("GRE", v4(47, &with(&[0, 0, 8, 0], &ip4))),
            ("GRE in IPv6", v6(47, &with(&[0, 0, 0x86, 0xdd], &ip6))),
            (
                "GRE with all fields",
                v4(47, &with(&[0xb0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2], &ip4)),
            ),
            ("GRE bridged", v4(47, &with(&[0, 0, 0x65, 0x58], &tagged))),
            ("ERSPAN I", v4(47, &with(&[0, 0, 0x88, 0xbe], &frame))),
            ("ERSPAN II", v4(47, &erspan_2)),
            ("ERSPAN III", v4(47, &[&erspan_3[..], &[0x80, 0], &frame].concat())),
            ("ERSPAN III, subheader", v4(47, &[&erspan_3[..], &[0x80, 1], &[0; 8], &tagged].concat())),
            ("ERSPAN III, IP", v4(47, &[&erspan_3[..], &[0x08, 0], &ip4].concat())),
            ("VXLAN", udp(4789, &with(&[8, 0, 0, 0, 0, 0, 1, 0], &frame))),
            ("VXLAN of old", udp(8472, &with(&[8, 0, 0, 0, 0, 0, 1, 0], &tagged))),
            ("VXLAN-GPE", udp(4790, &with(&[0x0c, 0, 0, 1, 0, 0, 1, 0], &ip4))),
            ("Geneve", udp(6081, &with(&[0, 0, 0x65, 0x58, 0, 0, 1, 0], &frame))),
            ("Geneve with options", udp(6081, &with(&[1, 0, 8, 0, 0, 0, 1, 0, 1, 2, 3, 4], &ip4))),
            (
                "VXLAN in GRE",
                v4(47, &with(&[0, 0, 8, 0], &udp(4789, &with(&[8, 0, 0, 0, 0, 0, 1, 0], &frame)))),
            ),
        ];
        for (name, bytes) in cases {
            assert_eq!(look(&bytes), Ok((61, 28)), "{name}");
            for cut in 20..bytes.len() {
                let _ = look(&bytes[..cut]);
            }
        }
    }

    #[test]
    fn broken_and_endless_tunnels_are_named() {
        assert_eq!(look(&v4(47, &[0])), Err(Undecodable::ShortLink));
        assert_eq!(look(&v4(47, &[0x40, 0, 8, 0])), Err(Undecodable::BadTunnel));
        assert_eq!(look(&v4(47, &[0, 1, 8, 0])), Err(Undecodable::BadTunnel));
        assert_eq!(look(&udp(4789, &[8, 0, 0])), Err(Undecodable::BadTunnel));
        let mut deep = mail_v4();
        for _ in 0..5 {
            deep = v4(4, &deep);
        }
        assert_eq!(look(&deep), Err(Undecodable::BadTunnel));
        assert_eq!(look(&udp(53, &[0; 12])).map(|(hops, _)| hops), Ok(9));
    }

    #[test]
    fn extension_headers_lead_to_tcp() {
        let tcp = mail_v6()[40..].to_vec();
        let options = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
        let chain = [&options(43)[..], &[60, 0, 4, 0, 0, 0, 0, 0], &options(6), &tcp].concat();
        let mut bytes = mail_v6()[..40].to_vec();
        (bytes[4], bytes[5], bytes[6]) = (0, chain.len() as u8, 0);
        bytes.extend_from_slice(&chain);
        let packet = Packet {
            at: Timestamp::default(),
            link: LinkType::RAW,
            bytes: &bytes,
            original_bytes: bytes.len() as u32,
        };
        let ip = ip_slice(&packet).unwrap();
        assert_eq!((ip.protocol, ip.payload.len()), (6, 28));
    }
}
