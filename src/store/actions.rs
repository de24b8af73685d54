//! What operators tell a running sensor: rows that any process may write, and that the sensor obeys at its next
//! commit.
//!
//! *In*: an [`Action`], who and when. *Out*: rows of the table `action`; for the sensor those not obeyed yet.
//! *Bound*: [`TEXT_BYTES_MAX`] of a text, [`OBEYED_AT_ONCE`] rows a commit. *Spec*: docs/operations.md, actions.
//!
//! The engine is not shared. An action takes effect in one transaction with the state that it changed and the mark
//! that it was obeyed: after a crash it is obeyed exactly once.

use super::error::StoreError;
use super::transfer::{sender_named, sender_of};
use super::{Store, tables};
use crate::alert::Alert;
use crate::engine::Engine;
use crate::engine::feedback::{Feedback, FeedbackVerdict};
use crate::engine::incident::IncidentChange;
use crate::engine::memory::InstallKey;
use crate::engine::planned::Planned;
use crate::engine::sender::SenderId;
use crate::time::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Longest text of an action, bytes.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// Actions obeyed in one commit; more wait for the next one.
pub const OBEYED_AT_ONCE: usize = 100;

/// What an operator wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// An incident was what it said.
    Confirm {
        /// Its id, 16 hexadecimal digits.
        incident: String,
        /// Why, in the operator's words.
        reason: String,
    },
    /// An incident was a false alarm.
    Dismiss {
        /// Its id, 16 hexadecimal digits.
        incident: String,
        /// Why, in the operator's words.
        reason: String,
    },
    /// A bulk mailing will come and is no hijack.
    Announce {
        /// Who will send, as people write it: see [`super::transfer::sender_named`].
        sender: String,
        /// Event time from which it holds, µs.
        from: i64,
        /// Event time at which it ends, µs.
        until: i64,
        /// Recipients that are expected at most; more is no longer the mailing that was announced.
        recipients_max: u64,
        /// What for, in the operator's words.
        reason: String,
    },
    /// An announced mailing will not come.
    Cancel {
        /// The number of the action that announced it.
        mailing: i64,
    },
    /// What was learned about a sender is to be forgotten.
    Forget {
        /// Who, as people write it.
        sender: String,
    },
}

/// An action that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActionRow {
    /// Its number; later ones are greater.
    pub number: i64,
    /// When it was asked for, µs of the clock on the wall.
    pub at: i64,
    /// Who asked.
    pub by: String,
    /// What for.
    #[serde(flatten)]
    pub action: Action,
    /// When the sensor obeyed, µs of event time; `None` while it has not.
    pub obeyed_at: Option<i64>,
    /// What the sensor said to it.
    pub outcome: Option<String>,
}

/// What the sensor did about one action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obeyed {
    /// The action's number.
    pub number: i64,
    /// Event time, µs.
    pub at: i64,
    /// What came of it, for people.
    pub outcome: String,
}

/// The hand that writes actions: a connection of its own, for another process or thread than the sensor's.
pub struct Control {
    connection: Connection,
    path: PathBuf,
    key: InstallKey,
}

impl Control {
    /// Opens the state of a directory that a [`Store`] has opened before.
    pub fn open(directory: &Path) -> Result<Control, StoreError> {
        let (path, key) = super::existing(directory)?;
        let connection =
            tables::connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(StoreError::database(&path))?;
        tables::of_this_version(&connection, &path)?;
        Ok(Control { connection, path, key })
    }

    /// Asks the sensor for something; gives the number of the request.
    pub fn ask(&mut self, action: &Action, by: &str, at: Timestamp) -> Result<i64, StoreError> {
        let refuse = |text: String| Err(StoreError::Refused(text));
        let texts: &[&str] = match action {
            Action::Confirm { incident, reason } | Action::Dismiss { incident, reason } => {
                if !self.knows_incident(incident)? {
                    return refuse(format!("incident {incident:?} is not known: see `portreeve incidents`"));
                }
                &[incident, reason]
            }
            Action::Announce { sender, from, until, recipients_max, reason } => {
                if until <= from || *recipients_max == 0 {
                    return refuse("a mailing needs an end after its beginning, and recipients".into());
                }
                &[sender, reason]
            }
            Action::Cancel { mailing } => {
                if !self.knows_mailing(*mailing)? {
                    return refuse(format!(
                        "no announced mailing has number {mailing}: see `portreeve plan list`"
                    ));
                }
                &[]
            }
            Action::Forget { sender } => &[sender],
        };
        if texts.iter().chain([&by]).any(|text| text.len() > TEXT_BYTES_MAX) {
            return refuse(format!("a text is longer than {TEXT_BYTES_MAX} bytes: say it shorter"));
        }
        let what = serde_json::to_string(action).map_err(|error| StoreError::Refused(error.to_string()))?;
        let seal = seal(&self.key, at.as_micros(), by, &what);
        self.connection
            .execute(
                "INSERT INTO action (at, who, what, seal) VALUES (?1, ?2, ?3, ?4)",
                params![at.as_micros(), by, what, seal],
            )
            .map_err(StoreError::database(&self.path))?;
        Ok(self.connection.last_insert_rowid())
    }

    fn knows_incident(&self, id: &str) -> Result<bool, StoreError> {
        self.exists("SELECT EXISTS (SELECT 1 FROM incident WHERE id = ?1)", params![id])
    }

    fn knows_mailing(&self, number: i64) -> Result<bool, StoreError> {
        self.exists(
            "SELECT EXISTS (SELECT 1 FROM action WHERE seq = ?1 AND kind = 'announce')
                AND NOT EXISTS (SELECT 1 FROM action WHERE mailing = ?1)",
            params![number],
        )
    }

    fn exists(&self, question: &str, parameters: impl rusqlite::Params) -> Result<bool, StoreError> {
        self.connection
            .query_row(question, parameters, |row| row.get(0))
            .map_err(StoreError::database(&self.path))
    }
}

impl Store {
    /// Actions that were not obeyed yet, oldest first. To be told back in [`super::Moment::obeyed`].
    pub fn actions_waiting(&self) -> Result<Vec<ActionRow>, StoreError> {
        // What a failed commit could not mark was obeyed all the same.
        let last = self.unsaved.obeyed.iter().map(|obeyed| obeyed.number).max().unwrap_or(0);
        let list = rows(
            &self.connection,
            &self.key,
            "WHERE obeyed_at IS NULL AND seq > ?1 ORDER BY seq LIMIT ?2",
            params![last, OBEYED_AT_ONCE as i64],
        );
        list.map_err(StoreError::database(&self.path))
    }

    /// The last alert of an incident that is kept.
    fn last_alert(&self, incident: &str) -> Result<Option<Alert>, StoreError> {
        let record: Option<String> = self
            .connection
            .query_row(
                "SELECT record FROM alert WHERE incident = ?1 ORDER BY seq DESC LIMIT 1",
                [incident],
                |row| row.get(0),
            )
            .optional()
            .map_err(StoreError::database(&self.path))?;
        Ok(record.and_then(|record| serde_json::from_str(&record).ok()))
    }

    /// The mailing that an action announced.
    fn announced(&self, number: i64) -> Result<Option<Planned>, StoreError> {
        let found = rows(&self.connection, &self.key, "WHERE seq = ?1", [number]);
        let found = found.map_err(StoreError::database(&self.path))?;
        Ok(found.first().and_then(|row| planned(&row.action)))
    }
}

/// Lets one action take effect in the engine. Gives what came of it, for people; what changed and which senders'
/// states are to go are pushed.
pub fn obey(
    engine: &mut Engine,
    store: &Store,
    row: &ActionRow,
    changes: &mut Vec<IncidentChange>,
    forgotten: &mut Vec<SenderId>,
) -> Result<String, StoreError> {
    let outcome = match &row.action {
        Action::Confirm { incident, .. } => {
            review(engine, store, incident, FeedbackVerdict::Confirmed, changes)?
        }
        Action::Dismiss { incident, .. } => {
            review(engine, store, incident, FeedbackVerdict::Dismissed, changes)?
        }
        Action::Announce { .. } => match planned(&row.action).map(|planned| engine.plan(planned)) {
            Some(Err(error)) => return Ok(error.to_string()),
            _ => "planned",
        },
        Action::Cancel { mailing } => match store.announced(*mailing)? {
            Some(planned) if engine.withdraw_plan(&planned.sender, planned.from) => "taken back",
            _ => "there was nothing to take back: it has ended, or was taken back before",
        },
        Action::Forget { sender } => {
            let id = sender_named(sender);
            let known = engine.forget(&id);
            forgotten.push(id);
            if known { "forgotten" } else { "nothing was known of it" }
        }
    };
    Ok(outcome.into())
}

fn review(
    engine: &mut Engine,
    store: &Store,
    incident: &str,
    verdict: FeedbackVerdict,
    changes: &mut Vec<IncidentChange>,
) -> Result<&'static str, StoreError> {
    let number = u64::from_str_radix(incident, 16).ok();
    let open = engine.open_incidents().find(|open| Some(open.id) == number);
    let told = open.map(|open| (open.sender.clone(), open.template.clone()));
    let told = match told {
        Some(told) => Some(told),
        None => store.last_alert(incident)?.and_then(|alert| {
            Some((sender_of(&alert.sender.kind, &alert.sender.name)?, alert.test.template))
        }),
    };
    let (Some(incident), Some((sender, template))) = (number, told) else {
        return Ok("noted; it is about the sensor itself, so nothing is learned from it");
    };
    let feedback = Feedback { incident, sender, template, verdict, at: engine.now() };
    let changed = engine.feedback(&feedback, changes);
    Ok(if changed { "learned from" } else { "known already" })
}

fn planned(action: &Action) -> Option<Planned> {
    let Action::Announce { sender, from, until, recipients_max, .. } = action else { return None };
    let (from, until) = (Timestamp::from_micros(*from), Timestamp::from_micros(*until));
    Some(Planned { sender: sender_named(sender), from, until, recipients_max: *recipients_max })
}

/// Marks an action as obeyed.
pub(super) fn put_obeyed(connection: &Connection, obeyed: &Obeyed) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE action SET obeyed_at = ?2, outcome = ?3 WHERE seq = ?1")?
        .execute(params![obeyed.number, obeyed.at, obeyed.outcome])?;
    Ok(())
}

/// Actions of a condition. One whose seal is broken, or that this version does not know, is left out.
pub(super) fn rows(
    connection: &Connection,
    key: &InstallKey,
    condition: &str,
    parameters: impl rusqlite::Params,
) -> rusqlite::Result<Vec<ActionRow>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT seq, at, who, what, seal, obeyed_at, outcome FROM action {condition}"
    ))?;
    let mut rows = statement.query(parameters)?;
    let mut list = Vec::new();
    while let Some(row) = rows.next()? {
        let (at, by, what): (i64, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let whole = row.get::<_, i64>(4)? == seal(key, at, &by, &what);
        let Some(action) = serde_json::from_str(&what).ok().filter(|_| whole) else { continue };
        let (obeyed_at, outcome) = (row.get(5)?, row.get(6)?);
        list.push(ActionRow { number: row.get(0)?, at, by, action, obeyed_at, outcome });
    }
    Ok(list)
}

fn seal(key: &InstallKey, at: i64, by: &str, what: &str) -> i64 {
    tables::seal(key, &[b"action", &at.to_le_bytes(), by.as_bytes(), what.as_bytes()])
}
