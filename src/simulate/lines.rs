//! A mail server's log on disk: lines in time order, rotated, old files compressed.
//!
//! *In*: lines as they come to be known, a little out of order. *Out*: `mail.log` and its rotated files. *Bound*: lines not yet due. *Spec*: RFC 3164 stamps (local time, no year) or RFC 3339.

use super::SimulateError;
use super::calendar::Calendar;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How lines are stamped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamp {
    /// `Mar 23 09:12:01`, local time.
    Classic,
    /// `2026-03-23T09:12:01.123456+01:00`.
    Rfc3339,
}

/// Where the lines of one file go.
enum Out {
    Plain(BufWriter<File>),
    Packed(Box<GzEncoder<BufWriter<File>>>),
}

/// The log of one host.
pub(super) struct Lines {
    directory: PathBuf,
    host: String,
    stamp: Stamp,
    waiting: BinaryHeap<Reverse<(i64, u64, String)>>,
    order: u64,
    /// Moments of rotation, latest first.
    rotations: Vec<i64>,
    out: Option<Out>,
    last_at: i64,
    /// Process ids given out.
    pid: u32,
    /// Lines written.
    pub(super) count: u64,
}

impl Lines {
    /// The log of a host in `directory`, rotated at the given moments.
    pub(super) fn new(directory: &Path, host: &str, stamp: Stamp, mut rotations: Vec<i64>) -> Lines {
        rotations.sort_by_key(|at| Reverse(*at));
        Lines {
            directory: directory.to_owned(),
            host: host.to_owned(),
            stamp,
            waiting: BinaryHeap::new(),
            order: 0,
            rotations,
            out: None,
            last_at: i64::MIN,
            pid: 700,
            count: 0,
        }
    }

    /// A process id for a daemon that starts now.
    pub(super) fn next_pid(&mut self) -> u32 {
        self.pid = if self.pid > 32_000 { 700 } else { self.pid + 1 };
        self.pid
    }

    /// A line that is due at a moment. Lines of one moment keep their order.
    pub(super) fn say(&mut self, at: i64, text: String) {
        self.order += 1;
        self.waiting.push(Reverse((at, self.order, text)));
    }

    /// Writes all lines due before a moment.
    pub(super) fn write_until(&mut self, calendar: &Calendar, until: i64) -> Result<(), SimulateError> {
        while self.waiting.peek().is_some_and(|Reverse((at, ..))| *at < until) {
            let Some(Reverse((at, _, text))) = self.waiting.pop() else { break };
            if self.out.is_none() || self.rotations.last().is_some_and(|due| *due <= at) {
                self.rotate(at)?;
            }
            let stamp = match self.stamp {
                Stamp::Classic => calendar.classic(at),
                Stamp::Rfc3339 => calendar.rfc3339(at),
            };
            let line = format!("{stamp} {} {text}\n", self.host);
            match &mut self.out {
                Some(Out::Plain(file)) => file.write_all(line.as_bytes()),
                Some(Out::Packed(file)) => file.write_all(line.as_bytes()),
                None => Ok(()),
            }
            .map_err(SimulateError::Write)?;
            self.last_at = at;
            self.count += 1;
        }
        Ok(())
    }

    /// Writes what is left and closes the file.
    pub(super) fn finish(&mut self, calendar: &Calendar) -> Result<(), SimulateError> {
        self.write_until(calendar, i64::MAX)?;
        self.close()
    }

    /// The file that the line of `at` belongs to: the later the rotation, the smaller its number.
    fn rotate(&mut self, at: i64) -> Result<(), SimulateError> {
        self.close()?;
        while self.rotations.last().is_some_and(|due| *due <= at) {
            self.rotations.pop();
        }
        std::fs::create_dir_all(&self.directory).map_err(SimulateError::Write)?;
        let name = match self.rotations.len() {
            0 => "mail.log".to_owned(),
            number => format!("mail.log.{number}.gz"),
        };
        let file = File::create(self.directory.join(&name)).map_err(SimulateError::Write)?;
        let file = BufWriter::with_capacity(1 << 18, file);
        self.out = Some(match self.rotations.len() {
            0 => Out::Plain(file),
            _ => Out::Packed(Box::new(GzEncoder::new(file, Compression::fast()))),
        });
        Ok(())
    }

    /// Closes the file and gives it the time of its last line, as a log has: a stamp without a year is
    /// read by it.
    fn close(&mut self) -> Result<(), SimulateError> {
        let file = match self.out.take() {
            Some(Out::Plain(file)) => file,
            Some(Out::Packed(file)) => file.finish().map_err(SimulateError::Write)?,
            None => return Ok(()),
        };
        let file = file.into_inner().map_err(|error| SimulateError::Write(error.into_error()))?;
        let written = SystemTime::UNIX_EPOCH + Duration::from_micros(self.last_at.max(0) as u64);
        file.set_modified(written).map_err(SimulateError::Write)
    }
}
