//! A file that is appended to: every alert once, whole, whatever happens in between.
//!
//! *In*: letters. *Out*: records at the end of the file, forced to disk before the cursor moves. *Bound*:
//! [`BATCH_MAX`] records a write. *Spec*: docs/alerts.md, sinks.
//!
//! The cursor carries a note: which file it was, and how long when the cursor was saved. A crash between writing
//! and saving leaves bytes behind that length; so the note is saved before the first byte. When the file is opened again they are compared with what would be
//! written next: whole records count as delivered, a torn rest is cut off. After an error the file is closed and
//! all of this is done again: a descriptor whose fsync failed once is never trusted.

use super::{Common, Deliver, Fate, Letter, Opened, Sending, SinkConfig};
use crate::alert::Format;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Records of one write.
const BATCH_MAX: usize = 1_000;

/// Settings of a file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Its path. The file belongs to portreeve: nobody else may append to it. Rotate it by renaming, then send
    /// SIGHUP.
    pub path: PathBuf,
    /// Name under which the store remembers how far this sink has come. Default: type and target.
    pub name: Option<String>,
    /// Form of the alert, see docs/alerts.md. Default: ndjson.
    pub format: Option<String>,
    /// Leaves out what is less severe: `low`, `medium`, `high` or `critical`. Default: everything.
    pub severity_min: Option<String>,
}

/// The note beside the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    device: u64,
    inode: u64,
    bytes: u64,
}

struct Log {
    path: PathBuf,
    format: &'static Format,
    file: Option<File>,
}

/// Opens a sink of this kind.
pub fn open(config: &SinkConfig) -> Option<Result<Opened, String>> {
    let SinkConfig::File(settings) = config else { return None };
    let path = &settings.path;
    Some(Common::read(config, "ndjson").map(|common| {
        let log = Log { path: path.clone(), format: common.format, file: None };
        common.opened(format!("file {}", path.display()), log)
    }))
}

impl Deliver for Log {
    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    fn send<'a>(&'a mut self, letters: &'a [Letter], place: &'a mut String) -> Sending<'a> {
        let fates = match self.append(letters, place) {
            Ok(written) => vec![Fate::Delivered; written],
            Err(error) => {
                self.file = None;
                vec![Fate::unreachable(format!("{}: {error}", self.path.display()))]
            }
        };
        Box::pin(async move { fates })
    }

    fn reopen(&mut self) {
        self.file = None;
    }
}

impl Log {
    /// Appends what is not there yet; returns how many of the letters are in the file now.
    fn append(&mut self, letters: &[Letter], place: &mut String) -> io::Result<usize> {
        let records: Vec<String> = letters.iter().map(|letter| (self.format.encode)(&letter.alert)).collect();
        if self.file.is_none() {
            let (file, found) = open_checked(&self.path, serde_json::from_str(place).ok(), &records)?;
            let noted = note(&file, Some(found.end))?;
            if !found.more_follow {
                self.file = Some(file);
            }
            // Where we stand is saved before anything is written there: a crash in between could not tell
            // what of it is ours. (Records of a later batch may follow: they are looked at when it comes.)
            if found.present > 0 || found.more_follow || noted != *place {
                *place = noted;
                return Ok(found.present);
            }
        }
        let Some(file) = &mut self.file else { return Ok(0) };
        file.write_all(records.concat().as_bytes())?;
        file.sync_data()?;
        *place = note(file, None)?;
        Ok(records.len())
    }
}

/// The note for a file: its identity and length.
fn note(file: &File, bytes: Option<u64>) -> io::Result<String> {
    let metadata = file.metadata()?;
    let bytes = bytes.unwrap_or(metadata.len());
    let place = Place { device: metadata.dev(), inode: metadata.ino(), bytes };
    Ok(serde_json::to_string(&place).unwrap_or_default())
}

/// What stands behind the noted length.
struct Found {
    /// How many of the records.
    present: usize,
    /// Where they end.
    end: u64,
    /// Whether all of them are there and something follows.
    more_follow: bool,
}

/// Opens the file for appending, creating it durably where it is missing, and looks at what stands behind the
/// noted length: in it, or in the file that it was before it was renamed.
fn open_checked(path: &Path, place: Option<Place>, records: &[String]) -> io::Result<(File, Found)> {
    let existed = path.exists();
    let mut file = File::options().read(true).append(true).create(true).mode(0o640).open(path)?;
    if !existed {
        sync_parent(path)?;
    }
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok((file, Found { present: 0, end: 0, more_follow: false }));
    }
    let same = |metadata: &std::fs::Metadata, place: &Place| {
        (metadata.dev(), metadata.ino()) == (place.device, place.inode)
    };
    match place {
        Some(place) if same(&metadata, &place) && metadata.len() >= place.bytes => {
            let found = compare(&mut file, place.bytes, records)?;
            cut_torn(&file, &found)?;
            Ok((file, found))
        }
        // Renamed since: what was written before the crash is in the old file, if it is still there.
        Some(place) if !same(&metadata, &place) => {
            let mut found = Found { present: 0, end: metadata.len(), more_follow: false };
            let old = std::fs::read_dir(parent(path))?
                .flatten()
                .find(|entry| entry.metadata().is_ok_and(|metadata| same(&metadata, &place)));
            if let Some(old) = old {
                let mut old = File::options().read(true).write(true).open(old.path())?;
                let behind = compare(&mut old, place.bytes, records)?;
                found.present = behind.present;
                cut_torn(&old, &behind)?;
            }
            found.end = end_torn_line(&mut file, metadata.len())?;
            Ok((file, found))
        }
        // New to us, or cut short by a copying rotation.
        _ => {
            let end = end_torn_line(&mut file, metadata.len())?;
            Ok((file, Found { present: 0, end, more_follow: false }))
        }
    }
}

/// Compares what stands behind a length with the records that come next.
fn compare(file: &mut File, bytes: u64, records: &[String]) -> io::Result<Found> {
    file.seek(SeekFrom::Start(bytes))?;
    let mut found = Found { present: 0, end: bytes, more_follow: false };
    let expected: u64 = records.iter().map(|record| record.len() as u64).sum();
    let mut rest = Vec::new();
    file.take(expected + 1).read_to_end(&mut rest)?;
    let mut rest = rest.as_slice();
    for record in records {
        let Some(after) = rest.strip_prefix(record.as_bytes()) else { return Ok(found) };
        found.present += 1;
        found.end += record.len() as u64;
        rest = after;
    }
    found.more_follow = !rest.is_empty();
    Ok(found)
}

/// Cuts off what a crash left of a record.
fn cut_torn(file: &File, found: &Found) -> io::Result<()> {
    if found.more_follow || file.metadata()?.len() <= found.end {
        return Ok(());
    }
    file.set_len(found.end)?;
    file.sync_all()
}

/// A last line without its end, in a file whose story we do not know, gets one: ours begin on their own line.
/// Returns the length after it.
fn end_torn_line(file: &mut File, length: u64) -> io::Result<u64> {
    if length == 0 {
        return Ok(0);
    }
    let mut last = [0u8];
    file.seek(SeekFrom::Start(length - 1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(length);
    }
    file.write_all(b"\n")?;
    file.sync_data()?;
    Ok(length + 1)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}
