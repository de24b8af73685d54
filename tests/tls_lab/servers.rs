//! The servers, and their logs. All are opportunistic, know `n…` alone, and refuse at its end what `refused-…` sends.

use super::places::{Client, Mta, Server};
use super::wait_for;
use crate::servers_support::{
    Users, start_postfix, unpacked_exim, unpacked_opensmtpd, unpacked_opensmtpd_tls_server, users,
};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A server's log, and which it is.
pub struct Log {
    pub mta: Mta,
    pub path: PathBuf,
    /// `None` where the server runs by itself.
    _daemon: Option<Daemon>,
}

/// A program that runs as long as this is kept.
pub struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The certificate of all servers.
pub fn certify(folder: &Path) {
    let request =
        "req -x509 -newkey rsa:2048 -nodes -subj /CN=mx.example.org -days 30 -keyout key.pem -out cert.pem";
    let done = Command::new("openssl")
        .args(request.split(' '))
        .current_dir(folder)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(done.success(), "openssl makes a certificate");
    fs::set_permissions(folder.join("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
}

pub fn wait_for_server(server: Server) {
    wait_for(&format!("{server:?}"), || TcpStream::connect((server.address(), 25)).is_ok());
}

pub fn postfix(lab: &Path) -> Log {
    let folder = lab.join("postfix-server");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("known"), "/^n/ ok\n").unwrap();
    fs::write(folder.join("refused"), "/^refused-/ REJECT not wanted here\n").unwrap();
    let servers = Server::all().into_iter().filter(|server| server.mta == Mta::Postfix);
    let (mut addresses, mut master) = (String::new(), String::new());
    for server in servers.clone() {
        let (address, octet, minor) = (server.address(), server.octet(), server.tls);
        addresses += &format!(" {address}");
        master += &format!(
            "{address}:25 inet n - n - - smtpd -o syslog_name=s{octet} -o smtpd_tls_protocols=>=TLSv1.{minor},<=TLSv1.{minor}\n"
        );
    }
    let main = format!(
        "myhostname = mx.example.org\nmynetworks =\ninet_interfaces ={addresses}\nrelay_domains = example.org\n\
         relay_recipient_maps = regexp:{0}/known\nlocal_recipient_maps =\nrelay_transport = discard\n\
         default_transport = discard\nsmtpd_recipient_restrictions = reject_unauth_destination\n\
         smtpd_end_of_data_restrictions = check_sender_access regexp:{0}/refused\nsmtpd_client_port_logging = yes\n\
         debug_peer_list = {2}\ndebug_peer_level = 1\n\
         smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {1}/cert.pem\nsmtpd_tls_key_file = {1}/key.pem\n\
         smtpd_error_sleep_time = 0\nsmtpd_hard_error_limit = 1000\nsmtpd_soft_error_limit = 1000\n\
         smtpd_client_connection_count_limit = 0\n",
        folder.display(),
        lab.display(),
        Client::Exim.address(0)
    );
    let path = start_postfix(&folder, &[], &main, &master);
    servers.for_each(wait_for_server);
    Log { mta: Mta::Postfix, path, _daemon: None }
}

/// What the shell mounts first where a server unpacked elsewhere is to run, in a mount namespace of its own.
pub struct Unpacked {
    pub mounts: String,
    /// Kept until all is mounted.
    _users: Users,
}

/// `None` where Debian's packages cannot be had.
pub fn unpack_exim() -> Option<Unpacked> {
    let exim = unpacked_exim()?;
    let users = users("Debian-exim:x:8:8::/tmp:/bin/false\n", "Debian-exim:x:8:\n");
    let mounts =
        format!("mount -t overlay overlay -o lowerdir={}/usr:/usr /usr; {}", exim.display(), users.mount);
    Some(Unpacked { mounts, _users: users })
}

/// `None` where Debian's packages cannot be had.
pub fn unpack_opensmtpd_client() -> Option<Unpacked> {
    unpacked_opensmtpd().map(|folder| opensmtpd_mounts(&folder))
}

/// `None` where Debian's packages cannot be had.
pub fn unpack_opensmtpd_server() -> Option<Unpacked> {
    unpacked_opensmtpd_tls_server().map(|folder| opensmtpd_mounts(&folder))
}

fn opensmtpd_mounts(smtpd: &Path) -> Unpacked {
    let users = users(
        "opensmtpd:x:990:990::/var/lib/opensmtpd/empty:/bin/false\nopensmtpq:x:991:991::/var/lib/opensmtpd/empty:/bin/false\n",
        "opensmtpd:x:990:\nopensmtpq:x:991:\n",
    );
    let mounts = format!(
        "mount -t overlay overlay -o lowerdir={}/usr:/usr /usr; mount -t tmpfs -o mode=755 none /var/lib; \
         mkdir -p /var/lib/opensmtpd/empty; mount -t tmpfs -o mode=755 none /var/spool; mkdir -m 711 /var/spool/smtpd; \
         mount -t tmpfs -o mode=755 none /run; {}",
        smtpd.display(),
        users.mount
    );
    Unpacked { mounts, _users: users }
}

/// Starts a shell script in a mount namespace of its own, with its diagnostics in a file.
pub fn start(netns: &[&str], script: &str, log: &Path) -> Daemon {
    let words = [netns, &["unshare", "--mount", "sh", "-e", "-c", script]].concat();
    let out = fs::File::create(log).unwrap();
    let started = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .spawn();
    Daemon(started.unwrap())
}

pub fn exim(lab: &Path, unpacked: &Unpacked) -> Log {
    let folder = lab.join("exim-server");
    for name in ["spool", "log"] {
        fs::create_dir_all(folder.join(name)).unwrap();
        assert!(Command::new("chown").arg("8").arg(folder.join(name)).status().unwrap().success());
    }
    let [old, new] = [2, 3].map(|tls| Server { mta: Mta::Exim, tls });
    let conf = format!(
        "primary_hostname = mx.example.org\nspool_directory = {0}/spool\nlog_file_path = {0}/log/%slog\n\
         pid_file_path = {0}/spool/exim.pid\ndaemon_smtp_ports = 25\nlocal_interfaces = {2} : {3}\n\
         tls_advertise_hosts = *\ntls_certificate = {1}/cert.pem\ntls_privatekey = {1}/key.pem\n\
         tls_require_ciphers = NORMAL:-VERS-ALL:+VERS-TLS1.${{if eq{{$received_ip_address}}{{{2}}}{{2}}{{3}}}}\n\
         acl_smtp_connect = connect\nacl_smtp_rcpt = rcpt\nacl_smtp_data = data\nchunking_advertise_hosts = *\n\
         rfc1413_query_timeout = 0s\nhost_lookup =\nqueue_only = true\nkeep_environment =\nsmtp_accept_max = 0\n\
         smtp_accept_queue_per_connection = 0\nsmtp_accept_max_nonmail = 1000\n\
         begin acl\n\
         connect:\n accept\n  logwrite = lab connect $sender_host_address $sender_host_port $received_ip_address\n\
         rcpt:\n accept\n  local_parts = ^n\n  logwrite = lab accepted\n deny\n  message = Unrouteable address\n  \
         logwrite = lab refused\n\
         data:\n deny\n  senders = ^refused-\n  message = not wanted here\n  logwrite = lab end\n discard\n  \
         logwrite = lab end\n",
        folder.display(),
        lab.display(),
        old.address(),
        new.address(),
    );
    let file = folder.join("exim.conf");
    fs::write(&file, conf).unwrap();
    let script =
        format!("{} exec /usr/sbin/exim4 -C {} -d-all+receive+pid -bdf", unpacked.mounts, file.display());
    let path = folder.join("diagnostics");
    let daemon = start(&[], &script, &path);
    [old, new].into_iter().for_each(wait_for_server);
    Log { mta: Mta::Exim, path, _daemon: Some(daemon) }
}

/// Tells smtpd that it wants to be told, and writes down all that it is told.
const OPENSMTPD_REPORTER: &str = "#!/bin/sh
while read -r line; do
    if [ \"$line\" = 'config|ready' ]; then
        for event in link-connect tx-rcpt tx-data tx-commit tx-rollback; do echo \"register|report|smtp-in|$event\"; done
        echo 'register|ready'
    fi
    echo \"$line\" >>REPORTS
done
";

/// A daemon for each version of TLS: OpenSSL's configuration says which.
pub fn opensmtpd(lab: &Path, unpacked: &Unpacked, tls: u8) -> Log {
    let server = Server { mta: Mta::OpenSmtpd, tls };
    let folder = lab.join(format!("opensmtpd-server-{tls}"));
    fs::create_dir_all(&folder).unwrap();
    let (reports, reporter) = (folder.join("reports"), folder.join("reporter"));
    fs::write(&reports, "").unwrap();
    fs::write(&reporter, OPENSMTPD_REPORTER.replace("REPORTS", reports.to_str().unwrap())).unwrap();
    for (path, mode) in [(&reports, 0o666), (&reporter, 0o755)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::copy(lab.join("key.pem"), folder.join("key.pem")).unwrap();
    fs::set_permissions(folder.join("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    let openssl = format!(
        "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = limits\n[limits]\n\
         MinProtocol = TLSv1.{tls}\nMaxProtocol = TLSv1.{tls}\n"
    );
    fs::write(folder.join("openssl.cnf"), openssl).unwrap();
    let conf = format!(
        "filter \"reporter\" proc-exec \"{0}\"\n\
         filter \"unwanted\" phase commit match mail-from regex \"^refused-\" reject \"550 not wanted here\"\n\
         filter \"both\" chain {{ \"reporter\", \"unwanted\" }}\n\
         pki mx.example.org cert \"{1}/cert.pem\"\npki mx.example.org key \"{2}/key.pem\"\n\
         listen on {3} port 25 tls pki mx.example.org hostname mx.example.org filter \"both\"\n\
         action \"out\" relay host smtp://127.0.0.1:9\nmatch from any for rcpt-to regex \"^n\" action \"out\"\n",
        reporter.display(),
        lab.display(),
        folder.display(),
        server.address()
    );
    fs::write(folder.join("smtpd.conf"), conf).unwrap();
    let script = format!(
        "{} OPENSSL_CONF={1}/openssl.cnf exec /usr/sbin/smtpd -dv -P mta -f {1}/smtpd.conf",
        unpacked.mounts,
        folder.display()
    );
    let daemon = start(&[], &script, &folder.join("diagnostics"));
    wait_for_server(server);
    Log { mta: Mta::OpenSmtpd, path: reports, _daemon: Some(daemon) }
}
