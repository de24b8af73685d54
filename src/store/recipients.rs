//! Recipients of incidents, where the configuration asks for their names.
//!
//! *In*: what the engine noted. *Out*: rows of `recipient`. *Bound*: that of the engine; rows go with the alerts of
//! their incident, or when they are as old.

use super::tables::seal;
use crate::engine::memory::InstallKey;
use crate::engine::reached::Reached;
use rusqlite::{Connection, params};

/// Seal of a row.
pub fn seal_of(key: &InstallKey, incident: &str, number: i64, mailbox: &[u8]) -> i64 {
    seal(key, &[b"recipient", incident.as_bytes(), &number.to_le_bytes(), mailbox])
}

/// Writes what was noted since the last commit.
pub fn write(connection: &Connection, key: &InstallKey, reached: &[Reached]) -> rusqlite::Result<()> {
    let mut put =
        connection.prepare_cached("REPLACE INTO recipient VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    for Reached { incident, vantage, recipient } in reached {
        let (incident, number) = (format!("{incident:016x}"), recipient.number as i64);
        let mailbox = recipient.forward_path.as_bytes();
        put.execute(params![
            incident,
            *vantage as i64,
            number,
            recipient.at.as_micros(),
            mailbox,
            recipient.accepted,
            recipient.code,
            seal_of(key, &incident, number, mailbox),
        ])?;
    }
    Ok(())
}
