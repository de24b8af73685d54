//! An interface, usually fed by a span port.
//!
//! *In*: an interface name. *Out*: packets, `None` whenever none waits, and what the
//! kernel dropped. *Bound*: the kernel's ring, `LiveSettings::buffer_bytes`. *Spec*: pcap(3PCAP),
//! pcap-filter(7).
//!
//! Immediate mode is never asked for: libpcap then falls back to a slower ring.

use super::{CaptureError, LinkType, Packet, captured_at};
use pcap::{Active, Capture};
use std::time::Duration;

/// Pause where no packet waits. The ring holds what comes meanwhile.
const REST: Duration = Duration::from_millis(5);

/// How an interface is opened.
#[derive(Clone, Debug)]
pub struct LiveSettings {
    /// Bytes kept of a frame; above any offloaded frame.
    pub snaplen: i32,
    /// Kernel ring, bytes.
    pub buffer_bytes: i32,
    /// How long the kernel may gather packets before it hands them over, milliseconds.
    pub timeout_ms: i32,
    /// TCP ports that the built-in filter lets through.
    pub ports: Vec<u16>,
    /// A filter in the language of pcap-filter(7) instead of the built-in one; empty for none at all.
    pub filter: Option<String>,
}

impl Default for LiveSettings {
    fn default() -> LiveSettings {
        LiveSettings {
            snaplen: 262_144,
            buffer_bytes: 32 << 20,
            timeout_ms: 100,
            ports: vec![25],
            filter: None,
        }
    }
}

/// What became of the packets since the interface was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LiveStats {
    /// Packets that passed the filter.
    pub received: u32,
    /// Packets lost because we were too slow.
    pub dropped: u32,
    /// Packets lost by the interface or its driver.
    pub if_dropped: u32,
}

/// An open interface.
pub struct Live {
    name: String,
    capture: Capture<Active>,
    link: LinkType,
}

impl Live {
    /// Opens an interface in promiscuous mode and sets the filter.
    pub fn open(interface: &str, settings: &LiveSettings) -> Result<Live, CaptureError> {
        let fail = |error: pcap::Error| open_error(interface, &error);
        let mut capture = Capture::from_device(interface)
            .map_err(fail)?
            .promisc(true)
            .snaplen(settings.snaplen)
            .timeout(settings.timeout_ms)
            .buffer_size(settings.buffer_bytes)
            .open()
            .map_err(fail)?
            .setnonblock()
            .map_err(fail)?;
        let link = LinkType(capture.get_datalink().0);
        let filter = settings.filter.clone().unwrap_or_else(|| default_filter(link, &settings.ports));
        capture.filter(&filter, true).map_err(|error| CaptureError::Filter {
            name: interface.to_owned(),
            detail: error.to_string(),
        })?;
        Ok(Live { name: interface.to_owned(), capture, link })
    }

    /// The next packet; `None` where nothing waited, after a short rest.
    ///
    /// Blocking reads are not used: with the fast ring libpcap lets them wait for the next packet without end, and
    /// then neither a signal nor what was already seen would get through on a quiet line.
    #[allow(clippy::should_implement_trait)] // the packet borrows from the ring
    pub fn next(&mut self) -> Result<Option<Packet<'_>>, CaptureError> {
        match self.capture.next_packet() {
            Ok(packet) => Ok(Some(Packet {
                at: captured_at(packet.header),
                link: self.link,
                bytes: packet.data,
                original_bytes: packet.header.len,
            })),
            Err(pcap::Error::TimeoutExpired | pcap::Error::NoMorePackets) => {
                std::thread::sleep(REST);
                Ok(None)
            }
            Err(error) => Err(open_error(&self.name, &error)),
        }
    }

    /// What became of the packets so far.
    pub fn stats(&mut self) -> Result<LiveStats, CaptureError> {
        let stats = self.capture.stats().map_err(|error| open_error(&self.name, &error))?;
        Ok(LiveStats { received: stats.received, dropped: stats.dropped, if_dropped: stats.if_dropped })
    }

    /// What frames of this interface begin with.
    pub fn link(&self) -> LinkType {
        self.link
    }
}

/// The built-in filter of a link type.
///
/// `tcp port 25` alone sees no VLAN tags, no IPv6 behind extension headers and no later fragments; and
/// `vlan` is an error on links that have no tags. So the form depends on the link.
pub fn default_filter(link: LinkType, ports: &[u16]) -> String {
    let ports = ports.iter().map(|port| format!("tcp port {port}")).collect::<Vec<_>>().join(" or ");
    if ports.is_empty() {
        return String::new();
    }
    // Fragments, and IPv6 with hop-by-hop, routing, destination or fragment headers: decoded by us.
    let ip = format!(
        "({ports} or (ip and ip[6:2] & 0x1fff != 0) or \
         (ip6 and (ip6[6] = 0 or ip6[6] = 43 or ip6[6] = 44 or ip6[6] = 60)))"
    );
    if link == LinkType::ETHERNET {
        // Each `vlan` shifts the offsets of what follows, so the order matters.
        return format!("{ip} or (vlan and ({ip} or (vlan and {ip})))");
    }
    ip
}

fn open_error(interface: &str, error: &pcap::Error) -> CaptureError {
    let (name, detail) = (interface.to_owned(), error.to_string());
    let lower = detail.to_ascii_lowercase();
    if lower.contains("no such device") || lower.contains("doesn't exist") {
        return CaptureError::NoSuchInterface { name };
    }
    if lower.contains("permission") || lower.contains("not permitted") {
        return CaptureError::InterfaceForbidden { name };
    }
    CaptureError::System { name, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_compile_on_their_link() {
        for link in [1, 12, 113, 276, 0, 108] {
            let dead = Capture::dead(pcap::Linktype(link)).unwrap();
            let filter = default_filter(LinkType(link), &[25, 587]);
            assert!(dead.compile(&filter, true).is_ok(), "link {link}: {filter}");
        }
    }

    #[test]
    fn an_unknown_interface_is_named() {
        let error = Live::open("no-such-if0", &LiveSettings::default()).err().unwrap().to_string();
        assert!(error.contains("no-such-if0"), "{error}");
    }
}
