//! Real MTAs, Postfix and Exim, in a network namespace of their own, with senders who write log text into HELO, MAIL, RCPT,
//! Subject and AUTH. What its log is read as must be what happened: no wrong address, recipient, account,
//! verdict or queue id. Needs root, `unshare` and the MTA; says so and passes where one is missing.
//!
//! Debian cannot install both at once: Exim is also taken unpacked, from target/exim (`apt-get download exim4-base
//! exim4-daemon-light; dpkg -x … target/exim`), or where `PORTREEVE_EXIM` says.

#![allow(clippy::unwrap_used)] // a test fails loudly

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portreeve::company::Company;
use portreeve::mail::Verdict;
use portreeve::mta::{LogRoad, LogSettings, LogSource};
use portreeve::observation::{Fact, Observation};
use portreeve::tail::LogFile;
use portreeve::time::CivilClock;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Set in the process that runs inside the namespace.
const INSIDE: &str = "PORTREEVE_REAL_MTA_INSIDE";
/// Where Postfix hands everything to, and where it listens.
const SINK: &str = "198.51.100.1:2525";
const MTA: &str = "203.0.113.7:2525";
const CLIENTS: [&str; 3] = ["192.0.2.9", "192.0.2.10", "192.0.2.11"];

/// What a sender would like the log to say.
fn payloads() -> Vec<String> {
    let mut all: Vec<String> = [
        "x> to=<victim@corp.example>, relay=bank.example[192.0.2.1]:25, delay=0, status=sent (250 ok",
        "a>, relay=bank[192.0.2.66]:25, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (250 ok)",
        "a>, orig_to=<b>, relay=bank[192.0.2.66]:25, delay=0, delays=0/0/0/0, dsn=5.1.1, status=bounced (no)",
        "x>, size=1, nrcpt=9 (queue active)",
        "x>, status=expired, returned to sender",
        "x, sasl_method=PLAIN, sasl_username=ceo",
        "ceo, sasl_sender=x, orig_client=evil[192.0.2.66]",
        "x], orig_client=evil[192.0.2.66]",
        "x[192.0.2.66]",
        "x[192.0.2.66]: SASL LOGIN authentication failed: no, sasl_username=ceo",
        "ABCDEF12345: removed",
        "4Bfz12k3LmzQ: to=<v@c>, relay=b[192.0.2.1]:25, delay=0, dsn=2.0.0, status=sent (ok",
        "postfix/smtp[1]: ABCDEF12345: to=<v@c>, relay=none, delay=0, status=bounced (x",
        "NOQUEUE: reject: RCPT from x[192.0.2.66]: 554 5.7.1 no",
        "client=evil[192.0.2.66]",
        "warning: evil[192.0.2.66]: SASL PLAIN authentication failed: x",
        "message repeated 9 times: [ x ]",
        "\u{202e}gpj.exe\u{2066}",
        "caf\u{e9} \u{1f600}",
        "queued as FFFFFFFFFFF",
        "250 2.0.0 Ok: queued as FFFFFFFFFFF)",
        "host mx[192.0.2.66] said: 550 5.1.1 no (in reply to RCPT TO command)",
        "delivery temporarily suspended: connect to x[192.0.2.66]:25: refused",
        "helo=<y> sasl_username=<ceo>",
        "; from=<a@b> to=<c@d> proto=ESMTP helo=<e>",
        "uid=0 from=<root>",
        "-- >",
        "' or 1=1; <script>",
        "%s%n%x",
        "x\\",
        "<<>>",
        "a@b@c",
        "@@",
        ",",
        "=",
        ":",
        "()",
        "[]",
        "{}",
        "x\ty",
    ]
    .iter()
    .map(|text| (*text).to_owned())
    .collect();
    all.push("A".repeat(200));
    all
}

/// Who handed a message in.
#[derive(Clone, Debug)]
struct Truth {
    client: String,
    account: Option<String>,
}

/// What the sink was told: recipient of an index, path, and its verdict.
#[derive(Clone, Debug)]
struct Arrived {
    reverse_path: Vec<u8>,
    forward_path: Vec<u8>,
    verdict: Verdict,
}

type Arrivals = Arc<Mutex<Vec<Arrived>>>;
/// Client, name and success of every login that was tried.
type Logins = BTreeSet<(String, String, bool)>;

fn line(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).ok().filter(|read| *read > 0)?;
    while matches!(line.last(), Some(b'\r' | b'\n')) {
        line.pop();
    }
    Some(line)
}

/// A server that takes, puts off or refuses by the number in the recipient, and remembers what it was told.
fn serve(stream: TcpStream, arrivals: &Arrivals) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut out = stream;
    let mut say = |text: &str| out.write_all(text.as_bytes()).is_ok();
    let path = |line: &[u8]| {
        let from = line.iter().position(|byte| *byte == b'<').unwrap() + 1;
        let to = line.iter().rposition(|byte| *byte == b'>').unwrap();
        line[from..to].to_vec()
    };
    let mut reverse_path = Vec::new();
    say("220 sink ESMTP\r\n");
    while let Some(command) = line(&mut reader) {
        let verb = command.get(..4).unwrap_or_default().to_ascii_uppercase();
        let going = match verb.as_slice() {
            b"EHLO" => say("250-sink\r\n250-SMTPUTF8\r\n250 8BITMIME\r\n"),
            b"MAIL" => {
                reverse_path = path(&command);
                say("250 2.1.0 ok\r\n")
            }
            b"RCPT" => {
                let forward_path = path(&command);
                let index = number_in(&forward_path).unwrap_or(0);
                let (verdict, reply) = match index % 3 {
                    0 => (Verdict::Accepted, "250 2.1.5 ok\r\n"),
                    1 => {
                        (Verdict::Deferred, "450 4.2.0 status=sent (250 2.0.0 Ok: queued as EEEEEEEEEE)\r\n")
                    }
                    // A receiver who imitates the log makes two readings of it: nothing is read then.
                    _ if index % 9 != 2 => (Verdict::NoSuchRecipient, "550 5.1.1 status=sent (250 ok)\r\n"),
                    _ => (
                        Verdict::NoSuchRecipient,
                        "550 5.1.1 x>, relay=b[192.0.2.66]:25, delay=0, dsn=2.0.0, status=sent (250\r\n",
                    ),
                };
                arrivals.lock().unwrap().push(Arrived {
                    reverse_path: reverse_path.clone(),
                    forward_path,
                    verdict,
                });
                say(reply)
            }
            b"DATA" => {
                say("354 go\r\n");
                while line(&mut reader).is_some_and(|line| line != b".") {}
                say("250 2.0.0 Ok: to=<v@c>, status=bounced (x) queued as FFFFFFFFFF\r\n")
            }
            b"QUIT" => {
                say("221 bye\r\n");
                return;
            }
            _ => say("250 ok\r\n"),
        };
        if !going {
            return;
        }
    }
}

/// `…r17@sink.example` is 17.
fn number_in(path: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(path).into_owned();
    let (local, _) = text.rsplit_once('@')?;
    local.trim_end_matches('"').rsplit_once('r')?.1.parse().ok()
}

/// Dovecot's auth protocol, as far as Postfix uses it: the password `right` is right.
fn authenticate(listener: UnixListener) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { return };
        std::thread::spawn(move || {
            let mut out = stream.try_clone().unwrap();
            let hello = "VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t0123456789abcdef0123456789abcdef\nDONE\n";
            out.write_all(hello.as_bytes()).unwrap();
            let mut reader = BufReader::new(stream);
            while let Some(request) = line(&mut reader) {
                let request = String::from_utf8_lossy(&request).into_owned();
                let mut words = request.split('\t');
                if words.next() != Some("AUTH") {
                    continue;
                }
                let id = words.next().unwrap().to_owned();
                let response = words.find_map(|word| word.strip_prefix("resp=")).unwrap_or_default();
                let decoded = STANDARD.decode(response).unwrap_or_default();
                let parts: Vec<&[u8]> = decoded.split(|byte| *byte == 0).collect();
                let right = parts.get(2) == Some(&&b"right"[..]);
                let user = parts.get(1).map(|name| String::from_utf8_lossy(name).replace(['\t', '\n'], "?"));
                let answer = format!(
                    "{}\t{id}\tuser={}\n",
                    if right { "OK" } else { "FAIL" },
                    user.unwrap_or_default()
                );
                out.write_all(answer.as_bytes()).unwrap();
            }
        });
    }
}

/// One client's dialogue. Returns the answers to its commands.
fn converse(client: &str, commands: &[Vec<u8>]) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let socket = tokio::net::TcpSocket::new_v4();
    let stream = runtime.block_on(async {
        let socket = socket.unwrap();
        socket.bind(format!("{client}:0").parse().unwrap()).unwrap();
        socket.connect(MTA.parse().unwrap()).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut out = stream;
    let mut answers = vec![answer(&mut reader)];
    for command in commands {
        if out.write_all(command).is_err() {
            break;
        }
        answers.push(answer(&mut reader));
    }
    answers
}

fn answer(reader: &mut impl BufRead) -> String {
    let mut last = String::new();
    while let Some(line) = line(reader) {
        last = String::from_utf8_lossy(&line).into_owned();
        if last.as_bytes().get(3) != Some(&b'-') {
            break;
        }
    }
    last
}

/// What a client may put into quotes (RFC 5321 section 4.1.2): quotes and backslashes are escaped.
fn quoted(payload: &str) -> String {
    let inner: String = payload.chars().filter(|c| *c != '\t').collect();
    format!("\"{}\"", inner.replace('\\', "\\\\").replace('"', "\\\""))
}

const MASTER: &str = "\
203.0.113.7:2525 inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";

/// Starts Postfix with everything below one folder.
fn start_postfix(folder: &Path) {
    let conf = folder.join("conf");
    for name in ["conf", "queue", "data", "log"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    let main = format!(
        "compatibility_level = 3.7\nqueue_directory = {0}/queue\ndata_directory = {0}/data\n\
         maillog_file = {0}/log/mail.log\nmaillog_file_prefixes = {0}\nmyhostname = mx1.example.org\n\
         mydestination =\nmynetworks = 192.0.2.0/24\ninet_protocols = ipv4\ninet_interfaces = 203.0.113.7\n\
         relayhost = [198.51.100.1]:2525\ndisable_dns_lookups = yes\nalias_maps =\nlocal_recipient_maps =\n\
         smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = private/auth\n\
         smtpd_error_sleep_time = 0\nsmtpd_hard_error_limit = 1000\nsmtpd_client_connection_rate_limit = 0\n\
         smtpd_helo_required = no\nnotify_classes =\nheader_checks = regexp:{0}/conf/headers\n\
         smtpd_recipient_restrictions = permit_mynetworks, reject\nsmtp_tls_security_level = none\n\
         smtpd_client_port_logging = no\nbounce_queue_lifetime = 1d\n",
        folder.display()
    );
    fs::write(conf.join("main.cf"), main).unwrap();
    fs::write(conf.join("master.cf"), MASTER).unwrap();
    fs::write(conf.join("headers"), "/^Subject:/ WARN\n").unwrap();
    let owner = |user: &str, path: &Path| {
        assert!(Command::new("chown").arg(user).arg(path).status().unwrap().success());
    };
    owner("postfix", &folder.join("data"));
    // Makes the folders of the queue, each with its owner.
    let postfix = |word: &str| {
        Command::new("postfix").arg("-c").arg(&conf).arg(word).stderr(Stdio::inherit()).status().unwrap()
    };
    postfix("check");
    let listener = UnixListener::bind(folder.join("queue/private/auth")).unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(folder.join("queue/private/auth"), everybody).unwrap();
    std::thread::spawn(move || authenticate(listener));
    assert!(postfix("start").success(), "postfix starts");
}

/// Sends everything, and returns what was sent by the queue id that the MTA answered.
fn send_all(all_names_known: bool) -> (BTreeMap<String, Truth>, Logins) {
    let mut truths = BTreeMap::new();
    let mut logins = BTreeSet::new();
    let mut index = 0u64;
    for payload in payloads() {
        for place in ["helo", "mail", "rcpt", "subject", "auth"] {
            index += 1;
            let client = CLIENTS[(index % 3) as usize];
            let text =
                |wanted: &str, plain: &str| if place == wanted { payload.clone() } else { plain.to_owned() };
            let one_line = |text: String| text.into_bytes();
            let mut commands = vec![one_line(format!("EHLO {}\r\n", text("helo", "pc.example.org")))];
            let mut account = None;
            if place == "auth" {
                let right = all_names_known && index.is_multiple_of(2);
                let password = if right { "right" } else { "wrong" };
                let response = STANDARD.encode(format!("\0{payload}\0{password}"));
                commands.push(one_line(format!("AUTH PLAIN {response}\r\n")));
                account = right.then(|| payload.clone());
            }
            let from = match place {
                "mail" => format!("{}@evil.example", quoted(&payload)),
                _ => "bob@example.org".into(),
            };
            let to = match place {
                "rcpt" => format!("{}@sink.example", quoted(&format!("{payload}r{index}"))),
                _ => format!("r{index}@sink.example"),
            };
            let utf8 = if payload.is_ascii() { "" } else { " SMTPUTF8" };
            commands.push(one_line(format!("MAIL FROM:<{from}>{utf8}\r\n")));
            commands.push(one_line(format!("RCPT TO:<{to}>\r\n")));
            commands.push(b"DATA\r\n".to_vec());
            let subject = text("subject", "hello");
            commands.push(one_line(format!("Subject: {subject}\r\nTo: x@y.example\r\n\r\nhello\r\n.\r\n")));
            commands.push(b"QUIT\r\n".to_vec());
            let answers = converse(client, &commands);
            if place == "auth" {
                let code = answers.get(2).map(String::as_str).unwrap_or_default().to_owned();
                if code.starts_with("235") || code.starts_with("535") {
                    logins.insert((client.to_owned(), payload.clone(), code.starts_with("235")));
                }
                account = account.filter(|_| code.starts_with("235"));
            }
            // `250 2.0.0 Ok: queued as 4A4399C011C`, `250 OK id=1RwtJa-000AFB-07`.
            let queued = answers.iter().find_map(|answer| {
                let own = answer.starts_with("250 2.0.0 Ok: queued as ") || answer.starts_with("250 OK id=");
                answer.split_once("queued as ").or(answer.split_once(" id=")).filter(|_| own)
            });
            if let Some((_, id)) = queued {
                truths.insert(id.trim().to_owned(), Truth { client: client.to_owned(), account });
            }
        }
    }
    (truths, logins)
}

/// Whether a log shows a text: Postfix puts `?` for bytes that it does not print, Exim three octal digits.
fn shows(logged: &[u8], sent: &[u8]) -> bool {
    let octal = |text: &[u8]| {
        (text.len() == 3).then(|| u8::from_str_radix(std::str::from_utf8(text).ok()?, 8).ok()).flatten()
    };
    let mut plain = Vec::new();
    let mut rest = logged;
    while let Some((first, after)) = rest.split_first() {
        match (first, after.get(..3).and_then(octal)) {
            (b'\\', Some(byte)) => {
                plain.push(byte);
                rest = &after[3..];
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    same(logged, sent) || same(&plain, sent)
}

fn same(logged: &[u8], sent: &[u8]) -> bool {
    logged.len() == sent.len()
        && logged
            .iter()
            .zip(sent)
            .all(|(log, byte)| log == byte || *log == b'?' || log.eq_ignore_ascii_case(byte))
}

#[test]
fn postfix_with_senders_who_write_log_text() {
    if std::env::var_os(INSIDE).is_some() {
        inside(Mta::Postfix);
        return;
    }
    let root = namespaces();
    let has = |name: &str| {
        ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|dir| Path::new(dir).join(name).exists())
    };
    for (there, what) in [
        (root, "root and new namespaces"),
        (has("postfix"), "Postfix (.ci/install postfix)"),
        (has("ip"), "ip"),
    ] {
        if !there {
            eprintln!("skipped: needs {what}");
            return;
        }
    }
    in_a_namespace("postfix_with_senders_who_write_log_text", "true");
}

#[test]
fn exim_with_senders_who_write_log_text() {
    if std::env::var_os(INSIDE).is_some() {
        inside(Mta::Exim);
        return;
    }
    let root = namespaces();
    let Some(exim) = exim().filter(|_| root) else {
        eprintln!("skipped: needs root, new namespaces and Exim (see the head of this file)");
        return;
    };
    eprintln!("{}", exim.display());
    // Exim wants a user of its own, which only its package makes: the namespace gets one.
    let with = |path: &str, entry: &str| {
        let known = fs::read_to_string(path).unwrap();
        let mut copy = tempfile::NamedTempFile::new().unwrap();
        copy.write_all(known.as_bytes()).unwrap();
        if !known.contains("Debian-exim:") {
            copy.write_all(entry.as_bytes()).unwrap();
        }
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(copy.path(), everybody).unwrap();
        copy
    };
    let users = with("/etc/passwd", "Debian-exim:x:8:8::/tmp:/bin/false\n");
    let groups = with("/etc/group", "Debian-exim:x:8:\n");
    let (users_path, groups_path) = (users.path().display(), groups.path().display());
    let bind = format!("mount --bind {users_path} /etc/passwd && mount --bind {groups_path} /etc/group");
    in_a_namespace("exim_with_senders_who_write_log_text", &bind);
}

enum Mta {
    Postfix,
    Exim,
}

fn exim() -> Option<std::path::PathBuf> {
    let named = std::env::var_os("PORTREEVE_EXIM").map(std::path::PathBuf::from);
    let places = ["/usr/sbin/exim4", "target/exim/usr/sbin/exim4"].map(std::path::PathBuf::from);
    let found = named.into_iter().chain(places).find(|path| path.exists())?;
    found.canonicalize().ok()
}

/// Whether root has the powers that it takes.
fn namespaces() -> bool {
    let tried = Command::new("unshare").args(["--net", "--mount", "true"]).output();
    tried.is_ok_and(|output| output.status.success())
}

/// Runs a test of this file again, where there is no network but ours.
fn in_a_namespace(test: &str, first: &str) {
    let me = std::env::current_exe().unwrap();
    let script = format!(
        "{first} && ip link set lo up && for a in 192.0.2.9 192.0.2.10 192.0.2.11 198.51.100.1 203.0.113.7; \
         do ip addr add $a/32 dev lo; done && exec {} --exact {test} --nocapture",
        me.display()
    );
    let namespaces = ["--net", "--mount", "sh", "-c", &script];
    assert!(Command::new("unshare").args(namespaces).env(INSIDE, "1").status().unwrap().success());
}

/// Starts Exim with everything below one folder. It gives up its root: it has no mailboxes to write.
fn start_exim(folder: &Path) -> std::process::Child {
    for name in ["spool", "log"] {
        fs::create_dir_all(folder.join(name)).unwrap();
        let status = Command::new("chown").arg("Debian-exim").arg(folder.join(name)).status().unwrap();
        assert!(status.success());
    }
    let conf = format!(
        "primary_hostname = mx1.example.org\nspool_directory = {0}/spool\nlog_file_path = {0}/log/%slog\n\
         pid_file_path = {0}/spool/exim.pid\ndaemon_smtp_ports = 2525\nlocal_interfaces = 203.0.113.7\n\
         tls_advertise_hosts =\nacl_smtp_rcpt = all\nacl_smtp_data = all\nhelo_accept_junk_hosts = *\n\
         smtputf8_advertise_hosts = *\nrfc1413_query_timeout = 0s\nlog_selector = +subject +smtp_mailauth\n\
         never_users = \ndeliver_drop_privilege = true\nsmtp_accept_max_nonmail = 1000\nkeep_environment =\n\
         begin acl\nall:\n accept\nbegin routers\nout:\n driver = manualroute\n transport = out\n \
         route_list = * 198.51.100.1 byname\n self = send\nbegin transports\nout:\n driver = smtp\n port = 2525\n \
         allow_localhost\nbegin retry\n* * F,1h,1h\nbegin authenticators\nplain:\n driver = plaintext\n \
         public_name = PLAIN\n server_prompts = :\n server_condition = ${{if eq{{$auth3}}{{right}}}}\n \
         server_set_id = $auth2\n",
        folder.display()
    );
    let path = folder.join("exim.conf");
    fs::write(&path, conf).unwrap();
    let child = Command::new(exim().unwrap()).arg("-C").arg(&path).arg("-bdf").spawn().unwrap();
    let started = Instant::now();
    while TcpStream::connect(MTA).is_err() && started.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(100));
    }
    child
}

fn inside(mta: Mta) {
    let folder = tempfile::Builder::new().prefix("portreeve-mta").tempdir().unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.path(), everybody).unwrap();
    let arrivals = Arrivals::default();
    let listener = TcpListener::bind(SINK).unwrap();
    let for_sink = Arc::clone(&arrivals);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let arrivals = Arc::clone(&for_sink);
            std::thread::spawn(move || serve(stream, &arrivals));
        }
    });
    let exim = match mta {
        Mta::Postfix => {
            start_postfix(folder.path());
            None
        }
        Mta::Exim => Some(start_exim(folder.path())),
    };
    // Whose password is right is a user of the company's: no sender chooses that name. With Exim, which prints
    // it bare, only names that fail are hostile.
    let (truths, logins) = send_all(exim.is_none());
    let log = folder.path().join(if exim.is_none() { "log/mail.log" } else { "log/mainlog" });
    // Until every message was tried.
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(60) {
        let text = fs::read(&log).unwrap_or_default();
        let tried = String::from_utf8_lossy(&text)
            .lines()
            .filter(|line| {
                line.contains("/smtp[") && line.contains(": to=<")
                    || [" => ", " ** ", " == "]
                        .iter()
                        .any(|flag| line.get(36..).is_some_and(|rest| rest.starts_with(flag)))
            })
            .count();
        if tried >= truths.len() {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    if let Some(mut exim) = exim {
        let _ = exim.kill();
        let _ = exim.wait();
    }
    let conf = folder.path().join("conf");
    let _ = Command::new("postfix").arg("-c").arg(&conf).arg("stop").stderr(Stdio::null()).status();
    judge(&log, &truths, &logins, &arrivals.lock().unwrap());
}

fn judge(log: &Path, truths: &BTreeMap<String, Truth>, logins: &Logins, arrivals: &[Arrived]) {
    let company =
        Arc::new(Company::new(vec!["203.0.113.0/24".parse().unwrap()], &[], vec![], CivilClock::utc()));
    let mut road = LogRoad::new(company, LogSettings::default());
    let mut file = LogFile::open(log).unwrap();
    let source = road.add_source(LogSource {
        name: "x".into(),
        dialect: None,
        zone: jiff::tz::TimeZone::UTC,
        modified_at: file.modified_at(),
    });
    let mut out: Vec<Observation> = Vec::new();
    while let Some(line) = file.next_line().unwrap() {
        road.line(source, line, &mut out);
    }
    let (mut wrong, mut right, mut unknown) = (Vec::new(), 0, 0);
    let mut seen_ids = BTreeSet::new();
    for seen in &out {
        match &seen.fact {
            Fact::Delivery(delivery) => {
                let id = delivery.queue_id.as_ref().unwrap().to_lossy();
                let Some(truth) = truths.get(&id) else {
                    // Notifications of Postfix's own: nobody sent them.
                    if delivery.reverse_path.as_ref().is_none_or(|path| path.mailbox().is_some()) {
                        wrong.push(format!("queue id {id}: {seen:?}"));
                    }
                    continue;
                };
                seen_ids.insert(id.clone());
                let Some(path) = &delivery.forward_path else {
                    unknown += 1;
                    continue;
                };
                let arrived =
                    arrivals.iter().find(|arrived| shows(path.address().as_bytes(), &arrived.forward_path));
                let Some(arrived) = arrived else {
                    wrong.push(format!("recipient: {seen:?}"));
                    continue;
                };
                let mailbox = delivery.reverse_path.as_ref().and_then(|path| path.mailbox());
                let fits = mailbox
                    .is_some_and(|mailbox| shows(mailbox.address().as_bytes(), &arrived.reverse_path))
                    && delivery.reply.as_ref().and_then(|reply| reply.verdict()) == Some(arrived.verdict)
                    && delivery.responder == Some("198.51.100.1".parse::<IpAddr>().unwrap())
                    && seen.sender.client.map(|client| client.to_string()).as_ref() == Some(&truth.client)
                    && match (&seen.sender.account, &truth.account) {
                        (None, None) => true,
                        (Some(read), Some(sent)) => shows(read.as_bytes(), sent.as_bytes()),
                        // Unknown, where the name goes on like what follows it.
                        (None, Some(sent)) => sent.contains(", orig_"),
                        _ => false,
                    };
                if fits { right += 1 } else { wrong.push(format!("{arrived:?} {truth:?}: {seen:?}")) }
            }
            Fact::Login(login) => {
                let client = seen.sender.client.map(|client| client.to_string());
                let fits = logins.iter().any(|(from, name, succeeded)| {
                    client.as_ref() == Some(from)
                        && *succeeded == login.succeeded
                        && seen.sender.account.as_ref().is_none_or(|read| {
                            // Postfix cuts a long name that failed.
                            let read = read.as_bytes();
                            let cut = if read.len() > 90 { read.len().min(name.len()) } else { name.len() };
                            shows(read, &name.as_bytes()[..cut])
                        })
                });
                match client {
                    None => unknown += 1,
                    Some(_) if fits => right += 1,
                    Some(_) => wrong.push(format!("login: {seen:?}")),
                }
            }
            _ => {}
        }
    }
    let counters = road.counters();
    eprintln!(
        "{} messages queued, {} logins, {} recipients at the sink; {right} right, {unknown} unknown, {} wrong; {} lines, {} unparsed, {} ambiguous",
        truths.len(),
        logins.len(),
        arrivals.len(),
        wrong.len(),
        counters.lines,
        counters.unparsed,
        counters.ambiguous
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(truths.len() >= 120 && right >= 120, "enough got through");
    assert!(unknown * 5 <= right, "few are unknown");
    assert_eq!(counters.unparsed, 0, "{:#?}", counters.unparsed_samples);
    assert!(seen_ids.len() * 10 >= truths.len() * 9);
}
