//! Real mail servers for tests: what is missing to run them, packages unpacked beside Postfix, namespaces.

#![allow(clippy::unwrap_used)] // a test fails loudly
#![allow(dead_code)] // each test crate uses its part

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set in the process that runs inside the namespaces.
pub const INSIDE: &str = "PORTREEVE_SERVERS_INSIDE";

/// A number from the environment, or the usual one.
pub fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

pub fn ip(words: &str) {
    assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
}

const POSTFIX_MASTER: &str = "\
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
retry unix - - n - - error
error unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
";

/// Starts a Postfix of its own. `main` and `master` are added to what each one needs. Its log.
pub fn start_postfix(folder: &Path, netns: &[&str], main: &str, master: &str) -> PathBuf {
    for name in ["conf", "queue", "data", "log"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    let main = format!(
        "compatibility_level = 3.7\nqueue_directory = {0}/queue\ndata_directory = {0}/data\n\
         maillog_file = {0}/log/mail.log\nmaillog_file_prefixes = {0}\nmydestination =\ninet_protocols = ipv4\n\
         disable_dns_lookups = yes\nalias_maps =\nnotify_classes =\nenable_long_queue_ids = yes\n{main}",
        folder.display()
    );
    let conf = folder.join("conf");
    fs::write(conf.join("main.cf"), main).unwrap();
    fs::write(conf.join("master.cf"), format!("{POSTFIX_MASTER}{master}")).unwrap();
    assert!(Command::new("chown").arg("postfix").arg(folder.join("data")).status().unwrap().success());
    let postfix = |word: &str| {
        let words = [netns, &["postfix", "-c", conf.to_str().unwrap(), word]].concat();
        Command::new(words[0]).args(&words[1..]).stderr(Stdio::null()).status().unwrap()
    };
    postfix("check");
    assert!(postfix("start").success(), "postfix starts");
    folder.join("log/mail.log")
}

/// Unpacks packages that cannot be installed beside Postfix. `None` where they cannot be had.
pub fn unpacked(name: &str, packages: &str, program: &str) -> Option<PathBuf> {
    fetched(name, packages, program, &format!("apt-get download -qq {packages}"))
}

/// Unpacks what a shell command fetches, unless all packages are there.
fn fetched(name: &str, packages: &str, program: &str, fetch: &str) -> Option<PathBuf> {
    let folder = PathBuf::from("/var/cache/portreeve-lab").join(name);
    let there = |package: &str| {
        let begins = format!("{package}_");
        let mut entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        entries.any(|entry| entry.file_name().to_string_lossy().starts_with(&begins))
    };
    if !packages.split(' ').all(there) {
        let script = format!(
            "mkdir -p {0} && cd {0} && {fetch} && for p in *.deb; do dpkg -x $p .; done",
            folder.display()
        );
        let _ = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).stdout(Stdio::null()).status();
    }
    folder.join(program).exists().then_some(folder)
}

/// Exim and what it needs, unpacked.
pub fn unpacked_exim() -> Option<PathBuf> {
    unpacked("exim", "exim4-daemon-light exim4-base libidn12", "usr/sbin/exim4")
}

/// OpenSMTPD and what it needs, unpacked.
pub fn unpacked_opensmtpd() -> Option<PathBuf> {
    unpacked("opensmtpd", "opensmtpd libevent-2.1-7", "usr/sbin/smtpd")
}

/// OpenSMTPD of Debian 11, built with OpenSSL 1.1: that of Debian 12 cannot be a TLS server (its way to keep the private
/// key in a process of its own does not work with OpenSSL 3: "missing private key").
pub fn unpacked_opensmtpd_tls_server() -> Option<PathBuf> {
    let fetch = "mkdir -p lists/partial && \
        echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bullseye main' >list && \
        old=\"-o Dir::Etc::sourcelist=$PWD/list -o Dir::Etc::sourceparts=- -o Dir::State::lists=$PWD/lists\" && \
        apt-get $old update -qq && apt-get $old download -qq opensmtpd libssl1.1 && apt-get download -qq libevent-2.1-7";
    fetched("opensmtpd-openssl1", "opensmtpd libssl1.1 libevent-2.1-7", "usr/sbin/smtpd", fetch)
}

/// Runs a test of this file again, where there is no network but ours.
pub fn in_namespaces(test: &str, first: &str) {
    let me = std::env::current_exe().unwrap();
    let script = format!(
        "set -e; mount --make-rprivate /; {first} ip link set lo up; ip link add v1 type veth peer name v0; \
         ip link set v1 up; ip address add 203.0.113.7/24 dev v1; ip route add 192.0.2.0/24 dev v1; \
         exec {} --exact {test} --nocapture",
        me.display()
    );
    let namespaces =
        ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &script];
    assert!(Command::new("unshare").args(namespaces).env(INSIDE, "1").status().unwrap().success());
}

/// Whether a program is installed.
pub fn has(name: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|dir| Path::new(dir).join(name).exists())
}

/// What is missing to run a server here.
pub fn missing() -> Option<&'static str> {
    let needs = [
        (nix::unistd::Uid::effective().is_root(), "root"),
        (has("unshare"), "unshare"),
        (
            Command::new("unshare")
                .args(["--net", "--mount", "true"])
                .status()
                .is_ok_and(|status| status.success()),
            "the right to make namespaces",
        ),
        (has("ip"), "ip (.ci/install iproute2)"),
    ];
    needs.into_iter().find(|(there, _)| !there).map(|(_, what)| what)
}

/// Users of a server that is not installed, for a namespace alone: keep until it is mounted.
pub struct Users {
    _files: [tempfile::NamedTempFile; 2],
    pub mount: String,
}

pub fn users(passwd: &str, group: &str) -> Users {
    let with = |path: &str, entries: &str| {
        let known = fs::read_to_string(path).unwrap();
        let mut copy = tempfile::NamedTempFile::new().unwrap();
        copy.write_all(known.as_bytes()).unwrap();
        let first = entries.split(':').next().unwrap();
        if !known.lines().any(|line| line.starts_with(&format!("{first}:"))) {
            copy.write_all(entries.as_bytes()).unwrap();
        }
        fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o644)).unwrap();
        copy
    };
    let files = [with("/etc/passwd", passwd), with("/etc/group", group)];
    let mount = format!(
        "mount --bind {} /etc/passwd; mount --bind {} /etc/group;",
        files[0].path().display(),
        files[1].path().display()
    );
    Users { _files: files, mount }
}
