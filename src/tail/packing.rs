//! How a log is compressed, told by its first bytes.
//!
//! *In*: a reader at its beginning. *Out*: a reader of what was packed, every member or frame of it. *Bound*:
//! [`WINDOW_LOG_MAX`] of memory. *Spec*: RFC 1952, RFC 8878.

use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufRead, Read};

/// Largest window of zstd that is given memory, as a power of two: 32 MiB. `zstd --long` may ask for more.
const WINDOW_LOG_MAX: u32 = 25;

/// A way to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Packing {
    /// The way in which an input that begins so is compressed; `None` where it is not.
    pub fn of(head: &[u8]) -> Option<Packing> {
        match head {
            [0x1f, 0x8b, ..] => Some(Packing::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Packing::Zstd),
            _ => None,
        }
    }

    /// Unpacks.
    pub fn unpack<'r>(self, reader: impl BufRead + Send + 'r) -> io::Result<Box<dyn Read + Send + 'r>> {
        Ok(match self {
            Packing::Gzip => Box::new(MultiGzDecoder::new(reader)),
            Packing::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }
}
