//! What TLS shows from outside: record headers in clear, the rest opaque.
//!
//! *In*: sizes of what is said under it. *Out*: octets of records. *Spec*: RFC 8446 sections 4.1 and 5;
//! the hellos are well formed, everything after them is random.

use super::draw::Dice;

/// Octets that TLS 1.3 adds to a record's text: content type and tag.
const RECORD_OVERHEAD: usize = 17;
/// Longest text in a record.
const RECORD_TEXT_MAX: usize = 16_384;

/// Records that hide `size` octets.
pub(super) fn hidden(size: usize, dice: &mut Dice) -> Vec<u8> {
    let mut out = Vec::with_capacity(size + 64);
    let mut left = size.max(1);
    while left > 0 {
        let text = left.min(RECORD_TEXT_MAX);
        push_record(&mut out, 23, text + RECORD_OVERHEAD, dice);
        left -= text;
    }
    out
}

/// ClientHello with the server's name.
pub(super) fn client_hello(server_name: &str, library: u64, dice: &mut Dice) -> Vec<u8> {
    let mut extensions = Vec::new();
    let name = server_name.as_bytes();
    let mut sni = (name.len() as u16 + 3).to_be_bytes().to_vec();
    sni.push(0);
    sni.extend_from_slice(&(name.len() as u16).to_be_bytes());
    sni.extend_from_slice(name);
    push_extension(&mut extensions, 0, &sni);
    push_extension(&mut extensions, 11, &[3, 0, 1, 2]);
    push_extension(&mut extensions, 10, &[0, 8, 0, 29, 0, 23, 0, 30, 0, 24]);
    if library & 1 == 0 {
        push_extension(&mut extensions, 35, &[]);
        push_extension(&mut extensions, 22, &[]);
    }
    push_extension(&mut extensions, 23, &[]);
    push_extension(&mut extensions, 13, &[0, 8, 4, 3, 8, 4, 4, 1, 6, 1]);
    push_extension(&mut extensions, 43, &[4, 3, 4, 3, 3]);
    push_extension(&mut extensions, 45, &[1, 1]);
    let mut share = vec![0, 36, 0, 29, 0, 32];
    let start = share.len();
    share.resize(start + 32, 0);
    dice.fill(&mut share[start..]);
    push_extension(&mut extensions, 51, &share);

    let suites: &[u8] = if library & 2 == 0 {
        &[0x13, 2, 0x13, 3, 0x13, 1, 0xc0, 0x2c, 0xc0, 0x30, 0xcc, 0xa9, 0xcc, 0xa8, 0xc0, 0x2b, 0, 0xff]
    } else {
        &[0x13, 1, 0x13, 2, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x14, 0, 0x9c, 0, 0x2f]
    };
    let mut body = hello_start(dice);
    body.extend_from_slice(&(suites.len() as u16).to_be_bytes());
    body.extend_from_slice(suites);
    body.extend_from_slice(&[1, 0]);
    body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
    body.extend_from_slice(&extensions);
    handshake(1, &body, [3, 1])
}

/// ServerHello, change of cipher, and the encrypted rest of the server's flight.
pub(super) fn server_flight(certificate: usize, dice: &mut Dice) -> Vec<u8> {
    let mut extensions = Vec::new();
    push_extension(&mut extensions, 43, &[3, 4]);
    let mut share = vec![0, 29, 0, 32];
    share.resize(36, 0);
    dice.fill(&mut share[4..]);
    push_extension(&mut extensions, 51, &share);
    let mut body = hello_start(dice);
    body.extend_from_slice(&[0x13, 2, 0]);
    body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
    body.extend_from_slice(&extensions);
    let mut out = handshake(2, &body, [3, 3]);
    out.extend_from_slice(&[20, 3, 3, 0, 1, 1]);
    for text in [6, certificate, 264, 52] {
        push_record(&mut out, 23, text + RECORD_OVERHEAD, dice);
    }
    out
}

/// Change of cipher and the client's Finished.
pub(super) fn client_finished(dice: &mut Dice) -> Vec<u8> {
    let mut out = vec![20, 3, 3, 0, 1, 1];
    push_record(&mut out, 23, 52 + RECORD_OVERHEAD, dice);
    out
}

/// Version, random, session id.
fn hello_start(dice: &mut Dice) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.resize(34, 0);
    dice.fill(&mut body[2..]);
    body.push(32);
    body.resize(67, 0);
    dice.fill(&mut body[35..]);
    body
}

fn handshake(kind: u8, body: &[u8], version: [u8; 2]) -> Vec<u8> {
    let mut out = vec![22, version[0], version[1]];
    out.extend_from_slice(&(body.len() as u16 + 4).to_be_bytes());
    out.push(kind);
    out.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(body);
    out
}

fn push_extension(out: &mut Vec<u8>, kind: u16, data: &[u8]) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
}

fn push_record(out: &mut Vec<u8>, kind: u8, octets: usize, dice: &mut Dice) {
    out.extend_from_slice(&[kind, 3, 3]);
    out.extend_from_slice(&(octets as u16).to_be_bytes());
    let start = out.len();
    out.resize(start + octets, 0);
    dice.fill(&mut out[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks record headers; returns the text octets of the application records.
    fn texts(mut bytes: &[u8]) -> Vec<usize> {
        let mut list = Vec::new();
        while !bytes.is_empty() {
            let octets = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
            assert!(matches!(bytes[0], 20 | 22 | 23) && bytes[1] == 3 && octets <= 16_384 + 256);
            if bytes[0] == 23 {
                list.push(octets - RECORD_OVERHEAD);
            }
            bytes = &bytes[5 + octets..];
        }
        list
    }

    #[test]
    fn records_hide_as_much_as_was_said() {
        let mut dice = Dice::new(1, "tls");
        assert_eq!(texts(&hidden(40_000, &mut dice)).iter().sum::<usize>(), 40_000);
        assert_eq!(texts(&server_flight(2_100, &mut dice)), vec![6, 2_100, 264, 52]);
        assert_eq!(texts(&client_hello("mx.example", 0, &mut dice)), Vec::<usize>::new());
        assert_eq!(texts(&client_finished(&mut dice)), vec![52]);
    }
}
