//! What the sensor knows about itself: whether it sees what it should see, and whether it is heard.
//!
//! *In*: [`Reading`]s, what every source and sink counted so far, about once a second. *Out*: [`Notice`]s, when
//! something begins or ends; [`Coverage`], which every verdict carries. *Bound*: one record a source and condition.
//! *Spec*: docs/operations.md, blindness. Pure: the time of each reading is data.
//!
//! A detector that sees nothing raises no alarm. So blindness is an alert of its own.

mod canary;
mod conditions;
mod tls;

pub use canary::Canary;
pub use tls::TlsHabit;

use crate::alert::{Alert, Severity};
use crate::engine::incident::Change;
use crate::time::Timestamp;
use conditions::{Condition, Found};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// An interface.
    Capture,
    /// A log.
    Log,
}

/// What one source counted since it was opened. What a kind of source cannot count stays 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceReading {
    /// Interface, or path of the log.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
    /// Packets or lines.
    pub taken: u64,
    /// Packets that the kernel dropped because we were too slow.
    pub dropped_by_kernel: u64,
    /// Packets that the interface or its driver dropped.
    pub dropped_by_interface: u64,
    /// Observations that found no room on the way to the judge.
    pub dropped_by_queue: u64,
    /// Observations that were judged before their turn, because another thread of the interface was behind.
    pub untimely: u64,
    /// Packets that are broken or of a kind that is not understood.
    pub undecodable: u64,
    /// Connections.
    pub flows: u64,
    /// Connections that ended and that showed content of both ends.
    pub flows_two_way: u64,
    /// Such that showed content of the client only.
    pub flows_originator_only: u64,
    /// Such that showed content of the server only.
    pub flows_responder_only: u64,
    /// SMTP sessions that ended.
    pub sessions: u64,
    /// Of these, such that went under TLS.
    pub sessions_hidden: u64,
    /// Bytes missing inside connections.
    pub gap_bytes: u64,
    /// Lines that were not understood.
    pub unparsed: u64,
    /// Times lines may have been lost.
    pub gaps: u64,
    /// Whether there was nothing more to read.
    pub caught_up: bool,
    /// How far the newest stamp lay behind the clock when it was read, seconds; negative where it lay ahead.
    pub behind_seconds: Option<f64>,
    /// Why it cannot be read at present.
    pub failed: Option<String>,
    /// Faults of portreeve itself that it got over.
    pub panics: u64,
}

impl SourceReading {
    /// A source that counted nothing yet.
    pub fn of(name: &str, kind: SourceKind) -> SourceReading {
        SourceReading {
            name: name.to_owned(),
            kind,
            taken: 0,
            dropped_by_kernel: 0,
            dropped_by_interface: 0,
            dropped_by_queue: 0,
            untimely: 0,
            undecodable: 0,
            flows: 0,
            flows_two_way: 0,
            flows_originator_only: 0,
            flows_responder_only: 0,
            sessions: 0,
            sessions_hidden: 0,
            gap_bytes: 0,
            unparsed: 0,
            gaps: 0,
            caught_up: false,
            behind_seconds: None,
            failed: None,
            panics: 0,
        }
    }

    /// The same source with what another thread counted of it: each sees its share of the packets, but all see what
    /// the interface lost.
    pub fn with_thread(mut self, other: &SourceReading) -> SourceReading {
        let add = |all: &mut u64, more: u64| *all = all.saturating_add(more);
        add(&mut self.taken, other.taken);
        add(&mut self.dropped_by_kernel, other.dropped_by_kernel);
        add(&mut self.dropped_by_queue, other.dropped_by_queue);
        add(&mut self.untimely, other.untimely);
        add(&mut self.undecodable, other.undecodable);
        add(&mut self.flows, other.flows);
        add(&mut self.flows_two_way, other.flows_two_way);
        add(&mut self.flows_originator_only, other.flows_originator_only);
        add(&mut self.flows_responder_only, other.flows_responder_only);
        add(&mut self.sessions, other.sessions);
        add(&mut self.sessions_hidden, other.sessions_hidden);
        add(&mut self.gap_bytes, other.gap_bytes);
        add(&mut self.panics, other.panics);
        self.dropped_by_interface = self.dropped_by_interface.max(other.dropped_by_interface);
        self.caught_up &= other.caught_up;
        self.failed = self.failed.or_else(|| other.failed.clone());
        self
    }

    /// Packets that were there and that we did not get.
    pub fn dropped(&self) -> u64 {
        self.dropped_by_kernel.saturating_add(self.dropped_by_interface)
    }
}

/// How a sink is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SinkReading {
    /// Its name.
    pub name: String,
    /// Alerts that wait for it.
    pub waiting: u64,
    /// Alerts that it took.
    pub delivered: u64,
    /// Alerts that were sent without a receipt.
    pub unconfirmed: u64,
    /// Alerts put aside, because it will never take them.
    pub dead: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// What the last failed attempt said; `None` once one succeeds.
    pub trouble: Option<String>,
}

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Reading {
    /// Sources.
    pub sources: Vec<SourceReading>,
    /// Sinks.
    pub sinks: Vec<SinkReading>,
    /// By how much the clock was set since the last reading, seconds; 0 where it just ran.
    pub clock_step_seconds: f64,
    /// Why state cannot be written at present.
    pub state_trouble: Option<String>,
}

/// Something about the sensor itself began or ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Stable name of the condition.
    pub code: &'static str,
    /// The source or sink it is about.
    pub about: String,
    /// When the condition began.
    pub began_at: Timestamp,
    /// When it was noticed, or ended.
    pub at: Timestamp,
    /// Whether it ends.
    pub ends: bool,
    /// One sentence.
    pub headline: String,
    /// What to do.
    pub next_step: &'static str,
}

impl Notice {
    /// The alert that says so. Its incident is known by what it is about and when it began.
    pub fn alert(&self) -> Alert {
        let key = format!("{}\n{}", self.about, self.began_at.as_micros());
        let mut alert = Alert::of_trouble(self.code, &key, self.at, &self.headline, self.next_step);
        alert.times.first = self.began_at.to_rfc3339();
        alert.times.opened = self.began_at.to_rfc3339();
        if self.ends {
            alert.change = Change::Closed;
            alert.incident.sequence = 1;
            alert.id = format!("{}-1", alert.incident.id);
            alert.next_steps.clear();
            alert.severity = Severity { name: "low".into(), score: 1 };
        }
        alert
    }
}

/// What could be seen lately: stands in every verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Coverage {
    /// Share of packets dropped in the last minutes, over all captures; `None` without a capture.
    pub frames_dropped_share: Option<f64>,
    /// How far the slowest log lay behind lately, seconds; `None` without a log that was written.
    pub log_lag_seconds: Option<f64>,
    /// Share of sessions that went under TLS in the last minutes; `None` where none ended.
    pub sessions_hidden_share: Option<f64>,
}

/// Alerts that left, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Incidents opened.
    pub opened: u64,
    /// Updates.
    pub updated: u64,
    /// Incidents closed.
    pub closed: u64,
    /// Alerts about the sensor itself.
    pub about_sensor: u64,
}

/// A condition that holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Holding {
    /// Stable name.
    pub code: &'static str,
    /// The source or sink.
    pub about: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// One sentence.
    pub says: String,
}

/// What is usual for one source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Habit {
    /// When it talks.
    #[serde(flatten)]
    pub canary: Canary,
    /// How much of it is under TLS.
    #[serde(default)]
    pub tls: TlsHabit,
}

/// The judge of the sensor itself.
pub struct Health {
    /// Readings of the last [`conditions::WINDOW_SECONDS`], oldest first, thinned to one in ten seconds.
    window: std::collections::VecDeque<(Timestamp, Reading)>,
    habits: BTreeMap<String, Habit>,
    open: BTreeMap<(&'static str, String), Open>,
    last_taken: BTreeMap<String, u64>,
    coverage: Coverage,
}

struct Open {
    began_at: Timestamp,
    last_found_at: Timestamp,
    told: bool,
    says: String,
    condition: &'static Condition,
}

/// The names of all conditions.
pub fn condition_codes() -> impl Iterator<Item = &'static str> {
    conditions::CONDITIONS.iter().map(|condition| condition.code)
}

/// Seconds between two readings of the window.
const WINDOW_STEP_SECONDS: f64 = 10.0;

impl Default for Health {
    fn default() -> Health {
        Health::new(BTreeMap::new())
    }
}

impl Health {
    /// Health with the habits that an earlier run learned.
    pub fn new(habits: BTreeMap<String, Habit>) -> Health {
        Health {
            window: Default::default(),
            habits,
            open: BTreeMap::new(),
            last_taken: BTreeMap::new(),
            coverage: Coverage::default(),
        }
    }

    /// Takes a reading and says what began and what ended.
    pub fn take(&mut self, at: Timestamp, reading: &Reading) -> Vec<Notice> {
        self.listen(at, reading);
        let step = self.window.back().is_none_or(|(last, _)| at.seconds_since(*last) >= WINDOW_STEP_SECONDS);
        let first = self.window.front().map_or_else(|| reading.clone(), |(_, first)| first.clone());
        self.coverage = conditions::coverage(&first, reading);
        let mut found = conditions::find(&first, reading, &self.habits);
        found.extend(self.silences(at, reading));
        if step {
            self.window.push_back((at, reading.clone()));
            let too_old =
                |(then, _): &(Timestamp, Reading)| at.seconds_since(*then) > conditions::WINDOW_SECONDS;
            while self.window.front().is_some_and(too_old) {
                self.window.pop_front();
            }
        }
        self.settle(at, found)
    }

    /// What could be seen lately.
    pub fn coverage(&self) -> Coverage {
        self.coverage
    }

    /// Conditions that hold and were told, in a stable order.
    pub fn holding(&self) -> Vec<Holding> {
        let told = self.open.iter().filter(|(_, open)| open.told);
        told.map(|((code, about), open)| Holding {
            code,
            about: about.clone(),
            since: open.began_at.to_rfc3339(),
            says: open.says.clone(),
        })
        .collect()
    }

    /// The habits learned, to be kept over a restart.
    pub fn habits(&self) -> &BTreeMap<String, Habit> {
        &self.habits
    }

    fn listen(&mut self, at: Timestamp, reading: &Reading) {
        for source in &reading.sources {
            let before = self.last_taken.insert(source.name.clone(), source.taken);
            let came = before.is_some_and(|before| source.taken > before);
            let habit = self.habits.entry(source.name.clone()).or_default();
            habit.canary.listen(at, came);
            habit.tls.listen(at, source.sessions, source.sessions_hidden);
        }
        let known = |name: &String| reading.sources.iter().any(|source| source.name == *name);
        self.last_taken.retain(|name, _| known(name));
    }

    /// Sources that are silent against their own habit.
    fn silences(&self, at: Timestamp, reading: &Reading) -> Vec<Found> {
        let sources = reading.sources.iter();
        let silence = |source: &SourceReading| {
            let canary = &self.habits.get(&source.name)?.canary;
            Some(conditions::silence(&source.name, canary.silent_since(at)?, at, canary.ever_talked()))
        };
        sources.filter_map(silence).collect()
    }

    /// Compares what is found now with what was open.
    fn settle(&mut self, at: Timestamp, found: Vec<Found>) -> Vec<Notice> {
        let mut notices = Vec::new();
        for Found { condition, about, says, since } in found {
            let open = self.open.entry((condition.code, about.clone())).or_insert_with(|| Open {
                began_at: since.unwrap_or(at),
                last_found_at: at,
                told: false,
                says: says.clone(),
                condition,
            });
            open.last_found_at = at;
            if !open.told {
                open.says = says;
            }
            if !open.told && at.seconds_since(open.began_at) >= condition.patience_seconds {
                open.told = true;
                notices.push(open.notice(&about, at, false));
            }
        }
        let over = |open: &Open| at.seconds_since(open.last_found_at) >= open.condition.calm_seconds;
        self.open.retain(|(_, about), open| {
            // What comes and goes and was never told is forgotten at once; what was told must stay away a while.
            let ends = open.last_found_at < at && (!open.told || over(open));
            if ends && open.told {
                notices.push(open.notice(about, at, true));
            }
            !ends
        });
        notices
    }
}

impl Open {
    fn notice(&self, about: &str, at: Timestamp, ends: bool) -> Notice {
        let headline = if ends {
            format!("{about}: {} It began {}.", self.condition.over, self.began_at.to_rfc3339())
        } else {
            self.says.clone()
        };
        Notice {
            code: self.condition.code,
            about: about.to_owned(),
            began_at: self.began_at,
            at,
            ends,
            headline,
            next_step: self.condition.next_step,
        }
    }
}

#[cfg(test)]
mod tests;
