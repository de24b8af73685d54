//! All logs, read on one thread: the lines of one message may stand in several of them.
//!
//! *In*: opened logs, orders. *Out*: batches of observations, each with the positions it brought the logs to.
//! *Bound*: `limits::POLL_BYTES_MAX` a look. A log waits where there is no room: a file can be read later.

use super::board::Board;
use super::{Batch, wall_clock};
use crate::cli::failure::Failure;
use crate::company::Company;
use crate::config::{Config, LogConfig, zone};
use crate::health::{SourceKind, SourceReading};
use crate::mta::{DIALECTS, Dialect, LogRoad, LogSource, SourceId};
use crate::tail::Follower;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// How often a log is looked at.
const LOG_POLL: Duration = Duration::from_millis(250);

/// What the thread may be told.
pub enum LogOrder {
    /// Another company, and the whole list of logs. Those that went on keep their place.
    Swap(Arc<Company>, Vec<LogInput>),
}

/// A log of the configuration, checked.
pub struct LogInput {
    /// Its path, which is its name in the state.
    pub name: String,
    dialect: Option<&'static Dialect>,
    zone: jiff::tz::TimeZone,
    /// `None` where the thread follows it already.
    follower: Option<Follower>,
}

impl LogInput {
    /// Checks a log, and opens it where it is not followed already.
    pub fn open(
        log: &LogConfig,
        config: &Config,
        position: Option<String>,
        from_start: bool,
        followed: bool,
    ) -> Result<LogInput, Failure> {
        let zone_name = log.time_zone.as_deref().or(config.company.time_zone.as_deref());
        let follower = match position {
            _ if followed => None,
            Some(position) => Some(Follower::resume(&log.path, &position)),
            None if from_start => Some(Follower::from_start(&log.path)),
            None => Some(Follower::from_end(&log.path)),
        };
        Ok(LogInput {
            name: log.path.display().to_string(),
            dialect: dialect(log.dialect.as_deref())?,
            zone: zone(zone_name).map_err(Failure::usage)?,
            follower: follower.transpose().map_err(Failure::usage)?,
        })
    }
}

fn dialect(wanted: Option<&str>) -> Result<Option<&'static Dialect>, Failure> {
    let Some(wanted) = wanted else { return Ok(None) };
    match DIALECTS.iter().find(|dialect| dialect.name == wanted) {
        Some(dialect) => Ok(Some(dialect)),
        None => {
            let known: Vec<&str> = DIALECTS.iter().map(|dialect| dialect.name).collect();
            Err(Failure::usage(format!("source.log.dialect {wanted:?} is unknown: use {}", known.join(", "))))
        }
    }
}

struct Log {
    name: String,
    source: SourceId,
    dialect: Option<&'static Dialect>,
    zone: jiff::tz::TimeZone,
    follower: Follower,
    reading: SourceReading,
}

/// What the thread works with.
pub struct LogThread {
    road: LogRoad,
    company: Arc<Company>,
    logs: Vec<Log>,
    orders: Receiver<LogOrder>,
    sender: Sender<Batch>,
    board: Arc<Board>,
}

impl LogThread {
    /// Sets a thread up; [`LogThread::run`] is its life.
    pub fn new(
        company: Arc<Company>,
        inputs: Vec<LogInput>,
        orders: Receiver<LogOrder>,
        sender: Sender<Batch>,
        board: Arc<Board>,
    ) -> LogThread {
        let road = LogRoad::new(Arc::clone(&company), Default::default());
        let mut thread = LogThread { road, company, logs: Vec::new(), orders, sender, board };
        thread.swap(inputs);
        thread
    }

    /// Follows until told to stop; reads each log to its present end first.
    pub fn run(mut self) {
        loop {
            let stopping = self.board.stopping();
            match self.orders.try_recv() {
                Ok(LogOrder::Swap(company, inputs)) => {
                    self.road.set_company(Arc::clone(&company));
                    self.company = company;
                    self.swap(inputs);
                }
                Err(TryRecvError::Disconnected) if !stopping => return,
                Err(_) => {}
            }
            match catch_unwind(AssertUnwindSafe(|| self.look())) {
                Ok(Some(0)) if stopping => break,
                Ok(Some(0)) => std::thread::sleep(LOG_POLL),
                Ok(Some(_)) if stopping => break,
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(_) => {
                    self.panicked();
                    std::thread::sleep(LOG_POLL);
                }
            }
        }
        let mut observations = Vec::new();
        self.road.finish(&mut observations);
        let _ = self.sender.blocking_send(Batch { observations, positions: Vec::new() });
    }

    /// One look at every log; the lines read, or `None` where nobody listens any more.
    fn look(&mut self) -> Option<usize> {
        let (mut lines_read, mut faulty) = (0, false);
        self.road.set_now(wall_clock());
        for log in &mut self.logs {
            let (road, mut observations) = (&mut self.road, Vec::new());
            let before = (road.counters().lines, road.counters().unparsed);
            let mut faults = 0;
            let taken = log.follower.poll(|line| {
                let mut take = || road.line(log.source, line, &mut observations);
                // Caught line by line: the follower must get past the one that did it.
                faults += u32::from(catch_unwind(AssertUnwindSafe(&mut take)).is_err());
            });
            faulty |= faults > 0;
            let lines = match taken {
                Ok(lines) => {
                    log.reading.failed = None;
                    lines
                }
                Err(error) => {
                    let error = error.to_string();
                    if log.reading.failed.as_ref() != Some(&error) {
                        tracing::error!("{error}");
                    }
                    log.reading.failed = Some(error);
                    0
                }
            };
            let reading = &mut log.reading;
            reading.taken += road.counters().lines - before.0;
            reading.unparsed += road.counters().unparsed - before.1;
            reading.gaps = log.follower.counters().possible_gaps;
            reading.caught_up = lines == 0;
            if let Some(newest) = observations.iter().map(|seen| seen.at).max() {
                reading.behind_seconds = Some(wall_clock().seconds_since(newest));
            }
            self.board.write(reading.clone());
            lines_read += lines;
            if lines > 0 {
                let positions = vec![(log.name.clone(), log.follower.position())];
                self.sender.blocking_send(Batch { observations, positions }).ok()?;
            }
        }
        if faulty {
            self.panicked();
        }
        Some(lines_read)
    }

    /// Goes over to another list of logs. A log that stays, stays where it is; how it is read may change.
    fn swap(&mut self, inputs: Vec<LogInput>) {
        let mut old = std::mem::take(&mut self.logs);
        for input in inputs {
            let LogInput { name, dialect, zone, follower } = input;
            let known = old.iter().position(|log| log.name == name).map(|index| old.swap_remove(index));
            let same = |log: &Log| log.dialect.map(|d| d.name) == dialect.map(|d| d.name) && log.zone == zone;
            let log = match (known, follower) {
                (Some(log), _) if same(&log) => log,
                (Some(Log { follower, reading, .. }), _) => self.log(name, dialect, zone, follower, reading),
                (None, Some(follower)) => {
                    let reading = SourceReading::of(&name, SourceKind::Log);
                    self.log(name, dialect, zone, follower, reading)
                }
                (None, None) => continue,
            };
            self.logs.push(log);
        }
        for gone in old {
            self.board.remove(&gone.name);
        }
    }

    fn log(
        &mut self,
        name: String,
        dialect: Option<&'static Dialect>,
        zone: jiff::tz::TimeZone,
        follower: Follower,
        reading: SourceReading,
    ) -> Log {
        let modified_at = follower.modified_at();
        let source =
            self.road.add_source(LogSource { name: name.clone(), dialect, zone: zone.clone(), modified_at });
        Log { name, source, dialect, zone, follower, reading }
    }

    /// What was joined so far may be half done: the road is set up anew, and the logs go on where they are.
    fn panicked(&mut self) {
        tracing::error!(
            "a log line could not be taken because of a fault in portreeve; messages under way are forgotten, the logs are followed on. Please report what stands above"
        );
        self.road = LogRoad::new(Arc::clone(&self.company), Default::default());
        for Log { name, source, dialect, zone, follower, reading } in &mut self.logs {
            reading.panics += 1;
            *source = self.road.add_source(LogSource {
                name: name.clone(),
                dialect: *dialect,
                zone: zone.clone(),
                modified_at: follower.modified_at(),
            });
        }
    }
}
