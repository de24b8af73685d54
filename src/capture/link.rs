//! Link layers and tunnels down to the IP datagram that a machine sent: Ethernet with tags, MPLS and PPPoE, Linux
//! cooked captures, raw IP, loopback; GRE, ERSPAN, VXLAN, Geneve, IP in IP.
//!
//! *In*: [`Packet`]. *Out*: [`Found`], borrowed, or the reason why there is none. *Bound*: eight tags, four tunnels.
//! *Spec*: IEEE 802.3, 802.1Q, RFC 791, RFC 8200, RFC 3032, RFC 4385, RFC 2516, LINKTYPE_LINUX_SLL and _SLL2; tunnels
//! in `tunnel`.

use super::tunnel;
use super::{LinkType, Packet};
use etherparse::{LaxIpSlice, LenSource};
use std::net::IpAddr;

/// Most tags (802.1Q, MPLS, PPPoE) peeled off a frame.
const TAGS_MAX: usize = 8;
/// Most tunnels inside each other.
pub const TUNNELS_MAX: usize = 4;

/// Why a frame gave no TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecodable {
    /// A link type that is not read.
    UnknownLink,
    /// Shorter than its link layer.
    ShortLink,
    /// Something else than IP.
    NotIp,
    /// An IP header that is none.
    BadIp,
    /// A fragment, which says nothing alone.
    Fragment,
    /// A tunnel's header that is none, or too many tunnels.
    BadTunnel,
    /// Something else than TCP.
    NotTcp,
    /// A TCP header that is none.
    BadTcp,
}

/// Frames that gave no TCP segment, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DecodeCounters {
    /// Frames of a link type that is not read.
    pub unknown_link: u64,
    /// Frames shorter than their link layer.
    pub short_link: u64,
    /// Frames that carry something else than IP.
    pub not_ip: u64,
    /// Frames with an IP header that is none.
    pub bad_ip: u64,
    /// IP fragments. What they were put together to counts as a datagram of its own.
    pub fragments: u64,
    /// Frames with a tunnel's header that is none, or with too many tunnels.
    pub bad_tunnel: u64,
    /// Datagrams of other protocols.
    pub not_tcp: u64,
    /// Segments with a TCP header that is none.
    pub bad_tcp: u64,
    /// Segments that the capture cut short (they are used as far as they go).
    pub cut_segments: u64,
}

impl DecodeCounters {
    /// Counts one frame that gave nothing.
    pub fn count(&mut self, reason: Undecodable) {
        let counter = match reason {
            Undecodable::UnknownLink => &mut self.unknown_link,
            Undecodable::ShortLink => &mut self.short_link,
            Undecodable::NotIp => &mut self.not_ip,
            Undecodable::BadIp => &mut self.bad_ip,
            Undecodable::Fragment => &mut self.fragments,
            Undecodable::BadTunnel => &mut self.bad_tunnel,
            Undecodable::NotTcp => &mut self.not_tcp,
            Undecodable::BadTcp => &mut self.bad_tcp,
        };
        *counter += 1;
    }
}

/// What an IP datagram carries.
#[derive(Clone, Copy, Debug)]
pub struct IpSlice<'a> {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Time to live, or hop limit, as captured.
    pub hop_limit: u8,
    /// Protocol number of the payload (6 is TCP).
    pub protocol: u8,
    /// The payload as far as it was captured.
    pub payload: &'a [u8],
    /// Payload bytes that the datagram had and the capture has not.
    pub cut_bytes: u32,
}

/// What a frame holds at its core.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// A datagram that is no tunnel.
    Whole(IpSlice<'a>),
    /// A piece of one.
    Fragment(FragmentSlice<'a>),
}

/// A piece of a datagram (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug)]
pub struct FragmentSlice<'a> {
    /// Addresses and protocol of the whole, payload of the piece.
    pub ip: IpSlice<'a>,
    /// What the pieces of one datagram have in common.
    pub identification: u32,
    /// Place of the piece in the payload of the whole, octets.
    pub start: u32,
    /// Others follow.
    pub more: bool,
}

/// Peels a frame down to the datagram in its innermost tunnel, or to a fragment on the way there.
pub fn decode<'a>(packet: &Packet<'a>) -> Result<Found<'a>, Undecodable> {
    let missing = (packet.original_bytes as usize).saturating_sub(packet.bytes.len());
    found(ip_of(datagram(packet.link, packet.bytes)?, missing)?, missing)
}

/// The same where only a whole datagram is of use.
pub fn ip_slice<'a>(packet: &Packet<'a>) -> Result<IpSlice<'a>, Undecodable> {
    match decode(packet)? {
        Found::Whole(ip) => Ok(ip),
        Found::Fragment(_) => Err(Undecodable::Fragment),
    }
}

/// Goes into tunnels. `missing` octets of the frame were not captured.
pub(super) fn found(mut outer: Found<'_>, missing: usize) -> Result<Found<'_>, Undecodable> {
    for _ in 0..TUNNELS_MAX {
        let Found::Whole(ip) = outer else { return Ok(outer) };
        match tunnel::inside(&ip)? {
            None => return Ok(outer),
            Some(datagram) => outer = ip_of(datagram, missing)?,
        }
    }
    Err(Undecodable::BadTunnel)
}

fn ip_of(datagram: &[u8], missing: usize) -> Result<Found<'_>, Undecodable> {
    let (ip, _) = LaxIpSlice::from_slice(datagram).map_err(|_| Undecodable::BadIp)?;
    let (hop_limit, claimed, piece) = match &ip {
        LaxIpSlice::Ipv4(v4) => {
            let header = v4.header();
            let (start, more) = (u32::from(header.fragments_offset().value()) * 8, header.more_fragments());
            let piece = (start > 0 || more).then(|| (header.identification().into(), start, more));
            (header.ttl(), usize::from(header.total_len()), piece)
        }
        LaxIpSlice::Ipv6(v6) => {
            let claimed = usize::from(v6.header().payload_length()).saturating_add(40);
            let fragmented = v6.payload().fragmented;
            (v6.header().hop_limit(), claimed, if fragmented { piece_v6(v6) } else { None })
        }
    };
    let payload = ip.payload();
    let cut = if payload.incomplete {
        claimed.saturating_sub(datagram.len())
    } else if matches!(payload.len_source, LenSource::Slice) {
        missing
    } else {
        0
    };
    let ip = IpSlice {
        source: ip.source_addr(),
        destination: ip.destination_addr(),
        hop_limit,
        protocol: payload.ip_number.0,
        payload: payload.payload,
        cut_bytes: cut.min(1 << 20) as u32,
    };
    Ok(match piece {
        None => Found::Whole(ip),
        Some((identification, start, more)) => {
            Found::Fragment(FragmentSlice { ip, identification, start, more })
        }
    })
}

/// Identification, place and whether others follow, of a fragment of IPv6.
fn piece_v6(ip: &etherparse::LaxIpv6Slice<'_>) -> Option<(u32, u32, bool)> {
    ip.extensions().clone().into_iter().find_map(|extension| match extension {
        etherparse::Ipv6ExtensionSlice::Fragment(piece) => {
            let start = u32::from(piece.fragment_offset().value()) * 8;
            Some((piece.identification(), start, piece.more_fragments()))
        }
        _ => None,
    })
}

fn datagram(link: LinkType, bytes: &[u8]) -> Result<&[u8], Undecodable> {
    match link {
        LinkType::ETHERNET => after_ether_type(bytes, 12),
        LinkType::LINUX_SLL => after_ether_type(bytes, 14),
        LinkType::LINUX_SLL2 => {
            let protocol = be16(bytes, 0)?;
            peel(protocol, bytes.get(20..).ok_or(Undecodable::ShortLink)?)
        }
        LinkType::RAW | LinkType::RAW_OPENBSD | LinkType::RAW_FILE | LinkType::IPV4 | LinkType::IPV6 => {
            Ok(bytes)
        }
        LinkType::NULL | LinkType::LOOP => {
            let family = bytes.get(..4).ok_or(Undecodable::ShortLink)?;
            // AF_INET is 2 everywhere, AF_INET6 is 10, 24, 28 or 30, in either byte order.
            let known = [2, 10, 24, 28, 30];
            let is = |value: [u8; 4]| known.contains(&value[0]) && value[1..] == [0, 0, 0];
            let family = [family[0], family[1], family[2], family[3]];
            if !is(family) && !is([family[3], family[2], family[1], family[0]]) {
                return Err(Undecodable::NotIp);
            }
            Ok(bytes.get(4..).unwrap_or_default())
        }
        _ => Err(Undecodable::UnknownLink),
    }
}

/// What follows an EtherType that stands at `at`.
pub(super) fn after_ether_type(bytes: &[u8], at: usize) -> Result<&[u8], Undecodable> {
    let ether_type = be16(bytes, at)?;
    peel(ether_type, bytes.get(at + 2..).ok_or(Undecodable::ShortLink)?)
}

/// Takes off VLAN tags, MPLS labels, PPPoE and whole Ethernet headers until IP comes.
pub(super) fn peel(mut ether_type: u16, mut rest: &[u8]) -> Result<&[u8], Undecodable> {
    for _ in 0..TAGS_MAX {
        match ether_type {
            0x0800 | 0x86dd => return Ok(rest),
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
                ether_type = be16(rest, 2)?;
                rest = after(rest, 4)?;
            }
            0x8847 | 0x8848 => {
                let bottom = rest.get(2).ok_or(Undecodable::ShortLink)? & 1 == 1;
                rest = after(rest, 4)?;
                if bottom {
                    // What lies below is not said: IP shows by its version, a pseudowire with a control word
                    // (RFC 4385 section 3) by a 0 in the same place.
                    match rest.first().ok_or(Undecodable::ShortLink)? >> 4 {
                        4 | 6 => return Ok(rest),
                        0 => (ether_type, rest) = (be16(rest, 16)?, after(rest, 18)?),
                        _ => return Err(Undecodable::NotIp),
                    }
                }
            }
            0x8864 => {
                let protocol = be16(rest, 6)?;
                rest = after(rest, 8)?;
                return if matches!(protocol, 0x0021 | 0x0057) { Ok(rest) } else { Err(Undecodable::NotIp) };
            }
            // A whole frame: by transparent bridging (RFC 2784) or in a provider's backbone (IEEE 802.1ah).
            0x6558 => (ether_type, rest) = (be16(rest, 12)?, after(rest, 14)?),
            0x88e7 => (ether_type, rest) = (be16(rest, 16)?, after(rest, 18)?),
            // A length, and then LLC with SNAP (RFC 1042).
            0..=1_500 if rest.starts_with(&[0xaa, 0xaa, 3, 0, 0, 0]) => {
                (ether_type, rest) = (be16(rest, 6)?, after(rest, 8)?);
            }
            _ => return Err(Undecodable::NotIp),
        }
    }
    Err(Undecodable::NotIp)
}

fn after(bytes: &[u8], at: usize) -> Result<&[u8], Undecodable> {
    bytes.get(at..).ok_or(Undecodable::ShortLink)
}

pub(super) fn be16(bytes: &[u8], at: usize) -> Result<u16, Undecodable> {
    match bytes.get(at..).and_then(|rest| rest.first_chunk::<2>()) {
        Some(pair) => Ok(u16::from_be_bytes(*pair)),
        None => Err(Undecodable::ShortLink),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use etherparse::PacketBuilder;

    fn ip_frame() -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [192, 0, 2, 1], 61)
            .tcp(4000, 25, 1, 1000)
            .write(&mut frame, b"EHLO x\r\n")
            .unwrap();
        frame
    }

    fn slice(link: LinkType, bytes: &[u8]) -> Result<(u8, usize, u32), Undecodable> {
        let packet = Packet { at: Timestamp::default(), link, bytes, original_bytes: bytes.len() as u32 };
        ip_slice(&packet).map(|ip| (ip.hop_limit, ip.payload.len(), ip.cut_bytes))
    }

    #[test]
    fn every_link_leads_to_the_same_datagram() {
        let ip = ip_frame();
        let with = |prefix: &[u8]| [prefix, &ip].concat();
        let mac = [0u8; 12];
        let ethernet = |tail: &[u8]| with(&[&mac[..], tail].concat());
        let sll2 = [&[8, 0][..], &[0; 18]].concat();
        let sll = [&[0u8; 14][..], &[8, 0]].concat();
        for (link, frame) in [
            (LinkType::RAW, ip.clone()),
            (LinkType::RAW_FILE, ip.clone()),
            (LinkType::IPV4, ip.clone()),
            (LinkType::ETHERNET, ethernet(&[8, 0])),
            (LinkType::ETHERNET, ethernet(&[0x81, 0, 0, 5, 8, 0])),
            (LinkType::ETHERNET, ethernet(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0])),
            (LinkType::ETHERNET, ethernet(&[0x88, 0x47, 0, 1, 0, 64, 0, 1, 1, 64])),
            (LinkType::ETHERNET, ethernet(&[0x88, 0x64, 0x11, 0, 0, 1, 0, 50, 0, 0x21])),
            (LinkType::ETHERNET, ethernet(&[0x81, 0, 0, 5, 0x88, 0x47, 0, 1, 1, 64])),
            (
                LinkType::ETHERNET,
                ethernet(&[&[0x88, 0x47, 0, 1, 1, 64, 0, 0, 0, 7][..], &mac, &[8, 0]].concat()),
            ),
            (LinkType::ETHERNET, ethernet(&[&[0x88, 0xe7, 0, 0, 0, 5][..], &mac, &[8, 0]].concat())),
            (LinkType::ETHERNET, ethernet(&[0, 60, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0])),
            (LinkType::LINUX_SLL, with(&[&[0; 14][..], &[0x81, 0, 0, 5, 8, 0]].concat())),
            (LinkType::LINUX_SLL, with(&sll)),
            (LinkType::LINUX_SLL2, with(&sll2)),
            (LinkType::NULL, with(&[2, 0, 0, 0])),
            (LinkType::LOOP, with(&[0, 0, 0, 2])),
        ] {
            assert_eq!(slice(link, &frame), Ok((61, 28, 0)), "{link:?}");
        }
    }

    #[test]
    fn cut_and_foreign_frames_are_named() {
        let ip = ip_frame();
        assert_eq!(slice(LinkType::RAW, &ip[..44]), Ok((61, 24, 4)));
        assert_eq!(slice(LinkType::RAW, &ip[..12]), Err(Undecodable::BadIp));
        assert_eq!(slice(LinkType(147), &ip), Err(Undecodable::UnknownLink));
        assert_eq!(slice(LinkType::ETHERNET, &ip[..5]), Err(Undecodable::ShortLink));
        let mut fragment = ip.clone();
        fragment[7] = 9;
        assert_eq!(slice(LinkType::RAW, &fragment), Err(Undecodable::Fragment));
        (fragment[6], fragment[7]) = (0x20, 0);
        assert_eq!(slice(LinkType::RAW, &fragment), Err(Undecodable::Fragment));
    }
}
