//! From observations to alerts that have left: engine, state and sinks in one place, for `replay` and `watch`.
//!
//! *In*: observations in event time. *Out*: alerts in every sink. *Bound*: alerts of one commit. *Spec*:
//! docs/architecture.md, state: what changed and the alerts it caused are committed together, and only then
//! do the alerts leave, each sink from the outbox behind a cursor of its own.

use super::coverage;
use super::failure::Failure;
use crate::alert::budget::{Budget, Rate};
use crate::alert::{Alert, Format, SenderName, SensorRef, format, format_names};
use crate::company::{Company, Role};
use crate::config::Config;
use crate::engine::incident::{Change, IncidentChange};
use crate::engine::memory::InstallKey;
use crate::engine::model::Model;
use crate::engine::roles::RoleChange;
use crate::engine::sender::{SenderId, SenderKey};
use crate::engine::{Engine, EngineCounters};
use crate::health::{Coverage, Tally};
use crate::join::order::Order;
use crate::join::{self, Join, JoinCounters};
use crate::observation::{Fact, Observation, Vantage};
use crate::sink::delivery::{Delivery, Patience, SinkStatus};
use crate::sink::{Sink, SinkConfig, open_all};
use crate::store::actions::{self, Obeyed};
use crate::store::keep::Retention;
use crate::store::volume::Volume;
use crate::store::{AlertRow, Moment, Store};
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Key of runs that keep no state: the same input then always gives the same alerts.
pub const STATELESS_KEY: InstallKey = InstallKey(*b"portreeve replay");

/// Name of the alert budget in the state.
const BUDGET_NOTE: &str = "alert-budget";
/// Name of what waits for its turn in event time.
const ORDER_NOTE: &str = "order";

/// Where alerts go from here.
enum Outlet {
    /// Straight to writers, for a run that keeps no state.
    Writers(Vec<(String, Sink)>),
    /// Through the outbox of the state.
    Outbox(Delivery),
}

/// Engine, state and sinks.
pub struct Judge {
    engine: Engine,
    order: Order,
    join: Join,
    reconciled: Vec<Observation>,
    store: Option<Store>,
    outlet: Outlet,
    sensor: Option<SensorRef>,
    /// Whether alerts leave; `false` while a clean history is learned.
    speaks: bool,
    rate: Rate,
    budget: Budget,
    changes: Vec<IncidentChange>,
    waiting: Vec<Alert>,
    alerts: Vec<Alert>,
    /// How many of the alerts that left are kept for reports.
    alerts_kept_max: usize,
    tally: Tally,
    /// What could be seen lately, where it is measured.
    coverage: Coverage,
    volume: Volume,
    /// Whether no input comes any more.
    ended: bool,
    /// What the engine had counted at the last commit.
    counted: EngineCounters,
    /// Notes of other stages for the next commit.
    notes: BTreeMap<String, Vec<u8>>,
    retention: Retention,
    /// The hour of event time in which was looked for what is too old; `None` while there is more to clear.
    cleared_hour: Option<i64>,
}

/// Says that a sender is taken for something else from now on. What an unknown one turns out to be is no news to interrupt
/// anybody with; its page shows it.
fn say_role(change: &RoleChange) {
    let vantage = if change.sender.vantage == Vantage::Wire { "wire" } else { "log" };
    let text = format!(
        "{} ({vantage}) behaves like {}; until {} it was taken for {}; set [[host]] role where that is wrong",
        SenderName::of(&change.sender.id).name,
        change.role.phrase(),
        change.at.to_rfc3339(),
        change.before.phrase(),
    );
    match change.before {
        Role::Unused => tracing::debug!("{text}"),
        _ => tracing::info!("{text}"),
    }
}

impl Judge {
    /// An engine with the state of a directory, if one is given.
    pub fn new(config: &Config, company: Arc<Company>, state: Option<&Path>) -> Result<Judge, Failure> {
        let store = state.map(Store::open).transpose().map_err(Failure::usage)?;
        let key = store.as_ref().map_or(STATELESS_KEY, |store| store.key);
        let mut join = Join::new(key.0, config.settings().recipients_named);
        let mut engine = new_engine(config, company, key)?;
        let rate = config.alerts.rate();
        let (mut budget, mut waiting) = (Budget::new(&rate), Vec::new());
        let mut order = Order::default();
        if let Some(store) = &store {
            let mut troubles = store.troubles.clone();
            troubles.extend(store.load(&mut engine).map_err(Failure::running)?);
            waiting.extend(troubles.iter().map(|trouble| trouble.alert(wall_clock())));
            let kept = store.note(BUDGET_NOTE).map_err(Failure::running)?;
            budget = kept.and_then(|kept| serde_json::from_slice(&kept).ok()).unwrap_or(budget);
            join.restore(&store.notes(join::kept::PREFIX).map_err(Failure::running)?);
            let kept = store.note(ORDER_NOTE).map_err(Failure::running)?;
            order =
                Order::resumed(kept.and_then(|kept| postcard::from_bytes(&kept).ok()).unwrap_or_default());
        }
        for planned in config.planned().map_err(Failure::usage)? {
            engine.plan(planned).map_err(Failure::usage)?;
        }
        let counted = engine.counters();
        for alert in &mut waiting {
            tracing::warn!("{}", alert.headline);
            alert.sensor = config.sensor.clone().map(SensorRef::from);
        }
        Ok(Judge {
            engine,
            order,
            join,
            reconciled: Vec::new(),
            store,
            outlet: Outlet::Writers(Vec::new()),
            sensor: config.sensor.clone().map(SensorRef::from),
            speaks: true,
            rate,
            budget,
            changes: Vec::new(),
            waiting,
            alerts: Vec::new(),
            alerts_kept_max: usize::MAX,
            tally: Tally::default(),
            coverage: Coverage::default(),
            volume: Volume::default(),
            ended: false,
            counted,
            notes: BTreeMap::new(),
            retention: config.state.retention(),
            cleared_hour: None,
        })
    }

    /// Lets alerts go straight to a writer.
    pub fn write_to(&mut self, name: &str, sink: Sink) {
        match &mut self.outlet {
            Outlet::Writers(writers) => writers.push((name.to_owned(), sink)),
            outlet => *outlet = Outlet::Writers(vec![(name.to_owned(), sink)]),
        }
    }

    /// Lets alerts go through the outbox of the state in `directory`.
    pub fn deliver_to(&mut self, directory: &Path, sinks: &[SinkConfig]) -> Result<(), Failure> {
        let opened = open_all(sinks).map_err(Failure::usage)?;
        // Jitter keeps many sensors from knocking at once: any number that differs between installs will do.
        let seed = self.store.as_ref().map_or(0, |store| store.key.digest(&[b"jitter"]));
        let delivery = Delivery::start(directory, opened, Patience::usual(seed, wall_clock));
        self.outlet = Outlet::Outbox(delivery.map_err(Failure::usage)?);
        Ok(())
    }

    /// Learns without speaking.
    pub fn only_learn(&mut self) {
        self.speaks = false;
    }

    /// Keeps no more than so many alerts for reports: a service may run for years.
    pub fn keep_alerts(&mut self, most: usize) {
        self.alerts_kept_max = most;
    }

    /// Takes over another configuration. What was learned stays, and so does the state directory.
    pub fn reconfigure(&mut self, config: &Config, company: Arc<Company>) {
        self.engine.reconfigure(company, config.settings());
        for planned in config.planned().unwrap_or_default() {
            if let Err(error) = self.engine.plan(planned) {
                tracing::error!("{error}");
            }
        }
        self.rate = config.alerts.rate();
        self.sensor = config.sensor.clone().map(SensorRef::from);
    }

    /// Says what could be seen lately: every alert from now on carries it.
    pub fn set_coverage(&mut self, coverage: Coverage) {
        self.coverage = coverage;
    }

    /// Lets an alert about the sensor itself leave with the next commit.
    pub fn tell(&mut self, mut alert: Alert) {
        alert.sensor.clone_from(&self.sensor);
        self.waiting.push(alert);
    }

    /// Small state of another stage, as committed.
    pub fn note(&self, name: &str) -> Option<Vec<u8>> {
        self.store.as_ref().and_then(|store| store.note(name).ok().flatten())
    }

    /// Time went on though nothing was seen: see [`Engine::advance`].
    pub fn advance(&mut self, now: Timestamp) -> Result<(), Failure> {
        self.settle()?;
        self.engine.advance(now, &mut self.changes);
        self.offer()
    }

    /// Takes one observation and judges what is due. Without state, alerts leave at once; with state, at the next
    /// commit.
    pub fn observe(&mut self, observation: Observation) -> Result<(), Failure> {
        self.order.take(observation);
        self.judge_due()
    }

    /// Judges what waits for its turn: nothing came for a while, or nothing more will come. Returns whether anything
    /// waited.
    pub fn settle(&mut self) -> Result<bool, Failure> {
        let waited = self.order.waiting().len() > 0;
        self.order.settle();
        self.judge_due()?;
        Ok(waited)
    }

    fn judge_due(&mut self) -> Result<(), Failure> {
        while let Some(observation) = self.order.next_due() {
            self.engine.observe(&observation, &mut self.changes);
            if let Some(store) = &mut self.store {
                self.volume.count(&observation);
                if let Fact::Delivery(delivery) = &observation.fact {
                    for id in self.engine.profiled(&observation.sender).into_iter().flatten() {
                        let key = SenderKey { vantage: observation.vantage, id };
                        store.count_domain(key, observation.at, delivery);
                    }
                }
            }
            self.join.observe(observation, &mut self.reconciled);
            for reconciled in self.reconciled.drain(..) {
                self.engine.observe(&reconciled, &mut self.changes);
            }
        }
        self.offer()
    }

    /// Makes alerts of what changed. Without state they leave at once.
    fn offer(&mut self) -> Result<(), Failure> {
        self.engine.take_role_changes().iter().for_each(say_role);
        let blind = self.join.take_blind();
        if self.changes.is_empty() && blind.is_empty() {
            return Ok(());
        }
        for blind in blind.iter().filter(|_| self.speaks) {
            let mut alert = coverage::alert(blind);
            alert.sensor.clone_from(&self.sensor);
            self.budget.offer(&self.rate, alert, blind.at, &mut self.waiting);
        }
        self.offer_changes();
        if self.store.is_none() { self.send() } else { Ok(()) }
    }

    /// Lets what changed leave as the alert rate allows.
    fn offer_changes(&mut self) {
        for change in self.changes.drain(..) {
            if self.speaks {
                let mut alert = Alert::of(&change);
                alert.sensor.clone_from(&self.sensor);
                let seen_by = |vantage| alert.coverage.vantages.contains(&vantage);
                let (wire, log) = (seen_by(Vantage::Wire), seen_by(Vantage::Log));
                alert.coverage.frames_dropped_share = self.coverage.frames_dropped_share.filter(|_| wire);
                alert.coverage.log_lag_seconds = self.coverage.log_lag_seconds.filter(|_| log);
                self.budget.offer(&self.rate, alert, change.at, &mut self.waiting);
            }
        }
    }

    /// Whether alerts wait for a commit.
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The input has ended: judges what waits for its turn, and lets go what waits for the alert rate, since nothing
    /// will come to make room for it.
    pub fn let_go(&mut self) -> Result<(), Failure> {
        self.settle()?;
        self.budget.finish(&mut self.waiting);
        self.end();
        Ok(())
    }

    /// No more input comes: the next commit writes everything.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Commits what changed, then lets the alerts leave.
    pub fn commit(&mut self, positions: &[(String, String)]) -> Result<(), Failure> {
        let (obeyed, forgotten) = self.obey()?;
        self.budget.release(&self.rate, self.engine.now(), &mut self.waiting);
        if let Some(store) = &mut self.store {
            let rows: Vec<AlertRow> = self.waiting.iter().map(AlertRow::of).collect();
            let mut notes: Vec<_> = std::mem::take(&mut self.notes).into_iter().collect();
            notes.push((BUDGET_NOTE.to_owned(), serde_json::to_vec(&self.budget).unwrap_or_default()));
            notes.push((ORDER_NOTE.to_owned(), note_of(&self.order)));
            notes.extend(self.join.take_notes());
            let counters = self.engine.counters();
            let moment = Moment {
                positions,
                alerts: &rows,
                notes: &notes,
                counted: &self.volume.take(),
                counters: &counters.since(&self.counted),
                obeyed: &obeyed,
                forgotten: &forgotten,
                last: self.ended,
                ..Moment::default()
            };
            self.counted = counters;
            if let Err(error) = store.commit_moment(&mut self.engine, &moment) {
                // The store took the rows over and writes them with the next commit that succeeds.
                self.count_sent();
                return Err(Failure::running(error));
            }
        }
        self.send()?;
        self.clear_old()
    }

    /// Once an hour, and on from there until it is done, one step: drops what is too old or too much.
    fn clear_old(&mut self) -> Result<(), Failure> {
        let (Some(store), now) = (&mut self.store, self.engine.now()) else { return Ok(()) };
        if self.cleared_hour == Some(now.hour_index()) {
            return Ok(());
        }
        let cleared = store.clear_some(&self.retention, now).map_err(Failure::running)?;
        self.cleared_hour = (!cleared.more).then(|| now.hour_index());
        if cleared.undelivered > 0 {
            tracing::warn!("{} alerts were dropped before every sink had them", cleared.undelivered);
        }
        Ok(())
    }

    /// Whether operators asked for something that no commit has seen yet.
    pub fn is_asked(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.actions_waiting().is_ok_and(|list| !list.is_empty()))
    }

    /// Does what operators asked for since the last commit.
    fn obey(&mut self) -> Result<(Vec<Obeyed>, Vec<SenderId>), Failure> {
        let Some(store) = &self.store else { return Ok(Default::default()) };
        let (mut obeyed, mut forgotten) = (Vec::new(), Vec::new());
        for row in store.actions_waiting().map_err(Failure::running)? {
            let at = self.engine.now();
            let outcome = actions::obey(&mut self.engine, store, &row, &mut self.changes, &mut forgotten);
            let outcome = outcome.map_err(Failure::running)?;
            tracing::info!("{} asked ({}): {outcome}", row.by, row.number);
            obeyed.push(Obeyed { number: row.number, at: at.as_micros(), outcome });
        }
        self.offer_changes();
        Ok((obeyed, forgotten))
    }

    /// Where an input was read up to, as committed.
    pub fn position(&self, input: &str) -> Result<Option<String>, Failure> {
        self.store.as_ref().map_or(Ok(None), |store| store.position(input)).map_err(Failure::running)
    }

    /// Takes notes of another stage along with the next commit; an empty one removes what was kept.
    pub fn keep_notes(&mut self, notes: Vec<(String, Vec<u8>)>) {
        self.notes.extend(notes);
    }

    /// Notes whose name begins so, as committed.
    pub fn notes(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        self.store.as_ref().map_or(Ok(Vec::new()), |store| store.notes(prefix)).map_err(Failure::running)
    }

    fn send(&mut self) -> Result<(), Failure> {
        match &mut self.outlet {
            Outlet::Writers(writers) => {
                for alert in &self.waiting {
                    for (name, sink) in writers.iter_mut() {
                        sink.send(alert).map_err(|error| Failure::output(name, &error))?;
                    }
                }
            }
            Outlet::Outbox(delivery) => delivery.committed(),
        }
        self.count_sent();
        Ok(())
    }

    /// Counts what left.
    fn count_sent(&mut self) {
        for alert in self.waiting.drain(..) {
            let count = match alert.change {
                _ if alert.sender.kind == "sensor" => &mut self.tally.about_sensor,
                Change::Opened => &mut self.tally.opened,
                Change::Updated => &mut self.tally.updated,
                Change::Closed => &mut self.tally.closed,
            };
            *count += 1;
            if self.alerts.len() < self.alerts_kept_max {
                self.alerts.push(alert);
            }
        }
    }

    /// Opens files anew, as after a rotation.
    pub fn reopen_sinks(&self) {
        if let Outlet::Outbox(delivery) = &self.outlet {
            delivery.reopen();
        }
    }

    /// Lets what is in the outbox leave, for at most so long. What is left stays there for the next run.
    pub fn close_sinks(&mut self, within: Duration) -> Vec<SinkStatus> {
        match std::mem::replace(&mut self.outlet, Outlet::Writers(Vec::new())) {
            Outlet::Outbox(delivery) => delivery.finish(within),
            Outlet::Writers(_) => Vec::new(),
        }
    }

    /// What the join of wire and log counted.
    pub fn join_counters(&self) -> JoinCounters {
        self.join.counters()
    }

    /// Alerts behind a place in the outbox.
    pub fn waiting_behind(&self, cursor: i64) -> u64 {
        self.store.as_ref().and_then(|store| store.alerts_behind(cursor).ok()).unwrap_or(0)
    }

    /// How the sinks are doing.
    pub fn sink_statuses(&self) -> Vec<SinkStatus> {
        match &self.outlet {
            Outlet::Outbox(delivery) => delivery.statuses(),
            Outlet::Writers(_) => Vec::new(),
        }
    }

    /// Alerts that left in this run, counted.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// The engine, for reports.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Alerts that left in this run, as many as are kept.
    pub fn alerts(&self) -> &[Alert] {
        &self.alerts
    }

    /// Incidents opened in this run.
    pub fn opened(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| alert.change == Change::Opened)
    }
}

/// An engine without memories.
pub fn new_engine(config: &Config, company: Arc<Company>, key: InstallKey) -> Result<Engine, Failure> {
    let model = Model::shipped().map_err(Failure::running)?;
    Ok(Engine::new(company, model, config.settings(), key))
}

/// What waits for its turn; empty where nothing does.
fn note_of(order: &Order) -> Vec<u8> {
    let waiting: Vec<&Observation> = order.waiting().collect();
    if waiting.is_empty() { Vec::new() } else { postcard::to_allocvec(&waiting).unwrap_or_default() }
}

/// Now, by the clock of this machine.
pub fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The form of a name, or what to use.
pub fn format_named(name: &str) -> Result<&'static Format, Failure> {
    format(name).ok_or_else(|| Failure::usage(format!("format {name}: unknown; use {}", format_names())))
}
