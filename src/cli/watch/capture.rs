//! One interface, read on a thread of its own.
//!
//! *In*: an open interface, orders. *Out*: batches of observations. *Bound*: a batch that finds no room is
//! dropped and counted: a span port cannot be asked to wait.
//!
//! A panic while a packet is taken ends neither the thread nor the capture: the road is set up anew on the same
//! open interface (the right to open another one may be gone by then), and it is said.

use super::board::Board;
use super::{BATCH, Batch, wall_clock};
use crate::capture::{Live, LiveSettings, LiveStats};
use crate::cli::failure::Failure;
use crate::company::Company;
use crate::config::{CaptureConfig, ContentConfig};
use crate::health::{SourceKind, SourceReading};
use crate::observation::{Fact, Observation, Tls};
use crate::sandbox;
use crate::smtp::{WireCounters, WireRoad, WireSettings};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Sender, error::TrySendError};

/// How often counters are written on the board.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Packets between two looks at orders and clock.
const PACKETS_BETWEEN_LOOKS: u32 = 512;
/// How long the kernel's ring is emptied after the order to stop.
const DRAIN_WAIT: Duration = Duration::from_secs(1);
/// How far behind the clock a quiet line is known to have nothing more to give.
const QUIET_MARGIN_SECONDS: f64 = 2.0;

/// What a running capture may be told.
pub enum CaptureOrder {
    /// Other networks and hosts, other ways to read.
    Settings(Arc<Company>, WireSettings),
    /// Another filter or other ports: an interface opened anew, which takes over without a gap.
    Replace(Box<OpenCapture>),
    /// Drain and end.
    Stop,
}

/// An interface that is open, with the settings it was opened with.
pub struct OpenCapture {
    live: Live,
    wire: WireSettings,
}

impl OpenCapture {
    /// Opens the interface.
    pub fn open(capture: &CaptureConfig, content: &ContentConfig) -> Result<OpenCapture, Failure> {
        let wire = content.wire(capture.ports.clone());
        let settings = LiveSettings {
            ports: wire.ports.clone(),
            filter: capture.filter.clone(),
            ..LiveSettings::default()
        };
        sandbox::take_up_capture();
        let live = Live::open(&capture.interface, &settings).map_err(Failure::usage)?;
        Ok(OpenCapture { live, wire })
    }

    fn road(&self, company: &Arc<Company>) -> WireRoad {
        WireRoad::new(Arc::clone(company), self.wire.clone())
    }
}

/// What the thread works with.
pub struct CaptureThread {
    name: String,
    open: OpenCapture,
    company: Arc<Company>,
    road: WireRoad,
    /// Counters of roads and interfaces that were replaced.
    stats_before: LiveStats,
    queue_dropped: u64,
    sessions_hidden: u64,
    panics: u64,
    /// Why it cannot be read at present.
    failed: Option<String>,
    orders: Receiver<CaptureOrder>,
    sender: Sender<Batch>,
    board: Arc<Board>,
    reported: Instant,
}

/// What came of one look at the line.
enum Turn {
    Packets,
    Quiet,
    Ended,
}

impl CaptureThread {
    /// Sets a thread up; [`CaptureThread::run`] is its life.
    pub fn new(
        name: &str,
        open: OpenCapture,
        company: Arc<Company>,
        orders: Receiver<CaptureOrder>,
        sender: Sender<Batch>,
        board: Arc<Board>,
    ) -> CaptureThread {
        let road = open.road(&company);
        CaptureThread {
            name: name.to_owned(),
            open,
            company,
            road,
            stats_before: LiveStats::default(),
            queue_dropped: 0,
            sessions_hidden: 0,
            panics: 0,
            failed: None,
            orders,
            sender,
            board,
            reported: Instant::now(),
        }
    }

    /// Reads until told to stop, or until the interface is gone.
    pub fn run(mut self) {
        let mut observations = Vec::new();
        while self.obey() {
            let turn = catch_unwind(AssertUnwindSafe(|| self.turn(&mut observations)));
            let quiet = match turn {
                Ok(Ok(Turn::Ended)) => break,
                Ok(Ok(turn)) => {
                    self.failed = None;
                    matches!(turn, Turn::Quiet)
                }
                Ok(Err(error)) => {
                    self.trouble(error);
                    true
                }
                Err(_) => {
                    self.panicked();
                    true
                }
            };
            if observations.len() >= BATCH || quiet && !observations.is_empty() {
                self.hand_over(&mut observations);
            }
            if self.reported.elapsed() >= REPORT_EVERY {
                self.report();
            }
        }
        if self.failed.is_none() {
            self.drain(&mut observations);
        }
        self.road.finish(&mut observations);
        self.hand_over(&mut observations);
        self.report();
    }

    /// Takes packets until none waits, or it is time to look up.
    fn turn(&mut self, observations: &mut Vec<Observation>) -> Result<Turn, String> {
        for _ in 0..PACKETS_BETWEEN_LOOKS {
            match self.open.live.next() {
                Ok(Some(packet)) => self.road.packet(&packet, observations),
                Ok(None) => {
                    let read_up_to = wall_clock().plus_seconds(-QUIET_MARGIN_SECONDS);
                    self.road.quiet_until(read_up_to, observations);
                    return Ok(Turn::Quiet);
                }
                Err(error) => return Err(error.to_string()),
            }
            if observations.len() >= BATCH {
                break;
            }
        }
        Ok(if self.sender.is_closed() { Turn::Ended } else { Turn::Packets })
    }

    /// Follows orders; `false` where it is time to end.
    fn obey(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(CaptureOrder::Settings(company, wire)) => {
                    self.road.set_company(Arc::clone(&company));
                    self.road.set_settings(wire.clone());
                    (self.company, self.open.wire) = (company, wire);
                }
                Ok(CaptureOrder::Replace(open)) => self.replace(*open),
                Ok(CaptureOrder::Stop) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return !self.board.stopping(),
            }
        }
    }

    /// Reads what the old interface still holds, then goes over to the new one. What both saw is a repetition to
    /// the road, which counts it once.
    fn replace(&mut self, open: OpenCapture) {
        let mut observations = Vec::new();
        self.drain(&mut observations);
        self.hand_over(&mut observations);
        self.stats_before = self.stats();
        self.road.set_settings(open.wire.clone());
        self.open = open;
    }

    /// Empties the kernel's ring.
    fn drain(&mut self, observations: &mut Vec<Observation>) {
        let began = Instant::now();
        while began.elapsed() < DRAIN_WAIT {
            let turn = catch_unwind(AssertUnwindSafe(|| self.turn(observations)));
            if observations.len() >= BATCH {
                self.hand_over(observations);
            }
            if !matches!(turn, Ok(Ok(Turn::Packets))) {
                break;
            }
        }
    }

    /// An interface that went down may come up again: it is asked again.
    fn trouble(&mut self, error: String) {
        if self.failed.as_ref() != Some(&error) {
            tracing::error!("{error}");
        }
        self.failed = Some(error);
        self.report();
        std::thread::sleep(REPORT_EVERY);
    }

    fn panicked(&mut self) {
        self.panics += 1;
        tracing::error!(
            "{}: a packet could not be taken because of a fault in portreeve; connections under way are forgotten, the capture goes on. Please report what stands above",
            self.name
        );
        self.road = self.open.road(&self.company);
    }

    /// A capture cannot wait: what finds no room is dropped and counted.
    fn hand_over(&mut self, observations: &mut Vec<Observation>) {
        if observations.is_empty() {
            return;
        }
        let hidden = |seen: &&Observation| matches!(&seen.fact, Fact::Session(s) if s.tls == Tls::Started);
        self.sessions_hidden += observations.iter().filter(hidden).count() as u64;
        let batch = Batch { observations: std::mem::take(observations), ..Batch::default() };
        if let Err(TrySendError::Full(batch)) = self.sender.try_send(batch) {
            self.queue_dropped += batch.observations.len() as u64;
        }
    }

    fn stats(&mut self) -> LiveStats {
        let now = self.open.live.stats().unwrap_or_default();
        LiveStats {
            received: self.stats_before.received.saturating_add(now.received),
            dropped: self.stats_before.dropped.saturating_add(now.dropped),
            if_dropped: self.stats_before.if_dropped.saturating_add(now.if_dropped),
        }
    }

    /// Says that the interface is down or gone.
    fn away(&self) -> Option<String> {
        let away = self.open.live.down_for()?;
        Some(format!("the interface has been down or away for {} s", away.as_secs()))
    }

    fn report(&mut self) {
        self.reported = Instant::now();
        let stats = self.stats();
        let reading = SourceReading {
            dropped_by_queue: self.queue_dropped,
            sessions_hidden: self.sessions_hidden,
            panics: self.panics,
            failed: self.failed.clone().or_else(|| self.away()),
            caught_up: true,
            ..reading(&self.name, self.road.counters(), stats)
        };
        self.board.write(reading);
    }
}

/// What health wants to know of a capture.
fn reading(name: &str, wire: &WireCounters, stats: LiveStats) -> SourceReading {
    let undecodable = &wire.undecodable;
    SourceReading {
        taken: u64::from(stats.received),
        dropped_by_kernel: u64::from(stats.dropped),
        dropped_by_interface: u64::from(stats.if_dropped),
        undecodable: undecodable.bad_ip
            + undecodable.bad_tcp
            + undecodable.unknown_link
            + undecodable.short_link,
        flows: wire.flows,
        replies: wire.replies,
        commands: wire.recipients_offered.saturating_add(wire.transactions),
        sessions: wire.sessions,
        gap_bytes: wire.flow.gap_bytes,
        ..SourceReading::of(name, SourceKind::Capture)
    }
}
