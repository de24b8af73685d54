//! Logs, from a plain file to the engine, beside the field's tools in the same run: a generated Postfix log of a
//! million lines and pflogsumm, a real Exim log and eximstats, and as a floor a loop that only finds line ends. Then
//! peak memory at one and at ten times the size of the log.
//!
//! `EXIMSTATS` and `PFLOGSUMM` name the tools where they are not on the path; `PFLOGSUMM=-` leaves one out.

use portreeve::company::Company;
use portreeve::mta::{LogRoad, LogSource};
use portreeve::simulate::load;
use portreeve::tail::LogFile;
use portreeve::time::CivilClock;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LOG_LINES: u64 = 1_050_000;
/// The field's tools get a part of the log: their rate does not hang on its length.
const PEER_LINES: usize = 150_000;
const EXIM_TIMES: usize = 60;
const EXIM_PEER_TIMES: usize = 10;
const RUNS: usize = 3;

fn main() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let made = load::log(2, directory.path(), LOG_LINES).expect("a log");
    compare(
        "Postfix",
        &made.path,
        &first_lines(&made.path, PEER_LINES, directory.path()),
        "PFLOGSUMM",
        "pflogsumm",
    );
    let (tenth, whole) = (first_lines(&made.path, LOG_LINES as usize / 10, directory.path()), &made.path);
    println!("  peak memory, a tenth     {:7} MiB", replay(&tenth, 1).1 / 1024);
    println!("  peak memory, the whole   {:7} MiB", replay(whole, 1).1 / 1024);

    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/logs/azatot-exim-out/data/out");
    let Ok(text) = std::fs::read(&real) else {
        println!("Exim: left out, {} is not here", real.display());
        return;
    };
    let times = |times: usize| {
        let path = directory.path().join(format!("exim-{times}"));
        std::fs::write(&path, text.repeat(times)).expect("room for a log");
        path
    };
    compare("Exim", &times(EXIM_TIMES), &times(EXIM_PEER_TIMES), "EXIMSTATS", "eximstats");
}

/// Prints the rates of one log, and of a tool of the field on a part of it.
fn compare(what: &str, log: &Path, part: &Path, variable: &str, tool: &str) {
    let lines = count_lines(log);
    println!("{what}: {lines} lines, {} MB", log.metadata().expect("our file").len() / 1_000_000);
    let rate = |lines: usize, took: Duration| lines as f64 / took.as_secs_f64();
    let say = |name: &str, rate: f64, note: String| println!("  {name:24} {rate:10.0} lines/s{note}");
    say("floor: line ends", rate(lines, median(|| timed(|| count_lines(log)))), String::new());
    let read = rate(lines, median(|| timed(|| read_lines(log))));
    let one = rate(lines, median(|| replay(log, 1).0));
    let two = rate(lines, median(|| replay(log, 2).0));
    let tool = std::env::var(variable).unwrap_or_else(|_| tool.to_owned());
    let peer = peer(&tool, part).map(|took| rate(count_lines(part), took));
    let ratio = |rate: f64| peer.map_or(String::new(), |peer| format!("  {:5.1} times {tool}", rate / peer));
    say("to the engine", read, ratio(read));
    say("judged, one thread", one, ratio(one));
    say("judged, two threads", two, ratio(two));
    match peer {
        Some(peer) => say(&tool, peer, String::new()),
        None => println!("  {tool:24} is not here"),
    }
}

fn median(run: impl Fn() -> Duration) -> Duration {
    let mut took: Vec<Duration> = (0..RUNS).map(|_| run()).collect();
    took.sort();
    took[RUNS / 2]
}

fn timed<T>(run: impl FnOnce() -> T) -> Duration {
    let began = Instant::now();
    std::hint::black_box(run());
    began.elapsed()
}

fn first_lines(path: &Path, lines: usize, directory: &Path) -> PathBuf {
    let text = std::fs::read(path).expect("our file");
    let end = memchr::memchr_iter(b'\n', &text).nth(lines - 1).map_or(text.len(), |at| at + 1);
    let part = directory.join(format!("first-{lines}"));
    std::fs::write(&part, &text[..end]).expect("room for a log");
    part
}

/// Reads a file in pieces and finds its line ends.
fn count_lines(path: &Path) -> usize {
    let mut file = std::fs::File::open(path).expect("our file");
    let (mut room, mut lines) = (vec![0; 256 << 10], 0);
    loop {
        let read = file.read(&mut room).expect("our file");
        if read == 0 {
            return lines;
        }
        lines += memchr::memchr_iter(b'\n', &room[..read]).count();
    }
}

/// Every line to an observation, as the engine gets it.
fn read_lines(path: &Path) -> usize {
    let company = Arc::new(Company::new(vec![], &[], vec![], CivilClock::utc()));
    let mut road = LogRoad::new(company, Default::default());
    let mut log = LogFile::open(path).expect("our file");
    let source = road.add_source(LogSource {
        name: "bench".into(),
        dialect: LogRoad::looks_like(log.head()),
        zone: jiff::tz::TimeZone::UTC,
        modified_at: log.modified_at(),
    });
    let (mut out, mut observations) = (Vec::new(), 0);
    while let Some(line) = log.next_line().expect("our file") {
        road.line(source, line, &mut out);
        observations += out.len();
        out.clear();
    }
    let counters = road.counters();
    assert!(counters.delivered > 0 && counters.unparsed * 100 < counters.lines, "{counters:?}");
    observations
}

/// One replay in a process of its own: how long it took, and its peak memory in KiB.
fn replay(path: &Path, threads: usize) -> (Duration, i64) {
    let began = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .args(["replay", "-q", "--threads", &threads.to_string()])
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

/// A tool of the field on a log: how long it took. `None` where it is not here.
fn peer(tool: &str, log: &Path) -> Option<Duration> {
    let began = Instant::now();
    let status = Command::new(tool).arg(log).stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
    status.success().then(|| began.elapsed())
}
