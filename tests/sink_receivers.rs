//! Real receivers: rsyslog, Postfix, programs. What is not installed is skipped and says so
//! (`apt-get install rsyslog rsyslog-openssl postfix`).

#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod sink_support;

use portreeve::sink::{self, SinkConfig};
use portreeve::store::outbox::Outbox;
use serde_json::Value;
use sink_support::*;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn installed(program: &str) -> bool {
    let found =
        ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|at| Path::new(at).join(program).exists());
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits for something that another process does; ten seconds are for ever.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A certificate for `localhost` and its key, as files.
fn certificate(directory: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

/// An rsyslog that writes every message it understood as one line of JSON.
struct Rsyslog {
    _process: Killed,
    directory: tempfile::TempDir,
    port: u16,
}

impl Rsyslog {
    fn start(transport: &str) -> Rsyslog {
        let directory = tempfile::tempdir().unwrap();
        certificate(directory.path());
        let (port, at) = (free_port(), directory.path().display());
        let input = match transport {
            "udp" => format!("module(load=\"imudp\")\ninput(type=\"imudp\" port=\"{port}\" address=\"127.0.0.1\")"),
            "tcp" => format!("module(load=\"imtcp\")\ninput(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\")"),
            _ => format!(
                "module(load=\"imtcp\" StreamDriver.Name=\"ossl\" StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"anon\")
                 input(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\")"
            ),
        };
        let text = format!(
            "global(workDirectory=\"{at}\" maxMessageSize=\"64k\" parser.escapeControlCharactersOnReceive=\"off\"
                 DefaultNetstreamDriverCAFile=\"{at}/cert.pem\" DefaultNetstreamDriverCertFile=\"{at}/cert.pem\"
                 DefaultNetstreamDriverKeyFile=\"{at}/key.pem\")
             {input}
             template(name=\"json\" type=\"list\") {{ property(name=\"jsonmesg\") constant(value=\"\\n\") }}
             *.* action(type=\"omfile\" file=\"{at}/out.json\" template=\"json\" flushOnTXEnd=\"on\")\n"
        );
        let config = directory.path().join("rsyslog.conf");
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::create(directory.path().join("rsyslog.log")).unwrap();
        let process = Command::new("/usr/sbin/rsyslogd")
            .arg("-n")
            .args([
                "-f".as_ref(),
                config.as_os_str(),
                "-i".as_ref(),
                directory.path().join("pid").as_os_str(),
            ])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let process = Killed(process);
        let bound = || {
            let table = if transport == "udp" { "/proc/net/udp" } else { "/proc/net/tcp" };
            std::fs::read_to_string(table).unwrap().contains(&format!("0100007F:{port:04X}"))
        };
        until("rsyslog", bound);
        Rsyslog { _process: process, directory, port }
    }

    fn messages(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory.path().join("out.json")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).filter(is_ours).collect()
    }
}

fn is_ours(message: &Value) -> bool {
    message["programname"] == "portreeve"
}

fn syslog_config(rsyslog: &Rsyslog, transport: &str) -> SinkConfig {
    config(&format!(
        "type = \"syslog\"\ntransport = {transport:?}\naddress = \"localhost:{}\"\ntls = {{ ca_file = \"{}/cert.pem\" }}",
        rsyslog.port,
        rsyslog.directory.path().display()
    ))
}

#[test]
fn rsyslog_gets_every_alert_over_tcp_and_tls() {
    if !installed("rsyslogd") {
        return;
    }
    for transport in ["tcp", "tls"] {
        let rsyslog = Rsyslog::start(transport);
        let mut world = World::new();
        let sinks = [syslog_config(&rsyslog, transport)];
        world.register(&sinks);
        world.commit(1_200);
        let status = &world.deliver(&sinks, 60)[0];
        assert_eq!(
            (status.delivered, status.unconfirmed, status.trouble.as_deref()),
            (1_200, 0, None),
            "{transport}"
        );
        until("messages", || rsyslog.messages().len() >= 1_200);
        let messages = rsyslog.messages();
        assert_eq!(messages.len(), 1_200);
        for (message, alert) in messages.iter().zip(world.alerts()) {
            let data = message["structured-data"].as_str().unwrap();
            assert!(data.starts_with(&format!("[portreeve@32473 id=\"{}\"", alert.id)), "{data}");
            assert_eq!(message["msg"].as_str().unwrap().trim_start_matches('\u{feff}'), alert.headline);
            assert_eq!(message["syslogfacility"], "4");
        }
    }
}

#[test]
fn rsyslog_gets_datagrams_and_they_count_as_unconfirmed() {
    if !installed("rsyslogd") {
        return;
    }
    let rsyslog = Rsyslog::start("udp");
    let mut world = World::new();
    let sinks = [syslog_config(&rsyslog, "udp")];
    world.register(&sinks);
    world.commit(50);
    let status = &world.deliver(&sinks, 60)[0];
    assert_eq!((status.delivered, status.unconfirmed), (0, 50));
    until("messages", || rsyslog.messages().len() >= 50);
}

#[test]
fn a_tls_receiver_that_cannot_prove_its_name_gets_nothing() {
    if !installed("rsyslogd") {
        return;
    }
    let rsyslog = Rsyslog::start("tls");
    let mut world = World::new();
    let stranger = tempfile::tempdir().unwrap();
    certificate(stranger.path());
    for tls in [
        "tls = {}".to_owned(),
        format!("tls = {{ ca_file = \"{}/cert.pem\" }}", stranger.path().display()),
        format!(
            "tls = {{ ca_file = \"{}/cert.pem\", server_name = \"siem.example\" }}",
            rsyslog.directory.path().display()
        ),
    ] {
        let text = format!(
            "type = \"syslog\"\ntransport = \"tls\"\naddress = \"localhost:{}\"\n{tls}",
            rsyslog.port
        );
        let sinks = [config(&text)];
        world.register(&sinks);
        world.commit(1);
        let delivery = world.start(&sinks);
        until("a failure", || delivery.statuses()[0].failures > 0);
        let status = &delivery.finish(Duration::ZERO)[0];
        assert!(status.trouble.as_ref().unwrap().contains("certificate"), "{status:?}");
    }
    assert!(rsyslog.messages().is_empty());
}

/// A Postfix of its own, that takes mail for example.org into a directory.
struct Postfix {
    directory: tempfile::TempDir,
    port: u16,
}

impl Postfix {
    fn start() -> Option<Postfix> {
        if !installed("postfix") {
            return None;
        }
        if caps::read(None, caps::CapSet::Effective).unwrap().is_empty() {
            eprintln!("skipped: Postfix starts only where root has its powers");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        certificate(directory.path());
        let (port, at) = (free_port(), directory.path().display());
        for name in ["etc", "queue", "data", "box"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let own = |name: &str, user: &str| {
            let path = directory.path().join(name);
            assert!(Command::new("chown").arg(user).arg(path).status().unwrap().success());
        };
        own("data", "postfix");
        own("box", "nobody");
        std::fs::write(directory.path().join("etc/main.cf"), format!(
            "compatibility_level = 3.6\nqueue_directory = {at}/queue\ndata_directory = {at}/data\n\
             myhostname = mx.example.org\nmydestination =\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n\
             mynetworks = 127.0.0.0/8\nvirtual_mailbox_domains = example.org\nvirtual_mailbox_base = {at}/box\n\
             virtual_mailbox_maps = static:soc/\nvirtual_uid_maps = static:65534\nvirtual_gid_maps = static:65534\n\
             virtual_minimum_uid = 1\nmaillog_file = {at}/mail.log\nmaillog_file_prefixes = {at}\n\
             smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {at}/cert.pem\nsmtpd_tls_key_file = {at}/key.pem\n\
             smtpd_peername_lookup = no\nalias_maps =\nalias_database =\n"
        )).unwrap();
        let services = format!(
            "127.0.0.1:{port} inet n - n - - smtpd\npickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\n\
             qmgr unix n - n 300 1 qmgr\nrewrite unix - - n - - trivial-rewrite\nbounce unix - - n - 0 bounce\n\
             defer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\nvirtual unix - n n - - virtual\n\
             error unix - - n - - error\ntlsmgr unix - - n 1000? 1 tlsmgr\nanvil unix - - n - 1 anvil\n\
             showq unix n - n - - showq\npostlog unix-dgram n - n - 1 postlogd\nproxymap unix - - n - - proxymap\n"
        );
        std::fs::write(directory.path().join("etc/master.cf"), services).unwrap();
        let postfix = Postfix { directory, port };
        let output = postfix.command("start");
        if !output.status.success() {
            eprintln!("skipped: Postfix does not start here: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        until("Postfix", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(postfix)
    }

    fn command(&self, what: &str) -> std::process::Output {
        let config = self.directory.path().join("etc");
        Command::new("/usr/sbin/postfix").arg("-c").arg(config).arg(what).output().unwrap()
    }

    fn mails(&self) -> Vec<String> {
        let new = self.directory.path().join("box/soc/new");
        let entries = std::fs::read_dir(new).into_iter().flatten().flatten();
        entries.map(|entry| String::from_utf8(std::fs::read(entry.path()).unwrap()).unwrap()).collect()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        self.command("stop");
    }
}

#[test]
fn postfix_takes_mail_under_starttls_and_python_reads_it() {
    let Some(postfix) = Postfix::start() else { return };
    let mut world = World::new();
    let sinks = [config(&format!(
        "type = \"mail\"\nserver = \"localhost:{}\"\nfrom = \"portreeve@example.org\"\n\
         to = [\"soc@example.org\", \"noc@example.org\"]\ntls = {{ ca_file = \"{}/cert.pem\" }}",
        postfix.port,
        postfix.directory.path().display()
    ))];
    world.register(&sinks);
    world.commit(25);
    let status = &world.deliver(&sinks, 60)[0];
    assert_eq!((status.delivered, status.trouble.as_deref()), (25, None));
    until("mail", || postfix.mails().len() >= 50);
    let mails = postfix.mails();
    let read = |mail: &String| {
        let script = "import sys, email, email.policy\n\
                      m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)\n\
                      assert not m.defects, m.defects\n\
                      print(m['message-id']); print(m['subject']); print(m.get_content(), end='')\n";
        let mut python = Command::new("python3")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        python.stdin.take().unwrap().write_all(mail.as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let mut parts = text.splitn(3, '\n').map(str::to_owned);
        Some((parts.next()?, parts.next()?, parts.next()?))
    };
    let text_form = portreeve::alert::format("text").unwrap();
    let mut seen = BTreeSet::new();
    for mail in &mails {
        let Some((id, subject, body)) = read(mail) else {
            eprintln!("skipped the rest: python3 is not installed");
            return;
        };
        let alert = world.alerts().into_iter().find(|alert| id.contains(&alert.id)).unwrap();
        assert_eq!(subject, "[portreeve] HIGH opened: portreeve");
        assert_eq!(body.trim_end(), (text_form.encode)(&alert).trim_end());
        seen.insert(id);
    }
    assert_eq!(seen.len(), 25);
}

#[test]
fn a_mail_server_without_starttls_gets_no_mail_and_no_password() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"220 mx ESMTP\r\n").unwrap();
        let mut lines = Vec::new();
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            let Ok(line) = line else { break };
            let answer: &[u8] = match line.split(' ').next().unwrap() {
                "EHLO" => b"250-mx\r\n250 AUTH PLAIN LOGIN\r\n",
                _ => b"502 5.5.1 no\r\n",
            };
            lines.push(line);
            stream.write_all(answer).unwrap();
        }
        lines
    });
    let mut world = World::new();
    let secret = world.path().join("password");
    std::fs::write(&secret, "canary").unwrap();
    let sinks = [config(&format!(
        "type = \"mail\"\nserver = \"127.0.0.1:{port}\"\nfrom = \"a@example.org\"\nto = [\"b@example.org\"]\n\
         username = \"a\"\npassword_file = {secret:?}"
    ))];
    world.register(&sinks);
    world.commit(1);
    let delivery = world.start(&sinks);
    until("a failure", || delivery.statuses()[0].failures > 0);
    let status = &delivery.finish(Duration::ZERO)[0];
    assert_eq!(status.delivered, 0);
    assert_eq!(heard.join().unwrap(), ["EHLO localhost", "STARTTLS"]);
    let clear = config(
        "type = \"mail\"\nserver = \"x\"\nsecurity = \"none\"\nfrom = \"a@b\"\nto = [\"c@d\"]\nusername = \"u\"\npassword_env = \"PATH\"",
    );
    assert!(sink::open(&clear).err().unwrap().contains("not sent in clear"));
}

#[test]
fn a_program_gets_the_alert_on_its_input_and_nothing_else() {
    let mut world = World::new();
    let out = world.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let script = world.path().join("take");
    // Keeps its input, arguments and environment; fails the way it is told to for alerts 3 and 5.
    std::fs::write(&script, format!(
        "#!/bin/sh\nrecord=$(cat)\ncase \"$record\" in *'number 3.'*) echo no room >&2; exit 75;; *'number 5.'*) echo never >&2; exit 1;; esac\n\
         printf '%s\\n' \"$record\" >> {0}/records\nprintf '%s|' \"$@\" >> {0}/arguments\nenv >> {0}/environment\n",
        out.display()
    )).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let sinks = [config(&format!(
        "type = \"command\"\nargv = [{script:?}, \"a b\", \"; touch {0}/shell\", \"$(touch {0}/shell)\"]\nname = \"page\"",
        out.display()
    ))];
    world.register(&sinks);
    world.commit(3);
    assert_eq!(world.deliver(&sinks, 60)[0].delivered, 3);
    world.commit(4);
    let delivery = world.start(&sinks);
    until("a failure", || delivery.statuses()[0].failures > 2);
    let status = delivery.finish(Duration::ZERO)[0].clone();
    assert!(status.dead == 0 && status.trouble.unwrap().contains("no room"), "75 is waited for");
    std::fs::write(&script, std::fs::read_to_string(&script).unwrap().replace("exit 75", ":")).unwrap();
    let status = &world.deliver(&sinks, 60)[0];
    assert_eq!((status.delivered, status.dead), (3, 1));
    assert!(Outbox::open(world.path()).unwrap().dead_letters("page").unwrap()[0].reason.contains("never"));
    let records = std::fs::read_to_string(out.join("records")).unwrap();
    let taken: Vec<String> = records
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    let wanted: Vec<String> = [0, 1, 2, 3, 4, 6].map(|n| alert(n).id).to_vec();
    assert_eq!(taken, wanted);
    let arguments = std::fs::read_to_string(out.join("arguments")).unwrap();
    assert!(
        arguments.starts_with(&format!("a b|; touch {0}/shell|$(touch {0}/shell)|", out.display())),
        "{arguments}"
    );
    assert!(!out.join("shell").exists());
    let environment = std::fs::read_to_string(out.join("environment")).unwrap();
    let names: BTreeSet<&str> = environment.lines().filter_map(|line| line.split('=').next()).collect();
    assert!(names.iter().all(|name| ["PATH", "PWD", "SHLVL", "_", "OLDPWD"].contains(name)), "{names:?}");
}

#[test]
fn a_program_that_hangs_is_stopped() {
    let mut world = World::new();
    let sinks = [config("type = \"command\"\nargv = [\"/bin/sleep\", \"1000\"]\ntimeout_seconds = 0.2")];
    world.register(&sinks);
    world.commit(1);
    let delivery = world.start(&sinks);
    until("a failure", || delivery.statuses()[0].failures > 0);
    assert!(delivery.finish(Duration::ZERO)[0].trouble.as_ref().unwrap().contains("too long"));
}

/// A syslog receiver that resets the connection in the middle gets the batch again; none is thought delivered.
#[test]
fn a_stream_that_is_cut_is_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let receiver = std::thread::spawn(move || {
        let mut last = String::new();
        for cut in [0usize, 1, 1_000, usize::MAX] {
            let (mut stream, _) = listener.accept().unwrap();
            last.clear();
            let mut buffer = [0u8; 512];
            // Closing with unread bytes makes the kernel reset the connection.
            while last.len() < cut {
                match stream.read(&mut buffer).unwrap() {
                    0 => break,
                    bytes => last.push_str(std::str::from_utf8(&buffer[..bytes]).unwrap_or("?")),
                }
            }
        }
        last
    });
    let mut world = World::new();
    let sinks = [config(&format!("type = \"syslog\"\naddress = \"127.0.0.1:{port}\"\nformat = \"cef\""))];
    world.register(&sinks);
    world.commit(100);
    let status = &world.deliver(&sinks, 60)[0];
    assert_eq!((status.delivered, status.failures), (100, 3), "{status:?}");
    let stream = receiver.join().unwrap();
    let mut rest = stream.as_str();
    let mut count = 0;
    while let Some((length, after)) = rest.split_once(' ') {
        let length: usize = length.parse().unwrap();
        assert!(after[..length].contains(" - CEF:0|portreeve|"));
        rest = &after[length..];
        count += 1;
    }
    assert_eq!(count, 100);
}
