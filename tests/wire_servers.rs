//! Against real servers: odd dialogues with Postfix, Exim and OpenSMTPD over a veth, captured as a sensor would. The
//! messages that the wire counts as accepted, and the recipients of each, are those of the server's own queue log.
//!
//! Each server runs in namespaces of its own. Needs root, `unshare`, `ip` and the server: Postfix installed; Exim and
//! OpenSMTPD, which Debian cannot install beside it, are fetched and unpacked below /var/cache/portreeve-lab. Says so
//! and passes where something is missing. `PORTREEVE_SERVER_DIALOGUES` (40), `PORTREEVE_SERVER_SEED` (1); `PORTREEVE_SERVER_CAPTURE` keeps the capture there.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod servers_support;

use portreeve::capture::{Live, LiveSettings};
use portreeve::company::Company;
use portreeve::observation::{Fact, Observation};
use portreeve::smtp::{WireRoad, WireSettings};
use portreeve::time::CivilClock;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use servers_support::{
    INSIDE, in_namespaces, ip, missing, number, start_postfix, unpacked_exim, unpacked_opensmtpd, users,
};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SERVER: &str = "203.0.113.7:25";
const CALLERS: u64 = 8;
/// Silence after which a server has said all that it will.
const QUIET: Duration = Duration::from_millis(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mta {
    Postfix,
    Exim,
    OpenSmtpd,
}

/// What a client does next.
enum Act {
    Say(Vec<u8>),
    /// Waits until the server has said all that it will.
    Listen,
    Leave,
    Break,
}

struct Script {
    acts: Vec<Act>,
    number: u64,
    recipients: u32,
    chunking: bool,
}

impl Script {
    /// A client's whole dialogue.
    fn random(number: u64, mta: Mta, dice: &mut ChaCha8Rng) -> Script {
        let chunking = mta != Mta::OpenSmtpd;
        let mut script = Script { acts: vec![Act::Listen], number, recipients: 0, chunking };
        let hello = ["EHLO pc.example.net", "HELO pc.example.net", "ehlo [192.0.2.9]"];
        script.line(hello[dice.random_range(0..3)], dice, 1.0);
        for _ in 0..dice.random_range(1..5) {
            script.mail(dice);
            if dice.random_bool(0.06) {
                break;
            }
        }
        // A server whose client went away may have queued what it could not say.
        script.acts.push(Act::Listen);
        match dice.random_range(0..8) {
            0 => script.acts.push(Act::Leave),
            1 => script.acts.push(Act::Break),
            _ => script.line("QUIT", dice, 1.0),
        }
        script
    }

    /// A line; listens behind it with some probability.
    fn line(&mut self, text: &str, dice: &mut ChaCha8Rng, listens: f64) {
        let end = if dice.random_bool(0.03) { "\n" } else { "\r\n" };
        self.acts.push(Act::Say([text.as_bytes(), end.as_bytes()].concat()));
        if dice.random_bool(listens) {
            self.acts.push(Act::Listen);
        }
    }

    fn noise(&mut self, dice: &mut ChaCha8Rng, listens: f64) {
        let long = format!("NOOP {}", "x".repeat(600));
        let noise = [
            "NOOP",
            "FOO bar",
            "VRFY somebody",
            "HELP",
            "rset now",
            "AUTH PLAIN AGEAYg==",
            &long,
            "XCLIENT a=b",
        ];
        while dice.random_bool(0.15) {
            self.line(noise[dice.random_range(0..noise.len())], dice, listens);
        }
    }

    fn mail(&mut self, dice: &mut ChaCha8Rng) {
        let listens = if dice.random_bool(0.4) { 0.0 } else { 1.0 };
        self.noise(dice, listens);
        let from = [
            "MAIL FROM:<a@example.net>",
            "MAIL FROM: <a@example.net>",
            "mail from:<b.c@example.net>",
            "MAIL FROM:<>",
            "MAIL FROM:<a@example.net> ",
        ];
        self.line(from[dice.random_range(0..from.len())], dice, listens);
        if dice.random_bool(0.05) {
            self.line("MAIL FROM:<again@example.net>", dice, listens);
        }
        for _ in 0..dice.random_range(0..5) {
            self.noise(dice, listens);
            let (number, recipient) = (self.number, self.recipients);
            let text = match dice.random_range(0..12) {
                0 => "RCPT TO:<stranger@elsewhere.example>".to_owned(),
                1 => "RCPT TO:<broken".to_owned(),
                2 => format!("rcpt to: <n{number}r{recipient}@example.org>"),
                _ => format!("RCPT TO:<n{number}r{recipient}@example.org>"),
            };
            self.recipients += 1;
            self.line(&text, dice, listens);
        }
        match dice.random_range(0..20) {
            0 => return self.line("RSET", dice, listens),
            1 => return self.line("EHLO again.example.net", dice, 1.0),
            _ => {}
        }
        if self.chunking && dice.random_bool(0.3) {
            return self.chunks(dice, listens);
        }
        self.line("DATA", dice, 1.0);
        let mut body = b"Subject: x\r\n\r\n".to_vec();
        for _ in 0..dice.random_range(0..12) {
            body.extend_from_slice(body_line(dice));
        }
        if dice.random_bool(0.04) {
            // Goes away inside the message: it was never accepted.
            self.acts.push(Act::Say(body));
            self.acts.push(if dice.random() { Act::Leave } else { Act::Break });
            return;
        }
        body.extend_from_slice(b"\r\n.\r\n");
        self.acts.push(Act::Say(body));
        if listens > 0.0 || dice.random_bool(0.7) {
            self.acts.push(Act::Listen);
        }
    }

    fn chunks(&mut self, dice: &mut ChaCha8Rng, listens: f64) {
        let count = dice.random_range(1..4);
        for chunk in 0..count {
            let mut bytes = Vec::new();
            for _ in 0..dice.random_range(0..6) {
                bytes.extend_from_slice(body_line(dice));
            }
            let last = if chunk + 1 == count { " LAST" } else { "" };
            let verb = if dice.random_bool(0.1) { "bdat" } else { "BDAT" };
            let head = format!("{verb} {}{last}\r\n", bytes.len());
            self.acts.push(Act::Say([head.as_bytes(), &bytes].concat()));
            if listens > 0.0 {
                self.acts.push(Act::Listen);
            }
            if dice.random_bool(0.04) {
                return self.line("RSET", dice, 1.0);
            }
        }
        self.acts.push(Act::Listen);
    }
}

fn body_line(dice: &mut ChaCha8Rng) -> &'static [u8] {
    const LINES: [&[u8]; 13] = [
        b"ordinary text\r\n",
        b"..\r\n",
        b"..stuffed\r\n",
        b". not an end\r\n",
        b"RCPT TO:<inside@example.org>\r\n",
        b"MAIL FROM:<inside@example.org>\r\nDATA\r\n",
        b"250 2.0.0 Ok: queued as 4Bfz12k3LmzQ\r\n",
        b"bare line feed\n",
        b"\r\n",
        b"carriage\rreturn\r\n",
        b"\xff\xfe\xc3\xa9\r\n",
        b"QUIT\r\n",
        &[b'x'; 990],
    ];
    LINES[dice.random_range(0..LINES.len())]
}

/// Holds a dialogue. Chunks of any size: what is said together need not come together.
fn hold(script: &Script, dice: &mut ChaCha8Rng) {
    let Ok(mut stream) = TcpStream::connect(SERVER) else { return };
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(QUIET)).unwrap();
    let chunk = [1, 7, 100, 100_000][dice.random_range(0..4)];
    let mut waiting: Vec<u8> = Vec::new();
    for act in &script.acts {
        match act {
            Act::Say(bytes) => waiting.extend_from_slice(bytes),
            Act::Listen => {
                if !say(&mut stream, &waiting, chunk) || !listen(&mut stream) {
                    return;
                }
                waiting.clear();
            }
            Act::Leave => break,
            Act::Break => {
                let _ = say(&mut stream, &waiting, chunk);
                let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
                let _ = nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger);
                return;
            }
        }
    }
    if say(&mut stream, &waiting, chunk) {
        let _ = stream.shutdown(std::net::Shutdown::Write);
        listen(&mut stream);
    }
}

fn say(stream: &mut TcpStream, bytes: &[u8], chunk: usize) -> bool {
    bytes.chunks(chunk).all(|part| stream.write_all(part).is_ok())
}

/// Reads until the server is quiet behind a whole line. `false` where it closed.
fn listen(stream: &mut TcpStream) -> bool {
    let until = Instant::now() + Duration::from_secs(1);
    let (mut buffer, mut last) = ([0; 4_096], 0);
    while Instant::now() < until {
        match stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(read) => last = buffer[read - 1],
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                if last == b'\n' {
                    return true;
                }
            }
            Err(_) => return false,
        }
    }
    true
}

/// Plays all dialogues from a network namespace of their own, behind the veth.
fn converse(mta: Mta) {
    let (tell, told) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let callers = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        tell.send(nix::unistd::gettid()).unwrap();
        wait.recv().unwrap();
        for words in [
            "link set lo up",
            "link set v0 up",
            "address add 192.0.2.9/24 dev v0",
            "route add default dev v0",
        ] {
            ip(words);
        }
        let (count, seed) = (number("PORTREEVE_SERVER_DIALOGUES", 40), number("PORTREEVE_SERVER_SEED", 1));
        let next = Arc::new(AtomicU64::new(0));
        // Threads begin in the namespace of the thread that starts them.
        let threads: Vec<_> = (0..CALLERS)
            .map(|_| {
                let next = Arc::clone(&next);
                std::thread::spawn(move || {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            break;
                        }
                        let mut dice = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(1_000_003) + number);
                        let script = Script::random(number, mta, &mut dice);
                        hold(&script, &mut dice);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    ip(&format!("link set v0 netns {}", told.recv().unwrap()));
    go.send(()).unwrap();
    callers.join().unwrap();
}

/// Reads the interface until told to stop and nothing more waits.
fn watch(stop: &AtomicBool) -> (Vec<Observation>, u64) {
    let settings = LiveSettings { snaplen: 4_096, ..LiveSettings::default() };
    let mut live = Live::open("v1", &settings).unwrap();
    let company = Company::new(vec!["192.0.2.0/24".parse().unwrap()], &[], vec![], CivilClock::utc());
    let mut road = WireRoad::new(Arc::new(company), WireSettings::default());
    let mut out = Vec::new();
    let mut quiet_since = Instant::now();
    let mut kept = std::env::var_os("PORTREEVE_SERVER_CAPTURE").map(|path| fs::File::create(path).unwrap());
    if let Some(file) = &mut kept {
        let header = [0xa1b2_c3d4u32, 4 << 16 | 2, 0, 0, 262_144, 1];
        file.write_all(&header.map(u32::to_le_bytes).concat()).unwrap();
    }
    loop {
        if let Some(packet) = live.next().unwrap() {
            if let Some(file) = &mut kept {
                let (micros, length) = (packet.at.as_micros(), packet.bytes.len() as u32);
                let header =
                    [(micros / 1_000_000) as u32, (micros % 1_000_000) as u32, length, packet.original_bytes];
                file.write_all(&[&header.map(u32::to_le_bytes).concat(), packet.bytes].concat()).unwrap();
            }
            road.packet(&packet, &mut out);
            quiet_since = Instant::now();
        } else if stop.load(Ordering::Relaxed) && quiet_since.elapsed() > Duration::from_millis(500) {
            break;
        }
    }
    road.finish(&mut out);
    (out, live.stats().unwrap().dropped)
}

/// Recipients by queue id.
type Accepted = BTreeMap<String, u32>;

fn from_wire(out: &[Observation]) -> Accepted {
    let mut accepted = Accepted::new();
    for observation in out {
        if let Fact::Message(message) = &observation.fact
            && message.accepted == Some(true)
        {
            let id = message.queue_id.as_ref().map_or_else(|| "-".to_owned(), |id| id.to_lossy());
            *accepted.entry(id).or_default() += message.recipients;
        }
    }
    accepted
}

fn from_log(mta: Mta, log: &str) -> Accepted {
    let after = |line: &str, key: &str| Some(line.split_once(key)?.1.split([' ', ',']).next()?.to_owned());
    let mut accepted = Accepted::new();
    for line in log.lines() {
        let found = match mta {
            Mta::Postfix if line.contains("(queue active)") => {
                let id = line.split_once("/qmgr[").and_then(|(_, rest)| rest.split(": ").nth(1));
                id.zip(after(line, "nrcpt=")).map(|(id, count)| (id.to_owned(), count.parse().unwrap()))
            }
            Mta::Exim if line.contains(" <= ") => {
                let id = line.split(' ').nth(2).unwrap().to_owned();
                Some((id, line.rsplit_once(" for ").unwrap().1.split(' ').count() as u32))
            }
            Mta::OpenSmtpd if line.contains(" smtp message ") => after(line, "msgid=")
                .zip(after(line, "nrcpt="))
                .map(|(id, count)| (id, count.parse().unwrap())),
            _ => None,
        };
        accepted.extend(found);
    }
    accepted
}

fn inside(mta: Mta) {
    let folder = tempfile::Builder::new().prefix("portreeve-server").tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (mut child, log) = match mta {
        Mta::Postfix => (None, postfix(folder.path())),
        Mta::Exim => {
            let (child, log) = start_exim(folder.path());
            (Some(child), log)
        }
        Mta::OpenSmtpd => {
            let (child, log) = start_opensmtpd(folder.path());
            (Some(child), log)
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || watch(&stop)
    });
    std::thread::sleep(Duration::from_millis(500));
    converse(mta);
    stop.store(true, Ordering::Relaxed);
    let (out, dropped) = watcher.join().unwrap();
    assert_eq!(dropped, 0, "the capture lost packets");
    if let Some(child) = &mut child {
        let _ = child.kill();
        let _ = child.wait();
    }
    let (wire, log) = (from_wire(&out), fs::read(&log).unwrap());
    let log = from_log(mta, &String::from_utf8_lossy(&log));
    let delivered = |observation: &&Observation| {
        matches!(&observation.fact, Fact::Delivery(delivery)
            if delivery.reply.as_ref().is_some_and(|reply| reply.code.is_some_and(|code| code / 100 == 2)))
    };
    let deliveries = out.iter().filter(delivered).count();
    let recipients = log.values().sum::<u32>();
    let differs: Vec<_> = log.keys().chain(wire.keys()).filter(|id| log.get(*id) != wire.get(*id)).collect();
    eprintln!(
        "{mta:?}: {} messages for {recipients} recipients in the server's log; on the wire {} for {}, {deliveries} \
         deliveries accepted",
        log.len(),
        wire.len(),
        wire.values().sum::<u32>(),
    );
    for id in &differs {
        eprintln!("  {id}: log {:?}, wire {:?}", log.get(*id), wire.get(*id));
    }
    assert!(differs.is_empty() && !log.is_empty());
    assert_eq!(deliveries as u32, recipients);
}

fn postfix(folder: &Path) -> PathBuf {
    let log = start_postfix(
        folder,
        &[],
        "myhostname = mx.example.org\nmynetworks =\nrelay_domains = example.org\ninet_interfaces = 203.0.113.7\n\
         local_recipient_maps =\ndefault_transport = discard\nrelay_transport = discard\n\
         smtpd_error_sleep_time = 0\nsmtpd_hard_error_limit = 1000\nsmtpd_soft_error_limit = 1000\n\
         smtpd_junk_command_limit = 1000\nsmtpd_client_connection_count_limit = 0\n\
         smtpd_recipient_restrictions = reject_unauth_destination\n",
        "25 inet n - n - - smtpd\n",
    );
    wait_for_server();
    log
}

fn start_exim(folder: &Path) -> (Child, PathBuf) {
    for name in ["spool", "log"] {
        fs::create_dir_all(folder.join(name)).unwrap();
        assert!(Command::new("chown").arg("Debian-exim").arg(folder.join(name)).status().unwrap().success());
    }
    let conf = format!(
        "primary_hostname = mx.example.org\nspool_directory = {0}/spool\nlog_file_path = {0}/log/%slog\n\
         pid_file_path = {0}/spool/exim.pid\ndaemon_smtp_ports = 25\nlocal_interfaces = 203.0.113.7\n\
         tls_advertise_hosts =\nacl_smtp_rcpt = rcpt\nacl_smtp_data = all\nchunking_advertise_hosts = *\n\
         rfc1413_query_timeout = 0s\nlog_selector = +received_recipients\nqueue_only = true\nhost_lookup =\n\
         smtp_accept_max = 0\nsmtp_accept_queue_per_connection = 0\nsmtp_accept_max_nonmail = 1000\nkeep_environment =\n\
         smtp_max_unknown_commands = 1000\nsmtp_max_synprot_errors = 1000\n\
         begin acl\nrcpt:\n accept domains = example.org\n deny\nall:\n accept\n\
         begin routers\nout:\n driver = manualroute\n transport = out\n route_list = * 203.0.113.99\n\
         begin transports\nout:\n driver = smtp\n",
        folder.display()
    );
    let path = folder.join("exim.conf");
    fs::write(&path, conf).unwrap();
    let child = Command::new("/usr/sbin/exim4").arg("-C").arg(&path).arg("-bdf").spawn().unwrap();
    wait_for_server();
    (child, folder.join("log/mainlog"))
}

fn start_opensmtpd(folder: &Path) -> (Child, PathBuf) {
    let conf = "queue ttl 1h\nlisten on 203.0.113.7 port 25 hostname mx.example.org\n\
         action \"out\" relay host smtp://203.0.113.99\nmatch from any for domain \"example.org\" action \"out\"\n";
    let (path, log) = (folder.join("smtpd.conf"), folder.join("smtpd.log"));
    fs::write(&path, conf).unwrap();
    let out = fs::File::create(&log).unwrap();
    let child = Command::new("/usr/sbin/smtpd")
        .arg("-dv")
        .arg("-f")
        .arg(&path)
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .spawn()
        .unwrap();
    wait_for_server();
    (child, log)
}

fn wait_for_server() {
    let started = Instant::now();
    while TcpStream::connect(SERVER).is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "no server");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn postfix_has_queued_what_the_wire_counts() {
    if std::env::var_os(INSIDE).is_some() {
        return inside(Mta::Postfix);
    }
    let postfix = Path::new("/usr/sbin/postfix").exists();
    if let Some(what) = missing().or((!postfix).then_some("Postfix (.ci/install postfix)")) {
        eprintln!("skipped: needs {what}");
        return;
    }
    in_namespaces("postfix_has_queued_what_the_wire_counts", "");
}

#[test]
fn exim_has_queued_what_the_wire_counts() {
    if std::env::var_os(INSIDE).is_some() {
        return inside(Mta::Exim);
    }
    if let Some(what) = missing() {
        eprintln!("skipped: needs {what}");
        return;
    }
    let Some(exim) = unpacked_exim() else {
        eprintln!("skipped: Exim's packages could not be fetched");
        return;
    };
    let users = users("Debian-exim:x:8:8::/tmp:/bin/false\n", "Debian-exim:x:8:\n");
    let overlay =
        format!("mount -t overlay overlay -o lowerdir={}/usr:/usr /usr; {}", exim.display(), users.mount);
    in_namespaces("exim_has_queued_what_the_wire_counts", &overlay);
}

#[test]
fn opensmtpd_has_queued_what_the_wire_counts() {
    if std::env::var_os(INSIDE).is_some() {
        return inside(Mta::OpenSmtpd);
    }
    if let Some(what) = missing() {
        eprintln!("skipped: needs {what}");
        return;
    }
    let Some(smtpd) = unpacked_opensmtpd() else {
        eprintln!("skipped: OpenSMTPD's packages could not be fetched");
        return;
    };
    let users = users(
        "opensmtpd:x:990:990::/var/lib/opensmtpd/empty:/bin/false\nopensmtpq:x:991:991::/var/lib/opensmtpd/empty:/bin/false\n",
        "opensmtpd:x:990:\nopensmtpq:x:991:\n",
    );
    let overlay = format!(
        "mount -t overlay overlay -o lowerdir={}/usr:/usr /usr; mount -t tmpfs -o mode=755 none /var/lib; \
         mkdir -p /var/lib/opensmtpd/empty; mount -t tmpfs -o mode=755 none /var/spool; mkdir -m 711 /var/spool/smtpd; \
         mount -t tmpfs -o mode=755 none /run; {}",
        smtpd.display(),
        users.mount
    );
    in_namespaces("opensmtpd_has_queued_what_the_wire_counts", &overlay);
}
