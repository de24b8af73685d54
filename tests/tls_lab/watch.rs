//! The sensor on the veth: what portreeve says of the sessions, and beside it when each connection was opened from
//! which port, which portreeve does not tell.

use super::places::{Client, Server};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use portreeve::capture::{Live, LiveSettings, Packet};
use portreeve::company::Company;
use portreeve::observation::Observation;
use portreeve::smtp::{WireRoad, WireSettings};
use portreeve::time::{CivilClock, Timestamp};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Well above the time that the kernel gathers packets before it hands them over.
const KERNEL_GATHERS: Duration = Duration::from_millis(500);

/// A connection that was opened.
pub struct Opened {
    /// When it was asked for.
    pub syn_at: Timestamp,
    /// When the handshake was done, which is when the session begins.
    pub at: Timestamp,
    pub client: SocketAddr,
    pub server: IpAddr,
}

pub struct Watched {
    pub observations: Vec<Observation>,
    pub opened: Vec<Opened>,
}

/// Reads the interface until told to stop and nothing more waits. `ready` is told when it listens; what is `lost` never
/// comes to the road.
pub fn watch(
    stop: &AtomicBool,
    ready: std::sync::mpsc::Sender<()>,
    lost: &mut dyn FnMut() -> bool,
) -> Watched {
    let mut live = Live::open("v1", &LiveSettings::default()).unwrap();
    ready.send(()).unwrap();
    let company = Company::new(vec!["192.0.2.0/24".parse().unwrap()], &[], vec![], CivilClock::utc());
    let mut road = WireRoad::new(Arc::new(company), WireSettings::default());
    let mut watched = Watched { observations: Vec::new(), opened: Vec::new() };
    let mut kept = Kept::from_environment();
    let mut asked = BTreeMap::new();
    let mut quiet_since = Instant::now();
    loop {
        if let Some(packet) = live.next().unwrap() {
            let ends = ends(packet.bytes);
            match ends {
                Some(((from, to), true)) => {
                    asked.insert((from, to), packet.at);
                }
                Some(((client, server), false)) => {
                    if let Some(syn_at) = asked.remove(&(client, server)) {
                        watched.opened.push(Opened { syn_at, at: packet.at, client, server: server.ip() });
                    }
                }
                None => {}
            }
            if let Some((kept, (ends, _))) = kept.as_mut().zip(ends) {
                kept.keep(ends, &packet);
            }
            if !lost() {
                road.packet(&packet, &mut watched.observations);
            }
            quiet_since = Instant::now();
        } else if stop.load(Ordering::Relaxed) && quiet_since.elapsed() > KERNEL_GATHERS {
            break;
        }
    }
    road.finish(&mut watched.observations);
    assert_eq!(live.stats().unwrap().dropped, 0, "the capture lost packets");
    watched
}

/// Source and destination of a frame, and whether it opens a connection.
fn ends(frame: &[u8]) -> Option<((SocketAddr, SocketAddr), bool)> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (&sliced.net, &sliced.transport) else {
        return None;
    };
    let from = SocketAddr::from((ip.header().source_addr(), tcp.source_port()));
    let to = SocketAddr::from((ip.header().destination_addr(), tcp.destination_port()));
    Some(((from, to), tcp.syn() && !tcp.ack()))
}

/// Captures that are kept, one of each pair.
struct Kept {
    folder: PathBuf,
    files: BTreeMap<(Client, Server), BufWriter<File>>,
}

impl Kept {
    fn from_environment() -> Option<Kept> {
        let folder = super::capture_folder()?;
        fs::create_dir_all(&folder).unwrap();
        Some(Kept { folder, files: BTreeMap::new() })
    }

    fn keep(&mut self, (from, to): (SocketAddr, SocketAddr), packet: &Packet<'_>) {
        let pair =
            |client: SocketAddr, server: SocketAddr| Client::at(client.ip()).zip(Server::at(server.ip()));
        let Some(pair) = pair(from, to).or_else(|| pair(to, from)) else { return };
        let file = self.files.entry(pair).or_insert_with(|| {
            let path = self.folder.join(super::pair_name(pair.0, pair.1)).with_extension("pcap");
            let mut file = BufWriter::new(File::create(path).unwrap());
            let header = [0xa1b2_c3d4u32, 4 << 16 | 2, 0, 0, 262_144, 1];
            file.write_all(&header.map(u32::to_le_bytes).concat()).unwrap();
            file
        });
        let (micros, length) = (packet.at.as_micros(), packet.bytes.len() as u32);
        let header =
            [(micros / 1_000_000) as u32, (micros % 1_000_000) as u32, length, packet.original_bytes];
        file.write_all(&[&header.map(u32::to_le_bytes).concat(), packet.bytes].concat()).unwrap();
    }
}
