//! What a TLS client says of itself before the rest is hidden: the name it asks for, and its JA4.
//!
//! *In*: the client's octets from the first TLS record on. *Out*: [`ClientHello`]. *Bound*:
//! `limits::CLIENT_HELLO_BYTES_MAX`, counted with the excerpts of messages. *Spec*: RFC 8446 sections 4.1.2 and 5.1,
//! RFC 6066 section 3, RFC 8701, FoxIO's JA4 (technical_details/JA4.md; of the JA4 family only JA4 itself is free).
//!
//! By hand, because the libraries that read TLS handshakes bring thirty crates for one message, and rustls does not tell
//! which extensions a client sent.

use super::content::{Excerpt, Held};
use crate::limits;
use crate::mail::Untrusted;
use crate::observation::ClientHello;
use sha2::{Digest, Sha256};

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Extensions that JA4 counts and does not hash.
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SIGNATURE_ALGORITHMS: u16 = 13;
const SUPPORTED_VERSIONS: u16 = 43;
/// What stands for an empty list.
const NO_HASH: &str = "000000000000";

/// Collects a client's first message.
#[derive(Debug)]
pub(super) struct HelloReader {
    kept: Excerpt,
    /// So many octets it takes at the least: before, looking is in vain.
    wanted: usize,
}

impl HelloReader {
    pub(super) fn new(held: &Held) -> HelloReader {
        HelloReader { kept: Excerpt::new(limits::CLIENT_HELLO_BYTES_MAX, false, held), wanted: 0 }
    }

    /// Takes octets. `Some` once there is nothing more to wait for: what was said, if it was a ClientHello.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Option<Option<ClientHello>> {
        self.kept.add(bytes);
        if self.kept.bytes().len() < self.wanted && !self.kept.is_cut() {
            return None;
        }
        match handshake(self.kept.bytes()) {
            Progress::Whole(message) => Some(read(&message)),
            Progress::Partial(wanted) if !self.kept.is_cut() => {
                self.wanted = wanted;
                None
            }
            _ => Some(None),
        }
    }
}

enum Progress {
    /// The body of a ClientHello.
    Whole(Vec<u8>),
    /// More is wanted: at the least so many octets in all.
    Partial(usize),
    Other,
}

/// Takes a message out of its records.
fn handshake(bytes: &[u8]) -> Progress {
    let (mut records, mut message, mut missing) = (bytes, Vec::new(), 0);
    loop {
        if let Some((&kind, rest)) = message.split_first() {
            if kind != CLIENT_HELLO {
                return Progress::Other;
            }
            if let Some((length, body)) = rest.split_first_chunk::<3>() {
                let length = u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize;
                if let Some(body) = body.get(..length) {
                    return Progress::Whole(body.to_vec());
                }
                missing = length - body.len();
            }
        }
        let Some((&kind, _)) = records.split_first() else { return Progress::Partial(bytes.len() + missing) };
        if kind != HANDSHAKE {
            return Progress::Other;
        }
        let Some((header, rest)) = records.split_first_chunk::<5>() else {
            return Progress::Partial(bytes.len() + missing);
        };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length == 0 {
            return Progress::Other;
        }
        message.extend_from_slice(rest.get(..length).unwrap_or(rest));
        records = rest.get(length..).unwrap_or_default();
    }
}

/// A vector with its length in front (RFC 8446 section 3.4).
fn vector<'a>(bytes: &mut &'a [u8], length_bytes: usize) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_at_checked(length_bytes)?;
    let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let (vector, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(vector)
}

fn numbers(bytes: &[u8]) -> Vec<u16> {
    let number = |pair: &[u8]| pair.first_chunk().map(|pair| u16::from_be_bytes(*pair));
    bytes.chunks_exact(2).filter_map(number).filter(|number| !is_grease(*number)).collect()
}

/// Values that mean nothing, sent to keep servers used to the unknown (RFC 8701).
fn is_grease(number: u16) -> bool {
    number & 0x0f0f == 0x0a0a && number >> 8 == number & 0xff
}

/// What JA4 is made of.
#[derive(Debug, Default)]
struct Offer {
    version: u16,
    ciphers: Vec<u16>,
    extensions: Vec<u16>,
    algorithms: Vec<u16>,
    alpn: Vec<u8>,
}

fn read(mut body: &[u8]) -> Option<ClientHello> {
    let (version, rest) = body.split_first_chunk::<2>()?;
    body = rest.get(32..)?;
    vector(&mut body, 1)?;
    let ciphers = numbers(vector(&mut body, 2)?);
    vector(&mut body, 1)?;
    let mut offer = Offer { version: u16::from_be_bytes(*version), ciphers, ..Offer::default() };
    let mut server_name = None;
    // A client of old sends no extensions at all.
    let mut extensions = vector(&mut body, 2).unwrap_or_default();
    while let Some((kind, rest)) = extensions.split_first_chunk::<2>() {
        let kind = u16::from_be_bytes(*kind);
        extensions = rest;
        let mut value = vector(&mut extensions, 2)?;
        if is_grease(kind) {
            continue;
        }
        offer.extensions.push(kind);
        match kind {
            SERVER_NAME => {
                let mut list = vector(&mut value, 2).unwrap_or_default().get(1..).unwrap_or_default();
                let name = vector(&mut list, 2).unwrap_or_default().to_ascii_lowercase();
                server_name =
                    Some(Untrusted::bounded(&name, limits::HELO_BYTES_MAX)).filter(|_| !name.is_empty());
            }
            ALPN => {
                let mut list = vector(&mut value, 2).unwrap_or_default();
                offer.alpn = vector(&mut list, 1).unwrap_or_default().to_vec();
            }
            SIGNATURE_ALGORITHMS => offer.algorithms = numbers(vector(&mut value, 2).unwrap_or_default()),
            SUPPORTED_VERSIONS => {
                let highest = numbers(vector(&mut value, 1).unwrap_or_default()).into_iter().max();
                offer.version = highest.unwrap_or(offer.version);
            }
            _ => {}
        }
    }
    Some(ClientHello { server_name, ja4: offer.ja4() })
}

impl Offer {
    fn ja4(&self) -> String {
        let version = match self.version {
            0x0304 => "13",
            0x0303 => "12",
            0x0302 => "11",
            0x0301 => "10",
            0x0300 => "s3",
            0x0002 => "s2",
            _ => "00",
        };
        let name = if self.extensions.contains(&SERVER_NAME) { 'd' } else { 'i' };
        let mut ciphers = self.ciphers.clone();
        ciphers.sort_unstable();
        let mut extensions = self.extensions.clone();
        extensions.retain(|kind| !matches!(*kind, SERVER_NAME | ALPN));
        extensions.sort_unstable();
        let mut rest = listed(&extensions);
        if !self.algorithms.is_empty() {
            rest = format!("{rest}_{}", listed(&self.algorithms));
        }
        format!(
            "t{version}{name}{:02}{:02}{}_{}_{}",
            ciphers.len().min(99),
            self.extensions.len().min(99),
            self.alpn_ends(),
            if ciphers.is_empty() { NO_HASH.to_owned() } else { hashed(&listed(&ciphers)) },
            if extensions.is_empty() { NO_HASH.to_owned() } else { hashed(&rest) },
        )
    }

    /// First and last character of the first protocol; of its octets in hexadecimal, where they are none.
    fn alpn_ends(&self) -> String {
        let (Some(first), Some(last)) = (self.alpn.first(), self.alpn.last()) else { return "00".to_owned() };
        if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
            return [char::from(*first), char::from(*last)].iter().collect();
        }
        format!("{:x}{:x}", first >> 4, last & 15)
    }
}

fn listed(numbers: &[u16]) -> String {
    numbers.iter().map(|number| format!("{number:04x}")).collect::<Vec<_>>().join(",")
}

fn hashed(text: &str) -> String {
    Sha256::digest(text).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_length(bytes: &[u8], length_bytes: usize) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes()[4 - length_bytes..], bytes].concat()
    }

    fn list(text: &str) -> Vec<u8> {
        text.split(',').flat_map(|number| u16::from_str_radix(number, 16).unwrap().to_be_bytes()).collect()
    }

    /// The example of the specification, GREASE among it, as records of any size.
    fn example(record_bytes: usize) -> Vec<u8> {
        let ciphers = list("0a0a,1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035");
        let algorithms = list("0403,0804,0401,0503,0805,0501,0806,0601");
        let name = [&[0][..], &with_length(b"MX.example.org", 2)].concat();
        let mut extensions = list("dada,0000");
        for kind in
            list("001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015").chunks(2)
        {
            let value = match u16::from_be_bytes([kind[0], kind[1]]) {
                SERVER_NAME => with_length(&name, 2),
                ALPN => with_length(&[with_length(b"h2", 1), with_length(b"http/1.1", 1)].concat(), 2),
                SIGNATURE_ALGORITHMS => with_length(&algorithms, 2),
                SUPPORTED_VERSIONS => with_length(&list("7a7a,0304,0303"), 1),
                _ => vec![1, 2, 3],
            };
            extensions.extend_from_slice(kind);
            extensions.extend_from_slice(&with_length(&value, 2));
        }
        let body = [
            &[3, 3][..],
            &[7; 32],
            &with_length(&[9; 32], 1),
            &with_length(&ciphers, 2),
            &[1, 0],
            &with_length(&extensions, 2),
        ]
        .concat();
        let message = [&[CLIENT_HELLO][..], &with_length(&body, 3)].concat();
        message
            .chunks(record_bytes)
            .flat_map(|part| [&[22, 3, 1][..], &with_length(part, 2)].concat())
            .collect()
    }

    #[test]
    fn the_example_of_the_specification() {
        for record_bytes in [1, 50, 10_000] {
            let hello = example(record_bytes);
            for piece_bytes in [1, 7, 1_460] {
                let mut reader = HelloReader::new(&Held::default());
                let mut found: Vec<_> =
                    hello.chunks(piece_bytes).filter_map(|piece| reader.add(piece)).collect();
                let found = found.pop().unwrap().unwrap();
                assert_eq!(found.ja4, "t13d1516h2_8daaf6152771_e5627efa2ab1");
                assert_eq!(found.server_name.unwrap().as_bytes(), b"mx.example.org");
            }
        }
    }

    #[test]
    fn the_lesser_examples_of_the_specification() {
        let extensions = list("0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01");
        let offer = Offer { extensions: numbers(&extensions), ..Offer::default() };
        assert_eq!(offer.ja4(), "t00i001400_000000000000_6d807ffa2a79");
        assert_eq!(Offer::default().ja4(), "t00i000000_000000000000_000000000000");
        for (alpn, ends) in [
            (&b"h2"[..], "h2"),
            (b"http/1.1", "h1"),
            (b"x", "xx"),
            (&[0xab], "ab"),
            (&[0xab, 0xcd], "ad"),
            (&[0x30, 0xab], "3b"),
            (&[0x30, 0x31, 0xab, 0xcd], "3d"),
            (b"", "00"),
        ] {
            assert_eq!(Offer { alpn: alpn.to_vec(), ..Offer::default() }.alpn_ends(), ends);
        }
    }

    #[test]
    fn what_is_no_hello_ends_the_wait() {
        let whole = example(10_000);
        for bytes in [
            &b"\x17\x03\x03\x00\x05hello"[..],
            b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00",
            b"\x16\x03\x01\x00\x00",
        ] {
            assert_eq!(HelloReader::new(&Held::default()).add(bytes), Some(None));
        }
        let endless = [&[22, 3, 1, 0xff, 0xff, 1, 0xff, 0xff, 0xff][..], &vec![0; 70_000]].concat();
        assert_eq!(HelloReader::new(&Held::default()).add(&endless), Some(None));
        // Whatever is cut off or changed, it does not panic.
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            HelloReader::new(&Held::default()).add(&bytes);
            HelloReader::new(&Held::default()).add(&whole[..at]);
        }
    }
}
