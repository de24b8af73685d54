//! What people see of a sender, in columns: written with its state, read without it.
//!
//! *In*: changed senders, hours that ended. *Out*: rows of `sender_summary`. *Bound*: one row a sender,
//! [`HOURS_KEPT`] hours in it. *Spec*: docs/architecture.md, state.

use super::tables::unsealed;
use crate::alert::SenderName;
use crate::engine::Engine;
use crate::engine::memory::InstallKey;
use crate::engine::persist::ClosedHour;
use crate::engine::sender::{Sender, SenderId, SenderKey};
use crate::observation::Vantage;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Hours of a sender's curve that are kept: four weeks.
pub const HOURS_KEPT: usize = 28 * 24;

/// Messages by the hour, up to the last hour with mail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    /// The last hour, counted since the epoch.
    pub last: i64,
    /// Messages of each hour, the last one at the end; at most [`HOURS_KEPT`].
    pub messages: Vec<u32>,
}

impl Hours {
    /// Sets one hour. What is older than the curve reaches is left out.
    pub fn set(&mut self, hour: i64, messages: u32) {
        if self.messages.is_empty() {
            *self = Hours { last: hour, messages: vec![messages] };
            return;
        }
        let later = hour.saturating_sub(self.last);
        if later > 0 {
            let empty = usize::try_from(later).unwrap_or(usize::MAX).min(HOURS_KEPT);
            let too_many = (self.messages.len() + empty).saturating_sub(HOURS_KEPT);
            self.messages.drain(..too_many.min(self.messages.len()));
            self.messages.resize(self.messages.len() + empty, 0);
            self.last = hour;
        }
        let back = usize::try_from(self.last.saturating_sub(hour)).unwrap_or(usize::MAX);
        if let Some(place) = self.messages.len().checked_sub(back.saturating_add(1)) {
            self.messages[place] = messages;
        }
    }
}

/// Rows that wait for the commit.
#[derive(Default)]
pub struct Summaries {
    rows: BTreeMap<SenderKey, Row>,
}

struct Row {
    role: &'static str,
    first_at: i64,
    last_at: i64,
    messages: u32,
    usual_per_day: f64,
    evidence_nats: f64,
    /// The hour under way, and the messages in it.
    hour: (i64, u32),
    /// Hours that ended.
    ended: Vec<(i64, u32)>,
}

impl Row {
    fn of(sender: &Sender) -> Row {
        Row {
            role: sender.role.name(),
            first_at: sender.first_at.as_micros(),
            last_at: sender.last_at.as_micros(),
            messages: sender.messages,
            usual_per_day: finite(sender.usual_per_day()),
            evidence_nats: finite(sender.evidence()),
            hour: sender.hour_under_way(),
            ended: Vec::new(),
        }
    }
}

impl Summaries {
    /// Notes how a sender stands now.
    pub fn put(&mut self, engine: &Engine, key: &SenderKey) {
        let Some(sender) = engine.sender(key) else { return };
        let mut row = Row::of(sender);
        if let Some(earlier) = self.rows.remove(key) {
            row.ended = earlier.ended;
        }
        self.rows.insert(key.clone(), row);
    }

    /// Adds hours that ended. Their senders were put before.
    pub fn add_hours(&mut self, hours: Vec<ClosedHour>) {
        for closed in hours {
            if let Some(row) = self.rows.get_mut(&closed.sender) {
                row.ended.push((closed.hour, closed.messages));
            }
        }
    }

    /// Drops what waits of a sender.
    pub fn forget(&mut self, id: &SenderId) {
        self.rows.retain(|key, _| key.id != *id);
    }

    /// Writes all of it.
    pub fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        self.rows.iter().try_for_each(|(key, row)| put(connection, key, row))
    }
}

fn put(connection: &Connection, key: &SenderKey, row: &Row) -> rusqlite::Result<()> {
    let blob = postcard::to_allocvec(key).unwrap_or_default();
    if !row.ended.is_empty() {
        put_hours(connection, &blob, &row.ended)?;
    }
    let name = SenderName::of(&key.id);
    connection
        .prepare_cached(
            "REPLACE INTO sender_summary VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            blob,
            vantage_name(key.vantage),
            name.kind,
            name.name,
            row.role,
            row.first_at,
            row.last_at,
            row.messages,
            row.usual_per_day,
            row.evidence_nats,
            row.hour.0,
            row.hour.1,
        ])?;
    Ok(())
}

/// Adds hours that ended to a sender's curve: once an hour, so the curve is not written with every commit.
fn put_hours(connection: &Connection, key: &[u8], ended: &[(i64, u32)]) -> rusqlite::Result<()> {
    let mut hours = read_hours(connection, key)?;
    for (hour, messages) in ended {
        hours.set(*hour, *messages);
    }
    connection
        .prepare_cached("REPLACE INTO sender_hours (key, hours) VALUES (?1, ?2)")?
        .execute(params![key, postcard::to_allocvec(&hours).unwrap_or_default()])?;
    Ok(())
}

/// The hours of a sender that ended.
pub fn read_hours(connection: &Connection, key: &[u8]) -> rusqlite::Result<Hours> {
    let hours = connection
        .prepare_cached("SELECT hours FROM sender_hours WHERE key = ?1")?
        .query_row([key], |row| Ok(postcard::from_bytes(row.get_ref(0)?.as_blob()?).ok()))
        .optional()?;
    Ok(hours.flatten().unwrap_or_default())
}

/// SQLite has no place for what is not a number.
fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}

/// Writes the rows of all senders anew from their states. A state of another form has none.
pub fn rebuild(connection: &Connection, key: &InstallKey) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT key, state FROM sender ORDER BY key")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name = row.get_ref(0)?.as_blob()?;
        let state = unsealed(key, name, row.get_ref(1)?.as_blob()?);
        let sender = state.and_then(Sender::from_blob);
        if let (Ok(sender_key), Some(sender)) = (postcard::from_bytes(name), sender) {
            put(connection, &sender_key, &Row::of(&sender))?;
        }
    }
    Ok(())
}

/// `wire` or `log`.
pub fn vantage_name(vantage: Vantage) -> &'static str {
    match vantage {
        Vantage::Wire => "wire",
        Vantage::Log => "log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_grows_up_to_its_bound_and_knows_its_gaps() {
        let mut hours = Hours::default();
        for (hour, messages) in [(100, 3), (100, 5), (103, 1), (101, 9), (99, 7)] {
            hours.set(hour, messages);
        }
        assert_eq!(hours, Hours { last: 103, messages: vec![5, 9, 0, 1] });
        hours.set(103 + HOURS_KEPT as i64 - 1, 4);
        assert_eq!((hours.messages.len(), hours.messages[0]), (HOURS_KEPT, 1));
        hours.set(i64::MAX, 2);
        assert_eq!((hours.messages.len(), hours.messages.iter().sum::<u32>()), (HOURS_KEPT, 2));
    }
}
