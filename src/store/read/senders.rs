//! Senders: a list in columns, and one with everything that was learned about it, in named numbers.

use super::{Listed, PAGE_ROWS_MAX, Page, Reader, pattern};
use crate::company::Role;
use crate::engine::baseline::hour_messages_max;
use crate::engine::detector::Expected;
use crate::engine::model::Model;
use crate::engine::sender::{Sender, SenderId, SenderKey};
use crate::observation::Vantage;
use crate::store::domains::{self, DomainShare};
use crate::store::error::StoreError;
use crate::store::summary::{Hours, read_hours};
use crate::store::tables;
use crate::time::PROFILE_BINS;
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;

/// Which senders.
#[derive(Clone, Debug, Default)]
pub struct SenderFilter {
    /// Only those whose name contains this.
    pub name: Option<String>,
    /// Only of this kind: `address`, `account`, `block` or `host`.
    pub kind: Option<String>,
    /// Only of this role.
    pub role: Option<Role>,
    /// Only as seen from this road.
    pub vantage: Option<Vantage>,
}

/// In which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SenderOrder {
    /// The one that sent last first.
    #[default]
    LastAt,
    /// By name.
    Name,
    /// The one with most messages first.
    Messages,
    /// The one that usually sends most first.
    UsualPerDay,
    /// The one under most suspicion first.
    Evidence,
}

impl SenderOrder {
    /// All orders by name.
    pub const NAMES: &[(&str, SenderOrder)] = &[
        ("last", SenderOrder::LastAt),
        ("name", SenderOrder::Name),
        ("messages", SenderOrder::Messages),
        ("usual", SenderOrder::UsualPerDay),
        ("evidence", SenderOrder::Evidence),
    ];

    fn columns(self) -> &'static str {
        match self {
            SenderOrder::LastAt => "last_at DESC",
            SenderOrder::Name => "name",
            SenderOrder::Messages => "messages DESC",
            SenderOrder::UsualPerDay => "usual_per_day DESC",
            SenderOrder::Evidence => "evidence_nats DESC",
        }
    }
}

/// A sender in columns, as of its last delivery.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SenderSummary {
    /// The road: `wire` or `log`.
    pub vantage: String,
    /// `address`, `account`, `block` or `host`.
    pub kind: String,
    /// Its name, printable.
    pub name: String,
    /// Its role.
    pub role: String,
    /// First delivery ever, µs.
    pub first_at: i64,
    /// Last delivery, µs.
    pub last_at: i64,
    /// Deliveries ever.
    pub messages: u64,
    /// Usual messages a day.
    pub usual_per_day: f64,
    /// Greatest evidence for a hijack at the last delivery, nats.
    pub evidence_nats: f64,
    /// Messages by the hour up to the last hour with mail, for a sparkline.
    pub hours: Hours,
}

/// What is expected of one hour of the week.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HourRate {
    /// Whether the hour is one of a weekend's day.
    pub weekend: bool,
    /// Hour of the civil day, 0 to 23.
    pub hour: u8,
    /// Messages expected in it.
    pub messages: f64,
    /// Most messages that are normal in it.
    pub messages_max: f64,
}

/// How probable each mark is on a delivery of this sender.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MarkProbabilities {
    /// A recipient that the company never wrote to before.
    pub new_recipient: f64,
    /// The receiver accepted.
    pub accepted: f64,
    /// No such recipient.
    pub no_such_recipient: f64,
    /// Refused by blocklist or policy.
    pub refused_by_policy: f64,
    /// Deferred.
    pub deferred: f64,
    /// A reverse-path of a domain that the sender is known for.
    pub own_reverse_path: f64,
    /// A reverse-path of another domain.
    pub unknown_reverse_path: f64,
    /// The null reverse-path.
    pub null_reverse_path: f64,
    /// A machine never seen for this sender.
    pub foreign_machine: f64,
}

/// Everything that was learned about a sender from one road.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SenderProfile {
    /// As in the list.
    pub summary: SenderSummary,
    /// What is expected of each hour of a weekday, then of a day of the weekend.
    pub week: Vec<HourRate>,
    /// Expected of the hour of its last delivery, messages.
    pub expected_now: f64,
    /// Most messages that are normal in that hour.
    pub usual_max_now: f64,
    /// Messages in that hour.
    pub messages_now: f64,
    /// Marks.
    pub marks: MarkProbabilities,
    /// Domains of its recipients, the heaviest first; what is missing to 1 are others. A message counts half after
    /// 28 days.
    pub recipient_domains: Vec<DomainShare>,
    /// Whether something speaks for a hijack now.
    pub under_suspicion: bool,
    /// Since when it has a role that nobody declared; `None` where it was declared, or is not known yet.
    pub learned_role: Option<RoleSince>,
}

/// When a role was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RoleSince {
    /// Since when, µs.
    pub since: i64,
    /// What the sender was taken for before.
    pub before: &'static str,
}

const COLUMNS: &str =
    "vantage, kind, name, role, first_at, last_at, messages, usual_per_day, evidence_nats, key,
    hour, hour_messages";

const CONDITION: &str = "(?1 IS NULL OR name LIKE ?1 ESCAPE '\\') AND (?2 IS NULL OR kind = ?2)
    AND (?3 IS NULL OR role = ?3) AND (?4 IS NULL OR vantage = ?4)";

impl Reader {
    /// Senders of a filter in an order.
    pub fn senders(
        &self,
        filter: &SenderFilter,
        order: SenderOrder,
        page: Page,
    ) -> Result<Listed<SenderSummary>, StoreError> {
        let (name, kind) = (pattern(filter.name.as_deref()), &filter.kind);
        let role = filter.role.map(Role::name);
        let vantage = filter.vantage.map(crate::store::summary::vantage_name);
        self.read(|| {
            let count = format!("SELECT COUNT(*) FROM sender_summary WHERE {CONDITION}");
            let total: i64 = self
                .connection
                .prepare_cached(&count)?
                .query_row(params![name, kind, role, vantage], |row| row.get(0))?;
            // The page is found by its keys first: to sort whole rows, curves and all, would cost more.
            let list = format!(
                "SELECT {COLUMNS} FROM (
                     SELECT key AS wanted, row_number() OVER () AS place FROM (
                         SELECT key FROM sender_summary WHERE {CONDITION}
                         ORDER BY {}, key LIMIT ?5 OFFSET ?6))
                 JOIN sender_summary ON key = wanted ORDER BY place",
                order.columns()
            );
            let limit = page.limit.min(PAGE_ROWS_MAX);
            let rows = self
                .connection
                .prepare_cached(&list)?
                .query_map(params![name, kind, role, vantage, limit, page.offset], |row| self.summary(row))?
                .collect::<rusqlite::Result<_>>()?;
            Ok(Listed { total: total.max(0) as u64, rows })
        })
    }

    /// What was learned about a sender, a profile for each road that saw it.
    pub fn sender(&self, id: &SenderId) -> Result<Vec<SenderProfile>, StoreError> {
        let model = Model::shipped().map_err(|error| StoreError::Refused(error.to_string()))?;
        let mut profiles = Vec::new();
        for vantage in [Vantage::Wire, Vantage::Log] {
            let name = postcard::to_allocvec(&SenderKey { vantage, id: id.clone() }).unwrap_or_default();
            profiles.extend(self.read(|| self.profile(&model, &name))?);
        }
        Ok(profiles)
    }

    fn profile(&self, model: &Model, name: &[u8]) -> rusqlite::Result<Option<SenderProfile>> {
        let state: Option<Vec<u8>> = self
            .connection
            .prepare_cached("SELECT state FROM sender WHERE key = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()?;
        let state = state.as_deref().and_then(|state| tables::unsealed(&self.key, name, state));
        let Some(sender) = state.and_then(Sender::from_blob) else {
            return Ok(None);
        };
        let one = format!("SELECT {COLUMNS} FROM sender_summary WHERE key = ?1");
        let Some(summary) =
            self.connection.prepare_cached(&one)?.query_row([name], |row| self.summary(row)).optional()?
        else {
            return Ok(None);
        };
        let (expected, (messages_now, usual_max_now)) = (sender.expected(model), sender.hour(model));
        let (law, verdict, path) = (expected.law, expected.law.verdict, expected.law.reverse_path);
        Ok(Some(SenderProfile {
            summary,
            week: week(&sender, model),
            expected_now: expected.rate,
            usual_max_now,
            messages_now,
            marks: MarkProbabilities {
                new_recipient: law.novel,
                accepted: verdict[0],
                no_such_recipient: verdict[1],
                refused_by_policy: verdict[2],
                deferred: verdict[3],
                own_reverse_path: path[0],
                unknown_reverse_path: path[1],
                null_reverse_path: path[2],
                foreign_machine: law.foreign,
            },
            recipient_domains: domains::read(&self.connection, &self.key, name)?
                .map(|mix| mix.shares())
                .unwrap_or_default(),
            under_suspicion: sender.episode().is_some(),
            learned_role: sender
                .learned_role
                .as_deref()
                .map(|learned| RoleSince { since: learned.since.as_micros(), before: learned.before.name() }),
        }))
    }

    fn summary(&self, row: &Row) -> rusqlite::Result<SenderSummary> {
        let mut hours = read_hours(&self.connection, row.get_ref(9)?.as_blob()?)?;
        let (hour, messages): (i64, u32) = (row.get(10)?, row.get(11)?);
        if messages > 0 {
            hours.set(hour, messages);
        }
        Ok(SenderSummary {
            vantage: row.get(0)?,
            kind: row.get(1)?,
            name: row.get(2)?,
            role: row.get(3)?,
            first_at: row.get(4)?,
            last_at: row.get(5)?,
            messages: row.get::<_, i64>(6)?.max(0) as u64,
            usual_per_day: row.get(7)?,
            evidence_nats: row.get(8)?,
            hours,
        })
    }
}

fn week(sender: &Sender, model: &Model) -> Vec<HourRate> {
    let rate = |(bin, messages): (usize, &f64)| HourRate {
        weekend: bin >= PROFILE_BINS / 2,
        hour: (bin % (PROFILE_BINS / 2)) as u8,
        messages: *messages,
        messages_max: messages_max(sender.expected(model), *messages),
    };
    sender.week(model).iter().enumerate().map(rate).collect()
}

fn messages_max(mut expected: Expected, rate: f64) -> f64 {
    expected.rate = rate;
    hour_messages_max(&expected)
}
