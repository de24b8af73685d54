//! The outside of a session under TLS.
//!
//! *In*: octets of both sides, which are never read as SMTP. *Out*: [`Opaque`]: octets, and what mail the rhythm tells.
//! *Bound*: `limits::HIDDEN_TURNS_MAX` turns. *Spec*: RFC 8446 sections 4.4.4, 4.6.1 and 5.1.
//!
//! ```text
//!  octets ─ records ─▶ lengths of application data ─▶ turns ─ rhythm, replies ─▶ messages, recipients, refusals
//! ```

mod envelope;
mod records;
pub mod replies;
mod rhythm;
mod said;

use super::content::Held;
use super::hello::HelloReader;
use crate::flow::Side;
use crate::limits;
use crate::observation::{ClientHello, Opaque};
use records::{Protection, Records, ServerHello, Shown};
use replies::Lengths;
use rhythm::Reading;
use said::{State, Turn};

/// A client's Finished under TLS 1.3, with SHA-256 and SHA-384 (RFC 8446 section 4.4.4): the end of its handshake.
const FINISHED_BYTES: [u32; 2] = [4 + 32, 4 + 48];
/// Records in which a client may end its handshake: certificate, its proof, Finished, and one more.
const HANDSHAKE_RECORDS_MAX: u8 = 4;
/// An alert, which TLS 1.3 hides too.
const ALERT_BYTES: u32 = 2;
/// What is assumed where the server's first message was not seen.
const UNKNOWN: Protection = Protection { handshake_hidden: true, overhead_bytes: 20, slack_bytes: 4 };

/// Watches a session under TLS.
#[derive(Debug, Default)]
pub struct OpaqueWatch {
    originator: Records,
    responder: Records,
    originator_bytes: u64,
    responder_bytes: u64,
    /// Who spoke last.
    last: Option<Side>,
    /// Until the server has chosen.
    server_hello: ServerHello,
    protection: Option<Protection>,
    /// Records in which the client ended its handshake, and whether it has.
    handshake: (u8, bool),
    turn: Turn,
    turns: Vec<Turn>,
    /// What the turns that are no longer kept told, and where they led.
    read: (Reading, State),
    /// What the server said it is, and what is known of its replies.
    dialect: Option<u8>,
    lengths: Option<Lengths>,
    /// Until the client's first message is whole.
    hello: Option<Box<HelloReader>>,
    client_hello: Option<Box<ClientHello>>,
}

impl OpaqueWatch {
    /// A session whose next octets of the client are its first under TLS; what the server said it is, and what is known
    /// of its replies.
    pub fn new(held: &Held, dialect: Option<u8>, lengths: Option<Lengths>) -> OpaqueWatch {
        let hello = Some(Box::new(HelloReader::new(held)));
        OpaqueWatch { hello, dialect, lengths, ..OpaqueWatch::default() }
    }

    /// Takes octets of one side.
    pub fn bytes(&mut self, side: Side, mut bytes: &[u8]) {
        match side {
            Side::Originator => {
                self.originator_bytes += bytes.len() as u64;
                if let Some(done) = self.hello.as_mut().and_then(|hello| hello.add(bytes)) {
                    self.client_hello = done.map(Box::new);
                    self.hello = None;
                }
            }
            Side::Responder => {
                self.responder_bytes += bytes.len() as u64;
                if self.protection.is_none()
                    && let Some(told) = self.server_hello.add(bytes)
                {
                    self.protection = Some(told.unwrap_or(UNKNOWN));
                    self.server_hello = ServerHello::default();
                }
            }
        }
        if self.last.replace(side) != Some(side) {
            self.records(side).resume(bytes);
        }
        while let Some(shown) = self.records(side).next(&mut bytes) {
            let (octets, slack) = self.text(shown);
            match side {
                Side::Originator => self.said(octets, slack),
                Side::Responder => self.answered(octets, slack),
            }
        }
    }

    fn records(&mut self, side: Side) -> &mut Records {
        match side {
            Side::Originator => &mut self.originator,
            Side::Responder => &mut self.responder,
        }
    }

    /// Octets of text in what was shown, and by how much that may be wrong.
    fn text(&self, shown: Shown) -> (u32, u16) {
        let protection = self.protection.unwrap_or(UNKNOWN);
        match shown {
            Shown::Data(octets) => (octets.saturating_sub(protection.overhead_bytes), protection.slack_bytes),
            Shown::Unread(octets) => (octets, octets.try_into().unwrap_or(u16::MAX)),
        }
    }

    /// The client said so many octets.
    fn said(&mut self, octets: u32, slack_bytes: u16) {
        let protection = self.protection.unwrap_or(UNKNOWN);
        if protection.handshake_hidden && !self.handshake.1 {
            self.handshake.0 += 1;
            let finished =
                FINISHED_BYTES.iter().any(|bytes| bytes.abs_diff(octets) <= u32::from(slack_bytes));
            self.handshake.1 = finished || self.handshake.0 >= HANDSHAKE_RECORDS_MAX;
            return;
        }
        if octets == 0 || (protection.handshake_hidden && octets == ALERT_BYTES) {
            return;
        }
        if self.turn.server_bytes > 0 {
            self.close_turn();
        }
        self.add(Turn { client_bytes: octets, server_bytes: 0, slack_bytes });
    }

    /// The server said so many octets.
    fn answered(&mut self, octets: u32, slack_bytes: u16) {
        let protection = self.protection.unwrap_or(UNKNOWN);
        // Whoever is answered has ended the handshake.
        self.handshake.1 |= self.handshake.0 > 0;
        let alert = protection.handshake_hidden && octets == ALERT_BYTES;
        // What no client asked for is the server's handshake, or tickets.
        if self.turn.client_bytes > 0 && !alert {
            self.add(Turn { client_bytes: 0, server_bytes: octets, slack_bytes });
        }
    }

    fn add(&mut self, more: Turn) {
        self.turn = self.turn.and(more);
    }

    fn close_turn(&mut self) {
        self.turns.push(std::mem::take(&mut self.turn));
        if self.turns.len() >= limits::HIDDEN_TURNS_MAX {
            self.read_turns();
        }
    }

    /// Reads the turns that are kept, and lets go of them.
    fn read_turns(&mut self) {
        let candidates = replies::candidates(self.dialect, self.lengths.as_ref());
        let (more, state) = rhythm::read(self.read.1, &self.turns, &candidates);
        self.turns.clear();
        self.read = (self.read.0.and(more), state);
    }

    /// Octets are missing. Inside a record nothing is lost by that; else it is not known what they were.
    pub fn gap(&mut self, side: Side, bytes: u64) {
        match side {
            Side::Originator => {
                self.originator_bytes += bytes;
                self.hello = None;
            }
            Side::Responder => {
                self.responder_bytes += bytes;
                self.protection.get_or_insert(UNKNOWN);
            }
        }
        if self.records(side).gap(bytes) {
            let octets = bytes.try_into().unwrap_or(u32::MAX);
            let slack = bytes.try_into().unwrap_or(u16::MAX);
            match side {
                Side::Originator => self.said(octets, slack),
                Side::Responder => self.answered(octets, slack),
            }
        }
    }

    /// What the client said of itself.
    pub fn client_hello(&mut self) -> Option<Box<ClientHello>> {
        self.client_hello.take()
    }

    /// Whether the client has said anything under TLS.
    pub fn has_begun(&self) -> bool {
        self.originator_bytes > 0
    }

    /// What was seen. The session is over.
    pub fn seen(mut self) -> Opaque {
        if self.turn.server_bytes > 0 {
            self.close_turn();
        }
        self.read_turns();
        let Reading { messages, messages_error, recipients, recipients_refused } = self.read.0;
        Opaque {
            originator_bytes: self.originator_bytes,
            responder_bytes: self.responder_bytes,
            messages_estimated: messages,
            messages_error,
            recipients_estimated: recipients,
            recipients_refused_estimated: recipients_refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, bytes: usize) -> Vec<u8> {
        [&[kind, 3, 3, (bytes >> 8) as u8, bytes as u8][..], &vec![0; bytes]].concat()
    }

    fn server_hello(suite: u16) -> Vec<u8> {
        let mut bytes = record(22, 90);
        bytes[5] = 2;
        bytes[44..46].copy_from_slice(&suite.to_be_bytes());
        bytes
    }

    /// A session with Postfix: one message for three recipients, of whom one is refused, and QUIT behind it.
    fn session(suite: u16, piece: usize, lose: Option<usize>) -> Opaque {
        let (hidden, overhead) = if suite == 0x1302 { (true, 17) } else { (false, 24) };
        let said = |text: usize| record(23, text + overhead);
        let mut flights = vec![(Side::Originator, record(22, 512)), (Side::Responder, server_hello(suite))];
        if hidden {
            flights.push((Side::Responder, said(2_900)));
            flights.push((Side::Originator, [record(20, 1), said(52), said(22)].concat()));
            flights.push((Side::Responder, [said(233), said(151)].concat()));
        } else {
            flights.push((Side::Responder, record(22, 2_900)));
            flights.push((Side::Originator, [record(22, 70), record(20, 1), record(22, 40)].concat()));
            flights.push((Side::Responder, [record(20, 1), record(22, 40)].concat()));
            flights.push((Side::Originator, said(22)));
            flights.push((Side::Responder, said(151)));
        }
        let envelope = 50 + 3 * 36 + 6;
        let answers = 14 + 2 * 14 + 99 + 37;
        for (client, server) in [(envelope, answers), (9_000, 42 + 15)] {
            flights.push((Side::Originator, said(client)));
            flights.push((Side::Responder, said(server)));
        }
        flights.push((Side::Originator, if hidden { said(2) } else { record(21, 26) }));
        let dialect = replies::dialect_of(b"mx.example.org ESMTP Postfix");
        let mut watch = OpaqueWatch { dialect, ..OpaqueWatch::default() };
        for (number, (side, flight)) in flights.into_iter().enumerate() {
            if lose == Some(number) {
                watch.gap(side, flight.len() as u64);
                continue;
            }
            flight.chunks(piece).for_each(|piece| watch.bytes(side, piece));
        }
        watch.seen()
    }

    #[test]
    fn a_session_is_counted_in_both_versions_whatever_the_segments() {
        for suite in [0x1302, 0xc030] {
            let whole = session(suite, 100_000, None);
            let counted =
                (whole.messages_estimated, whole.messages_error, whole.recipients_refused_estimated);
            assert_eq!(counted, (1, 0, 1), "suite {suite:#x}");
            // A longer refusal or one more acceptance: that is hard to tell.
            assert!(whole.recipients_estimated.abs_diff(3) <= 1, "{whole:?}");
            for piece in [1, 7, 1_448] {
                assert_eq!(session(suite, piece, None), whole);
            }
        }
    }

    #[test]
    fn a_lost_answer_or_message_leaves_the_session_countable() {
        let flights = 10;
        for lost in [flights - 3, flights - 2] {
            let seen = session(0xc030, 1_448, Some(lost));
            assert_eq!(seen.messages_estimated, 1, "flight {lost} lost");
        }
    }
}
