//! How things stand: announced mailings, sinks, counters, how much mail there was.

use super::Reader;
use crate::observation::Vantage;
use crate::store::actions::{Action, ActionRow, rows};
use crate::store::error::StoreError;
use crate::store::tables;
use crate::store::volume::{SERIES, series_name};
use rusqlite::{OptionalExtension, params};
use serde::Serialize;
use std::collections::BTreeMap;

/// How an announced mailing stands at a moment of event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MailingState {
    /// The sensor has not taken note yet.
    Waiting,
    /// It has not begun.
    Announced,
    /// Now.
    Underway,
    /// Its end has passed.
    Over,
    /// It was called off.
    Cancelled,
}

/// A bulk mailing that an operator announced.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedMailing {
    /// Its number.
    pub number: i64,
    /// Who will send, as the operator wrote it.
    pub sender: String,
    /// Event time from which it holds, µs.
    pub from: i64,
    /// Event time at which it ends, µs.
    pub until: i64,
    /// Recipients expected at most.
    pub recipients_max: u64,
    /// What for.
    pub reason: String,
    /// Who announced it.
    pub by: String,
    /// How it stands.
    pub state: MailingState,
    /// What the sensor said to it.
    pub outcome: Option<String>,
}

/// How far a sink has come, as of the last commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SinkState {
    /// Its name.
    pub name: String,
    /// Alerts that wait for it.
    pub waiting: u64,
    /// Event time of the oldest alert that waits, µs.
    pub oldest_waiting_at: Option<i64>,
    /// Alerts that it will never take.
    pub dead_letters: u64,
    /// Why, of the last of them.
    pub last_reason: Option<String>,
}

/// How much mail there was in one hour on one road.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VolumePoint {
    /// Start of the hour, µs.
    pub at: i64,
    /// Deliveries with a verdict, or with none seen.
    pub deliveries: f64,
    /// Of these refused for good.
    pub refused: f64,
    /// Of these deferred.
    pub deferred: f64,
    /// Messages hidden by TLS, estimated.
    pub hidden: f64,
}

impl Reader {
    /// Announced mailings as they stand at a moment, newest first; at most 1,000.
    pub fn planned(&self, now: i64) -> Result<Vec<PlannedMailing>, StoreError> {
        self.read(|| {
            let announced = "WHERE kind = 'announce' ORDER BY seq DESC LIMIT 1000";
            let mut list = Vec::new();
            for row in rows(&self.connection, &self.key, announced, [])? {
                let cancelled = self
                    .connection
                    .prepare_cached("SELECT 1 FROM action WHERE mailing = ?1 LIMIT 1")?
                    .exists([row.number])?;
                list.extend(mailing(row, cancelled, now));
            }
            Ok(list)
        })
    }

    /// What operators asked for, newest first.
    pub fn actions(&self, limit: u32) -> Result<Vec<ActionRow>, StoreError> {
        self.read(|| rows(&self.connection, &self.key, "ORDER BY seq DESC LIMIT ?1", [limit]))
    }

    /// One action.
    pub fn action(&self, number: i64) -> Result<Option<ActionRow>, StoreError> {
        self.read(|| Ok(rows(&self.connection, &self.key, "WHERE seq = ?1", [number])?.pop()))
    }

    /// The sinks that the last run had.
    pub fn sinks(&self) -> Result<Vec<SinkState>, StoreError> {
        self.read(|| {
            let mut list = Vec::new();
            for sink in tables::sinks(&self.connection, &self.key)?.0 {
                let (waiting, oldest_waiting_at) = self.connection.query_row(
                    "SELECT COUNT(*), (SELECT event_at FROM alert WHERE seq > ?1 ORDER BY seq LIMIT 1)
                     FROM alert WHERE seq > ?1",
                    [sink.cursor],
                    |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)),
                )?;
                let dead_letters: i64 = self.connection.query_row(
                    "SELECT COUNT(*) FROM dead_letter WHERE sink = ?1",
                    [&sink.name],
                    |row| row.get(0),
                )?;
                let last_reason = self
                    .connection
                    .query_row(
                        "SELECT reason FROM dead_letter WHERE sink = ?1 ORDER BY seq DESC LIMIT 1",
                        [&sink.name],
                        |row| row.get(0),
                    )
                    .optional()?;
                list.push(SinkState {
                    name: sink.name,
                    waiting: waiting.max(0) as u64,
                    oldest_waiting_at,
                    dead_letters: dead_letters.max(0) as u64,
                    last_reason,
                });
            }
            Ok(list)
        })
    }

    /// Counters that outlive restarts, by name.
    pub fn counters(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        self.read(|| {
            self.connection
                .prepare_cached("SELECT name, value FROM counter")?
                .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.max(0) as u64)))?
                .collect()
        })
    }

    /// How much mail there was on a road, by the hour, from one moment up to, not including, another. Hours without
    /// mail have no point.
    pub fn volume(&self, road: Vantage, from: i64, until: i64) -> Result<Vec<VolumePoint>, StoreError> {
        self.read(|| {
            let mut points: BTreeMap<i64, VolumePoint> = BTreeMap::new();
            for (place, series) in SERIES.iter().enumerate() {
                let mut statement = self.connection.prepare_cached(
                    "SELECT at, value FROM history WHERE series = ?1 AND at >= ?2 AND at < ?3 ORDER BY at",
                )?;
                let mut rows = statement.query(params![series_name(road, series), from, until])?;
                while let Some(row) = rows.next()? {
                    let at = row.get(0)?;
                    let point =
                        points.entry(at).or_insert_with(|| VolumePoint { at, ..VolumePoint::default() });
                    let VolumePoint { deliveries, refused, deferred, hidden, .. } = point;
                    *[deliveries, refused, deferred, hidden][place] = row.get(1)?;
                }
            }
            Ok(points.into_values().collect())
        })
    }
}

fn mailing(row: ActionRow, cancelled: bool, now: i64) -> Option<PlannedMailing> {
    let Action::Announce { sender, from, until, recipients_max, reason } = row.action else { return None };
    let state = match row.obeyed_at {
        _ if cancelled => MailingState::Cancelled,
        _ if now >= until => MailingState::Over,
        None => MailingState::Waiting,
        Some(_) if now < from => MailingState::Announced,
        Some(_) => MailingState::Underway,
    };
    let ActionRow { number, by, outcome, .. } = row;
    Some(PlannedMailing { number, sender, from, until, recipients_max, reason, by, state, outcome })
}
