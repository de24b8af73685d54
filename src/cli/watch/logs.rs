//! The logs of `watch`: all of them on one thread, through one road.
//!
//! *In*: logs from the configuration. *Out*: batches of observations with the positions they were read to.
//! *Bound*: what the channel to the judge holds; a log waits, since a file can be read later.

use super::{Batch, Shared};
use crate::cli::failure::Failure;
use crate::cli::judge::Judge;
use crate::company::Company;
use crate::config::{Config, zone};
use crate::mta::{DIALECTS, LogRoad, LogSource, SourceId};
use crate::tail::{Follower, Way};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// How often a log is looked at.
const LOG_POLL: Duration = Duration::from_millis(250);

/// Follows all logs.
pub(super) struct LogThread {
    road: LogRoad,
    logs: Vec<(String, SourceId, Follower)>,
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
        let mut road = LogRoad::new(Arc::clone(company), Default::default());
        let mut logs = Vec::new();
        for log in &config.source.log {
            let name = log.name();
            let Way::File(path) = log.way().map_err(Failure::usage)? else {
                return Err(Failure::usage(format!("{name}: this way in is not read yet")));
            };
            let dialect = match &log.dialect {
                None => None,
                Some(wanted) => {
                    Some(DIALECTS.iter().find(|dialect| dialect.name == wanted).ok_or_else(|| {
                        let known: Vec<&str> = DIALECTS.iter().map(|dialect| dialect.name).collect();
                        Failure::usage(format!(
                            "source.log.dialect {wanted:?} is unknown: use {}",
                            known.join(", ")
                        ))
                    })?)
                }
            };
            let zone_name = log.time_zone.as_deref().or(config.company.time_zone.as_deref());
            let zone = zone(zone_name).map_err(Failure::usage)?;
            let position = judge.position(&name)?;
            let follower = match position {
                Some(position) => Follower::resume(&path, &position),
                None if from_start => Follower::from_start(&path),
                None => Follower::from_end(&path),
            };
            let follower = follower.map_err(Failure::usage)?;
            let modified_at = follower.modified_at();
            let source = road.add_source(LogSource { name: name.clone(), dialect, zone, modified_at });
            logs.push((name, source, follower));
        }
        Ok(Some(LogThread { road, logs }))
    }

    pub(super) fn run(mut self, sender: &Sender<Batch>, shared: &Shared) {
        loop {
            let stopping = shared.stop.load(Ordering::Relaxed);
            let mut lines = 0;
            for (name, source, follower) in &mut self.logs {
                let (road, mut observations) = (&mut self.road, Vec::new());
                match follower.poll(|line| road.line(*source, line, &mut observations)) {
                    Ok(taken) => lines += taken,
                    Err(error) => tracing::error!("{error}"),
                }
                let positions = vec![(name.clone(), follower.position())];
                if !observations.is_empty()
                    && sender.blocking_send(Batch { observations, positions }).is_err()
                {
                    return;
                }
            }
            if stopping {
                break;
            }
            if lines == 0 {
                std::thread::sleep(LOG_POLL);
            }
        }
        let mut observations = Vec::new();
        self.road.finish(&mut observations);
        let _ = sender.blocking_send(Batch { observations, positions: Vec::new() });
    }
}
