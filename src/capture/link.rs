//! Link layers down to IP: Ethernet with tags, MPLS and PPPoE, Linux cooked captures, raw IP, loopback.
//!
//! *In*: [`Packet`]. *Out*: [`IpSlice`], borrowed, or the reason why there is none. *Bound*: eight tags.
//! *Spec*: IEEE 802.3, 802.1Q, RFC 791, RFC 8200, RFC 3032, RFC 2516, LINKTYPE_LINUX_SLL and _SLL2.

use super::{LinkType, Packet};
use etherparse::{LaxIpSlice, LenSource};
use std::net::IpAddr;

/// Most tags (802.1Q, MPLS, PPPoE) peeled off a frame.
const TAGS_MAX: usize = 8;

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
    /// A later fragment: its port is unknown.
    Fragment,
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
    /// Later IP fragments (not put together).
    pub fragments: u64,
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

/// Peels a frame down to its IP payload.
pub fn ip_slice<'a>(packet: &Packet<'a>) -> Result<IpSlice<'a>, Undecodable> {
    let datagram = datagram(packet.link, packet.bytes)?;
    let (ip, _) = LaxIpSlice::from_slice(datagram).map_err(|_| Undecodable::BadIp)?;
    let (hop_limit, claimed, later_fragment) = match &ip {
        LaxIpSlice::Ipv4(v4) => {
            let header = v4.header();
            (header.ttl(), usize::from(header.total_len()), header.fragments_offset().value() != 0)
        }
        LaxIpSlice::Ipv6(v6) => {
            let claimed = usize::from(v6.header().payload_length()).saturating_add(40);
            (v6.header().hop_limit(), claimed, later_fragment_v6(v6))
        }
    };
    if later_fragment {
        return Err(Undecodable::Fragment);
    }
    let payload = ip.payload();
    let cut = if payload.incomplete {
        claimed.saturating_sub(datagram.len())
    } else if matches!(payload.len_source, LenSource::Slice) {
        (packet.original_bytes as usize).saturating_sub(packet.bytes.len())
    } else {
        0
    };
    Ok(IpSlice {
        source: ip.source_addr(),
        destination: ip.destination_addr(),
        hop_limit,
        protocol: payload.ip_number.0,
        payload: payload.payload,
        cut_bytes: cut.min(1 << 20) as u32,
    })
}

/// Whether an IPv6 datagram is a fragment other than the first (RFC 8200 section 4.5).
fn later_fragment_v6(ip: &etherparse::LaxIpv6Slice<'_>) -> bool {
    ip.extensions().clone().into_iter().any(|extension| match extension {
        etherparse::Ipv6ExtensionSlice::Fragment(fragment) => fragment.fragment_offset().value() != 0,
        _ => false,
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

fn after_ether_type(bytes: &[u8], at: usize) -> Result<&[u8], Undecodable> {
    let ether_type = be16(bytes, at)?;
    peel(ether_type, bytes.get(at + 2..).ok_or(Undecodable::ShortLink)?)
}

/// Takes off VLAN tags, MPLS labels and PPPoE until IP comes.
fn peel(mut ether_type: u16, mut rest: &[u8]) -> Result<&[u8], Undecodable> {
    for _ in 0..TAGS_MAX {
        match ether_type {
            0x0800 | 0x86dd => return Ok(rest),
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
                ether_type = be16(rest, 2)?;
                rest = rest.get(4..).ok_or(Undecodable::ShortLink)?;
            }
            0x8847 | 0x8848 => {
                let bottom = rest.get(2).ok_or(Undecodable::ShortLink)? & 1 == 1;
                rest = rest.get(4..).ok_or(Undecodable::ShortLink)?;
                if bottom {
                    return Ok(rest);
                }
            }
            0x8864 => {
                let protocol = be16(rest, 6)?;
                rest = rest.get(8..).ok_or(Undecodable::ShortLink)?;
                return if matches!(protocol, 0x0021 | 0x0057) { Ok(rest) } else { Err(Undecodable::NotIp) };
            }
            _ => return Err(Undecodable::NotIp),
        }
    }
    Err(Undecodable::NotIp)
}

fn be16(bytes: &[u8], at: usize) -> Result<u16, Undecodable> {
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
    }
}
