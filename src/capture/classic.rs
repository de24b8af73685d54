//! The usual form of capture files, read in large pieces: twice as fast as libpcap, which takes two calls and a copy
//! for every packet. Everything else (pcapng, old and patched forms) is left to libpcap.
//!
//! *In*: a file. *Out*: packets in file order, borrowed. *Bound*: one buffer of [`BUFFER_BYTES`]; a packet longer than
//! libpcap believes is damage. *Spec*: draft-ietf-opsawg-pcap, version 2.4, either byte order, micro- or nanoseconds.

use super::{LinkType, Packet};
use crate::time::{MICROS_PER_SECOND, Timestamp};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek};

/// Octets read at a time; a few hundred packets, and small enough for the processor's own memory.
const BUFFER_BYTES: usize = 512 << 10;
/// Longest packet believed: libpcap's `MAXIMUM_SNAPLEN`.
const PACKET_BYTES_MAX: usize = 262_144;
const FILE_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;

/// An open file of the usual form.
#[derive(Debug)]
pub(super) struct Classic {
    file: File,
    buffer: Vec<u8>,
    /// What of the buffer was read and not handed out.
    start: usize,
    end: usize,
    big_endian: bool,
    nanoseconds: bool,
    link: LinkType,
}

/// Why there is no next packet.
#[derive(Debug)]
pub(super) enum Stop {
    /// The file ends inside a packet.
    Cut,
    /// What follows is no packet.
    Damage(String),
}

impl Classic {
    /// Opens a file, from its beginning; `None` where it is of another form.
    pub(super) fn open(file: &File) -> Option<Classic> {
        let mut file = file.try_clone().ok()?;
        file.rewind().ok()?;
        let mut header = [0; FILE_HEADER_BYTES];
        if file.read_exact(&mut header).is_err() {
            return None;
        }
        let (big_endian, nanoseconds) = match header[..4] {
            [0xd4, 0xc3, 0xb2, 0xa1] => (false, false),
            [0xa1, 0xb2, 0xc3, 0xd4] => (true, false),
            [0x4d, 0x3c, 0xb2, 0xa1] => (false, true),
            [0xa1, 0xb2, 0x3c, 0x4d] => (true, true),
            _ => return None,
        };
        let version = if big_endian { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
        if header[4..8] != version {
            return None;
        }
        let (start, end) = (0, 0);
        let mut classic = Classic {
            file,
            buffer: vec![0; BUFFER_BYTES],
            start,
            end,
            big_endian,
            nanoseconds,
            link: LinkType(0),
        };
        // The upper bits tell of check sums behind frames.
        classic.link = LinkType((classic.number(&header, 20) & 0x03ff_ffff) as i32);
        Some(classic)
    }

    /// The next packet; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Packet<'_>>, Stop> {
        match self.fill(RECORD_HEADER_BYTES)? {
            0 => return Ok(None),
            RECORD_HEADER_BYTES.. => {}
            _ => return Err(Stop::Cut),
        }
        let header = self.buffer.get(self.start..self.start + RECORD_HEADER_BYTES).unwrap_or_default();
        let [seconds, fraction, captured, original_bytes] = [0, 4, 8, 12].map(|at| self.number(header, at));
        let captured = captured as usize;
        if captured > PACKET_BYTES_MAX {
            return Err(Stop::Damage(format!("a packet of {captured} octets")));
        }
        if self.fill(RECORD_HEADER_BYTES + captured)? < RECORD_HEADER_BYTES + captured {
            return Err(Stop::Cut);
        }
        let from = self.start + RECORD_HEADER_BYTES;
        self.start = from + captured;
        let micros = if self.nanoseconds { fraction / 1_000 } else { fraction };
        Ok(Some(Packet {
            at: Timestamp::from_micros(i64::from(seconds) * MICROS_PER_SECOND + i64::from(micros)),
            link: self.link,
            bytes: self.buffer.get(from..self.start).unwrap_or_default(),
            original_bytes,
        }))
    }

    /// Reads on until `wanted` octets are there, or the file ends. Gives how many are.
    fn fill(&mut self, wanted: usize) -> Result<usize, Stop> {
        while self.end - self.start < wanted {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            match self.file.read(self.buffer.get_mut(self.end..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Stop::Damage(error.to_string())),
            }
        }
        Ok(self.end - self.start)
    }

    fn number(&self, bytes: &[u8], at: usize) -> u32 {
        let four = bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        if self.big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    }
}
