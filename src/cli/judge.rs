//! From observations to alerts that have left: engine, state and sinks in one place, for `replay` and `watch`.
//!
//! *In*: observations in event time. *Out*: alerts in every sink. *Bound*: alerts of one commit. *Spec*:
//! docs/architecture.md, state: what changed and the alerts it caused are committed together, and only then
//! do the alerts leave.

use super::failure::Failure;
use crate::alert::{Alert, Format, format};
use crate::company::Company;
use crate::config::{Config, SinkConfig};
use crate::engine::Engine;
use crate::engine::incident::Change;
use crate::engine::memory::InstallKey;
use crate::engine::model::Model;
use crate::observation::Observation;
use crate::sink::Sink;
use crate::store::{AlertRow, Store};
use std::path::Path;
use std::sync::Arc;

/// Key of runs that keep no state: the same input then always gives the same alerts.
const STATELESS_KEY: InstallKey = InstallKey(*b"portreeve replay");

/// Engine, state and sinks.
pub struct Judge {
    engine: Engine,
    store: Option<Store>,
    sinks: Vec<(String, Sink)>,
    waiting: Vec<Alert>,
    alerts: Vec<Alert>,
    /// Whether alerts leave; `false` while a clean history is learned.
    speaks: bool,
    changes: Vec<crate::engine::incident::IncidentChange>,
}

impl Judge {
    /// An engine with the state of a directory, if one is given.
    pub fn new(config: &Config, company: Arc<Company>, state: Option<&Path>) -> Result<Judge, Failure> {
        let model = Model::shipped().map_err(Failure::running)?;
        let store = state.map(Store::open).transpose().map_err(Failure::usage)?;
        let key = store.as_ref().map_or(STATELESS_KEY, |store| store.key);
        let mut engine = Engine::new(company, model, config.settings(), key);
        if let Some(store) = &store {
            store.load(&mut engine).map_err(Failure::running)?;
        }
        Ok(Judge {
            engine,
            store,
            sinks: Vec::new(),
            waiting: Vec::new(),
            alerts: Vec::new(),
            speaks: true,
            changes: Vec::new(),
        })
    }

    /// Adds a sink by name.
    pub fn add_sink(&mut self, name: &str, sink: Sink) {
        self.sinks.push((name.to_owned(), sink));
    }

    /// Learns without speaking.
    pub fn only_learn(&mut self) {
        self.speaks = false;
    }

    /// Judges one observation. Without state, alerts leave at once; with state, at the next commit.
    pub fn observe(&mut self, observation: &Observation) -> Result<(), Failure> {
        self.engine.observe(observation, &mut self.changes);
        if self.changes.is_empty() {
            return Ok(());
        }
        for change in self.changes.drain(..) {
            if self.speaks {
                self.waiting.push(Alert::of(&change));
            }
        }
        if self.store.is_none() { self.send() } else { Ok(()) }
    }

    /// Whether alerts wait for a commit.
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Commits what changed, then lets the alerts leave.
    pub fn commit(&mut self, positions: &[(String, String)]) -> Result<(), Failure> {
        if let Some(store) = &mut self.store {
            let rows: Vec<AlertRow> = self.waiting.iter().map(row).collect();
            store.commit(&mut self.engine, positions, &rows).map_err(Failure::running)?;
        }
        self.send()
    }

    /// Where an input was read up to, as committed.
    pub fn position(&self, input: &str) -> Result<Option<String>, Failure> {
        self.store.as_ref().map_or(Ok(None), |store| store.position(input)).map_err(Failure::running)
    }

    fn send(&mut self) -> Result<(), Failure> {
        for alert in self.waiting.drain(..) {
            for (name, sink) in &mut self.sinks {
                sink.send(&alert).map_err(|error| Failure::output(name, &error))?;
            }
            self.alerts.push(alert);
        }
        Ok(())
    }

    /// The engine, for reports.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Alerts that left in this run.
    pub fn alerts(&self) -> &[Alert] {
        &self.alerts
    }

    /// Incidents opened in this run.
    pub fn opened(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| alert.change == Change::Opened)
    }
}

fn row(alert: &Alert) -> AlertRow {
    AlertRow {
        id: alert.id.clone(),
        event_at: crate::alert::event_at(alert).map_or(0, |at| at.as_micros()),
        incident: alert.incident.id.clone(),
        record: serde_json::to_string(alert).unwrap_or_default(),
    }
}

/// The form of a name, or what to use.
pub fn format_named(name: &str) -> Result<&'static Format, Failure> {
    format(name).ok_or_else(|| {
        let known: Vec<&str> = crate::alert::FORMATS.iter().map(|format| format.name).collect();
        Failure::usage(format!("format {name}: unknown; use {}", known.join(", ")))
    })
}

/// Opens the sinks that the configuration names.
pub fn configured_sinks(config: &Config) -> Result<Vec<(String, Sink)>, Failure> {
    config
        .sink
        .iter()
        .map(|sink| match sink {
            SinkConfig::Stdout { format } => {
                let format = format_named(format.as_deref().unwrap_or("ndjson"))?;
                Ok(("standard output".to_owned(), Sink::stdout(format)))
            }
            SinkConfig::File { path, format } => {
                let format = format_named(format.as_deref().unwrap_or("ndjson"))?;
                let name = path.display().to_string();
                let sink = Sink::file(path, format).map_err(|error| {
                    Failure::usage(format!("{name}: {error}; the sink's directory must exist and be writable"))
                })?;
                Ok((name, sink))
            }
        })
        .collect()
}
