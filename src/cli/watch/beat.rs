//! Once a second: health is looked at, what begins or ends is told, and systemd hears that we live.
//!
//! *In*: the board, the sinks. *Out*: alerts about the sensor itself; [`Vitals`] for metrics; notes to systemd.
//! *Bound*: one reading at a time. *Spec*: sd_notify(3).

use super::board::Board;
use super::wall_clock;
use crate::cli::judge::Judge;
use crate::health::{Habit, Health, Reading, SinkReading, SourceKind};
use crate::sandbox::State;
use crate::time::Timestamp;
use crate::web::metrics::{Published, Vitals};
use sd_notify::NotifyState;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Name of the learned habits of sources in the state.
const RHYTHM_NOTE: &str = "rhythms";
/// How often they are kept.
const RHYTHMS_KEPT_EVERY: Duration = Duration::from_secs(60);

/// What beats.
pub struct Beat {
    health: Health,
    /// Clock and stopwatch of the last beat: what they disagree by is a set clock.
    last: Option<(Timestamp, Instant)>,
    rhythms_kept: Instant,
    /// What systemd was told last.
    status_told: String,
    watchdog: bool,
    sandbox: State,
    started_at: Timestamp,
    last_reload_taken_over: bool,
    published: Published,
}

impl Beat {
    /// Health with the habits that the state knows.
    pub fn new(judge: &Judge, sandbox: State) -> Beat {
        let kept = judge.note(RHYTHM_NOTE).unwrap_or_default();
        let habits: BTreeMap<String, Habit> = serde_json::from_slice(&kept).unwrap_or_default();
        Beat {
            health: Health::new(habits),
            last: None,
            rhythms_kept: Instant::now(),
            status_told: String::new(),
            watchdog: sd_notify::watchdog_enabled().is_some(),
            sandbox,
            started_at: wall_clock(),
            last_reload_taken_over: true,
            published: Published::default(),
        }
    }

    /// Looks at everything; whether something was told that waits for a commit.
    pub fn tick(&mut self, judge: &mut Judge, board: &Board, blocked: Option<&str>) -> bool {
        let at = wall_clock();
        let reading = Reading {
            sources: board.read(),
            sinks: sinks(judge),
            clock_step_seconds: self.clock_step(at),
            state_trouble: blocked.map(str::to_owned),
        };
        let notices = self.health.take(at, &reading);
        judge.set_coverage(self.health.coverage());
        for notice in &notices {
            if notice.ends {
                tracing::info!("{}", notice.headline);
            } else {
                tracing::warn!("{} {}", notice.headline, notice.next_step);
            }
            judge.tell(notice.alert());
        }
        let keep = self.rhythms_kept.elapsed() >= RHYTHMS_KEPT_EVERY;
        if keep {
            self.rhythms_kept = Instant::now();
            let habits = serde_json::to_vec(self.health.habits()).unwrap_or_default();
            judge.keep_notes(vec![(RHYTHM_NOTE.to_owned(), habits)]);
        }
        self.tell_systemd(&reading);
        self.publish(at, reading, judge);
        keep || !notices.is_empty()
    }

    /// Notes how the last reload went.
    pub fn reloaded(&mut self, taken_over: bool) {
        self.last_reload_taken_over = taken_over;
    }

    /// What the process gave up.
    pub fn sandbox(&self) -> &State {
        &self.sandbox
    }

    /// Where the vitals of the last beat stand.
    pub fn published(&self) -> Published {
        self.published.clone()
    }

    fn publish(&self, at: Timestamp, reading: Reading, judge: &Judge) {
        self.published.put(Vitals {
            at,
            started_at: self.started_at,
            reading,
            coverage: self.health.coverage(),
            holding: self.health.holding(),
            engine: judge.engine().counters(),
            senders: judge.engine().sender_count() as u64,
            incidents_open: judge.engine().open_incidents().count() as u64,
            event_at: Some(judge.engine().now()).filter(|at| at.as_micros() > 0),
            alerts: judge.tally(),
            last_reload_taken_over: self.last_reload_taken_over,
            sandbox: self.sandbox.clone(),
        });
    }

    fn clock_step(&mut self, at: Timestamp) -> f64 {
        let now = Instant::now();
        let last = self.last.replace((at, now));
        last.map_or(0.0, |(then, watch)| at.seconds_since(then) - (now - watch).as_secs_f64())
    }

    fn tell_systemd(&mut self, reading: &Reading) {
        if self.watchdog {
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
        let count = |kind| reading.sources.iter().filter(move |source| source.kind == kind).count();
        let holding = self.health.holding();
        let trouble = holding.first().map_or("all is well", |first| first.says.as_str());
        let status =
            format!("{} interfaces, {} logs; {trouble}", count(SourceKind::Capture), count(SourceKind::Log));
        if status != self.status_told {
            let _ = sd_notify::notify(&[NotifyState::Status(&status)]);
            self.status_told = status;
        }
    }
}

fn sinks(judge: &Judge) -> Vec<SinkReading> {
    let statuses = judge.sink_statuses();
    statuses
        .into_iter()
        .map(|status| SinkReading {
            waiting: judge.waiting_behind(status.cursor),
            name: status.name,
            delivered: status.delivered,
            unconfirmed: status.unconfirmed,
            dead: status.dead,
            failures: status.failures,
            trouble: status.trouble,
        })
        .collect()
}

/// Tells systemd that we watch.
pub fn ready() {
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}

/// Tells systemd that we read our configuration.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
    }
}

/// Tells systemd that we drain.
pub fn stopping() {
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
}
