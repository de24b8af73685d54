//! One log, read from its beginning to its end: plain, gzip or zstd (of any number of members), file or pipe.
//!
//! *In*: a path, or any reader. *Out*: lines; after a cut, everything before it and then one error that
//! says so. *Bound*: `limits::LOG_LINE_BYTES_MAX` a line, the rest of an overlong one is skipped and
//! counted; expansion of compressed input. *Spec*: RFC 1952, RFC 8878.

use super::packing::Packing;
use super::{TailError, file_error};
use crate::limits;
use crate::time::Timestamp;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes asked of the input at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes of the head by which an input's kind is recognised.
const HEAD_BYTES: usize = 16 << 10;

/// An open log.
pub struct LogFile {
    name: String,
    reader: Box<dyn Read + Send>,
    /// Compressed bytes taken, where the input is compressed.
    packed_bytes: Option<Arc<AtomicU64>>,
    buffer: Vec<u8>,
    /// The part of the buffer that was not handed out yet.
    start: usize,
    end: usize,
    input_ended: bool,
    /// Said once everything before it was handed out.
    failure: Option<Failure>,
    bytes: u64,
    lines: u64,
    overlong_lines: u64,
    modified_at: Option<Timestamp>,
}

enum Failure {
    Truncated,
    TooLarge,
    Damaged(String),
}

impl LogFile {
    /// Opens a log by its content, whatever its name.
    pub fn open(path: &Path) -> Result<LogFile, TailError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| file_error(&name, &error))?;
        let meta = file.metadata().map_err(|error| file_error(&name, &error))?;
        if meta.is_dir() {
            return Err(TailError::Directory { name });
        }
        let modified_at = meta.modified().ok().and_then(|at| {
            let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
            i64::try_from(since.as_micros()).ok().map(Timestamp::from_micros)
        });
        let mut log = LogFile::from_reader(file, &name)?;
        log.modified_at = modified_at.filter(|_| meta.is_file());
        Ok(log)
    }

    /// Takes a log, plain or compressed, out of any reader.
    pub fn from_reader(reader: impl Read + Send + 'static, name: &str) -> Result<LogFile, TailError> {
        let mut input = BufReader::with_capacity(CHUNK_BYTES, reader);
        let packing = loop {
            match input.fill_buf() {
                Ok(head) => break Packing::of(head),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(file_error(name, &error)),
            }
        };
        let packed_bytes = packing.map(|_| Arc::new(AtomicU64::new(0)));
        let reader: Box<dyn Read + Send> = match (packing, &packed_bytes) {
            (Some(packing), Some(taken)) => packing
                .unpack(Counted { inner: input, taken: Arc::clone(taken) })
                .map_err(|error| file_error(name, &error))?,
            _ => Box::new(input),
        };
        let mut log = LogFile {
            name: name.to_owned(),
            reader,
            packed_bytes,
            buffer: vec![0; CHUNK_BYTES],
            start: 0,
            end: 0,
            input_ended: false,
            failure: None,
            bytes: 0,
            lines: 0,
            overlong_lines: 0,
            modified_at: None,
        };
        while log.end < HEAD_BYTES && !log.input_ended {
            log.fill()?;
        }
        Ok(log)
    }

    /// The first bytes, decompressed, by which the dialect is recognised. Empty once lines were taken.
    pub fn head(&self) -> &[u8] {
        if self.lines > 0 {
            return &[];
        }
        self.buffer.get(..self.end.min(HEAD_BYTES)).unwrap_or_default()
    }

    /// The next line, without its end; `None` at the end of the input. The last line may lack its end.
    /// After an error the input is at its end, and what was handed out before is good.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, TailError> {
        let mut searched = self.start;
        let (line, next) = loop {
            let unread = self.buffer.get(searched..self.end).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', unread) {
                break (self.start..searched + at, searched + at + 1);
            }
            if self.input_ended {
                if self.start == self.end {
                    return self.ended();
                }
                break (self.start..self.end, self.end);
            }
            if self.end - self.start > limits::LOG_LINE_BYTES_MAX {
                self.skip_overlong()?;
                searched = self.start + limits::LOG_LINE_BYTES_MAX;
                continue;
            }
            searched = self.end - self.start;
            self.fill()?;
        };
        self.start = next;
        self.lines += 1;
        let line = self.buffer.get(line).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > limits::LOG_LINE_BYTES_MAX {
            self.overlong_lines += 1;
            return Ok(line.get(..limits::LOG_LINE_BYTES_MAX));
        }
        Ok(Some(line))
    }

    /// Lines handed out.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Lines that were longer than is kept.
    pub fn overlong_lines(&self) -> u64 {
        self.overlong_lines
    }

    /// Bytes read, decompressed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the file was last changed; `None` for pipes.
    pub fn modified_at(&self) -> Option<Timestamp> {
        self.modified_at
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Moves what is unread to the front and reads more behind it.
    fn fill(&mut self) -> Result<(), TailError> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        match self.reader.read(room) {
            Ok(0) => self.input_ended = true,
            Ok(read) => {
                self.end += read;
                self.bytes = self.bytes.saturating_add(read as u64);
                self.check_expansion();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if self.packed_bytes.is_some() => {
                self.input_ended = true;
                self.failure = Some(match error.kind() {
                    ErrorKind::UnexpectedEof => Failure::Truncated,
                    _ => Failure::Damaged(error.to_string()),
                });
            }
            Err(error) => return Err(file_error(&self.name, &error)),
        }
        Ok(())
    }

    fn check_expansion(&mut self) {
        let Some(packed) = &self.packed_bytes else { return };
        // The decoder reads ahead by at most one buffer; small files may not be judged by their ratio.
        let by_ratio = packed
            .load(Ordering::Relaxed)
            .saturating_mul(limits::UNPACKED_LOG_RATIO_MAX)
            .saturating_add(CHUNK_BYTES as u64 * 4);
        if self.bytes > limits::UNPACKED_LOG_BYTES_MAX.min(by_ratio) {
            self.input_ended = true;
            self.failure = Some(Failure::TooLarge);
        }
    }

    /// Keeps the first bytes of a line that is too long and drops what follows, as far as it was read.
    fn skip_overlong(&mut self) -> Result<(), TailError> {
        let kept = self.start + limits::LOG_LINE_BYTES_MAX + 1;
        self.end = self.end.min(kept);
        while !self.input_ended {
            self.fill()?;
            let kept = self.start + limits::LOG_LINE_BYTES_MAX + 1;
            let more = self.buffer.get(kept..self.end).unwrap_or_default();
            match memchr::memchr(b'\n', more) {
                Some(at) => {
                    self.buffer.copy_within(kept + at..self.end, kept);
                    self.end -= at;
                    return Ok(());
                }
                None => self.end = self.end.min(kept),
            }
        }
        Ok(())
    }

    fn ended(&mut self) -> Result<Option<&[u8]>, TailError> {
        let (name, lines) = (self.name.clone(), self.lines);
        match self.failure.take() {
            None => Ok(None),
            Some(Failure::Truncated) => Err(TailError::Truncated { name, lines }),
            Some(Failure::TooLarge) => Err(TailError::TooLarge { name, lines }),
            Some(Failure::Damaged(detail)) => Err(TailError::Damaged { name, lines, detail }),
        }
    }
}

/// A buffered reader that says how much was taken from it.
struct Counted<R> {
    inner: BufReader<R>,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.taken.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl<R: Read> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.inner.fill_buf()
    }
    fn consume(&mut self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
        self.inner.consume(bytes);
    }
}
