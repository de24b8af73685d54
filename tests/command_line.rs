//! The program as a person runs it: what it prints, how it exits, that the same input gives the same alerts.

#![allow(clippy::unwrap_used)] // a test fails loudly

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

fn portreeve(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portreeve")).args(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A small world, made once for all tests.
fn world() -> &'static Path {
    static WORLD: OnceLock<PathBuf> = OnceLock::new();
    WORLD.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap().keep();
        let world = directory.join("world");
        let out = portreeve(&["simulate", world.to_str().unwrap(), "--scenario", "demo", "--seed", "11"]);
        assert_eq!(code(&out), 0, "{}", text(&out.stderr));
        world
    })
}

fn files(of: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![world().join(of)];
    while let Some(directory) = directories.pop() {
        for path in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { directories.push(path) } else { found.push(path.display().to_string()) }
        }
    }
    found.sort();
    found
}

fn inputs() -> Vec<String> {
    files("logs").into_iter().chain(files("captures")).collect()
}

fn replay(extra: &[&str], inputs: &[String]) -> Output {
    let config = world().join("portreeve.toml").display().to_string();
    let mut arguments = vec!["replay", "-c", config.as_str()];
    arguments.extend(extra);
    arguments.extend(inputs.iter().map(String::as_str));
    portreeve(&arguments)
}

#[test]
fn threads_and_the_order_of_inputs_change_nothing() {
    let inputs = inputs();
    let one = replay(&["--threads", "1"], &inputs);
    assert_eq!(code(&one), 0, "{}", text(&one.stderr));
    assert!(text(&one.stdout).lines().count() > 8, "hardly any alert: {}", text(&one.stderr));
    let two = replay(&["--threads", "2"], &inputs);
    assert!(one.stdout == two.stdout, "two threads give other alerts");
    let backwards: Vec<String> = inputs.iter().rev().cloned().collect();
    let other = replay(&["--threads", "2"], &backwards);
    assert!(one.stdout == other.stdout, "another order of inputs gives other alerts");
}

/// The pieces of one log, and one capture cut in two, give what the whole gives.
#[test]
fn a_split_input_is_the_whole_one() {
    let directory = tempfile::tempdir().unwrap();
    let logs = files("logs");
    let whole = replay(&[], &logs);
    let mut pieces = Vec::new();
    for path in &logs {
        let bytes = std::fs::read(path).unwrap();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            pieces.push(path.clone());
            continue;
        }
        let modified = std::fs::metadata(path).unwrap().modified().unwrap();
        let middle = bytes.len() / 2;
        let cut = middle + bytes[middle..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for (part, bytes) in [("a", &bytes[..cut]), ("b", &bytes[cut..])] {
            let name = format!("{}-{part}", path.replace('/', "_"));
            let piece = directory.path().join(name);
            std::fs::write(&piece, bytes).unwrap();
            std::fs::File::options().write(true).open(&piece).unwrap().set_modified(modified).unwrap();
            pieces.push(piece.display().to_string());
        }
    }
    assert!(pieces.len() > logs.len());
    let split = replay(&[], &pieces);
    assert_eq!(text(&whole.stdout), text(&split.stdout));

    let captures: Vec<String> =
        files("captures").into_iter().filter(|path| path.ends_with(".pcap")).collect();
    let capture = std::fs::read(&captures[0]).unwrap();
    let whole = replay(&[], &captures[..1]);
    let mut at = 24;
    while at < capture.len() / 2 {
        at += 16 + u32::from_le_bytes(capture[at + 8..at + 12].try_into().unwrap()) as usize;
    }
    let (first, second) = (directory.path().join("first.pcap"), directory.path().join("second.pcap"));
    std::fs::write(&first, &capture[..at]).unwrap();
    std::fs::write(&second, [&capture[..24], &capture[at..]].concat()).unwrap();
    let split = replay(&[], &[second.display().to_string(), first.display().to_string()]);
    assert!(!whole.stdout.is_empty(), "the capture raises no alert: {}", text(&whole.stderr));
    assert_eq!(text(&whole.stdout), text(&split.stdout));
}

#[test]
fn a_replay_that_goes_on_repeats_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (state, alerts) = (directory.path().join("state"), directory.path().join("alerts.ndjson"));
    let extra = ["--state", state.to_str().unwrap(), "-o", alerts.to_str().unwrap()];
    let first = replay(&extra, &files("logs"));
    assert_eq!(code(&first), 0, "{}", text(&first.stderr));
    let written = std::fs::read_to_string(&alerts).unwrap();
    assert!(!written.is_empty());
    let again = replay(&extra, &files("logs"));
    assert_eq!(code(&again), 0, "{}", text(&again.stderr));
    assert_eq!(std::fs::read_to_string(&alerts).unwrap(), written);
}

#[test]
fn learning_raises_no_alert_and_exit_code_tells() {
    let learned = replay(&["--learn"], &files("logs"));
    assert_eq!((code(&learned), text(&learned.stdout)), (0, String::new()));
    assert_eq!(code(&replay(&["--exit-code", "-q"], &files("logs"))), 3);
}

#[test]
fn every_form_is_one_record_a_line() {
    for form in ["ndjson", "ecs", "ocsf"] {
        let out = replay(&["-f", form], &files("logs"));
        for line in text(&out.stdout).lines() {
            assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{form}: {line}");
        }
    }
    let out = replay(&["-f", "xml"], &files("logs"));
    assert_eq!(code(&out), 2);
    assert!(text(&out.stderr).contains("use ndjson"), "{}", text(&out.stderr));
}

/// One line on standard error that says what to do, and the exit code that fits.
#[test]
fn wrong_input_is_told_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("binary.log"), [0u8, 159, 146, 150, 7, 0, 255].repeat(500)).unwrap();
    std::fs::write(path("typo.toml"), "[company]\nnetwroks = []\n").unwrap();
    let log = files("logs").remove(0);
    for (arguments, expected, says) in [
        (vec!["replay", "/nowhere/mail.log"], 2, "no such file"),
        (vec!["replay", directory.path().to_str().unwrap()], 2, "is a directory"),
        (vec!["replay", &path("binary.log")], 2, "--as"),
        (vec!["replay", "--as", "nonsense", &log], 2, "postfix"),
        (
            vec!["replay", "-c", &path("typo.toml"), &log],
            2,
            "line 2: unknown key `netwroks`: did you mean `networks`?",
        ),
        (vec!["replay", "-c", &path("none.toml"), &log], 2, "-c"),
        (vec!["replay", "-o", "/nowhere/alerts", &log], 2, "writable"),
        (vec!["watch"], 2, "nothing to watch"),
        (vec!["watch", "-i", "no-such-if0"], 2, "no such interface"),
        (vec!["watch", "-l", "/nowhere/mail.log"], 2, "/nowhere/mail.log"),
        (vec!["simulate", directory.path().to_str().unwrap()], 2, "not empty"),
        (vec!["simulate", &path("w"), "--scenario", "x"], 2, "demo"),
        (vec!["score", "/nowhere/truth.json", "x"], 2, "check the path"),
    ] {
        let out = portreeve(&arguments);
        let error = text(&out.stderr);
        assert_eq!(code(&out), expected, "{arguments:?}: {error}");
        assert!(error.contains(says), "{arguments:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{arguments:?}: {error}");
        assert!(out.stdout.is_empty());
    }
    assert_eq!(code(&portreeve(&["replay"])), 2);
}

#[test]
fn a_cut_capture_loses_nothing_that_came_before_the_cut() {
    let directory = tempfile::tempdir().unwrap();
    let captures: Vec<String> =
        files("captures").into_iter().filter(|path| path.ends_with(".pcap")).collect();
    let bytes = std::fs::read(&captures[0]).unwrap();
    let cut = directory.path().join("cut.pcap");
    std::fs::write(&cut, &bytes[..bytes.len() - 7]).unwrap();
    let whole = replay(&[], &captures[..1]);
    let out = replay(&[], &[cut.display().to_string()]);
    assert_eq!(code(&out), 1);
    assert!(text(&out.stderr).contains("cut off after"), "{}", text(&out.stderr));
    assert_eq!(text(&whole.stdout), text(&out.stdout));
}

#[test]
fn a_log_without_the_right_to_read_it_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("mail.log");
    std::fs::write(&log, "x\n").unwrap();
    std::fs::set_permissions(&log, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(&log).is_ok() {
        println!("skipped: this user (root) may read everything");
        return;
    }
    let out = portreeve(&["replay", log.to_str().unwrap()]);
    assert_eq!(code(&out), 2);
    assert!(text(&out.stderr).contains("may not be read"), "{}", text(&out.stderr));
}

#[test]
fn standard_input_is_recognised_too() {
    use std::io::Write;
    let log = files("logs").into_iter().find(|path| !path.ends_with(".gz")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .args(["replay", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let bytes = std::fs::read(&log).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(code(&out), 0, "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("0 unparsed"), "{}", text(&out.stderr));
}

#[test]
fn schemas_and_check_answer() {
    for of in ["alert", "config"] {
        let out = portreeve(&["schema", of]);
        let schema: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        assert!(schema["properties"].is_object(), "{of}");
    }
    let log = files("logs").remove(0);
    let good = portreeve(&["check", "-l", &log]);
    assert_eq!(code(&good), 0, "{}", text(&good.stdout));
    let bad = portreeve(&["check", "-i", "no-such-if0", "-l", "/nowhere/mail.log"]);
    assert_eq!(code(&bad), 1);
    assert_eq!(text(&bad.stdout).matches("FAILS").count(), 2, "{}", text(&bad.stdout));
}

/// The demo finds every hijack of its world and accuses nobody else: its exit code says so.
#[test]
fn the_demo_ends_well() {
    let out = portreeve(&["demo"]);
    assert_eq!(code(&out), 0, "{}\n{}", text(&out.stdout), text(&out.stderr));
    let score = text(&out.stdout);
    assert!(score.contains("8 of 8 hijacks found; 0 false alarms"), "{score}");
}

/// Legitimate bulk mailers of the real world: nobody is accused.
#[test]
fn real_bulk_mailers_are_not_accused() {
    for (name, dialect) in [
        ("fgforrest-pda", "postfix"),
        ("bobagold-postfix-log-parser", "postfix"),
        ("azatot-exim-out", "exim"),
    ] {
        let directory = Path::new("../shared/data/logs").join(name);
        let Ok(entries) = std::fs::read_dir(&directory) else {
            println!("skipped: {} is not here", directory.display());
            continue;
        };
        let mut logs: Vec<String> = Vec::new();
        let mut stack: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        while let Some(path) = stack.pop() {
            if path.is_dir() {
                stack.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if !path.extension().is_some_and(|e| e == "json" || e == "txt" || e == "md") {
                logs.push(path.display().to_string());
            }
        }
        assert!(!logs.is_empty(), "{name}");
        for log in logs {
            let out = portreeve(&["replay", "--as", dialect, &log]);
            assert_eq!(code(&out), 0, "{}", text(&out.stderr));
            assert!(out.stdout.is_empty(), "{log}: {}", text(&out.stdout));
        }
    }
}

/// Sends a signal to a child and waits for its end.
fn interrupt(child: std::process::Child) -> Output {
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    child.wait_with_output().unwrap()
}

fn watch(arguments: &[&str]) -> std::process::Child {
    Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .arg("watch")
        .args(arguments)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap()
}

/// Whether the program has come so far that it catches Ctrl-C, or has ended.
fn catches_signals(id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let mask =
        status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or_default().trim().to_owned();
    let ended = status.is_empty() || status.contains("State:\tZ");
    ended || u64::from_str_radix(&mask, 16).is_ok_and(|mask| mask & (1 << 1) != 0)
}

/// Waits until a condition holds, for at most a minute.
fn until(holds: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed().as_secs() < 60, "it never came");
        std::thread::yield_now();
    }
}

/// A log that is followed raises the alerts that a replay of it raises; Ctrl-C drains, and a second run with the
/// same state goes on behind what was read.
#[test]
fn a_followed_log_is_judged_and_ctrl_c_drains() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let relay =
        files("logs").into_iter().find(|path| path.contains("mx-out2") && !path.ends_with(".gz")).unwrap();
    let config = world().join("portreeve.toml").display().to_string();
    let (log, state) = (path("mail.log"), path("state"));
    std::fs::copy(&relay, &log).unwrap();
    let sink = format!(
        "{}\n[[sink]]\ntype = \"file\"\npath = {:?}\n",
        std::fs::read_to_string(&config).unwrap(),
        path("alerts")
    );
    std::fs::write(path("portreeve.toml"), sink).unwrap();
    let replayed = replay(&["-q"], std::slice::from_ref(&log));
    let wanted = text(&replayed.stdout).lines().filter(|line| line.contains("\"change\":\"opened\"")).count();
    assert!(wanted > 0, "the log holds no hijack");
    let opened = || {
        let alerts = std::fs::read_to_string(path("alerts")).unwrap_or_default();
        alerts.lines().filter(|line| line.contains("\"change\":\"opened\"")).count()
    };
    let arguments = ["-c", &path("portreeve.toml"), "-l", &log, "--state", &state, "--from-start"];
    let child = watch(&arguments);
    until(|| opened() >= wanted);
    let out = interrupt(child);
    assert_eq!(code(&out), 0, "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("incidents opened"), "{}", text(&out.stderr));
    let before = std::fs::read_to_string(path("alerts")).unwrap();
    let child = watch(&arguments);
    until(|| catches_signals(child.id()));
    let out = interrupt(child);
    assert_eq!(code(&out), 0, "{}", text(&out.stderr));
    assert_eq!(std::fs::read_to_string(path("alerts")).unwrap(), before, "something was judged twice");
}

/// An interface without traffic lets Ctrl-C through. Needs the right to capture.
#[test]
fn a_quiet_interface_lets_ctrl_c_through() {
    let child = watch(&["-i", "lo"]);
    until(|| catches_signals(child.id()));
    let out = interrupt(child);
    let error = text(&out.stderr);
    if error.contains("may not capture") {
        println!("skipped: this user may not capture packets");
        return;
    }
    assert_eq!(code(&out), 0, "{error}");
    assert!(error.contains("watching interface lo"), "{error}");
}
