//! The clients. Each is told of visits, and has held them when its function returns.

use super::mix::{Letter, Visit};
use super::places::{Client, Server};
use super::servers::{Daemon, Unpacked};
use super::{servers, wait_for};
use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Whether a client asks for TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    Plain,
    Tls,
}

/// The network namespace of all clients.
pub const NETNS: [&str; 4] = ["ip", "netns", "exec", "client"];
/// Where Postfix and OpenSMTPD take mail from us, on loopback in the clients' namespace.
const SUBMISSION: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Which way a letter is to take, as it stands in its reverse-path: server, TLS or not, lane.
pub fn route(server: Server, mode: Mode, lane: usize) -> String {
    let mode = if mode == Mode::Tls { 't' } else { 'p' };
    format!("s{}{mode}{lane}", server.octet())
}

/// Holds visits in clear from the address of another client, past that one's log.
pub fn past_the_log(lab: &Path, of: Client, server: Server, visits: &[Visit]) {
    speak(lab, server.address(), 25, of.address(0), "plain", visits);
}

/// Holds visits with Python's smtplib.
pub fn python(lab: &Path, server: Server, mode: Mode, visits: &[Visit]) {
    let mode = if mode == Mode::Tls { "tls" } else { "plain" };
    speak(lab, server.address(), 25, Client::Python.address(0), mode, visits);
}

fn speak(lab: &Path, host: Ipv4Addr, port: u16, source: Ipv4Addr, mode: &str, visits: &[Visit]) {
    let script = lab.join("client.py");
    let mut child = Command::new(NETNS[0])
        .args(&NETNS[1..])
        .args(["python3".as_ref(), script.as_os_str()])
        .args([&host.to_string(), &port.to_string(), &source.to_string(), mode])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(visits).unwrap()).unwrap();
    assert!(child.wait().unwrap().success(), "client.py fails");
}

/// Hands letters to a client's own MTA.
fn submit(lab: &Path, port: u16, letters: Vec<Letter>) {
    speak(lab, SUBMISSION, port, SUBMISSION, "submit", &[letters]);
}

const POSTFIX_PORT: u16 = 2525;
const LANES: usize = 6;

/// The Postfix that sends: a transport for each way. Lane 0 is a Postfix as it is installed; a session of lane n takes
/// n messages.
pub fn start_postfix(lab: &Path) {
    let folder = lab.join("postfix-client");
    fs::create_dir_all(&folder).unwrap();
    let (mut master, mut routes) =
        (format!("127.0.0.1:{POSTFIX_PORT} inet n - n - - smtpd\n"), String::new());
    master += "tlsproxy unix - - n - 0 tlsproxy\nscache unix - - n - 1 scache\n";
    for mode in [Mode::Plain, Mode::Tls] {
        let (letter, level) = if mode == Mode::Tls { ('t', "may") } else { ('p', "none") };
        for lane in 0..=LANES {
            let (client, kept) =
                if lane == 0 { (Client::Postfix, "") } else { (Client::PostfixReuse, "static:all") };
            master += &format!(
                "lane{letter}{lane} unix - - n - 1 smtp -o smtp_tls_security_level={level} -o smtp_bind_address={} \
                 -o smtp_tls_connection_reuse={} -o smtp_connection_cache_destinations={kept} \
                 -o smtp_connection_cache_on_demand={1} -o smtp_connection_reuse_count_limit={lane}\n",
                client.address(lane as u8),
                if lane == 0 { "no" } else { "yes" },
            );
            for server in Server::all() {
                let (route, address) = (route(server, mode, lane), server.address());
                routes += &format!("/^(refused-)?{route}-/ lane{letter}{lane}:[{address}]\n");
            }
        }
    }
    fs::write(folder.join("routes"), routes).unwrap();
    fs::write(folder.join("transport"), "/@client\\.example\\.net$/ discard:\n").unwrap();
    let main = format!(
        "myhostname = out.example.net\nmynetworks = 127.0.0.0/8\ninet_interfaces = 127.0.0.1\nrelay_domains =\n\
         local_recipient_maps =\ndefault_transport = error\nsmtp_tls_security_level = may\ntransport_maps = regexp:{0}/transport\n\
         sender_dependent_default_transport_maps = regexp:{0}/routes\nsmtpd_relay_restrictions = permit_mynetworks, reject\n\
         default_destination_concurrency_limit = 1\ninitial_destination_concurrency = 1\n",
        folder.display()
    );
    crate::servers_support::start_postfix(&folder, &NETNS, &main, &master);
    wait_for("Postfix, the client", || listens(POSTFIX_PORT));
}

/// Whether one of the clients' servers listens on loopback.
fn listens(port: u16) -> bool {
    let table = Command::new(NETNS[0]).args(&NETNS[1..]).args(["cat", "/proc/net/tcp"]).output().unwrap();
    String::from_utf8_lossy(&table.stdout).contains(&format!(":{port:04X} 00000000:0000 0A"))
}

/// Each message has a session of its own.
pub fn postfix(lab: &Path, server: Server, mode: Mode, visits: Vec<Visit>) {
    send_by_postfix(lab, visits.into_iter().flatten().map(|letter| led(letter, server, mode, 0)).collect());
}

/// A visit of n letters goes by the lane whose sessions take n.
pub fn postfix_reuse(lab: &Path, server: Server, mode: Mode, visits: Vec<Visit>) {
    let lanes = visits.into_iter().flat_map(|visit| {
        let lane = visit.len();
        visit.into_iter().map(move |letter| led(letter, server, mode, lane))
    });
    send_by_postfix(lab, lanes.collect());
}

/// The letter with its way in its reverse-path.
fn led(mut letter: Letter, server: Server, mode: Mode, lane: usize) -> Letter {
    letter.from = letter.from.replacen("route", &route(server, mode, lane), 1);
    letter
}

fn send_by_postfix(lab: &Path, letters: Vec<Letter>) {
    submit(lab, POSTFIX_PORT, letters);
    let queue = lab.join("postfix-client/queue");
    let queues = ["maildrop", "incoming", "active", "deferred"].map(|name| queue.join(name));
    wait_for("Postfix's queue to empty", || queues.iter().all(|queue| files(queue) == 0));
}

/// Most messages of a session.
const OPENSMTPD_MESSAGES_MAX: usize = 6;
/// How long a session waits for more, seconds.
const OPENSMTPD_KEEPALIVE_SECONDS: usize = 3;
/// One source has one session at once, and rests for five seconds between two of them.
const OPENSMTPD_LANES: usize = 10;

/// Where OpenSMTPD takes the letters of a way: what listens there marks them, which is cheaper than to look at each.
fn opensmtpd_port(server: Server, mode: Mode) -> u16 {
    3_000 + 10 * u16::from(server.octet()) + mode as u16
}

/// The OpenSMTPD that sends: an action for each way.
pub fn start_opensmtpd(lab: &Path, unpacked: &Unpacked) -> Daemon {
    let folder = lab.join("opensmtpd-client");
    fs::create_dir_all(&folder).unwrap();
    let (mut listeners, mut actions, mut matches) = (String::new(), String::new(), String::new());
    let ways =
        Server::all().into_iter().flat_map(|server| [Mode::Plain, Mode::Tls].map(|mode| (server, mode)));
    for (server, mode) in ways.clone() {
        let protocol = if mode == Mode::Tls { "smtp" } else { "smtp+notls" };
        let (port, address) = (opensmtpd_port(server, mode), server.address());
        listeners += &format!("listen on 127.0.0.1 port {port} hostname out.example.net tag \"{port}\"\n");
        for lane in 0..OPENSMTPD_LANES {
            let (route, source) = (route(server, mode, lane), Client::OpenSmtpd.address(lane as u8));
            actions += &format!("action \"{route}\" relay host {protocol}://{address} src {source}\n");
            let from = format!("^(refused-)?{route}-");
            matches +=
                &format!("match tag \"{port}\" mail-from regex \"{from}\" for any action \"{route}\"\n");
        }
    }
    let conf = format!(
        "queue ttl 1h\nsmtp limit max-mails 100000\n\
         mta limit session-mail-max {OPENSMTPD_MESSAGES_MAX} session-keepalive {OPENSMTPD_KEEPALIVE_SECONDS}\n{listeners}\
         action \"trash\" mda \"cat >/dev/null\" virtual {{ \"@\" = \"nobody\" }}\n{actions}\
         match from any for domain client.example.net action \"trash\"\n{matches}"
    );
    fs::write(folder.join("smtpd.conf"), conf).unwrap();
    let script = format!("{} exec /usr/sbin/smtpd -F -f {}/smtpd.conf", unpacked.mounts, folder.display());
    let daemon = servers::start(&NETNS, &script, &folder.join("diagnostics"));
    for (server, mode) in ways {
        wait_for("OpenSMTPD, the client", || listens(opensmtpd_port(server, mode)));
    }
    daemon
}

/// Sessions take as many messages as there are, up to six.
pub fn opensmtpd(lab: &Path, server: Server, mode: Mode, visits: Vec<Visit>) {
    let lanes = visits.into_iter().enumerate().flat_map(|(at, visit)| {
        visit.into_iter().map(move |letter| led(letter, server, mode, at % OPENSMTPD_LANES))
    });
    let letters: Vec<_> = lanes.collect();
    let recipients: usize = letters.iter().map(|letter| letter.to.len()).sum();
    submit(lab, opensmtpd_port(server, mode), letters);
    let way = route(server, mode, 0);
    let ways = [format!("from=<{}", &way[..4]), format!("from=<refused-{}", &way[..4])];
    wait_for("OpenSMTPD's queue to empty", || {
        let log = fs::read_to_string(lab.join("syslog")).unwrap();
        let delivered = log.lines().filter(|line| line.contains(" mta delivery "));
        delivered.filter(|line| ways.iter().any(|way| line.contains(way))).count() >= recipients
    });
}

/// How many files there are below a folder.
fn files(folder: &PathBuf) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}
