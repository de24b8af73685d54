//! Keeping: a copy while running, and a bound on what is kept.
//!
//! *In*: an open store, a moment. *Out*: a whole copy; old alerts and history gone, counted. *Bound*:
//! [`Retention`]. *Spec*: docs/architecture.md, state.

use super::durable::{sync_parent, with_suffix};
use super::{Store, StoreError, tables};
use crate::time::{MICROS_PER_DAY, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use std::path::Path;

/// How long and how much is kept of alerts and history. Baselines are bounded by the engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retention {
    /// Alerts and history older than this go, days of event time.
    pub days_max: f64,
    /// Size of the file's used part, bytes. Above it the oldest alerts go, delivered ones first.
    pub bytes_max: u64,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { days_max: 400.0, bytes_max: 2 << 30 }
    }
}

/// What a clearing took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Alerts that every sink had taken.
    pub alerts: u64,
    /// Alerts that some sink had not taken yet: lost to it, and counted in the store for ever.
    pub undelivered: u64,
    /// Points of curves.
    pub history: u64,
    /// Recipients of incidents.
    pub recipients: u64,
    /// Whether there is more to clear: a clearing goes in steps, so that no commit waits long for it.
    pub more: bool,
}

/// Rows of one step of a clearing: a step is short, so that a commit does not wait.
const STEP_ROWS: i64 = 1_000;

impl Store {
    /// Copies the whole state to a path while everything goes on. The copy is whole or not there; the install's
    /// key is not in it and must be kept beside it.
    pub fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let temporary = with_suffix(to, ".new");
        if temporary.exists() {
            std::fs::remove_file(&temporary).map_err(StoreError::file(&temporary))?;
        }
        self.connection
            .execute("VACUUM INTO ?1", [temporary.to_string_lossy()])
            .map_err(StoreError::database(to))?;
        std::fs::set_permissions(&temporary, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .and_then(|()| std::fs::File::open(&temporary))
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&temporary, to))
            .map_err(StoreError::file(to))?;
        sync_parent(to)
    }

    /// Drops what is too old or too much at a moment of event time, and overwrites it on disk.
    pub fn clear_old(&mut self, retention: &Retention, now: Timestamp) -> Result<Cleared, StoreError> {
        let mut cleared = Cleared { more: true, ..Cleared::default() };
        while cleared.more {
            let step = self.clear_some(retention, now)?;
            cleared.alerts += step.alerts;
            cleared.undelivered += step.undelivered;
            cleared.history += step.history;
            cleared.recipients += step.recipients;
            cleared.more = step.more;
        }
        Ok(cleared)
    }

    /// One step of [`Store::clear_old`]: at most [`STEP_ROWS`] rows of a kind.
    pub fn clear_some(&mut self, retention: &Retention, now: Timestamp) -> Result<Cleared, StoreError> {
        let oldest = now.as_micros().saturating_sub((retention.days_max * MICROS_PER_DAY as f64) as i64);
        self.clear(oldest, retention.bytes_max).map_err(|error| StoreError::database(&self.path)(error))
    }

    fn clear(&mut self, oldest: i64, bytes_max: u64) -> rusqlite::Result<Cleared> {
        // What is dropped must not stay readable in free pages.
        self.connection.execute_batch("PRAGMA secure_delete = ON;")?;
        let mut cleared = Cleared::default();
        let done = self.clear_step(oldest, bytes_max, &mut cleared);
        self.connection.execute_batch("PRAGMA secure_delete = FAST; PRAGMA incremental_vacuum;")?;
        done?;
        let rows = cleared.alerts + cleared.undelivered + cleared.history + cleared.recipients;
        self.log_to_cut |= rows > 0;
        if self.log_to_cut {
            // The write-ahead log still holds the old pages: play it in and cut it. A reader may be in the way;
            // a commit must not wait for that one, so it is tried again later.
            self.connection.busy_timeout(std::time::Duration::ZERO)?;
            let cut = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
            self.connection.busy_timeout(tables::BUSY_TIMEOUT)?;
            self.log_to_cut = cut != Ok(0i64);
        }
        cleared.more = rows > 0;
        Ok(cleared)
    }

    fn clear_step(&mut self, oldest: i64, bytes_max: u64, cleared: &mut Cleared) -> rusqlite::Result<()> {
        let rows = self.connection.execute(
            "DELETE FROM history WHERE (series, at) IN
                 (SELECT series, at FROM history WHERE at < ?1 LIMIT ?2)",
            params![oldest, STEP_ROWS],
        )?;
        cleared.history += rows as u64;
        self.connection.execute("DELETE FROM action WHERE obeyed_at < ?1", [oldest])?;
        let rows = self.connection.execute(
            "DELETE FROM recipient WHERE (incident, vantage, number) IN
                 (SELECT incident, vantage, number FROM recipient WHERE at < ?1 LIMIT ?2)",
            params![oldest, STEP_ROWS],
        )?;
        cleared.recipients += rows as u64;
        let mut rows = self.clear_alerts(oldest, cleared)?;
        if rows == 0 && self.used_bytes()? > bytes_max {
            rows = self.clear_alerts(i64::MAX, cleared)?;
        }
        // Only where the delivered ones were not enough: the least severe first, then the oldest.
        if rows == 0 && self.used_bytes()? > bytes_max {
            self.clear_undelivered(cleared)?;
        }
        Ok(())
    }

    /// One step over alerts older than a moment that every sink has taken.
    fn clear_alerts(&mut self, before: i64, cleared: &mut Cleared) -> rusqlite::Result<usize> {
        let delivered = delivered_up_to(&self.connection)?;
        let transaction = self.connection.transaction()?;
        let rows = transaction.execute(
            "DELETE FROM alert WHERE seq IN (SELECT seq FROM alert WHERE event_at < ?1 AND seq <= ?2
                 ORDER BY seq LIMIT ?3)",
            params![before, delivered, STEP_ROWS],
        )?;
        transaction.execute("DELETE FROM dead_letter WHERE seq NOT IN (SELECT seq FROM alert)", [])?;
        transaction.commit()?;
        cleared.alerts += rows as u64;
        Ok(rows)
    }

    fn clear_undelivered(&mut self, cleared: &mut Cleared) -> rusqlite::Result<usize> {
        let transaction = self.connection.transaction()?;
        let rows = transaction.execute(
            "DELETE FROM alert WHERE seq IN (SELECT seq FROM alert ORDER BY severity, seq LIMIT ?1)",
            [STEP_ROWS],
        )?;
        count(&transaction, "alerts_dropped_undelivered", rows as u64)?;
        transaction.commit()?;
        cleared.undelivered += rows as u64;
        Ok(rows)
    }

    /// Bytes of pages in use.
    pub(super) fn used_bytes(&self) -> rusqlite::Result<u64> {
        let pragma = |name: &str| -> rusqlite::Result<i64> {
            self.connection.pragma_query_value(None, name, |row| row.get(0))
        };
        let pages = pragma("page_count")? - pragma("freelist_count")?;
        Ok((pages * pragma("page_size")?).max(0) as u64)
    }

    /// Alerts behind a place in the outbox.
    pub fn alerts_behind(&self, seq: i64) -> Result<u64, StoreError> {
        let count = "SELECT COUNT(*) FROM alert WHERE seq > ?1";
        let count = self.connection.query_row(count, [seq], |row| row.get::<_, i64>(0));
        count.map(|count| count.max(0) as u64).map_err(StoreError::database(&self.path))
    }

    /// A counter that outlives restarts; 0 where nothing was counted yet.
    pub fn counter(&self, name: &str) -> Result<u64, StoreError> {
        let value: Option<i64> = self
            .connection
            .query_row("SELECT value FROM counter WHERE name = ?1", [name], |row| row.get(0))
            .optional()
            .map_err(StoreError::database(&self.path))?;
        Ok(value.unwrap_or(0).max(0) as u64)
    }
}

/// Adds to a counter that outlives restarts.
pub(super) fn count(connection: &Connection, name: &str, more: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO counter (name, value) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        )?
        .execute(params![name, i64::try_from(more).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// The last alert that every sink has taken; all of them where there is no sink.
fn delivered_up_to(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT COALESCE(MIN(cursor), 9223372036854775807) FROM sink", [], |row| row.get(0))
}
