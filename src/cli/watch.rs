//! `portreeve watch`: span ports and logs, live, until Ctrl-C.
//!
//! *In*: interfaces and logs from the configuration or the command line. *Out*: alerts in the sinks.
//! *Bound*: [`BATCHES_WAITING`] batches between a source's thread and the judge; a capture whose batch finds
//! no room drops it and counts, a log waits, since a file can be read later. State is committed once a
//! second and before an alert leaves.

mod logs;

use super::failure::{Failure, Outcome};
use super::judge::{Judge, format_named};
use super::{dashboard, read_config, state_directory, summary};
use crate::capture::{Live, LiveSettings, LiveStats};
use crate::company::Company;
use crate::config::{CaptureConfig, Config, ContentConfig, LogConfig};
use crate::mta::Note;
use crate::observation::Observation;
use crate::sink::{SinkConfig, stdout};
use crate::smtp::WireRoad;
use clap::Args;
use logs::LogThread;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

/// Observations that a source gathers before it hands them over.
const BATCH: usize = 256;
/// Batches that wait for the judge.
const BATCHES_WAITING: usize = 256;
/// How long the sinks may take after a signal.
const DELIVERY_WAIT: Duration = Duration::from_secs(3);
/// How often lost packets are asked for.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How often state is committed.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// Watch span ports and logs, live
#[derive(Args)]
pub struct Arguments {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// An interface to watch, beside those of the configuration
    #[arg(short, long, value_name = "NAME")]
    interface: Vec<String>,
    /// A log to follow, beside those of the configuration
    #[arg(short, long, value_name = "FILE")]
    log: Vec<PathBuf>,
    /// Directory to keep state in
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Form of the alerts on standard output, where the configuration names no sink
    #[arg(short, long, default_value = "ndjson")]
    format: String,
    /// Read logs that were never followed before from their beginning instead of their end
    #[arg(long)]
    from_start: bool,
}

/// What a source hands over: what it saw, and where that brought it.
struct Batch {
    observations: Vec<Observation>,
    positions: Vec<(String, String)>,
    /// What else must be kept with the positions.
    notes: Vec<Note>,
}

/// What the sources count together.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    observations_dropped: AtomicU64,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    let mut config = read_config(arguments.config.as_deref())?;
    let bare = |name: &String| CaptureConfig { interface: name.clone(), filter: None, ports: None };
    config.source.capture.extend(arguments.interface.iter().map(bare));
    config.source.log.extend(arguments.log.iter().cloned().map(LogConfig::of_path));
    if config.source.capture.is_empty() && config.source.log.is_empty() {
        return Err(Failure::usage(
            "nothing to watch: name an interface with -i or a log with -l, or configure [[source.capture]] or [[source.log]]",
        ));
    }
    let company = Arc::new(config.company().map_err(Failure::usage)?);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::running)?;
    let signals = Signals::caught(&runtime)?;
    let state = state_directory(arguments.state.as_ref(), &config);
    // Sinks are fed from the outbox of a state, so a run without one gets a state that ends with it.
    let passing = tempfile::tempdir().map_err(Failure::running)?;
    let directory = state.clone().unwrap_or_else(|| passing.path().to_owned());
    let mut judge = Judge::new(&config, Arc::clone(&company), Some(&directory))?;
    if config.sink.is_empty() {
        format_named(&arguments.format)?;
        let settings = stdout::Settings { format: Some(arguments.format.clone()), ..Default::default() };
        config.sink.push(SinkConfig::Stdout(settings));
    }
    judge.deliver_to(&directory, &config.sink)?;
    let shared = Arc::new(Shared::default());
    let (sender, batches) = channel(BATCHES_WAITING);
    let mut captures = Vec::new();
    for capture in &config.source.capture {
        captures.push(CaptureThread::open(capture, &config.content, &company)?);
    }
    let logs = LogThread::open(&config, &company, &judge, arguments.from_start)?;
    let _dashboard = dashboard::start(&config, &directory, true)?;
    say_what_is_assumed(&config, state.is_some());
    for capture in captures {
        let (sender, shared) = (sender.clone(), Arc::clone(&shared));
        std::thread::spawn(move || capture.run(&sender, &shared));
    }
    if let Some(logs) = logs {
        let (sender, shared) = (sender.clone(), Arc::clone(&shared));
        std::thread::spawn(move || logs.run(&sender, &shared));
    }
    drop(sender);
    runtime.block_on(serve(&mut judge, batches, &shared, signals))?;
    let dropped = shared.observations_dropped.load(Ordering::Relaxed);
    if dropped > 0 {
        tracing::warn!("{dropped} observations were dropped because judging fell behind");
    }
    for status in judge.close_sinks(DELIVERY_WAIT) {
        if let Some(trouble) = status.trouble {
            tracing::warn!(
                "{}: {trouble}; what it did not take waits in the state for the next run",
                status.name
            );
        }
    }
    eprint!("{}", summary::of_engine(&judge, &config));
    Ok(0)
}

/// The signals that end a run. They are caught before anything is opened, so that none ends it halfway.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn caught(runtime: &tokio::runtime::Runtime) -> Result<Signals, Failure> {
        let _context = runtime.enter();
        let caught = |kind| signal(kind).map_err(Failure::running);
        Ok(Signals {
            interrupt: caught(SignalKind::interrupt())?,
            terminate: caught(SignalKind::terminate())?,
        })
    }
}

/// Judges what comes until every source has ended: after a signal they drain and end by themselves.
async fn serve(
    judge: &mut Judge,
    mut batches: Receiver<Batch>,
    shared: &Shared,
    mut signals: Signals,
) -> Result<(), Failure> {
    let mut clock = tokio::time::interval(COMMIT_EVERY);
    let mut positions: std::collections::BTreeMap<String, String> = Default::default();
    let (mut changed, mut came) = (false, false);
    loop {
        tokio::select! {
            batch = batches.recv() => {
                let Some(batch) = batch else { break };
                for observation in batch.observations {
                    judge.observe(observation)?;
                }
                came = true;
                positions.extend(batch.positions);
                judge.keep_notes(batch.notes);
                changed = true;
                if judge.waits() {
                    commit(judge, &positions)?;
                    changed = false;
                }
            }
            _ = clock.tick() => {
                if !std::mem::take(&mut came) {
                    changed |= judge.settle()?;
                }
                if changed || judge.waits() || judge.is_asked() {
                    commit(judge, &positions)?;
                    changed = false;
                }
            }
            _ = signals.interrupt.recv() => shared.stop.store(true, Ordering::Relaxed),
            _ = signals.terminate.recv() => shared.stop.store(true, Ordering::Relaxed),
        }
    }
    judge.settle()?;
    judge.end();
    commit(judge, &positions)
}

fn commit(judge: &mut Judge, positions: &std::collections::BTreeMap<String, String>) -> Result<(), Failure> {
    let list: Vec<_> = positions.iter().map(|(input, position)| (input.clone(), position.clone())).collect();
    judge.commit(&list)
}

fn say_what_is_assumed(config: &Config, remembers: bool) {
    for capture in &config.source.capture {
        tracing::info!("watching interface {}", capture.interface);
    }
    for log in &config.source.log {
        tracing::info!("following {}", log.name());
    }
    if config.company.networks.is_empty() {
        tracing::info!("no [company] networks: private addresses are taken to be ours");
    }
    if !remembers {
        tracing::warn!("no state directory: what is learned is lost at the end; give --state DIR");
    }
}

struct CaptureThread {
    live: Live,
    road: WireRoad,
    name: String,
}

impl CaptureThread {
    fn open(
        capture: &CaptureConfig,
        content: &ContentConfig,
        company: &Arc<Company>,
    ) -> Result<CaptureThread, Failure> {
        let wire = content.wire(capture.ports.clone());
        let settings = LiveSettings {
            ports: wire.ports.clone(),
            filter: capture.filter.clone(),
            ..LiveSettings::default()
        };
        let live = Live::open(&capture.interface, &settings).map_err(Failure::usage)?;
        let road = WireRoad::new(Arc::clone(company), wire);
        Ok(CaptureThread { live, road, name: capture.interface.clone() })
    }

    fn run(mut self, sender: &Sender<Batch>, shared: &Shared) {
        let mut observations = Vec::new();
        let (mut known, mut reported) = (LiveStats::default(), Instant::now());
        while !shared.stop.load(Ordering::Relaxed) {
            let quiet = match self.live.next() {
                Ok(Some(packet)) => {
                    self.road.packet(&packet, &mut observations);
                    false
                }
                Ok(None) => true,
                Err(error) => {
                    tracing::error!("{error}");
                    break;
                }
            };
            if observations.len() >= BATCH || quiet && !observations.is_empty() {
                hand_over(sender, &mut observations, shared);
            }
            if reported.elapsed() >= REPORT_EVERY {
                reported = Instant::now();
                self.report_drops(&mut known);
            }
        }
        self.road.finish(&mut observations);
        hand_over(sender, &mut observations, shared);
    }

    fn report_drops(&mut self, known: &mut LiveStats) {
        let Ok(stats) = self.live.stats() else { return };
        if stats.dropped > known.dropped || stats.if_dropped > known.if_dropped {
            tracing::warn!(
                "{}: blind for a moment: {} packets dropped by the kernel, {} by the interface, of {}",
                self.name,
                stats.dropped,
                stats.if_dropped,
                stats.received
            );
        }
        *known = stats;
    }
}

/// A capture cannot wait: what finds no room is dropped and counted.
fn hand_over(sender: &Sender<Batch>, observations: &mut Vec<Observation>, shared: &Shared) {
    let batch =
        Batch { observations: std::mem::take(observations), positions: Vec::new(), notes: Vec::new() };
    let count = batch.observations.len() as u64;
    if let Err(TrySendError::Full(_)) = sender.try_send(batch) {
        shared.observations_dropped.fetch_add(count, Ordering::Relaxed);
    }
}
