//! The whole way, from a file to the judge: a generated capture of at least 500 MB and a generated Postfix log of
//! a million lines, each through `portreeve replay` in a process of its own. Prints MB/s, packets/s, lines/s and
//! peak memory. Beside the capture stands its floor in the same run: libpcap reading and etherparse decoding,
//! and nothing else.

use portreeve::capture::CaptureFile;
use portreeve::simulate::load;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const CAPTURE_BYTES: u64 = 520_000_000;
const CONCURRENT_FLOWS: u32 = 400;
const LOG_LINES: u64 = 1_050_000;
const RUNS: usize = 3;

fn main() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let out = directory.path();
    let made = load::wire(1, out, CAPTURE_BYTES, CONCURRENT_FLOWS).expect("a capture");
    println!(
        "capture: {} MB, {} packets, {CONCURRENT_FLOWS} flows at a time",
        made.bytes / 1_000_000,
        made.records
    );
    let capture = made.path;
    let floor = median(|| read_and_decode(&capture));
    let whole = median(|| replay(&capture).0);
    for (what, took) in [("floor: read and decode", floor), ("whole way", whole)] {
        let seconds = took.as_secs_f64();
        println!(
            "  {what:24} {:7.0} MB/s  {:10.0} packets/s",
            made.bytes as f64 / 1e6 / seconds,
            made.records as f64 / seconds
        );
    }
    println!("  whole way / floor        {:.2}", floor.as_secs_f64() / whole.as_secs_f64());
    println!("  peak memory              {} MiB", replay(&capture).1 / 1024);
    std::fs::remove_file(&capture).expect("the capture is ours");

    let made = load::log(2, out, LOG_LINES).expect("a log");
    println!("log: {} MB, {} lines", made.bytes / 1_000_000, made.records);
    let log = made.path;
    let whole = median(|| replay(&log).0);
    println!("  whole way                {:7.0} lines/s", made.records as f64 / whole.as_secs_f64());
    println!("  peak memory              {} MiB", replay(&log).1 / 1024);
}

fn median(run: impl Fn() -> Duration) -> Duration {
    let mut took: Vec<Duration> = (0..RUNS).map(|_| run()).collect();
    took.sort();
    took[RUNS / 2]
}

/// Reads every packet with libpcap and decodes it with etherparse.
fn read_and_decode(path: &Path) -> Duration {
    let began = Instant::now();
    let mut file = CaptureFile::open(path).expect("a capture");
    let mut payload_bytes = 0usize;
    while let Ok(Some(packet)) = file.next() {
        if let Ok(sliced) = etherparse::LaxSlicedPacket::from_ethernet(packet.bytes)
            && let Some(etherparse::TransportSlice::Tcp(tcp)) = sliced.transport
        {
            payload_bytes += tcp.payload().len();
        }
    }
    assert!(payload_bytes > 0);
    began.elapsed()
}

/// One replay in a process of its own: how long it took, and its peak memory in KiB.
fn replay(path: &Path) -> (Duration, i64) {
    let began = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .args(["replay", "-q", "--threads", "1"])
        .arg(path)
        .stdout(Stdio::null())
        .spawn()
        .expect("portreeve starts");
    let peak_kib = wait(child);
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
