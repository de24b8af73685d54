//! Recipients of incidents, where the configuration asks for their names.
//!
//! *In*: what the engine noted. *Out*: rows of `recipient`. *Bound*: that of the engine; rows go with the alerts of
//! their incident, or when they are as old.

use super::tables::{sealed, unsealed};
use crate::engine::memory::InstallKey;
use crate::engine::reached::{Reached, Recipient};
use rusqlite::{Connection, params};

/// What a row's seal holds beside its state.
fn name_of(incident: &str, vantage: i64, number: i64) -> Vec<u8> {
    format!("recipient/{incident}/{vantage}/{number}").into_bytes()
}

/// Writes what was noted since the last commit.
pub fn write(connection: &Connection, key: &InstallKey, reached: &[Reached]) -> rusqlite::Result<()> {
    let mut put = connection.prepare_cached("REPLACE INTO recipient VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for Reached { incident, vantage, recipient } in reached {
        let (incident, vantage) = (format!("{incident:016x}"), *vantage as i64);
        let number = recipient.number.cast_signed();
        let state = postcard::to_allocvec(recipient).unwrap_or_default();
        let state = sealed(key, &name_of(&incident, vantage, number), state);
        put.execute(params![incident, vantage, number, recipient.at.as_micros(), state])?;
    }
    Ok(())
}

/// Recipients of an incident that are kept, in the order of their deliveries; of two roads that saw the same mail those
/// of the one that saw more. A row whose seal is broken is passed over.
pub fn read(connection: &Connection, key: &InstallKey, incident: &str) -> rusqlite::Result<Vec<Recipient>> {
    let mut list = connection.prepare_cached(
        "SELECT vantage, number, state FROM recipient
         WHERE incident = ?1 AND vantage = (
             SELECT vantage FROM recipient WHERE incident = ?1
             GROUP BY vantage ORDER BY COUNT(*) DESC, vantage LIMIT 1)
         ORDER BY number",
    )?;
    let mut rows = list.query([incident])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let name = name_of(incident, row.get(0)?, row.get(1)?);
        let state = unsealed(key, &name, row.get_ref(2)?.as_blob()?);
        found.extend(state.and_then(|state| postcard::from_bytes::<Recipient>(state).ok()));
    }
    Ok(found)
}
