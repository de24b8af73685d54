//! Incidents: a list in columns, and one with all that was said of it.

use super::{Listed, PAGE_ROWS_MAX, Page, Reader, pattern};
use crate::alert::Alert;
use crate::store::actions::{Action, ActionRow, rows};
use crate::store::error::StoreError;
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;

/// Which incidents.
#[derive(Clone, Debug, Default)]
pub struct IncidentFilter {
    /// Only open (`true`) or closed (`false`) ones.
    pub open: Option<bool>,
    /// Only such that score at least this, 0 to 100.
    pub score_min: Option<u8>,
    /// Only those whose sender's name contains this.
    pub sender: Option<String>,
    /// Only reviewed (`true`) or not yet reviewed (`false`) ones.
    pub reviewed: Option<bool>,
    /// Only such that changed at or after this event time, µs.
    pub since: Option<i64>,
    /// Only such that changed before this event time, µs.
    pub until: Option<i64>,
}

/// What an operator said of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Review {
    /// It was what it said.
    Confirmed,
    /// It was a false alarm.
    Dismissed,
}

/// An incident as its last alert tells it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentSummary {
    /// Its id.
    pub id: String,
    /// `opened`, `updated` or `closed`.
    pub last_change: String,
    /// `address`, `account`, `block`, `host` or `sensor`.
    pub sender_kind: String,
    /// Who, printable.
    pub sender_name: String,
    /// Role of the sender.
    pub role: String,
    /// What was hijacked.
    pub kind: String,
    /// `low`, `medium`, `high` or `critical`.
    pub severity: String,
    /// 0 to 100.
    pub severity_score: u8,
    /// 0 to 1.
    pub confidence: f64,
    /// RFC 3339.
    pub opened_at: String,
    /// First delivery since nothing spoke for a hijack, RFC 3339.
    pub first_at: String,
    /// Last delivery that counted, RFC 3339.
    pub last_at: String,
    /// Deliveries since the change point.
    pub messages: u64,
    /// Recipients whose server took the message.
    pub recipients_accepted: u64,
    /// One sentence.
    pub headline: String,
    /// Alerts of it that are kept.
    pub alerts: u64,
    /// What an operator said last; `None` where nobody did.
    pub review: Option<Review>,
}

/// An incident with everything that is known of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentStory {
    /// As in the list.
    pub summary: IncidentSummary,
    /// Its alerts that are kept, oldest first.
    pub alerts: Vec<Alert>,
    /// What operators said, oldest first.
    pub reviews: Vec<ActionRow>,
    /// Whether its recipients are kept by name.
    pub names_recipients: bool,
}

const COLUMNS: &str =
    "id, last_change, sender_kind, sender_name, role, kind, severity, severity_score, confidence,
    opened_at, first_at, last_at, messages, recipients_accepted, headline, alerts,
    (SELECT kind FROM action WHERE action.incident = incident.id ORDER BY seq DESC LIMIT 1)";

const CONDITION: &str = "(?1 IS NULL OR (COALESCE(last_change, '') != 'closed') = ?1)
    AND (?2 IS NULL OR severity_score >= ?2)
    AND (?3 IS NULL OR sender_name LIKE ?3 ESCAPE '\\')
    AND (?4 IS NULL OR EXISTS (SELECT 1 FROM action WHERE action.incident = incident.id) = ?4)
    AND changed_at >= ?5 AND changed_at < ?6";

impl Reader {
    /// Incidents, the one that changed last first.
    pub fn incidents(
        &self,
        filter: &IncidentFilter,
        page: Page,
    ) -> Result<Listed<IncidentSummary>, StoreError> {
        let IncidentFilter { open, score_min, reviewed, .. } = filter;
        let sender = pattern(filter.sender.as_deref());
        let (since, until) = (filter.since.unwrap_or(i64::MIN), filter.until.unwrap_or(i64::MAX));
        self.read(|| {
            let count = format!("SELECT COUNT(*) FROM incident WHERE {CONDITION}");
            let total: i64 = self
                .connection
                .prepare_cached(&count)?
                .query_row(params![open, score_min, sender, reviewed, since, until], |row| row.get(0))?;
            let list = format!(
                "SELECT {COLUMNS} FROM incident WHERE {CONDITION}
                 ORDER BY changed_at DESC, id LIMIT ?7 OFFSET ?8"
            );
            let limit = page.limit.min(PAGE_ROWS_MAX);
            let rows = self
                .connection
                .prepare_cached(&list)?
                .query_map(
                    params![open, score_min, sender, reviewed, since, until, limit, page.offset],
                    summary,
                )?
                .collect::<rusqlite::Result<_>>()?;
            Ok(Listed { total: total.max(0) as u64, rows })
        })
    }

    /// One incident; `None` where no alert of it is kept.
    pub fn incident(&self, id: &str) -> Result<Option<IncidentStory>, StoreError> {
        self.read(|| {
            let one = format!("SELECT {COLUMNS} FROM incident WHERE id = ?1");
            let found = self.connection.prepare_cached(&one)?.query_row([id], summary).optional()?;
            let Some(summary) = found else { return Ok(None) };
            let alerts = self
                .connection
                .prepare_cached("SELECT record FROM alert WHERE incident = ?1 ORDER BY seq")?
                .query_map([id], |row| Ok(serde_json::from_str(row.get_ref(0)?.as_str()?).ok()))?
                .filter_map(Result::transpose)
                .collect::<rusqlite::Result<_>>()?;
            let reviews = rows(&self.connection, &self.key, "WHERE incident = ?1 ORDER BY seq", [id])?;
            let names_recipients = self
                .connection
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM recipient WHERE incident = ?1)")?
                .query_row([id], |row| row.get(0))?;
            Ok(Some(IncidentStory { summary, alerts, reviews, names_recipients }))
        })
    }
}

impl Review {
    /// The review that an action is.
    pub fn of(action: &Action) -> Option<Review> {
        match action {
            Action::Confirm { .. } => Some(Review::Confirmed),
            Action::Dismiss { .. } => Some(Review::Dismissed),
            _ => None,
        }
    }
}

fn summary(row: &Row) -> rusqlite::Result<IncidentSummary> {
    let text = |place: usize| row.get::<_, Option<String>>(place).map(Option::unwrap_or_default);
    let number = |place: usize| row.get::<_, Option<i64>>(place).map(|n| n.unwrap_or(0).max(0) as u64);
    Ok(IncidentSummary {
        id: text(0)?,
        last_change: text(1)?,
        sender_kind: text(2)?,
        sender_name: text(3)?,
        role: text(4)?,
        kind: text(5)?,
        severity: text(6)?,
        severity_score: number(7)?.min(100) as u8,
        confidence: row.get::<_, Option<f64>>(8)?.unwrap_or(0.0),
        opened_at: text(9)?,
        first_at: text(10)?,
        last_at: text(11)?,
        messages: number(12)?,
        recipients_accepted: number(13)?,
        headline: text(14)?,
        alerts: number(15)?,
        review: match row.get::<_, Option<String>>(16)?.as_deref() {
            Some("confirm") => Some(Review::Confirmed),
            Some("dismiss") => Some(Review::Dismissed),
            _ => None,
        },
    })
}
