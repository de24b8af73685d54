//! The one request to the kernel that neither libpcap nor a safe interface makes.
//!
//! *In*: a packet socket. *Out*: the same, in a group. *Bound*: none. *Spec*: packet(7).

use std::io;
use std::os::fd::RawFd;

/// Linux: `PACKET_FANOUT` of packet(7), with `PACKET_FANOUT_HASH` and `PACKET_FANOUT_FLAG_DEFRAG`.
const PACKET_FANOUT: libc::c_int = 18;
const FANOUT_HASH_DEFRAG: libc::c_int = 0x8000 << 16;

/// Joins a packet socket to a group whose members share the packets: all of one connection, both ways, go to one.
#[allow(unsafe_code)]
pub(super) fn join_fanout(socket: RawFd, group: u16) -> io::Result<()> {
    let value: libc::c_int = FANOUT_HASH_DEFRAG | libc::c_int::from(group);
    // SAFETY: a descriptor that is not open, or no packet socket, is an error and no more; the kernel reads one int
    // from the pointer given, which points to a live one of the size given.
    let result = unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_PACKET,
            PACKET_FANOUT,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
