//! Sessions under STARTTLS between real mail servers over a veth: what portreeve tells of them from outside, beside
//! what the servers' own logs say of the same sessions.
//!
//! Needs root, `unshare`, `ip`, `openssl`, Python and Postfix; Exim, OpenSMTPD and Sendmail are fetched and unpacked below
//! /var/cache/portreeve-lab, and left out where they cannot be had. `PORTREEVE_TLS_SESSIONS` (20) visits a pair of client
//! and server, `PORTREEVE_TLS_SEED` (1); `PORTREEVE_TLS_PLAIN` (0) visits a pair in clear before, in which the road may
//! learn, and in which what it sees must be what the logs say; `PORTREEVE_TLS_CAPTURE` is a folder where the capture and
//! the truth of each pair are kept (the servers' logs then stay in the folder for temporary files).

#![allow(clippy::unwrap_used)] // a test fails loudly

mod servers_support;
mod tls_lab;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use servers_support::{INSIDE, has, in_namespaces, ip, missing, number};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tls_lab::clients::{self, Mode};
use tls_lab::places::{Client, Server};
use tls_lab::servers::{Daemon, Unpacked};
use tls_lab::{mix, queues, servers, table, truth, wait_for, watch};

/// No name is asked for outside, and this machine has one; `/mnt` is memory.
const NAMES: &str = "mount -t tmpfs none /run; mount -t tmpfs -o mode=755 none /mnt; echo nameserver 127.0.0.1 >/run/resolv.conf; \
    echo 127.0.0.1 localhost client.example.net out.example.net $(hostname) >/run/hosts; \
    mount --bind /run/hosts /etc/hosts; mount --bind /run/resolv.conf $(realpath /etc/resolv.conf) || true;";

#[test]
fn sessions_under_tls_are_estimated() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let programs = [
        (has("postfix"), "Postfix (.ci/install postfix)"),
        (has("openssl"), "openssl (.ci/install openssl)"),
        (has("python3"), "Python (.ci/install python3)"),
    ];
    let program = programs.into_iter().find(|(there, _)| !there).map(|(_, what)| what);
    if let Some(what) = missing().or(program) {
        eprintln!("skipped: needs {what}");
        return;
    }
    in_namespaces("sessions_under_tls_are_estimated", NAMES);
}

fn inside() {
    // In memory, where queues need not wait for a disk; on disk where it is to be looked at later.
    let kept = tls_lab::capture_folder().is_some();
    let parent = if kept { std::env::temp_dir() } else { "/mnt".into() };
    let mut folder = tempfile::Builder::new().prefix("portreeve-tls").tempdir_in(parent).unwrap();
    folder.disable_cleanup(kept);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    lay_network();
    let lab = Lab::start(folder.path());
    let stop = Arc::new(AtomicBool::new(false));
    let (ready, listens) = std::sync::mpsc::channel();
    let watcher = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || watch::watch(&stop, ready)
    });
    listens.recv().unwrap();
    lab.converse(Mode::Plain, number("PORTREEVE_TLS_PLAIN", 0));
    let count = number("PORTREEVE_TLS_SESSIONS", 20);
    lab.converse(Mode::Tls, count);
    wait_for("the last session to end", || connections() == 0);
    stop.store(true, Ordering::Relaxed);
    let watched = watcher.join().unwrap();

    let mut truths = truth::Truths::new();
    lab.logs.iter().for_each(|log| truth::read(log, &mut truths));
    table::keep_truths(&watched, &truths);
    let compared = table::join(&watched, truths);
    let versions = [2, 3].map(|tls| (tls, table::print(&compared, tls)));
    for (client, server) in lab.pairs() {
        let visits = visits(client, server, Mode::Tls, count);
        let planned: usize = visits.iter().flatten().map(|letter| letter.to.len()).sum();
        let offered =
            table::Sums::of(compared.iter().filter(|one| (one.client, one.server) == (client, server)));
        // A client may give one up: OpenSMTPD begins a message before it has reset the last, and takes 503 for its answer.
        let enough = offered.recipients as usize * 10 >= planned * 9;
        assert!(enough, "{client:?} offered {server:?} {} forward-paths of {planned}", offered.recipients);
    }
    for (tls, sums) in versions {
        let error = sums.messages_error_percent();
        assert!(error.abs() <= 5.0, "TLS 1.{tls}: the messages told are off by {error:+.1} %");
        let exact = sums.exact_percent();
        assert!(exact >= 90.0, "TLS 1.{tls}: exact in {exact:.1} % of sessions");
        let noticed = sums.noticed_percent();
        assert!(noticed >= 80.0, "TLS 1.{tls}: {noticed:.1} % of the refused recipients noticed");
    }
}

/// What runs.
struct Lab<'a> {
    folder: &'a Path,
    clients: Vec<Client>,
    servers: Vec<Server>,
    logs: Vec<servers::Log>,
    exim: Option<Unpacked>,
    sendmail: Option<String>,
    _opensmtpd: Option<Daemon>,
}

impl Lab<'_> {
    /// Starts all servers, and the clients that wait for mail.
    fn start(folder: &Path) -> Lab<'_> {
        servers::certify(folder);
        fs::write(folder.join("client.py"), include_str!("tls_lab/client.py")).unwrap();
        let (exim, sendmail) = (servers::unpack_exim(), queues::unpack_sendmail());
        let (opensmtpd, opensmtpd_server) =
            (servers::unpack_opensmtpd_client(), servers::unpack_opensmtpd_server());
        let mut logs = vec![servers::postfix(folder)];
        clients::start_postfix(folder);
        logs.extend(exim.as_ref().map(|exim| servers::exim(folder, exim)));
        if let Some(unpacked) = &opensmtpd_server {
            logs.extend([2, 3].map(|tls| servers::opensmtpd(folder, unpacked, tls)));
        }
        let opensmtpd = opensmtpd.map(|unpacked| clients::start_opensmtpd(folder, &unpacked));
        let unpacked = [
            ("Exim", exim.is_some()),
            ("OpenSMTPD, the client", opensmtpd.is_some()),
            ("OpenSMTPD, the server", opensmtpd_server.is_some()),
            ("Sendmail", sendmail.is_some()),
        ];
        for (name, _) in unpacked.iter().filter(|(_, there)| !there) {
            eprintln!("without {name}: its packages could not be fetched");
        }
        let runs = |server: &Server| logs.iter().any(|log| log.mta == server.mta);
        let servers = Server::all().into_iter().filter(runs).collect();
        let here = |client: &Client| match client {
            Client::Exim => exim.is_some(),
            Client::OpenSmtpd => opensmtpd.is_some(),
            Client::Sendmail => sendmail.is_some(),
            Client::Postfix | Client::PostfixReuse | Client::Python => true,
        };
        let clients = Client::ALL.into_iter().filter(here).collect();
        Lab { folder, clients, servers, logs, exim, sendmail, _opensmtpd: opensmtpd }
    }

    /// All clients, each at its own pace, hold visits with one server after the other.
    fn converse(&self, mode: Mode, count: u64) {
        if count == 0 {
            return;
        }
        std::thread::scope(|scope| {
            for client in &self.clients {
                // These mostly wait.
                let in_turn = match client {
                    Client::OpenSmtpd => 1,
                    Client::Exim | Client::Sendmail => 2,
                    _ => self.servers.len(),
                };
                for servers in self.servers.chunks(in_turn) {
                    scope.spawn(move || {
                        servers.iter().for_each(|server| self.visit(*client, *server, mode, count))
                    });
                }
            }
        });
    }

    fn pairs(&self) -> impl Iterator<Item = (Client, Server)> {
        self.clients.iter().flat_map(|client| self.servers.iter().map(|server| (*client, *server)))
    }

    fn visit(&self, client: Client, server: Server, mode: Mode, count: u64) {
        let visits = visits(client, server, mode, count);
        let lab = self.folder;
        match client {
            Client::Postfix => clients::postfix(lab, server, mode, visits),
            Client::PostfixReuse => clients::postfix_reuse(lab, server, mode, visits),
            Client::Python => clients::python(lab, server, mode, &visits),
            Client::OpenSmtpd => clients::opensmtpd(lab, server, mode, visits),
            Client::Exim => {
                self.exim.iter().for_each(|exim| queues::exim(lab, exim, server, mode, &visits));
            }
            Client::Sendmail => {
                self.sendmail.iter().for_each(|mounts| queues::sendmail(lab, mounts, server, mode, &visits));
            }
        }
    }
}

/// What a client is to say to a server, the same whenever it is asked.
fn visits(client: Client, server: Server, mode: Mode, count: u64) -> Vec<mix::Visit> {
    let parts = [server.octet(), client as u8, mode as u8].map(u64::from);
    let seed = parts.iter().fold(number("PORTREEVE_TLS_SEED", 1), |seed, part| seed.wrapping_mul(100) + part);
    mix::visits(count, client == Client::Python, &mut ChaCha8Rng::seed_from_u64(seed))
}

fn lay_network() {
    for server in Server::all() {
        ip(&format!("address add {}/24 dev v1", server.address()));
    }
    ip("netns add client");
    // Segments as they are on a wire, not as one host hands them to another.
    ip("link set v0 gso_max_segs 1 netns client");
    ip("link set v1 gso_max_segs 1");
    for words in ["link set lo up", "link set v0 up"] {
        ip(&format!("-n client {words}"));
    }
    for client in Client::ALL {
        for lane in 0..10 {
            ip(&format!("-n client address add {}/24 dev v0", client.address(lane)));
        }
    }
    ip("-n client route add default dev v0");
}

/// Connections of the servers that are not over.
fn connections() -> usize {
    const CLOSED: [&str; 2] = ["06", "0A"]; // TIME_WAIT, LISTEN
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let words = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.filter(|words| words[1].ends_with(":0019") && !CLOSED.contains(&words[3])).count()
}
