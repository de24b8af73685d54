//! Least privilege: what the process does not need is taken from it before it reads the first hostile byte.
//!
//! *In*: [`Needs`], known from the configuration. *Out*: a process that can do little else, and a [`State`] that
//! says how little. *Bound*: none. *Spec*: capabilities(7), landlock(7), seccomp(2); docs/operations.md.
//!
//! Interfaces and listening sockets are opened before; they stay open. Then, in this order: another user, no
//! capabilities, no core dumps, no new privileges, only the files and ports that are needed (Landlock), only the
//! calls that are needed (seccomp). All of it holds for the threads that are started later, so this is called
//! while there is one thread.

pub mod acts;
mod calls;
mod paths;

use caps::{CapSet, Capability};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, User, setgroups, setresgid, setresuid};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What a process must still be able to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Files and directories that are read.
    pub reads: Vec<PathBuf>,
    /// Directories that are written in.
    pub writes: Vec<PathBuf>,
    /// A directory from which an own, empty directory is removed at the end.
    pub empties: Vec<PathBuf>,
    /// TCP ports that are connected to.
    pub ports: Vec<u16>,
    /// Programs that are run.
    pub runs: Vec<PathBuf>,
    /// Whether it also plays its neighbours, as tests do: sockets may still be opened to listen on, and symbolic links be
    /// made. The service opens its own sockets before, and makes no links.
    pub plays: bool,
    /// User to become, where the process was started as root.
    pub user: Option<String>,
}

impl Needs {
    /// What another configuration would need beyond this one; `None` where all of it is granted.
    pub fn lacks(&self, other: &Needs) -> Option<String> {
        let outside = |path: &&PathBuf, granted: &[PathBuf]| {
            !granted.iter().any(|root| paths::resolved(path).starts_with(paths::resolved(root)))
        };
        let readable: Vec<PathBuf> = self.reads.iter().chain(&self.writes).cloned().collect();
        if let Some(path) = other.reads.iter().find(|path| outside(path, &readable)) {
            return Some(format!("{} may not be read", path.display()));
        }
        if let Some(path) = other.writes.iter().find(|path| outside(path, &self.writes)) {
            return Some(format!("{} may not be written", path.display()));
        }
        if let Some(port) = other.ports.iter().find(|port| !self.ports.contains(port)) {
            return Some(format!("port {port} may not be connected to"));
        }
        let program = other.runs.iter().find(|program| !self.runs.contains(program));
        program.map(|program| format!("{} may not be run", program.display()))
    }
}

/// How little the process can do now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct State {
    /// Whether any of this was asked for.
    pub enabled: bool,
    /// User id it runs as.
    pub uid: u32,
    /// Capabilities it still has.
    pub capabilities: usize,
    /// Whether it can never gain privileges again.
    pub no_new_privs: bool,
    /// Version of the kernel's Landlock; 0 where there is none.
    pub landlock: u32,
    /// Whether only the listed calls are possible.
    pub seccomp: bool,
    /// What this kernel or this configuration does not give, one sentence each.
    pub missing: Vec<String>,
}

impl State {
    /// Nothing was taken away.
    pub fn off() -> State {
        let missing = vec!["switched off by [sandbox] enabled = false".to_owned()];
        State { missing, uid: Uid::current().as_raw(), capabilities: held(), ..State::default() }
    }

    /// One line for the log.
    pub fn describe(&self) -> String {
        let part = |name: &str, holds: bool| format!("{name} {}", if holds { "on" } else { "off" });
        let landlock = match self.landlock {
            0 => "landlock off".to_owned(),
            version => format!("landlock {version}"),
        };
        let mut text = format!(
            "sandbox: user {}, {} capabilities, {}, {landlock}, {}",
            self.uid,
            self.capabilities,
            part("no_new_privs", self.no_new_privs),
            part("seccomp", self.seccomp)
        );
        for missing in &self.missing {
            text.push_str("; ");
            text.push_str(missing);
        }
        text
    }
}

/// Takes up the right to open interfaces where the program's file only permits it (`setcap cap_net_raw+p`). With `+ep` the
/// kernel would refuse to start the program at all where that right cannot be had, as in a container that reads logs only.
pub fn take_up_capture() {
    if caps::has_cap(None, CapSet::Permitted, Capability::CAP_NET_RAW).unwrap_or(false) {
        let _ = caps::raise(None, CapSet::Effective, Capability::CAP_NET_RAW);
    }
}

/// Gives up everything that is not needed. What the kernel does not know is left out and said; what it knows and
/// refuses is an error.
pub fn enter(needs: &Needs) -> Result<State, String> {
    let mut state = State { enabled: true, ..State::default() };
    let fail = |what: &str, error: &dyn std::fmt::Display| format!("sandbox: {what}: {error}");
    become_user(needs, &mut state).map_err(|error| fail("user", &error))?;
    drop_capabilities().map_err(|error| fail("capabilities", &error))?;
    bar_core_dumps().map_err(|error| fail("core dumps", &error))?;
    (state.landlock, state.no_new_privs) =
        paths::restrict(needs, &mut state.missing).map_err(|error| fail("landlock", &error))?;
    if !needs.runs.is_empty() {
        state.missing.push(
            "programs are run (a command sink, journalctl), so only dangerous calls are forbidden".to_owned(),
        );
    }
    calls::restrict(needs).map_err(|error| fail("seccomp", &error))?;
    (state.seccomp, state.no_new_privs) = (true, true);
    (state.uid, state.capabilities) = (Uid::current().as_raw(), held());
    Ok(state)
}

/// Becomes the named user. The state directory is given to it first.
fn become_user(needs: &Needs, state: &mut State) -> Result<(), String> {
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let Some(name) = &needs.user else {
        state.missing.push("the user is still root, without its powers: set [sandbox] user".to_owned());
        return Ok(());
    };
    let user = User::from_name(name).map_err(|error| error.to_string())?;
    let user =
        user.ok_or_else(|| format!("{name} is unknown: make it, or name another in [sandbox] user"))?;
    for directory in needs.writes.iter().filter(|directory| directory.join("state.db").exists()) {
        give(directory, user.uid, user.gid)?;
    }
    for directory in needs.writes.iter().filter(|directory| is_empty(directory)) {
        give(directory, user.uid, user.gid)?;
    }
    // Only root may drop the bounding set, so it goes first.
    let _ = caps::clear(None, CapSet::Bounding);
    setgroups(&[user.gid]).map_err(|error| error.to_string())?;
    setresgid(user.gid, user.gid, user.gid).map_err(|error| error.to_string())?;
    setresuid(user.uid, user.uid, user.uid).map_err(|error| error.to_string())
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

/// Gives a directory of ours, and the files in it, to a user. Links are given as links.
fn give(directory: &Path, uid: Uid, gid: Gid) -> Result<(), String> {
    let chown = |path: &Path| {
        std::os::unix::fs::lchown(path, Some(uid.as_raw()), Some(gid.as_raw()))
            .map_err(|error| format!("{}: {error}", path.display()))
    };
    chown(directory)?;
    let entries =
        std::fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    entries.flatten().try_for_each(|entry| chown(&entry.path()))
}

/// What was learned of people must not lie in a core dump. The service manager may have seen to it, and then forbids
/// to set limits.
fn bar_core_dumps() -> Result<(), nix::errno::Errno> {
    match getrlimit(Resource::RLIMIT_CORE)? {
        (0, 0) => Ok(()),
        _ => setrlimit(Resource::RLIMIT_CORE, 0, 0),
    }
}

fn drop_capabilities() -> Result<(), caps::errors::CapsError> {
    let sets = [CapSet::Inheritable, CapSet::Permitted];
    if sets.iter().all(|set| caps::read(None, *set).is_ok_and(|held| held.is_empty())) {
        return Ok(());
    }
    // Without CAP_SETPCAP the bounding set stays; nothing can be gained from it under no_new_privs.
    let _ = caps::clear(None, CapSet::Bounding);
    let _ = caps::clear(None, CapSet::Ambient);
    caps::clear(None, CapSet::Inheritable)?;
    caps::clear(None, CapSet::Effective)?;
    caps::clear(None, CapSet::Permitted)
}

/// Capabilities that are permitted.
fn held() -> usize {
    caps::read(None, CapSet::Permitted).map_or(0, |held| held.len())
}
