//! Where packets come from: interfaces and capture files, and what lies around IP in them.
//!
//! *In*: an interface or a file. *Out*: [`Packet`], borrowed, in the order of the source.
//! *Bound*: one packet at a time; spooled files by `limits::SPOOLED_CAPTURE_BYTES_MAX`.
//! *Spec*: pcap and pcapng (draft-ietf-opsawg-pcap, -pcapng), the link types of tcpdump.org.

mod classic;
pub mod file;
pub mod filter;
pub mod fragments;
pub mod link;
pub mod live;
mod sys;
mod tunnel;

pub use file::{CaptureFile, looks_like_capture};
pub use link::{DecodeCounters, Undecodable};
pub use live::{Live, LiveSettings, LiveStats};
pub use sys::Fanout;

use crate::time::{MICROS_PER_SECOND, Timestamp};

/// One frame as it was captured.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When it was captured.
    pub at: Timestamp,
    /// What the bytes begin with.
    pub link: LinkType,
    /// The captured bytes; fewer than `original_bytes` where the capture cut the frame.
    pub bytes: &'a [u8],
    /// Length of the frame on the wire, bytes.
    pub original_bytes: u32,
}

/// When libpcap says that a frame was captured.
#[allow(clippy::useless_conversion)] // seconds and microseconds have 32 bits on some platforms
fn captured_at(header: &pcap::PacketHeader) -> Timestamp {
    let micros = i64::from(header.ts.tv_sec).saturating_mul(MICROS_PER_SECOND);
    Timestamp::from_micros(micros.saturating_add(i64::from(header.ts.tv_usec)))
}

/// What a frame begins with: the DLT number of libpcap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(pub i32);

impl LinkType {
    /// BSD loopback: address family in the byte order of the capturing host.
    pub const NULL: LinkType = LinkType(0);
    /// Ethernet.
    pub const ETHERNET: LinkType = LinkType(1);
    /// IP without a link layer, as libpcap reports it on Linux.
    pub const RAW: LinkType = LinkType(12);
    /// IP without a link layer, as OpenBSD numbers it.
    pub const RAW_OPENBSD: LinkType = LinkType(14);
    /// IP without a link layer, as files number it.
    pub const RAW_FILE: LinkType = LinkType(101);
    /// OpenBSD loopback: address family in network byte order.
    pub const LOOP: LinkType = LinkType(108);
    /// Linux cooked capture, version 1.
    pub const LINUX_SLL: LinkType = LinkType(113);
    /// IPv4 without a link layer.
    pub const IPV4: LinkType = LinkType(228);
    /// IPv6 without a link layer.
    pub const IPV6: LinkType = LinkType(229);
    /// Linux cooked capture, version 2.
    pub const LINUX_SLL2: LinkType = LinkType(276);
}

/// Why packets could not be read. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The path does not exist.
    #[error("{name}: no such file; check the path")]
    Missing {
        /// The path.
        name: String,
    },
    /// The path is a directory.
    #[error("{name}: is a directory; give the capture files inside it")]
    Directory {
        /// The path.
        name: String,
    },
    /// The file may not be read.
    #[error("{name}: may not be read; run as a user who may, or change the file's mode")]
    FileForbidden {
        /// The path.
        name: String,
    },
    /// The file is neither pcap nor pcapng, also not after decompression.
    #[error("{name}: not a capture; pcap, pcapng and either of them in gzip are read")]
    NotACapture {
        /// The path.
        name: String,
    },
    /// The file ends inside a packet; everything before was handed out.
    #[error("{name}: cut off after {packets} packets; what was read before the cut is kept")]
    Truncated {
        /// The path.
        name: String,
        /// Packets handed out.
        packets: u64,
    },
    /// The file is damaged; everything before was handed out.
    #[error("{name}: damaged after {packets} packets ({detail}); what was read before is kept")]
    Damaged {
        /// The path.
        name: String,
        /// Packets handed out.
        packets: u64,
        /// What the capture library said.
        detail: String,
    },
    /// Decompression would exceed the bound.
    #[error("{name}: expands beyond the bound for compressed captures; decompress it by hand")]
    TooLarge {
        /// The path.
        name: String,
    },
    /// No interface of that name.
    #[error("{name}: no such interface; `ip link` lists them")]
    NoSuchInterface {
        /// The interface.
        name: String,
    },
    /// The interface may not be captured.
    #[error("{name}: may not capture; run as root or grant CAP_NET_RAW (setcap cap_net_raw+p)")]
    InterfaceForbidden {
        /// The interface.
        name: String,
    },
    /// The capture filter does not compile.
    #[error("{name}: the capture filter does not compile ({detail}); correct `filter`")]
    Filter {
        /// The interface.
        name: String,
        /// What the compiler said.
        detail: String,
    },
    /// Anything else that the system reports.
    #[error("{name}: {detail}")]
    System {
        /// The path or interface.
        name: String,
        /// What the system said.
        detail: String,
    },
}
