//! The whole way, from a file to the judge: a generated capture of at least 500 MB and a generated Postfix log of
//! a million lines, each through `portreeve replay` in a process of its own. Prints MB/s, packets/s, lines/s and
//! peak memory. Beside the capture stands its floor in the same run: libpcap reading and etherparse decoding,
//! and nothing else.
//!
//! Three questions are asked of the wire: how fast with message content switched off, how fast with it on, and
//! whether a byte costs more where a hundred times as many connections are open at once. They are asked twice: of the
//! road alone, from the file to observations, in processor time; and of the whole way with the judge, by the clock. `PORTREEVE_BENCH_DIR`
//! keeps the captures for a profiler; `PORTREEVE_BENCH=wire` or `log` runs one half.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use portreeve::capture::CaptureFile;
use portreeve::config::Config;
use portreeve::simulate::load::{self, Load};
use portreeve::smtp::{WireRoad, WireSettings};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const CAPTURE_BYTES: u64 = 520_000_000;
const CONCURRENT_FLOWS: u32 = 400;
const LOG_LINES: u64 = 1_050_000;
const RUNS: usize = 5;

fn main() {
    let passing = tempfile::tempdir().expect("a temporary directory");
    let kept = std::env::var_os("PORTREEVE_BENCH_DIR").map(PathBuf::from);
    let directory = kept.unwrap_or_else(|| passing.path().to_owned());
    let half = std::env::var("PORTREEVE_BENCH").unwrap_or_default();
    if half != "log" {
        wire(&directory);
    }
    if half != "wire" {
        log(&directory);
    }
}

fn wire(directory: &Path) {
    let config = |enabled: bool| {
        let path = directory.join(format!("content-{enabled}.toml"));
        std::fs::write(&path, format!("[content]\nenabled = {enabled}\n")).expect("a configuration");
        path
    };
    let (off, on) = (config(false), config(true));
    let few = capture(directory, CONCURRENT_FLOWS);
    let many = capture(directory, CONCURRENT_FLOWS * 100);
    // Taken in turns, so that a busy neighbour slows all alike.
    let mut took = [const { Vec::new() }; 5];
    let mut peak_kib = [0; 3];
    for _ in 0..RUNS {
        took[0].push(read_and_decode(&few.path));
        took[1].push(read_and_decode(&many.path));
        for (place, (load, config)) in [(&few, &off), (&few, &on), (&many, &off)].into_iter().enumerate() {
            let (duration, kib) = replay(&load.path, Some(config));
            took[2 + place].push(duration);
            peak_kib[place] = peak_kib[place].max(kib);
        }
    }
    let [floor, floor_many, off, on, off_many] = took.map(median);
    let [road_off, road_on, road_off_many] = roads(&few.path, &many.path);
    println!("capture: {} MB, {} packets", few.bytes / 1_000_000, few.records);
    let say = |what: &str, load: &Load, took: Duration, floor: Duration, kib: i64| {
        let seconds = took.as_secs_f64();
        println!(
            "  {what:42} {:6.0} MB/s {:10.0} packets/s  {:.2} of the floor{}",
            load.bytes as f64 / 1e6 / seconds,
            load.records as f64 / seconds,
            floor.as_secs_f64() / seconds,
            if kib > 0 { format!("  peak {} MiB", kib / 1024) } else { String::new() }
        );
    };
    let flows = |factor: u32| format!("{} flows at a time", CONCURRENT_FLOWS * factor);
    say(&format!("floor: read and decode, {}", flows(1)), &few, floor, floor, 0);
    say(&format!("floor: read and decode, {}", flows(100)), &many, floor_many, floor_many, 0);
    say(&format!("road, content off, {}", flows(1)), &few, road_off, floor, 0);
    say(&format!("road, content on, {}", flows(1)), &few, road_on, floor, 0);
    say(&format!("road, content off, {}", flows(100)), &many, road_off_many, floor_many, 0);
    say(&format!("content off, {}", flows(1)), &few, off, floor, peak_kib[0]);
    say(&format!("content on, {}", flows(1)), &few, on, floor, peak_kib[1]);
    say(&format!("content off, {}", flows(100)), &many, off_many, floor_many, peak_kib[2]);
    let per_byte = |took: Duration, load: &Load| took.as_secs_f64() / load.bytes as f64;
    for (what, one, hundred) in [("road", road_off, road_off_many), ("whole way", off, off_many)] {
        println!(
            "  {what}: a byte at {} costs {:.2} times a byte at {}",
            flows(100),
            per_byte(hundred, &many) / per_byte(one, &few),
            flows(1)
        );
    }
}

/// A generated capture; one that is there already is used again.
fn capture(directory: &Path, flows: u32) -> Load {
    let out = directory.join(format!("flows-{flows}"));
    let path = out.join("span0-01.pcap");
    let bytes = path.metadata().map_or(0, |meta| meta.len());
    if bytes >= CAPTURE_BYTES {
        let mut file = CaptureFile::open(&path).expect("a capture");
        while let Ok(Some(_)) = file.next() {}
        return Load { path, sessions: 0, records: file.packets(), bytes };
    }
    load::wire(1, &out, CAPTURE_BYTES, flows).expect("a capture")
}

fn log(directory: &Path) {
    let made = load::log(2, directory, LOG_LINES).expect("a log");
    println!("log: {} MB, {} lines", made.bytes / 1_000_000, made.records);
    let runs: Vec<_> = (0..RUNS).map(|_| replay(&made.path, None)).collect();
    let whole = median(runs.iter().map(|(took, _)| *took).collect());
    println!("  whole way                {:7.0} lines/s", made.records as f64 / whole.as_secs_f64());
    println!("  peak memory              {} MiB", runs.iter().map(|(_, kib)| *kib).max().unwrap_or(0) / 1024);
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() / 2]
}

/// Reads every packet with libpcap and decodes it with etherparse.
fn read_and_decode(path: &Path) -> Duration {
    let began = processor_time();
    let mut file = pcap::Capture::from_file(path).expect("a capture");
    let mut payload_bytes = 0usize;
    while let Ok(packet) = file.next_packet() {
        if let Ok(sliced) = etherparse::LaxSlicedPacket::from_ethernet(packet.data)
            && let Some(etherparse::TransportSlice::Tcp(tcp)) = sliced.transport
        {
            payload_bytes += tcp.payload().len();
        }
    }
    assert!(payload_bytes > 0);
    processor_time() - began
}

/// Processor time of the road alone, in turns: content off and on, and off with many connections.
fn roads(few: &Path, many: &Path) -> [Duration; 3] {
    let mut took = [const { Vec::new() }; 3];
    let company = Arc::new(Config::default().company().expect("a company"));
    for _ in 0..RUNS {
        for (place, (path, content_bytes_max)) in
            [(few, 0), (few, 64 << 10), (many, 0)].into_iter().enumerate()
        {
            let began = processor_time();
            let mut file = CaptureFile::open(path).expect("a capture");
            let settings = WireSettings { content_bytes_max, ..WireSettings::default() };
            let mut road = WireRoad::new(Arc::clone(&company), settings);
            let (mut out, mut seen) = (Vec::new(), 0);
            while let Ok(Some(packet)) = file.next() {
                road.packet(&packet, &mut out);
                seen += out.len();
                out.clear();
            }
            assert!(seen > 0);
            took[place].push(processor_time() - began);
        }
    }
    took.map(median)
}

/// What this process used so far, in the kernel and outside.
fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("usage");
    let of = |time: TimeVal| Duration::from_micros(time.num_microseconds() as u64);
    of(usage.user_time()) + of(usage.system_time())
}

/// One replay in a process of its own: how long it took, and its peak memory in KiB.
fn replay(path: &Path, config: Option<&PathBuf>) -> (Duration, i64) {
    let began = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command.args(["replay", "-q", "--threads", "1"]).arg(path).stdout(Stdio::null());
    if let Some(config) = config {
        command.arg("-c").arg(config);
    }
    let peak_kib = wait(command.spawn().expect("portreeve starts"));
    (began.elapsed(), peak_kib)
}

/// Waits for the end of a child; samples its peak memory while it runs.
fn wait(mut child: std::process::Child) -> i64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    loop {
        if let Ok(text) = std::fs::read_to_string(&status)
            && let Some(line) = text.lines().find(|line| line.starts_with("VmHWM"))
        {
            let value = line.split_ascii_whitespace().nth(1).and_then(|value| value.parse().ok());
            peak_kib = peak_kib.max(value.unwrap_or(0));
        }
        match child.try_wait().expect("a child to wait for") {
            Some(status) => {
                assert!(status.success());
                return peak_kib;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
