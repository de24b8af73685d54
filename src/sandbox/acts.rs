//! Twenty-five forbidden acts: what an intruder would try first. `portreeve check --sandbox` tries them in a process
//! that has entered the sandbox, and says which were denied.
//!
//! *In*: a directory outside of what is granted, with a file in it. *Out*: for each act whether it was denied.
//! *Bound*: none. Every act is harmless where it succeeds.

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::Pid;
use std::fs::File;
use std::io;
use std::path::Path;

/// An act by its name.
pub struct Act {
    /// What is tried.
    pub name: &'static str,
    try_it: fn(&Path) -> io::Result<()>,
}

/// Name of the file that the given directory must hold.
pub const BAIT: &str = "bait";

/// All acts.
pub const ACTS: &[Act] = &[
    Act { name: "read the password hashes", try_it: |_| File::open("/etc/shadow").map(drop) },
    Act { name: "read another process's environment", try_it: |_| File::open("/proc/1/environ").map(drop) },
    Act { name: "read a file of others", try_it: |bait| File::open(bait.join(BAIT)).map(drop) },
    Act { name: "list a directory of others", try_it: |bait| std::fs::read_dir(bait).map(drop) },
    Act { name: "create a file beside it", try_it: |bait| File::create(bait.join("made")).map(drop) },
    Act { name: "overwrite it", try_it: |bait| File::options().write(true).open(bait.join(BAIT)).map(drop) },
    Act { name: "change a setting of the kernel", try_it: kernel_setting },
    Act { name: "make a directory", try_it: |bait| std::fs::create_dir(bait.join("directory")) },
    Act { name: "make a link", try_it: |bait| std::os::unix::fs::symlink("/etc", bait.join("link")) },
    Act { name: "make a device", try_it: make_device },
    Act {
        name: "rename a file of others",
        try_it: |bait| std::fs::rename(bait.join(BAIT), bait.join("other")),
    },
    Act { name: "give a file to another user", try_it: |bait| std::os::unix::fs::chown(bait, Some(1), None) },
    Act { name: "run a program", try_it: |_| std::process::Command::new("/bin/true").status().map(drop) },
    Act { name: "capture packets", try_it: |_| open_socket(AddressFamily::Packet, SockType::Raw, None) },
    Act {
        name: "forge packets",
        try_it: |_| open_socket(AddressFamily::Inet, SockType::Raw, Some(SockProtocol::Icmp)),
    },
    Act {
        name: "open a socket to the kernel's ciphers",
        try_it: |_| open_socket(AddressFamily::Alg, SockType::SeqPacket, None),
    },
    Act { name: "listen on a port", try_it: |_| std::net::TcpListener::bind("127.0.0.1:0").map(drop) },
    Act {
        name: "connect to a port that is not configured",
        try_it: |_| std::net::TcpStream::connect("127.0.0.1:9").map(drop),
    },
    Act {
        name: "send a signal to another process",
        try_it: |_| done(nix::sys::signal::kill(Pid::parent(), None)),
    },
    Act { name: "trace another process", try_it: |_| done(nix::sys::ptrace::detach(Pid::parent(), None)) },
    Act {
        name: "read another process's memory",
        try_it: |_| done(nix::sys::uio::process_vm_readv(Pid::parent(), &mut [], &[])),
    },
    Act { name: "gain a capability", try_it: gain_capability },
    Act { name: "mount a file system", try_it: mount },
    Act { name: "make a user namespace", try_it: |_| done(nix::sched::unshare(CloneFlags::CLONE_NEWUSER)) },
    Act { name: "change the root directory", try_it: |_| done(nix::unistd::chroot("/")) },
];

/// What came of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel said no.
    Denied,
    /// It was possible, whether or not it then succeeded.
    Possible(String),
}

impl Act {
    /// Tries it.
    pub fn attempt(&self, outside: &Path) -> Outcome {
        match (self.try_it)(outside) {
            Ok(()) => Outcome::Possible("it succeeded".to_owned()),
            Err(error) => match error.raw_os_error() {
                Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => Outcome::Denied,
                _ => Outcome::Possible(format!("it failed for another reason: {error}")),
            },
        }
    }
}

fn done<T>(result: Result<T, Errno>) -> io::Result<()> {
    result.map(drop).map_err(io::Error::from)
}

fn open_socket(family: AddressFamily, kind: SockType, protocol: Option<SockProtocol>) -> io::Result<()> {
    done(socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol))
}

fn kernel_setting(_: &Path) -> io::Result<()> {
    File::options().write(true).open("/proc/sys/kernel/hostname").map(drop)
}

fn make_device(bait: &Path) -> io::Result<()> {
    let null = nix::sys::stat::makedev(1, 3);
    done(mknod(&bait.join("device"), SFlag::S_IFCHR, Mode::S_IRUSR, null))
}

fn gain_capability(_: &Path) -> io::Result<()> {
    // The crate hides the error's number; the kernel knows but one reason.
    caps::raise(None, caps::CapSet::Effective, caps::Capability::CAP_NET_RAW)
        .map_err(|_| io::Error::from_raw_os_error(libc::EPERM))
}

fn mount(_: &Path) -> io::Result<()> {
    let flags = nix::mount::MsFlags::empty();
    done(nix::mount::mount(Some("none"), "/", Some("no-such-file-system"), flags, None::<&str>))
}
