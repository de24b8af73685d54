//! Which file it is, and how far it was read: what survives rotation, compression and restarts.
//!
//! An inode number is no identity: ext4 gives it to the next file at once. So a file is its device,
//! inode and birth time, and its content is known by a print of its first bytes and one of the bytes
//! just before the place that was read to.
//!
//! *In*: metadata and bytes. *Out*: [`Mark`], serialisable. *Bound*: `PRINT_BYTES` bytes are looked at
//! each. *Spec*: statx(2) for the birth time.

use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::fs::Metadata;
use std::hash::Hasher;
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes by which a place in a file is known.
pub const PRINT_BYTES: usize = 256;

/// One file of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    device: u64,
    inode: u64,
    /// Birth, nanoseconds since the epoch; `None` where the file system keeps none.
    born: Option<i64>,
}

impl Identity {
    /// Of an open or listed file.
    pub fn of(meta: &Metadata) -> Identity {
        let born = meta.created().ok().map(nanoseconds);
        Identity { device: meta.dev(), inode: meta.ino(), born }
    }
}

/// When a file was last written, nanoseconds since the epoch.
pub fn modified(meta: &Metadata) -> i64 {
    meta.modified().map_or(0, nanoseconds)
}

fn nanoseconds(at: SystemTime) -> i64 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    }
}

/// Keyed print of up to [`PRINT_BYTES`] bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Print {
    /// How many bytes it is of.
    pub bytes: u16,
    hash: (u64, u64),
}

impl Print {
    /// Of these bytes; there are at most [`PRINT_BYTES`].
    pub fn of(bytes: &[u8], key: &[u8; 16]) -> Print {
        let mut hasher = SipHasher13::new_with_key(key);
        hasher.write(bytes);
        let hash = hasher.finish128();
        Print { bytes: u16::try_from(bytes.len()).unwrap_or(u16::MAX), hash: (hash.h1, hash.h2) }
    }
}

/// A file and the place it was read to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Which file.
    pub identity: Identity,
    /// Bytes that were read, after decompression. The place is the start of a line.
    pub offset: u64,
    /// Of the first bytes of the file, as far as they were read.
    pub head: Print,
    /// Of the last bytes that were read.
    pub anchor: Print,
    /// When it was last written, as far as is known, nanoseconds since the epoch.
    pub modified: i64,
}
