//! Clients that are a queue of their own for each visit: what is queued together goes in one session.

use super::clients::{Mode, NETNS};
use super::mix::{Letter, Visit};
use super::places::{Client, Server};
use super::servers::Unpacked;
use crate::servers_support::unpacked;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Holds visits with Exim: the queue runner hands an open session on from message to message.
pub fn exim(lab: &Path, unpacked: &Unpacked, server: Server, mode: Mode, visits: &[Visit]) {
    let folder = lab.join(format!("exim-client-{}-{}", server.octet(), mode as u8));
    let etc = folder.join("etc/exim4");
    fs::create_dir_all(&etc).unwrap();
    fs::create_dir_all(folder.join("spool")).unwrap();
    let security = if mode == Mode::Tls { "" } else { "hosts_avoid_tls = *" };
    let conf = format!(
        "primary_hostname = out.example.net\nspool_directory = {0}/spool\nlog_file_path = {0}/spool/%slog\n\
         qualify_domain = client.example.net\nkeep_environment =\nhost_lookup =\nqueue_only = true\n\
         begin routers\n\
         bounces:\n driver = redirect\n domains = client.example.net\n data = :blackhole:\n\
         out:\n driver = manualroute\n transport = out\n route_list = * {1}\n\
         begin transports\n\
         out:\n driver = smtp\n interface = {2}\n {security}\n",
        folder.display(),
        server.address(),
        Client::Exim.address(0),
    );
    fs::write(etc.join("exim4.conf"), conf).unwrap();
    // Exim trusts no configuration but the one that it was built with.
    let first = format!(
        "mount -t overlay overlay -o lowerdir={0}/etc:/etc /etc; {1} chown 8 {0}/spool\n",
        folder.display(),
        unpacked.mounts
    );
    hold(&folder, &first, "exim4", "-qq", visits);
}

/// For each visit: queues its letters, then runs the queue.
fn hold(folder: &Path, first: &str, program: &str, run: &str, visits: &[Visit]) {
    let mut script = first.to_owned();
    let letters = folder.join("letters");
    fs::create_dir_all(&letters).unwrap();
    for (at, visit) in visits.iter().enumerate() {
        for (nth, Letter { from, to, text }) in visit.iter().enumerate() {
            let path = letters.join(format!("{at}-{nth}"));
            fs::write(&path, text.replace("\r\n", "\n")).unwrap();
            script += &format!("{program} -odq -oi -f {from} -- {} <{}\n", to.join(" "), path.display());
        }
        // A refused letter is a failure to some.
        script += &format!("{program} {run} || true\n");
    }
    let (path, diagnostics) = (folder.join("script"), folder.join("diagnostics"));
    fs::write(&path, script).unwrap();
    let out = fs::File::create(&diagnostics).unwrap();
    let status = Command::new(NETNS[0])
        .args(&NETNS[1..])
        .args(["sh".as_ref(), "-e".as_ref(), path.as_os_str()])
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .status()
        .unwrap();
    assert!(status.success(), "{}: {}", folder.display(), fs::read_to_string(diagnostics).unwrap());
}

/// Sendmail, unpacked. `None` where Debian's packages cannot be had.
pub fn unpack_sendmail() -> Option<String> {
    let packages =
        "sendmail-bin sendmail-cf m4 libmilter1.0.1 liblockfile1 libwrap0 libsasl2-2 libldap-2.5-0";
    let sendmail = unpacked("sendmail", packages, "usr/libexec/sendmail/sendmail")?;
    Some(format!("mount -t overlay overlay -o lowerdir={}/usr:/usr /usr;", sendmail.display()))
}

/// Holds visits with Sendmail: a queue run keeps its connection from message to message.
pub fn sendmail(lab: &Path, mounts: &str, server: Server, mode: Mode, visits: &[Visit]) {
    let folder = lab.join(format!("sendmail-client-{}-{}", server.octet(), mode as u8));
    fs::create_dir_all(folder.join("queue")).unwrap();
    let mc = include_str!("sendmail.mc")
        .replace("@SERVER@", &server.address().to_string())
        .replace("@SOURCE@", &Client::Sendmail.address(0).to_string())
        .replace("@FOLDER@", folder.to_str().unwrap())
        .replace("@TRY_TLS@", if mode == Mode::Tls { "$@ OK" } else { "$#error $@ 4.7.1 $: \"no TLS\"" });
    fs::write(folder.join("sendmail.mc"), mc).unwrap();
    fs::write(folder.join("switch"), "hosts files\naliases files\n").unwrap();
    // Any user of ours is known: no bounce may leave.
    let first = format!(
        "{mounts} m4 -D_CF_DIR_=/usr/share/sendmail/cf/ {0}/sendmail.mc | sed 's/lsDFMAw5/lsDFMA/' >{0}/sendmail.cf;\n",
        folder.display()
    );
    let sendmail = format!("/usr/libexec/sendmail/sendmail -C {}/sendmail.cf", folder.display());
    hold(&folder, &first, &sendmail, "-qf", visits);
}
