//! Capture files: pcap and pcapng, plain or in gzip.
//!
//! *In*: a path, or any reader. *Out*: packets in file order; after a cut, everything before it and then
//! one error that says so. *Bound*: compressed input is spooled into an unnamed temporary file, limited
//! in size and in expansion. *Spec*: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng, RFC 1952.

use super::classic::{Classic, Stop};
use super::{CaptureError, LinkType, Packet, captured_at};
use crate::limits;
use crate::time::Timestamp;
use flate2::read::MultiGzDecoder;
use pcap::{Capture, Offline};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

/// Whether a file that starts with `head` is pcap (either byte order, micro- or nanoseconds) or pcapng.
/// Four bytes suffice.
pub fn looks_like_capture(head: &[u8]) -> bool {
    const MAGICS: [[u8; 4]; 6] = [
        [0xd4, 0xc3, 0xb2, 0xa1],
        [0xa1, 0xb2, 0xc3, 0xd4],
        [0x4d, 0x3c, 0xb2, 0xa1],
        [0xa1, 0xb2, 0x3c, 0x4d],
        [0x0a, 0x0d, 0x0d, 0x0a],
        [0x34, 0xcd, 0xb2, 0xa1],
    ];
    head.get(..4).is_some_and(|magic| MAGICS.iter().any(|known| known == magic))
}

/// An open capture file.
pub struct CaptureFile {
    name: String,
    reader: Reader,
    packets: u64,
    /// The compressed input itself was cut: said once everything was handed out.
    cut_short: bool,
    ended: bool,
    /// Time and original length of a packet that was looked at before its turn; its bytes are beside it.
    peeked: Option<(Timestamp, u32)>,
    peeked_link: LinkType,
    peeked_bytes: Vec<u8>,
    peeked_error: Option<CaptureError>,
}

/// What takes the packets out of the file.
enum Reader {
    Classic(Classic),
    Libpcap(Capture<Offline>, LinkType),
}

impl CaptureFile {
    /// Opens a capture by its content, whatever its name.
    pub fn open(path: &Path) -> Result<CaptureFile, CaptureError> {
        let name = path.display().to_string();
        let mut file = File::open(path).map_err(|error| file_error(&name, &error))?;
        let meta = file.metadata().map_err(|error| file_error(&name, &error))?;
        if meta.is_dir() {
            return Err(CaptureError::Directory { name });
        }
        if !meta.is_file() {
            return CaptureFile::from_reader(file, &name);
        }
        let head = read_head(&mut file).map_err(|error| file_error(&name, &error))?;
        file.rewind().map_err(|error| file_error(&name, &error))?;
        if looks_like_capture(&head) {
            return CaptureFile::from_file(&file, name, false);
        }
        CaptureFile::from_reader(file, &name)
    }

    /// Takes a capture, plain or in gzip, out of a pipe or a compressed file, by way of a temporary file.
    pub fn from_reader(mut reader: impl Read, name: &str) -> Result<CaptureFile, CaptureError> {
        let head = read_head(&mut reader).map_err(|error| file_error(name, &error))?;
        let mut whole = head.as_slice().chain(reader);
        if !head.starts_with(&[0x1f, 0x8b]) {
            if !looks_like_capture(&head) {
                return Err(CaptureError::NotACapture { name: name.to_owned() });
            }
            let (file, cut) = spool(&mut whole, name, |_| None)?;
            return CaptureFile::from_file(&file, name.to_owned(), cut);
        }
        let mut decoder = MultiGzDecoder::new(Counted { inner: whole, bytes: 0 });
        let (file, cut) = spool(&mut decoder, name, |decoder| Some(decoder.get_ref().bytes))?;
        CaptureFile::from_file(&file, name.to_owned(), cut)
    }

    fn from_file(file: &File, name: String, cut_short: bool) -> Result<CaptureFile, CaptureError> {
        let reader = match Classic::open(file) {
            Some(classic) => Reader::Classic(classic),
            None => {
                // libpcap opens by name; the descriptor's name is valid for unnamed files and any path bytes.
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                let capture = Capture::from_file(path).map_err(|error| reading_error(&name, 0, &error))?;
                let link = LinkType(capture.get_datalink().0);
                Reader::Libpcap(capture, link)
            }
        };
        Ok(CaptureFile {
            name,
            reader,
            packets: 0,
            cut_short,
            ended: false,
            peeked: None,
            peeked_link: LinkType(0),
            peeked_bytes: Vec::new(),
            peeked_error: None,
        })
    }

    /// When the next packet was captured; `None` at the end or before an error.
    pub fn peek_at(&mut self) -> Option<Timestamp> {
        if self.peeked.is_none() && self.peeked_error.is_none() {
            let mut bytes = std::mem::take(&mut self.peeked_bytes);
            bytes.clear();
            match self.read() {
                Ok(Some(packet)) => {
                    bytes.extend_from_slice(packet.bytes);
                    let (stamp, link) = ((packet.at, packet.original_bytes), packet.link);
                    (self.peeked, self.peeked_link) = (Some(stamp), link);
                }
                Ok(None) => {}
                Err(error) => self.peeked_error = Some(error),
            }
            self.peeked_bytes = bytes;
        }
        self.peeked.map(|(at, _)| at)
    }

    /// The next packet; `None` at the end. After [`CaptureError::Truncated`] or
    /// [`CaptureError::Damaged`] the file is at its end, and what was handed out before is good.
    #[allow(clippy::should_implement_trait)] // the packet borrows from the file
    pub fn next(&mut self) -> Result<Option<Packet<'_>>, CaptureError> {
        if let Some(error) = self.peeked_error.take() {
            return Err(error);
        }
        if let Some((at, original_bytes)) = self.peeked.take() {
            return Ok(Some(Packet {
                at,
                link: self.peeked_link,
                bytes: &self.peeked_bytes,
                original_bytes,
            }));
        }
        self.read()
    }

    /// Packets read so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    fn read(&mut self) -> Result<Option<Packet<'_>>, CaptureError> {
        if self.ended {
            return Ok(None);
        }
        let read = match &mut self.reader {
            Reader::Classic(classic) => match classic.next() {
                Ok(packet) => Ok(packet),
                Err(stop) => Err(match stop {
                    Stop::Cut => CaptureError::Truncated { name: self.name.clone(), packets: self.packets },
                    Stop::Damage(detail) => {
                        CaptureError::Damaged { name: self.name.clone(), packets: self.packets, detail }
                    }
                }),
            },
            Reader::Libpcap(capture, link) => match capture.next_packet() {
                Ok(packet) => Ok(Some(Packet {
                    at: captured_at(packet.header),
                    link: *link,
                    bytes: packet.data,
                    original_bytes: packet.header.len,
                })),
                Err(pcap::Error::NoMorePackets) => Ok(None),
                Err(error) => Err(reading_error(&self.name, self.packets, &error)),
            },
        };
        match read {
            Ok(Some(packet)) => {
                self.packets += 1;
                Ok(Some(packet))
            }
            Ok(None) => {
                self.ended = true;
                if self.cut_short {
                    return Err(CaptureError::Truncated { name: self.name.clone(), packets: self.packets });
                }
                Ok(None)
            }
            Err(error) => {
                self.ended = true;
                Err(error)
            }
        }
    }
}

/// A reader that knows how much was taken from it.
struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes = self.bytes.saturating_add(read as u64);
        Ok(read)
    }
}

/// Copies into an unnamed temporary file. Says whether the input was cut. `taken` tells how many
/// compressed bytes went in, where the input is compressed.
fn spool<R: Read>(
    reader: &mut R,
    name: &str,
    taken: impl Fn(&R) -> Option<u64>,
) -> Result<(File, bool), CaptureError> {
    let system = |error: std::io::Error| CaptureError::System {
        name: name.to_owned(),
        detail: format!("cannot spool into a temporary file ({error}); set TMPDIR to a roomy directory"),
    };
    let mut file = tempfile::tempfile().map_err(system)?;
    let mut buffer = vec![0; 256 << 10];
    let mut written = 0u64;
    let cut = loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => break false,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break true,
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        if written == 0 && !looks_like_capture(bytes) {
            return Err(CaptureError::NotACapture { name: name.to_owned() });
        }
        written = written.saturating_add(read as u64);
        let ratio_max = taken(reader).map_or(u64::MAX, |taken| {
            taken.saturating_mul(limits::SPOOLED_CAPTURE_RATIO_MAX).saturating_add(1 << 20)
        });
        if written > limits::SPOOLED_CAPTURE_BYTES_MAX.min(ratio_max) {
            return Err(CaptureError::TooLarge { name: name.to_owned() });
        }
        file.write_all(bytes).map_err(system)?;
    };
    if written == 0 {
        return Err(CaptureError::NotACapture { name: name.to_owned() });
    }
    file.flush().map_err(system)?;
    Ok((file, cut))
}

fn read_head(reader: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(4);
    reader.by_ref().take(4).read_to_end(&mut head)?;
    Ok(head)
}

fn file_error(name: &str, error: &std::io::Error) -> CaptureError {
    let name = name.to_owned();
    match error.kind() {
        ErrorKind::NotFound => CaptureError::Missing { name },
        ErrorKind::PermissionDenied => CaptureError::FileForbidden { name },
        ErrorKind::IsADirectory => CaptureError::Directory { name },
        _ => CaptureError::System { name, detail: error.to_string() },
    }
}

fn reading_error(name: &str, packets: u64, error: &pcap::Error) -> CaptureError {
    let (name, detail) = (name.to_owned(), error.to_string());
    if detail.contains("truncated") {
        return CaptureError::Truncated { name, packets };
    }
    CaptureError::Damaged { name, packets, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_packets() -> Vec<u8> {
        let mut file =
            vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 1, 0, 0, 0];
        for second in [7u8, 9] {
            file.extend_from_slice(&[second, 0, 0, 0, 5, 0, 0, 0, 3, 0, 0, 0, 60, 0, 0, 0, 1, 2, second]);
        }
        file
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn peeking_changes_nothing() {
        for bytes in [two_packets(), gz(&two_packets())] {
            let mut file = CaptureFile::from_reader(bytes.as_slice(), "x").unwrap();
            assert_eq!(file.peek_at(), Some(Timestamp::from_micros(7_000_005)));
            assert_eq!(file.next().unwrap().unwrap().bytes, [1, 2, 7]);
            assert_eq!(file.next().unwrap().unwrap().original_bytes, 60);
            assert_eq!(file.peek_at(), None);
            assert!(file.next().unwrap().is_none());
        }
    }

    #[test]
    fn a_cut_file_yields_what_came_before_the_cut() {
        let mut bytes = two_packets();
        bytes.pop();
        let zipped = gz(&two_packets());
        let half = &zipped[..zipped.len() - 9];
        for (bytes, least) in [(bytes.as_slice(), 1), (half, 0)] {
            let mut file = CaptureFile::from_reader(bytes, "x").unwrap();
            let mut packets = 0;
            let error = loop {
                match file.next() {
                    Ok(Some(_)) => packets += 1,
                    Ok(None) => panic!("the cut was not said"),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, CaptureError::Truncated { .. }), "{error}");
            assert!(packets >= least);
            assert!(file.next().unwrap().is_none());
        }
    }

    #[test]
    fn what_is_no_capture_says_so() {
        let kind = |result: Result<CaptureFile, CaptureError>| result.err().map(|error| error.to_string());
        assert!(kind(CaptureFile::open(Path::new("/nowhere/x"))).unwrap().contains("no such file"));
        assert!(kind(CaptureFile::open(Path::new("/tmp"))).unwrap().contains("directory"));
        for bytes in [&b"hello"[..], b"", &gz(b"hello"), &[0x1f, 0x8b, 0, 0]] {
            assert!(kind(CaptureFile::from_reader(bytes, "x")).unwrap().contains("not a capture"));
        }
    }
}
