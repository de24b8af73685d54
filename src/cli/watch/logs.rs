//! The logs of `watch`: all ways in on one thread, through one road, in the order of time.
//!
//! *In*: sources of the configuration. *Out*: batches of observations, each with the positions that the sources were
//! read to and what the road must remember there. *Bound*: [`LINES_AT_ONCE`] lines a batch; the channel to the judge.
//! A log waits where there is no room: a file can be read later.

use super::{Batch, Shared};
use crate::cli::failure::Failure;
use crate::cli::judge::Judge;
use crate::company::Company;
use crate::config::{Config, LogConfig, zone};
use crate::mta::{LogRoad, LogSource, Note, SourceId};
use crate::observation::Observation;
use crate::tail::{
    Belief, Follower, Inlet, InletCounters, Merge, Stream, TailError, TakeLines, Way, follow_journal, listen,
    wake_on_change,
};
use crate::time::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::Sender;

/// How often logs are looked at, whether or not something woke us.
const LOG_POLL: Duration = Duration::from_millis(250);
/// How often logs are looked at where nothing can wake us.
const STREAM_POLL: Duration = Duration::from_millis(20);
/// Lines taken before their positions are handed over.
const LINES_AT_ONCE: usize = 8_192;
/// Observations handed over at once.
const BATCH: usize = 1_024;
/// Under what the road's notes are kept.
const NOTES: &str = "log/";

/// Reads all logs.
pub(super) struct LogThread {
    road: LogRoad,
    names: Vec<String>,
    sources: Vec<SourceId>,
    inlets: Vec<Inlet>,
    merge: Merge,
    said: Vec<Said>,
    belief: Belief,
    began: Instant,
}

/// What was said of an inlet, so that it is said once.
#[derive(Clone, Default)]
struct Said {
    trouble: Option<String>,
    lost: u64,
}

impl LogThread {
    pub(super) fn open(
        config: &Config,
        company: &Arc<Company>,
        judge: &Judge,
        from_start: bool,
    ) -> Result<Option<LogThread>, Failure> {
        if config.source.log.is_empty() {
            return Ok(None);
        }
        let mut thread = LogThread {
            road: LogRoad::new(Arc::clone(company), Default::default()),
            names: Vec::new(),
            sources: Vec::new(),
            inlets: Vec::new(),
            merge: Merge::default(),
            said: vec![Said::default(); config.source.log.len()],
            belief: Belief::default(),
            began: Instant::now(),
        };
        for log in &config.source.log {
            let zone_name = log.time_zone.as_deref().or(config.company.time_zone.as_deref());
            let name = log.name();
            let dialect = log.dialect.as_deref().map(|name| config.dialect(name)).transpose();
            let dialect = dialect.map_err(Failure::usage)?;
            let inlet = open(log, judge.position(&name)?.as_deref(), from_start)?;
            thread.sources.push(thread.road.add_source(LogSource {
                name: name.clone(),
                dialect,
                zone: zone(zone_name).map_err(Failure::usage)?,
                modified_at: inlet.modified_at(),
            }));
            if let (Some(host), Some(source)) = (&log.host, thread.sources.last()) {
                thread.road.name_machine(*source, host);
            }
            thread.inlets.push(inlet);
            thread.names.push(name);
        }
        let named = |(name, note): Note| Some((name.strip_prefix(NOTES)?.to_owned(), note));
        thread.road.restore(judge.notes(NOTES)?.into_iter().filter_map(named).collect());
        Ok(Some(thread))
    }

    /// Reads until told to stop, or until nothing can come any more.
    pub(super) fn run(mut self, sender: &Sender<Batch>, shared: &Shared) {
        let pause = self.arrange_to_be_woken();
        loop {
            let stopping = shared.stop.load(Ordering::Relaxed);
            let lines = self.look(sender);
            self.say_what_was_lost();
            match lines {
                None => return,
                Some(_) if stopping => return,
                Some(0) if self.inlets.iter().all(Inlet::ended) => return,
                Some(0) => std::thread::park_timeout(pause),
                Some(_) => {}
            }
        }
    }

    /// Hands over one batch of what is there; the lines read, or `None` where nobody listens any more.
    fn look(&mut self, sender: &Sender<Batch>) -> Option<usize> {
        self.road.set_now(self.belief.now(wall_clock(), counting_clock(self.began)));
        let mut observations = Vec::new();
        let mut taker = Taker {
            road: &mut self.road,
            sources: &self.sources,
            names: &self.names,
            said: &mut self.said,
            room: LINES_AT_ONCE,
            out: &mut observations,
        };
        let lines = self.merge.look(&mut self.inlets, &mut taker);
        if lines > 0 {
            let positions = self.names.iter().zip(&self.inlets);
            let positions = positions.filter_map(|(name, inlet)| Some((name.clone(), inlet.position()?)));
            let positions = positions.collect();
            let notes = self.road.take_changes().into_iter();
            let notes = notes.map(|(name, note)| (format!("{NOTES}{name}"), note)).collect();
            sender.blocking_send(Batch { observations, positions, notes }).ok()?;
        }
        Some(lines)
    }

    /// Lets changes of files wake this thread. How long it may sleep.
    fn arrange_to_be_woken(&self) -> Duration {
        let files: Vec<PathBuf> = self
            .names
            .iter()
            .zip(&self.inlets)
            .filter(|(_, inlet)| matches!(inlet, Inlet::File(_)))
            .map(|(name, _)| PathBuf::from(name))
            .collect();
        let reader = std::thread::current();
        wake_on_change(&files, move || {
            reader.unpark();
            true
        });
        if files.len() == self.inlets.len() { LOG_POLL } else { STREAM_POLL }
    }

    /// Lost lines are said as soon as they are known, but not each one.
    fn say_what_was_lost(&mut self) {
        for ((name, inlet), said) in self.names.iter().zip(&self.inlets).zip(&mut self.said) {
            let (lost, how) = match inlet.counters() {
                InletCounters::File(counters) => {
                    (counters.possible_gaps, "times lines may have been lost in a rotation")
                }
                InletCounters::Stream(counters) => {
                    (counters.dropped, "lines were dropped because they came faster than they were judged")
                }
            };
            if lost / 1_000 > said.lost / 1_000 || said.lost == 0 && lost > 0 {
                tracing::warn!("{name}: {lost} {how}");
                said.lost = lost;
            }
        }
    }
}

/// Opens a way in, at its position where one was kept.
fn open(log: &LogConfig, position: Option<&str>, from_start: bool) -> Result<Inlet, Failure> {
    let open = || -> Result<Inlet, TailError> {
        let way = log.way().map_err(|detail| TailError::System { name: log.name(), detail })?;
        Ok(match way {
            Way::File(path) => Inlet::File(Box::new(match position {
                Some(position) => Follower::resume(&path, position)?,
                None if from_start => Follower::from_start(&path)?,
                None => Follower::from_end(&path)?,
            })),
            Way::Stdin => Inlet::Stream(Stream::stdin()),
            Way::Journal(settings) => Inlet::Stream(follow_journal(&settings, position, from_start)?),
            Way::Listen(settings) => Inlet::Stream(listen(&settings)?.0),
        })
    };
    open().map_err(Failure::usage)
}

/// Feeds the road.
struct Taker<'t> {
    road: &'t mut LogRoad,
    sources: &'t [SourceId],
    names: &'t [String],
    said: &'t mut [Said],
    /// Lines that may still be taken.
    room: usize,
    out: &'t mut Vec<Observation>,
}

impl TakeLines for Taker<'_> {
    fn stamp(&mut self, inlet: usize, line: &[u8]) -> Option<Timestamp> {
        self.road.stamp(*self.sources.get(inlet)?, line)
    }

    fn line(&mut self, inlet: usize, line: &[u8]) -> bool {
        if let Some(source) = self.sources.get(inlet) {
            self.road.line(*source, line, self.out);
        }
        if let Some(said) = self.said.get_mut(inlet) {
            said.trouble = None;
        }
        self.room = self.room.saturating_sub(1);
        self.room > 0 && self.out.len() < BATCH
    }

    fn trouble(&mut self, inlet: usize, error: TailError) {
        let (Some(said), Some(_)) = (self.said.get_mut(inlet), self.names.get(inlet)) else { return };
        let text = error.to_string();
        if said.trouble.as_ref() != Some(&text) {
            tracing::error!("{text}");
            said.trouble = Some(text);
        }
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

/// What the calendar's clock says.
fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
