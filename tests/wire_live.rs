//! A live line: a capture played over a veth and read by the service, on one thread and on several, through an interface
//! that goes down and comes back.
//!
//! Everything happens in namespaces of its own. Needs root, `unshare` and `ip`; says so and passes where it cannot run.
//! How fast a line may be: `PORTREEVE_LIVE_LINE=1 cargo test --release --test wire_live fastest -- --nocapture`, with
//! tcpreplay and tcpdump installed and a quiet machine; docs/proofs.md tells what came of it.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod service_support;

use pcap::{Active, Capture};
use portreeve::capture::{CaptureFile, Fanout, Live, LiveSettings};
use portreeve::simulate::load;
use service_support::{Service, deliveries, free_port, metric, until, world};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Set in the process that runs inside the namespaces.
const INSIDE: &str = "PORTREEVE_LIVE_INSIDE";
/// Frames a second: a busy machine keeps up with it.
const PACE: f64 = 40_000.0;

/// Runs a test of this file where there is no network but ours, with `v0` joined to `v1`. `false` outside, where that was
/// done, or said why not.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let may = Command::new("unshare").args(["--net", "--mount", "true"]).stderr(Stdio::null()).status();
    let has_ip = Command::new("ip").arg("-V").stdout(Stdio::null()).status().is_ok();
    if !may.is_ok_and(|status| status.success()) || !has_ip {
        eprintln!("skipped: needs the right to make namespaces, and ip (.ci/install iproute2)");
        return false;
    }
    let script = format!(
        "set -e; mount --make-rprivate /; mount -t sysfs none /sys; ip link set lo up; \
         ip link add v0 type veth peer name v1; sysctl -qw net.ipv6.conf.all.disable_ipv6=1 || true; \
         ip link set v0 up; ip link set v1 up; exec {} --exact {test} --nocapture",
        std::env::current_exe().unwrap().display()
    );
    let namespaces =
        ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &script];
    assert!(Command::new("unshare").args(namespaces).env(INSIDE, "1").status().unwrap().success());
    false
}

fn ip(words: &str) {
    assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
}

/// Plays frames of a capture into `v0`.
struct Player {
    line: Capture<Active>,
    file: CaptureFile,
    sent: u64,
}

impl Player {
    fn new(path: &Path) -> Player {
        let line = Capture::from_device("v0").unwrap().open().unwrap();
        Player { line, file: CaptureFile::open(path).unwrap(), sent: 0 }
    }

    /// Plays so many frames, or all that are left.
    fn play(&mut self, frames: u64) {
        let (began, before) = (Instant::now(), self.sent);
        while self.sent - before < frames {
            let Some(packet) = self.file.next().unwrap() else { return };
            self.line.sendpacket(packet.bytes).unwrap();
            self.sent += 1;
            let due = Duration::from_secs_f64((self.sent - before) as f64 / PACE);
            if self.sent.is_multiple_of(64) && due > began.elapsed() {
                std::thread::sleep(due - began.elapsed());
            }
        }
    }
}

/// A service that watches `v1`, and where its metrics are.
fn watching(directory: &Path, threads: usize) -> (Service, u16) {
    let port = free_port();
    let path = |name: &str| directory.join(format!("{name}-{threads}"));
    let text = format!(
        "{NETWORKS}[metrics]\nlisten = \"127.0.0.1:{port}\"\n[[source.capture]]\ninterface = \"v1\"\nthreads = {threads}\n\
         [[sink]]\ntype = \"file\"\npath = {:?}\n",
        path("alerts"),
    );
    std::fs::write(path("toml"), text).unwrap();
    let shown = |path: PathBuf| path.to_str().unwrap().to_owned();
    let service = Service::watching(&["-c", &shown(path("toml")), "--state", &shown(path("state"))]);
    (service, port)
}

/// What the service has of packets, and that none was lost.
fn all_taken(port: u16, packets: u64) -> bool {
    metric(port, "portreeve_packets_total") == Some(packets as f64)
}

/// Kind and name of the sender of each incident that was opened, and how much it says was sent; not in how long, which
/// differs by run.
fn opened(path: &Path) -> Vec<[String; 3]> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let of = |line: &str| {
        let alert: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |path: &str| alert.pointer(path).unwrap().as_str().unwrap().to_owned();
        let sent = text("/headline").split(" in ").next().unwrap().to_owned();
        (text("/change") == "opened").then(|| [text("/sender/kind"), text("/sender/name"), sent])
    };
    let mut opened: Vec<_> = text.lines().filter_map(of).collect();
    opened.sort();
    opened
}

/// One thread and several see every packet, judge what a replay of the file judges, and tell the same alerts.
#[test]
fn threads_of_one_interface_see_everything_once() {
    if !inside("threads_of_one_interface_see_everything_once") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let capture = world(directory.path()).join("captures/span0-02.pcap");
    let wanted = replayed(directory.path(), &capture);
    assert!(wanted > 1_000, "{wanted}");
    let mut told = BTreeMap::new();
    for threads in [1, 2, 5] {
        let (service, port) = watching(directory.path(), threads);
        let mut player = Player::new(&capture);
        player.play(u64::MAX);
        until("every packet", || all_taken(port, player.sent));
        assert_eq!(metric(port, "portreeve_packets_dropped_total"), Some(0.0));
        assert_eq!(metric(port, "portreeve_observations_untimely_total"), Some(0.0));
        let (code, said, _) = service.end();
        assert_eq!((code, deliveries(&said)), (Some(0), wanted), "{threads} threads: {said}");
        told.insert(threads, opened(&directory.path().join(format!("alerts-{threads}"))));
    }
    assert!(told[&1].len() >= 2, "{told:?}");
    assert_eq!((&told[&2], &told[&5]), (&told[&1], &told[&1]));
}

const NETWORKS: &str =
    "[company]\nnetworks = [\"203.0.113.0/24\", \"192.0.2.0/24\", \"10.20.0.0/16\", \"2001:db8:100::/48\"]\n";

/// Deliveries that a replay of a capture judges.
fn replayed(directory: &Path, capture: &Path) -> u64 {
    let config = directory.join("replay.toml");
    std::fs::write(&config, NETWORKS).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    let out = command.args(["replay", "-c"]).args([&config, capture]).output().unwrap();
    deliveries(&String::from_utf8_lossy(&out.stderr))
}

/// The kernel deals whole connections: no packet twice, none left out, both directions to one.
#[test]
fn a_group_shares_whole_connections() {
    if !inside("a_group_shares_whole_connections") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let made = load::wire(3, directory.path(), 4_000_000, 50).unwrap();
    let settings = LiveSettings { fanout: Some(Fanout::default()), ..LiveSettings::default() };
    let mut group: Vec<_> = (0..3).map(|_| Live::open("v1", &settings).unwrap()).collect();
    let mut bystander = Live::open("v1", &LiveSettings::default()).unwrap();
    Player::new(&made.path).play(u64::MAX);
    let mut ends = Vec::new();
    for live in group.iter_mut().chain([&mut bystander]) {
        let mut seen: BTreeMap<[Vec<u8>; 2], u64> = BTreeMap::new();
        let mut quiet_since = Instant::now();
        while quiet_since.elapsed() < Duration::from_millis(500) {
            let Some(packet) = live.next().unwrap() else { continue };
            quiet_since = Instant::now();
            let slices = etherparse::SlicedPacket::from_ethernet(packet.bytes).unwrap();
            let (Some(etherparse::NetSlice::Ipv4(net)), Some(etherparse::TransportSlice::Tcp(tcp))) =
                (slices.net, slices.transport)
            else {
                continue;
            };
            let end = |address: [u8; 4], port: u16| [address.to_vec(), port.to_be_bytes().to_vec()].concat();
            let mut pair = [
                end(net.header().source(), tcp.source_port()),
                end(net.header().destination(), tcp.destination_port()),
            ];
            pair.sort();
            *seen.entry(pair).or_default() += 1;
        }
        assert_eq!(live.stats().unwrap().dropped, 0);
        ends.push(seen);
    }
    let all = ends.pop().unwrap();
    let shared: u64 = ends.iter().flat_map(BTreeMap::values).sum();
    assert_eq!(shared, all.values().sum::<u64>(), "packets");
    let dealt: usize = ends.iter().map(BTreeMap::len).sum();
    assert_eq!(dealt, all.len(), "a connection was dealt to two");
    let shares: Vec<_> = ends.iter().map(BTreeMap::len).collect();
    assert!(shares.iter().all(|share| share * 6 > all.len()), "{shares:?} of {}", all.len());
    // Another group on the same interface, as of a second sensor, takes nothing from it.
    let other = LiveSettings { fanout: Some(Fanout::default()), ..LiveSettings::default() };
    let _other = Live::open("v1", &other).unwrap();
    Player::new(&made.path).play(500);
    let mut again = 0;
    for live in &mut group {
        let mut quiet_since = Instant::now();
        while quiet_since.elapsed() < Duration::from_millis(300) {
            if live.next().unwrap().is_some() {
                (again, quiet_since) = (again + 1, Instant::now());
            }
        }
    }
    assert_eq!(again, 500, "packets beside another group");
}

/// An interface that goes down and comes back is told and read on, under the sandbox and by every thread.
#[test]
fn an_interface_that_comes_back_is_read_on() {
    if !inside("an_interface_that_comes_back_is_read_on") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let made = load::wire(4, directory.path(), 6_000_000, 50).unwrap();
    for threads in [1, 2] {
        let (service, port) = watching(directory.path(), threads);
        let mut player = Player::new(&made.path);
        player.play(3_000);
        until("the first part", || all_taken(port, 3_000));
        let up = |is: f64| until("the state", || metric(port, "portreeve_source_up") == Some(is));
        up(1.0);
        ip("link set v1 down");
        up(0.0);
        ip("link set v1 up");
        up(1.0);
        player.play(3_000);
        until("the second part", || all_taken(port, 6_000));
        assert_eq!(metric(port, "portreeve_packets_dropped_total"), Some(0.0));
        assert_eq!(service.end().0, Some(0));
    }
}

/// An interface that was deleted and made anew is another one to the kernel: whoever may open it reads on, in a group too.
#[test]
fn an_interface_that_is_made_anew_is_read_on() {
    if !inside("an_interface_that_is_made_anew_is_read_on") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let made = load::wire(6, directory.path(), 4_000_000, 50).unwrap();
    for group in [None, Some(Fanout::default())] {
        let members = if group.is_some() { 2 } else { 1 };
        let settings = LiveSettings { fanout: group, ..LiveSettings::default() };
        let mut lives: Vec<_> = (0..members).map(|_| Live::open("v1", &settings).unwrap()).collect();
        let look = |lives: &mut Vec<Live>, seconds: u64, done: &dyn Fn(&[Live], u64) -> bool| {
            let (began, mut packets) = (Instant::now(), 0);
            while !done(lives, packets) {
                assert!(began.elapsed() < Duration::from_secs(seconds), "{packets} packets");
                packets +=
                    lives.iter_mut().map(|live| u64::from(live.next().unwrap().is_some())).sum::<u64>();
            }
        };
        Player::new(&made.path).play(800);
        look(&mut lives, 20, &|_, packets| packets == 800);
        ip("link delete v1");
        look(&mut lives, 20, &|lives, _| lives.iter().all(|live| live.down_for().is_some()));
        for words in ["link add v0 type veth peer name v1", "link set v0 up", "link set v1 up"] {
            ip(words);
        }
        look(&mut lives, 40, &|lives, _| lives.iter().all(|live| live.down_for().is_none()));
        Player::new(&made.path).play(800);
        look(&mut lives, 20, &|_, packets| packets == 800);
        let received: u64 = lives.iter_mut().map(|live| live.stats().unwrap().received).sum();
        assert_eq!(received, 1_600);
    }
}

/// A reload that changes the filter goes over to new rings while packets come: each packet counts once. Without the
/// sandbox, which forbids to open an interface later.
#[test]
fn a_reload_to_another_filter_loses_nothing_and_counts_nothing_twice() {
    if !inside("a_reload_to_another_filter_loses_nothing_and_counts_nothing_twice") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let made = load::wire(5, directory.path(), 30_000_000, 100).unwrap();
    let path = directory.path().join("toml");
    let port = free_port();
    let write = |filter: &str| {
        let text = format!(
            "[sandbox]\nenabled = false\n{NETWORKS}[metrics]\nlisten = \"127.0.0.1:{port}\"\n[[source.capture]]\ninterface = \"v1\"\nthreads = 2\n\
             filter = {filter:?}\n[[sink]]\ntype = \"file\"\npath = {:?}\n",
            directory.path().join("alerts"),
        );
        std::fs::write(&path, text).unwrap();
    };
    let wanted = replayed(directory.path(), &made.path);
    write("tcp port 25");
    let service = Service::watching(&["-c", path.to_str().unwrap()]);
    let player = std::thread::spawn({
        let path = made.path.clone();
        move || {
            let mut player = Player::new(&path);
            player.play(u64::MAX);
            player.sent
        }
    });
    let mut reloads = 0;
    while !player.is_finished() {
        write(if reloads % 2 == 0 { "tcp and port 25" } else { "tcp port 25" });
        assert!(service.reload(), "{}", service.said());
        reloads += 1;
        std::thread::sleep(Duration::from_millis(150));
    }
    assert!(player.join().unwrap() > 10_000 && reloads >= 2, "{reloads}");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(metric(port, "portreeve_packets_dropped_total"), Some(0.0));
    assert_eq!(metric(port, "portreeve_gap_bytes_total"), Some(0.0));
    let (code, said, _) = service.end();
    assert_eq!((code, deliveries(&said)), (Some(0), wanted), "{reloads} reloads: {said}");
}

/// At the fastest rate at which tcpdump loses nothing, ours loses nothing.
#[test]
fn the_fastest_line_that_tcpdump_bears() {
    if std::env::var_os("PORTREEVE_LIVE_LINE").is_none() {
        eprintln!("skipped: set PORTREEVE_LIVE_LINE=1, on a quiet machine");
        return;
    }
    if !inside("the_fastest_line_that_tcpdump_bears") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let made = load::wire(1, directory.path(), 300_000_000, 400).unwrap();
    let play = |mbit: Option<u32>| {
        let mut command = Command::new("tcpreplay");
        command.args(["-q", "-K", "-i", "v0"]);
        match mbit {
            Some(mbit) => command.arg(format!("--mbps={mbit}")),
            None => command.arg("--topspeed"),
        };
        let out = command.arg(&made.path).output().expect("tcpreplay is installed");
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        said.lines().find(|line| line.starts_with("Rated")).unwrap_or_default().to_owned()
    };
    let tcpdump_loses = |mbit: Option<u32>| -> u64 {
        let child = Command::new("tcpdump")
            .args(["-i", "v1", "-B", "32768", "-w", "/dev/null", "tcp port 25"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump is installed");
        std::thread::sleep(Duration::from_secs(1));
        let rated = play(mbit);
        std::thread::sleep(Duration::from_secs(1));
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let out = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        let line = said.lines().find(|line| line.contains("dropped by kernel")).unwrap().to_owned();
        println!("tcpdump: {line}; {rated}");
        line.split(' ').next().unwrap().parse().unwrap()
    };
    let mut tried = BTreeSet::new();
    let rate = [None, Some(2_000), Some(1_500), Some(1_000), Some(700), Some(500), Some(300)]
        .into_iter()
        .find(|rate| tried.insert(*rate) && (0..3).all(|_| tcpdump_loses(*rate) == 0))
        .expect("a rate that tcpdump bears");
    for threads in [1, 2] {
        let (service, port) = watching(directory.path(), threads);
        let rated = play(rate);
        until("the end of the line", || {
            let of = |name: &str| metric(port, name).unwrap_or_default();
            of("portreeve_packets_total") >= made.records as f64
        });
        let lost = metric(port, "portreeve_packets_dropped_total");
        println!("ours, {threads} threads: {} packets, lost {lost:?}; {rated}", made.records);
        assert_eq!(service.end().0, Some(0));
        assert_eq!(lost, Some(0.0));
    }
}
