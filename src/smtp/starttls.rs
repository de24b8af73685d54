//! Where a session goes under TLS, and what is plain where it should not be.
//!
//! *In*: granted STARTTLS, octets behind it. *Out*: the session's opaque state, oddities. *Bound*: none of its own.
//! *Spec*: RFC 3207 section 4.2; CVE-2011-0411 is what is flagged.

use super::Outlet;
use super::command::Command;
use super::opaque::OpaqueWatch;
use super::session::{Mode, Session};
use crate::flow::Side;
use crate::observation::{Oddity, Tls};

impl Session {
    /// STARTTLS was granted, or TLS began without it.
    pub(super) fn begin_opaque(&mut self, bytes: &[u8], outlet: &Outlet<'_>) {
        let lengths = outlet.replies.of(self.responder).copied();
        let mut opaque = OpaqueWatch::new(outlet.held, self.dialect, lengths);
        opaque.bytes(Side::Originator, bytes);
        self.opaque = Some(Box::new(opaque));
        self.tls = Tls::Started;
        self.mode = Mode::Opaque;
        self.client_spoke = true;
    }

    /// STARTTLS was granted.
    pub(super) fn grant_starttls(&mut self, outlet: &mut Outlet<'_>) {
        let held = std::mem::take(&mut self.held);
        let waiting = held.get(self.held_from..).unwrap_or_default();
        self.held_from = 0;
        let plain = !waiting.is_empty() && !begins_tls(waiting);
        // What is sent in clear behind STARTTLS must be forgotten by the server (RFC 3207 section 4.2).
        self.begin_opaque(if plain { &[] } else { waiting }, outlet);
        if plain {
            self.odd(Oddity::PlaintextAfterStarttls, outlet);
        }
    }

    /// STARTTLS was granted, but what comes is no TLS.
    pub(super) fn plain_after_starttls(&mut self, bytes: &[u8], outlet: &mut Outlet<'_>) {
        self.odd(Oddity::PlaintextAfterStarttls, outlet);
        let line = bytes.split(|b| *b == b'\n').next().unwrap_or(bytes);
        if Command::is_certain(line) {
            self.opaque = None;
            self.mode = Mode::Command;
            return self.hear_client(bytes, outlet);
        }
        if let Some(opaque) = &mut self.opaque {
            opaque.bytes(Side::Originator, bytes);
        }
    }

    pub(super) fn opaque_hear_server(&mut self, bytes: &[u8]) {
        if let Some(opaque) = &mut self.opaque {
            opaque.bytes(Side::Responder, bytes);
        }
    }
}

/// Whether octets begin with a TLS handshake record, or an SSL 2 greeting.
pub(super) fn begins_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x16, 3, ..] | [0x16] | [0x80, _, 1, ..])
}
