//! A TCP header, read as far as a sensor needs it.
//!
//! *In*: the payload of an IP datagram. *Out*: [`Segment`], borrowed. *Bound*: forty bytes of options.
//! *Spec*: RFC 9293 section 3.1, RFC 7323, RFC 2385.

use crate::capture::link::IpSlice;
use crate::observation::digest;
use std::net::IpAddr;

/// One TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Who sent it.
    pub source: IpAddr,
    /// For whom.
    pub destination: IpAddr,
    /// Port of the source.
    pub source_port: u16,
    /// Port of the destination.
    pub destination_port: u16,
    /// Sequence number of the first octet (or of SYN).
    pub sequence: u32,
    /// Acknowledgment number; without meaning where ACK is not set.
    pub acknowledgment: u32,
    /// The control bits.
    pub flags: Flags,
    /// Receive window as written, not scaled.
    pub window: u16,
    /// Urgent pointer; without meaning where URG is not set.
    pub urgent_pointer: u16,
    /// Options as written.
    pub options: &'a [u8],
    /// Time to live, or hop limit.
    pub hop_limit: u8,
    /// What it carries, as far as it was captured.
    pub payload: &'a [u8],
    /// Octets that it carried and the capture has not.
    pub cut_bytes: u32,
    /// Header and payload, for the checksum.
    whole: &'a [u8],
}

/// Control bits of RFC 9293 section 3.1, in their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgment field counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;

    /// Whether a bit is set.
    pub fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

impl<'a> Segment<'a> {
    /// Reads the header. `None` where it is none.
    pub fn read(ip: &IpSlice<'a>) -> Option<Segment<'a>> {
        let bytes = ip.payload;
        let header = bytes.first_chunk::<20>()?;
        let header_bytes = usize::from(header[12] >> 4) * 4;
        let options = bytes.get(20..header_bytes)?;
        Some(Segment {
            source: ip.source,
            destination: ip.destination,
            source_port: u16::from_be_bytes([header[0], header[1]]),
            destination_port: u16::from_be_bytes([header[2], header[3]]),
            sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            acknowledgment: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            flags: Flags(header[13]),
            window: u16::from_be_bytes([header[14], header[15]]),
            urgent_pointer: u16::from_be_bytes([header[18], header[19]]),
            options,
            hop_limit: ip.hop_limit,
            payload: bytes.get(header_bytes..).unwrap_or_default(),
            cut_bytes: ip.cut_bytes,
            whole: bytes,
        })
    }

    /// The options, one after the other.
    pub fn options(&self) -> Options<'a> {
        Options { rest: self.options }
    }

    /// The sender's time stamp (RFC 7323 section 3.2).
    pub fn time_stamp(&self) -> Option<u32> {
        // The form in which nearly all stacks write it.
        if let [1, 1, 8, 10, a, b, c, d, ..] = self.options {
            return Some(u32::from_be_bytes([*a, *b, *c, *d]));
        }
        let option = self.options().find(|option| option.kind == Options::TIME_STAMPS)?;
        option.value.first_chunk().map(|value| u32::from_be_bytes(*value))
    }

    /// Whether the checksum is right (RFC 9293 section 3.1). `None` where octets were cut.
    pub fn sum_is_right(&self) -> Option<bool> {
        if self.cut_bytes > 0 {
            return None;
        }
        let mut sum = ones_sum(self.whole);
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                sum += ones_sum(&source.octets()) + ones_sum(&destination.octets());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                sum += ones_sum(&source.octets()) + ones_sum(&destination.octets());
            }
            _ => return None,
        }
        let length = (self.whole.len() as u32).to_be_bytes();
        sum += ones_sum(&length) + ones_sum(&[0, 6]);
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        Some(sum == 0xffff)
    }

    /// Digest of what shows which kind of machine sent a SYN: hop-limit bucket, window, and all options
    /// in their order with MSS and window scale, but without time stamps, which change with every SYN.
    pub fn syn_digest(&self) -> u64 {
        let mut shape = [0u8; 64];
        let mut used = 0;
        let mut put = |byte: u8| {
            if let Some(slot) = shape.get_mut(used) {
                *slot = byte;
                used += 1;
            }
        };
        // Hosts start at 32, 64, 128 or 255 and are rarely more than 30 hops away.
        put([32, 64, 128, 255].into_iter().find(|start| self.hop_limit <= *start).unwrap_or(255));
        self.window.to_be_bytes().into_iter().for_each(&mut put);
        for option in self.options() {
            put(option.kind);
            if matches!(option.kind, Options::MSS | Options::WINDOW_SCALE) {
                option.value.iter().copied().for_each(&mut put);
            }
        }
        // Upper and lower case are one to `digest`, so each byte goes in as two nibbles.
        let mut nibbles = [0u8; 128];
        for (pair, byte) in nibbles.chunks_exact_mut(2).zip(shape) {
            pair.copy_from_slice(&[byte >> 4, byte & 15]);
        }
        digest(nibbles.get(..used * 2).unwrap_or_default())
    }
}

/// Sum for the internet checksum (RFC 1071): not folded, in the machine's byte order.
fn ones_sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(4);
    let mut last = [0; 4];
    let rest = words.remainder();
    last[..rest.len()].copy_from_slice(rest);
    words.fold(u64::from(u32::from_ne_bytes(last)), |sum, word| {
        let word = word.first_chunk().copied().unwrap_or_default();
        // Too short to overflow; a checked addition would cost most of the time.
        sum.wrapping_add(u64::from(u32::from_ne_bytes(word)))
    })
}

/// One TCP option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpOption<'a> {
    /// Its number at IANA.
    pub kind: u8,
    /// What follows kind and length.
    pub value: &'a [u8],
}

/// The options of a segment, as far as they are well formed.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl Options<'_> {
    /// Maximum segment size.
    pub const MSS: u8 = 2;
    /// Window scale.
    pub const WINDOW_SCALE: u8 = 3;
    /// Time stamps.
    pub const TIME_STAMPS: u8 = 8;
    /// MD5 signature (RFC 2385).
    pub const MD5: u8 = 19;
}

impl<'a> Iterator for Options<'a> {
    type Item = TcpOption<'a>;

    fn next(&mut self) -> Option<TcpOption<'a>> {
        let (&kind, after) = self.rest.split_first()?;
        match kind {
            0 => {
                self.rest = &[];
                Some(TcpOption { kind, value: &[] })
            }
            1 => {
                self.rest = after;
                Some(TcpOption { kind, value: &[] })
            }
            _ => {
                let length = usize::from(*after.first()?);
                let value = self.rest.get(2..length)?;
                self.rest = self.rest.get(length..)?;
                Some(TcpOption { kind, value })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, TcpOptionElement};

    fn syn(hop_limit: u8, stamp: u32, mss: u16) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [192, 0, 2, 1], hop_limit)
            .tcp(4000, 25, 7, 64_240)
            .syn()
            .options(&[
                TcpOptionElement::MaximumSegmentSize(mss),
                TcpOptionElement::SelectiveAcknowledgementPermitted,
                TcpOptionElement::Timestamp(stamp, 0),
                TcpOptionElement::Noop,
                TcpOptionElement::WindowScale(7),
            ])
            .unwrap()
            .write(&mut frame, b"")
            .unwrap();
        frame
    }

    fn with<R>(frame: &[u8], look: impl FnOnce(Segment<'_>) -> R) -> R {
        let packet = crate::capture::Packet {
            at: Default::default(),
            link: crate::capture::LinkType::RAW,
            bytes: frame,
            original_bytes: frame.len() as u32,
        };
        look(Segment::read(&crate::capture::link::ip_slice(&packet).unwrap()).unwrap())
    }

    #[test]
    fn the_shape_of_a_syn_tells_machines_apart() {
        let shape = |frame: &[u8]| with(frame, |segment| segment.syn_digest());
        assert_eq!(shape(&syn(61, 1, 1460)), shape(&syn(57, 9, 1460)));
        assert_ne!(shape(&syn(61, 1, 1460)), shape(&syn(120, 1, 1460)));
        assert_ne!(shape(&syn(61, 1, 1460)), shape(&syn(61, 1, 1380)));
    }

    #[test]
    fn checksums_are_checked() {
        let mut frame = syn(64, 3, 1460);
        assert_eq!(with(&frame, |segment| segment.sum_is_right()), Some(true));
        assert_eq!(with(&frame, |segment| segment.time_stamp()), Some(3));
        for at in 20..frame.len() {
            frame[at] ^= 1;
            if at != 32 {
                assert_ne!(with(&frame, |segment| segment.sum_is_right()), Some(true), "octet {at}");
            }
            frame[at] ^= 1;
        }
    }

    #[test]
    fn options_end_where_they_are_broken() {
        let kinds = |rest: &[u8]| Options { rest }.map(|option| option.kind).collect::<Vec<_>>();
        assert_eq!(kinds(&[1, 2, 4, 5, 180, 3, 0]), [1, 2]);
        assert_eq!(kinds(&[1, 0, 9, 9]), [1, 0]);
        assert!(kinds(&[8, 10, 1]).is_empty());
    }
}
