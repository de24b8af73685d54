//! All of it at once: the network, the servers, the clients, and who visits whom.

use super::clients::{self, Mode};
use super::mix::Visit;
use super::places::{Client, Server};
use super::servers::{Daemon, Unpacked};
use super::watch::{Watched, watch};
use super::{queues, servers, syslog, wait_for};
use crate::servers_support::{has, in_namespaces, ip, missing};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a client is to say to a server.
pub type Draw<'a> = dyn Fn(Client, Server) -> Vec<Visit> + Sync + 'a;

/// No name is asked for outside, and this machine has one; `/mnt` is memory; who logs finds no `/dev/log` but ours.
const NAMES: &str = "D=/run/dev; mount -t tmpfs none /run; mount -t tmpfs -o mode=755 none /mnt; echo nameserver 127.0.0.1 >/run/resolv.conf; \
    echo 127.0.0.1 localhost client.example.net out.example.net $(hostname) >/run/hosts; \
    mount --bind /run/hosts /etc/hosts; mount --bind /run/resolv.conf $(realpath /etc/resolv.conf) || true; \
    mkdir $D; for f in null zero full random urandom tty; do touch $D/$f; mount --bind /dev/$f $D/$f; done; \
    ln -s /proc/self/fd $D/fd; mount --rbind $D /dev;";

/// Runs a test of this file again inside the lab's namespaces; says so where something is missing.
pub fn enter(test: &str) {
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
    in_namespaces(test, NAMES);
}

/// Where a lab lives: in memory, where queues need not wait for a disk; on disk where it is to be looked at later.
pub fn folder() -> tempfile::TempDir {
    let kept = super::capture_folder().is_some();
    let parent = if kept { std::env::temp_dir() } else { "/mnt".into() };
    let mut folder = tempfile::Builder::new().prefix("portreeve-tls").tempdir_in(parent).unwrap();
    folder.disable_cleanup(kept);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// What the sensor sees while something is done.
pub fn watched(mut lost: impl FnMut() -> bool + Send + 'static, done: impl FnOnce()) -> Watched {
    let stop = Arc::new(AtomicBool::new(false));
    let (ready, listens) = std::sync::mpsc::channel();
    let watcher = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || watch(&stop, ready, &mut lost)
    });
    listens.recv().unwrap();
    done();
    wait_for("the last session to end", || connections() == 0);
    stop.store(true, Ordering::Relaxed);
    watcher.join().unwrap()
}

/// What runs.
pub struct Lab<'a> {
    pub folder: &'a Path,
    clients: Vec<Client>,
    servers: Vec<Server>,
    pub logs: Vec<servers::Log>,
    exim: Option<Unpacked>,
    sendmail: Option<String>,
    _opensmtpd: Option<Daemon>,
}

impl Lab<'_> {
    /// Starts all servers, and those of the clients that wait for mail.
    pub fn start<'a>(folder: &'a Path, clients: &[Client]) -> Lab<'a> {
        syslog::listen(&folder.join("syslog"));
        servers::certify(folder);
        fs::write(folder.join("client.py"), include_str!("client.py")).unwrap();
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
        let clients = clients.iter().copied().filter(here).collect();
        Lab { folder, clients, servers, logs, exim, sendmail, _opensmtpd: opensmtpd }
    }

    /// All clients, each at its own pace, hold the visits drawn for them with one server after the other.
    pub fn converse(&self, mode: Mode, draw: &Draw<'_>) {
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
                        servers
                            .iter()
                            .for_each(|server| self.visit(*client, *server, mode, draw(*client, *server)))
                    });
                }
            }
        });
    }

    pub fn servers(&self) -> impl Iterator<Item = Server> {
        self.servers.iter().copied()
    }

    pub fn pairs(&self) -> impl Iterator<Item = (Client, Server)> {
        self.clients.iter().flat_map(|client| self.servers.iter().map(|server| (*client, *server)))
    }

    fn visit(&self, client: Client, server: Server, mode: Mode, visits: Vec<Visit>) {
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

pub fn lay_network() {
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
