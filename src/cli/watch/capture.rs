//! One interface, read on threads of its own: one, or several that share its connections.
//!
//! *In*: an open interface, orders. *Out*: what was seen, handed over to [`Lanes`]. *Bound*: the kernel's ring, one a
//! thread; a span port cannot be asked to wait.
//!
//! A panic while a packet is taken ends neither the thread nor the capture: the road is set up anew on the same
//! open interface (the right to open another one may be gone by then), and it is said.

use super::lanes::Lanes;
use super::{BATCH, wall_clock};
use crate::capture::{Fanout, Live, LiveSettings, LiveStats};
use crate::cli::failure::Failure;
use crate::company::Company;
use crate::config::{CaptureConfig, ContentConfig};
use crate::health::{SourceKind, SourceReading};
use crate::observation::Observation;
use crate::sandbox;
use crate::smtp::{WireCounters, WireRoad, WireSettings};
use crate::time::Timestamp;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// How often counters are written on the board.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Packets between two looks at orders and clock.
const PACKETS_BETWEEN_LOOKS: u32 = 512;
/// How long the kernel's ring is emptied after the order to stop.
const DRAIN_WAIT: Duration = Duration::from_secs(1);
/// How long the kernel may keep a packet before it hands over the block it lies in: twice `LiveSettings::timeout_ms`.
const RETIRE_WAIT: Duration = Duration::from_millis(200);
/// How far behind the clock a quiet line is known to have nothing more to give.
const QUIET_MARGIN_SECONDS: f64 = 2.0;
/// How long packets may be passed over because of their time: the clock may be set meanwhile.
const PASSING_MAX: Duration = Duration::from_secs(5);

/// What a running capture may be told.
pub enum CaptureOrder {
    /// Other networks and hosts, other ways to read.
    Settings(Arc<Company>, WireSettings),
    /// Another filter or other ports: an interface opened anew, which takes over without a gap.
    Replace(Box<OpenLane>),
    /// Drain and end.
    Stop,
}

/// An interface that is open as often as threads are to read it, with the settings it was opened with.
pub struct OpenCapture {
    lives: Vec<Live>,
    wire: WireSettings,
    /// When all of it was open. Before, the kernel dealt the packets to fewer.
    complete_at: Timestamp,
}

/// What one thread reads: its share of the connections of an interface.
pub struct OpenLane {
    live: Live,
    wire: WireSettings,
    complete_at: Timestamp,
}

impl OpenCapture {
    /// Opens the interface.
    pub fn open(capture: &CaptureConfig, content: &ContentConfig) -> Result<OpenCapture, Failure> {
        let wire = content.wire(capture.ports.clone());
        let settings = LiveSettings {
            ports: wire.ports.clone(),
            filter: capture.filter.clone(),
            fanout: (capture.threads > 1).then(Fanout::default),
            ..LiveSettings::default()
        };
        sandbox::take_up_capture();
        let open = |_| Live::open(&capture.interface, &settings).map_err(Failure::usage);
        let lives = (0..capture.threads).map(open).collect::<Result<_, Failure>>()?;
        Ok(OpenCapture { lives, wire, complete_at: wall_clock() })
    }

    /// What each thread gets.
    pub fn into_lanes(self) -> Vec<OpenLane> {
        let OpenCapture { lives, wire, complete_at } = self;
        lives.into_iter().map(|live| OpenLane { live, wire: wire.clone(), complete_at }).collect()
    }
}

/// What the thread works with.
pub struct CaptureThread {
    name: String,
    /// Which of the threads of its interface it is.
    lane: usize,
    lanes: Arc<Lanes>,
    open: OpenLane,
    company: Arc<Company>,
    road: WireRoad,
    /// Which packets of the ring are its own.
    span: Span,
    /// Up to when the ring was read.
    read_up_to: Timestamp,
    /// Counters of interfaces that were replaced.
    stats_before: LiveStats,
    /// Counters of the interface when it could be asked last: one that cannot be has not begun anew.
    stats_last: LiveStats,
    panics: u64,
    /// Why it cannot be read at present.
    failed: Option<String>,
    orders: Receiver<CaptureOrder>,
    reported: Instant,
}

/// Which packets of a ring are read. The others are those of another ring.
#[derive(Clone, Copy)]
struct Span {
    /// The first, and since when it is waited for.
    from: Option<(Timestamp, Instant)>,
    /// The first that is no more.
    until: Option<Timestamp>,
    /// Whether one came that is too late.
    is_over: bool,
}

impl Span {
    fn from(first: Timestamp) -> Span {
        Span { from: Some((first, Instant::now())), until: None, is_over: false }
    }

    /// Whether a packet is read.
    fn takes(&mut self, at: Timestamp) -> bool {
        // Once one has come that is not too early, none is.
        self.from = self.from.filter(|(first, since)| at < *first && since.elapsed() < PASSING_MAX);
        let late = self.until.is_some_and(|until| at >= until);
        self.is_over |= late;
        self.from.is_none() && !late
    }
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
        lane: usize,
        lanes: Arc<Lanes>,
        open: OpenLane,
        company: Arc<Company>,
        orders: Receiver<CaptureOrder>,
    ) -> CaptureThread {
        let now = Instant::now();
        CaptureThread {
            name: name.to_owned(),
            lane,
            lanes,
            road: WireRoad::new(Arc::clone(&company), open.wire.clone()),
            span: Span::from(open.complete_at),
            open,
            company,
            read_up_to: Timestamp::from_micros(i64::MIN),
            stats_before: LiveStats::default(),
            stats_last: LiveStats::default(),
            panics: 0,
            failed: None,
            orders,
            reported: now,
        }
    }

    /// Reads until told to stop, or until nobody listens. What is open is given back, so that it can stay open until all
    /// threads of the interface have ended: the kernel would give the others what this one had.
    pub fn run(mut self) -> OpenLane {
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
            self.lanes.hand_over(self.lane, &mut observations, self.read_up_to, quiet);
            if self.reported.elapsed() >= REPORT_EVERY {
                self.report();
            }
        }
        if self.failed.is_none() {
            self.drain(&mut observations);
        }
        self.road.finish(&mut observations);
        self.lanes.end(self.lane, &mut observations);
        self.report();
        self.open
    }

    /// Takes packets until none waits, or it is time to look up.
    fn turn(&mut self, observations: &mut Vec<Observation>) -> Result<Turn, String> {
        for _ in 0..PACKETS_BETWEEN_LOOKS {
            match self.open.live.next() {
                Ok(Some(packet)) if !self.span.takes(packet.at) => {}
                Ok(Some(packet)) => {
                    self.read_up_to = self.read_up_to.max(packet.at);
                    self.road.packet(&packet, observations);
                }
                Ok(None) => {
                    let read_up_to = wall_clock().plus_seconds(-QUIET_MARGIN_SECONDS);
                    self.read_up_to = self.read_up_to.max(read_up_to);
                    self.road.quiet_until(read_up_to, observations);
                    return Ok(Turn::Quiet);
                }
                Err(error) => {
                    self.read_up_to = self.read_up_to.max(wall_clock().plus_seconds(-QUIET_MARGIN_SECONDS));
                    return Err(error.to_string());
                }
            }
            if observations.len() >= BATCH {
                break;
            }
        }
        Ok(if self.lanes.is_closed() { Turn::Ended } else { Turn::Packets })
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
                Err(TryRecvError::Empty) => return !self.lanes.stopping(),
            }
        }
    }

    /// Reads what the old ring holds from before the new ones were complete, and goes on with the new one from there: no
    /// packet is read twice, by whichever thread.
    fn replace(&mut self, open: OpenLane) {
        let mut observations = Vec::new();
        self.span.until = Some(open.complete_at);
        self.drain(&mut observations);
        self.stats_before = self.stats();
        self.stats_last = LiveStats::default();
        self.road.set_settings(open.wire.clone());
        self.span = Span::from(open.complete_at);
        self.open = open;
        self.lanes.hand_over(self.lane, &mut observations, self.read_up_to, true);
    }

    /// Empties the kernel's ring.
    fn drain(&mut self, observations: &mut Vec<Observation>) {
        let began = Instant::now();
        while began.elapsed() < DRAIN_WAIT {
            let turn = catch_unwind(AssertUnwindSafe(|| self.turn(observations)));
            let emptied = !matches!(turn, Ok(Ok(Turn::Packets))) || self.span.is_over;
            if emptied && began.elapsed() >= RETIRE_WAIT {
                break;
            }
            self.lanes.hand_over(self.lane, observations, self.read_up_to, false);
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
        self.road = WireRoad::new(Arc::clone(&self.company), self.open.wire.clone());
    }

    fn stats(&mut self) -> LiveStats {
        let now = self.open.live.stats().unwrap_or(self.stats_last);
        self.stats_last = now;
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
            panics: self.panics,
            failed: self.failed.clone().or_else(|| self.away()),
            caught_up: true,
            ..reading(&self.name, self.road.counters(), stats)
        };
        self.lanes.report(self.lane, reading);
    }
}

/// What health wants to know of a capture.
fn reading(name: &str, wire: &WireCounters, stats: LiveStats) -> SourceReading {
    let undecodable = &wire.undecodable;
    SourceReading {
        taken: stats.received,
        dropped_by_kernel: stats.dropped,
        dropped_by_interface: stats.if_dropped,
        undecodable: undecodable.bad_ip
            + undecodable.bad_tcp
            + undecodable.unknown_link
            + undecodable.short_link,
        flows: wire.flows,
        flows_two_way: wire.flows_two_way,
        flows_originator_only: wire.flows_originator_only,
        flows_responder_only: wire.flows_responder_only,
        sessions: wire.sessions,
        sessions_hidden: wire.sessions_tls,
        gap_bytes: wire.flow.gap_bytes,
        ..SourceReading::of(name, SourceKind::Capture)
    }
}
