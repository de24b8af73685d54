//! The logs of `watch`: all ways in on one thread, through one road, in the order of time.
//!
//! *In*: opened logs, orders. *Out*: batches of observations, each with the positions that the sources were read to
//! and what the road must remember there. *Bound*: [`LINES_AT_ONCE`] lines a batch; the channel to the judge. A log
//! waits where there is no room: a file can be read later.

use super::board::Board;
use super::log_input::LogInput;
use super::{Batch, wall_clock};
use crate::company::Company;
use crate::health::{SourceKind, SourceReading};
use crate::mta::{Dialect, LogRoad, LogSource, Note, SourceId};
use crate::observation::Observation;
use crate::tail::{Belief, Inlet, InletCounters, Merge, TailError, TakeLines, wake_on_change};
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;

/// How often logs are looked at, whether or not something woke us.
const LOG_POLL: Duration = Duration::from_millis(250);
/// How often logs are looked at where nothing can wake us.
const STREAM_POLL: Duration = Duration::from_millis(20);
/// Lines taken before their positions are handed over.
const LINES_AT_ONCE: usize = 8_192;
/// Observations handed over at once.
const OBSERVATIONS_AT_ONCE: usize = 1_024;
/// Under what the road's notes are kept.
pub const NOTES: &str = "log/";

/// What the thread may be told.
pub enum LogOrder {
    /// Another company, and the whole list of logs. Those that went on keep their place.
    Swap(Arc<Company>, Vec<LogInput>),
}

/// A log that is read.
struct Log {
    name: String,
    path: Option<PathBuf>,
    source: SourceId,
    dialect: Option<&'static Dialect>,
    zone: jiff::tz::TimeZone,
    /// The machine of lines that name none.
    machine: String,
    reading: SourceReading,
    /// Faults of ours that its lines met since the last look.
    faults: u64,
    troubled: bool,
    /// Lines reported as lost.
    said_lost: u64,
}

/// Reads all logs.
pub struct LogThread {
    road: LogRoad,
    company: Arc<Company>,
    logs: Vec<Log>,
    /// Beside each log its way in: the merge wants them together.
    inlets: Vec<Inlet>,
    merge: Merge,
    /// Sources of the road by name, also those of logs that are no longer read.
    sources: BTreeMap<String, SourceId>,
    belief: Belief,
    began: Instant,
    pause: Duration,
    /// Whether what wakes this thread is still wanted.
    waking: Arc<AtomicBool>,
    orders: Receiver<LogOrder>,
    sender: Sender<Batch>,
    board: Arc<Board>,
}

impl LogThread {
    /// Sets a thread up, with what an earlier run noted; [`LogThread::run`] is its life.
    pub fn new(
        company: Arc<Company>,
        inputs: Vec<LogInput>,
        notes: Vec<Note>,
        orders: Receiver<LogOrder>,
        sender: Sender<Batch>,
        board: Arc<Board>,
    ) -> LogThread {
        let mut thread = LogThread {
            road: LogRoad::new(Arc::clone(&company), Default::default()),
            company,
            logs: Vec::new(),
            inlets: Vec::new(),
            merge: Merge::default(),
            sources: BTreeMap::new(),
            belief: Belief::default(),
            began: Instant::now(),
            pause: STREAM_POLL,
            waking: Arc::default(),
            orders,
            sender,
            board,
        };
        thread.swap(inputs);
        let named = |(name, note): Note| Some((name.strip_prefix(NOTES)?.to_owned(), note));
        thread.road.restore(notes.into_iter().filter_map(named).collect());
        thread
    }

    /// Reads until told to stop, or until nothing can come any more. Each log is read to its present end first.
    pub fn run(mut self) {
        self.arrange_to_be_woken();
        loop {
            let stopping = self.board.stopping();
            match self.orders.try_recv() {
                Ok(LogOrder::Swap(company, inputs)) => {
                    self.road.set_company(Arc::clone(&company));
                    self.company = company;
                    self.swap(inputs);
                    self.arrange_to_be_woken();
                }
                Err(TryRecvError::Disconnected) if !stopping => break,
                Err(_) => {}
            }
            let lines = catch_unwind(AssertUnwindSafe(|| self.look())).unwrap_or_else(|_| {
                self.set_up_anew();
                Some(0)
            });
            match lines {
                None => break,
                Some(_) if stopping => break,
                Some(0) if self.inlets.iter().all(Inlet::ended) && !self.inlets.is_empty() => {
                    self.board.say_logs_over();
                    std::thread::park_timeout(self.pause);
                }
                Some(0) => std::thread::park_timeout(self.pause),
                Some(_) => {}
            }
        }
        self.waking.store(false, Ordering::Relaxed);
    }

    /// Hands over one batch of what is there; the lines read, or `None` where nobody listens any more.
    fn look(&mut self) -> Option<usize> {
        self.road.set_now(self.belief.now(wall_clock(), counting_clock(self.began)));
        self.logs.iter_mut().for_each(|log| log.troubled = false);
        let mut observations = Vec::new();
        let mut taker =
            Taker { road: &mut self.road, logs: &mut self.logs, room: LINES_AT_ONCE, out: &mut observations };
        let lines = self.merge.look(&mut self.inlets, &mut taker);
        let caught_up = taker.has_room();
        let faulty = self.report(caught_up);
        if lines > 0 {
            let positions = self.logs.iter().zip(&self.inlets);
            let positions = positions.filter_map(|(log, inlet)| Some((log.name.clone(), inlet.position()?)));
            let positions = positions.collect();
            let notes = self.road.take_changes().into_iter();
            let notes = notes.map(|(name, note)| (format!("{NOTES}{name}"), note)).collect();
            self.sender.blocking_send(Batch { observations, positions, notes }).ok()?;
        }
        if faulty {
            self.set_up_anew();
        }
        Some(lines)
    }

    /// Writes on the board how each log is doing. Whether a fault of ours was met.
    fn report(&mut self, caught_up: bool) -> bool {
        let mut faulty = false;
        for (log, inlet) in self.logs.iter_mut().zip(&self.inlets) {
            let (lost, how) = match inlet.counters() {
                InletCounters::File(counters) => {
                    (counters.possible_gaps, "times lines may have been lost in a rotation")
                }
                InletCounters::Stream(counters) => {
                    (counters.dropped, "lines were dropped because they came faster than they were judged")
                }
            };
            // Lost lines are said as soon as they are known, but not each one.
            if lost / 1_000 > log.said_lost / 1_000 || log.said_lost == 0 && lost > 0 {
                tracing::warn!("{}: {lost} {how}", log.name);
                log.said_lost = lost;
            }
            if !log.troubled {
                log.reading.failed = None;
            }
            (log.reading.gaps, log.reading.caught_up) = (lost, caught_up);
            log.reading.panics += log.faults;
            faulty |= std::mem::take(&mut log.faults) > 0;
            self.board.write(log.reading.clone());
        }
        faulty
    }

    /// Goes over to another list of logs. A log that stays, stays where it is; how it is read may change.
    fn swap(&mut self, inputs: Vec<LogInput>) {
        let mut old: Vec<_> = self.logs.drain(..).zip(self.inlets.drain(..)).collect();
        // The places are new; what is at hand in an inlet stays at hand.
        self.merge = Merge::default();
        for mut input in inputs {
            let known = old.iter().position(|(log, _)| log.name == input.name);
            let (known, inlet) = match (known.map(|index| old.swap_remove(index)), input.inlet.take()) {
                (Some((log, inlet)), _) => (Some(log), inlet),
                (None, Some(inlet)) => (None, inlet),
                (None, None) => continue,
            };
            let same = |log: &Log| {
                log.dialect.map(|d| d.name) == input.dialect.map(|d| d.name) && log.zone == input.zone
            };
            let mut log = match known {
                Some(log) if same(&log) => log,
                Some(log) => Log { reading: log.reading, ..self.log(&input, &inlet) },
                None => self.log(&input, &inlet),
            };
            log.machine = input.host.unwrap_or(input.name);
            self.road.name_machine(log.source, &log.machine);
            self.logs.push(log);
            self.inlets.push(inlet);
        }
        for (gone, _) in old {
            self.board.remove(&gone.name);
        }
    }

    fn log(&mut self, input: &LogInput, inlet: &Inlet) -> Log {
        let as_read = LogSource {
            name: input.name.clone(),
            dialect: input.dialect,
            zone: input.zone.clone(),
            modified_at: inlet.modified_at(),
        };
        let source = match self.sources.get(&input.name) {
            Some(source) => {
                self.road.replace_source(*source, as_read);
                *source
            }
            None => self.road.add_source(as_read),
        };
        self.sources.insert(input.name.clone(), source);
        Log {
            name: input.name.clone(),
            path: input.path.clone(),
            source,
            dialect: input.dialect,
            zone: input.zone.clone(),
            machine: String::new(),
            reading: SourceReading::of(&input.name, SourceKind::Log),
            faults: 0,
            troubled: false,
            said_lost: 0,
        }
    }

    /// What was joined so far may be half done: the road is set up anew, and the logs go on where they are.
    fn set_up_anew(&mut self) {
        tracing::error!(
            "a log line could not be taken because of a fault in portreeve; messages under way are forgotten, the logs are followed on. Please report what stands above"
        );
        self.road = LogRoad::new(Arc::clone(&self.company), Default::default());
        self.sources.clear();
        for (log, inlet) in self.logs.iter_mut().zip(&self.inlets) {
            log.source = self.road.add_source(LogSource {
                name: log.name.clone(),
                dialect: log.dialect,
                zone: log.zone.clone(),
                modified_at: inlet.modified_at(),
            });
            self.road.name_machine(log.source, &log.machine);
            self.sources.insert(log.name.clone(), log.source);
        }
        self.road.restore(Vec::new());
    }

    /// Lets changes of files wake this thread, and sets how long it may sleep.
    fn arrange_to_be_woken(&mut self) {
        self.waking.store(false, Ordering::Relaxed);
        let waking = Arc::new(AtomicBool::new(true));
        self.waking = Arc::clone(&waking);
        let files: Vec<PathBuf> = self.logs.iter().filter_map(|log| log.path.clone()).collect();
        let reader = std::thread::current();
        wake_on_change(&files, move || {
            reader.unpark();
            waking.load(Ordering::Relaxed)
        });
        self.pause = if files.len() == self.inlets.len() { LOG_POLL } else { STREAM_POLL };
    }
}

/// Feeds the road.
struct Taker<'t> {
    road: &'t mut LogRoad,
    logs: &'t mut [Log],
    /// Lines that may still be taken.
    room: usize,
    out: &'t mut Vec<Observation>,
}

impl Taker<'_> {
    fn has_room(&self) -> bool {
        self.room > 0 && self.out.len() < OBSERVATIONS_AT_ONCE
    }
}

impl TakeLines for Taker<'_> {
    fn stamp(&mut self, inlet: usize, line: &[u8]) -> Option<Timestamp> {
        self.road.stamp(self.logs.get(inlet)?.source, line)
    }

    fn line(&mut self, inlet: usize, line: &[u8]) -> bool {
        self.room = self.room.saturating_sub(1);
        if let Some(log) = self.logs.get_mut(inlet) {
            let (unparsed, seen) = (self.road.counters().unparsed, self.out.len());
            // Caught line by line: the reader must get past the one that did it.
            let taken = catch_unwind(AssertUnwindSafe(|| self.road.line(log.source, line, self.out)));
            log.faults += u64::from(taken.is_err());
            log.reading.taken += 1;
            log.reading.unparsed += self.road.counters().unparsed - unparsed;
            if let Some(newest) = self.out.iter().skip(seen).map(|seen| seen.at).max() {
                log.reading.behind_seconds = Some(wall_clock().seconds_since(newest));
            }
        }
        self.has_room()
    }

    fn trouble(&mut self, inlet: usize, error: TailError) {
        let Some(log) = self.logs.get_mut(inlet) else { return };
        let text = error.to_string();
        if log.reading.failed.as_ref() != Some(&text) {
            tracing::error!("{text}");
        }
        log.reading.failed = Some(text);
        log.troubled = true;
    }
}

/// Microseconds on a clock that only counts: since the system started, sleep included, where it says so.
fn counting_clock(began: Instant) -> i64 {
    let uptime = std::fs::read_to_string("/proc/uptime").ok();
    let seconds = uptime.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    match seconds {
        Some(seconds) => (seconds * 1e6) as i64,
        None => i64::try_from(began.elapsed().as_micros()).unwrap_or(i64::MAX),
    }
}
