//! The file at hand of a followed log: read on from a mark, plain or compressed.
//!
//! *In*: a listed file, perhaps a mark in it. *Out*: bytes after the mark, and a new mark. *Bound*: what is
//! held is a print's worth of read bytes and one chunk. *Spec*: RFC 1952, RFC 8878.

use super::mark::{Identity, Mark, PRINT_BYTES, Print, modified};
use super::packing::Packing;
use super::rotated::{Rotated, open_regular};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;

/// Bytes asked of a file at once.
const CHUNK_BYTES: usize = 256 << 10;

/// The file at hand.
pub struct Current {
    pub reader: Reader,
    pub identity: Identity,
    /// Of `held[consumed..]`'s first byte.
    pub offset: u64,
    pub head: Print,
    /// The last bytes that were read, then those of a line that is not whole yet.
    pub held: Vec<u8>,
    pub consumed: usize,
    pub modified: i64,
    /// Whether it was the written file when it was opened or marked: others may still write to it, and it may
    /// have been copied and truncated before its first line was read.
    pub was_active: bool,
    /// Whether a newer file was seen to have lines.
    pub superseded: bool,
    /// Polls since then without new lines here.
    pub quiet_polls: u8,
    /// An archive that could not be read to its end.
    pub damaged: bool,
    /// Room for the next read.
    spare: Vec<u8>,
}

pub enum Reader {
    Plain(File),
    Packed(Box<dyn Read + Send>),
}

/// What a read brought.
pub enum More {
    Bytes,
    Nothing,
    /// What was read before is not there any more.
    Changed,
}

impl Current {
    /// A file from its beginning. `None` where it changed since it was listed.
    pub fn begin(file: &Rotated) -> io::Result<Option<Current>> {
        let Some(reader) = Reader::open(file)? else { return Ok(None) };
        Ok(Some(Current {
            reader,
            identity: file.identity,
            offset: 0,
            head: Print::default(),
            held: Vec::new(),
            consumed: 0,
            modified: file.modified,
            was_active: file.active,
            superseded: false,
            quiet_polls: 0,
            damaged: false,
            spare: Vec::new(),
        }))
    }

    /// Takes everything up to the present end as read, but for a line that is not whole yet.
    pub fn skip_to_end(&mut self, key: &[u8; 16]) -> io::Result<()> {
        while let More::Bytes = self.read()? {
            if let Some(end) = memchr::memrchr(b'\n', &self.held) {
                self.advance(end + 1, key);
            } else if self.held.len() > CHUNK_BYTES {
                self.advance(self.held.len(), key);
            }
        }
        Ok(())
    }

    /// Which file it is, and how far it was read.
    pub fn mark(&self, key: &[u8; 16]) -> Mark {
        let anchor =
            self.held.get(self.consumed.saturating_sub(PRINT_BYTES)..self.consumed).unwrap_or_default();
        Mark {
            identity: self.identity,
            offset: self.offset,
            head: self.head,
            anchor: Print::of(anchor, key),
            modified: self.modified,
        }
    }

    /// Reads on. The bytes that are held are compared with the file's before they are trusted.
    pub fn read(&mut self) -> io::Result<More> {
        self.let_go();
        let held = self.held.len();
        match &mut self.reader {
            Reader::Plain(file) => {
                let meta = file.metadata()?;
                let start = self.offset.saturating_sub(self.consumed as u64);
                let unchanged = modified(&meta) == self.modified && meta.len() == start + held as u64;
                self.modified = self.modified.max(modified(&meta));
                if unchanged {
                    return Ok(More::Nothing);
                }
                let waiting = usize::try_from(meta.len().saturating_sub(start)).unwrap_or(usize::MAX);
                self.spare.resize(waiting.clamp(held, held + CHUNK_BYTES), 0);
                let read =
                    read_full(&mut self.spare, |room, at| file.read_at(room, start.saturating_add(at)))?;
                self.spare.truncate(read);
                if self.spare.get(..held) != Some(&self.held[..]) {
                    return Ok(More::Changed);
                }
                std::mem::swap(&mut self.held, &mut self.spare);
            }
            Reader::Packed(decoder) => {
                self.held.resize(held + CHUNK_BYTES, 0);
                let room = self.held.get_mut(held..).unwrap_or_default();
                // What is damaged or cut in a finished archive will not be mended: it ends there.
                let read = loop {
                    match decoder.read(room) {
                        Ok(read) => break read,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(_) => {
                            self.damaged = true;
                            break 0;
                        }
                    }
                };
                self.held.truncate(held + read);
            }
        }
        Ok(if self.held.len() > held { More::Bytes } else { More::Nothing })
    }

    /// Says that everything held before `end` was handed out.
    pub fn advance(&mut self, end: usize, key: &[u8; 16]) {
        self.offset = self.offset.saturating_add((end - self.consumed) as u64);
        if usize::from(self.head.bytes) < PRINT_BYTES && self.offset == end as u64 {
            self.head = Print::of(self.held.get(..end.min(PRINT_BYTES)).unwrap_or_default(), key);
        }
        self.consumed = end;
    }

    /// Lets go of what was handed out, but for a print's worth. Until the head is whole, nothing before it may go.
    fn let_go(&mut self) {
        if usize::from(self.head.bytes) == PRINT_BYTES || self.offset > self.consumed as u64 {
            let surplus = self.consumed.saturating_sub(PRINT_BYTES);
            self.held.drain(..surplus);
            self.consumed -= surplus;
        }
    }
}

impl Reader {
    /// Opens a listed file; `None` where another has taken its name meanwhile.
    fn open(listed: &Rotated) -> io::Result<Option<Reader>> {
        let file = match open_regular(&listed.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if Identity::of(&file.metadata()?) != listed.identity {
            return Ok(None);
        }
        if !listed.packed {
            return Ok(Some(Reader::Plain(file)));
        }
        let mut head = [0; 4];
        let read = read_full(&mut head, |room, at| file.read_at(room, at))?;
        // What is none of these is read as gzip and found damaged.
        let packing = Packing::of(head.get(..read).unwrap_or_default()).unwrap_or(Packing::Gzip);
        Ok(Some(Reader::Packed(packing.unpack(BufReader::new(file))?)))
    }
}

/// Opens a file at a mark, where its content is that of the mark.
pub fn open_at(mark: &Mark, file: &Rotated, key: &[u8; 16]) -> Option<Current> {
    let mut current = Current::begin(file).ok()??;
    let anchor_bytes = u64::from(mark.anchor.bytes);
    let start = mark.offset.checked_sub(anchor_bytes)?;
    let mut head = vec![0; usize::from(mark.head.bytes)];
    let mut anchor = vec![0; usize::from(mark.anchor.bytes)];
    match &mut current.reader {
        Reader::Plain(file) => {
            file.read_exact_at(&mut head, 0).ok()?;
            file.read_exact_at(&mut anchor, start).ok()?;
        }
        Reader::Packed(decoder) => {
            // The anchor may overlap the head: the decoder goes only forward.
            let overlap = head.len().saturating_sub(usize::try_from(start).unwrap_or(usize::MAX));
            decoder.read_exact(&mut head).ok()?;
            let between = start.saturating_sub(head.len() as u64);
            let skipped = io::copy(&mut decoder.take(between), &mut io::sink()).ok()?;
            if skipped != between {
                return None;
            }
            let (from_head, rest) = anchor.split_at_mut_checked(overlap)?;
            from_head.copy_from_slice(head.get(head.len() - overlap..)?);
            decoder.read_exact(rest).ok()?;
        }
    }
    if Print::of(&head, key) != mark.head && mark.head.bytes > 0 {
        return None;
    }
    if Print::of(&anchor, key) != mark.anchor && mark.anchor.bytes > 0 {
        return None;
    }
    // What was marked before its first line was the written file then.
    current.was_active |= mark.offset == 0;
    current.offset = mark.offset;
    current.head = mark.head;
    current.consumed = anchor.len();
    current.held = anchor;
    current.modified = current.modified.max(mark.modified);
    Some(current)
}

/// Reads until the room is full or the file at its end.
fn read_full(
    room: &mut [u8],
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut filled = 0;
    while filled < room.len() {
        match read(room.get_mut(filled..).unwrap_or_default(), filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
