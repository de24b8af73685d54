//! The outside of a session under TLS.
//!
//! *In*: octets of both sides, which are never read as SMTP. *Out*: [`Opaque`]: octets, and how many
//! messages the rhythm suggests. *Bound*: a few numbers. *Spec*: RFC 8446 section 5.1 for the record
//! header, which stays in clear.
//!
//! The estimate: a run of application data from the client, longer than an envelope, that one short
//! answer ends. A pipelined envelope is long too, but each of its commands is answered.

use super::content::Held;
use super::hello::HelloReader;
use crate::flow::Side;
use crate::observation::{ClientHello, Opaque};

/// Shortest run that can be a message: its headers alone are longer than an envelope of one recipient.
const MESSAGE_RUN_BYTES_MIN: u64 = 600;
/// An answer longer than this share of the run answers many commands, not one message.
const ANSWER_SHARE: u64 = 4;
const APPLICATION_DATA: u8 = 23;

/// Reads record headers of one side.
#[derive(Debug, Default)]
struct Records {
    header: [u8; 5],
    header_bytes: usize,
    left: usize,
}

impl Records {
    /// Octets of application data in a piece, and the length of the first record that begins in it.
    fn feed(&mut self, mut bytes: &[u8]) -> (u64, Option<u64>) {
        let (mut application, mut first) = (0, None);
        while !bytes.is_empty() {
            if self.left == 0 {
                let take = bytes.len().min(5 - self.header_bytes);
                let (head, rest) = bytes.split_at(take);
                if let Some(room) = self.header.get_mut(self.header_bytes..self.header_bytes + take) {
                    room.copy_from_slice(head);
                }
                self.header_bytes += take;
                bytes = rest;
                if self.header_bytes < 5 {
                    break;
                }
                self.header_bytes = 0;
                self.left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                if self.header[0] == APPLICATION_DATA {
                    first = first.or(Some(self.left as u64));
                }
            }
            let take = bytes.len().min(self.left);
            self.left -= take;
            if self.header[0] == APPLICATION_DATA {
                application += take as u64;
            }
            bytes = bytes.get(take..).unwrap_or_default();
        }
        (application, first)
    }
}

/// Watches a session under TLS.
#[derive(Debug, Default)]
pub struct OpaqueWatch {
    seen: Opaque,
    originator: Records,
    responder: Records,
    run_bytes: u64,
    /// Until the client's first message is whole.
    hello: Option<Box<HelloReader>>,
    client_hello: Option<Box<ClientHello>>,
}

impl OpaqueWatch {
    /// A session whose next octets of the client are its first under TLS.
    pub fn new(held: &Held) -> OpaqueWatch {
        OpaqueWatch { hello: Some(Box::new(HelloReader::new(held))), ..OpaqueWatch::default() }
    }

    /// Takes octets of one side.
    pub fn bytes(&mut self, side: Side, bytes: &[u8]) {
        match side {
            Side::Originator => {
                self.seen.originator_bytes += bytes.len() as u64;
                self.run_bytes += self.originator.feed(bytes).0;
                if let Some(done) = self.hello.as_mut().and_then(|hello| hello.add(bytes)) {
                    self.client_hello = done.map(Box::new);
                    self.hello = None;
                }
            }
            Side::Responder => {
                self.seen.responder_bytes += bytes.len() as u64;
                let (_, Some(answer_bytes)) = self.responder.feed(bytes) else { return };
                if self.run_bytes >= MESSAGE_RUN_BYTES_MIN && answer_bytes * ANSWER_SHARE < self.run_bytes {
                    self.seen.messages_estimated += 1;
                }
                self.run_bytes = 0;
            }
        }
    }

    /// Octets are missing: record headers cannot be found again, so only octets are counted from here.
    pub fn gap(&mut self, side: Side, bytes: u64) {
        let (records, count) = match side {
            Side::Originator => (&mut self.originator, &mut self.seen.originator_bytes),
            Side::Responder => (&mut self.responder, &mut self.seen.responder_bytes),
        };
        *count += bytes;
        if side == Side::Originator {
            self.hello = None;
        }
        if bytes >= records.left as u64 && records.header_bytes == 0 {
            records.header[0] = 0;
            records.left = usize::MAX;
        } else {
            records.left -= (bytes as usize).min(records.left);
        }
    }

    /// What the client said of itself.
    pub fn client_hello(&mut self) -> Option<Box<ClientHello>> {
        self.client_hello.take()
    }

    /// What was seen.
    pub fn seen(&self) -> Opaque {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, bytes: usize) -> Vec<u8> {
        [&[kind, 3, 3, (bytes >> 8) as u8, bytes as u8][..], &vec![0; bytes]].concat()
    }

    #[test]
    fn a_long_run_with_one_short_answer_is_a_message() {
        let mut watch = OpaqueWatch::default();
        for (side, kind, bytes) in [
            (Side::Originator, 22, 1_700),
            (Side::Responder, 22, 3_000),
            (Side::Originator, 23, 60),
            (Side::Responder, 23, 180),
            (Side::Originator, 23, 900), // twenty recipients at once
            (Side::Responder, 23, 330),
            (Side::Originator, 23, 2_500),
            (Side::Responder, 23, 60),
            (Side::Originator, 23, 27),
            (Side::Responder, 23, 30),
        ] {
            for piece in record(kind, bytes).chunks(7) {
                watch.bytes(side, piece);
            }
        }
        assert_eq!(watch.seen().messages_estimated, 1);
        assert_eq!(watch.seen().originator_bytes, 1_705 + 65 + 905 + 2_505 + 32);
    }
}
