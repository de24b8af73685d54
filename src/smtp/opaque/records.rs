//! TLS records of one side, by their headers, which stay in clear.
//!
//! *In*: octets in any pieces, gaps. *Out*: type and length of each record; of the server's first, the cipher suite that
//! was chosen. *Bound*: one header, `SERVER_HELLO_BYTES_MAX` octets. *Spec*: RFC 8446 sections 4.1.3, 5.1 and 5.2,
//! RFC 5246 section 6.2.3, RFC 5288, RFC 6655, RFC 7905.

/// Content types (RFC 8446 appendix B.1).
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const KINDS: std::ops::RangeInclusive<u8> = 20..=24;
/// Longest fragment of a record (RFC 5246 section 6.2.3).
const FRAGMENT_BYTES_MAX: u16 = (1 << 14) + 2_048;
const SERVER_HELLO: u8 = 2;
/// A ServerHello up to its cipher suite: header of the message, version, random, session id.
const SERVER_HELLO_BYTES_MAX: usize = 4 + 2 + 32 + 1 + 32 + 2;

/// Reads record headers of one side.
#[derive(Debug, Default)]
pub(super) struct Records {
    header: [u8; 5],
    header_bytes: usize,
    left: usize,
    /// Octets are missing and the next header is not found yet.
    lost: bool,
}

impl Records {
    /// The next record of application data that begins in a piece; what is read is taken off. Where octets were lost
    /// records cannot be told: what comes is shown unread.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Shown> {
        if self.lost && !bytes.is_empty() {
            return Some(Shown::Unread(std::mem::take(bytes).len() as u32));
        }
        while !bytes.is_empty() {
            if self.left > 0 {
                let take = bytes.len().min(self.left);
                self.left -= take;
                *bytes = bytes.get(take..).unwrap_or_default();
                continue;
            }
            let take = bytes.len().min(5 - self.header_bytes);
            let (head, rest) = bytes.split_at(take);
            if let Some(room) = self.header.get_mut(self.header_bytes..self.header_bytes + take) {
                room.copy_from_slice(head);
            }
            self.header_bytes += take;
            *bytes = rest;
            if self.header_bytes == 5 {
                self.header_bytes = 0;
                self.left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                if self.header[0] == APPLICATION_DATA {
                    return Some(Shown::Data(self.left as u32));
                }
            }
        }
        None
    }

    /// Octets are missing. Gives whether it is not known any more where records begin.
    pub fn gap(&mut self, bytes: u64) -> bool {
        if bytes <= self.left as u64 && !self.lost {
            self.left -= bytes as usize;
        } else {
            *self = Records { lost: true, ..Records::default() };
        }
        self.lost
    }

    /// The other side has spoken since: what comes now begins with a header, if it looks like one.
    pub fn resume(&mut self, bytes: &[u8]) {
        if let [kind, 3, 0..=4, high, low, ..] = bytes {
            let likely = KINDS.contains(kind) && u16::from_be_bytes([*high, *low]) <= FRAGMENT_BYTES_MAX;
            self.lost &= !likely;
        }
    }
}

/// What a record shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Application data, protected: length of the record.
    Data(u32),
    /// Octets of which it is not known to what record they belong.
    Unread(u32),
}

/// How records hide their text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Protection {
    /// TLS 1.3: the end of the handshake, tickets and alerts look like application data.
    pub handshake_hidden: bool,
    /// Octets that a record is longer than its text.
    pub overhead_bytes: u32,
    /// By how many it may differ from that.
    pub slack_bytes: u16,
}

impl Protection {
    /// Of a cipher suite, by its number (IANA, TLS Cipher Suites).
    fn of_suite(suite: u16) -> Protection {
        let (handshake_hidden, overhead_bytes, slack_bytes) = match suite {
            // The content type and a tag of sixteen octets; eight with CCM_8.
            0x1305 => (true, 9, 0),
            0x1300..=0x13ff => (true, 17, 0),
            0xcca8..=0xccae => (false, 16, 0),
            // An explicit nonce of eight octets and the tag: GCM, CCM, CCM_8.
            0x009c..=0x00ad | 0xc02b..=0xc032 | 0xc05a..=0xc061 | 0xc07a..=0xc091 => (false, 24, 0),
            0xc09c..=0xc09f | 0xc0a4..=0xc0a7 | 0xc0ac..=0xc0ad => (false, 24, 0),
            0xc0a0..=0xc0a3 | 0xc0a8..=0xc0ab | 0xc0ae..=0xc0af => (false, 16, 0),
            // Blocks: a vector, a MAC of twenty to forty-eight octets, and one to sixteen of padding.
            0x003c..=0x0040 | 0x0067..=0x006d | 0xc023 | 0xc025 | 0xc027 | 0xc029 => (false, 56, 8),
            0xc024 | 0xc026 | 0xc028 | 0xc02a => (false, 72, 8),
            _ => (false, 44, 8),
        };
        Protection { handshake_hidden, overhead_bytes, slack_bytes }
    }
}

/// Collects a server's first message until it tells the cipher suite.
#[derive(Debug, Default)]
pub(super) struct ServerHello {
    kept: Vec<u8>,
}

impl ServerHello {
    /// Takes octets. `Some` once there is nothing more to wait for.
    pub fn add(&mut self, bytes: &[u8]) -> Option<Option<Protection>> {
        let room = (5 + SERVER_HELLO_BYTES_MAX).saturating_sub(self.kept.len());
        self.kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        let (header, message) = self.kept.split_first_chunk::<5>()?;
        if header[0] != HANDSHAKE || message.first().is_some_and(|kind| *kind != SERVER_HELLO) {
            return Some(None);
        }
        let at = 39 + usize::from(*message.get(38)?);
        match message.get(at..at + 2) {
            Some(suite) => Some(Some(Protection::of_suite(u16::from_be_bytes([suite[0], suite[1]])))),
            None if message.len() >= SERVER_HELLO_BYTES_MAX => Some(None),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, bytes: usize) -> Vec<u8> {
        [&[kind, 3, 3, (bytes >> 8) as u8, bytes as u8][..], &vec![0; bytes]].concat()
    }

    fn shown(records: &mut Records, bytes: &[u8], piece: usize) -> Vec<Shown> {
        let mut out = Vec::new();
        for mut piece in bytes.chunks(piece) {
            out.extend(std::iter::from_fn(|| records.next(&mut piece)));
        }
        out
    }

    #[test]
    fn any_split_shows_the_same_records() {
        let bytes = [record(22, 70), record(23, 900), record(20, 1), record(23, 0), record(23, 17)].concat();
        for piece in [1, 2, 5, 7, 70, 5_000] {
            let seen = shown(&mut Records::default(), &bytes, piece);
            assert_eq!(seen, [900, 0, 17].map(Shown::Data), "pieces of {piece}");
        }
    }

    #[test]
    fn a_gap_inside_a_record_hides_nothing_and_one_across_a_header_until_the_next_turn() {
        let bytes = [record(23, 900), record(23, 40)].concat();
        let mut records = Records::default();
        assert_eq!(shown(&mut records, &bytes[..100], 100), [Shown::Data(900)]);
        records.gap(500);
        assert_eq!(shown(&mut records, &bytes[600..], 50), [Shown::Data(40)]);

        let mut records = Records::default();
        shown(&mut records, &bytes[..100], 100);
        records.gap(810);
        assert_eq!(shown(&mut records, &bytes[910..930], 100), [Shown::Unread(20)]);
        records.resume(b"not a header");
        assert_eq!(shown(&mut records, b"not a header", 100), [Shown::Unread(12)]);
        let next = record(23, 30);
        records.resume(&next);
        assert_eq!(shown(&mut records, &next, 100), [Shown::Data(30)]);
    }

    #[test]
    fn a_server_hello_tells_how_much_longer_a_record_is_than_its_text() {
        for (session_id, suite, protection) in [
            (0usize, 0x1302u16, (true, 17, 0)),
            (32, 0x1301, (true, 17, 0)),
            (32, 0xc030, (false, 24, 0)),
            (0, 0xcca8, (false, 16, 0)),
            (7, 0x002f, (false, 44, 8)),
        ] {
            let mut message = vec![2, 0, 0, 90, 3, 3];
            message.resize(38, 0);
            message.push(session_id as u8);
            message.resize(39 + session_id, 0);
            message.extend_from_slice(&suite.to_be_bytes());
            message.resize(94, 0);
            let bytes = [&[22, 3, 3, 0, 94][..], &message].concat();
            let mut hello = ServerHello::default();
            let told: Vec<_> = bytes.chunks(3).filter_map(|piece| hello.add(piece)).collect();
            let (handshake_hidden, overhead_bytes, slack_bytes) = protection;
            let expected = Protection { handshake_hidden, overhead_bytes, slack_bytes };
            assert_eq!(told.first(), Some(&Some(expected)), "suite {suite:#x}");
        }
        assert_eq!(ServerHello::default().add(b"250 no TLS at all\r\n"), Some(None));
    }
}
