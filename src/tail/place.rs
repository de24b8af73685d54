//! Where a mark is now: among files that were renamed, copied, compressed or deleted since.
//!
//! *In*: a mark and the files of its log, oldest first. *Out*: the file it is in, or the one to read next.
//! *Bound*: each archive is decompressed up to the mark at most. *Spec*: none.

use super::current::{Current, Reader, open_at};
use super::mark::{Mark, PRINT_BYTES};
use super::rotated::Rotated;
use std::io::{self, Read};

/// The file in which a mark is, opened at its place: first by identity, then by content.
pub fn open_marked(mark: &Mark, files: &[Rotated], key: &[u8; 16]) -> Option<Current> {
    let index = find_mark(mark, files, key)?;
    open_at(mark, files.get(index)?, key)
}

/// Which of the files a mark is in: the same file with the same content, else a copy of it, plain or
/// compressed. Files last written long before the mark was made cannot hold it.
pub fn find_mark(mark: &Mark, files: &[Rotated], key: &[u8; 16]) -> Option<usize> {
    let holds = |file: &Rotated| open_at(mark, file, key).is_some();
    if let Some(index) = files.iter().position(|file| file.identity == mark.identity)
        && holds(&files[index])
    {
        return Some(index);
    }
    if mark.offset == 0 {
        return None;
    }
    files
        .iter()
        .position(|file| !file.packed && holds(file))
        .or_else(|| files.iter().position(|file| file.packed && holds(file)))
}

/// A file that begins as the marked one and ends before the mark: a copy made before the last lines were
/// written to a file that is gone.
pub fn find_shorter(mark: &Mark, files: &[Rotated], key: &[u8; 16]) -> Option<usize> {
    if usize::from(mark.head.bytes) < PRINT_BYTES {
        return None;
    }
    let begins_alike = |file: &Rotated| {
        let beginning = Mark { offset: PRINT_BYTES as u64, anchor: mark.head, ..mark.clone() };
        let mut current = open_at(&beginning, file, key)?;
        let left = mark.offset.checked_sub(PRINT_BYTES as u64)?;
        let bytes = match &mut current.reader {
            Reader::Plain(file) => file.metadata().ok()?.len().checked_sub(PRINT_BYTES as u64)?,
            Reader::Packed(decoder) => io::copy(&mut decoder.take(left), &mut io::sink()).ok()?,
        };
        (bytes < left).then_some(())
    };
    files.iter().position(|file| !file.active && begins_alike(file).is_some())
}

/// The oldest file that is newer than the one a mark is in. `before` marks its elder.
pub fn newer_than<'f>(
    mark: &Mark,
    before: Option<&Mark>,
    files: &'f [Rotated],
    key: &[u8; 16],
) -> Option<&'f Rotated> {
    let by_identity = files.iter().position(|file| file.identity == mark.identity && !file.active);
    let found =
        by_identity.or_else(|| find_mark(mark, files, key)).or_else(|| find_shorter(mark, files, key));
    match found {
        Some(index) => first_with_lines(files.get(index + 1..).unwrap_or_default()),
        None => after_lost(mark, before, files, key),
    }
}

/// The oldest of these that is not empty, else the one that is written now.
fn first_with_lines(files: &[Rotated]) -> Option<&Rotated> {
    files.iter().find(|file| file.size > 0 || file.active)
}

/// The oldest file with lines that is newer than the elder; of all, where there is no elder. `None` where
/// the elder is not found.
pub fn after_elder<'f>(before: Option<&Mark>, files: &'f [Rotated], key: &[u8; 16]) -> Option<&'f Rotated> {
    let first = match before {
        Some(before) => find_mark(before, files, key)? + 1,
        None => 0,
    };
    first_with_lines(files.get(first..).unwrap_or_default())
}

/// The oldest file that is newer than one that is gone: the next after its elder, else the oldest that was
/// written since, else the one that is written now.
pub fn after_lost<'f>(
    mark: &Mark,
    before: Option<&Mark>,
    files: &'f [Rotated],
    key: &[u8; 16],
) -> Option<&'f Rotated> {
    after_elder(before, files, key)
        .or_else(|| files.iter().find(|file| file.modified > mark.modified || file.active))
}

/// A mark in the newest file that is older than this one and has lines.
pub fn elder_of(file: &Rotated, files: &[Rotated], key: &[u8; 16]) -> Option<Mark> {
    let index = files.iter().position(|other| other.identity == file.identity)?;
    files.get(..index)?.iter().rev().find_map(|elder| beginning_of(elder, key))
}

/// A mark by which a file that is not read is known again, also when it is compressed.
pub fn beginning_of(file: &Rotated, key: &[u8; 16]) -> Option<Mark> {
    let mut current = Current::begin(file).ok()??;
    let _ = current.read().ok()?;
    let end = current.held.len().min(PRINT_BYTES);
    current.held.truncate(end);
    current.advance(end, key);
    (end > 0).then(|| current.mark(key))
}
