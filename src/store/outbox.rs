//! The outbox: alerts in the order in which they were committed, and how far each sink has come.
//!
//! *In*: a state directory that a [`Store`](super::Store) has opened. *Out*: rows behind a sink's cursor; new
//! cursors, letters that no sink took. *Bound*: `rows_max` of a call. *Spec*: docs/architecture.md, state.
//!
//! A connection of its own: SQLite's write-ahead log lets it read while the store commits.

use super::error::StoreError;
use super::tables::{self, AlertRef};
use crate::engine::memory::InstallKey;
use crate::time::Timestamp;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use std::path::{Path, PathBuf};

/// The outbox as one sink sees it.
pub struct Outbox {
    connection: Connection,
    path: PathBuf,
    key: InstallKey,
}

/// One alert that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its place.
    pub seq: i64,
    /// Alert id.
    pub id: String,
    /// Event time, µs.
    pub event_at: i64,
    /// Native record; `None` where the row is damaged.
    pub record: Option<String>,
}

/// How far a sink has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// All alerts up to this place are done.
    pub seq: i64,
    /// The sink's own note about where it stands, such as a file's length.
    pub place: String,
}

/// An alert that a sink will never take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its place.
    pub seq: i64,
    /// Alert id.
    pub id: String,
    /// Why.
    pub reason: String,
}

impl Outbox {
    /// Opens the outbox of a directory whose store is open.
    pub fn open(directory: &Path) -> Result<Outbox, StoreError> {
        let (path, key) = super::existing(directory)?;
        let connection =
            tables::connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(StoreError::database(&path))?;
        Ok(Outbox { connection, path, key })
    }

    /// The cursor of a sink. One that was never seen begins behind the alerts that are there: it gets what
    /// comes, not what was.
    pub fn register(&mut self, sink: &str) -> Result<Cursor, StoreError> {
        let mut register = || -> rusqlite::Result<Cursor> {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let (sinks, _) = tables::sinks(&transaction, &self.key)?;
            if let Some(known) = sinks.into_iter().find(|known| known.name == sink) {
                return Ok(Cursor { seq: known.cursor, place: known.place });
            }
            let seq: i64 =
                transaction.query_row("SELECT COALESCE(MAX(seq), 0) FROM alert", [], |row| row.get(0))?;
            tables::put_sink(&transaction, &self.key, sink, seq, "")?;
            transaction.commit()?;
            Ok(Cursor { seq, place: String::new() })
        };
        register().map_err(StoreError::database(&self.path))
    }

    /// Removes the cursors of sinks that are no longer configured, so that they hold nothing back.
    pub fn forget_all_but(&mut self, sinks: &[&str]) -> Result<(), StoreError> {
        let forget = || -> rusqlite::Result<()> {
            let (known, _) = tables::sinks(&self.connection, &self.key)?;
            for sink in known.iter().filter(|sink| !sinks.contains(&sink.name.as_str())) {
                self.connection.execute("DELETE FROM sink WHERE name = ?1", [&sink.name])?;
            }
            Ok(())
        };
        forget().map_err(StoreError::database(&self.path))
    }

    /// The next alerts behind a place.
    pub fn after(&self, seq: i64, rows_max: usize) -> Result<Vec<OutboxRow>, StoreError> {
        let read = || -> rusqlite::Result<Vec<OutboxRow>> {
            self.connection
                .prepare_cached(
                    "SELECT seq, id, event_at, incident, record, seal FROM alert WHERE seq > ?1
                     ORDER BY seq LIMIT ?2",
                )?
                .query_map(params![seq, rows_max as i64], |row| {
                    let alert = AlertRef {
                        seq: row.get(0)?,
                        id: row.get_ref(1)?.as_str()?,
                        event_at: row.get(2)?,
                        incident: row.get_ref(3)?.as_str()?,
                        record: row.get_ref(4)?.as_str()?,
                    };
                    let whole = alert.seal(&self.key) == row.get::<_, i64>(5)?;
                    Ok(OutboxRow {
                        seq: row.get(0)?,
                        id: alert.id.into(),
                        event_at: alert.event_at,
                        record: whole.then(|| alert.record.into()),
                    })
                })?
                .collect()
        };
        read().map_err(StoreError::database(&self.path))
    }

    /// Moves a sink's cursor, and keeps what it will never take, in one transaction.
    pub fn advance(
        &mut self,
        sink: &str,
        cursor: &Cursor,
        dead: &[DeadLetter],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut write = || -> rusqlite::Result<()> {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            tables::put_sink(&transaction, &self.key, sink, cursor.seq, &cursor.place)?;
            for letter in dead {
                transaction
                    .prepare_cached(
                        "INSERT OR REPLACE INTO dead_letter (sink, seq, id, at, reason)
                         VALUES (?1, ?2, ?3, ?4, ?5)",
                    )?
                    .execute(params![sink, letter.seq, letter.id, now.as_micros(), letter.reason])?;
            }
            transaction.commit()
        };
        write().map_err(StoreError::database(&self.path))
    }

    /// Alerts that wait behind a place.
    pub fn waiting(&self, seq: i64) -> Result<u64, StoreError> {
        self.connection
            .query_row("SELECT COUNT(*) FROM alert WHERE seq > ?1", [seq], |row| row.get::<_, i64>(0))
            .map(|count| count.max(0) as u64)
            .map_err(StoreError::database(&self.path))
    }

    /// What a sink will never take.
    pub fn dead_letters(&self, sink: &str) -> Result<Vec<DeadLetter>, StoreError> {
        let read = || -> rusqlite::Result<Vec<DeadLetter>> {
            self.connection
                .prepare("SELECT seq, id, reason FROM dead_letter WHERE sink = ?1 ORDER BY seq")?
                .query_map([sink], |row| {
                    Ok(DeadLetter { seq: row.get(0)?, id: row.get(1)?, reason: row.get(2)? })
                })?
                .collect()
        };
        read().map_err(StoreError::database(&self.path))
    }
}
