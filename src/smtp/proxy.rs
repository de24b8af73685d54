//! SMTP inside a dialogue with a proxy: SOCKS 4 and 5, HTTP CONNECT.
//!
//! *In*: the first octets of a client that speaks first. *Out*: [`Oddity::Proxied`], then the SMTP inside. *Bound*: none
//! of its own: what is said to the proxy is not kept. *Spec*: RFC 1928 sections 3 and 4, the SOCKS 4 protocol memo
//! (OpenSSH, `SOCKS4.protocol`), RFC 9110 section 9.3.6.
//!
//! An SMTP client waits for the greeting. One that speaks first, in the words of a proxy's client, is a spam engine that
//! goes out through somebody else's machine, or an own machine that is abused as such.

use super::Outlet;
use super::command::Command;
use super::session::Session;
use crate::observation::Oddity;
use memchr::memmem;

/// Whether a client's first octets ask a proxy for a connection.
pub(super) fn begins_proxy(bytes: &[u8]) -> bool {
    match bytes {
        // Version, number of methods, and exactly so many methods.
        [5, count, methods @ ..] => *count > 0 && methods.len() == usize::from(*count),
        // Version, CONNECT or BIND, port, address, user name, zero; SOCKS 4a puts a host name behind it.
        [4, 1 | 2, _, _, _, _, _, _, name @ ..] => name.last() == Some(&0),
        _ => bytes.starts_with(b"CONNECT ") && memmem::find(bytes, b" HTTP/1.").is_some(),
    }
}

impl Session {
    /// Octets of the client, from its first on. Whether they were for a proxy, not for a mail server.
    pub(super) fn hear_proxy_client(&mut self, bytes: &[u8], outlet: &mut Outlet<'_>) -> bool {
        if !self.client_spoke && !self.server_spoke && begins_proxy(bytes) {
            self.proxied = true;
            self.client_spoke = true;
            self.odd(Oddity::Proxied, outlet);
        }
        if self.proxied && Command::is_certain(bytes.split(|byte| *byte == b'\n').next().unwrap_or(bytes)) {
            // The proxy's answers and the greeting were not captured.
            self.proxied = false;
            self.greeting_awaited = false;
        }
        self.proxied
    }

    /// Octets of the server: those from the greeting on are a mail server's.
    pub(super) fn hear_proxy_server<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if !self.proxied {
            return bytes;
        }
        let greeting = memmem::find(bytes, b"220 ").into_iter().chain(memmem::find(bytes, b"220-")).min();
        self.proxied = greeting.is_none();
        greeting.and_then(|at| bytes.get(at..)).unwrap_or_default()
    }
}
