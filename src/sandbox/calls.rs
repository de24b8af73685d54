//! seccomp: the system calls that stay possible. Any other is answered as by a kernel that does not know it, so that
//! libraries take the way they have for old kernels; nothing dies.
//!
//! *In*: whether programs are run, and sockets listened on. *Out*: a filter for all threads. *Spec*: seccomp(2), syscalls(2).

use super::Needs;
use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::collections::BTreeMap;

/// Calls that are possible with any arguments.
#[rustfmt::skip]
const CALLS: &[c_long] = &[
    // Files that are open, or that Landlock lets us open.
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64,
    libc::SYS_lseek, libc::SYS_close, libc::SYS_openat, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx,
    libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_fcntl, libc::SYS_flock, libc::SYS_fsync,
    libc::SYS_fdatasync, libc::SYS_ftruncate, libc::SYS_fallocate, libc::SYS_unlinkat, libc::SYS_renameat,
    libc::SYS_renameat2, libc::SYS_mkdirat, libc::SYS_getdents64, libc::SYS_readlinkat, libc::SYS_getcwd,
    libc::SYS_fchmod, libc::SYS_fchown, libc::SYS_fchmodat, libc::SYS_fstatfs, libc::SYS_copy_file_range, libc::SYS_sendfile, libc::SYS_capget,
    libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch, libc::SYS_statfs,
    // Memory and threads.
    libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_brk, libc::SYS_futex, libc::SYS_exit,
    libc::SYS_exit_group, libc::SYS_set_robust_list, libc::SYS_rseq, libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity, libc::SYS_gettid, libc::SYS_getpid, libc::SYS_tgkill,
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_sigaltstack,
    libc::SYS_restart_syscall, libc::SYS_membarrier,
    // Time, chance, identity.
    libc::SYS_clock_gettime, libc::SYS_clock_nanosleep, libc::SYS_nanosleep, libc::SYS_getrandom,
    libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getrusage, libc::SYS_getuid, libc::SYS_geteuid,
    libc::SYS_getgid, libc::SYS_getegid,
    // Waiting.
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2, libc::SYS_pipe2, libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_dup, libc::SYS_dup3,
    // Sockets of the families below.
    libc::SYS_connect, libc::SYS_bind, libc::SYS_accept4, libc::SYS_getsockname, libc::SYS_getpeername,
    libc::SYS_setsockopt, libc::SYS_getsockopt, libc::SYS_sendto, libc::SYS_recvfrom, libc::SYS_sendmsg,
    libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg, libc::SYS_shutdown,
];

/// Older names of the same that x86-64 still has, and that libraries still use.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLD_CALLS: &[c_long] = &[
    libc::SYS_open, libc::SYS_chmod, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_poll, libc::SYS_select,
    libc::SYS_epoll_wait, libc::SYS_unlink, libc::SYS_rename, libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_readlink,
    libc::SYS_gettimeofday, libc::SYS_time, libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[c_long] = &[];

/// Families and kinds of sockets: to receivers of alerts, name servers and the service manager; the kernel's list of
/// addresses. No raw ones: they forge packets.
const SOCKETS: &[(i32, i32)] = &[
    (libc::AF_UNIX, libc::SOCK_STREAM),
    (libc::AF_UNIX, libc::SOCK_DGRAM),
    (libc::AF_INET, libc::SOCK_STREAM),
    (libc::AF_INET, libc::SOCK_DGRAM),
    (libc::AF_INET6, libc::SOCK_STREAM),
    (libc::AF_INET6, libc::SOCK_DGRAM),
    (libc::AF_NETLINK, libc::SOCK_RAW),
];

/// What may be asked of an open descriptor: to block or not, what waits in it, whether an interface is up, whether it is
/// a terminal.
const IOCTLS: &[u64] = &[libc::FIONBIO, libc::FIONREAD, libc::TIOCOUTQ, libc::SIOCGIFFLAGS, libc::TCGETS];

/// Calls that are forbidden where programs are run, which may need any other.
#[rustfmt::skip]
const DANGEROUS: &[c_long] = &[
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_mount, libc::SYS_umount2,
    libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_unshare, libc::SYS_setns, libc::SYS_bpf,
    libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key,
    libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_kexec_load, libc::SYS_reboot,
    libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_acct, libc::SYS_settimeofday, libc::SYS_clock_settime,
    libc::SYS_adjtimex, libc::SYS_sethostname, libc::SYS_setdomainname, libc::SYS_syslog, libc::SYS_quotactl,
    libc::SYS_io_uring_setup, libc::SYS_open_by_handle_at, libc::SYS_personality, libc::SYS_listen,
    libc::SYS_mknodat,
];

/// Restricts all threads.
pub fn restrict(needs: &Needs) -> Result<(), String> {
    let unknown = SeccompAction::Errno(libc::ENOSYS as u32);
    let (rules, otherwise, matched) = if !needs.runs.is_empty() {
        let mut rules = plain(DANGEROUS);
        if needs.plays {
            rules.remove(&libc::SYS_listen);
        }
        (rules, SeccompAction::Allow, unknown)
    } else {
        (allowed().map_err(|error| error.to_string())?, unknown, SeccompAction::Allow)
    };
    let machine = std::env::consts::ARCH.try_into().map_err(|error| format!("{error}"))?;
    let filter = SeccompFilter::new(rules, otherwise, matched, machine).map_err(|error| error.to_string())?;
    let program: BpfProgram = filter.try_into().map_err(|error| format!("{error}"))?;
    seccompiler::apply_filter_all_threads(&program).map_err(|error| error.to_string())
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

fn plain(calls: &[c_long]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

fn allowed() -> Result<Rules, BackendError> {
    let mut rules = plain(CALLS);
    rules.extend(plain(OLD_CALLS));
    // Memory is never both written and run; no library is loaded later.
    let exec = libc::PROT_EXEC as u64;
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, any_of([vec![argument(2, SeccompCmpOp::MaskedEq(exec), 0)?]])?);
    }
    // Threads, not processes. (Libraries try clone3 first; its flags cannot be looked at.)
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(libc::SYS_clone, any_of([vec![argument(0, SeccompCmpOp::MaskedEq(thread), thread)?]])?);
    // Limits are asked for, not set: the pointer to new ones is null.
    let null = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    rules.insert(libc::SYS_prlimit64, any_of([vec![null]])?);
    // A thread gives itself a name.
    rules.insert(libc::SYS_prctl, one_of(0, &[libc::PR_SET_NAME as u64])?);
    rules.insert(libc::SYS_ioctl, one_of(1, IOCTLS)?);
    rules.insert(libc::SYS_socketpair, one_of(0, &[libc::AF_UNIX as u64])?);
    let mut sockets = Vec::new();
    for (family, kind) in SOCKETS {
        let family = argument(0, SeccompCmpOp::Eq, *family as u64)?;
        sockets.push(vec![family, argument(1, SeccompCmpOp::MaskedEq(0xf), *kind as u64)?]);
    }
    rules.insert(libc::SYS_socket, any_of(sockets)?);
    Ok(rules)
}

fn argument(index: u8, compare: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, compare, value)
}

/// Whether an argument is one of some values.
fn one_of(index: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    let conditions: Result<Vec<_>, _> =
        values.iter().map(|value| Ok(vec![argument(index, SeccompCmpOp::Eq, *value)?])).collect();
    any_of(conditions?)
}

/// Any of some groups of conditions that must hold together.
fn any_of(groups: impl IntoIterator<Item = Vec<SeccompCondition>>) -> Result<Vec<SeccompRule>, BackendError> {
    groups.into_iter().map(SeccompRule::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_and_names_no_call_twice() {
        let rules = allowed().unwrap();
        assert_eq!(plain(CALLS).len(), CALLS.len());
        for forbidden in
            [libc::SYS_execve, libc::SYS_ptrace, libc::SYS_kill, libc::SYS_listen, libc::SYS_mount]
        {
            assert!(!rules.contains_key(&forbidden));
        }
    }
}
