//! A log that is still written, followed through rotation, compression and restarts.
//!
//! *In*: a path; before a restart's first poll also the position that was kept. *Out*: whole lines, each
//! once, in order; a position to keep. *Bound*: `limits::POLL_BYTES_MAX` a poll,
//! `limits::LOG_LINE_BYTES_MAX` a line. *Spec*: logrotate(8), all of its ways.
//!
//! The position is always *in one file*. When that file is read to its end and a newer one has lines,
//! the next newer one follows, so that any number of rotations is caught up with. Before each read the
//! bytes before the position are compared: where they changed, the file was truncated or written anew;
//! what was not yet read is then looked for in the copies, known by the same bytes. What cannot be found
//! is counted in [`FollowCounters::possible_gaps`], never passed over in silence.

use super::current::{Current, More, Reader};
use super::mark::{Identity, Mark};
use super::place::{
    after_elder, after_lost, beginning_of, elder_of, find_mark, find_shorter, newer_than, open_marked,
};
use super::rotated::{Rotated, list, resolve};
use super::{TailError, file_error};
use crate::limits;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Polls for which a renamed file is still read while its successor has lines already: some programs
/// notice late that their log was renamed.
const PATIENCE_POLLS: u8 = 2;

/// Where a log was read to. Kept over a restart, it makes the next run go on at the next line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    /// Under which prints are made.
    key: [u8; 16],
    /// The newest file that is older than this one.
    before: Option<Mark>,
    /// The file at hand.
    at: Mark,
    /// Whether the rest of an overlong line is to be skipped.
    skipping: bool,
}

/// What was read and what may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FollowCounters {
    /// Lines handed out.
    pub lines: u64,
    /// Bytes they took.
    pub bytes: u64,
    /// Times another file was gone over to.
    pub rotations: u64,
    /// Times the file shrank or was written anew.
    pub truncations: u64,
    /// Times lines may have been lost: a copytruncate, or a file that was not found again.
    pub possible_gaps: u64,
    /// Lines that were longer than is kept.
    pub overlong_lines: u64,
}

/// Follows one log.
pub struct Follower {
    path: PathBuf,
    name: String,
    key: [u8; 16],
    current: Option<Current>,
    before: Option<Mark>,
    /// A position to find before the first read.
    resume: Option<Position>,
    skipping: bool,
    counters: FollowCounters,
}

impl Follower {
    /// Follows a log from its present file's beginning.
    pub fn from_start(path: &Path) -> Result<Follower, TailError> {
        let mut follower = Follower::new(path);
        follower.find().map_err(|error| file_error(&follower.name, &error))?;
        Ok(follower)
    }

    /// Follows a log from its present end: only what is written from now on is handed out.
    pub fn from_end(path: &Path) -> Result<Follower, TailError> {
        let mut follower = Follower::from_start(path)?;
        if let Some(current) = &mut follower.current {
            current.skip_to_end(&follower.key).map_err(|error| file_error(&follower.name, &error))?;
        }
        Ok(follower)
    }

    /// Goes on where an earlier run left off, given its [`Follower::position`]. The log may be missing now.
    pub fn resume(path: &Path, position: &str) -> Result<Follower, TailError> {
        let position: Position = serde_json::from_str(position).map_err(|error| TailError::BadPosition {
            name: path.display().to_string(),
            detail: error.to_string(),
        })?;
        let key = position.key;
        Ok(Follower { resume: Some(position), key, ..Follower::new(path) })
    }

    fn new(path: &Path) -> Follower {
        let mut key = [0; 16];
        // A predictable key would only let the writer of the log confuse two of its own files.
        let _ = getrandom::fill(&mut key);
        Follower {
            path: path.to_path_buf(),
            name: path.display().to_string(),
            key,
            current: None,
            before: None,
            resume: None,
            skipping: false,
            counters: FollowCounters::default(),
        }
    }

    /// Hands out the lines that came since the last poll, without waiting; returns their number. After
    /// `limits::POLL_BYTES_MAX` bytes it returns early. An error says what is wrong now; polling may go on.
    pub fn poll(&mut self, mut take: impl FnMut(&[u8])) -> Result<usize, TailError> {
        self.poll_dyn(&mut take).map_err(|error| file_error(&self.name, &error))
    }

    /// Where it was read to, in the form that [`Follower::resume`] reads (JSON).
    pub fn position(&self) -> String {
        let position = match &self.current {
            None => self.resume.clone(),
            Some(current) => Some(Position {
                key: self.key,
                before: self.before.clone(),
                at: current.mark(&self.key),
                skipping: self.skipping,
            }),
        };
        position.and_then(|position| serde_json::to_string(&position).ok()).unwrap_or_default()
    }

    /// When the file at hand was last written, as far as it was read.
    pub fn modified_at(&self) -> Option<Timestamp> {
        self.current.as_ref().map(|current| Timestamp::from_micros(current.modified / 1_000))
    }

    /// What was read so far.
    pub fn counters(&self) -> &FollowCounters {
        &self.counters
    }

    fn poll_dyn(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        if self.current.is_none() {
            self.find()?;
        }
        if let Some(current) = &mut self.current {
            current.quiet_polls = current.quiet_polls.saturating_add(1);
        }
        let (mut lines, began) = (0, self.counters.bytes);
        while let Some(current) = &mut self.current {
            if self.counters.bytes.saturating_sub(began) >= limits::POLL_BYTES_MAX as u64 {
                break;
            }
            let unread = current.offset == 0 && current.held.is_empty();
            match current.read()? {
                More::Bytes if unread && self.passed_over()? => {}
                More::Bytes => lines += self.hand_out(take),
                More::Changed => self.truncated()?,
                More::Nothing => match self.next_file()? {
                    Some(next) => lines += self.go_over(next, take),
                    None => {
                        lines += self.hand_out(take);
                        break;
                    }
                },
            }
        }
        Ok(lines)
    }

    /// Hands out the whole lines that are held.
    fn hand_out(&mut self, take: &mut dyn FnMut(&[u8])) -> usize {
        let Some(current) = &mut self.current else { return 0 };
        let mut lines = 0;
        let mut start = current.consumed;
        while let Some(length) = current.held.get(start..).and_then(|rest| memchr::memchr(b'\n', rest)) {
            let line = current.held.get(start..start + length).unwrap_or_default();
            start += length + 1;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            lines += 1;
            self.counters.overlong_lines += u64::from(give(line, take));
        }
        if current.held.len() - start > limits::LOG_LINE_BYTES_MAX {
            // A line without end: its beginning is handed out, the rest skipped as it comes.
            if !std::mem::replace(&mut self.skipping, true) {
                lines += 1;
                self.counters.overlong_lines +=
                    u64::from(give(current.held.get(start..).unwrap_or_default(), take));
            }
            start = current.held.len();
        }
        self.counters.lines += lines as u64;
        self.counters.bytes += (start - current.consumed) as u64;
        if start > current.consumed {
            current.quiet_polls = 0;
        }
        current.advance(start, &self.key);
        lines
    }

    /// The file is at its end and another follows: what is left of its last line is all there will be.
    fn go_over(&mut self, next: Current, take: &mut dyn FnMut(&[u8])) -> usize {
        let mut lines = 0;
        if let Some(last) = self.current.take() {
            let rest = last.held.get(last.consumed..).unwrap_or_default();
            if !rest.is_empty() && !self.skipping {
                lines = 1;
                self.counters.lines += 1;
                self.counters.bytes += rest.len() as u64;
                self.counters.overlong_lines += u64::from(give(rest, take));
            }
            self.counters.possible_gaps += u64::from(last.damaged);
        }
        self.skipping = false;
        self.counters.rotations += 1;
        self.current = Some(next);
        lines
    }

    /// The file that follows, where this one is surely at its end.
    fn next_file(&mut self) -> io::Result<Option<Current>> {
        let Some(current) = &mut self.current else { return Ok(None) };
        if let Reader::Plain(_) = &current.reader
            && identity_at(&self.path)? == Some(current.identity)
        {
            return Ok(None);
        }
        let files = list(&self.path)?;
        let mark = current.mark(&self.key);
        let nothing_read = mark.offset == 0 && current.held.is_empty() && current.was_active;
        let next = match nothing_read.then(|| after_elder(self.before.as_ref(), &files, &self.key)).flatten()
        {
            Some(next) if next.identity != current.identity => Some(next),
            _ => newer_than(&mark, self.before.as_ref(), &files, &self.key),
        };
        let Some(next) = next else { return Ok(None) };
        // Its writer has gone over to the next file only when that has lines.
        if next.size == 0 {
            return Ok(None);
        }
        // Look once more here, now that the next file is known to have lines; where others may still
        // write to this one, for some more polls.
        if !std::mem::replace(&mut current.superseded, true) {
            current.quiet_polls = 0;
        }
        let patience = if current.was_active { PATIENCE_POLLS } else { 0 };
        if current.quiet_polls < patience || matches!(current.read()?, More::Bytes) {
            return Ok(None);
        }
        let elder = elder_of(next, &files, &self.key);
        let next = Current::begin(next)?;
        if next.is_some() {
            self.before = elder;
        }
        Ok(next)
    }

    /// Whether the file from which the first bytes were just read has an unread elder: it was written,
    /// copied and truncated since the last poll. Goes to that one.
    fn passed_over(&mut self) -> io::Result<bool> {
        let Some(current) = self.current.as_ref().filter(|current| current.was_active) else {
            return Ok(false);
        };
        let files = list(&self.path)?;
        let read = self.before.as_ref().and_then(|before| find_mark(before, &files, &self.key));
        let unread = |(index, file): &(usize, &Rotated)| match (&self.before, read) {
            (None, _) => true,
            (Some(_), Some(read)) => *index > read,
            (Some(before), None) => file.modified > before.modified,
        };
        let elder = files
            .iter()
            .enumerate()
            .take_while(|(_, file)| file.identity != current.identity)
            .find(|elder| unread(elder) && beginning_of(elder.1, &self.key).is_some());
        let Some((_, elder)) = elder.filter(|(_, file)| !file.active) else { return Ok(false) };
        let Some(elder) = Current::begin(elder)? else { return Ok(false) };
        self.counters.possible_gaps += 1;
        self.current = Some(elder);
        Ok(true)
    }

    /// Opens the file to read first.
    fn find(&mut self) -> io::Result<()> {
        let Some(position) = self.resume.clone() else {
            let files = list(&self.path)?;
            let active = files.iter().find(|file| file.active).ok_or(io::ErrorKind::NotFound)?;
            self.current = Current::begin(active)?;
            self.before = elder_of(active, &files, &self.key);
            return Ok(());
        };
        let files = list(&self.path)?;
        let next = after_elder(position.before.as_ref(), &files, &self.key);
        let first =
            next.filter(|_| position.at.offset == 0).and_then(|file| Current::begin(file).transpose());
        let marked = match first.transpose()? {
            Some(first) => Some(first),
            None => open_marked(&position.at, &files, &self.key),
        };
        if let Some(current) = marked {
            // Renaming keeps the identity, compressing ends the file: anything else is a copy.
            let copied = current.identity != position.at.identity
                && (matches!(current.reader, Reader::Plain(_))
                    || files.iter().any(|file| file.identity == position.at.identity));
            self.counters.truncations += u64::from(copied);
            self.counters.possible_gaps += u64::from(copied);
            self.skipping = position.skipping;
            self.before = position.before;
            self.current = Some(current);
            self.resume = None;
            return Ok(());
        }
        let shorter = find_shorter(&position.at, &files, &self.key).is_some();
        let next = newer_than(&position.at, position.before.as_ref(), &files, &self.key);
        let Some(next) = next else { return Ok(()) };
        self.current = Current::begin(next)?;
        if self.current.is_some() {
            self.counters.possible_gaps += u64::from(!shorter);
            self.before = elder_of(next, &files, &self.key);
            self.resume = None;
        }
        Ok(())
    }

    /// What was read is not there any more: the file was copied and truncated, or written anew.
    fn truncated(&mut self) -> io::Result<()> {
        let Some(lost) = self.current.take() else { return Ok(()) };
        let mark = lost.mark(&self.key);
        self.counters.truncations += 1;
        // What was written between the copy and the truncation is nowhere.
        self.counters.possible_gaps += 1;
        let files = list(&self.path)?;
        let others: Vec<Rotated> =
            files.iter().filter(|file| file.identity != lost.identity).cloned().collect();
        let copy = if mark.offset > 0 { open_marked(&mark, &others, &self.key) } else { None };
        if copy.is_some() {
            self.current = copy;
            return Ok(());
        }
        self.skipping = false;
        if let Some(next) = after_lost(&mark, self.before.as_ref(), &files, &self.key) {
            self.before = elder_of(next, &files, &self.key);
            self.current = Current::begin(next)?;
        }
        Ok(())
    }
}

/// Hands out a line, cut where it is too long. Says whether it was.
fn give(line: &[u8], take: &mut dyn FnMut(&[u8])) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let overlong = line.len() > limits::LOG_LINE_BYTES_MAX;
    take(line.get(..line.len().min(limits::LOG_LINE_BYTES_MAX)).unwrap_or_default());
    overlong
}

/// Which file the path leads to now.
fn identity_at(path: &Path) -> io::Result<Option<Identity>> {
    let found = resolve(path).and_then(std::fs::symlink_metadata);
    match found {
        Ok(meta) => Ok(Some(Identity::of(&meta))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
