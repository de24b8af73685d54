//! An interface, usually fed by a span port.
//!
//! *In*: an interface name. *Out*: packets, `None` whenever none waits, and what the kernel dropped. *Bound*: the
//! kernel's ring, `LiveSettings::buffer_bytes`. *Spec*: pcap(3PCAP), packet(7).
//!
//! Immediate mode is never asked for: libpcap then falls back to a slower ring. An interface that goes down or away
//! is no end: it is opened again when it comes back, and the time between is counted.

use super::filter::default_filter;
use super::sys::Fanout;
use super::{CaptureError, LinkType, Packet, captured_at};
use pcap::{Active, Capture};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Pause where no packet waits. The ring holds what comes meanwhile.
const REST: Duration = Duration::from_millis(5);
/// Pauses between attempts to open an interface that went away: the first, and the longest.
const REOPEN_FIRST: Duration = Duration::from_millis(250);
const REOPEN_LAST: Duration = Duration::from_secs(8);
/// How often the interface itself is asked whether it is up.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    /// The group of captures of one interface that this one shares its packets with; `None` for a capture that
    /// takes all.
    pub fanout: Option<Fanout>,
}

impl Default for LiveSettings {
    fn default() -> LiveSettings {
        LiveSettings {
            snaplen: 262_144,
            buffer_bytes: 32 << 20,
            timeout_ms: 100,
            ports: vec![25],
            filter: None,
            fanout: None,
        }
    }
}

/// What became of the packets since the interface was opened for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LiveStats {
    /// Packets that passed the filter.
    pub received: u64,
    /// Packets lost because we were too slow.
    pub dropped: u64,
    /// Packets lost by the interface or its driver, whoever captures it.
    pub if_dropped: u64,
}

impl LiveStats {
    /// Adds what came since libpcap was asked last. It counts in 32 bits and goes round.
    fn add(&mut self, before: pcap::Stat, now: pcap::Stat) {
        let grown =
            |total: u64, before: u32, now: u32| total.saturating_add(u64::from(now.wrapping_sub(before)));
        self.received = grown(self.received, before.received, now.received);
        self.dropped = grown(self.dropped, before.dropped, now.dropped);
        self.if_dropped = grown(self.if_dropped, before.if_dropped, now.if_dropped);
    }
}

/// Libpcap's counters of a capture that was just opened.
const UNCOUNTED: pcap::Stat = pcap::Stat { received: 0, dropped: 0, if_dropped: 0 };

/// An open interface.
pub struct Live {
    name: String,
    settings: LiveSettings,
    /// While the interface is away it is kept: where it only went down, it goes on when it is up again, and opening
    /// another may be forbidden by then.
    capture: Capture<Active>,
    /// The kernel's number of the interface that it reads: one of the same name may be another.
    index: Option<u32>,
    /// Whether reading failed and nothing has taken its place yet.
    away: bool,
    link: LinkType,
    stats: LiveStats,
    /// What libpcap had counted of this capture when it was asked last.
    counted: pcap::Stat,
    looked_at: Instant,
    down_since: Option<Instant>,
    /// Reading it failed: it is closed before the next look.
    lost: bool,
    pause: Duration,
    tried_at: Instant,
}

impl Live {
    /// Opens an interface in promiscuous mode and sets the filter.
    pub fn open(interface: &str, settings: &LiveSettings) -> Result<Live, CaptureError> {
        let capture = open(interface, settings)?;
        let now = Instant::now();
        Ok(Live {
            name: interface.to_owned(),
            settings: settings.clone(),
            link: LinkType(capture.get_datalink().0),
            capture,
            index: index_of(interface),
            away: false,
            stats: LiveStats::default(),
            counted: UNCOUNTED,
            looked_at: now,
            down_since: None,
            lost: false,
            pause: REOPEN_FIRST,
            tried_at: now,
        })
    }

    /// The next packet; `None` where nothing waited, after a short rest, or while the interface is away.
    ///
    /// Blocking reads are not used: with the fast ring libpcap lets them wait for the next packet without end, and
    /// then neither a signal nor what was already seen would get through on a quiet line.
    #[allow(clippy::should_implement_trait)] // the packet borrows from the ring
    pub fn next(&mut self) -> Result<Option<Packet<'_>>, CaptureError> {
        if std::mem::take(&mut self.lost) {
            self.lose();
        }
        if self.away {
            self.reopen();
        }
        if self.away {
            std::thread::sleep(REST);
            return Ok(None);
        }
        match self.capture.next_packet() {
            Ok(packet) => {
                self.pause = REOPEN_FIRST;
                Ok(Some(Packet {
                    at: captured_at(packet.header),
                    link: self.link,
                    bytes: packet.data,
                    original_bytes: packet.header.len,
                }))
            }
            Err(pcap::Error::TimeoutExpired | pcap::Error::NoMorePackets) => {
                self.pause = REOPEN_FIRST;
                if self.looked_at.elapsed() >= LOOK_EVERY {
                    self.looked_at = Instant::now();
                    note_state(&mut self.down_since, is_up(&self.name));
                }
                std::thread::sleep(REST);
                Ok(None)
            }
            Err(error) => {
                tracing::warn!("{}: {error}: it is opened again when it comes back", self.name);
                self.lost = true;
                Ok(None)
            }
        }
    }

    /// What became of the packets so far.
    pub fn stats(&mut self) -> Result<LiveStats, CaptureError> {
        match self.capture.stats() {
            Ok(now) => self.stats.add(std::mem::replace(&mut self.counted, now), now),
            Err(error) if !self.away => return Err(open_error(&self.name, &error)),
            Err(_) => {}
        }
        Ok(self.stats)
    }

    /// What frames of this interface begin with.
    pub fn link(&self) -> LinkType {
        self.link
    }

    /// For how long the interface has been down or away; `None` while it is up.
    pub fn down_for(&self) -> Option<Duration> {
        self.down_since.map(|since| since.elapsed())
    }

    fn lose(&mut self) {
        self.away = true;
        note_state(&mut self.down_since, false);
        self.tried_at = Instant::now();
    }

    /// Opens the interface anew; where that cannot be, goes on with the old capture once the interface is up again.
    fn reopen(&mut self) {
        if self.tried_at.elapsed() < self.pause {
            return;
        }
        self.tried_at = Instant::now();
        self.pause = (self.pause * 2).min(REOPEN_LAST);
        let index = index_of(&self.name);
        match open(&self.name, &self.settings) {
            Ok(capture) => {
                // What was counted since the last look; where it cannot be told any more, the last look holds.
                let _ = self.stats();
                self.counted = UNCOUNTED;
                self.link = LinkType(capture.get_datalink().0);
                (self.capture, self.index, self.away) = (capture, index, false);
            }
            Err(_) => self.away = index.is_none() || index != self.index || !is_up(&self.name),
        }
        note_state(&mut self.down_since, !self.away && is_up(&self.name));
    }
}

fn note_state(down_since: &mut Option<Instant>, up: bool) {
    *down_since = if up { None } else { down_since.or(Some(Instant::now())) };
}

fn open(interface: &str, settings: &LiveSettings) -> Result<Capture<Active>, CaptureError> {
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
    // A group is joined before the filter is set: what libpcap took up to there it filters itself.
    if let Some(group) = &settings.fanout {
        group.join(capture.as_raw_fd(), index_of(interface)).map_err(|error| CaptureError::System {
            name: interface.to_owned(),
            detail: format!("several threads cannot share its packets ({error}); set threads = 1"),
        })?;
    }
    let link = LinkType(capture.get_datalink().0);
    let filter = settings.filter.clone().unwrap_or_else(|| default_filter(link, &settings.ports));
    capture
        .filter(&filter, true)
        .map_err(|error| CaptureError::Filter { name: interface.to_owned(), detail: error.to_string() })?;
    Ok(capture)
}

/// Whether the system says that an interface is there and switched on (`IFF_UP`).
fn is_up(interface: &str) -> bool {
    let flags = std::fs::read_to_string(format!("/sys/class/net/{interface}/flags"));
    let Ok(flags) = flags else { return interface == "any" };
    let bits = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16);
    bits.is_ok_and(|bits| bits & 1 == 1)
}

/// The kernel's number of an interface.
fn index_of(interface: &str) -> Option<u32> {
    std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex")).ok()?.trim().parse().ok()
}

fn open_error(interface: &str, error: &pcap::Error) -> CaptureError {
    let (name, detail) = (interface.to_owned(), error.to_string());
    let lower = detail.to_ascii_lowercase();
    if lower.contains("no such device") || lower.contains("doesn't exist") {
        return CaptureError::NoSuchInterface { name };
    }
    if lower.contains("permission") || lower.contains("not permitted") {
        // Who may not capture is told so before anybody looks whether there is such an interface: a wrong name must not
        // send people to look for rights.
        let listed = std::path::Path::new("/sys/class/net").is_dir();
        return match interface != "any" && listed && index_of(interface).is_none() {
            true => CaptureError::NoSuchInterface { name },
            false => CaptureError::InterfaceForbidden { name },
        };
    }
    CaptureError::System { name, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_32_bits_that_go_round_still_grow() {
        let of = |received, dropped| pcap::Stat { received, dropped, if_dropped: 7 };
        let mut stats = LiveStats::default();
        let mut before = UNCOUNTED;
        for now in [of(u32::MAX - 5, 1), of(4, 1), of(4, u32::MAX), of(9, 2)] {
            stats.add(std::mem::replace(&mut before, now), now);
        }
        let round = u64::from(u32::MAX) + 1;
        assert_eq!(stats, LiveStats { received: round + 9, dropped: round + 2, if_dropped: 7 });
    }

    #[test]
    fn an_unknown_interface_is_named() {
        let error = Live::open("no-such-if0", &LiveSettings::default()).err().unwrap().to_string();
        assert!(error.contains("no-such-if0"), "{error}");
    }
}
