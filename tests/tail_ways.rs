//! The ways in at the level of lines: whatever way bytes are cut, archives of any number of members, bombs, syslog over
//! the network from real senders, and the real journalctl.

#![allow(clippy::unwrap_used)] // a test fails loudly

use flate2::Compression;
use flate2::write::GzEncoder;
use portreeve::tail::{
    Follower, JournalSettings, ListenSettings, LogFile, Stream, TailError, Transport, follow_journal, listen,
    wake_on_change,
};
use proptest::prelude::*;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(bytes).unwrap();
}

// ---- Chunking and positions ----

/// Bytes as a hostile or careless writer makes them: CR, LF, NUL, halves of letters, lines of any length.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[a-zß√]{0,12}\n".prop_map(String::into_bytes),
        2 => Just(b"\r\n".to_vec()),
        1 => Just(b"\r".to_vec()),
        1 => Just(b"\0\0".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
        1 => Just(vec![b'y'; 17_000]),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

fn read_whole(path: &Path) -> Vec<Vec<u8>> {
    let mut follower = Follower::from_start(path).unwrap();
    let mut lines = Vec::new();
    while follower.poll(|line| lines.push(line.to_vec())).unwrap() > 0 {}
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Written in any pieces, down to single bytes, looked at in between and taken up again by another process now and
    /// then: the lines are those of the whole file.
    #[test]
    fn cuts_change_no_line(
        text in bytes(),
        cuts in prop::collection::vec((0usize..20_000, any::<bool>()), 0..12),
        single in any::<bool>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (whole, grown) = (directory.path().join("whole.log"), directory.path().join("grown.log"));
        append(&whole, &text);
        append(&grown, b"");
        let mut cuts: Vec<(usize, bool)> =
            cuts.into_iter().map(|(at, restart)| (at.min(text.len()), restart)).collect();
        if single {
            cuts = (1..text.len().min(60)).map(|at| (at, at % 7 == 0)).collect();
        }
        cuts.sort_unstable();
        let mut follower = Follower::from_start(&grown).unwrap();
        let (mut lines, mut from) = (Vec::new(), 0);
        for (at, restart) in cuts.into_iter().chain([(text.len(), true)]) {
            append(&grown, &text[from..at]);
            from = at;
            while follower.poll(|line| lines.push(line.to_vec())).unwrap() > 0 {}
            if restart {
                honest(&grown, &follower.position());
                follower = Follower::resume(&grown, &follower.position()).unwrap();
            }
        }
        while follower.poll(|line| lines.push(line.to_vec())).unwrap() > 0 {}
        prop_assert_eq!(&lines, &read_whole(&whole));
        prop_assert_eq!(follower.counters().possible_gaps, 0);
        // A finished file gives the same, and its last piece too.
        let mut log = LogFile::from_reader(fs::File::open(&whole).unwrap(), "whole").unwrap();
        let mut finished = Vec::new();
        while let Some(line) = log.next_line().unwrap() {
            finished.push(line.to_vec());
        }
        prop_assert_eq!(&finished[..lines.len().min(finished.len())], &lines[..]);
        prop_assert!(finished.len() <= lines.len() + 1);
        // So does a pipe.
        let mut stream = Stream::of_reader(std::io::Cursor::new(text));
        let mut piped = Vec::new();
        while !stream.ended() {
            if let Some(line) = stream.peek().unwrap() {
                piped.push(line.to_vec());
                stream.take();
            }
        }
        prop_assert_eq!(piped, finished);
    }
}

/// A position lies inside the file, and at the start of a line unless a line longer than is kept goes on there.
fn honest(path: &Path, position: &str) {
    let position: serde_json::Value = serde_json::from_str(position).unwrap();
    let offset = position["at"]["offset"].as_u64().unwrap() as usize;
    let text = fs::read(path).unwrap();
    assert!(offset <= text.len());
    assert!(offset == 0 || text[offset - 1] == b'\n' || position["skipping"] == true);
}

#[test]
fn a_position_that_does_not_fit_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mail.log");
    for round in 0..40usize {
        let lines: String = (0..50).map(|n| format!("{round} {n} {}\n", "x".repeat(n))).collect();
        fs::write(&path, &lines).unwrap();
        let mut follower = Follower::from_start(&path).unwrap();
        for _ in 0..round + 5 {
            follower.peek().unwrap().unwrap();
            follower.take();
        }
        let mut position: serde_json::Value = serde_json::from_str(&follower.position()).unwrap();
        let offset = position["at"]["offset"].as_u64().unwrap();
        match round % 3 {
            // Beyond the end; at another place; in a file whose bytes changed there.
            0 => position["at"]["offset"] = (offset + 100_000).into(),
            1 => position["at"]["offset"] = (offset + 3).into(),
            _ => fs::write(&path, lines.replacen(&format!("{round} {} ", round + 4), "changed ", 1)).unwrap(),
        }
        let mut follower = Follower::resume(&path, &position.to_string()).unwrap();
        let mut read = 0;
        follower.poll(|_| read += 1).unwrap();
        assert_eq!(read, 50, "round {round}: read from the beginning");
        assert_eq!(follower.counters().possible_gaps, 1, "round {round}: and said so");
    }
}

// ---- Archives ----

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn lines_of(packed: Vec<u8>) -> (usize, Option<TailError>) {
    let mut log = match LogFile::from_reader(std::io::Cursor::new(packed), "archive") {
        Ok(log) => log,
        Err(error) => return (0, Some(error)),
    };
    let mut lines = 0;
    loop {
        match log.next_line() {
            Ok(Some(_)) => lines += 1,
            Ok(None) => return (lines, None),
            Err(error) => return (lines, Some(error)),
        }
    }
}

#[test]
fn every_member_of_an_archive_is_read() {
    let text = "a line of a log\n".repeat(5_000);
    for packed in [gzip(text.as_bytes()), zstd::encode_all(text.as_bytes(), 3).unwrap()] {
        assert!(matches!(lines_of(packed.repeat(3)), (15_000, None)));
        let (lines, error) = lines_of(packed[..packed.len() / 2].to_vec());
        assert!(lines < 5_000 && error.is_some());
        // What was good stays good; what follows it is said.
        let (lines, error) = lines_of([&packed[..], b"trailing garbage"].concat());
        assert_eq!(lines, 5_000);
        assert!(
            error
                .is_none_or(|error| matches!(error, TailError::Damaged { .. } | TailError::Truncated { .. }))
        );
    }
}

#[test]
fn bombs_are_stopped() {
    // 2 GB of nothing: deflate makes 2 MB of it, zstd some 200 KB; line ends make them look like a log.
    let nothing = vec![b'\n'; 1 << 20];
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    let mut frames = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    for _ in 0..512 {
        bomb.write_all(&nothing).unwrap();
        frames.write_all(&nothing).unwrap();
    }
    for packed in [bomb.finish().unwrap(), frames.finish().unwrap()] {
        let size = packed.len() as u64;
        let (lines, error) = lines_of(packed);
        assert!(matches!(error, Some(TailError::TooLarge { .. })), "{error:?}");
        assert!((lines as u64) < size * 500 + (2 << 20), "{lines} lines out of {size} bytes");
    }
}

// ---- Syslog from the network ----

fn listening(transport: Transport, peers: &[&str]) -> (Stream, SocketAddr) {
    let peers = peers.iter().map(|peer| peer.parse().unwrap()).collect();
    listen(&ListenSettings { transport, address: "127.0.0.1:0".parse().unwrap(), peers }).unwrap()
}

/// Lines until there are so many; fails after a while.
fn await_lines(stream: &mut Stream, many: usize) -> Vec<String> {
    let (began, mut lines) = (Instant::now(), Vec::new());
    while lines.len() < many {
        if let Some(line) = stream.peek().unwrap() {
            lines.push(String::from_utf8_lossy(line).into_owned());
            stream.take();
        } else {
            assert!(began.elapsed() < Duration::from_secs(60), "only {} of {many} lines came", lines.len());
            std::thread::yield_now();
        }
    }
    lines
}

#[test]
fn datagrams_and_both_framings() {
    let (mut stream, address) = listening(Transport::Udp, &[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"<22>Nov 24 20:14:01 mx1 postfix/qmgr[1]: a\n", address).unwrap();
    socket.send_to(b"\n", address).unwrap();
    socket.send_to(&[b'x'; 20_000], address).unwrap();
    let lines = await_lines(&mut stream, 2);
    assert_eq!(lines[0], "<22>Nov 24 20:14:01 mx1 postfix/qmgr[1]: a");
    assert_eq!(lines[1].len(), 16 << 10);
    assert_eq!(stream.counters().overlong_lines, 1);

    let (mut stream, address) = listening(Transport::Tcp, &["127.0.0.0/8"]);
    let mut first = TcpStream::connect(address).unwrap();
    let mut second = TcpStream::connect(address).unwrap();
    first.write_all(b"5 <1>ab5 <1>").unwrap();
    second.write_all(b"<2>x\n<2>without an end").unwrap();
    let mut lines = await_lines(&mut stream, 2);
    first.write_all(b"cd").unwrap();
    drop(second);
    lines.extend(await_lines(&mut stream, 2));
    lines.sort();
    assert_eq!(lines, ["<1>ab", "<1>cd", "<2>without an end", "<2>x"]);
}

#[test]
fn strangers_and_crowds_are_turned_away() {
    let (mut stream, address) = listening(Transport::Udp, &["192.0.2.0/24"]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let began = Instant::now();
    while stream.counters().refused < 3 {
        socket.send_to(b"<1>x", address).unwrap();
        assert!(began.elapsed() < Duration::from_secs(60));
    }
    assert!(stream.peek().unwrap().is_none());

    let (stream, address) = listening(Transport::Tcp, &[]);
    let connections: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
    let began = Instant::now();
    while stream.counters().crowded_out < 44 {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", stream.counters());
        std::thread::yield_now();
    }
    drop(connections);
}

#[test]
fn a_stream_waits_where_nobody_takes() {
    let (mut stream, address) = listening(Transport::Tcp, &[]);
    let sender = std::thread::spawn(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        for n in 0..20_000 {
            writeln!(socket, "<22>line {n}").unwrap();
        }
    });
    let lines = await_lines(&mut stream, 20_000);
    sender.join().unwrap();
    assert!(
        lines.iter().enumerate().all(|(n, line)| *line == format!("<22>line {n}")),
        "none lost, in order"
    );
    assert_eq!(stream.counters().dropped, 0);
}

fn ran(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[test]
fn the_real_logger_sends() {
    if !ran(Command::new("logger").arg("--version").stdout(Stdio::null())) {
        eprintln!("skipped: logger is not installed");
        return;
    }
    for (transport, way) in [(Transport::Udp, "--udp"), (Transport::Tcp, "--tcp")] {
        for form in [&["--rfc3164"][..], &["--rfc5424"], &["--rfc5424", "--octet-count"]] {
            let (mut stream, address) = listening(transport, &[]);
            let sent = ran(Command::new("logger")
                .args([way, "--server", "127.0.0.1", "--port", &address.port().to_string()])
                .args(form)
                .args(["--tag", "postfix/smtp", "--", "A1: to=<x@y.example>"]));
            assert!(sent);
            let line = await_lines(&mut stream, 1).remove(0);
            assert!(line.ends_with("A1: to=<x@y.example>") && line.contains("postfix/smtp"), "{line}");
        }
    }
}

/// rsyslog as it is set up in docs/sources.md, with a log of its own to read from.
#[test]
fn the_real_rsyslog_sends() {
    let (mut stream, address) = listening(Transport::Tcp, &[]);
    let directory = tempfile::tempdir().unwrap();
    let (log, config) = (directory.path().join("in.log"), directory.path().join("rsyslog.conf"));
    fs::write(&log, "").unwrap();
    let text = format!(
        "global(workDirectory=\"{0}\")\nmodule(load=\"imfile\" mode=\"polling\" pollingInterval=\"1\")\n\
         input(type=\"imfile\" File=\"{1}\" Tag=\"postfix/smtp[7]:\" freshStartTail=\"off\")\n\
         *.* action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{2}\" protocol=\"tcp\" TCP_Framing=\"octet-counted\")\n",
        directory.path().display(),
        log.display(),
        address.port()
    );
    fs::write(&config, text).unwrap();
    let started = Command::new("rsyslogd")
        .args(["-n", "-i", "NONE", "-f"])
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut rsyslog) = started else {
        eprintln!("skipped: rsyslogd is not installed");
        return;
    };
    append(&log, b"A1: to=<x@y.example>, status=sent (250 ok)\nA2: to=<z@y.example>\n");
    let lines = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| await_lines(&mut stream, 2)));
    rsyslog.kill().unwrap();
    rsyslog.wait().unwrap();
    let lines = lines.unwrap();
    assert!(lines[0].ends_with("A1: to=<x@y.example>, status=sent (250 ok)"), "{lines:?}");
    assert!(lines[0].starts_with('<') && lines[0].contains("postfix/smtp[7]:"));
}

// ---- The journal ----

/// Writes entries into a journal with systemd's own program. `false` where it is not here.
fn write_journal(directory: &Path, numbers: std::ops::Range<u32>) -> bool {
    let mut export = String::new();
    for n in numbers.clone() {
        let at = 1_790_000_000_000_000u64 + u64::from(n) * 1_000_000;
        export += &format!(
            "__REALTIME_TIMESTAMP={at}\n__MONOTONIC_TIMESTAMP={}\n_BOOT_ID=0123456789abcdef0123456789abcdef\n\
             _HOSTNAME=mx1\n_TRANSPORT=syslog\nSYSLOG_IDENTIFIER=postfix/smtp\n_PID=77\nMESSAGE=A{n}: hello\n\n",
            1_000_000 + n
        );
    }
    let input = directory.join("export");
    fs::write(&input, export).unwrap();
    let file = directory.join(format!("part{}.journal", numbers.start));
    ran(Command::new("/lib/systemd/systemd-journal-remote")
        .arg("-o")
        .arg(file)
        .arg(input)
        .stderr(Stdio::null()))
}

#[test]
fn the_real_journalctl_goes_on_after_its_cursor() {
    let directory = tempfile::tempdir().unwrap();
    if !write_journal(directory.path(), 0..5)
        || !ran(Command::new("journalctl").arg("--version").stdout(Stdio::null()))
    {
        eprintln!("skipped: systemd-journal-remote or journalctl is not installed");
        return;
    }
    let settings = JournalSettings { directory: Some(directory.path().to_owned()), units: vec![] };
    let mut stream = follow_journal(&settings, None, true).unwrap();
    let lines = await_lines(&mut stream, 3);
    assert_eq!(lines[0], "2026-09-21T14:13:20.000000Z mx1 postfix/smtp[77]: A0: hello");
    let position = stream.position().unwrap().to_owned();
    drop(stream);
    // While we were away, more was written, into another file.
    assert!(write_journal(directory.path(), 5..9));
    let mut stream = follow_journal(&settings, Some(&position), false).unwrap();
    let lines = await_lines(&mut stream, 6);
    let lines: Vec<&str> = lines.iter().map(|line| line.rsplit_once("]: ").unwrap().1).collect();
    assert_eq!(lines, (3..9).map(|n| format!("A{n}: hello")).collect::<Vec<_>>());
    // A first start goes to the end, and has a place there before anything comes.
    let stream = follow_journal(&settings, None, false).unwrap();
    assert!(stream.position().is_some());
}

// ---- Waking ----

#[test]
fn a_change_wakes_the_reader() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mail.log");
    fs::write(&path, "").unwrap();
    let (sender, woken) = channel();
    if !wake_on_change(std::slice::from_ref(&path), move || sender.send(()).is_ok()) {
        eprintln!("skipped: no inotify here");
        return;
    }
    append(&path, b"x\n");
    woken.recv_timeout(Duration::from_secs(60)).unwrap();
    fs::rename(&path, directory.path().join("mail.log.1")).unwrap();
    append(&path, b"y\n");
    woken.recv_timeout(Duration::from_secs(60)).unwrap();
}
