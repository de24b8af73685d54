//! The requests to the kernel that neither libpcap nor a safe interface makes: packet sockets that share their packets.
//!
//! *In*: a packet socket. *Out*: the same, in a group. *Bound*: none. *Spec*: packet(7), `PACKET_FANOUT`.
//!
//! Linux deals packets by `__skb_get_hash_symmetric`: both ways of a connection have one hash. The hash is of what its flow
//! dissector finds: below VLAN tags, PPPoE, GRE and IP in IP it finds the inner connection; VXLAN and Geneve are UDP to it,
//! with a source port that differs by direction.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError};

const PACKET_FANOUT: libc::c_int = 18;
/// `PACKET_FANOUT_HASH` with `PACKET_FANOUT_FLAG_DEFRAG`: fragments of IPv4 go where the whole would go.
const HASH_DEFRAG: libc::c_int = 0x8000 << 16;
/// `PACKET_FANOUT_FLAG_UNIQUEID`: the kernel chooses a number that no other program has.
const UNIQUE: libc::c_int = 0x2000 << 16;

/// Captures of one interface that share its packets by connection. Clones are the same group.
#[derive(Clone, Debug, Default)]
pub struct Fanout(Arc<Mutex<Option<Group>>>);

#[derive(Clone, Copy, Debug)]
struct Group {
    /// The kernel's number of the interface. One that was made anew needs another group: the members left behind hold the
    /// old one.
    interface: Option<u32>,
    number: u16,
}

impl Fanout {
    /// Joins a socket; the first one makes the group.
    pub(super) fn join(&self, socket: RawFd, interface: Option<u32>) -> io::Result<()> {
        let mut group = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *group {
            Some(known) if known.interface == interface => {
                set_fanout(socket, HASH_DEFRAG | libc::c_int::from(known.number))
            }
            _ => {
                set_fanout(socket, HASH_DEFRAG | UNIQUE)?;
                *group = Some(Group { interface, number: fanout_number(socket)? });
                Ok(())
            }
        }
    }
}

#[allow(unsafe_code)]
fn set_fanout(socket: RawFd, value: libc::c_int) -> io::Result<()> {
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

/// The number of the group that a socket is in: the lower half of what the kernel says.
#[allow(unsafe_code)]
fn fanout_number(socket: RawFd) -> io::Result<u16> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: as above; the kernel writes at most `length` bytes to `value`, and the length to `length`, both live.
    let result = unsafe {
        libc::getsockopt(socket, libc::SOL_PACKET, PACKET_FANOUT, (&raw mut value).cast(), &raw mut length)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok((value & 0xffff) as u16) }
}
