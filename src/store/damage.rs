//! Damage: found before anything is trusted, set aside, and what is still good taken over.
//!
//! *In*: an opened file. *Out*: nothing, or what is wrong. *Bound*: one pass over the file; every list of rows
//! must rise, so that a loop in a broken tree ends at once.

use super::durable::{aside_name, sync_parent, with_suffix};
use super::error::StoreError;
use super::tables::{AlertRef, connect, put_position, put_sink, seal, sinks, unsealed};
use crate::engine::memory::InstallKey;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};

/// Looks at every page and every seal. `None` where all is well.
pub fn find(connection: &Connection, key: &InstallKey) -> Option<String> {
    let looked = || -> rusqlite::Result<Option<String>> {
        let says: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if says != "ok" {
            return Ok(Some(says));
        }
        Ok(bad_meta(connection, key)?
            .or(bad_sender(connection, key)?)
            .or(super::pieces::read(connection, key)?.1)
            .or(bad_position(connection, key)?)
            .or(bad_alert(connection, key)?)
            .or(sinks(connection, key)?.1.then(|| "the seal of a sink's cursor is broken".into())))
    };
    looked().unwrap_or_else(|error| Some(error.to_string()))
}

fn bad_meta(connection: &Connection, key: &InstallKey) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare("SELECT name, value FROM meta ORDER BY name")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (name, value): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        if name != "tables_version" && unsealed(key, name.as_bytes(), &value).is_none() {
            return Ok(Some(format!("the seal of {name} is broken")));
        }
    }
    Ok(None)
}

fn bad_sender(connection: &Connection, key: &InstallKey) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare("SELECT key, state FROM sender ORDER BY key")?;
    let mut rows = statement.query([])?;
    let mut last: Option<Vec<u8>> = None;
    while let Some(row) = rows.next()? {
        let sender: Vec<u8> = row.get(0)?;
        if unsealed(key, &sender, row.get_ref(1)?.as_blob()?).is_none() {
            return Ok(Some("the seal of a sender is broken".into()));
        }
        if last.as_ref().is_some_and(|last| *last >= sender) {
            return Ok(Some("senders are out of order".into()));
        }
        last = Some(sender);
    }
    Ok(None)
}

fn bad_position(connection: &Connection, key: &InstallKey) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare("SELECT input, position, seal FROM position ORDER BY input")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (input, position): (String, String) = (row.get(0)?, row.get(1)?);
        if row.get::<_, i64>(2)? != seal(key, &[b"position", input.as_bytes(), position.as_bytes()]) {
            return Ok(Some("the seal of an input position is broken".into()));
        }
    }
    Ok(None)
}

fn bad_alert(connection: &Connection, key: &InstallKey) -> rusqlite::Result<Option<String>> {
    let mut last = i64::MIN;
    let mut bad = false;
    each_alert(connection, |alert, found| {
        let seq = alert.seq.unwrap_or(last);
        bad |= found != alert.seal(key) || seq <= last;
        last = seq;
        !bad
    })?;
    Ok(bad.then(|| "the seal of an alert is broken".into()))
}

/// Calls with every alert and the seal beside it, while told to go on.
fn each_alert(connection: &Connection, mut call: impl FnMut(&AlertRef, i64) -> bool) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare("SELECT seq, id, event_at, incident, record, seal FROM alert ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let alert = AlertRef {
            seq: row.get(0)?,
            id: row.get_ref(1)?.as_str()?,
            event_at: row.get(2)?,
            incident: row.get_ref(3)?.as_str()?,
            record: row.get_ref(4)?.as_str()?,
        };
        if !call(&alert, row.get(5)?) {
            break;
        }
    }
    Ok(())
}

/// Moves the file and its journals away. The journals go first: without its file a journal is nothing.
pub fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let aside = aside_name(path, "bad");
    for suffix in ["-wal", "-shm", "-journal", ""] {
        let from = with_suffix(path, suffix);
        if from.exists() {
            std::fs::rename(&from, with_suffix(&aside, suffix)).map_err(StoreError::file(&from))?;
        }
    }
    sync_parent(path)?;
    Ok(aside)
}

/// Takes positions, alerts and cursors with whole seals over from a damaged file, as far as it can be read.
/// Returns how many alerts. Baselines are left: half a memory misleads.
pub fn salvage(aside: &Path, into: &mut Connection, key: &InstallKey) -> rusqlite::Result<u64> {
    let Ok(old) = connect(aside, OpenFlags::SQLITE_OPEN_READ_WRITE) else { return Ok(0) };
    let transaction = into.transaction()?;
    let (mut kept, mut last) = (0, 0);
    // Errors of the old file end the search; errors of the new one are real.
    let mut failed = None;
    let _ = each_alert(&old, |alert, found| {
        let seq = alert.seq.unwrap_or(last);
        if seq <= last {
            return false;
        }
        last = seq;
        if found == alert.seal(key) {
            kept += 1;
            failed = alert.put(&transaction, key).err();
        }
        failed.is_none()
    });
    if let Some(error) = failed {
        return Err(error);
    }
    salvage_positions(&old, &transaction, key)?;
    for sink in sinks(&old, key).map(|(list, _)| list).unwrap_or_default() {
        put_sink(&transaction, key, &sink.name, sink.cursor.min(last), &sink.place)?;
    }
    transaction.commit()?;
    Ok(kept)
}

fn salvage_positions(old: &Connection, transaction: &Connection, key: &InstallKey) -> rusqlite::Result<()> {
    let list = || -> rusqlite::Result<Vec<(String, String, i64)>> {
        old.prepare("SELECT input, position, seal FROM position")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .take(10_000)
            .collect()
    };
    for (input, position, found) in list().unwrap_or_default() {
        if found == seal(key, &[b"position", input.as_bytes(), position.as_bytes()]) {
            put_position(transaction, key, &input, &position)?;
        }
    }
    Ok(())
}
