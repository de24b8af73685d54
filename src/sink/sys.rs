//! The one question to the kernel that no safe interface asks.

use std::io;
use std::os::fd::AsRawFd;
use tokio::net::TcpStream;

/// Bytes written to a TCP socket, its closing mark included, that the other side has not acknowledged yet
/// (`SIOCOUTQ`, tcp(7)).
#[allow(unsafe_code)]
pub fn unacknowledged_bytes(stream: &TcpStream) -> io::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open while `stream` is borrowed; TIOCOUTQ writes one int to the pointer given,
    // which points to a live one.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &mut bytes as *mut libc::c_int) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(bytes.max(0) as u32) }
}
