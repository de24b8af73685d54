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
    /// The line at hand, where one was found.
    ready: Option<Ready>,
    /// The file to go over to once the last line of this one was taken, and a mark of its elder.
    next: Option<(Current, Option<Mark>)>,
    /// Whether lines may still come before the present end was reached.
    reading: bool,
    counters: FollowCounters,
}

/// Where a line is in what is held.
#[derive(Clone, Copy)]
struct Ready {
    start: usize,
    end: usize,
    /// What follows it and its end.
    next: usize,
    /// Whether it goes on: it is longer than is kept.
    goes_on: bool,
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
            ready: None,
            next: None,
            reading: false,
            counters: FollowCounters::default(),
        }
    }

    /// Hands out the lines that came since the last poll, without waiting; returns their number. After
    /// `limits::POLL_BYTES_MAX` bytes it returns early. An error says what is wrong now; polling may go on.
    pub fn poll(&mut self, mut take: impl FnMut(&[u8])) -> Result<usize, TailError> {
        let (lines, bytes) = (self.counters.lines, self.counters.bytes);
        while self.counters.bytes.saturating_sub(bytes) < limits::POLL_BYTES_MAX as u64 {
            let Some(line) = self.peek()? else { break };
            take(line);
            self.take();
        }
        Ok(usize::try_from(self.counters.lines - lines).unwrap_or(usize::MAX))
    }

    /// The next line, without taking it; `None` where there is none yet. An error says what is wrong now;
    /// asking may go on.
    pub fn peek(&mut self) -> Result<Option<&[u8]>, TailError> {
        match self.fetch() {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => {
                self.reading = false;
                return Err(file_error(&self.name, &error));
            }
        }
        let (Some(ready), Some(current)) = (&self.ready, &self.current) else { return Ok(None) };
        let line = current.held.get(ready.start..ready.end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Ok(Some(line.get(..line.len().min(limits::LOG_LINE_BYTES_MAX)).unwrap_or_default()))
    }

    /// Whether another line can be had without reading.
    pub(super) fn at_hand(&mut self) -> bool {
        self.ready.is_some() || self.line_held()
    }

    /// Takes the line that [`Follower::peek`] showed: the position is now after it.
    pub fn take(&mut self) {
        let (Some(ready), Some(current)) = (self.ready.take(), &mut self.current) else { return };
        let line = current.held.get(ready.start..ready.end).unwrap_or_default();
        let length = line.strip_suffix(b"\r").unwrap_or(line).len();
        self.counters.overlong_lines += u64::from(length > limits::LOG_LINE_BYTES_MAX);
        self.counters.lines += 1;
        self.skipping = ready.goes_on;
        self.pass(ready.next);
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

    /// Makes sure that a line is at hand. `false` at the present end.
    fn fetch(&mut self) -> io::Result<bool> {
        if self.ready.is_some() {
            return Ok(true);
        }
        if !std::mem::replace(&mut self.reading, true) {
            if self.current.is_none() {
                self.find()?;
            }
            if let Some(current) = &mut self.current {
                current.quiet_polls = current.quiet_polls.saturating_add(1);
            }
        }
        loop {
            if self.line_held() {
                return Ok(true);
            }
            if let Some(next) = self.next.take() {
                self.go_over(next);
                continue;
            }
            let Some(current) = &mut self.current else { break };
            let unread = current.offset == 0 && current.held.is_empty();
            match current.read()? {
                More::Bytes if unread && self.passed_over()? => {}
                More::Bytes => {}
                More::Changed => self.truncated()?,
                More::Nothing => match self.next_file()? {
                    Some(next) => {
                        self.next = Some(next);
                        if self.last_piece() {
                            return Ok(true);
                        }
                    }
                    // The last look may have brought some more.
                    None => {
                        self.reading = self.line_held();
                        return Ok(self.reading);
                    }
                },
            }
        }
        self.reading = false;
        Ok(false)
    }

    /// Looks for a whole line in what is held.
    fn line_held(&mut self) -> bool {
        loop {
            let Some(current) = &self.current else { return false };
            let start = current.consumed;
            let rest = current.held.get(start..).unwrap_or_default();
            let (end, next) = match memchr::memchr(b'\n', rest) {
                Some(length) => (start + length, start + length + 1),
                // A line without end: its beginning is handed out, the rest skipped as it comes.
                None if rest.len() > limits::LOG_LINE_BYTES_MAX => (current.held.len(), current.held.len()),
                None => return false,
            };
            let goes_on = end == next;
            if !self.skipping {
                self.ready = Some(Ready { start, end, next, goes_on });
                return true;
            }
            self.skipping = goes_on;
            self.pass(next);
        }
    }

    /// The file is at its end and another follows: what is left of its last line is all there will be.
    fn last_piece(&mut self) -> bool {
        let Some(current) = &self.current else { return false };
        let (start, end) = (current.consumed, current.held.len());
        if start < end && !self.skipping {
            self.ready = Some(Ready { start, end, next: end, goes_on: false });
        }
        self.ready.is_some()
    }

    /// Says that what is held before `end` was handed out.
    fn pass(&mut self, end: usize) {
        let Some(current) = &mut self.current else { return };
        self.counters.bytes += (end - current.consumed) as u64;
        current.quiet_polls = 0;
        current.advance(end, &self.key);
    }

    fn go_over(&mut self, (next, elder): (Current, Option<Mark>)) {
        let damaged = self.current.as_ref().is_some_and(|last| last.damaged);
        self.counters.possible_gaps += u64::from(damaged);
        self.counters.rotations += 1;
        self.skipping = false;
        self.before = elder;
        self.current = Some(next);
    }

    /// The file that follows, where this one is surely at its end.
    fn next_file(&mut self) -> io::Result<Option<(Current, Option<Mark>)>> {
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
        Ok(Current::begin(next)?.map(|next| (next, elder)))
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

/// Which file the path leads to now.
fn identity_at(path: &Path) -> io::Result<Option<Identity>> {
    let found = resolve(path).and_then(std::fs::symlink_metadata);
    match found {
        Ok(meta) => Ok(Some(Identity::of(&meta))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
