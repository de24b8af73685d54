//! State between runs: one SQLite file and the install's key.
//!
//! *In*: changed senders, shared state, input positions, alerts, history. *Out*: the same after a restart, and
//! the outbox that sinks are fed from. *Bound*: the engine's bounds; [`keep::Retention`] for alerts and history.
//! *Spec*: docs/architecture.md, state. One transaction carries all of one moment.

pub mod actions;
mod checkpoint;
mod damage;
pub mod domains;
mod durable;
mod error;
pub mod keep;
pub mod outbox;
mod pieces;
pub mod read;
mod recipients;
mod summary;
mod tables;
pub mod transfer;
pub mod volume;

pub use durable::{in_use, write_whole};
pub use error::{StoreError, Trouble};

use crate::engine::Engine;
use crate::engine::memory::InstallKey;
use crate::engine::persist::{SharedChange, StoredShared};
use crate::engine::reached::Reached;
use crate::engine::sender::{SenderId, SenderKey};
use crate::observation::Delivery;
use crate::time::Timestamp;
use actions::Obeyed;
use domains::Mixes;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use summary::Summaries;
use tables::AlertRef;

/// Form of the engine's stored state. To be raised whenever the layout of what [`Engine::take_changed`] or
/// [`Engine::take_shared`] give changes: state of another form is set aside, not misread.
pub const STATE_FORM: i64 = 2;

/// An open state directory.
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// The install's key.
    pub key: InstallKey,
    /// What the store got over while it was opened. The caller makes alerts of it ([`Trouble::alert`]).
    pub troubles: Vec<Trouble>,
    /// Which domains senders wrote to since that was last written.
    mixes: Mixes,
    /// What a failed commit did not get to disk; the next one takes it along.
    unsaved: Unsaved,
    /// Whether the log still holds what was cleared.
    log_to_cut: bool,
    /// Plays the log in; `None` for readers.
    checkpointer: Option<checkpoint::Checkpointer>,
    /// Claims the directory while the store is open; `None` for readers.
    _lock: Option<std::fs::File>,
}

#[derive(Default)]
struct Unsaved {
    senders: BTreeMap<SenderKey, Vec<u8>>,
    positions: BTreeMap<String, String>,
    alerts: Vec<AlertRow>,
    history: Vec<HistoryRow>,
    notes: BTreeMap<String, Vec<u8>>,
    /// What people see of changed senders.
    summaries: Summaries,
    /// Recipients of incidents.
    reached: Vec<Reached>,
    counted: Vec<HistoryRow>,
    counters: BTreeMap<&'static str, u64>,
    obeyed: Vec<Obeyed>,
    forgotten: Vec<SenderId>,
    shared: Vec<SharedChange>,
}

impl Unsaved {
    fn write_counts(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut put = connection.prepare_cached(
            "INSERT INTO history (series, at, value) VALUES (?1, ?2, ?3)
             ON CONFLICT (series, at) DO UPDATE SET value = value + excluded.value",
        )?;
        for row in &self.counted {
            put.execute(params![row.series, row.at, row.value])?;
        }
        for (name, more) in &self.counters {
            keep::count(connection, name, *more)?;
        }
        for obeyed in &self.obeyed {
            actions::put_obeyed(connection, obeyed)?;
        }
        Ok(())
    }
}

/// An alert to be kept with the state that caused it.
#[derive(Clone, Debug, PartialEq, Eq)]
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

impl AlertRow {
    /// The row of an alert.
    pub fn of(alert: &crate::alert::Alert) -> AlertRow {
        AlertRow {
            id: alert.id.clone(),
            event_at: crate::alert::event_at(alert).map_or(0, |at| at.as_micros()),
            incident: alert.incident.id.clone(),
            record: serde_json::to_string(alert).unwrap_or_default(),
        }
    }
}

/// One point of a curve that people look at, such as a sender's messages by the hour.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryRow {
    /// Name of the curve.
    pub series: String,
    /// Event time, µs.
    pub at: i64,
    /// Its value; a later one for the same moment replaces it.
    pub value: f64,
}

/// All of one moment: either everything gets to disk or nothing.
#[derive(Clone, Copy, Default)]
pub struct Moment<'a> {
    /// Input → where it was read up to.
    pub positions: &'a [(String, String)],
    /// New alerts, in order.
    pub alerts: &'a [AlertRow],
    /// New points of curves.
    pub history: &'a [HistoryRow],
    /// Small state of other stages by name, such as the alert budget; a new one replaces the old, an empty one
    /// removes it.
    pub notes: &'a [(String, Vec<u8>)],
    /// Points of curves that are counted up: each is added to what is there for the same moment.
    pub counted: &'a [HistoryRow],
    /// Counters that outlive restarts, and what to add to each.
    pub counters: &'a [(&'static str, u64)],
    /// Operators' actions that took effect.
    pub obeyed: &'a [Obeyed],
    /// Senders that the engine forgot: their state goes.
    pub forgotten: &'a [SenderId],
    /// Whether nothing comes after it: what was let wait for a later commit is written now.
    pub last: bool,
}

impl Store {
    /// Opens or creates the state in a directory, and claims it. Damage is set aside and told in
    /// [`Store::troubles`].
    pub fn open(directory: &Path) -> Result<Store, StoreError> {
        durable::make_directory(directory)?;
        let lock = durable::lock(directory)?;
        let key = durable::install_key(directory)?;
        let path = directory.join("state.db");
        let mut troubles = Vec::new();
        let opened = match tables::open(&path, &key) {
            Ok(connection) => match damage::find(&connection, &key) {
                None => Ok(connection),
                Some(what) => {
                    drop(connection);
                    Err(what)
                }
            },
            Err(tables::Refusal::Damaged(what)) => Err(what),
            Err(tables::Refusal::Error(error)) => return Err(error),
        };
        let connection = match opened {
            Ok(connection) => connection,
            Err(what) => begin_anew(&path, &key, what, &mut troubles)?,
        };
        let mut store = Store {
            connection,
            checkpointer: Some(checkpoint::Checkpointer::start(&path)),
            path,
            key,
            troubles,
            mixes: Mixes::default(),
            unsaved: Unsaved::default(),
            log_to_cut: false,
            _lock: Some(lock),
        };
        if let Some(found) = store.state_form()?.filter(|found| *found != STATE_FORM) {
            let trouble = store.set_state_aside(found)?;
            store.troubles.push(trouble);
        }
        Ok(store)
    }

    /// Opens an existing state to look at it, also while a sensor works with it. Nothing is checked or mended.
    pub fn open_to_read(directory: &Path) -> Result<Store, StoreError> {
        let (path, key) = existing(directory)?;
        let connection =
            tables::connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(StoreError::database(&path))?;
        Ok(Store {
            connection,
            path,
            key,
            troubles: Vec::new(),
            mixes: Mixes::default(),
            unsaved: Unsaved::default(),
            log_to_cut: false,
            checkpointer: None,
            _lock: None,
        })
    }

    /// Gives the engine back what was stored. State that it cannot read is set aside and told; it starts empty.
    pub fn load(&self, engine: &mut Engine) -> Result<Vec<Trouble>, StoreError> {
        engine.note_closed_hours();
        engine.note_reached();
        let Some(shared) = self.shared()? else { return Ok(Vec::new()) };
        if !engine.restore_shared(shared) {
            return Ok(vec![self.set_state_aside(STATE_FORM)?]);
        }
        let unreadable = self.load_senders(engine).map_err(StoreError::database(&self.path))?;
        if unreadable.is_empty() {
            return Ok(Vec::new());
        }
        let trouble = self.copy_state_aside(STATE_FORM)?;
        for key in unreadable {
            self.connection
                .execute("DELETE FROM sender WHERE key = ?1", [key])
                .map_err(StoreError::database(&self.path))?;
        }
        Ok(vec![trouble])
    }

    /// Keys of the senders that cannot be read.
    fn load_senders(&self, engine: &mut Engine) -> rusqlite::Result<Vec<Vec<u8>>> {
        let mut statement = self.connection.prepare("SELECT key, state FROM sender ORDER BY key")?;
        let mut rows = statement.query([])?;
        let mut unreadable = Vec::new();
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_blob()?;
            let state = tables::unsealed(&self.key, name, row.get_ref(1)?.as_blob()?);
            let read = match (postcard::from_bytes::<SenderKey>(name), state) {
                (Ok(key), Some(state)) => engine.import_sender(key, state),
                _ => false,
            };
            if !read {
                unreadable.push(name.to_vec());
            }
        }
        Ok(unreadable)
    }

    /// One transaction: what changed in the engine, input positions, alerts.
    ///
    /// After an error nothing of it is on disk, and nothing is lost: the next call, with or without new rows,
    /// takes all of it along. Do not read on until it succeeds.
    pub fn commit(
        &mut self,
        engine: &mut Engine,
        positions: &[(String, String)],
        alerts: &[AlertRow],
    ) -> Result<(), StoreError> {
        self.commit_moment(engine, &Moment { positions, alerts, ..Moment::default() })
    }

    /// As [`Store::commit`], with history and notes.
    pub fn commit_moment(&mut self, engine: &mut Engine, moment: &Moment) -> Result<(), StoreError> {
        for id in moment.forgotten {
            self.unsaved.senders.retain(|key, _| key.id != *id);
            self.unsaved.summaries.forget(id);
            self.mixes.forget(id);
        }
        self.unsaved.forgotten.extend_from_slice(moment.forgotten);
        for (sender, state) in engine.take_changed() {
            self.unsaved.summaries.put(engine, &sender);
            self.unsaved.senders.insert(sender, state);
        }
        self.unsaved.summaries.add_hours(engine.take_closed_hours());
        self.unsaved.reached.extend(engine.take_reached());
        self.unsaved.positions.extend(moment.positions.iter().cloned());
        self.unsaved.alerts.extend_from_slice(moment.alerts);
        self.unsaved.history.extend_from_slice(moment.history);
        self.unsaved.notes.extend(moment.notes.iter().cloned());
        self.unsaved.counted.extend_from_slice(moment.counted);
        for (name, more) in moment.counters {
            *self.unsaved.counters.entry(name).or_default() += more;
        }
        self.unsaved.obeyed.extend_from_slice(moment.obeyed);
        self.unsaved.shared.push(engine.take_shared());
        let mixes = self.write(moment.last).map_err(StoreError::database(&self.path))?;
        self.mixes.written(mixes);
        self.unsaved = Unsaved::default();
        if let Some(checkpointer) = &self.checkpointer {
            checkpointer.committed(&self.connection);
        }
        Ok(())
    }

    /// Counts the recipient of a delivery for a sender, for the next commit.
    pub fn count_domain(&mut self, sender: SenderKey, at: Timestamp, delivery: &Delivery) {
        self.mixes.count(sender, at, delivery);
    }

    /// Returns how many of the waiting mixes were written.
    fn write(&mut self, last: bool) -> rusqlite::Result<usize> {
        let key = self.key;
        let mixes;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            for id in &self.unsaved.forgotten {
                transfer::delete_sender(&transaction, id)?;
            }
            let mut put =
                transaction.prepare_cached("INSERT OR REPLACE INTO sender (key, state) VALUES (?1, ?2)")?;
            for (sender, state) in &self.unsaved.senders {
                let name = postcard::to_allocvec(sender).unwrap_or_default();
                let state = tables::sealed(&key, &name, state.clone());
                put.execute(params![name, state])?;
            }
            self.unsaved.summaries.write(&transaction)?;
            for change in &self.unsaved.shared {
                pieces::write(&transaction, &key, change)?;
            }
            put_meta(&transaction, &key, "state_form", STATE_FORM.to_string().into_bytes())?;
            for (input, position) in &self.unsaved.positions {
                tables::put_position(&transaction, &key, input, position)?;
            }
            for alert in &self.unsaved.alerts {
                let AlertRow { id, event_at, incident, record } = alert;
                AlertRef { seq: None, id, event_at: *event_at, incident, record }.put(&transaction, &key)?;
            }
            recipients::write(&transaction, &key, &self.unsaved.reached)?;
            for (name, value) in &self.unsaved.notes {
                let name = format!("note:{name}");
                match value.is_empty() {
                    true => drop_meta(&transaction, &name)?,
                    false => put_meta(&transaction, &key, &name, value.clone())?,
                }
            }
            let mut put = transaction
                .prepare_cached("INSERT OR REPLACE INTO history (series, at, value) VALUES (?1, ?2, ?3)")?;
            for row in &self.unsaved.history {
                put.execute(params![row.series, row.at, row.value])?;
            }
            self.unsaved.write_counts(&transaction)?;
            mixes = self.mixes.write(&transaction, &key, last)?;
            if self.mixes.left_out > 0 {
                keep::count(&transaction, "domain_mixes_left_out", self.mixes.left_out)?;
            }
        }
        transaction.commit()?;
        Ok(mixes)
    }

    /// Where an input was read up to.
    pub fn position(&self, input: &str) -> Result<Option<String>, StoreError> {
        self.connection
            .query_row("SELECT position FROM position WHERE input = ?1", [input], |row| row.get(0))
            .optional()
            .map_err(StoreError::database(&self.path))
    }

    /// The points of a curve from one moment up to, not including, another.
    pub fn history(&self, series: &str, from: i64, until: i64) -> Result<Vec<(i64, f64)>, StoreError> {
        let read = || -> rusqlite::Result<Vec<(i64, f64)>> {
            self.connection
                .prepare_cached(
                    "SELECT at, value FROM history WHERE series = ?1 AND at >= ?2 AND at < ?3 ORDER BY at",
                )?
                .query_map(params![series, from, until], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        };
        read().map_err(StoreError::database(&self.path))
    }

    /// The small state of another stage, as committed.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.meta(&format!("note:{name}"))
    }

    /// All notes whose name begins so, by name. What is damaged is left out.
    pub fn notes(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let read = || -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
            self.connection
                .prepare_cached("SELECT name, value FROM meta WHERE substr(name, 1, ?2) = ?1 ORDER BY name")?
                .query_map(params![format!("note:{prefix}"), 5 + prefix.chars().count() as i64], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?
                .collect()
        };
        let rows = read().map_err(StoreError::database(&self.path))?;
        let good = rows.into_iter().filter_map(|(name, value): (String, Vec<u8>)| {
            let value = tables::unsealed(&self.key, name.as_bytes(), &value)?.to_vec();
            Some((name.strip_prefix("note:")?.to_owned(), value))
        });
        Ok(good.collect())
    }

    fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let value: Option<Vec<u8>> = self
            .connection
            .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
            .optional()
            .map_err(StoreError::database(&self.path))?;
        Ok(value.and_then(|value| tables::unsealed(&self.key, name.as_bytes(), &value).map(<[u8]>::to_vec)))
    }

    /// What is stored of the state that is not a sender's.
    fn shared(&self) -> Result<Option<StoredShared>, StoreError> {
        let failed = StoreError::database(&self.path);
        pieces::read_with_rest(&self.connection, &self.key, self.meta("shared")?, failed)
    }

    fn state_form(&self) -> Result<Option<i64>, StoreError> {
        Ok(self.meta("state_form")?.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok()))
    }

    /// Copies the file beside itself and empties the engine's state in it.
    fn set_state_aside(&self, found: i64) -> Result<Trouble, StoreError> {
        let trouble = self.copy_state_aside(found)?;
        let empty = || -> rusqlite::Result<()> {
            let transaction = self.connection.unchecked_transaction()?;
            transaction.execute("DELETE FROM sender", [])?;
            pieces::clear(&transaction)?;
            transaction.commit()
        };
        empty().map_err(StoreError::database(&self.path))?;
        Ok(trouble)
    }

    fn copy_state_aside(&self, found: i64) -> Result<Trouble, StoreError> {
        let aside = durable::aside_name(&self.path, &format!("form{found}"));
        self.backup(&aside)?;
        Ok(Trouble::Unreadable { aside, found, known: STATE_FORM })
    }
}

fn put_meta(connection: &Connection, key: &InstallKey, name: &str, value: Vec<u8>) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)")?
        .execute(params![name, tables::sealed(key, name.as_bytes(), value)])?;
    Ok(())
}

/// The file and the key of a state that is there.
fn existing(directory: &Path) -> Result<(PathBuf, InstallKey), StoreError> {
    let (path, key_path) = (directory.join("state.db"), directory.join("install.key"));
    if !path.exists() {
        return Err(StoreError::Missing { path });
    }
    let key = std::fs::read(&key_path).map_err(StoreError::file(&key_path))?;
    let key = key
        .try_into()
        .map_err(|_| StoreError::file(&key_path)(std::io::Error::other("the key has not 16 bytes")))?;
    Ok((path, InstallKey(key)))
}

fn drop_meta(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM meta WHERE name = ?1")?.execute([name])?;
    Ok(())
}

/// Sets a damaged file aside and begins a new one with what is still good of it.
fn begin_anew(
    path: &Path,
    key: &InstallKey,
    what: String,
    troubles: &mut Vec<Trouble>,
) -> Result<Connection, StoreError> {
    let aside = damage::set_aside(path)?;
    let mut connection = match tables::open(path, key) {
        Ok(connection) => connection,
        Err(tables::Refusal::Error(error)) => return Err(error),
        Err(tables::Refusal::Damaged(what)) => {
            let source = std::io::Error::other(format!("a new file is damaged at once: {what}"));
            return Err(StoreError::File { path: path.to_owned(), source });
        }
    };
    let alerts_kept = damage::salvage(&aside, &mut connection, key).map_err(StoreError::database(path))?;
    troubles.push(Trouble::Damaged { aside, what, alerts_kept });
    Ok(connection)
}
