//! The tables: created whole, brought forward version by version, checked before they are trusted.
//!
//! *In*: a path. *Out*: a connection to a file of [`TABLES_VERSION`], or what is wrong with it. *Spec*:
//! docs/architecture.md, state; SQLite in WAL mode with synchronous=FULL.
//!
//! SQLite finds broken pages, not flipped bits in a value; so every row that matters carries a keyed seal.

use super::durable::{sync_parent, with_suffix};
use super::error::StoreError;
use crate::engine::memory::InstallKey;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, params};
use std::path::Path;
use std::time::Duration;

/// Version of the tables. A newer file is refused.
pub const TABLES_VERSION: i64 = MIGRATIONS.len() as i64;

/// `application_id` of our files: "PRTV".
const APPLICATION_ID: i64 = 0x5052_5456;

/// How long a writer waits for another one of the same process.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Steps from one version to the next; the first makes the tables. A released step is never changed.
const MIGRATIONS: &[fn(&Transaction, &InstallKey) -> rusqlite::Result<()>] = &[to_1, to_2, to_3, to_4, to_5];

fn to_1(transaction: &Transaction, _: &InstallKey) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
         CREATE TABLE sender (key BLOB PRIMARY KEY, state BLOB NOT NULL) STRICT, WITHOUT ROWID;
         CREATE TABLE position (input TEXT PRIMARY KEY, position TEXT NOT NULL) STRICT;
         CREATE TABLE alert (id TEXT PRIMARY KEY, event_at INTEGER NOT NULL, incident TEXT NOT NULL,
             record TEXT NOT NULL) STRICT;",
    )
}

/// Seals, and the outbox: alerts in order, a cursor for each sink, letters that no sink took.
fn to_2(transaction: &Transaction, key: &InstallKey) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "ALTER TABLE alert RENAME TO old_alert;
         ALTER TABLE position RENAME TO old_position;
         CREATE TABLE position (input TEXT PRIMARY KEY, position TEXT NOT NULL, seal INTEGER NOT NULL)
             STRICT, WITHOUT ROWID;
         CREATE TABLE alert (
             seq INTEGER PRIMARY KEY AUTOINCREMENT,
             id TEXT NOT NULL UNIQUE,
             event_at INTEGER NOT NULL,
             incident TEXT NOT NULL,
             record TEXT NOT NULL,
             seal INTEGER NOT NULL,
             severity INTEGER GENERATED ALWAYS AS (json_extract(record, '$.severity.score')) VIRTUAL
         ) STRICT;
         CREATE INDEX alert_by_incident ON alert (incident, seq);
         CREATE INDEX alert_by_time ON alert (event_at);
         CREATE TABLE sink (name TEXT PRIMARY KEY, cursor INTEGER NOT NULL, place TEXT NOT NULL,
             seal INTEGER NOT NULL) STRICT, WITHOUT ROWID;
         CREATE TABLE dead_letter (sink TEXT NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL,
             at INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (sink, seq)) STRICT, WITHOUT ROWID;
         CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
         CREATE TABLE history (series TEXT NOT NULL, at INTEGER NOT NULL, value REAL NOT NULL,
             PRIMARY KEY (series, at)) STRICT, WITHOUT ROWID;
         CREATE VIEW incident AS
             SELECT incident AS id,
                 json_extract(record, '$.sender.kind') AS sender_kind,
                 json_extract(record, '$.sender.name') AS sender_name,
                 json_extract(record, '$.kind') AS kind,
                 json_extract(record, '$.change') AS last_change,
                 json_extract(record, '$.severity.name') AS severity,
                 json_extract(record, '$.confidence') AS confidence,
                 json_extract(record, '$.times.opened') AS opened_at,
                 json_extract(record, '$.times.last') AS last_at,
                 json_extract(record, '$.blast_radius.messages') AS messages,
                 json_extract(record, '$.blast_radius.recipients_accepted') AS recipients_accepted,
                 json_extract(record, '$.headline') AS headline,
                 MAX(seq) AS seq
             FROM alert GROUP BY incident;",
    )?;
    {
        let mut rows = transaction.prepare("SELECT input, position FROM old_position")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            put_position(transaction, key, &row.get::<_, String>(0)?, &row.get::<_, String>(1)?)?;
        }
        let mut rows = transaction
            .prepare("SELECT id, event_at, incident, record FROM old_alert ORDER BY event_at, id")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let (id, incident, record): (String, String, String) = (row.get(0)?, row.get(2)?, row.get(3)?);
            let event_at = row.get(1)?;
            AlertRef { seq: None, id: &id, event_at, incident: &incident, record: &record }
                .put(transaction, key)?;
        }
    }
    // Version 1 did not say in which form the engine's state was: it counts as form 0.
    transaction.execute("DELETE FROM meta WHERE name = 'shared'", [])?;
    transaction.execute_batch("DELETE FROM sender; DROP TABLE old_alert; DROP TABLE old_position;")
}

/// What people look at and what they say: incidents and senders in columns, operators' actions. And what is
/// remembered in pieces, so that a commit writes what changed.
///
/// The columns are a view of what is sealed elsewhere (alerts, senders), so triggers and the commit keep them.
fn to_3(transaction: &Transaction, key: &InstallKey) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "DROP VIEW incident;
         CREATE INDEX alert_by_severity ON alert (severity);
         CREATE TABLE incident (
             id TEXT PRIMARY KEY,
             sender_kind TEXT, sender_name TEXT, role TEXT, kind TEXT, last_change TEXT,
             severity TEXT, severity_score INTEGER, confidence REAL,
             opened_at TEXT, first_at TEXT, last_at TEXT,
             messages INTEGER, recipients_accepted INTEGER, headline TEXT,
             alerts INTEGER NOT NULL, changed_at INTEGER NOT NULL, seq INTEGER NOT NULL
         ) STRICT, WITHOUT ROWID;
         CREATE INDEX incident_by_change ON incident (changed_at);
         CREATE INDEX incident_by_sender ON incident (sender_name);
         CREATE TRIGGER incident_of_alert AFTER INSERT ON alert BEGIN
             REPLACE INTO incident
             SELECT NEW.incident,
                 json_extract(NEW.record, '$.sender.kind'), json_extract(NEW.record, '$.sender.name'),
                 json_extract(NEW.record, '$.sender.role'), json_extract(NEW.record, '$.kind'),
                 json_extract(NEW.record, '$.change'), json_extract(NEW.record, '$.severity.name'),
                 json_extract(NEW.record, '$.severity.score'),
                 CAST(json_extract(NEW.record, '$.confidence') AS REAL),
                 json_extract(NEW.record, '$.times.opened'), json_extract(NEW.record, '$.times.first'),
                 json_extract(NEW.record, '$.times.last'),
                 json_extract(NEW.record, '$.blast_radius.messages'),
                 json_extract(NEW.record, '$.blast_radius.recipients_accepted'),
                 json_extract(NEW.record, '$.headline'),
                 1 + COALESCE((SELECT alerts FROM incident WHERE id = NEW.incident), 0),
                 NEW.event_at, NEW.seq;
         END;
         CREATE TRIGGER incident_without_alert AFTER DELETE ON alert
         WHEN NOT EXISTS (SELECT 1 FROM alert WHERE incident = OLD.incident) BEGIN
             DELETE FROM incident WHERE id = OLD.incident;
         END;
         CREATE TABLE sender_summary (
             key BLOB PRIMARY KEY,
             vantage TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, role TEXT NOT NULL,
             first_at INTEGER NOT NULL, last_at INTEGER NOT NULL, messages INTEGER NOT NULL,
             usual_per_day REAL NOT NULL, evidence_nats REAL NOT NULL,
             hour INTEGER NOT NULL, hour_messages INTEGER NOT NULL
         ) STRICT, WITHOUT ROWID;
         CREATE TABLE sender_hours (key BLOB PRIMARY KEY, hours BLOB NOT NULL) STRICT, WITHOUT ROWID;
         CREATE TRIGGER summary_without_sender AFTER DELETE ON sender BEGIN
             DELETE FROM sender_summary WHERE key = OLD.key;
             DELETE FROM sender_hours WHERE key = OLD.key;
         END;
         CREATE TABLE remembered (
             name TEXT NOT NULL, generation INTEGER NOT NULL, place INTEGER NOT NULL, digests BLOB NOT NULL,
             PRIMARY KEY (name, generation, place)
         ) STRICT;
         CREATE TABLE open_incident (sender BLOB PRIMARY KEY, state BLOB NOT NULL) STRICT, WITHOUT ROWID;
         CREATE TABLE action (
             seq INTEGER PRIMARY KEY AUTOINCREMENT,
             at INTEGER NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, seal INTEGER NOT NULL,
             obeyed_at INTEGER, outcome TEXT,
             kind TEXT GENERATED ALWAYS AS (json_extract(what, '$.action')) VIRTUAL,
             incident TEXT GENERATED ALWAYS AS (json_extract(what, '$.incident')) VIRTUAL,
             mailing INTEGER GENERATED ALWAYS AS (json_extract(what, '$.mailing')) VIRTUAL
         ) STRICT;
         CREATE INDEX action_waiting ON action (seq) WHERE obeyed_at IS NULL;
         CREATE INDEX action_by_incident ON action (incident, seq) WHERE incident IS NOT NULL;
         CREATE INDEX action_by_mailing ON action (mailing) WHERE mailing IS NOT NULL;
         CREATE INDEX action_announced ON action (seq) WHERE kind = 'announce';",
    )?;
    // Alerts go in again, so that the trigger sees them.
    transaction.execute_batch(
        "CREATE TABLE every_alert AS SELECT seq, id, event_at, incident, record, seal FROM alert;
         DELETE FROM alert;
         INSERT INTO alert (seq, id, event_at, incident, record, seal) SELECT * FROM every_alert ORDER BY seq;
         DROP TABLE every_alert;",
    )?;
    super::summary::rebuild(transaction, key)
}

/// Which domains a sender writes to.
fn to_4(transaction: &Transaction, _: &InstallKey) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "CREATE TABLE sender_domains (key BLOB PRIMARY KEY, domains BLOB NOT NULL) STRICT, WITHOUT ROWID;
         CREATE TRIGGER domains_without_sender AFTER DELETE ON sender BEGIN
             DELETE FROM sender_domains WHERE key = OLD.key;
         END;",
    )
}

/// Who got the mail of an incident.
fn to_5(transaction: &Transaction, _: &InstallKey) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "CREATE TABLE recipient (
             incident TEXT NOT NULL, vantage INTEGER NOT NULL, number INTEGER NOT NULL,
             at INTEGER NOT NULL, state BLOB NOT NULL,
             PRIMARY KEY (incident, vantage, number)
         ) STRICT, WITHOUT ROWID;
         CREATE INDEX recipient_by_time ON recipient (at);
         CREATE TRIGGER recipients_without_incident AFTER DELETE ON incident BEGIN
             DELETE FROM recipient WHERE incident = OLD.id;
         END;",
    )
}

/// A keyed seal over the parts of a row.
pub fn seal(key: &InstallKey, parts: &[&[u8]]) -> i64 {
    key.digest(parts).cast_signed()
}

/// A value with its seal behind it.
pub fn sealed(key: &InstallKey, name: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let seal = seal(key, &[name, &value]);
    value.extend_from_slice(&seal.to_le_bytes());
    value
}

/// The value without its seal; `None` where they do not fit.
pub fn unsealed<'a>(key: &InstallKey, name: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (value, found) = value.split_last_chunk::<8>()?;
    (seal(key, &[name, value]) == i64::from_le_bytes(*found)).then_some(value)
}

/// Puts one input position.
pub fn put_position(
    connection: &Connection,
    key: &InstallKey,
    input: &str,
    position: &str,
) -> rusqlite::Result<()> {
    let seal = seal(key, &[b"position", input.as_bytes(), position.as_bytes()]);
    connection
        .prepare_cached("INSERT OR REPLACE INTO position (input, position, seal) VALUES (?1, ?2, ?3)")?
        .execute(params![input, position, seal])?;
    Ok(())
}

/// One alert of the outbox.
pub struct AlertRef<'a> {
    /// Place in the outbox; `None` puts it at the end.
    pub seq: Option<i64>,
    /// Alert id.
    pub id: &'a str,
    /// Event time, µs.
    pub event_at: i64,
    /// Incident id.
    pub incident: &'a str,
    /// Native record.
    pub record: &'a str,
}

impl AlertRef<'_> {
    /// Seal of the row. The place is not part of it: it is given by the table.
    pub fn seal(&self, key: &InstallKey) -> i64 {
        let (id, at) = (self.id.as_bytes(), self.event_at.to_le_bytes());
        seal(key, &[b"alert", id, &at, self.incident.as_bytes(), self.record.as_bytes()])
    }

    /// Puts it, unless its id is there.
    pub fn put(&self, connection: &Connection, key: &InstallKey) -> rusqlite::Result<()> {
        connection
            .prepare_cached(
                // Not OR IGNORE: that would rule the trigger's own statement too.
                "INSERT INTO alert (seq, id, event_at, incident, record, seal)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
            )?
            .execute(params![self.seq, self.id, self.event_at, self.incident, self.record, self.seal(key)])?;
        Ok(())
    }
}

/// Puts a sink's cursor: all alerts up to this one are done. `place` is the sink's own note.
pub fn put_sink(
    connection: &Connection,
    key: &InstallKey,
    name: &str,
    cursor: i64,
    place: &str,
) -> rusqlite::Result<()> {
    let seal = seal(key, &[b"sink", name.as_bytes(), &cursor.to_le_bytes(), place.as_bytes()]);
    connection
        .prepare_cached("INSERT OR REPLACE INTO sink (name, cursor, place, seal) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![name, cursor, place, seal])?;
    Ok(())
}

/// A sink's row.
pub struct SinkRow {
    /// Its name.
    pub name: String,
    /// All alerts up to this place are done.
    pub cursor: i64,
    /// The sink's own note.
    pub place: String,
}

/// All sinks whose seal is whole, and whether any is broken.
pub fn sinks(connection: &Connection, key: &InstallKey) -> rusqlite::Result<(Vec<SinkRow>, bool)> {
    let mut statement = connection.prepare("SELECT name, cursor, place, seal FROM sink ORDER BY name")?;
    let mut rows = statement.query([])?;
    let (mut list, mut broken) = (Vec::new(), false);
    while let Some(row) = rows.next()? {
        let sink = SinkRow { name: row.get(0)?, cursor: row.get(1)?, place: row.get(2)? };
        let parts: [&[u8]; 4] =
            [b"sink", sink.name.as_bytes(), &sink.cursor.to_le_bytes(), sink.place.as_bytes()];
        if row.get::<_, i64>(3)? == seal(key, &parts) {
            list.push(sink);
        } else {
            broken = true;
        }
    }
    Ok((list, broken))
}

/// Why a file was not opened.
#[derive(Debug)]
pub enum Refusal {
    /// It must be set aside.
    Damaged(String),
    /// It must be left alone.
    Error(StoreError),
}

/// Opens the file, creating it where it is missing. Does not look into rows: see [`super::damage`].
pub fn open(path: &Path, key: &InstallKey) -> Result<Connection, Refusal> {
    if !path.exists() {
        create(path, key).map_err(Refusal::Error)?;
    }
    let sorted = |error| sort_error(path, error);
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(sorted)?;
    let pragma = |connection: &Connection, name: &str| -> rusqlite::Result<i64> {
        connection.pragma_query_value(None, name, |row| row.get(0))
    };
    let found = pragma(&connection, "user_version").map_err(sorted)?;
    let twin: Option<i64> =
        match connection.query_row("SELECT value FROM meta WHERE name = 'tables_version'", [], |row| {
            row.get::<_, Vec<u8>>(0)
        }) {
            Ok(text) => std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()),
            Err(rusqlite::Error::QueryReturnedNoRows) if found == 1 => Some(1),
            Err(rusqlite::Error::QueryReturnedNoRows) => None,
            Err(rusqlite::Error::SqliteFailure(_, Some(text))) if text.starts_with("no such") => None,
            Err(error) => return Err(sorted(error)),
        };
    if twin != Some(found) {
        return Err(Refusal::Damaged(format!("tables version {found}, and {twin:?} beside it")));
    }
    if found > TABLES_VERSION {
        let path = path.to_owned();
        return Err(Refusal::Error(StoreError::Newer { path, found, known: TABLES_VERSION }));
    }
    migrate(&mut connection, key, found).map_err(sorted)?;
    if texts(&connection).map_err(sorted)? != expected_texts().map_err(sorted)? {
        return Err(Refusal::Damaged("the tables are not those of this version".into()));
    }
    Ok(connection)
}

/// Whether an existing file has tables of this version: those of an older one are brought forward by the sensor.
pub fn of_this_version(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(StoreError::database(path))?;
    match found.cmp(&TABLES_VERSION) {
        std::cmp::Ordering::Greater => {
            Err(StoreError::Newer { path: path.to_owned(), found, known: TABLES_VERSION })
        }
        std::cmp::Ordering::Less => Err(StoreError::Refused(format!(
            "{}: written by an older portreeve (tables {found}, this one knows {TABLES_VERSION}): start the sensor once, it brings the file forward",
            path.display()
        ))),
        std::cmp::Ordering::Equal => Ok(()),
    }
}

/// A connection with our settings.
pub fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(32);
    // Temporary tables and journals of statements would go to /var/tmp, where the sandbox lets nobody write.
    connection.execute_batch(
        "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;",
    )?;
    if !flags.contains(OpenFlags::SQLITE_OPEN_READ_ONLY) {
        connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA secure_delete = FAST; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -32768;")?;
    }
    Ok(connection)
}

/// Damage, or a disk that is full or unreadable?
fn sort_error(path: &Path, error: rusqlite::Error) -> Refusal {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::TypeMismatch) => {
            Refusal::Damaged(error.to_string())
        }
        // The tables' own text is broken: SQLite says plain "error".
        Some(ErrorCode::Unknown) => Refusal::Damaged(error.to_string()),
        None => Refusal::Damaged(error.to_string()),
        Some(_) => Refusal::Error(StoreError::Database { path: path.to_owned(), source: error }),
    }
}

/// Creates the file under a temporary name and renames it, so that a file of this name is always whole. What a
/// set-aside file left behind goes first: a journal of another file must never be played into this one.
pub fn create(path: &Path, key: &InstallKey) -> Result<(), StoreError> {
    let temporary = with_suffix(path, ".new");
    for stem in [path, &temporary] {
        for suffix in ["-wal", "-shm", "-journal"] {
            remove(&with_suffix(stem, suffix))?;
        }
    }
    remove(&temporary)?;
    sync_parent(path)?;
    let failed = StoreError::database(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut connection = connect(&temporary, flags).map_err(&failed)?;
    connection
        .execute_batch("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;")
        .and_then(|()| connection.pragma_update(None, "application_id", APPLICATION_ID))
        .and_then(|()| migrate(&mut connection, key, 0))
        .map_err(&failed)?;
    connection.close().map_err(|(_, source)| failed(source))?;
    let file = std::fs::File::open(&temporary).map_err(StoreError::file(&temporary))?;
    std::fs::set_permissions(&temporary, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .and_then(|()| file.sync_all())
        .map_err(StoreError::file(&temporary))?;
    std::fs::rename(&temporary, path).map_err(StoreError::file(path))?;
    sync_parent(path)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::file(path)(error)),
        _ => Ok(()),
    }
}

fn migrate(connection: &mut Connection, key: &InstallKey, from: i64) -> rusqlite::Result<()> {
    if from >= TABLES_VERSION {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in &MIGRATIONS[from.max(0) as usize..] {
        step(&transaction, key)?;
    }
    transaction.execute(
        "INSERT OR REPLACE INTO meta (name, value) VALUES ('tables_version', CAST(?1 AS BLOB))",
        [TABLES_VERSION.to_string()],
    )?;
    transaction.pragma_update(None, "user_version", TABLES_VERSION)?;
    transaction.commit()
}

/// The text of all tables, indexes and views.
fn texts(connection: &Connection) -> rusqlite::Result<Vec<(String, String, Option<String>)>> {
    connection
        .prepare(
            "SELECT type, name, sql FROM sqlite_schema WHERE name != 'sqlite_sequence' ORDER BY type, name",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect()
}

fn expected_texts() -> rusqlite::Result<Vec<(String, String, Option<String>)>> {
    let mut connection = Connection::open_in_memory()?;
    migrate(&mut connection, &InstallKey([0; 16]), 0)?;
    texts(&connection)
}
