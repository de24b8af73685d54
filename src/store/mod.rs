//! State between runs: one SQLite file and the install's key.
//!
//! *In*: changed senders, shared state, input positions, alerts. *Out*: the same after a restart. *Bound*: the
//! engine's bounds. *Spec*: docs/architecture.md, state. One transaction carries all of one moment.

use crate::engine::Engine;
use crate::engine::memory::InstallKey;
use crate::engine::sender::SenderKey;
use rusqlite::{Connection, OptionalExtension, params};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Version of the tables. A newer file is refused.
const TABLES_VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE sender (key BLOB PRIMARY KEY, state BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE position (input TEXT PRIMARY KEY, position TEXT NOT NULL) STRICT;
CREATE TABLE alert (id TEXT PRIMARY KEY, event_at INTEGER NOT NULL, incident TEXT NOT NULL, record TEXT NOT NULL) STRICT;
";

/// A store that cannot be used. The text is one line and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory or a file in it.
    #[error("{path}: {source}: the state directory must exist or be creatable, and be writable by this user")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite.
    #[error("{path}: {source}: move the file away to start with empty baselines")]
    Database {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// Written by a later version.
    #[error(
        "{path}: written by a newer portreeve (tables {found}, this one knows {TABLES_VERSION}): use that version, or another --state directory"
    )]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// Unreadable content.
    #[error("{path}: the stored state cannot be read: move the file away to start with empty baselines")]
    Damaged {
        /// Which.
        path: PathBuf,
    },
}

/// An open state directory.
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// The install's key.
    pub key: InstallKey,
}

/// An alert to be kept with the state that caused it.
pub struct AlertRow {
    /// Alert id.
    pub id: String,
    /// Event time, µs.
    pub event_at: i64,
    /// Incident id.
    pub incident: String,
    /// Native record.
    pub record: String,
}

impl Store {
    /// Opens or creates the state in a directory.
    pub fn open(directory: &Path) -> Result<Store, StoreError> {
        let file_error = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::File { path, source }
        };
        if !directory.is_dir() {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(directory).map_err(file_error(directory))?;
        }
        let key = install_key(&directory.join("install.key"))?;
        let path = directory.join("state.db");
        let connection = open_database(&path)?;
        Ok(Store { connection, path, key })
    }

    /// Gives the engine back what was stored.
    pub fn load(&self, engine: &mut Engine) -> Result<(), StoreError> {
        let failed = |source| StoreError::Database { path: self.path.clone(), source };
        let damaged = || StoreError::Damaged { path: self.path.clone() };
        let shared: Option<Vec<u8>> = self
            .connection
            .query_row("SELECT value FROM meta WHERE name = 'shared'", [], |row| row.get(0))
            .optional()
            .map_err(failed)?;
        let Some(shared) = shared else { return Ok(()) };
        if !engine.import_shared(&shared) {
            return Err(damaged());
        }
        let mut statement = self.connection.prepare("SELECT key, state FROM sender").map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let key: Vec<u8> = row.get(0).map_err(failed)?;
            let state: Vec<u8> = row.get(1).map_err(failed)?;
            let key: SenderKey = postcard::from_bytes(&key).map_err(|_| damaged())?;
            if !engine.import_sender(key, &state) {
                return Err(damaged());
            }
        }
        Ok(())
    }

    /// One transaction: what changed in the engine, input positions, alerts.
    pub fn commit(
        &mut self,
        engine: &mut Engine,
        positions: &[(String, String)],
        alerts: &[AlertRow],
    ) -> Result<(), StoreError> {
        let path = self.path.clone();
        self.write(engine, positions, alerts).map_err(|source| StoreError::Database { path, source })
    }

    fn write(
        &mut self,
        engine: &mut Engine,
        positions: &[(String, String)],
        alerts: &[AlertRow],
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut put =
                transaction.prepare_cached("INSERT OR REPLACE INTO sender (key, state) VALUES (?1, ?2)")?;
            for (key, state) in engine.take_changed() {
                put.execute(params![postcard::to_allocvec(&key).unwrap_or_default(), state])?;
            }
            transaction.execute(
                "INSERT OR REPLACE INTO meta (name, value) VALUES ('shared', ?1)",
                params![engine.export_shared()],
            )?;
            let mut put = transaction
                .prepare_cached("INSERT OR REPLACE INTO position (input, position) VALUES (?1, ?2)")?;
            for (input, position) in positions {
                put.execute(params![input, position])?;
            }
            let mut put = transaction.prepare_cached(
                "INSERT OR IGNORE INTO alert (id, event_at, incident, record) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for alert in alerts {
                put.execute(params![alert.id, alert.event_at, alert.incident, alert.record])?;
            }
        }
        transaction.commit()
    }

    /// Where an input was read up to.
    pub fn position(&self, input: &str) -> Result<Option<String>, StoreError> {
        self.connection
            .query_row("SELECT position FROM position WHERE input = ?1", [input], |row| row.get(0))
            .optional()
            .map_err(|source| StoreError::Database { path: self.path.clone(), source })
    }
}

/// Creates the database under a temporary name and renames it, so that a file of this name is always whole.
fn open_database(path: &Path) -> Result<Connection, StoreError> {
    let failed = |source| StoreError::Database { path: path.to_owned(), source };
    if !path.exists() {
        let temporary = path.with_extension("new");
        let _ = std::fs::remove_file(&temporary);
        let connection = Connection::open(&temporary).map_err(failed)?;
        connection.execute_batch(TABLES).map_err(failed)?;
        connection.pragma_update(None, "user_version", TABLES_VERSION).map_err(failed)?;
        connection.close().map_err(|(_, source)| failed(source))?;
        let io = |source| StoreError::File { path: path.to_owned(), source };
        std::fs::File::open(&temporary).and_then(|file| file.sync_all()).map_err(io)?;
        std::fs::set_permissions(&temporary, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .map_err(io)?;
        std::fs::rename(&temporary, path).map_err(io)?;
        sync_directory(path)?;
    }
    let connection = Connection::open(path).map_err(failed)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if found > TABLES_VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found });
    }
    Ok(connection)
}

fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| StoreError::File { path: directory.to_owned(), source })
}

/// Reads or makes the 128-bit key of this install, mode 0600.
fn install_key(path: &Path) -> Result<InstallKey, StoreError> {
    let io = |source| StoreError::File { path: path.to_owned(), source };
    match std::fs::read(path) {
        Ok(bytes) => {
            let key = bytes.try_into().map_err(|_| StoreError::Damaged { path: path.to_owned() })?;
            return Ok(InstallKey(key));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
    }
    let mut key = [0u8; 16];
    getrandom::fill(&mut key).map_err(|error| io(std::io::Error::other(error.to_string())))?;
    let temporary = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(io)?;
    file.write_all(&key).and_then(|()| file.sync_all()).map_err(io)?;
    std::fs::rename(&temporary, path).map_err(io)?;
    sync_directory(path)?;
    Ok(InstallKey(key))
}
