//! Landlock: the files and ports that stay reachable.
//!
//! *In*: [`Needs`]. *Out*: the kernel's version and what it lacks. *Spec*: landlock(7).

use super::Needs;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};
use std::path::{Path, PathBuf};

/// The newest version whose rights are used.
const NEWEST: ABI = ABI::V6;

/// What name resolution, certificates and time zones read, on every machine.
const ALWAYS_READ: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/localtime",
    "/etc/ld.so.cache",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/run/systemd/resolve",
    "/dev/urandom",
    "/dev/null",
    "/proc/self",
    "/proc/uptime",
];

/// Where programs and what they need lie, for command sinks.
const PROGRAMS: &[&str] = &["/bin", "/sbin", "/usr", "/lib", "/lib64", "/etc"];

/// Restricts this thread and all that it starts. Gives the kernel's version, and whether new privileges are barred.
pub fn restrict(needs: &Needs, missing: &mut Vec<String>) -> Result<(u32, bool), RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut write = AccessFs::from_all(NEWEST)
        & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSym);
    if needs.plays {
        write |= AccessFs::MakeSym;
    }
    let network = if needs.plays { AccessNet::ConnectTcp.into() } else { AccessNet::from_all(NEWEST) };
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(network)?;
    let scopes = scopes();
    let ruleset = if scopes.is_empty() { ruleset } else { ruleset.scope(scopes)? };
    let mut ruleset = ruleset
        .create()?
        .add_rules(path_beneath_rules(ALWAYS_READ, read))?
        .add_rules(path_beneath_rules(["/dev/null"], AccessFs::ReadFile | AccessFs::WriteFile))?
        .add_rules(path_beneath_rules(&needs.reads, read))?
        .add_rules(path_beneath_rules(&needs.writes, write))?
        .add_rules(path_beneath_rules(&needs.empties, AccessFs::RemoveDir))?;
    if !needs.runs.is_empty() {
        let run = read | AccessFs::Execute;
        ruleset = ruleset.add_rules(path_beneath_rules(PROGRAMS, run))?;
        ruleset = ruleset.add_rules(path_beneath_rules(&needs.runs, run))?;
    }
    let status = ports(ruleset, &needs.ports)?.restrict_self()?;
    let version = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as u32,
        _ => 0,
    };
    missing.extend(lacks(version));
    Ok((version, status.no_new_privs))
}

fn ports(mut ruleset: RulesetCreated, ports: &[u16]) -> Result<RulesetCreated, RulesetError> {
    // Long answers of name servers come over TCP.
    for port in ports.iter().chain(&[53]) {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    Ok(ruleset)
}

/// Signals and abstract sockets of other processes; but the service manager may listen on such a socket.
fn scopes() -> BitFlags<Scope> {
    let abstract_notify =
        std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| socket.as_encoded_bytes().starts_with(b"@"));
    if abstract_notify { Scope::Signal.into() } else { Scope::from_all(NEWEST) }
}

/// What the kernel's Landlock cannot do yet.
fn lacks(version: u32) -> Vec<String> {
    let parts: &[(u32, &str)] = &[
        (1, "this kernel has no Landlock (5.13 and later): files are not restricted"),
        (3, "this kernel's Landlock cannot forbid to truncate files (6.2 and later)"),
        (4, "this kernel's Landlock cannot restrict TCP ports (6.7 and later)"),
        (6, "this kernel's Landlock cannot restrict signals and abstract sockets (6.12 and later)"),
    ];
    parts.iter().filter(|(needed, _)| version < *needed).map(|(_, says)| (*says).to_owned()).collect()
}

/// A path without links, as far as it exists.
pub fn resolved(path: &Path) -> PathBuf {
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if !parent.as_os_str().is_empty() => resolved(parent).join(name),
        _ => path.to_owned(),
    }
}
