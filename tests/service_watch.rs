//! The service from outside: reload under load, refusals, rotation, drain, sandbox, metrics, systemd. All of it runs
//! with the sandbox on, as it is by default.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod service_support;

use service_support::{Service, deliveries, free_port, http_get, longest_log, metric, until, world};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn append(path: &Path, bytes: &[u8]) {
    std::fs::File::options().append(true).create(true).open(path).unwrap().write_all(bytes).unwrap();
}

/// Lines are written, the log is rotated and the configuration taken over again and again; at the end exactly the
/// deliveries are judged that a replay of the whole log finds.
#[test]
fn a_reload_under_load_loses_no_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let source = longest_log(&world(directory.path()));
    let bytes = std::fs::read(&source).unwrap();
    let port = free_port();
    let config = |extra: &str| {
        let text = format!(
            "[metrics]\nlisten = \"127.0.0.1:{port}\"\n[[source.log]]\npath = {:?}\n[[sink]]\ntype = \"file\"\npath = {:?}\n{extra}",
            path("mail.log"),
            path("alerts")
        );
        std::fs::write(path("portreeve.toml"), text).unwrap();
    };
    config("");
    append(&path("mail.log"), b"");
    append(&path("other.log"), b"");
    let service =
        Service::watching(&["-c", shown(&path("portreeve.toml")), "--state", shown(&path("state"))]);
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let mut reloads = 0;
    for (index, piece) in lines.chunks(lines.len() / 40 + 1).enumerate() {
        append(&path("mail.log"), &piece.concat());
        if index % 4 == 1 {
            let other = format!("[[source.log]]\npath = {:?}\n", path("other.log"));
            config(if index % 8 == 1 { &other } else { "" });
            assert!(service.reload(), "{}", service.said());
            reloads += 1;
        }
        if index == 20 {
            std::fs::rename(path("mail.log"), path("mail.log.1")).unwrap();
        }
    }
    assert!(reloads >= 9, "{reloads}");
    let all = lines.len() as f64;
    until("every line", || metric(port, "portreeve_lines_total").is_some_and(|read| read >= all));
    let (code, said, _) = service.end();
    assert_eq!(code, Some(0), "{said}");
    let replayed =
        Command::new(env!("CARGO_BIN_EXE_portreeve")).args(["replay", shown(&source)]).output().unwrap();
    let wanted = deliveries(&String::from_utf8_lossy(&replayed.stderr));
    assert!(wanted > 1_000, "{wanted}");
    assert_eq!(deliveries(&said), wanted, "{said}");
}

/// What cannot be taken over is refused as a whole, with the reason; the old configuration stays in force.
#[test]
fn a_wrong_configuration_is_refused_and_the_old_one_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("x.log"), "").unwrap();
    append(&path("mail.log"), b"");
    let port = free_port();
    let good = format!(
        "[metrics]\nlisten = \"127.0.0.1:{port}\"\n[[source.log]]\npath = {:?}\n[[sink]]\ntype = \"file\"\npath = {:?}\n",
        path("mail.log"),
        path("alerts")
    );
    std::fs::write(path("portreeve.toml"), &good).unwrap();
    let service =
        Service::watching(&["-c", shown(&path("portreeve.toml")), "--state", shown(&path("state"))]);
    let outside = format!("{good}[[source.log]]\npath = {:?}\n", elsewhere.path().join("x.log"));
    for (text, says) in [
        ("[company]\nnetwroks = []\n".to_owned(), "did you mean `networks`?"),
        (format!("{good}[[source.log]]\npath = {:?}\n", path("none.log")), "none.log"),
        (format!("{good}[state]\ndirectory = \"/elsewhere\"\n"), "taken over"),
        (format!("{good}[[source.capture]]\ninterface = \"no-such-if0\"\n"), "no-such-if0"),
        (good.replace(&format!(":{port}\""), ":1\""), "metrics, sandbox and web cannot change while running"),
        (outside, "restart the service"),
    ] {
        std::fs::write(path("portreeve.toml"), text).unwrap();
        let taken = service.reload();
        assert!(service.said().contains(says), "{says}: {}", service.said());
        assert_eq!(taken, says == "taken over", "{says}: {}", service.said());
    }
    until("the metric", || metric(port, "portreeve_config_last_reload_successful") == Some(0.0));
    append(&path("mail.log"), b"2026-11-20T10:00:00+00:00 mx postfix/qmgr[1]: 4XyZ1: removed\n");
    until("a line of the old log", || metric(port, "portreeve_lines_total") == Some(1.0));
    std::fs::write(path("portreeve.toml"), &good).unwrap();
    assert!(service.reload());
    until("the metric", || metric(port, "portreeve_config_last_reload_successful") == Some(1.0));
    assert_eq!(service.end().0, Some(0));
}

/// logrotate renames the alert file and sends SIGHUP: every alert is in one of the two files, once.
#[test]
fn a_rotated_alert_file_is_opened_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let world = world(directory.path());
    let bytes = std::fs::read(world.join("logs/mx-out2/mail.log")).unwrap();
    let text = format!(
        "{}\n[[source.log]]\npath = {:?}\n[[sink]]\ntype = \"file\"\npath = {:?}\n",
        std::fs::read_to_string(world.join("portreeve.toml")).unwrap(),
        path("mail.log"),
        path("alerts")
    );
    std::fs::write(path("portreeve.toml"), text).unwrap();
    append(&path("mail.log"), b"");
    let service =
        Service::watching(&["-c", shown(&path("portreeve.toml")), "--state", shown(&path("state"))]);
    let alerts = |name: &str| std::fs::read_to_string(path(name)).unwrap_or_default();
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let mut pieces = lines.chunks(lines.len() / 20 + 1);
    while alerts("alerts").is_empty() {
        append(&path("mail.log"), &pieces.next().unwrap().concat());
        std::thread::sleep(Duration::from_millis(500));
    }
    std::fs::rename(path("alerts"), path("alerts.1")).unwrap();
    assert!(service.reload());
    pieces.for_each(|piece| append(&path("mail.log"), &piece.concat()));
    until("an alert in the new file", || !alerts("alerts").is_empty());
    let (code, said, _) = service.end();
    assert_eq!(code, Some(0), "{said}");
    let both = alerts("alerts.1") + &alerts("alerts");
    let ids: Vec<String> = both
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned()
        })
        .collect();
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), distinct.len(), "an alert stands twice");
    let count = |what: &str| both.matches(what).count();
    let opened =
        said.lines().find(|line| line.starts_with("alerts ")).unwrap().split_whitespace().nth(1).unwrap();
    assert_eq!(opened.parse::<usize>().unwrap(), count("\"change\":\"opened\""), "{said}");
}

/// A receiver that takes the connection and never answers does not hold up the end.
#[test]
fn a_receiver_that_hangs_does_not_delay_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let hang = TcpListener::bind("127.0.0.1:0").unwrap();
    let world = world(directory.path());
    let log = longest_log(&world);
    let text = format!(
        "{}\n[[source.log]]\npath = {log:?}\n[[sink]]\ntype = \"webhook\"\nurl = \"http://127.0.0.1:{}/\"\nallow_networks = [\"127.0.0.0/8\"]\ntimeout_seconds = 60.0\n",
        std::fs::read_to_string(world.join("portreeve.toml")).unwrap(),
        hang.local_addr().unwrap().port(),
    );
    std::fs::write(path("portreeve.toml"), text).unwrap();
    let arguments = ["-c", shown(&path("portreeve.toml")), "--state", shown(&path("state")), "--from-start"]
        .map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let service = Service::watching(&arguments);
    let connection = hang.accept().unwrap();
    let (code, said, took) = service.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop(connection);
}

/// Robustness G2 and G4: after the start every thread is under the filters, without capabilities.
#[test]
fn every_thread_gave_up_its_rights() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    append(&path("mail.log"), b"");
    let service = Service::watching(&["-l", shown(&path("mail.log")), "--state", shown(&path("state"))]);
    let tasks = format!("/proc/{}/task", service.child.id());
    let mut threads = 0;
    for task in std::fs::read_dir(tasks).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_whitespace().nth(1).unwrap_or_default().to_owned()
        };
        assert_eq!(field("NoNewPrivs:"), "1", "{status}");
        assert_eq!(field("Seccomp:"), "2", "{status}");
        for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
            assert_eq!(u64::from_str_radix(&field(set), 16), Ok(0), "{set} {status}");
        }
        threads += 1;
    }
    assert!(threads >= 3, "{threads}");
    let (code, said, _) = service.end();
    assert!(said.contains("sandbox: user"), "{said}");
    assert_eq!(code, Some(0), "{said}");
}

/// Robustness G3: the program tries 25 forbidden acts on itself. Without the sandbox most of them are possible, or the
/// acts would prove nothing.
#[test]
fn twenty_five_forbidden_acts_are_denied() {
    let out = Command::new(env!("CARGO_BIN_EXE_portreeve")).args(["check", "--sandbox"]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    println!("{text}");
    if text.contains("this kernel") {
        println!("skipped in part: this kernel lacks what is named above");
        return;
    }
    assert!(
        text.contains("25 of 25 forbidden acts denied"),
        "{text}\n{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert_eq!(out.status.code(), Some(0), "{text}");
    if caps::read(None, caps::CapSet::Effective).unwrap().is_empty() {
        println!("skipped: without root's powers the counter-test shows little");
        return;
    }
    let bait = tempfile::tempdir().unwrap();
    std::fs::write(bait.path().join(portreeve::sandbox::acts::BAIT), "bait").unwrap();
    let acts = portreeve::sandbox::acts::ACTS;
    let possible = |act: &&portreeve::sandbox::acts::Act| {
        // The namespace and the root directory would be this process's own.
        !["make a user namespace", "change the root directory"].contains(&act.name)
            && act.attempt(bait.path()) != portreeve::sandbox::acts::Outcome::Denied
    };
    let possible = acts.iter().filter(possible).count();
    assert!(possible >= 18, "only {possible} acts are possible without the sandbox");
}

#[test]
fn metrics_and_health_are_told_without_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    append(&path("mail.log"), b"");
    let port = free_port();
    let text = format!(
        "[metrics]\nlisten = \"127.0.0.1:{port}\"\n[[source.log]]\npath = {:?}\n[[sink]]\ntype = \"syslog\"\naddress = \"127.0.0.1:{}\"\n",
        path("mail.log"),
        free_port()
    );
    std::fs::write(path("portreeve.toml"), text).unwrap();
    let service = Service::watching(&["-c", shown(&path("portreeve.toml"))]);
    until("metrics", || metric(port, "portreeve_sandbox").is_some());
    let (status, body) = http_get(port, "/healthz").unwrap();
    assert_eq!(
        (status.as_str(), body.as_str()),
        ("HTTP/1.1 200 OK", "{\"conditions\":[],\"status\":\"ok\"}")
    );
    // `check` beside it asks it what it knows of itself.
    let check = Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .args(["check", "-c", shown(&path("portreeve.toml"))])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    let running = said.lines().find(|line| line.contains("sensor: runs")).unwrap_or_else(|| panic!("{said}"));
    assert!(running.starts_with("ok ") && running.contains("one_way_mirror"), "{running}");
    let (_, page) = http_get(port, "/metrics").unwrap();
    assert!(page.ends_with("# EOF\n"), "{page}");
    assert!(!page.contains("127.0.0.1"), "{page}");
    for name in [
        "portreeve_build_info{version=",
        "portreeve_source_up{source=",
        "portreeve_sink_alerts_waiting{sink=\"1-syslog\"} 0",
        "portreeve_condition_holds{condition=\"packets_dropped\"} 0",
        "portreeve_sandbox{part=\"seccomp\"} 1",
    ] {
        assert!(page.contains(name), "{name}: {page}");
    }
    assert_eq!(service.end().0, Some(0));
}

/// The service manager hears that we are ready, that we live, how we are, that we reload and that we end.
#[test]
fn systemd_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    append(&path("mail.log"), b"");
    let socket = std::os::unix::net::UnixDatagram::bind(path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let notify = path("notify");
    let environment = [("NOTIFY_SOCKET", shown(&notify)), ("WATCHDOG_USEC", "3000000")];
    let service =
        Service::start(&["-l", shown(&path("mail.log")), "--state", shown(&path("state"))], &environment);
    let hear = |word: &str| {
        let mut room = [0; 4_096];
        loop {
            let length = socket.recv(&mut room).unwrap_or_else(|error| panic!("{word}: {error}"));
            if String::from_utf8_lossy(&room[..length]).contains(word) {
                return;
            }
        }
    };
    for word in ["READY=1", "WATCHDOG=1", "STATUS=0 interfaces, 1 logs; all is well"] {
        hear(word);
    }
    service.signal("-HUP");
    hear("RELOADING=1");
    hear("READY=1");
    service.signal("-TERM");
    hear("STOPPING=1");
}

/// A server that takes every message.
fn serve_mail(listener: TcpListener, ends: Arc<AtomicBool>) {
    for stream in listener.incoming() {
        if ends.load(Ordering::Relaxed) {
            return;
        }
        let stream = stream.unwrap();
        std::thread::spawn(move || {
            let mut out = stream.try_clone().unwrap();
            let _ = out.write_all(b"220 mx.example ESMTP\r\n");
            let mut data = false;
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let answer: &[u8] = match line.as_str() {
                    "." if data => {
                        data = false;
                        b"250 2.0.0 Ok: queued\r\n"
                    }
                    _ if data => continue,
                    "DATA" => {
                        data = true;
                        b"354 go on\r\n"
                    }
                    "QUIT" => b"221 2.0.0 Bye\r\n",
                    _ => b"250 2.1.0 Ok\r\n",
                };
                if out.write_all(answer).is_err() {
                    return;
                }
            }
        });
    }
}

/// Sends one message from 127.0.0.2, as a client of the company would.
fn send_mail(port: u16, number: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        socket.connect(([127, 0, 0, 1], port).into()).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    let mut out: TcpStream = stream.try_clone().unwrap();
    let mut answers = BufReader::new(stream).lines();
    assert!(answers.next().unwrap().unwrap().starts_with("220"));
    for command in [
        "EHLO client.example".to_owned(),
        "MAIL FROM:<a@example.com>".to_owned(),
        format!("RCPT TO:<r{number}@elsewhere.example>"),
        "DATA".to_owned(),
        "Subject: hello\r\n\r\nhello\r\n.".to_owned(),
        "QUIT".to_owned(),
    ] {
        out.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        answers.next().unwrap().unwrap();
    }
}

/// Messages go over the wire while the configuration is taken over again and again: each is seen once.
#[test]
fn a_reload_under_load_loses_no_packet() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (smtp, port) = (server.local_addr().unwrap().port(), free_port());
    append(&path("mail.log"), b"");
    let config = |log: bool| {
        let log =
            if log { format!("[[source.log]]\npath = {:?}\n", path("mail.log")) } else { String::new() };
        let text = format!(
            "[company]\nnetworks = [\"127.0.0.2/32\"]\n[metrics]\nlisten = \"127.0.0.1:{port}\"\n[[source.capture]]\ninterface = \"lo\"\nports = [{smtp}]\n[[sink]]\ntype = \"file\"\npath = {:?}\n{log}",
            path("alerts"),
        );
        std::fs::write(path("portreeve.toml"), text).unwrap();
    };
    config(true);
    let service =
        Service::start(&["-c", shown(&path("portreeve.toml")), "--state", shown(&path("state"))], &[]);
    service.until_said("watching, ");
    if service.said().contains("may not capture") {
        println!("skipped: this user may not capture packets");
        return;
    }
    let ends = Arc::new(AtomicBool::new(false));
    let serving = std::thread::spawn({
        let ends = Arc::clone(&ends);
        move || serve_mail(server, ends)
    });
    const MESSAGES: usize = 200;
    let sending = std::thread::spawn(move || (0..MESSAGES).for_each(|number| send_mail(smtp, number)));
    let mut reloads = 0;
    while !sending.is_finished() {
        config(reloads % 2 == 0);
        assert!(service.reload(), "{}", service.said());
        reloads += 1;
    }
    sending.join().unwrap();
    until("every delivery", || {
        metric(port, "portreeve_deliveries_total").is_some_and(|seen| seen >= MESSAGES as f64)
    });
    assert_eq!(metric(port, "portreeve_packets_dropped_total"), Some(0.0));
    let (code, said, _) = service.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(deliveries(&said), MESSAGES as u64, "{reloads} reloads: {said}");
    ends.store(true, Ordering::Relaxed);
    let _ = TcpStream::connect(("127.0.0.1", smtp));
    serving.join().unwrap();
    println!("{reloads} reloads during {MESSAGES} messages");
}
