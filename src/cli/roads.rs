//! The two roads as streams of observations in event time, and how they are merged.
//!
//! *In*: open captures and logs. *Out*: one ordered stream. *Bound*: [`BATCH`] observations at a time,
//! [`BATCHES_WAITING`] batches between threads.
//!
//! All captures share one [`WireRoad`] and all logs one [`LogRoad`], fed in event time across files, so that
//! an input that was split gives what the whole one gives. The order of the merged stream depends on the
//! inputs alone: each road's stream is keyed by the latest moment it has reached, and the smaller key goes
//! first. Whether a road runs on a thread of its own changes nothing but speed.

use super::failure::Failure;
use super::inputs::{Input, LogInput};
use crate::capture::{CaptureFile, Packet};
use crate::company::Company;
use crate::mta::{LogCounters, LogRoad, LogSettings, LogSource, SourceId};
use crate::observation::Observation;
use crate::smtp::{WireCounters, WireRoad, WireSettings};
use crate::tail::LogFile;
use crate::time::Timestamp;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Observations handed over at a time.
const BATCH: usize = 512;
/// Packets or lines read before a batch is handed over, full or not.
const READ_MAX: usize = 8_192;
/// Bytes that a capture file spends on a packet beside the packet.
const RECORD_HEADER_BYTES: u64 = 16;
/// Batches that wait between a road's thread and the judge.
const BATCHES_WAITING: usize = 64;

/// An observation with the latest moment that its road had reached.
type Keyed = (Timestamp, Observation);

/// What a road counted, and the inputs that ended badly.
#[derive(Default)]
pub struct RoadReport {
    /// Counters of the wire road.
    pub wire: Option<WireCounters>,
    /// Counters of the log road.
    pub log: Option<LogCounters>,
    /// One line for each input that could not be read to its end.
    pub failures: Vec<String>,
}

/// All captures, merged by the time of their packets.
struct WireStream {
    road: WireRoad,
    files: Vec<CaptureFile>,
    heap: BinaryHeap<Reverse<(Timestamp, usize)>>,
    report: RoadReport,
}

impl WireStream {
    fn new(company: Arc<Company>, settings: WireSettings, files: Vec<CaptureFile>) -> WireStream {
        let mut files: Vec<_> = files.into_iter().map(|mut file| (file.peek_at(), file)).collect();
        files.sort_by_key(|(first_at, _)| *first_at);
        let mut stream = WireStream {
            road: WireRoad::new(company, settings),
            files: files.into_iter().map(|(_, file)| file).collect(),
            heap: BinaryHeap::new(),
            report: RoadReport::default(),
        };
        for index in 0..stream.files.len() {
            stream.queue(index);
        }
        stream
    }

    /// Puts a file back in line by the time of its next packet, or takes note of how it ended.
    fn queue(&mut self, index: usize) {
        match self.files[index].peek_at() {
            Some(at) => self.heap.push(Reverse((at, index))),
            None => {
                if let Err(error) = self.files[index].next() {
                    self.report.failures.push(error.to_string());
                }
            }
        }
    }

    /// Reads on until enough came together. `false` at the end.
    fn fill(&mut self, out: &mut Vec<Observation>, bytes_read: &AtomicU64) -> bool {
        let (mut bytes, mut packets) = (0, 0);
        while out.len() < BATCH && packets < READ_MAX {
            let Some(Reverse((_, index))) = self.heap.pop() else {
                self.road.finish(out);
                self.report.wire = Some(self.road.counters().clone());
                return false;
            };
            let until = self.heap.peek().map(|Reverse(next)| *next);
            while let Some(packet) = next_packet(&mut self.files[index], &mut self.report) {
                bytes += packet.bytes.len() as u64 + RECORD_HEADER_BYTES;
                packets += 1;
                self.road.packet(&packet, out);
                let full = out.len() >= BATCH || packets >= READ_MAX;
                // A file that stands alone needs no look ahead.
                if full || until.is_some_and(|next| self.files[index].peek_at().is_none_or(|at| (at, index) > next)) {
                    self.queue(index);
                    break;
                }
            }
        }
        bytes_read.fetch_add(bytes, Ordering::Relaxed);
        true
    }
}

/// The next packet; a file that ends badly is taken note of.
fn next_packet<'a>(file: &'a mut CaptureFile, report: &mut RoadReport) -> Option<Packet<'a>> {
    match file.next() {
        Ok(packet) => packet,
        Err(error) => {
            report.failures.push(error.to_string());
            None
        }
    }
}

/// One log with its next line.
struct LogCursor {
    file: LogFile,
    source: SourceId,
    line: Vec<u8>,
    at: Timestamp,
}

/// All logs, merged by the stamps of their lines.
struct LogStream {
    road: LogRoad,
    cursors: Vec<LogCursor>,
    heap: BinaryHeap<Reverse<(Timestamp, usize)>>,
    report: RoadReport,
}

impl LogStream {
    fn new(
        company: Arc<Company>,
        settings: LogSettings,
        zone: &jiff::tz::TimeZone,
        logs: Vec<LogInput>,
    ) -> LogStream {
        let mut road = LogRoad::new(company, settings);
        let mut report = RoadReport::default();
        let mut cursors = Vec::new();
        for log in logs {
            let source = road.add_source(LogSource {
                name: log.name,
                dialect: log.dialect,
                zone: zone.clone(),
                modified_at: log.file.modified_at(),
            });
            let at = Timestamp::from_micros(i64::MIN);
            let mut cursor = LogCursor { file: log.file, source, line: Vec::new(), at };
            if cursor.advance(&mut road, &mut report) {
                cursors.push(cursor);
            }
        }
        cursors.sort_by_key(|cursor| cursor.at);
        let heap = cursors.iter().enumerate().map(|(index, cursor)| Reverse((cursor.at, index))).collect();
        LogStream { road, cursors, heap, report }
    }

    fn fill(&mut self, out: &mut Vec<Observation>, bytes_read: &AtomicU64) -> bool {
        let mut bytes = 0;
        let mut lines = 0;
        while out.len() < BATCH && lines < READ_MAX {
            let Some(Reverse((_, index))) = self.heap.pop() else {
                self.road.finish(out);
                self.report.log = Some(self.road.counters().clone());
                return false;
            };
            let until = self.heap.peek().map(|Reverse(next)| *next);
            let cursor = &mut self.cursors[index];
            loop {
                bytes += cursor.line.len() as u64 + 1;
                lines += 1;
                self.road.line(cursor.source, &cursor.line, out);
                if !cursor.advance(&mut self.road, &mut self.report) {
                    break;
                }
                if until.is_some_and(|next| (cursor.at, index) > next) || out.len() >= BATCH || lines >= READ_MAX {
                    self.heap.push(Reverse((cursor.at, index)));
                    break;
                }
            }
        }
        bytes_read.fetch_add(bytes, Ordering::Relaxed);
        true
    }
}

impl LogCursor {
    /// Takes the next line; a line without a stamp belongs to the one before. `false` at the end.
    fn advance(&mut self, road: &mut LogRoad, report: &mut RoadReport) -> bool {
        self.line.clear();
        match self.file.next_line() {
            Ok(Some(line)) => {
                self.line.extend_from_slice(line);
                if let Some(at) = road.stamp(self.source, &self.line) {
                    self.at = self.at.max(at);
                }
                true
            }
            Ok(None) => false,
            Err(error) => {
                report.failures.push(error.to_string());
                false
            }
        }
    }
}

enum Road {
    Wire(Box<WireStream>),
    Log(Box<LogStream>),
}

impl Road {
    fn fill(&mut self, out: &mut Vec<Observation>, bytes_read: &AtomicU64) -> bool {
        match self {
            Road::Wire(stream) => stream.fill(out, bytes_read),
            Road::Log(stream) => stream.fill(out, bytes_read),
        }
    }

    fn report(self) -> RoadReport {
        match self {
            Road::Wire(stream) => stream.report,
            Road::Log(stream) => stream.report,
        }
    }
}

/// Where a road's observations come from.
enum Supply {
    Inline(Road),
    Thread { batches: Receiver<Vec<Observation>>, handle: JoinHandle<Road> },
    Ended,
}

struct Lane {
    supply: Supply,
    waiting: VecDeque<Keyed>,
    reached: Timestamp,
}

impl Lane {
    /// Makes sure that an observation waits, unless the road has ended.
    fn fill(&mut self, bytes_read: &AtomicU64, report: &mut RoadReport) -> Result<(), Failure> {
        let mut batch = Vec::new();
        while self.waiting.is_empty() {
            let more = match &mut self.supply {
                Supply::Ended => return Ok(()),
                Supply::Inline(road) => road.fill(&mut batch, bytes_read),
                Supply::Thread { batches, .. } => match batches.recv() {
                    Ok(received) => {
                        batch = received;
                        true
                    }
                    Err(_) => false,
                },
            };
            for observation in batch.drain(..) {
                self.reached = self.reached.max(observation.at);
                self.waiting.push_back((self.reached, observation));
            }
            if !more {
                let road = match std::mem::replace(&mut self.supply, Supply::Ended) {
                    Supply::Inline(road) => road,
                    Supply::Thread { handle, .. } => {
                        handle.join().map_err(|_| Failure::running("a reading thread ended by a fault"))?
                    }
                    Supply::Ended => return Ok(()),
                };
                let own = road.report();
                report.wire = own.wire.or(report.wire.take());
                report.log = own.log.or(report.log.take());
                report.failures.extend(own.failures);
            }
        }
        Ok(())
    }
}

/// All roads as one stream in event time.
pub struct Roads {
    lanes: Vec<Lane>,
    bytes_read: Arc<AtomicU64>,
    report: RoadReport,
}

/// How the roads are to be read.
pub struct RoadSettings {
    /// Of the wire road.
    pub wire: WireSettings,
    /// Of the log road.
    pub log: LogSettings,
    /// Zone of stamps that name none.
    pub zone: jiff::tz::TimeZone,
    /// Threads in all; with more than one, each road reads on its own.
    pub threads: usize,
}

impl Roads {
    /// Takes open inputs.
    pub fn new(company: &Arc<Company>, settings: RoadSettings, inputs: Vec<Input>) -> Roads {
        let (mut captures, mut logs) = (Vec::new(), Vec::new());
        for input in inputs {
            match input {
                Input::Capture(file) => captures.push(file),
                Input::Log(log) => logs.push(log),
            }
        }
        let bytes_read = Arc::new(AtomicU64::new(0));
        let mut roads = Vec::new();
        if !captures.is_empty() {
            let stream = WireStream::new(Arc::clone(company), settings.wire, captures);
            roads.push(Road::Wire(Box::new(stream)));
        }
        if !logs.is_empty() {
            let stream = LogStream::new(Arc::clone(company), settings.log, &settings.zone, logs);
            roads.push(Road::Log(Box::new(stream)));
        }
        let lanes = roads.into_iter().map(|road| Lane {
            supply: if settings.threads > 1 { on_a_thread(road, &bytes_read) } else { Supply::Inline(road) },
            waiting: VecDeque::new(),
            reached: Timestamp::from_micros(i64::MIN),
        });
        Roads { lanes: lanes.collect(), bytes_read, report: RoadReport::default() }
    }

    /// The next observation in event time; `None` at the end.
    #[allow(clippy::should_implement_trait)] // it can fail
    pub fn next(&mut self) -> Result<Option<Observation>, Failure> {
        let mut first: Option<(Timestamp, usize)> = None;
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            lane.fill(&self.bytes_read, &mut self.report)?;
            if let Some((at, _)) = lane.waiting.front()
                && first.is_none_or(|(earliest, _)| *at < earliest)
            {
                first = Some((*at, index));
            }
        }
        Ok(first.and_then(|(_, index)| self.lanes[index].waiting.pop_front()).map(|(_, observation)| observation))
    }

    /// Bytes read so far, of all inputs, after decompression.
    pub fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes_read)
    }

    /// What the roads counted. Whole once [`Roads::next`] gave `None`.
    pub fn into_report(self) -> RoadReport {
        self.report
    }
}

fn on_a_thread(mut road: Road, bytes_read: &Arc<AtomicU64>) -> Supply {
    let (sender, batches): (SyncSender<Vec<Observation>>, _) = sync_channel(BATCHES_WAITING);
    let bytes_read = Arc::clone(bytes_read);
    let handle = std::thread::spawn(move || {
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            let more = road.fill(&mut batch, &bytes_read);
            // The judge has gone: nobody wants the rest.
            if !batch.is_empty() && sender.send(batch).is_err() || !more {
                return road;
            }
        }
    });
    Supply::Thread { batches, handle }
}
