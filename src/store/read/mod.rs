//! The one place that the command line and the dashboard read from, also while a sensor works.
//!
//! *In*: a state directory. *Out*: incidents, senders, mailings, sinks, counters, volume: values in columns, ready for
//! people and JSON. *Bound*: a [`Page`] at a time. *Spec*: docs/architecture.md, state.
//!
//! A connection of its own that cannot write: SQLite's write-ahead log gives it one committed moment for each
//! question, and the sensor never waits for it. Names are printable: see [`crate::alert::SenderName`].

mod incidents;
mod moment;
mod recipients;
mod senders;
mod status;

pub use incidents::{IncidentFilter, IncidentStory, IncidentSummary, Review};
pub use moment::Activity;
pub use recipients::RecipientRow;
pub use senders::{HourRate, MarkProbabilities, SenderFilter, SenderOrder, SenderProfile, SenderSummary};
pub use status::{MailingState, PlannedMailing, SinkState, VolumePoint};

use super::error::StoreError;
use super::tables;
use crate::engine::memory::InstallKey;
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Rows of one page at most.
pub const PAGE_ROWS_MAX: u32 = 1_000;

/// Which rows of a list.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Rows to skip.
    pub offset: u32,
    /// Rows to give, at most [`PAGE_ROWS_MAX`].
    pub limit: u32,
}

impl Default for Page {
    fn default() -> Page {
        Page { offset: 0, limit: 50 }
    }
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed<T> {
    /// Rows of the whole list.
    pub total: u64,
    /// Rows of this page.
    pub rows: Vec<T>,
}

/// A view of the state.
pub struct Reader {
    connection: Connection,
    path: PathBuf,
    key: InstallKey,
}

impl Reader {
    /// Opens an existing state. Nothing is checked or mended.
    pub fn open(directory: &Path) -> Result<Reader, StoreError> {
        let (path, key) = super::existing(directory)?;
        let connection =
            tables::connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(StoreError::database(&path))?;
        tables::of_this_version(&connection, &path)?;
        Ok(Reader { connection, path, key })
    }

    fn read<T>(&self, read: impl FnOnce() -> rusqlite::Result<T>) -> Result<T, StoreError> {
        read().map_err(|error| StoreError::database(&self.path)(error))
    }
}

/// A text as the pattern of `LIKE … ESCAPE '\'` that finds it anywhere; `None` finds all.
fn pattern(contains: Option<&str>) -> Option<String> {
    let text = contains.filter(|text| !text.is_empty())?;
    let mut pattern = String::from("%");
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    Some(pattern)
}
