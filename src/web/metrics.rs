//! `/metrics` for Prometheus and `/healthz` for whoever asks whether we live.
//!
//! *In*: [`Published`], the vitals of the last beat. *Out*: a [`Router`] that a server mounts, or a server of its own.
//! *Bound*: one answer at a time is built from one set of vitals; labels are interfaces, log paths, sinks, names of
//! ours, never addresses or senders. *Spec*: OpenMetrics 1.0; prometheus.io, metric and label naming.

use crate::engine::EngineCounters;
use crate::health::{
    Coverage, Holding, Reading, SinkReading, SourceKind, SourceReading, Tally, condition_codes,
};
use crate::sandbox;
use crate::time::Timestamp;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::net::TcpListener;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};

/// After how many seconds without a beat the service counts as stuck.
const BEAT_SECONDS_MAX: f64 = 15.0;

/// Everything that is told about the service, as of one beat.
#[derive(Clone, Debug)]
pub struct Vitals {
    /// When.
    pub at: Timestamp,
    /// When the service was started.
    pub started_at: Timestamp,
    /// What sources and sinks counted.
    pub reading: Reading,
    /// What could be seen lately.
    pub coverage: Coverage,
    /// What is wrong at present.
    pub holding: Vec<Holding>,
    /// What the engine counted.
    pub engine: EngineCounters,
    /// Senders profiled.
    pub senders: u64,
    /// Incidents open.
    pub incidents_open: u64,
    /// The latest event; `None` before the first.
    pub event_at: Option<Timestamp>,
    /// Alerts that left.
    pub alerts: Tally,
    /// Whether the last reload was taken over.
    pub last_reload_taken_over: bool,
    /// What the process gave up.
    pub sandbox: sandbox::State,
}

/// Where the service puts its vitals, and a server finds them.
#[derive(Clone, Debug, Default)]
pub struct Published(Arc<RwLock<Option<Arc<Vitals>>>>);

impl Published {
    /// Replaces them.
    pub fn put(&self, vitals: Vitals) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(vitals));
    }

    /// The last ones; `None` before the first beat.
    pub fn get(&self) -> Option<Arc<Vitals>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The two pages, to be mounted by any server. `now` is the clock.
pub fn router(published: Published, now: fn() -> Timestamp) -> Router {
    let (metrics, health) = (published.clone(), published);
    Router::new()
        .route("/metrics", get(async move || metrics_page(metrics.get().as_deref())))
        .route("/healthz", get(async move || health_page(health.get().as_deref(), now())))
}

/// Serves them on a listener of their own, on a thread of its own.
pub fn serve(listener: TcpListener, published: Published, now: fn() -> Timestamp) {
    let server = async move {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(listener, router(published, now)).await
    };
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Err(error) = runtime.and_then(|runtime| runtime.block_on(server)) {
            tracing::error!("metrics: {error}");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("metrics".into()).spawn(run) {
        tracing::error!("metrics: {error}");
    }
}

fn metrics_page(vitals: Option<&Vitals>) -> impl IntoResponse + use<> {
    let mut text = String::new();
    let encoded = vitals.map_or(Ok(()), |vitals| encode(&mut text, &registry(vitals)));
    let status = if encoded.is_ok() { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (status, [(header::CONTENT_TYPE, kind)], text)
}

/// Alive: 200. Degraded but alive: 200, and the body says in what. Not working: 503.
fn health_page(vitals: Option<&Vitals>, now: Timestamp) -> impl IntoResponse + use<> {
    let body = |status: &str, holding: &[Holding]| {
        serde_json::json!({ "status": status, "conditions": holding }).to_string()
    };
    let (code, text) = match vitals {
        None => (StatusCode::SERVICE_UNAVAILABLE, body("starting", &[])),
        Some(vitals) if now.seconds_since(vitals.at) > BEAT_SECONDS_MAX => {
            (StatusCode::SERVICE_UNAVAILABLE, body("stuck", &vitals.holding))
        }
        Some(vitals) if works(vitals) => {
            let status = if vitals.holding.is_empty() { "ok" } else { "degraded" };
            (StatusCode::OK, body(status, &vitals.holding))
        }
        Some(vitals) => (StatusCode::SERVICE_UNAVAILABLE, body("failing", &vitals.holding)),
    };
    (code, [(header::CONTENT_TYPE, "application/json")], text)
}

/// Whether state is written and any source can be read.
fn works(vitals: &Vitals) -> bool {
    let sources = &vitals.reading.sources;
    let any_source = sources.is_empty() || sources.iter().any(|source| source.failed.is_none());
    vitals.reading.state_trouble.is_none() && any_source
}

type Labels = Vec<(&'static str, String)>;

/// Puts numbers into a registry.
struct Page<'a>(&'a mut Registry);

impl Page<'_> {
    fn counters(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).inc_by(value);
        }
        self.0.register(name, help, family);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help, [(Labels::new(), value)]);
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        values: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(value);
        }
        match unit {
            Some(unit) => self.0.register_with_unit(name, help, unit, family),
            None => self.0.register(name, help, family),
        }
    }

    fn gauge(&mut self, name: &str, help: &str, unit: Option<Unit>, value: Option<f64>) {
        if let Some(value) = value {
            self.gauges(name, help, unit, [(Labels::new(), value)]);
        }
    }
}

/// All metrics. docs/operations.md lists them.
fn registry(vitals: &Vitals) -> Registry {
    let mut registry = Registry::with_prefix("portreeve");
    let mut page = Page(&mut registry);
    of_captures(&mut page, &vitals.reading);
    of_logs(&mut page, &vitals.reading);
    of_sinks(&mut page, &vitals.reading.sinks);
    of_engine(&mut page, vitals);
    of_process(&mut page, vitals);
    registry
}

fn of_kind(reading: &Reading, kind: SourceKind) -> Vec<(Labels, &SourceReading)> {
    let name = if kind == SourceKind::Capture { "interface" } else { "log" };
    let sources = reading.sources.iter().filter(|source| source.kind == kind);
    sources.map(|source| (vec![(name, source.name.clone())], source)).collect()
}

fn of_captures(page: &mut Page, reading: &Reading) {
    let captures = of_kind(reading, SourceKind::Capture);
    let each = |count: fn(&SourceReading) -> u64| -> Vec<(Labels, u64)> {
        captures.iter().map(|(labels, source)| (labels.clone(), count(source))).collect()
    };
    page.counters("packets", "Packets that passed the filter", each(|source| source.taken));
    let with = |key: &'static str, value: &str, count: fn(&SourceReading) -> u64| -> Vec<(Labels, u64)> {
        let add = |(mut labels, count): (Labels, u64)| {
            labels.push((key, value.to_owned()));
            (labels, count)
        };
        each(count).into_iter().map(add).collect()
    };
    let dropped = [
        with("where", "kernel", |source| source.dropped_by_kernel),
        with("where", "interface", |source| source.dropped_by_interface),
    ];
    page.counters("packets_dropped", "Packets that were there and were not seen", dropped.concat());
    page.counters(
        "observations_dropped",
        "Observations dropped because judging fell behind",
        each(|source| source.dropped_by_queue),
    );
    page.counters(
        "observations_untimely",
        "Observations judged before their turn, because another thread of the interface was behind",
        each(|source| source.untimely),
    );
    let sides = [
        with("seen", "both", |source| source.flows_two_way),
        with("seen", "client", |source| source.flows_originator_only),
        with("seen", "server", |source| source.flows_responder_only),
    ];
    page.counters("connections_ended", "Connections with content, by what was seen of them", sides.concat());
    page.counters(
        "packets_not_understood",
        "Packets that could not be decoded",
        each(|source| source.undecodable),
    );
    page.counters("connections", "Connections seen", each(|source| source.flows));
    page.counters("sessions", "SMTP sessions that ended", each(|source| source.sessions));
    page.counters("sessions_hidden", "SMTP sessions under TLS", each(|source| source.sessions_hidden));
    page.counters("gap_bytes", "Bytes missing inside connections", each(|source| source.gap_bytes));
}

fn of_logs(page: &mut Page, reading: &Reading) {
    let logs = of_kind(reading, SourceKind::Log);
    let each = |count: fn(&SourceReading) -> u64| -> Vec<(Labels, u64)> {
        logs.iter().map(|(labels, source)| (labels.clone(), count(source))).collect()
    };
    page.counters("lines", "Log lines read", each(|source| source.taken));
    page.counters(
        "lines_not_understood",
        "Log lines that were not understood",
        each(|source| source.unparsed),
    );
    page.counters("log_gaps", "Times log lines may have been lost", each(|source| source.gaps));
    let lags = logs.iter().filter_map(|(labels, source)| Some((labels.clone(), source.behind_seconds?)));
    page.gauges("log_lag", "How far the newest stamp lay behind the clock", Some(Unit::Seconds), lags);
    let failed = reading.sources.iter();
    page.gauges(
        "source_up",
        "Whether a source can be read",
        None,
        failed.map(|source| {
            (vec![("source", source.name.clone())], f64::from(u8::from(source.failed.is_none())))
        }),
    );
    page.counters(
        "faults",
        "Faults of portreeve itself that it got over",
        reading.sources.iter().map(|source| (vec![("source", source.name.clone())], source.panics)),
    );
}

fn of_sinks(page: &mut Page, sinks: &[SinkReading]) {
    // A sink without a name of its own is called by its target, which may be an address: only its kind is shown.
    let label = |index: usize, sink: &SinkReading| {
        let word = sink.name.split([' ', ':', '/']).next().unwrap_or_default();
        vec![("sink", format!("{}-{word}", index + 1))]
    };
    let each = |count: fn(&SinkReading) -> u64| -> Vec<(Labels, u64)> {
        sinks.iter().enumerate().map(|(index, sink)| (label(index, sink), count(sink))).collect()
    };
    page.counters("sink_alerts_delivered", "Alerts that the receiver has", each(|sink| sink.delivered));
    page.counters("sink_alerts_unconfirmed", "Alerts sent without a receipt", each(|sink| sink.unconfirmed));
    page.counters("sink_alerts_dead", "Alerts put aside", each(|sink| sink.dead));
    page.counters("sink_failures", "Attempts that failed", each(|sink| sink.failures));
    let waiting = each(|sink| sink.waiting).into_iter().map(|(labels, value)| (labels, value as f64));
    page.gauges("sink_alerts_waiting", "Alerts that wait for the receiver", None, waiting);
}

fn of_engine(page: &mut Page, vitals: &Vitals) {
    let engine = &vitals.engine;
    page.counter("observations", "Observations judged", engine.observations);
    page.counter("deliveries", "Deliveries judged", engine.deliveries);
    page.counter("deliveries_late", "Observations older than what their sender had reached", engine.late);
    page.counter(
        "senders_refused",
        "Senders not profiled because the table was full",
        engine.senders_refused,
    );
    page.counter("sender_days", "Days on which a sender was judged, over all senders", engine.sender_days);
    let verdict = |name: &str, value: u64| (vec![("verdict", name.to_owned())], value);
    page.counters(
        "incidents_reviewed",
        "Incidents that people confirmed or dismissed; dismissed ones are the false alarms",
        [verdict("confirmed", engine.confirmed), verdict("dismissed", engine.dismissed)],
    );
    page.counter(
        "role_changes",
        "Times an undeclared sender was found to have another role",
        engine.role_changes,
    );
    page.gauge("senders", "Senders profiled", None, Some(vitals.senders as f64));
    page.gauge("incidents_open", "Incidents open", None, Some(vitals.incidents_open as f64));
    let alerts = &vitals.alerts;
    let change = |name: &str, value: u64| (vec![("change", name.to_owned())], value);
    let alerts = [
        change("opened", alerts.opened),
        change("updated", alerts.updated),
        change("closed", alerts.closed),
        change("about_sensor", alerts.about_sensor),
    ];
    page.counters("alerts", "Alerts that left", alerts);
    let event_at = vitals.event_at.map(Timestamp::as_seconds_f64);
    page.gauge("event_timestamp", "The latest event", Some(Unit::Seconds), event_at);
}

fn of_process(page: &mut Page, vitals: &Vitals) {
    let holds = |code: &str| vitals.holding.iter().filter(|holding| holding.code == code).count() as f64;
    page.gauges(
        "condition_holds",
        "Sources or sinks for which something about the sensor is wrong",
        None,
        condition_codes().map(|code| (vec![("condition", code.to_owned())], holds(code))),
    );
    let coverage = &vitals.coverage;
    let ratio = || Some(Unit::Ratios);
    page.gauge("packets_dropped", "Share of packets lost lately", ratio(), coverage.frames_dropped_share);
    page.gauge(
        "sessions_hidden",
        "Share of sessions under TLS lately",
        ratio(),
        coverage.sessions_hidden_share,
    );
    let truth = |holds: bool| f64::from(u8::from(holds));
    let sandbox = &vitals.sandbox;
    let part = |name: &str, value: f64| (vec![("part", name.to_owned())], value);
    let parts = [
        part("capabilities_dropped", truth(sandbox.enabled && sandbox.capabilities == 0)),
        part("no_new_privs", truth(sandbox.no_new_privs)),
        part("landlock", f64::from(sandbox.landlock)),
        part("seccomp", truth(sandbox.seccomp)),
    ];
    page.gauges("sandbox", "Parts of the sandbox that hold; for landlock its version", None, parts);
    let reload = Some(truth(vitals.last_reload_taken_over));
    page.gauge("config_last_reload_successful", "Whether the last reload was taken over", None, reload);
    let start = Some(vitals.started_at.as_seconds_f64());
    page.gauge("start_timestamp", "When the service was started", Some(Unit::Seconds), start);
    let (resident, descriptors) = of_proc();
    page.gauge("process_resident_memory", "Memory in use", Some(Unit::Bytes), resident);
    page.gauge("process_open_fds", "Open descriptors", None, descriptors);
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    page.gauges("build_info", "The program", None, [(version, 1.0)]);
}

/// Resident bytes and open descriptors, as the kernel tells them.
fn of_proc() -> (Option<f64>, Option<f64>) {
    let statm = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = statm.and_then(|text| text.split(' ').nth(1)?.parse::<f64>().ok());
    let descriptors = std::fs::read_dir("/proc/self/fd").ok().map(|list| list.count() as f64);
    (pages.map(|pages| pages * 4_096.0), descriptors)
}
